//! The labs to back up, made from a seed: a database as the application has it, uploads half of which do not compress, and a tree of
//! tiny files.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

use rusqlite::{Connection, Transaction, params};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::error::{At, Result};
use crate::kind::Kind;
use crate::rng::{Rng, Words};

const SCHEMA: &str = "
CREATE TABLE users (id TEXT PRIMARY KEY, email TEXT UNIQUE NOT NULL, display_name TEXT NOT NULL, password_hash TEXT NOT NULL,
    status TEXT NOT NULL, created_at DATETIME);
CREATE TABLE content (id TEXT PRIMARY KEY, slug TEXT UNIQUE NOT NULL, title TEXT NOT NULL, body TEXT NOT NULL, status TEXT NOT NULL,
    owner_user_id TEXT NOT NULL REFERENCES users (id), created_at DATETIME, updated_at DATETIME);
CREATE INDEX content_by_update ON content (updated_at);
CREATE TABLE analytics_events (id INTEGER PRIMARY KEY, ts INTEGER NOT NULL, path TEXT, referrer TEXT, agent TEXT);
CREATE INDEX analytics_by_time ON analytics_events (ts);
CREATE TABLE assets (id TEXT PRIMARY KEY, filename_original TEXT, mime_type TEXT, size_bytes INTEGER, sha256 TEXT, storage_path TEXT,
    visibility TEXT, created_by_user_id TEXT, created_at DATETIME);
";

const MIB: f64 = (1 << 20) as f64;
const LARGEST_UPLOAD: f64 = 64.0 * MIB;
/// Rows that a step appends to the log of visits, at scale 1.
const EVENTS_A_STEP: f64 = 2000.0;

/// How large a corpus has become.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Size {
    /// Bytes of the database.
    pub database_bytes: u64,
    /// Bytes of all uploads.
    pub upload_bytes: u64,
    /// Regular files among the uploads.
    pub files: u64,
    /// Directories among the uploads, `assets` included.
    pub directories: u64,
}

/// A data directory that ages: `lrl.db` and `assets/`.
pub struct Lab {
    root: PathBuf,
    scale: f64,
    rng: Rng,
    words: Words,
    day: u32,
}

impl Lab {
    /// Makes the lab: at scale 1 a database of 128 MiB and 1,400 uploads of 394 MB.
    pub fn usual(root: &Path, seed: u64, scale: f64) -> Result<Self> {
        let mut lab = Self::with_database(root, seed, scale, 128.0 * MIB * scale)?;
        lab.uploads((1400.0 * scale).max(8.0) as usize, 394e6 * scale)?;
        Ok(lab)
    }

    /// Makes a tree of 100,000 files of 0.5 to 1 KB (at scale 1), a hundred to a directory, beside a small database.
    pub fn tiny_files(root: &Path, seed: u64, scale: f64) -> Result<Self> {
        let mut lab = Self::with_database(root, seed, scale, MIB)?;
        let mut bytes = Vec::new();
        for n in 0..(100_000.0 * scale) as usize {
            let dir = root.join(format!("assets/{:02}/{:02}", n / 10_000, n / 100 % 100));
            if n % 100 == 0 {
                fs::create_dir_all(&dir).at(&dir)?;
            }
            let len = 512 + lab.rng.below(512) as usize;
            bytes.clear();
            if n % 2 == 0 {
                lab.rng.noise(len, &mut bytes)
            } else {
                lab.words.text(&mut lab.rng, len, &mut bytes)
            }
            let path = dir.join(format!("{:016x}.bin", lab.rng.next()));
            fs::write(&path, &bytes).at(&path)?;
        }
        Ok(lab)
    }

    /// Makes a lab of one database of this many bytes, without uploads.
    pub fn sized(root: &Path, seed: u64, bytes: f64) -> Result<Self> {
        Self::with_database(root, seed, 0.001, bytes)
    }

    /// Returns the data directory.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Counts what is there.
    pub fn size(&self) -> Result<Size> {
        let database = self.root.join("lrl.db");
        let mut size = Size {
            database_bytes: fs::metadata(&database).at(&database)?.len(),
            upload_bytes: 0,
            files: 0,
            directories: 0,
        };
        for found in walkdir::WalkDir::new(self.root.join("assets")) {
            let found = found?;
            if found.file_type().is_dir() {
                size.directories += 1;
            } else {
                size.files += 1;
                size.upload_bytes += found.metadata()?.len();
            }
        }
        Ok(size)
    }

    /// Changes so few content rows that finding them costs nothing, and appends a visit or two.
    pub fn edit_rows(&mut self, count: usize) -> Result<()> {
        self.day += 1;
        let mut connection = self.connect()?;
        let transaction = connection.transaction()?;
        let last: i64 = transaction.query_row("SELECT max(rowid) FROM content", [], |row| row.get(0))?;
        for _ in 0..count {
            let (row, title) = (self.rng.below(last as u64) as i64 + 1, self.words.string(&mut self.rng, 40));
            // Rows may have been deleted: the next one that is there.
            let sql = "UPDATE content SET title = ?2 WHERE rowid = (SELECT min(rowid) FROM content WHERE rowid >= ?1)";
            transaction.execute(sql, params![row, title])?;
        }
        self.visits(&transaction, (EVENTS_A_STEP * self.scale).max(1.0) as usize)?;
        Ok(transaction.commit()?)
    }

