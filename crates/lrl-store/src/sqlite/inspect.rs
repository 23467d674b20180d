//! A careful look into a copy of a database that an attacker may have written. Owns the checks of the drill that need SQLite; never
//! opens a live database, never writes, leaves nothing beside the file.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use rusqlite::config::DbConfig;
use rusqlite::fallible_iterator::FallibleIterator;
use rusqlite::functions::FunctionFlags;
use rusqlite::limits::Limit;
use rusqlite::types::ValueRef;
use rusqlite::{Batch, Connection, ErrorCode, Row};

use super::connect::{describe, open_immutable, table_names, text_of};
use crate::error::{Error, Result};
use crate::progress::Observer;

/// A copy of a database, open for checking: immutable, with an untrusted schema.
pub struct Inspector<'a> {
    conn: Connection,
    path: PathBuf,
    observer: &'a dyn Observer,
    /// No statement takes longer.
    patience: Duration,
}

/// A row of the application's `assets` table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AssetRow {
    /// The primary key, for messages.
    pub id: String,
    /// Where the upload is, relative to the uploads directory; empty before the application has stored it. Not trustworthy.
    pub storage_path: Vec<u8>,
    /// The upload's length, where the row has a number.
    pub size_bytes: Option<i64>,
    /// The upload's SHA-256 as the application wrote it, where the row has one.
    pub sha256: Option<String>,
}

/// What [`Inspector::asset_rows`] found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AssetRows {
    /// There is no such table, or it lacks the columns; the text says which.
    NotApplicable(String),
    /// So many rows were given to the sink.
    Rows(u64),
}

/// How many rows a table has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableRows {
    /// The table's name.
    pub table: String,
    /// The count, or why it cannot be counted.
    pub rows: Result<u64, String>,
}

/// A value that a user's assertion yields.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// NULL, or no row at all.
    Null,
    /// A whole number.
    Integer(i64),
    /// A floating-point number.
    Real(f64),
    /// Text, with replacement characters where it is not UTF-8.
    Text(String),
    /// So many bytes.
    Blob(usize),
}

impl<'a> Inspector<'a> {
    /// Opens the copy at `path`. Errors: [`Error::Io`] if it is not there, [`Error::Corrupt`] if SQLite cannot read its schema.
    pub fn open(path: &Path, observer: &'a dyn Observer) -> Result<Self> {
        let real = fs::canonicalize(path).map_err(Error::io("open", path))?;
        let meta = fs::metadata(&real).map_err(Error::io("open", path))?;
        if !meta.is_file() {
            return Err(Error::corrupt(path.display(), "is not a regular file"));
        }
        let conn = open_immutable(&real).and_then(harden);
        let conn = conn.map_err(|error| Error::corrupt(path.display(), describe(&error)))?;
        // A slow disk reads a mebibyte in a second; a hostile schema can take any time.
        let patience = Duration::from_secs(600 + (meta.len() >> 20));
        let inspector = Self { conn, path: path.to_path_buf(), observer, patience };
        inspector.watched(|conn| conn.query_row("SELECT count(*) FROM sqlite_schema", [], |_| Ok(())))?;
        Ok(inspector)
    }

    #[cfg(test)]
    pub(super) fn set_patience(&mut self, patience: Duration) {
        self.patience = patience;
    }

    /// Names the tables, sorted.
    pub fn tables(&self) -> Result<Vec<String>> {
        self.watched(table_names)
    }

    /// Runs SQLite's own check of its structure; returns up to `limit` findings, none if it is whole. (`CHECK` constraints are not
    /// evaluated: SQLite does not parse them in a database that is open read-only.)
    pub fn integrity_check(&self, limit: u32) -> Result<Vec<String>> {
        let sql = format!("PRAGMA main.integrity_check({})", limit.max(1));
        let mut found = self.findings(&sql, limit, |row| text_of(row.get_ref(0)?))?;
        found.retain(|line| line != "ok");
        Ok(found)
    }

    /// Looks for rows whose foreign key leads nowhere; returns up to `limit` descriptions.
    pub fn foreign_key_check(&self, limit: u32) -> Result<Vec<String>> {
        self.findings("PRAGMA main.foreign_key_check", limit, |row| {
            let row_id = match row.get_ref(1)? {
                ValueRef::Null => "a row".to_string(),
                id => format!("row {}", text_of(id)?),
            };
            let (table, parent) = (text_of(row.get_ref(0)?)?, text_of(row.get_ref(2)?)?);
            Ok(format!("{table}: {row_id} refers to a row of {parent} that is not there"))
        })
    }

