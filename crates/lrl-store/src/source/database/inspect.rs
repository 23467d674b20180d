//! A careful look into a copy of a database that an attacker may have written. Owns the checks of the drill that need SQLite; never
//! opens a live database, never writes, leaves nothing beside the file.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant};
use std::{fs, thread};

use rusqlite::config::DbConfig;
use rusqlite::functions::FunctionFlags;
use rusqlite::limits::Limit;
use rusqlite::{Connection, ErrorCode};

use super::authorizer::Strict;
pub use super::connect::Tables;
use super::connect::{describe, names_where, open_immutable, tables};
use super::sql_text::{needs_the_application, path_bytes, quoted};
use crate::error::{Error, Result};
use crate::progress::Observer;

/// A copy of a database, open for checking: immutable, with an untrusted schema.
pub struct Inspector<'a> {
    conn: Connection,
    path: PathBuf,
    /// What it is called in messages.
    shown: String,
    observer: &'a dyn Observer,
    /// No statement takes longer.
    patience: Duration,
    /// Holds users' queries to reading.
    strict: Strict,
}

/// Asked often while a user's query runs; a reason ends it.
pub type Stop<'a> = dyn Fn() -> Option<String> + Sync + 'a;

/// How many rows a table has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableRows {
    /// The table's name.
    pub table: String,
    /// The count, or why it cannot be counted.
    pub rows: Result<u64, String>,
}

impl<'a> Inspector<'a> {
    /// Opens the copy at `path`. Errors: [`Error::Io`] if it is not there, [`Error::Corrupt`] if SQLite cannot read its schema.
    pub(crate) fn open(path: &Path, observer: &'a dyn Observer) -> Result<Self> {
        Self::open_as(path, &path.display().to_string(), observer)
    }

    /// As [`Inspector::open`]; `shown` is what the copy is called in messages. Once it is open, the file needs no name.
    pub(crate) fn open_as(path: &Path, shown: &str, observer: &'a dyn Observer) -> Result<Self> {
        let real = fs::canonicalize(path).map_err(Error::io("open", path))?;
        let meta = fs::metadata(&real).map_err(Error::io("open", path))?;
        if !meta.is_file() {
            return Err(Error::corrupt(shown, "is not a regular file"));
        }
        let strict = Strict::default();
        let conn = open_immutable(&real).and_then(|conn| harden(conn, &strict));
        let conn = conn.map_err(|error| Error::corrupt(shown, describe(&error)))?;
        // A slow disk reads a mebibyte in a second; a hostile schema can take any time.
        let patience = Duration::from_secs(600 + (meta.len() >> 20));
        let inspector = Self { conn, path: path.to_path_buf(), shown: shown.into(), observer, patience, strict };
        inspector.watched(|conn| conn.query_row("SELECT count(*) FROM sqlite_schema", [], |_| Ok(())))?;
        Ok(inspector)
    }

    #[cfg(test)]
    pub(crate) fn set_patience(&mut self, patience: Duration) {
        self.patience = patience;
    }

    /// Lists the tables.
    pub fn tables(&self) -> Result<Tables> {
        self.watched(tables)
    }

    /// Returns whether there is a table of this name, in any case of its letters.
    pub(crate) fn has_table(&self, name: &str) -> Result<bool> {
        let sql = "SELECT count(*) FROM sqlite_schema WHERE type = 'table' AND octet_length(name) = ?1 AND name = ?2 COLLATE NOCASE";
        self.watched(|conn| conn.query_row(sql, (name.len() as i64, name), |row| row.get::<_, i64>(0)))
            .map(|count| count > 0)
    }

    /// Opens the copy once more; collations that SQLite does not know compare bytes there, so nothing may depend on their order.
    pub(super) fn without_collations(&self) -> Result<Self> {
        let bare = Self::open_as(&self.path, &self.shown, self.observer)?;
        bare.accept_collations()?;
        Ok(bare)
    }

    /// Lets collations that SQLite does not know compare bytes from here on: nothing may depend on their order.
    pub(crate) fn accept_collations(&self) -> Result<()> {
        let accepted = self.conn.collation_needed(|conn, name| conn.create_collation(name, |a, b| a.cmp(b)));
        accepted.map_err(|error| Error::corrupt(&self.shown, describe(&error)))
    }

    /// Makes one over a connection that somebody else opened; statements may take up to `patience`.
    pub(super) fn over(conn: Connection, path: &Path, observer: &'a dyn Observer, patience: Duration) -> Self {
        let shown = path.display().to_string();
        Self { conn, path: path.to_path_buf(), shown, observer, patience, strict: Strict::default() }
    }

