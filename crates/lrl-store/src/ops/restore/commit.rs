//! Owns the last step of a restore: what was staged takes its place, and a record says how to go back.

use std::os::fd::OwnedFd;
use std::sync::Arc;

use rustix::fs::{AtFlags, statat};

use super::Options;
use super::journal::Journal;
use super::journal_record::{FileIdentity, Record, TargetRecord, Version, VersionRecord};
use super::report::Part;
use super::swap::{Moved, SwapTarget, swap};
use super::target::Target;
use crate::error::{Error, Result};
use crate::fs::dir::to_path;
use crate::fs::resolve::OpenDirs;

/// Something staged, and where it goes.
pub(super) struct Staged<'a> {
    /// Where to.
    pub place: &'a Target,
    /// What it is.
    pub part: Part,
    /// The directory that holds it now.
    pub from: &'a Arc<OwnedFd>,
    /// Its name there.
    pub name: &'a [u8],
}

/// What is where once all is in place.
pub(super) struct Committed {
    /// For each, what was moved away to where.
    pub moved: Vec<Vec<Moved>>,
    /// Bytes that it takes.
    pub kept_bytes: u64,
    /// What an operator should know.
    pub notes: Vec<String>,
}

/// Puts everything in place, or nothing. The data directory is there, also if nothing goes into it.
pub(super) fn place(doors: &OpenDirs, options: &Options, from: String, incoming: &[Staged<'_>]) -> Result<Committed> {
    let desk = Journal::of(doors, &options.data_dir)?;
    let targets = incoming.iter().map(|one| one.target(options)).collect::<Result<Vec<_>>>()?;
    let record = Record::new(from, &options.storage_dir, Version::Restored, Version::Before, targets);
    let seats = incoming.iter().zip(&record.targets).map(|(one, target)| SwapTarget {
        place: one.place,
        target,
        staged: Some((Arc::clone(one.from), one.name.to_vec())),
    });
    let seats: Vec<SwapTarget<'_>> = seats.collect();
    let notes = swap(&desk, &record, &seats)?;
    let moved = seats.iter().map(|seat| seat.target.moved(seat.place, Version::Before)).collect();
    let kept_bytes = record.targets.iter().map(|target| target.space(Version::Before)).sum();
    Ok(Committed { moved, kept_bytes, notes })
}

impl Staged<'_> {
    fn target(&self, options: &Options) -> Result<TargetRecord> {
        let place = self.place;
        let stat = statat(self.from, self.name, AtFlags::SYMLINK_NOFOLLOW);
        let stat = stat.map_err(|e| Error::io("look at", to_path(self.name))(e.into()))?;
        // A database that appeared meanwhile must not be taken for nothing: what is there is looked at now.
        let before = VersionRecord::find(place, &place.name, &place.free_name(Version::Before.ending())?, self.part)?;
        let restored =
            VersionRecord::of(FileIdentity::new("", &stat, None), &place.free_name(Version::Restored.ending())?);
        Ok(TargetRecord::new(self.part, place, &options.data_dir, before, restored))
    }
}