    /// Gives the rows of `assets` to `sink`, ordered by `storage_path` component by component (as bytes; `/` sorts first), so that
    /// they can be merged with a sorted list of files. Memory is bounded: SQLite sorts in a temporary file.
    pub fn asset_rows(&self, sink: &mut dyn FnMut(AssetRow) -> Result<()>) -> Result<AssetRows> {
        if let Some(reason) = self.watched(why_no_assets)? {
            return Ok(AssetRows::NotApplicable(reason));
        }
        let mut count = 0;
        let mut refused = None;
        self.watched(|conn| {
            let mut statement = conn.prepare(
                "SELECT id, storage_path, size_bytes, sha256 FROM main.assets ORDER BY lrl_path_key(storage_path)",
            )?;
            let mut rows = statement.query([])?;
            while let Some(row) = rows.next()? {
                if let Err(error) = sink(asset_row(row)?) {
                    refused = Some(error);
                    break;
                }
                count += 1;
            }
            Ok(())
        })?;
        refused.map_or(Ok(AssetRows::Rows(count)), Err)
    }

    /// Counts the rows of every table that holds its own data (no virtual tables, none of SQLite's).
    pub fn rows_per_table(&self) -> Result<Vec<TableRows>> {
        let tables = self.watched(|conn| {
            let mut statement = conn.prepare(
                "SELECT name FROM sqlite_schema WHERE type = 'table' AND rootpage > 0 AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\' \
                 ORDER BY name LIMIT 20000",
            )?;
            let names = statement.query_map([], |row| text_of(row.get_ref(0)?))?;
            names.collect::<Result<Vec<_>, _>>()
        })?;
        let mut counts = Vec::with_capacity(tables.len());
        for table in tables {
            let sql = format!("SELECT count(*) FROM main.\"{}\"", table.replace('"', "\"\""));
            let rows = match self.watched(|conn| conn.query_row(&sql, [], |row| row.get::<_, i64>(0))) {
                Ok(rows) => Ok(rows.unsigned_abs()),
                Err(Error::Interrupted) => return Err(Error::Interrupted),
                Err(Error::Corrupt { detail, .. }) => Err(detail),
                Err(other) => Err(other.to_string()),
            };
            counts.push(TableRows { table, rows });
        }
        Ok(counts)
    }

    /// Runs a user's query, which reads, and gives one value: one column of one row, or no row. `stop` is asked often; a query for
    /// which it has a reason ends. Errors: [`Error::Refused`] with what is wrong.
    pub fn scalar(&self, sql: &str, stop: &(dyn Fn() -> Option<String> + Sync)) -> Result<Value> {
        let stopped = OnceLock::new();
        let ask = || match stop() {
            Some(reason) => stopped.set(reason).is_ok() || stopped.get().is_some(),
            None => false,
        };
        let mut wrong = None;
        let value = self.watched_until(&ask, |conn| {
            let mut statements = Batch::new(conn, sql);
            let (Some(mut statement), None) = (statements.next()?, statements.next()?) else {
                wrong = Some("it must be one query");
                return Ok(Value::Null);
            };
            if !statement.readonly() || statement.column_count() != 1 {
                wrong = Some("it must read, and give one column");
                return Ok(Value::Null);
            }
            let mut rows = statement.query([])?;
            let Some(row) = rows.next()? else { return Ok(Value::Null) };
            let value = match row.get_ref(0)? {
                ValueRef::Null => Value::Null,
                ValueRef::Integer(number) => Value::Integer(number),
                ValueRef::Real(number) => Value::Real(number),
                text @ ValueRef::Text(_) => Value::Text(text_of(text)?),
                ValueRef::Blob(bytes) => Value::Blob(bytes.len()),
            };
            if rows.next()?.is_some() {
                wrong = Some("it gives more than one row");
            }
            Ok(value)
        });
        match (value, wrong, stopped.into_inner()) {
            (Ok(value), None, _) => Ok(value),
            (Ok(_), Some(wrong), _) => Err(Error::Refused(wrong.into())),
            (Err(Error::Interrupted), _, Some(reason)) => Err(Error::Refused(reason)),
            (Err(Error::Corrupt { detail, .. }), ..) => Err(Error::Refused(detail)),
            (Err(other), ..) => Err(other),
        }
    }