    /// Counts the rows of every table that holds its own data (no virtual tables, none of SQLite's).
    pub(crate) fn rows_per_table(&self) -> Result<Vec<TableRows>> {
        let own = "rootpage > 0 AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\'";
        let tables = self.watched(|conn| names_where(conn, own))?;
        let mut counts = Vec::with_capacity(tables.len());
        for table in tables {
            let count = |how: &str| {
                let sql = format!("SELECT count(*) FROM main.{}{how}", quoted(&table));
                self.watched(|conn| conn.query_row(&sql, [], |row| row.get::<_, i64>(0)))
            };
            // SQLite counts by the smallest index, which may need the application's own collation.
            let counted = match count("") {
                Err(Error::Corrupt { detail, .. }) if needs_the_application(detail.text()) => count(" NOT INDEXED"),
                counted => counted,
            };
            let rows = match counted {
                Ok(rows) => Ok(rows.unsigned_abs()),
                Err(Error::Interrupted) => return Err(Error::Interrupted),
                Err(Error::Corrupt { detail, .. }) => Err(detail.to_string()),
                Err(other) => Err(other.to_string()),
            };
            counts.push(TableRows { table, rows });
        }
        Ok(counts)
    }

    /// Runs a user's query; what is wrong with it, or why it was stopped, is [`Error::Refused`].
    pub(super) fn limited<T>(
        &self,
        stop: &Stop<'_>,
        work: impl FnOnce(&Connection) -> rusqlite::Result<T>,
    ) -> Result<T> {
        let stopped = OnceLock::new();
        let ask = || match stop() {
            Some(reason) => stopped.set(reason).is_ok() || stopped.get().is_some(),
            None => false,
        };
        let held = self.strict.hold();
        let run = self.watched_until(&ask, work);
        drop(held);
        match (run, stopped.into_inner()) {
            (Err(Error::Interrupted), Some(reason)) => Err(Error::refused(reason)),
            (Err(Error::Corrupt { detail, .. }), _) => Err(Error::Refused(detail)),
            (other, _) => other,
        }
    }

    /// Runs `work` while a second thread asks the observer, and interrupts SQLite as soon as it says so, or when patience ends.
    /// (SQLite's own progress handler would have to own the observer.)
    pub(crate) fn watched<T>(&self, work: impl FnOnce(&Connection) -> rusqlite::Result<T>) -> Result<T> {
        self.watched_until(&|| false, work)
    }

    fn watched_until<T>(
        &self,
        stop: &(dyn Fn() -> bool + Sync),
        work: impl FnOnce(&Connection) -> rusqlite::Result<T>,
    ) -> Result<T> {
        let handle = self.conn.get_interrupt_handle();
        let (observer, patience, started) = (self.observer, self.patience, Instant::now());
        let is_over = move || started.elapsed() > patience;
        let (done, waiting) = mpsc::channel::<()>();
        let result = thread::scope(|scope| {
            scope.spawn(move || {
                while waiting.recv_timeout(Duration::from_millis(20)) == Err(RecvTimeoutError::Timeout) {
                    if observer.interrupted() || is_over() || stop() {
                        handle.interrupt();
                    }
                }
            });
            let result = work(&self.conn);
            drop(done);
            result
        });
        result.map_err(|error| match error.sqlite_error_code() {
            Some(ErrorCode::OperationInterrupted) if !is_over() || observer.interrupted() => Error::Interrupted,
            Some(ErrorCode::OperationInterrupted) => {
                Error::corrupt(&self.shown, "takes longer to look at than any honest database of its size")
            }
            _ => Error::corrupt(&self.shown, describe(&error)),
        })
    }
}

/// Takes from the connection what a hostile schema could use against us, and bounds its memory.
fn harden(mut conn: Connection, strict: &Strict) -> rusqlite::Result<Connection> {
    conn.set_db_config(DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true)?;
    conn.set_db_config(DbConfig::SQLITE_DBCONFIG_DQS_DML, false)?;
    for (limit, value) in [
        (Limit::SQLITE_LIMIT_VDBE_OP, 500_000),
        (Limit::SQLITE_LIMIT_SCHEMA, 20_000),
        (Limit::SQLITE_LIMIT_ATTACHED, 0),
        (Limit::SQLITE_LIMIT_WORKER_THREADS, 0),
    ] {
        conn.set_limit(limit, value)?;
    }
    // A function of a path's bytes in UTF-8, whatever the database's encoding or the column's collation. Not for schemas.
    let flags = FunctionFlags::SQLITE_UTF8 | FunctionFlags::SQLITE_DETERMINISTIC | FunctionFlags::SQLITE_DIRECTONLY;
    conn.create_scalar_function("lrl_path_key", 1, flags, |context| {
        let mut key = path_bytes(context.get_raw(0));
        key.iter_mut().filter(|byte| **byte == b'/').for_each(|byte| *byte = 0);
        Ok(key)
    })?;
    conn.pragma_update(None, "cell_size_check", true)?;
    conn.pragma_update(None, "query_only", true)?;
    conn.pragma_update(None, "temp_store", 1)?;
    conn.pragma_update(None, "cache_size", -4096)?;
    strict.watch(&mut conn)?;
    Ok(conn)
}
