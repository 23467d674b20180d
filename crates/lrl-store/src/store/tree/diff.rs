//! What differs between two lists, read side by side. Where both name the same node, neither reads it: comparing two snapshots costs
//! what changed from one to the other.

use std::cmp::Ordering;
use std::ops::Range;

use super::items::TreeItems;
use crate::error::Result;
use crate::format::entry::{Entry, Piece, compare_paths};
use crate::format::node::{Item, Node};
use crate::id::ChunkId;
use crate::store::handle::Store;

/// An entry that is not the same in two lists.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// Only in the older list.
    Removed(Entry),
    /// Only in the newer list.
    Added(Entry),
    /// In both, with another kind, content or metadata: the older, then the newer.
    Changed(Entry, Entry),
}

/// Calls `visit` with everything that differs between the lists at `old` and `new` (`None`: an empty list), in list order.
pub fn entries<E: From<crate::error::Error>>(
    store: &Store,
    old: Option<&ChunkId>,
    new: Option<&ChunkId>,
    visit: &mut dyn FnMut(Change) -> Result<(), E>,
) -> Result<(), E> {
    let mut old = TreeItems::<Entry>::above(store, old)?;
    let mut new = TreeItems::<Entry>::above(store, new)?;
    loop {
        skip_common(&mut old, &mut new)?;
        let order = match (old.peek()?, new.peek()?) {
            (None, None) => return Ok(()),
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some(a), Some(b)) => compare_paths(&a.path, &b.path),
        };
        match order {
            Ordering::Less => old.leaf.next().map_or(Ok(()), |a| visit(Change::Removed(a)))?,
            Ordering::Greater => new.leaf.next().map_or(Ok(()), |b| visit(Change::Added(b)))?,
            Ordering::Equal => match (old.leaf.next(), new.leaf.next()) {
                (Some(a), Some(b)) if a != b => visit(Change::Changed(a, b))?,
                _ => {}
            },
        }
    }
}

/// Sums up the bytes of `new` that are not the same chunk at the same place in `old`.
pub(crate) fn changed_bytes(store: &Store, old: &ChunkId, new: &ChunkId) -> Result<u64> {
    let mut changed = 0u64;
    changed_ranges(store, old, new, &mut |range| changed = changed.saturating_add(range.end - range.start))?;
    Ok(changed)
}

/// Calls `visit` with the places of the bytes of `new` that are not the same chunk at the same place in `old`, piece by piece, ascending.
pub(crate) fn changed_ranges(
    store: &Store,
    old: &ChunkId,
    new: &ChunkId,
    visit: &mut dyn FnMut(Range<u64>),
) -> Result<()> {
    let mut old = TreeItems::<Piece>::above(store, Some(old))?;
    let mut new = TreeItems::<Piece>::above(store, Some(new))?;
    let (mut old_at, mut new_at) = (0u64, 0u64);
    loop {
        if old_at == new_at {
            let skipped = skip_common(&mut old, &mut new)?;
            (old_at, new_at) = (old_at.saturating_add(skipped), new_at.saturating_add(skipped));
        }
        let Some(piece) = new.peek()?.copied() else { return Ok(()) };
        match old.peek()?.copied() {
            Some(before) if old_at < new_at => {
                old_at = old_at.saturating_add(before.len());
                old.leaf.next();
                continue;
            }
            Some(before) if old_at == new_at && before == piece => {
                old_at = old_at.saturating_add(before.len());
                old.leaf.next();
            }
            _ => visit(new_at..new_at.saturating_add(piece.len())),
        }
        new_at = new_at.saturating_add(piece.len());
        new.leaf.next();
    }
}

/// Moves both lists past nodes that they share, as long as both are before one; returns the weight of these nodes.
fn skip_common<T: Item>(a: &mut TreeItems<'_, T>, b: &mut TreeItems<'_, T>) -> Result<u64> {
    let mut skipped = 0u64;
    while a.leaf.as_slice().is_empty() && b.leaf.as_slice().is_empty() {
        match (a.next_node(), b.next_node()) {
            (Some(x), Some(y)) if x == y => {
                let weight = a
                    .stack
                    .last()
                    .and_then(|(_, children)| children.as_slice().first())
                    .map_or(0, |child| child.weight);
                skipped = skipped.saturating_add(weight);
                a.skip_node();
                b.skip_node();
            }
            (Some((0, _)), Some((0, _))) | (None, _) | (_, None) => break,
            (Some((level, _)), Some((other, _))) => {
                if level >= other {
                    a.open_node()?;
                }
                if other >= level {
                    b.open_node()?;
                }
            }
        }
    }
    Ok(skipped)
}