    /// Collects up to `limit` rows of a check; an error on the way is a finding too.
    fn findings(
        &self,
        sql: &str,
        limit: u32,
        describe_row: impl Fn(&Row<'_>) -> rusqlite::Result<String>,
    ) -> Result<Vec<String>> {
        let mut found = Vec::new();
        let run = self.watched(|conn| {
            let mut statement = conn.prepare(sql)?;
            let mut rows = statement.query([])?;
            while found.len() < limit as usize {
                let Some(row) = rows.next()? else { break };
                found.push(describe_row(row)?);
            }
            Ok(())
        });
        match run {
            Ok(()) => {}
            Err(Error::Corrupt { detail, .. }) => found.push(detail),
            Err(other) => return Err(other),
        }
        Ok(found)
    }

    /// Runs `work` while a second thread asks the observer, and interrupts SQLite as soon as it says so, or when patience ends.
    /// (SQLite's own progress handler would have to own the observer.)
    fn watched<T>(&self, work: impl FnOnce(&Connection) -> rusqlite::Result<T>) -> Result<T> {
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
                Error::corrupt(self.path.display(), "takes longer to look at than any honest database of its size")
            }
            _ => Error::corrupt(self.path.display(), describe(&error)),
        })
    }
}

/// Looks at a user's query without the database that it is meant for; an error says what is wrong with it.
pub fn check_query(sql: &str) -> Result<(), String> {
    const VERBS: [&str; 3] = ["SELECT", "WITH", "VALUES"];
    let first: String = sql.trim_start().chars().take_while(char::is_ascii_alphabetic).collect();
    if !VERBS.contains(&first.to_ascii_uppercase().as_str()) {
        return Err("does not read: it must begin with SELECT, WITH or VALUES".into());
    }
    if sql.contains('\0') {
        return Err("holds a NUL".into());
    }
    let conn = Connection::open_in_memory().map_err(|error| describe(&error))?;
    let mut statements = Batch::new(&conn, sql);
    let (first, second) = (statements.next().map(drop), statements.next().map(|more| more.is_some()));
    // Tables and columns are not there: only what is no SQL at all is wrong by itself.
    let grammar = ["syntax error", "incomplete input", "unrecognized token"];
    match first.map_err(|error| describe(&error)) {
        Err(text) if grammar.iter().any(|word| text.contains(word)) => return Err(format!("is no SQL: {text}")),
        Err(_) => {}
        Ok(()) if second.is_ok_and(|more| !more) => {}
        Ok(()) => return Err("is more than one".into()),
    }
    Ok(())
}

/// Takes from the connection what a hostile schema could use against us, and bounds its memory.
fn harden(conn: Connection) -> rusqlite::Result<Connection> {
    conn.set_db_config(DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true)?;
    conn.set_db_config(DbConfig::SQLITE_DBCONFIG_DQS_DML, false)?;
    for (limit, value) in [
        (Limit::SQLITE_LIMIT_LENGTH, 32 << 20),
        (Limit::SQLITE_LIMIT_SQL_LENGTH, 1 << 20),
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
    conn.pragma_update(None, "temp_store", 1)?;
    conn.pragma_update(None, "cache_size", -4096)?;
    Ok(conn)
}

fn path_bytes(value: ValueRef<'_>) -> Vec<u8> {
    match value {
        ValueRef::Text(bytes) | ValueRef::Blob(bytes) => bytes.to_vec(),
        other => text_of(other).unwrap_or_default().into_bytes(),
    }
}

fn asset_row(row: &Row<'_>) -> rusqlite::Result<AssetRow> {
    Ok(AssetRow {
        id: text_of(row.get_ref(0)?)?,
        storage_path: path_bytes(row.get_ref(1)?),
        size_bytes: match row.get_ref(2)? {
            ValueRef::Integer(size) => Some(size),
            ValueRef::Text(digits) => std::str::from_utf8(digits).ok().and_then(|digits| digits.trim().parse().ok()),
            _ => None,
        },
        sha256: match row.get_ref(3)? {
            ValueRef::Null => None,
            value => Some(text_of(value)?).filter(|digest| !digest.is_empty()),
        },
    })
}

/// Says why the check of asset rows does not apply; `None` if it does.
fn why_no_assets(conn: &Connection) -> rusqlite::Result<Option<String>> {
    let sql =
        "SELECT count(*) FROM sqlite_schema WHERE type = 'table' AND rootpage > 0 AND name = 'assets' COLLATE NOCASE";
    if conn.query_row(sql, [], |row| row.get::<_, i64>(0))? == 0 {
        return Ok(Some("there is no table assets".into()));
    }
    let mut statement = conn.prepare("SELECT lower(name) FROM pragma_table_xinfo('assets')")?;
    let columns = statement.query_map([], |row| text_of(row.get_ref(0)?))?.collect::<Result<Vec<_>, _>>()?;
    let missing =
        ["id", "storage_path", "size_bytes", "sha256"].map(|name| (name, columns.iter().any(|have| have == name)));
    let missing: Vec<&str> = missing.iter().filter(|(_, there)| !there).map(|(name, _)| *name).collect();
    Ok((!missing.is_empty()).then(|| format!("the table assets has no column {}", missing.join(", "))))
}
