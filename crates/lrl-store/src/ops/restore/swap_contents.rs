//! Owns the exchange of what is in a directory that cannot be renamed itself: the root of a mount, or a directory of a lower layer
//! of an overlay. Each side is kept in a directory inside while the other is in place, and what stands there tells how far a dead
//! run had come, so that it is taken up from any state.
//!
//! With `X` for one side and `x` for what it is kept in: while nothing else is there than `x`, the other side is whole in place. `x.part`
//! means that this side is partly in place, partly in there, and that the other is whole in what it is kept in. With both `x` and the
//! other side's, nothing is in place. Names of the one become durable before those of the other change.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{
    AtFlags, Dir, FileType, Mode, Timespec, Timestamps, UTIME_OMIT, fstat, fsync, futimens, openat, unlinkat,
};
use rustix::io::Errno;

use super::journal_record::{TargetRecord, Version};
use super::stage_file::give;
use super::staging_dir::make_private;
use super::swap::{Spot, rename_new, step};
use super::target::Target;
use crate::error::{Error, Result};
use crate::fs::dir::{DIRECTORY, to_path};
use crate::fs::resolve::{hold, look, set_mode};
use crate::source::files::walk::is_of_restore;

/// How what is kept inside begins.
pub(super) const BASE: &[u8] = b".lrl";
/// How the name ends of what is being filled or emptied.
pub(super) const PART: &[u8] = b".part";

/// Checks whether a name directly in the uploads is of something that lrl keeps there, which is no upload.
pub(super) fn is_own(name: &[u8]) -> bool {
    is_of_restore(name)
}

/// The directory whose contents are exchanged.
pub(super) struct ContentsSwap<'a> {
    place: &'a Target,
    target: &'a TargetRecord,
    dir: &'a Arc<OwnedFd>,
    path: PathBuf,
}

/// Which of the names that tell how far it is are there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct State {
    full: bool,
    part: bool,
    other_full: bool,
    other_part: bool,
}

impl<'a> ContentsSwap<'a> {
    /// Returns the directory if it is the contents that change places.
    pub fn of(place: &'a Target, target: &'a TargetRecord) -> Option<Self> {
        let dir = place.inner.as_ref().filter(|_| target.contents)?;
        Some(Self { place, target, dir, path: place.path() })
    }

    fn full(&self, side: Version) -> Vec<u8> {
        self.target.half(side).kept("")
    }

    fn part(&self, side: Version) -> Vec<u8> {
        [self.full(side).as_slice(), PART].concat()
    }

    fn path_of(&self, name: &[u8]) -> PathBuf {
        self.path.join(to_path(name))
    }

    fn io(&self, op: &'static str, name: &[u8]) -> impl FnOnce(Errno) -> Error {
        let path = self.path_of(name);
        move |e| Error::io(op, path)(e.into())
    }

