//! A user's query: whether it is one that reads, and its one value.

use rusqlite::fallible_iterator::FallibleIterator;
use rusqlite::types::ValueRef;
use rusqlite::{Batch, Connection, Statement};

use super::connect::{describe, text_of};
use super::inspect::{Inspector, Stop};
use crate::error::{Error, Result};

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

impl Inspector<'_> {
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
