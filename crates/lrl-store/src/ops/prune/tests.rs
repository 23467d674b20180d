//! Prune on stores that were changed, damaged and cut off at every call that changes something: every snapshot reads as before.

use crate::ops::repair;
use std::collections::{BTreeMap, HashSet};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use proptest::prelude::*;

use super::inventory::Pack;
use super::model::{FEW_SMALL, SMALL_BYTES};
use super::plan::choose;
use super::{MaxUnused, Numbers, Report, apply, plan, two_phase};
use crate::backend::{Backend, Payload, TempObject};
use crate::compression;
use crate::compression::Encoding;
use crate::crypt::Class;
use crate::error::{Error, Result};
use crate::format::config::{self, Config};
use crate::format::entry::Entry;
use crate::format::key::Credential;
use crate::format::node::{self, Node};
use crate::format::pack::Record;
use crate::fs::lock::{Guard, LockMode};
use crate::fs::space::{Reserve, SpaceGuard};
use crate::hint::Hint;
use crate::id::{ChunkId, Hasher, PackId, SnapshotId};
use crate::ops::check::{self, ReadData, check};
use crate::ops::tests::faulty::{Counted, Fault, Faulty, names, twin};
use crate::ops::{backup, dump, forget, ls};
use crate::progress::{Observer, Silent};
use crate::store::deletion::pending::PendingDeletions;
use crate::store::write::WriteSession;
use crate::store::{SnapshotName, Store, create, key_slots, pack_name};
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

