//! Walks a directory tree by handles: every step opens one component of the directory before it and follows no link, so no path is
//! resolved in which somebody could have planted one.

use std::ffi::OsStr;
use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{Mode, OFlags, fstat, openat};
use rustix::io::Errno;

/// Flags by which a directory is opened on the way.
pub(crate) const DIRECTORY: OFlags =
    OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// Levels whose handles stay open: a tree may be deeper than the number of handles that a process may have.
const KEPT: usize = 64;

/// A position in a tree.
pub(crate) struct DirCursor {
    root: Arc<OwnedFd>,
    root_path: PathBuf,
    names: Vec<Vec<u8>>,
    kept: Vec<Arc<OwnedFd>>,
    /// Device and inode of the directories from level [`KEPT`] on that it is below, to which `..` must lead back.
    above: Vec<(u64, u64)>,
    here: Arc<OwnedFd>,
}

/// Splits a path into the directory (empty: the root) and the name in it.
pub(crate) fn split(path: &[u8]) -> (&[u8], &[u8]) {
    match path.iter().rposition(|b| *b == b'/') {
        Some(slash) => (&path[..slash], &path[slash + 1..]),
        None => (b"", path),
    }
}

/// Creates a file (0600) where nothing is; returns it open to read and write. Follows no link.
pub(crate) fn create_file(dir: impl AsFd, name: &[u8]) -> Result<File, Errno> {
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    openat(dir, name, flags, Mode::from_raw_mode(0o600)).map(File::from)
}

/// Makes a path of raw bytes.
pub(crate) fn to_path(bytes: &[u8]) -> &Path {
    Path::new(OsStr::from_bytes(bytes))
}

/// Returns the components of a path.
pub(crate) fn components(path: &[u8]) -> impl Iterator<Item = &[u8]> {
    path.split(|b| *b == b'/').filter(|part| !part.is_empty())
}

impl DirCursor {
    /// Starts at `root`, which messages call `root_path`.
    pub(crate) fn new(root: Arc<OwnedFd>, root_path: &Path) -> Self {
        let here = Arc::clone(&root);
        Self { root, root_path: root_path.to_path_buf(), names: Vec::new(), kept: Vec::new(), above: Vec::new(), here }
    }

    /// Returns the directory that it is in.
    pub(crate) fn here(&self) -> &Arc<OwnedFd> {
        &self.here
    }

    /// Returns how many levels below the root that is.
    pub(crate) fn depth(&self) -> usize {
        self.names.len()
    }

    /// Returns how many leading components of `path` it is below.
    pub(crate) fn common(&self, path: &[u8]) -> usize {
        self.names.iter().zip(components(path)).take_while(|(name, part)| name.as_slice() == *part).count()
    }

    /// Returns the path of a name in this directory, for messages; of the directory itself where the name is empty.
    pub(crate) fn path_here(&self, name: &[u8]) -> PathBuf {
        let names = self.names.iter().map(Vec::as_slice).chain(Some(name).filter(|name| !name.is_empty()));
        names.fold(self.root_path.clone(), |path, name| path.join(to_path(name)))
    }

    /// Goes to the directory `path` (empty: the root). After an error it is on the way there.
    pub(crate) fn enter(&mut self, path: &[u8]) -> Result<(), Errno> {
        let common = self.common(path);
        if common < self.names.len() {
            self.truncate(common)?;
        }
        components(path).skip(common).try_for_each(|part| self.descend(part))
    }

    /// Goes one level down.
    pub(crate) fn descend(&mut self, name: &[u8]) -> Result<(), Errno> {
        let below = Arc::new(openat(&self.here, name, DIRECTORY, Mode::empty())?);
        if self.names.len() < KEPT {
            self.kept.push(Arc::clone(&below));
        } else {
            self.above.push(identity(&self.here)?);
        }
        self.here = below;
        self.names.push(name.to_vec());
        Ok(())
    }

    /// Goes one level up; at the root it stays.
    pub(crate) fn ascend(&mut self) -> Result<(), Errno> {
        self.truncate(self.names.len().saturating_sub(1))
    }

    fn truncate(&mut self, depth: usize) -> Result<(), Errno> {
        let climbed = self.climb(depth);
        self.names.truncate(depth);
        self.kept.truncate(depth);
        self.above.truncate(depth.saturating_sub(KEPT));
        if let Some(here) = climbed {
            self.here = here;
            return Ok(());
        }
        self.here = Arc::clone(self.kept.last().unwrap_or(&self.root));
        for name in self.names.iter().skip(self.kept.len()) {
            self.here = Arc::new(openat(&self.here, name.as_slice(), DIRECTORY, Mode::empty())?);
        }
        Ok(())
    }

    /// Goes up by `..` where no handle was kept; `None` where one was, or where that does not lead back.
    fn climb(&self, depth: usize) -> Option<Arc<OwnedFd>> {
        let mut here = Arc::clone(&self.here);
        for above in self.above.get(depth.checked_sub(KEPT).filter(|levels| *levels > 0)?..)?.iter().rev() {
            here = Arc::new(openat(&here, "..", DIRECTORY, Mode::empty()).ok()?);
            if identity(&here).ok()? != *above {
                return None;
            }
        }
        Some(here)
    }
}

fn identity(dir: impl AsFd) -> Result<(u64, u64), Errno> {
    fstat(dir).map(|stat| (stat.st_dev, stat.st_ino))
}
