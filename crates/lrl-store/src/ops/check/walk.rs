//! Every snapshot's lists, down to every chunk that they name. What several snapshots share is walked once; where it leads to damage it
//! is walked again for each of them, so that each is named.

use std::collections::HashSet;

use super::chunks::{Cause, Chunks};
use super::findings::{Affected, Findings};
use super::packs::Packs;
use super::report::{Checked, Report};
use crate::error::{Error, Result};
use crate::format::entry::{Entry, Kind, Piece, compare_paths};
use crate::format::node::{Child, Item, Node};
use crate::format::snapshot::Snapshot;
use crate::id::{ChunkId, PackId};
use crate::progress::{Observer, checkpoint};
use crate::store::chunk_set::ChunkSet;
use crate::store::index::IndexSlot;
use crate::store::repair::lost_chunks::LostChunks;
use crate::store::repair::quarantine::Quarantine;
use crate::store::tree::TreeItems;
use crate::store::tree::visit::{ListItem, NodeAt, Visitor, visit};
use crate::store::{SnapshotName, Store};

pub(crate) struct Walk<'a> {
    store: &'a Store,
    chunks: Chunks<'a>,
    findings: &'a mut Findings,
    observer: &'a dyn Observer,
    /// Nodes that were walked, and those of them that lead to damage.
    seen: ChunkSet,
    hurt: ChunkSet,
    /// Collects the chunks that cannot be read.
    wanted: Option<&'a LostChunks>,
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
    /// The path that is reported for everything below a lost root.
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
    pub(crate) fn new(
        store: &'a Store,
        packs: Packs,
        unlisted: HashSet<PackId>,
        findings: &'a mut Findings,
        observer: &'a dyn Observer,
    ) -> Self {
        let chunks = Chunks::new(store, packs, unlisted);
        let (seen, hurt) = (ChunkSet::default(), ChunkSet::default());
        Self { store, chunks, findings, observer, seen, hurt, wanted: None }
    }

    /// Collects the chunks that cannot be read; with `read` by reading every one.
    pub(crate) fn collect(&mut self, wanted: Option<&'a LostChunks>, read: bool) {
        self.wanted = wanted;
        if read {
            self.chunks.read_each();
        }
    }

    fn want(&self, id: &ChunkId) -> Result<()> {
        self.wanted.map_or(Ok(()), |wanted| wanted.add(id))
    }

    /// Takes what was found so far: what is wrong first, in words.
    pub(crate) fn take_damage(&mut self) -> Option<String> {
        let Report { findings, wrong, .. } =
            std::mem::take(self.findings).finish(Checked::default(), Quarantine::default());
        let first = findings.into_iter().next().filter(|_| wrong)?;
        Some(format!("{}: {}", first.object, first.detail))
    }

    /// Notes a document that cannot be read.
    pub(crate) fn damaged_snapshot(&mut self, name: &SnapshotName, error: &Error) {
        let object = self.store.storage().object_location(&name.object());
        self.findings.affects(&object, &error.to_string(), name, None, 0);
    }

    /// Walks everything that a snapshot names.
    pub(crate) fn snapshot(&mut self, name: &SnapshotName, snapshot: &Snapshot) -> Result<()> {
        for database in &snapshot.databases {
            let mut walk = ListWalk::new(self, name, None, &database.path);
            visit::<Piece, _>(&database.root, database.size_bytes, &mut walk)?;
        }
        if let Some(uploads) = &snapshot.files {
            let all = uploads.roots.keys().find(|root| !root.is_empty()).map_or(&b"files"[..], |root| root.as_bytes());
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

    /// Compares the databases' images with their SHA-256; returns whether all could be read.
    pub(crate) fn databases(&mut self, name: &SnapshotName, snapshot: &Snapshot) -> Result<bool> {
        let mut whole = true;
        for database in &snapshot.databases {
            match crate::ops::dump::database(self.store, database, self.observer, &mut |_| Ok(())) {
                Ok(_) => {}
                Err(e) if e.is_final() => return Err(e),
                Err(error) => {
                    let object = self.store.storage().object_location(&name.object());
                    let detail = format!("its database cannot be read whole: {error}");
                    self.findings.affects(
                        &object,
                        &detail,
                        name,
                        Some(Affected { path: &database.path, is_database: true }),
                        1,
                    );
                    whole = false;
                }
            }
        }
        Ok(whole)
    }

    /// Names what no snapshot needs; returns the packs, and those that are in no index though a snapshot needs them.
    pub(crate) fn finish(self) -> (Packs, HashSet<PackId>) {
        self.chunks.finish(self.findings)
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
        let affected = Affected { path: file, is_database: self.list.is_none() };
        self.walk.findings.affects(object, detail, self.name, Some(affected), files);
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
                let detail = "its list holds a hard link to a file that it does not hold";
                let affected = Affected { path: &self.file, is_database: self.list.is_none() };
                self.walk.findings.affects(&object, detail, self.name, Some(affected), 1);
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
        first.iter().for_each(|copy| self.walk.chunks.lost_index(copy, self.name, self.walk.findings));
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
        let cause = self.walk.chunks.cause_of(node.id, &error, self.name, self.walk.findings)?;
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
        let cause = match self.walk.chunks.alive(id, self.name, self.walk.findings)? {
            Ok(plain_len) if u64::from(plain_len) == len => match self.walk.chunks.read_once(id)? {
                Ok(()) => return Ok(()),
                Err(cause) => cause,
            },
            Ok(plain_len) => {
                Cause { object: format!("chunk {id}"), detail: format!("has {plain_len} bytes, but a list says {len}") }
            }
            Err(cause) => cause,
        };
        self.walk.want(id)?;
        let affected = Affected { path: &self.file, is_database: self.list.is_none() };
        self.walk.findings.affects(&cause.object, &cause.detail, self.name, Some(affected), 1);
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
