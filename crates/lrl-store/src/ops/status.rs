//! The verb `status`: how old the last good backup and the last passed drill are, and what is wrong. Only reads; never trusts a time in the
//! future.

use std::time::Duration;

use crate::error::{Error, Result};
use crate::format::drill::Drill;
use crate::format::snapshot::Snapshot;
use crate::ops::drill::evidence::{DrillOutcome, Evidence};
use crate::ops::judgement::{Judge, Judgement, is_unreadable};
use crate::ops::need::Need;
use crate::progress::Silent;
use crate::store::{SnapshotName, Store};
use crate::time::Time;
use crate::time::is_future;

/// A snapshot that holds all that it was asked to hold.
#[derive(Debug, Clone, PartialEq)]
pub struct Good {
    /// Its name.
    pub name: SnapshotName,
    /// Its timestamp.
    pub timestamp: String,
    /// When its run began.
    pub created: Time,
    /// Which halves it holds.
    pub halves: Need,
}

/// One half of the lab.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct PartAge {
    /// Whether any snapshot that was looked at holds it.
    pub known: bool,
    /// The newest good snapshot with it.
    pub good: Option<Good>,
}

/// The newest snapshot of a source, good or not.
#[derive(Debug, Clone, PartialEq)]
pub struct Newest {
    /// Its name.
    pub name: SnapshotName,
    /// Its timestamp and when its run began; `None` if it cannot be read.
    pub time: Option<(String, Time)>,
    /// The judgement on it.
    pub judgement: Judgement,
}

/// How a source stands.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Status {
    /// Snapshots of the source.
    pub snapshots: u64,
    /// The newest snapshot.
    pub newest: Option<Newest>,
    /// The newest good snapshot.
    pub good: Option<Good>,
    /// The database.
    pub database: PartAge,
    /// The uploads.
    pub uploads: PartAge,
    /// The newest drill that passed.
    pub passed_drill: Option<Drill>,
    /// The newest drill.
    pub drill: Option<Drill>,
    /// The newest check of the store: when, and whether nothing was wrong.
    pub check: Option<(Time, bool)>,
    /// When a check last found nothing wrong.
    pub passed_check: Option<Time>,
    /// How many snapshots are proven: their newest drill passed.
    pub proven: u64,
    /// The oldest snapshot that is not.
    pub oldest_unproven: Option<SnapshotName>,
    /// Names of snapshots and drills whose time is in the future; they do not count.
    pub future: Vec<String>,
    /// Names of snapshots and drills that cannot be read.
    pub unreadable: Vec<String>,
}

/// From which age on something is too old; `None`: never.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Limits {
    /// The newest good backup.
    pub age: Option<Duration>,
    /// The newest drill that passed.
    pub drill: Option<Duration>,
    /// The newest check that found nothing wrong.
    pub check: Option<Duration>,
}

/// What is wrong with a source. Each is one line of `lrl status`.
#[derive(Debug, Clone, PartialEq)]
pub enum Condition {
    /// There is no good snapshot, or none with this part.
    NoGood(Need),
    /// The newest snapshot is not good.
    NewestNotGood(Newest),
    /// The last good backup is older than the limit: its age in seconds, and the limit.
    TooOld(u64, Duration),
    /// The newest drill failed.
    DrillFailed(Drill),
    /// The last drill that passed is older than the limit; `None`: none has passed.
    DrillTooOld(Option<u64>, Duration),
    /// The newest check found something wrong.
    CheckFailed(Time),
    /// The last check that found nothing wrong is older than the limit; `None`: there is none.
    CheckTooOld(Option<u64>, Duration),
}

impl Status {
    /// Returns the age in seconds of the last good backup: of the half that has waited longest. `None` if a half has none.
    pub fn age_secs(&self, now: Time) -> Option<i64> {
        let known = [&self.database, &self.uploads].into_iter().filter(|half| half.known);
        let ages: Option<Vec<i64>> =
            known.map(|half| half.good.as_ref().map(|good| (now.secs - good.created.secs).max(0))).collect();
        ages?.into_iter().max()
    }

