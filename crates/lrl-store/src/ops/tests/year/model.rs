//! What is known to be good in the simulated year, from what happened alone: what was wrong with the source when a snapshot was made, and
//! what drills and checks have found since. Asks no engine.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::id::SnapshotId;
use crate::ops::select::Need;
use crate::ops::tests::life::lab::{Digest, Tree};
use crate::store::SnapshotName;

/// A clock may be corrected by so much.
const SKEW: i64 = 60;
const DAY: u64 = 86_400;
/// Status is asked right after a run: a good backup that is older than this is not tonight's.
pub const MAX_AGE: u64 = 20 * 3600;
pub const MAX_DRILL_AGE: u64 = 8 * DAY;
pub const MAX_CHECK_AGE: u64 = 35 * DAY;
pub const BOTH: Need = Need { database: true, uploads: true };

/// A snapshot, as its source was.
#[derive(Clone)]
pub struct Snap {
    pub created: i64,
    /// The database's bytes, if there was one.
    pub database: Option<Digest>,
    pub uploads: Option<Arc<Tree>>,
    /// Which parts a run could not see anything wrong with.
    pub born_good: Need,
    /// SQLite finds nothing wrong with the database, which only a drill asks.
    pub is_sound: bool,
}

/// What a drill said.
pub struct Drilled {
    /// The number of the drills and checks before it.
    pub turn: usize,
    pub finished: i64,
    pub of: SnapshotId,
    pub of_set: bool,
    /// Whether the store's own bytes were wrong.
    pub damaged: bool,
    /// The database that was read, and whether it is sound: that is so in every snapshot that holds the same bytes.
    pub database: Option<(Digest, bool)>,
    /// What failed; nothing if it passed.
    pub failed: Need,
}

impl Drilled {
    pub fn passed(&self) -> bool {
        self.failed == Need::default()
    }
}

/// What a check that read everything said.
pub struct Checked {
    pub turn: usize,
    pub time: i64,
    pub passed: bool,
    pub lost: BTreeMap<SnapshotId, Need>,
}

#[derive(Default)]
pub struct Model {
    pub snaps: BTreeMap<SnapshotName, Snap>,
    /// In the order in which they were, whatever the clock said.
    pub drills: Vec<Drilled>,
    /// The last one: a check of everything replaces all earlier ones.
    pub check: Option<Checked>,
    turns: usize,
}

impl Model {
    pub fn add_check(&mut self, check: Checked) {
        self.check = Some(Checked { turn: self.turn(), ..check });
    }

    pub fn add_drill(&mut self, drill: Drilled) {
        let turn = self.turn();
        self.drills.push(Drilled { turn, ..drill });
    }

    fn turn(&mut self) -> usize {
        self.turns += 1;
        self.turns
    }

    /// Returns which parts of a snapshot are known to be good; of one that is good as a whole both.
    pub fn good(&self, name: &SnapshotName) -> Need {
        let snap = &self.snaps[name];
        let mut good = snap.born_good;
        let drill = self.drills.iter().rfind(|drill| drill.of == name.id);
        let check = self.check.as_ref();
        let lost = check.and_then(|check| check.lost.get(&name.id));
        if let Some(drill) = drill {
            let healed = drill.damaged && lost.is_none() && check.is_some_and(|check| check.turn > drill.turn);
            if !healed {
                good.database &= !drill.failed.database;
                good.uploads &= !drill.failed.uploads;
            }
        }
        let same = |drill: &&Drilled| drill.database.is_some_and(|(bytes, _)| Some(bytes) == snap.database);
        let of_same = self.drills.iter().rfind(same);
        good.database &= of_same.is_none_or(|drill| drill.database.is_none_or(|(_, is_sound)| is_sound));
        let restored = drill.filter(|drill| drill.passed() && !drill.of_set).map(|drill| drill.turn);
        if let Some(lost) = lost.filter(|_| restored <= check.map(|check| check.turn)) {
            good.database &= !lost.database;
            good.uploads &= !lost.uploads;
        }
        good
    }

    /// Returns the newest snapshot that is known to be good, as far as it is needed.
    pub fn newest_good(&self, need: Need) -> Option<&SnapshotName> {
        self.snaps.keys().rev().find(|name| {
            let good = self.good(name);
            (!need.database || good.database) && (!need.uploads || good.uploads)
        })
    }

    /// Returns the newest snapshot whose part was right, whether anybody knows or not.
    pub fn newest_right(&self, part: impl Fn(&Snap) -> bool) -> Option<&SnapshotName> {
        self.snaps.iter().rev().find(|(_, snap)| part(snap)).map(|(name, _)| name)
    }

    /// Returns the newest snapshot of which a drill said that it can be restored.
    pub fn newest_proven(&self) -> Option<&SnapshotName> {
        let is_proven = |name: &SnapshotName| self.drills.iter().any(|drill| drill.of == name.id && drill.passed());
        self.snaps.keys().rev().find(|name| is_proven(name))
    }

    /// Returns all that a status has to complain about.
    pub fn wrong(&self, now: i64) -> Vec<&'static str> {
        let mut wrong = Vec::new();
        let mut found = |is_wrong: bool, what| wrong.extend(is_wrong.then_some(what));
        let newest = self.snaps.keys().next_back();
        found(newest.is_none_or(|name| self.good(name) != BOTH), "the newest snapshot");
        let is_future = newest.is_some_and(|name| self.snaps[name].created > now + SKEW);
        found(is_future, "the newest is of a time to come");
        let older = |time: i64, limit: u64| now - time > limit as i64;
        let past = || self.snaps.iter().rev().filter(|(_, snap)| snap.created <= now + SKEW);
        let last = |holds: fn(Need) -> bool| past().find(|(name, _)| holds(self.good(name)));
        for part in [|good: Need| good.database, |good: Need| good.uploads, |good: Need| good == BOTH] {
            found(last(part).is_none(), "no good one");
        }
        for part in [|good: Need| good.database, |good: Need| good.uploads] {
            found(last(part).is_some_and(|(_, snap)| older(snap.created, MAX_AGE)), "its age");
        }
        found(self.drills.last().is_some_and(|drill| !drill.passed()), "the last drill");
        // How old one of a time to come is nobody knows.
        let passed = self.drills.iter().rfind(|drill| drill.passed() && drill.finished <= now + SKEW);
        found(passed.is_none_or(|drill| older(drill.finished, MAX_DRILL_AGE)), "the drill's age");
        let check = self.check.as_ref();
        found(check.is_some_and(|check| !check.passed), "the last check");
        let passed = check.filter(|check| check.passed && check.time <= now + SKEW);
        found(passed.is_none_or(|check| older(check.time, MAX_CHECK_AGE)), "the check's age");
        wrong
    }
}