    /// Changes a part of the content rows (1.0 is all of them) in place and appends visits, as a day of use does.
    pub fn edit(&mut self, part: f64) -> Result<()> {
        self.day += 1;
        let mut connection = self.connect()?;
        let transaction = connection.transaction()?;
        {
            let mut update = transaction.prepare(
                "UPDATE content SET body = substr(body, 1, ?2) || ?3 || substr(body, ?2 + 21), updated_at = ?4 WHERE rowid = ?1",
            )?;
            for (row, len) in self.some_rows(&transaction, part)? {
                let (at, words) = (self.rng.below(len as u64) as i64, self.words.string(&mut self.rng, 20));
                update.execute(params![row, at, words, self.today()])?;
            }
        }
        self.visits(&transaction, (EVENTS_A_STEP * self.scale).max(1.0) as usize)?;
        Ok(transaction.commit()?)
    }

    /// Deletes a part of the content rows and inserts as many.
    pub fn churn(&mut self, part: f64) -> Result<()> {
        self.day += 1;
        let mut connection = self.connect()?;
        let transaction = connection.transaction()?;
        let deleted = self.delete(&transaction, part)?;
        self.content(&transaction, deleted)?;
        Ok(transaction.commit()?)
    }

    /// Deletes a part of the content rows and compacts the file: nearly all pages move.
    pub fn vacuum(&mut self, part: f64) -> Result<()> {
        let mut connection = self.connect()?;
        let transaction = connection.transaction()?;
        self.delete(&transaction, part)?;
        transaction.commit()?;
        Ok(connection.execute_batch("VACUUM")?)
    }

    /// Adds one upload of about 200 KB with its row.
    pub fn add_upload(&mut self) -> Result<()> {
        self.uploads(1, 2e5)
    }

