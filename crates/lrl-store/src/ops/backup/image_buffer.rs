//! Taking an image in while the database is locked: each extent is compared with the parent's by its digest, and only those that differ are
//! kept. So a small step writes nothing to the disk that the application shares, and the lock lasts as long as reading does.

use std::collections::VecDeque;
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::Path;

use tempfile::NamedTempFile;

use crate::error::{Error, Result};
use crate::format::entry::Piece;
use crate::format::snapshot;
use crate::fs::space::SpaceGuard;
use crate::fs::temp_file::temporary_file;
use crate::id::ChunkId;
use crate::progress::Observer;
use crate::set::sha256::Sha256Thread;
use crate::source::database::ImageSink;
use crate::store::Store;
use crate::store::tree::TreeItems;

/// Changed extents up to so many bytes stay in memory.
pub(super) const IN_MEMORY: usize = 8 << 20;
/// So many of the parent's extents are looked up before the database is locked (4 GiB of database).
const AHEAD: usize = 64 << 10;

/// The extents of an image that differ from the parent's, and which ones they are.
pub(super) struct ChangedExtents {
    /// Length of the whole image in bytes.
    pub len: u64,
    /// SHA-256 of the whole image, lower-case hex.
    pub sha256: String,
    spool: SpillBuffer,
    marks: Vec<u64>,
}

impl ChangedExtents {
    /// Says whether the extent is not what the parent has in its place.
    pub fn is_kept(&self, ordinal: u64) -> bool {
        self.marks.get((ordinal / 64) as usize).is_some_and(|word| word >> (ordinal % 64) & 1 == 1)
    }

    /// Fills `bytes` from the kept extents, laid end to end.
    pub fn read_at(&self, offset: u64, bytes: &mut [u8]) -> Result<()> {
        self.spool.read_at(offset, bytes)
    }

    /// Returns the whole image as a file, if all of it was kept in one.
    pub fn into_image(self) -> Option<NamedTempFile> {
        self.spool.file.filter(|_| self.spool.len == self.len)
    }

    /// As [`ChangedExtents::into_image`], also where it fitted into memory: for who cannot read it in the store.
    pub fn into_file(mut self, scratch: &Path, room: &SpaceGuard) -> Result<Option<NamedTempFile>> {
        if self.spool.file.is_none() && self.spool.len == self.len {
            room.charge(self.len)?;
            let mut file = temporary_file(scratch)?;
            file.write_all(&self.spool.memory).map_err(Error::io("write an image below", scratch))?;
            self.spool.file = Some(file);
        }
        Ok(self.into_image())
    }
}

/// Takes an image in, from its first byte to its last.
pub(super) struct ImageBuffer<'a> {
    store: &'a Store,
    parent: Option<&'a snapshot::Database>,
    scratch: &'a Path,
    room: &'a SpaceGuard,
    observer: &'a dyn Observer,
    old: ParentExtents<'a>,
    extent_bytes: usize,
    extent: Vec<u8>,
    count: u64,
    marks: Vec<u64>,
    spool: SpillBuffer,
    len: u64,
    sha: Sha256Thread,
}

impl<'a> ImageBuffer<'a> {
    pub fn new(
        store: &'a Store,
        parent: Option<&'a snapshot::Database>,
        scratch: &'a Path,
        room: &'a SpaceGuard,
        observer: &'a dyn Observer,
    ) -> Self {
        let extent_bytes = store.config().chunking.extent_bytes as usize;
        Self {
            store,
            parent,
            scratch,
            room,
            observer,
            old: ParentExtents::new(store, parent),
            extent_bytes,
            extent: Vec::with_capacity(extent_bytes),
            count: 0,
            marks: Vec::new(),
            spool: SpillBuffer::default(),
            len: 0,
            sha: Sha256Thread::start(),
        }
    }

    fn close_extent(&mut self, extent: &[u8]) -> Result<()> {
        if self.count.is_multiple_of(64) {
            self.marks.push(0);
        }
        if self.old.next() != Some(self.store.ids().chunk(extent)) {
            if let Some(word) = self.marks.last_mut() {
                *word |= 1 << (self.count % 64);
            }
            self.spool.write(extent, self.scratch, self.room)?;
        }
        self.count += 1;
        Ok(())
    }

