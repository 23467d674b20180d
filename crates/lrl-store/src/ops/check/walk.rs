//! Every snapshot's lists, down to every chunk that they name. What several snapshots share is walked once; where it leads to damage it
//! is walked again for each of them, so that each is named.

use std::collections::HashSet;

use super::findings::Findings;
use super::packs::Packs;
use super::report::{Checked, Report};
use crate::error::{Error, Result};
use crate::format::entry::{Entry, Kind, Piece, compare_paths};
use crate::format::node::{Child, Item, Node};
use crate::format::pack::MAX_DEPTH;
use crate::format::snapshot::Snapshot;
use crate::id::{ChunkId, PackId};
use crate::ops::ls::DATABASE;
use crate::progress::{Observer, checkpoint};
use crate::store::chunk_set::ChunkSet;
use crate::store::index::{ChunkCopy, IndexSlot};
use crate::store::repair::lost_chunks::LostChunks;
use crate::store::repair::quarantine::Quarantine;
use crate::store::tree::TreeItems;
use crate::store::tree::visit::{ListItem, NodeAt, Visitor, visit};
use crate::store::{SnapshotName, Store, pack_name};

/// Why something cannot be restored.
struct Cause {
    object: String,
    detail: String,
}

pub(crate) struct Walk<'a> {
    store: &'a Store,
    packs: Packs,
    unlisted: HashSet<PackId>,
    /// Of those, the ones that a snapshot needs.
    needed: HashSet<PackId>,
    findings: &'a mut Findings,
    observer: &'a dyn Observer,
    /// Copies that can be read, as far as is known.
    sound: ChunkSet,
    /// Whether packs that no index lists are looked at.
    last_resort: bool,
    /// Nodes that were walked, and those of them that lead to damage.
    seen: ChunkSet,
    hurt: ChunkSet,
    /// Collects the chunks that cannot be read.
    wanted: Option<&'a LostChunks>,
    /// Reads every chunk, each once: those that were.
    read: Option<ChunkSet>,
}

/// Sums over one list; they stand for the whole list only if nothing was skipped.
#[derive(Default)]
struct Tally {
    skipped: bool,
    links: bool,
    files: u64,
    bytes: u64,
}

/// Walks one list for one snapshot, to name both where something is damaged.
struct ListWalk<'w, 'a> {
    walk: &'w mut Walk<'a>,
    name: &'w SnapshotName,
    /// The list in which hard links look up their files; `None` for a database.
    list: Option<&'w ChunkId>,
    /// What stands for all that a lost root takes along.
    all: &'w [u8],
    /// The file whose pieces are walked.
    file: Vec<u8>,
    tally: Tally,
    /// The nodes on the path.
    path: Vec<OpenNode>,
    /// Whether a root leads to damage.
    hurt: bool,
}

/// A node on the path: its first copy, and whether it leads to damage as far as was walked.
struct OpenNode {
    slot: Option<IndexSlot>,
    hurt: bool,
}

impl<'a> Walk<'a> {
    /// Starts; `unlisted` are the packs that are there but in no index.
    pub fn new(
        store: &'a Store,
        packs: Packs,
        unlisted: HashSet<PackId>,
        findings: &'a mut Findings,
        observer: &'a dyn Observer,
    ) -> Self {
        let marks = ChunkSet::default;
        let needed = HashSet::new();
        Self {
            store,
            packs,
            unlisted,
            needed,
            findings,
            observer,
            sound: marks(),
            last_resort: false,
            seen: marks(),
            hurt: marks(),
            wanted: None,
            read: None,
        }
    }

    /// Collects the chunks that cannot be read; with `read` by reading every one.
    pub fn collect(&mut self, wanted: Option<&'a LostChunks>, read: bool) {
        self.wanted = wanted;
        self.read = read.then(ChunkSet::default);
    }

    fn want(&self, id: &ChunkId) -> Result<()> {
        self.wanted.map_or(Ok(()), |wanted| wanted.add(id))
    }

