//! What a run tells at its end: a line for each step, and the same as a document.

use lrl_store::time::Time;
use serde_json::{Value, json};

use super::act::Ended;
use super::due::Due;
use super::outcome;
use super::plan::Planned;
use crate::args::step::Step;
use crate::config::policy::{self, Interval};
use crate::context::Context;
use crate::exit::{Exit, Result};
use crate::render::table::{Side, Table};
use crate::render::{entry, units};

/// What became of a step.
pub enum Fate {
    /// It was not to be done.
    NotDue,
    /// It was not done, because of this step of the same run.
    NotAfter(Step),
    /// It was not done: the run was interrupted.
    Interrupted,
    /// It was done, well or not.
    Ended(Ended),
}

/// Tells of one step in one line.
pub fn line(planned: &Planned, fate: &Fate) -> String {
    let text = match fate {
        Fate::NotDue => not_due(planned.due),
        Fate::NotAfter(step) => format!("not run because {} failed", step.name()),
        Fate::Interrupted => "not run: the run was interrupted".into(),
        Fate::Ended(ended) => {
            let why = ended.error.as_deref().map(|why| format!(": {}", outcome::short(why))).unwrap_or_default();
            let code = ended.exit.code();
            match ended.exit {
                Exit::Done => {
                    let told = outcome::done(planned.step, &ended.documents);
                    let colon = if told.is_empty() { "" } else { ": " };
                    format!("done in {}{colon}{told}", units::duration(ended.took))
                }
                Exit::Incomplete | Exit::SetFailed => format!("done, but not all of it (exit {code}){why}"),
                Exit::Interrupted => format!("interrupted (exit {code})"),
                _ => format!("failed (exit {code}){why}"),
            }
        }
    };
    format!("{:<7} {text}", planned.step.name())
}

fn not_due(due: Due) -> String {
    match due {
        Due::Now => "due".into(),
        Due::At(time) => format!("not due until {}", minute(time)),
        Due::Never => "off: never".into(),
        Due::Lacks(what) => format!("off: {what}"),
    }
}

fn minute(time: i64) -> String {
    let moment = units::moment(time);
    format!("{} UTC", moment.get(..16).unwrap_or(&moment))
}

/// Tells how the whole run ended.
pub fn last_line(source: &str, fates: &[(Planned, Fate)], exit: Exit, took: std::time::Duration) -> String {
    let number = |is: &dyn Fn(&Ended) -> bool| {
        fates.iter().filter(|(_, fate)| matches!(fate, Fate::Ended(ended) if is(ended))).count()
    };
    let done = number(&|ended| ended.exit == Exit::Done);
    let failed = number(&Ended::failed);
    let incomplete = number(&|ended| ended.exit != Exit::Done) - failed;
    let mut parts = vec![format!("{} done", units::count(done as u64, "step"))];
    for (number, what) in [(incomplete, "incomplete"), (failed, "failed")] {
        parts.extend((number > 0).then(|| format!("{number} {what}")));
    }
    let left = fates.iter().filter(|(_, fate)| matches!(fate, Fate::NotAfter(_) | Fate::Interrupted)).count();
    if left > 0 {
        parts.push(format!("{left} not run"));
    }
    format!("Run of {source}: {} in {} (exit {})", parts.join(", "), units::duration(took), exit.code())
}

/// Returns the document of one step.
pub fn document(planned: &Planned, fate: &Fate, now: i64) -> Value {
    let state = match fate {
        Fate::NotDue if matches!(planned.due, Due::Never | Due::Lacks(_)) => "off",
        Fate::NotDue => "not_due",
        Fate::NotAfter(_) | Fate::Interrupted => "not_run",
        Fate::Ended(ended) => match ended.exit {
            Exit::Done => "done",
            Exit::Incomplete | Exit::SetFailed => "incomplete",
            Exit::Interrupted => "interrupted",
            _ => "failed",
        },
    };
    let because = if let Fate::NotAfter(step) = fate { Some(step.name()) } else { None };
    let ended = if let Fate::Ended(ended) = fate { Some(ended) } else { None };
    let mut document = listed(planned, now);
    document["state"] = json!(state);
    document["because_of"] = json!(because);
    document["exit_code"] = json!(ended.map(|ended| ended.exit.code()));
    document["error"] = json!(ended.and_then(|ended| ended.error.as_deref()));
    document["duration_ms"] = json!(ended.map(|ended| ended.took.as_millis() as u64));
    document["results"] = json!(ended.map(|ended| ended.documents.as_slice()).unwrap_or_default());
    document
}

/// Returns what is known of a step before it is done.
fn listed(planned: &Planned, now: i64) -> Value {
    let iso = |secs: i64| entry::iso(Time { secs, nanos: 0 });
    let past = planned.past.as_ref();
    let due = match planned.due {
        Due::Now => Some(now),
        Due::At(time) => Some(time),
        Due::Never | Due::Lacks(_) => None,
    };
    json!({
        "step": planned.step.name(),
        "every_seconds": if let Interval::Every(time) = planned.interval { Some(time.as_secs()) } else { None },
        "every": every(planned.interval),
        "due": due.map(iso),
        "is_due": planned.due == Due::Now,
        "off": if let Due::Lacks(what) = planned.due { Some(what) } else { None },
        "last_success": past.and_then(|past| past.last_success).map(iso),
        "last_try": past.map(|past| iso(past.last_try)),
        "last_exit_code": past.map(|past| past.exit),
        "last_error": past.and_then(|past| past.error.as_deref()),
    })
}

fn every(interval: Interval) -> String {
    match interval {
        Interval::Always => "always".into(),
        Interval::Never => "never".into(),
        Interval::Every(time) => policy::word(time).map_or_else(|| units::duration(time), str::to_string),
    }
}

/// Lists what is due when, for `--list`.
pub fn list(context: &Context<'_>, plan: &[Planned], now: i64) -> Result {
    if context.term.is_json() {
        let steps: Vec<Value> = plan.iter().map(|planned| listed(planned, now)).collect();
        let source = &context.cli.global.source;
        context.term.json(&json!({ "success": true, "source": source, "steps": steps }))?;
        return Ok(Exit::Done);
    }
    let mut table = Table::new(&["step", "every", "last success", "due"].map(|name| (name, Side::Left)));
    for planned in plan {
        let past = planned.past.as_ref();
        let last = past.and_then(|past| past.last_success);
        let due = match (planned.due, past) {
            (Due::Now, Some(past)) if past.failed() => format!("now: the last try failed (exit {})", past.exit),
            (Due::Now, _) => "now".into(),
            (Due::At(time), _) => minute(time),
            (Due::Never, _) => "never".into(),
            (Due::Lacks(what), _) => format!("never: {what}"),
        };
        let every = every(planned.interval);
        table.row([planned.step.name().into(), every, last.map_or("-".into(), minute), due]);
    }
    context.term.table(&table)?;
    Ok(Exit::Done)
}
