//! Temporary SQLite databases on disk, for lists that may be larger than memory. SQLite removes the file itself; losing power loses nothing.

use rusqlite::Connection;

use crate::error::{Error, Result};

/// Whether a step can be undone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rollback {
    /// No: everything is one transaction that never ends.
    Never,
    /// Yes, by savepoints.
    Savepoints,
}

/// Creates one with these tables; `purpose` says what cannot be done without it, as in "names cannot be gathered". Its cache takes
/// `cache_kib` of memory.
///
/// # Errors
/// [`Error::Refused`] where there is no space for it.
pub(crate) fn create(purpose: &str, schema: &str, cache_kib: u32, rollback: Rollback) -> Result<Connection> {
    let journal = match rollback {
        Rollback::Never => "OFF",
        Rollback::Savepoints => "MEMORY",
    };
    let begin = if rollback == Rollback::Never { "BEGIN;" } else { "" };
    let open = || {
        let db = Connection::open("")?;
        db.execute_batch(&format!(
            "PRAGMA journal_mode={journal}; PRAGMA synchronous=OFF; PRAGMA temp_store=FILE; PRAGMA cache_size=-{cache_kib};
             {schema};
             {begin}"
        ))?;
        Ok(db)
    };
    open().map_err(|error| failed(purpose, &error))
}

/// Returns the error for the user: such a database fails only for want of space.
pub(crate) fn failed(purpose: &str, error: &rusqlite::Error) -> Error {
    Error::refused(format!(
        "{purpose} in a temporary database ({error}); make room in the directory for temporary files"
    ))
}

#[cfg(test)]
mod tests {
    use super::{Rollback, create, failed};

    #[test]
    fn rows_are_kept_and_undone_where_that_is_asked_for() {
        for rollback in [Rollback::Never, Rollback::Savepoints] {
            let db = create("rows cannot be kept", "CREATE TABLE rows(n INTEGER)", 64, rollback).unwrap();
            assert_eq!(db.is_autocommit(), rollback == Rollback::Savepoints);
            db.execute("INSERT INTO rows VALUES(1)", []).unwrap();
            if rollback == Rollback::Savepoints {
                db.execute_batch("SAVEPOINT step; INSERT INTO rows VALUES(2); ROLLBACK TO step; RELEASE step").unwrap();
            }
            let count: i64 = db.query_row("SELECT count(*) FROM rows", [], |row| row.get(0)).unwrap();
            assert_eq!(count, 1);
        }
        let text = failed("rows cannot be kept", &rusqlite::Error::InvalidQuery).to_string();
        assert!(text.starts_with("rows cannot be kept in a temporary database (Query is not read-only)"), "{text}");
    }
}
