//! By what a file or directory is recognised after a restore: its inode, and whether it is as it was.

use std::os::fd::OwnedFd;
use std::sync::Arc;

use rustix::fs::{FileType, Stat};
use serde::{Deserialize, Serialize};

use super::tree_size::{TreeSize, measure};

/// By what a file or directory is recognised.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct FileIdentity {
    pub suffix: String,
    inode: u64,
    pub mode: u32,
    size: u64,
    mtime: i64,
    mtime_ns: i64,
    /// The size of the contents of a directory, or of a file.
    held: Option<TreeSize>,
}

impl FileIdentity {
    /// Describes a file or directory; with `spot`, also the size of its contents.
    pub(crate) fn new(suffix: &str, stat: &Stat, spot: Option<(&Arc<OwnedFd>, &[u8])>) -> Self {
        Self {
            suffix: suffix.into(),
            inode: stat.st_ino,
            mode: stat.st_mode,
            size: stat.st_size as u64,
            mtime: stat.st_mtime,
            mtime_ns: stat.st_mtime_nsec as i64,
            held: spot.map(|(dir, name)| measure(dir, name)),
        }
    }

    fn kind(&self) -> FileType {
        FileType::from_raw_mode(self.mode)
    }

    /// Returns whether this is a directory.
    pub(crate) fn is_dir(&self) -> bool {
        self.kind() == FileType::Directory
    }

    /// Returns whether this is a regular file.
    pub(crate) fn is_file(&self) -> bool {
        self.kind() == FileType::RegularFile
    }

    /// Returns whether that is the same file, whatever was written to it since. The device's number may change with each boot.
    pub(crate) fn is(&self, stat: &Stat) -> bool {
        (self.inode, self.kind()) == (stat.st_ino, FileType::from_raw_mode(stat.st_mode))
    }

    /// Returns whether both versions are one and the same file.
    pub(crate) fn is_twin(&self, other: &Self) -> bool {
        self.is_file() && (self.inode, self.mode) == (other.inode, other.mode)
    }

    /// Returns whether that is as it was, or a copy of it on another disk.
    pub(crate) fn is_unchanged(&self, stat: &Stat, dir: &Arc<OwnedFd>, name: &[u8]) -> bool {
        let kind = FileType::from_raw_mode(stat.st_mode);
        let time = (stat.st_mtime, stat.st_mtime_nsec as i64);
        kind == self.kind()
            && match &self.held.filter(|_| self.is_dir()) {
                Some(held) => measure(dir, name).holds_the_same(held),
                None => (stat.st_size as u64, time) == (self.size, (self.mtime, self.mtime_ns)),
            }
    }

    /// Returns the time of its last change.
    pub(crate) fn time(&self) -> (i64, i64) {
        (self.mtime, self.mtime_ns)
    }

    /// Returns the bytes that removing it would give back, as far as no clone shares them.
    pub(crate) fn space(&self) -> u64 {
        self.held.as_ref().map_or(self.size, |held| held.space)
    }

    /// Returns the same with the time of another.
    pub(crate) fn with_time_of(self, other: &Self) -> Self {
        Self { mtime: other.mtime, mtime_ns: other.mtime_ns, ..self }
    }
}
