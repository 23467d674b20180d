//! Free space on a disk: estimates before writing, and a guard while writing that stops before what is kept
//! free for the application is touched, because it writes to the same disk.

use std::fs::File;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use rustix::fs::{StatVfs, fstat, fstatvfs, stat, statvfs};

use crate::error::{Error, Result};

/// Bytes that are written before the disk is asked again.
const STEP: u64 = 1 << 20;

/// What stays free on a disk: a share of it, up to a number of bytes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Reserve {
    /// Percent of the disk, 0 to 100.
    pub percent: f64,
    /// Bytes.
    pub most: u64,
}

impl Reserve {
    /// Nothing is kept free.
    pub const NONE: Self = Self { percent: 0.0, most: 0 };
    /// What even a restore leaves, which may use what others keep free: the application has to start on what it restored.
    pub(crate) const LEAST: Self = Self { percent: 2.0, most: 16 << 20 };

    fn of(self, total: u64) -> u64 {
        ((total as f64 * self.percent / 100.0) as u64).min(self.most)
    }
}

/// What one disk can take.
#[derive(Debug, Clone, Copy)]
pub struct FreeSpace {
    /// Bytes, the reserve taken off; the most there can be where the file system does not say.
    pub bytes: u64,
    /// Files and directories.
    pub inodes: u64,
    /// Bytes that a file's length is rounded up to.
    pub block: u64,
    /// Bytes that are free, those of the reserve too.
    all: u64,
    reserve: u64,
    total: u64,
}

impl FreeSpace {
    /// Returns the bytes of the whole disk; `None` where the file system does not say.
    pub fn total(&self) -> Option<u64> {
        (self.total > 0).then_some(self.total)
    }
}

fn free(stat: &StatVfs, reserve: Reserve) -> FreeSpace {
    let block = stat.f_frsize.max(1);
    let total = stat.f_blocks.saturating_mul(block);
    let reserve = reserve.of(total);
    // File systems that make inodes as they need them say that there are none at all; those in user space may not know their size.
    let inodes = if stat.f_files == 0 { u64::MAX } else { stat.f_favail };
    let all = if total == 0 { u64::MAX } else { stat.f_bavail.saturating_mul(block) };
    FreeSpace { bytes: all.saturating_sub(reserve), inodes, block, all, reserve, total }
}

/// Asks the disk that holds `path`, or its nearest parent that exists.
pub fn free_at(path: &Path, reserve: Reserve) -> Result<FreeSpace> {
    nearest(path, |place| statvfs(place)).map(|stat| free(&stat, reserve))
}

/// Returns the device of that disk.
pub(crate) fn device_at(path: &Path) -> Result<u64> {
    nearest(path, |place| stat(place)).map(|stat| stat.st_dev)
}

fn nearest<T>(path: &Path, ask: impl Fn(&Path) -> rustix::io::Result<T>) -> Result<T> {
    let mut at = path;
    loop {
        let place = if at.as_os_str().is_empty() { Path::new(".") } else { at };
        match (ask(place), at.parent()) {
            (Ok(found), _) => return Ok(found),
            (Err(rustix::io::Errno::NOENT), Some(parent)) => at = parent,
            (Err(e), _) => return Err(Error::io("look at the disk of", place)(e.into())),
        }
    }
}

/// Fails unless `bytes` more fit on the disk of `path`. What ext4 keeps for root does not count: a part of it not even root gets.
pub(crate) fn require(path: &Path, bytes: u64) -> Result<()> {
    match free_at(path, Reserve::NONE) {
        Ok(free) if free.bytes < bytes => {
            Err(Error::NoRoom { path: path.to_path_buf(), free: free.bytes, reserve: 0, needed: bytes })
        }
        _ => Ok(()),
    }
}

/// Stops writers before the disk is full. One for each disk: two would each count on the same space.
pub struct SpaceGuard {
    disk: Option<Disk>,
    /// What may be written before the disk is asked again; one thread asks at a time, or each would be granted the same space.
    left: Mutex<u64>,
}

struct Disk {
    dir: Arc<OwnedFd>,
    path: PathBuf,
    reserve: Reserve,
}

impl Disk {
    fn free(&self) -> Result<FreeSpace> {
        let stat = fstatvfs(&self.dir).map_err(|e| Error::io("look at the disk of", &self.path)(e.into()))?;
        Ok(free(&stat, self.reserve))
    }

    fn full(&self, free: &FreeSpace, needed: u64) -> Error {
        Error::NoRoom { path: self.path.clone(), free: free.all, reserve: free.reserve, needed }
    }
}

impl SpaceGuard {
    /// Guards nothing.
    #[must_use]
    pub const fn unlimited() -> Self {
        Self { disk: None, left: Mutex::new(0) }
    }

