//! The first name of each hard-linked file, in a temporary database on disk: there may be a million of them, and the
//! memory that a run takes must not grow with them. Lives for one run.

use rusqlite::{Connection, OptionalExtension, params};

use crate::budget::LINKS_CACHE_KIB;
use crate::error::{Error, Result};
use crate::fs::temp_db::{self, Rollback};

const PURPOSE: &str = "names of hard links cannot be noted";
const SCHEMA: &str = "CREATE TABLE links(dev INTEGER, ino INTEGER, path BLOB, PRIMARY KEY(dev, ino)) WITHOUT ROWID";

/// First names by device and inode.
#[derive(Default)]
pub(crate) struct HardLinks {
    // Made when the first file with several names is met: most uploads have none.
    db: Option<Connection>,
}

impl HardLinks {
    /// Returns the recorded name of a file.
    pub(crate) fn get(&self, (dev, ino): (u64, u64)) -> Result<Option<Vec<u8>>> {
        let Some(db) = &self.db else { return Ok(None) };
        db.prepare_cached("SELECT path FROM links WHERE dev=? AND ino=?")
            .and_then(|mut found| found.query_row(params![dev as i64, ino as i64], |row| row.get(0)).optional())
            .map_err(failed)
    }

    /// Records a file's name, in place of an earlier one.
    pub(crate) fn put(&mut self, (dev, ino): (u64, u64), path: &[u8]) -> Result<()> {
        let db = match &self.db {
            Some(db) => db,
            None => self.db.insert(temp_db::create(PURPOSE, SCHEMA, LINKS_CACHE_KIB, Rollback::Never)?),
        };
        db.prepare_cached("INSERT OR REPLACE INTO links VALUES(?,?,?)")
            .and_then(|mut put| put.execute(params![dev as i64, ino as i64, path]))
            .map(|_| ())
            .map_err(failed)
    }

    /// Forgets a file.
    pub(crate) fn remove(&mut self, (dev, ino): (u64, u64)) -> Result<()> {
        let Some(db) = &self.db else { return Ok(()) };
        db.prepare_cached("DELETE FROM links WHERE dev=? AND ino=?")
            .and_then(|mut gone| gone.execute(params![dev as i64, ino as i64]))
            .map(|_| ())
            .map_err(failed)
    }
}

fn failed(error: rusqlite::Error) -> Error {
    temp_db::failed(PURPOSE, &error)
}

#[cfg(test)]
mod tests {
    use super::HardLinks;

    #[test]
    fn names_are_kept_replaced_and_forgotten() {
        let mut links = HardLinks::default();
        assert_eq!(links.get((1, 2)).unwrap(), None);
        links.put((1, u64::MAX), b"a").unwrap();
        links.put((2, u64::MAX), b"b").unwrap();
        links.put((1, u64::MAX), b"c\xff").unwrap();
        assert_eq!(links.get((1, u64::MAX)).unwrap().as_deref(), Some(&b"c\xff"[..]));
        links.remove((1, u64::MAX)).unwrap();
        assert_eq!(links.get((1, u64::MAX)).unwrap(), None);
        assert_eq!(links.get((2, u64::MAX)).unwrap().as_deref(), Some(&b"b"[..]));
    }
}
