//! Prune in two phases, as in a bucket.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use super::{Lab, assert_clean, contents, in_bucket, open, prune, worn};
use crate::backend::{Backend, Payload};
use crate::error::Error;
use crate::format::pending::{Pending, VERSION};
use crate::fs::lock::LockMode;
use crate::fs::space::SpaceGuard;
use crate::ops::prune::{MaxUnused, apply, plan, two_phase};
use crate::ops::tests::faulty::{names, twin};
use crate::ops::tests::lockless::Lockless;
use crate::progress::Silent;
use crate::store::Store;
use crate::time::Time;

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
fn what_is_scheduled_and_a_late_snapshot_needs_is_needed_again_and_stays() {
    let mut lab = Lab::new();
    (0..3).for_each(|_| lab.step());
    let prune = || {
        let options = two_phase::Options { retired: vec!["lab".into()], ..in_bucket(false) };
        let store = Store::open(Arc::clone(&lab.backend), LockMode::Shared, Duration::ZERO, &Silent).unwrap();
        two_phase::prune(&store, &options, &HashSet::new(), &SpaceGuard::unlimited(), &Silent).unwrap()
    };
    let wanted = contents(&lab.backend);
    let before = names(&lab.backend, "snapshots");
    let documents: Vec<_> = before.iter().map(|name| lab.backend.read(name).unwrap()).collect();
    lab.forget(|sequence| sequence == 2);
    let listed = prune().candidates;
    assert!(listed.count > 0);
    // The snapshot of a run that began before, and ends only now.
    let left = names(&lab.backend, "snapshots");
    for (name, document) in before.iter().zip(&documents).filter(|(name, _)| !left.contains(name)) {
        lab.backend.put(name, Payload::Bytes(document)).unwrap();
    }
    let report = prune();
    assert!(report.needed_again.count > 0, "{report:?}");
    assert_eq!(report.needed_again.count + report.deleted.count, listed.count);
    assert_eq!(report.needed_again.bytes + report.deleted.bytes, listed.bytes);
    assert_eq!(contents(&lab.backend), wanted);
    assert_clean(&lab.backend, "needed again");
}

#[test]
fn what_is_dead_in_a_bucket_does_not_go_at_once() {
    let lab = worn();
    let backend = Lockless::before(&lab.backend) as Arc<dyn Backend>;
    let store = Store::open(backend, LockMode::Shared, Duration::ZERO, &Silent).unwrap();
    let planned = plan(&store, MaxUnused::Bytes(0), &HashSet::new(), true, &Silent).unwrap();
    let before = names(&lab.backend, "");
    let refused = apply(&store, planned, &SpaceGuard::unlimited(), &Silent);
    assert!(matches!(&refused, Err(Error::Refused(why)) if why.text().contains("scheduled for deletion first")));
    assert_eq!(names(&lab.backend, ""), before);
}

#[test]
fn lists_of_a_bucket_that_became_a_directory_are_done() {
    let lab = worn();
    let right = contents(&lab.backend);
    let store = open(&lab.backend);
    let packs = store.listed_packs();
    let written = Time { secs: 1, nanos: 0 };
    let document = Pending { format: VERSION, written, gone: false, sources: [].into(), packs, program: "test".into() };
    store.add_pending(&document).unwrap();
    drop(store);
    prune(&lab.backend, MaxUnused::Bytes(0));
    assert!(names(&lab.backend, "pending").is_empty());
    assert_eq!(contents(&lab.backend), right);
}

#[test]
fn an_index_that_another_run_merges_meanwhile_is_read_again() {
    let mut lab = Lab::new();
    (0..4).for_each(|_| lab.step());
    lab.forget(|sequence| sequence == 2);
    let right = contents(&lab.backend);
    let merge = |backend: &Arc<dyn Backend>| {
        let store = open(backend);
        assert!(store.indexes().len() > 1);
        store.replace_indexes(store.listed_packs(), None, &mut |_| Ok(())).unwrap();
    };
    let mut left = 0;
    loop {
        let below = twin(&lab.backend);
        let other = Arc::clone(&below);
        let view = Lockless::with(&below, left, move || merge(&other));
        let backend = Arc::clone(&view) as Arc<dyn Backend>;
        let store = Store::open(backend, LockMode::Shared, Duration::ZERO, &Silent).unwrap();
        let done = two_phase::prune(&store, &in_bucket(false), &HashSet::new(), &SpaceGuard::unlimited(), &Silent);
        assert!(done.is_ok_and(|report| report.candidates.count > 0), "call {left}");
        assert_eq!(contents(&below), right, "call {left}");
        assert_clean(&below, &format!("call {left}"));
        if !view.has_acted() {
            break;
        }
        left += 1 + left / 5;
    }
    assert!(left > 50, "only {left} calls");
}
