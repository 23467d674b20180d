//! The staging directory: a fresh, locked directory beside the target that only we can enter, removed when it is dropped. It never
//! holds the only copy of anything: what a restore replaces goes directly to its `.pre-restore` name. Others may own the directory
//! that it is in, and exchange names there at any moment: only handles are trusted.

use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use fs2::FileExt;
use rustix::fs::{AtFlags, Dir, Mode, fstat, fsync, ioctl_ficlone, mkdirat, openat, renameat, unlinkat};
use rustix::io::Errno;

use crate::error::{Error, Result};
use crate::fs::dir::{DIRECTORY, create_file, to_path};
use crate::fs::metadata::{mtime_of, set_mtime, set_owner};
use crate::fs::remove::remove_tree;
use crate::fs::resolve::{OpenDirs, hold, look, set_mode};

/// How its name begins.
pub(super) const PREFIX: &str = ".lrl-restore-";
/// A file in every staging directory: others can rename a directory of ours to such a name, but cannot put this into it.
const MARK: &[u8] = b".lrl-staging";

/// A staging directory.
pub(super) struct StagingDir {
    /// The directory.
    pub dir: Arc<OwnedFd>,
    /// Its path, for messages.
    pub path: PathBuf,
    home: Arc<OwnedFd>,
    name: Vec<u8>,
    // Holds the lock that tells a living run's directory from a dead one's.
    _lock: File,
}

/// Creates a directory that only we can enter, and opens it. One that somebody put in its place meanwhile is refused: any other
/// directory of ours is not empty, or not private.
pub(super) fn make_private(home: impl AsFd, name: &[u8], path: &Path) -> Result<OwnedFd> {
    let failed = |e: Errno| Error::io("create", path)(e.into());
    mkdirat(&home, name, Mode::from_raw_mode(0o700)).map_err(failed)?;
    // A umask that takes rights from the owner would lock us out.
    let dir = match openat(&home, name, DIRECTORY, Mode::empty()) {
        Err(Errno::ACCESS) => {
            set_mode(hold(&home, name).map_err(failed)?, 0o700).map_err(failed)?;
            openat(&home, name, DIRECTORY, Mode::empty()).map_err(failed)?
        }
        opened => opened.map_err(failed)?,
    };
    let exchanged = || Error::refused(format!("{} was exchanged by somebody else", path.display()));
    let stat = fstat(&dir).map_err(failed)?;
    if stat.st_mode & 0o077 != 0 || !is_ours(&dir, stat.st_uid) || !is_empty(&dir).map_err(failed)? {
        return Err(exchanged());
    }
    // The umask may have taken rights of ours, and setgid come from the directory above.
    set_mode(&dir, 0o700).map_err(failed)?;
    Ok(dir)
}

/// Returns whether this user made a directory. Where a network file system maps root to somebody else, a file tells.
pub(super) fn is_ours(dir: &OwnedFd, uid: u32) -> bool {
    if uid == rustix::process::geteuid().as_raw() {
        return true;
    }
    let made = create_file(dir, MARK).and_then(|file| fstat(&file));
    let _ = unlinkat(dir, MARK, AtFlags::empty());
    made.is_ok_and(|stat| stat.st_uid == uid)
}

