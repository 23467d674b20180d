//! Owns the question whether the disk has room: an estimate before writing, a guard while writing that stops before the disk
//! is full, because the application writes to the same one.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use rustix::fs::{fstatvfs, statvfs};

use crate::error::{Error, Result};

/// At most so much is kept free for the application while a restore writes (2 % of smaller disks).
const RESERVE_MAX: u64 = 16 << 20;
/// So many bytes are written before the disk is asked again.
const STEP: u64 = 4 << 20;

/// What one disk can take.
#[derive(Debug, Clone, Copy)]
pub(in crate::ops) struct Free {
    /// Bytes, the reserve taken off.
    pub bytes: u64,
    /// Files and directories.
    pub inodes: u64,
    /// Bytes that a file's length is rounded up to.
    pub block: u64,
}

fn free(stat: &rustix::fs::StatVfs) -> Free {
    let block = stat.f_frsize.max(1);
    let reserve = (stat.f_blocks.saturating_mul(block) / 50).min(RESERVE_MAX);
    // File systems that make inodes as they need them say that there are none at all.
    let inodes = if stat.f_files == 0 { u64::MAX } else { stat.f_favail };
    Free { bytes: stat.f_bavail.saturating_mul(block).saturating_sub(reserve), inodes, block }
}

/// Asks the disk that holds `path`, or its nearest parent that exists.
pub(in crate::ops) fn free_at(path: &Path) -> Result<Free> {
    let mut at = path;
    loop {
        let place = if at.as_os_str().is_empty() { Path::new(".") } else { at };
        match (statvfs(place), at.parent()) {
            (Ok(stat), _) => return Ok(free(&stat)),
            (Err(rustix::io::Errno::NOENT), Some(parent)) => at = parent,
            (Err(e), _) => return Err(Error::io("look at", place)(e.into())),
        }
    }
}

/// Stops writers before the disk is full.
pub(super) struct Room {
    dir: Arc<OwnedFd>,
    path: PathBuf,
    left: AtomicI64,
}

impl Room {
    /// Guards the disk of the directory `dir`.
    pub fn new(dir: Arc<OwnedFd>, path: &Path) -> Self {
        Self { dir, path: path.to_path_buf(), left: AtomicI64::new(0) }
    }

    /// Says that `bytes` are about to be written.
    pub fn spend(&self, bytes: u64) -> Result<()> {
        let bytes = i64::try_from(bytes).unwrap_or(i64::MAX);
        if self.left.fetch_sub(bytes, Ordering::Relaxed) >= bytes {
            return Ok(());
        }
        let stat = fstatvfs(&self.dir).map_err(|e| Error::io("look at", &self.path)(e.into()))?;
        let bytes = u64::try_from(bytes).unwrap_or(0);
        let free = free(&stat).bytes;
        if free < bytes {
            return Err(Error::Refused(format!(
                "the disk of {} is nearly full: the restore was stopped so that the application can still write; nothing was changed",
                self.path.display()
            )));
        }
        self.left.store((free - bytes).min(STEP) as i64, Ordering::Relaxed);
        Ok(())
    }
}
