//! Reading database files by plain reads: warming the cache before SQLite opens the file, and copying what SQLite need not or
//! cannot open. Owns the proof by `stat` that nothing changed meanwhile; never runs while a connection to the file is open.

use std::fs::{self, File, OpenOptions};
use std::io::{self, IoSliceMut, Read};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use rustix::fs::FlockOperation;
use rustix::io::ReadWriteFlags;

use super::model::ImageSink;
use super::state::{Stamp, side_file};
use crate::budget::PIECE_BYTES;
use crate::error::{Error, Result};
use crate::progress::{Observer, checkpoint};

/// Brings the file into the page cache, so that reading it under SQLite's lock does not wait for the disk. Only what is not cached
/// already is read. Failing costs time, nothing else.
pub(crate) fn warm(path: &Path, observer: &dyn Observer) -> Result<()> {
    /// The kernel reads ahead in runs of at least this many bytes, so one byte of each tells about the rest.
    const PROBE: u64 = 16 << 10;
    let Ok(file) = File::open(path) else { return Ok(()) };
    let Ok(meta) = file.metadata() else { return Ok(()) };
    let mut buffer = vec![0; 1 << 20];
    let mut offset = 0;
    while offset < meta.len() {
        let mut byte = [0];
        let cached = rustix::io::preadv2(&file, &mut [IoSliceMut::new(&mut byte)], offset, ReadWriteFlags::NOWAIT);
        if cached.is_ok() {
            offset += PROBE;
        } else {
            checkpoint(observer)?;
            match file.read_at(&mut buffer, offset) {
                Ok(0) => break,
                Ok(n) => offset += n as u64,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // SQLite will meet the same bad sector and say so.
                Err(_) => break,
            }
        }
    }
    Ok(())
}

/// Reads the first 100 bytes; none if there are fewer. Only while SQLite does not have the file open.
pub(crate) fn header(path: &Path) -> Result<Vec<u8>> {
    let mut header = Vec::with_capacity(100);
    let file = File::open(path).map_err(Error::io("open", path))?;
    file.take(100).read_to_end(&mut header).map_err(Error::io("read", path))?;
    if header.len() < 100 {
        header.clear();
    }
    Ok(header)
}

/// Gives all bytes of the file to `sink` and returns its first 100 bytes, or `None` if the file changed meanwhile (is no longer what
/// `before` says): the sink then holds nothing of use.
pub(crate) fn stream(
    path: &Path,
    before: &Stamp,
    sink: &mut dyn ImageSink,
    observer: &dyn Observer,
) -> Result<Option<Vec<u8>>> {
    let mut file = File::open(path).map_err(Error::io("open", path))?;
    if Stamp::new(&file.metadata().map_err(Error::io("stat", path))?) != *before {
        return Ok(None);
    }
    let mut buffer = vec![0; PIECE_BYTES];
    let mut header = Vec::new();
    let mut total = 0;
    loop {
        checkpoint(observer)?;
        let filled = fill(&mut file, &mut buffer).map_err(Error::io("read", path))?;
        if filled == 0 {
            break;
        }
        if total == 0 {
            header = buffer[..filled.min(100)].to_vec();
        }
        total += filled as u64;
        if total > before.size {
            return Ok(None);
        }
        sink.bytes(&buffer[..filled])?;
    }
    Ok((total == before.size && Stamp::of(path)? == Some(*before)).then_some(header))
}

fn fill(file: &mut File, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match file.read(&mut buffer[filled..]) {
            Ok(0) => break,
            Ok(n) => filled += n,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

/// The database, its journal and its WAL.
fn family(db: &Path) -> [PathBuf; 3] {
    [db.to_path_buf(), side_file(db, "-journal"), side_file(db, "-wal")]
}

fn stamps(paths: &[PathBuf; 3]) -> Result<Vec<Option<Stamp>>> {
    paths.iter().map(|path| Stamp::of(path)).collect()
}

/// Returns whether a write to the database, its journal or its WAL would show in their times.
pub(crate) fn side_files_are_quiet(db: &Path, scratch: &Path) -> Result<bool> {
    let now = file_clock(scratch)?;
    Ok(stamps(&family(db))?.iter().flatten().all(|stamp| stamp.would_show_a_write(now)))
}

/// Copies the database with its journal and WAL to `to` (and `to-journal`, `to-wal`); false if any of them changed meanwhile.
pub(crate) fn copy_with_side_files(db: &Path, to: &Path, observer: &dyn Observer) -> Result<bool> {
    let from = family(db);
    let before = stamps(&from)?;
    for ((from, to), stamp) in from.iter().zip(family(to)).zip(&before) {
        if stamp.is_some() {
            copy(from, &to, observer)?;
        }
    }
    Ok(stamps(&from)? == before)
}

fn copy(from: &Path, to: &Path, observer: &dyn Observer) -> Result<()> {
    let mut source = match File::open(from) {
        Ok(file) => file,
        // The stamps taken afterwards will differ.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(Error::io("open", from)(error)),
    };
    let mut target = create_private(to)?;
    loop {
        checkpoint(observer)?;
        // On Linux this is copy_file_range: no buffer of ours, and shared extents where the file system can.
        let copied = io::copy(&mut (&mut source).take(16 << 20), &mut target).map_err(Error::io("copy to", to))?;
        if copied == 0 {
            return Ok(());
        }
    }
}

/// How the names of directories for copies begin.
pub const COPIES: &str = "lrl-database-";

/// A directory for a copy of a database, removed when this is dropped.
pub(crate) struct CopyDir {
    dir: tempfile::TempDir,
    // Tells a living run's directory from a dead one's.
    _lock: Option<File>,
}

impl CopyDir {
    /// Makes one in `scratch` that only its owner can enter.
    pub(crate) fn new(scratch: &Path) -> Result<Self> {
        let dir = tempfile::Builder::new()
            .prefix(COPIES)
            .permissions(std::os::unix::fs::PermissionsExt::from_mode(0o700))
            .tempdir_in(scratch)
            .map_err(Error::io("create a directory in", scratch))?;
        // Where nothing can be locked, nothing is ever reclaimed: the safe side.
        let lock = File::open(dir.path()).ok();
        let lock = lock.filter(|file| rustix::fs::flock(file, FlockOperation::LockExclusive).is_ok());
        Ok(Self { dir, _lock: lock })
    }

    pub(crate) fn path(&self) -> &Path {
        self.dir.path()
    }
}

/// Creates a new file that only its owner can read.
pub(crate) fn create_private(path: &Path) -> Result<File> {
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).map_err(Error::io("create", path))
}

/// Returns the time that the file system would give a file written now: the only clock that file times can be compared with.
pub(crate) fn file_clock(scratch: &Path) -> Result<SystemTime> {
    let file = tempfile::tempfile_in(scratch).map_err(Error::io("create a file in", scratch))?;
    let meta = file.metadata().map_err(Error::io("stat", scratch))?;
    meta.modified().map_err(Error::io("stat", scratch))
}

/// Returns whether the file exists.
pub(crate) fn exists(path: &Path) -> Result<bool> {
    match fs::symlink_metadata(path) {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(Error::io("stat", path)(error)),
    }
}
