//! `lrl run`: does what is due, in order, each step by its verb's own function. A step that fails stops those that need it, and no other.

mod act;
mod due;
mod history;
pub mod outcome;
mod plan;
mod summary;

use std::time::{Instant, SystemTime};

use lrl_store::time::{Time, time_of};
use serde_json::{Value, json};

use self::act::act;
use self::due::Due;
use self::history::{History, LastRun};
use self::plan::Planned;
use self::summary::Fate;
use crate::args::RunArgs;
use crate::args::step::Step;
use crate::context::Context;
use crate::exit::{Exit, Result};
use crate::render::entry;
use crate::signal;

/// Does what is due, or lists it.
pub fn run(context: &Context<'_>, args: &RunArgs) -> Result {
    context.paths()?;
    if args.list {
        let now = now();
        return summary::list(context, &plan::plan(context, args, &History::read(context), now)?, now);
    }
    let _lock = history::lock(context)?;
    let (started, clock) = (now(), Instant::now());
    let mut history = History::read(context);
    let mut fates: Vec<(Planned, Fate)> = Vec::with_capacity(Step::ALL.len());
    let mut exit = Exit::Done;
    for planned in plan::plan(context, args, &history, started)? {
        let fate = fate(context, &planned, &fates);
        if let Fate::Ended(ended) = &fate {
            exit = exit.worse(ended.exit);
            history.note(context, planned.step, now(), ended.exit, ended.error.as_deref());
        }
        if matches!(fate, Fate::Interrupted) {
            exit = exit.worse(Exit::Interrupted);
        }
        context.term.say(summary::line(&planned, &fate));
        fates.push((planned, fate));
    }
    let finished = now();
    if let Err(dir) = history.end(context, LastRun { started, finished, exit: exit.code() }) {
        let dir = dir.display();
        context.term.warn(format!(
            "what this run did could not be recorded in {dir}: the next one does all of it again. Make that directory writable; \
             in a unit, `lrl schedule` does so"
        ));
    }
    let source = &context.cli.global.source;
    context.term.say(summary::last_line(source, &fates, exit, clock.elapsed()));
    if context.term.is_json() {
        let steps: Vec<Value> = fates.iter().map(|(planned, fate)| summary::document(planned, fate, started)).collect();
        context.term.json(&json!({
            "success": exit == Exit::Done, "exit_code": exit.code(), "source": source, "started": iso(started),
            "finished": iso(finished), "duration_ms": clock.elapsed().as_millis() as u64, "steps": steps,
        }))?;
    }
    Ok(exit)
}

/// Does a step, if it is due and nothing that it needs has failed.
fn fate(context: &Context<'_>, planned: &Planned, before: &[(Planned, Fate)]) -> Fate {
    if planned.due != Due::Now {
        return Fate::NotDue;
    }
    if signal::interrupted() {
        return Fate::Interrupted;
    }
    let failed = |needed: &&Step| {
        before
            .iter()
            .any(|(planned, fate)| planned.step == **needed && matches!(fate, Fate::Ended(ended) if ended.failed()))
    };
    match planned.step.needs().iter().find(failed) {
        Some(needed) => Fate::NotAfter(*needed),
        None => Fate::Ended(act(context, planned.step)),
    }
}

fn iso(secs: i64) -> String {
    entry::iso(Time { secs, nanos: 0 })
}

fn now() -> i64 {
    time_of(SystemTime::now()).secs
}