    fn state(&self, side: Version) -> Result<State> {
        let is_there = |name: Vec<u8>| {
            let stat = look(self.dir, &name).map_err(self.io("look at", &name))?;
            Ok(stat.is_some_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::Directory))
        };
        let other = side.other();
        Ok(State {
            full: is_there(self.full(side))?,
            part: is_there(self.part(side))?,
            other_full: is_there(self.full(other))?,
            other_part: is_there(self.part(other))?,
        })
    }

    /// Checks whether one side is in place, whole.
    pub fn is_settled(&self, side: Version) -> Result<bool> {
        let state = self.state(side)?;
        // Before anything has begun, what is restored is still where it was made ready.
        let other = state.other_full || side == Version::Before;
        Ok(!state.full && !state.part && !state.other_part && other)
    }

    /// Puts one side in place, from whatever state.
    pub fn put(&self, side: Version, staged: Option<&Spot>) -> Result<()> {
        let (full, part) = (self.full(side), self.part(side));
        let (other_full, other_part) = (self.full(side.other()), self.part(side.other()));
        let mut state = self.state(side)?;
        // Who is not root needs the right to write into what is emptied and filled, until the mode is set in the end.
        open_up(self.dir).map_err(self.io("set the mode of", b""))?;
        if let (
            Some((dir, name)),
            Version::Restored,
            State { full: false, part: false, other_full: false, other_part: false },
        ) = (staged, side, state)
        {
            self.refuse_own_names(dir, name)?;
            move_dir((dir, name), (self.dir, &full)).map_err(self.io("rename", &full))?;
            state.full = true;
        }
        if !self.is_settled(side)? {
            if !state.full && !state.part {
                let missing = Error::Missing { object: self.path_of(&full).display().to_string() };
                return Err(missing);
            }
            if !state.part {
                if !state.other_full {
                    self.fill(&other_part, side.other())?;
                    self.sync(&other_part)?;
                    self.rename(&other_part, &other_full)?;
                }
                // All that was in place is durably away before the first of mine comes.
                self.sync(b".")?;
                self.rename(&full, &part)?;
                self.sync(b".")?;
            }
            self.empty(&part, side)?;
        }
        // What had been made ready, and is not wanted, goes where that was.
        if let (Some((dir, name)), Version::Before) = (staged, side)
            && self.state(side)?.other_full
        {
            move_dir((self.dir, &other_full), (dir, name)).map_err(self.io("rename", &other_full))?;
        }
        self.close(side)?;
        self.time(side);
        Ok(())
    }

    /// A list can name anything, also what lrl keeps here: then one could not be told from the other.
    fn refuse_own_names(&self, dir: &Arc<OwnedFd>, name: &[u8]) -> Result<()> {
        let made = openat(dir, name, DIRECTORY, Mode::empty()).map_err(self.io("open", name))?;
        for entry in Dir::read_from(&made).map_err(self.io("list", name))? {
            let entry = entry.map_err(self.io("list", name))?;
            let name = entry.file_name().to_bytes();
            if is_own(name) {
                let shown = to_path(name).display();
                return Err(Error::Refused(format!(
                    "what is to be restored holds `{shown}`, a name that lrl itself uses in {}: restore to another --data-dir",
                    self.path.display()
                )));
            }
        }
        Ok(())
    }

    fn rename(&self, from: &[u8], to: &[u8]) -> Result<()> {
        rename_new((self.dir, from), (self.dir, to)).map_err(self.io("rename", from))
    }

    fn sync(&self, name: &[u8]) -> Result<()> {
        let dir = openat(self.dir, name, DIRECTORY, Mode::empty()).map_err(self.io("open", name))?;
        step(|| fsync(&dir)).map_err(self.io("sync", name))
    }

    /// Moves all that is in place into what it is kept in.
    fn fill(&self, part: &[u8], side: Version) -> Result<()> {
        let own = fstat(self.dir).map_err(self.io("look at", b""))?;
        let (to, is_new) = match openat(self.dir, part, DIRECTORY, Mode::empty()) {
            Ok(dir) => (dir, false),
            Err(Errno::NOENT) => {
                // It gets owner and mode while it is empty and surely ours; later somebody may have put another in its place.
                let dir = step(|| Ok(())).map(|()| make_private(self.dir, part, &self.path_of(part)));
                let dir = dir.map_err(self.io("create", part))??;
                give(&dir, (own.st_uid, own.st_gid), false).map_err(self.io("give away", part))?;
                set_mode(&dir, own.st_mode | 0o700).map_err(self.io("set the mode of", part))?;
                (dir, true)
            }
            Err(e) => return Err(self.io("open", part)(e)),
        };
        let to = Arc::new(to);
        self.move_all(self.dir, &to, &self.path, true)?;
        let recorded = self.target.half(side).main().map_or(own.st_mode, |member| member.mode);
        let mode = if own.st_mode & 0o7777 == (recorded | 0o700) & 0o7777 { recorded } else { own.st_mode };
        if is_new {
            set_mode(&to, mode).map_err(self.io("set the mode of", part))?;
        }
        // What is kept has the time that the directory had. One that belongs to somebody else was put there by somebody else.
        let stat = fstat(&to).map_err(self.io("look at", part))?;
        if (stat.st_uid, stat.st_gid) == (own.st_uid, own.st_gid) {
            self.set_time(&to, side);
        }
        Ok(())
    }

    /// Moves all that is kept in one into place, which gets its owner and mode as well.
    fn empty(&self, part: &[u8], side: Version) -> Result<()> {
        let from = Arc::new(openat(self.dir, part, DIRECTORY, Mode::empty()).map_err(self.io("open", part))?);
        open_up(&from).map_err(self.io("set the mode of", part))?;
        self.move_all(&from, self.dir, &self.path_of(part), false)?;
        let (own, stat) = (fstat(self.dir), fstat(&from));
        let (own, stat) = (own.map_err(self.io("look at", b""))?, stat.map_err(self.io("look at", part))?);
        if (own.st_uid, own.st_gid) != (stat.st_uid, stat.st_gid) {
            give(self.dir, (stat.st_uid, stat.st_gid), false).map_err(self.io("give away", b""))?;
        }
        // That of the record, which somebody else may have written, only as far as its owner got more rights for a while.
        let recorded = self.target.half(side).main().map_or(stat.st_mode, |member| member.mode);
        let mut mode = if stat.st_mode & 0o7777 == (recorded | 0o700) & 0o7777 { recorded } else { stat.st_mode };
        if !rustix::process::geteuid().is_root() {
            // There is more to remove: `close` takes the right.
            mode |= 0o700;
        }
        if own.st_mode & 0o7777 != mode & 0o7777 {
            set_mode(self.dir, mode).map_err(self.io("set the mode of", b""))?;
        }
        self.sync(b".")?;
        let removed = step(|| unlinkat(self.dir, part, AtFlags::REMOVEDIR));
        removed.map_err(self.io("remove", part))?;
        self.sync(b".")
    }

    /// Takes back the rights that only who is not root needs.
    fn close(&self, side: Version) -> Result<()> {
        let Some(member) = self.target.half(side).main().filter(|_| !rustix::process::geteuid().is_root()) else {
            return Ok(());
        };
        let mode = fstat(self.dir).map_err(self.io("look at", b""))?.st_mode;
        let is_opened = mode & 0o7777 != member.mode & 0o7777 && mode & 0o7777 == (member.mode | 0o700) & 0o7777;
        if is_opened { set_mode(self.dir, member.mode).map_err(self.io("set the mode of", b"")) } else { Ok(()) }
    }

    /// Gives the directory the time that it had with this side.
    fn time(&self, side: Version) {
        self.set_time(self.dir, side);
    }

    /// That a time can be set is of little weight.
    fn set_time(&self, dir: &Arc<OwnedFd>, side: Version) {
        if let Some(member) = self.target.half(side).main() {
            let omit = Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT };
            let (tv_sec, tv_nsec) = member.time();
            let time = Timespec { tv_sec, tv_nsec: tv_nsec as _ };
            let _ = futimens(dir, &Timestamps { last_access: omit, last_modification: time });
        }
    }

    /// Moves every entry; `skip_own` leaves what is lrl's own. Whoever was cut short goes on with what is left.
    fn move_all(&self, from: &Arc<OwnedFd>, to: &Arc<OwnedFd>, path: &Path, skip_own: bool) -> Result<()> {
        loop {
            // A listing that names come and go under may miss some: it ends with one that finds nothing.
            let mut names = Vec::new();
            for entry in Dir::read_from(from).map_err(|e| Error::io("list", path)(e.into()))? {
                let entry = entry.map_err(|e| Error::io("list", path)(e.into()))?;
                let name = entry.file_name().to_bytes();
                let is_skipped = matches!(name, b"." | b"..") || skip_own && is_own(name);
                if !is_skipped {
                    names.push(name.to_vec());
                }
                if names.len() == BATCH {
                    break;
                }
            }
            if names.is_empty() {
                return Ok(());
            }
            names.iter().try_for_each(|name| self.move_one(from, to, name, &path.join(to_path(name))))?;
        }
    }

    fn move_one(&self, from: &Arc<OwnedFd>, to: &Arc<OwnedFd>, name: &[u8], path: &Path) -> Result<()> {
        let failed = |e: Errno| match e {
            Errno::BUSY | Errno::XDEV => Error::Refused(format!(
                "{} cannot be moved within {}: something is mounted there. Unmount it, or restore to another --data-dir",
                path.display(),
                self.path.display()
            )),
            e => Error::io("move", path)(e.into()),
        };
        let is_dir = |dir: &Arc<OwnedFd>| {
            look(dir, name)
                .is_ok_and(|stat| stat.is_some_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::Directory))
        };
        match rename_new((from, name), (to, name)) {
            // A directory of a lower layer is made anew, and what is in it moved; one that a dead run had begun with is gone on with.
            Err(Errno::XDEV) if is_dir(from) => self.merge(from, to, name, path),
            Err(Errno::EXIST) if is_dir(from) && is_dir(to) => self.merge(from, to, name, path),
            Err(Errno::ACCESS) if is_dir(from) => move_dir((from, name), (to, name)).map_err(failed),
            done => done.map_err(failed),
        }
    }

    fn merge(&self, from: &Arc<OwnedFd>, to: &Arc<OwnedFd>, name: &[u8], path: &Path) -> Result<()> {
        let failed = |e: Errno| Error::io("move", path)(e.into());
        let source = Arc::new(openat(from, name, DIRECTORY, Mode::empty()).map_err(failed)?);
        let stat = fstat(&source).map_err(failed)?;
        if crate::fs::resolve::is_other_mount(from, &source) {
            return Err(self.place.mount_error());
        }
        let (dest, is_new) = match openat(to, name, DIRECTORY, Mode::empty()) {
            Ok(dest) => (dest, false),
            Err(Errno::NOENT) => {
                let dest = make_private(to, name, path)?;
                give(&dest, (stat.st_uid, stat.st_gid), false).map_err(failed)?;
                set_mode(&dest, stat.st_mode | 0o700).map_err(failed)?;
                (dest, true)
            }
            Err(e) => return Err(failed(e)),
        };
        let dest = Arc::new(dest);
        self.move_all(&source, &dest, path, false)?;
        if is_new {
            set_mode(&dest, stat.st_mode).map_err(failed)?;
            let omit = Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT };
            let was = Timespec { tv_sec: stat.st_mtime, tv_nsec: stat.st_mtime_nsec as _ };
            let _ = futimens(&dest, &Timestamps { last_access: omit, last_modification: was });
        }
        step(|| fsync(&dest)).map_err(failed)?;
        step(|| unlinkat(from, name, AtFlags::REMOVEDIR)).map_err(failed)
    }
}

