//! `lrl restore`: a snapshot or a set back in place; says what is where now, and under which name the old state is kept.

use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use clap::parser::ValueSource;
use lrl_store::backend::location::Location;
use lrl_store::error::Error;
use lrl_store::ops::consistency;
use lrl_store::ops::restore::{self, Moved, Options, Part, Report, What};
use lrl_store::ops::select::Need;
use serde_json::json;

use super::{Context, choose, clean, hint, open, undo};
use crate::args::{RestoreArgs, Verb};
use crate::exit::{Exit, Failure, Result};
use crate::locks;
use crate::render::units::{self, safe};
use crate::resolve::{self, Paths, STORAGE_DEFAULT, Storage};

/// Damaged paths that are printed; `--json` has more.
const SHOWN: usize = 1000;

/// Where a restore writes to.
pub struct Places {
    /// Where `lrl.db` and `assets` go.
    pub data_dir: PathBuf,
    /// Where `storage/…` goes.
    pub storage: PathBuf,
    /// It is where the application reads.
    is_live: bool,
    /// `./storage` is there, and not where `storage/…` goes.
    passes_storage: bool,
}

impl Places {
    /// What is restored elsewhere than where the application's data is lies there altogether: it must not overwrite half of the
    /// live data.
    pub fn of(context: &Context<'_>, args: &RestoreArgs) -> Result<Self> {
        let matches = context.matches.subcommand().map_or(context.matches, |(_, sub)| sub);
        let is_named = matches.value_source("data_dir") == Some(ValueSource::CommandLine);
        if let Some(target) = &args.target {
            if is_named {
                return Err(Failure::Usage("--target and --data-dir name the same thing: give one of them".into()));
            }
            let (data_dir, storage) = (target.clone(), target.join("storage"));
            return Ok(Self { data_dir, storage, is_live: false, passes_storage: false });
        }
        let paths = context.paths()?;
        let usual = std::env::var_os("LAB_DATA_DIR").filter(|value| !value.is_empty()).map(PathBuf::from);
        let usual = usual.unwrap_or_else(|| context.file.value("data-dir").unwrap_or("./data").into());
        let is_live = !is_named || is_same(&paths.data_dir, &usual);
        let below = paths.data_dir.join("storage");
        let (storage, passes_storage) = match paths.storage {
            Storage::Named(path) => (path, false),
            Storage::Found(_) if !is_live => (below, true),
            Storage::Absent(_) if !is_live => (below, false),
            Storage::Found(path) | Storage::Absent(path) => (path, false),
        };
        Ok(Self { data_dir: paths.data_dir, storage, is_live, passes_storage })
    }
}

fn is_same(one: &Path, other: &Path) -> bool {
    let real = |path: &Path| std::fs::canonicalize(path).or_else(|_| std::path::absolute(path));
    matches!((real(one), real(other)), (Ok(one), Ok(other)) if one == other)
}

/// Restores, or says what a restore would do.
pub fn run(context: &Context<'_>, args: &RestoreArgs) -> Result {
    let done = match (args.undo, args.clean) {
        (true, _) => undo::run(context, args),
        (_, true) => clean::run(context, args),
        (false, false) => restore(context, args),
    };
    done.map_err(|failure| advised(context, args, failure))
}

/// Says of a failure what works from here.
fn advised(context: &Context<'_>, args: &RestoreArgs, failure: Failure) -> Failure {
    let hint = failure.hint().map(str::to_string);
    let Failure::Engine(error) = failure else { return failure };
    let skips = "everything else can be restored: `lrl restore --skip-damaged`; `lrl check --read-data --repair --from DIR` looks \
                 for what is lost in sets, live data or another store";
    let hint = match &error {
        Error::Corrupt { .. } | Error::Missing { .. } if args.manifest.is_none() && !args.undo && !args.clean => {
            Some(format!("{skips}; {}", hint.unwrap_or_default()))
        }
        _ => hint,
    };
    let message = hint::complete(context, &error.to_string());
    Failure::Advised { message, hint: hint.map(|hint| hint::complete(context, &hint)), error }
}

fn restore(context: &Context<'_>, args: &RestoreArgs) -> Result {
    let paths = context.paths()?;
    let places = Places::of(context, args)?;
    let what = match (args.path.as_slice(), args.half.db_only, args.half.assets_only) {
        ([], true, _) => What::DbOnly,
        ([], _, true) => What::AssetsOnly,
        ([], false, false) => What::Whole,
        (named, _, _) => What::Paths(named.iter().map(|path| path.as_os_str().as_bytes().to_vec()).collect()),
    };
    let options = Options {
        data_dir: places.data_dir.clone(),
        storage_dir: places.storage.clone(),
        what,
        owner: args.owner.as_ref().map(resolve::owner_ids).transpose()?,
        dry_run: args.dry_run,
        force: args.force,
        skip_damaged: args.skip_damaged,
        no_keep: args.no_keep,
        locks: Some(locks::ask),
    };
    let (report, from) = if let Some(manifest) = &args.manifest {
        refuse_contradiction(context, &paths, manifest, args.force)?;
        (restore::restore_set(manifest, &options, context.term)?, format!("set {}", manifest.display()))
    } else {
        let store = open::open(context, &paths)?;
        let wanted = need(&options.what);
        let (name, snapshot) = match choose::choose(context, &store, &args.snapshot, wanted, args.force) {
            // No snapshot has both halves: then the newest half is better than nothing, and the report says what it lacks.
            Err(Failure::Engine(Error::NotFound(_))) if options.what == What::Whole => {
                choose::choose(context, &store, &args.snapshot, Need::default(), args.force)?
            }
            found => found?,
        };
        let newest = store.snapshot_names(Some(&name.source))?.pop();
        if let (true, Some(newest)) = (args.snapshot == "latest" || args.snapshot == "good", newest)
            && newest != name
            && store.snapshot(&newest).is_ok_and(|snapshot| !wanted.is_met(&snapshot))
        {
            context.term.note(format!("snapshot {} is newer, but lacks a part of what is restored", newest.id.short()));
        }
        let options = match &options.what {
            What::Paths(paths) => {
                let typed = paths.iter().map(|path| choose::typed_path(&store, &snapshot, path)).collect();
                Options { what: What::Paths(typed), ..options }
            }
            _ => options,
        };
        let report = restore::restore(&store, &name, &snapshot, &options, context.term)?;
        (report, format!("snapshot {} of {}", name.id.short(), snapshot.timestamp))
    };
    let restores_storage = report.restored.iter().any(|one| one.path.starts_with(&places.storage));
    if places.passes_storage && restores_storage {
        context.term.note(format!(
            "storage/ went to {}; {STORAGE_DEFAULT} was left alone: set STORAGE_PATH to restore it there",
            places.storage.display()
        ));
    }
    render(context, &report, &from, places.is_live && args.path.is_empty())
}

