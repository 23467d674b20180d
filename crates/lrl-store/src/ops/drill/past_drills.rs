//! The records of a source's drills, taken together: which snapshots are proven, when, and what the one drilled before held. Read-only; a
//! record from the future proves nothing.

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap};

use crate::error::{Error, Result};
use crate::format::drill::{Drill, Drilled};
use crate::format::path_text;
use crate::format::record_order::{Latest, Rank};
use crate::format::snapshot::{Database, Snapshot, THE_DATABASE};
use crate::id::SnapshotId;
use crate::ops::parts::Need;
use crate::progress::{Observer, checkpoint};
use crate::store::drill_records::DrillName;
use crate::store::{SnapshotName, Store};
use crate::time::{Time, is_future};

/// The newest drill of one snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LastDrill {
    /// When the drill ended.
    pub finished: Time,
    /// The number of its record.
    pub number: Option<u64>,
    /// What was drilled.
    pub drilled: Drilled,
    /// Whether it passed, and proved every part that the snapshot holds.
    pub passed: bool,
    /// Whether it found chunks missing or wrong in the store.
    pub damaged: bool,
    /// Which parts failed; none if it passed.
    pub failed: Need,
    /// The drill was of another snapshot, which holds the very same database.
    pub is_of_same_database: bool,
}

impl LastDrill {
    /// Returns when it was made, for comparison with other records.
    pub(crate) fn rank(&self) -> Rank {
        Rank { number: self.number, time: self.finished }
    }
}

/// A table that has far fewer rows than it had in the snapshot that was drilled before.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Shrunk {
    /// The path of its database, unless it is that of the manual's layout.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub database: Option<String>,
    /// The table.
    pub table: String,
    /// Rows now; a table that is gone has none.
    pub rows: u64,
    /// Rows then.
    pub rows_before: u64,
}

/// The records of one source.
#[derive(Debug, Default)]
pub struct Evidence {
    /// By snapshot: the newest drill of it, and when it was last drilled straight from the store.
    last: HashMap<SnapshotId, (Latest<LastDrill>, Option<Turn>)>,
    /// By the SHA-256 of a database, and by the root of its tree: when it was last drilled, and whether SQLite could not read it or found it malformed, which is the same
    /// whatever snapshot holds these bytes.
    databases: HashMap<String, Latest<bool>>,
    /// By the snapshot's number: the newest record with rows.
    rows: BTreeMap<u64, (Time, DrillName)>,
    /// The highest number of a record.
    last_number: u64,
}

/// When a snapshot was drilled: by the record's number, 0 where it has none, then by its time.
pub(crate) type Turn = (u64, Time);

/// The result of reading one record.
#[derive(Debug)]
pub(crate) enum DrillOutcome<'a> {
    /// It counts.
    Said(&'a Drill),
    /// Its time is in the future, and it has no number: it proves nothing.
    Future,
    /// It cannot be read.
    Unreadable,
}

impl Evidence {
    /// Reads the records of a source; those that cannot be read prove nothing.
    ///
    /// # Errors
    ///
    /// If the records cannot be listed, [`Error::Interrupted`](crate::error::Error::Interrupted).
    pub fn read(store: &Store, source: &str, now: Time, observer: &dyn Observer) -> Result<Self> {
        let names = store.snapshot_names(Some(source))?;
        Self::read_each(store, source, &names, now, observer, |_, _| {})
    }

