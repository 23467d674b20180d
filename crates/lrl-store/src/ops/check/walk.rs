//! Every snapshot's lists, down to every chunk that they name. What several snapshots share is walked once; where it leads to damage it
//! is walked again for each of them, so that each is named.

use std::collections::HashSet;

use super::chunks::{Cause, Chunks};
use super::findings::Findings;
use super::packs::Packs;
use super::report::{Checked, Report};
use crate::error::{Error, Result};
use crate::format::entry::{Content, Entry, Kind, Piece, compare_paths};
use crate::format::node::{self, Child, Item, Node};
use crate::format::snapshot::Snapshot;
use crate::id::{ChunkId, PackId};
use crate::ops::ls::DATABASE;
use crate::progress::{Observer, checkpoint};
use crate::store::chunk_set::ChunkSet;
use crate::store::repair::lost_chunks::LostChunks;
use crate::store::repair::quarantine::Quarantine;
use crate::store::tree::TreeItems;
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

/// What a walk is for: names it where something is damaged.
#[derive(Clone, Copy)]
struct Scope<'s> {
    name: &'s SnapshotName,
    /// The list in which entries look up others.
    list: Option<&'s ChunkId>,
    /// The file whose pieces are walked.
    file: Option<&'s [u8]>,
    /// The path that is reported for everything below a lost root.
    all: &'s [u8],
}

/// Sums over one list; they stand for the whole list only if nothing was skipped.
#[derive(Default)]
struct Tally {
    skipped: bool,
    links: bool,
    files: u64,
    bytes: u64,
}

/// What the node above says of a node.
struct Stated<'k> {
    level: Option<u8>,
    weight: u64,
    first_key: Option<&'k [u8]>,
}

trait References: Item {
    /// Checks one item of a leaf; returns whether it leads to damage.
    fn check(&self, walk: &mut Walk<'_>, scope: Scope<'_>, tally: &mut Tally) -> Result<bool>;
    fn is_before(&self, next: &Self) -> bool;
    const WHAT: &'static str;
}

impl References for Piece {
    const WHAT: &'static str = "a list of pieces";
    fn check(&self, walk: &mut Walk<'_>, scope: Scope<'_>, _: &mut Tally) -> Result<bool> {
        walk.piece(self, scope)
    }
    fn is_before(&self, _: &Self) -> bool {
        true
    }
}

