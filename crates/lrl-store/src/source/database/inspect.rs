//! A careful look into a copy of a database that an attacker may have written. Owns the checks of the drill that need SQLite; never
//! opens a live database, never writes, leaves nothing beside the file.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant};
use std::{fs, thread};

use rusqlite::config::DbConfig;
use rusqlite::fallible_iterator::FallibleIterator;
use rusqlite::functions::FunctionFlags;
use rusqlite::limits::Limit;
use rusqlite::types::ValueRef;
use rusqlite::{Batch, Connection, ErrorCode, Row, Statement};

use super::authorizer::Strict;
pub use super::connect::Tables;
use super::connect::{describe, names_where, open_immutable, tables, text_of};
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

/// A row of the application's `assets` table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AssetRow {
    /// The primary key, for messages.
    pub id: String,
    /// Where the upload is, relative to the uploads directory; empty before the application has stored it. Not trustworthy.
    pub storage_path: Vec<u8>,
    /// The length of the path in bytes, where it is too long to be read.
    pub long_path: Option<u64>,
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
    /// Rows that were given to the sink.
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

/// What SQLite's check of the structure found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Integrity {
    /// What is wrong, up to a limit.
    pub findings: Vec<String>,
    /// What could not be checked here, because it needs what the application registers with SQLite itself: by table, and why.
    pub not_checkable: Vec<String>,
}

/// Rows whose foreign key leads nowhere.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Orphans {
    /// How many there are, by table; tables without any are left out.
    pub rows: BTreeMap<String, u64>,
    /// Some of them, for people.
    pub described: Vec<String>,
    /// What could not be checked here, by table, and why.
    pub not_checkable: Vec<String>,
    /// Why not all rows could be read.
    pub error: Option<String>,
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
    /// A blob, by its length in bytes.
    Blob(usize),
}

impl<'a> Inspector<'a> {
    /// Opens the copy at `path`. Errors: [`Error::Io`] if it is not there, [`Error::Corrupt`] if SQLite cannot read its schema.
    pub fn open(path: &Path, observer: &'a dyn Observer) -> Result<Self> {
        Self::open_as(path, &path.display().to_string(), observer)
    }

