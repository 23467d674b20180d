//! Every parser on random bytes and on valid ones that were changed: the bodies of the fuzz targets, each held to what it may allocate.
//! `LRL_TEST_ROUNDS=all` tries 200,000 inputs of each, a number tries that many.

#![allow(clippy::unwrap_used, clippy::print_stdout)]

use std::alloc::System;
use std::collections::BTreeMap;

use lrl_store::compression;
use lrl_store::compression::Encoding;
use lrl_store::crypt::{Bundle, new_secret};
use lrl_store::format::config;
use lrl_store::format::drill::{self, Drill, DrilledDatabase};
use lrl_store::format::entry::{Content, Entry, Kind, Piece};
use lrl_store::format::index::{Encoder, Located};
use lrl_store::format::key::{Credential, Slot};
use lrl_store::format::node::{Child, encode_inner, encode_leaf};
use lrl_store::format::pack::{self, Record};
use lrl_store::format::snapshot::{self, Database, Files, Measure, RootDir, Shrink, Snapshot};
use lrl_store::id::{ChunkId, Ids, PackId, PendingId, SnapshotId};
use lrl_store::time::Time;
use lrl_testing::fuzz_bodies::{BODIES, Body};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;
use proptest::test_runner::{Config, TestRunner};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// The total that a body may allocate, not at once: a multiple of its input, and a constant for its own checks: buffers of an archive's
/// reader, a coder's tables. One of them runs whole programs, whose need has nothing to do with their length.
fn allowance(name: &str, len: usize) -> usize {
    let (times, more) = match name {
        "archive" => (64, 8 << 20),
        "codec" => (16, 1 << 20),
        "deflate" => (64, 4 << 20),
        "operations" => return usize::MAX,
        _ => (300, 256 << 10),
    };
    len * times + more
}

fn entry(path: &str, kind: Kind) -> Entry {
    Entry {
        path: path.into(),
        kind,
        mode: 0o644,
        uid: 1,
        gid: 2,
        mtime: Time { secs: 1_768_392_000, nanos: 5 },
        xattrs: Vec::new(),
    }
}

fn records() -> Vec<Record> {
    let record = |n: u8, encoding, bases: Vec<ChunkId>| Record {
        id: ChunkId::from_bytes([n; 32]),
        encoded_len: 20,
        plain_len: if encoding == Encoding::Stored { 20 } else { 90 },
        encoding,
        depth: bases.len().min(1) as u8,
        bases,
    };
    let first = ChunkId::from_bytes([1; 32]);
    vec![
        record(1, Encoding::Stored, vec![]),
        record(2, Encoding::Zstd, vec![]),
        record(3, Encoding::Delta, vec![first, ChunkId::from_bytes([2; 32])]),
    ]
}

fn document() -> Snapshot {
    let root = ChunkId::of(b"root");
    Snapshot {
        format: snapshot::VERSION,
        source: "lab".into(),
        sequence: 7,
        parents: vec![SnapshotId::of(b"parent")],
        timestamp: "20260114_120000".into(),
        created: Time { secs: 1_768_392_000, nanos: 5 },
        host: "host".into(),
        tags: vec!["weekly".into()],
        program: "lrl".into(),
        packs: vec![PackId::of(b"pack")],
        original: None,
        added_bytes: Some(123_456),
        avoids: vec![PendingId::of(b"pending")],
        duration_ms: Some(12),
        root: None,
        window_us: 3,
        databases: vec![Database {
            path: b"lrl.db".to_vec(),
            source_path: "./data/lrl.db".into(),
            size_bytes: 8192,
            sha256: Some("ab".repeat(32)),
            root,
            page_size: 4096,
            change_counter: 3,
            used_pages: Some(2),
            tables: Some(vec!["users".into()]),
            mode: 0o600,
            uid: 0,
            gid: 0,
            mtime: Time::default(),
            xattrs: Vec::new(),
        }],
        files: Some(Files {
            roots: BTreeMap::from([("assets".into(), "./data/assets".into())]),
            list: root,
            entries: 3,
            files: 2,
            bytes: 100,
            archive: None,
        }),
        problems: Vec::new(),
        shrunk: Vec::new(),
    }
}

