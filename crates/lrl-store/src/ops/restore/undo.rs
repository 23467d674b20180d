//! The verb `restore --undo`: exchanges what was there before the last restore with what that put there, so that a second undo takes
//! the first back. Also settles what a dead run left unfinished: a restore is taken back, an undo is finished, and what was in place
//! everywhere stays.

use std::path::{Path, PathBuf};

use super::file_identity::FileIdentity;
use super::journal::Journal;
use super::journal_record::{Record, VersionRecord, suffixes};
use super::model::{Moved, Part, Version};
use super::open_files::{Process, refuse_open};
use super::safety::find_open_files;
use super::sqlite_locks::AskLocks;
use super::staging_dir::reclaim;
use super::swap::{SwapTarget, is_settled, settle, swap};
use super::target::Target;
use crate::error::{Error, Result};
use crate::fs::resolve::OpenDirs;

/// How to undo.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct UndoOptions {
    /// Where `lrl.db` and `assets` are.
    pub data_dir: PathBuf,
    /// Where `storage/…` is.
    pub storage_dir: PathBuf,
    /// Report what would happen, change nothing.
    pub dry_run: bool,
    /// Undo even while processes have the files open.
    pub force: bool,
    /// Finds who holds SQLite's locks; without it only `/proc` is asked.
    #[doc(hidden)]
    pub locks: Option<AskLocks>,
}

impl UndoOptions {
    /// Undoes the last restore below `target`: `storage/…` is in `target/storage`.
    #[must_use]
    pub fn new(target: impl Into<PathBuf>) -> Self {
        let data_dir = target.into();
        Self { storage_dir: data_dir.join("storage"), data_dir, dry_run: false, force: false, locks: None }
    }
}

/// One target that changed.
#[derive(Debug, Clone)]
pub struct Returned {
    /// Its part.
    pub part: Part,
    /// Where it is.
    pub path: PathBuf,
    /// False where nothing is there now, as before.
    pub is_there: bool,
    /// What was there, and where it is kept.
    pub kept: Vec<Moved>,
}

/// What an undo did, or would do.
#[derive(Debug, Clone)]
pub struct Undone {
    /// True if nothing was changed.
    pub dry_run: bool,
    /// What had been restored, in words.
    pub from: String,
    /// The restore is in place again: an undo was undone.
    pub restored_again: bool,
    /// Every target.
    pub returned: Vec<Returned>,
    /// Processes that have the files open (with `force` or `dry_run`; otherwise they are a reason to refuse).
    #[doc(hidden)]
    pub holders: Vec<Process>,
    /// What an operator should know.
    pub notes: Vec<String>,
}

/// What became of a change that a dead run left unfinished.
pub(super) enum Resumed {
    /// There was none.
    Nothing,
    /// Everything was in place already: it counts as done.
    Done,
    /// One version was put in place.
    Settled(Undone),
}

fn swap_targets<'a>(record: &'a Record, targets: &'a [Target]) -> Vec<SwapTarget<'a>> {
    record.targets.iter().zip(targets).map(|(record, target)| SwapTarget { target, record, staged: None }).collect()
}

