//! Copies of small and of random histories, between stores that name chunks alike and differently; killed, damaged and healed.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;

use super::{Options, Report, Which, copy};
use crate::backend::{Backend, Payload};
use crate::error::Error;
use crate::format::entry::{Entry, Kind};
use crate::format::snapshot::Snapshot;
use crate::fs::lock::LockMode;
use crate::id::{Hasher, Ids, SnapshotId};
use crate::ops::check::{self, ReadData, check};
use crate::ops::tests::faulty::{Fault, Faulty, names};
use crate::ops::{backup, dump, ls};
use crate::progress::Silent;
use crate::store::{Store, create, pack_name};
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

#[test]
fn many_small_steps_cost_in_the_copy_what_they_cost_in_the_store() {
    let mut lab = Lab::new();
    (0..30).for_each(|_| lab.step());
    let from = open(&lab.backend, None);
    for key in KEYS {
        let copied = empty(2);
        let to = open(&copied, key);
        let report = whole(run(&from, &to, Which::Missing(None)));
        assert_eq!((report.copied.len(), report.known), (30, 0));
        assert_same(&from, &to);
        let (before, after) = (bytes(&lab.backend, "packs"), bytes(&copied, "packs"));
        assert!(after < before + before / 50, "{before} became {after}");
        let added: u64 = report.copied.iter().map(|copied| copied.added_bytes).sum();
        assert_eq!((added, report.added_bytes), (report.added_bytes, bytes(&copied, "packs") + added - after));
        // A second time nothing is done, and a step more costs a step.
        let objects = names(&copied, "");
        let report = whole(run(&from, &to, Which::Missing(None)));
        assert_eq!((report.copied.len(), report.known, report.added_bytes), (0, 30, 0));
        assert_eq!(names(&copied, ""), objects);
    }
    let to = empty(3);
    let _ = whole(run(&from, &open(&to, None), Which::Missing(None)));
    assert_clean(&to, "the copy");
    lab.step();
    let report = whole(run(&open(&lab.backend, None), &open(&to, None), Which::Newer("lab".into())));
    assert_eq!((report.copied.len(), report.known), (1, 30));
    assert!(report.added_bytes < bytes(&to, "packs") / 20, "{}", report.added_bytes);
    assert_clean(&to, "one more");
}

#[test]
fn numbers_parents_and_latest_are_those_of_the_history() {
    let mut lab = Lab::new();
    (0..6).for_each(|_| lab.step());
    lab.forget(|sequence| sequence == 2);
    let from = open(&lab.backend, None);
    let copied = empty(2);
    let to = open(&copied, None);
    let listed = from.snapshot_names(None).unwrap();
    // The newest first, then one from the middle, then the rest.
    for which in [Which::Named(vec![listed[4].clone()]), Which::Named(vec![listed[2].clone()]), Which::Missing(None)] {
        let _ = whole(run(&from, &to, which));
    }
    assert_same(&from, &to);
    let numbers: Vec<u64> = to.snapshot_names(None).unwrap().iter().map(|name| name.sequence).collect();
    assert_eq!(numbers, [1, 3, 4, 5, 6]);
    let last = to.snapshot(to.snapshot_names(None).unwrap().last().unwrap()).unwrap();
    assert_eq!(last.original.as_ref().unwrap().snapshot, listed[4].id);
    assert_eq!(last.original.unwrap().store, from.config().store_id);
    // A copy of the copy knows where its snapshots were made, and copying back finds all there.
    let third = empty(3);
    let _ = whole(run(&to, &open(&third, None), Which::Missing(Some("lab".into()))));
    assert_same(&from, &open(&third, None));
    for which in [Which::Missing(None), Which::Newer("lab".into())] {
        let report = whole(run(&open(&third, None), &from, which));
        assert_eq!((report.copied.len(), report.known), (0, 5));
    }
    let fresh = open(&copied, None);
    let names = fresh.snapshot_names(None).unwrap();
    assert_eq!(fresh.snapshot(&names[3]).unwrap().parents, [names[2].id]);
    assert!(fresh.snapshot(&names[2]).unwrap().parents.is_empty(), "its parent came later");
}

