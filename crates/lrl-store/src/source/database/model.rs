//! One consistent image of the live database: how it is asked for, who receives its bytes, and what it was.

use std::path::Path;
use std::time::Duration;

use crate::error::{Error, Result};

/// Where SQLite's locks are, in bytes: the page there is never used, and SQLite reads it as zeros (file format, section 1.4).
pub(crate) const LOCK_BYTE: u64 = 1 << 30;

/// How [`super::read_image`] works.
#[derive(Debug, Clone, Copy)]
pub struct ReadOptions<'a> {
    /// How long to wait for another process's lock.
    pub busy: Duration,
    /// A directory of ours for copies that must be made before streaming; nothing stays in it.
    pub scratch: &'a Path,
}

/// Receives an image from its first byte to its last.
pub trait ImageSink {
    /// Takes the next bytes. May run while the application is locked out: it should copy, and nothing else.
    fn bytes(&mut self, piece: &[u8]) -> Result<()>;

    /// Forgets all bytes: the image comes again from its first byte, because the file changed or a faster way led nowhere. May be
    /// called when there are none yet.
    fn restart(&mut self) -> Result<()>;
}

/// A closure takes one image; where it would have to start again after its first bytes, reading fails.
impl<F: FnMut(&[u8]) -> Result<()>> ImageSink for F {
    fn bytes(&mut self, piece: &[u8]) -> Result<()> {
        self(piece)
    }

    fn restart(&mut self) -> Result<()> {
        Err(Error::Refused("the database changed while it was read; run the command again".into()))
    }
}

/// Which way an image was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Method {
    /// Page by page through SQLite's own locks (`sqlite_dbpage`).
    Pages,
    /// From a clone that shares the file's blocks, made under SQLite's own locks.
    Clone,
    /// Through SQLite, only the pages that the WAL names; all others are those of an earlier image.
    ChangedPages,
    /// SQLite's backup API into a scratch copy.
    BackupApi,
    /// Plain reads of a file that nobody has open or that SQLite cannot open, proved unchanged by `stat`.
    PlainFile,
    /// A copy of the database and its journal or WAL, rolled back or replayed by SQLite in the scratch directory.
    RecoveredCopy,
}

/// For how long reading kept something from the application.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct HeldFor {
    /// It could not write: in rollback mode.
    pub locked: Duration,
    /// Its writes made the WAL longer, as they could not begin it anew: in WAL mode.
    pub wal: Duration,
}

/// What was streamed.
#[derive(Debug, Clone)]
pub struct Image {
    /// Length in bytes.
    pub size_bytes: u64,
    /// Page size in bytes; 0 if the file is not a SQLite database that can be read.
    pub page_size: u32,
    /// The change counter of the image's header (offset 24); does not move in WAL mode.
    pub change_counter: u32,
    /// Pages that are not on the freelist; `None` if the file is not a SQLite database that can be read.
    pub used_pages: Option<u64>,
    /// The schema's tables, sorted; `None` where the schema cannot be read.
    pub tables: Option<Vec<String>>,
    /// Why the schema cannot be read: the image is kept, but nothing vouches for it.
    pub schema_error: Option<String>,
    /// For how long something was kept from the application.
    pub held: HeldFor,
    /// Which way it was read.
    pub method: Method,
}
