//! Nodes of the trees that hold long lists: pieces of a file or database image, and upload entries. A node is an ordinary chunk.

use super::bytes::{Reader, put_blob, put_varint};
use super::entry::{Entry, Piece};
use crate::error::Result;
use crate::id::ChunkId;

/// What a tree's leaves hold.
pub trait Item: Sized {
    /// First byte of the node.
    const KIND: u8;
    /// Appends the item.
    fn encode(&self, out: &mut Vec<u8>);
    /// Reads an item.
    fn decode(reader: &mut Reader<'_>) -> Result<Self>;
    /// Returns how much the item adds to its tree's total: bytes of a piece, 1 for an entry.
    fn weight(&self) -> u64;
    /// Returns what a child is found by: an entry's path, nothing for a piece.
    fn key(&self) -> &[u8];
}

impl Item for Piece {
    const KIND: u8 = 1;
    fn encode(&self, out: &mut Vec<u8>) {
        self.encode(out);
    }
    fn decode(reader: &mut Reader<'_>) -> Result<Self> {
        Self::decode(reader)
    }
    fn weight(&self) -> u64 {
        self.len()
    }
    fn key(&self) -> &[u8] {
        &[]
    }
}

impl Item for Entry {
    const KIND: u8 = 2;
    fn encode(&self, out: &mut Vec<u8>) {
        self.encode(out);
    }
    fn decode(reader: &mut Reader<'_>) -> Result<Self> {
        Self::decode(reader)
    }
    fn weight(&self) -> u64 {
        1
    }
    fn key(&self) -> &[u8] {
        &self.path
    }
}

/// A reference from an inner node to a node one level below.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Child {
    /// The node.
    pub id: ChunkId,
    /// Sum of the weights below it.
    pub weight: u64,
    /// Key of the first item below it.
    pub first_key: Vec<u8>,
}

/// One decoded node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Node<T> {
    /// Items, in order.
    Leaf(Vec<T>),
    /// Nodes of the given level below this one (0 = leaves), in order.
    Inner(u8, Vec<Child>),
}

/// Trees are never higher than this: 256 to the power of 8 items are more than any disk holds.
pub(crate) const MAX_LEVEL: u8 = 8;

/// A node of more items would take more memory than its bytes do.
pub(crate) const MAX_ITEMS: u64 = 4096;

/// Encodes a leaf.
pub fn encode_leaf<T: Item>(items: &[T]) -> Vec<u8> {
    let mut out = vec![T::KIND, 0];
    put_varint(&mut out, items.len() as u64);
    items.iter().for_each(|item| item.encode(&mut out));
    out
}

/// Encodes an inner node at `level` (1 or more).
pub fn encode_inner<T: Item>(level: u8, children: &[Child]) -> Vec<u8> {
    let mut out = vec![T::KIND, level];
    put_varint(&mut out, children.len() as u64);
    for child in children {
        out.extend_from_slice(child.id.as_bytes());
        put_varint(&mut out, child.weight);
        put_blob(&mut out, &child.first_key);
    }
    out
}

/// Decodes a node of a tree of `T`.
pub fn decode<T: Item>(bytes: &[u8], object: &str) -> Result<Node<T>> {
    let mut reader = Reader::new(bytes, object);
    if reader.u8()? != T::KIND {
        return Err(reader.malformed("is a node of another kind of list"));
    }
    let level = reader.u8()?;
    let count = reader.varint()?;
    if count > MAX_ITEMS {
        return Err(reader.malformed("holds more items than a node may"));
    }
    let node = if level == 0 {
        let mut items = Vec::new();
        for _ in 0..count {
            items.push(T::decode(&mut reader)?);
        }
        Node::Leaf(items)
    } else {
        let mut children = Vec::new();
        for _ in 0..count {
            let id = ChunkId::from_bytes(reader.array()?);
            children.push(Child { id, weight: reader.varint()?, first_key: reader.blob()?.to_vec() });
        }
        if level > MAX_LEVEL || children.is_empty() {
            return Err(reader.malformed("is an impossible inner node"));
        }
        Node::Inner(level - 1, children)
    };
    reader.finish()?;
    Ok(node)
}

#[cfg(test)]
mod tests {
    use super::{Child, Node, decode, encode_inner, encode_leaf};
    use crate::format::entry::{Content, Entry, Kind, Piece};
    use crate::id::ChunkId;
    use crate::time::Time;
    use proptest::prelude::*;