#[test]
fn what_was_forgotten_in_the_copy_stays_so_after_each_backup() {
    let mut lab = Lab::new();
    (0..5).for_each(|_| lab.step());
    let to = open(&empty(2), None);
    let _ = whole(run(&open(&lab.backend, None), &to, Which::Newer("lab".into())));
    for name in &to.snapshot_names(None).unwrap()[..4] {
        to.forget(name).unwrap();
    }
    // The source has forgotten the one that was copied last, and gone on.
    lab.forget(|sequence| sequence == 5);
    (0..2).for_each(|_| lab.step());
    let from = open(&lab.backend, None);
    let report = whole(run(&from, &to, Which::Newer("lab".into())));
    assert_eq!((report.copied.len(), report.known), (2, 4));
    let report = whole(run(&from, &to, Which::Missing(None)));
    assert_eq!((report.copied.len(), report.known), (4, 2));
}

#[test]
fn a_run_that_dies_at_any_step_leaves_whole_snapshots_and_the_next_goes_on() {
    let mut lab = Lab::new();
    (0..4).for_each(|_| lab.step());
    let from = open(&lab.backend, None);
    for fault in [Fault::Dies, Fault::DiesAfter, Fault::Fails, Fault::Full] {
        for left in 0.. {
            let copied = empty(2);
            let faulty: Shared = Faulty::new(&copied, fault, left);
            let store = Store::open(faulty, LockMode::Shared, Duration::ZERO, &Silent);
            let ended = store.and_then(|to| copy(&from, &to, &options(Which::Missing(None)), &Silent));
            let to = open(&copied, None);
            let what = format!("{fault:?} {left}");
            assert_clean(&copied, &what);
            let there = to.snapshot_names(None).unwrap().len();
            let before: Vec<String> = names(&copied, "packs");
            let report = whole(run(&from, &to, Which::Missing(None)));
            assert_eq!((report.copied.len(), report.known), (4 - there, there as u64), "{what}");
            assert_same(&from, &to);
            assert_clean(&copied, &what);
            // What an index listed is not stored a second time.
            let twice = to.indexes().iter().map(|file| file.records()).sum::<u64>();
            let mut once = 0;
            to.each_chunk(&mut |_| {
                once += 1;
                Ok(())
            })
            .unwrap();
            assert_eq!(twice, once, "{what}");
            assert!(names(&copied, "packs").len() <= before.len() + 4, "{what}");
            if ended.is_ok_and(|report| report.stopped.is_none()) {
                break;
            }
        }
    }
}

/// Changes a byte of a pack.
fn flip(backend: &Shared, name: &str, at: usize) {
    let mut bytes = backend.read(name).unwrap();
    bytes[at] ^= 1;
    backend.remove(name).unwrap();
    backend.put(name, Payload::Bytes(&bytes)).unwrap();
}

#[test]
fn a_snapshot_that_is_damaged_is_named_and_the_others_are_copied() {
    let mut lab = Lab::new();
    (0..3).for_each(|_| lab.step());
    lab.upload("third", 77, 30_000);
    lab.step();
    std::fs::remove_file(lab.dir.path().join("assets/third")).unwrap();
    lab.step();
    let from = open(&lab.backend, None);
    let fourth = from.snapshot_names(None).unwrap()[3].clone();
    // The upload that only the fourth has is the largest chunk of its pack.
    let pack = pack_name(&from.snapshot(&fourth).unwrap().packs[0]);
    let at = storage_offset_of(&from, &fourth);
    flip(&lab.backend, &pack, at);
    for key in KEYS {
        let from = open(&lab.backend, None);
        let copied = empty(2);
        let to = open(&copied, key);
        let report = run(&from, &to, Which::Missing(None));
        assert_eq!((report.copied.len(), report.failed.len()), (4, 1), "{report:?}");
        assert_eq!(report.failed[0].name, fourth);
        assert!(report.failed[0].reason.contains("damaged"), "{}", report.failed[0].reason);
        assert_eq!(contents(&to).0.len(), 4);
        assert!(!contents(&to).0.contains_key(&fourth.id));
    }
    // A document that is damaged hides no other.
    let object = fourth.object();
    flip(&lab.backend, &object, 30);
    let to = open(&empty(2), None);
    let report = run(&open(&lab.backend, None), &to, Which::Missing(None));
    assert_eq!((report.copied.len(), report.failed.len()), (4, 1), "{report:?}");
}

