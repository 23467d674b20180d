//! The second store of `lrl backup --copy-to`: what it lacks is copied there after the backup. Whatever fails there, the backup is good.

use std::time::SystemTime;

use lrl_store::backend::location::Location;
use lrl_store::error::Error;
use lrl_store::ops::copy::{self, Options, Report, Which, last_copied};
use lrl_store::store::Store;
use lrl_store::time::time_of;
use serde_json::{Value, json};

use crate::args::BackupArgs;
use crate::cmd::copy as verb;
use crate::cmd::shared::{open, same_store};
use crate::context::Context;
use crate::credential;
use crate::exit::{Exit, Failure, Result};
use crate::render::units;

/// What became of the copy.
pub struct Second {
    place: String,
    report: Report,
    failure: Option<Failure>,
}

/// Copies the source's new snapshots to the second store, if there is one; tells about it.
pub fn copy(context: &Context<'_>, args: &BackupArgs, from: &Store) -> Option<Second> {
    let named = args.copy_to.as_ref()?;
    let place = Location::parse(named.clone());
    let mut second = Second {
        place: place.as_ref().map_or_else(|_| named.display().to_string(), ToString::to_string),
        report: Report::default(),
        failure: None,
    };
    match place.map_err(Failure::from).and_then(|place| copy_to(context, args, from, &place)) {
        Ok(report) => second.report = report,
        Err(failure) => second.failure = Some(failure),
    }
    second.failure = second.report.stopped.take().map(Failure::from).or(second.failure);
    second.render(context);
    if second.exit() == Exit::Done {
        last_copied::note(from, &context.cli.global.source, &second.place, time_of(SystemTime::now()));
    }
    Some(second)
}

fn copy_to(context: &Context<'_>, args: &BackupArgs, from: &Store, place: &Location) -> Result<Report> {
    if verb::is_same(place, &context.paths()?.store) {
        return Err(Error::refused(format!(
            "{place} is the store itself, and no second one: name another with --copy-to"
        ))
        .into());
    }
    // It is not made here: a disk that is not mounted is no new store.
    let own = credential::of_second(&args.copy_to_password_file, &args.copy_to_key_file)?;
    let to = open::open_to_copy(context, place, args.free.reserve, args.limit.limit_upload, false, own.as_ref())?;
    let which = Which::Newer(context.cli.global.source.clone());
    let mut options = Options::new(which, time_of(SystemTime::now()));
    options.lock_wait = context.cli.global.lock_wait;
    let report = copy::copy(from, &to, &options, context.term)?;
    if report.stopped.is_none() {
        same_store::remember(context, place, &to.config().store_id);
    }
    Ok(report)
}

impl Second {
    /// Returns how the run ends because of it.
    pub fn exit(&self) -> Exit {
        match &self.failure {
            Some(failure) if failure.exit(false) == Exit::Interrupted => Exit::Interrupted,
            Some(_) => Exit::SetFailed,
            None if !self.report.failed.is_empty() => Exit::SetFailed,
            None => Exit::Done,
        }
    }

    fn render(&self, context: &Context<'_>) {
        let (term, place) = (context.term, &self.place);
        let (count, bytes) = (self.report.copied.len() as u64, self.report.added_bytes);
        term.say(format!(
            "Second store: {} copied to {place}, {} added",
            units::count(count, "snapshot"),
            units::size(bytes)
        ));
        if let Some(failure) = &self.failure {
            term.warn(format!("the second store {place} does not have all: {}", failure.message()));
            match failure {
                Failure::Engine(Error::NoStore { .. }) => {
                    term.note("is its disk mounted? If it is new, `lrl init --store` makes it first");
                }
                failure => failure.hint().iter().for_each(|hint| term.note(hint)),
            }
            term.note("the backup itself is good; the next one copies what is missing");
        } else if !self.report.failed.is_empty() {
            term.note(format!("the second store {place} lacks what was left out; `lrl check` tells more"));
        }
    }

    /// Tells what became of it.
    pub fn document(&self) -> Value {
        let mut document = verb::document(&self.report);
        document["success"] = json!(self.exit() == Exit::Done);
        document["store"] = json!(self.place);
        document["error"] = self.failure.as_ref().map_or(Value::Null, |failure| failure.json(self.exit().code()));
        document
    }
}
