//! What a watch does beside its snapshots, each on an interval of its own: thinning, pruning, sets, telling that all is well.

use std::time::Duration;

use lrl_store::ops::watch::timing::Moment;

use super::clock::Clock;
use super::thin::Thin;
use crate::args::WatchArgs;
use crate::args::values::Every;

/// History is thinned at most this often.
const THIN_EVERY: Duration = Duration::from_secs(60);
/// Thinning takes up to one part in this many of the time.
const SHARE: u32 = 100;
/// The file with metrics is written at most this often while all is well.
const METRICS_EVERY: Duration = Duration::from_secs(60);
/// A summary is told this often, if there were snapshots.
const SUMMARY_EVERY: Duration = Duration::from_secs(3600);
/// After a set that could not be written the next one is tried after this.
const SET_AGAIN: Duration = Duration::from_secs(600);

/// A chore that is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Chore {
    /// Forget what no rule keeps.
    Thin,
    /// Write a set.
    Set,
    /// Tell that all is well.
    Tell,
    /// Tell the supervisor that the watch lives.
    Beat,
    /// Tell what the last hour brought.
    Summary,
}

/// When each chore is due.
pub struct Chores {
    /// Forgets and prunes, if asked to.
    pub thin: Option<Thin>,
    /// The history has grown since it was thinned.
    pub has_grown: bool,
    /// Snapshots since the last summary.
    pub since_summary: u64,
    set_every: Every,
    prune_every: Every,
    ping_every: Duration,
    next_thin: Moment,
    next_tell: Moment,
    next_metrics: Moment,
    next_set: Moment,
    next_summary: Moment,
}

impl Chores {
    /// Begins: all is told at once, and nothing is thinned before the first minute has passed.
    pub fn new(args: &WatchArgs, thin: Option<Thin>, clock: &Clock) -> Self {
        let now = clock.now();
        Self {
            has_grown: thin.is_some(),
            thin,
            since_summary: 0,
            set_every: args.when.set_every,
            prune_every: args.when.prune_every,
            ping_every: args.when.ping_every,
            next_thin: now + THIN_EVERY.min(args.when.at_most_every),
            next_tell: now,
            next_metrics: now,
            next_set: now,
            next_summary: now + SUMMARY_EVERY,
        }
    }

    /// Returns the next chore, and when it is due: of telling where somebody is told, of a set where one is owed, of the supervisor where one
    /// wants to hear.
    pub fn next(&self, is_told: bool, owed: Option<Moment>, beat: Option<Moment>) -> Option<(Moment, Chore)> {
        let all = [
            (self.thin.is_some() && self.has_grown).then_some((self.next_thin, Chore::Thin)),
            owed.map(|at| (at.max(self.next_set), Chore::Set)),
            is_told.then_some((self.next_tell, Chore::Tell)),
            beat.map(|at| (at, Chore::Beat)),
            (self.since_summary > 0).then_some((self.next_summary, Chore::Summary)),
        ];
        all.into_iter().flatten().min_by_key(|(at, _)| *at)
    }

    /// Returns in how long a set is due whose last one is this old; `None` if never.
    pub fn set_due_in(&self, age: Option<i64>) -> Option<Duration> {
        due_in(self.set_every, age)
    }

    /// Returns whether the store is to be pruned, whose last prune is this old.
    pub fn prunes(&self, age: Option<i64>) -> bool {
        due_in(self.prune_every, age).is_some_and(|wait| wait.is_zero())
    }

    /// Returns whether a set may be tried.
    pub fn may_write_set(&self, now: Moment) -> bool {
        now >= self.next_set
    }

    /// A set could not be written.
    pub fn set_failed(&mut self, now: Moment) {
        self.next_set = now + SET_AGAIN;
    }

    /// The history was thinned, or was in use, which took this long.
    pub fn thinned(&mut self, now: Moment, took: Duration, is_done: bool) {
        self.has_grown = !is_done;
        self.next_thin = now + THIN_EVERY.max(took * SHARE);
    }

    /// Somebody was told.
    pub fn told(&mut self, now: Moment) {
        self.next_tell = now + self.ping_every;
    }

    /// The summary was told.
    pub fn summed_up(&mut self, now: Moment) {
        (self.since_summary, self.next_summary) = (0, now + SUMMARY_EVERY);
    }

    /// Returns whether the file with metrics is to be written; then it is.
    pub fn measures(&mut self, now: Moment, is_news: bool) -> bool {
        let is_due = is_news || now >= self.next_metrics;
        if is_due {
            self.next_metrics = now + METRICS_EVERY;
        }
        is_due
    }
}

/// Returns in how long something is due that is done this often and was last done this many seconds ago; at once if it never was, or in the future.
fn due_in(every: Every, age: Option<i64>) -> Option<Duration> {
    let Every::Time(every) = every else { return None };
    let age = age.and_then(|age| u64::try_from(age).ok()).map(Duration::from_secs);
    Some(age.map_or(Duration::ZERO, |age| every.saturating_sub(age)))
}

#[cfg(test)]
mod tests {
    use super::{Every, due_in};
    use std::time::Duration;

    #[test]
    fn what_was_never_done_is_due_and_what_is_off_never_is() {
        let hour = Every::Time(Duration::from_secs(3600));
        for (every, age, expected) in [
            (hour, None, Some(0)),
            (hour, Some(3601), Some(0)),
            (hour, Some(600), Some(3000)),
            (hour, Some(-5), Some(0)),
            (Every::Never, None, None),
        ] {
            assert_eq!(due_in(every, age).map(|wait| wait.as_secs()), expected, "{every:?} {age:?}");
        }
    }
}