fn in_bucket(dry_run: bool) -> two_phase::Options {
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

#[test]
fn a_store_with_a_feature_unknown_to_writers_is_not_pruned() {
    let lab = worn();
    let mut config = Config::new([1; 32]);
    config.must_know_to_write.push("later".into());
    lab.backend.remove("config").unwrap();
    lab.backend.put("config", Payload::Bytes(&config::encode(&config).unwrap())).unwrap();
    let before = names(&lab.backend, "");
    let store = Store::open(Arc::clone(&lab.backend), LockMode::Shared, Duration::ZERO, &Silent).unwrap();
    for dry_run in [true, false] {
        let unlimited = SpaceGuard::unlimited();
        let done = two_phase::prune(&store, &in_bucket(dry_run), &HashSet::new(), &unlimited, &Silent);
        assert!(matches!(done, Err(Error::Unsupported { .. })), "{done:?}");
    }
    drop(store);
    let planned = plan(&open(&lab.backend), MaxUnused::Bytes(0), &HashSet::new(), false, &Silent).map(drop);
    assert!(matches!(planned, Err(Error::Unsupported { .. })), "{planned:?}");
    assert_eq!(names(&lab.backend, ""), before);
}

#[test]
fn what_a_prune_of_a_bucket_would_list_is_what_it_lists() {
    let lab = worn();
    let run = |dry_run: bool| {
        let options = in_bucket(dry_run);
        let store = Store::open(Arc::clone(&lab.backend), LockMode::Shared, Duration::ZERO, &Silent).unwrap();
        let report = two_phase::prune(&store, &options, &HashSet::new(), &SpaceGuard::unlimited(), &Silent).unwrap();
        let (numbers, listed) = (&report.numbers, report.candidates);
        assert!(numbers.dead.count > 1 && numbers.repacked.count > 0, "{report:?}");
        assert_eq!(listed.count, numbers.dead.count + numbers.repacked.count);
        assert_eq!(listed.bytes, numbers.dead.bytes + numbers.repacked.bytes);
        assert_eq!(report.written.is_none(), dry_run);
        (numbers.dead.count, numbers.dead.bytes)
    };
    let before = names(&lab.backend, "");
    let would = run(true);
    assert_eq!(names(&lab.backend, ""), before);
    assert_eq!(run(false), would);
}

#[test]
fn what_nothing_reaches_goes_and_a_second_time_there_is_nothing_to_do() {
    let mut lab = worn();
    let (right, before) = (contents(&lab.backend), pack_bytes(&lab.backend));
    assert_clean(&lab.backend, "before");
    let tolerant = twin(&lab.backend);
    let numbers = prune(&lab.backend, MaxUnused::Bytes(0));
    assert_eq!((numbers.snapshots, numbers.unused_bytes, numbers.missing), (4, 0, 0));
    assert!(numbers.dead.count > 1 && numbers.repacked.count > 0, "{numbers:?}");
    assert_eq!(before - pack_bytes(&lab.backend), numbers.freed_bytes());
    assert!(pack_bytes(&lab.backend) < before * 3 / 4, "{before} {}", pack_bytes(&lab.backend));
    assert_eq!(contents(&lab.backend), right);
    assert_clean(&lab.backend, "after");
    assert_exact(&lab.backend, "after");
    let objects = names(&lab.backend, "");
    let again = prune(&lab.backend, MaxUnused::Bytes(0));
    assert_eq!((again.dead.count, again.repacked.count), (0, 0));
    assert_eq!(names(&lab.backend, ""), objects);

    // Packs that waste something may stay; what is dead in them is no longer listed.
    let numbers = prune(&tolerant, MaxUnused::Unlimited);
    assert!(numbers.unused_bytes > 0 && numbers.repacked.count == 0);
    assert_eq!(contents(&tolerant), right);
    assert_clean(&tolerant, "with waste");
    assert_exact(&tolerant, "with waste");
    assert_eq!(prune(&tolerant, MaxUnused::Unlimited).unused_bytes, numbers.unused_bytes);
    assert_eq!(prune(&tolerant, MaxUnused::Bytes(0)).unused_bytes, 0);
    assert_exact(&tolerant, "without waste");
    assert_eq!(contents(&tolerant), right);

    // A backup goes on: what is unchanged is still known.
    let before = pack_bytes(&lab.backend);
    lab.back_up();
    assert!(pack_bytes(&lab.backend) - before < 2000, "{} more bytes", pack_bytes(&lab.backend) - before);
    lab.step();
    assert_clean(&lab.backend, "after backups");
    lab.forget(|_| true);
    prune(&lab.backend, MaxUnused::Percent(5.0));
    assert_eq!((names(&lab.backend, "packs").len(), names(&lab.backend, "index").len()), (0, 0));
    lab.step();
    assert_clean(&lab.backend, "begun anew");
}

#[test]
fn what_may_stay_unused_is_a_share_of_what_is_needed() {
    assert_eq!(MaxUnused::Percent(5.0).of(2000), 100);
    assert_eq!(MaxUnused::Percent(0.0).of(u64::MAX), 0);
    assert_eq!((MaxUnused::Bytes(7).of(2000), MaxUnused::Unlimited.of(0)), (7, u64::MAX));
}

/// Numbered packs, and which of them are moved.
fn chosen(packs: &[Pack], max_unused: MaxUnused) -> Vec<usize> {
    let id = |n: usize| PackId::of(&n.to_le_bytes());
    let by_id = packs.iter().enumerate().map(|(n, pack)| (id(n), Pack { ..*pack })).collect();
    let moved = choose(&by_id, max_unused);
    (0..packs.len()).filter(|n| moved.contains(&id(*n))).collect()
}

#[test]
fn the_most_wasteful_packs_are_moved_and_no_more_than_it_takes() {
    const MIB: u64 = 1 << 20;
    let frame = Pack { head: 8, ..Pack::default() }.needed();
    let pack = |len: u64, alive: u64| Pack { len: Some(len), head: 8, is_listed: true, chunks: 1, alive, age: 0 };
    // They waste a tenth, a half, a fifth, nothing.
    let packs =
        [pack(10 * MIB, 9 * MIB), pack(10 * MIB, 5 * MIB), pack(20 * MIB, 16 * MIB), pack(8 * MIB + frame, 8 * MIB)];
    let unused = 10 * MIB - 3 * frame;
    assert_eq!(packs.iter().map(Pack::unused).sum::<u64>(), unused);
    for (limit, moved) in
        [(0, &[0, 1, 2][..]), (2 * MIB, &[1, 2]), (6 * MIB, &[1]), (unused - 1, &[1]), (unused, &[]), (u64::MAX, &[])]
    {
        assert_eq!(chosen(&packs, MaxUnused::Bytes(limit)), moved, "{limit} may stay unused");
    }
    assert_eq!(chosen(&packs, MaxUnused::Percent(10.0)), [1, 2], "of 38 MiB that are needed");
}

#[test]
fn small_packs_are_moved_where_there_are_many_and_large_ones_are_not() {
    let frame = Pack { head: 8, ..Pack::default() }.needed();
    let pack =
        |needed: u64| Pack { len: Some(needed), head: 8, is_listed: true, chunks: 1, alive: needed - frame, age: 0 };
    let packs = |small: usize, needed: u64, more: &[u64]| {
        std::iter::repeat_n(needed, small).chain(more.iter().copied()).map(pack).collect::<Vec<_>>()
    };
    let all = |count: usize| (0..count).collect::<Vec<_>>();
    assert_eq!(chosen(&packs(FEW_SMALL, 1000, &[]), MaxUnused::Bytes(0)), all(0));
    assert_eq!(chosen(&packs(FEW_SMALL + 1, 1000, &[]), MaxUnused::Bytes(0)), all(FEW_SMALL + 1));
    // One comes along where the smaller ones are as much together, and it is small itself.
    let (sum, few) = (9 * 1000, FEW_SMALL + 1);
    assert_eq!(chosen(&packs(few, 1000, &[sum]), MaxUnused::Bytes(0)), all(few + 1));
    assert_eq!(chosen(&packs(few, 1000, &[sum + 1]), MaxUnused::Bytes(0)), all(few));
    assert_eq!(chosen(&packs(few, SMALL_BYTES - 1, &[SMALL_BYTES]), MaxUnused::Bytes(0)), all(few));
}

#[test]
fn a_plan_says_what_a_run_then_does() {
    let mut lab = Lab::new();
    ["goes", "stays"].iter().zip(1..).for_each(|(name, seed)| lab.upload(name, seed, 50_000));
    lab.back_up();
    std::fs::remove_file(lab.dir.path().join("assets/goes")).unwrap();
    lab.upload("new", 7, 30_000);
    lab.back_up();
    lab.forget(|sequence| sequence == 1);
    let planned = plan(&open(&lab.backend), MaxUnused::Bytes(0), &HashSet::new(), true, &Silent).unwrap().numbers;
    let done = prune(&lab.backend, MaxUnused::Bytes(0));
    assert_eq!((planned.dead, planned.repacked, planned.full), (done.dead, done.repacked, done.full));
    // Each pack that is moved is planned with a header and a footer of its own.
    let (least, most) = (done.written.bytes, done.written.bytes + 100 * done.repacked.count);
    assert!((least..=most).contains(&planned.written.bytes) && least > 50_000, "{planned:?}, then {done:?}");
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

#[test]
fn what_is_left_of_a_history_takes_no_more_than_if_it_had_none() {
    let lab = chained(&[8]);
    let (right, before) = (contents(&lab.backend), pack_bytes(&lab.backend));
    let would_be = plan(&open(&lab.backend), MaxUnused::Bytes(0), &HashSet::new(), true, &Silent).unwrap().numbers;
    let numbers = prune(&lab.backend, MaxUnused::Bytes(0));
    let fresh: Arc<dyn Backend> = Arc::new(memory());
    create(&*fresh, [1; 32]).unwrap();
    back_up(&fresh, lab.dir.path(), "lab", 1);
    let (after, least) = (pack_bytes(&lab.backend), pack_bytes(&fresh));
    assert!(numbers.full.chunks > 0 && would_be.full.chunks > 0, "{would_be:?}, {numbers:?}");
    assert!(before > least * 3 / 2 && after < least * 21 / 20, "{before}, then {after}; a first backup takes {least}");
    assert_eq!(before - after, numbers.freed_bytes());
    let guess = would_be.freed_bytes();
    assert!(guess.abs_diff(before - after) < (before - after) / 4, "{guess} planned, {} given back", before - after);
    assert_eq!(contents(&lab.backend), right);
    assert_clean(&lab.backend, "after");
    assert_exact(&lab.backend, "after");
    let objects = names(&lab.backend, "");
    assert_eq!(prune(&lab.backend, MaxUnused::Bytes(0)).full, Default::default());
    assert_eq!(names(&lab.backend, ""), objects);
}

#[test]
fn deltas_stay_deltas_where_their_bases_serve_several_snapshots() {
    for stays in [&[1, 8][..], &[2, 5, 8], &[6, 7, 8], &[3, 4, 5, 6, 7, 8]] {
        let lab = chained(stays);
        let (right, before) = (contents(&lab.backend), pack_bytes(&lab.backend));
        prune(&lab.backend, MaxUnused::Bytes(0));
        assert!(pack_bytes(&lab.backend) <= before, "{stays:?}: {before}, then {}", pack_bytes(&lab.backend));
        assert_eq!(contents(&lab.backend), right);
        assert_clean(&lab.backend, "after");
        assert_exact(&lab.backend, "after");
        let objects = names(&lab.backend, "");
        prune(&lab.backend, MaxUnused::Bytes(0));
        assert_eq!(names(&lab.backend, ""), objects, "{stays:?}");
    }
}

#[test]
fn without_room_for_full_copies_deltas_stay_and_the_rest_is_pruned() {
    let lab = worn_and_chained();
    let right = contents(&lab.backend);
    let store = open(&lab.backend);
    let plan = plan(&store, MaxUnused::Bytes(0), &HashSet::new(), false, &Silent).unwrap();
    let (numbers, before) = (plan.numbers.clone(), pack_bytes(&lab.backend));
    assert!(numbers.full.bytes > 1 && numbers.dead.bytes > 0, "{numbers:?}");
    let report = apply(
        &store,
        plan,
        &SpaceGuard::open(lab.dir.path(), Reserve { percent: 100.0, most: u64::MAX }).unwrap(),
        &Silent,
    )
    .unwrap();
    drop(store);
    assert!(report.failed.is_none() && report.notes.len() == 1, "{report:?}");
    assert_eq!(report.numbers.full, Default::default());
    assert!(pack_bytes(&lab.backend) <= before - numbers.dead.bytes);
    assert_eq!(contents(&lab.backend), right);
    assert_clean(&lab.backend, "after");
    assert!(prune(&lab.backend, MaxUnused::Bytes(0)).full.chunks > 0);
    assert_eq!(contents(&lab.backend), right);
    assert_exact(&lab.backend, "after the next");
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

#[test]
fn a_fault_at_any_call_that_changes_something_loses_nothing() {
    [worn(), worn_and_chained()].iter().for_each(faults_lose_nothing);
}

fn faults_lose_nothing(lab: &Lab) {
    let right = contents(&lab.backend);
    let mut states = 0;
    for fault in [Fault::Fails, Fault::DiesAfter, Fault::Full] {
        for n in 0.. {
            let backend = twin(&lab.backend);
            let faulty = Faulty::new(&backend, fault, n);
            let dyn_faulty: Arc<dyn Backend> = Arc::clone(&faulty) as Arc<dyn Backend>;
            let done = try_prune(&dyn_faulty, MaxUnused::Bytes(0));
            let tripped = faulty.has_tripped();
            assert!(tripped || done.as_ref().is_ok_and(|report| report.failed.is_none()), "{fault:?} {n}: {done:?}");
            let what = format!("{fault:?} at change {n}");
            assert_eq!(contents(&backend), right, "{what}");
            assert_clean(&backend, &what);
            if fault == Fault::Full && n == 0 {
                assert!(pack_bytes(&backend) < pack_bytes(&lab.backend), "{what}: the dead packs go on a full disk");
            }
            if n % 3 == 0 {
                back_up(&backend, lab.dir.path(), "lab", 100);
                assert_clean(&backend, &format!("{what}, and a backup"));
            }
            prune(&backend, MaxUnused::Bytes(0));
            assert!(
                right.iter().all(|(id, digest)| contents(&backend).get(id) == Some(digest)),
                "{what}, pruned again"
            );
            assert_clean(&backend, &format!("{what}, pruned again"));
            assert_exact(&backend, &format!("{what}, pruned again"));
            states += 1;
            if !tripped {
                break;
            }
        }
    }
    assert!(states > 60, "only {states} states");
}

/// Asks to stop at its n-th question, and from then on.
struct Stops(AtomicU32);

impl Observer for Stops {
    fn interrupted(&self) -> bool {
        self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| Some(left.saturating_sub(1))) == Ok(0)
    }
}

#[test]
fn who_stops_a_prune_is_told_so_and_loses_nothing() {
    let lab = worn();
    let right = contents(&lab.backend);
    let (mut at, mut stopped) = (0, 0);
    loop {
        let backend = twin(&lab.backend);
        let observer = Stops(AtomicU32::new(at));
        let store = open(&backend);
        let done = plan(&store, MaxUnused::Bytes(0), &HashSet::new(), false, &observer)
            .and_then(|plan| apply(&store, plan, &SpaceGuard::unlimited(), &observer));
        drop(store);
        assert_eq!(contents(&backend), right, "question {at}");
        assert_clean(&backend, &format!("question {at}"));
        match done {
            Err(Error::Interrupted) => stopped += 1,
            Ok(report) => break assert!(report.failed.is_none() && stopped > 10, "{report:?}, {stopped} stopped"),
            Err(error) => panic!("question {at}: {error}"),
        }
        prune(&backend, MaxUnused::Bytes(0));
        assert_exact(&backend, &format!("question {at}"));
        at += 1 + at / 12;
    }
}

#[test]
fn any_doubt_deletes_nothing() {
    let lab = worn();
    let node = {
        let store = open(&lab.backend);
        let name = store.snapshot_names(None).unwrap().remove(0);
        let list = store.snapshot(&name).unwrap().files.unwrap().list;
        store.locate(&list).unwrap().unwrap()
    };
    let rename = |from: &str, to: &str| {
        let (from, to) = (from.to_string(), to.to_string());
        move |backend: &Arc<dyn Backend>| {
            let bytes = backend.read(&from).unwrap();
            backend.remove(&from).unwrap();
            backend.put(&to, Payload::Bytes(&bytes)).unwrap();
        }
    };
    let flip = |name: &str, at: u64| {
        let name = name.to_string();
        move |backend: &Arc<dyn Backend>| {
            let mut bytes = backend.read(&name).unwrap();
            bytes[at as usize] ^= 1;
            backend.put(&name, Payload::Bytes(&bytes)).unwrap();
        }
    };
    let (snapshot, index) = (names(&lab.backend, "snapshots").remove(1), names(&lab.backend, "index").remove(0));
    let pack = pack_name(&node.pack);
    type Damage = Box<dyn Fn(&Arc<dyn Backend>)>;
    let id = SnapshotName::parse(&snapshot).unwrap().id.short();
    let damages: [(&str, Vec<Hint>, Damage); 7] = [
        ("is not a name that lrl gives", vec![Hint::Repair], Box::new(rename(&pack, &format!("{pack}.bak")))),
        (
            "is not a name that lrl gives",
            vec![Hint::Repair],
            Box::new(rename(&snapshot, &snapshot.to_uppercase().replace("SNAPSHOTS", "snapshots"))),
        ),
        ("is not a name that lrl gives", vec![Hint::Repair], Box::new(rename(&index, "index/old"))),
        ("cannot be told", vec![Hint::Repair, Hint::GiveUp(id)], Box::new(flip(&snapshot, 40))),
        ("what that file listed", vec![Hint::Repair], Box::new(flip(&index, 300))),
        ("needs it", vec![Hint::CheckData], Box::new(flip(&pack, node.offset + 1))),
        (
            "needs it",
            vec![Hint::CheckData],
            Box::new({
                let pack = pack.clone();
                move |backend: &Arc<dyn Backend>| backend.remove(&pack).unwrap()
            }),
        ),
    ];
    for (words, hints, damage) in damages {
        let backend = twin(&lab.backend);
        damage(&backend);
        let before = names(&backend, "");
        let error = try_prune(&backend, MaxUnused::Percent(5.0)).unwrap_err();
        let text = error.to_string();
        assert!(text.contains(words) && text.contains("nothing was pruned"), "{words}: {text}");
        assert_eq!(error.hints(), hints, "{words}");
        assert_eq!(names(&backend, ""), before, "{words}");
    }
    // A listing that fails is no empty one.
    for prefix in ["packs", "index", "snapshots"] {
        struct Unlisted(Arc<dyn Backend>, &'static str);
        impl Backend for Unlisted {
            fn location(&self) -> String {
                self.0.location()
            }
            fn read(&self, name: &str) -> Result<Vec<u8>> {
                self.0.read(name)
            }
            fn read_range(&self, name: &str, offset: u64, len: usize) -> Result<Vec<u8>> {
                self.0.read_range(name, offset, len)
            }
            fn len(&self, name: &str) -> Result<u64> {
                self.0.len(name)
            }
            fn put(&self, name: &str, source: Payload<'_>) -> Result<()> {
                self.0.put(name, source)
            }
            fn temp_object(&self) -> Result<TempObject> {
                self.0.temp_object()
            }
            fn list(&self, prefix: &str, visit: &mut dyn FnMut(&str, u64) -> Result<()>) -> Result<()> {
                if prefix == self.1 {
                    let source = std::io::Error::other("injected");
                    return Err(Error::Io { op: "list", path: prefix.into(), source });
                }
                self.0.list(prefix, visit)
            }
            fn remove(&self, name: &str) -> Result<()> {
                self.0.remove(name)
            }
            fn lock(&self, _: &str, _: LockMode, _: Duration, _: &dyn Fn() -> bool) -> Result<Option<Box<dyn Guard>>> {
                Ok(None)
            }
            fn cache_dir(&self) -> Option<std::path::PathBuf> {
                None
            }
        }
        let backend = twin(&lab.backend);
        let before = names(&backend, "");
        let unlisted: Arc<dyn Backend> = Arc::new(Unlisted(Arc::clone(&backend), prefix));
        assert!(matches!(try_prune(&unlisted, MaxUnused::Bytes(0)), Err(Error::Io { .. })), "{prefix}");
        assert_eq!(names(&backend, ""), before, "{prefix}");
    }
}

#[test]
fn a_call_that_fails_stays_an_input_error_and_is_no_doubt_about_a_snapshot() {
    let lab = worn();
    let faulty = Arc::new(Faulty::before(twin(&lab.backend), Counted::All));
    let backend: Arc<dyn Backend> = Arc::clone(&faulty) as _;
    let policy = forget::Policy { last: 1, ..forget::Policy::default() };
    let forgets = forget::Options { source: None, names: Vec::new(), policy, force: false, now: 1_800_000_000 };
    let prunes = |store: &Store| plan(store, MaxUnused::Bytes(0), &HashSet::new(), true, &Silent).map(drop);
    let forgets = |store: &Store| forget::plan(store, &forgets, &Silent).map(drop);
    type Run<'a> = &'a dyn Fn(&Store) -> Result<()>;
    let runs: [(&str, Run<'_>); 2] = [("prune", &prunes), ("forget", &forgets)];
    for (verb, run) in runs {
        for left in 0.. {
            let store = open(&backend);
            faulty.arm(Fault::Fails, left);
            let done = run(&store);
            let has_failed = faulty.disarm();
            assert!(matches!(done, Ok(()) | Err(Error::Io { .. })), "{verb}, call {left}: {done:?}");
            if !has_failed {
                assert!(left > 5 && done.is_ok(), "{verb}, call {left}: {done:?}");
                break;
            }
        }
    }
}

#[test]
fn packs_that_a_lost_index_listed_are_listed_again_before_anything_goes() {
    let lab = worn();
    let right = contents(&lab.backend);
    for all in [true, false] {
        let backend = twin(&lab.backend);
        let indexes = names(&backend, "index");
        indexes.iter().take(if all { usize::MAX } else { 3 }).for_each(|name| backend.remove(name).unwrap());
        let before = names(&backend, "");
        let dry = plan(&open(&backend), MaxUnused::Bytes(0), &HashSet::new(), true, &Silent);
        assert!(dry.is_err_and(|error| error.to_string().contains("lists them again")));
        assert_eq!(names(&backend, ""), before, "a dry run changes nothing");
        prune(&backend, MaxUnused::Bytes(0));
        assert_eq!(contents(&backend), right);
        assert_clean(&backend, "the index was lost");
        assert_exact(&backend, "the index was lost");
    }
}

#[test]
fn of_several_copies_one_that_can_be_read_stays() {
    let mut lab = Lab::new();
    lab.upload("precious", 9, 50_000);
    lab.back_up();
    let right = contents(&lab.backend);
    // The same contents in two more packs; one of the three stays whole, each in its turn.
    let store = open(&lab.backend);
    let id = ChunkId::of(&std::fs::read(lab.dir.path().join("assets/precious")).unwrap());
    let plain = store.read(&id).unwrap();
    for _ in 0..2 {
        let elsewhere: Arc<dyn Backend> = Arc::new(memory());
        create(&*elsewhere, [2; 32]).unwrap();
        let other = open(&elsewhere);
        let session = WriteSession::new(&other);
        session.put(&[names(&lab.backend, "packs").len() as u8; 100], &[]).unwrap();
        session.put(&plain, &[]).unwrap();
        session.seal().unwrap();
        for name in names(&elsewhere, "").iter().filter(|name| *name != "config") {
            lab.backend.put(name, Payload::Bytes(&elsewhere.read(name).unwrap())).unwrap();
        }
    }
    let places: Vec<_> = open(&lab.backend).copies(&id).unwrap().into_iter().map(|copy| copy.place).collect();
    assert_eq!(places.len(), 3);
    for whole in 0..3 {
        let backend = twin(&lab.backend);
        for place in places.iter().enumerate().filter(|(at, _)| *at != whole).map(|(_, place)| place) {
            let name = pack_name(&place.pack);
            let mut bytes = backend.read(&name).unwrap();
            bytes[place.offset as usize + 77] ^= 4;
            backend.put(&name, Payload::Bytes(&bytes)).unwrap();
        }
        let report = try_prune(&backend, MaxUnused::Bytes(0)).unwrap();
        assert_eq!(contents(&backend), right, "{whole}: {report:?}");
        assert_exact(&backend, "copies");
    }
    // None can be read: none goes, and the other files are not held up.
    let backend = twin(&lab.backend);
    for place in &places {
        let name = pack_name(&place.pack);
        let mut bytes = backend.read(&name).unwrap();
        bytes[place.offset as usize + 77] ^= 4;
        backend.put(&name, Payload::Bytes(&bytes)).unwrap();
    }
    let report = try_prune(&backend, MaxUnused::Bytes(0)).unwrap();
    assert_eq!(open(&backend).copies(&id).unwrap().len(), 3);
    assert!(!report.notes.is_empty() && report.failed.is_none(), "{report:?}");
}

#[test]
fn a_copy_that_leans_on_itself_is_not_the_one_that_stays() {
    // A forged depth puts the copy first that is a delta of what is a delta of its own chunk.
    let lab = Lab::new();
    lab.upload("a", 9, 50_000);
    let path = lab.dir.path().join("assets/a");
    let a = std::fs::read(&path).unwrap();
    let (mut b, mut c) = (a.clone(), a.clone());
    (b[7], c[9]) = (b[7] ^ 1, c[9] ^ 1);
    let store = open(&lab.backend);
    let forge = |plain: &[u8], base: Option<&[u8]>, depth: u8| {
        let session = WriteSession::new(&store);
        let (bytes, bases) = match base {
            Some(base) => (compression::compress_delta(plain, &[base]).unwrap(), vec![ChunkId::of(base)]),
            None => (plain.to_vec(), Vec::new()),
        };
        let encoding = if base.is_some() { Encoding::Delta } else { Encoding::Stored };
        let (encoded_len, plain_len) = (bytes.len() as u32, plain.len() as u32);
        let record = Record { id: ChunkId::of(plain), encoded_len, plain_len, encoding, depth, bases };
        session.append(&bytes, record).unwrap();
        session.seal().unwrap();
    };
    forge(&c, None, 0);
    forge(&b, Some(&a), 1);
    forge(&a, Some(&b), 1);
    forge(&a, Some(&c), 2);
    drop(store);
    back_up(&lab.backend, lab.dir.path(), "lab", 1);
    let right = contents(&lab.backend);
    let _ = try_prune(&lab.backend, MaxUnused::Bytes(0)).unwrap();
    assert_eq!(contents(&lab.backend), right);
    assert_clean(&lab.backend, "after");
}

#[test]
fn a_lost_chunk_of_contents_does_not_keep_the_room_of_what_is_dead() {
    let mut lab = Lab::new();
    lab.upload("lost", 3, 300_000);
    lab.back_up();
    lab.step();
    lab.step();
    let store = open(&lab.backend);
    let id = ChunkId::of(&std::fs::read(lab.dir.path().join("assets/lost")).unwrap());
    let pack = pack_name(&store.locate(&id).unwrap().unwrap().pack);
    let mut bytes = lab.backend.read(&pack).unwrap();
    let at = store.locate(&id).unwrap().unwrap().offset as usize;
    bytes[at + 5] ^= 1;
    lab.backend.put(&pack, Payload::Bytes(&bytes)).unwrap();
    lab.forget(|sequence| sequence == 2);
    let before = pack_bytes(&lab.backend);
    let report = try_prune(&lab.backend, MaxUnused::Bytes(0)).unwrap();
    assert!(pack_bytes(&lab.backend) < before);
    assert!(open(&lab.backend).locate(&id).unwrap().is_some(), "still listed, for whoever can bring it back");
    assert!(report.notes.iter().all(|note| note.contains("stays as it is")), "{report:?}");
    // All but that file reads.
    let options = check::Options { read_data: ReadData::All, seed: 1, lock_wait: Duration::ZERO, record: None };
    let report = check(Arc::clone(&lab.backend), &options, &Silent).unwrap();
    let files: HashSet<&String> = report.findings.iter().flat_map(|finding| &finding.files).collect();
    assert_eq!(files, HashSet::from([&"assets/lost".to_string()]), "{:?}", report.findings);
    // Once a repair has taken it off the index, plan and run say that it is missing, and lose no more.
    assert!(try_prune(&lab.backend, MaxUnused::Bytes(0)).unwrap().numbers.missing == 0, "it was listed");
    repair::repair(Arc::clone(&lab.backend), &options, &Silent).unwrap();
    assert!(open(&lab.backend).locate(&id).unwrap().is_none());
    let planned = plan(&open(&lab.backend), MaxUnused::Bytes(0), &HashSet::new(), true, &Silent).unwrap().numbers;
    let numbers = prune(&lab.backend, MaxUnused::Bytes(0));
    assert!(numbers.missing > 0 && planned.missing == numbers.missing, "{planned:?}, then {numbers:?}");
    let report = check(Arc::clone(&lab.backend), &options, &Silent).unwrap();
    let files: HashSet<&String> = report.findings.iter().flat_map(|finding| &finding.files).collect();
    assert_eq!(files, HashSet::from([&"assets/lost".to_string()]), "{:?}", report.findings);
}

#[test]
fn many_small_packs_become_few_and_are_not_moved_each_time() {
    let mut lab = Lab::new();
    let mut moved = 0;
    let mut added = 0;
    for round in 0..6 {
        for _ in 0..12 {
            let before = pack_bytes(&lab.backend);
            lab.upload(&format!("new-{}", lab.runs), lab.runs, 3000);
            lab.back_up();
            added += pack_bytes(&lab.backend) - before;
        }
        let numbers = prune(&lab.backend, MaxUnused::Percent(5.0));
        moved += numbers.written.bytes;
        assert!(names(&lab.backend, "packs").len() <= 12, "round {round}: {:?}", names(&lab.backend, "packs").len());
        assert_eq!(prune(&lab.backend, MaxUnused::Percent(5.0)).repacked.count, 0, "once is enough");
    }
    assert!(moved < 5 * added, "{moved} bytes were moved for {added} that were added");
    assert_clean(&lab.backend, "merged");
}

#[test]
fn a_file_with_the_bytes_of_a_node_does_not_hide_the_nodes_children() {
    let mut lab = Lab::new();
    lab.upload("a", 1, 3000);
    lab.back_up();
    // The list's own root as an upload: in the next snapshot it is contents, in the first one a node.
    let root = {
        let store = open(&lab.backend);
        let name = store.snapshot_names(None).unwrap().remove(0);
        let snapshot = store.snapshot(&name).unwrap();
        [snapshot.files.unwrap().list, snapshot.databases[0].root].map(|id| store.read(&id).unwrap())
    };
    std::fs::write(lab.dir.path().join("assets/0"), &root[0]).unwrap();
    std::fs::write(lab.dir.path().join("assets/1"), &root[1]).unwrap();
    lab.back_up();
    let right = contents(&lab.backend);
    prune(&lab.backend, MaxUnused::Bytes(0));
    assert_eq!(contents(&lab.backend), right);
    assert_clean(&lab.backend, "nodes as contents");
}

#[test]
fn of_a_list_of_many_leaves_every_one_is_kept() {
    let mut lab = Lab::new();
    for n in 0..700 {
        lab.upload(&format!("{n:0150}"), n, 20);
    }
    lab.back_up();
    lab.upload(&format!("{:0150}", 300), 1, 30);
    lab.back_up();
    let store = open(&lab.backend);
    let name = store.snapshot_names(None).unwrap().remove(1);
    let list = store.read(&store.snapshot(&name).unwrap().files.unwrap().list).unwrap();
    assert!(matches!(node::decode::<Entry>(&list, "the list").unwrap(), Node::Inner(..)));
    drop(store);
    lab.forget(|sequence| sequence == 1);
    let right = contents(&lab.backend);
    prune(&lab.backend, MaxUnused::Bytes(0));
    assert_eq!(contents(&lab.backend), right);
    assert_clean(&lab.backend, "a list of many leaves");
}

#[test]
fn a_key_that_only_writes_backs_up_and_can_remove_nothing() {
    const NOW: Time = Time { secs: 1, nanos: 0 };
    let below: Arc<dyn Backend> = Arc::new(memory());
    let key = |digit: &str| Credential::from_key_file(&digit.repeat(64)).unwrap();
    key_slots::create(&*below, [1; 32], &key("a"), "", NOW).unwrap();
    let opened = key_slots::open(&*below, Some(&key("a"))).unwrap();
    key_slots::add(&*below, &opened, Class::Writer, &key("b"), "server", NOW).unwrap();
    let with = |digit: &str| {
        key_slots::unlock(Arc::clone(&below), Some(&key(digit)), key_slots::LocalSlot::IfThere, |_| None).unwrap()
    };
    let mut lab = Lab { backend: with("b"), ..Lab::new() };
    lab.back_up();
    lab.step();
    let before = names(&below, "");
    {
        let store = open(&lab.backend);
        let forgets = forget::Options {
            source: None,
            names: vec!["lab@latest".into()],
            policy: forget::Policy::default(),
            force: true,
            now: 9,
        };
        let refused = [
            try_prune(&lab.backend, MaxUnused::Bytes(0)).map(drop),
            forget::plan(&store, &forgets, &Silent).map(drop),
            store.forget(&store.snapshot_names(None).unwrap()[0]),
            Store::examine(Arc::clone(&lab.backend), LockMode::Shared, Duration::ZERO, &Silent).map(drop),
        ];
        for (n, result) in refused.into_iter().enumerate() {
            assert!(matches!(result, Err(Error::WriteOnly { .. })), "{n}: {result:?}");
        }
    }
    assert_eq!(names(&below, ""), before);
    // With the store's own key all that goes.
    lab.backend = with("a");
    lab.forget(|sequence| sequence == 1);
    let right = contents(&lab.backend);
    prune(&lab.backend, MaxUnused::Bytes(0));
    assert_eq!(contents(&lab.backend), right);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, ..ProptestConfig::default() })]

    #[test]
    fn whatever_is_forgotten_the_rest_reads(steps in proptest::collection::vec(any::<(u8, u16)>(), 4..14)) {
        let mut lab = Lab::new();
        let mut right = BTreeMap::new();
        for (kind, pick) in steps {
            match kind % 5 {
                0..=2 => lab.step(),
                3 => lab.forget(|sequence| (sequence * 7 + u64::from(pick)) % 3 == 0),
                _ => {
                    let before = contents(&lab.backend);
                    prune(&lab.backend, if pick % 2 == 0 { MaxUnused::Bytes(0) } else { MaxUnused::Percent(20.0) });
                    assert_exact(&lab.backend, "pruned");
                    prop_assert_eq!(contents(&lab.backend), before);
                }
            }
            for (id, digest) in contents(&lab.backend) {
                prop_assert_eq!(right.entry(id).or_insert(digest), &digest);
            }
        }
        assert_clean(&lab.backend, "in the end");
    }
}

#[test]
fn a_place_that_two_index_files_list_counts_once() {
    // Which of the two a look-up finds depends on the one before it, so several stores are tried.
    for n in 1..=4 {
        let mut lab = Lab::new();
        (0..6).for_each(|_| lab.step());
        let store = open(&lab.backend);
        let listed = store.listed_packs();
        store.index_packs(&listed[..n], &Silent).unwrap();
        drop(store);
        lab.forget(|sequence| sequence <= 2);
        let right = contents(&lab.backend);
        prune(&lab.backend, MaxUnused::Bytes(0));
        assert_eq!(contents(&lab.backend), right);
    }
}