    /// Ends the image.
    pub fn finish(mut self) -> Result<ChangedExtents> {
        if !self.extent.is_empty() {
            let last = std::mem::take(&mut self.extent);
            self.close_extent(&last)?;
        }
        Ok(ChangedExtents { len: self.len, sha256: self.sha.finish()?, spool: self.spool, marks: self.marks })
    }
}

impl ImageSink for ImageBuffer<'_> {
    fn bytes(&mut self, mut piece: &[u8]) -> Result<()> {
        self.observer.advance(piece.len() as u64, 0);
        self.len += piece.len() as u64;
        self.sha.add(piece.to_vec())?;
        while !piece.is_empty() {
            let room = self.extent_bytes - self.extent.len();
            let (head, rest) = piece.split_at(room.min(piece.len()));
            piece = rest;
            if head.len() == self.extent_bytes {
                self.close_extent(head)?;
                continue;
            }
            self.extent.extend_from_slice(head);
            if self.extent.len() == self.extent_bytes {
                let full = std::mem::take(&mut self.extent);
                self.close_extent(&full)?;
                self.extent = full;
                self.extent.clear();
            }
        }
        Ok(())
    }

    fn restart(&mut self) -> Result<()> {
        *self = Self::new(self.store, self.parent, self.scratch, self.room, self.observer);
        Ok(())
    }
}

/// The parent's extents in order. Trouble with them only costs space: what cannot be compared is kept.
pub(super) struct ParentExtents<'a> {
    ahead: VecDeque<ChunkId>,
    rest: Option<TreeItems<'a, Piece>>,
}

impl<'a> ParentExtents<'a> {
    pub fn new(store: &'a Store, parent: Option<&snapshot::Database>) -> Self {
        let mut old =
            Self { ahead: VecDeque::new(), rest: parent.and_then(|parent| TreeItems::new(store, &parent.root).ok()) };
        while old.ahead.len() < AHEAD
            && let Some(id) = old.read()
        {
            old.ahead.push_back(id);
        }
        old
    }

    fn read(&mut self) -> Option<ChunkId> {
        match self.rest.as_mut()?.next() {
            Some(Ok(Piece::Data { id, .. })) => Some(id),
            _ => {
                self.rest = None;
                None
            }
        }
    }

    pub fn next(&mut self) -> Option<ChunkId> {
        self.ahead.pop_front().or_else(|| self.read())
    }
}

/// Bytes in memory as long as they are few, then in a file.
#[derive(Default)]
struct SpillBuffer {
    memory: Vec<u8>,
    file: Option<NamedTempFile>,
    len: u64,
}

impl SpillBuffer {
    fn write(&mut self, bytes: &[u8], scratch: &Path, room: &SpaceGuard) -> Result<()> {
        self.len += bytes.len() as u64;
        if self.file.is_none() && self.memory.len() + bytes.len() <= IN_MEMORY {
            self.memory.extend_from_slice(bytes);
            return Ok(());
        }
        let file = match &mut self.file {
            Some(file) => file,
            none => {
                let file = none.insert(temporary_file(scratch)?);
                let before = std::mem::take(&mut self.memory);
                room.charge(before.len() as u64)?;
                file.as_file_mut().write_all(&before).map_err(Error::io("write a copy of the database in", scratch))?;
                file
            }
        };
        room.charge(bytes.len() as u64)?;
        file.as_file_mut().write_all(bytes).map_err(Error::io("write a copy of the database in", scratch))
    }

    fn read_at(&self, offset: u64, bytes: &mut [u8]) -> Result<()> {
        match &self.file {
            Some(file) => file.as_file().read_exact_at(bytes, offset).map_err(Error::io("read back", file.path())),
            None => {
                let from = offset as usize;
                let kept = self.memory.get(from..from + bytes.len());
                bytes.copy_from_slice(kept.ok_or_else(|| Error::Missing { object: "a kept extent".into() })?);
                Ok(())
            }
        }
    }
}
