//! Reads one consistent image of the live database; the ways of reading are in `read`.

use std::path::Path;

use super::model::{Image, ImageSink, ReadOptions};
use super::read::Reading;
use crate::error::Result;
use crate::progress::Observer;

/// Streams one consistent image of the live database to `sink`: consecutive bytes from offset 0 in whole pages.
///
/// The file is read into the page cache first, so that the time under the lock is short. Must not run twice at once on one database
/// in one process. Errors: [`crate::error::Error::Source`] for a database that is not there, locked, or not ours to open (only its owner and root
/// may: anyone else would leave a `-shm` that the application cannot write); [`crate::error::Error::Interrupted`]; whatever `sink` returns. A file
/// that SQLite cannot read is no error: see [`Image::schema_error`].
pub fn read_image(
    db: &Path,
    options: &ReadOptions<'_>,
    sink: &mut dyn ImageSink,
    observer: &dyn Observer,
) -> Result<Image> {
    prepare(db, options, observer)?.read(sink)
}

/// Prepares to read an image of several databases, of one moment as nearly as can be: each is held before any is read.
///
/// # Errors
/// As [`read_image`].
pub fn prepare<'a>(db: &'a Path, options: &'a ReadOptions<'a>, observer: &'a dyn Observer) -> Result<Reading<'a>> {
    Reading::new(db, options, observer)
}
