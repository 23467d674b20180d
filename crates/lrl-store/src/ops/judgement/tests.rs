//! The judgement as a table: each thing that speaks against a snapshot, alone and together, and what takes it back.

use std::sync::Arc;
use std::time::Duration;

use super::{Checks, Damage, Judge, Judgement, Lost, State, judge};
use crate::backend::Payload;
use crate::error::Error;
use crate::format::check::{self, Check, Damaged, Depth};
use crate::format::drill::{Drill, Drilled, DrilledDatabase};
use crate::format::record_order::Rank;
use crate::format::snapshot::{DATABASE_NOT_FOUND, Measure, Shrink, Snapshot};
use crate::fs::lock::LockMode;
use crate::id::SnapshotId;
use crate::ops::drill::past_drills::LastDrill;
use crate::ops::parts::Need;
use crate::ops::tests::faulty::{Counted, Fault, Faulty};
use crate::ops::tests::sample;
use crate::progress::{Problem, Silent};
use crate::store::{Store, create};
use crate::testing::memory_backend::memory;
use crate::time::Time;

const BOTH: Need = Need { database: true, uploads: true };
const DATABASE: Need = Need { database: true, uploads: false };
const UPLOADS: Need = Need { database: false, uploads: true };
const NONE: Need = Need { database: false, uploads: false };

fn at(secs: i64) -> Time {
    Time { secs, nanos: 0 }
}

fn snapshot(change: impl FnOnce(&mut Snapshot)) -> Snapshot {
    let both = sample::snapshot(Some(sample::database()), Some(sample::uploads()));
    let mut snapshot = Snapshot { timestamp: "t".into(), created: at(100), ..both };
    change(&mut snapshot);
    snapshot
}

fn lost(path: &str, reason: &str) -> Problem {
    Problem { path: path.into(), reason: reason.into(), lost: true }
}

fn shrink(measure: Measure) -> Shrink {
    Shrink { measure, database: None, before: 9, now: 0, against: SnapshotId::of(b"") }
}

fn alone(change: impl FnOnce(&mut Snapshot)) -> (State, Need) {
    let Judgement { state, good, reason } = judge(&snapshot(change), None, None);
    assert_eq!(state == State::Good, reason.is_empty());
    (state, good)
}

#[test]
fn what_a_snapshot_says_of_itself() {
    assert_eq!(alone(|_| {}), (State::Good, BOTH));
    assert_eq!(alone(|s| s.files = None), (State::Good, DATABASE), "it was not asked to hold them");
    assert_eq!(alone(|s| s.databases.clear()), (State::Good, UPLOADS));
    let note = |s: &mut Snapshot| s.problems.push(Problem { lost: false, ..lost("a", "odd") });
    assert_eq!(alone(note), (State::Good, BOTH));
    assert_eq!(alone(|s| s.problems.push(lost("assets/a", "gone"))), (State::Incomplete, DATABASE));
    let no_database = |s: &mut Snapshot| {
        s.databases.clear();
        s.problems.push(lost("data/lrl.db", DATABASE_NOT_FOUND));
    };
    assert_eq!(alone(no_database), (State::Incomplete, UPLOADS));
    let no_schema = |s: &mut Snapshot| {
        s.databases[0].tables = None;
        s.problems.push(lost("data/lrl.db", "its schema cannot be read"));
    };
    assert_eq!(alone(no_schema), (State::Unreadable, UPLOADS));
    assert_eq!(alone(|s| s.shrunk.push(shrink(Measure::Files))), (State::Suspect, DATABASE));
    assert_eq!(alone(|s| s.shrunk.push(shrink(Measure::FileBytes))), (State::Suspect, DATABASE));
    assert_eq!(alone(|s| s.shrunk.push(shrink(Measure::DatabaseBytes))), (State::Suspect, UPLOADS));
    assert_eq!(alone(|s| s.shrunk.push(shrink(Measure::Tables))), (State::Unreadable, UPLOADS));
    let all = |s: &mut Snapshot| {
        no_schema(s);
        s.shrunk.push(shrink(Measure::Files));
        s.problems.push(lost("assets/a", "gone"));
    };
    assert_eq!(alone(all), (State::Unreadable, NONE), "the worst counts");
}

