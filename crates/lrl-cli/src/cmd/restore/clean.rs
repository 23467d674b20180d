//! `lrl restore --clean`: removes what earlier restores kept; says of each what it took.

use std::time::{Duration, SystemTime};

use lrl_store::ops::restore::{self, CleanOptions};
use lrl_store::ops::restore_rows;
use serde_json::json;

use super::places::Places;
use crate::args::RestoreArgs;
use crate::context::Context;
use crate::exit::{Exit, Result};
use crate::render::units::{self, safe};

/// Removes kept copies, or says which would be removed.
pub fn run(context: &Context<'_>, args: &RestoreArgs) -> Result {
    let places = Places::of(context, args)?;
    let is_of_rows = restore_rows::is_recorded(&places.data_dir) && args.older_than.is_none();
    if is_of_rows && !args.dry_run {
        restore_rows::forget(&places.data_dir)?;
    }
    let options = CleanOptions {
        data_dir: places.data_dir,
        storage_dir: places.storage,
        is_site: args.target.is_none() && context.site()?.root.is_some(),
        older_than: args.older_than.unwrap_or(Duration::ZERO),
        now: SystemTime::now(),
        dry_run: args.dry_run,
    };
    let cleaned = restore::clean(&options)?;
    let term = context.term;
    let done = if args.dry_run { "Would remove" } else { "Removed" };
    for removed in &cleaned.removed {
        term.say(format!("{done} {} ({})", safe(&removed.path.to_string_lossy()), units::size(removed.bytes)));
    }
    let bytes = cleaned.removed.iter().map(|removed| removed.bytes).sum();
    match cleaned.removed.len() as u64 {
        0 => term.say("No kept copies to remove."),
        count => term.say(format!("{done} {}, {}.", units::count(count, "kept copy|kept copies"), units::size(bytes))),
    }
    if cleaned.younger > 0 {
        term.note(format!("{} younger: kept", units::count(cleaned.younger, "copy is|copies are")));
    }
    if cleaned.undo_gone || is_of_rows {
        let text = if args.dry_run { "would not be" } else { "is not" };
        term.note(format!("undoing the last restore {text} possible any more"));
    }
    if term.is_json() {
        let removed = cleaned
            .removed
            .iter()
            .map(|removed| json!({ "path": removed.path.to_string_lossy(), "bytes": removed.bytes }));
        term.json(&json!({
            "success": true, "dry_run": args.dry_run, "removed": removed.collect::<Vec<_>>(), "removed_bytes": bytes,
            "younger": cleaned.younger, "undo_gone": cleaned.undo_gone,
        }))?;
    }
    Ok(Exit::Done)
}