fn open_files(targets: &[SwapTarget<'_>], locks: Option<AskLocks>) -> Result<Vec<Process>> {
    let databases = targets.iter().flat_map(|one| one.record.databases_in_place(one.target)).collect();
    find_open_files(&targets.iter().map(|one| (one.target, one.record.part)).collect::<Vec<_>>(), databases, locks)
}

impl Undone {
    fn new(
        record: &Record,
        version: Version,
        targets: &[SwapTarget<'_>],
        holders: Vec<Process>,
        notes: Vec<String>,
    ) -> Self {
        let returned = targets.iter().map(|one| Returned {
            part: one.record.part,
            path: one.target.path(),
            is_there: one.record.version(version).main().is_some(),
            kept: one.record.moved(one.target, version.other()),
        });
        Self {
            dry_run: false,
            from: record.from.clone(),
            restored_again: version == Version::Restored,
            // Uploads change first; a report begins with the database.
            returned: returned.rev().collect(),
            holders,
            notes,
        }
    }
}

/// Returns whether a dead restore left the data directory unfinished: then it is no state to back up.
///
/// # Errors
///
/// If the directory or the journal in it cannot be read.
pub fn is_unfinished(data_dir: &Path, storage_dir: &Path) -> Result<bool> {
    let dirs = OpenDirs::default();
    let Some(journal) = Journal::open(&dirs, data_dir)? else { return Ok(false) };
    let Some(record) = journal.peek()? else { return Ok(false) };
    let found = record.find_targets(&dirs, data_dir, storage_dir)?;
    let targets = swap_targets(&record, &found);
    Ok(!is_settled(&targets, Version::Before)? && !is_settled(&targets, Version::Restored)?)
}

/// Settles what a dead run left unfinished.
pub(super) fn resume(
    dirs: &OpenDirs,
    data_dir: &Path,
    storage_dir: &Path,
    force: bool,
    locks: Option<AskLocks>,
) -> Result<Resumed> {
    let Some(journal) = Journal::open(dirs, data_dir)? else { return Ok(Resumed::Nothing) };
    let Some((pending, record)) = journal.pending()? else { return Ok(Resumed::Nothing) };
    let found = record.find_targets(dirs, data_dir, storage_dir)?;
    let targets = swap_targets(&record, &found);
    // An undo goes on below even if nothing is left to do: whoever asks for it again wants this one.
    if record.settle != record.live && is_settled(&targets, record.live)? {
        settle(&targets, record.live)?;
        pending.finish()?;
        return Ok(Resumed::Done);
    }
    let holders = open_files(&targets, locks)?;
    if !force {
        refuse_open(&holders)?;
    }
    let version = record.settle;
    let notes = settle(&targets, version)?;
    let mut undone = Undone::new(&record, version, &targets, holders, notes);
    if version == record.live {
        pending.finish()?;
    } else {
        pending.withdraw()?;
        // What had not come in place yet goes with the staging directory.
        undone.returned.iter_mut().for_each(|one| one.kept.retain(|(_, kept)| kept.symlink_metadata().is_ok()));
    }
    reclaim(journal.dir());
    found.iter().filter_map(|target| target.base.1.as_ref()).for_each(reclaim);
    Ok(Resumed::Settled(undone))
}

/// Brings back what was there before the last restore, or after it if that is undone.
///
/// # Errors
///
/// [`Error::NotFound`](crate::error::Error::NotFound) if there is nothing to undo, [`Error::Refused`](crate::error::Error::Refused) if
/// files changed since, or are in use.
pub fn undo(options: &UndoOptions) -> Result<Undone> {
    let (data_dir, storage_dir) = (&options.data_dir, &options.storage_dir);
    let nothing = || {
        Error::not_found(format!(
            "there is nothing to undo in {}: no restore of lrl is on record there. What is called *.pre-restore can be \
             renamed by hand",
            data_dir.display()
        ))
    };
    let dirs = &OpenDirs::default();
    let journal = Journal::open(dirs, data_dir)?.ok_or_else(nothing)?;
    if !options.dry_run {
        if let Resumed::Settled(undone) = resume(dirs, data_dir, storage_dir, options.force, options.locks)? {
            return Ok(undone);
        }
    } else if let Some(record) = journal.peek()? {
        let found = record.find_targets(dirs, data_dir, storage_dir)?;
        let targets = swap_targets(&record, &found);
        let done = record.settle != record.live && is_settled(&targets, record.live)?;
        let version = if done { record.live.other() } else { record.settle };
        let note = "a run that was killed left this half done: it would be settled first".to_string();
        let undone = Undone::new(&record, version, &targets, open_files(&targets, options.locks)?, vec![note]);
        return Ok(Undone { dry_run: true, ..undone });
    }
    let last = journal.last()?.ok_or_else(nothing)?;
    let found = last.find_targets(dirs, data_dir, storage_dir)?;
    let version = last.live.other();
    let mut notes = Vec::new();
    let record = turned(&last, &found, version, storage_dir, &mut notes)?;
    let targets = swap_targets(&record, &found);
    targets.iter().try_for_each(|one| one.target.refuse_mount())?;
    let holders = open_files(&targets, options.locks)?;
    if options.dry_run {
        return Ok(Undone { dry_run: true, ..Undone::new(&record, version, &targets, holders, notes) });
    }
    if !options.force {
        refuse_open(&holders)?;
    }
    notes.extend(swap(&journal, &record, &targets)?);
    Ok(Undone::new(&record, version, &targets, holders, notes))
}

/// Describes the way back, and refuses one on which something is missing.
fn turned(
    last: &Record,
    found: &[Target],
    version: Version,
    storage: &Path,
    notes: &mut Vec<String>,
) -> Result<Record> {
    let mut records = Vec::new();
    let mut missing = Vec::new();
    for (record, target) in last.targets.iter().zip(found) {
        let kept = record.version(version);
        for suffix in suffixes(record.part) {
            let name = kept.kept(suffix);
            let path = target.kept_path(&name);
            let member = kept.members.iter().find(|member| member.suffix == suffix);
            let is_same = |member: &FileIdentity, stat: &rustix::fs::Stat| {
                target.kept_dir().is_some_and(|dir| member.is_unchanged(stat, dir, &name))
            };
            match (member, target.kept_stat(&name)?) {
                (None, None) => {}
                (Some(_), None) => missing.push(format!("{} is not there any more", path.display())),
                (Some(member), Some(stat)) if !is_same(member, &stat) => {
                    missing.push(format!("{} is not as it was kept", path.display()));
                }
                (Some(_), Some(_)) => {}
                (None, Some(_)) => notes.push(format!("{} came later and stays where it is", path.display())),
            }
        }
        let live = VersionRecord::find(target, &target.name, &target.free_name(version.other())?, record.part)?;
        let back = VersionRecord::find_again(target, kept)?;
        records.push(match version {
            Version::Before => record.with(back, live),
            Version::Restored => record.with(live, back),
        });
    }
    if missing.is_empty() {
        return Ok(Record::new(last.from.clone(), storage, version, version, records));
    }
    Err(Error::refused(format!(
        "the restore from {} cannot be undone: {}. Nothing was changed; what is left of it can be renamed by hand",
        last.from,
        missing.join("; ")
    )))
}
