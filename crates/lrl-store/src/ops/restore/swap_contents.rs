//! Exchanges the contents of a directory that cannot be renamed itself: the root of a mount, or a directory of a lower layer of an
//! overlay. Each version is kept in a directory inside while the other is in place, and the names there tell how far a dead run came,
//! so that any state can be taken up.
//!
//! With `X` for one version and `x` for the directory in which it is kept: while there is only `x`, the other version is whole in
//! place. `x.part` means that `X` is partly in place and partly in there, and that the other is whole in its own directory. With both
//! `x` and the other's, nothing is in place. Names of one version become durable before those of the other change.

use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::Arc;

use rustix::fs::{AtFlags, Dir, FileType, Mode, fstat, fsync, openat, unlinkat};
use rustix::io::Errno;

use super::journal_record::TargetRecord;
use super::model::{PARTIAL, Version};
use super::move_contents::{ContentsMover, move_dir};
use super::rename::{Spot, rename_new, step};
use super::staging_dir::make_private;
use super::target::Target;
use crate::error::{Error, Result};
use crate::fs::dir::{DIRECTORY, to_path};
use crate::fs::metadata::{set_mtime, set_owner};
use crate::fs::resolve::{look, set_mode};
use crate::fs::xattrs::copy_xattrs;
use crate::hint::{AddHint, Hint};
use crate::source::files::kept_copies::is_of_restore;
use crate::time::Time;

/// The directory whose contents are exchanged.
pub(super) struct ContentsSwap<'a> {
    target: &'a Target,
    record: &'a TargetRecord,
    dir: &'a Arc<OwnedFd>,
    path: PathBuf,
}

/// Which of the names exist that tell how far it came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct State {
    full: bool,
    part: bool,
    other_full: bool,
    other_part: bool,
}

impl<'a> ContentsSwap<'a> {
    /// Returns the directory if its contents are exchanged.
    pub(crate) fn of(target: &'a Target, record: &'a TargetRecord) -> Option<Self> {
        let dir = target.inner.as_ref().filter(|_| record.contents)?;
        Some(Self { target, record, dir, path: target.path() })
    }

    fn full(&self, version: Version) -> Vec<u8> {
        self.record.version(version).kept("")
    }

    fn part(&self, version: Version) -> Vec<u8> {
        [self.full(version).as_slice(), PARTIAL].concat()
    }

    fn path_of(&self, name: &[u8]) -> PathBuf {
        self.path.join(to_path(name))
    }

    fn io(&self, op: &'static str, name: &[u8]) -> impl FnOnce(Errno) -> Error {
        let path = self.path_of(name);
        move |e| Error::io(op, path)(e.into())
    }

