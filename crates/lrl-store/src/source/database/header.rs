//! What the first 100 bytes of a file tell: whether SQLite would take it for a database, its page size, its journal mode
//! (SQLite's file format, section 1.3).

use std::fs::OpenOptions;
use std::io::Read;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use rustix::fs::OFlags;

use super::pages::page_size;
use super::source::is_database;
use super::state::header_u32;
use crate::error::{Error, Result};

/// The length of the header.
pub(crate) const HEADER_BYTES: usize = 100;

/// The header of a database, as far as it is read without SQLite.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// The size of a page in bytes.
    pub page_size: u32,
    /// The database is in WAL mode; else it has a rollback journal of some kind.
    pub is_wal: bool,
    /// The length of the database in pages, as the header has it; 0 if an old version of SQLite wrote it.
    pub pages: u32,
}

impl Header {
    /// Reads the header in the first bytes of a file of this length; `None` if it is no database's.
    pub(crate) fn parse(bytes: &[u8], len: u64) -> Option<Self> {
        let bytes = bytes.get(..HEADER_BYTES).filter(|bytes| is_database(bytes, len))?;
        Some(Self {
            page_size: page_size(bytes),
            is_wal: bytes[18] == 2 || bytes[19] == 2,
            pages: header_u32(bytes, 28),
        })
    }
}

/// Reads the header of the regular file at `path`, which must not be a symbolic link; `None` if it is no database.
///
/// Must not run while this process has the database open through SQLite: closing the file drops SQLite's locks.
///
/// # Errors
/// [`Error::Io`]: it cannot be opened or read.
pub fn read_header(path: &Path) -> Result<Option<Header>> {
    // A FIFO would block the open, a link could lead anywhere.
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY;
    let file = OpenOptions::new().read(true).custom_flags(flags.bits().cast_signed()).open(path);
    let file = file.map_err(Error::io("open", path))?;
    let meta = file.metadata().map_err(Error::io("stat", path))?;
    if !meta.is_file() {
        return Ok(None);
    }
    let mut bytes = Vec::with_capacity(HEADER_BYTES);
    file.take(HEADER_BYTES as u64).read_to_end(&mut bytes).map_err(Error::io("read", path))?;
    Ok(Header::parse(&bytes, meta.len()))
}

#[cfg(test)]
mod tests {
    use rusqlite::Connection;

    use super::{Header, read_header};

    #[test]
    fn the_header_tells_page_size_and_journal_mode() {
        let dir = tempfile::tempdir().unwrap();
        for (page_size, mode) in [(512, "delete"), (4096, "wal"), (65_536, "truncate")] {
            let path = dir.path().join(format!("{page_size}.sqlite"));
            let conn = Connection::open(&path).unwrap();
            let sql = format!("PRAGMA page_size = {page_size}; PRAGMA journal_mode = {mode}; CREATE TABLE t(x);");
            conn.execute_batch(&sql).unwrap();
            drop(conn);
            let header = Header { page_size, is_wal: mode == "wal", pages: 2 };
            assert_eq!(read_header(&path).unwrap(), Some(header));
        }
    }

    #[test]
    fn other_files_are_no_databases() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.db");
        let mut odd = b"SQLite format 3\0".to_vec();
        odd.resize(4096, 7);
        for bytes in [&b""[..], b"SQLite format 3\0", &[0; 4096], &odd] {
            std::fs::write(&path, bytes).unwrap();
            assert_eq!(read_header(&path).unwrap(), None);
        }
        std::os::unix::fs::symlink(&path, dir.path().join("link")).unwrap();
        assert!(read_header(&dir.path().join("link")).is_err());
        assert_eq!(read_header(dir.path()).unwrap(), None);
        assert!(read_header(&dir.path().join("nothing")).is_err());
    }
}
