//! Where a database's pages were in the parent's image. After a `VACUUM` nearly all pages have known contents at new offsets: the extents
//! that held them are better delta bases than the extent at the same offset.

use std::collections::HashMap;

use rayon::prelude::*;

use crate::error::Result;
use crate::format::entry::Piece;
use crate::format::snapshot;
use crate::id::ChunkId;
use crate::progress::{Observer, checkpoint};
use crate::store::Store;
use crate::store::tree::TreeItems;

/// This many of the changed extents that are stored at once, evenly spread, tell whether pages have moved.
const SAMPLES: usize = 16;
/// With fewer changed extents a map of the parent costs more than it saves.
const MIN_CHANGED: usize = 32;
/// The map holds up to this many pages (about 8 MiB); of a larger database it knows every second, fourth … page.
const MAX_PAGES: u64 = 256 << 10;
/// Extents whose bytes are decoded at once.
const BATCH: usize = 64;

/// Pages of the parent by content, each with the extent that holds it.
pub(super) struct PageMoves {
    extents: Vec<ChunkId>,
    pages: HashMap<u64, u32>,
    page_size: usize,
    /// Only pages whose digest ends in zeros here are in the map.
    mask: u64,
}

impl PageMoves {
    /// Maps the parent's pages if a sample of these changed extents, each with the parent's in its place, says that they have moved.
    pub(super) fn if_moved(
        store: &Store,
        parent: &snapshot::Database,
        changed: &[(ChunkId, &[u8])],
        observer: &dyn Observer,
    ) -> Result<Option<Self>> {
        let page_size = parent.page_size as usize;
        if page_size == 0 || !looks_moved(store, page_size, changed) {
            return Ok(None);
        }
        let extent_bytes = u64::from(store.config().chunking.extent_bytes);
        let pages = parent.size_bytes / page_size as u64;
        let mask = (pages / MAX_PAGES + 1).next_power_of_two() - 1;
        let mut map = Self { extents: Vec::new(), pages: HashMap::new(), page_size, mask };
        // A crafted list may name more than the image holds.
        let extents = usize::try_from(parent.size_bytes.div_ceil(extent_bytes)).unwrap_or(usize::MAX);
        let mut pieces = TreeItems::<Piece>::new(store, &parent.root)?.take(extents);
        loop {
            checkpoint(observer)?;
            let batch: Vec<ChunkId> = pieces
                .by_ref()
                .take(BATCH)
                .filter_map(|piece| match piece {
                    Ok(Piece::Data { id, .. }) => Some(id),
                    _ => None,
                })
                .collect();
            if batch.is_empty() {
                return Ok(Some(map));
            }
            // An extent that cannot be read is no base.
            let digests: Vec<Vec<u64>> = batch
                .par_iter()
                .map(|id| store.read(id).map(|plain| map.digests(&plain)).unwrap_or_default())
                .collect();
            for (id, digests) in batch.into_iter().zip(digests) {
                let at = map.extents.len() as u32;
                map.extents.push(id);
                map.pages.extend(digests.into_iter().map(|digest| (digest, at)));
            }
        }
    }

    fn digests(&self, extent: &[u8]) -> Vec<u64> {
        let known = |page: &[u8]| {
            // Free pages are all alike and say nothing about where an extent came from.
            let digest = u64::from_le_bytes(*ChunkId::of(page).as_bytes().first_chunk()?);
            (digest & self.mask == 0 && page.iter().any(|b| *b != 0)).then_some(digest)
        };
        extent.chunks_exact(self.page_size).filter_map(known).collect()
    }

    /// Returns the parent's extents that hold most of the pages of this one, best first, at most `limit`.
    pub(super) fn bases(&self, extent: &[u8], limit: usize) -> Vec<ChunkId> {
        let mut votes: HashMap<u32, u32> = HashMap::new();
        for digest in self.digests(extent) {
            if let Some(at) = self.pages.get(&digest) {
                *votes.entry(*at).or_default() += 1;
            }
        }
        let mut votes: Vec<(u32, u32)> = votes.into_iter().collect();
        votes.sort_unstable_by_key(|(at, count)| (std::cmp::Reverse(*count), *at));
        votes.iter().take(limit).filter_map(|(at, _)| self.extents.get(*at as usize).copied()).collect()
    }
}

/// Compares some of the changed extents with the parent's at the same places: where hardly any page is the same, pages have moved.
fn looks_moved(store: &Store, page_size: usize, changed: &[(ChunkId, &[u8])]) -> bool {
    if changed.len() < MIN_CHANGED {
        return false;
    }
    let samples: Vec<_> = changed.iter().step_by(changed.len() / SAMPLES).collect();
    let is_moved = |(old, new): &&&(ChunkId, &[u8])| {
        let Ok(old) = store.read(old) else { return false };
        let same = new.chunks(page_size).zip(old.chunks(page_size)).filter(|(a, b)| a == b).count();
        same * 2 < new.len() / page_size
    };
    samples.par_iter().filter(is_moved).count() * 2 >= samples.len()
}
