//! The set's database, written straight into the backup directory while the live one is read: where all of it is new, it need not be read
//! back from the store.

use std::io::{Seek, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tempfile::NamedTempFile;

use crate::error::{Error, Result};
use crate::fs::space::SpaceGuard;
use crate::fs::temp_file::temporary_file;
use crate::set::sha256::Sha256Thread;

/// A whole image under a temporary name.
pub(super) struct SetImage {
    file: NamedTempFile,
    sha256: Sha256Thread,
    dir: PathBuf,
    space: Arc<SpaceGuard>,
}

impl SetImage {
    pub fn create(dir: &Path, space: Arc<SpaceGuard>) -> Result<Self> {
        Ok(Self { file: temporary_file(dir)?, sha256: Sha256Thread::start(), dir: dir.to_path_buf(), space })
    }

    /// Adds the next bytes.
    pub fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.space.charge(bytes.len() as u64)?;
        self.file.write_all(bytes).map_err(Error::io("write a copy of the database in", &self.dir))?;
        self.sha256.add(bytes.to_vec())
    }

    /// Forgets all bytes.
    pub fn restart(&mut self) -> Result<()> {
        self.sha256 = Sha256Thread::start();
        let file = self.file.as_file_mut();
        let emptied = file.set_len(0).and_then(|()| file.rewind());
        emptied.map_err(Error::io("write a copy of the database in", &self.dir))
    }

    /// Returns the file, and the SHA-256 of its bytes.
    pub fn finish(self) -> Result<(NamedTempFile, String)> {
        Ok((self.file, self.sha256.finish()?))
    }
}
