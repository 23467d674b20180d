//! A damaged delta base, and a chunk that depends on the part of it that is sound.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use sha2::Digest;

use super::{EVERYTHING, contents, repaired};
use crate::backend::Backend;
use crate::format::entry::Piece;
use crate::format::snapshot;
use crate::fs::lock::LockMode;
use crate::ops::check::check;
use crate::ops::tests::cases::noise;
use crate::ops::tests::faulty::flip_byte;
use crate::ops::tests::sample;
use crate::progress::Silent;
use crate::store::tree::TreeBuilder;
use crate::store::write::WriteSession;
use crate::store::{Store, create};
use crate::testing::memory_backend::memory;
use crate::time::Time;

/// A snapshot of a database that is one chunk, which depends on the part of its base that is not damaged.
#[test]
fn what_does_not_use_the_damaged_part_of_its_base_is_not_lost_with_it() {
    let storage: Arc<dyn Backend> = Arc::new(memory());
    create(&*storage, [1; 32]).unwrap();
    let store = Store::open(Arc::clone(&storage), LockMode::Shared, Duration::ZERO, &Silent).unwrap();
    let base = noise(1, 5000);
    let image = [&base[..2000], &noise(2, 100)].concat();
    let first = WriteSession::new(&store);
    let base_id = first.put(&base, &[]).unwrap();
    first.seal().unwrap();
    let second = WriteSession::new(&store);
    let id = second.put(&image, &[base_id]).unwrap();
    let mut list = TreeBuilder::<Piece>::new(&second, None);
    list.push(Piece::Data { id, len: image.len() as u64 }).unwrap();
    let root = list.finish().unwrap();
    second.seal().unwrap();
    assert_eq!(store.locate(&id).unwrap().unwrap().record.bases, [base_id]);
    let time = Time { secs: 1_700_000_000, nanos: 0 };
    let database = snapshot::Database {
        path: b"lrl.db".to_vec(),
        source_path: "lrl.db".into(),
        size_bytes: image.len() as u64,
        sha256: Some(crate::units::hex(&sha2::Sha256::digest(&image))),
        root,
        page_size: 0,
        change_counter: 0,
        used_pages: None,
        tables: None,
        mode: 0o600,
        uid: 0,
        gid: 0,
        mtime: time,
        xattrs: Vec::new(),
    };
    let snapshot = sample::snapshot(Some(database), None);
    store.publish(&snapshot).unwrap();
    let place = store.locate(&base_id).unwrap().unwrap();
    flip_byte(&*storage, &place, 4000);
    drop(store);
    let before = contents(&storage);
    assert_eq!(before.values().map(BTreeMap::len).sum::<usize>(), 1);
    let report = check(Arc::clone(&storage), &EVERYTHING, &Silent).unwrap();
    assert!(report.wrong && report.lost.is_empty(), "{report:#?}");
    let done = repaired(&storage, &EVERYTHING, "a base");
    assert!(!done.left.wrong && done.saved.chunks == 1, "{done:#?}");
    assert_eq!(contents(&storage), before);
}
