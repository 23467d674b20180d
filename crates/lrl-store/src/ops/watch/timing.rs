//! When a watch takes its next step. Pure: moments are times since the watch began, and no clock is read.

use std::time::Duration;

/// A moment: the time since the watch began.
pub type Moment = Duration;

/// How often a watch acts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Times {
    /// A snapshot is made this long after the last change.
    pub quiet_for: Duration,
    /// At least this long lies between two snapshots, and while changes go on one is made as soon as this has passed.
    pub at_most_every: Duration,
    /// The data is looked at when the last look is this old, whatever events say.
    pub at_least_every: Duration,
    /// The watch ends when nothing has changed for this long.
    pub idle_end: Option<Duration>,
}

/// What is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// A snapshot: something has changed.
    Snapshot,
    /// A look whether something has changed.
    Look,
    /// The end.
    End,
}

/// The longest time between two tries while they fail.
const LONGEST_RETRY: Duration = Duration::from_secs(300);
/// The shortest one.
const SHORTEST_RETRY: Duration = Duration::from_secs(1);
/// Where events tell nothing, looking takes up to one part in this many of the time.
const LOOK_SHARE: u32 = 100;

/// Changes that no snapshot has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Unsaved {
    first: Moment,
    last: Moment,
}

/// The state of a watch between its steps.
#[derive(Debug, Clone)]
pub struct Timing {
    times: Times,
    unsaved: Option<Unsaved>,
    /// The first change that the snapshot which is being made may hold.
    in_round: Option<Moment>,
    /// When the last snapshot was begun.
    began: Option<Moment>,
    looked: Moment,
    /// How long a look takes, where events tell nothing.
    blind: Option<Duration>,
    changed: Moment,
    failures: u32,
    retry: Moment,
    stop: Stop,
}

/// How far the end is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stop {
    /// Nobody has asked for it.
    Not,
    /// A last look at the data is to come, or a snapshot.
    Asked,
    /// That was begun. What changes since then is not waited for: it might never end.
    LastBegun,
}

impl Timing {
    /// Begins: what has changed since the last snapshot is not known, so the first step is due at once.
    pub fn new(times: Times) -> Self {
        Self {
            times,
            unsaved: Some(Unsaved { first: Moment::ZERO, last: Moment::ZERO }),
            in_round: None,
            began: None,
            looked: Moment::ZERO,
            blind: None,
            changed: Moment::ZERO,
            failures: 0,
            retry: Moment::ZERO,
            stop: Stop::Not,
        }
    }

    /// Something changed, at `first` or later.
    pub fn changed(&mut self, first: Moment, now: Moment) {
        let first = self.unsaved.map_or(first, |unsaved| unsaved.first.min(first));
        self.unsaved = Some(Unsaved { first, last: now });
        self.changed = now;
    }

    /// A snapshot is begun: what changes from now on is for the next one.
    pub fn begin(&mut self, now: Moment) {
        self.in_round = self.unsaved.take().map(|unsaved| unsaved.first);
        self.began = Some(now);
        self.begin_last();
    }

    fn begin_last(&mut self) {
        if self.stop == Stop::Asked {
            self.stop = Stop::LastBegun;
        }
    }

    /// The snapshot that was begun is durable, or was not needed.
    pub fn saved(&mut self, now: Moment) {
        self.in_round = None;
        self.failures = 0;
        self.looked = now;
    }

    /// The snapshot that was begun failed: it is tried again, later each time.
    pub fn failed(&mut self, now: Moment) {
        let first = self.in_round.take().unwrap_or(now);
        let last = self.unsaved.map_or(now, |unsaved| unsaved.last);
        self.unsaved = Some(Unsaved { first, last });
        let wait = self.times.at_most_every.max(SHORTEST_RETRY) * 2u32.saturating_pow(self.failures.min(12));
        self.failures += 1;
        self.retry = now + wait.min(LONGEST_RETRY.max(self.times.at_most_every));
        self.looked = now;
    }

