//! The renames by which one version takes the place of the other. They go by what is where, so that they can be taken up from any state
//! that a dead run left: at every point each target is wholly one version or the other, no database is beside the `-wal` or
//! `-journal` of another, and nothing is overwritten except a database that has just got a hard link.

use std::sync::Arc;

use rustix::fs::{AtFlags, FileType, Mode, RenameFlags, Stat, linkat, renameat, renameat_with, unlinkat};
use rustix::io::Errno;

use super::file_identity::FileIdentity;
use super::journal::Journal;
use super::journal_record::{Record, TargetRecord, VersionRecord};
use super::model::{Part, Version};
use super::rename::{Dir, Spot, rename_new, step};
use super::swap_contents::ContentsSwap;
use super::target::Target;
use crate::error::{Error, Result};
use crate::fs::dir::to_path;
use crate::fs::missing_features::sync_dir;
use crate::fs::resolve::{hold, look, set_mode};
use crate::hint::{AddHint, Hint};
use crate::source::database::source::SIDE_FILES;

/// A target where it is now.
pub(super) struct SwapTarget<'a> {
    /// Where.
    pub target: &'a Target,
    /// What changes there.
    pub record: &'a TargetRecord,
    /// Where the restored version was staged, while this run lives.
    pub staged: Option<Spot>,
}

