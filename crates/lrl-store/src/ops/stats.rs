//! The verb `stats`: the size of the store, of what it holds, and of full copies. Reads indexes and snapshots only.

use crate::error::{Error, Result};
use crate::progress::{Observer, checkpoint};
use crate::store::repair::quarantine::QUARANTINE;
use crate::store::{SnapshotName, Store, pack_id, pack_name};

/// Objects of one kind.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, serde::Serialize)]
pub struct Objects {
    /// How many.
    pub count: u64,
    /// Their bytes.
    pub bytes: u64,
}

impl Objects {
    fn add(&mut self, bytes: u64) {
        self.count += 1;
        self.bytes += bytes;
    }
}

/// What there is in a store.
#[derive(Debug, Default, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Stats {
    /// Packs of chunks.
    pub packs: Objects,
    /// Index files.
    pub index: Objects,
    /// Snapshot documents.
    pub snapshots: Objects,
    /// Records of drills.
    pub drills: Objects,
    /// What repairs moved out of the way.
    pub quarantine: Objects,
    /// Packs scheduled for deletion that are still there; they are among `packs`.
    pub candidates: Objects,
    /// Everything else: config, cache.
    pub other: Objects,
    /// Different chunks: bytes as they are encoded in packs.
    pub chunks: Objects,
    /// Bytes of those chunks themselves.
    pub plain_bytes: u64,
    /// Copies of chunks beyond the first.
    pub duplicates: Objects,
    /// What the snapshots would take as full copies of database and uploads.
    pub full_copies: Objects,
    /// Snapshots that cannot be read; they are not in `full_copies`.
    pub damaged_snapshots: u64,
}

impl Stats {
    /// Returns the bytes of all objects but the cache, which costs only time to lose.
    pub fn store_bytes(&self) -> u64 {
        self.packs.bytes + self.index.bytes + self.snapshots.bytes + self.drills.bytes
    }
}

/// What one snapshot took when it was made.
#[derive(Debug, Clone)]
pub struct Added {
    /// The snapshot.
    pub name: SnapshotName,
    /// Its timestamp.
    pub timestamp: String,
    /// Bytes of the objects that its run wrote, its document included.
    pub bytes: u64,
    /// Bytes of its database and uploads.
    pub full_bytes: u64,
}

/// Returns the bytes of all objects but the cache, as [`Stats::store_bytes`] has them, from the names alone.
///
/// # Errors
///
/// If the store cannot be listed.
pub fn store_bytes(store: &Store, observer: &dyn Observer) -> Result<u64> {
    let mut bytes = 0;
    for kind in ["packs/", "index/", "snapshots/", "drills/"] {
        store.storage().list(kind, &mut |_, len| {
            bytes += len;
            checkpoint(observer)
        })?;
    }
    Ok(bytes)
}

/// Counts; `each` is called for every snapshot, by source and oldest first.
///
/// # Errors
///
/// If the store cannot be listed, and those of `each`.
pub fn stats<E: From<Error>>(
    store: &Store,
    observer: &dyn Observer,
    each: &mut dyn FnMut(&Added) -> Result<(), E>,
) -> Result<Stats, E> {
    let backend = store.storage();
    let mut stats = Stats::default();
    let candidates = store.pending_deletions()?;
    backend.list("", &mut |name, bytes| {
        if pack_id(name).is_some_and(|id| candidates.has(&id)) {
            stats.candidates.add(bytes);
        }
        match name.split('/').next().unwrap_or_default() {
            "packs" => stats.packs.add(bytes),
            "index" => stats.index.add(bytes),
            "snapshots" => stats.snapshots.add(bytes),
            "drills" => stats.drills.add(bytes),
            QUARANTINE => stats.quarantine.add(bytes),
            _ => stats.other.add(bytes),
        }
        checkpoint(observer)
    })?;
    store.each_chunk(&mut |copies| {
        for (n, copy) in copies.iter().enumerate() {
            let record = &copy.place.record;
            if n == 0 {
                stats.chunks.add(u64::from(record.encoded_len));
                stats.plain_bytes += u64::from(record.plain_len);
            } else {
                stats.duplicates.add(u64::from(record.encoded_len));
            }
        }
        checkpoint(observer)
    })?;
    for name in store.snapshot_names(None)? {
        let snapshot = match store.snapshot(&name) {
            Err(Error::Corrupt { .. } | Error::Missing { .. }) => {
                stats.damaged_snapshots += 1;
                continue;
            }
            other => other?,
        };
        let parts = [snapshot.database_bytes(), snapshot.files.as_ref().map_or(0, |part| part.bytes)];
        let full_bytes = parts.iter().sum();
        stats.full_copies.add(full_bytes);
        let mut bytes = backend.len(&name.object())?;
        match snapshot.added_bytes {
            Some(added) => bytes = bytes.saturating_add(added),
            // Earlier documents do not say it: what a prune moved is no longer counted.
            None => {
                for pack in &snapshot.packs {
                    bytes += match backend.len(&pack_name(pack)) {
                        Err(Error::Missing { .. }) => 0,
                        other => other?,
                    };
                }
            }
        }
        each(&Added { name, timestamp: snapshot.timestamp, bytes, full_bytes })?;
    }
    Ok(stats)
}
