//! Prune on stores that were changed, damaged and cut off at every call that changes something: every snapshot reads as before.

mod access;
mod bucket;
mod damage;
mod deltas;
mod faults;
mod reachability;
mod repack;
pub(super) mod server;

use std::collections::{BTreeMap, HashSet};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::{MaxUnused, Numbers, Report, apply, plan, two_phase};
use crate::backend::Backend;
use crate::error::Result;
use crate::fs::lock::LockMode;
use crate::fs::space::SpaceGuard;
use crate::id::{Hasher, SnapshotId};
use crate::ops::check::{self, ReadData, check};
use crate::ops::tests::faulty::names;
use crate::ops::{backup, dump, ls};
use crate::progress::Silent;
use crate::store::deletion::pending::PendingDeletions;
use crate::store::write::WriteSession;
use crate::store::{Store, create, pack_name};
use crate::testing::memory_backend::memory;
use crate::time::Time;

fn open(backend: &Arc<dyn Backend>) -> Store {
    Store::open(Arc::clone(backend), LockMode::Exclusive, Duration::ZERO, &Silent).unwrap()
}

fn try_prune(backend: &Arc<dyn Backend>, max_unused: MaxUnused) -> Result<Report> {
    let store = Store::open(Arc::clone(backend), LockMode::Exclusive, Duration::ZERO, &Silent)?;
    let plan = plan(&store, max_unused, &HashSet::new(), false, &Silent)?;
    apply(&store, plan, &SpaceGuard::unlimited(), &Silent)
}

fn prune(backend: &Arc<dyn Backend>, max_unused: MaxUnused) -> Numbers {
    let report = try_prune(backend, max_unused).unwrap();
    assert!(report.failed.is_none() && report.notes.is_empty(), "{report:?}");
    report.numbers
}

fn pack_bytes(backend: &Arc<dyn Backend>) -> u64 {
    names(backend, "packs").iter().map(|name| backend.len(name).unwrap()).sum()
}

/// A lab whose database and uploads change, in a store in memory.
struct Lab {
    backend: Arc<dyn Backend>,
    dir: tempfile::TempDir,
    runs: u64,
}

impl Lab {
    fn new() -> Self {
        let memory = memory();
        create(&memory, [1; 32]).unwrap();
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("assets")).unwrap();
        let db = rusqlite::Connection::open(dir.path().join("lrl.db")).unwrap();
        db.execute_batch("CREATE TABLE users(id INTEGER PRIMARY KEY, name)").unwrap();
        let rows = (0..4000).map(|n| format!("({n}, hex(randomblob(20)))")).collect::<Vec<_>>().join(",");
        db.execute_batch(&format!("INSERT INTO users VALUES {rows}")).unwrap();
        Self { backend: Arc::new(memory), dir, runs: 0 }
    }

    fn upload(&self, name: &str, seed: u64, len: usize) {
        let mut x = seed | 1;
        let next = || {
            x = x.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            (x >> 33) as u8
        };
        std::fs::write(
            self.dir.path().join("assets").join(name),
            std::iter::repeat_with(next).take(len).collect::<Vec<_>>(),
        )
        .unwrap();
    }

    fn back_up(&mut self) {
        self.runs += 1;
        back_up(&self.backend, self.dir.path(), "lab", self.runs);
    }

    /// Changes some rows and one upload, replaces another, and backs up.
    fn step(&mut self) {
        let db = rusqlite::Connection::open(self.dir.path().join("lrl.db")).unwrap();
        let at = (self.runs * 397 % 4000) as i64;
        db.execute("UPDATE users SET name = hex(randomblob(20)) WHERE id BETWEEN ?1 AND ?1 + 3", [at]).unwrap();
        self.upload("changes", self.runs, 60_000);
        self.upload(&format!("file-{}", self.runs % 4), self.runs * 31, 5000);
        self.back_up();
    }

    fn forget(&self, goes: impl Fn(u64) -> bool) {
        let store = open(&self.backend);
        let names = store.snapshot_names(None).unwrap();
        names.iter().filter(|name| goes(name.sequence)).for_each(|name| store.forget(name).unwrap());
    }
}

fn back_up(backend: &Arc<dyn Backend>, dir: &Path, source: &str, second: u64) {
    let options = backup::Options { source: source.into(), ..backup::tests::options(dir, second) };
    let _ = backup::backup(&open(backend), &options, &Silent).unwrap();
}

