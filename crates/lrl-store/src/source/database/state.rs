//! The fingerprint of a database's version, taken without SQLite. Owns the rule of when "unchanged" is proved; never opens a
//! database through SQLite, and must not run while this process has the database open through it (closing our descriptor would drop
//! SQLite's locks).
//!
//! Why equal fingerprints prove an equal version. What a reader of the database sees is a function of two files, the database and
//! its WAL, as long as no rollback journal is hot. Let F1 be taken before an image is read, F2 in a later run:
//!
//! - *The database file.* Every write to it goes through `write(2)` (SQLite does not write through a mapping) and sets mtime and
//!   ctime to the file system's clock. Were those times more than two seconds old when F1 was taken, then no later write can leave
//!   them as they were: two seconds exceed the granularity of every file system. ctime cannot be set by a program. In rollback mode
//!   the change counter in the header moves with each commit as well, which covers clocks that step back.
//!   Writes through a mapping, for which uploads are given much longer, are not among them.
//! - *The WAL.* It is compared by its content, a BLAKE3 over all bytes, so no clock is involved. Its header carries salts that change
//!   at every reset, every frame repeats them and carries a running checksum, and a commit appends or overwrites frames: contents
//!   never return to an earlier value. A write that races with our reading gives a mixture, which is included in the image read
//!   later or never seen again. (Salts and the last commit frame would do as well, but finding that frame safely means checking every
//!   frame's checksum, which costs more than hashing.)
//! - *The journal.* One whose first byte is not zero may be hot or belong to a transaction that is being written: nothing is proved.
//!
//! A write between F1 and the image makes F2 differ from F1: a false "changed", never a false "unchanged".

use std::fs::{self, File, Metadata};
use std::io::{self, Read};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use crate::error::{Error, Result};
use crate::id::Hasher;

/// Times closer than this to "now" prove nothing: another write in the same tick of the clock would not show.
const RACY: Duration = Duration::from_secs(2);

/// What `stat` says about a file's identity and version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(crate) struct Stamp {
    dev: u64,
    ino: u64,
    pub(crate) size: u64,
    mtime_s: i64,
    mtime_ns: i64,
    ctime_s: i64,
    ctime_ns: i64,
}

impl Stamp {
    pub(crate) fn new(meta: &Metadata) -> Self {
        Self {
            dev: meta.dev(),
            ino: meta.ino(),
            size: meta.size(),
            mtime_s: meta.mtime(),
            mtime_ns: meta.mtime_nsec(),
            ctime_s: meta.ctime(),
            ctime_ns: meta.ctime_nsec(),
        }
    }

    /// Takes the stamp of the file at `path`; `None` if there is none.
    pub(crate) fn of(path: &Path) -> Result<Option<Self>> {
        match fs::metadata(path) {
            Ok(meta) => Ok(Some(Self::new(&meta))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(Error::io("stat", path)(error)),
        }
    }

    fn times(&self) -> [i128; 2] {
        [(self.mtime_s, self.mtime_ns), (self.ctime_s, self.ctime_ns)]
            .map(|(secs, nanos)| i128::from(secs) * 1_000_000_000 + i128::from(nanos))
    }

    /// Returns whether both times are more than two seconds older than `now`.
    pub(crate) fn is_older_than_racy(&self, now: SystemTime) -> bool {
        self.times().iter().all(|time| nanos(now) - time > RACY.as_nanos() as i128)
    }

    /// Returns whether a write that happens now would show in the times. A time in the future is fine for that.
    pub(crate) fn would_show_a_write(&self, now: SystemTime) -> bool {
        self.times().iter().all(|time| (nanos(now) - time).unsigned_abs() > RACY.as_nanos())
    }
}

fn nanos(time: SystemTime) -> i128 {
    match time.duration_since(SystemTime::UNIX_EPOCH) {
        Ok(after) => after.as_nanos() as i128,
        Err(before) => -(before.duration().as_nanos() as i128),
    }
}

/// A version of a database, comparable with one taken earlier.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(crate) struct State {
    file: Stamp,
    /// Header: change counter, size in pages, version-valid-for.
    counters: [u32; 3],
    wal: Option<Wal>,
}

/// A WAL that is not empty, by content.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
struct Wal {
    size_bytes: u64,
    blake3: [u8; 32],
}

