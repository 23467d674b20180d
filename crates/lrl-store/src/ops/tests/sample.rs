//! Documents for tests that are about what they say, not about data: a test names what differs.

use crate::format::snapshot::{self, Database, Files, Snapshot};
use crate::id::ChunkId;
use crate::time::Time;

/// A snapshot of the source `lab`, the first of its history.
pub fn snapshot(database: Option<Database>, uploads: Option<Files>) -> Snapshot {
    Snapshot {
        format: snapshot::VERSION,
        source: "lab".into(),
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
        duration_ms: None,
        root: None,
        databases: database.into_iter().collect(),
        window_us: 0,
        files: uploads,
        problems: Vec::new(),
        shrunk: Vec::new(),
    }
}

/// A database with one table, whose image is in no store.
pub fn database() -> Database {
    Database {
        path: b"lrl.db".to_vec(),
        source_path: "data/lrl.db".into(),
        size_bytes: 0,
        sha256: Some(String::new()),
        root: ChunkId::of(b""),
        page_size: 4096,
        change_counter: 1,
        used_pages: None,
        tables: Some(vec!["t".into()]),
        mode: 0,
        uid: 0,
        gid: 0,
        mtime: Time::default(),
        xattrs: Vec::new(),
    }
}

/// Uploads without an entry, whose list is in no store.
pub fn uploads() -> Files {
    Files { roots: [].into(), list: ChunkId::of(b""), entries: 0, files: 0, bytes: 0, archive: None }
}
