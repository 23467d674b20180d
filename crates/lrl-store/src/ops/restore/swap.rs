//! Owns the renames by which one side takes the place of the other. It goes by what stands where, so that it can take up any
//! state that a dead run left: at every point each target is wholly one side or the other, no database stands beside the `-wal`
//! or `-journal` of another, and nothing is overwritten but a database that has just got a further name.

use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::Arc;

use rustix::fs::{AtFlags, FileType, Mode, RenameFlags, Stat, linkat, renameat, renameat_with, unlinkat};
use rustix::io::Errno;

use super::journal::Journal;
use super::journal_record::{FileIdentity, Record, TargetRecord, Version, VersionRecord};
use super::report::Part;
use super::swap_contents::ContentsSwap;
use super::target::{SIDECARS, Target};
use crate::error::{Error, Result};
use crate::fs::dir::to_path;
use crate::fs::resolve::{hold, look, set_mode};
use crate::fs::unsupported::sync_dir;

/// A former path and the one under which it is kept.
pub type Moved = (PathBuf, PathBuf);

type Dir = Arc<OwnedFd>;
pub(super) type Spot = (Dir, Vec<u8>);

/// A target where it is now.
pub(super) struct SwapTarget<'a> {
    /// Where.
    pub place: &'a Target,
    /// What changes there.
    pub target: &'a TargetRecord,
    /// Where the restored thing was made ready, as long as this run lives.
    pub staged: Option<Spot>,
}

