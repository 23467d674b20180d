//! `lrl backup --dry-run`: what would be stored. Nothing is written, also where there is no store or backup directory yet.

use lrl_store::ops::backup::{self, Amount, Options, Plan};
use serde_json::json;

use super::{Context, sets, store};
use crate::exit::{Exit, Result};
use crate::render::units;
use crate::resolve::Paths;

/// Plans a backup and tells the plan.
pub fn run(context: &Context<'_>, paths: &Paths, options: Options) -> Result {
    let store = store::look(context, paths)?;
    let options = Options { scratch: std::env::temp_dir(), ..options };
    let plan = backup::plan(store.as_ref(), &options, context.term)?;
    let lost = plan.problems.iter().any(|problem| problem.lost);
    let exit = if lost { Exit::Incomplete } else { Exit::Done };
    let term = context.term;
    if term.is_json() {
        term.json(&json!({
            "success": exit == Exit::Done, "dry_run": true, "store_exists": store.is_some(), "database": plan.database,
            "uploads": plan.uploads, "sets": plan.sets, "problems": plan.problems,
        }))?;
        return Ok(exit);
    }
    term.line("Dry run: nothing is written.")?;
    if store.is_none() {
        term.line(format!("There is no store at {} yet; the backup would make it.", paths.store.display()))?;
    }
    render(context, &plan)?;
    plan.sets.iter().try_for_each(|found| sets::plan(context, found))?;
    Ok(exit)
}

fn render(context: &Context<'_>, plan: &Plan) -> Result<()> {
    let term = context.term;
    if let Some(half) = &plan.database {
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
