//! Where a database's pages were in the parent's image. After a `VACUUM` nearly all pages have known contents at new offsets: the extents
//! that held them are better delta bases than the extent at the same offset.

use std::collections::HashMap;

use rayon::prelude::*;

use super::image_buffer::ChangedExtents;
use crate::error::Result;
use crate::format::entry::{Content, Piece};
use crate::format::snapshot;
use crate::id::ChunkId;
use crate::progress::{Observer, checkpoint};
use crate::store::Store;
use crate::store::tree::TreeItems;

/// This many changed extents, evenly spread, tell whether pages have moved.
const SAMPLES: usize = 32;
/// With fewer changed extents a map of the parent costs more than it saves.
const MIN_CHANGED: usize = SAMPLES;
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
    /// Maps the parent's pages if a sample of the new image says that they have moved.
    pub(super) fn if_moved(
        store: &Store,
        parent: &snapshot::Database,
        kept: &ChangedExtents,
        extent_bytes: u64,
        observer: &dyn Observer,
    ) -> Result<Option<Self>> {
        let page_size = parent.page_size as usize;
        if page_size == 0 || !looks_moved(store, parent, kept, extent_bytes) {
            return Ok(None);
        }
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
fn looks_moved(store: &Store, parent: &snapshot::Database, kept: &ChangedExtents, extent_bytes: u64) -> bool {
    let whole = kept.len.min(parent.size_bytes) / extent_bytes;
    let changed: Vec<u64> = (0..whole).filter(|n| kept.is_kept(*n)).collect();
    if changed.len() < MIN_CHANGED {
        return false;
    }
    let content = Content::Tree(parent.root);
    let page = parent.page_size as usize;
    let step = changed.len() / SAMPLES;
    // Kept extents lie end to end: the n-th one is at n times their length.
    let samples: Vec<(u64, u64)> = changed.iter().zip(0..).step_by(step).map(|(at, n)| (*at, n)).collect();
    let moved = samples.iter().filter(|(at, n)| {
        let mut new = vec![0; extent_bytes as usize];
        let mut old = Vec::with_capacity(new.len());
        let read = kept.read_at(n * extent_bytes, &mut new).is_ok()
            && store
                .read_content(&content, at * extent_bytes, extent_bytes, &mut |bytes| {
                    old.extend_from_slice(bytes);
                    Ok(())
                })
                .is_ok();
        let same = new.chunks(page).zip(old.chunks(page)).filter(|(a, b)| a == b).count();
        read && same * 2 < new.len() / page
    });
    moved.count() * 2 >= samples.len()
}
