//! `lrl restore --undo`: back to what was there before the last restore; says what stands where now.

use lrl_store::error::Error;
use lrl_store::ops::restore::{self, UndoOptions, Undone};
use lrl_store::ops::restore_rows;
use serde_json::json;

use super::places::Places;
use super::render::kept_document;
use super::{next_step, table};
use crate::args::RestoreArgs;
use crate::context::Context;
use crate::exit::{Exit, Result};
use crate::locks;
use crate::render::units::safe;

/// Undoes the last restore, or says what that would do.
pub fn run(context: &Context<'_>, args: &RestoreArgs) -> Result {
    let places = Places::of(context, args)?;
    if let Some(from) = restore_rows::idle(&places.data_dir)? {
        if !args.dry_run {
            restore_rows::forget_idle(&places.data_dir)?;
        }
        let once_more = if args.dry_run { "" } else { " once more" };
        let text = format!(
            "the last restore, of {from}, had nothing to do, so there is nothing of it to undo. Nothing was changed; \
             {}{once_more} is about the one before it",
            next_step::complete(context, "`lrl restore --undo`")
        );
        return Err(Error::refused(text).into());
    }
    if restore_rows::is_recorded(&places.data_dir) {
        return table::undo(context, args, &places);
    }
    let mut options = UndoOptions::new(places.data_dir);
    options.storage_dir = places.storage;
    options.dry_run = args.dry_run;
    options.force = args.force;
    options.locks = Some(locks::ask);
    render(context, &restore::undo(&options)?)
}

fn render(context: &Context<'_>, undone: &Undone) -> Result {
    let term = context.term;
    let done = match (undone.dry_run, undone.restored_again) {
        (false, false) => "Undone: the restore from",
        (false, true) => "In place again: the restore from",
        (true, false) => "Would undo the restore from",
        (true, true) => "Would put in place again the restore from",
    };
    term.say(format!("{done} {}", undone.from));
    for one in &undone.returned {
        let state = match (one.is_there, undone.restored_again) {
            (true, false) => "as it was before",
            (true, true) => "as it was after",
            (false, _) => "nothing, as before",
        };
        term.say(format!("  -> {} ({state})", safe(&one.path.to_string_lossy())));
        let kept = if undone.dry_run { "would be kept as" } else { "is kept as" };
        for (was, now) in &one.kept {
            term.say(format!("     {} {kept} {}", safe(&was.to_string_lossy()), safe(&now.to_string_lossy())));
        }
    }
    undone.holders.iter().for_each(|holder| term.warn(holder));
    undone.notes.iter().for_each(|note| term.note(next_step::complete(context, note)));
    term.say(if undone.dry_run { "\nNothing was changed." } else { "\nStart the application, and look at it." });
    if term.is_json() {
        let returned = undone.returned.iter().map(|one| {
            let path = one.path.to_string_lossy();
            json!({ "part": one.part, "path": path, "is_there": one.is_there, "kept": kept_document(&one.kept) })
        });
        term.json(&json!({
            "success": true, "dry_run": undone.dry_run, "from": undone.from, "restored_again": undone.restored_again,
            "returned": returned.collect::<Vec<_>>(), "notes": undone.notes,
            "holders": undone.holders.iter().map(ToString::to_string).collect::<Vec<_>>(),
        }))?;
    }
    Ok(Exit::Done)
}
