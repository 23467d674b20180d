//! `lrl status`: whether all is well with each source of a store, and what is not; also what `--if-older-than` asks.

mod all_stores;
mod describe;
pub mod metrics;
pub mod probe;
pub mod room;
pub mod source;
mod watch;

use std::time::{Duration, SystemTime};

use lrl_store::error::Error;
use lrl_store::ops::select::Need;
use lrl_store::ops::status;
use lrl_store::time::{Time, time_of};
use serde_json::{Value, json};

use self::source::{SourceStatus, notes, sources};
use super::shared::open;
use super::shared::sets_growth::{self, SetsGrowth};
use crate::args::StatusArgs;
use crate::context::Context;
use crate::exit::{Exit, Failure, Result};
use crate::render::names::Names;
use crate::render::units;
use crate::resolve::Paths;

/// Tells how every source stands, or the one that was named.
pub fn run(context: &Context<'_>, args: &StatusArgs) -> Result {
    let paths = context.paths()?;
    if let Some(above) = paths.store.all_below() {
        if args.metrics {
            return Err(Failure::Usage("--metrics is for one store: name it with --store".into()));
        }
        return all_stores::run(context, args, &above);
    }
    let store = open::open(context, &paths)?;
    let now = time_of(SystemTime::now());
    if args.metrics {
        return metrics::print(context, &store, now);
    }
    let mut stands = Vec::new();
    for source in sources(context, &store)? {
        stands.push(SourceStatus::of(context, &args.limits, &store, &source, true, (now, Names::Shown))?);
    }
    let room = room::not_enough(&args.limits, &paths, Names::Shown)?;
    let keeps_all = !context.file.sets("keep-sets") && context.file.policy.keep_sets().is_none();
    // To list the store takes time.
    let compared = (context.term.is_json() || keeps_all).then_some(&store);
    let sets = sets_growth::look(&paths.backup_dir, compared);
    let exit = match stands.iter().all(|stand| stand.wrong.is_empty()) && room.is_none() {
        true => Exit::Done,
        false => Exit::Wrong,
    };
    if context.term.is_json() {
        let usual = &context.cli.global.source;
        context.term.json(&document(&stands, usual, room.as_deref(), sets.as_ref(), args, exit, now))?;
    } else if !context.cli.global.quiet {
        stands.iter().try_for_each(|stand| stand.render(context, now.secs))?;
        sets.iter().try_for_each(|sets| context.term.line(sets.line()))?;
    }
    sets.filter(|_| keeps_all).and_then(|sets| sets.note()).iter().for_each(|note| context.term.note(note));
    for stand in &stands {
        let of = if stands.len() > 1 { format!("{}: ", stand.source) } else { String::new() };
        notes(context, &stand.status);
        stand.wrong.iter().for_each(|wrong| context.term.warn(format!("{of}{wrong}")));
    }
    room.iter().for_each(|room| context.term.warn(room));
    Ok(exit)
}

fn document(
    stands: &[SourceStatus],
    usual: &str,
    room: Option<&str>,
    sets: Option<&SetsGrowth>,
    args: &StatusArgs,
    exit: Exit,
    now: Time,
) -> Value {
    // The only source, or the usual one of several, is also at the top, where scripts look for it.
    let at_top = if let [one] = stands { Some(one) } else { stands.iter().find(|stand| stand.source == usual) };
    let mut whole = at_top.map_or_else(|| json!({}), |stand| stand.document(now.secs));
    whole["sources"] = stands.iter().map(|stand| stand.document(now.secs)).collect();
    let wrong: Vec<&str> = stands.iter().flat_map(|stand| &stand.wrong).map(String::as_str).chain(room).collect();
    whole["sets"] = json!(sets.map(SetsGrowth::document));
    whole["success"] = json!(exit == Exit::Done);
    whole["wrong"] = json!(wrong);
    whole["error"] = json!(wrong.first());
    whole["max_age_seconds"] = json!(args.limits.max_age.map(|limit| limit.as_secs()));
    whole
}

/// Returns which good snapshot with the halves that are needed is the newest and younger than `age`, if it is. No store is no snapshot.
pub fn younger_than(context: &Context<'_>, paths: &Paths, age: Duration, need: Need) -> Result<Option<String>> {
    let store = match open::open(context, paths) {
        Err(Failure::Engine(Error::NoStore { .. })) => return Ok(None),
        other => other?,
    };
    let now = time_of(SystemTime::now());
    let Some(good) = status::newest_if_good(&store, &context.cli.global.source, need, now)? else { return Ok(None) };
    let passed = Duration::from_secs(u64::try_from(now.secs - good.created.secs).unwrap_or_default());
    Ok((passed < age).then(|| format!("snapshot {} is {} old", good.name.id.short(), units::duration(passed))))
}