/// Finds where the contents of `assets/third` stand in their pack.
fn storage_offset_of(store: &Store, name: &crate::store::SnapshotName) -> usize {
    let snapshot = store.snapshot(name).unwrap();
    let entries = ls::ls(store, &snapshot, b"assets/third").unwrap().entries;
    for entry in entries.map(Result::unwrap) {
        if let Kind::File { content: crate::format::entry::Content::Inline(pieces), .. } = entry.kind
            && let Some(crate::format::entry::Piece::Data { id, .. }) = pieces.first()
        {
            return store.locate(id).unwrap().unwrap().offset as usize + 10;
        }
    }
    panic!("it is not there");
}

#[test]
fn what_the_destination_has_lost_is_sent_again() {
    let mut lab = Lab::new();
    (0..3).for_each(|_| lab.step());
    let from = open(&lab.backend, None);
    for key in KEYS {
        let copied = empty(2);
        let first = open(&copied, key);
        let _ = whole(run(&from, &first, Which::Named(vec![from.snapshot_names(None).unwrap()[0].clone()])));
        let largest = names(&copied, "packs").into_iter().max_by_key(|name| copied.len(name).unwrap()).unwrap();
        copied.remove(&largest).unwrap();
        // What is new is whole; what was there before is looked through by a run that is asked for.
        let last = from.snapshot_names(None).unwrap()[2].clone();
        let _ = whole(run(&from, &open(&copied, key), Which::Named(vec![last.clone()])));
        let to = open(&copied, key);
        let there = to.snapshot_names(None).unwrap()[1].clone();
        assert_eq!(held(&to, &to.snapshot(&there).unwrap()), held(&from, &from.snapshot(&last).unwrap()));
        let report = whole(run(&from, &to, Which::Missing(None)));
        assert_eq!((report.copied.len(), report.known), (1, 2));
        assert!(report.problems.is_empty() && report.healed_bytes > 0);
        assert_same(&from, &open(&copied, key));
        // Its index still lists the pack that is gone, so it is looked through again, and nothing is missing.
        let report = whole(run(&from, &open(&copied, key), Which::Missing(None)));
        assert_eq!((report.added_bytes, report.healed_bytes), (0, 0));
    }
}

#[test]
fn nothing_is_written_by_a_dry_run() {
    let mut lab = Lab::new();
    (0..2).for_each(|_| lab.step());
    let from = open(&lab.backend, None);
    let copied = empty(2);
    let dry = Options { dry_run: true, ..options(Which::Missing(None)) };
    let report = copy(&from, &open(&copied, None), &dry, &Silent).unwrap();
    assert_eq!((report.copied.len(), names(&copied, "").len()), (2, 1));
    assert!(report.copied.iter().all(|copied| copied.name.is_none()));
}

#[test]
fn an_own_history_of_the_destination_is_not_overtaken() {
    let mut lab = Lab::new();
    (0..2).for_each(|_| lab.step());
    let mut other = Lab::in_store(2);
    other.runs = 100;
    (0..2).for_each(|_| other.step());
    let (from, to) = (open(&lab.backend, None), open(&other.backend, None));
    let newest = to.snapshot_names(None).unwrap().last().cloned();
    let report = run(&from, &to, Which::Missing(None));
    assert_eq!((report.copied.len(), report.failed.len()), (0, 2), "there is no number before 1");
    assert!(report.failed[0].reason.contains("newer"));
    // With room before it, what is older goes there.
    other.forget(|sequence| sequence == 1);
    let to = open(&other.backend, None);
    let report = run(&from, &to, Which::Missing(None));
    assert_eq!((report.copied.len(), report.failed.len()), (2, 0), "{report:?}");
    assert_eq!(to.snapshot_names(None).unwrap().last(), newest.as_ref());
}

/// What happens to a lab.
#[derive(Debug, Clone)]
enum Act {
    Rows(i64),
    Vacuum,
    Upload(u8, u64, usize),
    Rename(u8, u8),
    Remove(u8),
    Link(u8),
    Large(u64),
    BackUp(u8),
    Forget(u64),
    Copy,
}

fn acts() -> impl Strategy<Value = Vec<Act>> {
    let act = prop_oneof![
        3 => (0i64..4000).prop_map(Act::Rows),
        1 => Just(Act::Vacuum),
        3 => (0u8..8, any::<u64>(), 0usize..90_000).prop_map(|(n, seed, len)| Act::Upload(n, seed, len)),
        1 => (0u8..8, 0u8..8).prop_map(|(a, b)| Act::Rename(a, b)),
        1 => (0u8..8).prop_map(Act::Remove),
        1 => (0u8..8).prop_map(Act::Link),
        1 => any::<u64>().prop_map(Act::Large),
        5 => (0u8..5).prop_map(Act::BackUp),
        1 => (0u64..12).prop_map(Act::Forget),
        2 => Just(Act::Copy),
    ];
    proptest::collection::vec(act, 1..24)
}

