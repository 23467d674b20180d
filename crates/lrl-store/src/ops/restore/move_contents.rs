//! Moves the contents of one directory into another on the same mount, so that a move that was interrupted can be continued.

use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Arc;

use rustix::fs::{AtFlags, Dir, FileType, Mode, fstat, fsync, openat, unlinkat};
use rustix::io::Errno;

use super::rename::{rename_new, step};
use super::staging_dir::make_private;
use super::target::Target;
use crate::error::{Error, Result};
use crate::fs::dir::{DIRECTORY, to_path};
use crate::fs::metadata::{mtime_of, set_mtime, set_owner};
use crate::fs::resolve::{hold, is_other_mount, look, set_mode};
use crate::hint::{AddHint, Hint};
use crate::source::files::kept_copies::is_of_restore;

/// Names of a directory that are listed at a time.
const BATCH: usize = 4096;

/// Moves contents within a target.
pub(super) struct ContentsMover<'a> {
    /// The directory that stays, for messages.
    pub target: &'a Target,
}

impl ContentsMover<'_> {
    /// Moves every entry; `skip_own` leaves what belongs to restores. After an interruption it goes on with what is left.
    pub(crate) fn move_all(&self, from: &Arc<OwnedFd>, to: &Arc<OwnedFd>, path: &Path, skip_own: bool) -> Result<()> {
        loop {
            // A listing may miss names while others come and go: it ends with one that finds nothing.
            let mut names = Vec::new();
            for entry in Dir::read_from(from).map_err(|e| Error::io("list", path)(e.into()))? {
                let entry = entry.map_err(|e| Error::io("list", path)(e.into()))?;
                let name = entry.file_name().to_bytes();
                let is_skipped = matches!(name, b"." | b"..") || skip_own && is_of_restore(name);
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
            Errno::BUSY | Errno::XDEV => {
                let (path, target) = (path.display(), self.target.path());
                let text = format!(
                    "{path} cannot be moved within {}: something is mounted there; unmount it",
                    target.display()
                );
                Error::refused(text.hint(Hint::OtherTarget))
            }
            e => Error::io("move", path)(e.into()),
        };
        let is_dir = |dir: &Arc<OwnedFd>| {
            look(dir, name)
                .is_ok_and(|stat| stat.is_some_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::Directory))
        };
        match rename_new((from, name), (to, name)) {
            // A directory of a lower layer is made anew and its contents are moved, also if a dead run had begun with that.
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
        if is_other_mount(from, &source) {
            return Err(self.target.mount_error());
        }
        let (dest, is_new) = match openat(to, name, DIRECTORY, Mode::empty()) {
            Ok(dest) => (dest, false),
            Err(Errno::NOENT) => {
                let dest = make_private(to, name, path)?;
                set_owner(&dest, (stat.st_uid, stat.st_gid), false).map_err(failed)?;
                set_mode(&dest, stat.st_mode | 0o700).map_err(failed)?;
                (dest, true)
            }
            Err(e) => return Err(failed(e)),
        };
        let dest = Arc::new(dest);
        self.move_all(&source, &dest, path, false)?;
        if is_new {
            set_mode(&dest, stat.st_mode).map_err(failed)?;
            let _ = set_mtime(&dest, mtime_of(&stat));
        }
        step(|| fsync(&dest)).map_err(failed)?;
        step(|| unlinkat(from, name, AtFlags::REMOVEDIR)).map_err(failed)
    }
}

/// Renames a directory. One that its owner may not write cannot change parents (unless for root): it gets the right until it has
/// moved.
pub(super) fn move_dir(
    (from, name): (&Arc<OwnedFd>, &[u8]),
    (to, to_name): (&Arc<OwnedFd>, &[u8]),
) -> Result<(), Errno> {
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