/// The document of a site: a root, several databases, paths with escapes.
fn site() -> Snapshot {
    let lab = document();
    let at = |path: &[u8]| Database { path: path.to_vec(), sha256: None, ..lab.databases[0].clone() };
    let root = "/srv/site".to_string();
    let mtime = Time { secs: 1_768_392_000, nanos: 5 };
    let shrink = Shrink {
        measure: Measure::Tables,
        database: Some(b"users/caf\xe9.db".to_vec()),
        before: 3,
        now: 0,
        against: SnapshotId::of(b"earlier"),
    };
    Snapshot {
        root: Some(RootDir { path: root.clone(), mode: 0o750, uid: 33, gid: 33, mtime, xattrs: Vec::new() }),
        databases: vec![at(b"app.db"), at(b"users/a\\b.db"), at(b"users/caf\xe9.db")],
        files: lab.files.clone().map(|files| Files { roots: BTreeMap::from([(String::new(), root)]), ..files }),
        shrunk: vec![shrink],
        ..lab
    }
}

fn tar() -> Vec<u8> {
    type Builder = tar::Builder<Vec<u8>>;
    fn add(tar: &mut Builder, kind: tar::EntryType, name: &str, link: &str, data: &[u8]) {
        let mut header = tar::Header::new_ustar();
        header.set_entry_type(kind);
        header.set_mode(0o644);
        header.set_size(data.len() as u64);
        match link {
            "" => tar.append_data(&mut header, name, data).unwrap(),
            link => tar.append_link(&mut header, name, link).unwrap(),
        }
    }
    let mut tar = Builder::new(Vec::new());
    add(&mut tar, tar::EntryType::Directory, "assets", "", b"");
    add(&mut tar, tar::EntryType::Regular, "assets/a", "", b"contents");
    add(&mut tar, tar::EntryType::Symlink, "assets/l", "a", b"");
    add(&mut tar, tar::EntryType::Link, "assets/n", "assets/a", b"");
    add(&mut tar, tar::EntryType::Regular, &format!("assets/{}", "long".repeat(60)), "", b"x");
    let acl = b"user::rw-,user:7:rw-,group::r--,mask::rw-,other::---".as_slice();
    let attributes = [("SCHILY.xattr.user.a%3Db", b"\xff\0".as_slice()), ("SCHILY.acl.access", acl)];
    tar.append_pax_extensions(attributes).unwrap();
    add(&mut tar, tar::EntryType::Regular, "assets/o", "", b"with attributes");
    tar.append_pax_extensions([("path", b"assets/pax".as_slice()), ("mtime", b"1768392000.25")]).unwrap();
    add(&mut tar, tar::EntryType::Regular, "assets/short", "", b"of another name");
    tar.into_inner().unwrap()
}