fn proof(secs: i64, passed: bool, damaged: bool, failed: Need) -> LastDrill {
    let drilled = Drilled::Snapshot;
    LastDrill { finished: at(secs), number: None, drilled, passed, damaged, failed, is_of_same_database: false }
}

fn when(secs: i64) -> Rank {
    Rank { number: None, time: at(secs) }
}

fn found_by_check(secs: i64, database: bool, files: bool) -> Damage {
    Damage { lost: Some(Lost { when: when(secs), database, files }), read_all: None }
}

fn with(proof: Option<LastDrill>, damage: &Damage) -> (State, Need) {
    let found = judge(&snapshot(|_| {}), proof.as_ref(), Some(damage));
    (found.state, found.good)
}

#[test]
fn what_drills_and_checks_say_and_what_takes_it_back() {
    let whole = Damage::default();
    assert_eq!(with(Some(proof(10, true, false, NONE)), &whole), (State::Good, BOTH));
    assert_eq!(with(Some(proof(10, false, false, DATABASE)), &whole), (State::Failed, UPLOADS));
    assert_eq!(with(Some(proof(10, false, false, BOTH)), &whole), (State::Failed, NONE));
    assert_eq!(with(Some(proof(10, false, true, UPLOADS)), &whole), (State::Damaged, DATABASE));
    // Damage is over once a later check read everything and found none; a failed check of the contents is not.
    let read = |secs| Damage { lost: None, read_all: Some(when(secs)) };
    assert_eq!(with(Some(proof(10, false, true, UPLOADS)), &read(11)), (State::Good, BOTH));
    assert_eq!(with(Some(proof(10, false, true, UPLOADS)), &read(10)), (State::Damaged, DATABASE));
    assert_eq!(with(Some(proof(10, false, false, UPLOADS)), &read(11)), (State::Failed, DATABASE));
    assert_eq!(with(None, &found_by_check(20, true, false)), (State::Damaged, UPLOADS));
    assert_eq!(with(None, &found_by_check(20, false, true)), (State::Damaged, DATABASE));
    // A drill straight from the store reads every chunk, one of a set none.
    assert_eq!(with(Some(proof(21, true, false, NONE)), &found_by_check(20, true, false)), (State::Good, BOTH));
    assert_eq!(with(Some(proof(19, true, false, NONE)), &found_by_check(20, true, false)), (State::Damaged, UPLOADS));
    assert_eq!(with(Some(proof(20, true, false, NONE)), &found_by_check(20, true, false)), (State::Damaged, UPLOADS));
    let of_set = LastDrill { drilled: Drilled::Set, ..proof(21, true, false, NONE) };
    assert_eq!(with(Some(of_set), &found_by_check(20, true, false)), (State::Damaged, UPLOADS));
}

#[test]
fn a_database_that_a_drill_found_malformed_is_bad_in_every_snapshot_that_holds_it() {
    let storage = memory();
    create(&storage, [1; 32]).unwrap();
    let store = Store::open(Arc::new(storage), LockMode::Shared, Duration::ZERO, &Silent).unwrap();
    let publish = |sequence, sha256: &str| {
        let (name, _) = store
            .publish(&snapshot(|s| {
                s.sequence = sequence;
                s.databases[0].sha256 = Some(sha256.into());
            }))
            .unwrap();
        name
    };
    let names = [publish(1, "other"), publish(2, "same"), publish(3, "same")];
    let states = || {
        let mut judge = Judge::new(&store, at(1000));
        let judged = names.clone().map(|name| judge.of(&name, &store.snapshot(&name).unwrap(), &Silent).unwrap());
        judged.map(|found| (found.state, found.good))
    };
    let drill = |secs, failed: &[&str]| {
        let failed_checks: Vec<String> = failed.iter().map(|check| check.to_string()).collect();
        let drill = Drill {
            snapshot: Some(names[2].id),
            drilled: Drilled::Snapshot,
            passed: failed.is_empty(),
            databases: vec![DrilledDatabase {
                path: b"lrl.db".to_vec(),
                sha256: Some("same".into()),
                malformed: failed_checks.iter().any(|check| check == "database: integrity_check"),
                ..DrilledDatabase::default()
            }],
            failed_checks,
            ..Drill::sample("lab", at(secs))
        };
        store.add_drill(&drill).unwrap();
    };
    let (good, failed) = ((State::Good, BOTH), (State::Failed, UPLOADS));
    drill(200, &["database: asset_rows"]);
    assert_eq!(states(), [good, good, failed], "which files are there is not the database's");
    drill(201, &["database: integrity_check"]);
    assert_eq!(states(), [good, failed, failed]);
    drill(2000, &[]);
    assert_eq!(states(), [good, failed, failed], "a time in the future tells nothing");
    drill(202, &[]);
    assert_eq!(states(), [good, good, good], "the newest word counts");
}

