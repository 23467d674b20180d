//! The shared WAL index (`-shm`) of a database in WAL mode. SQLite maps it, and a page of the mapping that the disk has no block for is a
//! SIGBUS: SQLite allocates it by one byte in each 4 KiB, which a file system with smaller blocks takes for one block. So the room is asked
//! for before SQLite opens the database.

use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use super::pages::page_size;
use super::plain_file;
use super::read::is_wal;
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

fn meta(path: &Path) -> Result<Option<fs::Metadata>> {
    match fs::metadata(path) {
        Ok(meta) => Ok(Some(meta)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Error::io("look at", path)(error)),
    }
}
