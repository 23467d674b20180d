//! The machine of the simulated year: the site, its backup directory, a clock that can be wrong, and the verbs as the command line calls
//! them. Each verb says what it did to the model, and panics where the model says that it should have ended otherwise.

mod checks;
mod drills;

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, SystemTime};

use super::dice::Rng;
use super::lab::{Lab, is_sound};
use super::model::{Model, Snap};
use crate::backend::Backend;
use crate::backend::local::LocalBackend;
use crate::error::{Error, Result};
use crate::format::entry::Content;
use crate::fs::lock::LockMode;
use crate::fs::space::SpaceGuard;
use crate::ops::judgement::Judge;
use crate::ops::select::{self, Need, Selected};
use crate::ops::tests::faulty::{Fault, Faulty};
use crate::ops::tests::life::lab::{digest, look};
use crate::ops::tests::life::world::assert_same;
use crate::ops::{backup, forget, prune, restore};
use crate::progress::{Observer, Silent};
use crate::set::manifest::read::FoundSet;
use crate::set::sha256::sha256_of;
use crate::store::{SnapshotName, Store, create};
use crate::time::Time;

/// A program that another test starts holds a lock with this process until its `exec`.
const LOCK_WAIT: Duration = Duration::from_secs(20);

/// What cuts a run short.
#[derive(Debug, Clone, Copy)]
pub enum Kill {
    Interrupt(u32),
    Backend(Fault, u32),
}

struct Stop(AtomicU32);

impl Observer for Stop {
    fn interrupted(&self) -> bool {
        self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| n.checked_sub(1)).is_err()
    }
}

pub struct World {
    pub dir: tempfile::TempDir,
    pub lab: Lab,
    pub dice: Rng,
    pub model: Model,
    /// Seconds since 1970, as it is.
    pub time: i64,
    /// How wrong the machine's clock is.
    pub skew: i64,
    /// What is wrong with the source, that a run sees.
    pub seen: Need,
    /// Packs with a flipped byte, and their bytes as they are now.
    pub flipped: BTreeMap<PathBuf, Vec<u8>>,
    storage: Arc<dyn Backend>,
    pub counts: BTreeMap<&'static str, u64>,
}

