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
    use std::path::PathBuf;
    use std::sync::{Arc, Condvar, Mutex};
    use std::time::Duration;

    use crate::backend::{Backend, Capabilities, Payload, TempObject};
    use crate::error::Result;
    use crate::fs::lock::{Guard, LockMode};
    use crate::ops::backup::{backup, tests::options};
    use crate::progress::Silent;
    use crate::store::{Store, create};
    use crate::testing::memory_backend::memory;

    /// A bucket that answers no listing of these directories before all of them are asked for.
    struct AnswersTogether {
        below: Arc<dyn Backend>,
        dirs: &'static [&'static str],
        asked: Mutex<BTreeSet<String>>,
        changed: Condvar,
    }

    impl Backend for AnswersTogether {
        fn location(&self) -> String {
            self.below.location()
        }
        fn capabilities(&self) -> Capabilities {
            Capabilities::BUCKET
        }
        fn read(&self, name: &str) -> Result<Vec<u8>> {
            self.below.read(name)
        }
        fn read_range(&self, name: &str, offset: u64, len: usize) -> Result<Vec<u8>> {
            self.below.read_range(name, offset, len)
        }
        fn len(&self, name: &str) -> Result<u64> {
            self.below.len(name)
        }
        fn put(&self, name: &str, source: Payload<'_>) -> Result<()> {
            self.below.put(name, source)
        }
        fn temp_object(&self) -> Result<TempObject> {
            self.below.temp_object()
        }
        fn list(&self, prefix: &str, visit: &mut dyn FnMut(&str, u64) -> Result<()>) -> Result<()> {
            if self.dirs.contains(&prefix) {
                let mut asked = self.asked.lock().unwrap();
                asked.insert(prefix.into());
                self.changed.notify_all();
                let is_early = |asked: &mut BTreeSet<String>| asked.len() < self.dirs.len();
                let (asked, waited) =
                    self.changed.wait_timeout_while(asked, Duration::from_secs(20), is_early).unwrap();
                assert!(!waited.timed_out(), "{prefix} is listed when only {asked:?} are asked for");
            }
            self.below.list(prefix, visit)
        }
        fn remove(&self, name: &str) -> Result<()> {
            self.below.remove(name)
        }
        fn lock(&self, _: &str, _: LockMode, _: Duration, _: &dyn Fn() -> bool) -> Result<Option<Box<dyn Guard>>> {
            Ok(None)
        }
        fn cache_dir(&self) -> Option<PathBuf> {
            None
        }
    }

    #[test]
    fn in_a_bucket_what_does_not_depend_on_another_listing_is_listed_at_the_same_time() {
        for dirs in [&["pending", "snapshots/lab", "drills/lab", "checks"][..], &["packs", "repairs"]] {
            let memory = memory();
            create(&memory, [1; 32]).unwrap();
            let (asked, changed) = Default::default();
            let bucket = AnswersTogether { below: Arc::new(memory), dirs, asked, changed };
            let store = Store::open(Arc::new(bucket), LockMode::Shared, Duration::ZERO, &Silent).unwrap();
            let dir = tempfile::tempdir().unwrap();
            std::fs::create_dir(dir.path().join("assets")).unwrap();
            let mut options = options(dir.path(), 1);
            options.databases.clear();
            assert_eq!(backup(&store, &options, &Silent).unwrap().name.sequence, 1);
        }
    }
}
