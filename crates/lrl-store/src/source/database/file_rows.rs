//! A user's query whose rows name files: `path`, and what the row knows of the file. Runs under the limits of every user's query.

use rusqlite::types::ValueRef;
use rusqlite::{Batch, Row, Statement};

use super::connect::text_of;
use super::inspect::{Inspector, Stop};
use super::sql_text::{PATH_BYTES, SHORT_BYTES};
use super::user_query::{check_query, only};
use crate::error::{Error, Result};
use crate::units::hex;

/// A row that names a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct FileRow {
    /// The file's path as the row has it. Not trustworthy.
    pub path: RowPath,
    /// What else the row knows.
    pub facts: FileFacts,
}

/// What a row knows of its file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct FileFacts {
    /// The file's length, or what stands there in its place; `None` where the row has none.
    pub size: Option<Result<u64, String>>,
    /// SHA-256 in hexadecimal digits, where the row has one. Not necessarily digits.
    pub sha256: Option<String>,
    /// MD5 in hexadecimal digits, where the row has one.
    pub md5: Option<String>,
    /// MD5 in base64, where the row has one.
    pub md5_base64: Option<String>,
}

/// What a row has for a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum RowPath {
    /// Nothing: NULL or an empty text.
    Empty,
    /// These bytes.
    Bytes(Vec<u8>),
    /// More bytes than any path has, which were not read: how many.
    TooLong(u64),
}

/// The columns that a query may give, in any order.
const COLUMNS: [&str; 5] = ["path", "size", "sha256", "md5", "md5_base64"];

/// Which column of the query is which of [`COLUMNS`].
type Places = [Option<usize>; COLUMNS.len()];

/// Returns whether a query may give MD5 digests: a column gets its name from the query's own text, or from a table by `*`.
pub(crate) fn may_give_md5(sql: &str) -> bool {
    sql.contains('*') || sql.to_ascii_lowercase().contains("md5")
}

impl Inspector<'_> {
    /// Runs a user's query, and gives its rows to `sink`; returns how many there were. `stop` is asked often; a query for which it has a reason
    /// ends.
    ///
    /// # Errors
    /// [`Error::Refused`] with what is wrong with the query, the error of `sink`, [`Error::Interrupted`].
    pub(crate) fn file_rows(
        &self,
        sql: &str,
        stop: &Stop<'_>,
        sink: &mut dyn FnMut(FileRow) -> Result<()>,
    ) -> Result<u64> {
        check_query(sql).map_err(|why| Error::refused(format!("the query {why}")))?;
        let (mut refused, mut count) = (None, 0);
        self.limited(stop, |conn| {
            let mut statements = Batch::new(conn, sql);
            let Some(mut statement) = only(&mut statements)? else {
                refused = Some(Error::Refused("it must be one query".into()));
                return Ok(());
            };
            let places = match places(&statement) {
                Ok(places) => places,
                Err(why) => {
                    refused = Some(Error::refused(why));
                    return Ok(());
                }
            };
            let mut rows = statement.query([])?;
            while let Some(row) = rows.next()? {
                if let Err(error) = sink(file_row(row, &places)?) {
                    refused = Some(error);
                    break;
                }
                count += 1;
            }
            Ok(())
        })?;
        refused.map_or(Ok(count), Err)
    }
}

/// Finds the columns by their names; errors are texts for the user.
fn places(statement: &Statement<'_>) -> Result<Places, String> {
    if !statement.readonly() {
        return Err("it must read".into());
    }
    let mut places = Places::default();
    let mut others = Vec::new();
    for (at, name) in statement.column_names().enumerate() {
        match COLUMNS.iter().position(|known| known.eq_ignore_ascii_case(name)) {
            Some(known) if places[known].is_some() => return Err(format!("it gives the column {name} twice")),
            Some(known) => places[known] = Some(at),
            None => others.push(format!("{:?}", name.chars().take(60).collect::<String>())),
        }
    }
    let wanted = "it must give path, and may give size and one of sha256, md5, md5_base64";
    if !others.is_empty() {
        let more = others.len().saturating_sub(5);
        others.truncate(5);
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        return Err(format!("{wanted}; it gives {}{more} too: name columns with AS", others.join(", ")));
    }
    if places[0].is_none() { Err(format!("{wanted}; it gives no path")) } else { Ok(places) }
}

fn file_row(row: &Row<'_>, places: &Places) -> rusqlite::Result<FileRow> {
    let value = |column: usize| places[column].map_or(Ok(ValueRef::Null), |at| row.get_ref(at));
    let digest = |column: usize| value(column).and_then(|value| digest(value, COLUMNS[column] == "md5_base64"));
    let facts = FileFacts { size: size(value(1)?), sha256: digest(2)?, md5: digest(3)?, md5_base64: digest(4)? };
    Ok(FileRow { path: path(value(0)?)?, facts })
}

fn path(value: ValueRef<'_>) -> rusqlite::Result<RowPath> {
    Ok(match value {
        ValueRef::Null | ValueRef::Text(b"") | ValueRef::Blob(b"") => RowPath::Empty,
        ValueRef::Text(bytes) | ValueRef::Blob(bytes) if bytes.len() > PATH_BYTES => {
            RowPath::TooLong(bytes.len() as u64)
        }
        ValueRef::Text(bytes) | ValueRef::Blob(bytes) => RowPath::Bytes(bytes.to_vec()),
        number => RowPath::Bytes(text_of(number)?.into_bytes()),
    })
}

fn size(value: ValueRef<'_>) -> Option<Result<u64, String>> {
    let other = |text: &[u8]| Err(String::from_utf8_lossy(&text[..text.len().min(SHORT_BYTES)]).into_owned());
    match value {
        ValueRef::Null | ValueRef::Text(b"") => None,
        ValueRef::Integer(size) => Some(u64::try_from(size).map_err(|_| size.to_string())),
        // Columns without a type hold what the application gave them.
        ValueRef::Real(size) if size >= 0.0 && size.fract() == 0.0 && size < 2f64.powi(53) => Some(Ok(size as u64)),
        ValueRef::Real(size) => Some(Err(size.to_string())),
        ValueRef::Text(text) => {
            let digits = std::str::from_utf8(text).ok().and_then(|text| text.trim().parse().ok());
            Some(digits.map_or_else(|| other(text), Ok))
        }
        ValueRef::Blob(_) => Some(Err("a blob".into())),
    }
}

/// A digest as text; a blob of a hexadecimal column holds the digest itself.
fn digest(value: ValueRef<'_>, is_base64: bool) -> rusqlite::Result<Option<String>> {
    let text = match value {
        ValueRef::Text(bytes) | ValueRef::Blob(bytes) if bytes.len() > SHORT_BYTES => {
            format!("(a value of {} bytes)", bytes.len())
        }
        ValueRef::Blob(bytes) if !is_base64 => hex(bytes),
        value => text_of(value)?.trim().to_string(),
    };
    Ok(Some(text).filter(|text| !text.is_empty()))
}

#[cfg(test)]
mod tests {
    use super::may_give_md5;

    #[test]
    fn md5_is_expected_wherever_a_column_may_have_its_name() {
        for sql in ["SELECT a AS Md5 FROM t", "SELECT checksum md5_base64 FROM t", "SELECT * FROM t", "SELECT t.md5, p"]
        {
            assert!(may_give_md5(sql), "{sql}");
        }
        assert!(!may_give_md5("SELECT path, size, sha256 FROM files"));
    }
}
