//! Creates directories, files and links below one directory, by handles: follows no link, replaces nothing, and never leaves that
//! directory. Does not sync.

use std::fs::File;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{AtFlags, FileType, Mode, linkat, mkdirat, statat, symlinkat};
use rustix::io::Errno;

use super::dir::{DirCursor, create_file, split};
use super::metadata::{Metadata, set_link_metadata};
use crate::error::Error;

/// Why something could not be created. What of it is whose fault, the caller knows.
pub(crate) enum Obstacle {
    /// Something has that name already.
    Exists,
    /// A directory on the way is missing.
    NoDirectory,
    /// What should be a directory on the way is a link or a file.
    NotDirectory,
    /// The target of a hard link is not there.
    NoTarget,
    /// The target of a hard link is no regular file.
    TargetNotFile,
    /// The system refused.
    Io(Error),
}

/// A place in the tree that is written, always one directory of it.
pub(crate) struct TreeWriter {
    cursor: DirCursor,
    /// Where the target of the last hard link was.
    targets: DirCursor,
    root: Arc<OwnedFd>,
    path: PathBuf,
}

impl TreeWriter {
    /// Starts at the directory `root`, which messages call `path`.
    pub(crate) fn new(root: &Arc<OwnedFd>, path: &Path) -> Self {
        let cursor = || DirCursor::new(Arc::clone(root), path);
        Self { cursor: cursor(), targets: cursor(), root: Arc::clone(root), path: path.to_path_buf() }
    }

    /// Returns the directory that it is in.
    pub(crate) fn here(&self) -> &Arc<OwnedFd> {
        self.cursor.here()
    }

    /// Returns how many levels below the root that is.
    pub(crate) fn depth(&self) -> usize {
        self.cursor.depth()
    }

    /// Returns how many leading components of `path` it is below.
    pub(crate) fn common(&self, path: &[u8]) -> usize {
        self.cursor.common(path)
    }

    /// Returns the path of a name in this directory, for messages.
    pub(crate) fn path_of(&self, name: &[u8]) -> PathBuf {
        self.cursor.path_here(name)
    }

    /// Makes an error about a name in this directory.
    pub(crate) fn io(&self, op: &'static str, name: &[u8]) -> impl FnOnce(Errno) -> Error + use<> {
        let path = self.path_of(name);
        move |errno| Error::io(op, path)(errno.into())
    }

    fn blocked(&self, name: &[u8], errno: Errno) -> Obstacle {
        match errno {
            Errno::LOOP | Errno::NOTDIR => Obstacle::NotDirectory,
            Errno::NOENT => Obstacle::NoDirectory,
            errno => Obstacle::Io(self.io("open", name)(errno)),
        }
    }

    fn created<T>(&self, done: Result<T, Errno>, name: &[u8]) -> Result<T, Obstacle> {
        done.map_err(|errno| match errno {
            Errno::EXIST => Obstacle::Exists,
            errno => Obstacle::Io(self.io("create", name)(errno)),
        })
    }

    /// Goes to the directory `path` below the root.
    pub(crate) fn enter(&mut self, path: &[u8]) -> Result<(), Obstacle> {
        self.cursor.enter(path).map_err(|e| self.blocked(b"", e))
    }

    /// Goes one level down.
    pub(crate) fn descend(&mut self, name: &[u8]) -> Result<(), Obstacle> {
        self.cursor.descend(name).map_err(|e| self.blocked(name, e))
    }

    /// Goes one level up; at the root it stays.
    pub(crate) fn ascend(&mut self) -> Result<(), Error> {
        let path = self.path_of(b"");
        self.cursor.ascend().map_err(|e| Error::io("open", path)(e.into()))
    }

    /// Creates a directory (0700): its metadata are set when all that is in it is there.
    pub(crate) fn create_dir(&self, name: &[u8]) -> Result<(), Obstacle> {
        self.created(mkdirat(self.here(), name, Mode::from_raw_mode(0o700)), name)
    }

    /// Creates a file (0600).
    pub(crate) fn create_file(&self, name: &[u8]) -> Result<File, Obstacle> {
        self.created(create_file(self.here(), name), name)
    }

    /// Creates a symbolic link; returns whether it has its owner.
    pub(crate) fn create_symlink(&self, name: &[u8], target: &[u8], metadata: &Metadata) -> Result<bool, Obstacle> {
        self.created(symlinkat(target, self.here(), name), name)?;
        set_link_metadata(self.here(), name, metadata, &self.path_of(name)).map_err(Obstacle::Io)
    }

    /// Creates a hard link to the regular file `target` below the root.
    pub(crate) fn create_hardlink(&mut self, name: &[u8], target: &[u8]) -> Result<(), Obstacle> {
        let (dir, target_name) = split(target);
        if self.targets.enter(dir).is_err() {
            self.targets = DirCursor::new(Arc::clone(&self.root), &self.path);
            return Err(Obstacle::NoTarget);
        }
        let from = self.targets.here();
        let stat = statat(from, target_name, AtFlags::SYMLINK_NOFOLLOW).map_err(|_| Obstacle::NoTarget)?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return Err(Obstacle::TargetNotFile);
        }
        self.created(linkat(from, target_name, self.here(), name, AtFlags::empty()), name)
    }
}
