//! `lrl restore`: a snapshot or a set back in place; says what is where now, and under which name the old state is kept.

use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use lrl_store::error::Error;
use lrl_store::ops::restore::{self, Moved, Options, Part, Report, What};
use lrl_store::ops::select::Need;
use lrl_store::ops::sound;
use serde_json::json;

use super::{Context, store, undo};
use crate::args::RestoreArgs;
use crate::exit::{Exit, Failure, Result};
use crate::locks;
use crate::render::units::{self, safe};
use crate::resolve::{self, Paths, Place};

/// Restores, or says what a restore would do.
pub fn run(context: &Context<'_>, args: &RestoreArgs) -> Result {
    if args.undo {
        return undo::run(context, args);
    }
    let paths = context.paths()?;
    let what = match (&args.path, args.half.db_only, args.half.assets_only) {
        (Some(path), _, _) => What::Path(path.as_os_str().as_bytes().to_vec()),
        (None, true, _) => What::DbOnly,
        (None, _, true) => What::AssetsOnly,
        (None, false, false) => What::Whole,
    };
    let options = Options {
        data_dir: paths.data_dir.clone(),
        storage_dir: paths.storage.to_restore().to_path_buf(),
        what,
        owner: args.owner.as_ref().map(resolve::owner_ids).transpose()?,
        dry_run: args.dry_run,
        force: args.force,
        locks: Some(locks::ask),
    };
    let (report, from) = if let Some(manifest) = &args.manifest {
        refuse_contradiction(context, &paths, manifest, args.force)?;
        (restore::restore_set(manifest, &options, context.term)?, format!("set {}", manifest.display()))
    } else {
        let store = store::open(context, &paths)?;
        let wanted = need(&options.what);
        let (name, snapshot) = match store::choose(context, &store, &args.snapshot, wanted, args.force) {
            // No snapshot has both halves: then the newest half is better than nothing, and the report says what it lacks.
            Err(Failure::Engine(Error::NotFound(_))) if options.what == What::Whole => {
                store::choose(context, &store, &args.snapshot, Need::default(), args.force)?
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
            What::Path(path) => Options { what: What::Path(store::typed_path(&store, &snapshot, path)), ..options },
            _ => options,
        };
        let report = restore::restore(&store, &name, &snapshot, &options, context.term)?;
        (report, format!("snapshot {} of {}", name.id.short(), snapshot.timestamp))
    };
    render(context, &report, &from)
}

/// Compares a set with the snapshot that it names, where the store beside it or the one in force has that. No store is needed for a restore.
fn refuse_contradiction(context: &Context<'_>, paths: &Paths, manifest: &Path, force: bool) -> Result<()> {
    let beside = Place::Directory(resolve::default_store(manifest.parent().unwrap_or(Path::new(""))));
    let is_beside =
        context.cli.global.store.is_none() && beside.directory().is_some_and(|dir| dir.join("config").is_file());
    let place = if is_beside { &beside } else { &paths.store };
    // A set restores without the network, too.
    if place.directory().is_none() {
        return Ok(());
    }
    let found = store::open_at(context, place).and_then(|store| sound::contradiction(&store, manifest));
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
        What::Path(path) if path == b"lrl.db" => Need { database: true, uploads: false },
        What::Path(_) => Need { database: false, uploads: true },
    }
}

fn render(context: &Context<'_>, report: &Report, from: &str) -> Result {
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
        term.note(note);
    }
    if report.dry_run {
        term.say("\nNothing was written.");
    } else {
        term.say("\nRestore completed successfully! Start the application, and look at it.");
        if report.restored.iter().any(|restored| !restored.kept.is_empty()) {
            term.say(format!(
                "When all is well, remove what is kept: it takes {}. To go back: `lrl restore --undo`.",
                units::size(report.kept_bytes)
            ));
        }
    }
    if report.older.copies > 0 {
        term.note(format!(
            "earlier restores left {} beside it, which take {}: --undo does not know them",
            units::count(report.older.copies, "kept copy|kept copies"),
            units::size(report.older.bytes)
        ));
    }
    if term.is_json() {
        term.json(&document(report, from))?;
    }
    Ok(Exit::Done)
}

fn document(report: &Report, from: &str) -> serde_json::Value {
    let restored: Vec<_> = report
        .restored
        .iter()
        .map(|r| {
            let kept = kept_document(&r.kept);
            json!({ "part": r.part, "path": r.path.to_string_lossy(), "files": r.files, "bytes": r.bytes, "kept": kept })
        })
        .collect();
    json!({
        "success": true, "dry_run": report.dry_run, "from": from, "timestamp": report.timestamp, "restored": restored,
        "files": report.files, "directories": report.dirs, "links": report.links, "bytes": report.bytes,
        "kept_bytes": report.kept_bytes, "older_copies": report.older.copies, "older_bytes": report.older.bytes,
        "holders": report.holders.iter().map(ToString::to_string).collect::<Vec<_>>(), "notes": report.notes,
    })
}

/// Returns what is kept under which name.
pub(super) fn kept_document(kept: &[Moved]) -> serde_json::Value {
    kept.iter().map(|(was, now)| json!({ "was": was.to_string_lossy(), "kept_as": now.to_string_lossy() })).collect()
}
