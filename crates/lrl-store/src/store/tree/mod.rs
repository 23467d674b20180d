//! Long lists as trees of chunks: building them so that a small change changes few nodes, and walking them without holding them.

pub mod diff;
pub(crate) mod visit;

use std::collections::VecDeque;

use super::handle::Store;
use super::write::WriteSession;
use crate::error::{Error, Result};
use crate::format::entry::{Entry, Kind, Piece, compare_paths};
use crate::format::node::{self, Child, Item, Node};
use crate::id::ChunkId;

/// Decides where a list's nodes end. Lists where items come and go are cut by content, so that an insertion moves no later cut.
pub trait Cut: Item {
    /// Returns whether the leaf ends after its last item.
    fn ends_leaf(leaf: &[Self], bytes: usize) -> bool;
    /// Returns about how many bytes the item takes in a leaf.
    fn room(&self) -> usize {
        40 + self.key().len()
    }
    /// Returns whether an inner node ends after its last child.
    fn ends_inner(children: &[Child]) -> bool;
    /// Returns whether an old node that begins at `old` (its place among its level's nodes, its first key) is still before `new`.
    fn is_before(old: (usize, &[u8]), new: (usize, &[u8])) -> bool;
}

const FANOUT: usize = 256;
/// Long names must not make a node longer than a chunk can be.
const INNER_KEY_BYTES: usize = 1 << 20;

impl Cut for Piece {
    fn ends_leaf(leaf: &[Self], _: usize) -> bool {
        leaf.len() == FANOUT
    }
    fn ends_inner(children: &[Child]) -> bool {
        children.len() == FANOUT
    }
    fn is_before(old: (usize, &[u8]), new: (usize, &[u8])) -> bool {
        old.0 <= new.0
    }
}

impl Cut for Entry {
    fn ends_leaf(leaf: &[Self], bytes: usize) -> bool {
        let marked = leaf.last().is_some_and(|entry| ChunkId::of(&entry.path).as_bytes()[0] == 0);
        (marked && leaf.len() >= FANOUT / 8) || leaf.len() >= 4 * FANOUT || bytes >= 256 << 10
    }
    fn room(&self) -> usize {
        // Lists cut by an earlier count of the usual kinds keep their shape; only targets, which may be as long as paths, are added.
        40 + self.path.len()
            + match &self.kind {
                Kind::Symlink { target } | Kind::Hardlink { target } if target.len() > 256 => target.len(),
                _ => 0,
            }
    }
    fn ends_inner(children: &[Child]) -> bool {
        let marked = children.last().is_some_and(|child| ChunkId::of(&child.first_key).as_bytes()[0] == 1);
        let bytes: usize = children.iter().map(|child| child.first_key.len()).sum();
        (marked && children.len() >= FANOUT / 8)
            || children.len() >= 4 * FANOUT
            || bytes >= INNER_KEY_BYTES && children.len() > 1
    }
    fn is_before(old: (usize, &[u8]), new: (usize, &[u8])) -> bool {
        compare_paths(old.1, new.1).is_le()
    }
}

struct Level {
    children: Vec<Child>,
    old: OldNodes,
}

/// Builds a tree from items in order; nodes are deltas against the nodes of an older tree at the same place.
pub struct TreeBuilder<'s, T> {
    session: &'s WriteSession<'s>,
    leaf: Vec<T>,
    leaf_bytes: usize,
    old: OldNodes,
    old_root: Option<ChunkId>,
    levels: Vec<Level>,
}

impl<'s, T: Cut> TreeBuilder<'s, T> {
    /// Starts a list; `old_root` is the tree that it resembles, if any.
    pub fn new(session: &'s WriteSession<'s>, old_root: Option<ChunkId>) -> Self {
        let old = OldNodes::new::<T>(session.store(), old_root, 0);
        Self { session, leaf: Vec::new(), leaf_bytes: 0, old, old_root, levels: Vec::new() }
    }

    /// Adds the next item.
    pub fn push(&mut self, item: T) -> Result<()> {
        self.leaf_bytes += item.room();
        self.leaf.push(item);
        if T::ends_leaf(&self.leaf, self.leaf_bytes) { self.close_leaf() } else { Ok(()) }
    }

    fn close_leaf(&mut self) -> Result<()> {
        let items = std::mem::take(&mut self.leaf);
        self.leaf_bytes = 0;
        let first_key = items.first().map(|item| item.key().to_vec()).unwrap_or_default();
        let weight = items.iter().map(Item::weight).sum();
        let base = self.old.base::<T>(self.session.store(), &first_key);
        let id = self.put(&node::encode_leaf(&items), base)?;
        self.add_child(0, Child { id, weight, first_key })
    }