    fn state(&self, version: Version) -> Result<State> {
        let is_there = |name: Vec<u8>| {
            let stat = look(self.dir, &name).map_err(self.io("look at", &name))?;
            Ok(stat.is_some_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::Directory))
        };
        let other = version.other();
        Ok(State {
            full: is_there(self.full(version))?,
            part: is_there(self.part(version))?,
            other_full: is_there(self.full(other))?,
            other_part: is_there(self.part(other))?,
        })
    }

    /// Returns whether one version is in place, whole.
    pub(crate) fn is_settled(&self, version: Version) -> Result<bool> {
        let state = self.state(version)?;
        // Before anything has begun, what is restored is still where it was staged.
        let other = state.other_full || version == Version::Before;
        Ok(!state.full && !state.part && !state.other_part && other)
    }

    /// Puts one version in place, from any state.
    pub(crate) fn put(&self, version: Version, staged: Option<&Spot>) -> Result<()> {
        let (full, part) = (self.full(version), self.part(version));
        let (other_full, other_part) = (self.full(version.other()), self.part(version.other()));
        let mut state = self.state(version)?;
        // Without root it takes the right to write into what is emptied and filled, until the mode is set in the end.
        open_up(self.dir).map_err(self.io("set the mode of", b""))?;
        if let (
            Some((dir, name)),
            Version::Restored,
            State { full: false, part: false, other_full: false, other_part: false },
        ) = (staged, version, state)
        {
            self.refuse_own_names(dir, name)?;
            move_dir((dir, name), (self.dir, &full)).map_err(self.io("rename", &full))?;
            state.full = true;
        }
        if !self.is_settled(version)? {
            if !state.full && !state.part {
                let missing = Error::Missing { object: self.path_of(&full).display().to_string() };
                return Err(missing);
            }
            if !state.part {
                if !state.other_full {
                    self.fill(&other_part, version.other())?;
                    self.sync(&other_part)?;
                    self.rename(&other_part, &other_full)?;
                }
                // Everything that was in place is durably away before the first of mine comes.
                self.sync(b".")?;
                self.rename(&full, &part)?;
                self.sync(b".")?;
            }
            self.empty(&part, version)?;
        }
        // What was staged and is not wanted goes back to where it was staged.
        if let (Some((dir, name)), Version::Before) = (staged, version)
            && self.state(version)?.other_full
        {
            move_dir((self.dir, &other_full), (dir, name)).map_err(self.io("rename", &other_full))?;
        }
        self.close(version)?;
        self.time(version);
        Ok(())
    }

    /// Refuses a list that holds names that lrl itself uses here: one could not be told from the other.
    fn refuse_own_names(&self, dir: &Arc<OwnedFd>, name: &[u8]) -> Result<()> {
        let made = openat(dir, name, DIRECTORY, Mode::empty()).map_err(self.io("open", name))?;
        for entry in Dir::read_from(&made).map_err(self.io("list", name))? {
            let entry = entry.map_err(self.io("list", name))?;
            let name = entry.file_name().to_bytes();
            if is_of_restore(name) {
                let shown = to_path(name).display();
                let dir = self.path.display();
                let text = format!("what is to be restored holds `{shown}`, a name that lrl itself uses in {dir}");
                return Err(Error::refused(text.hint(Hint::OtherTarget)));
            }
        }
        Ok(())
    }

    fn mover(&self) -> ContentsMover<'a> {
        ContentsMover { target: self.target }
    }

    fn rename(&self, from: &[u8], to: &[u8]) -> Result<()> {
        rename_new((self.dir, from), (self.dir, to)).map_err(self.io("rename", from))
    }

    fn sync(&self, name: &[u8]) -> Result<()> {
        let dir = openat(self.dir, name, DIRECTORY, Mode::empty()).map_err(self.io("open", name))?;
        step(|| fsync(&dir)).map_err(self.io("sync", name))
    }

    /// Moves everything that is in place into the directory in which it is kept.
    fn fill(&self, part: &[u8], version: Version) -> Result<()> {
        let own = fstat(self.dir).map_err(self.io("look at", b""))?;
        let (to, is_new) = match openat(self.dir, part, DIRECTORY, Mode::empty()) {
            Ok(dir) => (dir, false),
            Err(Errno::NOENT) => {
                // It gets owner and mode while it is empty and surely ours: later somebody may have put another in its place.
                let dir = step(|| Ok(())).map(|()| make_private(self.dir, part, &self.path_of(part)));
                let dir = dir.map_err(self.io("create", part))??;
                set_owner(&dir, (own.st_uid, own.st_gid), false).map_err(self.io("give away", part))?;
                copy_xattrs(self.dir, &dir);
                set_mode(&dir, own.st_mode | 0o700).map_err(self.io("set the mode of", part))?;
                (dir, true)
            }
            Err(e) => return Err(self.io("open", part)(e)),
        };
        let to = Arc::new(to);
        self.mover().move_all(self.dir, &to, &self.path, true)?;
        let recorded = self.record.version(version).main().map_or(own.st_mode, |member| member.mode);
        let mode = if own.st_mode & 0o7777 == (recorded | 0o700) & 0o7777 { recorded } else { own.st_mode };
        if is_new {
            set_mode(&to, mode).map_err(self.io("set the mode of", part))?;
        }
        // What is kept gets the time that the directory had, unless somebody else put it there.
        let stat = fstat(&to).map_err(self.io("look at", part))?;
        if (stat.st_uid, stat.st_gid) == (own.st_uid, own.st_gid) {
            self.set_time(&to, version);
        }
        Ok(())
    }

    /// Moves everything that is kept in a directory into place, with its owner and mode.
    fn empty(&self, part: &[u8], version: Version) -> Result<()> {
        let from = Arc::new(openat(self.dir, part, DIRECTORY, Mode::empty()).map_err(self.io("open", part))?);
        open_up(&from).map_err(self.io("set the mode of", part))?;
        self.mover().move_all(&from, self.dir, &self.path_of(part), false)?;
        let (own, stat) = (fstat(self.dir), fstat(&from));
        let (own, stat) = (own.map_err(self.io("look at", b""))?, stat.map_err(self.io("look at", part))?);
        if (own.st_uid, own.st_gid) != (stat.st_uid, stat.st_gid) {
            set_owner(self.dir, (stat.st_uid, stat.st_gid), false).map_err(self.io("give away", b""))?;
        }
        copy_xattrs(&from, self.dir);
        let own = fstat(self.dir).map_err(self.io("look at", b""))?;
        // The mode of the record, which somebody else may have written, counts only as far as the owner got more rights for a while.
        let recorded = self.record.version(version).main().map_or(stat.st_mode, |member| member.mode);
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

    /// Takes back the rights that are needed without root.
    fn close(&self, version: Version) -> Result<()> {
        let Some(member) = self.record.version(version).main().filter(|_| !rustix::process::geteuid().is_root()) else {
            return Ok(());
        };
        let mode = fstat(self.dir).map_err(self.io("look at", b""))?.st_mode;
        let is_opened = mode & 0o7777 != member.mode & 0o7777 && mode & 0o7777 == (member.mode | 0o700) & 0o7777;
        if is_opened { set_mode(self.dir, member.mode).map_err(self.io("set the mode of", b"")) } else { Ok(()) }
    }

    /// Gives the directory the time that it had with this version.
    fn time(&self, version: Version) {
        self.set_time(self.dir, version);
    }

    /// Does so as far as possible: a time that cannot be set is no error.
    fn set_time(&self, dir: &Arc<OwnedFd>, version: Version) {
        if let Some(member) = self.record.version(version).main() {
            let (secs, nanos) = member.time();
            let _ = u32::try_from(nanos).map(|nanos| set_mtime(dir, Time { secs, nanos }));
        }
    }
}

