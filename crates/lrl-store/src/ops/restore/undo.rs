//! The verb `restore --undo`: what was there before the last restore changes places with what that put there, so that a second
//! one takes the first back. Also takes up what a dead run left half done: a restore is taken back, an undo is finished, and what
//! was in place everywhere stays.

use std::path::{Path, PathBuf};

use super::journal::Journal;
use super::journal_record::{FileIdentity, Record, Version, VersionRecord, suffixes};
use super::open_files;
use super::open_files::Process;
use super::report::{Part, refuse_holders};
use super::safety::{watch_database, watch_tree};
use super::sqlite_locks::AskLocks;
use super::staging_dir::reclaim;
use super::swap::{Moved, SwapTarget, is_settled, settle, swap};
use super::target::Target;
use crate::error::{Error, Result};
use crate::fs::resolve::OpenDirs;

/// How to undo.
#[derive(Debug, Clone)]
pub struct UndoOptions {
    /// Where `lrl.db` and `assets` are.
    pub data_dir: PathBuf,
    /// Where `storage/…` is.
    pub storage_dir: PathBuf,
    /// Says what would happen and changes nothing.
    pub dry_run: bool,
    /// Goes on while processes have the files open.
    pub force: bool,
    /// Finds who holds SQLite's locks; `None`: only `/proc` is asked.
    pub locks: Option<AskLocks>,
}

/// One target that changed.
#[derive(Debug, Clone)]
pub struct Returned {
    /// What it is.
    pub part: Part,
    /// Where it is.
    pub path: PathBuf,
    /// False where nothing stands there now, as before.
    pub is_there: bool,
    /// What stood there, and the name under which it is kept.
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
    /// Who has the files open (with `force` or `dry_run`; otherwise they are a reason to refuse).
    pub holders: Vec<Process>,
    /// What an operator should know.
    pub notes: Vec<String>,
}

/// What became of a change that a dead run had begun.
pub(super) enum Resumed {
    /// There was none.
    Nothing,
    /// A restore after which everything was in place already; it counts as done.
    Done,
    /// One side was put in place.
    Settled(Undone),
}

fn seats<'a>(record: &'a Record, places: &'a [Target]) -> Vec<SwapTarget<'a>> {
    record.targets.iter().zip(places).map(|(target, place)| SwapTarget { place, target, staged: None }).collect()
}

