//! What is kept of one index file that was read once: where each block begins, so that a look-up reads one block; and a Bloom filter over its
//! chunks, so that most look-ups of what it does not list read none.

use std::ops::RangeInclusive;

use crate::id::ChunkId;

/// Where the blocks of a file begin, and a filter where there are several files.
pub(super) struct Summary {
    /// The first bytes of each block's first id.
    starts: Vec<u64>,
    filter: Option<Filter>,
}

impl Summary {
    /// Starts one; the filter has room for this number of chunks.
    pub(super) fn new(filtered: Option<u64>) -> Self {
        Self { starts: Vec::new(), filter: filtered.map(Filter::new) }
    }

    /// Adds the next block's chunks, which are in order.
    pub(super) fn add_block(&mut self, ids: impl Iterator<Item = ChunkId>) {
        let mut first = None;
        for id in ids {
            first.get_or_insert(id.leading_value());
            if let Some(filter) = &mut self.filter {
                filter.add(&id);
            }
        }
        self.starts.extend(first);
    }

    /// Returns the blocks that may have the chunk: mostly one. Ids with the same first bytes may be in several.
    pub(super) fn blocks_of(&self, id: &ChunkId) -> Option<RangeInclusive<u32>> {
        if self.filter.as_ref().is_some_and(|filter| !filter.may_have(id)) {
            return None;
        }
        let value = id.leading_value();
        let last = self.starts.partition_point(|start| *start <= value).checked_sub(1)?;
        let first = self.starts.partition_point(|start| *start < value).saturating_sub(1);
        Some(first as u32..=last as u32)
    }
}

/// Bits for each chunk: with four of them set, one of eighty others is taken for one that is there.
const BITS: u64 = 10;

/// The chunks of a file, and a few others.
struct Filter {
    bits: Vec<u64>,
}

impl Filter {
    /// Makes room for a number of chunks.
    fn new(chunks: u64) -> Self {
        Self { bits: vec![0; (chunks * BITS / 64 + 1) as usize] }
    }

    /// Adds a chunk.
    fn add(&mut self, id: &ChunkId) {
        for place in self.places(id) {
            if let Some(word) = self.bits.get_mut((place / 64) as usize) {
                *word |= 1 << (place % 64);
            }
        }
    }

    /// Returns false if the chunk was not added.
    fn may_have(&self, id: &ChunkId) -> bool {
        let is_set =
            |place: u64| self.bits.get((place / 64) as usize).is_some_and(|word| word & 1 << (place % 64) != 0);
        self.places(id).into_iter().all(is_set)
    }

    /// Ids are digests: their parts are as good as digests of their own.
    fn places(&self, id: &ChunkId) -> [u64; 4] {
        let (parts, _) = id.as_bytes().as_chunks::<8>();
        let bits = self.bits.len() as u64 * 64;
        std::array::from_fn(|at| parts.get(at).map_or(0, |part| u64::from_le_bytes(*part) % bits))
    }
}

#[cfg(test)]
mod tests {
    use super::{Filter, Summary};
    use crate::id::ChunkId;

    #[test]
    fn a_chunk_is_in_a_block_that_is_named_also_where_first_bytes_are_the_same() {
        let id = |value: u64, rest: u8| {
            let mut bytes = [rest; 32];
            bytes[..8].copy_from_slice(&value.to_be_bytes());
            ChunkId::from_bytes(bytes)
        };
        let blocks = [
            vec![id(2, 0), id(4, 0), id(7, 1)],
            vec![id(7, 2), id(7, 3)],
            vec![id(7, 4), id(7, 5), id(8, 0)],
            vec![id(9, 0)],
        ];
        for filtered in [None, Some(9)] {
            let mut summary = Summary::new(filtered);
            blocks.iter().for_each(|block| summary.add_block(block.iter().copied()));
            for (number, block) in blocks.iter().enumerate() {
                assert!(block.iter().all(|id| summary.blocks_of(id).unwrap().contains(&(number as u32))));
            }
            assert_eq!(summary.blocks_of(&id(4, 0)), Some(0..=0));
            assert_eq!(summary.blocks_of(&id(8, 0)), Some(2..=2));
            assert_eq!(summary.blocks_of(&id(9, 0)), Some(2..=3));
            assert_eq!(summary.blocks_of(&id(7, 9)).is_some(), filtered.is_none());
            assert_eq!(summary.blocks_of(&id(1, 9)), None);
        }
        assert_eq!(Summary::new(None).blocks_of(&id(1, 0)), None);
    }

    #[test]
    fn what_was_added_is_there_and_little_else() {
        let id = |number: u32| ChunkId::of(&number.to_le_bytes());
        let mut filter = Filter::new(1000);
        (0..1000).for_each(|number| filter.add(&id(number)));
        assert!((0..1000).all(|number| filter.may_have(&id(number))));
        assert!((1000..11_000).filter(|number| filter.may_have(&id(*number))).count() < 400);
        assert!(!Filter::new(0).may_have(&id(1)));
    }
}
