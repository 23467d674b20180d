//! Inspects a database that may be in use: without a lock, and without leaving anything beside it. What is seen may be a moment old.

use std::fs;
use std::path::Path;

use super::connect::{describe, open_copy};
use super::inspect::Inspector;
use super::plain_file::{CopyDir, copy_with_side_files};
use super::state::side_file;
use crate::error::{Error, Result};
use crate::progress::Observer;

/// A database up to this size, in bytes, is copied with its WAL, which may hold its whole schema. What is larger has been
/// checkpointed before, with all tables that its application makes at its first start.
const COPIED_BYTES: u64 = 32 << 20;
/// How often a copy is tried while the application writes.
const TRIES: usize = 3;

/// Opens the database at `db`, or a copy of it below `scratch` that has what its WAL holds, for as long as `look` takes.
///
/// Must not run while this process has the database open through SQLite.
///
/// # Errors
/// [`Error::Io`]: it cannot be read. [`Error::Corrupt`]: SQLite does not understand it, or it changed at this moment. Those of `look`.
pub fn inspect_in_use<T>(
    db: &Path,
    scratch: &Path,
    observer: &dyn Observer,
    look: impl FnOnce(&Inspector<'_>) -> Result<T>,
) -> Result<T> {
    let real = fs::canonicalize(db).map_err(Error::io("open", db))?;
    let len = |path: &Path| fs::metadata(path).map_or(0, |meta| meta.len());
    let wal = len(&side_file(&real, "-wal"));
    if wal > 0 && len(&real).saturating_add(wal) <= COPIED_BYTES {
        let dir = CopyDir::new(scratch)?;
        let copy = dir.path().join("copy.sqlite");
        for _ in 0..TRIES {
            if copy_with_side_files(&real, &copy, observer)? {
                merge_wal(&copy).map_err(|error| Error::corrupt(db.display(), describe(&error)))?;
                return look(&Inspector::open(&copy, observer)?);
            }
            for suffix in ["", "-wal", "-journal"] {
                fs::remove_file(side_file(&copy, suffix)).or_else(absent).map_err(Error::io("remove", &copy))?;
            }
        }
    }
    look(&Inspector::open(&real, observer)?)
}

/// Moves what the WAL of our own copy holds into it.
fn merge_wal(copy: &Path) -> std::result::Result<(), rusqlite::Error> {
    open_copy(copy)?.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))
}

fn absent(error: std::io::Error) -> std::io::Result<()> {
    if error.kind() == std::io::ErrorKind::NotFound { Ok(()) } else { Err(error) }
}

#[cfg(test)]
mod tests {
    use rusqlite::Connection;

    use super::inspect_in_use;
    use crate::progress::Silent;

    #[test]
    fn tables_are_listed_also_those_that_are_in_the_wal_only() {
        let dir = tempfile::tempdir().unwrap();
        let names = |path: &std::path::Path| {
            let mut left: Vec<_> =
                std::fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
            left.sort();
            (inspect_in_use(path, dir.path(), &Silent, |inspector| inspector.tables()).unwrap().names, left)
        };
        let plain = dir.path().join("plain.db");
        Connection::open(&plain).unwrap().execute_batch("CREATE TABLE a(x); CREATE TABLE b(x);").unwrap();
        assert_eq!(names(&plain).0, ["a", "b"]);
        let path = dir.path().join("wal.db");
        let conn = Connection::open(&path).unwrap();
        conn.execute_batch("PRAGMA journal_mode = wal; CREATE TABLE c(x);").unwrap();
        let before = names(&path);
        assert_eq!(before.0, ["c"]);
        conn.execute_batch("CREATE TABLE d(x);").unwrap();
        let after = names(&path);
        assert_eq!((after.0, after.1), (vec!["c".to_string(), "d".to_string()], before.1));
    }

    #[test]
    fn what_is_no_database_is_an_error_with_its_path() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.db");
        std::fs::write(&path, vec![7; 4096]).unwrap();
        let error = inspect_in_use(&path, dir.path(), &Silent, |inspector| inspector.tables()).unwrap_err().to_string();
        assert!(error.contains("x.db"), "{error}");
    }
}