/// Does all of a record, or nothing. Returns what an operator should know.
pub(super) fn swap(desk: &Journal, record: &Record, seats: &[SwapTarget<'_>]) -> Result<Vec<String>> {
    let intent = desk.begin(record)?;
    let done = settle(seats, record.live).and_then(|notes| intent.finish().map(|()| notes));
    done.map_err(|error| match settle(seats, record.live.other()).and_then(|_| intent.withdraw()) {
        Ok(()) => error,
        Err(undo) => Error::Refused(format!(
            "{error}; and it could not be taken back ({undo}). Nothing is lost: `lrl restore --undo` puts back what was there"
        )),
    })
}

/// Puts one side in place everywhere, durably, from whatever state.
pub(super) fn settle(seats: &[SwapTarget<'_>], side: Version) -> Result<Vec<String>> {
    let mut notes = Vec::new();
    seats.iter().try_for_each(|seat| seat.put(side, &mut notes))?;
    for seat in seats {
        step(|| sync_dir(seat.dir()?)).map_err(|e| Error::io("sync", &seat.place.dir_path)(e.into()))?;
    }
    Ok(notes)
}

/// Says whether one side is in place everywhere, with all that belongs to it.
pub(super) fn is_settled(seats: &[SwapTarget<'_>], side: Version) -> Result<bool> {
    seats.iter().try_fold(true, |all, seat| Ok(all && seat.is_settled(side)?))
}

/// Every change goes through here, so that tests can stop at each.
pub(super) fn step<T>(act: impl FnOnce() -> Result<T, Errno>) -> Result<T, Errno> {
    #[cfg(test)]
    faults::hit()?;
    act()
}

/// Renames without replacing anything.
pub(super) fn rename_new((from, name): (&Dir, &[u8]), (to, to_name): (&Dir, &[u8])) -> Result<(), Errno> {
    step(|| match renameat_with(from, name, to, to_name, RenameFlags::NOREPLACE) {
        // Some network file systems cannot promise it in one go: look, then move.
        Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => match look(to, to_name)? {
            None => renameat(from, name, to, to_name),
            Some(_) => Err(Errno::EXIST),
        },
        done => done,
    })
}

fn is_unsupported(e: Errno) -> bool {
    matches!(e, Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP | Errno::PERM | Errno::MLINK | Errno::XDEV)
}

fn is_file(stat: &Stat) -> bool {
    FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile
}

impl SwapTarget<'_> {
    fn dir(&self) -> Result<&Dir, Errno> {
        self.place.dir.as_ref().ok_or(Errno::NOENT)
    }

    fn failed(&self, e: Errno) -> Error {
        match e {
            Errno::BUSY => self.place.mount_error(),
            Errno::XDEV => Error::Refused(format!(
                "{} is on another file system or mount than the directory beside it: it cannot be renamed to there. Nothing was \
                 changed; restore to another --data-dir",
                self.place.path().display()
            )),
            Errno::EXIST => self.changed(),
            e => Error::io("rename", self.place.path())(e.into()),
        }
    }

    fn changed(&self) -> Error {
        Error::Refused(format!(
            "{} changed while it was restored: something else writes there. Nothing was changed; stop it and try again",
            self.place.path().display()
        ))
    }

    fn live(&self, suffix: &str) -> Vec<u8> {
        [self.place.name.as_slice(), suffix.as_bytes()].concat()
    }

    fn is_settled(&self, side: Version) -> Result<bool> {
        if let Some(contents) = self.contents() {
            return contents.is_settled(side);
        }
        let mine = self.target.half(side);
        let main = self.place.stat_of(&self.place.name)?;
        let mut settled = is_that(mine.main(), main.as_ref());
        for member in mine.sidecars() {
            settled &= !self.place.stat_of(&mine.kept(&member.suffix))?.is_some_and(|stat| member.is(&stat));
        }
        for member in self.target.half(side.other()).sidecars() {
            settled &= !self.place.stat_of(&self.live(&member.suffix))?.is_some_and(|stat| member.is(&stat));
        }
        Ok(settled)
    }

    fn contents(&self) -> Option<ContentsSwap<'_>> {
        ContentsSwap::of(self.place, self.target)
    }

    fn put(&self, side: Version, notes: &mut Vec<String>) -> Result<()> {
        if let Some(contents) = self.contents() {
            return contents.put(side, self.staged.as_ref());
        }
        let (mine, other) = (self.target.half(side), self.target.half(side.other()));
        let main = self.place.stat_of(&self.place.name)?;
        if !is_that(mine.main(), main.as_ref()) {
            if main.is_some() && !is_that(other.main(), main.as_ref()) {
                return Err(self.changed());
            }
            self.change_places(side, mine, other, main.as_ref()).map_err(|e| self.failed(e))?;
        }
        self.tidy(side, mine, other).map_err(|e| self.failed(e))?;
        self.keep_twin(side, mine, other).map_err(|e| self.failed(e))?;
        self.bring_sidecars(mine, notes)
    }

    fn change_places(
        &self,
        side: Version,
        mine: &VersionRecord,
        other: &VersionRecord,
        live: Option<&Stat>,
    ) -> Result<(), Errno> {
        let dir = self.dir()?;
        let from = mine.main().map(|member| self.find(side, member).map(|spot| (member, spot))).transpose()?;
        let (name, away) = (self.live(""), other.kept(""));
        // First the further name: from then on the other file is complete under it, whatever happens.
        let linked = match (&from, live) {
            (Some((member, _)), Some(stat)) if member.is_file() && is_file(stat) => self.link(stat, &name, &away)?,
            _ => false,
        };
        if self.target.part == Part::Database {
            for suffix in SIDECARS {
                if look(dir, &self.live(suffix))?.is_some() {
                    rename_new((dir, &self.live(suffix)), (dir, &other.kept(suffix)))?;
                }
            }
            // A power cut may keep later names and lose earlier ones: the other file must not be gone, nor its journal be left.
            step(|| sync_dir(dir))?;
        }
        match (from, live) {
            (None, _) => rename_new((dir, &name), (dir, &away)),
            (Some((_, (from, at))), Some(_)) if linked => step(|| renameat(&from, at, dir, name)),
            (Some((member, spot)), None) => self.move_in(member, &spot, &name),
            (Some((member, spot)), Some(_)) => self.exchange(member, spot, mine, &away),
        }
    }

    /// Finds where the thing itself stands that is not in place.
    fn find(&self, side: Version, member: &FileIdentity) -> Result<Spot, Errno> {
        let dir = self.dir()?;
        let staged = self.staged.clone().filter(|_| side == Version::Restored);
        let kept = [side, side.other()].map(|side| (Arc::clone(dir), self.target.half(side).kept("")));
        for (dir, name) in staged.into_iter().chain(kept) {
            if look(&dir, &name)?.is_some_and(|stat| member.is(&stat)) {
                return Ok((dir, name));
            }
        }
        Err(Errno::NOENT)
    }

    fn link(&self, stat: &Stat, name: &[u8], kept: &[u8]) -> Result<bool, Errno> {
        let dir = self.dir()?;
        match step(|| linkat(dir, name, dir, kept, AtFlags::empty())) {
            Ok(()) => Ok(true),
            Err(Errno::EXIST) if look(dir, kept)?.is_some_and(|there| there.st_ino == stat.st_ino) => Ok(true),
            // No links here, or not to other people's files.
            Err(e) if is_unsupported(e) || e == Errno::ACCESS => Ok(false),
            Err(e) => Err(e),
        }
    }

    /// Mine takes the name under which the other one is to be kept, for a moment; then both change places in one step.
    fn exchange(&self, member: &FileIdentity, spot: Spot, mine: &VersionRecord, away: &[u8]) -> Result<(), Errno> {
        let (dir, name) = (self.dir()?, self.live(""));
        if spot.1 != away {
            self.move_in(member, &spot, away)?;
        }
        match step(|| renameat_with(dir, away, dir, name.as_slice(), RenameFlags::EXCHANGE)) {
            // Without exchange there is a moment without the name, but never one without the data.
            Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => {
                let aside = mine.kept("");
                rename_new((dir, away), (dir, &aside))?;
                rename_new((dir, &name), (dir, away))?;
                rename_new((dir, &aside), (dir, &name))
            }
            done => done,
        }
    }

    /// A directory that its owner may not write cannot change parents (unless for root): it gets the right until it has moved.
    fn move_in(&self, member: &FileIdentity, (from, at): &Spot, name: &[u8]) -> Result<(), Errno> {
        let dir = self.dir()?;
        let mode = Mode::from_raw_mode(member.mode & 0o7777);
        let closed = member.is_dir() && !Arc::ptr_eq(from, dir) && !mode.contains(Mode::WUSR);
        // By its handle: once it has moved, another may stand under its name.
        let held = if closed { Some(hold(from, at)?) } else { None };
        held.as_ref().map_or(Ok(()), |held| set_mode(held, member.mode | 0o200))?;
        let moved = rename_new((from, at), (dir, name));
        held.map_or(Ok(()), |held| set_mode(held, member.mode)).and(moved)
    }

    /// What has come in place has no further name; what has gone stands where it is kept, or where it was made ready.
    fn tidy(&self, side: Version, mine: &VersionRecord, other: &VersionRecord) -> Result<(), Errno> {
        let dir = self.dir()?;
        if let Some(member) = mine.main().filter(|member| member.is_file())
            && look(dir, &mine.kept(""))?.is_some_and(|stat| member.is(&stat) && stat.st_nlink > 1)
        {
            step(|| unlinkat(dir, mine.kept(""), AtFlags::empty()))?;
        }
        let Some(member) = other.main() else { return Ok(()) };
        let to = self.staged.clone().filter(|_| side == Version::Before).unwrap_or((Arc::clone(dir), other.kept("")));
        for name in [other.kept(""), mine.kept("")] {
            if Arc::ptr_eq(&to.0, dir) && to.1 == name || !look(dir, &name)?.is_some_and(|stat| member.is(&stat)) {
                continue;
            }
            match rename_new((dir, &name), (&to.0, &to.1)) {
                // A staged directory that its owner may not write: it goes back to be discarded.
                Err(Errno::ACCESS) => {
                    set_mode(hold(dir, &name)?, 0o700)?;
                    rename_new((dir, &name), (&to.0, &to.1))?;
                }
                done => done?,
            }
            // What is made ready again is discarded. If something else had taken the name meanwhile, it is not for us to remove.
            if !Arc::ptr_eq(&to.0, dir) && !look(&to.0, &to.1)?.is_some_and(|stat| member.is(&stat)) {
                rename_new((&to.0, &to.1), (dir, &name))?;
                return Err(Errno::EXIST);
            }
        }
        Ok(())
    }

    /// For want of room both sides can be one file: then what is kept is a further name of it.
    fn keep_twin(&self, side: Version, mine: &VersionRecord, other: &VersionRecord) -> Result<(), Errno> {
        if let (Some(member), Some(twin), false) =
            (mine.main(), other.main(), self.staged.is_some() && side == Version::Before)
            && member.is_twin(twin)
            && let Some(stat) = look(self.dir()?, &self.place.name)?
        {
            self.link(&stat, &self.place.name, &other.kept(""))?;
        }
        Ok(())
    }

    /// Puts what belongs beside a database back to it, unless somebody has written to the database without it.
    fn bring_sidecars(&self, mine: &VersionRecord, notes: &mut Vec<String>) -> Result<()> {
        let main = self.place.stat_of(&self.place.name)?;
        let path = self.place.path();
        let is_unchanged = match (mine.main(), &main) {
            (Some(member), Some(stat)) => self.dir().is_ok_and(|dir| member.is_unchanged(stat, dir, &self.place.name)),
            (None, None) => true,
            _ => false,
        };
        for member in mine.sidecars() {
            let (kept, live) = (mine.kept(&member.suffix), self.live(&member.suffix));
            if !self.place.stat_of(&kept)?.is_some_and(|stat| member.is(&stat)) {
                continue;
            }
            let dir = self.dir().map_err(|e| self.failed(e))?;
            if is_unchanged && self.place.stat_of(&live)?.is_none() {
                // Not before it is sure that its own database is in place.
                step(|| sync_dir(dir)).map_err(|e| self.failed(e))?;
                rename_new((dir, &kept), (dir, &live)).map_err(|e| self.failed(e))?;
            } else {
                notes.push(format!(
                    "{} was written to while its {} was away: that no longer belongs to it and stays at {}",
                    path.display(),
                    to_path(&live).display(),
                    self.place.dir_path.join(to_path(&kept)).display()
                ));
            }
        }
        Ok(())
    }
}

fn is_that(member: Option<&FileIdentity>, stat: Option<&Stat>) -> bool {
    match (member, stat) {
        (Some(member), Some(stat)) => member.is(stat),
        (None, None) => true,
        _ => false,
    }
}

#[cfg(test)]
pub(super) mod faults {
    //! Makes the n-th step of this thread fail, or stop the world before it as a kill would.

    use std::cell::Cell;

    use rustix::io::Errno;

    thread_local! {
        static AT: Cell<Option<(u32, bool)>> = const { Cell::new(None) };
    }

    /// Arms the n-th step (from 0) to fail, or with `kill` to panic.
    pub fn arm(at: u32, kill: bool) {
        AT.set(Some((at, kill)));
    }

    /// Disarms; says whether the step had been reached.
    pub fn disarm() -> bool {
        AT.take().is_none()
    }

    pub fn hit() -> Result<(), Errno> {
        match AT.get() {
            Some((0, kill)) => {
                AT.set(None);
                assert!(!kill, "killed");
                Err(Errno::IO)
            }
            Some((n, kill)) => {
                AT.set(Some((n - 1, kill)));
                Ok(())
            }
            None => Ok(()),
        }
    }
}
