//! Owns the staging directory: a fresh, locked directory beside the target that only we can enter, gone when it is dropped.
//! Never holds the only copy of anything: what a restore replaces goes from its place to its `.pre-restore` name directly.

use std::fs::{self, File};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use fs2::FileExt;
use rustix::fs::{
    AtFlags, Dir, FileType, Gid, Mode, OFlags, Uid, chmodat, ioctl_ficlone, open, openat, statat, unlinkat,
};
use rustix::io::Errno;

use super::cursor::{Cursor, DIRECTORY};
use super::file::create;
use crate::error::{Error, Result};
use crate::storage::local::sync_dir;

const PREFIX: &str = ".lrl-restore-";

/// A staging directory.
pub(super) struct Staging {
    /// The directory.
    pub dir: Arc<OwnedFd>,
    /// Its path.
    pub path: PathBuf,
    home: Arc<OwnedFd>,
    name: Vec<u8>,
    // Holds the lock that tells a living run's directory from a dead one's.
    _lock: File,
}

impl Staging {
    /// Makes one in `home`, and removes those of dead runs there.
    pub fn create(home: &Arc<OwnedFd>, home_path: &Path) -> Result<Self> {
        reclaim(home);
        let made = tempfile::Builder::new()
            .prefix(PREFIX)
            .rand_bytes(12)
            .permissions(fs::Permissions::from_mode(0o700))
            .tempdir_in(if home_path.as_os_str().is_empty() { Path::new(".") } else { home_path })
            .map_err(Error::io("create a staging directory in", home_path))?;
        let path = made.keep();
        let name = path.file_name().map(|name| name.as_bytes().to_vec()).unwrap_or_default();
        let opened = openat(home, name.as_slice(), DIRECTORY, Mode::empty());
        let dir = opened.map_err(|e| Error::io("open", &path)(e.into()))?;
        let lock = File::from(dir.try_clone().map_err(Error::io("open", &path))?);
        let meta = lock.metadata().map_err(Error::io("look at", &path))?;
        if meta.uid() != rustix::process::geteuid().as_raw() || meta.mode() & 0o077 != 0 {
            return Err(Error::Refused(format!("{} was exchanged by somebody else", path.display())));
        }
        // Where nothing can be locked, nothing is ever reclaimed: the safe side.
        let _ = lock.try_lock_exclusive();
        Ok(Self { dir: Arc::new(dir), path, home: Arc::clone(home), name, _lock: lock })
    }

    /// Says whether this disk can share blocks between files.
    pub fn can_clone(&self) -> bool {
        let (a, b) = (&b".probe-a"[..], &b".probe-b"[..]);
        let cloned = create(&self.dir, a).ok().is_some_and(|from| {
            use std::os::unix::fs::FileExt as _;
            from.write_all_at(&[1; 4096], 0).is_ok()
                && create(&self.dir, b).is_ok_and(|to| ioctl_ficlone(to.as_fd(), from.as_fd()).is_ok())
        });
        for name in [a, b] {
            let _ = unlinkat(&self.dir, name, AtFlags::empty());
        }
        cloned
    }

    /// Makes a directory of its own inside, for what is unpacked by path.
    pub fn subdir(&self, name: &str) -> Result<(Arc<OwnedFd>, PathBuf)> {
        let path = self.path.join(name);
        let failed = |e: Errno| Error::io("create", &path)(e.into());
        rustix::fs::mkdirat(&self.dir, name, Mode::from_raw_mode(0o700)).map_err(failed)?;
        let dir = openat(&self.dir, name, DIRECTORY, Mode::empty()).map_err(failed)?;
        Ok((Arc::new(dir), path))
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        // Best effort: the next run reclaims what stays.
        let _ = remove_tree(&self.home, &self.name);
    }
}

/// Removes staging directories of dead runs: ours, and locked by nobody.
pub(super) fn reclaim(home: &Arc<OwnedFd>) {
    let Ok(listing) = Dir::read_from(home) else { return };
    for entry in listing.flatten() {
        let name = entry.file_name().to_bytes();
        if !name.starts_with(PREFIX.as_bytes()) {
            continue;
        }
        let Ok(dir) = openat(home, name, DIRECTORY, Mode::empty()) else { continue };
        let dir = File::from(dir);
        let ours = dir
            .metadata()
            .is_ok_and(|meta| meta.uid() == rustix::process::geteuid().as_raw() && meta.mode() & 0o7777 == 0o700);
        if ours && dir.try_lock_exclusive().is_ok() {
            let _ = remove_tree(home, name);
        }
    }
}

