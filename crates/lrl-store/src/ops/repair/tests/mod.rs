//! Every damage to a small store, alone, in pairs and mixed with other commands: always seen, always named, repaired without losing anything
//! that could be read, healed by the next backup as far as the source goes, never clean and unrestorable. `LRL_TEST_ROUNDS=all` flips every
//! byte and cuts at every length.

// A log says how many states were tried.
#![allow(clippy::print_stdout)]

mod bucket;

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rayon::prelude::*;

use sha2::Digest;

use super::{Repaired, repair};
use crate::backend::{Backend, Payload};
use crate::error::{Error, Result};
use crate::format::drill::{self, Drill};
use crate::format::entry::Piece;
use crate::format::snapshot;
use crate::fs::lock::LockMode;
use crate::fs::space::SpaceGuard;
use crate::id::{Hasher, Ids, SnapshotId};
use crate::ops::check::{Options, ReadData, Report, check};
use crate::ops::prune::{self, MaxUnused};
use crate::ops::tests::cases::noise;
use crate::ops::tests::faulty::{Fault, Faulty, names, twin};
use crate::ops::tests::sample;
use crate::ops::{backup, dump, ls};
use crate::progress::Silent;
use crate::store::tree::TreeBuilder;
use crate::store::write::WriteSession;
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

