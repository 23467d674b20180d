//! What every parser promises for any bytes at all: it reads or refuses them, never panics, and what it reads it can write and read again.
//! One body for each parser and one for sequences of operations; `fuzz/` feeds them by coverage, `tests/parsers` by chance.

use std::collections::HashSet;
use std::io::{Read, Write};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use lrl_store::backend::encrypted::EncryptedBackend;
use lrl_store::backend::{Backend, Payload};
use lrl_store::compression::{self, Encoding};
use lrl_store::crypt::{Bundle, Key, Keys};
use lrl_store::error::Result;
use lrl_store::format::entry::{Content, Entry, Piece, compare_paths, is_clean_path};
use lrl_store::format::key::{Credential, Slot};
use lrl_store::format::node::{self, Item, Node};
use lrl_store::format::snapshot::{self, Snapshot};
use lrl_store::format::{config, drill, index, pack, path_text};
use lrl_store::fs::lock::LockMode;
use lrl_store::fs::space::SpaceGuard;
use lrl_store::id::{ChunkId, DrillId, Hasher, Ids, PackId, SnapshotId};
use lrl_store::ops::prune;
use lrl_store::progress::Silent;
use lrl_store::set::archive::deflate::{Coder, FINAL_BLOCK};
use lrl_store::set::archive::extract::{Options, verify};
use lrl_store::set::manifest::Manifest;
use lrl_store::set::manifest::read::FoundSet;
use lrl_store::store::index::IndexFile;
use lrl_store::store::tree::{TreeBuilder, TreeItems};
use lrl_store::store::write::WriteSession;
use lrl_store::store::{SnapshotName, Store, create};
use lrl_store::time::Time;
use zeroize::Zeroizing;

use super::memory_backend::memory;

/// A body; any bytes are its input.
pub type Body = fn(&[u8]);

/// All of them, by the names of the fuzz targets.
pub const BODIES: [(&str, Body); 13] = [
    ("archive", archive),
    ("codec", chunk_codec),
    ("config", store_config),
    ("deflate", deflate_segments),
    ("drill", drill_record),
    ("index", index_file),
    ("manifest", manifest),
    ("node", list_node),
    ("operations", operations),
    ("pack", pack_directory),
    ("sealed", sealed_object),
    ("slot", slot),
    ("snapshot", snapshot_document),
];

/// Keeps what cannot fail in a body out of its way: a failure is one.
fn sure<T>(result: Result<T>) -> T {
    result.unwrap_or_else(|error| panic!("{error}"))
}

fn sure_io<T>(result: std::io::Result<T>) -> T {
    result.unwrap_or_else(|error| panic!("{error}"))
}

/// The store's config, as it is and with a checksum that fits.
pub fn store_config(bytes: &[u8]) {
    let checksum = ChunkId::from_bytes(Hasher::new().update(bytes).finish()).to_string();
    let sealed = [bytes, b",\"checksum\":\"", checksum.as_bytes(), b"\"}\n"].concat();
    for bytes in [bytes, &sealed] {
        if let Ok(config) = config::decode(bytes, "config") {
            assert_eq!(sure(config::decode(&sure(config::encode(&config)), "config")), config);
        }
    }
}

/// A snapshot's document. What is read has databases in order, each path once, none that leads elsewhere.
pub fn snapshot_document(bytes: &[u8]) {
    if let Ok(read) = snapshot::decode(bytes, &SnapshotId::of(bytes), &Ids::default(), "snapshot") {
        let paths: Vec<&[u8]> = read.databases.iter().map(|database| database.path.as_slice()).collect();
        assert!(paths.is_sorted_by(|a, b| compare_paths(a, b).is_lt()), "{paths:?}");
        assert!(paths.iter().all(|path| is_clean_path(path)), "{paths:?}");
        for path in paths {
            assert_eq!(path_text::decode(&path_text::encode(path)).as_deref(), Some(path));
        }
        let (id, again) = sure(snapshot::encode(&read, &Ids::default()));
        assert_eq!(sure(snapshot::decode(&again, &id, &Ids::default(), "snapshot")), read);
    }
}

/// The record of a drill.
pub fn drill_record(bytes: &[u8]) {
    if let Ok(read) = drill::decode(bytes, &DrillId::of(bytes), &Ids::default(), "drill") {
        let (id, again) = sure(drill::encode(&read, &Ids::default()));
        assert_eq!(sure(drill::decode(&again, &id, &Ids::default(), "drill")), read);
    }
}