fn act(lab: &mut Lab, act: &Act, steps: &mut Vec<Which>) {
    let place = |n: &u8| lab.dir.path().join(format!("assets/u{n}"));
    match act {
        Act::Rows(at) => {
            let rows = "UPDATE users SET name = hex(randomblob(20)) WHERE id BETWEEN ?1 AND ?1 + 40";
            lab.database().execute(rows, [at]).unwrap();
        }
        Act::Vacuum => lab.database().execute_batch("DELETE FROM users WHERE id % 40 = 3; VACUUM").unwrap(),
        Act::Upload(n, seed, len) => lab.upload(&format!("u{n}"), *seed, *len),
        Act::Rename(a, b) => _ = std::fs::rename(place(a), place(b)),
        Act::Remove(n) => _ = std::fs::remove_file(place(n)),
        Act::Link(n) => _ = std::fs::hard_link(place(n), lab.dir.path().join(format!("assets/link{n}"))),
        // Cut by content, with a piece of its own that moves all later ones.
        Act::Large(seed) => {
            let mut bytes = noise(*seed, 1000);
            bytes.extend(noise(4, 3 << 20));
            std::fs::write(lab.dir.path().join("assets/large"), bytes).unwrap();
        }
        Act::BackUp(0) => lab.back_up_as("lab", |options| options.uploads = None),
        Act::BackUp(1) => lab.back_up_as("lab", |options| options.databases.clear()),
        Act::BackUp(2) => lab.back_up_as("other", |_| {}),
        Act::BackUp(_) => lab.back_up(),
        Act::Forget(n) => lab.forget(|sequence| sequence == *n),
        Act::Copy => steps.push(Which::Newer("lab".into())),
    }
}

fn life(acts: &[Act], key: Option<[u8; 32]>) {
    let mut lab = Lab::new();
    let copied = empty(2);
    for what in acts {
        let mut steps = Vec::new();
        act(&mut lab, what, &mut steps);
        for which in steps {
            let _ = whole(run(&open(&lab.backend, None), &open(&copied, key), which));
        }
    }
    let from = open(&lab.backend, None);
    let to = open(&copied, key);
    let _ = whole(run(&from, &to, Which::Missing(None)));
    let (right, order) = contents(&from);
    let (there, there_order) = contents(&to);
    // What the lab has forgotten since may still be in the copy.
    let kept: Vec<&SnapshotId> = there_order.iter().filter(|id| right.contains_key(id)).collect();
    assert_eq!(kept, order.iter().collect::<Vec<_>>());
    right.iter().for_each(|(id, held)| assert_eq!(&there[id], held));
    // And back, into another store that names chunks as the first one does.
    let back = empty(3);
    let _ = whole(run(&to, &open(&back, None), Which::Missing(None)));
    assert_same(&to, &open(&back, None));
    assert_clean(&back, "there and back");
    if key.is_none() {
        assert_clean(&copied, "the copy");
    }
}

/// `LRL_TEST_ROUNDS` says how many histories are copied.
fn cases() -> u32 {
    match std::env::var("LRL_TEST_ROUNDS").as_deref() {
        Ok("all") => 2000,
        Ok(rounds) => rounds.parse().unwrap(),
        Err(_) => 12,
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(cases()))]
    #[test]
    fn random_histories_are_the_same_in_the_copy(acts in acts(), keyed: bool) {
        life(&acts, KEYS[usize::from(keyed)]);
    }
}

#[test]
fn the_first_look_fails_where_nothing_can_be_written() {
    let mut lab = Lab::new();
    lab.step();
    let from = open(&lab.backend, None);
    let copied = empty(2);
    let faulty: Shared = Faulty::new(&copied, Fault::Dies, 0);
    let to = Store::open(faulty, LockMode::Shared, Duration::ZERO, &Silent).unwrap();
    let ended = copy(&from, &to, &options(Which::Missing(None)), &Silent);
    assert!(!matches!(ended, Ok(Report { stopped: None, .. })));
    assert!(matches!(ended, Err(Error::Io { .. }) | Ok(Report { stopped: Some(Error::Io { .. }), .. })), "{ended:?}");
}
