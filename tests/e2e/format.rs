//! The examples in docs/FORMAT.md are the encoder's output: fixed inputs, each byte labelled by a small reader of its own.

use std::fmt::Write;
use std::sync::Arc;
use std::time::Duration;

use lrl_store::backend::local::LocalBackend;
use lrl_store::backend::{Backend, Payload};
use lrl_store::compression::Encoding;
use lrl_store::format::config::{self, Config};
use lrl_store::format::entry::{Content, Entry, Kind, Piece};
use lrl_store::format::node::{Child, encode_inner, encode_leaf};
use lrl_store::format::repair::{self, Loss};
use lrl_store::format::snapshot::{self, Snapshot};
use lrl_store::format::{drill, pending};
use lrl_store::fs::lock::LockMode;
use lrl_store::id::{ChunkId, Ids, PackId, SnapshotId};
use lrl_store::progress::Silent;
use lrl_store::store::Store;
use lrl_store::store::write::WriteSession;
use lrl_store::time::Time;

use crate::generated_docs::Document;

/// Bytes with a label for each field.
struct Dump<'a> {
    bytes: &'a [u8],
    at: usize,
    text: String,
}

impl<'a> Dump<'a> {
    fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0, text: String::new() }
    }

    fn take(&mut self, len: usize, label: &str) -> &'a [u8] {
        let field = &self.bytes[self.at..self.at + len];
        for (n, row) in field.chunks(16).enumerate() {
            let hex: Vec<String> = row.iter().map(|byte| format!("{byte:02x}")).collect();
            let label = if n == 0 { label } else { "" };
            let line = format!("{:04x}  {:<47}  {label}", self.at + 16 * n, hex.join(" "));
            writeln!(self.text, "{}", line.trim_end()).unwrap();
        }
        self.at += len;
        field
    }

    fn number(&mut self, len: usize, label: &str) -> u64 {
        let field = &self.bytes[self.at..self.at + len];
        let value = field.iter().rev().fold(0, |value, byte| value << 8 | u64::from(*byte));
        self.take(len, &format!("{label}: {value}"));
        value
    }

    fn octal(&mut self, label: &str) {
        let value = u16::from_le_bytes([self.bytes[self.at], self.bytes[self.at + 1]]);
        self.take(2, &format!("{label}: 0o{value:o}"));
    }

    fn varint(&mut self, label: &str) -> u64 {
        let len = self.bytes[self.at..].iter().position(|byte| byte & 0x80 == 0).unwrap() + 1;
        let field = &self.bytes[self.at..self.at + len];
        let value = field.iter().rev().fold(0, |value, byte| value << 7 | u64::from(byte & 0x7f));
        self.take(len, &format!("{label}: {value}"));
        value
    }

    fn blob(&mut self, label: &str) {
        let len = self.varint(&format!("length of {label}")) as usize;
        let text = String::from_utf8_lossy(&self.bytes[self.at..self.at + len]).into_owned();
        self.take(len, &format!("{label}: \"{text}\""));
    }

    fn blank(&mut self) {
        self.text.push('\n');
    }

    fn left(&self) -> usize {
        self.bytes.len() - self.at
    }

    fn finish(self) -> String {
        assert_eq!(self.left(), 0, "bytes without a label");
        self.text
    }
}

/// A store that two sessions have written to.
struct Sample {
    storage: Arc<LocalBackend>,
    _dir: tempfile::TempDir,
    packs: Vec<(PackId, Vec<u8>)>,
    index: (String, Vec<u8>),
    stored: ChunkId,
}

const STORED: &[u8] = b"a few words\n";

fn sample() -> Sample {
    let dir = tempfile::tempdir().unwrap();
    let storage = Arc::new(LocalBackend::new(dir.path()));
    storage.put("config", Payload::Bytes(&config::encode(&Config::new([7; 32])).unwrap())).unwrap();
    let store =
        Store::open(Arc::clone(&storage) as Arc<dyn Backend>, LockMode::Shared, Duration::ZERO, &Silent).unwrap();
    let mut packs = Vec::new();
    let mut add = |chunks: &[(&[u8], Vec<ChunkId>)]| {
        let session = WriteSession::new(&store);
        let ids: Vec<ChunkId> = chunks.iter().map(|(plain, bases)| session.put(plain, bases).unwrap()).collect();
        session.seal().unwrap();
        for id in session.packs() {
            let hex = id.to_string();
            packs.push((id, storage.read(&format!("packs/{}/{hex}", &hex[..2])).unwrap()));
        }
        ids
    };
    let squeezed = b"slow careful measure again ".repeat(12);
    let ids = add(&[(STORED, vec![]), (&squeezed, vec![])]);
    let mut changed = squeezed.clone();
    changed[100..107].copy_from_slice(b"changed");
    let mut index = None;
    storage
        .list("index", &mut |name, _| {
            index = Some(name.to_string());
            Ok(())
        })
        .unwrap();
    let index = index.unwrap();
    let index = (index.clone(), storage.read(&index).unwrap());
    let delta = add(&[(&changed, vec![ids[1]])]);
    assert_eq!(store.read(&delta[0]).unwrap(), changed);
    assert_eq!(store.locate(&delta[0]).unwrap().unwrap().record.encoding, Encoding::Delta);
    drop(store);
    Sample { storage, _dir: dir, packs, index, stored: ids[0] }
}

