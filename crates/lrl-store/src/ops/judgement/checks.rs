//! What the records of checks say.

use std::collections::HashMap;

use crate::error::Result;
use crate::format::check::{Check, Damaged, Depth};
use crate::format::record_order::{self, Rank};
use crate::id::{CheckId, SnapshotId};
use crate::store::Store;
use crate::time::{Time, is_future};

/// What checks say of one snapshot.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Damage {
    /// What is lost, and the check that found it.
    pub lost: Option<Lost>,
    /// When a check last read every pack; nothing was lost that is not in `lost`.
    pub read_all: Option<Rank>,
}

/// What a check found lost in a snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lost {
    /// When.
    pub when: Rank,
    /// Whether of the database.
    pub database: bool,
    /// Whether files.
    pub files: bool,
}

impl Damage {
    /// Returns whether every pack was read since then, and nothing of the snapshot was found damaged.
    pub(super) fn is_whole_since(&self, when: Rank) -> bool {
        self.lost.is_none() && self.read_all.is_some_and(|read| read.is_after(when))
    }
}

/// The records of checks, read once.
#[derive(Debug, Default)]
pub(crate) struct Checks {
    lost: HashMap<SnapshotId, (Lost, Depth)>,
    /// When a check last read every pack.
    pub(super) read_all: Option<Rank>,
    /// The newest check, and its record.
    pub last: Option<Checked>,
    /// When a check last found nothing wrong; one of a time to come does not count.
    pub last_passed: Option<Time>,
}

/// The newest check.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Checked {
    /// Its record.
    pub id: CheckId,
    /// When.
    pub time: Time,
    /// Whether nothing was wrong.
    pub passed: bool,
}

impl Checks {
    /// Reads the records of checks; those that cannot be read do not count, nor those without a number whose time is in the future.
    ///
    /// # Errors
    ///
    /// If the records cannot be listed.
    pub(crate) fn read(store: &Store, now: Time) -> Result<Self> {
        let mut checks = Self::default();
        let mut records = Vec::new();
        for name in store.check_names()? {
            match store.check_record(&name) {
                Ok(check) if check.number.is_none() && is_future(check.time, now) => {}
                Ok(check) => records.push((name.id, check)),
                Err(error) if error.is_unreadable_document() => {}
                Err(error) => return Err(error),
            }
        }
        record_order::sort(&mut records, |(_, check): &(CheckId, Check)| check.rank());
        for (id, check) in records {
            // Every check walks the lists; only one that read every pack shows that what another one read is whole again.
            checks.lost.retain(|_, (_, depth)| *depth != Depth::Structure && check.depth != Depth::All);
            for Damaged { snapshot, database, files } in &check.damaged {
                let lost = Lost { when: check.rank(), database: *database, files: *files };
                checks.lost.insert(*snapshot, (lost, check.depth));
            }
            checks.read_all = (check.depth == Depth::All).then_some(check.rank()).or(checks.read_all);
            checks.last = Some(Checked { id, time: check.time, passed: check.passed });
            let is_proof = check.passed && !is_future(check.time, now);
            checks.last_passed = is_proof.then_some(check.time).or(checks.last_passed);
        }
        Ok(checks)
    }

    /// Returns what they say of a snapshot.
    pub(crate) fn of(&self, id: &SnapshotId) -> Damage {
        Damage { lost: self.lost.get(id).map(|(lost, _)| *lost), read_all: self.read_all }
    }
}
