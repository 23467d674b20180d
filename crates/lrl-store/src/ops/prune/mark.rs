//! Marks what is alive: every chunk that a snapshot reaches, and the bases of its deltas. One bit for each copy in the index; what snapshots
//! share is walked once. Any doubt about what a snapshot reaches is an error: then nothing may be deleted.

use std::collections::{BTreeMap, HashMap, HashSet};

use crate::error::{Error, Result};
use crate::format::entry::{Entry, Piece};
use crate::format::references::Roots;
use crate::hint::{AddHint, Hint, Message};
use crate::id::{ChunkId, PackId, PendingId};
use crate::progress::{Observer, Phase, checkpoint};
use crate::store::chunk_set::ChunkSet;
use crate::store::deletion::pending::PendingDeletions;
use crate::store::index::{ChunkCopy, IndexSlot};
use crate::store::tree::visit::{NodeAt, Visitor, visit};
use crate::store::{SnapshotName, Store};

/// Chunks that are remembered without a look into the index: 1 MiB.
const MOST_RECENT: usize = 16 << 10;

/// What the marking found.
#[derive(Default)]
pub(super) struct Reachable {
    /// One copy of each chunk that is alive; all of them where none can be read.
    pub kept: ChunkSet,
    /// A copy of each chunk that a snapshot reaches itself, not only as a base.
    pub reached: ChunkSet,
    /// Snapshots that were walked.
    pub snapshots: u64,
    /// References to chunks that no index lists.
    pub missing: u64,
    /// A node of a list among them.
    pub missing_node: Option<String>,
    /// Packs by the order in which snapshots added them.
    pub ages: HashMap<PackId, u32>,
    /// Of each source the highest sequence, and the lists of candidates that the runs of its snapshots had read.
    pub sources: BTreeMap<String, (u64, HashSet<PendingId>)>,
}

struct Walk<'a> {
    store: &'a Store,
    observer: &'a dyn Observer,
    candidates: &'a PendingDeletions,
    marked: Reachable,
    /// Copies of chunks that are in several places.
    several: ChunkSet,
    /// First copies of chunks that are marked already, and of nodes whose children are.
    seen: ChunkSet,
    walked: ChunkSet,
    /// Chunks whose bases are being marked.
    path: Vec<ChunkId>,
    /// Some of the chunks that snapshots reach and that are marked: what one has the next one mostly has as well.
    recent: HashSet<ChunkId>,
}

/// Marks all that these snapshots reach; of several copies none in a candidate for deletion, if another can be read.
pub(super) fn mark(
    store: &Store,
    snapshots: &[SnapshotName],
    candidates: &PendingDeletions,
    observer: &dyn Observer,
) -> Result<Reachable> {
    let mut several = ChunkSet::default();
    store.each_chunk(&mut |copies| {
        let place = |copy: &ChunkCopy| (copy.place.pack, copy.place.offset);
        if copies.windows(2).any(|pair| place(&pair[0]) != place(&pair[1])) {
            copies.iter().for_each(|copy| several.set(copy.slot));
        }
        checkpoint(observer)
    })?;
    let (seen, walked) = (ChunkSet::default(), ChunkSet::default());
    let marked = Reachable::default();
    let mut walk =
        Walk { store, observer, candidates, marked, several, seen, walked, path: Vec::new(), recent: HashSet::new() };
    observer.phase(Phase::Snapshots, Some(snapshots.len() as u64));
    for name in store.reading(snapshots.iter()) {
        walk.snapshot(name)?;
        observer.advance(0, 1);
    }
    Ok(walk.marked)
}

/// Marks what one snapshot reaches.
struct Marker<'w, 'a> {
    walk: &'w mut Walk<'a>,
    name: &'w SnapshotName,
    /// The first copies of the nodes on the path.
    path: Vec<IndexSlot>,
}

impl Marker<'_, '_> {
    fn doubt(&self, error: Error) -> Error {
        let SnapshotName { source, id, .. } = self.name;
        doubt(error, format!("snapshot {} of {source} needs it", id.short()).hint(Hint::CheckData))
    }
}

impl Visitor for Marker<'_, '_> {
    type Stop = Error;

    fn enter(&mut self, node: &NodeAt<'_>) -> Result<bool> {
        checkpoint(self.walk.observer)?;
        self.walk.chunk(node.id)?;
        let Some(first) = self.walk.store.listed_copy(node.id)? else {
            let object = self.walk.store.storage().object_location(&self.name.object());
            let text = || format!("{object}: node {} of its lists is in no index", node.id);
            self.walk.marked.missing_node.get_or_insert_with(text);
            return Ok(false);
        };
        // Contents may have the very bytes of a node: that a chunk is marked does not mean that its children are.
        if self.walk.walked.has(first.slot) {
            return Ok(false);
        }
        self.path.push(first.slot);
        Ok(true)
    }

