//! The snapshot document: what is written is read again, and a path that leads elsewhere, out of order or twice, is refused.

use proptest::prelude::*;

use super::entry::{compare_paths, is_clean_path};
use super::path_text;
use super::snapshot::{Database, Files, Measure, RootDir, Shrink, Snapshot, VERSION, decode, encode};
use crate::error::{Error, Result};
use crate::id::{ChunkId, Ids, SnapshotId};
use crate::time::Time;

fn database(path: &[u8]) -> Database {
    Database {
        path: path.to_vec(),
        source_path: "/srv/site/x".into(),
        size_bytes: 8192,
        sha256: None,
        root: ChunkId::of(path),
        page_size: 4096,
        change_counter: 1,
        used_pages: Some(2),
        tables: None,
        mode: 0o640,
        uid: 1,
        gid: 2,
        mtime: Time::default(),
        xattrs: Vec::new(),
    }
}

/// A snapshot of a site with databases at these paths.
fn site(paths: &[&[u8]]) -> Snapshot {
    Snapshot {
        format: VERSION,
        source: "site".into(),
        sequence: 1,
        parents: Vec::new(),
        timestamp: "20260114_120000".into(),
        created: Time::default(),
        host: String::new(),
        tags: Vec::new(),
        program: "test".into(),
        packs: Vec::new(),
        original: None,
        avoids: Vec::new(),
        added_bytes: None,
        duration_ms: Some(7),
        root: Some(RootDir {
            path: "/srv/site".into(),
            mode: 0o2750,
            uid: 33,
            gid: 34,
            mtime: Time { secs: -1, nanos: 999_999_999 },
            xattrs: Vec::new(),
        }),
        databases: paths.iter().map(|path| database(path)).collect(),
        window_us: 1500,
        files: Some(Files {
            roots: [(String::new(), "/srv/site".into())].into(),
            list: ChunkId::of(b"list"),
            entries: 3,
            files: 1,
            bytes: 10,
            archive: None,
        }),
        problems: Vec::new(),
        shrunk: Vec::new(),
    }
}

fn again(snapshot: &Snapshot) -> Result<Snapshot> {
    let (id, bytes) = encode(snapshot, &Ids::default()).unwrap();
    decode(&bytes, &id, &Ids::default(), "snapshots/x")
}

/// Reads a document that has one text in place of another.
fn edited(snapshot: &Snapshot, from: &str, to: &str) -> Result<Snapshot> {
    let (_, bytes) = encode(snapshot, &Ids::default()).unwrap();
    let text = String::from_utf8(bytes).unwrap();
    assert!(text.contains(from), "{from} is not in {text}");
    let text = text.replace(from, to);
    decode(text.as_bytes(), &SnapshotId::of(text.as_bytes()), &Ids::default(), "snapshots/x")
}

#[track_caller]
fn refused(read: Result<Snapshot>) {
    assert!(matches!(read, Err(Error::Corrupt { .. })), "{read:?}");
}

#[test]
fn a_site_with_paths_that_need_escapes_comes_back() {
    let shrink = |measure, database| Shrink { measure, database, before: 9, now: 1, against: SnapshotId::of(b"a") };
    let mut snapshot = site(&[b"a.db", b"caf\xe9.db", b"d\\x41.db", "f/\u{e9}\"\n.db".as_bytes()]);
    snapshot.shrunk = vec![shrink(Measure::Files, None), shrink(Measure::Tables, Some(b"caf\xe9.db".to_vec()))];
    assert_eq!(again(&snapshot).unwrap(), snapshot);
    let text = String::from_utf8(encode(&snapshot, &Ids::default()).unwrap().1).unwrap();
    for path in [r#""path":"caf\\xe9.db""#, r#""path":"d\\\\x41.db""#, r#""database":"caf\\xe9.db""#] {
        assert!(text.contains(path), "{path} is not in {text}");
    }
}

