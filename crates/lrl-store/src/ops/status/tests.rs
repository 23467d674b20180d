//! Which snapshots, drills and checks count.

use std::sync::Arc;
use std::time::Duration;

use super::{Condition, Limits, newest_if_good, status, survey};
use crate::backend::{Backend, Payload};
use crate::format::drill::Drill;
use crate::format::snapshot::Snapshot;
use crate::fs::lock::LockMode;
use crate::id::ChunkId;
use crate::ops::judgement::State;
use crate::ops::parts::Need;
use crate::ops::tests::faulty::{Counted, Fault, Faulty};
use crate::ops::tests::sample;
use crate::progress::{Problem, Silent};
use crate::store::{Store, create};
use crate::testing::memory_backend::{Memory, memory};
use crate::time::Time;

const DATABASE: Need = Need { database: true, uploads: false };
const BOTH: Need = Need { database: true, uploads: true };

fn store() -> (Arc<Memory>, Store) {
    let storage = memory();
    create(&storage, [1; 32]).unwrap();
    let storage = Arc::new(storage);
    (storage.clone(), Store::open(storage, LockMode::Shared, Duration::ZERO, &Silent).unwrap())
}

fn at(secs: i64) -> Time {
    Time { secs, nanos: 0 }
}

fn publish(store: &Store, sequence: u64, created: i64, need: Need, change: impl FnOnce(&mut Snapshot)) {
    let database = need.database.then(sample::database);
    let sample = sample::snapshot(database, need.uploads.then(sample::uploads));
    let mut snapshot = Snapshot { sequence, timestamp: format!("t{sequence}"), created: at(created), ..sample };
    change(&mut snapshot);
    store.publish(&snapshot).unwrap();
}

#[test]
fn only_good_snapshots_that_are_not_from_the_future_count() {
    let (storage, store) = store();
    publish(&store, 1, 100, BOTH, |_| {});
    publish(&store, 2, 200, DATABASE, |_| {});
    publish(&store, 3, 300, BOTH, |s| {
        s.problems.push(Problem { path: "a".into(), reason: "gone".into(), lost: true });
    });
    publish(&store, 4, 400, BOTH, |s| s.databases[0].tables = None);
    publish(&store, 5, 99_999, BOTH, |_| {});
    let find = |need| newest_if_good(&store, "lab", need, at(1000)).unwrap().map(|good| good.timestamp);
    assert_eq!((find(DATABASE), find(BOTH)), (None, None), "what came after the good ones is not good");
    storage.put(&format!("snapshots/lab/{:016x}-{}", 6, ChunkId::of(b"x")), Payload::Bytes(b"junk")).unwrap();
    let found = status(&store, "lab", at(1000)).unwrap();
    assert_eq!((found.snapshots, found.future.len(), found.unreadable.len()), (6, 1, 1));
    assert_eq!(found.newest.as_ref().unwrap().judgement.state, State::Damaged);
    assert_eq!(found.conditions(&Limits::default(), at(1000)).len(), 1, "the newest is not good");
    assert_eq!(found.states.values().sum::<u64>(), 5, "no further than is needed");
    let all = survey(&store, "lab", &store.snapshot_names(Some("lab")).unwrap(), at(1000), 100).unwrap();
    let states = [(State::Good, 3), (State::Incomplete, 1), (State::Unreadable, 1), (State::Damaged, 1)];
    assert_eq!(all.states, states.into());
    let limits =
        Limits { age: Some(Duration::from_secs(699)), drill: Some(Duration::ZERO), check: Some(Duration::ZERO) };
    assert_eq!(found.conditions(&limits, at(1000)).len(), 4);
    assert_eq!(found.conditions(&Limits { age: Some(Duration::from_secs(700)), ..limits }, at(1000)).len(), 3);
    assert_eq!(found.good.as_ref().unwrap().timestamp, "t2");
    assert_eq!(found.age_secs(at(1000)), Some(700), "the database has waited longest");
    assert_eq!(status(&store, "other", at(1000)).unwrap().age_secs(at(1000)), None);
}