#[test]
fn of_checks_within_one_second_the_later_one_counts() {
    let storage = memory();
    create(&storage, [1; 32]).unwrap();
    let store = Store::open(Arc::new(storage), LockMode::Shared, Duration::ZERO, &Silent).unwrap();
    let id = SnapshotId::of(b"x");
    let now = at(1000);
    // Ids are as good as random: in either order some of these would come out wrong.
    for n in 0..8u32 {
        let record = |nanos, depth, damaged: bool| Check {
            format: check::VERSION,
            time: Time { secs: 100 + i64::from(n), nanos },
            number: None,
            depth,
            passed: !damaged,
            damaged: damaged.then_some(Damaged { snapshot: id, database: true, files: false }).into_iter().collect(),
            more_damaged: 0,
            program: format!("test {n}"),
        };
        store.add_check(&record(1, Depth::All, true)).unwrap();
        assert!(Checks::read(&store, now).unwrap().of(&id).lost.is_some());
        // What another read whole, a look at the structure does not take back.
        store.add_check(&record(2, Depth::Structure, false)).unwrap();
        assert!(Checks::read(&store, now).unwrap().of(&id).lost.is_some());
        assert!(Checks::read(&store, now).unwrap().last.unwrap().passed);
        store.add_check(&record(3, Depth::All, false)).unwrap();
        let checks = Checks::read(&store, now).unwrap();
        assert_eq!((checks.of(&id).lost, checks.last_passed.unwrap().nanos), (None, 3));
        assert_eq!(store.check_names().unwrap().len(), 1, "older ones are replaced");
    }
    // A time in the future tells nothing.
    let future = Check {
        time: at(9999),
        depth: Depth::Structure,
        passed: false,
        ..store.check_record(&store.check_names().unwrap()[0]).unwrap()
    };
    store.add_check(&future).unwrap();
    assert!(Checks::read(&store, now).unwrap().last.unwrap().passed);
}