    fn add_child(&mut self, level: usize, child: Child) -> Result<()> {
        if self.levels.len() == level {
            let old = OldNodes::new::<T>(self.session.store(), self.old_root, level as u8 + 1);
            self.levels.push(Level { children: Vec::new(), old });
        }
        let children = &mut self.levels[level].children;
        children.push(child);
        if T::ends_inner(children) { self.close_inner(level) } else { Ok(()) }
    }

    fn close_inner(&mut self, level: usize) -> Result<()> {
        let Level { children, old } = &mut self.levels[level];
        let children = std::mem::take(children);
        let first_key = children.first().map(|child| child.first_key.clone()).unwrap_or_default();
        let weight = children.iter().map(|child| child.weight).sum();
        let base = old.base::<T>(self.session.store(), &first_key);
        let id = self.put(&node::encode_inner::<T>(level as u8 + 1, &children), base)?;
        self.add_child(level + 1, Child { id, weight, first_key })
    }

    fn put(&self, node: &[u8], base: Option<ChunkId>) -> Result<ChunkId> {
        let id = self.session.put(node, base.as_slice())?;
        self.session.store().cache_node(&id, node);
        Ok(id)
    }

    /// Ends the list and returns its root.
    pub fn finish(mut self) -> Result<ChunkId> {
        if !self.leaf.is_empty() || self.levels.is_empty() {
            self.close_leaf()?;
        }
        let mut level = 0;
        loop {
            let topmost = level + 1 == self.levels.len();
            match (self.levels[level].children.as_slice(), topmost) {
                ([only], true) => return Ok(only.id),
                ([], false) => {}
                _ => self.close_inner(level)?,
            }
            level += 1;
        }
    }
}

/// The nodes of one level of an older tree, in order: the bases of the new nodes. Errors in the old tree only cost space.
struct OldNodes {
    stack: Vec<VecDeque<Child>>,
    level: u8,
    ordinal: usize,
    current: Option<Child>,
    next: Option<Child>,
    // Level of the nodes that the topmost list of the stack refers to.
    top: u8,
}

impl OldNodes {
    fn new<T: Item>(store: &Store, root: Option<ChunkId>, level: u8) -> Self {
        let mut nodes = Self { stack: Vec::new(), level, ordinal: 0, current: None, next: None, top: 0 };
        let Some(root) = root else { return nodes };
        let height = match store.read_node(&root).and_then(|bytes| node::decode::<T>(&bytes, "an older list")) {
            Ok(Node::Leaf(_)) => 0,
            Ok(Node::Inner(below, _)) => below + 1,
            Err(_) => return nodes,
        };
        if height >= level {
            nodes.top = height;
            nodes.stack.push(VecDeque::from([Child { id: root, weight: 0, first_key: Vec::new() }]));
            nodes.next = nodes.advance::<T>(store);
        }
        nodes
    }

    fn advance<T: Item>(&mut self, store: &Store) -> Option<Child> {
        loop {
            let at = self.top - (self.stack.len() as u8).checked_sub(1)?;
            let Some(child) = self.stack.last_mut()?.pop_front() else {
                self.stack.pop();
                continue;
            };
            if at == self.level {
                return Some(child);
            }
            match node::decode::<T>(&store.read_node(&child.id).ok()?, "an older list").ok()? {
                Node::Inner(below, children) if below + 1 == at => self.stack.push(children.into()),
                _ => return None,
            }
        }
    }

    /// Returns the old node at the place where the next new one begins.
    fn base<T: Cut>(&mut self, store: &Store, first_key: &[u8]) -> Option<ChunkId> {
        let new = (self.ordinal, first_key);
        let mut passed = self.ordinal.saturating_sub(usize::from(self.current.is_some()));
        while let Some(next) = &self.next {
            let place = if self.current.is_none() { 0 } else { passed + 1 };
            if !T::is_before((place, &next.first_key), new) {
                break;
            }
            passed = place;
            self.current = self.next.take();
            let next = self.advance::<T>(store);
            let current = self.current.as_ref().map_or(&[][..], |child| &child.first_key);
            // Keys that do not ascend are a crafted list's, which may have no end.
            self.next = next.filter(|next| T::KIND == Piece::KIND || compare_paths(current, &next.first_key).is_lt());
        }
        self.ordinal += 1;
        self.current.as_ref().map(|child| child.id)
    }
}

