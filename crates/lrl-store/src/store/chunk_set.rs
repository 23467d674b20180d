//! One bit for each copy of a chunk: 16 bytes for each 4096 of index, however many snapshots share what is marked.

use std::collections::HashMap;

use super::index::IndexSlot;

/// A set of copies.
#[derive(Default)]
pub(crate) struct ChunkSet(HashMap<u64, Vec<u64>>);

impl ChunkSet {
    /// Adds a copy.
    pub(crate) fn set(&mut self, slot: IndexSlot) {
        let bits = self.0.entry(slot.file).or_default();
        let word = (slot.at / 64) as usize;
        if bits.len() <= word {
            bits.resize(word + 1, 0);
        }
        bits[word] |= 1 << (slot.at % 64);
    }

    /// Returns whether a copy is in it.
    pub(crate) fn has(&self, slot: IndexSlot) -> bool {
        let word = self.0.get(&slot.file).and_then(|bits| bits.get((slot.at / 64) as usize));
        word.is_some_and(|word| word & 1 << (slot.at % 64) != 0)
    }
}
