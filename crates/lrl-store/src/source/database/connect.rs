//! How connections are opened and what SQLite's refusals mean. Owns the settings and the result codes; never reads a page itself.

use crate::budget::SQLITE_HEAP_BYTES;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::limits::Limit;
use rusqlite::{Connection, ErrorCode, OpenFlags, ffi};

/// Why SQLite would not let us read, by what can be done about it.
#[derive(Debug)]
pub(crate) enum Refusal {
    /// Another process holds the lock; worth waiting for.
    Busy,
    /// A crash left a journal that has to be rolled back first, which a read-only connection refuses to do.
    HotJournal,
    /// The side files of WAL mode cannot be made (read-only directory or file system).
    NoSideFiles(String),
    /// Not SQLite, encrypted, or too damaged to be opened.
    NotDatabase(String),
    /// Anything else: I/O errors, no memory.
    Other(String),
}

impl From<rusqlite::Error> for Refusal {
    fn from(error: rusqlite::Error) -> Self {
        let text = describe(&error);
        let Some(code) = error.sqlite_error() else { return Self::Other(text) };
        match (code.code, code.extended_code) {
            (_, ffi::SQLITE_READONLY_ROLLBACK) => Self::HotJournal,
            (ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked | ErrorCode::FileLockingProtocolFailed, _) => {
                Self::Busy
            }
            (ErrorCode::NotADatabase | ErrorCode::DatabaseCorrupt, _) => Self::NotDatabase(text),
            // A schema that takes more memory than any honest one.
            (ErrorCode::TooBig | ErrorCode::OutOfMemory, _) => Self::NotDatabase(text),
            // "unsupported file format" of a schema format number that SQLite does not know.
            (ErrorCode::Unknown, ffi::SQLITE_ERROR) => Self::NotDatabase(text),
            (ErrorCode::CannotOpen | ErrorCode::ReadOnly, _) => Self::NoSideFiles(text),
            _ => Self::Other(text),
        }
    }
}

/// Says what SQLite said, in one line.
pub(crate) fn describe(error: &rusqlite::Error) -> String {
    /// A message may hold a whole definition of the schema.
    const MOST: usize = 500;
    let text = match error {
        rusqlite::Error::SqliteFailure(code, _) if code.code == ErrorCode::OutOfMemory => {
            format!(
                "it needs more than the {} MiB of memory that SQLite may take (SQLite code 7)",
                SQLITE_HEAP_BYTES >> 20
            )
        }
        // Only statements of users are held to what they may do.
        rusqlite::Error::SqliteFailure(code, message) if code.code == ErrorCode::AuthorizationForStatementDenied => {
            let what = message.as_deref().unwrap_or("not authorized");
            format!("it must read, and nothing else: {what} (SQLite code {})", code.extended_code)
        }
        rusqlite::Error::SqliteFailure(code, Some(message)) => {
            format!("{message} (SQLite code {})", code.extended_code)
        }
        rusqlite::Error::SqliteFailure(code, None) => format!("{code} (SQLite code {})", code.extended_code),
        other => other.to_string(),
    };
    let text = text.replace(['\n', '\r'], " ");
    match text.char_indices().nth(MOST) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

/// Opens the application's database so that nothing in it or beside it changes, locks apart: read-only, and no checkpoint even if
/// ours turns out to be the last connection. Waiting is the caller's, so that it can be interrupted.
pub(crate) fn open_live(path: &Path) -> Result<Connection, rusqlite::Error> {
    configure(Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX)?)
}

/// Opens our own copy of a database with its journal or WAL, which SQLite then rolls back or replays.
pub(crate) fn open_copy(path: &Path) -> Result<Connection, rusqlite::Error> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let conn = configure(Connection::open_with_flags(path, flags)?)?;
    // Nobody else has it: then SQLite keeps the WAL's index in memory, and maps no file that a full disk could not back.
    conn.pragma_update(None, "locking_mode", "EXCLUSIVE")?;
    Ok(conn)
}

/// Opens a file that nobody changes: no locks are taken and no side file is read or made, whatever its header says.
pub(crate) fn open_immutable(path: &Path) -> Result<Connection, rusqlite::Error> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_URI | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    configure(Connection::open_with_flags(immutable_uri(path), flags)?)
}

/// No value that SQLite reads or computes is longer, in bytes.
const VALUE_BYTES: i32 = 8 << 20;

