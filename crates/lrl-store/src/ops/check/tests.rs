//! Damage of every kind to every object of a small store: always seen, always named, and never more than what is damaged.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::{Options, ReadData, Report, check};
use crate::backend::{Backend, Payload};
use crate::error::Error;
use crate::fs::lock::LockMode;
use crate::ops::drill::past_drills::Evidence;
use crate::ops::judgement::Judge;
use crate::ops::tests::faulty;
use crate::ops::{backup, drill, dump, ls, select, snapshots};
use crate::progress::Silent;
use crate::store::{Store, create};
use crate::testing::memory_backend::memory;
use crate::time::Time;

const EVERYTHING: Options = Options { read_data: ReadData::All, seed: 1, lock_wait: Duration::ZERO, record: None };
const STRUCTURE: Options = Options { read_data: ReadData::No, ..EVERYTHING };

fn open(storage: &Arc<dyn Backend>) -> Store {
    Store::open(Arc::clone(storage), LockMode::Shared, Duration::ZERO, &Silent).unwrap()
}

fn back_up(storage: &Arc<dyn Backend>, dir: &Path, second: u64) {
    let options = backup::tests::options(dir, second);
    let _ = backup::backup(&open(storage), &options, &Silent).unwrap();
}

/// Three snapshots: a file of its own in each, a database that grows, a list of several nodes; and the record of a drill.
fn store() -> Arc<dyn Backend> {
    let memory = memory();
    create(&memory, [1; 32]).unwrap();
    let storage: Arc<dyn Backend> = Arc::new(memory);
    let dir = tempfile::tempdir().unwrap();
    let db = rusqlite::Connection::open(dir.path().join("lrl.db")).unwrap();
    db.execute_batch("CREATE TABLE users(id, name)").unwrap();
    std::fs::create_dir(dir.path().join("assets")).unwrap();
    for n in 0..3u64 {
        for row in 0..300 {
            db.execute("INSERT INTO users VALUES(?, ?)", ((row * n) as i64, format!("name {row} of {n}"))).unwrap();
        }
        let noise: Vec<u8> = (0..3000u64).map(|i| (i.wrapping_mul(i + n * 77) >> 3) as u8).collect();
        std::fs::write(dir.path().join(format!("assets/file-{n}")), noise).unwrap();
        back_up(&storage, dir.path(), n);
    }
    let store = open(&storage);
    let mut judge = Judge::new(&store, Time::default());
    let found = select::select(&store, None, "latest", select::Need::default(), &mut judge, &Silent).unwrap();
    let select::Selected { name, snapshot, .. } = found;
    let options =
        drill::Options { required_tables: vec!["users".into()], ..drill::Options::new(dir.path(), Err("none".into())) };
    let report = drill::drill_snapshot(&store, &name, &snapshot, &options, &Silent).unwrap();
    store.add_drill(&report.record("lab", Time { secs: 5, nanos: 0 }, "test")).unwrap();
    storage
}

/// Reads every file of every snapshot; true if all could be.
fn all_can_be_read(storage: &Arc<dyn Backend>) -> bool {
    let read = |store: &Store| -> crate::error::Result<()> {
        for (_, snapshot) in snapshots::snapshots(store, store.snapshot_names(None)?.iter()) {
            let snapshot = snapshot?;
            dump::dump(store, &snapshot, b"lrl.db", &Silent, &mut |_| Ok(()))?;
            for entry in ls::ls(store, &snapshot, b"")?.entries {
                let entry = entry?;
                if entry.size() > 0 {
                    dump::dump(store, &snapshot, &entry.path, &Silent, &mut |_| Ok(()))?;
                }
            }
        }
        Ok(())
    };
    Store::open(Arc::clone(storage), LockMode::Shared, Duration::ZERO, &Silent).and_then(|store| read(&store)).is_ok()
}

fn names(report: &Report, object: &str) -> bool {
    report.findings.iter().any(|finding| finding.wrong && finding.object.contains(object))
}

#[test]
fn each_record_gets_the_number_after_all_that_were_there() {
    let storage = store();
    let check_at = |secs| {
        let options = Options { record: Some((Time { secs, nanos: 0 }, "test")), ..EVERYTHING };
        assert_eq!(check(Arc::clone(&storage), &options, &Silent).unwrap().unrecorded, None);
        let names = open(&storage).check_names().unwrap();
        assert_eq!(names.len(), 1, "each replaces the one before, whatever their clocks said");
        open(&storage).check_record(&names[0]).unwrap().number
    };
    let drill_at = |secs| {
        let (store, now) = (open(&storage), Time { secs, nanos: 0 });
        let mut report = drill::Report::unreadable(&store.snapshot_names(None).unwrap()[0], &Error::Interrupted);
        report.compare(&store, &Evidence::read(&store, "lab", now, &Silent).unwrap()).unwrap();
        let name = store.add_drill(&report.record("lab", now, "test")).unwrap();
        store.drill(&name).unwrap().number
    };
    // The store has a record of a drill without one.
    assert_eq!((check_at(900), check_at(10), drill_at(5000)), (Some(1), Some(2), Some(3)));
    assert_eq!((drill_at(20), check_at(30), check_at(700), drill_at(1)), (Some(4), Some(5), Some(6), Some(7)));
}

