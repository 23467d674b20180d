//! Writes the contents of one restored file from the store, verified, and compares a file that is there with them.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

use rustix::fs::{SeekFrom, seek};
use rustix::io::Errno;

use crate::error::{Error, Result};
use crate::format::entry::{Content, Piece};
use crate::fs::flush::{Flusher, write_at};
use crate::fs::space::SpaceGuard;
use crate::progress::{Observer, checkpoint};
use crate::store::Store;

/// Bytes of a large file between two flushes. All is synced before the swap: what is on disk by then is not waited for.
pub(super) const FLUSH_BYTES: u64 = 32 << 20;

/// Writes contents of files.
pub(super) struct Writer<'a> {
    /// Has the chunks.
    pub store: &'a Store,
    /// Told of the progress, and asked whether to stop.
    pub observer: &'a dyn Observer,
    /// Guards the free space of the disk.
    pub space: &'a SpaceGuard,
}

impl Writer<'_> {
    /// Writes contents into an empty file, verified chunk by chunk; holes stay holes.
    pub(crate) fn write(&self, file: &File, content: &Content, size: u64, path: &Path) -> Result<()> {
        let (mut end, mut hole_at_end) = (0, false);
        let mut flusher = Flusher::new(FLUSH_BYTES);
        self.store.each_piece_read(content, &mut |at, piece| {
            checkpoint(self.observer)?;
            end = at.checked_add(piece.len()).filter(|end| *end <= size).ok_or_else(|| wrong_size(path))?;
            hole_at_end = matches!(piece, Piece::Hole { .. });
            match piece {
                Piece::Data { id, len } => {
                    let plain = self.store.read(&id)?;
                    if plain.len() as u64 != len {
                        return Err(Error::corrupt(format!("chunk {id}"), "has another length than its list says"));
                    }
                    self.space.charge(len)?;
                    write_at(file, &plain, at).map_err(Error::io("write", path))?;
                    flusher.wrote(file, len).map_err(Error::io("write", path))?;
                }
                Piece::Hole { .. } => {}
            }
            self.observer.advance(piece.len(), 0);
            Ok(true)
        })?;
        if end != size {
            return Err(wrong_size(path));
        }
        flusher.finish().map_err(Error::io("sync", path))?;
        if hole_at_end { file.set_len(size).map_err(Error::io("write", path)) } else { Ok(()) }
    }

    /// Returns whether a file has exactly these contents, by reading all of it.
    pub(crate) fn is_right(&self, file: &File, content: &Content, size: u64, path: &Path) -> Result<bool> {
        if file.metadata().map_err(Error::io("look at", path))?.len() != size {
            return Ok(false);
        }
        let (mut right, mut end, mut buffer) = (true, 0, Vec::new());
        self.store.each_piece(content, 0, &mut |at, piece| {
            checkpoint(self.observer)?;
            end = at.saturating_add(piece.len());
            right = end <= size
                && match piece {
                    Piece::Data { id, len } => {
                        buffer.resize(usize::try_from(len).map_err(|_| wrong_size(path))?, 0);
                        file.read_exact_at(&mut buffer, at).map_err(Error::io("read", path))?;
                        self.store.ids().chunk(&buffer) == id
                    }
                    Piece::Hole { .. } => match seek(file, SeekFrom::Data(at)) {
                        Ok(data) => data >= end,
                        Err(Errno::NXIO) => true,
                        Err(_) => false,
                    },
                };
            Ok(right)
        })?;
        if right && end == size {
            self.observer.advance(size, 0);
        }
        Ok(right && end == size)
    }
}

fn wrong_size(path: &Path) -> Error {
    Error::corrupt(format!("the list of pieces of {}", path.display()), "does not add up to the file's size")
}
