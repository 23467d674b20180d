//! A note that the last restore had nothing to do. What an earlier one put in place is kept undoable; the next `--undo` is not about that.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;

use crate::error::{Error, Result};
use crate::source::files::kept_copies;

/// More of a note is not read: anybody may have put anything there.
const MAX_BYTES: u64 = 4096;

fn path(data_dir: &Path) -> PathBuf {
    data_dir.join(kept_copies::IDLE)
}

/// Notes that a restore had nothing to do, if there is an earlier one that could be undone. `from` says what it was about.
///
/// # Errors
/// [`Error::Io`] if the note cannot be written.
pub fn note_idle(data_dir: &Path, from: &str) -> Result<()> {
    let is_there = |name: &str| data_dir.join(name).symlink_metadata().is_ok();
    if !is_there(kept_copies::RECORD) && !is_there(kept_copies::ROWS_RECORD) {
        return Ok(());
    }
    let path = path(data_dir);
    let mut file = NamedTempFile::new_in(data_dir).map_err(Error::io("create a file in", data_dir))?;
    file.write_all(from.as_bytes()).map_err(Error::io("write", &path))?;
    file.persist(&path).map(drop).map_err(|error| Error::io("rename to", &path)(error.error))
}

/// Returns what the last restore was about, if that had nothing to do.
///
/// # Errors
/// [`Error::Io`] if the note is there and cannot be read.
pub fn idle(data_dir: &Path) -> Result<Option<String>> {
    let path = path(data_dir);
    let flags = rustix::fs::OFlags::NOFOLLOW.union(rustix::fs::OFlags::NONBLOCK).bits();
    let file = match fs::OpenOptions::new().read(true).custom_flags(flags.cast_signed()).open(&path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        file => file.map_err(Error::io("open", &path))?,
    };
    let mut bytes = Vec::new();
    file.take(MAX_BYTES).read_to_end(&mut bytes).map_err(Error::io("read", &path))?;
    Ok(Some(String::from_utf8_lossy(&bytes).into_owned()))
}

/// Removes the note.
///
/// # Errors
/// [`Error::Io`] if it is there and cannot be removed.
pub fn forget(data_dir: &Path) -> Result<()> {
    remove(&path(data_dir))
}

/// Removes a file, if it is there.
pub(super) fn remove(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(Error::io("remove", path)(error)),
        _ => Ok(()),
    }
}
