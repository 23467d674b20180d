//! Syncs a large file in the background while it is written, so that the last sync waits for little.

use crate::budget::WRITE_BYTES;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread::JoinHandle;

/// Writes bytes at an offset.
pub(crate) fn write_at(file: &File, bytes: &[u8], mut at: u64) -> io::Result<()> {
    for part in bytes.chunks(WRITE_BYTES) {
        file.write_all_at(part, at)?;
        at += part.len() as u64;
    }
    Ok(())
}

/// Flushes one file again and again. The thread starts with the first flush: small files cost none.
pub(crate) struct Flusher {
    every: u64,
    unflushed: u64,
    thread: Option<(SyncSender<()>, JoinHandle<io::Result<()>>)>,
}

impl Flusher {
    /// Flushes each time this number of bytes was written, unless the flush before is still under way: fewer bytes make more journal commits, more leave the
    /// disk idle.
    pub(crate) fn new(every: u64) -> Self {
        Self { every, unflushed: 0, thread: None }
    }

    /// Notes that `bytes` more were written to `file`, the same one each time.
    ///
    /// # Errors
    /// If the thread cannot be given the file.
    pub(crate) fn wrote(&mut self, file: &File, bytes: u64) -> io::Result<()> {
        self.unflushed += bytes;
        if self.unflushed < self.every {
            return Ok(());
        }
        let (flush, _) = match &self.thread {
            Some(thread) => thread,
            None => self.thread.insert(start(file.try_clone()?)),
        };
        if flush.try_send(()).is_ok() {
            self.unflushed = 0;
        }
        Ok(())
    }

    /// Waits for the flush under way. What was written after it is not flushed.
    ///
    /// # Errors
    /// If any flush failed: the system reports that only once.
    pub(crate) fn finish(self) -> io::Result<()> {
        let Some((flush, thread)) = self.thread else { return Ok(()) };
        drop(flush);
        thread.join().unwrap_or_else(|_| Err(io::Error::other("the thread that flushes it died")))
    }
}

fn start(file: File) -> (SyncSender<()>, JoinHandle<io::Result<()>>) {
    // One flush may wait while another is under way; a third would find nothing to do that the second does not.
    let (flush, asked) = sync_channel(1);
    (flush, std::thread::spawn(move || asked.into_iter().try_for_each(|()| file.sync_data())))
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::Flusher;

    #[test]
    fn a_file_is_flushed_as_it_grows_and_small_ones_start_no_thread() {
        let mut file = tempfile::tempfile().unwrap();
        let mut flusher = Flusher::new(1000);
        flusher.wrote(&file, 999).unwrap();
        assert!(flusher.thread.is_none());
        for _ in 0..100 {
            file.write_all(&[1; 500]).unwrap();
            flusher.wrote(&file, 500).unwrap();
        }
        assert!(flusher.thread.is_some());
        flusher.finish().unwrap();
        Flusher::new(1).finish().unwrap();
    }

    #[test]
    fn a_flush_that_failed_is_an_error_at_the_end() {
        // A pipe cannot be synced.
        let (_reader, writer) = std::io::pipe().unwrap();
        let file = std::fs::File::from(std::os::fd::OwnedFd::from(writer));
        let mut flusher = Flusher::new(1);
        flusher.wrote(&file, 1).unwrap();
        assert!(flusher.finish().is_err());
    }
}
