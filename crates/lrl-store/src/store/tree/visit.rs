//! The one walk over everything that a list refers to: its nodes, the chunks of its items, and the lists below them. What is done at each is
//! its visitor's: prune marks, check examines, a backup asks what its parent depends on.

use crate::error::{Error, Result};
use crate::format::entry::{Entry, Piece};
use crate::format::node::{self, Child, Item, Node};
use crate::format::references::{Reference, References};
use crate::id::ChunkId;

/// What lists hold.
pub(crate) trait ListItem: Item + References {
    /// Returns the entry; `None` for a piece.
    fn as_entry(&self) -> Option<&Entry>;
}

impl ListItem for Piece {
    fn as_entry(&self) -> Option<&Entry> {
        None
    }
}

impl ListItem for Entry {
    fn as_entry(&self) -> Option<&Entry> {
        Some(self)
    }
}

/// A node that the walk comes to, as what is above it describes it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct NodeAt<'a> {
    pub id: &'a ChunkId,
    /// Its level; `None` for a root.
    pub level: Option<u8>,
    /// The sum of the weights below it.
    pub weight: u64,
    /// The key of the first item below it; `None` for a root, and in lists of pieces.
    pub first_key: Option<&'a [u8]>,
    /// Whether it is of a list of pieces, else of entries.
    pub of_pieces: bool,
}

/// What is done on the way. After an [`Visitor::enter`] that returned true exactly one of [`Visitor::leave`], [`Visitor::unreadable`] and
/// [`Visitor::malformed`] follows for that node, unless something fails.
pub(crate) trait Visitor {
    /// Ends the walk.
    type Stop;

    /// Comes to a node. Returns whether to go on into it.
    fn enter(&mut self, node: &NodeAt<'_>) -> Result<bool, Self::Stop>;

    /// Reads the node, verified.
    fn read(&mut self, node: &NodeAt<'_>) -> Result<Vec<u8>>;

    /// The node cannot be read; what is below it is not visited.
    fn unreadable(&mut self, node: &NodeAt<'_>, error: Error) -> Result<(), Self::Stop>;

    /// Compares the node's content with what is said of it above, apart from its level.
    fn verify<T: ListItem>(&self, node: &NodeAt<'_>, content: &Node<T>) -> Result<()> {
        let _ = (node, content);
        Ok(())
    }

    /// The node does not decode, or is not what is said above; what is below it is not visited.
    fn malformed(&mut self, node: &NodeAt<'_>, error: Error) -> Result<(), Self::Stop>;

    /// Comes to an entry, before what it refers to.
    fn entry(&mut self, entry: &Entry) -> Result<(), Self::Stop> {
        let _ = entry;
        Ok(())
    }

    /// Comes to a chunk of contents.
    fn chunk(&mut self, id: &ChunkId, len: u64) -> Result<(), Self::Stop>;

    /// Everything below the node was visited.
    fn leave(&mut self, node: &NodeAt<'_>) -> Result<(), Self::Stop>;
}

/// Visits a list and all that it refers to, in order, depth first. `weight` is what the caller knows of the whole: bytes of a list of
/// pieces, the number of entries else.
pub(crate) fn visit<T: ListItem, V: Visitor>(root: &ChunkId, weight: u64, visitor: &mut V) -> Result<(), V::Stop> {
    visit_node::<T, V>(&root_of::<T>(root, weight), visitor)
}

fn root_of<T: ListItem>(id: &ChunkId, weight: u64) -> NodeAt<'_> {
    NodeAt { id, level: None, weight, first_key: None, of_pieces: T::KIND == Piece::KIND }
}

// No deeper than `MAX_LEVEL` for each of two lists: a node is exactly one level below the one above it.
fn visit_node<T: ListItem, V: Visitor>(at: &NodeAt<'_>, visitor: &mut V) -> Result<(), V::Stop> {
    if !visitor.enter(at)? {
        return Ok(());
    }
    let bytes = match visitor.read(at) {
        Ok(bytes) => bytes,
        Err(error) => return visitor.unreadable(at, error),
    };
    let content = node::decode::<T>(&bytes, &format!("node {}", at.id));
    drop(bytes);
    let content = content
        .and_then(|content| visitor.verify(at, &content).map(|()| content))
        .and_then(|content| is_at_its_level(at, &content).map(|()| content));
    match content {
        Err(error) => return visitor.malformed(at, error),
        Ok(Node::Leaf(items)) => {
            for item in &items {
                visit_item(item, visitor)?;
            }
        }
        Ok(Node::Inner(below, children)) => {
            for Child { id, weight, first_key } in &children {
                let first_key = (!first_key.is_empty()).then_some(first_key.as_slice());
                let child = NodeAt { id, level: Some(below), weight: *weight, first_key, of_pieces: at.of_pieces };
                visit_node::<T, V>(&child, visitor)?;
            }
        }
    }
    visitor.leave(at)
}

fn visit_item<T: ListItem, V: Visitor>(item: &T, visitor: &mut V) -> Result<(), V::Stop> {
    if let Some(entry) = item.as_entry() {
        visitor.entry(entry)?;
    }
    item.each_reference(&mut |reference| match reference {
        Reference::Chunk { id, len } => visitor.chunk(id, len),
        Reference::Pieces { root, size } => visit_node::<Piece, V>(&root_of::<Piece>(root, size), visitor),
    })
}

fn is_at_its_level<T>(at: &NodeAt<'_>, content: &Node<T>) -> Result<()> {
    let level = match content {
        Node::Leaf(_) => 0,
        Node::Inner(below, _) => below + 1,
    };
    match at.level {
        Some(stated) if stated != level => Err(Error::corrupt(format!("node {}", at.id), "stands at another level")),
        _ => Ok(()),
    }
}
