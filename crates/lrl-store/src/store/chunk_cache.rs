//! A cache of decoded delta bases, for neighbouring chunks with the same bases: after a `VACUUM` most have. Bounded in bytes.
//! Those that were decoded on the way to another chunk are not verified.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::fifo::Fifo;
use crate::budget::DECODED_BYTES;
use crate::id::{ChunkId, Ids};

/// Decoded chunks; the first to come is the first to go.
#[derive(Default)]
pub(crate) struct ChunkCache {
    held: Mutex<Held>,
    more_bytes: AtomicUsize,
}

#[derive(Default)]
struct Held {
    chunks: Fifo<ChunkId, Chunk>,
    bytes: usize,
}

struct Chunk {
    plain: Arc<Vec<u8>>,
    is_verified: bool,
}

impl ChunkCache {
    /// Returns a chunk, which may have other bytes than its id says.
    pub(crate) fn get(&self, id: &ChunkId) -> Option<Arc<Vec<u8>>> {
        self.held().chunks.get(id).map(|chunk| Arc::clone(&chunk.plain))
    }

    /// Returns a chunk whose bytes are those that its id says.
    pub(crate) fn get_verified(&self, id: &ChunkId, ids: &Ids) -> Option<Arc<Vec<u8>>> {
        let (plain, is_verified) =
            self.held().chunks.get(id).map(|chunk| (Arc::clone(&chunk.plain), chunk.is_verified))?;
        if is_verified {
            return Some(plain);
        }
        if ids.chunk(&plain) != *id {
            return None;
        }
        self.keep_verified(id, &plain);
        Some(plain)
    }

    /// Keeps a chunk.
    pub(crate) fn keep(&self, id: &ChunkId, plain: &Arc<Vec<u8>>) {
        self.insert(id, Chunk { plain: Arc::clone(plain), is_verified: false });
    }

    /// Keeps a chunk whose bytes are those that its id says.
    pub(crate) fn keep_verified(&self, id: &ChunkId, plain: &Arc<Vec<u8>>) {
        self.insert(id, Chunk { plain: Arc::clone(plain), is_verified: true });
    }

    /// Holds this many bytes more, from here on.
    pub(crate) fn hold_more(&self, bytes: usize) {
        self.more_bytes.store(bytes, Ordering::Relaxed);
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn insert(&self, id: &ChunkId, chunk: Chunk) {
        let len = chunk.plain.len();
        if len > DECODED_BYTES / 16 {
            return;
        }
        let mut held = self.held();
        // Of a damaged copy another length may have been decoded.
        let before = held.chunks.insert(*id, chunk).map_or(0, |chunk| chunk.plain.len());
        held.bytes = held.bytes + len - before;
        let max_bytes = DECODED_BYTES + self.more_bytes.load(Ordering::Relaxed);
        while held.bytes > max_bytes
            && let Some(first) = held.chunks.pop()
        {
            held.bytes -= first.plain.len();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::{ChunkCache, DECODED_BYTES};
    use crate::id::{ChunkId, Ids};

    #[test]
    fn what_is_not_what_its_id_says_is_never_returned_as_verified() {
        let (cache, ids) = (ChunkCache::default(), Ids::default());
        let (id, right, wrong) = (ChunkId::of(b"right"), Arc::new(b"right".to_vec()), Arc::new(b"wrong".to_vec()));
        cache.keep(&id, &wrong);
        assert_eq!((cache.get(&id), cache.get_verified(&id, &ids)), (Some(Arc::clone(&wrong)), None));
        cache.keep(&id, &right);
        for _ in 0..2 {
            assert_eq!(cache.get_verified(&id, &ids).as_ref(), Some(&right));
        }
        // Somebody else may have decoded a damaged copy meanwhile, also to another length.
        cache.keep(&id, &wrong);
        assert_eq!(cache.get_verified(&id, &ids), None);
        cache.keep(&id, &Arc::new(b"too long".to_vec()));
        assert_eq!((cache.get_verified(&id, &ids), cache.held().bytes), (None, 8));
    }

    #[test]
    fn it_holds_no_more_than_it_may() {
        let cache = ChunkCache::default();
        let id = |n: usize| ChunkId::of(&n.to_le_bytes());
        let most = DECODED_BYTES / (64 << 10);
        for n in 0..2 * most {
            cache.keep(&id(n), &Arc::new(vec![0; 64 << 10]));
            cache.keep_verified(&id(n), &Arc::new(vec![0; 64 << 10]));
        }
        let kept: Vec<usize> = (0..2 * most).filter(|n| cache.get(&id(*n)).is_some()).collect();
        assert_eq!(kept, (most..2 * most).collect::<Vec<_>>());
        cache.keep(&id(0), &Arc::new(vec![0; DECODED_BYTES / 16 + 1]));
        assert_eq!(cache.get(&id(0)), None, "one of them would push out too much");
    }
}