/// A slot of an encrypted store, opened with a key file.
pub fn slot(bytes: &[u8]) {
    let credential = Credential::from_key_file(&"5a".repeat(32));
    if let (Ok(slot), Some(credential)) = (Slot::decode(bytes, "keys/x"), credential) {
        let written = sure(slot.encode());
        assert_eq!(sure(sure(Slot::decode(&written, "keys/x")).encode()), written);
        let _ = slot.id();
        let _ = slot.open(&[7; 32], &credential, "keys/x");
    }
}

/// Objects of an encrypted store, as they are and below a sound head, and names of sources.
pub fn sealed_object(bytes: &[u8]) {
    let bundle = Bundle::Full(Zeroizing::new([7; 32]));
    let below = Arc::new(memory());
    let veil = EncryptedBackend::new(Arc::clone(&below) as Arc<dyn Backend>, Keys::new([7; 32], &bundle), None);
    for name in ["index/x", "repairs/x"] {
        sure(veil.put(name, Payload::Bytes(b"some text")));
        let head = sure(below.read(name)).len() - b"some text".len() - 16;
        let sound = sure(below.read_range(name, 0, head));
        for object in [bytes.to_vec(), [&sound, bytes].concat()] {
            sure(below.put(name, Payload::Bytes(&object)));
            veil.cache_clear();
            assert!(veil.read(name).is_err(), "what nobody sealed does not open");
            let len = veil.len(name).unwrap_or(100);
            for (at, take) in [(0, 1), (len / 2, 5), (len.saturating_sub(1), 1), (u64::MAX, 2)] {
                let _ = veil.read_range(name, at, take);
            }
        }
    }
    let keys = Keys::new([7; 32], &bundle);
    let text = String::from_utf8_lossy(bytes);
    if let Some(name) = keys.unveil(&text) {
        assert_eq!(sure(keys.veil(&name)), text, "a name has one veil");
    }
    let head = sure(pack::sealed_head(&keys, &sure(Key::new())));
    assert!(pack::open_tail(&keys, &head, bytes, head.len() as u64, "pack").is_err());
    assert!(pack::open_tail(&keys, bytes, bytes, 88, "pack").is_err());
}

/// A pack's directory and footer; the digest is made to fit.
pub fn pack_directory(bytes: &[u8]) {
    let _ = pack::directory_offset(bytes, bytes.len() as u64, "pack");
    let _ = pack::decode_tail(&pack::HEADER, bytes, 8, "pack");
    let Some((numbers, _)) = bytes.split_first_chunk::<8>() else { return };
    let offset = u32::from_le_bytes([numbers[0], numbers[1], numbers[2], numbers[3]]);
    let mut tail = [&bytes[8..], numbers].concat();
    let digest = Hasher::new().update(&pack::HEADER).update(&tail).finish();
    tail.extend_from_slice(&digest);
    if let Ok(records) = pack::decode_tail(&pack::HEADER, &tail, offset.into(), "pack") {
        let records: Vec<_> = records.into_iter().map(|(_, record)| record).collect();
        assert!(pack::encode_tail(&records, offset) == tail, "a directory has one form");
    }
}

/// An index file in a store, looked up in: all digests are made to fit.
pub fn index_file(bytes: &[u8]) {
    let _ = index::Layout::decode(bytes, bytes.len() as u64, "index");
    let Some((numbers, body)) = bytes.split_first_chunk::<16>() else { return };
    let mut file = [&index::HEADER[..], body, numbers, &[0; 32]].concat();
    let len = file.len();
    if let Ok(layout) = index::Layout::decode(&file[len - index::TRAILER_LEN..], len as u64, "index") {
        for block in 0..layout.blocks {
            let at = layout.block_offset(block) as usize;
            let end = at + layout.block_len(block);
            let digest = Hasher::new().update(&file[at..end - 32]).finish();
            file[end - 32..end].copy_from_slice(&digest);
            if let Ok(records) = index::decode_block(&file[at..end], &layout, "index") {
                let mut again = Vec::new();
                for located in &records {
                    again.extend_from_slice(located.record.id.as_bytes());
                    again.extend_from_slice(&located.pack.to_le_bytes());
                    again.extend_from_slice(&located.offset.to_le_bytes());
                    located.record.encode_tail(&mut again);
                }
                assert!(file[at + 2..].starts_with(&again), "a record has one form");
            }
        }
    }
    let digest = Hasher::new().update(&file[..len - 32]).finish();
    file[len - 32..].copy_from_slice(&digest);
    let storage = memory();
    let name = format!("index/{}", PackId::from_bytes(digest));
    sure(storage.put(&name, Payload::Bytes(&file)));
    if let Ok(opened) = IndexFile::open(&storage, &name) {
        sure(opened.verify(&storage));
        for id in [[0; 32], [0x7f; 32], [0xff; 32], digest] {
            let _ = opened.find(&storage, &ChunkId::from_bytes(id));
            let _ = opened.find_all(&storage, &ChunkId::from_bytes(id));
        }
    }
}

