//! Chunks and lists as no writer makes them.

use super::{new, open, put};
use crate::compression::{Encoding, MAX_CHUNK, compress_delta};
use crate::error::Error;
use crate::format::entry::{Content, Piece};
use crate::format::pack::Record;
use crate::id::ChunkId;
use crate::ops::tests::faulty::flip_byte;
use crate::store::Store;
use crate::store::tree::TreeBuilder;
use crate::store::write::WriteSession;

/// Lists a delta that a writer would not make: nobody looks whether its base is there.
fn forge(store: &Store, plain: &[u8], base: &[u8]) -> ChunkId {
    let session = WriteSession::new(store);
    let bytes = compress_delta(plain, &[base]).unwrap();
    let (encoded_len, plain_len) = (bytes.len() as u32, plain.len() as u32);
    let (id, bases) = (ChunkId::of(plain), vec![ChunkId::of(base)]);
    let record = Record { id, encoded_len, plain_len, encoding: Encoding::Delta, depth: 1, bases };
    session.append(&bytes, record).unwrap();
    session.seal().unwrap();
    id
}

#[test]
fn deltas_of_each_other_end_as_an_error() {
    let backend = new();
    let store = open(&backend);
    let (a, b) = (vec![1; 5000], vec![2; 5000]);
    let id = forge(&store, &a, &b);
    assert!(matches!(store.read(&id), Err(Error::Missing { .. })), "its base is nowhere");
    forge(&store, &b, &a);
    for id in [id, ChunkId::of(&b)] {
        let read = store.read(&id);
        assert!(matches!(read, Err(Error::Corrupt { .. })), "{read:?}");
    }
    // A copy that is whole ends the chain.
    let whole = open(&backend);
    let session = WriteSession::new(&whole);
    let (encoded_len, plain_len) = (a.len() as u32, a.len() as u32);
    let record = Record { id, encoded_len, plain_len, encoding: Encoding::Stored, depth: 0, bases: Vec::new() };
    session.append(&a, record).unwrap();
    session.seal().unwrap();
    assert_eq!(open(&backend).read(&id).unwrap(), a);
    assert_eq!(open(&backend).read(&ChunkId::of(&b)).unwrap(), b);
}

fn read(store: &Store, content: &Content, offset: u64, len: u64) -> Result<Vec<u8>, Error> {
    let mut found = Vec::new();
    let mut sink = |bytes: &[u8]| {
        assert!(!bytes.is_empty(), "a run without bytes");
        found.extend_from_slice(bytes);
        Ok(())
    };
    store.read_content(content, offset, len, &mut sink).map(|()| found)
}

#[test]
fn any_stretch_of_contents_is_read_holes_as_zeros() {
    let store = open(&new());
    let ids = put(&store, &[b"abc", b"defg"]);
    let hole = 70_000;
    let pieces =
        vec![Piece::Data { id: ids[0], len: 3 }, Piece::Hole { len: hole }, Piece::Data { id: ids[1], len: 4 }];
    let session = WriteSession::new(&store);
    let mut builder = TreeBuilder::new(&session, None);
    pieces.iter().for_each(|piece| builder.push(*piece).unwrap());
    let tree = Content::Tree(builder.finish().unwrap());
    session.seal().unwrap();
    let plain = [b"abc".as_slice(), &vec![0; hole as usize], b"defg"].concat();
    let end = plain.len() as u64;
    for content in [Content::Inline(pieces), tree] {
        for (from, to) in [
            (0, end),
            (0, 0),
            (0, 1),
            (2, 3),
            (2, 5),
            (3, 3 + hole),
            (3, end),
            (end - 5, end),
            (end - 1, end),
            (end, end),
        ] {
            let found = read(&store, &content, from, to - from).unwrap();
            assert!(found == plain[from as usize..to as usize], "{from}..{to}");
        }
        for (from, to) in [(0, end + 1), (end, end + 1), (end + 1, end + 2)] {
            assert!(matches!(read(&store, &content, from, to - from), Err(Error::Corrupt { .. })), "{from}..{to}");
        }
    }
}

#[test]
fn pieces_that_lie_about_their_chunks_are_corrupt() {
    let store = open(&new());
    let id = put(&store, &[b"abc"])[0];
    for len in [2, 4, MAX_CHUNK as u64 + 1, u64::MAX] {
        let content = Content::Inline(vec![Piece::Data { id, len }]);
        let found = read(&store, &content, 0, 2);
        assert!(matches!(found, Err(Error::Corrupt { .. })), "{len}: {found:?}");
    }
    let endless = Content::Inline(vec![Piece::Hole { len: u64::MAX }, Piece::Data { id, len: 3 }]);
    let walked = store.each_piece(&endless, 0, &mut |_, _| Ok(true));
    assert!(matches!(walked, Err(Error::Corrupt { .. })), "{walked:?}");
    let mut seen = Vec::new();
    let content = Content::Inline(vec![Piece::Data { id, len: 3 }, Piece::Hole { len: 5 }, Piece::Data { id, len: 3 }]);
    for (from, expected) in [(0, vec![0, 3, 8]), (2, vec![0, 3, 8]), (3, vec![3, 8]), (8, vec![8]), (11, vec![])] {
        seen.clear();
        store
            .each_piece(&content, from, &mut |at, _| {
                seen.push(at);
                Ok(true)
            })
            .unwrap();
        assert_eq!(seen, expected, "from {from}");
    }
}

#[test]
fn a_list_that_is_not_there_whole_depends_on_what_may_go() {
    let backend = new();
    let store = open(&backend);
    let plain = put(&store, &[b"no node"])[0];
    let session = WriteSession::new(&store);
    let mut builder = TreeBuilder::new(&session, None);
    builder.push(Piece::Data { id: plain, len: 7 }).unwrap();
    let whole = builder.finish().unwrap();
    let mut builder = TreeBuilder::new(&session, None);
    builder.push(Piece::Data { id: ChunkId::of(b"nowhere"), len: 7 }).unwrap();
    let lacking = builder.finish().unwrap();
    session.seal().unwrap();
    let depends = |store: &Store, root: &ChunkId| WriteSession::new(store).depends_on_pending_deletion(&[root], None);
    assert!(!depends(&store, &whole).unwrap());
    for (what, root) in [("a lost chunk", lacking), ("no root", ChunkId::of(b"none")), ("no node", plain)] {
        assert!(depends(&store, &root).unwrap(), "{what}");
    }
    let place = open(&backend).locate(&whole).unwrap().unwrap();
    flip_byte(&*backend, &place, 1);
    assert!(depends(&open(&backend), &whole).unwrap(), "a node that cannot be read");
}
