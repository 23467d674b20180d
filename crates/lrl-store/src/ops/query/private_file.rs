//! A temporary file for an image of a database: only its user can read it, and its space is checked first.

use std::fs::File;
use std::io::{self, Seek, SeekFrom, Write};
use std::path::Path;

use tempfile::NamedTempFile;

use crate::error::{Error, Result};
use crate::format::snapshot::Database;
use crate::fs::space::SpaceGuard;
use crate::fs::temp_dir::{self, TempDir};
use crate::fs::temp_file::temporary_file;
use crate::progress::Observer;
use crate::set::sqlite_file;
use crate::store::Store;

/// How the names of the directories begin.
pub const SCRATCH: &str = "lrl-drill-";

/// A private file (0600) in a private directory; both are removed when this is dropped.
pub(crate) struct PrivateFile {
    file: NamedTempFile,
    guard: SpaceGuard,
    // After the file, so that it is removed after it.
    _dir: TempDir,
}

impl PrivateFile {
    /// Makes one for `bytes` in a directory of `temp`.
    ///
    /// # Errors
    /// [`Error::Refused`] where there is no room for them.
    pub(crate) fn new(temp: &Path, bytes: u64) -> Result<Self> {
        let guard = SpaceGuard::open(temp, temp_dir::RESERVE)?;
        if guard.require(bytes).is_err() {
            return Err(no_space(temp, bytes));
        }
        let dir = TempDir::new(temp, SCRATCH)?;
        Ok(Self { file: temporary_file(dir.path())?, guard, _dir: dir })
    }

    /// Returns its path.
    pub(crate) fn path(&self) -> &Path {
        self.file.path()
    }

    /// Returns the file, to be written to.
    pub(crate) fn file(&mut self) -> &mut File {
        self.file.as_file_mut()
    }

    /// Counts bytes that are about to be written.
    ///
    /// # Errors
    /// [`Error::NoRoom`] where the disk is full but for what stays free.
    pub(crate) fn charge(&self, bytes: u64) -> Result<()> {
        self.guard.charge(bytes)
    }

    /// Writes the image of a database of a snapshot, verified; pages of zeros become holes. Returns its SHA-256.
    ///
    /// # Errors
    /// [`Error::Corrupt`] or [`Error::Missing`] if the store is damaged, [`Error::Refused`] if the disk is full.
    pub(crate) fn fill(&mut self, store: &Store, part: &Database, observer: &dyn Observer) -> Result<String> {
        let path = self.file.path().to_path_buf();
        let mut sparse = Sparse(self.file.as_file_mut());
        let written = sqlite_file::write(store, part, None, &mut sparse, &path, &self.guard, observer);
        match written {
            Err(error) if error.is_full() => {
                Err(no_space(path.parent().and_then(Path::parent).unwrap_or(&path), part.size_bytes))
            }
            Ok(sha256) => {
                self.file.as_file().set_len(part.size_bytes).map_err(Error::io("write", &path)).map(|()| sha256)
            }
            Err(error) => Err(error),
        }
    }
}

fn no_space(temp: &Path, bytes: u64) -> Error {
    Error::refused(format!(
        "{} has no room for a copy of the database ({bytes} bytes): set TMPDIR to a directory that has",
        temp.display()
    ))
}

/// Writes a file, but not its blocks of zeros.
struct Sparse<'f>(&'f mut File);

impl Write for Sparse<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        /// Blocks of file systems.
        const BLOCK: usize = 4096;
        for block in bytes.chunks(BLOCK) {
            if block.iter().any(|byte| *byte != 0) {
                self.0.write_all(block)?;
            } else {
                self.0.seek(SeekFrom::Current(block.len() as i64))?;
            }
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}
