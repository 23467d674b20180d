//! Tells what a restore did: lines for people, one document for `--json`.

use lrl_store::ops::restore::{Moved, Part, Report};
use serde_json::json;

use super::next_step;
use crate::args::Verb;
use crate::context::Context;
use crate::exit::{Exit, Result};
use crate::hint;
use crate::render::units::{self, safe};

/// Damaged paths that are printed; `--json` has more.
pub(super) const SHOWN: usize = 1000;

pub(super) fn render(context: &Context<'_>, report: &Report, from: &str, is_live: bool) -> Result {
    let term = context.term;
    let (done, kept) = if report.dry_run { ("Would restore", "would be kept as") } else { ("Restored", "is kept as") };
    term.say(format!("{done} from {from}:"));
    for restored in &report.restored {
        let path = safe(&restored.path.to_string_lossy()).into_owned();
        let what = match restored.part {
            Part::Database => format!("database, {} bytes", restored.bytes),
            Part::Uploads | Part::Path => {
                let databases = restored.databases.len() as u64;
                let files = units::count(restored.files.saturating_sub(databases), "file");
                let with =
                    if databases > 0 { format!(" and {}", units::count(databases, "database")) } else { String::new() };
                format!("{files}{with}, {} bytes", restored.bytes)
            }
        };
        term.say(format!("  -> {path} ({what})"));
        for (was, now) in &restored.kept {
            term.say(format!("     {} {kept} {}", safe(&was.to_string_lossy()), safe(&now.to_string_lossy())));
        }
    }
    for holder in &report.holders {
        term.warn(holder);
    }
    for note in &report.notes {
        term.note(next_step::complete(context, &hint::message(note)));
    }
    for skip in report.skipped.iter().take(SHOWN) {
        let more =
            if skip.entries > 1 { format!(" and what follows it, {} in all", skip.entries) } else { String::new() };
        term.warn(format!("not restored: {}{more}: {}", skip.path, skip.reason));
    }
    let skipped = report.skipped.iter().map(|skip| skip.entries).sum::<u64>() + report.more_skipped;
    let exit = if skipped > 0 { Exit::Incomplete } else { Exit::Done };
    if skipped > 0 {
        let rest = if report.skipped.len() > SHOWN { "; --json lists more of them" } else { "" };
        let verb = if report.dry_run { "cannot be restored" } else { "could not be restored" };
        let why = if is_of_set(context) { "the set does not have them" } else { "the store has lost them" };
        term.warn(format!("{} {verb}: {why}{rest}", units::count(skipped, "path")));
    }
    if report.dry_run {
        term.say("\nNothing was written.");
        if skipped == 0 && is_skipping(context) && !is_of_set(context) {
            term.note("damaged contents are found only when they are read: `lrl check --read-data` reads all");
        }
    } else {
        let then = if is_live { " Start the application, and look at it." } else { "" };
        let how = if skipped > 0 { "Restored what is not damaged." } else { "Restore completed successfully!" };
        term.say(format!("\n{how}{then}"));
        if report.restored.iter().any(|restored| !restored.kept.is_empty()) {
            let kept = format!(
                "When all is well, `lrl restore --clean` removes what is kept: it takes {}. To go back: `lrl restore --undo`.",
                units::size(report.kept_bytes)
            );
            term.say(next_step::complete(context, &kept));
        }
        if let Some(bytes) = report.dropped {
            term.say(format!("What was replaced is removed ({}): this restore cannot be undone.", units::size(bytes)));
        }
    }
    if report.older.copies > 0 {
        let older = format!(
            "earlier restores left {} beside it, which take {}: --undo does not know them, `lrl restore --clean` removes them",
            units::count(report.older.copies, "kept copy|kept copies"),
            units::size(report.older.bytes)
        );
        term.note(next_step::complete(context, &older));
    }
    if term.is_json() {
        term.json(&document(report, from, exit))?;
    }
    Ok(exit)
}

pub(super) fn is_skipping(context: &Context<'_>) -> bool {
    matches!(&context.cli.command, Verb::Restore(args) if args.skip_damaged)
}

fn is_of_set(context: &Context<'_>) -> bool {
    matches!(&context.cli.command, Verb::Restore(args) if args.manifest.is_some())
}

pub(super) fn document(report: &Report, from: &str, exit: Exit) -> serde_json::Value {
    let restored: Vec<_> = report
        .restored
        .iter()
        .map(|r| {
            let kept = kept_document(&r.kept);
            let mut one =
                json!({ "part": r.part, "path": r.path.to_string_lossy(), "files": r.files, "bytes": r.bytes, "kept": kept });
            if !r.databases.is_empty() {
                one["databases"] = r.databases.iter().map(|path| path.to_string_lossy()).collect();
            }
            one
        })
        .collect();
    json!({
        "success": exit == Exit::Done, "dry_run": report.dry_run, "from": from, "timestamp": report.timestamp, "restored": restored,
        "files": report.files, "directories": report.dirs, "links": report.links, "bytes": report.bytes,
        "skipped": report.skipped, "more_skipped": report.more_skipped, "removed_bytes": report.dropped,
        "kept_bytes": report.kept_bytes, "older_copies": report.older.copies, "older_bytes": report.older.bytes,
        "holders": report.holders.iter().map(ToString::to_string).collect::<Vec<_>>(), "notes": hint::messages(&report.notes),
    })
}

/// Returns what is kept under which name.
pub(super) fn kept_document(kept: &[Moved]) -> serde_json::Value {
    kept.iter().map(|(was, now)| json!({ "was": was.to_string_lossy(), "kept_as": now.to_string_lossy() })).collect()
}
