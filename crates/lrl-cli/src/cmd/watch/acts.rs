//! What a watch does: snapshots, looks and chores, and what it tells of them.

use std::time::{Duration, Instant};

use lrl_store::ops::watch::timing::Moment;
use lrl_store::ops::watch::unchanged_since;

use super::chores::Chore;
use super::round::{Fault, Outcome};
use super::turns::Turns;
use crate::args::values::Every;
use crate::cmd::shared::watch_state::{self, Failing};
use crate::cmd::status::metrics;
use crate::exit::{Exit, Failure, Result};
use crate::notify;
use crate::render::units;

/// What fails, in messages.
const SNAPSHOT: &str = "snapshot";
const SET: &str = "set";
const FORGET: &str = "forget";
const PRUNE: &str = "prune";

impl Turns<'_> {
    /// Makes a snapshot, unless the newest one has everything; with a set where one is due, or `with_set`.
    pub fn snapshot(&mut self, with_set: bool) {
        self.hear(None);
        if self.watcher.is_stale() {
            self.renew_watches();
        }
        self.follower.hand_over();
        let began = self.clock.both();
        let set = with_set || self.set_is_due(began.moment);
        self.timing.begin(began.moment);
        let outcome = self.rounds.run(self.context, set);
        if let Some(backend) = &outcome.backend {
            self.follower.renew(&**backend);
        }
        let now = self.clock.now();
        let is_first = self.state.looked.is_none();
        self.asked_store = now;
        if outcome.is_saved() {
            self.saved = Some(began);
            self.timing.saved(now);
            self.state.looked = Some(self.clock.wall());
            self.count_snapshot(&outcome);
            // One that was found where no files are stored is watched from now on.
            if let Some(now_there) = &outcome.databases
                && self.databases.replace(now_there.clone()).is_some_and(|before| before != *now_there)
            {
                self.renew_watches();
                self.timing.changed(began.moment, now);
            }
        } else {
            self.timing.failed(now);
        }
        if self.watcher.blind().is_some() {
            self.timing.set_blind(Some(outcome.took));
        }
        if set {
            self.note_set(&outcome, now);
        }
        self.hear(Some(began.moment));
        let what = if set && outcome.is_saved() && !outcome.wrote_set { SET } else { SNAPSHOT };
        self.judge(&outcome, what, is_first);
        if self.lock.is_none() && outcome.is_saved() {
            // The store is there now, and with it a place for the lock.
            match watch_state::lock(self.context, &self.source) {
                Ok(lock) => self.lock = lock,
                Err(failure) => self.verdict = Some(Err(failure)),
            }
        }
    }

    fn count_snapshot(&mut self, outcome: &Outcome) {
        let id = outcome.snapshot.as_deref().map(|id| id.get(..8).unwrap_or(id)).unwrap_or_default();
        self.state.snapshot.clone_from(&outcome.snapshot);
        self.service.status(&format!("all is saved, in snapshot {id}; {} in all", self.count.snapshots));
        if outcome.unchanged {
            return;
        }
        self.count.snapshots += 1;
        self.count.added += outcome.added;
        self.count.newest.clone_from(&outcome.snapshot);
        self.chores.has_grown = true;
        self.chores.since_summary += 1;
        self.state.owes_set = !outcome.wrote_set;
        let (added, took) = (units::size(outcome.added), outcome.took.as_secs_f64());
        self.context.term.detail(format!("snapshot {id}: {added} added, in {took:.2} s"));
        if self.args.when.once {
            self.verdict = Some(Ok(outcome.exit));
        }
    }

    fn note_set(&mut self, outcome: &Outcome, now: Moment) {
        if outcome.wrote_set {
            self.state.set = Some(self.clock.wall());
            self.context.term.detail("a set was written");
        } else {
            self.chores.set_failed(now);
        }
    }

    /// Tells how a round ended: what is new of it.
    fn judge(&mut self, outcome: &Outcome, what: &'static str, is_first: bool) {
        let term = self.context.term;
        let has_set_again = outcome.wrote_set && self.troubles.done(term, SET);
        let is_news = match &outcome.fault {
            Some(fault) => {
                let next = match (outcome.is_saved(), self.timing.is_stopping()) {
                    (true, _) => "the rest is saved",
                    (false, true) => "what has changed since is not saved",
                    (false, false) => "it is tried again, later each time",
                };
                self.troubles.failed(term, what, fault, next)
            }
            None => self.troubles.done(term, SNAPSHOT) || has_set_again,
        };
        match &outcome.fault {
            Some(fault) => {
                self.state.failing = Some(Failing {
                    since: self.state.failing.as_ref().map_or_else(|| self.clock.wall(), |failing| failing.since),
                    tries: self.troubles.tries(what),
                    exit: outcome.exit.code(),
                    error: fault.message.clone(),
                });
            }
            // A set that cannot be written fails until the next one is.
            None if self.troubles.tries(SET) > 0 => {}
            None => self.state.failing = None,
        }
        if let Some(fault) = outcome.fault.as_ref().filter(|_| !outcome.is_saved()) {
            self.service.status(&format!("the snapshot failed: {}", fault.message));
            let is_setting = matches!(outcome.exit, Exit::Usage | Exit::NoStore | Exit::WrongKey);
            let is_refused = fault.kind.starts_with("refused");
            // Nobody waits for a mistake in the settings to go away by itself, unless the application runs already.
            let is_hopeless = is_first && self.application.is_none() && (is_setting || is_refused);
            if is_hopeless || self.timing.is_stopping() || outcome.exit == Exit::Interrupted {
                self.verdict = Some(Ok(outcome.exit));
            }
        }
        self.write_state();
        self.measure(outcome, is_news);
        if is_news {
            self.tell(outcome.exit, outcome.fault.as_ref().map(|fault| fault.message.clone()), outcome.took);
        }
    }

    fn measure(&mut self, outcome: &Outcome, is_news: bool) {
        if self.chores.measures(self.clock.now(), is_news) {
            self.context.left.backend.replace(outcome.backend.clone());
            metrics::write(self.context, outcome.exit, outcome.record.as_ref());
            self.context.left.backend.take();
        }
    }

    /// Looks whether something has changed that no event told of. What is proved by the data alone asks nothing of the store.
    pub fn look(&mut self) {
        let (began, now) = (Instant::now(), self.clock.both());
        // Directories may have gone, and others have room now.
        if self.watcher.is_stale() || self.watcher.blind().is_some() {
            self.renew_watches();
        }
        let is_scan_due = match self.args.backup.rescan_every {
            Every::Time(every) => now.moment >= self.asked_store + every,
            Every::Never => false,
        };
        let saved = self.saved.filter(|saved| !is_scan_due && !saved.went_back(&now));
        let proof = saved.map_or(Ok(false), |saved| unchanged_since(self.options, saved.wall, self.context.term));
        // What cannot be looked at is for the snapshot to tell.
        if !proof.unwrap_or(false) {
            return self.snapshot(false);
        }
        self.timing.looked(self.clock.now());
        self.state.looked = Some(self.clock.wall());
        if self.watcher.blind().is_some() {
            self.timing.set_blind(Some(began.elapsed()));
        }
        self.write_state();
        metrics::write(self.context, Exit::Done, None);
    }

    fn renew_watches(&mut self) {
        self.watcher.renew();
        self.tell_blind();
        if self.watcher.blind().is_none() {
            self.timing.set_blind(None);
        }
    }

    fn set_age(&self) -> Option<i64> {
        self.state.set.map(|set| self.clock.wall() - set)
    }

    /// A set takes time that there is not at the end.
    fn set_is_due(&self, now: Moment) -> bool {
        let is_due = self.chores.set_due_in(self.set_age()).is_some_and(|wait| wait.is_zero());
        self.rounds.has_sets() && is_due && self.chores.may_write_set(now) && !self.timing.is_stopping()
    }

    /// Returns the next chore, and when it is due.
    pub fn next_chore(&self, now: Moment) -> Option<(Moment, Chore)> {
        let owes_set = self.rounds.has_sets() && self.state.owes_set;
        let set = self.chores.set_due_in(self.set_age()).filter(|_| owes_set).map(|wait| now + wait);
        let is_told = self.troubles.is_empty() && notify::tells_success(self.context);
        self.chores.next(is_told, set, self.service.watchdog().map(|_| self.service.next_beat()).map(|wait| now + wait))
    }

    /// Does a chore.
    pub fn do_chore(&mut self, chore: Chore) {
        match chore {
            Chore::Thin => self.thin(),
            Chore::Set => self.snapshot(true),
            Chore::Beat => self.service.beat(),
            Chore::Tell => self.tell(Exit::Done, None, Duration::ZERO),
            Chore::Summary => {
                let (made, newest) = (self.chores.since_summary, self.state.snapshot.clone().unwrap_or_default());
                let newest = newest.get(..8).unwrap_or(&newest);
                self.context
                    .term
                    .say(format!("{} in the last hour, the newest {newest}", units::count(made, "snapshot")));
                self.chores.summed_up(self.clock.now());
            }
        }
    }

    fn thin(&mut self) {
        let began = Instant::now();
        let Some(thin) = &self.chores.thin else { return };
        let forgot = thin.forget(self.context);
        let pruned_age = self.state.pruned.map(|pruned| self.clock.wall() - pruned);
        let pruned = match (&forgot, pruned_age) {
            // The first interval begins with the first thinning.
            (Ok(_), None) => {
                self.state.pruned = Some(self.clock.wall());
                None
            }
            (Ok(_), age) if self.chores.prunes(age) => Some(thin.prune(self.context)),
            _ => None,
        };
        self.chores.thinned(self.clock.now(), began.elapsed(), forgot.is_ok());
        if let Ok(number) = forgot
            && number > 0
        {
            self.context.term.detail(format!("{} forgotten", units::count(number, "snapshot")));
        }
        self.note_chore(FORGET, forgot.map(|_| Exit::Done));
        if let Some(pruned) = pruned {
            // Also after a failure: it took its time.
            self.state.pruned = Some(self.clock.wall());
            self.note_chore(PRUNE, pruned);
            self.write_state();
        }
    }

    fn note_chore(&mut self, what: &'static str, result: Result) {
        let fault = match result {
            // A reader or another lrl holds the store: there is a next time.
            Ok(Exit::Done) => None,
            Err(failure) if failure.exit(false) == Exit::Locked => return,
            Ok(exit) => Some((exit, Fault::of(&Failure::Usage(format!("it ended with exit code {}", exit.code()))))),
            Err(failure) => Some((failure.exit(false), Fault::of(&failure))),
        };
        let Some((exit, fault)) = fault else {
            if self.troubles.done(self.context.term, what) {
                self.tell(Exit::Done, None, Duration::ZERO);
            }
            return;
        };
        if self.troubles.failed(self.context.term, what, &fault, "snapshots go on") {
            self.tell(exit, Some(fault.message), Duration::ZERO);
        }
    }

    /// Tells those who are told of runs.
    fn tell(&mut self, exit: Exit, error: Option<String>, took: Duration) {
        // A success is one only if nothing else goes wrong.
        if exit == Exit::Done && !self.troubles.is_empty() {
            return;
        }
        if let Some(telling) = notify::prepare(self.context, "watch") {
            telling.end(self.context, &notify::Ended { code: exit.code(), error, took });
        }
        self.chores.told(self.clock.now());
    }
}
