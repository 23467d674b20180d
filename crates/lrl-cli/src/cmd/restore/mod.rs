//! `lrl restore`: a snapshot or a set back in place; says what is where now, and under which name the old state is kept.

mod clean;
mod next_step;
mod places;
mod render;
mod table;
mod undo;

use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use lrl_store::backend::location::Location;
use lrl_store::error::Error;
use lrl_store::ops::restore::{self, Options, What};
use lrl_store::ops::restore_rows;
use lrl_store::ops::select::Need;
use lrl_store::ops::verify_snapshot;

use self::places::Places;
use self::render::render;
use super::shared::{choose, open};
use crate::args::RestoreArgs;
use crate::context::Context;
use crate::exit::{Failure, Result};
use crate::hint;
use crate::locks;
use crate::resolve::{self, Paths, STORAGE_DEFAULT};

/// Restores, or says what a restore would do.
pub fn run(context: &Context<'_>, args: &RestoreArgs) -> Result {
    let done = match (args.undo, args.clean) {
        _ if args.rows.table.is_some() => table::run(context, args, args.rows.table.as_deref().unwrap_or_default()),
        (true, _) => undo::run(context, args),
        (_, true) => clean::run(context, args),
        (false, false) => restore(context, args),
    };
    done.map_err(|failure| advised(context, args, failure))
}

/// Says of a failure what works from here.
fn advised(context: &Context<'_>, args: &RestoreArgs, failure: Failure) -> Failure {
    let hint: Option<String> = failure.hint().map(Into::into);
    let Failure::Engine(error) = failure else { return failure };
    let skips = "everything else can be restored: `lrl restore --skip-damaged`; `lrl check --read-data --repair --from DIR` looks \
                 for what is lost in sets, live data or another store";
    let of_set = "nothing was changed; --manifest takes a backup_manifest_….json; `lrl drill --manifest FILE` tells what is wrong with a set, and \
                  another one, or a snapshot (`lrl snapshots`), may be whole";
    let hint = match &error {
        Error::Corrupt { .. } | Error::Missing { .. } if args.manifest.is_some() => Some(of_set.into()),
        Error::Corrupt { .. } | Error::Missing { .. }
            if args.manifest.is_none() && args.rows.table.is_none() && !args.undo && !args.clean =>
        {
            Some(format!("{skips}; {}", hint.unwrap_or_default()))
        }
        _ => hint,
    };
    let message = hint::completed(&error, &|hint| next_step::complete(context, hint));
    Failure::Advised { message, hint: hint.map(|hint| next_step::complete(context, &hint)), error }
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
    let mut options = Options::new(&places.data_dir);
    options.storage_dir.clone_from(&places.storage);
    options.only_below = places.only_below;
    options.own =
        paths.store.directory().map(Path::to_path_buf).into_iter().chain([paths.backup_dir.clone()]).collect();
    options.what = what;
    options.owner = args.owner.as_ref().map(resolve::owner_ids).transpose()?;
    options.dry_run = args.dry_run;
    options.force = args.force;
    options.skip_damaged = args.skip_damaged;
    options.no_keep = args.no_keep;
    options.locks = Some(locks::ask);
    let is_site;
    let (report, from) = if let Some(manifest) = &args.manifest {
        refuse_contradiction(context, &paths, manifest, args.force)?;
        is_site = restore::is_set_of_site(manifest)?;
        if is_site {
            places.require_named(context, manifest)?;
        }
        (restore::restore_set(manifest, &options, context.term)?, format!("set {}", manifest.display()))
    } else {
        let store = open::open(context, &paths)?;
        let wanted = need(&options.what);
        let (name, snapshot) = match choose::choose(context, &store, &args.snapshot, wanted, args.force) {
            // No snapshot has both halves: then the newest half is better than nothing, and the report says what it lacks.
            Err(Failure::Engine(Error::NotFound(_))) if options.what == What::Whole => {
                choose::choose(context, &store, &args.snapshot, Need::default(), args.force)?
            }
            // A path of a site may be a database or a file.
            Err(Failure::Engine(error @ Error::NotFound(_))) if matches!(options.what, What::Paths(_)) => {
                let any = choose::choose(context, &store, &args.snapshot, Need::default(), args.force)?;
                if any.1.root.is_none() {
                    return Err(error.into());
                }
                any
            }
            found => found?,
        };
        is_site = snapshot.root.is_some();
        places.require_root(&snapshot, &args.snapshot)?;
        places.require_source(context, &store, (&name, &snapshot))?;
        let newest = store.snapshot_names(Some(&name.source))?.pop();
        if let (true, Some(newest)) = (args.snapshot == "latest" || args.snapshot == "good", newest)
            && newest != name
            && store.snapshot(&newest).is_ok_and(|snapshot| !wanted.is_met(&snapshot))
        {
            context.term.note(format!("snapshot {} is newer, but lacks a part of what is restored", newest.id.short()));
        }
        if let What::Paths(paths) = &mut options.what {
            paths.iter_mut().for_each(|path| *path = choose::typed_path(&store, &snapshot, path));
        }
        let report = restore::restore(&store, &name, &snapshot, &options, context.term)?;
        (report, format!("snapshot {} of {}", name.id.short(), snapshot.timestamp))
    };
    if !args.dry_run {
        // The last restore is this one now.
        restore_rows::forget(&places.data_dir)?;
    }
    let restores_storage = report.restored.iter().any(|one| one.path.starts_with(&places.storage));
    if places.passes_storage && restores_storage && !is_site {
        context.term.note(format!(
            "storage/ went to {}; {STORAGE_DEFAULT} was left alone: set STORAGE_PATH to restore it there",
            places.storage.display()
        ));
    }
    let is_live = places.is_live || is_site && !places.only_below;
    render(context, &report, &from, is_live && args.path.is_empty())
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
    let found = open::open_at(context, place).and_then(|store| verify_snapshot::contradiction(&store, manifest));
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