#[test]
fn records_rank_by_their_numbers_whatever_the_clock_said() {
    let storage = memory();
    create(&storage, [1; 32]).unwrap();
    let store = Store::open(Arc::new(storage), LockMode::Shared, Duration::ZERO, &Silent).unwrap();
    let of_store = snapshot(|_| {});
    let (name, _) = store.publish(&of_store).unwrap();
    let check = |number, secs, passed: bool| Check {
        format: check::VERSION,
        time: at(secs),
        number: Some(number),
        depth: Depth::All,
        passed,
        damaged: (!passed).then_some(Damaged { snapshot: name.id, database: true, files: false }).into_iter().collect(),
        more_damaged: 0,
        program: "test".into(),
    };
    let drill = |number, secs, passed: bool| {
        let failed_checks = if passed { Vec::new() } else { vec!["database: store".into()] };
        let (snapshot, drilled) = (Some(name.id), Drilled::Snapshot);
        let number = Some(number);
        let all = Drill::sample("lab", at(secs));
        store.add_drill(&Drill { number, snapshot, drilled, passed, damaged: !passed, failed_checks, ..all }).unwrap();
    };
    let state = |now| Judge::new(&store, at(now)).of(&name, &of_store, &Silent).unwrap().state;
    // By a clock three days ahead a check finds damage; by the right one the next finds that it is mended.
    let day = 86_400;
    store.add_check(&check(1, 5 * day, false)).unwrap();
    assert_eq!(state(2 * day), State::Damaged, "what is known to be bad stays so, whatever the clock says");
    store.add_check(&check(2, 2 * day, true)).unwrap();
    assert_eq!(store.check_names().unwrap().len(), 1, "what it replaces is gone, also of a time to come");
    for now in [2 * day, 4 * day, 9 * day] {
        let checks = Checks::read(&store, at(now)).unwrap();
        assert!(checks.last.unwrap().passed && state(now).is_good());
    }
    // A drill by a clock ahead, a check by the right one after it, and so on in turn.
    drill(3, 5 * day, false);
    assert_eq!((state(3 * day), state(6 * day)), (State::Damaged, State::Damaged));
    store.add_check(&check(4, 3 * day, true)).unwrap();
    assert_eq!((state(3 * day), state(6 * day)), (State::Good, State::Good));
    store.add_check(&check(5, 9 * day, false)).unwrap();
    assert_eq!((state(4 * day), state(9 * day)), (State::Damaged, State::Damaged));
    drill(6, 4 * day, true);
    assert_eq!((state(4 * day), state(9 * day)), (State::Good, State::Good));
    // By a clock that stands at zero.
    drill(7, 0, false);
    assert_eq!(state(9 * day), State::Damaged);
    drill(8, 1, true);
    assert_eq!(state(9 * day), State::Good);
    store.add_check(&check(9, 2, false)).unwrap();
    let checks = Checks::read(&store, at(9 * day)).unwrap();
    assert_eq!((checks.last.unwrap().passed, checks.last_passed, state(9 * day)), (false, None, State::Damaged));
    // When one of a time to come passed nobody knows.
    store.add_check(&check(10, 20 * day, true)).unwrap();
    let checks = Checks::read(&store, at(9 * day)).unwrap();
    assert_eq!((checks.last.unwrap().passed, checks.last_passed, state(9 * day)), (true, None, State::Good));
    assert_eq!(Checks::read(&store, at(20 * day)).unwrap().last_passed, Some(at(20 * day)));
}

#[test]
fn what_one_check_found_another_takes_back_that_looked_there() {
    let storage = memory();
    create(&storage, [1; 32]).unwrap();
    let store = Store::open(Arc::new(storage), LockMode::Shared, Duration::ZERO, &Silent).unwrap();
    let id = SnapshotId::of(b"x");
    // The record with its damage, and whether any is known after it.
    let steps = [
        (Depth::Structure, true, true),
        (Depth::Structure, false, false),
        (Depth::Structure, true, true),
        (Depth::Part, false, false),
        (Depth::Part, true, true),
        (Depth::Structure, false, true),
        (Depth::Part, false, true),
        (Depth::All, false, false),
    ];
    for (n, (depth, damaged, known)) in steps.into_iter().enumerate() {
        let record = Check {
            format: check::VERSION,
            time: at(100 + n as i64),
            number: None,
            depth,
            passed: !damaged,
            damaged: damaged.then_some(Damaged { snapshot: id, database: true, files: false }).into_iter().collect(),
            more_damaged: 0,
            program: "test".into(),
        };
        store.add_check(&record).unwrap();
        let checks = Checks::read(&store, at(1000)).unwrap();
        assert_eq!(checks.of(&id).lost.is_some(), known, "step {n}");
        assert_eq!((checks.last.unwrap().time, checks.last.unwrap().passed), (record.time, !damaged));
        assert_eq!(checks.read_all, (depth == Depth::All).then_some(record.rank()));
    }
}