pub(super) fn configure(conn: Connection) -> Result<Connection, rusqlite::Error> {
    conn.pragma_update(None, "hard_heap_limit", SQLITE_HEAP_BYTES)?;
    for (limit, value) in [(Limit::SQLITE_LIMIT_LENGTH, VALUE_BYTES), (Limit::SQLITE_LIMIT_SQL_LENGTH, 1 << 20)] {
        conn.set_limit(limit, value)?;
    }
    conn.busy_timeout(Duration::ZERO)?;
    conn.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
    conn.set_db_config(DbConfig::SQLITE_DBCONFIG_TRUSTED_SCHEMA, false)?;
    conn.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_TRIGGER, false)?;
    // A statement about a table would need those that its foreign keys name.
    conn.pragma_update(None, "foreign_keys", false)?;
    // A mapped page of a file that shrinks or has a bad sector is a SIGBUS; a read is an error code.
    conn.pragma_update(None, "mmap_size", 0)?;
    Ok(conn)
}

/// Returns the `file:` URI of an absolute path; every byte that could mean something in a URI is percent-encoded.
fn immutable_uri(path: &Path) -> String {
    let mut uri = String::from("file://");
    for &byte in path.as_os_str().as_bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'/' | b'.' | b'_' | b'-' => uri.push(char::from(byte)),
            _ => uri.push_str(&format!("%{byte:02x}")),
        }
    }
    uri.push_str("?immutable=1");
    uri
}

/// A longer name is no honest table's; in bytes.
const NAME_BYTES: usize = 512;
/// Names are kept up to this sum, in bytes: every snapshot and every record of a drill repeats them.
const NAMES_BYTES: usize = 64 << 10;

/// Names of the tables, sorted, up to a bound; those beyond it are only counted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tables {
    /// The names.
    pub names: Vec<String>,
    /// How many tables have a name that is not among them.
    pub more: u64,
}

/// Lists the tables. Refuses a schema with absurdly many, which only an attacker writes.
pub(crate) fn tables(conn: &Connection) -> Result<Tables, rusqlite::Error> {
    const MOST: u64 = 20_000;
    let count =
        conn.query_row("SELECT count(*) FROM sqlite_schema WHERE type = 'table'", [], |row| row.get::<_, i64>(0));
    let count = count?.unsigned_abs();
    if count > MOST {
        return Err(rusqlite::Error::ToSqlConversionFailure(format!("more than {MOST} tables").into()));
    }
    let names = names_where(conn, "true")?;
    Ok(Tables { more: count.saturating_sub(names.len() as u64), names })
}

/// Names of the tables that a condition holds for, sorted, within the bounds.
pub(crate) fn names_where(conn: &Connection, condition: &str) -> Result<Vec<String>, rusqlite::Error> {
    // The length is known without reading the name.
    let sql = format!(
        "SELECT name FROM sqlite_schema WHERE type = 'table' AND octet_length(name) <= {NAME_BYTES} AND {condition} ORDER BY name"
    );
    let mut statement = conn.prepare(&sql)?;
    let mut rows = statement.query([])?;
    let (mut names, mut bytes) = (Vec::new(), 0);
    while let Some(row) = rows.next()? {
        let name = text_of(row.get_ref(0)?)?;
        bytes += name.len();
        if bytes > NAMES_BYTES {
            break;
        }
        names.push(name);
    }
    Ok(names)
}

/// Returns a value as text for people; bytes that are not UTF-8 are replaced.
pub(crate) fn text_of(value: rusqlite::types::ValueRef<'_>) -> Result<String, rusqlite::Error> {
    use rusqlite::types::ValueRef;
    Ok(match value {
        ValueRef::Null => String::new(),
        ValueRef::Integer(number) => number.to_string(),
        ValueRef::Real(number) => number.to_string(),
        ValueRef::Text(bytes) | ValueRef::Blob(bytes) => String::from_utf8_lossy(bytes).into_owned(),
    })
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;
    use std::path::Path;

    #[test]
    fn odd_bytes_are_percent_encoded() {
        let path = Path::new(OsStr::from_bytes(b"/a b/c?d#e%f\xff&=.sqlite"));
        assert_eq!(super::immutable_uri(path), "file:///a%20b/c%3fd%23e%25f%ff%26%3d.sqlite?immutable=1");
    }
}