fn find_holders(seats: &[SwapTarget<'_>], locks: Option<AskLocks>) -> Result<Vec<Process>> {
    let mut watched = Vec::new();
    for seat in seats {
        match seat.target.part {
            Part::Database => watch_database(seat.place, &mut watched)?,
            Part::Uploads | Part::Path => watch_tree(seat.place, &mut watched),
        }
    }
    Ok(open_files::find(&watched, locks))
}

impl Undone {
    fn new(
        record: &Record,
        side: Version,
        seats: &[SwapTarget<'_>],
        holders: Vec<Process>,
        notes: Vec<String>,
    ) -> Self {
        let returned = seats.iter().map(|seat| Returned {
            part: seat.target.part,
            path: seat.place.path(),
            is_there: seat.target.half(side).main().is_some(),
            kept: seat.target.moved(seat.place, side.other()),
        });
        Self {
            dry_run: false,
            from: record.from.clone(),
            restored_again: side == Version::Restored,
            // Uploads change first; a report begins with the database.
            returned: returned.rev().collect(),
            holders,
            notes,
        }
    }
}

/// Says whether a dead restore left something half done in the data directory: then it is no state to back up.
pub fn is_half_done(data_dir: &Path, storage_dir: &Path) -> Result<bool> {
    let doors = OpenDirs::default();
    let Some(desk) = Journal::open(&doors, data_dir)? else { return Ok(false) };
    let Some(record) = desk.look()? else { return Ok(false) };
    let places = record.places(&doors, data_dir, storage_dir)?;
    let seats = seats(&record, &places);
    Ok(!is_settled(&seats, Version::Before)? && !is_settled(&seats, Version::Restored)?)
}

/// Takes up what a dead run left half done.
pub(super) fn resume(
    doors: &OpenDirs,
    data_dir: &Path,
    storage_dir: &Path,
    force: bool,
    locks: Option<AskLocks>,
) -> Result<Resumed> {
    let Some(desk) = Journal::open(doors, data_dir)? else { return Ok(Resumed::Nothing) };
    let Some((intent, record)) = desk.intent()? else { return Ok(Resumed::Nothing) };
    let places = record.places(doors, data_dir, storage_dir)?;
    let seats = seats(&record, &places);
    // An undo goes on below, though nothing is left to do: whoever asks for it again wants this one.
    if record.settle != record.live && is_settled(&seats, record.live)? {
        settle(&seats, record.live)?;
        intent.finish()?;
        return Ok(Resumed::Done);
    }
    let holders = find_holders(&seats, locks)?;
    if !force {
        refuse_holders(&holders)?;
    }
    let side = record.settle;
    let notes = settle(&seats, side)?;
    let mut undone = Undone::new(&record, side, &seats, holders, notes);
    if side == record.live {
        intent.finish()?;
    } else {
        intent.withdraw()?;
        // What had not come in place yet goes with the staging directory.
        undone.returned.iter_mut().for_each(|one| one.kept.retain(|(_, kept)| kept.symlink_metadata().is_ok()));
    }
    reclaim(desk.dir());
    places.iter().filter_map(|place| place.base.1.as_ref()).for_each(reclaim);
    Ok(Resumed::Settled(undone))
}

/// Brings back what was there before the last restore, or after it if that is undone.
pub fn undo(options: &UndoOptions) -> Result<Undone> {
    let (data_dir, storage_dir) = (&options.data_dir, &options.storage_dir);
    let nothing = || {
        Error::NotFound(format!(
            "there is nothing to undo in {}: no restore of lrl is on record there. What is called *.pre-restore can be \
             renamed by hand",
            data_dir.display()
        ))
    };
    let doors = &OpenDirs::default();
    let desk = Journal::open(doors, data_dir)?.ok_or_else(nothing)?;
    if !options.dry_run {
        if let Resumed::Settled(undone) = resume(doors, data_dir, storage_dir, options.force, options.locks)? {
            return Ok(undone);
        }
    } else if let Some(record) = desk.look()? {
        let places = record.places(doors, data_dir, storage_dir)?;
        let seats = seats(&record, &places);
        let done = record.settle != record.live && is_settled(&seats, record.live)?;
        let side = if done { record.live.other() } else { record.settle };
        let note = "a run that was killed left this half done: it would be settled first".to_string();
        let undone = Undone::new(&record, side, &seats, find_holders(&seats, options.locks)?, vec![note]);
        return Ok(Undone { dry_run: true, ..undone });
    }
    let last = desk.last()?.ok_or_else(nothing)?;
    let places = last.places(doors, data_dir, storage_dir)?;
    let side = last.live.other();
    let mut notes = Vec::new();
    let record = turned(&last, &places, side, storage_dir, &mut notes)?;
    let seats = seats(&record, &places);
    seats.iter().try_for_each(|seat| seat.place.refuse_mount())?;
    let holders = find_holders(&seats, options.locks)?;
    if options.dry_run {
        return Ok(Undone { dry_run: true, ..Undone::new(&record, side, &seats, holders, notes) });
    }
    if !options.force {
        refuse_holders(&holders)?;
    }
    notes.extend(swap(&desk, &record, &seats)?);
    Ok(Undone::new(&record, side, &seats, holders, notes))
}

/// Describes the way back, and refuses one on which something is missing.
fn turned(last: &Record, places: &[Target], side: Version, storage: &Path, notes: &mut Vec<String>) -> Result<Record> {
    let mut targets = Vec::new();
    let mut missing = Vec::new();
    for (target, place) in last.targets.iter().zip(places) {
        let kept = target.half(side);
        for suffix in suffixes(target.part) {
            let name = kept.kept(suffix);
            let path = place.kept_path(&name);
            let member = kept.members.iter().find(|member| member.suffix == suffix);
            let is_same = |member: &FileIdentity, stat: &rustix::fs::Stat| {
                place.kept_dir().is_some_and(|dir| member.is_unchanged(stat, dir, &name))
            };
            match (member, place.kept_stat(&name)?) {
                (None, None) => {}
                (Some(_), None) => missing.push(format!("{} is not there any more", path.display())),
                (Some(member), Some(stat)) if !is_same(member, &stat) => {
                    missing.push(format!("{} is not as it was kept", path.display()));
                }
                (Some(_), Some(_)) => {}
                (None, Some(_)) => notes.push(format!("{} came later and stays where it is", path.display())),
            }
        }
        let live = VersionRecord::find(place, &place.name, &place.free_name(side.other().ending())?, target.part)?;
        let back = VersionRecord::find_again(place, kept)?;
        targets.push(match side {
            Version::Before => target.with(back, live),
            Version::Restored => target.with(live, back),
        });
    }
    if missing.is_empty() {
        return Ok(Record::new(last.from.clone(), storage, side, side, targets));
    }
    Err(Error::Refused(format!(
        "the restore from {} cannot be undone: {}. Nothing was changed; what is left of it can be renamed by hand",
        last.from,
        missing.join("; ")
    )))
}