    /// A look has shown that nothing changed.
    pub fn looked(&mut self, now: Moment) {
        self.looked = now;
        self.begin_last();
    }

    /// Events tell nothing, or not of everything, and a look takes this long; `None`: they do.
    pub fn set_blind(&mut self, look: Option<Duration>) {
        self.blind = look;
    }

    /// Whoever runs the watch asked it to end: what is unsaved is saved first.
    pub fn stop(&mut self) {
        self.stop = Stop::Asked;
    }

    /// Returns whether the end was asked for.
    pub fn is_stopping(&self) -> bool {
        self.stop != Stop::Not
    }

    /// Returns whether the last snapshot failed, so that the next one waits for its time, whatever changes.
    pub fn is_failing(&self) -> bool {
        self.failures > 0
    }

    /// Returns since when something is unsaved.
    pub fn unsaved_since(&self) -> Option<Moment> {
        let waiting = self.unsaved.map(|unsaved| unsaved.first);
        self.in_round.into_iter().chain(waiting).min()
    }

    /// Returns the next step, and when it is due.
    pub fn next(&self) -> (Moment, Step) {
        match self.stop {
            Stop::Not => {}
            Stop::Asked if self.unsaved.is_some() => return (Moment::ZERO, Step::Snapshot),
            Stop::Asked => return (Moment::ZERO, Step::Look),
            Stop::LastBegun => return (Moment::ZERO, Step::End),
        }
        let look_every = match self.blind {
            Some(look) => self.times.at_least_every.min(self.times.at_most_every.max(look * LOOK_SHARE)),
            None => self.times.at_least_every,
        };
        let look = (self.looked + look_every, Step::Look);
        match self.unsaved {
            Some(unsaved) => (self.due(unsaved), Step::Snapshot),
            None => match self.times.idle_end.map(|idle| self.changed + idle) {
                Some(end) if end <= look.0 => (end, Step::End),
                _ => look,
            },
        }
    }

