//! A private image of the live database, read as a backup reads it: in one read transaction, and without a write.

use std::fs;
use std::io::{Seek, Write};
use std::path::Path;
use std::time::Duration;

use super::private_file::PrivateFile;
use crate::error::{Error, Result};
use crate::progress::Observer;
use crate::source::database::{ImageSink, Inspector, ReadOptions, read_image};

/// Makes an image of the database at `path` in a directory of `temp`, and opens it. The file has no name any more once it is open. `busy` is how
/// long to wait for another process's lock.
///
/// # Errors
/// [`Error::Source`] for a database that is not there or not ours to open, [`Error::Refused`] where there is no room,
/// [`Error::Corrupt`] if SQLite cannot read its schema.
pub fn open<'o>(path: &Path, busy: Duration, temp: &Path, observer: &'o dyn Observer) -> Result<Inspector<'o>> {
    let file = copy(path, busy, temp, observer)?;
    Inspector::open_as(file.path(), &path.display().to_string(), observer)
}

/// Makes an image of the database at `path` in a directory of `temp`.
///
/// # Errors
/// As [`open`].
pub(crate) fn copy(path: &Path, busy: Duration, temp: &Path, observer: &dyn Observer) -> Result<PrivateFile> {
    let size = fs::metadata(path).map_or(0, |meta| meta.len());
    let file = PrivateFile::new(temp, size)?;
    let mut sink = Writer { file };
    read_image(path, &ReadOptions { busy, scratch: temp }, &mut sink, observer)?;
    Ok(sink.file)
}

struct Writer {
    file: PrivateFile,
}

impl ImageSink for Writer {
    fn bytes(&mut self, piece: &[u8]) -> Result<()> {
        self.file.charge(piece.len() as u64)?;
        let path = self.file.path().to_path_buf();
        self.file.file().write_all(piece).map_err(Error::io("write", path))
    }

    fn restart(&mut self) -> Result<()> {
        let path = self.file.path().to_path_buf();
        let file = self.file.file();
        file.set_len(0).and_then(|()| file.rewind()).map_err(Error::io("write", path))
    }
}
