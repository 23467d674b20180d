//! The rows of the application's table `assets`, in the order of their paths.

use rusqlite::types::ValueRef;
use rusqlite::{Connection, Row};

use super::connect::text_of;
use super::inspect::Inspector;
use super::sql_text::{PATH_BYTES, bounded, path_bytes};
use crate::error::Result;

/// A row of the application's `assets` table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct AssetRow {
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
pub(crate) enum AssetRows {
    /// There is no such table, or it lacks the columns; the text says which.
    NotApplicable(String),
    /// Rows that were given to the sink.
    Rows(u64),
}

impl Inspector<'_> {
    /// Gives the rows of `assets` to `sink`, ordered by `storage_path` component by component (as bytes; `/` sorts first), so that
    /// they can be merged with a sorted list of files. Memory is bounded: SQLite sorts in a temporary file.
    pub(crate) fn asset_rows(&self, sink: &mut dyn FnMut(AssetRow) -> Result<()>) -> Result<AssetRows> {
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

/// Returns why the check of asset rows does not apply; `None` if it does.
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
