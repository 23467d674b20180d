//! Long lists as trees of chunks.

mod build;
pub mod diff;
pub(crate) mod edit;
mod items;
pub(crate) mod visit;

pub use build::{Cut, TreeBuilder};
pub use items::TreeItems;

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
    use crate::testing::memory_backend::memory;
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
            xattrs: Vec::new(),
        }
    }

    #[test]
    fn lists_of_any_length_come_back() {
        let store = store();
        // Where the last leaf, or the last inner node, is just full too.
        for len in [0, 1, 255, 256, 257, 256 * 256, 70_000] {
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
