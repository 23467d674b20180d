//! The verb `snapshots`: every snapshot's document, one at a time. A damaged one is returned as its error and hides no other.

use crate::error::Result;
use crate::format::snapshot::Snapshot;
use crate::store::{SnapshotName, Store};

/// Reads the snapshots of one source, or (`None`) of all, by source and then oldest first.
///
/// # Errors
///
/// If the names cannot be listed; a damaged document is an item of the iterator.
pub fn snapshots<'s>(
    store: &'s Store,
    source: Option<&str>,
) -> Result<impl DoubleEndedIterator<Item = (SnapshotName, Result<Snapshot>)> + 's> {
    let names = store.snapshot_names(source)?;
    Ok(names.into_iter().map(|name| {
        let read = store.snapshot(&name);
        (name, read)
    }))
}
