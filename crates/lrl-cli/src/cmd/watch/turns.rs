//! The turns of a watch: what is due is done, one thing after the other, and then it sleeps.

use std::sync::Arc;
use std::time::Duration;

use lrl_store::fs::lock::Guard;
use lrl_store::ops::backup::Options;
use lrl_store::ops::watch::timing::{Moment, Step, Timing};
use lrl_store::ops::watch::{Blind, WalFollower, Watcher};
use serde_json::Value;
use signal_hook::consts::SIGTERM;

use super::application::Application;
use super::chores::Chores;
use super::clock::{Both, Clock};
use super::round::Rounds;
use super::service::Service;
use super::sleep::sleep;
use super::troubles::Troubles;
use crate::args::WatchArgs;
use crate::cmd::shared::watch_state::{self, WatchState};
use crate::context::Context;
use crate::exit::{self, Exit, Result};
use crate::render::units;
use crate::signal::{self, Attendant};

/// Events are read at most this often: many small writes are one change.
const GRAIN: Duration = Duration::from_millis(250);
/// Without a supervisor that wants to hear more often, it sleeps up to this long.
const LONGEST_SLEEP: Duration = Duration::from_secs(3600);

/// What a watch did.
#[derive(Debug, Default, Clone)]
pub struct Count {
    /// Snapshots that it made.
    pub snapshots: u64,
    /// Bytes that they added to the store.
    pub added: u64,
    /// The newest.
    pub newest: Option<String>,
}

/// A watch.
pub struct Turns<'a> {
    /// What every verb works with.
    pub context: &'a Context<'a>,
    /// The flags.
    pub args: &'a WatchArgs,
    /// The source.
    pub source: String,
    /// What the rounds back up.
    pub options: &'a Options,
    /// Makes snapshots.
    pub rounds: Rounds,
    /// What is done beside them.
    pub chores: Chores,
    /// Tells when something changes.
    pub watcher: Watcher<'a>,
    /// Keeps what databases in WAL mode forget between two rounds.
    pub follower: WalFollower<'a>,
    /// Tells what is due.
    pub timing: Timing,
    /// What others see.
    pub state: WatchState,
    /// The time.
    pub clock: Clock,
    /// Gets the signals.
    pub attendant: &'static Attendant,
    /// The supervisor.
    pub service: Arc<Service>,
    /// The application, if the watch runs it.
    pub application: Option<Application>,
    /// What goes wrong.
    pub troubles: Troubles,
    /// Keeps other watches of the source away; `None` before there is a store.
    pub lock: Option<Box<dyn Guard>>,
    /// When the last round that saved everything began.
    pub saved: Option<Both>,
    /// When it was last woken by an event.
    pub woken: Option<Moment>,
    /// The databases of the last snapshot.
    pub databases: Option<Vec<Value>>,
    /// When a round last went to the store.
    pub asked_store: Moment,
    /// How the watch ends, once that is known.
    pub verdict: Option<Result>,
    /// What it did.
    pub count: Count,
}

