//! The verb `restore`: plan, stage beside the target, prove, swap by rename. What is replaced is kept, and a restore that fails leaves
//! everything as it was.

mod barriers;
mod clean;
mod commit;
mod file_identity;
mod find_target;
mod from_set;
mod from_site_set;
mod from_snapshot;
mod journal;
mod journal_record;
mod links;
mod listing;
mod model;
mod move_contents;
mod open_files;
mod plan;
mod plan_site;
mod plan_space;
mod remove_kept;
mod rename;
mod report;
mod safety;
mod selection;
mod set_list;
mod set_parts;
mod set_tree;
mod site;
mod snapshot_listing;
mod source;
mod sqlite_locks;
mod stage_database;
mod stage_file;
mod stage_inside;
mod stage_set;
mod stage_tree;
mod staging_dir;
mod swap;
mod swap_contents;
mod target;
mod target_dirs;
mod tree_plan;
mod tree_size;
mod undo;

#[cfg(test)]
mod tests;

use std::path::Path;

pub use clean::{CleanOptions, Cleaned, Removed, clean};
pub use model::{Moved, Older, Options, Part, Report, Restored, What};
pub use sqlite_locks::{AskLocks, LockHolder, lock_holder};
pub use undo::{Returned, UndoOptions, Undone, is_unfinished, undo};

use crate::error::Result;
use crate::format::snapshot::{RootDir, Snapshot};
use crate::fs::lock;
use crate::fs::metadata::{Metadata, set_all};
use crate::hint::Message;
use crate::progress::{Observer, Phase, checkpoint};
use crate::set::manifest::Manifest;
use crate::set::own_files;
use crate::store::{SnapshotName, Store};
use crate::time::Time;
use from_set::SetSource;
use from_site_set::{SiteSetSource, is_of_site};
use from_snapshot::SnapshotSource;
use open_files::refuse_open;
use safety::find_open_files;
use source::{Run, Source};
use target_dirs::StagingDirs;
use undo::Resumed;

/// Restores from a snapshot in a store.
///
/// # Errors
/// [`Error::Refused`](crate::error::Error::Refused) if the files are in use, do not fit on the disk or cannot be replaced safely,
/// [`Error::NotFound`](crate::error::Error::NotFound) if the snapshot does not hold what is asked for,
/// [`Error::Corrupt`](crate::error::Error::Corrupt) or [`Error::Missing`](crate::error::Error::Missing) if the store is damaged.
/// After any error everything is as it was.
pub fn restore(
    store: &Store,
    name: &SnapshotName,
    snapshot: &Snapshot,
    options: &Options,
    observer: &dyn Observer,
) -> Result<Report> {
    let run = Run::new(options, observer);
    restore_from(&run, &snapshot.timestamp, |notes| SnapshotSource::plan(&run, store, name, snapshot, notes))
}

/// Restores from the set that a manifest describes, also one that another program wrote.
///
/// # Errors
/// As [`restore`]; [`Error::Corrupt`](crate::error::Error::Corrupt) also if a file does not have the SHA-256 that the manifest states.
pub fn restore_set(manifest_path: &Path, options: &Options, observer: &dyn Observer) -> Result<Report> {
    let _held = lock::hold(manifest_path);
    let manifest = Manifest::read(manifest_path)?;
    let run = Run::new(options, observer);
    let stamp = &manifest.timestamp_utc;
    // Of the manual's layout, too, single paths are put in place as those of a site are.
    if is_of_site(&manifest) || matches!(options.what, What::Paths(_)) {
        return restore_from(&run, stamp, |notes| SiteSetSource::plan(&run, &manifest, manifest_path, notes));
    }
    restore_from(&run, stamp, |notes| SetSource::plan(&run, &manifest, manifest_path, notes))
}

/// Returns whether the set of a manifest is of a site, which is restored below a root of its own.
///
/// # Errors
/// As [`restore_set`], about the manifest.
pub fn is_set_of_site(manifest_path: &Path) -> Result<bool> {
    Ok(is_of_site(&Manifest::read(manifest_path)?))
}

