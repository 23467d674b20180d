//! Builds lists as trees of chunks, so that a small change to a list changes few nodes.

use std::collections::VecDeque;

use crate::error::Result;
use crate::format::entry::{Entry, Kind, Piece, compare_paths};
use crate::format::node::{self, Child, Item, Node};
use crate::format::xattr;
use crate::id::ChunkId;
use crate::store::handle::Store;
use crate::store::write::WriteSession;

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
            + xattr::bytes_of(&self.xattrs)
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
