//! Chains whose lower end nothing else needs: deltas that a snapshot reaches, over older versions that only deltas do. Such a delta is stored
//! in full where that takes less than it and what goes with it. Adds copies and deletes nothing: the marking then keeps the copy with the
//! shortest chain.

use super::mark::Reachable;
use super::model::{Full, bytes_of};
use super::repack;
use crate::error::Result;
use crate::id::ChunkId;
use crate::progress::{Observer, checkpoint};
use crate::store::chunk_set::ChunkSet;
use crate::store::index::ChunkCopy;
use crate::store::write::WriteSession;
use crate::store::{Store, pack_name};

/// Deltas that are found at once: 8 MiB of ids.
const MOST: usize = 1 << 18;

/// Finds the deltas to store in full, and what that comes to.
pub(super) fn find(store: &Store, marked: &Reachable, observer: &dyn Observer) -> Result<(Vec<ChunkId>, Full)> {
    let chains = DeltaChains { store, marked, observer };
    let (mut once, mut shared) = (ChunkSet::default(), ChunkSet::default());
    chains.each(&mut |_, below| {
        for copy in below {
            let marks = if once.has(copy.slot) { &mut shared } else { &mut once };
            marks.set(copy.slot);
        }
    })?;
    let (mut found, mut full) = (Vec::new(), Full::default());
    chains.each(&mut |delta, below| {
        let record = &delta.place.record;
        // What other deltas need as well stays, whatever becomes of this one.
        let going = below.iter().filter(|copy| !shared.has(copy.slot));
        let replaced = bytes_of(record) + going.map(|copy| bytes_of(&copy.place.record)).sum::<u64>();
        // Versions of one thing compress alike.
        let root = below.iter().map(|copy| &copy.place.record).find(|record| record.bases.is_empty());
        let ratio = root.map_or(1.0, |root| f64::from(root.encoded_len) / f64::from(root.plain_len.max(1)));
        let bytes = (f64::from(record.plain_len) * ratio) as u64 + bytes_of(record) - u64::from(record.encoded_len);
        if replaced > bytes + bytes / 8 && found.len() < MOST {
            found.push(record.id);
            full.chunks += 1;
            full.bytes += bytes;
            full.replaced_bytes += replaced;
        }
    })?;
    Ok((found, full))
}

struct DeltaChains<'a> {
    store: &'a Store,
    marked: &'a Reachable,
    observer: &'a dyn Observer,
}

impl DeltaChains<'_> {
    /// Visits each delta that a snapshot reaches, with the chunks below it that none does.
    fn each(&self, visit: &mut dyn FnMut(&ChunkCopy, &[ChunkCopy])) -> Result<()> {
        self.store.each_chunk(&mut |copies| {
            checkpoint(self.observer)?;
            let kept = copies.iter().find(|copy| self.marked.kept.has(copy.slot));
            if let Some(delta) = kept.filter(|copy| !copy.place.record.bases.is_empty() && self.is_reached(copies)) {
                let below = self.below(delta)?;
                if !below.is_empty() {
                    visit(delta, &below);
                }
            }
            Ok(())
        })
    }

    fn below(&self, delta: &ChunkCopy) -> Result<Vec<ChunkCopy>> {
        let mut found: Vec<ChunkCopy> = Vec::new();
        let mut left = delta.place.record.bases.clone();
        while let Some(id) = left.pop() {
            let copies = self.store.copies(&id)?;
            if self.is_reached(&copies) || found.iter().any(|copy| copy.place.record.id == id) {
                continue;
            }
            if let Some(copy) = copies.into_iter().find(|copy| self.marked.kept.has(copy.slot)) {
                left.extend(&copy.place.record.bases);
                found.push(copy);
            }
        }
        Ok(found)
    }

    /// Which of several copies was marked depends on the look-up.
    fn is_reached(&self, copies: &[ChunkCopy]) -> bool {
        copies.iter().any(|copy| self.marked.reached.has(copy.slot))
    }
}

/// Adds a full copy of each chunk; one that cannot be read stays as it is. What it wrote is taken back if it fails.
pub(super) fn store_in_full(store: &Store, chunks: &[ChunkId], observer: &dyn Observer) -> Result<Full> {
    let before = store.open_index_names();
    let session = WriteSession::new(store);
    let mut full = Full::default();
    let mut done = chunks.iter().try_for_each(|id| {
        checkpoint(observer)?;
        match store.read(id) {
            Ok(plain) => {
                full.chunks += 1;
                session.put_again(&plain)
            }
            Err(e) if e.is_final() => Err(e),
            Err(_) => Ok(()),
        }
    });
    done = done.and_then(|()| session.seal());
    if let Err(error) = done {
        repack::take_back(store, &session, &before);
        return Err(error);
    }
    for pack in session.packs() {
        full.bytes += store.storage().len(&pack_name(&pack))?;
    }
    Ok(full)
}
