//! `lrl restore --table`: rows of a snapshot back into the live database. The plan first; then, if whoever is asked agrees, a snapshot of now
//! and the rows.

use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use lrl_store::error::Error;
use lrl_store::format::path_text;
use lrl_store::format::snapshot::{BEFORE_RESTORE, Database, Snapshot};
use lrl_store::ops::restore::{self, Options as FileOptions, UndoOptions, What};
use lrl_store::ops::restore_rows::{self, Mode, Named, Options, Plan, Undone};
use lrl_store::ops::select::Need;
use lrl_store::store::{SnapshotName, Store};
use serde_json::json;

use super::next_step;
use super::places::{Places, is_same};
use crate::args::{RestoreArgs, Verb};
use crate::cmd::backup;
use crate::cmd::shared::{choose, database, line, open};
use crate::context::Context;
use crate::exit::{Exit, Failure, Result};
use crate::locks;
use crate::render::units::{self, safe};
use crate::term::Term;

/// Shows the plan, and does it.
pub fn run(context: &Context<'_>, args: &RestoreArgs, table: &str) -> Result {
    let term = context.term;
    let rows = &args.rows;
    let paths = context.paths()?;
    let places = Places::of(context, args)?;
    let store = open::open(context, &paths)?;
    let need = Need { database: true, uploads: false };
    let (name, snapshot) = choose::choose(context, &store, &args.snapshot, need, args.force)?;
    places.require_root(&snapshot, &args.snapshot)?;
    places.require_source(context, &store, (&name, &snapshot))?;
    let part = database::pick(&snapshot, rows.database.as_deref())?;
    let temp = std::env::temp_dir();
    let mode = match (rows.missing_only, rows.replace) {
        (true, _) => Mode::MissingOnly,
        (_, true) => Mode::Replace,
        (false, false) => Mode::Careful,
    };
    let live = places.data_dir.join(Path::new(std::ffi::OsStr::from_bytes(&part.path)));
    let options = Options {
        table,
        condition: rows.condition.as_deref(),
        mode,
        triggers: !rows.no_triggers,
        live,
        temp: &temp,
        busy: context.cli.global.lock_wait,
        time_limit: rows.time_limit,
    };
    let named = named(context, &snapshot, part)?;
    let of_files =
        restore_rows::Places { root: places.data_dir.clone(), storage: places.storage.clone(), named: &named };
    let prepared = restore_rows::prepare(&store, &snapshot, part, &options, &of_files, term)?;
    let from = format!("snapshot {} of {}", name.id.short(), snapshot.timestamp);
    show(context, &prepared.plan, &from, rows.no_triggers);
    let plan = &prepared.plan;
    let document = |done: bool| {
        let files: Vec<String> = plan.files.iter().map(|path| path_text::encode(path)).collect();
        json!({ "success": true, "dry_run": !done, "snapshot": name.id, "plan": plan, "files": files, "from": from })
    };
    let finish = |done: bool| -> Result {
        if term.is_json() {
            term.json(&document(done))?;
        }
        Ok(Exit::Done)
    };
    if mode == Mode::Careful && plan.counts.differ > 0 && !args.dry_run {
        return Err(Error::refused(format!(
            "{} of {} with other values: --missing-only leaves them as they are, --replace gives them the snapshot's values. \
             Nothing was changed; {} shows them",
            units::count(plan.counts.differ, "row"),
            if plan.counts.differ == 1 { "the snapshot is there" } else { "the snapshot are there" },
            next_step::complete(context, &format!("`lrl diff {} live --rows {table}`", args.snapshot)),
        ))
        .into());
    }
    let is_nothing = plan.counts.come + plan.counts.change == 0 && plan.files.is_empty() && !plan.creates;
    if is_nothing && !args.dry_run {
        restore_rows::note_idle(&places.data_dir, &format!("rows of {} from {from}", safe(&plan.table)))?;
    }
    if args.dry_run || is_nothing {
        term.say(if is_nothing { "\nThere is nothing to restore." } else { "\nNothing was changed." });
        return finish(false);
    }
    if !rows.yes && !term.confirm("This writes into the application's database. Go on?")? {
        return Err(Error::Refused("nothing was changed: the answer was not yes".into()).into());
    }
    let is_usual =
        places.is_live || snapshot.root.as_ref().is_some_and(|root| is_same(&places.data_dir, Path::new(&root.path)));
    if is_usual {
        snapshot_of_now(context, &name)?;
    } else {
        term.note("no snapshot of now was made: this is not where the application's data usually is");
    }
    let files = !plan.files.is_empty();
    if files {
        bring_files(context, &store, (&name, &snapshot), &places, plan.files.clone())?;
    }
    let shown = path_text::encode(&part.path);
    let done = restore_rows::commit(&prepared, &options, &places.data_dir, (&shown, &from, files), term);
    if let (Err(_), true) = (&done, files) {
        restore::undo(&undo_options(&places))?;
        term.note("the files that had been restored were taken back");
    }
    let counts = done?;
    term.say(format!(
        "\nRestored: {} came, {} changed. To go back: `lrl restore --undo`.",
        units::count(counts.come, "row"),
        counts.change
    ));
    finish(true)
}

/// Returns how the rows of a database name files.
fn named(context: &Context<'_>, snapshot: &Snapshot, part: &Database) -> Result<Vec<Named>> {
    let is_first = snapshot.databases.first().is_some_and(|first| first.path == part.path);
    let is_meant = |database: Option<&String>| database.map_or(is_first, |path| path.as_bytes() == part.path);
    let checks = context.site()?.checks.iter().filter(|check| is_meant(check.database.as_ref()));
    let mut named: Vec<Named> = checks.map(|check| Named::Query(check.rows.clone())).collect();
    if snapshot.root.is_none() {
        named.push(Named::Assets);
    }
    Ok(named)
}

