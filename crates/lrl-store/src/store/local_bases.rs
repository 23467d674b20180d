//! Local delta bases for write-only keys: a local file, such as the database of the last set, whose chunks this key cannot read back from the
//! store. Each chunk is verified against its id before it is used.

use std::collections::HashMap;
use std::fs::File;
use std::os::unix::fs::FileExt;

use crate::budget::LOCAL_BASES;
use crate::compression::MAX_CHUNK;
use crate::id::ChunkId;

/// Chunks in a local file.
pub(crate) struct LocalBases {
    file: File,
    places: HashMap<ChunkId, (u64, u32)>,
}

impl LocalBases {
    /// Expects in `file` these chunks, one after the other, each with its length.
    pub(crate) fn new(file: File, chunks: impl Iterator<Item = (ChunkId, u64)>) -> Self {
        let mut at = 0;
        let mut places = HashMap::new();
        for (id, len) in chunks.take(LOCAL_BASES).take_while(|(_, len)| *len <= MAX_CHUNK as u64) {
            places.insert(id, (at, len as u32));
            at += len;
        }
        Self { file, places }
    }

    pub(crate) fn read(&self, id: &ChunkId) -> Option<Vec<u8>> {
        let (at, len) = *self.places.get(id)?;
        let mut bytes = vec![0; len as usize];
        self.file.read_exact_at(&mut bytes, at).ok()?;
        Some(bytes)
    }
}
