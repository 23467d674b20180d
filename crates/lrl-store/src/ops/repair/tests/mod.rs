//! Every damage to a small store, alone, in pairs and mixed with other commands: always seen, always named, repaired without losing anything
//! that could be read, healed by the next backup as far as the source goes, never clean and unrestorable. `LRL_TEST_ROUNDS=all` flips every
//! byte and cuts at every length.

// A log says how many states were tried.
#![allow(clippy::print_stdout)]

mod bucket;
mod delta_base;
mod every_object;
mod faults;
mod index;
mod long_life;
mod quarantine;

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rayon::prelude::*;

use super::{Repaired, repair};
use crate::backend::{Backend, Payload};
use crate::error::Result;
use crate::format::drill::{self, Drill};
use crate::fs::lock::LockMode;
use crate::fs::space::SpaceGuard;
use crate::id::{Hasher, Ids, SnapshotId};
use crate::ops::check::{Options, ReadData, Report};
use crate::ops::prune::{self, MaxUnused};
use crate::ops::tests::cases::noise;
use crate::ops::tests::faulty::{names, twin};
use crate::ops::{backup, dump, ls};
use crate::progress::Silent;
use crate::store::{SnapshotName, Store, create};
use crate::testing::memory_backend::memory;
use crate::time::Time;

const EVERYTHING: Options = Options { read_data: ReadData::All, seed: 1, lock_wait: Duration::ZERO, record: None };

const STRUCTURE: Options = Options { read_data: ReadData::No, ..EVERYTHING };

/// Digests of files by their paths, of each snapshot.
type Contents = BTreeMap<SnapshotId, BTreeMap<Vec<u8>, [u8; 32]>>;

/// A store with what its snapshots hold, and the source as it was backed up last.
struct Lab {
    storage: Arc<dyn Backend>,
    dir: tempfile::TempDir,
    truth: Contents,
}

fn examine(storage: &Arc<dyn Backend>) -> Result<Store> {
    Store::examine(Arc::clone(storage), LockMode::Exclusive, Duration::ZERO, &Silent).map(|(store, _)| store)
}

fn back_up(storage: &Arc<dyn Backend>, dir: &Path, second: u64, rescan: bool) -> Result<SnapshotName> {
    let store = Store::open(Arc::clone(storage), LockMode::Shared, Duration::ZERO, &Silent)?;
    let options = backup::Options { rescan, ..backup::tests::options(dir, second) };
    backup::backup(&store, &options, &Silent).map(|report| report.name)
}

/// Reads all that can be read.
fn contents(storage: &Arc<dyn Backend>) -> Contents {
    let Ok(store) = examine(storage) else { return Contents::new() };
    let read = |name: &SnapshotName| {
        let snapshot = store.snapshot(name).ok()?;
        let mut paths = BTreeSet::from([b"lrl.db".to_vec()]);
        for path in ["assets/all", "assets/file-0", "assets/file-1", "assets/file-2", "assets/large"] {
            paths.insert(path.as_bytes().to_vec());
        }
        if let Ok(listing) = ls::ls(&store, &snapshot, b"") {
            paths.extend(listing.entries.flatten().filter(|entry| entry.size() > 0).map(|entry| entry.path));
        }
        let file = |path: Vec<u8>| {
            let mut hasher = Hasher::new();
            let sink = &mut |bytes: &[u8]| {
                hasher.update(bytes);
                Ok(())
            };
            let done = dump::dump(&store, &snapshot, &path, &Silent, sink);
            done.ok().map(|_| (path, hasher.finish()))
        };
        Some((name.id, paths.into_iter().filter_map(file).collect()))
    };
    store.snapshot_names(None).unwrap().iter().filter_map(read).collect()
}

/// Gives everything in the source a time of its own, so that a run can be repeated bit by bit.
fn settle(dir: &Path, second: u64) {
    let time = std::time::SystemTime::UNIX_EPOCH + Duration::from_secs(1_600_000_000 + second);
    let assets = std::fs::read_dir(dir.join("assets")).unwrap().map(|entry| entry.unwrap().path());
    for path in assets.chain([dir.join("assets"), dir.join("lrl.db")]) {
        std::fs::File::open(path).unwrap().set_modified(time).unwrap();
    }
}

impl Lab {
    /// Three snapshots: a file of its own in each, one in all, one that changes, a database that grows; and the record of a drill.
    fn new() -> Self {
        let memory = memory();
        create(&memory, [1; 32]).unwrap();
        let storage: Arc<dyn Backend> = Arc::new(memory);
        let dir = tempfile::tempdir().unwrap();
        let db = rusqlite::Connection::open(dir.path().join("lrl.db")).unwrap();
        db.execute_batch("CREATE TABLE users(id, name)").unwrap();
        let assets = dir.path().join("assets");
        std::fs::create_dir(&assets).unwrap();
        std::fs::write(assets.join("all"), noise(99, 700)).unwrap();
        let mut truth = Contents::new();
        for n in 0..3u64 {
            for row in 0..20 {
                db.execute("INSERT INTO users VALUES(?, ?)", ((row * n) as i64, format!("name {row} of {n}"))).unwrap();
            }
            std::fs::write(assets.join(format!("file-{n}")), noise(n, 400)).unwrap();
            std::fs::write(assets.join("large"), [noise(7, 1200), noise(n + 50, 60)].concat()).unwrap();
            settle(dir.path(), n);
            let name = back_up(&storage, dir.path(), n, false).unwrap();
            if n == 1 {
                let record = record(name.id);
                let (id, bytes) = drill::encode(&record, &Ids::default()).unwrap();
                let name = crate::store::drill_records::DrillName { source: "lab".into(), finished: 1_700_000_100, id };
                storage.put(&name.object(), Payload::Bytes(&bytes)).unwrap();
            }
            truth = contents(&storage);
        }
        assert_eq!(truth.values().map(BTreeMap::len).collect::<BTreeSet<_>>(), BTreeSet::from([4, 5, 6]));
        Self { storage, dir, truth }
    }

