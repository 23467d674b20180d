//! Buffers an image while the database is locked: only extents that differ from the parent's are kept. So a small change writes nothing to
//! the disk that the application shares, and the lock is held only while the database is read.

use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::Path;

use tempfile::NamedTempFile;

use super::extents::ExtentCutter;
use crate::error::{Error, Result};
use crate::format::snapshot;
use crate::fs::space::SpaceGuard;
use crate::fs::temp_file::temporary_file;
use crate::progress::Observer;
use crate::set::sha256::Sha256Thread;
use crate::source::database::ImageSink;
use crate::store::Store;

/// Changed extents up to this many bytes stay in memory.
pub(super) const IN_MEMORY: usize = 8 << 20;
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
    /// Returns whether the extent is not what the parent has in its place.
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

    /// As [`ChangedExtents::into_image`], also where it fitted into memory: for a write-only key, which cannot read it back from the store.
    pub fn into_file(mut self, scratch: &Path, space: &SpaceGuard) -> Result<Option<NamedTempFile>> {
        if self.spool.file.is_none() && self.spool.len == self.len {
            space.charge(self.len)?;
            let mut file = temporary_file(scratch)?;
            file.write_all(&self.spool.memory).map_err(Error::io("write an image below", scratch))?;
            self.spool.file = Some(file);
        }
        Ok(self.into_image())
    }
}

/// Receives an image from its first byte to its last.
pub(super) struct ImageBuffer<'a> {
    store: &'a Store,
    parent: Option<&'a snapshot::Database>,
    scratch: &'a Path,
    space: &'a SpaceGuard,
    observer: &'a dyn Observer,
    cutter: ExtentCutter<'a>,
    kept: KeptExtents<'a>,
    len: u64,
    sha: Sha256Thread,
}

impl<'a> ImageBuffer<'a> {
    pub fn new(
        store: &'a Store,
        parent: Option<&'a snapshot::Database>,
        scratch: &'a Path,
        space: &'a SpaceGuard,
        observer: &'a dyn Observer,
    ) -> Self {
        let parent_root = parent.map(|parent| (store, parent.root));
        Self {
            store,
            parent,
            scratch,
            space,
            observer,
            cutter: ExtentCutter::new(parent_root, store.config().chunking.extent_bytes),
            kept: KeptExtents { scratch, space, count: 0, marks: Vec::new(), spool: SpillBuffer::default() },
            len: 0,
            sha: Sha256Thread::start(),
        }
    }

    /// Ends the image.
    pub fn finish(mut self) -> Result<ChangedExtents> {
        let Self { cutter, kept, .. } = &mut self;
        cutter.finish(&mut |extent, is_old| kept.add(extent, is_old))?;
        let KeptExtents { spool, marks, .. } = self.kept;
        Ok(ChangedExtents { len: self.len, sha256: self.sha.finish()?, spool, marks })
    }
}

impl ImageSink for ImageBuffer<'_> {
    fn bytes(&mut self, piece: &[u8]) -> Result<()> {
        self.observer.advance(piece.len() as u64, 0);
        self.len += piece.len() as u64;
        self.sha.add(piece.to_vec())?;
        let Self { cutter, kept, .. } = self;
        cutter.add(piece, &mut |extent, is_old| kept.add(extent, is_old))
    }

    fn restart(&mut self) -> Result<()> {
        *self = Self::new(self.store, self.parent, self.scratch, self.space, self.observer);
        Ok(())
    }
}

/// The extents that differ so far.
struct KeptExtents<'a> {
    scratch: &'a Path,
    space: &'a SpaceGuard,
    count: u64,
    marks: Vec<u64>,
    spool: SpillBuffer,
}

impl KeptExtents<'_> {
    fn add(&mut self, extent: &[u8], is_old: bool) -> Result<()> {
        if self.count.is_multiple_of(64) {
            self.marks.push(0);
        }
        if !is_old {
            if let Some(word) = self.marks.last_mut() {
                *word |= 1 << (self.count % 64);
            }
            self.spool.write(extent, self.scratch, self.space)?;
        }
        self.count += 1;
        Ok(())
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
    fn write(&mut self, bytes: &[u8], scratch: &Path, space: &SpaceGuard) -> Result<()> {
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
                space.charge(before.len() as u64)?;
                file.as_file_mut().write_all(&before).map_err(Error::io("write a copy of the database in", scratch))?;
                file
            }
        };
        space.charge(bytes.len() as u64)?;
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