/// A node of either kind of list.
pub fn list_node(bytes: &[u8]) {
    fn one<T: Item + PartialEq + std::fmt::Debug>(bytes: &[u8]) {
        if let Ok(read) = node::decode::<T>(bytes, "node") {
            let again = match &read {
                Node::Leaf(items) => node::encode_leaf(items),
                Node::Inner(below, children) => node::encode_inner::<T>(below + 1, children),
            };
            assert_eq!(sure(node::decode::<T>(&again, "node")), read);
        }
    }
    one::<Entry>(bytes);
    one::<Piece>(bytes);
}

/// A manifest, as a type and as the drill reads it.
pub fn manifest(bytes: &[u8]) {
    let path = Path::new("backup_manifest.json");
    if let Ok(read) = Manifest::decode(bytes, path) {
        let again = sure(Manifest::decode(&read.encode(), path));
        assert!(again.encode() == read.encode(), "a manifest that was read is written the same each time");
    }
    let mut file = sure_io(tempfile::NamedTempFile::new());
    sure_io(file.write_all(bytes));
    let _ = FoundSet::load(file.path());
}

/// An archive: the bytes as a gzip stream, and as what is in one.
pub fn archive(bytes: &[u8]) {
    let read = |gzip: &[u8]| {
        let mut file = sure_io(tempfile::NamedTempFile::new());
        sure_io(file.write_all(gzip));
        let enough = |total| if total > 16 << 20 { Err(lrl_store::error::Error::Interrupted) } else { Ok(()) };
        let mut options =
            Options { owners: false, xattrs: None, limit: Some(&enough), watch: None, only: None, observer: &Silent };
        let _ = verify(file.path(), &mut options);
    };
    read(bytes);
    let mut tar = bytes.to_vec();
    tar.resize(tar.len().next_multiple_of(512) + 1024, 0);
    // The header's checksum is made to fit in every block that looks like one.
    for block in tar.as_chunks_mut::<512>().0.iter_mut().filter(|block| block[0] != 0) {
        block[148..156].fill(b' ');
        let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
        block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    }
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::none());
    sure_io(gzip.write_all(&tar));
    read(&sure_io(gzip.finish()));
}

/// Segments of an archive's deflate stream: any runs join to one stream of their bytes, and any stream is read or refused.
pub fn deflate_segments(bytes: &[u8]) {
    let mut plain = Vec::new();
    let _ = flate2::read::DeflateDecoder::new(bytes).take(1 << 20).read_to_end(&mut plain);
    let (mut coder, mut out) = (Coder::default(), Vec::new());
    let split = bytes.first().map_or(1, |n| usize::from(*n) + 1);
    bytes.chunks(split).for_each(|run| sure_io(coder.deflate(run, &mut out)));
    out.extend_from_slice(&FINAL_BLOCK);
    plain.clear();
    sure_io(flate2::read::DeflateDecoder::new(&out[..]).read_to_end(&mut plain));
    assert!(plain == bytes);
}

/// Encoded chunks: any frame is decoded or refused, any chunk comes back.
pub fn chunk_codec(bytes: &[u8]) {
    let (head, tail) = bytes.split_at(bytes.len() / 3);
    let stated = usize::from(bytes.first().copied().unwrap_or_default()) << 6;
    let _ = compression::decode(Encoding::Zstd, bytes.to_vec(), stated, &[], "chunk");
    let _ = compression::decode(Encoding::Delta, tail.to_vec(), stated, &[head], "chunk");
    if let Some(encoded) = compression::compress(bytes) {
        assert!(sure(compression::decode(Encoding::Zstd, encoded, bytes.len(), &[], "chunk")) == bytes);
    }
    if let Some(encoded) = compression::compress_delta(tail, &[head, tail]) {
        assert!(sure(compression::decode(Encoding::Delta, encoded, tail.len(), &[head, tail], "chunk")) == tail);
    }
}

