//! The site of the simulated year: a database of two and a half mebibytes and thirty uploads, and what happens to them in a day.

use std::fs;
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use rusqlite::Connection;

use super::dice::Rng;
use crate::ops::tests::life::lab::{Digest, Tree, digest, look};
use crate::set::tests::noise;

const PAGE: u64 = 4096;
/// Four of them fill a page; all of them are far more than the shrink guard lets go without a word.
const ROWS: i64 = 2600;
const ROW_BYTES: usize = 900;

pub struct Lab {
    root: PathBuf,
}

impl Lab {
    pub fn new(root: &Path) -> Self {
        let lab = Self { root: root.into() };
        fs::create_dir_all(lab.assets()).unwrap();
        let db = Connection::open(lab.database()).unwrap();
        db.execute_batch(
            "PRAGMA page_size = 4096; CREATE TABLE rows(id INTEGER PRIMARY KEY, body); CREATE TABLE users(name);
             INSERT INTO users VALUES('admin'); BEGIN",
        )
        .unwrap();
        for n in 0..ROWS {
            db.execute("INSERT INTO rows VALUES (?1, ?2)", (n, noise(n as u64, ROW_BYTES))).unwrap();
        }
        db.execute_batch("COMMIT").unwrap();
        (0..30).for_each(|n| lab.write_file(n, u64::from(n)));
        lab
    }

    pub fn data(&self) -> PathBuf {
        self.root.join("data")
    }

    pub fn database(&self) -> PathBuf {
        self.data().join("lrl.db")
    }

    pub fn assets(&self) -> PathBuf {
        self.data().join("assets")
    }

    fn write_file(&self, n: u8, seed: u64) {
        let path = self.assets().join(format!("{}/{n}.bin", n % 4));
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, noise(seed, 500 + usize::from(n) * 100)).unwrap();
    }

    /// Waits until a write shows in a file's times: the clock that stamps files moves in ticks.
    fn tick(&self) {
        let probe = self.root.join("probe");
        let now = || {
            fs::write(&probe, b"x").unwrap();
            fs::metadata(&probe).unwrap().modified().unwrap()
        };
        let before = now();
        while now() == before {
            std::thread::sleep(std::time::Duration::from_micros(300));
        }
    }

    /// What the application does in a day to what it can reach.
    pub fn day(&self, dice: &mut Rng, database: bool, uploads: bool) {
        self.tick();
        // On some days nobody comes.
        if database && !dice.one_in(6) {
            let db = Connection::open(self.database()).unwrap();
            db.execute_batch("PRAGMA synchronous = OFF; BEGIN").unwrap();
            for _ in 0..8 {
                let (id, seed) = (dice.below(ROWS as u64) as i64, dice.below(u64::MAX));
                db.execute("INSERT OR REPLACE INTO rows VALUES (?1, ?2)", (id, noise(seed, ROW_BYTES))).unwrap();
            }
            db.execute("UPDATE users SET name = ?1", [format!("admin {}", dice.below(1000))]).unwrap();
            db.execute_batch("COMMIT").unwrap();
        }
        if uploads && !dice.one_in(6) {
            (0..1 + dice.below(3)).for_each(|_| self.write_file(dice.below(30) as u8, dice.below(u64::MAX)));
        }
    }

    /// Deletes the rows of the large table.
    pub fn empty_table(&self) {
        self.tick();
        Connection::open(self.database()).unwrap().execute("DELETE FROM rows", []).unwrap();
    }

    /// Cuts the database short, at a page.
    pub fn truncate(&self, dice: &mut Rng) {
        self.tick();
        let pages = fs::metadata(self.database()).unwrap().len() / PAGE;
        let file = fs::File::options().write(true).open(self.database()).unwrap();
        file.set_len(dice.below(pages * 2 / 5) * PAGE).unwrap();
    }

    /// Overwrites pages in the middle until SQLite itself finds it. The schema stays, so a backup cannot know.
    pub fn make_noise(&self, dice: &mut Rng) {
        self.tick();
        let pages = fs::metadata(self.database()).unwrap().len() / PAGE;
        while is_sound(&self.database()) {
            let at = (pages / 4 + dice.below(pages / 2)) * PAGE;
            let mut file = fs::File::options().write(true).open(self.database()).unwrap();
            file.seek(SeekFrom::Start(at)).unwrap();
            file.write_all(&noise(dice.below(u64::MAX), PAGE as usize)).unwrap();
        }
    }

    /// Takes the volume with the uploads away; its mount point is left, or not.
    pub fn unmount(&self, leaves_mount_point: bool) {
        self.tick();
        fs::rename(self.assets(), self.root.join("volume")).unwrap();
        if leaves_mount_point {
            fs::create_dir(self.assets()).unwrap();
        }
    }

    /// The application does not know, and stores a file in the empty directory.
    pub fn write_into_mount_point(&self, dice: &mut Rng) {
        if self.assets().is_dir() && dice.one_in(3) {
            self.write_file(dice.below(9) as u8, dice.below(u64::MAX));
        }
    }

    pub fn remount(&self) {
        self.tick();
        let _ = fs::remove_dir_all(self.assets());
        fs::rename(self.root.join("volume"), self.assets()).unwrap();
    }

    /// The database's bytes.
    pub fn image(&self) -> Digest {
        digest(&fs::read(self.database()).unwrap())
    }

    /// The uploads; `None` where their directory is gone.
    pub fn tree(&self) -> Option<Tree> {
        self.assets().is_dir().then(|| look(&self.data()))
    }
}

/// Returns whether SQLite finds nothing wrong with a database, and the tables are there.
pub fn is_sound(path: &Path) -> bool {
    let Ok(db) = Connection::open(path) else { return false };
    let tables = db.prepare("SELECT * FROM rows, users").is_ok();
    tables && db.query_row("PRAGMA integrity_check", [], |row| row.get::<_, String>(0)).is_ok_and(|said| said == "ok")
}

/// Flips a byte of a file in place, whatever names it has.
pub fn flip(path: &Path, dice: &mut Rng) {
    let mut file = fs::File::options().read(true).write(true).open(path).unwrap();
    let at = dice.below(file.metadata().unwrap().len());
    let mut byte = [0];
    file.seek(SeekFrom::Start(at)).unwrap();
    file.read_exact(&mut byte).unwrap();
    file.seek(SeekFrom::Start(at)).unwrap();
    file.write_all(&[byte[0] ^ (1 << dice.below(8))]).unwrap();
}
