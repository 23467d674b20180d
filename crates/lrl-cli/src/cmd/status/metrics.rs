//! Metrics for Prometheus: measured after a run for `--metrics-file`, and for `lrl status --metrics`. Only what is cheap is measured.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use lrl_store::backend::Backend;
use lrl_store::backend::location::Location;
use lrl_store::error::Error;
use lrl_store::fs::lock::LockMode;
use lrl_store::fs::space::{Reserve, free_at};
use lrl_store::ops::judgement::State;
use lrl_store::ops::stats;
use lrl_store::ops::status::{Status, survey};
use lrl_store::progress::Silent;
use lrl_store::set::directory;
use lrl_store::store::Store;
use lrl_store::time::{Time, time_of};

use super::source::{Listed, copies, sources};
use crate::args::Verb;
use crate::cmd::shared::open;
use crate::cmd::shared::run_record::{self, COMMANDS, RunRecord};
use crate::cmd::shared::watch_state;
use crate::context::Context;
use crate::exit::{Exit, Result};
use crate::metrics::families::{
    ADDED, BUILD, COPY_LAG, DRILL_MISSING, DRILL_RESTORE, DURATION, EXIT_CODE, FREE, LAST_DRILL, LAST_GOOD, LAST_RUN,
    LAST_SUCCESS, PROVEN, READ_LOCK, SETS_SIZE, SNAPSHOTS, STORE_SIZE, WATCH_LAG, WATCH_LOOKED, WATCH_RUNNING,
};
use crate::metrics::text::Sample;
use crate::metrics::{file, text};

/// Up to this many of a source's newest snapshots are judged: their documents are read.
const JUDGED: usize = 1000;

/// Samples of one store.
struct Samples {
    store: String,
    all: Vec<Sample>,
}

/// Writes the file after a run, if there is to be one. What cannot be measured stays as it was there.
pub fn write(context: &Context<'_>, exit: Exit, record: Option<&RunRecord>) {
    let Some(path) = context.cli.command.notify().and_then(|told| told.metrics_file.as_deref()) else { return };
    let mut samples = Samples::new(context);
    if let Some(record) = record {
        samples.run(&context.cli.global.source, record, Some(path));
    }
    if let Verb::Run(_) = context.cli.command {
        samples.steps(context, path);
    }
    if let (Ok(place), Ok(paths)) = (context.store_in_use(), context.paths()) {
        samples.disk(&place, &paths.backup_dir);
    }
    samples.watch(context, &context.cli.global.source);
    if let Some(backend) = backend(context, exit) {
        let now = time_of(SystemTime::now());
        let found = Store::open(backend, LockMode::ReadOnly, Duration::ZERO, &Silent)
            .and_then(|store| samples.after_run(context, &store, record, now));
        if let Err(error) = found {
            context.term.detail(format!("not all metrics could be measured: {error}"));
        }
    }
    if let Err(error) = file::update(path, samples.all) {
        context.term.warn(format!("metrics-file {}: not written: {error}", path.display()));
    }
}

/// Returns the backend that the run unlocked, if it came so far; a check, which reads a bucket without local copies, has none to leave.
fn backend(context: &Context<'_>, exit: Exit) -> Option<Arc<dyn Backend>> {
    let left = context.left.backend.take();
    match (&context.cli.command, exit) {
        // Somebody waits for the end of an interrupted run.
        (_, Exit::Interrupted) => None,
        // A run may have been a check alone.
        (Verb::Check(_) | Verb::Run(_), Exit::Done | Exit::Wrong) => {
            left.or_else(|| context.store_in_use().ok().and_then(|place| open::backend(context, &place).ok()))
        }
        _ => left,
    }
}

/// Prints the metrics of a store's sources.
pub fn print(context: &Context<'_>, store: &Store, now: Time) -> Result {
    let mut samples = Samples::new(context);
    let paths = context.paths()?;
    samples.disk(&paths.store, &paths.backup_dir);
    for source in sources(context, store)? {
        for command in COMMANDS {
            if let Some(record) = run_record::read_of(context, command, &source.name) {
                samples.run(&source.name, &record, None);
            }
        }
        samples.watch(context, &source.name);
        samples.source(store, &source, now)?;
    }
    samples.size(store)?;
    context.term.bytes(text::write(&samples.all).as_bytes())?;
    Ok(Exit::Done)
}

impl Samples {
    fn new(context: &Context<'_>) -> Self {
        let mut samples = Self { store: context.store_name(), all: Vec::new() };
        samples.all.extend(Sample::new(BUILD, &[("version", env!("CARGO_PKG_VERSION"))], 1.0));
        samples
    }

    fn add(&mut self, name: &str, labels: &[(&str, &str)], value: f64) {
        let labels: Vec<(&str, &str)> = labels.iter().copied().chain([("store", self.store.as_str())]).collect();
        let sample = Sample::new(name, &labels, value);
        self.all.extend(sample);
    }

    /// The last run of a command. Where no record says when one last succeeded, `file` may.
    fn run(&mut self, source: &str, record: &RunRecord, file: Option<&Path>) {
        let labels = [("source", source), ("verb", record.command.as_str())];
        self.add(LAST_RUN, &labels, record.finished as f64);
        self.add(EXIT_CODE, &labels, record.exit.into());
        if let Some(seconds) = record.seconds {
            self.add(DURATION, &labels, (seconds * 1000.0).round() / 1000.0);
        }
        // A sample that is not replaced stays in the file.
        match record.last_success.or((record.exit == 0).then_some(record.finished)) {
            Some(time) => self.add(LAST_SUCCESS, &labels, time as f64),
            None if file.is_some_and(|path| self.is_in(path, &labels)) => {}
            None => self.add(LAST_SUCCESS, &labels, 0.0),
        }
        if let Some(seconds) = record.read_lock {
            self.add(READ_LOCK, &[("source", source)], seconds);
        }
    }