    /// Guards the disk of the open directory `dir`.
    pub(crate) fn new(dir: Arc<OwnedFd>, path: &Path, reserve: Reserve) -> Self {
        Self { disk: Some(Disk { dir, path: path.to_path_buf(), reserve }), left: Mutex::new(0) }
    }

    /// Guards the disk of the directory at `path`.
    ///
    /// # Errors
    ///
    /// [`Error::Io`] where the directory cannot be opened.
    pub fn open(path: &Path, reserve: Reserve) -> Result<Self> {
        let dir = File::open(path).map_err(Error::io("open", path))?;
        Ok(Self::new(Arc::new(dir.into()), path, reserve))
    }

    /// Returns whether it guards the disk of `path`.
    pub(crate) fn guards(&self, path: &Path) -> bool {
        let device = self.disk.as_ref().and_then(|disk| fstat(&disk.dir).ok()).map(|stat| stat.st_dev);
        device.is_some() && device == stat(path).ok().map(|stat| stat.st_dev)
    }

    /// Returns how many bytes may still be written; the most there can be where nothing is guarded or the file system does not say.
    #[doc(hidden)]
    pub fn bytes(&self) -> u64 {
        let free = self.disk.as_ref().and_then(|disk| disk.free().ok());
        free.map_or(u64::MAX, |free| free.bytes)
    }

    /// Charges for `bytes` that are about to be written. [`Error::NoRoom`] if that would touch the reserve; where there is none, the system tells.
    pub(crate) fn charge(&self, bytes: u64) -> Result<()> {
        let Some(disk) = self.disk.as_ref().filter(|disk| disk.reserve != Reserve::NONE) else { return Ok(()) };
        let mut left = self.left.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(rest) = left.checked_sub(bytes) {
            *left = rest;
            return Ok(());
        }
        // A file system that does not answer is not guarded: a disk that cannot say how full it is must not end backups.
        let Ok(free) = disk.free() else { return Ok(()) };
        if free.bytes < bytes {
            return Err(disk.full(&free, 0));
        }
        *left = (free.bytes - bytes).min(STEP);
        Ok(())
    }

    /// Requires space for at least `bytes`; [`Error::NoRoom`] at once if they do not fit.
    pub(crate) fn require(&self, bytes: u64) -> Result<()> {
        let Some(disk) = &self.disk else { return Ok(()) };
        match disk.free() {
            Ok(free) if free.bytes < bytes => Err(disk.full(&free, bytes)),
            _ => Ok(()),
        }
    }
}

/// A directory that is written to, and the guard of its disk.
#[derive(Clone)]
pub(crate) struct GuardedDir<'a> {
    /// Its path as the user gave it.
    pub dir: &'a Path,
    /// The guard.
    pub room: Arc<SpaceGuard>,
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::{Reserve, SpaceGuard, free_at};
    use crate::error::Error;

    const ALL: Reserve = Reserve { percent: 100.0, most: u64::MAX };

    #[test]
    fn a_reserve_is_a_share_of_the_disk_up_to_a_bound() {
        let five = Reserve { percent: 5.0, most: 1 << 30 };
        assert_eq!(five.of(1_000_000_000), 50_000_000);
        assert_eq!(five.of(2_000_000_000_000), 1 << 30);
        assert_eq!(Reserve { percent: 100.0, most: 7 }.of(1000), 7);
        assert_eq!(Reserve::NONE.of(u64::MAX), 0);
    }

    #[test]
    fn nothing_is_written_into_the_reserve() {
        let dir = tempfile::tempdir().unwrap();
        let full = SpaceGuard::open(dir.path(), ALL).unwrap();
        let error = full.charge(1).unwrap_err();
        assert!(matches!(&error, Error::NoRoom { path, reserve, .. } if path == dir.path() && *reserve > 0), "{error}");
        assert!(error.is_full() && error.again().is_full());
        assert!(full.require(1).is_err() && full.require(0).is_ok());
        assert_eq!(full.bytes(), 0);
        let none = SpaceGuard::open(dir.path(), Reserve::NONE).unwrap();
        assert!((0..10_000).all(|_| none.charge(1000).is_ok()));
        assert!(none.require(u64::MAX).is_err() && none.charge(u64::MAX).is_ok());
        assert!(none.guards(&dir.path().join(".")) && !none.guards(Path::new("/proc")));
    }

    #[test]
    fn a_file_system_that_does_not_know_its_size_is_not_guarded() {
        let room = SpaceGuard::open(Path::new("/proc"), ALL).unwrap();
        assert!(room.charge(1 << 40).is_ok() && room.require(1 << 40).is_ok());
        assert!(free_at(Path::new("/proc/none"), ALL).unwrap().bytes > 1 << 60);
        assert!(SpaceGuard::unlimited().charge(u64::MAX).is_ok() && SpaceGuard::unlimited().bytes() == u64::MAX);
    }
}