/// Returns a digest of all that each snapshot holds.
fn contents(backend: &Arc<dyn Backend>) -> BTreeMap<SnapshotId, [u8; 32]> {
    let store = open(backend);
    let digest = |name| {
        let snapshot = store.snapshot(name).unwrap();
        let mut hasher = Hasher::new();
        let mut feed = |path: &[u8]| {
            hasher.update(path);
            let sink = &mut |bytes: &[u8]| {
                hasher.update(bytes);
                Ok(())
            };
            dump::dump(&store, &snapshot, path, &Silent, sink).unwrap();
        };
        feed(b"lrl.db");
        let entries: Vec<_> = ls::ls(&store, &snapshot, b"").unwrap().entries.map(Result::unwrap).collect();
        entries.iter().filter(|entry| entry.size() > 0).for_each(|entry| feed(&entry.path));
        hasher.finish()
    };
    store.snapshot_names(None).unwrap().iter().map(|name| (name.id, digest(name))).collect()
}

#[track_caller]
fn assert_clean(backend: &Arc<dyn Backend>, what: &str) {
    let options = check::Options { read_data: ReadData::All, seed: 1, lock_wait: Duration::ZERO, record: None };
    let report = check(Arc::clone(backend), &options, &Silent).unwrap();
    assert!(!report.wrong, "{what}: {:#?}", report.findings);
}

/// After a prune the index lists what is alive, once each, and there are no other packs.
#[track_caller]
pub fn assert_exact(backend: &Arc<dyn Backend>, what: &str) {
    let store = open(backend);
    let marked =
        super::mark::mark(&store, &store.snapshot_names(None).unwrap(), &PendingDeletions::default(), &Silent).unwrap();
    let mut listed = HashSet::new();
    store
        .each_chunk(&mut |copies| {
            assert!(copies.len() == 1 && marked.kept.has(copies[0].slot), "{what}: {copies:?}");
            listed.insert(pack_name(&copies[0].place.pack));
            Ok(())
        })
        .unwrap();
    assert_eq!(names(backend, "packs").into_iter().collect::<HashSet<_>>(), listed, "{what}");
    assert_eq!(marked.missing, 0, "{what}");
}

/// Twelve snapshots, of which four are left, one of another source, which is not, and a pack that a dead run left.
fn worn() -> Lab {
    let mut lab = Lab::new();
    lab.upload("constant", 5, 200_000);
    (0..12).for_each(|_| lab.step());
    // Another source, of which nothing is left.
    let other = Lab::new();
    other.upload("alone", 8, 100_000);
    back_up(&lab.backend, other.dir.path(), "other", 1);
    lab.forget(|sequence| ![3, 7, 11, 12].contains(&sequence));
    let before = names(&lab.backend, "index");
    let store = open(&lab.backend);
    let session = WriteSession::new(&store);
    session.put(b"what a dead run left", &[]).unwrap();
    session.seal().unwrap();
    for index in names(&lab.backend, "index").iter().filter(|name| !before.contains(name)) {
        lab.backend.remove(index).unwrap();
    }
    lab
}

pub(super) fn in_bucket(dry_run: bool) -> two_phase::Options {
    two_phase::Options {
        max_unused: MaxUnused::Bytes(0),
        grace: Duration::ZERO,
        retired: Vec::new(),
        only_pruner: true,
        owner: "test".into(),
        token: "1".into(),
        program: "test".into(),
        now: Time { secs: 1_768_392_000, nanos: 0 },
        lock_wait: Duration::ZERO,
        dry_run,
    }
}

/// A history in which everything changed, of which only what `stays` names is left.
fn chained(stays: &[u64]) -> Lab {
    let mut lab = Lab::new();
    lab.back_up();
    for run in 0..7 {
        let db = rusqlite::Connection::open(lab.dir.path().join("lrl.db")).unwrap();
        db.execute("UPDATE users SET name = hex(randomblob(20)) WHERE id % 10 = ?1", [run]).unwrap();
        lab.back_up();
    }
    lab.forget(|sequence| !stays.contains(&sequence));
    lab
}

/// Chains to end, and packs that are dead as a whole.
fn worn_and_chained() -> Lab {
    let mut lab = chained(&[8]);
    lab.upload("gone", 8, 100_000);
    lab.back_up();
    std::fs::remove_file(lab.dir.path().join("assets/gone")).unwrap();
    lab.back_up();
    lab.forget(|sequence| sequence < 10);
    lab
}