/// A program for a store: each byte is an operation, or says how it is done. What snapshots hold is compared with what was put in.
pub fn operations(bytes: &[u8]) {
    let storage: Arc<dyn Backend> = Arc::new(memory());
    sure(create(&*storage, [1; 32]));
    let open = || sure(Store::open(Arc::clone(&storage), LockMode::Exclusive, Duration::ZERO, &Silent));
    let mut kept: Vec<(SnapshotName, Vec<u8>)> = Vec::new();
    let mut last: Vec<u8> = Vec::new();
    let mut program = bytes.iter().copied().take(400);
    let mut sequence = 0;
    while let Some(operation) = program.next() {
        let mut next = || program.next().unwrap_or_default();
        match operation % 6 {
            // The contents change: more, less, or a byte.
            0 => last.extend((0..usize::from(next()) * 40).map(|n| ((n * n) >> 3) as u8 ^ operation)),
            1 => last.truncate(last.len() * usize::from(next()) / 256),
            2 => {
                let at = usize::from(next()) * last.len() / 256;
                last.iter_mut().skip(at).take(5).for_each(|byte| *byte = byte.wrapping_add(operation | 1));
            }
            3 => {
                sequence += 1;
                let name = sure(keep(&open(), &last, sequence, 300 + usize::from(next()) * 16, kept.last()));
                kept.push((name, last.clone()));
            }
            4 if !kept.is_empty() => {
                let (name, _) = kept.remove(usize::from(next()) % kept.len());
                sure(open().forget(&name));
            }
            4 => {}
            _ => {
                let store = open();
                let limit = if next() % 2 == 0 { prune::MaxUnused::Bytes(0) } else { prune::MaxUnused::Percent(20.0) };
                let plan = sure(prune::plan(&store, limit, &HashSet::new(), false, &Silent));
                let report = sure(prune::apply(&store, plan, &SpaceGuard::unlimited(), &Silent));
                assert!(report.failed.is_none() && report.numbers.missing == 0, "{report:?}");
            }
        }
        if operation % 6 < 3 {
            continue;
        }
        let store = open();
        assert_eq!(sure(store.snapshot_names(None)).len(), kept.len());
        for (name, right) in &kept {
            let snapshot = sure(store.snapshot(name));
            let half = snapshot.databases.first().unwrap_or_else(|| panic!("{name:?} has lost its database"));
            let mut read = Vec::new();
            let sink = &mut |piece: &[u8]| {
                read.extend_from_slice(piece);
                Ok(())
            };
            sure(store.read_content(&Content::Tree(half.root), 0, half.size_bytes, sink));
            assert!(read == *right, "{name:?} has other contents");
        }
    }
}

/// Keeps contents in pieces of `len` bytes, each against the piece that stood there before.
fn keep(
    store: &Store,
    contents: &[u8],
    sequence: u64,
    len: usize,
    parent: Option<&(SnapshotName, Vec<u8>)>,
) -> Result<SnapshotName> {
    let parent = parent
        .map(|(name, _)| store.snapshot(name))
        .transpose()?
        .and_then(|snapshot| snapshot.databases.into_iter().next());
    let mut old = parent.as_ref().map(|half| TreeItems::<Piece>::new(store, &half.root)).transpose()?;
    let session = WriteSession::new(store);
    let mut builder = TreeBuilder::new(&session, parent.as_ref().map(|half| half.root));
    for piece in contents.chunks(len) {
        let base = match old.as_mut().and_then(Iterator::next).transpose()? {
            Some(Piece::Data { id, .. }) => vec![id],
            _ => Vec::new(),
        };
        builder.push(Piece::Data { id: session.put(piece, &base)?, len: piece.len() as u64 })?;
    }
    let database = snapshot::Database {
        path: b"lrl.db".to_vec(),
        source_path: "lrl.db".into(),
        size_bytes: contents.len() as u64,
        sha256: None,
        root: builder.finish()?,
        page_size: 4096,
        change_counter: 0,
        used_pages: None,
        tables: None,
        mode: 0o600,
        uid: 0,
        gid: 0,
        mtime: Time::default(),
        xattrs: Vec::new(),
    };
    session.seal()?;
    let (name, _) = store.publish(&Snapshot {
        format: snapshot::VERSION,
        source: "lab".into(),
        sequence,
        parents: Vec::new(),
        timestamp: format!("20260101_{sequence:06}"),
        created: Time { secs: sequence as i64, nanos: 0 },
        host: String::new(),
        tags: Vec::new(),
        program: "fuzz".into(),
        packs: session.packs(),
        original: None,
        avoids: Vec::new(),
        added_bytes: None,
        duration_ms: None,
        root: None,
        databases: vec![database],
        window_us: 0,
        files: None,
        problems: Vec::new(),
        shrunk: Vec::new(),
    })?;
    Ok(name)
}