impl State {
    /// Returns whether equality with this state will prove anything: the file's mtime and ctime must be more than 2 s older than
    /// `taken`, the moment just before [`observe`] made it.
    pub(crate) fn is_settled(&self, taken: SystemTime) -> bool {
        self.file.is_older_than_racy(taken)
    }
}

/// Takes the fingerprint of the database at `db`; `None` if there is no database, it is changing right now, or a rollback journal
/// is there that is not finished. Errors: [`Error::Io`].
pub(crate) fn observe(db: &Path) -> Result<Option<State>> {
    let db = match fs::canonicalize(db) {
        Ok(real) => real,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(Error::io("find", db)(error)),
    };
    // A FIFO would block the open.
    if !is_file(&db)? {
        return Ok(None);
    }
    let Some(file) = open_if_there(&db)? else { return Ok(None) };
    let before = Stamp::new(&file.metadata().map_err(Error::io("stat", &db))?);
    if unfinished_journal(&db)? {
        return Ok(None);
    }
    let mut header = Vec::with_capacity(100);
    (&file).take(100).read_to_end(&mut header).map_err(Error::io("read", &db))?;
    drop(file);
    let Ok(wal) = observe_wal(&side_file(&db, "-wal"))? else { return Ok(None) };
    if Stamp::of(&db)? != Some(before) || unfinished_journal(&db)? {
        return Ok(None);
    }
    Ok(Some(State { file: before, counters: [24, 28, 92].map(|at| header_u32(&header, at)), wal }))
}

/// The inner `Err` says that the WAL changed while it was read.
fn observe_wal(path: &Path) -> Result<Result<Option<Wal>, ()>> {
    let Some(mut file) = open_if_there(path)? else { return Ok(Ok(None)) };
    let before = Stamp::new(&file.metadata().map_err(Error::io("stat", path))?);
    if before.size == 0 {
        return Ok(Ok(None));
    }
    let mut hasher = Hasher::new();
    let mut buffer = vec![0; 256 << 10];
    let mut size_bytes = 0;
    loop {
        match file.read(&mut buffer) {
            Ok(0) => break,
            Ok(n) => {
                hasher.update(&buffer[..n]);
                size_bytes += n as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(Error::io("read", path)(error)),
        }
    }
    if size_bytes != before.size || Stamp::of(path)? != Some(before) {
        return Ok(Err(()));
    }
    Ok(Ok(Some(Wal { size_bytes, blake3: hasher.finish() })))
}

/// Returns whether a rollback journal is there whose header has not been cleared (by truncation, deletion or zeroes).
pub(crate) fn unfinished_journal(db: &Path) -> Result<bool> {
    let path = side_file(db, "-journal");
    let Some(mut file) = open_if_there(&path)? else { return Ok(false) };
    let mut first = [0];
    match file.read(&mut first) {
        Ok(0) => Ok(false),
        Ok(_) => Ok(first != [0]),
        Err(error) => Err(Error::io("read", &path)(error)),
    }
}

fn is_file(path: &Path) -> Result<bool> {
    let kind = fs::metadata(path).map_err(Error::io("stat", path))?.file_type();
    Ok(kind.is_file() && !kind.is_fifo())
}

fn open_if_there(path: &Path) -> Result<Option<File>> {
    match File::open(path) {
        Ok(file) => Ok(Some(file)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Error::io("open", path)(error)),
    }
}

/// Returns the path of the database's `-wal` or `-journal`.
pub(crate) fn side_file(db: &Path, suffix: &str) -> PathBuf {
    let mut name = db.as_os_str().to_os_string();
    name.push(suffix);
    PathBuf::from(name)
}

/// Returns how many pages of an image are not on its freelist; `None` if its header gives no page size.
pub(crate) fn used_pages(header: &[u8], page_size: u32, size_bytes: u64) -> Option<u64> {
    let pages = size_bytes.checked_div(u64::from(page_size))?;
    Some(pages.saturating_sub(u64::from(header_u32(header, 36))))
}

/// Reads a big-endian number of a database header; 0 where the header is too short.
pub(crate) fn header_u32(header: &[u8], at: usize) -> u32 {
    header.get(at..at + 4).and_then(|bytes| bytes.try_into().ok()).map_or(0, u32::from_be_bytes)
}
