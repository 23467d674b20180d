//! Owns the last step of a restore: what was staged takes its place, and a record says how to go back.

use std::os::fd::OwnedFd;
use std::sync::Arc;

use rustix::fs::{AtFlags, statat};

use super::Options;
use super::journal::Desk;
use super::journal_record::{Half, Member, Record, Side, Target};
use super::report::Part;
use super::swap::{Moved, Seat, swap};
use super::target::Place;
use crate::error::{Error, Result};
use crate::fs::dir::to_path;
use crate::fs::resolve::Doors;

/// Something staged, and where it goes.
pub(super) struct Incoming<'a> {
    /// Where to.
    pub place: &'a Place,
    /// What it is.
    pub part: Part,
    /// The directory that holds it now.
    pub from: &'a Arc<OwnedFd>,
    /// Its name there.
    pub name: &'a [u8],
}

/// What is where once all is in place.
pub(super) struct Placed {
    /// For each, what was moved away to where.
    pub moved: Vec<Vec<Moved>>,
    /// Bytes that it takes.
    pub kept_bytes: u64,
    /// What an operator should know.
    pub notes: Vec<String>,
}

/// Puts everything in place, or nothing. The data directory is there, also if nothing goes into it.
pub(super) fn place(doors: &Doors, options: &Options, from: String, incoming: &[Incoming<'_>]) -> Result<Placed> {
    let desk = Desk::of(doors, &options.data_dir)?;
    let targets = incoming.iter().map(|one| one.target(options)).collect::<Result<Vec<_>>>()?;
    let record = Record::new(from, &options.storage_dir, Side::Restored, Side::Before, targets);
    let seats = incoming.iter().zip(&record.targets).map(|(one, target)| Seat {
        place: one.place,
        target,
        staged: Some((Arc::clone(one.from), one.name.to_vec())),
    });
    let seats: Vec<Seat<'_>> = seats.collect();
    let notes = swap(&desk, &record, &seats)?;
    let moved = seats.iter().map(|seat| seat.target.moved(seat.place, Side::Before)).collect();
    let kept_bytes = record.targets.iter().map(|target| target.space(Side::Before)).sum();
    Ok(Placed { moved, kept_bytes, notes })
}

impl Incoming<'_> {
    fn target(&self, options: &Options) -> Result<Target> {
        let place = self.place;
        let stat = statat(self.from, self.name, AtFlags::SYMLINK_NOFOLLOW);
        let stat = stat.map_err(|e| Error::io("look at", to_path(self.name))(e.into()))?;
        // A database that appeared meanwhile must not be taken for nothing: what is there is looked at now.
        let before = Half::find(place, &place.name, &place.free_name(Side::Before.ending())?, self.part)?;
        let restored = Half::of(Member::new("", &stat, None), &place.free_name(Side::Restored.ending())?);
        Ok(Target::new(self.part, place, &options.data_dir, before, restored))
    }
}
