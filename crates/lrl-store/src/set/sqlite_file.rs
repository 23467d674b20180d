//! Writes the set's database: its image from the store, verified, or from an earlier image where that has the same bytes.

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::sync::Arc;

use super::image_reader::read_image;
use super::sha256::Sha256Thread;
use crate::error::{Error, Result};
use crate::format::snapshot::Database;
use crate::fs::space::SpaceGuard;
use crate::progress::Observer;
use crate::store::Store;

/// Writes the image of `database` to `out`, called `path` in messages, checks it against its SHA-256, and returns that. `earlier` is any earlier image: an
/// extent that has the same bytes at the same offset there is copied, after a comparison of its hash.
///
/// # Errors
/// [`Error::Corrupt`] or [`Error::Missing`] if the store is damaged, [`Error::NoRoom`] if the disk is full.
pub(crate) fn write(
    store: &Store,
    database: &Database,
    earlier: Option<&File>,
    out: &mut (dyn Write + Send),
    path: &Path,
    space: &SpaceGuard,
    observer: &dyn Observer,
) -> Result<String> {
    let sha = Sha256Thread::start();
    read_image(store, database, earlier, observer, &mut |bytes| {
        sha.add(Arc::clone(bytes))?;
        space.charge(bytes.len() as u64)?;
        out.write_all(bytes).map_err(Error::io("write", path))
    })?;
    let sha256 = sha.finish()?;
    if database.has_sha256(&sha256) {
        Ok(sha256)
    } else {
        Err(Error::corrupt("the database in the snapshot", "does not match its SHA-256"))
    }
}