#[test]
fn a_part_serves_by_itself_and_both_only_together() {
    let judgement = judge(&snapshot(|s| s.problems.push(lost("assets/a", "gone"))), None, None);
    assert!(judgement.serves(DATABASE) && !judgement.serves(UPLOADS) && !judgement.serves(BOTH));
    assert!(!judgement.serves(NONE), "whatever it holds should be good");
    assert!(judge(&snapshot(|_| {}), None, None).serves(BOTH));
    let of_database = judge(&snapshot(|s| s.files = None), None, None);
    assert!(of_database.serves(NONE) && of_database.serves(DATABASE) && !of_database.serves(BOTH));
}

#[test]
fn states_are_ordered_from_good_to_worst() {
    assert!(State::ALL.is_sorted());
    assert_eq!(State::ALL.map(State::name).map(|name| name.len()), [4, 7, 10, 10, 6, 7]);
}

#[test]
fn a_record_of_a_check_that_cannot_be_read_proves_nothing_and_a_failing_disk_ends_it() {
    let faulty = Arc::new(Faulty::before(Arc::new(memory()), Counted::All));
    create(&*faulty, [1; 32]).unwrap();
    let store = Store::open(Arc::clone(&faulty) as _, LockMode::Shared, Duration::ZERO, &Silent).unwrap();
    let id = SnapshotId::of(b"x");
    let record = |secs, number, depth, damaged: bool| Check {
        format: check::VERSION,
        time: at(secs),
        number: Some(number),
        depth,
        passed: !damaged,
        damaged: damaged.then_some(Damaged { snapshot: id, database: true, files: false }).into_iter().collect(),
        more_damaged: 0,
        program: "test".into(),
    };
    store.add_check(&record(100, 1, Depth::All, true)).unwrap();
    let newest = store.add_check(&record(200, 2, Depth::Structure, true)).unwrap();
    for left in 0.. {
        faulty.arm(Fault::Fails, left);
        let read = Checks::read(&store, at(1000));
        if !faulty.disarm() {
            assert_eq!((left, read.unwrap().last.unwrap().time), (3, at(200)), "a listing and two records");
            break;
        }
        assert!(matches!(read, Err(Error::Io { .. })), "call {left}");
    }
    faulty.below().put(&newest.object(), Payload::Bytes(b"damaged")).unwrap();
    let checks = Checks::read(&store, at(1000)).unwrap();
    assert_eq!((checks.last.unwrap().time, checks.of(&id).lost.map(|lost| lost.when.time)), (at(100), Some(at(100))));
}

#[test]
fn of_several_losses_the_first_is_named_and_the_others_are_counted() {
    let reason =
        |lost_ones: &[Problem]| judge(&snapshot(|s| s.problems.extend_from_slice(lost_ones)), None, None).reason;
    let note = Problem { lost: false, ..lost("a", "odd") };
    assert_eq!(reason(&[note.clone(), lost("assets/b", "gone")]), "assets/b: gone");
    assert_eq!(reason(&[lost("assets/b", "gone"), note, lost("c", "x")]), "assets/b: gone, and 1 more");
    assert_eq!(reason(&[lost("b", "gone"), lost("c", "x"), lost("d", "x")]), "b: gone, and 2 more");
    let of_database = |s: &mut Snapshot| s.problems.push(lost("data/lrl.db", "two pages are torn"));
    assert_eq!(alone(of_database), (State::Incomplete, BOTH), "what is said of a database says nothing of uploads");
}

#[test]
fn what_a_drill_found_is_told_by_what_it_drilled() {
    let reason = |drilled, is_of_same_database| {
        let proof = LastDrill { drilled, is_of_same_database, ..proof(10, false, false, DATABASE) };
        judge(&snapshot(|_| {}), Some(&proof), None).reason
    };
    assert_eq!(reason(Drilled::Snapshot, false), "its last drill failed");
    assert_eq!(reason(Drilled::Set, false), "the drill of its set failed");
    assert_eq!(reason(Drilled::Snapshot, true), "a drill found its database malformed, in another snapshot");
    assert_eq!(
        judge(&snapshot(|_| {}), None, Some(&found_by_check(20, true, false))).reason,
        "a check found chunks of it missing or wrong"
    );
}
