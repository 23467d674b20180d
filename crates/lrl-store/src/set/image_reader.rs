//! Reads the image of a database from the store, verified: several threads decode the next extents while one takes those before.

use std::collections::VecDeque;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use rayon::prelude::*;

use super::flush::replaced;
use crate::budget::{IMAGE_BATCH_BYTES, IMAGE_BATCHES};
use crate::compression::MAX_CHUNK;
use crate::error::{Error, Result};
use crate::format::entry::{Content, Piece};
use crate::format::snapshot::Database;
use crate::id::ChunkId;
use crate::progress::{Observer, checkpoint};
use crate::store::Store;

/// Receives the image, a run of bytes after the other.
pub(crate) type Sink<'s> = dyn FnMut(&Arc<Vec<u8>>) -> Result<()> + Send + 's;

/// Feeds the image of `database` to `sink`, in order, with the threads of the current pool. `earlier` is any earlier image: an extent that
/// has the same bytes at the same offset there is copied, after a comparison of its hash; decoding it is several times slower.
///
/// # Errors
/// [`Error::Corrupt`] or [`Error::Missing`] if the store is damaged.
pub(crate) fn read_image(
    store: &Store,
    database: &Database,
    earlier: Option<&File>,
    observer: &dyn Observer,
    sink: &mut Sink<'_>,
) -> Result<()> {
    let corrupt = |detail: &str| Error::corrupt(format!("the {} in the snapshot", database.shown()), detail);
    let mut batch = Batch::default();
    let mut batches = Batches { store, earlier, sink, filled: None, spare: VecDeque::new() };
    let mut end = 0;
    let mut take = |at: u64, piece: Piece| {
        end = at.saturating_add(piece.len());
        if end > database.size_bytes {
            return Err(corrupt("is longer than the snapshot says"));
        }
        let Piece::Data { id, len } = piece else { return Err(corrupt("has no extent at one place")) };
        let len = usize::try_from(len).ok().filter(|len| *len <= MAX_CHUNK);
        batch.push(at, id, len.ok_or_else(|| corrupt("has an extent that is impossibly long"))?);
        if batch.len >= IMAGE_BATCH_BYTES {
            checkpoint(observer)?;
            batches.pass(&mut batch)?;
        }
        Ok(true)
    };
    let content = Content::Tree(database.root);
    match earlier {
        None => store.each_piece_read(&content, &mut take)?,
        Some(_) => store.each_piece(&content, 0, &mut take)?,
    }
    if end != database.size_bytes {
        return Err(corrupt("is shorter than the snapshot says"));
    }
    checkpoint(observer)?;
    batches.pass(&mut batch)?;
    batches.finish()
}

/// Extents that follow one another.
#[derive(Default)]
struct Batch {
    extents: Vec<(u64, ChunkId, usize)>,
    len: usize,
}

impl Batch {
    fn push(&mut self, at: u64, id: ChunkId, len: usize) {
        self.extents.push((at, id, len));
        self.len += len;
    }
}

struct Batches<'a, 's> {
    store: &'a Store,
    earlier: Option<&'a File>,
    sink: &'a mut Sink<'s>,
    /// Filled, and not yet passed on.
    filled: Option<Arc<Vec<u8>>>,
    /// Memory that is used again: fresh pages from the system for each batch would cost more than reading does.
    spare: VecDeque<Arc<Vec<u8>>>,
}

impl Batches<'_, '_> {
    /// Fills the next batch, and passes the one before on meanwhile.
    fn pass(&mut self, batch: &mut Batch) -> Result<()> {
        let (store, earlier, sink) = (self.store, self.earlier, &mut *self.sink);
        let len = std::mem::take(&mut batch.len);
        let extents = std::mem::take(&mut batch.extents);
        // The sink may still hold what it got last.
        let free = self.spare.iter().position(|spare| Arc::strong_count(spare) == 1);
        let mut buffer = free.and_then(|at| self.spare.remove(at)).and_then(Arc::into_inner).unwrap_or_default();
        buffer.resize(len, 0);
        let before = self.filled.take();
        let (filled, passed) =
            rayon::join(|| fill_all(store, earlier, &extents, &mut buffer), || before.as_ref().map_or(Ok(()), sink));
        passed?;
        filled?;
        if let (Some(earlier), Some((at, ..))) = (earlier, extents.first()) {
            replaced(earlier, *at, len as u64);
        }
        self.spare.extend(before);
        self.spare.truncate(IMAGE_BATCHES);
        self.filled = Some(Arc::new(buffer));
        Ok(())
    }

    fn finish(self) -> Result<()> {
        self.filled.as_ref().map_or(Ok(()), |last| (self.sink)(last))
    }
}

fn fill_all(store: &Store, earlier: Option<&File>, extents: &[(u64, ChunkId, usize)], buffer: &mut [u8]) -> Result<()> {
    let mut rest = buffer;
    let mut places = Vec::with_capacity(extents.len());
    for (at, id, len) in extents {
        let (place, after) = rest.split_at_mut(*len);
        places.push((*at, id, place));
        rest = after;
    }
    places.into_par_iter().try_for_each(|(at, id, place)| fill(store, earlier, at, id, place))
}

fn fill(store: &Store, earlier: Option<&File>, at: u64, id: &ChunkId, extent: &mut [u8]) -> Result<()> {
    if earlier.is_some_and(|file| file.read_exact_at(extent, at).is_ok()) && store.ids().chunk(extent) == *id {
        return Ok(());
    }
    let bytes = store.read(id)?;
    if bytes.len() != extent.len() {
        return Err(Error::corrupt(format!("chunk {id}"), "has another length than its list says"));
    }
    extent.copy_from_slice(&bytes);
    Ok(())
}
