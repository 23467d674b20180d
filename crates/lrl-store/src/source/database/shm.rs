//! The shared WAL index (`-shm`) of a database in WAL mode. SQLite maps it, and a page of the mapping that the disk has no block for is a
//! SIGBUS: SQLite allocates it by one byte in each 4 KiB, which a file system with smaller blocks takes for one block. So the room is asked
//! for before SQLite opens the database.

use std::fs::{self, File};
use std::io::ErrorKind;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;

use super::pages::{is_wal, page_size};
use super::plain_file;
use super::state::side_file;
use crate::error::{Error, Result};

/// SQLite grows the index by regions of 32 KiB, each for 4096 frames, of which the header of the index takes the space of 34.
const REGION_BYTES: u64 = 32 << 10;
const REGION_FRAMES: u64 = 4096;
const HEADER_FRAMES: u64 = 34;
const FRAME_HEADER_BYTES: u64 = 24;

/// Returns the bytes by which reading the live database through SQLite may have to grow files beside it: 0 where none is in WAL mode and
/// open. As with [`super::observe`], no connection to it may be open in this process. Errors: [`Error::Io`].
pub(crate) fn index_growth(db: &Path) -> Result<u64> {
    let db = match fs::canonicalize(db) {
        Ok(real) => real,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(0),
        Err(error) => return Err(Error::io("find", db)(error)),
    };
    if !db.is_file() {
        return Ok(0);
    }
    let header = plain_file::header(&db)?;
    let Some(wal) = meta(&side_file(&db, "-wal"))? else { return Ok(0) };
    if !is_wal(&header) {
        return Ok(0);
    }
    let frame = u64::from(page_size(&header)) + FRAME_HEADER_BYTES;
    // What the application adds meanwhile, it makes space for itself.
    let regions = (wal.len() / frame + HEADER_FRAMES) / REGION_FRAMES + 1;
    let there = meta(&side_file(&db, "-shm"))?.map_or(0, |shm| shm.blocks() * 512);
    Ok((regions * REGION_BYTES).saturating_sub(there))
}

/// Returns whether a WAL that is not empty lies beside a database.
pub(crate) fn has_wal(db: &Path) -> bool {
    let real = fs::canonicalize(db).unwrap_or_else(|_| db.to_path_buf());
    side_file(&real, "-wal").metadata().is_ok_and(|meta| meta.len() > 0)
}

/// What the index publishes: every reader sees the WAL up to here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Published {
    /// The salts of the WAL.
    pub salts: [u32; 2],
    /// Frames that are committed.
    pub frames: u64,
    /// Counts commits; it goes on where the WAL begins anew, and begins anew where the index is made again.
    pub commits: u32,
}

/// The header of the index is there twice (SQLite's WAL-mode file format, section 2.1).
const INDEX_HEADER_BYTES: usize = 48;
const INDEX_VERSION: u32 = 3_007_000;

/// Reads what the index of a database whose links are resolved publishes; `None` where it has none, or is being written.
///
/// No connection to the database may be open in this process: its locks are on this very file.
pub(super) fn published(db: &Path) -> Option<Published> {
    let mut both = [0; 2 * INDEX_HEADER_BYTES];
    let file = File::open(side_file(db, "-shm")).ok()?;
    file.read_exact_at(&mut both, 0).ok()?;
    let (first, second) = both.split_at(INDEX_HEADER_BYTES);
    let native = |at: usize| first.get(at..at + 4)?.try_into().ok().map(u32::from_ne_bytes);
    let of_wal = |at: usize| first.get(at..at + 4)?.try_into().ok().map(u32::from_be_bytes);
    // As the frames of the WAL are summed up, in pairs of numbers.
    let mut sum = [0u32; 2];
    for at in (0..INDEX_HEADER_BYTES - 8).step_by(8) {
        sum[0] = sum[0].wrapping_add(native(at)?).wrapping_add(sum[1]);
        sum[1] = sum[1].wrapping_add(native(at + 4)?).wrapping_add(sum[0]);
    }
    let is_sound = first == second
        && native(0)? == INDEX_VERSION
        && first[12] == 1
        && sum == [native(INDEX_HEADER_BYTES - 8)?, native(INDEX_HEADER_BYTES - 4)?];
    let published = Published { salts: [of_wal(32)?, of_wal(36)?], frames: native(16)?.into(), commits: native(8)? };
    is_sound.then_some(published)
}

fn meta(path: &Path) -> Result<Option<fs::Metadata>> {
    match fs::metadata(path) {
        Ok(meta) => Ok(Some(meta)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Error::io("look at", path)(error)),
    }
}
