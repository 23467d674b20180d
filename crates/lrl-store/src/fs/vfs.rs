//! The few steps on a file system that a directory of objects is made of, each one call that can fail: where tests put a disk that does.

use std::ffi::OsString;
use std::fs::{self, DirBuilder, File};
use std::io::{self, Read as _, Write};
use std::num::NonZeroU64;
use std::os::unix::fs::{DirBuilderExt, FileExt};
use std::path::Path;
use std::time::Duration;

use rustix::fs::{Advice, fadvise};

use crate::error::Result;
use crate::fs::lock::{self, Guard, LockMode};
use crate::fs::{missing_features, temp_file};

/// A file system, as far as a directory of objects needs one.
pub trait Vfs: Send + Sync {
    /// A file that is open for reading.
    type File: Send + Sync;

    /// Opens a file for reading.
    fn open(&self, path: &Path) -> io::Result<Self::File>;

    /// Fills `bytes` from `offset` on.
    fn read_exact_at(&self, file: &Self::File, bytes: &mut [u8], offset: u64) -> io::Result<()>;

    /// Announces that a range of a file will be read soon.
    fn read_ahead(&self, file: &Self::File, offset: u64, len: u64) {
        let _ = (file, offset, len);
    }

    /// Reads a file's first bytes, at most `most` of them.
    fn read(&self, path: &Path, most: u64) -> io::Result<Vec<u8>>;

    /// Returns a file's length in bytes.
    fn len(&self, path: &Path) -> io::Result<u64>;

    /// Returns whether there is a directory.
    fn is_dir(&self, path: &Path) -> bool;

    /// Lists the names in a directory, and whether each is one too.
    fn read_dir(&self, path: &Path) -> io::Result<impl Iterator<Item = io::Result<(OsString, bool)>>>;

    /// Makes a temporary file in `dir`, which dead runs leave there, and which [`Vfs::reclaim`] then removes.
    fn temporary(&self, dir: &Path) -> Result<Box<dyn TempFile>>;

    /// Makes a directory (0700).
    fn create_dir(&self, path: &Path) -> io::Result<()>;

    /// Removes an empty directory.
    fn remove_dir(&self, path: &Path) -> io::Result<()>;

    /// Removes a file.
    fn remove_file(&self, path: &Path) -> io::Result<()>;

    /// Gives a file another name.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Makes the names in a directory durable.
    fn sync_dir(&self, path: &Path) -> io::Result<()>;

    /// Waits for the lock on a file, which is made for it.
    fn lock(
        &self,
        path: &Path,
        mode: LockMode,
        wait: Duration,
        interrupted: &dyn Fn() -> bool,
    ) -> Result<Option<Box<dyn Guard>>>;

    /// Returns whether a run has died with a temporary file in `dir`.
    fn has_dead(&self, dir: &Path) -> Result<bool>;

    /// Removes the temporary files of dead runs; returns their bytes.
    fn reclaim(&self, dir: &Path) -> Result<u64>;

    /// Returns whether caches can be kept beside the objects.
    fn keeps_caches(&self) -> bool {
        true
    }
}

/// A temporary file; dropping it removes it.
pub trait TempFile: Write + Send + Sync {
    /// Makes its bytes durable.
    fn sync(&mut self) -> io::Result<()>;

    /// Gives it a name for good, in place of what had it.
    fn rename(self: Box<Self>, path: &Path) -> io::Result<()>;

    /// Ends what is written through it; nothing can be written after that.
    fn finish(self: Box<Self>) -> Result<Box<dyn TempFile>>;

    /// Returns whether what is written through it is sealed.
    fn is_sealed(&self) -> bool {
        false
    }

    /// Returns the file on the machine's own disk, if it is one.
    fn on_disk(&self) -> Option<&tempfile::NamedTempFile> {
        None
    }
}

/// The file system of the machine.
pub struct OsFs;

impl Vfs for OsFs {
    type File = File;

    fn open(&self, path: &Path) -> io::Result<File> {
        File::open(path)
    }

    fn read_exact_at(&self, file: &File, bytes: &mut [u8], offset: u64) -> io::Result<()> {
        file.read_exact_at(bytes, offset)
    }

    fn read_ahead(&self, file: &File, offset: u64, len: u64) {
        // Whoever cannot reads without.
        let _ = fadvise(file, offset, NonZeroU64::new(len), Advice::WillNeed);
    }

    fn read(&self, path: &Path, most: u64) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        // Not by the length that is stated: a file of holes has any.
        File::open(path)?.take(most).read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    fn len(&self, path: &Path) -> io::Result<u64> {
        fs::metadata(path).map(|meta| meta.len())
    }

    fn is_dir(&self, path: &Path) -> bool {
        path.is_dir()
    }

    fn read_dir(&self, path: &Path) -> io::Result<impl Iterator<Item = io::Result<(OsString, bool)>>> {
        Ok(fs::read_dir(path)?
            .map(|entry| entry.and_then(|entry| Ok((entry.file_name(), entry.file_type()?.is_dir())))))
    }

    fn temporary(&self, dir: &Path) -> Result<Box<dyn TempFile>> {
        Ok(Box::new(OsTempFile(temp_file::temporary_file(dir)?)))
    }

    fn create_dir(&self, path: &Path) -> io::Result<()> {
        DirBuilder::new().mode(0o700).create(path)
    }

    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        fs::remove_dir(path)
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        Ok(missing_features::sync_dir(File::open(path)?)?)
    }

    fn lock(
        &self,
        path: &Path,
        mode: LockMode,
        wait: Duration,
        interrupted: &dyn Fn() -> bool,
    ) -> Result<Option<Box<dyn Guard>>> {
        lock::lock_file(path, mode, wait, interrupted)
    }

    fn has_dead(&self, dir: &Path) -> Result<bool> {
        temp_file::has_dead(dir)
    }

    fn reclaim(&self, dir: &Path) -> Result<u64> {
        temp_file::reclaim(dir)
    }
}

struct OsTempFile(tempfile::NamedTempFile);

impl Write for OsTempFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        // Through the file itself: the other way errors get the temporary name, which tells people nothing.
        self.0.as_file_mut().write(bytes)
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl TempFile for OsTempFile {
    fn sync(&mut self) -> io::Result<()> {
        self.0.as_file().sync_all()
    }

    fn rename(self: Box<Self>, path: &Path) -> io::Result<()> {
        self.0.persist(path).map(drop).map_err(|e| e.error)
    }

    fn finish(self: Box<Self>) -> Result<Box<dyn TempFile>> {
        Ok(self)
    }

    fn on_disk(&self) -> Option<&tempfile::NamedTempFile> {
        Some(&self.0)
    }
}
