//! Owns the walking of a directory tree by descriptors: every step opens one component of the directory before it and follows
//! no link, so no path is resolved in which somebody could have planted one. Never creates, never changes anything.

use std::ffi::OsStr;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{Mode, OFlags, openat};
use rustix::io::Errno;

/// How a directory is opened on the way.
pub(crate) const DIRECTORY: OFlags =
    OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// Levels whose descriptors stay open; deeper ones are opened again from the last of these (a tree may be deeper than the
/// descriptors that a process may have).
const KEPT: usize = 64;

/// A position in a tree.
pub(crate) struct DirCursor {
    root: Arc<OwnedFd>,
    root_path: PathBuf,
    names: Vec<Vec<u8>>,
    kept: Vec<Arc<OwnedFd>>,
    here: Arc<OwnedFd>,
}

/// Splits a path into the directory (empty: the root) and the name in it.
pub(crate) fn split(path: &[u8]) -> (&[u8], &[u8]) {
    match path.iter().rposition(|b| *b == b'/') {
        Some(slash) => (&path[..slash], &path[slash + 1..]),
        None => (b"", path),
    }
}

/// Makes a path of raw bytes.
pub(crate) fn to_path(bytes: &[u8]) -> &Path {
    Path::new(OsStr::from_bytes(bytes))
}

/// Takes a path apart.
pub(crate) fn components(path: &[u8]) -> impl Iterator<Item = &[u8]> {
    path.split(|b| *b == b'/').filter(|part| !part.is_empty())
}

impl DirCursor {
    /// Starts at `root`, which messages call `root_path`.
    pub fn new(root: Arc<OwnedFd>, root_path: &Path) -> Self {
        let here = Arc::clone(&root);
        Self { root, root_path: root_path.to_path_buf(), names: Vec::new(), kept: Vec::new(), here }
    }

    /// Returns the directory where it stands.
    pub fn here(&self) -> &Arc<OwnedFd> {
        &self.here
    }

    /// Returns how many levels below the root it stands.
    pub fn depth(&self) -> usize {
        self.names.len()
    }

    /// Returns how many leading components of `path` it stands below.
    pub fn common(&self, path: &[u8]) -> usize {
        self.names.iter().zip(components(path)).take_while(|(name, part)| name.as_slice() == *part).count()
    }

    /// Names something below the root, for messages.
    pub fn path_of(&self, path: &[u8]) -> PathBuf {
        self.root_path.join(to_path(path))
    }

    /// Goes to the directory `path` (empty: the root). After an error it stands on the way there.
    pub fn enter(&mut self, path: &[u8]) -> Result<(), Errno> {
        let common = self.common(path);
        if common < self.names.len() {
            self.truncate(common)?;
        }
        components(path).skip(common).try_for_each(|part| self.descend(part))
    }

    /// Goes one level down.
    pub fn descend(&mut self, name: &[u8]) -> Result<(), Errno> {
        self.here = Arc::new(openat(&self.here, name, DIRECTORY, Mode::empty())?);
        if self.names.len() < KEPT {
            self.kept.push(Arc::clone(&self.here));
        }
        self.names.push(name.to_vec());
        Ok(())
    }

    /// Goes one level up; at the root it stays.
    pub fn ascend(&mut self) -> Result<(), Errno> {
        self.truncate(self.names.len().saturating_sub(1))
    }

    fn truncate(&mut self, depth: usize) -> Result<(), Errno> {
        self.names.truncate(depth);
        self.kept.truncate(depth);
        self.here = Arc::clone(self.kept.last().unwrap_or(&self.root));
        for name in self.names.iter().skip(self.kept.len()) {
            self.here = Arc::new(openat(&self.here, name.as_slice(), DIRECTORY, Mode::empty())?);
        }
        Ok(())
    }
}
