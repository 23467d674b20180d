//! One transaction that is committed as a whole or not at all.

use rusqlite::Connection;

use super::target::refused;
use crate::error::{Error, Result};
use crate::source::database::Inspector;

/// What ends the work before its end: SQLite, or something else.
pub(super) enum Stopped {
    /// SQLite refuses.
    Sqlite(rusqlite::Error),
    /// Anything else.
    Other(Error),
}

impl From<rusqlite::Error> for Stopped {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sqlite(error)
    }
}

impl From<Error> for Stopped {
    fn from(error: Error) -> Self {
        Self::Other(error)
    }
}

/// Does the work in a transaction that locks out other writers; whatever stops it, nothing has happened.
pub(super) fn in_transaction<T>(
    database: &Inspector<'_>,
    table: &str,
    work: impl FnOnce(&Connection) -> Result<T, Stopped>,
) -> Result<T> {
    let mut other = None;
    let done = database.watched(|conn| {
        conn.execute_batch("BEGIN IMMEDIATE")?;
        let done = match work(conn) {
            Ok(value) => conn.execute_batch("COMMIT").map(|()| Some(value)),
            Err(Stopped::Sqlite(error)) => Err(error),
            Err(Stopped::Other(error)) => {
                other = Some(error);
                Ok(None)
            }
        };
        if !conn.is_autocommit() {
            conn.execute_batch("ROLLBACK")?;
        }
        done
    });
    match (other, done) {
        (Some(error), _) => Err(error),
        (None, Ok(Some(value))) => Ok(value),
        (None, Ok(None)) => Err(Error::Interrupted),
        (None, Err(Error::Corrupt { detail, .. })) => Err(refused(table, detail)),
        (None, Err(error)) => Err(error),
    }
}
