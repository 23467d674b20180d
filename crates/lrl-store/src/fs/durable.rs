//! Names and bytes that a power cut does not undo: directories, and files that get their name when the disk has their bytes.

use std::path::Path;
use std::{fs, io};

use super::vfs::{OsFs, Vfs};
use crate::error::{Error, Result};

/// Creates a directory and its missing parents, readable by the owner alone, durably.
pub fn create_dir(path: &Path) -> Result<()> {
    create_dir_on(&OsFs, path)
}

pub(crate) fn create_dir_on<D: Vfs>(disk: &D, path: &Path) -> Result<()> {
    if disk.is_dir(path) {
        return Ok(());
    }
    if let Some(parent) = path.parent().filter(|p| !p.as_os_str().is_empty()) {
        create_dir_on(disk, parent)?;
    }
    match disk.create_dir(path) {
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists && disk.is_dir(path) => Ok(()),
        Err(e) => Err(Error::io("create", path)(e)),
        // One whose name may not be durable must not be taken for one that is.
        Ok(()) => sync_dir_on(disk, path.parent().unwrap_or(path)).inspect_err(|_| _ = disk.remove_dir(path)),
    }
}

/// Makes the names in a directory durable.
pub(crate) fn sync_dir(path: &Path) -> Result<()> {
    sync_dir_on(&OsFs, path)
}

pub(crate) fn sync_dir_on<D: Vfs>(disk: &D, path: &Path) -> Result<()> {
    let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
    disk.sync_dir(path).map_err(Error::io("sync", path))
}

/// A temporary file whose bytes the disk has: a name never becomes durable before them.
pub(crate) struct SyncedFile(tempfile::NamedTempFile);

impl SyncedFile {
    /// Waits until the disk has the file's bytes.
    pub(crate) fn new(file: tempfile::NamedTempFile) -> Result<Self> {
        file.as_file().sync_all().map_err(Error::io("sync", file.path()))?;
        Ok(Self(file))
    }

    /// Moves it to a name that nothing has yet, which is durable when this returns; after an error this file has it not.
    pub(crate) fn persist_new(self, path: &Path) -> Result<()> {
        self.0.persist_noclobber(path).map_err(|e| Error::io("rename into place", path)(e.error))?;
        // A manifest that could not be made sure of must not outlive the files that are taken away because of it.
        sync_dir(path.parent().unwrap_or(path)).inspect_err(|_| _ = fs::remove_file(path))
    }
}