impl Turns<'_> {
    /// Watches until the end.
    pub fn run(mut self) -> Result<(Exit, Count)> {
        self.begin();
        while self.verdict.is_none() {
            self.attend();
            if self.verdict.is_none() {
                self.hear(None);
                self.turn();
            }
        }
        let ended = self.verdict.take().unwrap_or(Ok(Exit::Done));
        self.end(ended.as_ref().is_ok_and(|exit| *exit == Exit::Done));
        ended.map(|exit| (exit, self.count))
    }

    fn begin(&mut self) {
        let (term, args) = (self.context.term, self.args);
        term.say(format!(
            "Watching {} ({}): a snapshot {} after a change, at most one in {}",
            units::safe(&self.source),
            units::count(self.watcher.len() as u64, "directory|directories"),
            span(args.when.quiet_for),
            span(args.when.at_most_every)
        ));
        if self.chores.thin.is_none() && !args.when.once {
            term.note(
                "every snapshot stays: --keep thins the history, as --keep all:1h,minutely:24h,hourly:7d,daily:30d",
            );
        }
        self.tell_blind();
        self.write_state();
        self.service.ready();
        self.service.status("the first look at the data");
    }

    /// Notices signals, and the end of the application.
    fn attend(&mut self) {
        if let Some(number) = self.attendant.take() {
            self.application.iter().for_each(|application| application.signal(number));
        }
        if signal::interrupted() {
            self.verdict = Some(Ok(Exit::Interrupted));
            return;
        }
        if self.timing.is_stopping() {
            return;
        }
        let code = self.application.as_ref().map(Application::ended);
        if let Some(Some(code)) = code {
            // After 0 it counts how the last snapshot ended.
            if code != 0 {
                exit::set_application(code);
            }
            self.context.term.detail(format!("the application ended with exit code {code}"));
        }
        let is_asked = match code {
            // It may still write.
            Some(code) => code.is_some(),
            None => self.attendant.signal().is_some(),
        };
        if is_asked {
            self.stop();
        }
    }

    fn stop(&mut self) {
        self.service.stopping();
        self.service.status("the last snapshot");
        self.timing.stop();
    }

    /// Reads events. Those that came while a snapshot was made count from its beginning: it may lack what they tell of.
    pub fn hear(&mut self, since: Option<Moment>) {
        let now = self.clock.now();
        let woken = self.woken.take();
        if !self.watcher.read().changed {
            return;
        }
        self.follower.look();
        let was_saved = self.timing.unsaved_since().is_none();
        self.timing.changed(since.or(woken).unwrap_or(now), now);
        if was_saved {
            self.write_state();
        }
    }

    /// Does what is due, or sleeps until something is.
    fn turn(&mut self) {
        let (now, (at, step)) = (self.clock.now(), self.timing.next());
        if at <= now {
            match step {
                Step::Snapshot => self.snapshot(false),
                Step::Look => self.look(),
                Step::End => self.come_to_an_end(),
            }
            return;
        }
        let chore = self.next_chore(now);
        match chore {
            Some((due, chore)) if due <= now => self.do_chore(chore),
            _ => {
                let until = chore.map_or(at, |(due, _)| at.min(due));
                self.rest(until.saturating_sub(now).min(LONGEST_SLEEP));
            }
        }
    }

    /// Nothing has changed for long, or the end was asked for.
    fn come_to_an_end(&mut self) {
        match &self.application {
            // It is waited for, and what it writes at its end is saved.
            Some(application) if application.ended().is_none() => {
                self.context.term.say("Nothing has changed for long: the application is asked to end");
                application.signal(SIGTERM);
                while application.ended().is_none() && !signal::interrupted() {
                    sleep(self.attendant, None, Duration::from_secs(1));
                    self.service.beat();
                }
            }
            _ => self.verdict = Some(Ok(Exit::Done)),
        }
    }

    /// Sleeps. After an event, others that follow at once are left to gather.
    fn rest(&mut self, time: Duration) {
        let grain = GRAIN.min(self.args.when.quiet_for / 4).min(self.args.when.at_most_every / 4);
        if self.timing.is_failing() {
            sleep(self.attendant, None, time);
        } else if self.timing.unsaved_since().is_some() {
            sleep(self.attendant, None, time.min(grain));
        } else if sleep(self.attendant, self.watcher.fd(), time) {
            self.woken = Some(self.clock.now());
            sleep(self.attendant, None, grain);
        }
    }

    /// Tells why the system does not tell of every change, if it has become so.
    pub fn tell_blind(&mut self) {
        let why = self.watcher.blind().map(|blind| match blind {
            Blind::NoInotify(error) => format!("inotify cannot be used ({error})"),
            Blind::Limit(number) => format!(
                "the system's limit of watches is reached at {number} directories (`sysctl fs.inotify.max_user_watches` raises it)"
            ),
            Blind::TooMany(number) => format!("there are more directories than the {number} that are watched"),
        });
        if self.state.blind == why {
            return;
        }
        match &why {
            Some(why) => self
                .context
                .term
                .note(format!("{why}: a timer looks for changes as well, which takes longer to see them")),
            None => self.context.term.say("All directories are watched again."),
        }
        self.state.blind = why;
    }

    /// Writes what others see.
    pub fn write_state(&mut self) {
        self.state.unsaved_since = self.timing.unsaved_since().map(|moment| self.clock.wall_at(moment));
        if !watch_state::write(self.context, &self.source, &self.state) {
            self.context.term.detail("the state of the watch could not be written: `lrl status` does not show it");
        }
    }

    fn end(&mut self, is_well: bool) {
        self.service.stopping();
        self.state.ended = Some(self.clock.wall());
        self.write_state();
        let count = &self.count;
        self.context.term.say(format!(
            "Watch ended: {}, {} added{}",
            units::count(count.snapshots, "snapshot"),
            units::size(count.added),
            if is_well { "" } else { "; not everything is saved" }
        ));
    }
}

/// Writes a time that may be shorter than a second.
fn span(time: Duration) -> String {
    if time.as_millis() < 1000 || time.subsec_millis() > 0 {
        return format!("{:.1} s", time.as_secs_f64());
    }
    units::duration(time)
}
