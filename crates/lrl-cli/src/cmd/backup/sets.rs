//! What a backup says of the sets in its directory: how much they take, which old ones went, and which stay for what reason.

use std::path::Path;

use lrl_store::ops::backup::Sets;
use lrl_store::store::Store;

use crate::args::BackupArgs;
use crate::args::values::KeepSets;
use crate::cmd::shared::sets_growth;
use crate::context::Context;
use crate::exit::Result;
use crate::render::units;

/// The number of kept sets that are named on the terminal; `--json` names all.
const MOST_NAMED: usize = 5;

/// Says how the sets are after a run.
pub fn render(context: &Context<'_>, sets: &Sets) {
    let term = context.term;
    term.say(taken(sets));
    for set in &sets.removed {
        term.say(format!("  removed {}; `lrl export {}` makes it again", set.timestamp, set.snapshot.short()));
    }
    kept(sets).into_iter().for_each(|line| term.say(line));
}

/// Says that the sets outgrow the store, where all of them are kept.
pub fn growth(context: &Context<'_>, args: &BackupArgs, dir: &Path, store: &Store) {
    if args.keep_sets == KeepSets::All
        && let Some(text) = sets_growth::look(dir, Some(store)).and_then(|growth| growth.note())
    {
        context.term.note(text);
    }
}

/// Says which sets a run would remove.
pub fn plan(context: &Context<'_>, sets: &Sets) -> Result<()> {
    let term = context.term;
    term.line(taken(sets))?;
    for set in &sets.removed {
        let (stamp, id) = (&set.timestamp, set.snapshot.short());
        term.line(format!("  {stamp} would be removed; `lrl export {id}` makes it again"))?;
    }
    kept(sets).into_iter().try_for_each(|line| term.line(line))
}

fn taken(sets: &Sets) -> String {
    format!("Sets: {}, {} on disk", sets.count, units::size(sets.disk_bytes))
}

fn kept(sets: &Sets) -> Vec<String> {
    let named = sets.kept.iter().take(MOST_NAMED);
    let mut lines: Vec<String> =
        named.map(|kept| format!("  kept {}: {}", units::safe(&kept.name), units::safe(&kept.reason))).collect();
    if sets.kept.len() > MOST_NAMED {
        lines.push(format!("  kept {} more, which --json names", sets.kept.len() - MOST_NAMED));
    }
    lines
}
