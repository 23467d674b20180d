//! Numbers, parents and snapshots that were forgotten in one of the stores.

use super::{Lab, assert_same, empty, open, run, whole};
use crate::ops::copy::Which;

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