    /// Returns everything that is wrong, the worst first; nothing if all is well.
    pub fn conditions(&self, limits: &Limits, now: Time) -> Vec<Condition> {
        let mut found = Vec::new();
        let age = |time: Time| now.secs.saturating_sub(time.secs).max(0).unsigned_abs();
        let older = |age: u64, limit: Duration| age > limit.as_secs();
        let backup = self.age_secs(now).map(i64::unsigned_abs);
        if backup.is_none() || self.good.is_none() {
            let lacks = |half: &PartAge| self.good.is_some() && half.known && half.good.is_none();
            found.push(Condition::NoGood(Need { database: lacks(&self.database), uploads: lacks(&self.uploads) }));
        }
        found.extend(self.newest.clone().filter(|newest| !newest.judgement.is_good()).map(Condition::NewestNotGood));
        if let (Some(age), Some(limit)) = (backup, limits.age)
            && older(age, limit)
        {
            found.push(Condition::TooOld(age, limit));
        }
        found.extend(self.drill.clone().filter(|drill| !drill.passed).map(Condition::DrillFailed));
        if let Some(limit) = limits.drill {
            let passed = self.passed_drill.as_ref().map(|drill| age(drill.finished));
            found.extend(passed.is_none_or(|age| older(age, limit)).then_some(Condition::DrillTooOld(passed, limit)));
        }
        found.extend(self.check.filter(|(_, passed)| !passed).map(|(time, _)| Condition::CheckFailed(time)));
        if let Some(limit) = limits.check {
            let passed = self.passed_check.map(age);
            found.extend(passed.is_none_or(|age| older(age, limit)).then_some(Condition::CheckTooOld(passed, limit)));
        }
        found
    }
}

fn good(name: &SnapshotName, snapshot: &Snapshot) -> Good {
    let halves = Need { database: snapshot.database.is_some(), uploads: snapshot.uploads.is_some() };
    Good { name: name.clone(), timestamp: snapshot.timestamp.clone(), created: snapshot.created, halves }
}

/// Passes over what is damaged or of a later format: it is no proof of anything.
fn readable<T>(result: Result<T>) -> Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) if is_unreadable(&error) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Returns the newest snapshot that holds what is needed, if it is good and not from the future. An older good one does not count: what
/// came after it may be worse.
pub fn newest_good(store: &Store, source: &str, need: Need, now: Time) -> Result<Option<Good>> {
    let mut judge = Judge::new(store, now);
    for name in store.snapshot_names(Some(source))?.iter().rev() {
        let Some(snapshot) = readable(store.snapshot(name))? else { return Ok(None) };
        let judgement = judge.of(name, &snapshot, &Silent)?;
        if !judgement.is_good() {
            return Ok(None);
        }
        if need.is_met(&snapshot) && !is_future(snapshot.created, now) {
            return Ok(Some(good(name, &snapshot)));
        }
    }
    Ok(None)
}