/// Does all of a record, or nothing. Returns what an operator should know.
pub(super) fn swap(journal: &Journal, record: &Record, targets: &[SwapTarget<'_>]) -> Result<Vec<String>> {
    let pending = journal.begin(record)?;
    let done = settle(targets, record.live).and_then(|notes| pending.finish().map(|()| notes));
    done.map_err(|error| match settle(targets, record.live.other()).and_then(|_| pending.withdraw()) {
        Ok(()) => error,
        Err(undo) => {
            let text = format!("{error}; and it could not be taken back ({undo}). Nothing is lost");
            Error::refused(text.hint(Hint::UndoRestore))
        }
    })
}

/// Puts one version in place everywhere, durably, from any state; returns what an operator should know.
pub(super) fn settle(targets: &[SwapTarget<'_>], version: Version) -> Result<Vec<String>> {
    let mut notes = Vec::new();
    targets.iter().try_for_each(|one| one.put(version, &mut notes))?;
    for one in targets {
        step(|| sync_dir(one.dir()?)).map_err(|e| Error::io("sync", &one.target.dir_path)(e.into()))?;
    }
    Ok(notes)
}

/// Returns whether one version is in place everywhere, with everything that belongs to it.
pub(super) fn is_settled(targets: &[SwapTarget<'_>], version: Version) -> Result<bool> {
    targets.iter().try_fold(true, |all, one| Ok(all && one.is_settled(version)?))
}

fn is_unsupported(e: Errno) -> bool {
    matches!(e, Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP | Errno::PERM | Errno::MLINK | Errno::XDEV)
}

fn is_file(stat: &Stat) -> bool {
    FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile
}

impl SwapTarget<'_> {
    fn dir(&self) -> Result<&Dir, Errno> {
        self.target.dir.as_ref().ok_or(Errno::NOENT)
    }

    fn failed(&self, e: Errno) -> Error {
        match e {
            Errno::BUSY => self.target.mount_error(),
            Errno::XDEV => {
                let text = format!(
                    "{} is on another file system or mount than the directory beside it: it cannot be renamed to there. Nothing was changed",
                    self.target.path().display()
                );
                Error::refused(text.hint(Hint::OtherTarget))
            }
            Errno::EXIST => self.changed(),
            e => Error::io("rename", self.target.path())(e.into()),
        }
    }

    fn changed(&self) -> Error {
        Error::refused(format!(
            "{} changed while it was restored: something else writes there. Nothing was changed; stop it and try again",
            self.target.path().display()
        ))
    }

    fn live(&self, suffix: &str) -> Vec<u8> {
        [self.target.name.as_slice(), suffix.as_bytes()].concat()
    }

    fn is_settled(&self, version: Version) -> Result<bool> {
        if let Some(contents) = self.contents() {
            return contents.is_settled(version);
        }
        let mine = self.record.version(version);
        let main = self.target.stat_of(&self.target.name)?;
        let mut settled = is_that(mine.main(), main.as_ref());
        for member in mine.sidecars() {
            settled &= !self.target.stat_of(&mine.kept(&member.suffix))?.is_some_and(|stat| member.is(&stat));
        }
        for member in self.record.version(version.other()).sidecars() {
            settled &= !self.target.stat_of(&self.live(&member.suffix))?.is_some_and(|stat| member.is(&stat));
        }
        Ok(settled)
    }

    fn contents(&self) -> Option<ContentsSwap<'_>> {
        ContentsSwap::of(self.target, self.record)
    }

    fn put(&self, version: Version, notes: &mut Vec<String>) -> Result<()> {
        if let Some(contents) = self.contents() {
            return contents.put(version, self.staged.as_ref());
        }
        let (mine, other) = (self.record.version(version), self.record.version(version.other()));
        let main = self.target.stat_of(&self.target.name)?;
        if !is_that(mine.main(), main.as_ref()) {
            if main.is_some() && !is_that(other.main(), main.as_ref()) {
                return Err(self.changed());
            }
            self.change_places(version, mine, other, main.as_ref()).map_err(|e| self.failed(e))?;
        }
        self.tidy(version, mine, other).map_err(|e| self.failed(e))?;
        self.keep_twin(version, mine, other).map_err(|e| self.failed(e))?;
        self.bring_sidecars(mine, notes)
    }

    fn change_places(
        &self,
        version: Version,
        mine: &VersionRecord,
        other: &VersionRecord,
        live: Option<&Stat>,
    ) -> Result<(), Errno> {
        let dir = self.dir()?;
        let from = mine.main().map(|member| self.find(version, member).map(|spot| (member, spot))).transpose()?;
        let (name, away) = (self.live(""), other.kept(""));
        // First the hard link: from then on the other file is complete under it, whatever happens.
        let linked = match (&from, live) {
            (Some((member, _)), Some(stat)) if member.is_file() && is_file(stat) => self.link(stat, &name, &away)?,
            _ => false,
        };
        if self.record.part == Part::Database {
            for suffix in SIDE_FILES {
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

    /// Finds where the thing itself is that is not in place.
    fn find(&self, version: Version, member: &FileIdentity) -> Result<Spot, Errno> {
        let dir = self.dir()?;
        let staged = self.staged.clone().filter(|_| version == Version::Restored);
        let kept = [version, version.other()].map(|version| (Arc::clone(dir), self.record.version(version).kept("")));
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

    /// Mine takes the name under which the other one is to be kept, for a moment; then both are exchanged in one step.
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
        // By its handle: once it has moved, another may have its name.
        let held = if closed { Some(hold(from, at)?) } else { None };
        held.as_ref().map_or(Ok(()), |held| set_mode(held, member.mode | 0o200))?;
        let moved = rename_new((from, at), (dir, name));
        held.map_or(Ok(()), |held| set_mode(held, member.mode)).and(moved)
    }

    /// Leaves what has come in place without a second name, and what has gone where it is kept, or where it was staged.
    fn tidy(&self, version: Version, mine: &VersionRecord, other: &VersionRecord) -> Result<(), Errno> {
        let dir = self.dir()?;
        if let Some(member) = mine.main().filter(|member| member.is_file())
            && look(dir, &mine.kept(""))?.is_some_and(|stat| member.is(&stat) && stat.st_nlink > 1)
        {
            step(|| unlinkat(dir, mine.kept(""), AtFlags::empty()))?;
        }
        let Some(member) = other.main() else { return Ok(()) };
        let to =
            self.staged.clone().filter(|_| version == Version::Before).unwrap_or((Arc::clone(dir), other.kept("")));
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
            // What is staged again is discarded. If something else had taken the name meanwhile, it is not ours to remove.
            if !Arc::ptr_eq(&to.0, dir) && !look(&to.0, &to.1)?.is_some_and(|stat| member.is(&stat)) {
                rename_new((&to.0, &to.1), (dir, &name))?;
                return Err(Errno::EXIST);
            }
        }
        Ok(())
    }

    /// For want of space both versions can be one file: then what is kept is a hard link to it.
    fn keep_twin(&self, version: Version, mine: &VersionRecord, other: &VersionRecord) -> Result<(), Errno> {
        if let (Some(member), Some(twin), false) =
            (mine.main(), other.main(), self.staged.is_some() && version == Version::Before)
            && member.is_twin(twin)
            && let Some(stat) = look(self.dir()?, &self.target.name)?
        {
            self.link(&stat, &self.target.name, &other.kept(""))?;
        }
        Ok(())
    }

    /// Moves the sidecars of a database back beside it, unless the database was written to without them.
    fn bring_sidecars(&self, mine: &VersionRecord, notes: &mut Vec<String>) -> Result<()> {
        let main = self.target.stat_of(&self.target.name)?;
        let path = self.target.path();
        let is_unchanged = match (mine.main(), &main) {
            (Some(member), Some(stat)) => self.dir().is_ok_and(|dir| member.is_unchanged(stat, dir, &self.target.name)),
            (None, None) => true,
            _ => false,
        };
        for member in mine.sidecars() {
            let (kept, live) = (mine.kept(&member.suffix), self.live(&member.suffix));
            if !self.target.stat_of(&kept)?.is_some_and(|stat| member.is(&stat)) {
                continue;
            }
            let dir = self.dir().map_err(|e| self.failed(e))?;
            if is_unchanged && self.target.stat_of(&live)?.is_none() {
                // Not before it is sure that its own database is in place.
                step(|| sync_dir(dir)).map_err(|e| self.failed(e))?;
                rename_new((dir, &kept), (dir, &live)).map_err(|e| self.failed(e))?;
            } else {
                notes.push(format!(
                    "{} was written to while its {} was away: that no longer belongs to it and stays at {}",
                    path.display(),
                    to_path(&live).display(),
                    self.target.dir_path.join(to_path(&kept)).display()
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
