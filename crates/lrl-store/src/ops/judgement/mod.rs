//! Decides whether a snapshot is good, for every verb that prefers, refuses or removes snapshots. [`judge`] is a pure function of the snapshot,
//! its newest drill, and the damage that checks have found.

mod checks;

use std::fmt;

pub(crate) use checks::{Checked, Checks, Damage, Lost};

use crate::error::{Error, Result};
use crate::format::drill::Drilled;
use crate::format::snapshot::{DATABASE_NOT_FOUND, Measure, Snapshot};
use crate::ops::drill::past_drills::{Evidence, LastDrill};
use crate::ops::parts::Need;
use crate::progress::Observer;
use crate::store::{SnapshotName, Store};
use crate::time::Time;

/// What is known of a snapshot, the worst that applies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// It holds all that it was asked to hold, and nothing speaks against it.
    Good,
    /// It is much smaller than the good snapshot before it.
    Suspect,
    /// Something was missing or unreadable when it was made.
    Incomplete,
    /// The header or schema of its database cannot be read, or it is empty where it was not before.
    Unreadable,
    /// Its last drill failed.
    Failed,
    /// A check or drill found its chunks missing or wrong.
    Damaged,
}

impl State {
    /// Every state, the best first.
    pub const ALL: [Self; 6] =
        [Self::Good, Self::Suspect, Self::Incomplete, Self::Unreadable, Self::Failed, Self::Damaged];

    /// Returns whether it is [`State::Good`].
    pub const fn is_good(self) -> bool {
        matches!(self, Self::Good)
    }

    /// Returns its name, as `--json` and `lrl snapshots` show it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Good => "good",
            Self::Suspect => "suspect",
            Self::Incomplete => "incomplete",
            Self::Unreadable => "unreadable",
            Self::Failed => "failed",
            Self::Damaged => "damaged",
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The judgement on one snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Judgement {
    /// The worst that is known of it.
    pub state: State,
    /// Why it is not good, for people; empty if it is.
    pub reason: String,
    /// Which of its parts are good by themselves: what was asked for, is there, whole, and was not found bad by a drill or check.
    pub good: Need,
}

impl Judgement {
    /// Judges a snapshot whose document cannot be read.
    pub fn damaged(error: &Error) -> Self {
        Self { state: State::Damaged, reason: error.to_string(), good: Need::default() }
    }

    /// Returns whether the snapshot is good.
    pub fn is_good(&self) -> bool {
        self.state.is_good()
    }

