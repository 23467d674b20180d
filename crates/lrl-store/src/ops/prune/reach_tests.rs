//! Everything that a snapshot names, followed by all who follow references: prune keeps it, check misses it, and so does a backup that would
//! reuse it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::mark::mark;
use crate::backend::Backend;
use crate::format::entry::{Content, Entry, Kind, Piece};
use crate::format::snapshot::{Database, Files, Snapshot};
use crate::fs::lock::LockMode;
use crate::id::ChunkId;
use crate::ops::check::{self, ReadData, check};
use crate::ops::tests::sample;
use crate::progress::Silent;
use crate::store::deletion::pending::PendingDeletions;
use crate::store::tree::{Cut, TreeBuilder};
use crate::store::write::WriteSession;
use crate::store::{SnapshotName, Store, create, pack_name};
use crate::testing::memory_backend::MemoryFs;
use crate::time::Time;

/// A store in which each chunk that one snapshot names has a pack of its own.
struct Lab {
    disk: MemoryFs,
    store: Store,
    named: Vec<ChunkId>,
}

fn open(disk: &MemoryFs) -> Store {
    Store::open(Arc::new(disk.storage()), LockMode::Exclusive, Duration::ZERO, &Silent).unwrap()
}

impl Lab {
    fn new() -> Self {
        let disk = MemoryFs::new();
        create(&disk.storage(), [1; 32]).unwrap();
        Self { store: open(&disk), disk, named: Vec::new() }
    }

    fn piece(&mut self) -> Piece {
        let bytes = [self.named.len() as u8; 100];
        let session = WriteSession::new(&self.store);
        let id = session.put(&bytes, &[]).unwrap();
        session.seal().unwrap();
        self.named.push(id);
        Piece::Data { id, len: 100 }
    }

    /// Stores a list of one node.
    fn list<T: Cut>(&mut self, items: Vec<T>) -> ChunkId {
        let session = WriteSession::new(&self.store);
        let mut builder = TreeBuilder::new(&session, None);
        items.into_iter().for_each(|item| builder.push(item).unwrap());
        let root = builder.finish().unwrap();
        session.seal().unwrap();
        self.named.push(root);
        root
    }

    /// Publishes a snapshot with each kind of entry, content and piece; `every_kind` in `format::references` holds this to be all.
    fn publish(&mut self) -> (SnapshotName, Snapshot) {
        let inline = vec![self.piece(), Piece::Hole { len: 50 }, self.piece()];
        let pieces = vec![self.piece(), Piece::Hole { len: 7 }, self.piece()];
        let tree = self.list(pieces);
        let kinds = [
            ("assets", Kind::Dir),
            ("assets/inline", Kind::File { size: 250, content: Content::Inline(inline) }),
            ("assets/link", Kind::Symlink { target: b"tree".to_vec() }),
            ("assets/name", Kind::Hardlink { target: b"assets/inline".to_vec() }),
            ("assets/tree", Kind::File { size: 207, content: Content::Tree(tree) }),
        ];
        let entry = |(path, kind): (&str, Kind)| {
            let (mode, path) = (if matches!(kind, Kind::Dir) { 0o755 } else { 0o644 }, path.as_bytes().to_vec());
            Entry { path, kind, mode, uid: 0, gid: 0, mtime: Time { secs: 1, nanos: 0 }, xattrs: Vec::new() }
        };
        let list = self.list(kinds.into_iter().map(entry).collect());
        let pieces = vec![self.piece(), self.piece()];
        let root = self.list(pieces);
        let roots = BTreeMap::from([("assets".to_string(), "./assets".to_string())]);
        let uploads = Files { roots, list, entries: 5, files: 3, bytes: 457, archive: None };
        let snapshot = sample::snapshot(Some(Database { size_bytes: 200, root, ..sample::database() }), Some(uploads));
        (self.store.publish(&snapshot).unwrap().0, snapshot)
    }
}

fn is_wrong(disk: &MemoryFs) -> bool {
    let options = check::Options { read_data: ReadData::No, seed: 1, lock_wait: Duration::ZERO, record: None };
    check(Arc::new(disk.storage()), &options, &Silent).unwrap().wrong
}

fn lacks_something(store: &Store, snapshot: &Snapshot) -> bool {
    WriteSession::new(store).snapshot_depends_on_pending_deletion(snapshot).unwrap()
}

#[test]
fn prune_check_and_backup_follow_every_reference_of_a_snapshot() {
    let mut lab = Lab::new();
    let (name, snapshot) = lab.publish();
    let Lab { disk, store, named } = lab;
    assert_eq!(named.len(), 9);
    let marked = mark(&store, &[name], &PendingDeletions::default(), &Silent).unwrap();
    for id in &named {
        let copy = store.listed_copy(id).unwrap().unwrap();
        assert!(marked.reached.has(copy.slot) && marked.kept.has(copy.slot), "prune would delete {id}");
    }
    assert!(!lacks_something(&store, &snapshot));
    let packs: Vec<String> = named.iter().map(|id| pack_name(&store.locate(id).unwrap().unwrap().pack)).collect();
    drop(store);
    assert!(!is_wrong(&disk));
    for (id, pack) in named.iter().zip(&packs) {
        let disk = disk.twin();
        disk.storage().remove(pack).unwrap();
        assert!(lacks_something(&open(&disk), &snapshot), "a backup would reuse what lacks {id}");
        assert!(is_wrong(&disk), "check does not miss {id}");
    }
}