/// The whole road of one damaged store: seen, named, repaired, pruned, healed.
fn judge(lab: &Lab, storage: &Arc<dyn Backend>, is_seen: bool, what: &str) {
    let before = contents(storage);
    assert_true(lab, &before, what);
    let report = match check(Arc::clone(storage), &EVERYTHING, &Silent) {
        // A format of the future cannot be judged, nor a directory that is no store.
        Err(Error::Unsupported { .. } | Error::NoStore { .. }) => return,
        other => other.unwrap_or_else(|e| panic!("{what}: {e}")),
    };
    let is_whole = lab.truth.iter().all(|(id, files)| before.get(id).is_none_or(|found| found == files));
    assert!(report.wrong || !is_seen, "{what}: not seen");
    assert!(report.wrong || is_whole, "{what}: clean, but cannot be restored");
    assert_named(lab, &report, &before, what);
    let structure = check(Arc::clone(storage), &STRUCTURE, &Silent).unwrap();
    assert!(!structure.wrong || report.wrong, "{what}: more to see with less reading");

    // The next backup that reads everything is whole, whatever the store has lost.
    let unrepaired = twin(storage);
    if let Ok(name) = back_up(&unrepaired, lab.dir.path(), 100, true) {
        let found = contents(&unrepaired);
        assert_eq!(found[&name.id].len(), 6, "{what}: backed up without a repair");
        assert_kept(&before, &found, what);
    }

    let done = match repair(Arc::clone(storage), &EVERYTHING, &Silent) {
        // No document is left that shows what the config said; or an object is of a later format.
        Err(Error::Refused(_)) if before.is_empty() => return,
        Err(Error::Unsupported { .. }) => return,
        other => other.unwrap_or_else(|e| panic!("{what}: {e}")),
    };
    let after = contents(storage);
    assert_true(lab, &after, what);
    assert_kept(&before, &after, &format!("{what}, repaired"));
    assert_eq!(done.left.wrong, !done.left.lost.is_empty(), "{what}, repaired: {:#?}", done.left.findings);
    assert_named(lab, &done.left, &after, &format!("{what}, repaired"));
    let objects = names(storage, "");
    let again = repaired(storage, &EVERYTHING, what);
    assert_eq!(names(storage, ""), objects, "{what}, repaired again: {again:#?}");
    assert!(
        again.moved.is_empty() && again.renamed.is_empty() && again.left.lost == done.left.lost,
        "{what}: {again:#?}"
    );
    match try_prune(&twin(storage)) {
        Ok(stayed) => assert_eq!(stayed, 0, "{what}: nothing in it is damaged any more"),
        // What lies below a node that is lost cannot be told.
        Err(error @ Error::Refused(_)) if !done.left.lost.is_empty() => {
            assert!(error.to_string().contains("nothing was pruned"), "{what}: {error}");
        }
        Err(error) => panic!("{what}: {error}"),
    }

    // The next backup needs to be told nothing: it is whole, and so is all of which the source has the contents.
    let name = back_up(storage, lab.dir.path(), 200, false).unwrap_or_else(|e| panic!("{what}: {e}"));
    if is_seen {
        assert_eq!(name.sequence, 4, "{what}: a number is used once");
    }
    let healed = contents(storage);
    assert_true(lab, &healed, what);
    assert_kept(&after, &healed, &format!("{what}, healed"));
    assert_eq!(healed[&name.id].len(), 6, "{what}: the new snapshot is whole");
    for (id, files) in healed.iter().filter(|(id, _)| lab.truth.contains_key(*id)) {
        let list_is_there = lab.is_newest(id) || files.keys().any(|path| path != b"lrl.db");
        for (path, digest) in lab.truth[id].iter().filter(|(_, digest)| lab.has(digest) && list_is_there) {
            let shown = String::from_utf8_lossy(path);
            let is_there = files.get(path) == Some(digest);
            // The file's own entry may stand in a node that only the source of that time had.
            assert!(is_there || !lab.is_newest(id), "{what}: {shown} of {} is not healed", id.short());
        }
    }
    let last = repaired(storage, &EVERYTHING, &format!("{what}, healed"));
    assert_named(lab, &last.left, &healed, &format!("{what}, healed"));
    let is_whole = healed.iter().all(|(id, files)| lab.truth.get(id).is_none_or(|truth| truth == files));
    assert_eq!(last.left.wrong, !is_whole, "{what}, healed: {:#?}", last.left.findings);
    if is_whole {
        assert!(names(storage, "repairs").is_empty(), "{what}: nothing is lost any more");
        assert_eq!(try_prune(storage).unwrap_or_else(|e| panic!("{what}: {e}")), 0, "{what}");
        assert_eq!(contents(storage), healed, "{what}, pruned");
        assert!(!check(Arc::clone(storage), &EVERYTHING, &Silent).unwrap().wrong, "{what}, pruned");
    }
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

#[test]
fn every_flip_and_every_truncation_of_every_object() {
    let lab = Lab::new();
    let mut damages = Vec::new();
    for name in names(&lab.storage, "") {
        let sound = lab.storage.read(&name).unwrap();
        let step = if rounds() { 1 } else { (sound.len() / 8).max(1) };
        for at in (0..sound.len()).step_by(step).chain([sound.len() - 1]) {
            let mut flipped = sound.clone();
            flipped[at] ^= 1 << (at % 8);
            damages.push((name.clone(), format!("flipped at {at}"), flipped));
            damages.push((name.clone(), format!("cut at {at}"), sound[..at].to_vec()));
        }
        damages.push((name.clone(), "longer".into(), [&sound[..], b"more"].concat()));
        damages.push((name.clone(), "empty".into(), Vec::new()));
    }
    assert!(damages.len() > 180, "{}", damages.len());
    try_all(&damages, "damaged objects", |(name, what, bytes)| {
        let storage = twin(&lab.storage);
        put(&storage, name, bytes);
        let report = check(Arc::clone(&storage), &EVERYTHING, &Silent);
        let is_named =
            |report: &Report| report.findings.iter().any(|found| found.wrong && found.object.contains(name.as_str()));
        match &report {
            Ok(report) => assert!(is_named(report), "{name} {what}: {:#?}", report.findings),
            Err(error) => assert!(error.to_string().contains(name.as_str()), "{name} {what}: {error}"),
        }
        judge(&lab, &storage, true, &format!("{name} {what}"));
    });
}

#[test]
fn objects_that_are_gone_swapped_or_doubled_alone_and_in_pairs() {
    let lab = Lab::new();
    let objects = names(&lab.storage, "");
    // What is done, and the new bytes of each object; none if it goes.
    type Changes = Vec<(String, Option<Vec<u8>>)>;
    let mut damages: Vec<(String, Changes)> = Vec::new();
    let read = |name: &str| lab.storage.read(name).unwrap();
    for (n, one) in objects.iter().enumerate() {
        damages.push((format!("{one} is gone"), vec![(one.clone(), None)]));
        damages.push((
            format!("{one} has another name"),
            vec![(one.clone(), None), (format!("{one}.bak"), Some(read(one)))],
        ));
        damages.push((format!("{one} has a second name"), vec![(format!("{one}.bak"), Some(read(one)))]));
        for (m, other) in objects.iter().enumerate().filter(|(m, _)| *m != n) {
            damages.push((format!("{one} instead of {other}"), vec![(other.clone(), Some(read(one)))]));
            if m > n {
                damages.push((format!("{one} and {other} are gone"), vec![(one.clone(), None), (other.clone(), None)]));
                let swapped = vec![(one.clone(), Some(read(other))), (other.clone(), Some(read(one)))];
                damages.push((format!("{one} and {other} are swapped"), swapped));
                let mut flipped = [read(one), read(other)];
                for (n, bytes) in flipped.iter_mut().enumerate() {
                    let at = bytes.len() * (n + 1) / 3;
                    bytes[at] ^= 4;
                }
                let [first, second] = flipped;
                let both = vec![(one.clone(), Some(first)), (other.clone(), Some(second))];
                damages.push((format!("{one} and {other} are flipped"), both));
            }
        }
    }
    assert!(damages.len() > 250, "{}", damages.len());
    try_all(&damages, "combinations of objects", |(what, changes)| {
        let storage = twin(&lab.storage);
        for (name, bytes) in changes {
            match bytes {
                Some(bytes) => put(&storage, name, bytes),
                None => storage.remove(name).unwrap(),
            }
        }
        judge(&lab, &storage, false, what);
        let swapped_pack = what.ends_with("swapped") && what.matches("packs/").count() == 2;
        let swapped_snapshot = what.ends_with("swapped") && what.matches("snapshots/").count() == 2;
        if swapped_pack || swapped_snapshot || what.ends_with("another name") && !what.starts_with("config") {
            let found = contents(&storage);
            let all = lab.truth.iter().all(|(id, files)| found.get(id) == Some(files));
            assert!(all, "{what}: nothing was damaged but names");
        }
    });
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

#[test]
fn a_fault_at_any_step_of_a_repair_loses_nothing() {
    let lab = Lab::new();
    let damaged = battered(&lab);
    let before = contents(&damaged);
    let expected = twin(&damaged);
    let done = repaired(&expected, &EVERYTHING, "without a fault");
    assert!(!done.left.lost.is_empty() && done.config && done.saved.chunks > 0 && done.renamed.len() == 1, "{done:#?}");
    let expected = contents(&expected);
    assert_eq!((before.len(), expected.len()), (1, 2), "one came back, one is damaged");
    let mut states = 0;
    for fault in [Fault::Fails, Fault::DiesAfter, Fault::Full] {
        for n in 0.. {
            let storage = twin(&damaged);
            let faulty = Faulty::new(&storage, fault, n);
            let tried = repair(Arc::clone(&faulty) as Arc<dyn Backend>, &EVERYTHING, &Silent);
            let what = format!("{fault:?} at change {n}");
            match &tried {
                // On a full disk things can still be removed, and the last steps may be no more than that.
                Ok(_) => assert!(!faulty.has_tripped() || fault != Fault::Fails, "{what}"),
                Err(error) => assert!(matches!(error, Error::Io { .. }) && faulty.has_tripped(), "{what}: {error}"),
            }
            let found = contents(&storage);
            assert_true(&lab, &found, &what);
            assert_kept(&before, &found, &what);
            // Whoever backs up now, before the repair is run again, gets a whole snapshot.
            if n % 3 == 0 && storage.len("config").is_ok() {
                let early = twin(&storage);
                if let Ok(name) = back_up(&early, lab.dir.path(), 50, true) {
                    assert_eq!(contents(&early)[&name.id].len(), 6, "{what}: backed up");
                }
            }
            let again = repaired(&storage, &EVERYTHING, &what);
            assert_eq!(contents(&storage), expected, "{what}, again");
            assert_eq!(again.left.lost, done.left.lost, "{what}, again");
            let name = back_up(&storage, lab.dir.path(), 60, false).unwrap();
            assert_eq!(contents(&storage)[&name.id].len(), 6, "{what}: healed");
            assert_eq!(name.sequence, 4, "{what}");
            states += 1;
            if !faulty.has_tripped() {
                break;
            }
        }
    }
    println!("{states} faults in a repair");
    assert!(states > 40, "only {states} states");
}

#[test]
fn what_a_repair_moved_can_be_moved_back() {
    let lab = Lab::new();
    let storage = twin(&lab.storage);
    let pack = names(&storage, "packs").remove(0);
    let sound = storage.read(&pack).unwrap();
    let mut bytes = sound.clone();
    bytes[50] ^= 1;
    put(&storage, &pack, &bytes);
    let done = repaired(&storage, &EVERYTHING, "damaged");
    assert!(done.left.wrong && storage.read(&format!("quarantine/{pack}")).unwrap() == bytes, "{done:#?}");
    // From another copy of the store, say.
    put(&storage, &pack, &sound);
    let done = repaired(&storage, &STRUCTURE, "brought back");
    assert!(!done.left.wrong && names(&storage, "repairs").is_empty(), "{done:#?}");
    assert_eq!(contents(&storage), lab.truth);
    // The same name again gets a number.
    put(&storage, &pack, &[bytes, vec![1]].concat());
    repaired(&storage, &EVERYTHING, "damaged again");
    assert_eq!(names(&storage, "quarantine/packs").len(), 2);
}

#[test]
fn an_index_that_says_what_no_pack_says_is_written_anew() {
    let lab = Lab::new();
    for what in ["lists a pack that never was", "lists a place that is none", "lost a chunk"] {
        let storage = twin(&lab.storage);
        let store = examine(&storage).unwrap();
        let files = store.indexes();
        let mut packs = store.listed_packs();
        let mut n = 0;
        let bad = crate::store::index::select(
            &*storage,
            &files,
            {
                packs.push(crate::id::PackId::of(b"none"));
                packs.clone()
            },
            &mut |copies| {
                n += 1;
                match what {
                    "lists a pack that never was" => copies[0].place.pack = crate::id::PackId::of(b"none"),
                    "lists a place that is none" => copies[0].place.offset += 1,
                    _ if n == 3 => copies.clear(),
                    _ => {}
                }
                Ok(())
            },
        );
        let (bad, _) = bad.unwrap();
        files.iter().filter(|file| file.name() != bad.name()).for_each(|file| storage.remove(file.name()).unwrap());
        drop(store);
        let report = check(Arc::clone(&storage), &STRUCTURE, &Silent).unwrap();
        assert!(report.wrong, "{what}: {report:#?}");
        let done = repaired(&storage, &STRUCTURE, what);
        assert!(!done.left.wrong, "{what}: {:#?}", done.left.findings);
        assert_eq!(contents(&storage), lab.truth, "{what}");
        assert!(done.moved.iter().all(|moved| moved.object.starts_with("index/")), "{what}: {:?}", done.moved);
        try_prune(&storage).unwrap();
        assert_eq!(contents(&storage), lab.truth, "{what}");
    }
}

#[test]
fn a_pack_of_which_every_chunk_is_good_is_not_overwritten_by_what_is_saved_of_it() {
    let lab = Lab::new();
    let storage = twin(&lab.storage);
    for pack in names(&storage, "packs") {
        let mut bytes = storage.read(&pack).unwrap();
        bytes[2] ^= 1;
        put(&storage, &pack, &bytes);
    }
    let damaged: Vec<_> = names(&storage, "packs").iter().map(|pack| storage.read(pack).unwrap()).collect();
    let done = repaired(&storage, &STRUCTURE, "headers");
    assert!(!done.left.wrong && done.saved.chunks > 0, "{done:#?}");
    assert_eq!(contents(&storage), lab.truth);
    let moved: Vec<_> = names(&storage, "quarantine/packs").iter().map(|pack| storage.read(pack).unwrap()).collect();
    assert_eq!(moved, damaged);
}

/// A snapshot of a database that is one chunk, which depends on the part of its base that is not damaged.
#[test]
fn what_does_not_use_the_damaged_part_of_its_base_is_not_lost_with_it() {
    let storage: Arc<dyn Backend> = Arc::new(memory());
    create(&*storage, [1; 32]).unwrap();
    let store = Store::open(Arc::clone(&storage), LockMode::Shared, Duration::ZERO, &Silent).unwrap();
    let base = noise(1, 5000);
    let image = [&base[..2000], &noise(2, 100)].concat();
    let first = WriteSession::new(&store);
    let base_id = first.put(&base, &[]).unwrap();
    first.seal().unwrap();
    let second = WriteSession::new(&store);
    let id = second.put(&image, &[base_id]).unwrap();
    let mut list = TreeBuilder::<Piece>::new(&second, None);
    list.push(Piece::Data { id, len: image.len() as u64 }).unwrap();
    let root = list.finish().unwrap();
    second.seal().unwrap();
    assert_eq!(store.locate(&id).unwrap().unwrap().record.bases, [base_id]);
    let time = Time { secs: 1_700_000_000, nanos: 0 };
    let database = snapshot::Database {
        path: b"lrl.db".to_vec(),
        source_path: "lrl.db".into(),
        size_bytes: image.len() as u64,
        sha256: Some(crate::units::hex(&sha2::Sha256::digest(&image))),
        root,
        page_size: 0,
        change_counter: 0,
        used_pages: None,
        tables: None,
        mode: 0o600,
        uid: 0,
        gid: 0,
        mtime: time,
        xattrs: Vec::new(),
    };
    let snapshot = sample::snapshot(Some(database), None);
    store.publish(&snapshot).unwrap();
    let place = store.locate(&base_id).unwrap().unwrap();
    let pack = crate::store::pack_name(&place.pack);
    let mut bytes = storage.read(&pack).unwrap();
    bytes[place.offset as usize + 4000] ^= 1;
    put(&storage, &pack, &bytes);
    drop(store);
    let before = contents(&storage);
    assert_eq!(before.values().map(BTreeMap::len).sum::<usize>(), 1);
    let report = check(Arc::clone(&storage), &EVERYTHING, &Silent).unwrap();
    assert!(report.wrong && report.lost.is_empty(), "{report:#?}");
    let done = repaired(&storage, &EVERYTHING, "a base");
    assert!(!done.left.wrong && done.saved.chunks == 1, "{done:#?}");
    assert_eq!(contents(&storage), before);
}

/// What the source holds, as it would be read from a snapshot of it.
fn of_source(dir: &Path) -> BTreeMap<Vec<u8>, [u8; 32]> {
    let digest = |path: &Path| Hasher::new().update(&std::fs::read(path).unwrap()).finish();
    let mut files = BTreeMap::from([(b"lrl.db".to_vec(), digest(&dir.join("lrl.db")))]);
    for entry in std::fs::read_dir(dir.join("assets")).unwrap() {
        let path = entry.unwrap().path();
        let name = format!("assets/{}", path.file_name().unwrap().to_str().unwrap());
        files.insert(name.into_bytes(), digest(&path));
    }
    files
}

/// A long life in which anything may be damaged at any time. Returns how many steps there were.
fn live(seed: u64, steps: u64) -> u64 {
    let mut lab = Lab::new();
    let mut x = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut pick = |of: usize| {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        (x >> 11) as usize % of.max(1)
    };
    let storage = Arc::clone(&lab.storage);
    let mut story = Vec::new();

    for step in 0..steps {
        let before = contents(&storage);
        let what = match pick(12) {
            0..=3 => {
                let all = names(&storage, "");
                let name = all[pick(all.len())].clone();
                let mut bytes = storage.read(&name).unwrap();
                match pick(4) {
                    0 if name != "config" => storage.remove(&name).unwrap(),
                    1 => put(&storage, &name, &bytes[..pick(bytes.len())]),
                    2 => put(&storage, &name, &storage.read(&all[pick(all.len())]).unwrap()),
                    _ if bytes.is_empty() => {}
                    _ => {
                        let at = pick(bytes.len());
                        bytes[at] ^= 1 << pick(8);
                        put(&storage, &name, &bytes);
                    }
                }
                format!("damage {name}")
            }
            4..=6 => {
                let assets = lab.dir.path().join("assets");
                std::fs::write(assets.join(format!("more-{}", pick(5))), noise(step + seed, 300)).unwrap();
                if pick(3) == 0 {
                    let db = rusqlite::Connection::open(lab.dir.path().join("lrl.db")).unwrap();
                    db.execute("INSERT INTO users VALUES(?, 'more')", [step as i64]).unwrap();
                }
                settle(lab.dir.path(), step);
                match back_up(&storage, lab.dir.path(), 1000 + step, pick(2) == 0) {
                    Ok(name) => {
                        lab.truth.insert(name.id, of_source(lab.dir.path()));
                        "back up".into()
                    }
                    Err(error) => format!("back up: {error}"),
                }
            }
            7 => match examine(&storage) {
                Ok(store) => {
                    let names = store.snapshot_names(None).unwrap();
                    if names.len() > 2 {
                        store.forget(&names[pick(names.len() - 1)]).unwrap();
                    }
                    "forget".into()
                }
                Err(error) => format!("forget: {error}"),
            },
            8..=9 => {
                let done = try_prune(&storage);
                assert_kept(&before, &contents(&storage), &format!("{seed}: {story:#?}, prune"));
                format!("prune: {:?}", done.err().map(|error| error.to_string()))
            }
            _ => match repair(Arc::clone(&storage), &EVERYTHING, &Silent) {
                Ok(done) => {
                    let after = contents(&storage);
                    let what = format!("{seed}: {story:#?}, repair {done:#?}");
                    assert_kept(&before, &after, &what);
                    assert_eq!(done.left.wrong, !done.left.lost.is_empty(), "{what}");
                    let name = back_up(&storage, lab.dir.path(), 1000 + step, false).unwrap();
                    lab.truth.insert(name.id, of_source(lab.dir.path()));
                    let now = contents(&storage);
                    assert_eq!(now[&name.id], lab.truth[&name.id], "{what}, backed up");
                    "repair, back up".into()
                }
                Err(error) => format!("repair: {error}"),
            },
        };
        story.push(what);
        let now = contents(&storage);
        assert_true(&lab, &now, &format!("{seed}: {story:#?}"));
        if let Ok(report) = check(Arc::clone(&storage), &EVERYTHING, &Silent) {
            assert_named(&lab, &report, &now, &format!("{seed}: {story:#?}"));
            let is_whole = now.iter().all(|(id, files)| lab.truth.get(id).is_none_or(|truth| truth == files));
            assert!(report.wrong || is_whole, "{seed}: clean, but cannot be restored: {story:#?}");
        }
    }
    steps
}

#[test]
fn damage_at_any_time_of_a_long_life() {
    let seeds: Vec<u64> = (1..if rounds() { 201 } else { 16 }).collect();
    try_all(&seeds, "lives of 25 steps", |seed| assert!(live(*seed, 25) > 0));
}
