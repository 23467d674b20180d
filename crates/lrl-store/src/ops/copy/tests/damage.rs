//! Damage in the source and in the destination.

use super::{KEYS, Lab, Shared, assert_same, contents, empty, held, open, run, whole};
use crate::backend::Payload;
use crate::format::entry::Kind;
use crate::ops::copy::Which;
use crate::ops::ls;
use crate::ops::tests::faulty::names;
use crate::store::{Store, pack_name};

/// Changes a byte of a pack.
fn flip(backend: &Shared, name: &str, at: usize) {
    let mut bytes = backend.read(name).unwrap();
    bytes[at] ^= 1;
    backend.remove(name).unwrap();
    backend.put(name, Payload::Bytes(&bytes)).unwrap();
}

#[test]
fn a_snapshot_that_is_damaged_is_named_and_the_others_are_copied() {
    let mut lab = Lab::new();
    (0..3).for_each(|_| lab.step());
    lab.upload("third", 77, 30_000);
    lab.step();
    std::fs::remove_file(lab.dir.path().join("assets/third")).unwrap();
    lab.step();
    let from = open(&lab.backend, None);
    let fourth = from.snapshot_names(None).unwrap()[3].clone();
    // The upload that only the fourth has is the largest chunk of its pack.
    let pack = pack_name(&from.snapshot(&fourth).unwrap().packs[0]);
    let at = storage_offset_of(&from, &fourth);
    flip(&lab.backend, &pack, at);
    for key in KEYS {
        let from = open(&lab.backend, None);
        let copied = empty(2);
        let to = open(&copied, key);
        let report = run(&from, &to, Which::Missing(None));
        assert_eq!((report.copied.len(), report.failed.len()), (4, 1), "{report:?}");
        assert_eq!(report.failed[0].name, fourth);
        assert!(report.failed[0].reason.contains("damaged"), "{}", report.failed[0].reason);
        assert_eq!(contents(&to).0.len(), 4);
        assert!(!contents(&to).0.contains_key(&fourth.id));
    }
    // A document that is damaged hides no other.
    let object = fourth.object();
    flip(&lab.backend, &object, 30);
    let to = open(&empty(2), None);
    let report = run(&open(&lab.backend, None), &to, Which::Missing(None));
    assert_eq!((report.copied.len(), report.failed.len()), (4, 1), "{report:?}");
}

/// Finds where the contents of `assets/third` stand in their pack.
fn storage_offset_of(store: &Store, name: &crate::store::SnapshotName) -> usize {
    let snapshot = store.snapshot(name).unwrap();
    let entries = ls::ls(store, &snapshot, b"assets/third").unwrap().entries;
    for entry in entries.map(Result::unwrap) {
        if let Kind::File { content: crate::format::entry::Content::Inline(pieces), .. } = entry.kind
            && let Some(crate::format::entry::Piece::Data { id, .. }) = pieces.first()
        {
            return store.locate(id).unwrap().unwrap().offset as usize + 10;
        }
    }
    panic!("it is not there");
}

#[test]
fn what_the_destination_has_lost_is_sent_again() {
    let mut lab = Lab::new();
    (0..3).for_each(|_| lab.step());
    let from = open(&lab.backend, None);
    for key in KEYS {
        let copied = empty(2);
        let first = open(&copied, key);
        let _ = whole(run(&from, &first, Which::Named(vec![from.snapshot_names(None).unwrap()[0].clone()])));
        let largest = names(&copied, "packs").into_iter().max_by_key(|name| copied.len(name).unwrap()).unwrap();
        copied.remove(&largest).unwrap();
        // What is new is whole; what was there before is looked through by a run that is asked for.
        let last = from.snapshot_names(None).unwrap()[2].clone();
        let _ = whole(run(&from, &open(&copied, key), Which::Named(vec![last.clone()])));
        let to = open(&copied, key);
        let there = to.snapshot_names(None).unwrap()[1].clone();
        assert_eq!(held(&to, &to.snapshot(&there).unwrap()), held(&from, &from.snapshot(&last).unwrap()));
        let report = whole(run(&from, &to, Which::Missing(None)));
        assert_eq!((report.copied.len(), report.known), (1, 2));
        assert!(report.problems.is_empty() && report.healed_bytes > 0);
        assert_same(&from, &open(&copied, key));
        // Its index still lists the pack that is gone, so it is looked through again, and nothing is missing.
        let report = whole(run(&from, &open(&copied, key), Which::Missing(None)));
        assert_eq!((report.added_bytes, report.healed_bytes), (0, 0));
    }
}
