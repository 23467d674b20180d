//! The snapshot that the user means, and whether it may be used as a backup.

use std::time::SystemTime;

use clap::parser::ValueSource;
use lrl_store::format::snapshot::{BEFORE_RESTORE, Snapshot};
use lrl_store::hint::Hint;
use lrl_store::ops::judgement::{Judge, State};
use lrl_store::ops::ls;
use lrl_store::ops::select::{self, Need, PassedOver, Selected};
use lrl_store::store::{SnapshotName, Store};
use lrl_store::time::{Time, time_of};

use crate::args::Verb;
use crate::context::Context;
use crate::exit::{Failure, Result};
use crate::hint;
use crate::render::units;
use crate::when;

/// Returns the source that the user named, by flag or file; `None` where only the default stands: then all are meant.
pub fn named_source<'a>(context: &'a Context<'_>) -> Option<&'a str> {
    let named = is_source_given(context) || context.file.sets("source");
    named.then_some(context.cli.global.source.as_str())
}

/// Returns whether the command line names the source.
pub fn is_source_given(context: &Context<'_>) -> bool {
    let matches = context.matches.subcommand().map_or(context.matches, |(_, sub)| sub);
    matches.value_source("source") == Some(ValueSource::CommandLine)
}

/// Finds the snapshot that the user means: `latest` and `good` in the source, anything else in all of them unless one was named.
pub fn select(context: &Context<'_>, store: &Store, wanted: &str, need: Need) -> Result<(SnapshotName, Snapshot)> {
    let Selected { name, snapshot, passed_over, .. } = find(context, store, &mut judge(store), wanted, need)?;
    warn_passed_over(context, &passed_over);
    Ok((name, snapshot))
}

/// Finds the snapshot that is to be used as a backup. What `good` passes over is named; another one by name must be good, unless that is forced.
pub fn choose(
    context: &Context<'_>,
    store: &Store,
    wanted: &str,
    need: Need,
    force: bool,
) -> Result<(SnapshotName, Snapshot)> {
    let mut judge = judge(store);
    let found = find(context, store, &mut judge, wanted, need)?;
    let Selected { name, snapshot, passed_over, .. } = found;
    warn_passed_over(context, &passed_over);
    let judgement = judge.of(&name, &snapshot, context.term)?;
    if !judgement.serves(need.of(&snapshot)) {
        let id = name.id.short();
        let mut text = format!("snapshot {id} is {}: {}", judgement.state, judgement.reason);
        if !force {
            if judgement.state == State::Failed {
                text.push_str(&format!("; {}", hint::words(&Hint::Drill(id))));
            }
            return Err(Failure::NotGood(text));
        }
        context.term.warn(text);
    }
    Ok((name, snapshot))
}

/// Returns what judges the snapshots of a store, as of now.
pub fn judge(store: &Store) -> Judge<'_> {
    Judge::new(store, time_of(SystemTime::now()))
}

fn find(context: &Context<'_>, store: &Store, judge: &mut Judge<'_>, wanted: &str, need: Need) -> Result<Selected> {
    let usual = Some(context.cli.global.source.as_str());
    // Four hexadecimal digits and more are the beginning of an id, also where they end in `d`.
    let is_id = wanted.len() >= 4 && wanted.bytes().all(|byte| byte.is_ascii_hexdigit());
    let time = when::moment(wanted, &when::now(context.cli.global.utc)).filter(|_| !is_id);
    let found = if let Some(time) = time {
        let time = Time { secs: time.as_second(), nanos: time.subsec_nanosecond().unsigned_abs() };
        select::at(store, usual, (wanted, time), need, context.term)?
    } else {
        let is_relative = wanted.starts_with("latest") || wanted.starts_with("good");
        let source = if is_relative { usual } else { named_source(context) };
        select::select(store, source, wanted, need, judge, context.term)?
    };
    let (id, number, time) = (found.name.id.short(), found.name.sequence, &found.snapshot.timestamp);
    if let Some((passed, timestamp)) = &found.before_restore {
        note_before_restore(context, passed, timestamp);
    }
    context.term.detail(format!("`{wanted}` is snapshot {id}, number {number} of {}, of {time}", found.name.source));
    Ok(found)
}

/// Names the snapshot that was passed over because it is of what was there before rows were restored.
fn note_before_restore(context: &Context<'_>, passed: &SnapshotName, timestamp: &str) {
    let id = passed.id.short();
    let named = match &context.cli.command {
        Verb::Restore(_) => format!("`lrl restore {id}` takes it"),
        Verb::Export(_) => format!("`lrl export {id}` takes it"),
        Verb::Drill(_) => format!("`lrl drill --snapshot {id}` takes it"),
        _ => format!("its id, {id}, names it"),
    };
    context.term.note(format!(
        "passed over snapshot {id} of {timestamp}, which is of what was there before rows were restored ({BEFORE_RESTORE}); {named}"
    ));
}

/// Names the newest few snapshots that were passed over because they are not good.
pub fn warn_passed_over(context: &Context<'_>, passed_over: &[PassedOver]) {
    const SHOWN: usize = 5;
    for PassedOver { name, timestamp, state, reason, good } in passed_over.iter().take(SHOWN) {
        let of = timestamp.as_ref().map(|timestamp| format!(" of {timestamp}")).unwrap_or_default();
        let part = match (good.database, good.uploads) {
            (true, false) => "; its database is good",
            (false, true) => "; its uploads are good",
            _ => "",
        };
        context.term.warn(format!("passed over snapshot {}{of}: {state}: {reason}{part}", name.id.short()));
    }
    if let more @ 1.. = passed_over.len().saturating_sub(SHOWN) {
        context.term.warn(format!("and {}", units::count(more as u64, "more that is not good|more that are not good")));
    }
}

/// Returns the path that the user means: as lrl prints it, with escapes, where the snapshot has that, else as it was given.
pub fn typed_path(store: &Store, snapshot: &Snapshot, given: &[u8]) -> Vec<u8> {
    let meant = units::typed_path(given);
    let is_there = || snapshot.database(&meant).is_some() || ls::find(store, snapshot, &meant).is_ok();
    if meant != given && is_there() { meant } else { given.to_vec() }
}
