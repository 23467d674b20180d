//! Compares packs with their own directories and the index; knows afterwards which packs are there and which copies of chunks cannot be read.

use std::collections::{HashMap, HashSet};

use super::findings::Findings;
use super::report::Checked;
use crate::backend::each_run;
use crate::budget::MORE_INDEX_BLOCKS;
use crate::error::Result;
use crate::format::pack::Record;
use crate::id::{self, Hasher, PackId};
use crate::progress::{Observer, checkpoint};
use crate::store::chunk_set::ChunkSet;
use crate::store::index::{ChunkCopy, Location};
use crate::store::{Store, pack_directory, pack_id, pack_name};

/// The ends of this many packs are prefetched.
const PACKS_AHEAD: usize = 4;

/// All packs that are there or that something speaks of.
pub(crate) struct Packs {
    known: HashMap<PackId, Pack>,
    /// Objects among them under names that no pack has.
    pub foreign: Vec<String>,
    /// Copies that cannot be read, or not as what they should be.
    pub bad: ChunkSet,
}

#[derive(Default)]
struct Pack {
    /// Its length, if it is there.
    len: Option<u64>,
    /// What the index says of it.
    index: Sum,
    /// Its directory is damaged, or says something else than the index.
    suspect: bool,
    /// Its bytes are not what its name says.
    damaged: bool,
}

/// Stands for a set of records in any order: how many there are, and the sum of their digests.
#[derive(Default, PartialEq, Eq, Clone, Copy)]
struct Sum {
    count: u64,
    digests: u128,
}

impl Sum {
    fn add(&mut self, offset: u64, record: &Record) {
        let mut bytes = Vec::with_capacity(96);
        bytes.extend_from_slice(record.id.as_bytes());
        bytes.extend_from_slice(&offset.to_le_bytes());
        record.encode_tail(&mut bytes);
        let digest = id::digest(&bytes);
        self.count += 1;
        self.digests = self.digests.wrapping_add(u128::from_le_bytes(*digest.first_chunk().unwrap_or(&[0; 16])));
    }
}

impl Packs {
    /// Lists the packs that are there.
    pub(crate) fn list(store: &Store, findings: &mut Findings) -> Result<Self> {
        let backend = store.storage();
        let mut packs = Self { known: HashMap::new(), foreign: Vec::new(), bad: ChunkSet::default() };
        backend.list("packs", &mut |name, len| {
            match pack_id(name) {
                Some(id) => packs.known.entry(id).or_default().len = Some(len),
                None => {
                    packs.foreign.push(name.to_string());
                    findings
                        .note(&backend.object_location(name), "is not a name that lrl gives to a pack: not looked at");
                }
            }
            Ok(())
        })?;
        Ok(packs)
    }

    /// Counts packs as missing that are known not to be whole.
    pub(crate) fn lose(&mut self, lost: &[PackId]) {
        lost.iter().filter_map(|id| self.known.remove(id)).for_each(drop);
    }

    /// Returns a pack's length, if it is there.
    pub(crate) fn len(&self, id: &PackId) -> Option<u64> {
        self.known.get(id)?.len
    }

    /// Returns the packs that are there, but that no sound index lists.
    pub(crate) fn unlisted(&self) -> HashSet<PackId> {
        self.known.iter().filter(|(_, pack)| pack.len.is_some() && pack.index.count == 0).map(|(id, _)| *id).collect()
    }

    /// Returns the packs that are there and damaged, in order.
    pub(crate) fn damaged(&self) -> Vec<PackId> {
        self.with(|pack| pack.damaged && pack.len.is_some())
    }

    /// Returns those that are there and that the index contradicts, though their directories are sound.
    pub(crate) fn contradicted(&self) -> Vec<PackId> {
        self.with(|pack| pack.suspect && !pack.damaged && pack.len.is_some() && pack.index.count > 0)
    }

    /// Returns those that are there.
    pub(crate) fn there(&self) -> Vec<PackId> {
        self.with(|pack| pack.len.is_some())
    }

    /// Returns those that an index lists, but that are gone.
    pub(crate) fn gone(&self) -> Vec<PackId> {
        self.with(|pack| pack.len.is_none())
    }

    /// Returns whether a pack is there, or an index lists it.
    pub(crate) fn is_known(&self, id: &PackId) -> bool {
        self.known.contains_key(id)
    }

    /// Returns whether an index lists a pack.
    pub(crate) fn is_listed(&self, id: &PackId) -> bool {
        self.known.get(id).is_some_and(|pack| pack.index.count > 0)
    }

    fn with(&self, wanted: impl Fn(&Pack) -> bool) -> Vec<PackId> {
        let mut ids: Vec<PackId> = self.known.iter().filter(|(_, pack)| wanted(pack)).map(|(id, _)| *id).collect();
        ids.sort_unstable();
        ids
    }

