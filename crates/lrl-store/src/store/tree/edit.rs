//! Single pieces of a list, read and replaced in time that grows with how many they are: nodes without one stay as they are, unread.

use std::ops::Range;

use crate::error::{Error, Result};
use crate::format::entry::Piece;
use crate::format::node::{self, Child, Node};
use crate::id::ChunkId;
use crate::store::handle::Store;
use crate::store::write::WriteSession;

/// Returns whether a run of the content's bytes has pieces that are wanted.
pub(crate) type Wanted<'w> = dyn Fn(Range<u64>) -> bool + 'w;

/// Calls `visit` with each piece that is wanted and its offset, in order.
///
/// # Errors
/// [`Error::Corrupt`] or [`Error::Missing`] if a node on the way is damaged.
pub(crate) fn visit_pieces(
    store: &Store,
    root: &ChunkId,
    wanted: &Wanted<'_>,
    visit: &mut dyn FnMut(u64, Piece),
) -> Result<()> {
    visit_node(store, (root, None), 0, wanted, visit)
}

fn visit_node(
    store: &Store,
    (id, level): (&ChunkId, Option<u8>),
    mut at: u64,
    wanted: &Wanted<'_>,
    visit: &mut dyn FnMut(u64, Piece),
) -> Result<()> {
    match read(store, id, level)? {
        Node::Leaf(pieces) => {
            for piece in pieces {
                let end = end_of(id, at, piece.len())?;
                if wanted(at..end) {
                    visit(at, piece);
                }
                at = end;
            }
        }
        Node::Inner(below, children) => {
            for child in children {
                let end = end_of(id, at, child.weight)?;
                if wanted(at..end) {
                    visit_node(store, (&child.id, Some(below)), at, wanted, visit)?;
                }
                at = end;
            }
        }
    }
    Ok(())
}

/// Replaces each piece that is wanted by what `replace` makes of its offset and itself, of the same length; returns the new root. The nodes are those
/// that a builder makes of the new list where one made the old.
///
/// # Errors
/// As [`visit_pieces`], those of `replace`, and whatever keeps nodes from being written.
pub(crate) fn replace_pieces(
    session: &WriteSession<'_>,
    root: &ChunkId,
    wanted: &Wanted<'_>,
    replace: &mut dyn FnMut(u64, Piece) -> Result<Piece>,
) -> Result<ChunkId> {
    replace_in_node(session, (root, None), 0, wanted, replace)
}

fn replace_in_node(
    session: &WriteSession<'_>,
    (id, level): (&ChunkId, Option<u8>),
    mut at: u64,
    wanted: &Wanted<'_>,
    replace: &mut dyn FnMut(u64, Piece) -> Result<Piece>,
) -> Result<ChunkId> {
    let bytes = match read(session.store(), id, level)? {
        Node::Leaf(mut pieces) => {
            for piece in &mut pieces {
                let end = end_of(id, at, piece.len())?;
                if wanted(at..end) {
                    *piece = replace(at, *piece)?;
                }
                at = end;
            }
            node::encode_leaf(&pieces)
        }
        Node::Inner(below, mut children) => {
            for Child { id: child, weight, .. } in &mut children {
                let end = end_of(id, at, *weight)?;
                if wanted(at..end) {
                    *child = replace_in_node(session, (child, Some(below)), at, wanted, replace)?;
                }
                at = end;
            }
            node::encode_inner::<Piece>(below + 1, &children)
        }
    };
    let new = session.put(&bytes, &[*id])?;
    session.store().cache_node(&new, &bytes);
    Ok(new)
}

/// Reads a node; below another it is exactly one level lower, so there is no cycle and no unbounded depth.
fn read(store: &Store, id: &ChunkId, expected: Option<u8>) -> Result<Node<Piece>> {
    let node = node::decode::<Piece>(&store.read_node(id)?, &format!("node {id}"))?;
    let level = match &node {
        Node::Leaf(_) => 0,
        Node::Inner(below, _) => below + 1,
    };
    match expected {
        Some(expected) if expected != level => Err(Error::corrupt(format!("node {id}"), "stands at another level")),
        _ => Ok(node),
    }
}

fn end_of(id: &ChunkId, at: u64, len: u64) -> Result<u64> {
    at.checked_add(len).ok_or_else(|| Error::corrupt(format!("node {id}"), "is impossibly long"))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::sync::Arc;
    use std::time::Duration;

    use proptest::prelude::*;

    use super::{replace_pieces, visit_pieces};
    use crate::format::entry::Piece;
    use crate::fs::lock::LockMode;
    use crate::id::ChunkId;
    use crate::progress::Silent;
    use crate::store::tree::TreeBuilder;
    use crate::store::write::WriteSession;
    use crate::store::{Store, create};
    use crate::testing::memory_backend::memory;

    const LEN: u64 = 64;

    fn build(store: &Store, pieces: &[Piece]) -> ChunkId {
        let session = WriteSession::new(store);
        let mut builder = TreeBuilder::new(&session, None);
        pieces.iter().for_each(|piece| builder.push(*piece).unwrap());
        let root = builder.finish().unwrap();
        session.seal().unwrap();
        root
    }

    fn piece(n: u64, len: u64) -> Piece {
        Piece::Data { id: ChunkId::of(&n.to_le_bytes()), len }
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]
        #[test]
        fn an_edited_list_is_the_one_that_a_builder_makes(count in 1u64..70_000, changed: BTreeSet<u64>) {
            let backend = memory();
            create(&backend, [1; 32]).unwrap();
            let store = Store::open(Arc::new(backend), LockMode::Shared, Duration::ZERO, &Silent).unwrap();
            let changed: BTreeSet<u64> = changed.into_iter().map(|n| n % count).collect();
            // The last one is shorter.
            let len = |n: u64| if n + 1 == count { LEN - 7 } else { LEN };
            let mut pieces: Vec<Piece> = (0..count).map(|n| piece(n, len(n))).collect();
            let root = build(&store, &pieces);
            let wanted = |bytes: std::ops::Range<u64>| {
                changed.range(bytes.start / LEN..bytes.end.div_ceil(LEN)).next().is_some()
            };
            let mut seen = Vec::new();
            visit_pieces(&store, &root, &wanted, &mut |at, piece| seen.push((at, piece))).unwrap();
            let expected: Vec<_> = changed.iter().map(|n| (n * LEN, pieces[*n as usize])).collect();
            prop_assert_eq!(seen, expected);
            let session = WriteSession::new(&store);
            let new = |at: u64, old: Piece| Ok(piece(1 << 40 | at, old.len()));
            let edited = replace_pieces(&session, &root, &wanted, &mut |at, old| new(at, old)).unwrap();
            session.seal().unwrap();
            changed.iter().for_each(|n| pieces[*n as usize] = piece(1 << 40 | (n * LEN), len(*n)));
            prop_assert_eq!(edited, build(&store, &pieces));
        }
    }
}
