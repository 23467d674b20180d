//! One source of the random life: a live database and uploads that change, and what they hold, as plain values.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use rusqlite::Connection;
use rusqlite::types::ValueRef;

use crate::id::Hasher;
use crate::set::tests::noise;

pub type Digest = [u8; 32];

/// One name below the uploads' root.
#[derive(Debug, Clone, PartialEq)]
pub struct Seen {
    pub kind: &'static str,
    pub mode: u32,
    pub mtime: (i64, u32),
    /// Of the bytes, or of a link's target.
    pub contents: Digest,
}

/// Path → what is there; the root itself is not in it.
pub type Tree = BTreeMap<Vec<u8>, Seen>;

/// A step of the application.
#[derive(Debug, Clone)]
pub enum Step {
    /// Writes bytes made from a seed; small numbers of seeds make equal files.
    Write {
        name: u8,
        seed: u8,
        len: u32,
    },
    /// Overwrites bytes in the middle, in place.
    Patch {
        name: u8,
        seed: u8,
    },
    Remove {
        name: u8,
    },
    Move {
        from: u8,
        to: u8,
    },
    Link {
        name: u8,
        target: u8,
    },
    HardLink {
        name: u8,
        target: u8,
    },
    Mode {
        name: u8,
        mode: u8,
    },
    Rows {
        from: u16,
        count: u8,
        seed: u8,
    },
    DeleteRows {
        from: u16,
        count: u8,
    },
    Table {
        name: u8,
    },
    Vacuum,
    Journal {
        wal: bool,
    },
}

pub struct Lab {
    dir: tempfile::TempDir,
    /// Open while the database is in WAL mode, as an application's would be.
    conn: Option<Connection>,
}

/// Sixteen names in three directories, some of them odd.
fn name(n: u8) -> &'static OsStr {
    const NAMES: [&[u8]; 16] = [
        b"a",
        b"b.tmp",
        b"c",
        b"d/a",
        b"d/b",
        b"d/c.tmp",
        b"d/e/a",
        b"d/e/\xff\xfe",
        b"d/e/c",
        b"f/a",
        b"f/\nb",
        b"f/c",
        b"a!",
        b"g",
        b"z.tmp",
        b"f/h",
    ];
    OsStr::from_bytes(NAMES[usize::from(n) % NAMES.len()])
}

/// Returns whether `--exclude '*.tmp'` leaves a path out.
pub fn is_excluded(path: &[u8]) -> bool {
    path.ends_with(b".tmp")
}

pub fn digest(bytes: &[u8]) -> Digest {
    Hasher::new().update(bytes).finish()
}

