//! The state of a source, and what is wrong with it.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::format::drill::Drill;
use crate::ops::judgement::{Judgement, State};
use crate::ops::parts::Need;
use crate::store::SnapshotName;
use crate::time::{Time, is_future};

/// A snapshot that holds all that it was asked to hold.
#[derive(Debug, Clone, PartialEq)]
pub struct Good {
    /// Its name.
    pub name: SnapshotName,
    /// Its timestamp.
    pub timestamp: String,
    /// When its run began.
    pub created: Time,
    /// Which parts it holds.
    pub parts: Need,
}

/// One part of the source.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct PartAge {
    /// Whether any snapshot that was read holds it.
    pub known: bool,
    /// The newest good snapshot with it.
    pub good: Option<Good>,
}

impl PartAge {
    /// Returns what is known of it from other snapshots as well; the newest good one of `others` only where there is none here.
    pub(super) fn or(self, others: Self) -> Self {
        Self { known: self.known || others.known, good: self.good.or(others.good) }
    }
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

/// The state of a source.
#[derive(Debug, Clone, PartialEq, Default)]
#[non_exhaustive]
pub struct Status {
    /// Snapshots of the source.
    pub snapshots: u64,
    /// The newest snapshot.
    pub newest: Option<Newest>,
    /// The newest good snapshot.
    pub good: Option<Good>,
    /// The database.
    #[doc(hidden)]
    pub database: PartAge,
    /// The uploads.
    #[doc(hidden)]
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
    /// How many snapshots are in each state, of those that were judged.
    pub states: BTreeMap<State, u64>,
    /// Bytes that the run of the newest snapshot added, where it is recorded.
    pub added_bytes: Option<u64>,
    /// Names of snapshots and drills whose time is in the future; they do not count.
    pub future: Vec<String>,
    /// Names of snapshots and drills that cannot be read.
    pub unreadable: Vec<String>,
}

/// From which age on something is too old; `None`: never.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
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
    /// The newest snapshot is of a time to come, by this many seconds: the clock went back, and hides runs that are missed.
    NewestFromFuture(Newest, u64),
    /// The last good backup is older than the limit: its age in seconds, and the limit.
    TooOld(u64, Duration),
    /// The newest drill failed.
    DrillFailed(Box<Drill>),
    /// The last drill that passed is older than the limit; `None`: none has passed.
    DrillTooOld(Option<u64>, Duration),
    /// The newest check found something wrong.
    CheckFailed(Time),
    /// The last check that found nothing wrong is older than the limit; `None`: there is none.
    CheckTooOld(Option<u64>, Duration),
}

impl Status {
    /// Returns the age in seconds of the last good backup: of the part whose backup is oldest. `None` if a part has none.
    pub fn age_secs(&self, now: Time) -> Option<i64> {
        let known = [&self.database, &self.uploads].into_iter().filter(|part| part.known);
        let ages: Option<Vec<i64>> =
            known.map(|part| part.good.as_ref().map(|good| (now.secs - good.created.secs).max(0))).collect();
        ages?.into_iter().max()
    }

    /// Returns everything that is wrong, the worst first; nothing if all is well.
    pub fn conditions(&self, limits: &Limits, now: Time) -> Vec<Condition> {
        let mut found = Vec::new();
        let age = |time: Time| now.secs.saturating_sub(time.secs).max(0).unsigned_abs();
        let older = |age: u64, limit: Duration| age > limit.as_secs();
        let backup = self.age_secs(now).map(i64::unsigned_abs);
        if backup.is_none() || self.good.is_none() {
            let lacks = |part: &PartAge| self.good.is_some() && part.known && part.good.is_none();
            found.push(Condition::NoGood(Need { database: lacks(&self.database), uploads: lacks(&self.uploads) }));
        }
        found.extend(self.newest.clone().filter(|newest| !newest.judgement.is_good()).map(Condition::NewestNotGood));
        if let Some((newest, (_, created))) = self.newest.as_ref().and_then(|it| Some((it, it.time.as_ref()?)))
            && is_future(*created, now)
        {
            let ahead = created.secs.saturating_sub(now.secs).unsigned_abs();
            found.push(Condition::NewestFromFuture(newest.clone(), ahead));
        }
        if let (Some(age), Some(limit)) = (backup, limits.age)
            && older(age, limit)
        {
            found.push(Condition::TooOld(age, limit));
        }
        found.extend(
            self.drill.clone().filter(|drill| !drill.passed).map(|drill| Condition::DrillFailed(Box::new(drill))),
        );
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