/// The road of every restore.
fn restore_from<S: Source>(
    run: &Run<'_>,
    timestamp: &str,
    plan: impl FnOnce(&mut Vec<Message>) -> Result<S>,
) -> Result<Report> {
    let (options, observer) = (run.options, run.observer);
    let mut report = Report { timestamp: timestamp.into(), dry_run: options.dry_run, ..Report::default() };
    own_files::refuse_in_store(&options.data_dir)?;
    report.notes = resume_interrupted(run)?.into_iter().map(Into::into).collect();
    let mut source = plan(&mut report.notes)?;
    report.holders = find_open_files(&source.targets(), source.databases_in_trees(), options.locks)?;
    if !options.dry_run && !options.force {
        refuse_open(&report.holders)?;
    }
    source.prove(run, &mut report.notes)?;
    if options.dry_run {
        source.dry_run(run, &mut report)?;
        report.skip(source.take_skipped());
        return Ok(report);
    }

    observer.phase(Phase::Restore, source.bytes());
    let mut dirs = StagingDirs::new(&run.dirs, source.dir_owner(run));
    let is_new = dirs.create_dir(&options.data_dir)?;
    source.targets_mut().into_iter().try_for_each(|target| dirs.open(target))?;
    let reuse = source.stage(run, &mut dirs, &mut report)?;
    checkpoint(observer)?;
    dirs.sync()?;
    if !options.force {
        refuse_open(&find_open_files(&source.targets(), source.databases_in_trees(), options.locks)?)?;
    }

    let root = source.root_dir().filter(|_| is_new);
    let root_metadata = |mtime: Option<Time>, root: &RootDir| {
        let owner = run.owners.of((root.uid, root.gid));
        let metadata = Metadata { mode: root.mode, owner, owner_is_required: run.owners.all.is_some(), mtime };
        let dir = run.dirs.open(&options.data_dir)?;
        let xattrs = (root.xattrs.as_slice(), run.counts.xattrs(run.owners));
        dir.map_or(Ok(true), |dir| set_all(dir, &metadata, Some(xattrs), true, &options.data_dir))
    };
    if let Some(root) = root {
        run.counts.owner(root_metadata(None, root)?);
    }
    let staged = source.staged(&dirs)?;
    let committed = commit::commit(&run.dirs, options, source.description(), &staged)?;
    dirs.keep_created();
    let dropped = if options.no_keep {
        Some(clean::drop_kept(&run.dirs, &options.data_dir, &staged, &committed.moved)?)
    } else {
        None
    };
    let databases = staged.iter().filter(|one| one.part == Part::Database).count();
    report.commit(committed, databases);
    report.drop_kept(dropped);
    if let Some(root) = root {
        // Everything is in place: a time that cannot be set is no error.
        let _ = root_metadata(Some(root.mtime), root);
    }
    report.skip(source.take_skipped());
    report.finish(reuse, &run.counts, run.owners);
    Ok(report)
}

/// Settles what a killed run left unfinished, before anything is planned; returns notes.
fn resume_interrupted(run: &Run<'_>) -> Result<Vec<String>> {
    let options = run.options;
    let (data_dir, storage_dir) = (&options.data_dir, &options.storage_dir);
    if options.dry_run {
        let note = "a restore that was killed left this half done: it would be taken back first";
        return Ok(if is_unfinished(data_dir, storage_dir)? { vec![note.into()] } else { Vec::new() });
    }
    let resumed = undo::resume(&run.dirs, data_dir, storage_dir, options.force, options.locks)?;
    let Resumed::Settled(undone) = resumed else { return Ok(Vec::new()) };
    let done = if undone.restored_again { "finished" } else { "taken back" };
    let mut notes = vec![format!("a change of the data directory that was killed was {done} first: {}", undone.from)];
    let kept = undone.returned.iter().flat_map(|one| &one.kept);
    notes.extend(kept.map(|(was, now)| format!("{} is kept as {}", was.display(), now.display())));
    notes.extend(undone.notes);
    Ok(notes)
}
