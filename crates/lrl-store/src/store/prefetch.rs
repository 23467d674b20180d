//! Prefetch: from a backend behind requests, what a list names next is fetched while what came before it is used.

use std::collections::VecDeque;
use std::convert::Infallible;

use super::handle::Store;
use super::names::pack_name;
use crate::budget::{AHEAD_BYTES, AHEAD_ITEMS};
use crate::error::Result;
use crate::format::pack::MAX_DEPTH;
use crate::format::references::{Reference, References};
use crate::id::ChunkId;

impl<T: References> References for (u64, T) {
    fn each_reference<E>(&self, visit: &mut dyn FnMut(Reference<'_>) -> Result<(), E>) -> Result<(), E> {
        self.1.each_reference(visit)
    }
    fn attached_bytes(&self) -> u64 {
        self.1.attached_bytes()
    }
}

/// An iterator over the same items that prefetches what those ahead refer to.
pub(crate) struct Prefetched<'s, I, T> {
    store: &'s Store,
    items: I,
    waiting: VecDeque<(Result<T>, u64)>,
    bytes: u64,
    max_bytes: u64,
}

impl<'s, I, T> Prefetched<'s, I, T> {
    /// Looks ahead if `wanted` and each read is a request.
    pub(crate) fn new(store: &'s Store, wanted: bool, items: I) -> Self {
        let max_bytes = if wanted && store.storage().capabilities().cost_per_request { AHEAD_BYTES } else { 0 };
        Self { store, items, waiting: VecDeque::new(), bytes: 0, max_bytes }
    }
}

impl<I: Iterator<Item = Result<T>>, T: References> Iterator for Prefetched<'_, I, T> {
    type Item = Result<T>;

    fn next(&mut self) -> Option<Result<T>> {
        while self.bytes < self.max_bytes && self.waiting.len() < AHEAD_ITEMS {
            let Some(item) = self.items.next() else { break };
            let mut bytes = 0;
            if let Ok(item) = &item {
                bytes += item.attached_bytes();
                // Of a list of pieces only the root: its pieces are prefetched when it is read.
                let Ok(()) = item.each_reference::<Infallible>(&mut |reference| {
                    bytes += self.store.prefetch_chunk(reference.id(), 0);
                    Ok(())
                });
            }
            self.bytes += bytes;
            self.waiting.push_back((item, bytes));
        }
        match self.waiting.pop_front() {
            Some((item, bytes)) => {
                self.bytes -= bytes;
                Some(item)
            }
            None => self.items.next(),
        }
    }
}

impl Store {
    /// Asks for a chunk, and the bases below it, that will be read soon; returns how many bytes they take. Errors are left to the reader.
    fn prefetch_chunk(&self, id: &ChunkId, below: u8) -> u64 {
        if below > MAX_DEPTH || self.bases.get(id).is_some() {
            return 0;
        }
        let Ok(Some(place)) = self.locate(id) else { return 0 };
        let len = u64::from(place.record.encoded_len);
        self.storage().prefetch(&pack_name(&place.pack), place.offset, len);
        // Neighbours mostly have the same bases: one way down is enough to have them on their way.
        len + place.record.bases.first().map_or(0, |base| self.prefetch_chunk(base, below + 1))
    }
}
