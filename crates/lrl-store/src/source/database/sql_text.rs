//! Names in SQL, and SQLite's values and messages as text.

use rusqlite::types::ValueRef;

use super::connect::text_of;

/// Values for messages and digests are read up to this length, in bytes.
pub(super) const SHORT_BYTES: usize = 200;
/// Paths are read up to this length, in bytes: no system has longer ones.
pub(super) const PATH_BYTES: usize = 64 << 10;

/// What SQLite says where a virtual table cannot be checked, for one because its tokenizer is the application's.
pub(super) const VIRTUAL_FAILED: &str = "SQL logic error";

/// Quotes a name for SQL.
pub fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// The SQL of a column's value, or of a text in place of one that is too long to be what it should.
pub(super) fn bounded(column: &str) -> String {
    format!(
        "CASE WHEN {column} IS NULL OR octet_length({column}) <= {SHORT_BYTES} THEN {column} \
         ELSE '(a value of ' || octet_length({column}) || ' bytes)' END"
    )
}

/// Cuts a text for people.
pub(super) fn clipped(text: &str) -> String {
    match text.char_indices().nth(SHORT_BYTES) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.into(),
    }
}

/// Returns a value as a short text for people.
pub(super) fn short(value: ValueRef<'_>) -> String {
    match value {
        ValueRef::Text(bytes) | ValueRef::Blob(bytes) => {
            clipped(&String::from_utf8_lossy(&bytes[..bytes.len().min(4 * SHORT_BYTES)]))
        }
        other => text_of(other).unwrap_or_default(),
    }
}

/// Returns the bytes of a value that is a path.
pub(super) fn path_bytes(value: ValueRef<'_>) -> Vec<u8> {
    match value {
        ValueRef::Text(bytes) | ValueRef::Blob(bytes) => bytes.to_vec(),
        other => text_of(other).unwrap_or_default().into_bytes(),
    }
}

/// Returns whether SQLite lacks something that applications register themselves.
pub(crate) fn needs_the_application(why: &str) -> bool {
    const LACKS: [&str; 7] = [
        "unknown tokenizer",
        "no such collation sequence",
        "unknown function:",
        "no such function:",
        "no such tokenizer",
        "no such module",
        // Of a table whose own order needs a collation.
        "no query solution",
    ];
    LACKS.iter().any(|lack| why.contains(lack))
}