fn record_tail(dump: &mut Dump<'_>) -> usize {
    let len = dump.number(4, "length in the pack");
    dump.number(4, "length of the plain bytes");
    dump.number(1, "encoding");
    dump.number(1, "depth");
    for _ in 0..dump.number(1, "bases") {
        dump.take(32, "base: a chunk id");
    }
    len as usize
}

fn pack(bytes: &[u8]) -> String {
    let footer = &bytes[bytes.len() - 40..];
    let directory = u32::from_le_bytes(*footer.first_chunk().unwrap()) as usize;
    let count = u32::from_le_bytes(footer[4..8].try_into().unwrap());
    // The directory tells where the chunks before it end.
    let mut ahead = Dump::new(bytes);
    ahead.take(directory, "");
    let lengths: Vec<usize> = (0..count)
        .map(|_| {
            ahead.take(32, "");
            record_tail(&mut ahead)
        })
        .collect();
    let mut dump = Dump::new(bytes);
    header(&mut dump, "LRLP");
    for (n, len) in lengths.iter().enumerate() {
        dump.take(*len, &format!("chunk {n}, encoded"));
    }
    for n in 0..count {
        dump.blank();
        dump.take(32, &format!("record {n}: chunk id"));
        record_tail(&mut dump);
    }
    dump.blank();
    dump.number(4, "where the directory begins");
    dump.number(4, "records");
    dump.take(32, "BLAKE3 of header, directory and the two numbers");
    dump.finish()
}

fn header(dump: &mut Dump<'_>, magic: &str) {
    dump.take(4, &format!("magic: \"{magic}\""));
    dump.number(1, "version");
    dump.take(3, "zeros");
}

fn index(bytes: &[u8]) -> String {
    let mut dump = Dump::new(bytes);
    header(&mut dump, "LRLI");
    dump.take(32, "pack 0: its id");
    dump.blank();
    let count = dump.number(2, "block 0: records");
    for n in 0..count {
        dump.take(32, &format!("record {n}: chunk id"));
        dump.number(4, "pack, by its place in the table above");
        dump.number(4, "offset in that pack");
        record_tail(&mut dump);
    }
    dump.take(32, "BLAKE3 of the block before this digest");
    dump.blank();
    dump.number(8, "records in all blocks");
    dump.number(4, "blocks");
    dump.number(4, "packs");
    dump.take(32, "BLAKE3 of everything before it: the index's id");
    dump.finish()
}

fn entry(path: &[u8], mode: u32, kind: Kind) -> Entry {
    let mtime = Time { secs: 1_768_392_000, nanos: 250_000_000 };
    Entry { path: path.to_vec(), kind, mode, uid: 1000, gid: 1000, mtime, xattrs: Vec::new() }
}

fn entries(id: ChunkId) -> Vec<u8> {
    let data = Piece::Data { id, len: STORED.len() as u64 };
    let content = Content::Inline(vec![data, Piece::Hole { len: 4096 }]);
    let xattrs = vec![(b"user.mime_type".to_vec(), b"text/plain".to_vec())];
    encode_leaf(&[
        Entry { xattrs, ..entry(b"assets", 0o755, Kind::Dir) },
        entry(b"assets/a.txt", 0o644, Kind::File { size: STORED.len() as u64 + 4096, content }),
        entry(b"assets/b.txt", 0o644, Kind::Hardlink { target: b"assets/a.txt".to_vec() }),
        entry(b"assets/new", 0o777, Kind::Symlink { target: b"a.txt".to_vec() }),
    ])
}

fn node_head(dump: &mut Dump<'_>) -> (u64, u64) {
    dump.number(1, "kind of list (1 pieces, 2 entries)");
    let level = dump.number(1, "level (0 leaf)");
    (level, dump.varint("items"))
}

fn piece(dump: &mut Dump<'_>) {
    if dump.varint("piece: length * 2 + hole") & 1 == 0 {
        dump.take(32, "chunk id");
    }
}

