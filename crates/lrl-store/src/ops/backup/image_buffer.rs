//! Buffers an image while its database is locked: only the extents that differ from a draft of it are kept. So little is written to the disk
//! that the application shares, and the lock is held only while the database is read.

use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::Path;

use tempfile::NamedTempFile;

use super::extent_ids::ExtentIds;
use super::extents::ExtentCutter;
use super::store_image::{Plan, StoredImage, store_image};
use crate::budget::CHANGED_BYTES;
use crate::error::{Error, Result};
use crate::fs::space::SpaceGuard;
use crate::fs::temp_file::temporary_file;
use crate::progress::Observer;
use crate::source::database::{ExtentSet, ImageSink};
use crate::store::Store;

/// The extents of an image that differ from its draft.
#[derive(Default)]
pub(super) struct ChangedExtents {
    /// Bytes of the whole image.
    len: u64,
    /// Which ones they are.
    which: ExtentSet,
    /// Those, end to end.
    spool: SpillBuffer,
}

/// Stores the extents that differ; all others are those of the draft.
pub(super) fn store_changed(plan: Plan<'_>, changed: &ChangedExtents, draft: &ExtentIds) -> Result<StoredImage> {
    let extent_bytes = u64::from(plan.session.store().config().chunking.extent_bytes);
    let (mut extent, mut offset) = (Vec::new(), 0);
    let ((), stored) = store_image(plan, None, |feed| {
        for ordinal in 0..changed.len.div_ceil(extent_bytes) {
            let len = extent_bytes.min(changed.len - ordinal * extent_bytes);
            if changed.which.has(ordinal) {
                extent.resize(len as usize, 0);
                changed.spool.read_at(offset, &mut extent)?;
                offset += len;
                feed.extent(&extent)?;
            } else {
                let id = draft.get(ordinal)?;
                let again = || Error::corrupt("a list of extents", "reads differently a second time");
                feed.known_extent(id.ok_or_else(again)?, len)?;
            }
        }
        Ok(())
    })?;
    Ok(stored)
}

/// Receives an image from its first byte to its last.
pub(super) struct ImageBuffer<'a> {
    cutter: ExtentCutter,
    compared: Compared<'a>,
}

/// The image so far, compared with the draft.
struct Compared<'a> {
    store: &'a Store,
    draft: &'a ExtentIds,
    scratch: &'a Path,
    space: &'a SpaceGuard,
    observer: &'a dyn Observer,
    count: u64,
    changed: ChangedExtents,
}

impl<'a> ImageBuffer<'a> {
    pub(crate) fn new(
        store: &'a Store,
        draft: &'a ExtentIds,
        scratch: &'a Path,
        space: &'a SpaceGuard,
        observer: &'a dyn Observer,
    ) -> Self {
        Self {
            cutter: ExtentCutter::new(store.config().chunking.extent_bytes),
            compared: Compared { store, draft, scratch, space, observer, count: 0, changed: ChangedExtents::default() },
        }
    }

    /// Ends the image.
    pub(crate) fn finish(mut self) -> Result<ChangedExtents> {
        let Self { cutter, compared } = &mut self;
        cutter.finish(&mut |extent| compared.add(extent))?;
        Ok(self.compared.changed)
    }
}

impl ImageSink for ImageBuffer<'_> {
    fn bytes(&mut self, piece: &[u8]) -> Result<()> {
        let Self { cutter, compared } = self;
        compared.observer.advance(piece.len() as u64, 0);
        cutter.add(piece, &mut |extent| compared.add(extent))
    }

    fn restart(&mut self) -> Result<()> {
        let Compared { store, draft, scratch, space, observer, .. } = self.compared;
        *self = Self::new(store, draft, scratch, space, observer);
        Ok(())
    }
}

impl Compared<'_> {
    fn add(&mut self, extent: &[u8]) -> Result<()> {
        let Self { store, draft, scratch, space, count, changed, .. } = self;
        changed.len += extent.len() as u64;
        if draft.get(*count)? != Some(store.ids().chunk(extent)) {
            changed.which.add(*count);
            changed.spool.write(extent, scratch, space)?;
        }
        *count += 1;
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
        if self.file.is_none() && self.memory.len() + bytes.len() <= CHANGED_BYTES {
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