/// Valid inputs of a body, as it wants them.
fn seeds(name: &str) -> Vec<Vec<u8>> {
    let pieces = vec![Piece::Data { id: ChunkId::of(b"1"), len: 12 }, Piece::Hole { len: 1 << 40 }];
    match name {
        "archive" => {
            let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
            std::io::Write::write_all(&mut gzip, &tar()).unwrap();
            vec![tar(), gzip.finish().unwrap()]
        }
        "codec" => vec![
            compression::compress(&b"all work and no play ".repeat(40)).unwrap(),
            [&b"all work and no play ".repeat(10)[..], &b"all work and so on ".repeat(20)].concat(),
        ],
        "config" => {
            let whole = config::encode(&config::Config::new([7; 32])).unwrap();
            vec![whole[..whole.len() - 12 - 64 - 3].to_vec(), whole]
        }
        "deflate" => vec![b"\x05runs of five".to_vec(), b"\xffone".repeat(300)],
        "drill" => {
            let record = Drill {
                format: drill::VERSION,
                source: "lab".into(),
                finished: Time { secs: 1_768_392_000, nanos: 5 },
                number: Some(7),
                snapshot: Some(SnapshotId::of(b"x")),
                sequence: Some(3),
                drilled: drill::Drilled::default(),
                timestamp: "20260114_120000".into(),
                age_seconds: Some(60),
                passed: true,
                damaged: false,
                checks: Vec::new(),
                failed_checks: vec!["database: integrity_check".into()],
                seconds: 2.0,
                restore_seconds: Some(1.0),
                databases: vec![DrilledDatabase {
                    path: b"lrl.db".to_vec(),
                    sha256: Some("ab".repeat(32)),
                    rows: Some(BTreeMap::from([("users".into(), 3)])),
                    ..DrilledDatabase::default()
                }],
                parts: Vec::new(),
                unproven_parts: Vec::new(),
                missing_files: None,
                before: None,
                archive_sha256: None,
                program: "lrl".into(),
            };
            vec![drill::encode(&record, &Ids::default()).unwrap().1]
        }
        "index" => {
            let (mut encoder, head) = Encoder::new(&[PackId::of(b"1"), PackId::of(b"2")]);
            let mut body = head[8..].to_vec();
            for (n, record) in records().into_iter().enumerate() {
                body.extend(encoder.push(&Located { pack: n as u32 % 2, offset: 8, record }).unwrap_or_default());
            }
            let (tail, _) = encoder.finish();
            let (blocks, trailer) = tail.split_at(tail.len() - 48);
            vec![[&trailer[..16], &body, blocks].concat()]
        }
        "manifest" => vec![
            br#"{"timestamp_utc":"20260114_120000","created_at":"2026-01-14T12:00:00+00:00","version":"1.0","backups":[{"type":"database","source":"./data/lrl.db","backup":"./backups/x.sqlite","size_bytes":1,"sha256":"ab"},{"type":"assets","source":"./data/assets","backup":"./backups/x.tar.gz","file_count":1,"total_source_size_bytes":2,"archive_size_bytes":3,"sha256":"cd"}],"lrl":{"snapshot":"00"}}"#.to_vec(),
        ],
        "node" => vec![
            encode_leaf(&pieces),
            encode_inner::<Piece>(1, &[Child { id: ChunkId::of(b"c"), weight: 12, first_key: Vec::new() }]),
            encode_leaf(&[
                Entry { xattrs: vec![(b"user.a".to_vec(), b"1".to_vec()), (b"user.b".to_vec(), vec![0xff; 200])], ..entry("assets", Kind::Dir) },
                entry("assets/a", Kind::File { size: 12, content: Content::Inline(pieces[..1].to_vec()) }),
                entry("assets/b", Kind::File { size: 99, content: Content::Tree(ChunkId::of(b"t")) }),
                entry("assets/c", Kind::Symlink { target: b"a".to_vec() }),
                entry("assets/d", Kind::Hardlink { target: b"assets/a".to_vec() }),
            ]),
            encode_inner::<Entry>(2, &[Child { id: ChunkId::of(b"c"), weight: 9, first_key: b"assets/a".to_vec() }]),
        ],
        "operations" => vec![
            vec![0, 90, 3, 7, 2, 40, 3, 7, 2, 90, 3, 0, 4, 0, 5, 0],
            (0..120).map(|n: u32| (n * n * 7 + n) as u8).collect(),
            vec![0, 255, 3, 0, 0, 20, 3, 0, 1, 128, 3, 1, 5, 1, 4, 0, 5, 0, 2, 3, 3, 2, 5, 0, 4, 1, 5, 0],
        ],
        "pack" => {
            let whole = pack::encode_tail(&records(), 68);
            let (directory, footer) = whole.split_at(whole.len() - 40);
            vec![[&footer[..8], directory].concat(), whole]
        }
        "sealed" => {
            let blocks: Vec<u8> = (0..9000u32).map(|n| n as u8).collect();
            vec![b"LRLE\x01\x01\0\0".to_vec(), [&b"LRLE\x01\x02\0\0"[..], &blocks].concat(), [&b"LRLP\x01\x01\0\0"[..], &blocks[..80]].concat()]
        }
        "slot" => {
            let time = Time { secs: 1, nanos: 2 };
            let keys = Bundle::Full(new_secret().unwrap());
            let credential = Credential::from_key_file(&"5a".repeat(32)).unwrap();
            let slot = Slot::new(&[7; 32], &keys, &credential, "a label", time).unwrap();
            let passphrase = r#","argon2id":{"m_kib":19456,"t":3,"p":1,"salt":"00112233445566778899aabbccddeeff"},"sealed""#;
            let whole = String::from_utf8(slot.encode().unwrap()).unwrap();
            vec![whole.replace(",\"sealed\"", passphrase).into_bytes(), whole.into_bytes()]
        }
        "snapshot" => {
            [document(), site()].iter().map(|one| snapshot::encode(one, &Ids::default()).unwrap().1).collect()
        }
        other => panic!("no seeds for {other}"),
    }
}

/// What is done to a valid input.
#[derive(Debug, Clone)]
enum Edit {
    Set(Index, u8),
    Flip(Index, u8),
    Number(Index, u64, u8),
    Cut(Index),
    Insert(Index, Vec<u8>),
    Remove(Index, u8),
    Repeat(Index, u8, u8),
}