#[test]
fn members_without_a_value_are_omitted() {
    let snapshot = Snapshot { duration_ms: None, root: None, window_us: 0, files: None, ..site(&[]) };
    let text = String::from_utf8(encode(&snapshot, &Ids::default()).unwrap().1).unwrap();
    for member in ["duration_ms", "root", "databases", "window_us", "files", "sha256", "null"] {
        assert!(!text.contains(member), "{member} is in {text}");
    }
    assert_eq!(again(&snapshot).unwrap(), snapshot);
}

#[test]
fn databases_out_of_order_or_with_one_path_are_refused() {
    assert!(again(&site(&[b"a", b"a/b", b"a.db"])).is_ok(), "`/` is below every other byte");
    for paths in [&[b"b".as_slice(), b"a"][..], &[b"a", b"a"], &[b"a.db", b"a/b"], &[b"a", b"b", b"b"]] {
        refused(again(&site(paths)));
    }
    // Two texts of one path.
    refused(edited(&site(&[b"a.db", b"b.db"]), r#""b.db""#, r#""\\x61.db""#));
}

#[test]
fn paths_that_lead_elsewhere_are_refused() {
    for path in ["", "/etc/x.db", "../x.db", "a/../x.db", "./x.db", "a//x.db", "a/", "a\0b"] {
        refused(again(&site(&[path.as_bytes()])));
    }
    // Escapes hide nothing.
    for text in [r"\\x2e\\x2e/x.db", r"\\x2fetc/x.db", r"a\\x00.db"] {
        refused(edited(&site(&[b"x.db"]), r#""path":"x.db""#, &format!(r#""path":"{text}""#)));
    }
}

#[test]
fn malformed_escapes_are_refused() {
    for text in [r"a\\", r"a\\x", r"a\\xf", r"a\\xzz", r"a\\x+f", r"a\\n"] {
        refused(edited(&site(&[b"x.db"]), r#""path":"x.db""#, &format!(r#""path":"{text}""#)));
    }
    let shrink = Shrink {
        measure: Measure::Tables,
        database: Some(b"x.db".to_vec()),
        before: 1,
        now: 0,
        against: SnapshotId::of(b"a"),
    };
    let snapshot = Snapshot { shrunk: vec![shrink], ..site(&[b"x.db"]) };
    refused(edited(&snapshot, r#""database":"x.db""#, r#""database":"\\q""#));
}

#[test]
fn another_format_is_refused_by_name() {
    for format in ["1", "3"] {
        let read = edited(&site(&[b"x.db"]), r#""format":2"#, &format!(r#""format":{format}"#));
        assert!(matches!(read, Err(Error::Unsupported { .. })), "{read:?}");
    }
}

proptest! {
    #[test]
    fn any_databases_are_read_as_written_or_refused(paths in proptest::collection::vec("[a./\\\\\u{e9}\n]{0,5}", 0..4), odd: Vec<u8>) {
        let mut paths: Vec<&[u8]> = paths.iter().map(String::as_bytes).collect();
        paths.push(&odd);
        let snapshot = site(&paths);
        let is_sound = paths.iter().all(|path| is_clean_path(path)) && paths.is_sorted_by(|a, b| compare_paths(a, b).is_lt());
        match again(&snapshot) {
            Ok(read) => {
                prop_assert!(is_sound);
                prop_assert_eq!(read, snapshot);
            }
            Err(Error::Corrupt { .. }) => prop_assert!(!is_sound),
            Err(other) => prop_assert!(false, "{other}"),
        }
        // In order and each once they are always accepted.
        paths.retain(|path| is_clean_path(path));
        paths.sort_by(|a, b| compare_paths(a, b));
        paths.dedup();
        let snapshot = site(&paths);
        prop_assert_eq!(again(&snapshot).unwrap(), snapshot);
    }

    #[test]
    fn a_document_with_any_text_for_a_path_is_read_or_refused(text in "\\PC{0,12}") {
        let quoted = format!("\"path\":{}", serde_json::to_string(&text).unwrap());
        match edited(&site(&[b"x.db"]), r#""path":"x.db""#, &quoted) {
            Ok(read) => prop_assert_eq!(path_text::decode(&text), Some(read.databases[0].path.clone())),
            Err(error) => prop_assert!(matches!(error, Error::Corrupt { .. }), "{error}"),
        }
    }
}
