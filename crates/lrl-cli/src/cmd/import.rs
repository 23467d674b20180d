//! `lrl import`: sets of the old script become snapshots; says of each what became of it.

use std::time::SystemTime;

use lrl_store::error::{Error, Place};
use lrl_store::fs::durable;
use lrl_store::ops::import::{self, Options, Report, Skipped};
use lrl_store::set::directory::manifests;
use serde_json::{Value, json};

use super::shared::{open, same_store};
use crate::args::ImportArgs;
use crate::context::Context;
use crate::exit::{Exit, Result};
use crate::hint;
use crate::render::{entry, units};

/// Imports every set of a directory.
pub fn run(context: &Context<'_>, args: &ImportArgs) -> Result {
    let paths = context.paths()?;
    let global = &context.cli.global;
    if !args.dir.is_dir() {
        return Err(Error::NoStore { what: Place::SetsDir, path: args.dir.clone() }.into());
    }
    // No store comes into being for nothing.
    if manifests(&args.dir)?.is_empty() {
        return Err(Error::not_found(format!("No manifest found in {}", args.dir.display())).into());
    }
    same_store::refuse_gone(context, &paths.store)?;
    durable::create_dir(&paths.backup_dir)?;
    open::create_if_missing(context, &paths.store)?;
    let store = open::open_to_fill(context, &paths, args.free.reserve)?;
    let mut options = Options::new(&args.dir, &paths.backup_dir, &global.source, SystemTime::now());
    options.program = concat!("lrl ", env!("CARGO_PKG_VERSION")).into();
    options.lock_wait = global.lock_wait;
    let report = import::import(&store, &options, context.term)?;
    same_store::remember(context, &paths.store, &store.config().store_id);
    let exit = match (report.failed.is_empty(), report.imported.is_empty() && report.known.is_empty()) {
        (true, _) if report.still_lost => Exit::Incomplete,
        (true, _) => Exit::Done,
        (false, false) => Exit::Incomplete,
        (false, true) => Exit::Failed,
    };
    if context.term.is_json() {
        context.term.json(&document(&report, exit))?;
    }
    render(context, &report);
    Ok(exit)
}

fn render(context: &Context<'_>, report: &Report) {
    let term = context.term;
    for set in &report.imported {
        let (snapshot, shown) = (&set.snapshot, set.manifest.display().to_string());
        term.say(format!("Imported: {}", units::safe(&shown)));
        let halves = [
            snapshot.has_databases().then(|| format!("database of {}", units::size(snapshot.database_bytes()))),
            snapshot
                .files
                .as_ref()
                .map(|half| format!("{}, {}", units::count(half.files, "file"), units::size(half.bytes))),
        ];
        let halves: Vec<String> = halves.into_iter().flatten().collect();
        term.say(format!(
            "  -> snapshot {} of {} (number {}; {}), {} added",
            set.name.id.short(),
            snapshot.timestamp,
            snapshot.sequence,
            halves.join(", "),
            units::size(set.added_bytes)
        ));
    }
    for set in &report.known {
        term.say(format!(
            "Already there: {} ({})",
            units::safe(&set.manifest.display().to_string()),
            hint::message(&set.reason)
        ));
    }
    if report.healed.chunks > 0 {
        let chunks = units::count(report.healed.chunks, "chunk");
        term.say(format!(
            "Healed: {chunks} of snapshots that are already there ({}); `lrl check --read-data --repair` moves what is damaged away",
            units::size(report.healed.bytes)
        ));
    }
    if report.still_lost {
        term.warn("snapshots that are already there have lost chunks that these sets do not give back: `lrl check --read-data` names them");
    }
    for set in &report.failed {
        term.warn(format!("{} was not imported: {}", set.manifest.display(), hint::message(&set.reason)));
    }
    term.say(format!(
        "\n{} imported, {} already there, {} left out",
        units::count(report.imported.len() as u64, "set"),
        report.known.len(),
        report.failed.len()
    ));
}

fn document(report: &Report, exit: Exit) -> Value {
    let skipped = |sets: &[Skipped]| {
        let set = |set: &Skipped| json!({ "manifest": set.manifest.display().to_string(), "reason": hint::message(&set.reason) });
        sets.iter().map(set).collect::<Vec<_>>()
    };
    json!({
        "success": exit == Exit::Done,
        "imported": report.imported.iter().map(|set| json!({
            "manifest": set.manifest.display().to_string(),
            "snapshot": set.name.id.to_string(),
            "sequence": set.snapshot.sequence,
            "timestamp": set.snapshot.timestamp,
            "created": entry::iso(set.snapshot.created),
            "added_bytes": set.added_bytes,
        })).collect::<Vec<_>>(),
        "healed": report.healed,
        "still_lost": report.still_lost,
        "already_there": skipped(&report.known),
        "failed": skipped(&report.failed),
    })
}
