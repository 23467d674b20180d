//! `lrl backup`: the snapshot and the manual's set, and what the manual prints.

mod copy_to;
mod dry_run;
mod render;
mod sets;
mod site;
mod source_name;

use std::path::Path;
use std::time::{Duration, SystemTime};

use lrl_store::error::{Error, Place};
use lrl_store::fs::durable;
use lrl_store::ops::backup::{self, Options, Report};
use lrl_store::ops::select::Need;
use lrl_store::ops::{ls, restore};
use lrl_store::source::files::walk::Root;
use lrl_store::store::Store;

use self::copy_to::Second;
use self::render::{document, render, unused, with_second};
use super::shared::heading::heading;
use super::shared::{open, run_record, same_store};
use super::status;
use crate::args::BackupArgs;
use crate::args::values::{Every, KeepSets};
use crate::context::Context;
use crate::exit::{Exit, Result};
use crate::hint;
use crate::render::units;
use crate::resolve::Paths;

/// Waiting longer than this for the application's own lock helps nobody: it means that the application hangs.
const BUSY: Duration = Duration::from_secs(30);

/// Backs up, unless a young enough snapshot is there.
pub fn run(context: &Context<'_>, args: &BackupArgs) -> Result {
    run_as(context, args, false)
}

/// As [`run`]; `only_if_changed` adds no snapshot that has the contents of the newest one.
pub fn run_as(context: &Context<'_>, args: &BackupArgs, only_if_changed: bool) -> Result {
    let paths = context.paths()?;
    let term = context.term;
    require_data(context, &paths)?;
    if let Some(age) = args.if_older_than {
        let need = Need { database: !args.half.assets_only, uploads: !args.half.db_only };
        if let Some(young) = status::younger_than(context, &paths, age, need)? {
            return nothing_to_do(context, args, &paths, &young);
        }
    }
    if restore::is_unfinished(&paths.data_dir, paths.storage.to_restore())? {
        let dir = paths.data_dir.display();
        let text = format!(
            "a restore into {dir} was killed half way, so that its database and uploads are no pair; nothing was backed up. \
             `lrl restore --undo --data-dir {dir}` takes it back, or restore again"
        );
        return Err(Error::refused(text).into());
    }
    let mut options = options(context, args, &paths)?;
    options.only_if_changed = only_if_changed;
    if args.dry_run {
        return dry_run::run(context, &paths, options);
    }
    refuse_uploads_as_target(&options, &paths)?;
    same_store::refuse_gone(context, &paths.store)?;
    durable::create_dir(&paths.backup_dir)?;
    let created = open::create_if_missing(context, &paths.store)?;
    let store = open::open_to_fill(context, &paths, args.free.reserve)?;
    let last_run = run_record::read(context, &options.source);
    if last_run.is_none() {
        source_name::check(context, args, &store)?;
    }
    heading(context, "Backup");
    if created {
        term.detail(format!("made a new store at {}", paths.store));
    }
    if !args.half.db_only
        && context.site()?.is_manual()
        && let Some(notice) = paths.storage.notice()
    {
        term.note(notice);
    }
    if let Some(other) = last_run.and_then(|run| run.other_data_dir(&paths.data_dir)) {
        term.note(format!(
            "source `{}` was backed up from {} before: two directories in one source are one mixed history; give each its own --source",
            options.source,
            other.display()
        ));
    }
    let report = backup::backup(&store, &options, term)?;
    context.left.read_lock.set(
        report.databases_read.values().map(|read| read.held.locked.max(read.held.wal).as_secs_f64()).reduce(f64::max),
    );
    same_store::remember(context, &paths.store, &store.config().store_id);
    if report.unchanged {
        return unchanged(context, args, &store, &report);
    }
    unused(context, &options);
    let exit = render(context, &paths, &report);
    if report.sets.is_some() {
        sets::growth(context, args, &paths.backup_dir, &store);
    }
    let secrets = site::secrets(context.site()?);
    if report.set.is_some() && !secrets.is_empty() {
        term.note(format!("the set is not encrypted, and holds what is secret: {}", secrets.join(", ")));
    }
    let second = copy_to::copy(context, args, &store);
    let exit = with_second(exit, second.as_ref());
    if term.is_json() {
        let mut document = document(&paths, &report, exit);
        document.second_store = second.as_ref().map(Second::document);
        term.json(&document)?;
    }
    Ok(exit)
}

/// Fails where the directory with the data is not there.
pub fn require_data(context: &Context<'_>, paths: &Paths) -> Result<()> {
    if paths.data_dir.is_dir() {
        return Ok(());
    }
    let what = if context.site()?.is_manual() { Place::DataDir } else { Place::Root };
    Err(Error::NoStore { what, path: paths.data_dir.clone() }.into())
}

