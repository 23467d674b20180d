//! An index that contradicts the packs.

use std::sync::Arc;

use super::{Lab, STRUCTURE, contents, examine, repaired, try_prune};
use crate::ops::check::check;
use crate::ops::tests::faulty::twin;
use crate::progress::Silent;

#[test]
fn an_index_that_says_what_no_pack_says_is_written_anew() {
    let lab = Lab::new();
    for what in ["lists a pack that never was", "lists a place that is none", "lost a chunk"] {
        let storage = twin(&lab.storage);
        let store = examine(&storage).unwrap();
        let files = store.indexes();
        let mut packs = store.listed_packs();
        let mut n = 0;
        let bad = crate::store::index::select(
            &*storage,
            &files,
            {
                packs.push(crate::id::PackId::of(b"none"));
                packs.clone()
            },
            &mut |copies| {
                n += 1;
                match what {
                    "lists a pack that never was" => copies[0].place.pack = crate::id::PackId::of(b"none"),
                    "lists a place that is none" => copies[0].place.offset += 1,
                    _ if n == 3 => copies.clear(),
                    _ => {}
                }
                Ok(())
            },
        );
        let (bad, _) = bad.unwrap();
        files.iter().filter(|file| file.name() != bad.name()).for_each(|file| storage.remove(file.name()).unwrap());
        drop(store);
        let report = check(Arc::clone(&storage), &STRUCTURE, &Silent).unwrap();
        assert!(report.wrong, "{what}: {report:#?}");
        let done = repaired(&storage, &STRUCTURE, what);
        assert!(!done.left.wrong, "{what}: {:#?}", done.left.findings);
        assert_eq!(contents(&storage), lab.truth, "{what}");
        assert!(done.moved.iter().all(|moved| moved.object.starts_with("index/")), "{what}: {:?}", done.moved);
        try_prune(&storage).unwrap();
        assert_eq!(contents(&storage), lab.truth, "{what}");
    }
}
