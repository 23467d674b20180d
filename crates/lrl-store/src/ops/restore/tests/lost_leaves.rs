//! Lists of which one leaf is lost: the rest comes back, and what is missing is told.

use std::collections::BTreeSet;

use super::site::Site;
use super::*;
use crate::backend::Backend;
use crate::format::node::{Node, decode};
use crate::id::ChunkId;
use crate::ops::tests::faulty::{Counted, Fault, Faulty, flip_byte, twin};

/// Returns the leaves of a list, each with its entries.
fn leaves(store: &Store, list: &ChunkId) -> Vec<(ChunkId, Vec<Entry>)> {
    match decode::<Entry>(&store.read(list).unwrap(), "node").unwrap() {
        Node::Leaf(entries) => vec![(*list, entries)],
        Node::Inner(_, children) => children.iter().flat_map(|child| leaves(store, &child.id)).collect(),
    }
}

/// Opens a copy of a store in which a chunk is damaged.
fn without(store: &Store, chunk: &ChunkId) -> Store {
    let backend = twin(store.storage());
    let place = store.locate(chunk).unwrap().unwrap();
    flip_byte(&*backend, &place, 3);
    Store::open(backend, LockMode::Shared, Duration::ZERO, &Silent).unwrap()
}

fn files_of(entries: &[Entry]) -> BTreeSet<Vec<u8>> {
    let files = entries.iter().filter(|entry| matches!(entry.kind, Kind::File { .. }));
    files.map(|entry| entry.path.clone()).collect()
}

fn files_in(top: &Path) -> BTreeSet<Vec<u8>> {
    let is_file = |path: &Vec<u8>| !path.starts_with(b".lrl") && top.join(OsStr::from_bytes(path)).is_file();
    look(top).into_keys().filter(is_file).collect()
}

#[test]
fn uploads_come_back_without_the_entries_of_a_lost_leaf() {
    let lab = Lab::new();
    let mut list = vec![Entry { mode: 0o700, ..entry("assets", Kind::Dir) }];
    for dir in 0..90 {
        list.push(Entry { mode: 0o700, ..entry(&format!("assets/d{dir:02}"), Kind::Dir) });
        list.extend((0..12).map(|n| entry(&format!("assets/d{dir:02}/f{n:02}"), file())));
    }
    let all = files_of(&list);
    let snapshot = lab.snapshot_of(list);
    let leaves = leaves(&lab.store, &snapshot.files.as_ref().unwrap().list);
    assert!(leaves.len() >= 3, "{} leaves", leaves.len());
    let mut stand_ins = 0;
    for (n, (leaf, lost)) in leaves.iter().enumerate() {
        let store = without(&lab.store, leaf);
        let options = Options { skip_damaged: true, ..Options::new(lab.dir.path().join(format!("target{n}"))) };
        let whole = Options { skip_damaged: false, ..options.clone() };
        let stopped = restore(&store, &name(), &snapshot, &whole, &Silent);
        assert!(matches!(stopped, Err(Error::Corrupt { .. })), "leaf {n}: {stopped:?}");
        assert!(!options.data_dir.exists(), "leaf {n}");
        let report = restore(&store, &name(), &snapshot, &options, &Silent).unwrap();
        let skipped: Vec<_> = report.skipped.iter().map(|skip| (skip.path.as_bytes(), skip.entries)).collect();
        assert_eq!(skipped, [(lost[0].path.as_slice(), lost.len() as u64)], "leaf {n}");
        let expected: BTreeSet<_> = all.difference(&files_of(lost)).cloned().collect();
        assert!(files_in(&options.data_dir) == expected, "leaf {n}");
        assert_eq!(report.files, expected.len() as u64, "leaf {n}");
        // A directory whose own entry is lost gets a usual mode, the others have theirs.
        for (path, (mode, ..)) in look(&options.data_dir.join("assets")) {
            let dir = [b"assets/".as_slice(), &path].concat();
            let is_lost = lost.iter().any(|entry| entry.path == *dir.strip_suffix(b"/").unwrap_or(&dir));
            if mode & 0o170_000 == 0o040_000 {
                assert_eq!(mode & 0o7777, if is_lost { 0o755 } else { 0o700 }, "leaf {n}: {}", dir.escape_ascii());
                stand_ins += u32::from(is_lost);
            }
        }
    }
    assert!(stand_ins > 0);
}

#[test]
fn a_store_that_goes_away_meanwhile_is_no_damage() {
    let lab = Lab::new();
    let mut list = vec![entry("assets", Kind::Dir)];
    list.extend((0..1100).map(|n| entry(&format!("assets/{n:04}"), Kind::Dir)));
    let snapshot = lab.snapshot_of(list);
    assert!(leaves(&lab.store, &snapshot.files.as_ref().unwrap().list).len() >= 2);
    let mut calls = 0;
    loop {
        let backend = Arc::new(Faulty::before(twin(lab.store.storage()), Counted::All));
        let store =
            Store::open(Arc::clone(&backend) as Arc<dyn Backend>, LockMode::Shared, Duration::ZERO, &Silent).unwrap();
        let options = Options { skip_damaged: true, ..Options::new(lab.dir.path().join(format!("target{calls}"))) };
        backend.arm(Fault::Dies, calls);
        let result = restore(&store, &name(), &snapshot, &options, &Silent);
        if !backend.disarm() {
            break;
        }
        assert!(matches!(result, Err(Error::Io { .. })), "call {calls}: {result:?}");
        assert!(!options.data_dir.exists(), "call {calls}");
        calls += 1;
    }
    assert!(calls >= 5, "{calls}");
}

#[test]
fn a_site_comes_back_without_the_entries_of_a_lost_leaf() {
    let site = Site::new();
    for n in 0..900 {
        site.write(&format!("data/many/{}/{n}", n % 60), b"");
    }
    let (name, snapshot) = site.backup();
    let leaves = leaves(&site.lab.store, &snapshot.files.as_ref().unwrap().list);
    assert!(leaves.len() >= 2, "{} leaves", leaves.len());
    let all: Vec<Entry> = leaves.iter().flat_map(|(_, entries)| entries.clone()).collect();
    let many = |files: BTreeSet<Vec<u8>>| files.into_iter().filter(|path| path.starts_with(b"data/many/")).collect();
    for (n, (leaf, lost)) in leaves.iter().enumerate() {
        let store = without(&site.lab.store, leaf);
        let target = site.lab.dir.path().join(format!("target{n}"));
        let options = Options { skip_damaged: true, only_below: true, ..Options::new(&target) };
        let whole = Options { skip_damaged: false, ..options.clone() };
        let stopped = restore(&store, &name, &snapshot, &whole, &Silent);
        assert!(matches!(stopped, Err(Error::Corrupt { .. })), "leaf {n}: {stopped:?}");
        assert!(!target.exists(), "leaf {n}");
        let report = restore(&store, &name, &snapshot, &options, &Silent).unwrap();
        assert!(report.skipped.iter().any(|skip| skip.path.as_bytes() == lost[0].path), "{:?}", report.skipped);
        let expected: BTreeSet<_> = files_of(&all).difference(&files_of(lost)).cloned().collect();
        let (found, expected): (BTreeSet<_>, BTreeSet<_>) = (many(files_in(&target)), many(expected));
        assert!(found == expected, "leaf {n}");
        let databases = report.restored.iter().map(|one| one.databases.len()).sum::<usize>();
        assert!(site::DATABASES.iter().all(|path| target.join(path).exists()), "leaf {n}: {databases}");
    }
}