    fn with_database(root: &Path, seed: u64, scale: f64, bytes: f64) -> Result<Self> {
        let assets = root.join("assets");
        fs::create_dir_all(&assets).at(&assets)?;
        let mut lab = Self { root: root.to_owned(), scale, rng: Rng::new(seed), words: Words::new(), day: 0 };
        let mut connection = lab.connect()?;
        connection.execute_batch(SCHEMA)?;
        let transaction = connection.transaction()?;
        for n in 0..(2000.0 * scale).max(10.0) as u32 {
            let (id, name) = (lab.rng.id(), lab.words.string(&mut lab.rng, 12));
            let hash = format!("{}{}", lab.rng.id(), lab.rng.id());
            let row = params![id, format!("user{n}@example.org"), name, hash, lab.today()];
            transaction.execute("INSERT INTO users VALUES (?1, ?2, ?3, ?4, 'active', ?5)", row)?;
        }
        let pages = |transaction: &Transaction<'_>| -> rusqlite::Result<f64> {
            let number = |name| transaction.pragma_query_value(None, name, |row| row.get::<_, f64>(0));
            Ok(number("page_count")? * number("page_size")?)
        };
        while pages(&transaction)? < bytes {
            lab.content(&transaction, 40)?;
            lab.visits(&transaction, 150)?;
        }
        transaction.commit()?;
        Ok(lab)
    }

    /// Opens the database without syncing: [`crate::measure::settle`] does that before anything is measured.
    fn connect(&self) -> Result<Connection> {
        let path = self.root.join("lrl.db");
        let connection = Connection::open(&path).at(&path)?;
        connection.pragma_update(None, "synchronous", "OFF")?;
        Ok(connection)
    }

    fn today(&self) -> String {
        format!("2026-{:02}-{:02} 12:00:00", self.day / 28 % 12 + 1, self.day % 28 + 1)
    }

    /// Picks a part of the content rows, at least one: row numbers and lengths of bodies.
    fn some_rows(&mut self, transaction: &Transaction<'_>, part: f64) -> Result<Vec<(i64, i64)>> {
        let mut all = transaction.prepare("SELECT rowid, length(body) FROM content ORDER BY rowid")?;
        let rows = all.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
        let mut rows = rows.collect::<rusqlite::Result<Vec<_>>>()?;
        let count = (rows.len() as f64 * part).round().max(1.0) as usize;
        self.rng.sample(&mut rows, count);
        Ok(rows)
    }

    fn delete(&mut self, transaction: &Transaction<'_>, part: f64) -> Result<usize> {
        let rows = self.some_rows(transaction, part)?;
        let mut delete = transaction.prepare("DELETE FROM content WHERE rowid = ?1")?;
        rows.iter().try_for_each(|(row, _)| delete.execute([row]).map(|_| ()))?;
        Ok(rows.len())
    }

    fn content(&mut self, transaction: &Transaction<'_>, count: usize) -> Result<()> {
        let owner: String = transaction.query_row("SELECT id FROM users LIMIT 1", [], |row| row.get(0))?;
        let mut insert =
            transaction.prepare_cached("INSERT INTO content VALUES (?1, ?2, ?3, ?4, 'published', ?5, ?6, ?6)")?;
        for _ in 0..count {
            let (id, slug) = (self.rng.id(), self.rng.id());
            let title = self.words.string(&mut self.rng, 40);
            let len = self.rng.lognormal(8.0, 1.0).clamp(100.0, 60_000.0) as usize;
            let body = self.words.string(&mut self.rng, len);
            insert.execute(params![id, slug, title, body, owner, self.today()])?;
        }
        Ok(())
    }

    fn visits(&mut self, transaction: &Transaction<'_>, count: usize) -> Result<()> {
        let sql = "INSERT INTO analytics_events (ts, path, referrer, agent) VALUES (?1, ?2, ?3, 'Mozilla/5.0')";
        let mut insert = transaction.prepare_cached(sql)?;
        let last: Option<i64> = transaction.query_row("SELECT max(ts) FROM analytics_events", [], |row| row.get(0))?;
        for n in 1..=count as i64 {
            let (page, site) = (self.words.pick(&mut self.rng), self.words.pick(&mut self.rng));
            let row =
                params![last.unwrap_or(1_700_000_000) + n, format!("/p/{page}"), format!("https://{site}.example/")];
            insert.execute(row)?;
        }
        Ok(())
    }

    /// Adds `count` uploads of log-normal lengths that sum up to `bytes`, each in a directory of its own, with their rows.
    fn uploads(&mut self, count: usize, bytes: f64) -> Result<()> {
        let weights: Vec<f64> = (0..count).map(|_| self.rng.lognormal(0.0, 1.3)).collect();
        let unit = bytes / weights.iter().sum::<f64>();
        let (mut noise, mut text) = (0, 0);
        let mut connection = self.connect()?;
        let transaction = connection.transaction()?;
        {
            let mut insert =
                transaction.prepare("INSERT INTO assets VALUES (?1, ?2, ?3, ?4, ?5, ?6, 'public', NULL, ?7)")?;
            for weight in weights {
                let len = (weight * unit).clamp(100.0, LARGEST_UPLOAD) as usize;
                let kind = if noise <= text { Kind::NOISE } else { Kind::TEXT }[self.rng.below(3) as usize];
                *(if noise <= text { &mut noise } else { &mut text }) += len;
                let id = self.rng.id();
                let name = format!("v1.{}", kind.extension());
                let stored = format!("{}/{}/{name}", &id[..2], &id[2..10]);
                let sha256 = self.upload(&self.root.join("assets").join(&stored), kind, len)?;
                insert.execute(params![id, name, kind.mime(), len as i64, sha256, stored, self.today()])?;
            }
        }
        Ok(transaction.commit()?)
    }

    /// Writes one upload and returns its SHA-256 in hexadecimal digits.
    fn upload(&mut self, path: &Path, kind: Kind, len: usize) -> Result<String> {
        let dir = path.parent().unwrap_or(path);
        fs::create_dir_all(dir).at(dir)?;
        let mut file = File::create(path).at(path)?;
        let mut digest = Sha256::new();
        let mut piece = Vec::new();
        let mut left = len;
        while left > 0 {
            piece.clear();
            kind.fill(&mut self.rng, &self.words, &mut piece);
            piece.truncate(left);
            digest.update(&piece);
            file.write_all(&piece).at(path)?;
            left -= piece.len();
        }
        Ok(digest.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::Lab;
    use crate::same_result;

    #[test]
    fn a_seed_gives_the_same_lab_and_ages_it_the_same_way() {
        let dir = tempfile::tempdir().unwrap();
        let make = |name: &str, seed| {
            let mut lab = Lab::usual(&dir.path().join(name), seed, 0.005).unwrap();
            lab.edit(0.01).unwrap();
            lab.churn(0.01).unwrap();
            lab.add_upload().unwrap();
            lab.vacuum(0.02).unwrap();
            lab
        };
        let (a, b) = (make("a", 1), make("b", 1));
        same_result::lab(a.root(), b.root()).unwrap();
        let size = a.size().unwrap();
        assert!((600_000..900_000).contains(&size.database_bytes), "{size:?}");
        assert!((1_900_000..2_400_000).contains(&size.upload_bytes), "{size:?}");
        assert!(same_result::lab(a.root(), make("c", 2).root()).is_err());
    }

    #[test]
    fn tiny_files_are_many_and_small() {
        let dir = tempfile::tempdir().unwrap();
        let size = Lab::tiny_files(Path::new(dir.path()), 1, 0.005).unwrap().size().unwrap();
        assert_eq!((size.files, size.directories), (500, 7));
        assert!((500 * 512..500 * 1024).contains(&size.upload_bytes), "{size:?}");
    }
}