/// Walks a tree's items in order, holding one leaf and the path to it.
pub struct TreeItems<'s, T> {
    pub(crate) store: &'s Store,
    /// Nodes that are still to come, with their level, the lowest last.
    pub(crate) stack: Vec<(u8, std::vec::IntoIter<Child>)>,
    pub(crate) leaf: std::vec::IntoIter<T>,
    /// Key of the last item of the last leaf: the keys of a list ascend, so no node comes twice.
    pub(crate) last_key: Vec<u8>,
    pub(crate) failed: bool,
}

impl<'s, T: Item> TreeItems<'s, T> {
    /// Starts at the first item.
    pub fn new(store: &'s Store, root: &ChunkId) -> Result<Self> {
        Ok(Self::descend(store, root, &mut |_| 0)?.0)
    }

    /// Starts near the item at which the weights sum up to `weight`; returns the sum of those passed over.
    pub fn from_weight(store: &'s Store, root: &ChunkId, weight: u64) -> Result<(Self, u64)> {
        let mut left = weight;
        Self::descend(store, root, &mut |children| {
            let mut skip = 0;
            while children.get(skip).is_some_and(|child| child.weight <= left) && skip + 1 < children.len() {
                left -= children[skip].weight;
                skip += 1;
            }
            skip
        })
    }

    // `skip` says how many children of a node to pass over on the way down.
    fn descend(store: &'s Store, root: &ChunkId, skip: &mut dyn FnMut(&[Child]) -> usize) -> Result<(Self, u64)> {
        let mut items =
            Self { store, stack: Vec::new(), leaf: Vec::new().into_iter(), last_key: Vec::new(), failed: false };
        let mut passed = 0u64;
        let mut id = *root;
        loop {
            match items.node(&id)? {
                Node::Leaf(leaf) => {
                    items.leaf = leaf.into_iter();
                    return Ok((items, passed));
                }
                Node::Inner(below, children) => {
                    let count = skip(&children);
                    passed = children.iter().take(count).fold(passed, |sum, child| sum.saturating_add(child.weight));
                    let mut rest = children.into_iter();
                    let Some(child) = rest.nth(count) else {
                        return Err(Error::corrupt(format!("node {id}"), "has no such child"));
                    };
                    id = child.id;
                    items.stack.push((below, rest));
                }
            }
        }
    }

    pub(crate) fn node(&mut self, id: &ChunkId) -> Result<Node<T>> {
        let decoded = node::decode::<T>(&self.store.read_node(id)?, &format!("node {id}"))?;
        let level = match &decoded {
            Node::Leaf(_) => 0,
            Node::Inner(below, _) => below + 1,
        };
        // A node below another is exactly one level lower: no cycle, no unbounded depth.
        match self.stack.last() {
            Some((expected, _)) if *expected != level => {
                return Err(Error::corrupt(format!("node {id}"), "stands at another level"));
            }
            _ => {}
        }
        if let Node::Leaf(items) = &decoded {
            self.check_leaf(id, items)?;
        }
        Ok(decoded)
    }

    /// Refuses what no writer makes, and what would let a small crafted list name the same nodes without end: a leaf without items below
    /// another node, an item without length, keys that do not ascend.
    fn check_leaf(&mut self, id: &ChunkId, items: &[T]) -> Result<()> {
        let wrong = |detail: &str| Err(Error::corrupt(format!("node {id}"), detail));
        let Some((first, last)) = items.first().zip(items.last()) else {
            return if self.stack.is_empty() { Ok(()) } else { wrong("has no items") };
        };
        if items.iter().any(|item| item.weight() == 0) {
            return wrong("has an item without length");
        }
        // Pieces have no keys: a file may well repeat itself, up to its length.
        if first.key().is_empty() {
            return Ok(());
        }
        let ascend = |a: &[u8], b: &[u8]| compare_paths(a, b).is_lt();
        let follows = self.last_key.is_empty() || ascend(&self.last_key, first.key());
        if !follows || !items.windows(2).all(|pair| ascend(pair[0].key(), pair[1].key())) {
            return wrong("has entries out of order, or twice");
        }
        self.last_key = last.key().to_vec();
        Ok(())
    }

