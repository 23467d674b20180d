//! A new database with one table: rows of another database, in a file of their own.

use std::path::Path;

use rusqlite::{Connection, params_from_iter};

use super::cell::{Encoding, OwnedCell};
use super::connect::describe;
use super::definition::{is_single, plain_type};
use super::sql_text::quoted;
use super::table_shape::{TableKind, TableShape, name_list};
use crate::error::{Error, Result};

/// Gives rows to a sink; may be asked twice.
pub(crate) type Rows<'r> = dyn FnMut(&mut dyn FnMut(&[OwnedCell]) -> Result<()>) -> Result<()> + 'r;

/// Returns a definition of a table with these columns, and nothing that could refuse a row or needs the application.
pub(crate) fn plain_definition(shape: &TableShape) -> String {
    let column =
        |column: &super::table_shape::Column| format!("{} {}", quoted(&column.name), plain_type(&column.declared));
    let columns: Vec<String> = shape.stored().map(|one| column(one).trim_end().to_string()).collect();
    format!("CREATE TABLE {}({})", quoted(&shape.name), columns.join(", "))
}

/// Writes the rows into a table of the empty file at `path`. The table has its own definition or, where that refuses rows or needs the
/// application, a plain one; then the reason is returned.
///
/// # Errors
/// [`Error::Io`] or [`Error::Refused`] where the file cannot be written, the error of `rows`.
pub(crate) fn write_table(
    path: &Path,
    encoding: Encoding,
    shape: &TableShape,
    rows: &mut Rows<'_>,
) -> Result<Option<String>> {
    let refused =
        |error: rusqlite::Error| Error::refused(format!("cannot write {}: {}", path.display(), describe(&error)));
    let why = if shape.kind == TableKind::Ordinary && is_single(&shape.sql) {
        match attempt(path, encoding, &shape.sql, shape, rows)? {
            Ok(()) => return Ok(None),
            Err(error) => describe(&error),
        }
    } else {
        "its definition is that of a virtual table".to_string()
    };
    let file = std::fs::File::options().write(true).open(path).map_err(Error::io("open", path))?;
    file.set_len(0).map_err(Error::io("write", path))?;
    attempt(path, encoding, &plain_definition(shape), shape, rows)?.map_err(refused)?;
    Ok(Some(why))
}

/// The inner error is what SQLite says of the definition or a row.
fn attempt(
    path: &Path,
    encoding: Encoding,
    definition: &str,
    shape: &TableShape,
    rows: &mut Rows<'_>,
) -> Result<rusqlite::Result<()>> {
    let conn = match open(path, encoding, definition) {
        Ok(conn) => conn,
        Err(error) => return Ok(Err(error)),
    };
    let columns: Vec<&str> = shape.stored().map(|column| column.name.as_str()).collect();
    let places = vec!["?"; columns.len()].join(", ");
    let sql = format!("INSERT INTO {}({}) VALUES({places})", quoted(&shape.name), name_list(columns));
    let mut failed = None;
    let written = {
        let mut insert = match conn.prepare(&sql) {
            Ok(insert) => insert,
            Err(error) => return Ok(Err(error)),
        };
        rows(&mut |cells| {
            insert.execute(params_from_iter(cells)).map(drop).map_err(|error| {
                failed = Some(error);
                // Only has to stop.
                Error::Interrupted
            })
        })
    };
    if let Some(error) = failed {
        return Ok(Err(error));
    }
    written?;
    Ok(conn.execute_batch("COMMIT").and_then(|()| conn.close().map_err(|(_, error)| error)))
}

fn open(path: &Path, encoding: Encoding, definition: &str) -> rusqlite::Result<Connection> {
    let conn = Connection::open(path)?;
    let encoding = match encoding {
        Encoding::Utf8 => "UTF-8",
        Encoding::Utf16Le => "UTF-16le",
        Encoding::Utf16Be => "UTF-16be",
    };
    conn.execute_batch(&format!(
        "PRAGMA encoding='{encoding}'; PRAGMA journal_mode=OFF; PRAGMA synchronous=OFF; PRAGMA foreign_keys=OFF; PRAGMA cache_size=-4096;
         PRAGMA trusted_schema=OFF; BEGIN"
    ))?;
    conn.execute(definition, [])?;
    Ok(conn)
}