fn open_up(dir: &Arc<OwnedFd>) -> Result<(), Errno> {
    let stat = fstat(dir)?;
    let is_closed = stat.st_mode & 0o300 != 0o300 && stat.st_uid == rustix::process::geteuid().as_raw();
    if is_closed && !rustix::process::geteuid().is_root() { set_mode(dir, stat.st_mode | 0o700) } else { Ok(()) }
}

#[cfg(test)]
pub(super) mod tests {
    //! Every directory can be made one whose contents are exchanged.

    use std::cell::Cell;

    thread_local! {
        static ALWAYS: Cell<bool> = const { Cell::new(false) };
    }

    /// Sets whether restores of this thread exchange contents.
    pub(crate) fn force(always: bool) {
        ALWAYS.set(always);
    }

    pub(crate) fn is_forced() -> bool {
        ALWAYS.get()
    }

    #[test]
    fn a_backup_leaves_out_all_names_that_a_restore_uses() {
        use crate::ops::restore::model::{INSIDE, Version};
        use crate::source::files::kept_copies::is_of_restore;
        for version in [Version::Before, Version::Restored] {
            assert!(is_of_restore(&[INSIDE, version.ending().as_bytes()].concat()));
        }
        assert!(is_of_restore(crate::ops::restore::staging_dir::PREFIX.as_bytes()));
        assert!(!is_of_restore(b".lrl") && !is_of_restore(b"assets.pre-restore"));
    }
}
