//! Copies of small and of random histories, between stores that name chunks alike and differently; killed, damaged and healed.

mod damage;
mod faults;
mod history;
mod incremental;
mod random;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::{Options, Report, Which, copy};
use crate::backend::Backend;
use crate::format::entry::{Entry, Kind};
use crate::format::snapshot::Snapshot;
use crate::fs::lock::LockMode;
use crate::id::{Hasher, Ids, SnapshotId};
use crate::ops::check::{self, ReadData, check};
use crate::ops::tests::faulty::names;
use crate::ops::{backup, dump, ls};
use crate::progress::Silent;
use crate::store::{Store, create};
use crate::testing::memory_backend::memory;
use crate::time::Time;

type Shared = Arc<dyn Backend>;

/// How a store names its chunks.
const KEYS: [Option<[u8; 32]>; 2] = [None, Some([7; 32])];

fn empty(id: u8) -> Shared {
    let memory = memory();
    create(&memory, [id; 32]).unwrap();
    Arc::new(memory)
}

fn open(backend: &Shared, key: Option<[u8; 32]>) -> Store {
    let store = Store::open(Arc::clone(backend), LockMode::Shared, Duration::ZERO, &Silent).unwrap();
    store.named_by(key.map_or_else(Ids::default, Ids::keyed))
}

fn options(which: Which) -> Options {
    let now = Time { secs: 2_000_000_000, nanos: 0 };
    Options { which, dry_run: false, lock_wait: Duration::ZERO, now }
}

fn run(from: &Store, to: &Store, which: Which) -> Report {
    copy(from, to, &options(which), &Silent).unwrap()
}

#[track_caller]
fn whole(report: Report) -> Report {
    assert!(report.stopped.is_none() && report.failed.is_empty(), "{report:?}");
    report
}

fn bytes(backend: &Shared, prefix: &str) -> u64 {
    names(backend, prefix).iter().map(|name| backend.len(name).unwrap()).sum()
}

#[track_caller]
fn assert_clean(backend: &Shared, what: &str) {
    let options = check::Options { read_data: ReadData::All, seed: 1, lock_wait: Duration::ZERO, record: None };
    let report = check(Arc::clone(backend), &options, &Silent).unwrap();
    assert!(!report.wrong, "{what}: {:#?}", report.findings);
}

/// What of a snapshot does not depend on the store that it is in, and a digest of all its bytes.
#[derive(Debug, PartialEq)]
struct Held {
    document: String,
    entries: Vec<Entry>,
    digest: [u8; 32],
}

fn held(store: &Store, snapshot: &Snapshot) -> Held {
    let mut plain = snapshot.clone();
    (plain.sequence, plain.original) = (0, None);
    plain.parents.clear();
    plain.packs.clear();
    plain.added_bytes = None;
    let nothing = crate::id::ChunkId::from_bytes([0; 32]);
    plain.databases.iter_mut().for_each(|part| part.root = nothing);
    plain.files.iter_mut().for_each(|part| part.list = nothing);
    let mut hasher = Hasher::new();
    let mut feed = |path: &[u8]| {
        let sink = &mut |bytes: &[u8]| {
            hasher.update(bytes);
            Ok(())
        };
        dump::dump(store, snapshot, path, &Silent, sink).unwrap();
    };
    let mut entries = Vec::new();
    if snapshot.has_databases() {
        feed(b"lrl.db");
    }
    if snapshot.files.is_some() {
        for entry in ls::ls(store, snapshot, b"").unwrap().entries {
            let mut entry = entry.unwrap();
            if let Kind::File { size, content } = &mut entry.kind {
                if *size > 0 {
                    feed(&entry.path);
                }
                *content = crate::format::entry::Content::Inline(Vec::new());
            }
            entries.push(entry);
        }
    }
    Held { document: serde_json::to_string(&plain).unwrap(), entries, digest: hasher.finish() }
}

/// All that a store holds, by the ids where snapshots were made, and in the order of the histories.
fn contents(store: &Store) -> (BTreeMap<SnapshotId, Held>, Vec<SnapshotId>) {
    let mut order = Vec::new();
    let mut all = BTreeMap::new();
    for name in store.snapshot_names(None).unwrap() {
        let snapshot = store.snapshot(&name).unwrap();
        let id = snapshot.original.as_ref().map_or(name.id, |original| original.snapshot);
        order.push(id);
        assert!(all.insert(id, held(store, &snapshot)).is_none(), "{name} is there twice");
    }
    (all, order)
}

#[track_caller]
fn assert_same(from: &Store, to: &Store) {
    assert_eq!(contents(from), contents(to));
}

fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut x = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let next = || {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        (x >> 24) as u8
    };
    std::iter::repeat_with(next).take(len).collect()
}

/// A lab whose database and uploads change, in a store in memory.
struct Lab {
    backend: Shared,
    dir: tempfile::TempDir,
    runs: u64,
}

impl Lab {
    fn new() -> Self {
        Self::in_store(1)
    }

    fn in_store(id: u8) -> Self {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("assets")).unwrap();
        let lab = Self { backend: empty(id), dir, runs: 0 };
        let db = lab.database();
        db.execute_batch("CREATE TABLE users(id INTEGER PRIMARY KEY, name)").unwrap();
        let rows = (0..4000).map(|n| format!("({n}, hex(randomblob(20)))")).collect::<Vec<_>>().join(",");
        db.execute_batch(&format!("INSERT INTO users VALUES {rows}")).unwrap();
        drop(db);
        lab.upload("constant", 5, 200_000);
        lab
    }

    fn database(&self) -> rusqlite::Connection {
        rusqlite::Connection::open(self.dir.path().join("lrl.db")).unwrap()
    }

    fn upload(&self, name: &str, seed: u64, len: usize) {
        std::fs::write(self.dir.path().join("assets").join(name), noise(seed, len)).unwrap();
    }

    fn back_up(&mut self) {
        self.back_up_as("lab", |_| {});
    }

    fn back_up_as(&mut self, source: &str, change: impl FnOnce(&mut backup::Options)) {
        self.runs += 1;
        let mut options =
            backup::Options { source: source.into(), ..backup::tests::options(self.dir.path(), self.runs) };
        change(&mut options);
        let _ = backup::backup(&open(&self.backend, None), &options, &Silent).unwrap();
    }

    /// Changes some rows and one upload, replaces another, and backs up.
    fn step(&mut self) {
        let at = (self.runs * 397 % 4000) as i64;
        let rows = "UPDATE users SET name = hex(randomblob(20)) WHERE id BETWEEN ?1 AND ?1 + 3";
        self.database().execute(rows, [at]).unwrap();
        self.upload(&format!("file-{}", self.runs % 4), self.runs * 31, 500);
        self.back_up();
    }

    fn forget(&self, goes: impl Fn(u64) -> bool) {
        let store = open(&self.backend, None);
        let names = store.snapshot_names(None).unwrap();
        names.iter().filter(|name| goes(name.sequence)).for_each(|name| store.forget(name).unwrap());
    }
}
