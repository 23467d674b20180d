//! Buffers an image while its database is locked: only the extents that differ from a draft of it are kept. So little is written to the disk
//! that the application shares, and the lock is held only while the database is read.

use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::Path;

use rayon::prelude::*;
use tempfile::NamedTempFile;

use super::extent_ids::ExtentIds;
use super::extents::{ExtentCutter, ParentExtents};
use super::store_image::{Plan, StoredImage};
use crate::error::{Error, Result};
use crate::fs::space::SpaceGuard;
use crate::fs::temp_file::temporary_file;
use crate::id::ChunkId;
use crate::progress::{Observer, checkpoint};
use crate::source::database::ImageSink;
use crate::store::Store;

/// Extents up to this many bytes stay in memory.
const IN_MEMORY: usize = 8 << 20;
/// Extents that are encoded at once.
const BATCH_EXTENTS: usize = 64;

/// The extents of an image that differ from its draft, and which ones they are.
pub(super) struct ChangedExtents {
    /// Bytes of the whole image.
    len: u64,
    /// One bit for each extent.
    marks: Vec<u64>,
    /// Those that differ, end to end.
    spool: SpillBuffer,
}

impl ChangedExtents {
    fn is_kept(&self, ordinal: u64) -> bool {
        self.marks.get((ordinal / 64) as usize).is_some_and(|word| word >> (ordinal % 64) & 1 == 1)
    }
}

/// Stores the extents that differ; all others are those of the draft.
pub(super) fn store_changed(plan: Plan<'_>, changed: ChangedExtents, draft: &ExtentIds) -> Result<StoredImage> {
    let Plan { session, observer, .. } = plan;
    let store = session.store();
    let extent_bytes = u64::from(store.config().chunking.extent_bytes);
    let mut ids = ExtentIds::new(plan.scratch);
    let mut old = ParentExtents::new(plan.parent.map(|parent| (store, parent.root)));
    let (mut offset, mut next) = (0, 0);
    let extents = changed.len.div_ceil(extent_bytes);
    while next < extents {
        checkpoint(observer)?;
        let mut batch = Vec::new();
        while next < extents && batch.len() < BATCH_EXTENTS {
            let len = extent_bytes.min(changed.len - next * extent_bytes);
            let at = changed.is_kept(next).then_some(offset);
            offset += if at.is_some() { len } else { 0 };
            batch.push((draft.get(next)?, old.next(), len, at));
            next += 1;
        }
        let stored: Vec<ChunkId> = batch
            .par_iter()
            .map_init(Vec::new, |extent, (draft, old, len, at)| match (at, draft) {
                (Some(at), _) => {
                    extent.resize(*len as usize, 0);
                    changed.spool.read_at(*at, extent)?;
                    session.put(extent, old.as_slice())
                }
                (None, Some(id)) => Ok(*id),
                (None, None) => Err(Error::corrupt("a list of extents", "reads differently a second time")),
            })
            .collect::<Result<_>>()?;
        stored.into_iter().try_for_each(|id| ids.push(id))?;
    }
    Ok(StoredImage { ids, len: changed.len, changed_unseen: false, sha256: None, set_image: None })
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
    kept: ChangedExtents,
}

impl<'a> ImageBuffer<'a> {
    pub fn new(
        store: &'a Store,
        draft: &'a ExtentIds,
        scratch: &'a Path,
        space: &'a SpaceGuard,
        observer: &'a dyn Observer,
    ) -> Self {
        let kept = ChangedExtents { len: 0, marks: Vec::new(), spool: SpillBuffer::default() };
        Self {
            cutter: ExtentCutter::new(store.config().chunking.extent_bytes),
            compared: Compared { store, draft, scratch, space, observer, count: 0, kept },
        }
    }

    /// Ends the image.
    pub fn finish(mut self) -> Result<ChangedExtents> {
        let Self { cutter, compared } = &mut self;
        cutter.finish(&mut |extent| compared.add(extent))?;
        Ok(self.compared.kept)
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
        let Self { store, draft, scratch, space, count, kept, .. } = self;
        if count.is_multiple_of(64) {
            kept.marks.push(0);
        }
        kept.len += extent.len() as u64;
        if draft.get(*count)? != Some(store.ids().chunk(extent)) {
            if let Some(word) = kept.marks.last_mut() {
                *word |= 1 << (*count % 64);
            }
            kept.spool.write(extent, scratch, space)?;
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