    fn read(&mut self, node: &NodeAt<'_>) -> Result<Vec<u8>> {
        self.walk.store.read(node.id)
    }

    fn unreadable(&mut self, _: &NodeAt<'_>, error: Error) -> Result<()> {
        Err(self.doubt(error))
    }

    fn malformed(&mut self, _: &NodeAt<'_>, error: Error) -> Result<()> {
        Err(self.doubt(error))
    }

    fn chunk(&mut self, id: &ChunkId, _: u64) -> Result<()> {
        self.walk.chunk(id).map(drop)
    }

    fn leave(&mut self, _: &NodeAt<'_>) -> Result<()> {
        self.path.pop().into_iter().for_each(|slot| self.walk.walked.set(slot));
        Ok(())
    }
}

impl Walk<'_> {
    fn snapshot(&mut self, name: &SnapshotName) -> Result<()> {
        let snapshot = self.store.snapshot(name).map_err(|error| {
            doubt(error, "what it holds cannot be told".hint(Hint::Repair).hint(Hint::GiveUp(name.id.short())))
        })?;
        let (highest, avoided) = self.marked.sources.entry(name.source.clone()).or_default();
        *highest = (*highest).max(name.sequence);
        avoided.extend(&snapshot.avoids);
        for pack in &snapshot.packs {
            let age = self.marked.ages.len() as u32 + 1;
            self.marked.ages.entry(*pack).or_insert(age);
        }
        let Roots { databases, files } = snapshot.roots();
        let mut marker = Marker { walk: self, name, path: Vec::new() };
        // Weights are not compared here.
        databases.into_iter().try_for_each(|root| visit::<Piece, _>(root, 0, &mut marker))?;
        files.map_or(Ok(()), |root| visit::<Entry, _>(root, 0, &mut marker))?;
        self.marked.snapshots += 1;
        Ok(())
    }

    /// Marks a chunk and its bases. False if it is not listed, or is marked already on the way to this very chunk.
    fn chunk(&mut self, id: &ChunkId) -> Result<bool> {
        if self.path.is_empty() && self.recent.contains(id) {
            return Ok(true);
        }
        let Some(first) = self.store.listed_copy(id)? else {
            self.marked.missing += 1;
            return Ok(false);
        };
        if self.path.is_empty() {
            self.marked.reached.set(first.slot);
            self.remember(id);
        }
        if self.seen.has(first.slot) {
            return Ok(true);
        }
        if self.path.contains(id) {
            return Ok(false);
        }
        self.path.push(*id);
        let all = if self.several.has(first.slot) { self.one_of_several(id)? } else { self.keep(&first)? };
        self.path.pop();
        self.seen.set(first.slot);
        Ok(all)
    }

    fn remember(&mut self, id: &ChunkId) {
        if self.recent.len() >= MOST_RECENT {
            self.recent.clear();
        }
        self.recent.insert(*id);
    }

    fn keep(&mut self, copy: &ChunkCopy) -> Result<bool> {
        self.marked.kept.set(copy.slot);
        self.bases(copy)
    }

    fn bases(&mut self, copy: &ChunkCopy) -> Result<bool> {
        let mut all = true;
        for base in &copy.place.record.bases {
            all &= self.chunk(base)?;
        }
        Ok(all)
    }

    /// Keeps one copy: the others go, so it must have been read, and must not depend on a chunk that depends on this one. The shorter its
    /// chain the better. Where no copy can be read, all stay.
    fn one_of_several(&mut self, id: &ChunkId) -> Result<bool> {
        checkpoint(self.observer)?;
        let mut copies = self.store.copies(id)?;
        copies.retain(|copy| !copy.slot.is_pack_scan());
        let place = |copy: &ChunkCopy| (copy.place.record.depth, copy.place.pack, copy.place.offset);
        copies.sort_by_key(|copy| (self.candidates.has(&copy.place.pack), place(copy)));
        copies.dedup_by_key(|copy| (copy.place.pack, copy.place.offset));
        for copy in &copies {
            match self.store.read_copy(&copy.place) {
                Ok(_) if self.bases(copy)? => return self.keep(copy),
                Err(e) if e.is_final() => return Err(e),
                _ => {}
            }
        }
        for copy in &copies {
            self.keep(copy)?;
        }
        Ok(false)
    }
}

/// Turns the error of an object that cannot be read into the refusal to delete anything.
fn doubt(error: Error, why: impl Into<Message>) -> Error {
    let why = why.into();
    match error {
        error if !error.is_unreadable() => error,
        error => {
            let text = Message::from(format!("{error}: nothing was pruned, because {why}"));
            Error::refused(text.with_hints(why.hints()))
        }
    }
}
