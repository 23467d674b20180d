//! Syncs a set's large files in the background while they are written.

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;

use crate::budget::WRITE_BYTES;
use crate::error::{Error, Result};
use crate::fs::durable::SyncedFile;
use crate::fs::flush::Flusher;
use crate::fs::temp_file::temporary_file;

/// Bytes between two flushes.
const FLUSH_BYTES: u64 = 8 << 20;

/// A new file, being written.
pub(crate) struct BackgroundSync {
    file: tempfile::NamedTempFile,
    flusher: Flusher,
}

impl BackgroundSync {
    /// Creates a temporary file in `dir`.
    pub(crate) fn create(dir: &Path) -> Result<Self> {
        Ok(Self { file: temporary_file(dir)?, flusher: Flusher::new(FLUSH_BYTES) })
    }

    /// Waits until the disk has every byte. Fails if any flush failed: the system reports that only once.
    pub(crate) fn finish(self) -> Result<SyncedFile> {
        let Self { file, flusher } = self;
        flusher.finish().map_err(Error::io("sync", file.path()))?;
        SyncedFile::new(file)
    }
}

impl Write for BackgroundSync {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.file.as_file_mut().write(&bytes[..bytes.len().min(WRITE_BYTES)])?;
        self.flusher.wrote(self.file.as_file(), written as u64)?;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Drops a range of an earlier file from the page cache after it was read to write a new one with the same bytes: otherwise the new one
/// would push out the application's own pages.
pub(crate) fn replaced(earlier: &File, offset: u64, len: u64) {
    let len = std::num::NonZeroU64::new(len);
    // Only advice: a file system may keep the pages.
    let _ = len.map(|len| rustix::fs::fadvise(earlier, offset, Some(len), rustix::fs::Advice::DontNeed));
}
