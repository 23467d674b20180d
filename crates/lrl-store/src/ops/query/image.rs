//! A private image of one database, open for reading: gone with the process, however that ends.

use std::path::Path;

use super::private_file::PrivateFile;
use crate::error::Result;
use crate::format::snapshot::Database;
use crate::progress::{Observer, Phase};
use crate::source::database::Inspector;
use crate::store::Store;

/// Makes an image of a snapshot's database in a directory of `temp`, and opens it. The file has no name any more once it is open.
///
/// # Errors
/// [`Error::Refused`](crate::error::Error::Refused) where there is no room, [`Error::Corrupt`](crate::error::Error::Corrupt) if the store is
/// damaged or SQLite cannot read the image's schema.
pub fn open<'o>(store: &Store, part: &Database, temp: &Path, observer: &'o dyn Observer) -> Result<Inspector<'o>> {
    observer.phase(Phase::Verify, Some(part.size_bytes));
    let mut file = PrivateFile::new(temp, part.size_bytes)?;
    file.fill(store, part, observer)?;
    observer.advance(part.size_bytes, 0);
    Inspector::open_as(file.path(), &part.shown(), observer)
}