impl World {
    pub fn new(seed: u64) -> Self {
        // Hundreds of runs, each with its syncs.
        let memory = std::path::Path::new("/dev/shm");
        let dir = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() }.unwrap();
        let storage = LocalBackend::new(dir.path().join("backups/store"));
        storage.create().unwrap();
        create(&storage, [1; 32]).unwrap();
        // A day ahead of the files' own times: "unchanged" is proved from the first run on.
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
        Self {
            lab: Lab::new(dir.path()),
            dice: Rng::new(seed),
            model: Model::default(),
            time: now.as_secs() as i64 / 86_400 * 86_400 + 2 * 86_400,
            skew: 0,
            seen: Need::default(),
            flipped: BTreeMap::new(),
            storage: Arc::new(storage),
            counts: BTreeMap::new(),
            dir,
        }
    }

    pub fn count(&mut self, what: &'static str) {
        *self.counts.entry(what).or_default() += 1;
    }

    /// What the machine's clock shows; a minute passes.
    pub fn now(&mut self) -> i64 {
        self.time += 60;
        self.time + self.skew
    }

    pub fn out(&self) -> PathBuf {
        self.dir.path().join("backups")
    }

    pub fn open(&self) -> Store {
        Store::open(Arc::clone(&self.storage), LockMode::Exclusive, LOCK_WAIT, &Silent).unwrap()
    }

    /// Opens the store for a run that may be killed.
    fn open_killed(&self, kill: Option<Kill>) -> (Result<Store>, Box<dyn Observer>) {
        let mut storage = Arc::clone(&self.storage);
        let mut observer: Box<dyn Observer> = Box::new(Silent);
        match kill {
            Some(Kill::Interrupt(after)) => observer = Box::new(Stop(AtomicU32::new(after))),
            Some(Kill::Backend(fault, after)) => storage = Faulty::new(&storage, fault, after),
            None => {}
        }
        (Store::open(storage, LockMode::Exclusive, LOCK_WAIT, &Silent), observer)
    }

    /// Forgets flipped packs that are gone or written anew; returns whether any are left.
    pub fn is_flipped(&mut self) -> bool {
        self.flipped.retain(|path, now| fs::read(path).is_ok_and(|bytes| bytes == *now));
        !self.flipped.is_empty()
    }

    /// References all that a snapshot holds, and says which parts are lost. What can be read must be what was there.
    pub fn lost(&self, store: &Store, name: &SnapshotName) -> Need {
        let snap = &self.model.snaps[name];
        let snapshot = store.snapshot(name).unwrap();
        let mut bytes = Vec::new();
        let database = snapshot.databases.first().map(|half| {
            store.read_content(&Content::Tree(half.root), 0, half.size_bytes, &mut |piece| {
                bytes.extend_from_slice(piece);
                Ok(())
            })
        });
        let database = match database {
            Some(Ok(())) => {
                assert!(Some(digest(&bytes)) == snap.database, "{name:?} gives another database");
                false
            }
            read => read.is_some(),
        };
        let fresh = tempfile::tempdir_in(self.dir.path()).unwrap();
        let options = restore_options(fresh.path().join("data"), restore::What::AssetsOnly);
        let uploads = snapshot.files.is_some()
            && match restore::restore(store, name, &snapshot, &options, &Silent) {
                Ok(_) => {
                    assert_same(Some(&look(&options.data_dir)), snap.uploads.as_deref(), &format!("{name:?}"));
                    false
                }
                Err(_) => true,
            };
        Need { database, uploads }
    }

    /// `lrl backup`.
    pub fn back_up(&mut self, kill: Option<Kill>) -> Option<SnapshotName> {
        let now = self.now();
        let options = backup::Options {
            lock_wait: LOCK_WAIT,
            out: Some(self.out()),
            scratch: self.out(),
            keep_sets: std::num::NonZeroUsize::new(3),
            rescan_every: Some(Duration::from_secs(7 * 86_400)),
            now: SystemTime::UNIX_EPOCH + Duration::from_secs(now as u64),
            ..backup::tests::options(&self.lab.data(), 0)
        };
        let snap = Snap {
            created: now,
            database: Some(self.lab.image()),
            uploads: self.lab.tree().map(Arc::new),
            born_good: Need { database: !self.seen.database, uploads: !self.seen.uploads },
            is_sound: is_sound(&self.lab.database()),
        };
        let (store, observer) = self.open_killed(kill);
        let done = store.and_then(|store| backup::backup(&store, &options, &*observer));
        self.count("nights");
        let born = self.take_born(snap);
        match &done {
            Ok(report) => {
                assert_eq!(born.as_ref(), Some(&report.name), "what was reported is listed");
                assert!(kill.is_some() || report.set_error.is_none(), "{:?}", report.set_error);
                self.count("backups");
            }
            Err(error) => {
                assert!(kill.is_some() || self.is_flipped(), "the source can be read: {error}");
                self.count(if kill.is_some() { "killed backups" } else { "backups stopped by damage" });
            }
        }
        born
    }

    /// Takes what a run has published into the model; a run that was killed may have, too.
    fn take_born(&mut self, snap: Snap) -> Option<SnapshotName> {
        let store = self.open();
        let mut names: BTreeSet<_> = store.snapshot_names(None).unwrap().into_iter().collect();
        assert!(self.model.snaps.keys().all(|name| names.remove(name)), "a backup lost an older snapshot");
        assert!(names.len() <= 1);
        let born = names.pop_first()?;
        assert!(self.model.snaps.keys().all(|name| *name < born), "it is the newest");
        self.model.snaps.insert(born.clone(), snap);
        Some(born)
    }

    fn forget_options(&mut self, names: Vec<String>, force: bool) -> forget::Options {
        let policy = forget::Policy {
            daily: 7,
            weekly: 5,
            monthly: 12,
            bad_within_secs: 7 * 86_400,
            ..forget::Policy::default()
        };
        forget::Options { source: Some("lab".into()), names, policy, force, now: self.now() }
    }

    /// `lrl forget --keep-daily 7 --keep-weekly 5 --keep-monthly 12 --prune`.
    pub fn forget(&mut self, kill: Option<Kill>) {
        let options = self.forget_options(Vec::new(), false);
        let right = |part: fn(&Snap) -> bool| self.model.newest_right(part).cloned();
        let protected = [
            right(|snap| snap.is_sound && snap.born_good.database),
            right(|snap| snap.born_good.uploads),
            self.model.newest_good(super::model::BOTH).cloned(),
            self.model.newest_proven().cloned(),
        ];
        let (store, observer) = self.open_killed(kill);
        let mut removed = Vec::new();
        let done = store.and_then(|store| {
            let plan = forget::plan(&store, &options, &*observer)?;
            removed.extend(plan.removed().cloned());
            forget::apply(&store, &plan, &*observer)?;
            let plan = prune::plan(&store, prune::MaxUnused::Percent(5.0), &HashSet::new(), false, &*observer)?;
            let report = prune::apply(&store, plan, &SpaceGuard::unlimited(), &*observer)?;
            report.failed.map_or(Ok(()), Err)
        });
        for (name, what) in protected.iter().zip(["database", "uploads", "known", "proven"]) {
            assert!(name.as_ref().is_none_or(|name| !removed.contains(name)), "{name:?} is the last good {what}");
        }
        assert!(done.is_ok() || kill.is_some() || self.is_flipped(), "{done:?}");
        let there: BTreeSet<_> = self.open().snapshot_names(None).unwrap().into_iter().collect();
        let before = self.model.snaps.len();
        self.model.snaps.retain(|name, _| {
            assert!(there.contains(name) || removed.contains(name), "{name:?} is lost");
            there.contains(name)
        });
        assert_eq!(there.len(), self.model.snaps.len());
        *self.counts.entry("snapshots forgotten").or_default() += (before - there.len()) as u64;
        if done.is_err() {
            self.count(if kill.is_some() { "killed forgets and prunes" } else { "prunes stopped by damage" });
        }
    }

    /// Finds what `lrl restore` takes, and compares with the model; `None` where nothing good is left, which only a flipped byte can do.
    pub fn choose(&mut self, need: Need) -> Option<Selected> {
        let now = self.now();
        let store = self.open();
        let mut judge = Judge::new(&store, Time { secs: now, nanos: 0 });
        let found = match select::select(&store, Some("lab"), "good", need, &mut judge, &Silent) {
            Err(Error::NotFound(_)) => None,
            found => Some(found.unwrap()),
        };
        let (name, passed_over) = found.as_ref().map(|found| (&found.name, &found.passed_over)).unzip();
        assert_eq!(name, self.model.newest_good(need), "the newest good one; passed over were {passed_over:#?}");
        assert!(found.is_some() || self.is_flipped(), "nothing is damaged, and nothing is good");
        found
    }

    /// `lrl restore --target`: what comes is what was there, or nothing where a byte was flipped that nobody has read yet.
    pub fn restore(&mut self) {
        let Some(Selected { name, snapshot, .. }) = self.choose(super::model::BOTH) else {
            return self.count("restores without anything good");
        };
        let store = self.open();
        let fresh = tempfile::tempdir_in(self.dir.path()).unwrap();
        let options = restore_options(fresh.path().join("data"), restore::What::Whole);
        let done = restore::restore(&store, &name, &snapshot, &options, &Silent);
        if let Err(error) = done {
            assert!(self.is_flipped(), "{name:?}: {error}");
            return self.count("restores stopped by damage");
        }
        let snap = &self.model.snaps[&name];
        let image = digest(&fs::read(options.data_dir.join("lrl.db")).unwrap());
        assert!(Some(image) == snap.database, "another database");
        assert_same(Some(&look(&options.data_dir)), snap.uploads.as_deref(), "restored");
        self.count("restores");
    }

    /// `lrl restore --db-only`, in place.
    pub fn restore_database(&mut self) {
        let Selected { name, snapshot, .. } = self.choose(Need { database: true, uploads: false }).unwrap();
        let store = self.open();
        let options = restore_options(self.lab.data(), restore::What::DbOnly);
        let _ = restore::restore(&store, &name, &snapshot, &options, &Silent).unwrap();
        assert!(Some(self.lab.image()) == self.model.snaps[&name].database, "another database");
        assert!(is_sound(&self.lab.database()), "it was drilled");
        self.count("databases restored in place");
    }
}

/// Returns which parts of a set are not as its manifest says.
fn rotten_parts(set: &FoundSet) -> Need {
    let rotten = |kind: &str| {
        set.files.iter().filter(|file| file.kind == kind).any(|file| {
            let (sha256, _) = sha256_of(file.there().unwrap(), &Silent).unwrap();
            file.sha256.as_deref() != Some(&*sha256)
        })
    };
    Need { database: rotten("database"), uploads: rotten("assets") }
}

fn restore_options(data_dir: PathBuf, what: restore::What) -> restore::Options {
    restore::Options {
        storage_dir: data_dir.with_file_name("storage"),
        what,
        no_keep: true,
        ..restore::Options::new(data_dir)
    }
}
