//! What is lost of some snapshots, without a look at the rest of the store.

use std::collections::HashSet;

use super::findings::Findings;
use super::packs::{Packs, expect_look_ups};
use super::walk::Walk;
use crate::error::Result;
use crate::format::snapshot::Snapshot;
use crate::id::PackId;
use crate::progress::Observer;
use crate::store::repair::lost_chunks::LostChunks;
use crate::store::{SnapshotName, Store};

/// Returns for each snapshot why it cannot be restored; `None` where every list can be read and every chunk is in a pack that is there. Reads
/// nothing but the lists.
pub(crate) fn damage_of(
    store: &Store,
    snapshots: &[(SnapshotName, Snapshot)],
    lost: &[PackId],
    observer: &dyn Observer,
) -> Result<Vec<Option<String>>> {
    if snapshots.is_empty() {
        return Ok(Vec::new());
    }
    expect_look_ups(store)?;
    let mut findings = Findings::default();
    let mut packs = Packs::list(store, &mut Findings::default())?;
    packs.lose(lost);
    let mut walk = Walk::new(store, packs, HashSet::new(), &mut findings, observer);
    let one = |(name, snapshot): &(SnapshotName, Snapshot)| {
        walk.snapshot(name, snapshot)?;
        Ok(walk.take_damage())
    };
    snapshots.iter().map(one).collect()
}

/// Collects the chunks of some snapshots that cannot be read, by reading all of them; each chunk is read once.
pub(crate) fn lost_chunks(
    store: &Store,
    snapshots: &[(SnapshotName, Snapshot)],
    wanted: &LostChunks,
    observer: &dyn Observer,
) -> Result<()> {
    expect_look_ups(store)?;
    let mut findings = Findings::default();
    let packs = Packs::list(store, &mut Findings::default())?;
    let mut walk = Walk::new(store, packs, HashSet::new(), &mut findings, observer);
    walk.collect(Some(wanted), true);
    snapshots.iter().try_for_each(|(name, snapshot)| walk.snapshot(name, snapshot))
}