impl References for Entry {
    const WHAT: &'static str = "the list of uploads";
    fn check(&self, walk: &mut Walk<'_>, scope: Scope<'_>, tally: &mut Tally) -> Result<bool> {
        walk.entry(self, scope, tally)
    }
    fn is_before(&self, next: &Self) -> bool {
        compare_paths(&self.path, &next.path).is_lt()
    }
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
        let chunks = Chunks::new(store, packs, unlisted);
        let (seen, hurt) = (ChunkSet::default(), ChunkSet::default());
        Self { store, chunks, findings, observer, seen, hurt, wanted: None }
    }

    /// Collects the chunks that cannot be read; with `read` by reading every one.
    pub fn collect(&mut self, wanted: Option<&'a LostChunks>, read: bool) {
        self.wanted = wanted;
        if read {
            self.chunks.read_each();
        }
    }

    fn want(&self, id: &ChunkId) -> Result<()> {
        self.wanted.map_or(Ok(()), |wanted| wanted.add(id))
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
        if let Some(part) = &snapshot.database {
            let all = DATABASE.as_bytes();
            let scope = Scope { name, list: None, file: Some(all), all };
            let stated = Stated { level: None, weight: part.size_bytes, first_key: None };
            self.tree::<Piece>(&part.root, &stated, scope, &mut Tally::default())?;
        }
        if let Some(part) = &snapshot.uploads {
            let all = part.roots.keys().next().map_or(&b"uploads"[..], |root| root.as_bytes());
            let scope = Scope { name, list: Some(&part.list), file: None, all };
            let stated = Stated { level: None, weight: part.entries, first_key: None };
            let mut tally = Tally::default();
            let hurt = self.tree::<Entry>(&part.list, &stated, scope, &mut tally)?;
            let fits = part.files == tally.files && (tally.links || part.bytes == tally.bytes);
            if !hurt && !tally.skipped && !fits {
                let object = self.store.storage().object_location(&name.object());
                let detail = format!(
                    "says {} files of {} bytes, but its list holds {} of {}",
                    part.files, part.bytes, tally.files, tally.bytes
                );
                self.findings.affects(&object, &detail, name, None, 0);
            }
        }
        Ok(())
    }

    /// Compares a database's image with its SHA-256; returns whether it could be read.
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
        self.chunks.finish(self.findings)
    }

    fn tree<T: References>(
        &mut self,
        id: &ChunkId,
        stated: &Stated<'_>,
        scope: Scope<'_>,
        tally: &mut Tally,
    ) -> Result<bool> {
        checkpoint(self.observer)?;
        let first = self.store.first_copy(id)?;
        first.iter().for_each(|copy| self.chunks.lost_index(copy, scope.name, self.findings));
        let slot = first.map(|copy| copy.slot);
        if slot.is_some_and(|slot| self.seen.has(slot) && !self.hurt.has(slot)) {
            tally.skipped = true;
            return Ok(false);
        }
        let object = format!("node {id}");
        let node = match self.store.read(id) {
            Ok(bytes) => node::decode::<T>(&bytes, &object),
            Err(e) if e.is_final() => return Err(e),
            Err(error) => {
                self.want(id)?;
                let cause = self.chunks.cause_of(id, &error, scope.name, self.findings)?;
                let file = scope.file.or(stated.first_key).unwrap_or(scope.all);
                let files = if scope.file.is_some() { 1 } else { stated.weight };
                self.findings.affects(&cause.object, &cause.detail, scope.name, Some(file), files);
                slot.into_iter().for_each(|slot| {
                    self.seen.set(slot);
                    self.hurt.set(slot);
                });
                return Ok(true);
            }
        };
        let hurt = match node.and_then(|node| fits(&node, stated, &object).map(|()| node)) {
            Ok(Node::Leaf(items)) => {
                let mut hurt = false;
                for item in &items {
                    hurt |= item.check(self, scope, tally)?;
                }
                hurt
            }
            Ok(Node::Inner(below, children)) => {
                let mut hurt = false;
                for Child { id, weight, first_key } in &children {
                    let key = (!first_key.is_empty()).then_some(first_key.as_slice());
                    let stated = Stated { level: Some(below), weight: *weight, first_key: key };
                    hurt |= self.tree::<T>(id, &stated, scope, tally)?;
                }
                hurt
            }
            Err(error) => {
                let file = scope.file.or(stated.first_key).unwrap_or(scope.all);
                self.findings.affects(&object, &error.to_string(), scope.name, Some(file), 1);
                true
            }
        };
        if let Some(slot) = slot {
            self.seen.set(slot);
            if hurt {
                self.hurt.set(slot);
            }
        }
        Ok(hurt)
    }

    fn piece(&mut self, piece: &Piece, scope: Scope<'_>) -> Result<bool> {
        let Piece::Data { id, len } = piece else { return Ok(false) };
        let cause = match self.chunks.alive(id, scope.name, self.findings)? {
            Ok(plain_len) if u64::from(plain_len) == *len => match self.chunks.read_once(id)? {
                Ok(()) => return Ok(false),
                Err(cause) => cause,
            },
            Ok(plain_len) => {
                Cause { object: format!("chunk {id}"), detail: format!("has {plain_len} bytes, but a list says {len}") }
            }
            Err(cause) => cause,
        };
        self.want(id)?;
        self.findings.affects(&cause.object, &cause.detail, scope.name, scope.file, 1);
        Ok(true)
    }

    fn entry(&mut self, entry: &Entry, scope: Scope<'_>, tally: &mut Tally) -> Result<bool> {
        let scope = Scope { file: Some(&entry.path), ..scope };
        match &entry.kind {
            Kind::Dir | Kind::Symlink { .. } => Ok(false),
            Kind::File { size, content } => {
                tally.files += 1;
                tally.bytes = tally.bytes.saturating_add(*size);
                match content {
                    Content::Inline(pieces) => {
                        let mut hurt = false;
                        for piece in pieces {
                            hurt |= self.piece(piece, scope)?;
                        }
                        Ok(hurt)
                    }
                    Content::Tree(root) => {
                        let stated = Stated { level: None, weight: *size, first_key: None };
                        self.tree::<Piece>(root, &stated, scope, &mut Tally::default())
                    }
                }
            }
            Kind::Hardlink { target } => {
                tally.files += 1;
                tally.links = true;
                let Some(list) = scope.list else { return Ok(false) };
                let found =
                    TreeItems::from_path(self.store, list, target).and_then(|mut items| items.next().transpose());
                match found {
                    Ok(Some(found)) if found.path == *target && matches!(found.kind, Kind::File { .. }) => Ok(false),
                    Err(e) if e.is_final() => Err(e),
                    // The damage is named where the list leads to it.
                    Err(_) => Ok(true),
                    Ok(_) => {
                        let object = self.store.storage().object_location(&scope.name.object());
                        let detail = "its list holds a hard link to a file that it does not hold";
                        self.findings.affects(&object, detail, scope.name, scope.file, 1);
                        Ok(true)
                    }
                }
            }
        }
    }
}

/// Compares a node with what the one above says of it.
fn fits<T: References>(node: &Node<T>, stated: &Stated<'_>, object: &str) -> Result<()> {
    let wrong = |detail: &str| Err(Error::corrupt(format!("{}: {object}", T::WHAT), detail));
    let (level, weight, first, in_order) = match node {
        Node::Leaf(items) => {
            let weight = items.iter().try_fold(0u64, |sum, item| sum.checked_add(item.weight()));
            let in_order = items.windows(2).all(|pair| pair[0].is_before(&pair[1]));
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
