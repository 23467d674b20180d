//! A cache of decoded delta bases, for neighbouring chunks with the same bases: after a `VACUUM` most have. Bounded in bytes;
//! not trusted: a reader verifies what it gets.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

use crate::id::ChunkId;

/// Bytes of all chunks together, at most.
const MAX_BYTES: usize = 8 << 20;

/// Decoded chunks; the first to come is the first to go.
#[derive(Default)]
pub(crate) struct ChunkCache(Mutex<Held>);

#[derive(Default)]
struct Held {
    chunks: HashMap<ChunkId, Arc<Vec<u8>>>,
    order: VecDeque<ChunkId>,
    bytes: usize,
}

impl ChunkCache {
    pub fn get(&self, id: &ChunkId) -> Option<Arc<Vec<u8>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).chunks.get(id).cloned()
    }

    pub fn keep(&self, id: &ChunkId, plain: &Arc<Vec<u8>>) {
        if plain.len() > MAX_BYTES / 16 {
            return;
        }
        let mut held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if held.chunks.insert(*id, Arc::clone(plain)).is_none() {
            held.order.push_back(*id);
            held.bytes += plain.len();
        }
        while held.bytes > MAX_BYTES
            && let Some(first) = held.order.pop_front()
        {
            held.bytes -= held.chunks.remove(&first).map_or(0, |chunk| chunk.len());
        }
    }
}