impl<'s, T: Item> TreeItems<'s, T> {
    /// Starts above the first item, having read the root only.
    fn above(store: &'s Store, root: Option<&ChunkId>) -> Result<Self> {
        let mut items =
            Self { store, stack: Vec::new(), leaf: Vec::new().into_iter(), last_key: Vec::new(), failed: false };
        if let Some(root) = root {
            match items.node(root)? {
                Node::Leaf(leaf) => items.leaf = leaf.into_iter(),
                Node::Inner(below, children) => items.stack.push((below, children.into_iter())),
            }
        }
        Ok(items)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use super::{Change, TreeItems, changed_bytes, changed_ranges, entries};
    use crate::error::Error;
    use crate::format::entry::{Entry, Kind, Piece};
    use crate::fs::lock::LockMode;
    use crate::id::ChunkId;
    use crate::progress::Silent;
    use crate::store::tree::{Cut, TreeBuilder};
    use crate::store::write::WriteSession;
    use crate::store::{Store, create};
    use crate::testing::memory_backend::{Fault, MemoryFs};
    use crate::time::Time;
    use proptest::prelude::*;

    fn store() -> Store {
        store_on(&MemoryFs::new())
    }

    fn store_on(disk: &MemoryFs) -> Store {
        create(&disk.storage(), [1; 32]).unwrap();
        Store::open(Arc::new(disk.storage()), LockMode::Shared, Duration::ZERO, &Silent).unwrap()
    }

    fn build<T: Cut + Clone>(store: &Store, items: &[T]) -> ChunkId {
        let session = WriteSession::new(store);
        let mut builder = TreeBuilder::new(&session, None);
        items.iter().for_each(|item| builder.push(item.clone()).unwrap());
        let root = builder.finish().unwrap();
        session.seal().unwrap();
        root
    }

    fn entry(n: u32, mode: u32) -> Entry {
        let path = format!("assets/{n:06}").into_bytes();
        Entry { path, kind: Kind::Dir, mode, uid: 0, gid: 0, mtime: Time::default(), xattrs: Vec::new() }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]
        #[test]
        fn differences_are_those_of_plain_lists(
            gone in proptest::collection::btree_set(0u32..3000, 0..40),
            touched in proptest::collection::btree_set(0u32..3000, 0..40),
            len in 0u32..3000,
        ) {
            let store = store();
            let old: Vec<Entry> = (0..len).filter(|n| !gone.contains(&(n + 1))).map(|n| entry(n, 0o755)).collect();
            let new: Vec<Entry> = (0..len).filter(|n| !gone.contains(n))
                .map(|n| entry(n, if touched.contains(&n) { 0o700 } else { 0o755 })).collect();
            let (a, b) = (build(&store, &old), build(&store, &new));
            let mut found = Vec::new();
            entries::<Error>(&store, Some(&a), Some(&b), &mut |change| {
                found.push(change);
                Ok(())
            }).unwrap();
            let mut expected = Vec::new();
            for n in 0..len {
                let (was, is) = (entry(n, 0o755), new.iter().find(|e| e.path == entry(n, 0).path));
                match (old.contains(&was), is) {
                    (true, None) => expected.push(Change::Removed(was)),
                    (false, Some(is)) => expected.push(Change::Added(is.clone())),
                    (true, Some(is)) if *is != was => expected.push(Change::Changed(was, is.clone())),
                    _ => {}
                }
            }
            prop_assert_eq!(found, expected);
        }

        #[test]
        fn changed_bytes_are_those_of_plain_lists(changed in proptest::collection::btree_set(0u64..2000, 0..30), len in 0u64..2000, more in 0u64..600) {
            let store = store();
            let piece = |n: u64| Piece::Data { id: ChunkId::of(&n.to_le_bytes()), len: 100 };
            let old: Vec<Piece> = (0..len).map(piece).collect();
            let new: Vec<Piece> = (0..len + more).map(|n| piece(if changed.contains(&n) { n + 9999 } else { n })).collect();
            let (a, b) = (build(&store, &old), build(&store, &new));
            let bytes = changed_bytes(&store, &a, &b).unwrap();
            let mut places = Vec::new();
            changed_ranges(&store, &a, &b, &mut |range| places.push(range)).unwrap();
            let expected: Vec<_> = (0..len + more).filter(|n| *n >= len || changed.contains(n)).map(|n| n * 100..n * 100 + 100).collect();
            prop_assert_eq!(places, expected);
            let count = changed.iter().filter(|n| **n < len).count() as u64 + more;
            prop_assert_eq!(bytes, count * 100);
        }
    }

    #[test]
    fn lists_of_different_heights_share_what_they_have_in_common() {
        let store = store();
        let piece = |n: u64| Piece::Data { id: ChunkId::of(&n.to_le_bytes()), len: 100 };
        let (few, many) = (4_096, 70_000);
        let pieces: Vec<Piece> = (0..many).map(piece).collect();
        let (short, long) = (build(&store, &pieces[..few as usize]), build(&store, &pieces));
        let level = |root| TreeItems::<Piece>::above(&store, Some(root)).unwrap().stack.last().map(|(level, _)| *level);
        assert!(level(&short).is_some() && level(&short) < level(&long), "{:?}", (level(&short), level(&long)));
        let ranges = |old, new| {
            let mut found = Vec::new();
            changed_ranges(&store, old, new, &mut |range| found.push(range)).unwrap();
            found
        };
        assert_eq!(ranges(&short, &long), (few..many).map(|n| n * 100..n * 100 + 100).collect::<Vec<_>>());
        assert_eq!(ranges(&long, &short), []);
        assert_eq!(changed_bytes(&store, &short, &long).unwrap(), (many - few) * 100);
        assert_eq!(changed_bytes(&store, &long, &short).unwrap(), 0);
    }

    #[test]
    fn a_small_difference_between_large_lists_reads_few_nodes() {
        let disk = MemoryFs::new();
        let store = store_on(&disk);
        let mut list: Vec<Entry> = (0..20_000).map(|n| entry(n, 0o755)).collect();
        let a = build(&store, &list);
        list[9_000].mode = 0o700;
        let b = build(&store, &list);
        let calls = |from, to| {
            let mut count = 0;
            disk.arm(Fault::Fails, usize::MAX);
            let visit = &mut |_| {
                count += 1;
                Ok(())
            };
            entries::<Error>(&store, from, to, visit).unwrap();
            (count, disk.calls())
        };
        let (one, few) = calls(Some(&a), Some(&b));
        let (every, all) = calls(Some(&a), None);
        assert_eq!((one, every), (1, list.len()));
        assert!(few * 10 < all, "{few} calls for one difference, {all} for all entries");
    }
}
