//! `lrl prune` of a store in a bucket: what is scheduled for deletion, what that waits for, and what was deleted.

use std::collections::HashSet;
use std::time::{Duration, SystemTime};

use lrl_store::fs::space::SpaceGuard;
use lrl_store::id::SnapshotId;
use lrl_store::ops::prune::two_phase::{self, Options, Report, WaitingDeletion};
use lrl_store::ops::prune::{Numbers, Packs};
use lrl_store::store::Store;
use lrl_store::time::time_of;
use serde_json::{Value, json};

use super::settings::Settings;
use crate::cmd::shared::open;
use crate::context::Context;
use crate::exit::Result;
use crate::render::units;

/// A run that took longer than this looks again before it lists its snapshot: below it a first backup is not safe.
const SHORT: Duration = Duration::from_secs(2 * 3600);

/// Prunes, and tells what was done and what comes next.
pub fn prune(
    context: &Context<'_>,
    store: &Store,
    how: &Settings<'_>,
    forgotten: &HashSet<SnapshotId>,
) -> Result<Value> {
    let term = context.term;
    let args = how.bucket;
    if args.grace < SHORT {
        let grace = units::duration(args.grace);
        term.warn(format!("a grace period of {grace} is safe only while no source makes its very first backup"));
    }
    let now = time_of(SystemTime::now());
    let mut options = Options::new(how.unused.max_unused, args.grace, &open::owner(), &open::token()?, now);
    options.retired = args.retired.clone();
    options.only_pruner = args.only.only_pruner;
    options.program = concat!("lrl ", env!("CARGO_PKG_VERSION")).into();
    options.lock_wait = context.cli.global.lock_wait;
    options.dry_run = how.dry_run;
    let report = two_phase::prune(store, &options, forgotten, &SpaceGuard::unlimited(), term)?;
    report.notes.iter().for_each(|note| term.warn(note));
    for line in lines(&report, &options) {
        // What would be done is what a dry run is asked for.
        if how.dry_run { term.line(line)? } else { term.say(line) }
    }
    Ok(document(&report))
}

fn of(packs: Packs) -> String {
    format!("{} ({})", units::count(packs.count, "pack"), units::size(packs.bytes))
}

fn lines(report: &Report, options: &Options) -> Vec<String> {
    let done = |text: &str, what: String| match options.dry_run {
        true => format!("Would be {text}: {what}."),
        false => format!("{}{}: {what}.", text[..1].to_uppercase(), &text[1..]),
    };
    let Numbers { chunks, snapshots, missing, unused_bytes, .. } = report.numbers;
    let grace = units::duration(options.grace);
    let mut lines = vec![format!(
        "{} needed by {}.",
        units::count(chunks, "chunk is|chunks are"),
        units::count(snapshots, "snapshot")
    )];
    if missing > 0 {
        let count = units::count(missing, "chunk is|chunks are");
        lines.push(format!("{count} lost: pruning changes nothing about that, `lrl check` names the files."));
    }
    lines.push(done("deleted, as an earlier prune scheduled", of(report.deleted)));
    if report.needed_again.count > 0 {
        lines.push(format!("Scheduled earlier, but needed again, and kept: {}.", of(report.needed_again)));
    }
    let moved = report.numbers.repacked;
    if moved.count > 0 {
        lines.push(done("copied out of packs that are wasteful or small", of(moved)));
    }
    let full = report.numbers.full;
    if full.chunks > 0 {
        let what = format!("{} ({})", units::count(full.chunks, "chunk"), units::size(full.bytes));
        lines.push(done("stored in full, because what they are deltas of is needed by little else", what));
    }
    if report.candidates.count > 0 {
        lines.push(done("scheduled to be deleted later", of(report.candidates)));
        if !options.dry_run {
            lines.push(format!("`lrl prune` deletes that after {grace}, when each source has made a backup."));
        }
    }
    if report.young.count > 0 {
        lines.push(format!(
            "Not needed, but younger than {grace}, so perhaps part of a running backup: {}.",
            of(report.young)
        ));
    }
    lines.extend(report.waiting.iter().map(waits));
    lines.push(done("left unused in packs that stay", units::size(unused_bytes)));
    lines
}

/// Returns what a pending deletion waits for.
fn waits(waiting: &WaitingDeletion) -> String {
    let since = units::moment(waiting.written.secs);
    let mut why = Vec::new();
    if waiting.grace_left_seconds > 0 {
        why.push(format!("{} more", units::duration(Duration::from_secs(waiting.grace_left_seconds))));
    }
    if !waiting.sources.is_empty() {
        let names = waiting.sources.iter().map(|(source, last)| match last {
            0 => source.clone(),
            last => format!("{source} (after its number {last})"),
        });
        why.push(format!("a backup of {}", names.collect::<Vec<_>>().join(", ")));
    }
    let what = match waiting.deleted {
        true => format!("The record of what was deleted on {since} UTC"),
        false => format!("{}, scheduled for deletion on {since} UTC,", of(waiting.packs)),
    };
    let hint = if waiting.sources.is_empty() { "" } else { "; --retired SOURCE for one that makes none any more" };
    format!("{what} waits for {}{hint}.", why.join(" and for "))
}

fn document(report: &Report) -> Value {
    let mut document = serde_json::to_value(&report.numbers).unwrap_or_default();
    if let Value::Object(members) = &mut document {
        let waiting = report.waiting.iter().map(|waiting| {
            let mut one = serde_json::to_value(waiting).unwrap_or_default();
            one["written"] = crate::render::entry::iso(waiting.written).into();
            one
        });
        let more = json!({
            "freed_bytes": report.deleted.bytes, "notes": report.notes,
            "deleted": report.deleted, "needed_again": report.needed_again,
            "candidates": report.candidates, "written_down": report.written, "young": report.young,
            "waiting": waiting.collect::<Vec<_>>(), "conditional_writes": report.conditional_writes,
        });
        if let Value::Object(more) = more {
            members.extend(more);
        }
    }
    document
}