fn show(context: &Context<'_>, plan: &Plan, from: &str, no_triggers: bool) {
    let term = context.term;
    let names = |list: &[String]| list.iter().map(|name| safe(name).into_owned()).collect::<Vec<_>>().join(", ");
    let found_by = if plan.key.is_empty() { "as whole rows".into() } else { format!("by {}", names(&plan.key)) };
    term.say(format!("Rows of {} from {from}, found {found_by}:", safe(&plan.table)));
    if plan.creates {
        term.say("  the table is not there: it is made, with its indexes and triggers");
    }
    let counts = &plan.counts;
    term.say(format!("  {:>8}  come: they are not there", counts.come));
    if counts.change > 0 {
        term.say(format!("  {:>8}  change: they are there with other values", counts.change));
    }
    if counts.differ > 0 {
        term.say(format!("  {:>8}  are there with other values, and stay as they are", counts.differ));
    }
    term.say(format!("  {:>8}  stay: they are there already", counts.stay));
    if !plan.triggers.is_empty() {
        let runs = if no_triggers { "do not run (--no-triggers)" } else { "run: what else they change is not undone" };
        term.say(format!("  triggers of the table that {runs}: {}", names(&plan.triggers)));
    }
    if !plan.refers_to.is_empty() {
        term.say(format!("  rows refer to: {}", names(&plan.refers_to)));
    }
    if !plan.rebuilds.is_empty() {
        term.say(format!("  full text indexes that are made again: {}", names(&plan.rebuilds)));
    }
    if !plan.files.is_empty() {
        const SHOWN: usize = 10;
        term.say(format!("  {} that the rows name come with them:", units::count(plan.files.len() as u64, "file")));
        plan.files.iter().take(SHOWN).for_each(|path| term.say(format!("    {}", units::path(path))));
        if let more @ 1.. = plan.files.len().saturating_sub(SHOWN) {
            term.say(format!("    and {more} more"));
        }
    }
    if plan.lost_files > 0 {
        term.warn(format!(
            "{} that the rows name are neither there nor in the snapshot",
            units::count(plan.lost_files, "file")
        ));
    }
}

/// Makes a snapshot of the databases as they are, so that nothing that the application wrote is lost whatever happens.
fn snapshot_of_now(context: &Context<'_>, name: &SnapshotName) -> Result<()> {
    let (tag, source) = (format!("--tag={BEFORE_RESTORE}"), format!("--source={}", name.source));
    let extra = ["--db-only".into(), "--snapshot-only=true".into(), tag, source];
    let mut line = line::line(context, "backup", &extra)?;
    if let Verb::Backup(args) = &mut line.cli.command {
        args.copy_to = None;
    }
    let term = Term::of_step(&context.cli.global);
    let of_backup = line.context(context, &term);
    let Verb::Backup(args) = &line.cli.command else {
        return Err(Failure::Usage("lrl backup cannot be run".into()));
    };
    let done = backup::run(&of_backup, args);
    let document = term.document();
    let exit = done?;
    if !matches!(exit, Exit::Done | Exit::Incomplete | Exit::SetFailed) {
        return Err(Error::Refused("the snapshot of now could not be made: nothing was changed".into()).into());
    }
    let id =
        document.as_ref().and_then(|document| document["snapshot"]["id"].as_str().or(document["snapshot"].as_str()));
    let id = id.and_then(|id| id.get(..8)).map(|id| format!(" {id}")).unwrap_or_default();
    context.term.say(format!("\nSnapshot of now{id}: made, before anything is changed"));
    Ok(())
}

fn bring_files(
    context: &Context<'_>,
    store: &Store,
    (name, snapshot): (&SnapshotName, &Snapshot),
    places: &Places,
    files: Vec<Vec<u8>>,
) -> Result<()> {
    let mut options = FileOptions::new(&places.data_dir);
    options.storage_dir.clone_from(&places.storage);
    options.only_below = places.only_below;
    options.what = What::Paths(files);
    options.locks = Some(locks::ask);
    let report = restore::restore(store, name, snapshot, &options, context.term)?;
    context.term.say(format!("{} restored", units::count(report.files, "file")));
    Ok(())
}

fn undo_options(places: &Places) -> UndoOptions {
    let mut options = UndoOptions::new(&places.data_dir);
    options.storage_dir = places.storage.clone();
    options.locks = Some(locks::ask);
    options
}

/// Takes the last restore of rows back, or does it again.
pub fn undo(context: &Context<'_>, args: &RestoreArgs, places: &Places) -> Result {
    let term = context.term;
    let busy = context.cli.global.lock_wait;
    let undone = restore_rows::undo(&places.data_dir, busy, args.dry_run, term)?;
    if undone.files && !args.dry_run {
        restore::undo(&undo_options(places))?;
    }
    let Undone { from, table, rows, restored_again, files, dry_run } = &undone;
    let what = match (dry_run, restored_again) {
        (false, false) => "Undone: the restore of",
        (false, true) => "In place again: the restore of",
        (true, false) => "Would undo the restore of",
        (true, true) => "Would put in place again the restore of",
    };
    term.say(format!("{what} {} of {} from {from}", units::count(*rows, "row"), safe(table)));
    if *files {
        term.say(if *restored_again {
            "  with the files that the rows name"
        } else {
            "  and of the files that came with them"
        });
    }
    if *dry_run {
        term.say("\nNothing was changed.");
    }
    if term.is_json() {
        term.json(&json!({
            "success": true, "dry_run": dry_run, "from": from, "table": table, "rows": rows,
            "restored_again": restored_again, "files": files,
        }))?;
    }
    Ok(Exit::Done)
}