    /// The steps of a run, each as if it had been run by itself.
    fn steps(&mut self, context: &Context<'_>, file: &Path) {
        let source = &context.cli.global.source;
        for command in COMMANDS.into_iter().filter(|command| *command != "run") {
            if let Some(record) = run_record::read_of(context, command, source) {
                self.run(source, &record, Some(file));
            }
        }
    }

    fn is_in(&self, path: &Path, labels: &[(&str, &str)]) -> bool {
        let text = file::current(path).unwrap_or_default();
        let of_store = |sample: &Sample| sample.label("store") == self.store;
        let same = |sample: &Sample| labels.iter().all(|(name, value)| sample.label(name) == *value);
        text::read(&text).iter().any(|sample| sample.family.name == LAST_SUCCESS && of_store(sample) && same(sample))
    }

    /// What the disks tell without opening the store.
    fn disk(&mut self, place: &Location, backup_dir: &Path) {
        let dir = place.directory().unwrap_or(backup_dir);
        // Of a disk that is not mounted, the one below tells nothing.
        if dir.is_dir()
            && let Ok(free) = free_at(dir, Reserve::NONE)
            && free.total().is_some()
        {
            self.add(FREE, &[], free.bytes as f64);
        }
        if let Ok(sets) = directory::look(backup_dir) {
            self.add(SETS_SIZE, &[], sets.disk_bytes as f64);
        }
    }

    /// The watch of a source, if there ever was one.
    fn watch(&mut self, context: &Context<'_>, source: &str) {
        let Some(seen) = watch_state::look(context, source) else { return };
        let labels = [("source", source)];
        self.add(WATCH_RUNNING, &labels, f64::from(u8::from(seen.is_running)));
        // Of one that ended when all was saved, no lag is known; an older sample must not stay.
        let lag = seen.lag(time_of(SystemTime::now()).secs).unwrap_or_default();
        self.add(WATCH_LAG, &labels, lag as f64);
        self.add(WATCH_LOOKED, &labels, seen.state.looked.unwrap_or_default() as f64);
    }

    /// A backup measures its own source; what concerns the whole store measures all that it is about.
    fn after_run(
        &mut self,
        context: &Context<'_>,
        store: &Store,
        record: Option<&RunRecord>,
        now: Time,
    ) -> Result<(), Error> {
        let measured = match context.cli.command {
            Verb::Backup(_) | Verb::Watch(_) => {
                let name = context.cli.global.source.clone();
                vec![Listed { snapshots: store.snapshot_names(Some(&name))?, name }]
            }
            _ => sources(context, store)?,
        };
        measured.iter().try_for_each(|source| self.source(store, source, now))?;
        if record.is_some_and(|record| record.sized == Some(record.finished)) {
            self.size(store)?;
        }
        Ok(())
    }

    fn size(&mut self, store: &Store) -> Result<(), Error> {
        let bytes = stats::store_bytes(store, &Silent)?;
        self.add(STORE_SIZE, &[], bytes as f64);
        Ok(())
    }

    fn source(&mut self, store: &Store, source: &Listed, now: Time) -> Result<(), Error> {
        let status = survey(store, &source.name, &source.snapshots, now, JUDGED)?;
        self.status(&source.name, &status, store.check_readable().is_ok());
        for (copy, _, lag) in copies(store, source, now) {
            self.add(COPY_LAG, &[("source", &source.name), ("to", &copy.place)], lag.unwrap_or(0) as f64);
        }
        Ok(())
    }

    fn status(&mut self, source: &str, status: &Status, can_read: bool) {
        let labels = [("source", source)];
        let judged: u64 = status.states.values().sum();
        if let Some(good) = &status.good {
            self.add(LAST_GOOD, &labels, good.created.secs as f64);
        } else if can_read {
            self.add(LAST_GOOD, &labels, 0.0);
        }
        // A write-only key cannot read what others found out.
        if can_read {
            let drilled = status.passed_drill.as_ref().map_or(0, |drill| drill.finished.secs);
            self.add(LAST_DRILL, &labels, drilled as f64);
            self.add(PROVEN, &labels, status.proven as f64);
        }
        for state in State::ALL {
            let count = status.states.get(&state).copied().unwrap_or(0);
            self.add(SNAPSHOTS, &[("source", source), ("state", state.name())], count as f64);
        }
        let unjudged = status.snapshots.saturating_sub(judged);
        self.add(SNAPSHOTS, &[("source", source), ("state", "unjudged")], unjudged as f64);
        if let Some(bytes) = status.added_bytes {
            self.add(ADDED, &labels, bytes as f64);
        }
        if let Some(drill) = &status.drill {
            if let Some(seconds) = drill.restore_seconds {
                self.add(DRILL_RESTORE, &labels, (seconds * 1000.0).round() / 1000.0);
            }
            if let Some(missing) = drill.missing_files {
                self.add(DRILL_MISSING, &labels, missing as f64);
            }
        }
    }
}
