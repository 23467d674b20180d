//! Syncs a set's large files in the background while they are written, so that the last sync waits for little.

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread::JoinHandle;

use crate::error::{Error, Result};
use crate::fs::durable::SyncedFile;
use crate::fs::temp_file::temporary_file;

/// Bytes between two flushes: fewer make more journal commits, more leave the disk idle.
const FLUSH_BYTES: usize = 8 << 20;

/// A new file, being written.
pub(crate) struct BackgroundSync {
    file: tempfile::NamedTempFile,
    unflushed: usize,
    flush: SyncSender<()>,
    thread: JoinHandle<io::Result<()>>,
}

impl BackgroundSync {
    /// Creates a temporary file in `dir`.
    pub fn create(dir: &Path) -> Result<Self> {
        let file = temporary_file(dir)?;
        let same = file.as_file().try_clone().map_err(Error::io("open", file.path()))?;
        // One flush may wait while another is under way; a third would find nothing to do that the second does not.
        let (flush, asked) = sync_channel(1);
        let thread = std::thread::spawn(move || asked.into_iter().try_for_each(|()| same.sync_data()));
        Ok(Self { file, unflushed: 0, flush, thread })
    }

    /// Waits until the disk has every byte. Fails if any flush failed: the system reports that only once.
    pub fn finish(self) -> Result<SyncedFile> {
        let Self { file, flush, thread, .. } = self;
        drop(flush);
        let flushed = thread.join().unwrap_or_else(|_| Err(io::Error::other("the thread that flushes it died")));
        flushed.map_err(Error::io("sync", file.path()))?;
        SyncedFile::new(file)
    }
}

impl Write for BackgroundSync {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.file.as_file_mut().write(bytes)?;
        self.unflushed += written;
        if self.unflushed >= FLUSH_BYTES && self.flush.try_send(()).is_ok() {
            self.unflushed = 0;
        }
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