    /// Returns whether the source still has the contents.
    fn has(&self, digest: &[u8; 32]) -> bool {
        self.truth.iter().any(|(id, files)| self.is_newest(id) && files.values().any(|known| known == digest))
    }

    fn is_newest(&self, id: &SnapshotId) -> bool {
        self.truth[id].contains_key(b"assets/file-2".as_slice())
    }
}

fn record(snapshot: SnapshotId) -> Drill {
    let finished = Time { secs: 1_700_000_100, nanos: 0 };
    Drill { snapshot: Some(snapshot), drilled: drill::Drilled::Snapshot, ..Drill::sample("lab", finished) }
}

/// Nothing that was read is wrong.
#[track_caller]
fn assert_true(lab: &Lab, found: &Contents, what: &str) {
    for (id, files) in found.iter().filter(|(id, _)| lab.truth.contains_key(*id)) {
        for (path, digest) in files {
            assert_eq!(lab.truth[id].get(path), Some(digest), "{what}: {}", String::from_utf8_lossy(path));
        }
    }
}

/// What could be read before can be read now, of the snapshots that are listed.
#[track_caller]
fn assert_kept(before: &Contents, after: &Contents, what: &str) {
    for (id, files) in before {
        let now = after.get(id).unwrap_or_else(|| panic!("{what}: snapshot {} is gone", id.short()));
        for path in files.keys() {
            assert!(now.contains_key(path), "{what}: {} of {}", String::from_utf8_lossy(path), id.short());
        }
    }
}

/// The report names exactly what cannot be read.
#[track_caller]
fn assert_named(lab: &Lab, report: &Report, readable: &Contents, what: &str) {
    for (id, files) in readable {
        let Some(truth) = lab.truth.get(id) else { continue };
        let lost: BTreeSet<String> = truth
            .keys()
            .filter(|path| !files.contains_key(*path))
            .map(|path| String::from_utf8_lossy(path).into_owned())
            .collect();
        let loss = report.lost.iter().find(|loss| loss.snapshot == *id);
        let mut named: BTreeSet<String> = loss.map(|loss| loss.files.iter().cloned().collect()).unwrap_or_default();
        let more = loss.map_or(0, |loss| loss.more_files);
        if loss.is_some_and(|loss| loss.database) {
            named.insert("lrl.db".into());
        }
        // Where a node of the list is lost, it is named by its first entry, and the others are counted.
        if more > 0 || named.contains("assets") {
            let (uploads, of_database) =
                (lost.iter().filter(|path| *path != "lrl.db").count(), lost.contains("lrl.db"));
            assert!(uploads > 0 && of_database == named.contains("lrl.db"), "{what}: {loss:?}, but {lost:?} are lost");
        } else {
            assert_eq!(named, lost, "{what}: {:#?}", report.findings);
        }
    }
}

/// Prunes; returns how many packs had to stay as they were.
fn try_prune(storage: &Arc<dyn Backend>) -> Result<usize> {
    let store = Store::open(Arc::clone(storage), LockMode::Exclusive, Duration::ZERO, &Silent)?;
    let plan = prune::plan(&store, MaxUnused::Bytes(0), &HashSet::new(), false, &Silent)?;
    let report = prune::apply(&store, plan, &SpaceGuard::unlimited(), &Silent)?;
    report.failed.map_or(Ok(report.notes.len()), Err)
}

#[track_caller]
fn repaired(storage: &Arc<dyn Backend>, options: &Options, what: &str) -> Repaired {
    let done = repair(Arc::clone(storage), options, &Silent).unwrap_or_else(|e| panic!("{what}: {e}"));
    assert!(done.failed.is_none(), "{what}: {:?}", done.failed);
    done
}

fn rounds() -> bool {
    std::env::var("LRL_TEST_ROUNDS").as_deref() == Ok("all")
}

/// Tries every state, two at a time, and fails with all that went wrong.
#[track_caller]
fn try_all<T: Sync>(states: &[T], what: &str, attempt: impl Fn(&T) + Sync) {
    let fails = |state: &&T| std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| attempt(state))).is_err();
    let failed = states.par_iter().filter(fails).count();
    println!("{} {what}", states.len());
    assert_eq!(failed, 0, "of {} {what}", states.len());
}

fn put(storage: &Arc<dyn Backend>, name: &str, bytes: &[u8]) {
    storage.put(name, Payload::Bytes(bytes)).unwrap();
}

/// A store with a damage of every kind.
fn battered(lab: &Lab) -> Arc<dyn Backend> {
    let storage = twin(&lab.storage);
    let flip = |name: &str, at: usize| {
        let mut bytes = storage.read(name).unwrap();
        bytes[at] ^= 8;
        put(&storage, name, &bytes);
    };
    let (packs, indexes, snapshots) =
        (names(&storage, "packs"), names(&storage, "index"), names(&storage, "snapshots"));
    flip(&packs[0], 100);
    flip(&packs[1], 2);
    flip(&indexes[0], 200);
    flip(&snapshots[0], 30);
    flip(&names(&storage, "drills")[0], 30);
    flip("config", 3);
    put(&storage, &format!("{}.bak", snapshots[1]), &storage.read(&snapshots[1]).unwrap());
    storage.remove(&snapshots[1]).unwrap();
    put(&storage, "packs/readme", b"not a pack");
    storage
}
