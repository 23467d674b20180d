//! The verb `dump`: the bytes of one file of a snapshot, each verified before it is handed out.

use sha2::{Digest, Sha256};

use super::ls;
use crate::error::{Error, Result};
use crate::format::entry::{Content, Kind};
use crate::format::snapshot::{Database, Snapshot};
use crate::hint::{AddHint, Hint};
use crate::progress::{Observer, checkpoint};
use crate::store::Store;

/// Feeds the image of a database to `sink`; returns its length in bytes.
///
/// # Errors
///
/// [`Error::Corrupt`] for damage; where it does not match its SHA-256, that comes after the bytes.
pub(crate) fn database(
    store: &Store,
    part: &Database,
    observer: &dyn Observer,
    sink: &mut dyn FnMut(&[u8]) -> Result<()>,
) -> Result<u64> {
    let mut sha = Sha256::new();
    store.read_content(&Content::Tree(part.root), 0, part.size_bytes, &mut |bytes| {
        checkpoint(observer)?;
        sha.update(bytes);
        sink(bytes)
    })?;
    if part.has_sha256(&crate::units::hex(&sha.finalize())) {
        Ok(part.size_bytes)
    } else {
        Err(Error::corrupt("the database in the snapshot", "does not match its SHA-256"))
    }
}

/// Feeds the bytes of `path`, a file or a database, to `sink`; returns their number.
///
/// # Errors
///
/// [`Error::NotFound`] if the path is not in the snapshot, [`Error::Refused`] for a directory or symbolic link, [`Error::Corrupt`] for
/// damage. The database's SHA-256 is known only at its end: if it does not match, the error comes after the bytes.
pub fn dump(
    store: &Store,
    snapshot: &Snapshot,
    path: &[u8],
    observer: &dyn Observer,
    sink: &mut dyn FnMut(&[u8]) -> Result<()>,
) -> Result<u64> {
    let mut feed = |bytes: &[u8]| {
        checkpoint(observer)?;
        sink(bytes)
    };
    if let Some(part) = snapshot.database(&ls::clean(path)) {
        return database(store, part, observer, sink);
    }
    let mut entry = ls::find(store, snapshot, path)?;
    if let Kind::Hardlink { target } = &entry.kind {
        entry = ls::find(store, snapshot, target)?;
    }
    let shown = String::from_utf8_lossy(&entry.path).into_owned();
    match &entry.kind {
        Kind::File { size, content } => store.read_content(content, 0, *size, &mut feed).map(|()| *size),
        Kind::Dir => {
            let hint = Hint::RestorePath { snapshot: snapshot.timestamp.clone(), path: shown.clone() };
            Err(Error::refused(format!("{shown} is a directory").hint(hint)))
        }
        Kind::Symlink { target } => {
            Err(Error::refused(format!("{shown} is a symbolic link to {}", String::from_utf8_lossy(target))))
        }
        Kind::Hardlink { .. } => Err(Error::corrupt(shown, "is a hard link to a hard link")),
    }
}
