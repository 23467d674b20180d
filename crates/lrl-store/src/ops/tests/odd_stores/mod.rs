//! Stores in memory that hold what no writer writes: documents under other names, chains without an end, lists that do not add up.

mod documents;
mod hostile;
mod late;

use std::sync::Arc;
use std::time::Duration;

use crate::backend::Backend;
use crate::fs::lock::LockMode;
use crate::id::ChunkId;
use crate::progress::Silent;
use crate::store::write::WriteSession;
use crate::store::{Store, create};
use crate::testing::memory_backend::memory;
use crate::time::Time;

fn new() -> Arc<dyn Backend> {
    let backend = memory();
    create(&backend, [1; 32]).unwrap();
    Arc::new(backend)
}

fn open(backend: &Arc<dyn Backend>) -> Store {
    Store::open(Arc::clone(backend), LockMode::Shared, Duration::ZERO, &Silent).unwrap()
}

fn at(secs: i64) -> Time {
    Time { secs, nanos: 0 }
}

/// Stores chunks, each sealed in a pack of its own.
fn put(store: &Store, chunks: &[&[u8]]) -> Vec<ChunkId> {
    let stored = chunks.iter().map(|bytes| {
        let session = WriteSession::new(store);
        let id = session.put(bytes, &[]).unwrap();
        session.seal().unwrap();
        id
    });
    stored.collect()
}
