//! The set's database, written straight into the backup directory while the live one is read: where all of it is new, it need not be read
//! back from the store.

use std::io::{Seek, Write};
use std::path::Path;
use std::sync::Arc;

use tempfile::NamedTempFile;

use crate::error::Result;
use crate::fs::space::SpaceGuard;
use crate::fs::temp_file::temporary_file;

/// A whole image under a temporary name. It saves time, no more: one that cannot be written is given up.
pub(super) struct SetImage {
    file: NamedTempFile,
    space: Arc<SpaceGuard>,
}

impl SetImage {
    pub(crate) fn create(dir: &Path, space: Arc<SpaceGuard>) -> Result<Self> {
        Ok(Self { file: temporary_file(dir)?, space })
    }

    /// Adds the next bytes.
    pub(crate) fn write(mut self, bytes: &[u8]) -> Option<Self> {
        self.space.charge(bytes.len() as u64).ok()?;
        self.file.write_all(bytes).is_ok().then_some(self)
    }

    /// Forgets all bytes.
    pub(crate) fn restart(mut self) -> Option<Self> {
        let file = self.file.as_file_mut();
        file.set_len(0).and_then(|()| file.rewind()).is_ok().then_some(self)
    }

    /// Returns the file.
    pub(crate) fn into_file(self) -> NamedTempFile {
        self.file
    }
}