    /// Returns the level and the id of the node that comes next.
    pub(crate) fn next_node(&mut self) -> Option<(u8, ChunkId)> {
        while let Some((level, children)) = self.stack.last() {
            if let Some(child) = children.as_slice().first() {
                return Some((*level, child.id));
            }
            self.stack.pop();
        }
        None
    }

    pub(crate) fn skip_node(&mut self) {
        if let Some((_, children)) = self.stack.last_mut() {
            children.next();
        }
    }

    pub(crate) fn open_node(&mut self) -> Result<()> {
        if let Some((_, id)) = self.next_node() {
            let node = self.node(&id)?;
            self.skip_node();
            match node {
                Node::Leaf(leaf) => self.leaf = leaf.into_iter(),
                Node::Inner(below, children) => self.stack.push((below, children.into_iter())),
            }
        }
        Ok(())
    }

    /// Returns the next item without taking it.
    pub(crate) fn peek(&mut self) -> Result<Option<&T>> {
        while self.leaf.as_slice().is_empty() && self.next_node().is_some() {
            self.open_node()?;
        }
        Ok(self.leaf.as_slice().first())
    }
}

impl<'s> TreeItems<'s, Entry> {
    /// Starts at `path` if it is in the list, else at the first entry after it.
    pub fn from_path(store: &'s Store, root: &ChunkId, path: &[u8]) -> Result<Self> {
        let (mut items, _) = Self::descend(store, root, &mut |children| {
            let after = children.iter().take_while(|child| compare_paths(&child.first_key, path).is_le()).count();
            after.saturating_sub(1)
        })?;
        let rest: Vec<Entry> = items.leaf.by_ref().filter(|entry| compare_paths(&entry.path, path).is_ge()).collect();
        items.leaf = rest.into_iter();
        Ok(items)
    }

    /// Returns what is left of the leaf that is open.
    pub fn into_leaf(self) -> Vec<Entry> {
        self.leaf.collect()
    }

    /// As [`TreeItems::from_path`], passing over what cannot be read: `gap` gets the node, and why.
    pub(crate) fn from_path_around(
        store: &'s Store,
        root: &ChunkId,
        path: &[u8],
        gap: &mut dyn FnMut(&Child, &Error),
    ) -> Result<Self> {
        let root = Child { id: *root, weight: 0, first_key: Vec::new() };
        let mut items =
            Self { store, stack: Vec::new(), leaf: Vec::new().into_iter(), last_key: Vec::new(), failed: false };
        let mut next = Some(root);
        while let Some(child) = next.take() {
            match items.node(&child.id) {
                Ok(Node::Leaf(leaf)) => {
                    let rest: Vec<Entry> =
                        leaf.into_iter().filter(|entry| compare_paths(&entry.path, path).is_ge()).collect();
                    items.leaf = rest.into_iter();
                }
                Ok(Node::Inner(below, children)) => {
                    let after =
                        children.iter().take_while(|child| compare_paths(&child.first_key, path).is_le()).count();
                    let mut rest = children.into_iter();
                    next = rest.nth(after.saturating_sub(1));
                    items.stack.push((below, rest));
                }
                Err(error) if error.is_damage() => gap(&child, &error),
                Err(error) => return Err(error),
            }
        }
        Ok(items)
    }

    /// Returns the next entry, passing over nodes that cannot be read: `gap` gets the node, and why.
    pub(crate) fn next_around(&mut self, gap: &mut dyn FnMut(&Child, &Error)) -> Result<Option<Entry>> {
        loop {
            match self.peek() {
                Ok(_) => return Ok(self.leaf.next()),
                Err(error) if error.is_damage() => {
                    let Some(child) = self.stack.last().and_then(|(_, children)| children.as_slice().first()) else {
                        return Err(error);
                    };
                    gap(child, &error);
                    self.skip_node();
                }
                Err(error) => return Err(error),
            }
        }
    }
}