    /// Sums up what the index says of each pack.
    pub(crate) fn read_index(&mut self, store: &Store, observer: &dyn Observer) -> Result<()> {
        store.each_chunk(&mut |copies| {
            let mut last = None;
            for ChunkCopy { place, .. } in copies {
                if last.replace((place.pack, place.offset)) != Some((place.pack, place.offset)) {
                    let pack = self.known.entry(place.pack).or_default();
                    pack.index.add(place.offset, &place.record);
                }
            }
            checkpoint(observer)
        })
    }

    /// Compares every pack's directory with what the index says of it.
    pub(crate) fn compare(
        &mut self,
        store: &Store,
        findings: &mut Findings,
        checked: &mut Checked,
        observer: &dyn Observer,
    ) -> Result<()> {
        let ahead = store.storage().capabilities().cost_per_request;
        let there = self.known.iter().filter_map(|(id, pack)| Some((*id, pack.len?))).filter(|_| ahead);
        let mut coming = there.collect::<Vec<_>>().into_iter();
        let mut ask = |packs| {
            for (id, len) in coming.by_ref().take(packs) {
                for at in [0, len.saturating_sub(1)] {
                    store.storage().prefetch(&pack_name(&id), at, 1);
                }
            }
        };
        ask(PACKS_AHEAD);
        for (id, pack) in &mut self.known {
            checkpoint(observer)?;
            ask(1);
            let object = store.storage().object_location(&pack_name(id));
            let Some(len) = pack.len else {
                // What a later run has stored again is not lost, nor what no snapshot needs: that is the question of the snapshots' walk.
                findings.note(&object, "is missing");
                continue;
            };
            checked.packs += 1;
            checked.pack_bytes += len;
            match pack_directory(&**store.storage(), id) {
                Ok(records) => {
                    let mut own = Sum::default();
                    records.iter().for_each(|(offset, record)| own.add(*offset, record));
                    if pack.index.count > 0 && own != pack.index {
                        // A prune removes what is dead from the index, even if it stays in its pack.
                        own = Sum::default();
                        for (offset, record) in &records {
                            if is_listed(store, id, *offset, record)? {
                                own.add(*offset, record);
                            }
                        }
                    }
                    if pack.index.count > 0 && own != pack.index {
                        pack.suspect = true;
                        findings.wrong(&object, "its directory does not say what the index says of it");
                    }
                }
                Err(e) if e.is_final() => return Err(e),
                Err(error) => {
                    (pack.suspect, pack.damaged) = (true, error.is_damage());
                    match pack.index.count {
                        0 => findings.note(&object, format!("{error}; no index lists it")),
                        _ => findings.wrong(&object, error.to_string()),
                    }
                }
            }
        }
        if !self.unlisted().is_empty() {
            store.pack_scan()?;
        }
        Ok(())
    }

    /// Returns the packs that are there, with their lengths.
    pub(crate) fn lengths(&self) -> Vec<(PackId, u64)> {
        self.known.iter().filter_map(|(id, pack)| Some((*id, pack.len?))).collect()
    }

    /// Returns those that are there and whose directories are damaged, or contradict the index.
    pub(crate) fn suspects(&self) -> HashSet<PackId> {
        self.with(|pack| pack.suspect && pack.len.is_some()).into_iter().collect()
    }

    /// Marks a pack whose bytes are not what its name says.
    pub(crate) fn mark_damaged(&mut self, id: &PackId, is_damaged: bool) {
        if let Some(pack) = self.known.get_mut(id) {
            pack.damaged |= is_damaged;
        }
    }
}

/// Returns whether the index lists a record of a pack's directory.
fn is_listed(store: &Store, pack: &PackId, offset: u64, record: &Record) -> Result<bool> {
    let here = |place: &Location| (place.pack, place.offset) == (*pack, offset) && place.record == *record;
    Ok(store.copies(&record.id)?.iter().any(|copy| here(&copy.place)))
}

/// Returns the id of the pack that an object is by its bytes.
pub(crate) fn hash_file(store: &Store, name: &str, observer: &dyn Observer) -> Result<PackId> {
    let mut hasher = Hasher::new();
    let backend = store.storage();
    each_run(&**backend, name, backend.len(name)?, &mut |bytes| {
        hasher.update(bytes);
        observer.advance(bytes.len() as u64, 0);
        checkpoint(observer)
    })?;
    Ok(PackId::from_bytes(hasher.finish()))
}

/// Prepares the index for a look-up of every chunk.
pub(super) fn expect_look_ups(store: &Store) -> Result<()> {
    store.expect_look_ups(MORE_INDEX_BLOCKS, false)
}

/// Lists the packs that are there.
pub(crate) fn packs_there(store: &Store) -> Result<HashSet<PackId>> {
    Ok(Packs::list(store, &mut Findings::default())?.there().into_iter().collect())
}