fn leaf_of_entries(bytes: &[u8]) -> String {
    let mut dump = Dump::new(bytes);
    let (_, count) = node_head(&mut dump);
    for _ in 0..count {
        dump.blank();
        dump.blob("path");
        let kind = dump.number(1, "kind");
        dump.octal("mode");
        dump.varint("uid");
        dump.varint("gid");
        dump.number(8, "mtime, seconds");
        dump.number(4, "mtime, nanoseconds");
        match kind & 0x7f {
            1 => {
                dump.varint("size");
                for _ in 0..dump.varint("pieces") {
                    piece(&mut dump);
                }
            }
            3 | 4 => dump.blob("target"),
            _ => {}
        }
        if kind & 0x80 != 0 {
            for _ in 0..dump.varint("extras") {
                dump.number(1, "extra (1 extended attributes)");
                dump.varint("length of the extra");
                for _ in 0..dump.varint("extended attributes") {
                    dump.blob("name");
                    dump.blob("value");
                }
            }
        }
    }
    dump.finish()
}

fn leaf_of_pieces(bytes: &[u8]) -> String {
    let mut dump = Dump::new(bytes);
    let (_, count) = node_head(&mut dump);
    for _ in 0..count {
        piece(&mut dump);
    }
    dump.finish()
}

fn inner_node(bytes: &[u8]) -> String {
    let mut dump = Dump::new(bytes);
    let (_, count) = node_head(&mut dump);
    for _ in 0..count {
        dump.take(32, "child: its chunk id");
        dump.varint("weight");
        dump.blob("first key");
    }
    dump.finish()
}

/// A snapshot of a site with two databases.
fn sample_snapshot(pack: PackId, list: ChunkId, root: ChunkId) -> Snapshot {
    let text = |text: &str| text.to_string();
    let first = snapshot::Database {
        path: b"lrl.db".to_vec(),
        source_path: text("/srv/lab/lrl.db"),
        size_bytes: 118_784,
        sha256: Some(crate::common::sha256(b"the image")),
        root,
        page_size: 4096,
        change_counter: 17,
        used_pages: Some(2),
        tables: Some(["assets", "content_items", "users"].map(text).to_vec()),
        mode: 0o640,
        uid: 1000,
        gid: 1000,
        mtime: Time { secs: 1_768_391_940, nanos: 5 },
        xattrs: Vec::new(),
    };
    let second = snapshot::Database {
        path: b"users/caf\xe9.db".to_vec(),
        source_path: text("/srv/lab/users/caf\u{fffd}.db"),
        sha256: None,
        tables: Some(vec![text("notes")]),
        ..first.clone()
    };
    Snapshot {
        format: snapshot::VERSION,
        source: text("lab"),
        sequence: 42,
        parents: vec![SnapshotId::of(b"the one before")],
        timestamp: text("20260114_120000"),
        created: Time { secs: 1_768_392_000, nanos: 0 },
        host: text("lab.example.org"),
        tags: vec![text("before-upgrade")],
        program: text("lrl 0.1.0"),
        packs: vec![pack],
        original: None,
        avoids: Vec::new(),
        added_bytes: Some(183_412),
        duration_ms: Some(1234),
        root: Some(snapshot::RootDir {
            path: text("/srv/lab"),
            mode: 0o750,
            uid: 1000,
            gid: 1000,
            mtime: Time { secs: 1_768_391_000, nanos: 0 },
            xattrs: Vec::new(),
        }),
        databases: vec![first, second],
        window_us: 380,
        files: Some(snapshot::Files {
            roots: [(String::new(), text("/srv/lab"))].into(),
            list,
            entries: 4,
            files: 2,
            bytes: 8216,
            archive: Some(snapshot::Archive {
                coder: text("zlib-rs/0.6.8/4/segments-1"),
                size_bytes: 412,
                sha256: crate::common::sha256(b"the archive"),
            }),
        }),
        problems: vec![lrl_store::progress::Problem {
            path: text("/srv/lab/assets/c.txt"),
            reason: "cannot be read: permission denied".into(),
            lost: true,
        }],
        shrunk: Vec::new(),
    }
}

