//! A Bloom filter over the chunks of one index file: most look-ups of what a file does not list then read none of its blocks.

use crate::id::ChunkId;

/// Bits for each chunk: with four of them set, one of eighty others is taken for one that is there.
const BITS: u64 = 10;

/// The chunks of a file, and a few others.
pub(super) struct Filter {
    bits: Vec<u64>,
}

impl Filter {
    /// Makes room for a number of chunks.
    pub(crate) fn new(chunks: u64) -> Self {
        Self { bits: vec![0; (chunks * BITS / 64 + 1) as usize] }
    }

    /// Adds a chunk.
    pub(crate) fn add(&mut self, id: &ChunkId) {
        for place in self.places(id) {
            if let Some(word) = self.bits.get_mut((place / 64) as usize) {
                *word |= 1 << (place % 64);
            }
        }
    }

    /// Returns false if the chunk was not added.
    pub(crate) fn may_have(&self, id: &ChunkId) -> bool {
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
    use super::Filter;
    use crate::id::ChunkId;

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