fn is_empty(dir: &OwnedFd) -> Result<bool, Errno> {
    for entry in Dir::read_from(dir)? {
        if !matches!(entry?.file_name().to_bytes(), b"." | b"..") {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Returns a name that nobody has taken before.
fn fresh_name() -> Vec<u8> {
    use std::hash::{BuildHasher, Hasher, RandomState};
    format!("{PREFIX}{:016x}", RandomState::new().build_hasher().finish()).into_bytes()
}

impl StagingDir {
    /// Creates one in `home`, and removes those of dead runs there.
    pub(crate) fn create(home: &Arc<OwnedFd>, home_path: &Path) -> Result<Self> {
        quietly(home, || {
            reclaim(home);
            let name = fresh_name();
            let path = home_path.join(to_path(&name));
            let dir = make_private(home, &name, &path)?;
            let failed = |e: std::io::Error| Error::io("open", &path)(e);
            let lock = File::from(dir.try_clone().map_err(failed)?);
            // Where nothing can be locked, nothing is ever reclaimed, which is safe.
            let _ = lock.try_lock_exclusive();
            let staging = Self { dir: Arc::new(dir), path: path.clone(), home: Arc::clone(home), name, _lock: lock };
            create_file(&staging.dir, MARK).map_err(|e| Error::io("create", &path)(e.into()))?;
            Ok(staging)
        })
    }

    /// Returns whether files on this disk can share blocks.
    pub(crate) fn can_clone(&self) -> bool {
        let (a, b) = (&b".probe-a"[..], &b".probe-b"[..]);
        let cloned = create_file(&self.dir, a).ok().is_some_and(|from| {
            use std::os::unix::fs::FileExt as _;
            from.write_all_at(&[1; 4096], 0).is_ok()
                && create_file(&self.dir, b).is_ok_and(|to| ioctl_ficlone(to.as_fd(), from.as_fd()).is_ok())
        });
        for name in [a, b] {
            let _ = unlinkat(&self.dir, name, AtFlags::empty());
        }
        cloned
    }

    /// Returns whether the directory `name` in `dir` can be renamed at all: neither the root of a mount nor a directory of a lower
    /// layer of an overlay can. The target of the attempt is not empty, so it always fails, for one reason or the other.
    pub(crate) fn can_rename(&self, dir: impl AsFd, name: &[u8]) -> Result<bool> {
        let probe = &b".probe-dir"[..];
        let path = self.path.join(to_path(probe));
        let failed = |e: Errno| Error::io("create", &path)(e.into());
        let made = make_private(&self.dir, probe, &path)?;
        create_file(&made, b"full").map_err(failed)?;
        let tried = renameat(dir, name, &self.dir, probe);
        let _ = remove_tree(&self.dir, probe);
        Ok(!matches!(tried, Err(Errno::XDEV | Errno::BUSY)))
    }

    /// Creates a directory inside; returns it with its path.
    pub(crate) fn subdir(&self, name: &str) -> Result<(Arc<OwnedFd>, PathBuf)> {
        let path = self.path.join(name);
        Ok((Arc::new(make_private(&self.dir, name.as_bytes(), &path)?), path))
    }
}

impl Drop for StagingDir {
    fn drop(&mut self) {
        // Best effort: the next run reclaims what stays.
        let _ = quietly(&self.home, || {
            let _ = clear(&self.dir, &self.home, &self.name);
            Ok(())
        });
    }
}

/// Does something in a directory and keeps its time: it may be the uploads' own.
fn quietly<T>(home: &Arc<OwnedFd>, act: impl FnOnce() -> Result<T>) -> Result<T> {
    let before = fstat(home).ok();
    let done = act();
    if let Some(stat) = before {
        let _ = set_mtime(home, mtime_of(&stat));
    }
    done
}

/// Removes all that is in a staging directory, through its handle, then its name if that is still it. An empty directory that
/// somebody put there can go as well: nothing is lost with it.
fn clear(dir: &Arc<OwnedFd>, home: &Arc<OwnedFd>, name: &[u8]) -> Result<(), Errno> {
    loop {
        let mut again = false;
        for entry in Dir::read_from(dir)? {
            let entry = entry?;
            let child = entry.file_name().to_bytes();
            if !matches!(child, b"." | b".." | MARK) {
                remove_tree(dir, child)?;
                again = true;
            }
        }
        if !again {
            break;
        }
    }
    match unlinkat(dir, MARK, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => {}
        Err(e) => return Err(e),
    }
    unlinkat(home, name, AtFlags::REMOVEDIR)
}

/// Removes staging directories of dead runs: ours, marked, and locked by nobody.
pub(super) fn reclaim(home: &Arc<OwnedFd>) {
    let Ok(listing) = Dir::read_from(home) else { return };
    for entry in listing.flatten() {
        let name = entry.file_name().to_bytes();
        if !name.starts_with(PREFIX.as_bytes()) {
            continue;
        }
        let Ok(dir) = openat(home, name, DIRECTORY, Mode::empty()) else { continue };
        let dir = File::from(dir);
        let is_private = dir
            .metadata()
            .is_ok_and(|meta| meta.uid() == rustix::process::geteuid().as_raw() && meta.mode() & 0o7777 == 0o700);
        if !is_private || dir.try_lock_exclusive().is_err() {
            continue;
        }
        let dir: Arc<OwnedFd> = Arc::new(dir.into());
        if matches!(look(&dir, MARK), Ok(Some(stat)) if stat.st_uid == rustix::process::geteuid().as_raw()) {
            let _ = clear(&dir, home, name);
        } else {
            // Its run may have been killed before it could mark it. One that is not empty is somebody's, whatever its name.
            let _ = unlinkat(home, name, AtFlags::REMOVEDIR);
        }
    }
}

/// Directories that were created for a restore; they go again if it fails.
#[derive(Default)]
pub(super) struct CreatedDirs {
    dirs: Vec<(Arc<OwnedFd>, Vec<u8>)>,
    kept: AtomicBool,
}

impl CreatedDirs {
    /// Creates a directory and its parents (0700), given to `owner`, and opens it.
    pub(crate) fn create(&mut self, dirs: &OpenDirs, path: &Path, owner: Option<(u32, u32)>) -> Result<Arc<OwnedFd>> {
        let mut missing = Vec::new();
        let mut at = path;
        let mut dir = loop {
            if let Some(dir) = dirs.open(at)? {
                break dir;
            }
            missing.push(at);
            at = at.parent().ok_or_else(|| Error::io("open", path)(Errno::NOENT.into()))?;
        };
        for path in missing.into_iter().rev() {
            let failed = |e: Errno| Error::io("create", path)(e.into());
            let name =
                path.file_name().map(std::os::unix::ffi::OsStrExt::as_bytes).ok_or_else(|| failed(Errno::INVAL))?;
            let made = make_private(&dir, name, path)?;
            self.dirs.push((Arc::clone(&dir), name.to_vec()));
            if let Some(owner) = owner {
                // Where owners cannot be set, the note about files says so.
                set_owner(&made, owner, false).map_err(|e| Error::io("give away", path)(e.into()))?;
            }
            fsync(&dir).map_err(|e| Error::io("sync", path)(e.into()))?;
            dir = dirs.know(path, Arc::new(made));
        }
        Ok(dir)
    }

    /// Keeps them: the restore is done.
    pub(crate) fn keep(&self) {
        self.kept.store(true, Ordering::Relaxed);
    }
}

impl Drop for CreatedDirs {
    fn drop(&mut self) {
        if !self.kept.load(Ordering::Relaxed) {
            self.dirs.iter().rev().for_each(|(dir, name)| _ = unlinkat(dir, name.as_slice(), AtFlags::REMOVEDIR));
        }
    }
}
