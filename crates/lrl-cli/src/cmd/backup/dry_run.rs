//! `lrl backup --dry-run`: what would be stored. Nothing is written, also where there is no store or backup directory yet.

use lrl_store::fs::space::free_at;
use lrl_store::ops::backup::{self, Amount, Options, Plan};
use serde::Serialize;
use serde_json::json;

use super::render::unused;
use super::sets;
use crate::cmd::shared::open;
use crate::context::Context;
use crate::exit::{Exit, Result};
use crate::hint;
use crate::render::units;
use crate::resolve::Paths;

/// Plans a backup and tells the plan.
pub fn run(context: &Context<'_>, paths: &Paths, mut options: Options) -> Result {
    let store = open::look(context, paths)?;
    options.scratch = std::env::temp_dir();
    let plan = backup::plan(store.as_ref(), &options, context.term)?;
    unused(context, &options);
    let lost = plan.problems.iter().any(|problem| problem.lost);
    let exit = if lost { Exit::Incomplete } else { Exit::Done };
    let term = context.term;
    let room = Room::of(&plan, &options, paths)?;
    if term.is_json() {
        term.json(&json!({
            "success": exit == Exit::Done, "dry_run": true, "store_exists": store.is_some(), "databases": plan.databases,
            "uploads": plan.uploads, "room": room, "sets": plan.sets, "problems": hint::problems(&plan.problems),
        }))?;
        return Ok(exit);
    }
    term.line("Dry run: nothing is written.")?;
    if store.is_none() {
        term.line(format!("There is no store at {} yet; the backup would make it.", paths.store))?;
    }
    render(context, &plan)?;
    term.line(room.line())?;
    plan.sets.iter().try_for_each(|found| sets::plan(context, found))?;
    Ok(exit)
}

/// What would be written at most, and what is free for it: all that is new, as if nothing compressed.
#[derive(Serialize)]
struct Room {
    store_most_bytes: u64,
    set_most_bytes: u64,
    free_bytes: u64,
}

impl Room {
    fn of(plan: &Plan, options: &Options, paths: &Paths) -> Result<Self> {
        let uploads = plan.uploads.as_ref();
        let changed = uploads.map_or(0, |half| half.new.bytes + half.changed.bytes);
        let databases: u64 = plan.databases.iter().map(|part| part.size_bytes).sum();
        let set = databases + changed + uploads.map_or(0, |half| half.unchanged.bytes);
        Ok(Self {
            store_most_bytes: plan.databases.iter().map(|part| part.changed_bytes).sum::<u64>() + changed,
            set_most_bytes: if options.out.is_some() { set } else { 0 },
            free_bytes: free_at(paths.store.directory().unwrap_or(&paths.backup_dir), options.reserve)?.bytes,
        })
    }

    fn line(&self) -> String {
        let [store, set, free] = [self.store_most_bytes, self.set_most_bytes, self.free_bytes].map(units::size);
        let fits = self.store_most_bytes.saturating_add(self.set_most_bytes) <= self.free_bytes;
        let verdict = if fits { "" } else { ": that may not fit" };
        format!("Room: at most {store} for the store and {set} for the set, {free} free above the reserve{verdict}")
    }
}

fn render(context: &Context<'_>, plan: &Plan) -> Result<()> {
    let term = context.term;
    for half in &plan.databases {
        let what = match half.changed_bytes {
            0 => "unchanged".into(),
            changed => format!("{changed} bytes in changed extents, before compression"),
        };
        term.line(format!("Database: {} ({} bytes): {what}", units::safe(&half.path), half.size_bytes))?;
    }
    if let Some(half) = &plan.uploads {
        term.line(format!("Assets: {}", units::safe(&half.paths.join(", "))))?;
        let amount = |amount: Amount| format!("{} ({})", units::count(amount.files, "file"), units::size(amount.bytes));
        for (what, how_much) in
            [("new", half.new), ("changed", half.changed), ("unchanged", half.unchanged), ("removed", half.removed)]
        {
            term.line(format!("  {what:<9}  {}", amount(how_much)))?;
        }
        if !half.exact {
            term.line("  An estimate from sizes and times; --rescan reads and compares the files.")?;
        }
    }
    Ok(())
}