    /// Reads a chunk that seems to be there, if all are to be read.
    fn read_once(&mut self, id: &ChunkId) -> Result<Result<(), Cause>> {
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

    /// Takes what was found so far: what is wrong first, in words.
    pub fn take_damage(&mut self) -> Option<String> {
        let Report { findings, wrong, .. } =
            std::mem::take(self.findings).finish(Checked::default(), Quarantine::default());
        let first = findings.into_iter().next().filter(|_| wrong)?;
        Some(format!("{}: {}", first.object, first.detail))
    }

    /// Notes a document that cannot be read.
    pub fn damaged_snapshot(&mut self, name: &SnapshotName, error: &Error) {
        let object = self.store.storage().object_location(&name.object());
        self.findings.affects(&object, &error.to_string(), name, None, 0);
    }

    /// Walks everything that a snapshot names.
    pub fn snapshot(&mut self, name: &SnapshotName, snapshot: &Snapshot) -> Result<()> {
        if let Some(database) = &snapshot.database {
            let mut walk = ListWalk::new(self, name, None, DATABASE.as_bytes());
            visit::<Piece, _>(&database.root, database.size_bytes, &mut walk)?;
        }
        if let Some(uploads) = &snapshot.uploads {
            let all = uploads.roots.keys().next().map_or(&b"uploads"[..], |root| root.as_bytes());
            let mut walk = ListWalk::new(self, name, Some(&uploads.list), all);
            visit::<Entry, _>(&uploads.list, uploads.entries, &mut walk)?;
            let ListWalk { tally, hurt, .. } = walk;
            let fits = uploads.files == tally.files && (tally.links || uploads.bytes == tally.bytes);
            if !hurt && !tally.skipped && !fits {
                let object = self.store.storage().object_location(&name.object());
                let detail = format!(
                    "says {} files of {} bytes, but its list holds {} of {}",
                    uploads.files, uploads.bytes, tally.files, tally.bytes
                );
                self.findings.affects(&object, &detail, name, None, 0);
            }
        }
        Ok(())
    }

    /// Compares a database's image with its SHA-256; says whether it could.
    pub fn database(&mut self, name: &SnapshotName, snapshot: &Snapshot) -> Result<bool> {
        match crate::ops::dump::dump(self.store, snapshot, DATABASE.as_bytes(), self.observer, &mut |_| Ok(())) {
            Ok(_) => Ok(true),
            Err(e) if e.is_final() => Err(e),
            Err(error) => {
                let object = self.store.storage().object_location(&name.object());
                let detail = format!("its database cannot be read whole: {error}");
                self.findings.affects(&object, &detail, name, Some(DATABASE.as_bytes()), 1);
                Ok(false)
            }
        }
    }

    /// Names what no snapshot needs; returns the packs, and those that are in no index though a snapshot needs them.
    pub fn finish(self) -> (Packs, HashSet<PackId>) {
        for pack in &self.unlisted {
            let object = self.store.storage().object_location(&pack_name(pack));
            let text = "is in no index, and no snapshot needs it: left by a run that did not finish, or of one that still runs";
            self.findings.note(&object, text);
        }
        (self.packs, self.needed)
    }

    /// Says whether a chunk can be read, as far as is known without reading it: some copy is in a pack that is there, was not found
    /// damaged, and has bases of which the same is true. Returns its plain length. Packs that no index lists count where nothing else does.
    fn alive(&mut self, id: &ChunkId, name: &SnapshotName) -> Result<Result<u32, Cause>> {
        self.last_resort = false;
        if let Ok(len) = self.any_copy(id, 0, name)? {
            return Ok(Ok(len));
        }
        self.store.pack_scan()?;
        self.last_resort = true;
        self.any_copy(id, 0, name)
    }

    fn any_copy(&mut self, id: &ChunkId, below: u8, name: &SnapshotName) -> Result<Result<u32, Cause>> {
        let mut first_cause = None;
        let mut copies: Vec<ChunkCopy> = self.store.first_copy(id)?.into_iter().collect();
        for all in [false, true] {
            if all {
                copies = self.store.copies(id)?;
            }
            copies.retain(|copy| self.last_resort || !copy.slot.is_pack_scan());
            for copy in &copies {
                match self.copy(copy, below, name)? {
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

    fn copy(&mut self, copy: &ChunkCopy, below: u8, name: &SnapshotName) -> Result<Result<(), Cause>> {
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
            if let Err(cause) = self.any_copy(base, below + 1, name)? {
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
        self.lost_index(copy, name);
        self.sound.set(copy.slot);
        Ok(Ok(()))
    }

    /// Tells that what a snapshot needs is in a pack, but in no index.
    fn lost_index(&mut self, copy: &ChunkCopy, name: &SnapshotName) {
        if copy.slot.is_pack_scan() {
            let object = self.store.storage().object_location("index");
            let detail = "no sound index file lists all packs that snapshots need: an index is missing or damaged; \
                          reading finds their chunks in the packs themselves, which is slow";
            self.findings.affects(&object, detail, name, None, 0);
            // What is left in the end is needed by no snapshot.
            self.unlisted.remove(&copy.place.pack);
            self.needed.insert(copy.place.pack);
        }
    }

    /// Names the object to blame for a node that could not be read.
    fn cause_of(&mut self, id: &ChunkId, error: &Error, name: &SnapshotName) -> Result<Cause> {
        if let Err(cause) = self.alive(id, name)? {
            return Ok(cause);
        }
        let copy = self.store.first_copy(id)?;
        let object = copy.map(|copy| self.store.storage().object_location(&pack_name(&copy.place.pack)));
        Ok(Cause { object: object.unwrap_or_else(|| format!("chunk {id}")), detail: error.to_string() })
    }
}

impl<'w, 'a> ListWalk<'w, 'a> {
    fn new(walk: &'w mut Walk<'a>, name: &'w SnapshotName, list: Option<&'w ChunkId>, all: &'w [u8]) -> Self {
        let (tally, path, file) = (Tally::default(), Vec::new(), all.to_vec());
        Self { walk, name, list, all, file, tally, path, hurt: false }
    }

    /// Names damage of a node: the files that it takes along.
    fn affects(&mut self, node: &NodeAt<'_>, object: &str, detail: &str, files: u64) {
        let file = if node.of_pieces { &self.file } else { node.first_key.unwrap_or(self.all) };
        self.walk.findings.affects(object, detail, self.name, Some(file), files);
    }

    /// Notes damage on the way to it.
    fn hurts(&mut self) {
        *self.path.last_mut().map_or(&mut self.hurt, |node| &mut node.hurt) = true;
    }

    /// Ends with the node that was entered last.
    fn close(&mut self) {
        let Some(OpenNode { slot, hurt }) = self.path.pop() else { return };
        if let Some(slot) = slot {
            self.walk.seen.set(slot);
            if hurt {
                self.walk.hurt.set(slot);
            }
        }
        if hurt {
            self.hurts();
        }
    }

    fn link(&mut self, target: &[u8]) -> Result<()> {
        self.tally.files += 1;
        self.tally.links = true;
        let Some(list) = self.list else { return Ok(()) };
        let found = TreeItems::from_path(self.walk.store, list, target).and_then(|mut items| items.next().transpose());
        match found {
            Ok(Some(found)) if found.path == target && matches!(found.kind, Kind::File { .. }) => return Ok(()),
            Err(e) if e.is_final() => return Err(e),
            // The damage is named where the list leads to it.
            Err(_) => {}
            Ok(_) => {
                let object = self.walk.store.storage().object_location(&self.name.object());
                let detail = "its list holds a further name of a file that it does not hold";
                self.walk.findings.affects(&object, detail, self.name, Some(&self.file), 1);
            }
        }
        self.hurts();
        Ok(())
    }
}

impl Visitor for ListWalk<'_, '_> {
    type Stop = Error;

    fn enter(&mut self, node: &NodeAt<'_>) -> Result<bool> {
        checkpoint(self.walk.observer)?;
        let first = self.walk.store.first_copy(node.id)?;
        first.iter().for_each(|copy| self.walk.lost_index(copy, self.name));
        let slot = first.map(|copy| copy.slot);
        if slot.is_some_and(|slot| self.walk.seen.has(slot) && !self.walk.hurt.has(slot)) {
            self.tally.skipped |= !node.of_pieces;
            return Ok(false);
        }
        self.path.push(OpenNode { slot, hurt: false });
        Ok(true)
    }

    fn read(&mut self, node: &NodeAt<'_>) -> Result<Vec<u8>> {
        self.walk.store.read(node.id)
    }

    fn unreadable(&mut self, node: &NodeAt<'_>, error: Error) -> Result<()> {
        if error.is_final() {
            return Err(error);
        }
        self.walk.want(node.id)?;
        let cause = self.walk.cause_of(node.id, &error, self.name)?;
        let files = if node.of_pieces { 1 } else { node.weight };
        self.affects(node, &cause.object, &cause.detail, files);
        self.hurts();
        self.close();
        Ok(())
    }

    fn verify<T: ListItem>(&self, node: &NodeAt<'_>, content: &Node<T>) -> Result<()> {
        fits(content, node)
    }

    fn malformed(&mut self, node: &NodeAt<'_>, error: Error) -> Result<()> {
        self.affects(node, &format!("node {}", node.id), &error.to_string(), 1);
        self.hurts();
        self.close();
        Ok(())
    }

    fn entry(&mut self, entry: &Entry) -> Result<()> {
        self.file.clear();
        self.file.extend(&entry.path);
        match &entry.kind {
            Kind::Dir | Kind::Symlink { .. } => {}
            Kind::File { size, .. } => {
                self.tally.files += 1;
                self.tally.bytes = self.tally.bytes.saturating_add(*size);
            }
            Kind::Hardlink { target } => self.link(target)?,
        }
        Ok(())
    }

    fn chunk(&mut self, id: &ChunkId, len: u64) -> Result<()> {
        let cause = match self.walk.alive(id, self.name)? {
            Ok(plain_len) if u64::from(plain_len) == len => match self.walk.read_once(id)? {
                Ok(()) => return Ok(()),
                Err(cause) => cause,
            },
            Ok(plain_len) => {
                Cause { object: format!("chunk {id}"), detail: format!("has {plain_len} bytes, but a list says {len}") }
            }
            Err(cause) => cause,
        };
        self.walk.want(id)?;
        self.walk.findings.affects(&cause.object, &cause.detail, self.name, Some(&self.file), 1);
        self.hurts();
        Ok(())
    }

    fn leave(&mut self, _: &NodeAt<'_>) -> Result<()> {
        self.close();
        Ok(())
    }
}

/// Compares a node with what the one above says of it.
fn fits<T: ListItem>(node: &Node<T>, stated: &NodeAt<'_>) -> Result<()> {
    let what = if stated.of_pieces { "a list of pieces" } else { "the list of uploads" };
    let wrong = |detail: &str| Err(Error::corrupt(format!("{what}: node {}", stated.id), detail));
    let (level, weight, first, in_order) = match node {
        Node::Leaf(items) => {
            let weight = items.iter().try_fold(0u64, |sum, item| sum.checked_add(item.weight()));
            let before = |pair: &[T]| compare_paths(pair[0].key(), pair[1].key()).is_lt();
            let in_order = stated.of_pieces || items.windows(2).all(before);
            (0, weight, items.first().map(Item::key), in_order)
        }
        Node::Inner(below, children) => {
            let weight = children.iter().try_fold(0u64, |sum, child| sum.checked_add(child.weight));
            let less = |pair: &[Child]| compare_paths(&pair[0].first_key, &pair[1].first_key).is_lt();
            let keyed = children.iter().any(|child| !child.first_key.is_empty());
            let in_order = !keyed || children.windows(2).all(less);
            (below + 1, weight, children.first().map(|child| child.first_key.as_slice()), in_order)
        }
    };
    if stated.level.is_some_and(|stated| stated != level) {
        return wrong("stands at another level than the one above says");
    }
    if weight != Some(stated.weight) {
        return wrong("does not add up to what is stated above it");
    }
    if stated.first_key.is_some_and(|stated| Some(stated) != first) {
        return wrong("does not begin where the one above says");
    }
    if !in_order {
        return wrong("is not in order");
    }
    Ok(())
}