impl<T: Item> Iterator for TreeItems<'_, T> {
    type Item = Result<T>;

    fn next(&mut self) -> Option<Result<T>> {
        if self.failed {
            return None;
        }
        match self.peek() {
            Ok(_) => self.leaf.next().map(Ok),
            Err(e) => {
                self.failed = true;
                Some(Err(e))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use super::{Cut, TreeBuilder, TreeItems};
    use crate::error::Error;
    use crate::format::entry::{Entry, Kind, Piece};
    use crate::format::node::{self, Child};
    use crate::fs::lock::LockMode;
    use crate::id::ChunkId;
    use crate::progress::Silent;
    use crate::store::write::WriteSession;
    use crate::store::{Store, create};
    use crate::testing::memory::memory;
    use crate::time::Time;

    fn store() -> Store {
        let backend = memory();
        create(&backend, [1; 32]).unwrap();
        Store::open(Arc::new(backend), LockMode::Shared, Duration::ZERO, &Silent).unwrap()
    }

    fn build<T: super::Cut + Clone>(store: &Store, items: &[T], old: Option<ChunkId>) -> (ChunkId, u64) {
        let session = WriteSession::new(store);
        let mut builder = TreeBuilder::new(&session, old);
        items.iter().for_each(|item| builder.push(item.clone()).unwrap());
        let root = builder.finish().unwrap();
        session.seal().unwrap();
        (root, session.added_bytes())
    }

    fn piece(n: u64) -> Piece {
        Piece::Data { id: ChunkId::of(&n.to_le_bytes()), len: 10 + n % 3 }
    }

    fn entry(n: usize) -> Entry {
        Entry {
            path: format!("assets/{n:06}").into_bytes(),
            kind: Kind::Dir,
            mode: 0o755,
            uid: 0,
            gid: 0,
            mtime: Time::default(),
        }
    }

    #[test]
    fn lists_of_any_length_come_back() {
        let store = store();
        for len in [0, 1, 255, 256, 257, 70_000] {
            let pieces: Vec<Piece> = (0..len).map(piece).collect();
            let (root, _) = build(&store, &pieces, None);
            let back: Vec<Piece> = TreeItems::new(&store, &root).unwrap().map(Result::unwrap).collect();
            assert_eq!(back, pieces, "{len}");
        }
    }

    #[test]
    fn a_step_costs_what_changed() {
        let store = store();
        let mut pieces: Vec<Piece> = (0..20_000).map(piece).collect();
        let (mut root, first) = build(&store, &pieces, None);
        assert!(first > 600_000);
        for step in 0..30 {
            pieces[(step * 613) as usize] = piece(100_000 + step);
            let (new_root, added) = build(&store, &pieces, Some(root));
            assert!(added < 1_500, "step {step} added {added}");
            root = new_root;
            let back: Vec<Piece> = TreeItems::new(&store, &root).unwrap().map(Result::unwrap).collect();
            assert!(back == pieces);
        }
        let mut entries: Vec<Entry> = (0..20_000).map(|n| entry(n * 2)).collect();
        let (root, _) = build(&store, &entries, None);
        entries.insert(7_000, entry(13_999));
        let (_, added) = build(&store, &entries, Some(root));
        assert!(added < 1_500, "insertion added {added}");
    }

    #[test]
    fn nodes_of_entries_are_of_some_hundreds_and_end_where_names_say() {
        // The lengths of what is cut from these names, also of what is left at the end.
        let leaves = |names: std::ops::Range<usize>| {
            let (mut ends, mut leaf) = (Vec::new(), Vec::new());
            for n in names {
                leaf.push(entry(n));
                if Entry::ends_leaf(&leaf, 0) {
                    ends.push((n, leaf.len()));
                    leaf.clear();
                }
            }
            ends
        };
        let inner = |names: std::ops::Range<usize>| {
            let (mut ends, mut children) = (Vec::new(), Vec::new());
            for n in names {
                children.push(Child { id: ChunkId::of(b""), weight: 1, first_key: entry(n).path });
                if Entry::ends_inner(&children) {
                    ends.push((n, children.len()));
                    children.clear();
                }
            }
            ends
        };
        for (all, moved) in [(leaves(0..50_000), leaves(77..50_000)), (inner(0..50_000), inner(77..50_000))] {
            assert!(all.iter().all(|(_, len)| (32..=1024).contains(len)), "{all:?}");
            assert!((50_000 / 400..50_000 / 200).contains(&all.len()), "{} nodes", all.len());
            let ends = |of: &[(usize, usize)]| of.iter().map(|(end, _)| *end).collect::<Vec<_>>();
            assert!(ends(&moved).ends_with(&ends(&all)[all.len() / 2..]), "a change at the front moves few ends");
        }
        let long = |_| Child { id: ChunkId::of(b""), weight: 1, first_key: vec![b'k'; 600 << 10] };
        assert!(!Entry::ends_inner(&[long(1)]), "one child is no node");
        assert!(Entry::ends_inner(&[1, 2].map(long)));
        assert!(!Entry::ends_leaf(&[entry(1)], (256 << 10) - 1) && Entry::ends_leaf(&[entry(1)], 256 << 10));
    }

    #[test]
    fn long_names_and_targets_make_no_node_too_long() {
        let store = store();
        let link = |n: usize| Entry { kind: Kind::Symlink { target: vec![b't'; 4095] }, ..entry(n) };
        let links: Vec<Entry> = (0..3000).map(link).collect();
        let (root, _) = build(&store, &links, None);
        assert_eq!(TreeItems::<Entry>::new(&store, &root).unwrap().count(), 3000);
        let deep = |n: usize| {
            let mut path = entry(n).path;
            path.extend(b"/d".repeat(100 << 10));
            Entry { path, ..entry(n) }
        };
        let (root, _) = build(&store, &(0..100).map(deep).collect::<Vec<_>>(), None);
        assert!(TreeItems::<Entry>::new(&store, &root).unwrap().all(|entry| entry.is_ok()));
        assert_eq!(TreeItems::<Entry>::new(&store, &root).unwrap().count(), 100);
    }

    #[test]
    fn a_list_that_names_a_node_twice_ends_at_once() {
        let store = store();
        let inner = |kind: u8, root: ChunkId, level: u8, first_key: &[u8]| {
            let child = Child { id: root, weight: 1, first_key: first_key.to_vec() };
            let children = vec![child; 4096];
            let bytes = match kind {
                1 => node::encode_inner::<Piece>(level, &children),
                _ => node::encode_inner::<Entry>(level, &children),
            };
            let session = WriteSession::new(&store);
            let id = session.put(&bytes, &[]).unwrap();
            session.seal().unwrap();
            id
        };
        let leaf = |bytes: Vec<u8>| {
            let session = WriteSession::new(&store);
            let id = session.put(&bytes, &[]).unwrap();
            session.seal().unwrap();
            id
        };
        let tower = |kind, mut root, key: &[u8]| {
            for level in 1..=8 {
                root = inner(kind, root, level, key);
            }
            root
        };
        for (what, root) in [
            ("entries", tower(2, leaf(node::encode_leaf(&[entry(1)])), &entry(1).path)),
            ("no entries", tower(2, leaf(node::encode_leaf::<Entry>(&[])), b"")),
        ] {
            let items = TreeItems::<Entry>::new(&store, &root);
            let ended = items.and_then(|items| items.take(5000).collect::<Result<Vec<_>, _>>());
            assert!(matches!(ended, Err(Error::Corrupt { .. })), "{what}");
            // As the parent of a new list it costs space, and no time.
            let (again, _) = build(&store, &[entry(1), entry(2)], Some(root));
            assert_eq!(TreeItems::<Entry>::new(&store, &again).unwrap().count(), 2);
        }
        let skewed = inner(2, leaf(node::encode_leaf(&[entry(1)])), 3, &entry(1).path);
        let first = TreeItems::<Entry>::new(&store, &skewed).and_then(|mut items| items.next().transpose());
        assert!(matches!(first, Err(Error::Corrupt { .. })), "a leaf where a node of a higher level should stand");
        let hollow = tower(1, leaf(node::encode_leaf(&[Piece::Hole { len: 0 }])), b"");
        assert!(matches!(TreeItems::<Piece>::new(&store, &hollow).map(drop), Err(Error::Corrupt { .. })));
    }

    #[test]
    fn seeking_finds_the_place() {
        let store = store();
        let pieces: Vec<Piece> = (0..70_000).map(piece).collect();
        let (root, _) = build(&store, &pieces, None);
        let mut starts = Vec::new();
        let mut at = 0;
        for piece in &pieces {
            starts.push(at);
            at += piece.len();
        }
        for n in [0usize, 1, 255, 256, 65_535, 65_536, 69_999] {
            let (items, passed) = TreeItems::<Piece>::from_weight(&store, &root, starts[n]).unwrap();
            let skip = starts.iter().position(|s| *s == passed).unwrap();
            assert!(skip <= n && n - skip <= 256);
            assert_eq!(items.map(Result::unwrap).next(), Some(pieces[skip]));
        }
        let entries: Vec<Entry> = (0..5_000).map(|n| entry(n * 2)).collect();
        let (root, _) = build(&store, &entries, None);
        for n in [0, 1, 2, 4_999, 5_000, 9_998, 9_999] {
            let found = TreeItems::from_path(&store, &root, &entry(n).path).unwrap().next().transpose().unwrap();
            assert_eq!(found, (n <= 9_998).then(|| entry(n.div_ceil(2) * 2)), "{n}");
        }
    }
}