#[test]
fn the_newest_good_snapshot_counts_where_nothing_bad_came_after_it() {
    let (_, store) = store();
    publish(&store, 1, 100, BOTH, |_| {});
    publish(&store, 2, 200, DATABASE, |_| {});
    let find = |need| newest_if_good(&store, "lab", need, at(1000)).unwrap().map(|good| good.timestamp);
    assert_eq!((find(DATABASE).as_deref(), find(BOTH).as_deref()), (Some("t2"), Some("t1")));
    let drill = Drill {
        passed: false,
        snapshot: Some(store.snapshot_names(None).unwrap()[1].id),
        ..Drill::sample("lab", at(300))
    };
    store.add_drill(&drill).unwrap();
    assert_eq!((find(DATABASE), find(BOTH)), (None, None));
    let found = status(&store, "lab", at(1000)).unwrap();
    assert_eq!(found.newest.as_ref().unwrap().judgement.state, State::Failed);
    assert_eq!(found.good.as_ref().unwrap().timestamp, "t1");
    assert_eq!(found.conditions(&Limits::default(), at(1000)).len(), 2, "the newest, and its drill");
}

#[test]
fn the_last_passed_drill_is_found_behind_failed_and_future_ones() {
    let (_, store) = store();
    for (secs, passed) in [(100, true), (200, true), (300, false), (99_999, true)] {
        let drill = Drill { passed, ..Drill::sample("lab", at(secs)) };
        store.add_drill(&drill).unwrap();
    }
    let found = status(&store, "lab", at(1000)).unwrap();
    assert_eq!(found.passed_drill.unwrap().finished, at(200));
    assert_eq!(found.drill.unwrap().finished, at(300));
    assert_eq!(found.future.len(), 1);
}

#[test]
fn the_last_drill_is_that_with_the_highest_number() {
    let (_, store) = store();
    let add = |number, secs, passed| {
        let drill = Drill { number: Some(number), passed, ..Drill::sample("lab", at(secs)) };
        store.add_drill(&drill).unwrap();
        let found = status(&store, "lab", at(1000)).unwrap();
        let numbers = (found.drill.and_then(|drill| drill.number), found.passed_drill.and_then(|drill| drill.number));
        (numbers, found.future.len())
    };
    assert_eq!(add(1, 900, true), ((Some(1), Some(1)), 0));
    assert_eq!(add(2, 300, false), ((Some(2), Some(1)), 0), "by a clock behind");
    assert_eq!(add(3, 99_999, false), ((Some(3), Some(1)), 1), "by a clock ahead");
    assert_eq!(add(4, 99_998, true), ((Some(4), Some(1)), 2), "nobody knows how long ago it passed");
    assert_eq!(add(5, 400, true), ((Some(5), Some(5)), 0), "the newest, though not by time");
    // What a backup answers by reading everything.
    let last = |now| store.last_drill("lab", at(now)).unwrap().unwrap().1.number;
    assert_eq!(last(1000), Some(4), "no further than to the first that is of no time to come");
    add(6, 950, false);
    assert_eq!(last(1000), Some(6));
    store.add_drill(&Drill::sample("lab", at(88_888))).unwrap();
    assert_eq!(last(1000), Some(6), "one without a number tells nothing until then");
}

#[test]
fn each_record_is_read_once() {
    let (storage, store) = store();
    for secs in 0..10 {
        store.add_drill(&Drill { passed: secs % 3 == 1, ..Drill::sample("lab", at(100 + secs)) }).unwrap();
    }
    drop(store);
    let counted = Arc::new(Faulty::before(storage, Counted::All));
    let store = Store::open(counted.clone(), LockMode::Shared, Duration::ZERO, &Silent).unwrap();
    // Three lists, and the records.
    counted.arm(Fault::Dies, 13);
    let found = status(&store, "lab", at(1000)).unwrap();
    assert_eq!((found.drill.unwrap().finished, found.passed_drill.unwrap().finished), (at(109), at(107)));
}

#[test]
fn a_newest_snapshot_from_the_future_is_said_until_the_next_one() {
    let (_, store) = store();
    publish(&store, 1, 100, BOTH, |_| {});
    publish(&store, 2, 5000, BOTH, |_| {});
    let found = |now| status(&store, "lab", at(now)).unwrap().conditions(&Limits::default(), at(now));
    // The clock went back: what it says is today's is an older one.
    let said = found(1000);
    assert!(matches!(&said[..], [Condition::NewestFromFuture(newest, 4000)] if newest.name.sequence == 2), "{said:?}");
    assert_eq!(found(4950), [], "a correction of the clock by less than a minute");
    publish(&store, 3, 1100, BOTH, |_| {});
    assert_eq!(found(1200), [], "what came after it is of today");
}
