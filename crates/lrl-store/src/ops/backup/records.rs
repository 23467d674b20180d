//! What the cache records of a run once its snapshot is listed: what was read whole, which losses it has answered, what it saw.

use super::context::Context;
use super::options::{DATABASE, UPLOADS};
use super::trust::Decision;
use crate::format::snapshot::Snapshot;
use crate::store::run_cache::RunCache;
use crate::store::{SnapshotName, Store};
use crate::time::time_of;

/// Records a run. Without the record the next one reads more than it had to; nothing else depends on it.
pub(super) fn record(
    context: Context<'_>,
    decision: &Decision,
    name: &SnapshotName,
    snapshot: &Snapshot,
    database_read: bool,
    files_proved: u64,
) {
    let Context { cache: Some(cache), options, .. } = context else { return };
    let now = time_of(options.now).secs;
    let (has_database, has_uploads) = (snapshot.has_databases(), snapshot.files.is_some());
    for (part, read) in [(DATABASE, has_database && database_read), (UPLOADS, has_uploads && files_proved == 0)] {
        if read {
            let _ = cache.put_scanned(&options.source, part, now);
        }
    }
    for id in decision.answered() {
        for (part, has) in [(DATABASE, has_database), (UPLOADS, has_uploads)] {
            if has {
                let _ = cache.put_healed(&options.source, part, &id);
            }
        }
    }
    let _ = cache.put_newest(&options.source, Some((name.sequence, name.id)));
    let _ = record_indexes(context.store(), cache).and_then(|()| cache.commit());
}

/// Records which index files there are.
fn record_indexes(store: &Store, cache: &RunCache) -> rusqlite::Result<()> {
    let names: Vec<String> = store.indexes().iter().map(|file| file.name().to_string()).collect();
    if store.storage().capabilities().cost_per_request { cache.put_indexes(&names) } else { Ok(()) }
}
