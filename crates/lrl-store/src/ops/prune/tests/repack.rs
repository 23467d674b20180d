//! Which packs are repacked, and that a plan says what a run then does.

use std::collections::HashSet;

use super::{Lab, assert_clean, open, pack_bytes, prune};
use crate::id::PackId;
use crate::ops::prune::inventory::Pack;
use crate::ops::prune::model::{FEW_SMALL, SMALL_BYTES};
use crate::ops::prune::plan::choose;
use crate::ops::prune::{MaxUnused, plan};
use crate::ops::tests::faulty::names;
use crate::progress::Silent;

#[test]
fn what_may_stay_unused_is_a_share_of_what_is_needed() {
    assert_eq!(MaxUnused::Percent(5.0).of(2000), 100);
    assert_eq!(MaxUnused::Percent(0.0).of(u64::MAX), 0);
    assert_eq!((MaxUnused::Bytes(7).of(2000), MaxUnused::Unlimited.of(0)), (7, u64::MAX));
}

/// Numbered packs, and which of them are moved.
fn chosen(packs: &[Pack], max_unused: MaxUnused) -> Vec<usize> {
    let id = |n: usize| PackId::of(&n.to_le_bytes());
    let by_id: Vec<(PackId, &Pack)> = packs.iter().enumerate().map(|(n, pack)| (id(n), pack)).collect();
    let moved = choose(&by_id.iter().map(|(id, pack)| (id, *pack)).collect::<Vec<_>>(), max_unused);
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