    /// Returns when a snapshot of these changes is due.
    fn due(&self, unsaved: Unsaved) -> Moment {
        if self.failures > 0 {
            return self.retry;
        }
        // The first step of all.
        let Some(began) = self.began else { return Moment::ZERO };
        let quiet = unsaved.last + self.times.quiet_for;
        let waited = unsaved.first + self.times.at_most_every;
        quiet.min(waited).max(began + self.times.at_most_every)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{Duration, Step, Times, Timing};

    const fn secs(secs: u64) -> Duration {
        Duration::from_secs(secs)
    }

    const TIMES: Times =
        Times { quiet_for: secs(2), at_most_every: secs(10), at_least_every: secs(3600), idle_end: None };

    /// A watch that has made its first snapshot at 0 s.
    fn begun(times: Times) -> Timing {
        let mut timing = Timing::new(times);
        assert_eq!(timing.next(), (secs(0), Step::Snapshot));
        timing.begin(secs(0));
        assert_eq!(timing.unsaved_since(), Some(secs(0)));
        timing.saved(secs(0));
        timing
    }

    #[test]
    fn one_change_is_saved_when_it_has_been_quiet() {
        let mut timing = begun(TIMES);
        assert_eq!((timing.next(), timing.unsaved_since()), ((secs(3600), Step::Look), None));
        timing.changed(secs(100), secs(100));
        assert_eq!((timing.next(), timing.unsaved_since()), ((secs(102), Step::Snapshot), Some(secs(100))));
        timing.changed(secs(101), secs(101));
        assert_eq!((timing.next().0, timing.unsaved_since()), (secs(103), Some(secs(100))));
    }

    #[test]
    fn changes_that_go_on_are_saved_at_most_and_at_least_every_ten_seconds() {
        let mut timing = begun(TIMES);
        timing.changed(secs(1), secs(1));
        assert_eq!(timing.next().0, secs(10), "not sooner than ten seconds after the one before");
        (2..=10).for_each(|at| timing.changed(secs(at), secs(at)));
        assert_eq!(timing.next().0, secs(11), "and no later, though it is never quiet");
        timing.begin(secs(11));
        // A change of the time in which the snapshot is made may be missing from it.
        timing.changed(secs(11), secs(12));
        timing.saved(secs(12));
        assert_eq!((timing.next().0, timing.unsaved_since()), (secs(21), Some(secs(11))));
    }

    #[test]
    fn what_fails_is_tried_again_later_each_time_and_the_lag_goes_on() {
        let mut timing = begun(TIMES);
        timing.changed(secs(20), secs(20));
        let mut now = secs(22);
        let mut waits = Vec::new();
        for _ in 0..8 {
            timing.begin(now);
            timing.failed(now);
            assert_eq!(timing.unsaved_since(), Some(secs(20)));
            let (at, step) = timing.next();
            assert_eq!(step, Step::Snapshot);
            waits.push((at - now).as_secs());
            now = at;
        }
        assert_eq!(waits, [10, 20, 40, 80, 160, 300, 300, 300]);
        timing.begin(now);
        timing.saved(now);
        assert_eq!((timing.unsaved_since(), timing.next().1), (None, Step::Look));
    }

    #[test]
    fn where_events_tell_nothing_a_timer_looks_within_its_share_of_the_time() {
        let mut timing = begun(TIMES);
        timing.set_blind(Some(Duration::from_millis(10)));
        assert_eq!(timing.next(), (secs(10), Step::Look));
        timing.set_blind(Some(secs(1)));
        assert_eq!(timing.next().0, secs(100));
        timing.set_blind(Some(secs(1000)));
        assert_eq!(timing.next().0, secs(3600));
    }

    #[test]
    fn the_end_comes_after_what_is_unsaved() {
        let mut timing = begun(Times { idle_end: Some(secs(600)), ..TIMES });
        assert_eq!(timing.next(), (secs(600), Step::End));
        timing.changed(secs(500), secs(500));
        assert_eq!(timing.next(), (secs(502), Step::Snapshot));
        timing.stop();
        assert_eq!(timing.next(), (secs(0), Step::Snapshot));
        timing.begin(secs(501));
        timing.saved(secs(501));
        assert_eq!(timing.next().1, Step::End);
        timing.changed(secs(501), secs(501));
        assert_eq!(timing.next().1, Step::End, "an application that goes on writing does not keep it");
    }

    #[test]
    fn the_last_look_comes_where_nothing_is_unsaved() {
        let mut timing = begun(TIMES);
        timing.stop();
        assert_eq!(timing.next(), (secs(0), Step::Look));
        timing.looked(secs(1));
        assert_eq!(timing.next().1, Step::End);
    }

    proptest! {
        /// Whatever happens, no two snapshots are closer than `at_most_every`, and none is due later than that after the first change or the
        /// snapshot before it.
        #[test]
        fn snapshots_keep_their_distance_and_changes_do_not_wait(
            changes in proptest::collection::vec(1u64..4000, 1..200),
            quiet in 0u64..5000,
            most in 100u64..20_000,
        ) {
            let millis = Duration::from_millis;
            let mut timing = begun(Times { quiet_for: millis(quiet), at_most_every: millis(most), ..TIMES });
            let (mut now, mut last) = (Duration::ZERO, Duration::ZERO);
            for wait in changes {
                now += millis(wait);
                while let (at, Step::Snapshot) = timing.next() {
                    if at > now {
                        break;
                    }
                    let first = timing.unsaved_since().unwrap();
                    prop_assert!(at >= last + millis(most));
                    prop_assert!(at <= (first + millis(most)).max(last + millis(most)));
                    timing.begin(at);
                    timing.saved(at);
                    last = at;
                }
                timing.changed(now, now);
            }
        }
    }
}
