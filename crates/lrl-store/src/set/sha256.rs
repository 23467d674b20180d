//! SHA-256 of the files of a set: of an existing one, and of one that is being written.

use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread::JoinHandle;

use sha2::{Digest, Sha256};

use crate::budget::DIGESTED_PIECES;
use crate::error::{Error, Result};
use crate::progress::{Observer, checkpoint};
use crate::units::hex;

/// Reads a file whole, passing each run of bytes on; returns its SHA-256 (lower-case hex) and length in bytes.
pub(crate) fn read_hashed(
    path: &Path,
    observer: &dyn Observer,
    visit: &mut dyn FnMut(&[u8]) -> Result<()>,
) -> Result<(String, u64)> {
    let mut file = File::open(path).map_err(Error::io("open", path))?;
    let (mut sha256, mut len) = (Sha256::new(), 0);
    let mut buffer = vec![0; 256 << 10];
    loop {
        checkpoint(observer)?;
        let read = file.read(&mut buffer).map_err(Error::io("read", path))?;
        if read == 0 {
            return Ok((hex(&sha256.finalize()), len));
        }
        len += read as u64;
        sha256.update(&buffer[..read]);
        visit(&buffer[..read])?;
    }
}

/// Computes a file's SHA-256 (lower-case hex) and length in bytes; its bytes do not count as progress.
pub(crate) fn sha256_of(path: &Path, observer: &dyn Observer) -> Result<(String, u64)> {
    read_hashed(path, observer, &mut |_| Ok(()))
}

/// Computes a SHA-256 on a thread of its own, beside the one that reads or writes the bytes, which takes about as long.
pub(crate) struct Sha256Thread {
    queue: SyncSender<Arc<Vec<u8>>>,
    thread: JoinHandle<String>,
}

impl Sha256Thread {
    /// Starts the thread.
    pub(crate) fn start() -> Self {
        let (queue, pieces) = sync_channel::<Arc<Vec<u8>>>(DIGESTED_PIECES);
        let thread = std::thread::spawn(move || {
            let mut sha256 = Sha256::new();
            pieces.into_iter().for_each(|piece| sha256.update(piece.as_slice()));
            hex(&sha256.finalize())
        });
        Self { queue, thread }
    }

    /// Adds the next bytes; waits while the thread is far behind.
    pub(crate) fn add(&self, piece: impl Into<Arc<Vec<u8>>>) -> Result<()> {
        self.queue.send(piece.into()).map_err(|_| died())
    }

    /// Returns the digest, lower-case hex.
    pub(crate) fn finish(self) -> Result<String> {
        drop(self.queue);
        self.thread.join().map_err(|_| died())
    }
}

fn died() -> Error {
    Error::Refused("the thread that computes a SHA-256 died".into())
}