/// Renames a directory. One that its owner may not write cannot change parents (unless for root): it gets the right until it has
/// moved.
fn move_dir((from, name): (&Arc<OwnedFd>, &[u8]), (to, to_name): (&Arc<OwnedFd>, &[u8])) -> Result<(), Errno> {
    match rename_new((from, name), (to, to_name)) {
        Err(Errno::ACCESS) => {
            let dir = hold(from, name)?;
            let mode = fstat(&dir)?.st_mode;
            set_mode(&dir, mode | 0o700)?;
            let moved = rename_new((from, name), (to, to_name));
            set_mode(&dir, mode).and(moved)
        }
        done => done,
    }
}

fn open_up(dir: &Arc<OwnedFd>) -> Result<(), Errno> {
    let stat = fstat(dir)?;
    let is_closed = stat.st_mode & 0o300 != 0o300 && stat.st_uid == rustix::process::geteuid().as_raw();
    if is_closed && !rustix::process::geteuid().is_root() { set_mode(dir, stat.st_mode | 0o700) } else { Ok(()) }
}

/// Names of a directory that are listed at once.
const BATCH: usize = 4096;

#[cfg(test)]
pub(super) mod tests {
    //! Every directory can be made one whose contents are exchanged.

    use std::cell::Cell;

    thread_local! {
        static ALWAYS: Cell<bool> = const { Cell::new(false) };
    }

    /// Says whether restores of this thread exchange contents.
    pub fn force(always: bool) {
        ALWAYS.set(always);
    }

    pub fn is_forced() -> bool {
        ALWAYS.get()
    }

    #[test]
    fn a_backup_leaves_out_all_names_that_a_restore_uses() {
        use super::super::journal_record::Version;
        for side in [Version::Before, Version::Restored] {
            assert!(super::is_own(&[super::BASE, side.ending().as_bytes()].concat()));
        }
        assert!(super::is_own(crate::ops::restore::staging_dir::PREFIX.as_bytes()));
        assert!(!super::is_own(b".lrl") && !super::is_own(b"assets.pre-restore"));
    }
}