    /// Returns whether each part that is needed is there and good; where both are needed, the snapshot as a whole must be.
    pub fn serves(&self, need: Need) -> bool {
        let parts = (!need.database || self.good.database) && (!need.uploads || self.good.uploads);
        let one_part = need.database != need.uploads;
        parts && (one_part || self.is_good())
    }
}

/// Judges a snapshot by itself, its newest drill and the damage that checks found in it.
pub fn judge(snapshot: &Snapshot, proof: Option<&LastDrill>, damage: Option<&Damage>) -> Judgement {
    let mut good = Need { database: snapshot.has_databases(), uploads: snapshot.files.is_some() };
    let mut worst = (State::Good, String::new());
    let mut found = |state: State, reason: String| {
        if state > worst.0 {
            worst = (state, reason);
        }
    };
    for shrink in &snapshot.shrunk {
        if shrink.measure.is_of_database() {
            good.database = false;
        } else {
            good.uploads = false;
        }
        let state = if shrink.measure == Measure::Tables { State::Unreadable } else { State::Suspect };
        found(state, shrink.to_string());
    }
    let mut missing = 0;
    for problem in snapshot.problems.iter().filter(|problem| problem.lost) {
        missing += 1;
        let is_of_database = problem.reason.text() == DATABASE_NOT_FOUND
            || snapshot.databases.iter().any(|part| part.source_path == problem.path);
        if !is_of_database {
            good.uploads = false;
        }
        let more = snapshot.problems.iter().filter(|problem| problem.lost).count() - 1;
        let more = if more > 0 { format!(", and {more} more") } else { String::new() };
        if missing == 1 {
            found(State::Incomplete, format!("{}: {}{more}", problem.path, problem.reason));
        }
    }
    if let Some(part) = snapshot.databases.iter().find(|part| part.tables.is_none()) {
        good.database = false;
        found(State::Unreadable, format!("the schema of its {} cannot be read", part.shown()));
    }
    let healed = |proof: &LastDrill| proof.damaged && damage.is_none_or(|damage| damage.is_whole_since(proof.rank()));
    if let Some(proof) = proof.filter(|proof| proof.failed != Need::default() && !healed(proof)) {
        good.database &= !proof.failed.database;
        good.uploads &= !proof.failed.uploads;
        let state = if proof.damaged { State::Damaged } else { State::Failed };
        let what = match proof.drilled {
            _ if proof.is_of_same_database => "a drill found its database malformed, in another snapshot",
            Drilled::Set => "the drill of its set failed",
            _ => "its last drill failed",
        };
        found(state, what.into());
    }
    let restored = proof.filter(|proof| proof.passed && proof.drilled == Drilled::Snapshot);
    let since = |lost: &&Lost| !restored.is_some_and(|proof| proof.rank().is_after(lost.when));
    if let Some(lost) = damage.and_then(|damage| damage.lost.as_ref()).filter(since) {
        good.database &= !lost.database;
        good.uploads &= !lost.files;
        found(State::Damaged, "a check found chunks of it missing or wrong".into());
    }
    let (state, reason) = worst;
    Judgement { state, reason, good }
}

/// All that is known of a store's snapshots beside themselves: the records of checks, and of one source's drills at a time.
pub struct Judge<'s> {
    store: &'s Store,
    now: Time,
    checks: Option<Checks>,
    drills: Option<(String, Evidence)>,
}

impl<'s> Judge<'s> {
    /// Reads nothing yet.
    pub fn new(store: &'s Store, now: Time) -> Self {
        Self { store, now, checks: None, drills: None }
    }

    /// Returns what the records of checks say.
    ///
    /// # Errors
    ///
    /// If the records cannot be listed.
    pub(crate) fn checks(&mut self) -> Result<&Checks> {
        if self.checks.is_none() {
            self.checks = Some(Checks::read(self.store, self.now)?);
        }
        self.checks.as_ref().ok_or_else(|| Error::Missing { object: "the records of checks".into() })
    }

    /// Returns what the records of a source's drills say.
    ///
    /// # Errors
    ///
    /// If the records cannot be listed, [`Error::Interrupted`](crate::error::Error::Interrupted).
    pub fn evidence(&mut self, source: &str, observer: &dyn Observer) -> Result<&Evidence> {
        if self.drills.as_ref().is_none_or(|(of, _)| of != source) {
            self.drills = Some((source.into(), Evidence::read(self.store, source, self.now, observer)?));
        }
        let drills = self.drills.as_ref().map(|(_, evidence)| evidence);
        drills.ok_or_else(|| Error::Missing { object: "the records of drills".into() })
    }

    /// Gives it a source's records of drills that have been read already.
    pub(super) fn with_evidence(mut self, source: &str, evidence: Evidence) -> Self {
        self.drills = Some((source.into(), evidence));
        self
    }

    /// Judges a snapshot.
    ///
    /// # Errors
    ///
    /// If the records of checks and drills cannot be listed.
    pub fn of(&mut self, name: &SnapshotName, snapshot: &Snapshot, observer: &dyn Observer) -> Result<Judgement> {
        let proof = self.evidence(&name.source, observer)?.on(&name.id, snapshot);
        let damage = self.checks()?.of(&name.id);
        Ok(judge(snapshot, proof.as_ref(), Some(&damage)))
    }
}

#[cfg(test)]
mod tests;
