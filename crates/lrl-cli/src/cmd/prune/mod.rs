//! `lrl prune`: what is given back, and what stays unused.

mod bucket;
mod settings;

use std::collections::HashSet;

use lrl_store::fs::space::SpaceGuard;
use lrl_store::id::SnapshotId;
use lrl_store::ops::prune::{self, Numbers};
use lrl_store::store::Store;
use serde_json::{Value, json};

pub use self::settings::Settings;
use super::shared::open;
use crate::args::PruneArgs;
use crate::context::Context;
use crate::exit::{Exit, Result};
use crate::render::units;

/// Prunes the store.
pub fn run(context: &Context<'_>, args: &PruneArgs) -> Result {
    let store = open::open_to_delete(context, &context.paths()?, args.dry_run)?;
    let how = Settings { unused: &args.unused, bucket: &args.bucket, dry_run: args.dry_run };
    let document = prune(context, &store, &how, &HashSet::new())?;
    if context.term.is_json() {
        let mut whole = json!({ "success": true, "dry_run": args.dry_run });
        if let (Value::Object(whole), Value::Object(members)) = (&mut whole, document) {
            whole.extend(members);
        }
        context.term.json(&whole)?;
    }
    Ok(Exit::Done)
}

/// Prunes as if the forgotten snapshots were gone already; tells what is done, and returns it for the document.
pub fn prune(
    context: &Context<'_>,
    store: &Store,
    how: &Settings<'_>,
    forgotten: &HashSet<SnapshotId>,
) -> Result<Value> {
    let term = context.term;
    let Settings { unused, dry_run, .. } = *how;
    if context.paths()?.store.directory().is_none() {
        return bucket::prune(context, store, how, forgotten);
    }
    let plan = prune::plan(store, unused.max_unused, forgotten, dry_run, term)?;
    if dry_run {
        let numbers = &plan.numbers;
        for line in lines(numbers, "would be ") {
            term.line(line)?;
        }
        return Ok(document(numbers, &[]));
    }
    let room = match context.paths()?.store.directory() {
        Some(directory) => SpaceGuard::open(directory, unused.free.reserve)?,
        None => SpaceGuard::unlimited(),
    };
    let report = prune::apply(store, plan, &room, term)?;
    report.notes.iter().for_each(|note| term.warn(note));
    lines(&report.numbers, "").iter().for_each(|line| term.say(line));
    match report.failed {
        Some(error) => Err(error.into()),
        None => Ok(document(&report.numbers, &report.notes)),
    }
}

fn lines(numbers: &Numbers, would_be: &str) -> Vec<String> {
    let of = |packs: prune::Packs| format!("{} ({})", units::count(packs.count, "pack"), units::size(packs.bytes));
    let mut lines = vec![format!(
        "{} needed by {}.",
        units::count(numbers.chunks, "chunk is|chunks are"),
        units::count(numbers.snapshots, "snapshot")
    )];
    if numbers.missing > 0 {
        let count = units::count(numbers.missing, "chunk is|chunks are");
        lines.push(format!("{count} lost: pruning changes nothing about that, `lrl check` names the files."));
    }
    lines.push(format!("{would_be}removed, with nothing needed in them: {}.", of(numbers.dead)));
    if numbers.repacked.count > 0 {
        let (from, into) = (of(numbers.repacked), units::size(numbers.written.bytes));
        lines.push(format!(
            "{would_be}rewritten without what is not needed, or because they are small: {from}, into {into}."
        ));
    }
    if numbers.full.chunks > 0 {
        let count = units::count(numbers.full.chunks, "chunk");
        let bytes = units::size(numbers.full.bytes);
        lines.push(format!(
            "{would_be}stored in full, because what they are deltas of is needed by little else: {count} ({bytes})."
        ));
    }
    let (freed, unused) = (units::size(numbers.freed_bytes()), units::size(numbers.unused_bytes));
    lines.push(format!("{would_be}given back: {freed}; left unused: {unused}."));
    for line in &mut lines {
        if let Some(first) = line.get(..1).map(str::to_uppercase) {
            line.replace_range(..1, &first);
        }
    }
    lines
}

fn document(numbers: &Numbers, notes: &[String]) -> Value {
    let mut document = serde_json::to_value(numbers).unwrap_or_default();
    if let Value::Object(members) = &mut document {
        members.insert("freed_bytes".into(), numbers.freed_bytes().into());
        members.insert("notes".into(), notes.into());
    }
    document
}
