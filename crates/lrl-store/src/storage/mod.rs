//! Where objects live. A narrow trait that a directory and an object store can both implement; objects are written once, whole.

pub mod local;
pub mod memory;

use std::time::Duration;

use crate::error::Result;

/// No object that is read whole is longer: the document of a snapshot that added 8 TiB at once is not.
pub const MOST_WHOLE_BYTES: u64 = 32 << 20;

/// The bytes of a new object.
pub enum Source<'a> {
    /// In memory.
    Bytes(&'a [u8]),
    /// In a file that [`Storage::spool`] made; it is consumed.
    Spool(Spool),
}

/// A temporary file on the storage's own disk, removed unless it becomes an object.
pub struct Spool {
    pub(crate) file: tempfile::NamedTempFile,
}

impl Spool {
    /// Gives the open file.
    pub fn file(&mut self) -> &mut std::fs::File {
        self.file.as_file_mut()
    }
}

/// Whether a lock can be held by several at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LockMode {
    /// Backing up and reading.
    Shared,
    /// Reading that leaves no trace: a lock that nobody has made yet is not made.
    Look,
    /// Deleting, or writing where only one may.
    Exclusive,
}

/// A held lock; dropping it (or dying) releases it.
pub trait Guard: Send + Sync {}

/// Named, immutable objects. Names are relative, `/`-separated, lower-case; directories exist only as part of names.
pub trait Storage: Send + Sync {
    /// Says where it is, for messages.
    fn describe(&self) -> String;

    /// Names an object as a person would look for it.
    fn describe_object(&self, name: &str) -> String {
        format!("{}/{name}", self.describe())
    }

    /// Reads a whole small object, at most [`MOST_WHOLE_BYTES`]. [`crate::Error::Missing`] if it is not there.
    fn read(&self, name: &str) -> Result<Vec<u8>>;

    /// Reads exactly `len` bytes at `offset`; an object that is shorter is [`crate::Error::Corrupt`].
    fn read_range(&self, name: &str, offset: u64, len: usize) -> Result<Vec<u8>>;

    /// Returns an object's length in bytes.
    fn len(&self, name: &str) -> Result<u64>;

    /// Makes a new object appear whole and durably, or not at all.
    fn write_new(&self, name: &str, source: Source<'_>) -> Result<()>;

    /// Makes a temporary file for [`Source::Spool`].
    fn spool(&self) -> Result<Spool>;

    /// Calls `visit` with the name and length of every object below `prefix` (a directory's name, or `""`), in order of names
    /// within a directory. A listing that fails half-way fails as a whole.
    fn list(&self, prefix: &str, visit: &mut dyn FnMut(&str, u64) -> Result<()>) -> Result<()>;

    /// Removes an object; one that is not there is no error.
    fn remove(&self, name: &str) -> Result<()>;

    /// Makes removals below a directory durable; what was written is so already.
    fn sync(&self, dir: &str) -> Result<()> {
        let _ = dir;
        Ok(())
    }

    /// Waits up to `wait` for the named lock; `None` where the storage cannot lock (read-only, or remote).
    fn lock(
        &self,
        name: &str,
        mode: LockMode,
        wait: Duration,
        interrupted: &dyn Fn() -> bool,
    ) -> Result<Option<Box<dyn Guard>>>;

    /// Removes what dead runs left half-written; returns how many bytes that frees.
    fn reclaim(&self) -> Result<u64> {
        Ok(0)
    }

    /// Returns the directory for caches, if this storage has one that can be written.
    fn cache_dir(&self) -> Option<std::path::PathBuf>;
}