/// Looks at a source's snapshots and drills, newest first, as far as needed.
pub fn status(store: &Store, source: &str, now: Time) -> Result<Status> {
    let names = store.snapshot_names(Some(source))?;
    let mut status = Status { snapshots: names.len() as u64, ..Status::default() };
    let mut proven: Option<Drill> = None;
    let mut future = Vec::new();
    let mut unreadable = Vec::new();
    let evidence = Evidence::read_each(store, source, &names, now, &Silent, |name, word| match word {
        // What is older than the newest proof is no news.
        _ if proven.is_some() => {}
        DrillOutcome::Future => future.push(name.object()),
        DrillOutcome::Unreadable => unreadable.push(name.object()),
        DrillOutcome::Said(drill) => {
            status.drill.get_or_insert_with(|| drill.clone());
            proven = drill.passed.then(|| drill.clone());
        }
    })?;
    status.passed_drill = proven;
    let is_proven = |name: &&SnapshotName| evidence.of(&name.id).is_some_and(|proof| proof.passed);
    status.proven = names.iter().filter(is_proven).count() as u64;
    status.oldest_unproven = names.iter().find(|name| !is_proven(name)).cloned();
    let mut judge = Judge::new(store, now).with_evidence(source, evidence);
    let checks = judge.checks()?;
    status.check = checks.last.map(|check| (check.time, check.passed));
    status.passed_check = checks.last_passed;
    for name in names.iter().rev() {
        let read = match store.snapshot(name) {
            Err(error) if is_unreadable(&error) => Err(error),
            read => Ok(read?),
        };
        let snapshot = match read {
            Ok(snapshot) => snapshot,
            Err(error) => {
                status.unreadable.push(name.object());
                // With a key that only writes nobody can tell.
                let newest = Newest { name: name.clone(), time: None, judgement: Judgement::damaged(&error) };
                if !matches!(error, Error::WriteOnly { .. }) {
                    status.newest.get_or_insert(newest);
                }
                continue;
            }
        };
        let judgement = judge.of(name, &snapshot, &Silent)?;
        let time = Some((snapshot.timestamp.clone(), snapshot.created));
        let is_good = judgement.is_good();
        let parts = judgement.good;
        status.newest.get_or_insert(Newest { name: name.clone(), time, judgement });
        if is_future(snapshot.created, now) {
            status.future.push(name.object());
            continue;
        }
        let found = good(name, &snapshot);
        if is_good && status.good.is_none() {
            status.good = Some(found.clone());
        }
        for (half, there, is_good) in [
            (&mut status.database, snapshot.database.is_some(), parts.database),
            (&mut status.uploads, snapshot.uploads.is_some(), parts.uploads),
        ] {
            half.known |= there;
            if is_good && half.good.is_none() {
                half.good = Some(found.clone());
            }
        }
        if status.good.is_some() && status.database.good.is_some() && status.uploads.good.is_some() {
            break;
        }
    }
    status.future.append(&mut future);
    status.unreadable.append(&mut unreadable);
    Ok(status)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use super::{Limits, newest_good, status};
    use crate::backend::{Backend, Payload};
    use crate::format::drill::Drill;
    use crate::format::snapshot::{self, Database, Snapshot, Uploads};
    use crate::fs::lock::LockMode;
    use crate::id::ChunkId;
    use crate::ops::judgement::State;
    use crate::ops::need::Need;
    use crate::ops::tests::faulty::{Counted, Fault, Faulty};
    use crate::progress::{Problem, Silent};
    use crate::store::{Store, create};
    use crate::testing::memory::{Memory, memory};
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
        let database = Database {
            path: "x".into(),
            size_bytes: 0,
            sha256: String::new(),
            root: ChunkId::of(b""),
            page_size: 4096,
            change_counter: 1,
            used_pages: None,
            tables: Some(Vec::new()),
            mode: 0,
            uid: 0,
            gid: 0,
            mtime: at(0),
        };
        let list = ChunkId::of(b"");
        let uploads = Uploads { roots: [].into(), list, entries: 0, files: 0, bytes: 0, archive: None };
        let mut snapshot = Snapshot {
            format: snapshot::VERSION,
            source: "lab".into(),
            sequence,
            parents: Vec::new(),
            timestamp: format!("t{sequence}"),
            created: at(created),
            host: String::new(),
            tags: Vec::new(),
            program: "test".into(),
            packs: Vec::new(),
            original: None,
            avoids: Vec::new(),
            added_bytes: None,
            database: need.database.then_some(database),
            uploads: need.uploads.then_some(uploads),
            problems: Vec::new(),
            shrunk: Vec::new(),
        };
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
        publish(&store, 4, 400, BOTH, |s| s.database.as_mut().unwrap().tables = None);
        publish(&store, 5, 99_999, BOTH, |_| {});
        let find = |need| newest_good(&store, "lab", need, at(1000)).unwrap().map(|good| good.timestamp);
        assert_eq!((find(DATABASE), find(BOTH)), (None, None), "what came after the good ones is not good");
        storage.put(&format!("snapshots/lab/{:016x}-{}", 6, ChunkId::of(b"x")), Payload::Bytes(b"junk")).unwrap();
        let found = status(&store, "lab", at(1000)).unwrap();
        assert_eq!((found.snapshots, found.future.len(), found.unreadable.len()), (6, 1, 1));
        assert_eq!(found.newest.as_ref().unwrap().judgement.state, State::Damaged);
        assert_eq!(found.conditions(&Limits::default(), at(1000)).len(), 1, "the newest is not good");
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
        let find = |need| newest_good(&store, "lab", need, at(1000)).unwrap().map(|good| good.timestamp);
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
}