/// Removes `name` in `home` and all below it, following no link, whatever the modes of its directories.
pub(super) fn remove_tree(home: &Arc<OwnedFd>, name: &[u8]) -> Result<(), Errno> {
    let mut cursor = Cursor::new(Arc::clone(home), Path::new(""));
    match remove(home, name) {
        Err(Errno::NOTEMPTY | Errno::EXIST) => descend(&mut cursor, name)?,
        done => return done,
    }
    let mut names = vec![name.to_vec()];
    while let Some(current) = names.last().cloned() {
        let mut deeper = None;
        // A directory is listed anew after each that had contents: what was before it is gone by then.
        for entry in Dir::read_from(cursor.here())?.flatten() {
            let child = entry.file_name().to_bytes();
            if child == b"." || child == b".." {
                continue;
            }
            match remove(cursor.here(), child) {
                Err(Errno::NOTEMPTY | Errno::EXIST) => {
                    deeper = Some(child.to_vec());
                    break;
                }
                Err(Errno::ACCESS) => {
                    chmodat(cursor.here(), ".", Mode::from_raw_mode(0o700), AtFlags::empty())?;
                    remove(cursor.here(), child).or_else(|e| if e == Errno::NOTEMPTY { Ok(()) } else { Err(e) })?;
                }
                done => done?,
            }
        }
        if let Some(child) = deeper {
            descend(&mut cursor, &child)?;
            names.push(child);
            continue;
        }
        cursor.ascend()?;
        match remove(cursor.here(), &current) {
            Ok(()) => _ = names.pop(),
            Err(Errno::NOTEMPTY | Errno::EXIST) => descend(&mut cursor, &current)?,
            Err(e) => return Err(e),
        }
    }
    Ok(())
}

fn descend(cursor: &mut Cursor, name: &[u8]) -> Result<(), Errno> {
    cursor.descend(name).or_else(|e| match e {
        Errno::ACCESS => {
            // A directory that even its owner may not read; it was seen to be one, and nobody else can exchange it.
            let stat = statat(cursor.here(), name, AtFlags::SYMLINK_NOFOLLOW)?;
            if FileType::from_raw_mode(stat.st_mode) != FileType::Directory {
                return Err(Errno::ACCESS);
            }
            chmodat(cursor.here(), name, Mode::from_raw_mode(0o700), AtFlags::empty())?;
            cursor.descend(name)
        }
        e => Err(e),
    })
}

fn remove(dir: impl AsFd, name: &[u8]) -> Result<(), Errno> {
    match unlinkat(&dir, name, AtFlags::empty()) {
        Err(Errno::ISDIR | Errno::PERM) => unlinkat(&dir, name, AtFlags::REMOVEDIR),
        done => done,
    }
}

/// Opens a directory that the caller names (links on the way are the caller's own).
pub(super) fn open_home(path: &Path) -> Result<Option<Arc<OwnedFd>>> {
    let at = if path.as_os_str().is_empty() { Path::new(".") } else { path };
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    match open(at, flags, Mode::empty()) {
        Ok(dir) => Ok(Some(Arc::new(dir))),
        Err(Errno::NOENT) => Ok(None),
        Err(e) => Err(Error::io("open", at)(e.into())),
    }
}

/// Directories that were created for a restore; they go again if it fails.
#[derive(Default)]
pub(super) struct Made {
    paths: Vec<PathBuf>,
    kept: bool,
}

impl Made {
    /// Creates a directory and its parents (0700), given to `owner`, and opens it.
    pub fn create(&mut self, path: &Path, owner: Option<(u32, u32)>) -> Result<Arc<OwnedFd>> {
        let mut missing = Vec::new();
        let mut at = path;
        while !at.as_os_str().is_empty()
            && fs::symlink_metadata(at).is_err_and(|e| e.kind() == std::io::ErrorKind::NotFound)
        {
            missing.push(at);
            at = at.parent().unwrap_or(Path::new(""));
        }
        for dir in missing.into_iter().rev() {
            fs::DirBuilder::new().mode(0o700).create(dir).map_err(Error::io("create", dir))?;
            self.paths.push(dir.to_path_buf());
            if let Some((uid, gid)) = owner {
                rustix::fs::chown(dir, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)))
                    .map_err(|e| Error::io("give away", dir)(e.into()))?;
            }
            sync_dir(dir.parent().unwrap_or(dir))?;
        }
        open_home(path)?.ok_or_else(|| Error::io("open", path)(Errno::NOENT.into()))
    }

    /// Says that the restore is done: they stay.
    pub fn keep(&mut self) {
        self.kept = true;
    }
}

impl Drop for Made {
    fn drop(&mut self) {
        if !self.kept {
            self.paths.iter().rev().for_each(|path| _ = fs::remove_dir(path));
        }
    }
}
