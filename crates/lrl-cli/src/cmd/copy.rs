//! `lrl copy`: snapshots of one store become snapshots of another; says of each what became of it.

use std::path::Path;
use std::time::SystemTime;

use lrl_store::backend::location::Location;
use lrl_store::error::Error;
use lrl_store::fs::durable;
use lrl_store::ops::copy::{self, Options, Report, Which};
use lrl_store::ops::judgement::State;
use lrl_store::ops::select::Need;
use lrl_store::store::Store;
use lrl_store::time::time_of;
use serde_json::{Value, json};

use super::shared::{choose, open, same_store};
use crate::args::CopyArgs;
use crate::context::Context;
use crate::credential;
use crate::exit::{Exit, Failure, Result};
use crate::hint;
use crate::render::{entry, units};
use crate::resolve::Paths;

/// Copies.
pub fn run(context: &Context<'_>, args: &CopyArgs) -> Result {
    let paths = context.paths()?;
    let from_place = Location::parse(args.from.clone())?;
    let to_place = args.to.clone().map(Location::parse).transpose()?.unwrap_or_else(|| paths.store.clone());
    if is_same(&from_place, &to_place) {
        return Err(Error::refused(format!("{to_place} is the store to copy from: name another one with --to")).into());
    }
    let own = credential::of_other(&args.from_password_file, &args.from_key_file)?;
    let from = open::open_place(context, &from_place, own.as_ref())?;
    // What was encrypted does not become plain by itself.
    if !args.dry_run && from.storage().keys().is_none() {
        make(context, args, &paths, &to_place)?;
    }
    let to = open::open_to_copy(context, &to_place, args.free.reserve, args.limit.limit_upload, args.dry_run, None)?;
    let which = if args.snapshots.is_empty() {
        Which::Missing(choose::named_source(context).map(str::to_string))
    } else {
        let named = args.snapshots.iter().map(|wanted| choose::select(context, &from, wanted, Need::default()));
        Which::Named(named.map(|found| found.map(|(name, _)| name)).collect::<Result<_>>()?)
    };
    let mut options = Options::new(which, time_of(SystemTime::now()));
    options.dry_run = args.dry_run;
    options.lock_wait = context.cli.global.lock_wait;
    let mut report = copy::copy(&from, &to, &options, context.term)?;
    let stopped = report.stopped.take().map(Failure::from);
    if stopped.is_none() && !args.dry_run {
        same_store::remember(context, &to_place, &to.config().store_id);
    }
    let exit = match (&stopped, report.failed.is_empty()) {
        (Some(failure), _) => failure.exit(false),
        (None, true) => Exit::Done,
        (None, false) if report.copied.is_empty() && report.known == 0 => Exit::Failed,
        (None, false) => Exit::Incomplete,
    };
    render(context, &report, &to_place, args.dry_run)?;
    warn_bad(context, &from, &report)?;
    if context.term.is_json() {
        let mut document = document(&report);
        document["success"] = json!(exit == Exit::Done);
        document["dry_run"] = json!(args.dry_run);
        document["from"] = json!(from_place.to_string());
        document["to"] = json!(to_place.to_string());
        document["error"] = stopped.as_ref().map_or(Value::Null, |failure| failure.json(exit.code()));
        context.term.json(&document)?;
    }
    stopped.map_or(Ok(exit), Err)
}

/// Makes a store in a directory at first use, as a backup does; a bucket needs `lrl init`.
fn make(context: &Context<'_>, args: &CopyArgs, paths: &Paths, place: &Location) -> Result<()> {
    same_store::refuse_gone(context, place)?;
    if args.to.is_none() && context.cli.global.store.is_none() {
        durable::create_dir(&paths.backup_dir)?;
    }
    open::create_if_missing(context, place).map(drop)
}

/// Returns whether two names mean one place; two that are copies of each other are two.
pub fn is_same(one: &Location, other: &Location) -> bool {
    let real = |path: &Path| std::fs::canonicalize(path).unwrap_or_else(|_| path.to_path_buf());
    match (one, other) {
        (Location::Directory(one), Location::Directory(other)) => real(one) == real(other),
        (Location::Bucket(one), Location::Bucket(other)) => one == other,
        _ => false,
    }
}

fn render(context: &Context<'_>, report: &Report, to: &Location, dry_run: bool) -> Result<()> {
    let term = context.term;
    for copied in &report.copied {
        let (name, snapshot) = (&copied.from, &copied.snapshot);
        let what =
            format!("{} of {} (number {} of {})", name.id.short(), snapshot.timestamp, name.sequence, name.source);
        match &copied.name {
            None => term.line(format!("Would be copied: {what}"))?,
            Some(there) if there.sequence == name.sequence => {
                term.say(format!("Copied: {what}, {} added", units::size(copied.added_bytes)));
            }
            Some(there) => term.say(format!(
                "Copied: {what}, {} added; there it is number {}",
                units::size(copied.added_bytes),
                there.sequence
            )),
        }
    }
    if report.healed_bytes > 0 {
        term.say(format!("Sent again, as {to} had lost it: {}", units::size(report.healed_bytes)));
    }
    let count = units::count(report.copied.len() as u64, "snapshot");
    let rest = format!("{} already there, {} left out", report.known, report.failed.len());
    match dry_run {
        true => term.line(format!("{count} would be copied, {rest}"))?,
        false => term.say(format!("{count} copied to {to}, {rest}, {} added", units::size(report.added_bytes))),
    }
    Ok(())
}

/// Names the snapshots that were copied though they are no good backups: the copy is complete, but nothing to rely on.
fn warn_bad(context: &Context<'_>, from: &Store, report: &Report) -> Result<()> {
    let mut judge = choose::judge(from);
    for copied in &report.copied {
        let judgement = judge.of(&copied.from, &copied.snapshot, context.term)?;
        if judgement.state != State::Good {
            let (id, state, reason) = (copied.from.id.short(), judgement.state, judgement.reason);
            context.term.warn(format!("snapshot {id} is {state}, also as a copy: {reason}"));
        }
    }
    Ok(())
}

/// Tells what a run did.
pub fn document(report: &Report) -> Value {
    json!({
        "copied": report.copied.iter().map(|copied| json!({
            "source": copied.from.source,
            "snapshot": copied.from.id.to_string(),
            "sequence": copied.from.sequence,
            "timestamp": copied.snapshot.timestamp,
            "created": entry::iso(copied.snapshot.created),
            "copy": copied.name.as_ref().map(|name| json!({
                "snapshot": name.id.to_string(), "sequence": name.sequence,
            })),
            "added_bytes": copied.added_bytes,
        })).collect::<Vec<_>>(),
        "already_there": report.known,
        "failed": report.failed.iter().map(|failed| json!({
            "source": failed.name.source,
            "snapshot": failed.name.id.to_string(),
            "sequence": failed.name.sequence,
            "reason": failed.reason,
        })).collect::<Vec<_>>(),
        "added_bytes": report.added_bytes,
        "healed_bytes": report.healed_bytes,
        "problems": hint::problems(&report.problems),
    })
}