#[test]
fn a_sound_store_is_clean_whichever_way_it_is_checked() {
    let storage = store();
    for read_data in [
        ReadData::No,
        ReadData::All,
        ReadData::Percent(1.0),
        ReadData::Bytes(1),
        ReadData::Slice { part: 1, of: 2 },
        ReadData::Slice { part: 2, of: 2 },
    ] {
        let report = check(Arc::clone(&storage), &Options { read_data, ..EVERYTHING }, &Silent).unwrap();
        assert!(!report.wrong && report.findings.iter().all(|f| f.object == "memory"), "{:?}", report.findings);
        assert_eq!((report.checked.snapshots, report.checked.packs), (3, 3));
        match read_data {
            ReadData::No => assert_eq!(report.checked.packs_read, 0),
            ReadData::All => assert_eq!((report.checked.packs_read, report.checked.databases_read), (3, 1)),
            ReadData::Slice { .. } => {}
            _ => assert_eq!(report.checked.packs_read, 1, "{read_data:?}"),
        }
    }
}

#[test]
fn every_damage_to_every_object_is_seen_and_named() {
    let storage = store();
    let mut states = 0;
    for name in faulty::names(&storage, "") {
        let sound = storage.read(&name).unwrap();
        let step = (sound.len() / 40).max(1);
        let mut damages: Vec<(String, Option<Vec<u8>>)> = vec![("removed".into(), None)];
        // Each byte of what a header holds: a version of the future is no excuse.
        for at in (0..sound.len()).step_by(step).chain(0..9).chain([sound.len() - 1]) {
            let mut flipped = sound.clone();
            flipped[at] ^= 1 << (at % 8);
            damages.push((format!("flipped at {at}"), Some(flipped)));
            damages.push((format!("cut at {at}"), Some(sound[..at].to_vec())));
        }
        for (what, damaged) in damages {
            states += 1;
            match damaged {
                Some(bytes) => storage.put(&name, Payload::Bytes(&bytes)).unwrap(),
                None => storage.remove(&name).unwrap(),
            }
            let leaves_no_trace = name.starts_with("snapshots/") || name.starts_with("drills/");
            let report = check(Arc::clone(&storage), &EVERYTHING, &Silent);
            let report = report.unwrap_or_else(|e| panic!("{name} {what}: {e}"));
            if leaves_no_trace && what == "removed" {
                // Indistinguishable from a snapshot that was forgotten, or from no drill.
                assert!(!report.wrong);
            } else {
                assert!(report.wrong, "{name} {what}: not seen");
                let object = name.split('/').next().filter(|_| what == "removed").unwrap_or(&name);
                assert!(names(&report, object), "{name} {what}: {:?}", report.findings);
            }
            let readable = all_can_be_read(&storage);
            if name.starts_with("index/") {
                assert!(readable, "{name} {what}: a lost index must not lose data");
                assert!(report.findings.iter().all(|f| f.files.is_empty()), "{name} {what}: {:?}", report.findings);
            }
            let structure = check(Arc::clone(&storage), &STRUCTURE, &Silent).unwrap();
            assert!(readable || structure.wrong || name.starts_with("packs/"), "{name} {what}: clean but unrestorable");
        }
        storage.put(&name, Payload::Bytes(&sound)).unwrap();
    }
    assert!(states > 400, "{states}");
    assert!(!check(storage, &EVERYTHING, &Silent).unwrap().wrong);
}

#[test]
fn a_lost_pack_names_the_snapshots_and_files_that_it_takes_along() {
    let storage = store();
    let packs: Vec<String> = faulty::names(&storage, "packs");
    let store = open(&storage);
    for (_, snapshot) in snapshots::snapshots(&store, store.snapshot_names(None).unwrap().iter()).skip(2) {
        let snapshot = snapshot.unwrap();
        let name = crate::store::pack_name(&snapshot.packs[0]);
        assert!(packs.contains(&name));
        storage.remove(&name).unwrap();
        let report = check(Arc::clone(&storage), &STRUCTURE, &Silent).unwrap();
        let finding = report.findings.iter().find(|finding| finding.object.contains(&name)).unwrap();
        assert_eq!(finding.detail, "is missing");
        assert_eq!(finding.snapshots.len(), 1, "the older snapshots do not need the newest pack: {finding:?}");
        assert!(finding.files.iter().any(|file| file == "lrl.db"), "{finding:?}");
    }
}

#[test]
fn leftovers_of_a_dead_run_are_notes() {
    let storage = store();
    let names = |store: &Store| store.indexes().iter().map(|file| file.name().to_string()).collect::<Vec<_>>();
    let session_store = open(&storage);
    let before = names(&session_store);
    let session = crate::store::write::WriteSession::new(&session_store);
    session.put(b"never named by anything", &[]).unwrap();
    session.seal().unwrap();
    let new_index = names(&session_store);
    let added = new_index.iter().find(|name| !before.contains(name)).unwrap();
    assert!(!check(Arc::clone(&storage), &EVERYTHING, &Silent).unwrap().wrong);
    storage.remove(added).unwrap();
    let report = check(storage, &EVERYTHING, &Silent).unwrap();
    assert!(!report.wrong, "{:?}", report.findings);
    assert!(report.findings.iter().any(|f| f.detail.contains("did not finish")), "{:?}", report.findings);
}
