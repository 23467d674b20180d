//! What a store knows of its copies without asking them: noted in its cache after each copy, for people.

use crate::store::Store;
use crate::store::run_cache::RunCache;
use crate::time::Time;

/// A place that a source was copied to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LastCopied {
    /// The store, for people.
    pub place: String,
    /// Number of the newest snapshot that was copied.
    pub sequence: u64,
    /// When, in seconds since 1970.
    pub at: i64,
}

/// Notes that a place has all of a source's snapshots up to the newest.
pub fn note(store: &Store, source: &str, place: &str, now: Time) {
    let newest = store.newest_snapshot_names(source).ok().and_then(|names| names.last().map(|name| name.sequence));
    let cache = store.storage().cache_dir().and_then(|dir| RunCache::open(&dir));
    if let (Some(sequence), Some(cache)) = (newest, cache) {
        // Without the note `status` says nothing of it.
        let _ = cache.put_copied(source, place, sequence, now.secs);
    }
}

/// Returns what is noted of a source's copies. Leaves no trace.
pub fn noted(store: &Store, source: &str) -> Vec<LastCopied> {
    let dir = store.storage().cache_dir().filter(|dir| dir.join("cache.db").is_file());
    let copied = dir.and_then(|dir| RunCache::open(&dir)).map(|cache| cache.copied(source)).unwrap_or_default();
    copied.into_iter().map(|(place, sequence, at)| LastCopied { place, sequence, at }).collect()
}