impl Lab {
    pub fn new() -> Self {
        let lab = Self { dir: tempfile::tempdir().unwrap(), conn: None };
        fs::create_dir_all(lab.data().join("assets")).unwrap();
        let rows =
            "WITH n(i) AS (VALUES(1) UNION ALL SELECT i + 1 FROM n WHERE i < 400) SELECT i, printf('row %d', i) FROM n";
        let sql = format!(
            "PRAGMA page_size = 1024; CREATE TABLE rows(id INTEGER PRIMARY KEY, body); INSERT INTO rows {rows}"
        );
        Connection::open(lab.database()).unwrap().execute_batch(&sql).unwrap();
        lab
    }

    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    pub fn data(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    pub fn database(&self) -> PathBuf {
        self.data().join("lrl.db")
    }

    pub fn assets(&self) -> PathBuf {
        self.data().join("assets")
    }

    /// Stops the application.
    pub fn close(&mut self) {
        self.conn = None;
    }

    /// Waits until a write shows in a file's times, whatever was written before: the clock that stamps files moves in ticks.
    fn tick(&self) {
        let probe = self.dir.path().join("probe");
        let now = || {
            fs::write(&probe, b"x").unwrap();
            fs::metadata(&probe).map(|meta| (meta.mtime(), meta.mtime_nsec())).unwrap()
        };
        let before = now();
        while now() == before {
            std::thread::sleep(std::time::Duration::from_micros(300));
        }
    }

    pub fn step(&mut self, step: &Step) {
        self.tick();
        let at = |n: u8| self.assets().join(name(n));
        let is_file = |path: &Path| fs::symlink_metadata(path).is_ok_and(|meta| meta.is_file());
        match step {
            Step::Write { name, seed, len } => {
                let path = at(*name);
                let _ = fs::remove_file(&path);
                let _ = fs::create_dir_all(path.parent().unwrap());
                let _ = fs::write(path, noise(u64::from(*seed), *len as usize));
            }
            Step::Patch { name, seed } => {
                let path = at(*name);
                if is_file(&path) {
                    let mut bytes = fs::read(&path).unwrap();
                    let middle = bytes.len() / 2;
                    bytes[middle..].iter_mut().take(3).for_each(|byte| *byte = byte.wrapping_add(*seed | 1));
                    fs::write(&path, bytes).unwrap();
                }
            }
            Step::Remove { name } => drop(fs::remove_file(at(*name))),
            Step::Move { from, to } => {
                let _ = fs::create_dir_all(at(*to).parent().unwrap());
                let _ = fs::rename(at(*from), at(*to));
            }
            Step::Link { name: n, target } => drop(symlink(name(*target), at(*n))),
            Step::HardLink { name, target } => drop(fs::hard_link(at(*target), at(*name))),
            Step::Mode { name, mode } => {
                if is_file(&at(*name)) {
                    fs::set_permissions(at(*name), fs::Permissions::from_mode(0o400 | u32::from(*mode))).unwrap();
                }
            }
            _ => self.change_database(step),
        }
    }

    fn change_database(&mut self, step: &Step) {
        let path = self.database();
        let fresh = self.conn.is_none().then(|| Connection::open(path).unwrap());
        let Some(db) = fresh.as_ref().or(self.conn.as_ref()) else { return };
        match step {
            Step::Rows { from, count, seed } => {
                let sql = "INSERT OR REPLACE INTO rows VALUES (?1, ?2)";
                db.execute_batch("BEGIN").unwrap();
                for n in 0..i64::from(*count) {
                    let body = noise(u64::from(*seed) * 1000 + n as u64, 60);
                    db.execute(sql, (i64::from(*from) + n, body)).unwrap();
                }
                db.execute_batch("COMMIT").unwrap();
            }
            Step::DeleteRows { from, count } => {
                db.execute("DELETE FROM rows WHERE id BETWEEN ?1 AND ?1 + ?2", (from, count)).unwrap();
            }
            Step::Table { name } => {
                db.execute_batch(&format!(
                    "CREATE TABLE IF NOT EXISTS t{name}(x); INSERT INTO t{name} VALUES ({name})"
                ))
                .unwrap();
            }
            Step::Vacuum => db.execute_batch("VACUUM").unwrap(),
            Step::Journal { wal } => {
                let mode = if *wal { "wal" } else { "delete" };
                db.pragma_update_and_check(None, "journal_mode", mode, |_| Ok(())).unwrap();
                self.conn = fresh.or(self.conn.take()).filter(|_| *wal);
            }
            _ => {}
        }
    }

    /// Returns the digest of all tables with all their rows.
    pub fn logical(&self) -> Digest {
        match &self.conn {
            Some(db) => logical(db),
            None => logical(&Connection::open(self.database()).unwrap()),
        }
    }

    pub fn tree(&self) -> Tree {
        look(&self.data())
    }
}

/// Returns the digest of all tables of a database with all their rows.
pub fn logical(db: &Connection) -> Digest {
    let mut hasher = Hasher::new();
    let mut names = db.prepare("SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY name").unwrap();
    let names: Vec<String> = names.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect();
    for name in names {
        hasher.update(name.as_bytes());
        let mut statement = db.prepare(&format!("SELECT rowid, * FROM \"{name}\" ORDER BY rowid")).unwrap();
        let columns = statement.column_count();
        let mut rows = statement.query([]).unwrap();
        while let Some(row) = rows.next().unwrap() {
            for column in 0..columns {
                match row.get_ref(column).unwrap() {
                    ValueRef::Text(bytes) | ValueRef::Blob(bytes) => hasher.update(bytes),
                    ValueRef::Integer(number) => hasher.update(&number.to_le_bytes()),
                    _ => hasher.update(b"?"),
                };
            }
        }
    }
    hasher.finish()
}

/// Looks at everything below `data/assets`.
pub fn look(data: &Path) -> Tree {
    fn walk(data: &Path, dir: &Path, tree: &mut Tree) {
        for entry in fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            let meta = fs::symlink_metadata(&path).unwrap();
            let (kind, contents) = if meta.is_dir() {
                walk(data, &path, tree);
                ("directory", digest(b""))
            } else if meta.is_symlink() {
                ("link", digest(fs::read_link(&path).unwrap().as_os_str().as_bytes()))
            } else {
                ("file", digest(&fs::read(&path).unwrap()))
            };
            // Nobody sets a link's own mode.
            let mode = if meta.is_symlink() { 0o777 } else { meta.mode() & 0o7777 };
            let seen = Seen { kind, mode, mtime: (meta.mtime(), meta.mtime_nsec() as u32), contents };
            tree.insert(path.strip_prefix(data).unwrap().as_os_str().as_bytes().to_vec(), seen);
        }
    }
    let mut tree = Tree::new();
    if data.join("assets").exists() {
        walk(data, &data.join("assets"), &mut tree);
    }
    tree
}
