//! Whether a chunk can be read: by what is known of the packs, or by reading each chunk once.

use std::collections::HashSet;

use super::findings::Findings;
use super::packs::Packs;
use crate::error::{Error, Result};
use crate::format::pack::MAX_DEPTH;
use crate::id::{ChunkId, PackId};
use crate::store::chunk_set::ChunkSet;
use crate::store::index::ChunkCopy;
use crate::store::{SnapshotName, Store, pack_name};

/// Why something cannot be restored.
pub(super) struct Cause {
    pub object: String,
    pub detail: String,
}

/// The chunks of a store, and what is known of their copies.
pub(super) struct Chunks<'a> {
    store: &'a Store,
    packs: Packs,
    /// Packs that are there but in no index.
    unlisted: HashSet<PackId>,
    /// Of those, the ones that a snapshot needs.
    needed: HashSet<PackId>,
    /// Copies that can be read, as far as is known.
    sound: ChunkSet,
    /// Whether packs that no index lists are searched.
    last_resort: bool,
    /// Reads every chunk, each once: those that were.
    read: Option<ChunkSet>,
}

impl<'a> Chunks<'a> {
    /// `unlisted` are the packs that are there but in no index.
    pub(crate) fn new(store: &'a Store, packs: Packs, unlisted: HashSet<PackId>) -> Self {
        let (needed, sound) = (HashSet::new(), ChunkSet::default());
        Self { store, packs, unlisted, needed, sound, last_resort: false, read: None }
    }

    /// From here on every chunk is read, each once.
    pub(crate) fn read_each(&mut self) {
        self.read = Some(ChunkSet::default());
    }

    /// Names the packs that no snapshot needs; returns all packs, and those that are in no index though a snapshot needs them.
    pub(crate) fn finish(self, findings: &mut Findings) -> (Packs, HashSet<PackId>) {
        for pack in &self.unlisted {
            let object = self.store.storage().object_location(&pack_name(pack));
            let text = "is in no index, and no snapshot needs it: left by a run that did not finish, or of one that still runs";
            findings.note(&object, text);
        }
        (self.packs, self.needed)
    }

    /// Reads a chunk that seems to be there, if all are to be read.
    pub(crate) fn read_once(&mut self, id: &ChunkId) -> Result<Result<(), Cause>> {
        let Some(read) = &mut self.read else { return Ok(Ok(())) };
        let slot = self.store.first_copy(id)?.map(|copy| copy.slot);
        if slot.is_some_and(|slot| read.has(slot)) {
            return Ok(Ok(()));
        }
        match self.store.read(id) {
            Ok(_) => {
                slot.into_iter().for_each(|slot| read.set(slot));
                Ok(Ok(()))
            }
            Err(e) if e.is_damage() => Ok(Err(Cause { object: format!("chunk {id}"), detail: e.to_string() })),
            Err(e) => Err(e),
        }
    }

    /// Returns whether a chunk can be read, as far as is known without reading it: some copy is in a pack that is there, was not found
    /// damaged, and has bases of which the same is true. Returns its plain length. Packs that no index lists count where nothing else does.
    pub(crate) fn alive(
        &mut self,
        id: &ChunkId,
        name: &SnapshotName,
        findings: &mut Findings,
    ) -> Result<Result<u32, Cause>> {
        self.last_resort = false;
        if let Ok(len) = self.any_copy(id, 0, name, findings)? {
            return Ok(Ok(len));
        }
        self.store.pack_scan()?;
        self.last_resort = true;
        self.any_copy(id, 0, name, findings)
    }

    fn any_copy(
        &mut self,
        id: &ChunkId,
        below: u8,
        name: &SnapshotName,
        findings: &mut Findings,
    ) -> Result<Result<u32, Cause>> {
        let mut first_cause = None;
        let mut copies: Vec<ChunkCopy> = self.store.first_copy(id)?.into_iter().collect();
        for all in [false, true] {
            if all {
                copies = self.store.copies(id)?;
            }
            copies.retain(|copy| self.last_resort || !copy.slot.is_pack_scan());
            for copy in &copies {
                match self.copy(copy, below, name, findings)? {
                    Ok(()) => return Ok(Ok(copy.place.record.plain_len)),
                    Err(cause) => first_cause = first_cause.or(Some(cause)),
                }
            }
        }
        Ok(Err(first_cause.unwrap_or_else(|| Cause {
            object: format!("chunks in {}", self.store.storage().location()),
            detail: format!("some are in no index and in no pack, for one {id}"),
        })))
    }

    fn copy(
        &mut self,
        copy: &ChunkCopy,
        below: u8,
        name: &SnapshotName,
        findings: &mut Findings,
    ) -> Result<Result<(), Cause>> {
        let place = &copy.place;
        let damaged = |detail: &str| {
            let object = self.store.storage().object_location(&pack_name(&place.pack));
            Ok(Err(Cause { object, detail: detail.to_string() }))
        };
        let bad = self.packs.bad.has(copy.slot);
        if !bad && self.sound.has(copy.slot) {
            return Ok(Ok(()));
        }
        let Some(len) = self.packs.len(&place.pack) else { return damaged("is missing") };
        if place.offset + u64::from(place.record.encoded_len) > len {
            return damaged("is shorter than the index says");
        }
        if below > MAX_DEPTH {
            return damaged("holds a chunk whose chain of bases is too long");
        }
        for base in &place.record.bases {
            if let Err(cause) = self.any_copy(base, below + 1, name, findings)? {
                if !self.last_resort {
                    return Ok(Err(cause));
                }
                // A delta need not use the part of its base that is damaged.
                match self.store.read_copy(place) {
                    Ok(_) => break,
                    Err(e) if e.is_final() => return Err(e),
                    Err(_) => return Ok(Err(cause)),
                }
            }
        }
        if bad {
            let object = self.store.storage().object_location(&pack_name(&place.pack));
            return Ok(Err(Cause { object, detail: format!("chunk {} in it cannot be read", place.record.id) }));
        }
        self.lost_index(copy, name, findings);
        self.sound.set(copy.slot);
        Ok(Ok(()))
    }

    /// Tells that what a snapshot needs is in a pack, but in no index.
    pub(crate) fn lost_index(&mut self, copy: &ChunkCopy, name: &SnapshotName, findings: &mut Findings) {
        if copy.slot.is_pack_scan() {
            let object = self.store.storage().object_location("index");
            let detail = "no sound index file lists all packs that snapshots need: an index is missing or damaged; \
                          reading finds their chunks in the packs themselves, which is slow";
            findings.affects(&object, detail, name, None, 0);
            // What is left in the end is needed by no snapshot.
            self.unlisted.remove(&copy.place.pack);
            self.needed.insert(copy.place.pack);
        }
    }

    /// Names the object to blame for a node that could not be read.
    pub(crate) fn cause_of(
        &mut self,
        id: &ChunkId,
        error: &Error,
        name: &SnapshotName,
        findings: &mut Findings,
    ) -> Result<Cause> {
        if let Err(cause) = self.alive(id, name, findings)? {
            return Ok(cause);
        }
        let copy = self.store.first_copy(id)?;
        let object = copy.map(|copy| self.store.storage().object_location(&pack_name(&copy.place.pack)));
        Ok(Cause { object: object.unwrap_or_else(|| format!("chunk {id}")), detail: error.to_string() })
    }
}
