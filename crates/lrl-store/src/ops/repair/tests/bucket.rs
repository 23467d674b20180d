//! Repairs in a bucket: under the lease of a prune, beside a backup, and of a run that was taken for dead.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::super::{Claimant, Repaired, repair, repair_in_bucket};
use super::{EVERYTHING, Lab, assert_kept, assert_true, back_up, battered, contents, put, repaired, rounds};
use crate::backend::Backend;
use crate::error::{Error, Result};
use crate::fs::lock::LockMode;
use crate::ops::tests::faulty::{Fault, Faulty, names, twin};
use crate::ops::tests::lockless::Lockless;
use crate::progress::Silent;
use crate::store::{SnapshotName, Store};
use crate::time::Time;

/// A day later than the one before: the lease of a killed run is dead then.
fn claimant(storage: &Arc<dyn Backend>, day: i64) -> Claimant {
    let now = Time { secs: 1_800_000_000 + day * 90_000, nanos: 0 };
    let backend = Lockless::before(storage) as Arc<dyn Backend>;
    Claimant { backend, owner: "a test".into(), token: format!("{day:08x}"), only_pruner: false, now }
}

/// Repairs as in a bucket.
fn repair_bucket(storage: &Arc<dyn Backend>, day: i64) -> Result<Repaired> {
    repair_in_bucket(Lockless::before(storage), &EVERYTHING, None, &claimant(storage, day), &Silent)
}

fn back_up_bucket(storage: &Arc<dyn Backend>, dir: &Path, second: u64) -> SnapshotName {
    back_up(&(Lockless::before(storage) as Arc<dyn Backend>), dir, second, true).unwrap()
}

#[test]
fn a_bucket_is_repaired_under_the_lease_of_a_prune_and_a_fault_at_any_step_loses_nothing() {
    let lab = Lab::new();
    let damaged = battered(&lab);
    let before = contents(&damaged);
    let locally = twin(&damaged);
    repaired(&locally, &EVERYTHING, "in a directory");
    let expected = twin(&damaged);
    let refused = repair(Lockless::before(&expected), &EVERYTHING, &Silent);
    assert!(matches!(refused, Err(Error::Refused(_))));
    let done = repair_bucket(&expected, 0).unwrap();
    assert!(!done.left.lost.is_empty() && done.config && done.saved.chunks > 0 && done.renamed.len() == 1, "{done:#?}");
    assert!(names(&expected, "claims").is_empty());
    assert_eq!(names(&expected, "quarantine"), names(&locally, "quarantine"));
    let expected = contents(&expected);
    assert_eq!(expected, contents(&locally), "as in a directory");
    let mut states = 0;
    for fault in [Fault::Fails, Fault::DiesAfter] {
        for n in (0..).step_by(if rounds() { 1 } else { 3 }) {
            let storage = twin(&damaged);
            let faulty = Faulty::new(&storage, fault, n);
            let tried = repair_bucket(&(Arc::clone(&faulty) as Arc<dyn Backend>), 0);
            let what = format!("{fault:?} at change {n}");
            match &tried {
                // The lease ends last, and need not be removed.
                Ok(_) => {}
                Err(error) => assert!(matches!(error, Error::Io { .. }) && faulty.has_tripped(), "{what}: {error}"),
            }
            let found = contents(&storage);
            assert_true(&lab, &found, &what);
            assert_kept(&before, &found, &what);
            if !names(&storage, "claims").iter().all(|name| name.contains("probe")) {
                let early = repair_bucket(&storage, 0);
                assert!(matches!(early, Err(Error::Locked { .. })), "{what}: the lease of a run that may be alive");
            }
            let again = repair_bucket(&storage, 1).unwrap_or_else(|e| panic!("{what}: {e}"));
            assert_eq!(contents(&storage), expected, "{what}, again");
            assert_eq!(again.left.lost, done.left.lost, "{what}, again");
            let name = back_up_bucket(&storage, lab.dir.path(), 60);
            assert_eq!(contents(&storage)[&name.id].len(), 6, "{what}: healed");
            states += 1;
            if !faulty.has_tripped() {
                break;
            }
        }
    }
    println!("{states} faults in the repair of a bucket");
    assert!(states > 15, "only {states} states");
}

#[test]
fn a_backup_beside_the_repair_of_a_bucket_is_whole_and_loses_nothing() {
    let lab = Lab::new();
    let damaged = battered(&lab);
    // A store whose config is damaged takes no backup.
    put(&damaged, "config", &lab.storage.read("config").unwrap());
    let before = contents(&damaged);
    let mut states = 0;
    for n in (0..).step_by(if rounds() { 1 } else { 11 }) {
        let storage = twin(&damaged);
        let (beside, dir) = (Arc::clone(&storage), lab.dir.path().to_path_buf());
        let bucket = Lockless::with(&storage, n, move || {
            back_up_bucket(&beside, &dir, 50);
        });
        let tried = repair_in_bucket(bucket.clone(), &EVERYTHING, None, &claimant(&storage, 0), &Silent);
        let what = format!("before call {n}");
        if !bucket.has_acted() {
            break;
        }
        tried.unwrap_or_else(|e| panic!("{what}: {e}"));
        assert!(names(&storage, "claims").is_empty(), "{what}");
        let found = contents(&storage);
        assert_true(&lab, &found, &what);
        assert_kept(&before, &found, &what);
        let newest = Store::open(Arc::clone(&storage), LockMode::Shared, Duration::ZERO, &Silent).unwrap();
        let newest = newest.snapshot_names(None).unwrap().pop().unwrap();
        assert_eq!(found[&newest.id].len(), 6, "{what}: the backup is whole");
        // Whatever the backup's index said of damaged packs, a second repair is done with it.
        repair_bucket(&storage, 1).unwrap_or_else(|e| panic!("{what}: {e}"));
        let last = repair_bucket(&storage, 2).unwrap();
        assert!(last.moved.is_empty() && last.left.wrong != last.left.lost.is_empty(), "{what}: {last:#?}");
        assert_eq!(contents(&storage)[&newest.id].len(), 6, "{what}: in the end");
        states += 1;
    }
    println!("{states} backups beside the repair of a bucket");
    assert!(states > 10, "only {states} states");
}

#[test]
fn a_repair_of_a_bucket_that_was_taken_for_dead_stops_and_loses_nothing() {
    let lab = Lab::new();
    let damaged = battered(&lab);
    let before = contents(&damaged);
    let mut stopped = 0;
    for n in (0..).step_by(if rounds() { 1 } else { 11 }) {
        let storage = twin(&damaged);
        let beside = Arc::clone(&storage);
        let bucket = Lockless::with(&storage, n, move || put(&beside, "claims/prune-00000000000000ff", b"{}"));
        let tried = repair_in_bucket(bucket.clone(), &EVERYTHING, None, &claimant(&storage, 0), &Silent);
        if !bucket.has_acted() {
            break;
        }
        assert_kept(&before, &contents(&storage), &format!("before call {n}"));
        if let Err(error) = tried {
            assert!(error.to_string().contains("taken this one for dead"), "{error}");
            stopped += 1;
        }
    }
    assert!(stopped > 10, "stopped {stopped} times");
}
