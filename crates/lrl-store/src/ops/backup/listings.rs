//! What a run reads of the store before it decides anything. In a bucket each listing is a request, and none of these depends on another, so
//! they are made at the same time.

use super::options::Options;
use crate::backend::at_once;
use crate::error::Result;
use crate::format::drill::Drill;
use crate::id::DrillId;
use crate::ops::judgement::{Checked, Checks};
use crate::store::{SnapshotName, Store};
use crate::time::time_of;

/// What was listed. From here on the store knows its pending deletions, too.
pub(super) struct Listings {
    /// The newest snapshots of the source.
    pub snapshots: Vec<SnapshotName>,
    /// Its last drill, and the record; `None` for a key that cannot read it.
    pub drill: Option<(DrillId, Drill)>,
    /// The last check; `None` for a key that cannot read it.
    pub check: Option<Checked>,
}

impl Listings {
    /// Lists them. The index was read before: what it lists may be looked for among the packs that are listed later.
    pub(super) fn read(store: &Store, options: &Options) -> Result<Self> {
        let now = time_of(options.now);
        let pending = || match store.storage().capabilities().exclusive_lock {
            true => Ok(()),
            false => store.reload_pending_deletions().map(drop),
        };
        let snapshots = || store.newest_snapshot_names(&options.source);
        let drill = || if store.can_read() { store.last_drill(&options.source, now) } else { Ok(None) };
        let check = || if store.can_read() { Ok(Checks::read(store, now)?.last) } else { Ok(None) };
        let backend = &**store.storage();
        let ((pending, snapshots), (drill, check)) =
            at_once(backend, || at_once(backend, pending, snapshots), || at_once(backend, drill, check));
        pending?;
        Ok(Self { snapshots: snapshots?, drill: drill?, check: check? })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::sync::{Arc, Condvar, Mutex};
    use std::time::Duration;

    use crate::backend::Backend;
    use crate::fs::lock::LockMode;
    use crate::ops::backup::{backup, tests::options};
    use crate::ops::tests::lockless::Lockless;
    use crate::progress::Silent;
    use crate::store::{Store, create};
    use crate::testing::memory_backend::memory;

    #[test]
    fn in_a_bucket_what_does_not_depend_on_another_listing_is_listed_at_the_same_time() {
        for dirs in [&["pending", "snapshots/lab", "drills/lab", "checks"][..], &["packs", "repairs"]] {
            let memory = memory();
            create(&memory, [1; 32]).unwrap();
            let (asked, changed) = (Mutex::new(BTreeSet::new()), Condvar::new());
            // None of these listings is answered before all of them are asked for.
            let wait = move |dir: &str| {
                if dirs.contains(&dir) {
                    let mut asked = asked.lock().unwrap();
                    asked.insert(dir.to_string());
                    changed.notify_all();
                    let is_early = |asked: &mut BTreeSet<String>| asked.len() < dirs.len();
                    let (asked, waited) = changed.wait_timeout_while(asked, Duration::from_secs(20), is_early).unwrap();
                    assert!(!waited.timed_out(), "{dir} is listed when only {asked:?} are asked for");
                }
            };
            let bucket = Lockless::with_lists(&(Arc::new(memory) as Arc<dyn Backend>), wait);
            let store = Store::open(bucket, LockMode::Shared, Duration::ZERO, &Silent).unwrap();
            let dir = tempfile::tempdir().unwrap();
            std::fs::create_dir(dir.path().join("assets")).unwrap();
            let mut options = options(dir.path(), 1);
            options.databases.clear();
            assert_eq!(backup(&store, &options, &Silent).unwrap().name.sequence, 1);
        }
    }
}