    /// As [`Inspector::open`]; `shown` is what the copy is called in messages. Once it is open, the file needs no name.
    pub fn open_as(path: &Path, shown: &str, observer: &'a dyn Observer) -> Result<Self> {
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
    pub fn has_table(&self, name: &str) -> Result<bool> {
        let sql = "SELECT count(*) FROM sqlite_schema WHERE type = 'table' AND octet_length(name) = ?1 AND name = ?2 COLLATE NOCASE";
        self.watched(|conn| conn.query_row(sql, (name.len() as i64, name), |row| row.get::<_, i64>(0)))
            .map(|count| count > 0)
    }

    /// Runs SQLite's own check of its structure; lists up to `limit` findings, none if it is whole. (`CHECK` constraints are not
    /// evaluated: SQLite does not parse them in a database that is open read-only.)
    ///
    /// One collation or function that only the application has keeps SQLite from checking anything. Then the structure is checked without
    /// the order of indexes, and each table by itself.
    pub fn integrity_check(&self, limit: u32) -> Result<Integrity> {
        let limit = limit.max(1);
        let (mut findings, failed) = self.lines(&format!("PRAGMA main.integrity_check({limit})"), limit)?;
        let mut not_checkable = Vec::new();
        let Some(why) = failed else { return Ok(Integrity { findings, not_checkable }) };
        // The full text index of a virtual table is checked last, and SQLite does not say which one it gave up on.
        let is_virtual = why.starts_with(VIRTUAL_FAILED);
        if !needs_the_application(&why) && !is_virtual {
            findings.push(why);
            return Ok(Integrity { findings, not_checkable });
        }
        let bare = self.without_collations()?;
        let (found, failed) = bare.lines(&format!("PRAGMA main.quick_check({limit})"), limit)?;
        findings.extend(found);
        match failed {
            Some(why) if why.starts_with(VIRTUAL_FAILED) => {}
            Some(why) if needs_the_application(&why) => not_checkable.push(format!("the structure as a whole: {why}")),
            failed => findings.extend(failed),
        }
        let virtuals = self.watched(|conn| names_where(conn, "rootpage = 0"))?;
        for table in self.tables()?.names {
            let (found, failed) = self.lines(&format!("PRAGMA main.integrity_check({})", quoted(&table)), limit)?;
            findings.extend(found);
            let Some(why) = failed else { continue };
            if needs_the_application(&why) || why.starts_with(VIRTUAL_FAILED) && virtuals.contains(&table) {
                not_checkable.push(format!("{table}: {why}"));
            } else {
                findings.push(why);
            }
        }
        let mut seen = BTreeSet::new();
        findings.retain(|line| seen.insert(line.clone()));
        findings.truncate(limit as usize);
        Ok(Integrity { findings, not_checkable })
    }

    /// Opens the copy once more; collations that SQLite does not know compare bytes there, so nothing may depend on their order.
    fn without_collations(&self) -> Result<Self> {
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

    /// Looks for rows whose foreign key leads nowhere; describes up to `limit` and counts all.
    pub fn foreign_key_check(&self, limit: u32) -> Result<Orphans> {
        let mut orphans = Orphans::default();
        let Some(why) = self.orphans("PRAGMA main.foreign_key_check", limit, &mut orphans)? else { return Ok(orphans) };
        if !needs_the_application(&why) && !why.contains("foreign key mismatch") {
            orphans.error = Some(why);
            return Ok(orphans);
        }
        orphans = Orphans::default();
        for table in self.tables()?.names {
            let failed =
                self.orphans(&format!("PRAGMA main.foreign_key_check({})", quoted(&table)), limit, &mut orphans)?;
            match failed {
                Some(why) if needs_the_application(&why) || why.contains("foreign key mismatch") => {
                    orphans.not_checkable.push(format!("{table}: {why}"));
                }
                failed => orphans.error = orphans.error.or(failed),
            }
        }
        Ok(orphans)
    }

    /// Adds the rows that one check finds; returns why it could not read them all.
    fn orphans(&self, sql: &str, limit: u32, orphans: &mut Orphans) -> Result<Option<String>> {
        /// Only an attacker's database has orphans in more tables.
        const TABLES: usize = 1000;
        let run = self.watched(|conn| {
            let mut statement = conn.prepare(sql)?;
            let mut rows = statement.query([])?;
            while let Some(row) = rows.next()? {
                let table = short(row.get_ref(0)?);
                if orphans.described.len() < limit as usize {
                    let row_id = match row.get_ref(1)? {
                        ValueRef::Null => "a row".to_string(),
                        id => format!("row {}", short(id)),
                    };
                    let parent = short(row.get_ref(2)?);
                    orphans.described.push(format!("{table}: {row_id} refers to a row of {parent} that is not there"));
                }
                if orphans.rows.len() < TABLES || orphans.rows.contains_key(&table) {
                    *orphans.rows.entry(table).or_default() += 1;
                }
            }
            Ok(())
        });
        reason(run)
    }

    /// Gives the rows of `assets` to `sink`, ordered by `storage_path` component by component (as bytes; `/` sorts first), so that
    /// they can be merged with a sorted list of files. Memory is bounded: SQLite sorts in a temporary file.
    pub fn asset_rows(&self, sink: &mut dyn FnMut(AssetRow) -> Result<()>) -> Result<AssetRows> {
        if let Some(reason) = self.watched(why_no_assets)? {
            return Ok(AssetRows::NotApplicable(reason));
        }
        let path = format!("CASE WHEN octet_length(storage_path) <= {PATH_BYTES} THEN storage_path END");
        let mut count = 0;
        let mut refused = None;
        self.watched(|conn| {
            let mut statement = conn.prepare(
                // What is too long is never read: SQLite knows the length without, and sorts what is short.
                &format!(
                    "SELECT {}, {path}, {}, {}, octet_length(storage_path) FROM main.assets ORDER BY lrl_path_key({path})",
                    bounded("id"),
                    bounded("size_bytes"),
                    bounded("sha256"),
                ),
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
                Err(Error::Corrupt { detail, .. }) if needs_the_application(&detail) => count(" NOT INDEXED"),
                counted => counted,
            };
            let rows = match counted {
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
    pub fn scalar(&self, sql: &str, stop: &Stop<'_>) -> Result<Value> {
        let mut wrong = None;
        let value = self.limited(stop, |conn| {
            let mut statements = Batch::new(conn, sql);
            let Some(mut statement) = only(&mut statements)? else {
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
        })?;
        wrong.map_or(Ok(value), |wrong: &str| Err(Error::Refused(wrong.into())))
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
            (Err(Error::Interrupted), Some(reason)) => Err(Error::Refused(reason)),
            (Err(Error::Corrupt { detail, .. }), _) => Err(Error::Refused(detail)),
            (other, _) => other,
        }
    }

    /// Collects up to `limit` lines of a check, each short; and the error that ended it early.
    fn lines(&self, sql: &str, limit: u32) -> Result<(Vec<String>, Option<String>)> {
        let mut found = Vec::new();
        let run = self.watched(|conn| {
            let mut statement = conn.prepare(sql)?;
            let mut rows = statement.query([])?;
            while let Some(row) = rows.next()? {
                // SQLite puts what it says of the whole file into one row of several lines, under a heading.
                let text = match row.get_ref(0)? {
                    ValueRef::Text(bytes) => String::from_utf8_lossy(bytes).into_owned(),
                    other => text_of(other)?,
                };
                let lines = text.lines().filter(|line| *line != "ok" && !line.starts_with("*** in database "));
                found.extend(lines.filter(|line| !line.is_empty()).take(limit as usize).map(clipped));
                if found.len() >= limit as usize {
                    break;
                }
            }
            Ok(())
        });
        found.truncate(limit as usize);
        Ok((found, reason(run)?))
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

/// Returns the statement of a text that holds just one.
pub(super) fn only<'c>(statements: &mut Batch<'c, '_>) -> rusqlite::Result<Option<Statement<'c>>> {
    let Some(first) = statements.next()? else { return Ok(None) };
    // A second one may well be such that it is not even compiled.
    Ok(matches!(statements.next(), Ok(None)).then_some(first))
}

/// Returns whether a text begins as a query does that reads.
pub fn begins_query(sql: &str) -> bool {
    const VERBS: [&str; 3] = ["SELECT", "WITH", "VALUES"];
    let first: String = sql.trim_start().chars().take_while(char::is_ascii_alphabetic).collect();
    VERBS.contains(&first.to_ascii_uppercase().as_str())
}

/// Looks at a user's query without the database that it is meant for; an error says what is wrong with it.
pub fn check_query(sql: &str) -> Result<(), String> {
    if !begins_query(sql) {
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

/// Values for messages and digests are read up to this length, in bytes.
pub(super) const SHORT_BYTES: usize = 200;
/// Paths are read up to this length, in bytes: no system has longer ones.
pub(super) const PATH_BYTES: usize = 64 << 10;

/// The SQL of a column's value, or of a text in place of one that is too long to be what it should.
fn bounded(column: &str) -> String {
    format!(
        "CASE WHEN {column} IS NULL OR octet_length({column}) <= {SHORT_BYTES} THEN {column} \
         ELSE '(a value of ' || octet_length({column}) || ' bytes)' END"
    )
}

/// Quotes a name for SQL.
pub fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// Cuts a text for people.
fn clipped(text: &str) -> String {
    match text.char_indices().nth(SHORT_BYTES) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.into(),
    }
}

/// Returns a value as a short text for people.
fn short(value: ValueRef<'_>) -> String {
    match value {
        ValueRef::Text(bytes) | ValueRef::Blob(bytes) => {
            clipped(&String::from_utf8_lossy(&bytes[..bytes.len().min(4 * SHORT_BYTES)]))
        }
        other => text_of(other).unwrap_or_default(),
    }
}

/// What SQLite says where a virtual table cannot be checked, for one because its tokenizer is the application's.
const VIRTUAL_FAILED: &str = "SQL logic error";

/// Returns whether SQLite lacks something that applications register themselves.
pub(crate) fn needs_the_application(why: &str) -> bool {
    const LACKS: [&str; 6] = [
        "unknown tokenizer",
        "no such collation sequence",
        "unknown function:",
        "no such function:",
        "no such tokenizer",
        "no such module",
    ];
    LACKS.iter().any(|lack| why.contains(lack))
}

/// What SQLite says is wrong with a copy is a finding; anything else is an error.
fn reason(run: Result<()>) -> Result<Option<String>> {
    match run {
        Ok(()) => Ok(None),
        Err(Error::Corrupt { detail, .. }) => Ok(Some(detail)),
        Err(other) => Err(other),
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
        long_path: match row.get_ref(4)? {
            ValueRef::Integer(bytes) if bytes > PATH_BYTES as i64 => Some(bytes.unsigned_abs()),
            _ => None,
        },
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
    let mut has = conn.prepare("SELECT count(*) FROM pragma_table_xinfo('assets') WHERE name = ?1 COLLATE NOCASE")?;
    let mut missing = Vec::new();
    for name in ["id", "storage_path", "size_bytes", "sha256"] {
        if has.query_row([name], |row| row.get::<_, i64>(0))? == 0 {
            missing.push(name);
        }
    }
    Ok((!missing.is_empty()).then(|| format!("the table assets has no column {}", missing.join(", "))))
}
