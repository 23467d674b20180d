//! The verb `snapshots`: every snapshot's document, one at a time. A damaged one is returned as its error and hides no other.

use crate::error::Result;
use crate::format::snapshot::Snapshot;
use crate::store::{SnapshotName, Store};

/// Reads snapshots, in the order of their names; a damaged document is an item of the iterator.
pub fn snapshots<'s>(
    store: &'s Store,
    names: impl Iterator<Item = &'s SnapshotName> + 's,
) -> impl Iterator<Item = (&'s SnapshotName, Result<Snapshot>)> + 's {
    store.reading(names).map(|name| (name, store.snapshot(name)))
}
