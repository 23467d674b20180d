//! Which files are databases: named ones, and those that are found by SQLite's header.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};
use crate::source::files::exclude::Excludes;
use crate::source::files::include::Includes;

/// A database that is backed up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DatabaseSource {
    /// Its path in the snapshot: below the root, components joined by `/`.
    pub path: Vec<u8>,
    /// The file, or a link to it.
    pub file: PathBuf,
}

/// Every file with SQLite's header below a site's root is a database.
#[derive(Debug, Clone)]
pub struct Discover {
    /// The root.
    pub root: PathBuf,
    /// Patterns of files that stay files, whatever their header says.
    pub plain: Excludes,
    /// Patterns of paths, as they were given: at least one database must match each.
    pub expected: Vec<(String, Includes)>,
}

/// The first bytes of every SQLite database (file format, section 1.3).
pub(crate) const MAGIC: &[u8; 16] = b"SQLite format 3\0";
/// Bytes of the smallest page: no database is shorter.
const LEAST: u64 = 512;

/// Endings of the files that SQLite keeps beside a database; their contents are part of its image.
pub(crate) const SIDE_FILES: [&str; 3] = ["-wal", "-journal", "-shm"];

/// Usual endings of a database's name.
const NAMES: [&str; 5] = [".db", ".db3", ".sqlite", ".sqlite3", ".sqlitedb"];

/// Returns whether a file of this length that begins with these bytes is a SQLite database: an encrypted or foreign one is not.
pub(crate) fn is_database(first: &[u8], len: u64) -> bool {
    let page = first.get(16..18).map(|size| u16::from_be_bytes([size[0], size[1]]));
    first.starts_with(MAGIC)
        && len >= LEAST
        && page.is_some_and(|size| size == 1 || size >= 512 && size.is_power_of_two())
}

/// Returns whether the file at a path, which may be a link, is a SQLite database. Must not run while this process has it open through SQLite.
///
/// # Errors
/// [`Error::Io`] if it is there and cannot be read.
pub(crate) fn has_header(path: &Path) -> Result<bool> {
    let failed = |error: io::Error| Error::io("read", path)(error);
    match path.metadata() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        // A FIFO would block the open.
        meta if !meta.as_ref().map_err(|_| ()).is_ok_and(std::fs::Metadata::is_file) => {
            return meta.map(|_| false).map_err(failed);
        }
        _ => {}
    }
    let file = File::open(path).map_err(failed)?;
    let len = file.metadata().map_err(failed)?.len();
    let mut first = Vec::with_capacity(18);
    file.take(18).read_to_end(&mut first).map_err(failed)?;
    Ok(is_database(&first, len))
}

/// Returns whether a file with this path and length is worth a look at its header: a database has whole pages, and one that is cut off or
/// being extended has at least the name of one.
pub(crate) fn can_be_database(path: &[u8], len: u64) -> bool {
    let has_name = || NAMES.iter().any(|name| path.to_ascii_lowercase().ends_with(name.as_bytes()));
    len >= LEAST && (len.is_multiple_of(LEAST) || has_name())
}

/// Returns the path of the database that a side file belongs to, if it has the name of one.
pub fn database_of(side_file: &[u8]) -> Option<&[u8]> {
    let suffix = SIDE_FILES.iter().find_map(|suffix| side_file.strip_suffix(suffix.as_bytes()));
    // A super-journal: `-mj` and nine hexadecimal digits (the name of a transaction over several databases).
    suffix.or_else(|| {
        let (path, end) = side_file.split_at_checked(side_file.len().checked_sub(12)?)?;
        let is_name = end.starts_with(b"-mj") && end[3..].iter().all(u8::is_ascii_hexdigit);
        is_name.then_some(path)
    })
}

#[cfg(test)]
mod tests {
    use super::{can_be_database, database_of, is_database};

    #[test]
    fn only_a_whole_header_makes_a_database() {
        let header = |page: u16| [b"SQLite format 3\0".as_slice(), &page.to_be_bytes()].concat();
        assert!(is_database(&header(4096), 4096) && is_database(&header(1), 65_536));
        assert!(
            !is_database(&header(4096), 100) && !is_database(&header(1000), 4096) && !is_database(&header(0), 4096)
        );
        assert!(!is_database(b"SQLite format 3\0", 4096) && !is_database(b"", 0));
    }

    #[test]
    fn whole_pages_or_a_name_are_worth_a_look() {
        assert!(
            can_be_database(b"state", 4096) && can_be_database(b"a/b.DB", 4097) && can_be_database(b"x.sqlite3", 513)
        );
        assert!(
            !can_be_database(b"state", 4097) && !can_be_database(b"a.db", 511) && !can_be_database(b"a.db-wal", 1000)
        );
    }

    #[test]
    fn side_files_belong_to_a_database() {
        for name in ["a/b.db-wal", "a/b.db-shm", "a/b.db-journal", "a/b.db-mj0123ABcd9"] {
            assert_eq!(database_of(name.as_bytes()), Some(b"a/b.db".as_slice()), "{name}");
        }
        for name in ["a/b.db", "-mj0123456", "b-mjxyz456789", "wal"] {
            assert_eq!(database_of(name.as_bytes()), None, "{name}");
        }
    }
}