fn edit() -> impl Strategy<Value = Edit> {
    let odd = prop_oneof![
        Just(0),
        Just(u64::MAX),
        Just(u64::MAX >> 1),
        Just(1 << 32),
        Just(u64::from(u32::MAX)),
        any::<u64>()
    ];
    prop_oneof![
        3 => (any::<Index>(), any::<u8>()).prop_map(|(at, byte)| Edit::Set(at, byte)),
        3 => (any::<Index>(), 0u8..8).prop_map(|(at, bit)| Edit::Flip(at, bit)),
        2 => (any::<Index>(), odd, prop_oneof![Just(2), Just(4), Just(8)]).prop_map(|(at, n, width)| Edit::Number(at, n, width)),
        1 => any::<Index>().prop_map(Edit::Cut),
        1 => (any::<Index>(), vec(any::<u8>(), 1..40)).prop_map(|(at, bytes)| Edit::Insert(at, bytes)),
        1 => (any::<Index>(), any::<u8>()).prop_map(|(at, len)| Edit::Remove(at, len)),
        1 => (any::<Index>(), any::<u8>(), 1u8..60).prop_map(|(at, len, times)| Edit::Repeat(at, len, times)),
    ]
}

fn edited(mut bytes: Vec<u8>, edits: &[Edit]) -> Vec<u8> {
    for edit in edits {
        let len = bytes.len();
        let place = |at: &Index| if len == 0 { 0 } else { at.index(len) };
        match edit {
            Edit::Set(at, byte) => bytes.iter_mut().skip(place(at)).take(1).for_each(|old| *old = *byte),
            Edit::Flip(at, bit) => bytes.iter_mut().skip(place(at)).take(1).for_each(|old| *old ^= 1 << bit),
            Edit::Number(at, number, width) => {
                let new = number.to_le_bytes();
                bytes.iter_mut().skip(place(at)).zip(&new[..usize::from(*width)]).for_each(|(old, new)| *old = *new);
            }
            Edit::Cut(at) => bytes.truncate(place(at)),
            Edit::Insert(at, more) => drop(bytes.splice(place(at)..place(at), more.iter().copied())),
            Edit::Remove(at, n) => drop(bytes.drain(place(at)..(place(at) + usize::from(*n)).min(len))),
            Edit::Repeat(at, n, times) => {
                let run = bytes[place(at)..(place(at) + usize::from(*n)).min(len)].repeat(usize::from(*times));
                bytes.splice(place(at)..place(at), run);
            }
        }
    }
    bytes
}

fn rounds() -> u32 {
    match std::env::var("LRL_TEST_ROUNDS").as_deref() {
        Ok("all") => 200_000,
        Ok(number) => number.parse().unwrap_or(300),
        Err(_) => 300,
    }
}

fn measured(name: &str, body: Body, input: &[u8]) -> Result<(), TestCaseError> {
    let region = Region::new(ALLOCATOR);
    body(input);
    let change = region.change();
    let (taken, most) = (change.bytes_allocated, allowance(name, input.len()));
    prop_assert!(taken <= most, "{name} allocated {taken} bytes for {} of input, {most} are allowed", input.len());
    Ok(())
}

// One test: what another thread allocates would count too.
#[test]
fn every_parser_reads_or_refuses_any_bytes_within_its_memory() {
    for (name, body) in BODIES {
        let seeds = seeds(name);
        // What is made once, for each thread or process, is nobody's.
        seeds.iter().for_each(|seed| body(seed));
        for seed in &seeds {
            measured(name, body, seed).unwrap();
        }
        let changed = (prop::sample::select(seeds), vec(edit(), 1..6)).prop_map(|(seed, edits)| edited(seed, &edits));
        let input = prop_oneof![4 => changed, 1 => vec(any::<u8>(), 0..600)];
        // Programs and archives take a hundred times longer than the others.
        let cases = if matches!(name, "operations" | "archive") { rounds() / 10 + 1 } else { rounds() };
        let mut runner = TestRunner::new(Config { cases, source_file: Some(file!()), ..Config::default() });
        if let Err(failure) = runner.run(&input, |input| measured(name, body, &input)) {
            panic!("{name}: {failure}");
        }
        println!("{name}: {cases} inputs");
    }
}

#[test]
#[ignore = "writes the seeds of fuzz/ into fuzz/corpus"]
fn write_the_corpus() {
    let fuzz = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus");
    for (name, _) in BODIES {
        std::fs::create_dir_all(fuzz.join(name)).unwrap();
        for (n, seed) in seeds(name).iter().enumerate() {
            std::fs::write(fuzz.join(name).join(format!("seed-{n}")), seed).unwrap();
        }
    }
}