/// Copies to the second store only, as a backup does after its snapshot.
pub fn copy_alone(context: &Context<'_>, args: &BackupArgs) -> Result {
    let paths = context.paths()?;
    let second = copy_to::copy(context, args, &open::open(context, &paths)?);
    if let (Some(second), true) = (&second, context.term.is_json()) {
        context.term.json(&second.document())?;
    }
    Ok(with_second(Exit::Done, second.as_ref()))
}

/// The newest snapshot has everything; the second store may still lack it.
fn unchanged(context: &Context<'_>, args: &BackupArgs, store: &Store, report: &Report) -> Result {
    let lost = report.problems.iter().any(|problem| problem.lost);
    let exit = if lost { Exit::Incomplete } else { Exit::Done };
    let second = copy_to::copy(context, args, store);
    let exit = with_second(exit, second.as_ref());
    if context.term.is_json() {
        context.term.json(&serde_json::json!({
            "success": exit == Exit::Done, "unchanged": true, "snapshot": report.name.id, "sequence": report.name.sequence,
            "added_bytes": report.added_bytes, "problems": hint::problems(&report.problems), "second_store": second.as_ref().map(Second::document),
        }))?;
    }
    Ok(exit)
}

/// The newest snapshot is young enough; the second store may still lack it.
fn nothing_to_do(context: &Context<'_>, args: &BackupArgs, paths: &Paths, young: &str) -> Result {
    context.term.say(format!("Nothing to do: {young}"));
    let second = match args.copy_to.is_some() && !args.dry_run {
        true => copy_to::copy(context, args, &open::open(context, paths)?),
        false => None,
    };
    let exit = with_second(Exit::Done, second.as_ref());
    if context.term.is_json() {
        context.term.json(&serde_json::json!({
            "success": exit == Exit::Done, "skipped": true, "reason": young,
            "second_store": second.as_ref().map(Second::document),
        }))?;
    }
    Ok(exit)
}

/// Refuses, before anything is made there, to keep backups in an uploads directory itself: they would be backed up, and restored away.
fn refuse_uploads_as_target(options: &Options, paths: &Paths) -> Result<()> {
    let real = |path: &Path| std::fs::canonicalize(path).unwrap_or_else(|_| path.to_path_buf());
    for root in options.uploads.iter().flatten() {
        let places = paths.store.directory().into_iter().chain([&*paths.backup_dir]);
        if let Some(place) = places.into_iter().find(|place| real(place) == real(&root.path)) {
            let text =
                format!("{} is the uploads directory itself; keep backups in another directory", place.display());
            return Err(Error::refused(text).into());
        }
    }
    Ok(())
}

/// Returns the options of the manual's layout, without what every backup has. STORAGE_PATH may name the data directory: the live database is no
/// upload, whichever part is asked for.
fn lab(paths: &Paths, now: SystemTime) -> Options {
    let mut options = Options::new(&paths.data_dir, &paths.backup_dir, now);
    let storage = paths.storage.to_back_up().map(|path| Root { name: "storage".into(), path: path.to_path_buf() });
    options.uploads.iter_mut().for_each(|roots| roots.extend(storage.clone()));
    options
}

/// Returns what is backed up, and how.
pub fn options(context: &Context<'_>, args: &BackupArgs, paths: &Paths) -> Result<Options> {
    let (site, now) = (context.site()?, SystemTime::now());
    let mut options = match &site.root {
        Some(root) => site::options(site, root, paths, now)?,
        None => lab(paths, now),
    };
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    options.skip.push(paths.backup_dir.clone());
    options.skip.extend(paths.store.directory().map(Path::to_path_buf));
    // What a run writes is no reason for the next one.
    options.skip.extend(args.notify.metrics_file.clone());
    options.skip.extend(open::cache_dir(context).ok());
    options.stores_databases = !args.half.assets_only;
    options.uploads = options.uploads.filter(|_| !args.half.db_only);
    options.excludes = site::excludes(site, args)?
        .and_follow(args.follow_link.iter().map(|path| ls::clean(&units::typed_path(path.as_bytes()))).collect());
    options.out = (!args.snapshot_only).then(|| paths.backup_dir.clone());
    options.source = context.cli.global.source.clone();
    options.tags = args.tag.clone();
    options.host = host.trim().to_string();
    options.program = concat!("lrl ", env!("CARGO_PKG_VERSION")).into();
    options.rescan = args.rescan;
    options.max_shrink_percent = args.max_shrink;
    options.accept_shrink = args.accept_shrink;
    options.rescan_every = match args.rescan_every {
        Every::Never => None,
        Every::Time(time) => Some(time),
    };
    options.settle = args.settle_time;
    options.keep_sets = match args.keep_sets {
        KeepSets::All => None,
        KeepSets::Newest(count) => Some(count),
    };
    options.reserve = args.free.reserve;
    options.lock_wait = context.cli.global.lock_wait;
    options.busy = context.cli.global.lock_wait.min(BUSY);
    Ok(options)
}
