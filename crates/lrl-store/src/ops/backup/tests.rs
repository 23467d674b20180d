//! The database's road into the store and back, on images that grow, shrink, move and repeat.

use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use sha2::{Digest, Sha256};

use super::store_database::store_file;
use super::{Options, backup};
use crate::backend::MOST_WHOLE_BYTES;
use crate::error::Error;
use crate::format::entry::Content;
use crate::format::snapshot::Database;
use crate::fs::lock::LockMode;
use crate::fs::space::Reserve;
use crate::id::ChunkId;
use crate::progress::Silent;
use crate::source::database::source::DatabaseSource;
use crate::source::files::exclude::Excludes;
use crate::source::files::walk::Root;
use crate::store::write::WriteSession;
use crate::store::{Store, create};
use crate::testing::memory_backend::memory;
use crate::time::Time;

const PAGE: usize = 4096;

/// Options of a run over `lrl.db` and `assets` in `dir`, a number of seconds after a fixed moment: no set, and no waiting for locks.
pub fn options(dir: &Path, second: u64) -> Options {
    Options {
        databases: vec![DatabaseSource { path: b"lrl.db".to_vec(), file: dir.join("lrl.db") }],
        discover: None,
        stores_databases: true,
        uploads: Some(vec![Root { name: "assets".into(), path: dir.join("assets") }]),
        skip: Vec::new(),
        excludes: Excludes::none(),
        secrets: Excludes::none(),
        out: None,
        scratch: dir.to_path_buf(),
        source: "lab".into(),
        tags: Vec::new(),
        host: String::new(),
        program: "test".into(),
        rescan: false,
        rescan_every: None,
        max_shrink_percent: 50,
        accept_shrink: false,
        only_if_changed: false,
        settle: Duration::ZERO,
        keep_sets: None,
        reserve: Reserve::NONE,
        lock_wait: Duration::ZERO,
        busy: Duration::ZERO,
        now: SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000 + second),
    }
}

fn store() -> Store {
    let storage = memory();
    create(&storage, [1; 32]).unwrap();
    Store::open(Arc::new(storage), LockMode::Shared, Duration::ZERO, &Silent).unwrap()
}

/// Pages with contents of their own that do not compress.
fn page(seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 24) as u8
    })
    .take(PAGE)
    .collect()
}

/// Keeps an image, reads it back, and returns its record and how many bytes it added.
fn keep(store: &Store, image: &[u8], parent: Option<&Database>) -> (Database, u64) {
    let dir = tempfile::tempdir().unwrap();
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(image).unwrap();
    let session = WriteSession::new(store);
    let (root, sha256) = store_file(&session, &mut file, parent, dir.path(), &Silent).unwrap();
    session.seal().unwrap();
    assert_eq!(sha256, crate::units::hex(&Sha256::digest(image)));
    let mut back = Vec::new();
    store
        .read_content(&Content::Tree(root), 0, image.len() as u64, &mut |bytes| {
            back.extend_from_slice(bytes);
            Ok(())
        })
        .unwrap();
    assert!(back == image);
    let record = Database {
        path: b"lrl.db".to_vec(),
        source_path: "lrl.db".into(),
        size_bytes: image.len() as u64,
        sha256: Some(sha256),
        root,
        page_size: PAGE as u32,
        change_counter: 0,
        used_pages: None,
        tables: None,
        mode: 0o600,
        uid: 0,
        gid: 0,
        mtime: Time::default(),
        xattrs: Vec::new(),
    };
    (record, session.added_bytes())
}

#[test]
fn steps_cost_what_changed_and_every_image_comes_back() {
    let store = store();
    // 20 MiB: more than stays in memory while it is taken in.
    let mut pages: Vec<Vec<u8>> = (0..5120).map(page).collect();
    let (first, full) = keep(&store, &pages.concat(), None);
    assert!(full > 20 << 20);
    let (same, added) = keep(&store, &pages.concat(), Some(&first));
    assert_eq!((same.root, added), (first.root, 0));
    pages[700][17] ^= 1;
    pages[5000] = page(1 << 40);
    let (second, added) = keep(&store, &pages.concat(), Some(&first));
    assert!(added < 8_000, "{added}");
    pages.extend((0..3).map(|n| page((1 << 41) + n)));
    let (grown, added) = keep(&store, &pages.concat(), Some(&second));
    assert!(added < 20_000, "{added}");
    pages.truncate(100);
    keep(&store, &pages.concat(), Some(&grown));
    keep(&store, &[], Some(&grown));
    keep(&store, &page(3)[..512], Some(&grown));
}

#[test]
fn pages_that_moved_are_found_by_content() {
    let store = store();
    let mut pages: Vec<Vec<u8>> = (0..4096).map(page).collect();
    // Pages have a size only where a header gives it.
    pages[0][..18].copy_from_slice(b"SQLite format 3\0\x10\x00");
    let (first, full) = keep(&store, &pages.concat(), None);
    // What a VACUUM does: a few pages go, all others follow each other closer, in runs.
    let moved: Vec<Vec<u8>> = pages.iter().enumerate().filter(|(n, _)| n % 50 != 7).map(|(_, p)| p.clone()).collect();
    let (_, added) = keep(&store, &moved.concat(), Some(&first));
    assert!(added < full / 20, "{added} of {full}");
}

#[test]
fn a_damaged_parent_costs_space_only() {
    let store = store();
    let pages: Vec<Vec<u8>> = (0..256).map(page).collect();
    let (mut parent, full) = keep(&store, &pages.concat(), None);
    parent.root = ChunkId::of(b"not there");
    let (_, added) = keep(&store, &pages.concat(), Some(&parent));
    assert!(added < full / 100, "known chunks are known without a parent: {added}");
}

#[test]
fn a_snapshot_too_long_to_be_read_again_is_not_published() {
    let (dir, store) = (tempfile::tempdir().unwrap(), store());
    std::fs::create_dir(dir.path().join("assets")).unwrap();
    let of_host = |host: String| {
        let options = Options { host, databases: Vec::new(), stores_databases: false, ..options(dir.path(), 0) };
        backup(&store, &options, &Silent)
    };
    let refused = of_host("h".repeat(MOST_WHOLE_BYTES as usize));
    assert!(matches!(refused, Err(Error::Refused(_))), "{:?}", refused.err());
    assert!(store.snapshot_names(None).unwrap().is_empty());
    let _ = of_host("h".into()).unwrap();
}
