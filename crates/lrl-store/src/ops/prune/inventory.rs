//! A look at the whole store before anything goes: which packs there are, what the index says, and what of it is alive. Stops at the first
//! doubt.

use std::collections::{HashMap, HashSet};

use super::model::{Full, bytes_of};
use super::{deltas, mark};
use crate::budget::MORE_INDEX_BLOCKS;
use crate::error::{Error, Result};
use crate::format::pack::{FOOTER_LEN, head_len};
use crate::hint::{AddHint, Hint};
use crate::id::{ChunkId, PackId, SnapshotId};
use crate::progress::{Observer, checkpoint};
use crate::store::{SnapshotName, Store, index, pack_id};

/// One pack. There may be a hundred thousand.
#[derive(Default)]
pub(super) struct Pack {
    pub len: Option<u64>,
    /// Bytes of what is alive, with its records.
    pub alive: u64,
    pub chunks: u32,
    /// When a snapshot added it, counted from the first; 0 if none says so.
    pub age: u32,
    /// Bytes before its first chunk, if it is there.
    pub head: u16,
    pub is_listed: bool,
}

impl Pack {
    /// Its length if nothing in it were dead.
    pub(crate) fn needed(&self) -> u64 {
        self.alive + u64::from(self.head) + FOOTER_LEN as u64
    }

    pub(crate) fn unused(&self) -> u64 {
        self.len.unwrap_or_default().saturating_sub(self.needed())
    }
}

/// What there is, and what of it is alive.
pub(super) struct Inventory {
    pub packs: HashMap<PackId, Pack>,
    pub marked: mark::Reachable,
    pub chains: Vec<ChunkId>,
    pub full: Full,
    /// Chunks that are alive.
    pub chunks: u64,
    /// The index lists something that is dead.
    pub rewrite: bool,
}

/// So often it is looked anew where others merge index files meanwhile.
const LOOKS: u32 = 5;

/// Looks what there is, at one and the same index from the beginning to the end.
pub(super) fn look(store: &Store, forgotten: &HashSet<SnapshotId>, observer: &dyn Observer) -> Result<Inventory> {
    // Snapshots first: what they need was in the index before they were listed.
    let names = || -> Result<Vec<SnapshotName>> {
        let mut names = store.snapshot_names(None)?;
        names.retain(|name| !forgotten.contains(&name.id));
        Ok(names)
    };
    if store.storage().capabilities().exclusive_lock {
        return take_inventory(store, names()?, observer);
    }
    for _ in 0..LOOKS {
        let names = names()?;
        store.reload_indexes()?;
        let before = store.open_index_names();
        match take_inventory(store, names, observer) {
            Err(Error::Missing { .. }) => {}
            Ok(_) if store.open_index_names() != before => {}
            found => return found,
        }
    }
    let text = "others write so much to this store that nothing was pruned; try again when they are done";
    Err(Error::refused(format!("{}: {text}", store.storage().location())))
}

/// Lists the packs, verifies the indexes, and marks what is alive.
fn take_inventory(store: &Store, names: Vec<SnapshotName>, observer: &dyn Observer) -> Result<Inventory> {
    store.verify_indexes(observer)?;
    if let Some(damaged) = store.damaged_indexes().first() {
        let text = format!("{}: nothing was pruned; a repair lists again what that file listed", damaged.reason);
        return Err(Error::refused(text.hint(Hint::Repair)));
    }
    let mut packs: HashMap<PackId, Pack> = HashMap::new();
    let head = head_len(store.storage().keys()) as u16;
    store.storage().list("packs", &mut |name, len| {
        if let Some(id) = pack_id(name) {
            let pack = packs.entry(id).or_default();
            (pack.len, pack.head) = (Some(len), head);
        }
        Ok(())
    })?;
    let files = store.indexes();
    store.expect_look_ups(MORE_INDEX_BLOCKS, false)?;
    for file in &files {
        file.packs().iter().for_each(|id| packs.entry(*id).or_default().is_listed = true);
    }
    let mut marked = mark::mark(store, &names, &*store.pending_deletions()?, observer)?;
    drop(names);
    for (id, age) in std::mem::take(&mut marked.ages) {
        packs.entry(id).and_modify(|pack| pack.age = age);
    }
    let (chains, full) = deltas::find(store, &marked, observer)?;
    files.iter().for_each(|file| file.keep_blocks(0));
    let (mut rewrite, mut chunks) = (false, 0);
    store.each_chunk(&mut |copies| {
        let mut counted = None;
        for copy in copies {
            let record = &copy.place.record;
            let pack = packs.entry(copy.place.pack).or_default();
            if marked.kept.has(copy.slot) {
                // Two index files may list one place, and which of them a look-up finds depends on the one before it.
                let place = Some((copy.place.pack, copy.place.offset));
                if counted == place {
                    continue;
                }
                counted = place;
                chunks += 1;
                pack.chunks += 1;
                pack.alive += bytes_of(record);
            } else {
                rewrite = true;
            }
        }
        checkpoint(observer)
    })?;
    Ok(Inventory { packs, marked, chains, full, chunks, rewrite })
}

/// An object under a name that lrl does not give may be a snapshot, or what one needs, that somebody renamed.
pub(super) fn refuse_foreign_names(store: &Store) -> Result<()> {
    let check = |prefix: &str, is_ours: &dyn Fn(&str) -> bool| {
        store.storage().list(prefix, &mut |name, _| match is_ours(name) {
            true => Ok(()),
            false => {
                let place = store.storage().object_location(name);
                let text = format!(
                    "{place} is not a name that lrl gives: nothing was pruned; give it its name back if you know it"
                );
                Err(Error::refused(text.hint(Hint::Repair)))
            }
        })
    };
    check("packs", &|name| pack_id(name).is_some())?;
    check("index", &index::is_object_name)?;
    check("snapshots", &|name| SnapshotName::parse(name).is_some())
}