fn drill_record(snapshot: SnapshotId) -> String {
    let checked = |check: &str, passed, assertion: Option<&str>| drill::Checked {
        of: "database".into(),
        database: None,
        check: check.into(),
        passed,
        skipped: false,
        assertion: assertion.map(Into::into),
    };
    let record = drill::Drill {
        format: drill::VERSION,
        source: "lab".into(),
        finished: Time { secs: 1_768_395_600, nanos: 0 },
        number: Some(7),
        snapshot: Some(snapshot),
        sequence: Some(2),
        drilled: drill::Drilled::Set,
        timestamp: "20260114_120000".into(),
        age_seconds: Some(3600),
        passed: false,
        damaged: false,
        checks: vec![
            checked("hash_verification", Some(true), None),
            checked("foreign_keys", Some(false), None),
            checked("asset_rows", None, None),
            checked("assertion", Some(true), Some("SELECT count(*) FROM users >= 1")),
        ],
        failed_checks: vec!["database: foreign_keys".into()],
        seconds: 0.5,
        restore_seconds: Some(0.25),
        databases: vec![drill::DrilledDatabase {
            path: b"lrl.db".to_vec(),
            sha256: Some(crate::common::sha256(b"the image")),
            rows: Some([("assets".to_string(), 2), ("users".to_string(), 1)].into()),
            ..drill::DrilledDatabase::default()
        }],
        parts: Vec::new(),
        unproven_parts: Vec::new(),
        missing_files: None,
        before: Some(drill::Before {
            snapshot: Some(SnapshotId::of(b"the one before")),
            timestamp: "20260113_120000".into(),
            databases: vec![drill::RowsBefore {
                path: b"lrl.db".to_vec(),
                rows: [("assets".to_string(), 2), ("users".to_string(), 1)].into(),
            }],
        }),
        archive_sha256: Some(crate::common::sha256(b"the archive")),
        program: "lrl 0.1.0".into(),
    };
    let (id, _) = drill::encode(&record, &Ids::default()).unwrap();
    let pretty = serde_json::to_string_pretty(&record).unwrap();
    format!("drills/lab/{:016x}-{id}\n\n{pretty}\n", record.finished.secs)
}

fn pending_record() -> String {
    let record = pending::Pending {
        format: pending::VERSION,
        written: Time { secs: 1_768_395_600, nanos: 0 },
        gone: false,
        sources: [("lab".to_string(), 42)].into(),
        packs: vec![PackId::of(b"a pack")],
        program: "lrl 0.1.0".into(),
    };
    let (id, _) = pending::encode(&record, &Ids::default()).unwrap();
    format!("pending/{id}\n\n{}\n", serde_json::to_string_pretty(&record).unwrap())
}

fn repair_record(snapshot: SnapshotId) -> String {
    let loss = Loss {
        source: "lab".into(),
        sequence: 42,
        snapshot,
        database: true,
        files: vec!["assets/a.txt".into()],
        more_files: 0,
    };
    let record = repair::Repair { format: repair::VERSION, lost: vec![loss], more: 0 };
    let (id, _) = repair::encode(&record, &Ids::default()).unwrap();
    format!("repairs/{id}\n\n{}\n", serde_json::to_string_pretty(&record).unwrap())
}

#[test]
fn the_examples_in_format_md_are_what_the_encoder_writes() {
    let sample = sample();
    let mut document = Document::open("docs/FORMAT.md");
    document.expect("config", &String::from_utf8(sample.storage.read("config").unwrap()).unwrap());
    for (name, (id, bytes)) in ["pack", "pack-delta"].iter().zip(&sample.packs) {
        document.expect(name, &format!("packs/{}/{id}\n\n{}", &id.to_string()[..2], pack(bytes)));
    }
    document.expect("index", &format!("{}\n\n{}", sample.index.0, index(&sample.index.1)));
    let leaf = entries(sample.stored);
    document.expect("entries", &leaf_of_entries(&leaf));
    let pieces = encode_leaf(&[
        Piece::Data { id: sample.stored, len: STORED.len() as u64 },
        Piece::Hole { len: 1 << 20 },
        Piece::Data { id: sample.stored, len: STORED.len() as u64 },
    ]);
    document.expect("pieces", &leaf_of_pieces(&pieces));
    let list = ChunkId::of(&leaf);
    let child = |weight, key: &[u8]| Child { id: list, weight, first_key: key.to_vec() };
    let inner = encode_inner::<Entry>(1, &[child(4, b"assets"), child(300, b"assets/x.txt")]);
    document.expect("inner", &inner_node(&inner));
    let snapshot = sample_snapshot(sample.packs[0].0, list, ChunkId::of(&pieces));
    let (id, bytes) = snapshot::encode(&snapshot, &Ids::default()).unwrap();
    // The file is one line; people read it better in many.
    let pretty = serde_json::to_string_pretty(&snapshot).unwrap();
    let same: serde_json::Value = serde_json::from_slice(&bytes).unwrap();
    assert_eq!(serde_json::from_str::<serde_json::Value>(&pretty).unwrap(), same);
    document.expect("snapshot", &format!("snapshots/lab/{:016x}-{id}\n\n{pretty}\n", snapshot.sequence));
    document.expect("drill", &drill_record(id));
    document.expect("repair", &repair_record(id));
    document.expect("pending", &pending_record());
    document.close();
}