    /// As [`Evidence::read`], telling of each record, the newest first. `snapshots` are the source's.
    ///
    /// # Errors
    ///
    /// As [`Evidence::read`].
    pub(crate) fn read_each(
        store: &Store,
        source: &str,
        snapshots: &[SnapshotName],
        now: Time,
        observer: &dyn Observer,
        mut each: impl FnMut(&DrillName, DrillOutcome<'_>),
    ) -> Result<Self> {
        let numbers: HashMap<SnapshotId, u64> = snapshots.iter().map(|name| (name.id, name.sequence)).collect();
        let mut evidence = Self::default();
        for name in store.drill_names(source)?.iter().rev() {
            checkpoint(observer)?;
            match store.drill(name) {
                Ok(drill) if drill.number.is_none() && is_future(drill.finished, now) => {
                    each(name, DrillOutcome::Future);
                }
                // A record need not have the snapshot's number.
                Ok(drill) => {
                    let number = drill.snapshot.and_then(|id| numbers.get(&id).copied());
                    let drill = Drill { sequence: drill.sequence.or(number), ..drill };
                    evidence.add(name, &drill);
                    each(name, DrillOutcome::Said(&drill));
                }
                Err(error) if error.is_unreadable_document() => each(name, DrillOutcome::Unreadable),
                Err(error) => return Err(error),
            }
        }
        Ok(evidence)
    }

    /// Adds a record, in any order.
    pub fn add(&mut self, name: &DrillName, drill: &Drill) {
        let finished = drill.finished;
        self.last_number = self.last_number.max(drill.number.unwrap_or_default());
        for database in &drill.databases {
            for bytes in database.sha256.iter().cloned().chain(database.root.map(|root| root.to_string())) {
                self.databases.entry(bytes).or_default().add(drill.rank(), || database.malformed);
            }
        }
        let Some(id) = drill.snapshot else { return };
        let turn = (drill.drilled == Drilled::Snapshot).then_some((drill.number.unwrap_or_default(), finished));
        let proof = LastDrill {
            finished,
            number: drill.number,
            drilled: drill.drilled,
            passed: drill.passed && drill.unproven_parts.is_empty(),
            damaged: drill.damaged,
            failed: failed_parts(drill),
            is_of_same_database: false,
        };
        let (newest, last_turn) = self.last.entry(id).or_default();
        newest.add(drill.rank(), || proof);
        *last_turn = turn.max(*last_turn);
        let has_rows = drill.databases.iter().any(|database| database.rows.is_some());
        if let (Some(sequence), true) = (drill.sequence, has_rows) {
            let newest = self.rows.entry(sequence).or_insert((finished, name.clone()));
            if newest.0 <= finished {
                *newest = (finished, name.clone());
            }
        }
    }

    /// Returns the newest drill of a snapshot.
    pub fn of(&self, id: &SnapshotId) -> Option<LastDrill> {
        self.last.get(id).and_then(|(newest, _)| newest.get()).map(|(_, proof)| *proof)
    }

    /// Returns the newest word on a snapshot: of its own drills, unless a drill has found the same database malformed, in whatever snapshot.
    pub(crate) fn on(&self, id: &SnapshotId, snapshot: &Snapshot) -> Option<LastDrill> {
        let own = self.of(id);
        let word = |part: &Database| {
            let by_tree = self.databases.get(&part.root.to_string());
            let words = part.sha256.as_ref().and_then(|sha256| self.databases.get(sha256)).into_iter().chain(by_tree);
            words.filter_map(Latest::get).copied().reduce(newer)
        };
        let words = snapshot.databases.iter().filter_map(word);
        let Some((when, _)) = words.filter(|(_, is_malformed)| *is_malformed).reduce(newer) else { return own };
        if own.is_some_and(|own| own.failed.database) {
            return own;
        }
        let uploads = own.is_some_and(|own| own.failed.uploads);
        Some(LastDrill {
            finished: when.time,
            number: when.number,
            drilled: Drilled::Snapshot,
            passed: false,
            damaged: false,
            failed: Need { database: true, uploads },
            is_of_same_database: true,
        })
    }

    /// Reads the record with rows of the nearest snapshot before this number.
    ///
    /// # Errors
    ///
    /// If the store cannot be read; a damaged record counts as none.
    pub(crate) fn before(&self, store: &Store, sequence: u64) -> Result<Option<Drill>> {
        let Some((_, (_, name))) = self.rows.range(..sequence).next_back() else { return Ok(None) };
        match store.drill(name) {
            Ok(drill) => Ok(Some(drill)),
            Err(
                Error::Corrupt { .. } | Error::Missing { .. } | Error::Unsupported { .. } | Error::WriteOnly { .. },
            ) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Returns a key that orders snapshots by how long they have waited for a drill straight from the store: first those that never had one,
    /// the newest of them first, then by the turn of the last one. Those whose contents have failed come last: no repair changes what was backed
    /// up, so another drill only tells what is known. One that failed because the store was damaged may be whole again.
    pub fn urgency(&self, name: &SnapshotName) -> (bool, Option<Turn>, Reverse<u64>) {
        let has_failed = self
            .of(&name.id)
            .is_some_and(|last| last.drilled == Drilled::Snapshot && !last.damaged && last.failed != Need::default());
        (has_failed, self.last.get(&name.id).and_then(|(_, turn)| *turn), Reverse(name.sequence))
    }

    /// Returns the number of the next record of a drill in this store; `None` where a key cannot read those that are there.
    ///
    /// # Errors
    ///
    /// If the store cannot be read.
    pub(super) fn next_number(&self, store: &Store) -> Result<Option<u64>> {
        if !store.can_read() {
            return Ok(None);
        }
        Ok(Some(self.last_number.max(store.last_check_number()?).saturating_add(1)))
    }
}

fn newer(one: (Rank, bool), other: (Rank, bool)) -> (Rank, bool) {
    if other.0.is_after(one.0) { other } else { one }
}

/// Returns which parts a failed drill found wrong; both if that is not recorded.
fn failed_parts(drill: &Drill) -> Need {
    let of = |kind: &str| drill.failed_checks.iter().any(|check| check.starts_with(kind));
    let failed = Need { database: of("database: ") || of("database "), uploads: of("assets: ") };
    let tells = drill.passed || failed != Need::default();
    if tells { failed } else { Need { database: true, uploads: true } }
}

/// Names the tables that lost all rows, or more than half of at least twenty.
pub(super) fn shrunk(path: &[u8], before: &BTreeMap<String, u64>, now: &BTreeMap<String, u64>) -> Vec<Shrunk> {
    let database = (path != THE_DATABASE).then(|| path_text::encode(path));
    let far_fewer = |table: &String, had: u64| {
        let rows = now.get(table).copied().unwrap_or(0);
        let shrunk = had > 0 && (rows == 0 || had >= 20 && rows < had / 2);
        shrunk.then(|| Shrunk { database: database.clone(), table: table.clone(), rows, rows_before: had })
    };
    before.iter().filter_map(|(table, had)| far_fewer(table, *had)).collect()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use super::{Evidence, shrunk};
    use crate::format::drill::{Drill, Drilled, DrilledDatabase};
    use crate::fs::lock::LockMode;
    use crate::id::SnapshotId;
    use crate::progress::Silent;
    use crate::store::{SnapshotName, Store, create};
    use crate::testing::memory_backend::memory;
    use crate::time::Time;

    fn snapshot(sequence: u64) -> SnapshotName {
        SnapshotName { source: "lab".into(), sequence, id: SnapshotId::of(&sequence.to_le_bytes()) }
    }

    fn record(store: &Store, secs: i64, sequence: u64, drilled: Drilled, passed: bool) {
        let drill = Drill {
            snapshot: Some(snapshot(sequence).id),
            sequence: Some(sequence),
            drilled,
            passed,
            databases: vec![DrilledDatabase {
                path: b"lrl.db".to_vec(),
                rows: Some([("users".to_string(), sequence)].into()),
                ..DrilledDatabase::default()
            }],
            ..Drill::sample("lab", Time { secs, nanos: 0 })
        };
        store.add_drill(&drill).unwrap();
    }

    #[test]
    fn the_newest_word_counts_and_what_waits_longest_comes_first() {
        let backend = memory();
        create(&backend, [1; 32]).unwrap();
        let store = Store::open(Arc::new(backend), LockMode::Shared, Duration::ZERO, &Silent).unwrap();
        record(&store, 100, 3, Drilled::Snapshot, true);
        record(&store, 200, 1, Drilled::Snapshot, false);
        record(&store, 300, 3, Drilled::Set, false);
        record(&store, 400, 2, Drilled::Set, true);
        record(&store, 99_999, 5, Drilled::Snapshot, true);
        let now = Time { secs: 1000, nanos: 0 };
        let evidence = Evidence::read(&store, "lab", now, &Silent).unwrap();
        let last = |number| evidence.of(&snapshot(number).id).map(|proof| (proof.finished.secs, proof.passed));
        assert_eq!([1, 2, 3, 4, 5].map(last), [Some((200, false)), Some((400, true)), Some((300, false)), None, None]);
        let mut names = [1, 2, 3, 4, 5].map(snapshot);
        names.sort_by_key(|name| evidence.urgency(name));
        assert_eq!(names.map(|name| name.sequence), [5, 4, 2, 3, 1], "sets prove no snapshot");
        // What was backed up stays wrong; a store that was damaged can be repaired.
        for (sequence, damaged) in [(6, false), (7, true)] {
            let id = Some(snapshot(sequence).id);
            let failed =
                Drill { snapshot: id, damaged, passed: false, ..Drill::sample("lab", Time { secs: 50, nanos: 0 }) };
            store.add_drill(&Drill { drilled: Drilled::Snapshot, ..failed }).unwrap();
        }
        let later = Evidence::read(&store, "lab", now, &Silent).unwrap();
        let mut names = [1, 2, 3, 6, 7].map(snapshot);
        names.sort_by_key(|name| later.urgency(name));
        assert_eq!(names.map(|name| name.sequence), [2, 7, 3, 6, 1], "wrong contents come last");
        let before = |number| evidence.before(&store, number).unwrap().and_then(|drill| drill.sequence);
        assert_eq!([1, 2, 3, 4, 9].map(before), [None, Some(1), Some(2), Some(3), Some(3)]);
        assert_eq!(evidence.before(&store, 4).unwrap().unwrap().finished.secs, 300);
    }

    #[test]
    fn a_drill_of_one_part_proves_no_snapshot_and_the_last_of_one_second_counts() {
        let backend = memory();
        create(&backend, [1; 32]).unwrap();
        let store = Store::open(Arc::new(backend), LockMode::Shared, Duration::ZERO, &Silent).unwrap();
        let now = Time { secs: 1000, nanos: 0 };
        let add = |nanos, passed, unproven: &[&str]| {
            let drill = Drill {
                snapshot: Some(snapshot(1).id),
                passed,
                unproven_parts: unproven.iter().map(|part| part.to_string()).collect(),
                ..Drill::sample("lab", Time { secs: 100, nanos })
            };
            store.add_drill(&drill).unwrap();
            let last = store.drill(store.drill_names("lab").unwrap().last().unwrap()).unwrap();
            let proof = Evidence::read(&store, "lab", now, &Silent).unwrap().of(&snapshot(1).id).unwrap();
            (last.finished.nanos, proof.passed)
        };
        assert_eq!(add(5, true, &["files"]), (5, false));
        // Whatever order their ids are in.
        for nanos in 6..20 {
            assert_eq!(add(nanos, nanos % 2 == 0, &[]), (nanos, nanos % 2 == 0));
        }
        assert_eq!(add(1, true, &[]), (19, false));
    }

    #[test]
    fn tables_that_lost_much_are_named() {
        let rows = |list: &[(&str, u64)]| list.iter().map(|(table, rows)| (table.to_string(), *rows)).collect();
        let before =
            rows(&[("gone", 1), ("empty", 3), ("half", 20), ("less", 21), ("few", 19), ("none", 0), ("more", 5)]);
        let now = rows(&[("empty", 0), ("half", 10), ("less", 9), ("few", 1), ("more", 50), ("new", 1)]);
        let found: Vec<_> = shrunk(b"lrl.db", &before, &now).into_iter().map(|table| table.table).collect();
        assert_eq!(found, ["empty", "gone", "less"]);
    }
}