    fn entry() -> impl Strategy<Value = Entry> {
        let kind = (0u8..5, any::<[u8; 32]>(), 0u64..1 << 40, proptest::collection::vec(1u8..255, 1..20)).prop_map(
            |(kind, id, len, target)| {
                let id = ChunkId::from_bytes(id);
                match kind {
                    0 => Kind::Dir,
                    1 => Kind::File {
                        size: len + 7,
                        content: Content::Inline(vec![Piece::Data { id, len }, Piece::Hole { len: 7 }]),
                    },
                    2 => Kind::File { size: len, content: Content::Tree(id) },
                    3 => Kind::Symlink { target },
                    _ => Kind::Hardlink { target },
                }
            },
        );
        (
            kind,
            "[a-z\u{e9}]{1,12}(/[a-z.]{3,9}){0,3}",
            0u32..0o10000,
            any::<u32>(),
            any::<u32>(),
            any::<i64>(),
            0u32..1_000_000_000,
            proptest::collection::btree_map("(user|system)\\.[a-z]{1,9}", any::<Vec<u8>>(), 0..4),
        )
            .prop_map(|(kind, path, mode, uid, gid, secs, nanos, xattrs)| Entry {
                xattrs: match kind {
                    Kind::Dir | Kind::File { .. } => {
                        xattrs.into_iter().map(|(name, value)| (name.into_bytes(), value)).collect()
                    }
                    _ => Vec::new(),
                },
                path: path.into_bytes(),
                kind,
                mode,
                uid,
                gid,
                mtime: Time { secs, nanos },
            })
            .prop_filter("clean", |e| crate::format::entry::is_clean_path(&e.path))
    }

    #[test]
    fn a_node_that_would_burst_is_refused() {
        // Two bytes that make an item of 48: four megabytes of them would take two hundred.
        let bomb = encode_leaf(&vec![Piece::Hole { len: 0 }; 5000]);
        assert!(decode::<Piece>(&bomb, "t").unwrap_err().to_string().contains("more items"));
        assert!(decode::<Piece>(&encode_leaf(&vec![Piece::Hole { len: 1 }; 4096]), "t").is_ok());
    }

    fn dir(xattrs: Vec<(Vec<u8>, Vec<u8>)>) -> Entry {
        let path = b"assets".to_vec();
        Entry { path, kind: Kind::Dir, mode: 0o755, uid: 0, gid: 0, mtime: Time::default(), xattrs }
    }

    #[test]
    fn attributes_take_no_byte_where_there_are_none_and_a_kind_of_their_own_where_there_are() {
        let (without, with) =
            (encode_leaf(&[dir(vec![])]), encode_leaf(&[dir(vec![(b"user.a".to_vec(), b"1".to_vec())])]));
        assert_eq!((without[10], with[10]), (0, 0x80));
        assert_eq!(with.len(), without.len() + 3 + 10);
        let at = without.len();
        assert_eq!(with[at..at + 3], [1, 1, 10]);
        for (at, byte, why) in
            [(at, 2, "extra 1 of 2"), (at + 1, 9, "extra 9 of 1"), (at, 0, "no extras"), (at + 3, 0, "or none")]
        {
            let mut changed = with.clone();
            changed[at] = byte;
            let error = decode::<Entry>(&changed, "t").unwrap_err();
            assert!(error.to_string().contains(why), "{error}");
        }
    }

    #[test]
    fn an_entry_with_ten_thousand_attributes_and_a_link_with_one_are_refused() {
        let many = (0..10_000).map(|n| (format!("user.{n:05}").into_bytes(), Vec::new())).collect();
        let error = decode::<Entry>(&encode_leaf(&[dir(many)]), "t").unwrap_err();
        assert!(error.to_string().contains("more extended attributes"), "{error}");
        let link =
            Entry { kind: Kind::Symlink { target: b"x".to_vec() }, ..dir(vec![(b"user.a".to_vec(), Vec::new())]) };
        assert!(decode::<Entry>(&encode_leaf(&[link]), "t").unwrap_err().to_string().contains("a link"));
    }

    proptest! {
        #[test]
        fn nodes_round_trip(entries in proptest::collection::vec(entry(), 0..40), id: [u8; 32]) {
            prop_assert_eq!(decode::<Entry>(&encode_leaf(&entries), "t").unwrap(), Node::Leaf(entries));
            let children = vec![Child { id: ChunkId::from_bytes(id), weight: 9, first_key: b"k".to_vec() }];
            prop_assert_eq!(decode::<Piece>(&encode_inner::<Piece>(2, &children), "t").unwrap(), Node::Inner(1, children));
        }

        #[test]
        fn any_bytes_are_read_or_refused(mut bytes: Vec<u8>, kind in 1u8..3) {
            let _ = decode::<Entry>(&bytes, "t");
            bytes.insert(0, kind);
            let _ = decode::<Entry>(&bytes, "t");
            let _ = decode::<Piece>(&bytes, "t");
        }
    }
}
