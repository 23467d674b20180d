//! Walks the items of lists in order, without holding the lists.

use crate::error::{Error, Result};
use crate::format::entry::{Entry, compare_paths};
use crate::format::node::{self, Child, Item, Node};
use crate::id::ChunkId;
use crate::store::handle::Store;

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
    pub(crate) fn from_weight(store: &'s Store, root: &ChunkId, weight: u64) -> Result<(Self, u64)> {
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
    pub(crate) fn from_path(store: &'s Store, root: &ChunkId, path: &[u8]) -> Result<Self> {
        let (mut items, _) = Self::descend(store, root, &mut |children| {
            let after = children.iter().take_while(|child| compare_paths(&child.first_key, path).is_le()).count();
            after.saturating_sub(1)
        })?;
        let rest: Vec<Entry> = items.leaf.by_ref().filter(|entry| compare_paths(&entry.path, path).is_ge()).collect();
        items.leaf = rest.into_iter();
        Ok(items)
    }

    /// Returns what is left of the leaf that is open.
    pub(crate) fn into_leaf(self) -> Vec<Entry> {
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
