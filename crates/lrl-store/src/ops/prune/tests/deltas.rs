//! Chains of deltas whose bases no snapshot needs any more end in full copies, where there is room.

use std::collections::HashSet;
use std::sync::Arc;

use super::{
    assert_clean, assert_exact, back_up, chained, contents, open, pack_bytes, prune, try_prune, worn_and_chained,
};
use crate::backend::Backend;
use crate::fs::space::{Reserve, SpaceGuard};
use crate::ops::prune::{MaxUnused, apply, plan};
use crate::ops::tests::faulty::{flip_byte, names};
use crate::progress::Silent;
use crate::store::create;
use crate::testing::memory_backend::memory;

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

#[test]
fn deltas_that_cannot_be_read_stay_with_all_that_they_need() {
    let lab = chained(&[8]);
    let planned = plan(&open(&lab.backend), MaxUnused::Bytes(0), &HashSet::new(), true, &Silent).unwrap();
    let chains = planned.chains;
    assert!(!chains.is_empty());
    let places: Vec<_> = chains.iter().map(|id| open(&lab.backend).locate(id).unwrap().unwrap()).collect();
    for place in &places {
        flip_byte(&*lab.backend, place, u64::from(place.record.encoded_len) / 2);
    }
    let report = try_prune(&lab.backend, MaxUnused::Bytes(0)).unwrap();
    assert_eq!(report.numbers.full.chunks, 0, "{report:?}");
    let store = open(&lab.backend);
    let mut needed = chains;
    while let Some(id) = needed.pop() {
        let place = store.locate(&id).unwrap().unwrap_or_else(|| panic!("{id} is gone"));
        needed.extend(place.record.bases);
    }
}