/// Compares a set with the snapshot that it names, where the store beside it or the one in force has that. No store is needed for a restore.
fn refuse_contradiction(context: &Context<'_>, paths: &Paths, manifest: &Path, force: bool) -> Result<()> {
    let beside = Location::Directory(resolve::default_store(manifest.parent().unwrap_or(Path::new(""))));
    let is_beside =
        context.cli.global.store.is_none() && beside.directory().is_some_and(|dir| dir.join("config").is_file());
    let place = if is_beside { &beside } else { &paths.store };
    // A set restores without the network, too.
    if place.directory().is_none() {
        return Ok(());
    }
    let found = open::open_at(context, place).and_then(|store| consistency::contradiction(&store, manifest));
    match found {
        Ok(Some(what)) => {
            let text = format!("{} is not what its snapshot says: {what}", manifest.display());
            if !force {
                return Err(Failure::Contradicted(text));
            }
            context.term.warn(text);
        }
        Ok(None) => {}
        Err(Error::Interrupted) => return Err(Error::Interrupted.into()),
        Err(error) => context.term.detail(format!("the set is not compared with its snapshot: {error}")),
    }
    Ok(())
}

/// `latest` is the newest that holds what is asked for.
fn need(what: &What) -> Need {
    match what {
        What::Whole => Need { database: true, uploads: true },
        What::DbOnly => Need { database: true, uploads: false },
        What::AssetsOnly => Need { database: false, uploads: true },
        What::Paths(paths) => Need {
            database: paths.iter().any(|path| path == b"lrl.db"),
            uploads: paths.iter().any(|path| path != b"lrl.db"),
        },
    }
}

fn render(context: &Context<'_>, report: &Report, from: &str, is_live: bool) -> Result {
    let term = context.term;
    let (done, kept) = if report.dry_run { ("Would restore", "would be kept as") } else { ("Restored", "is kept as") };
    term.say(format!("{done} from {from}:"));
    for restored in &report.restored {
        let path = safe(&restored.path.to_string_lossy()).into_owned();
        let what = match restored.part {
            Part::Database => format!("database, {} bytes", restored.bytes),
            Part::Uploads | Part::Path => {
                format!("{}, {} bytes", units::count(restored.files, "file"), restored.bytes)
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
        term.note(hint::complete(context, note));
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
        term.warn(format!("{} {verb}: the store has lost them{rest}", units::count(skipped, "path")));
    }
    if report.dry_run {
        term.say("\nNothing was written.");
        if skipped == 0 && is_skipping(context) {
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
            term.say(hint::complete(context, &kept));
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
        term.note(hint::complete(context, &older));
    }
    if term.is_json() {
        term.json(&document(report, from, exit))?;
    }
    Ok(exit)
}

fn is_skipping(context: &Context<'_>) -> bool {
    matches!(&context.cli.command, Verb::Restore(args) if args.skip_damaged)
}

fn document(report: &Report, from: &str, exit: Exit) -> serde_json::Value {
    let restored: Vec<_> = report
        .restored
        .iter()
        .map(|r| {
            let kept = kept_document(&r.kept);
            json!({ "part": r.part, "path": r.path.to_string_lossy(), "files": r.files, "bytes": r.bytes, "kept": kept })
        })
        .collect();
    json!({
        "success": exit == Exit::Done, "dry_run": report.dry_run, "from": from, "timestamp": report.timestamp, "restored": restored,
        "files": report.files, "directories": report.dirs, "links": report.links, "bytes": report.bytes,
        "skipped": report.skipped, "more_skipped": report.more_skipped, "removed_bytes": report.dropped,
        "kept_bytes": report.kept_bytes, "older_copies": report.older.copies, "older_bytes": report.older.bytes,
        "holders": report.holders.iter().map(ToString::to_string).collect::<Vec<_>>(), "notes": report.notes,
    })
}

/// Returns what is kept under which name.
pub(super) fn kept_document(kept: &[Moved]) -> serde_json::Value {
    kept.iter().map(|(was, now)| json!({ "was": was.to_string_lossy(), "kept_as": now.to_string_lossy() })).collect()
}
