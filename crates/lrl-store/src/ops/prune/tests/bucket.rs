//! Prune in two phases, as in a bucket.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use super::{Lab, assert_clean, contents, in_bucket, worn};
use crate::backend::Payload;
use crate::fs::lock::LockMode;
use crate::fs::space::SpaceGuard;
use crate::ops::prune::two_phase;
use crate::ops::tests::faulty::names;
use crate::progress::Silent;
use crate::store::Store;

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
