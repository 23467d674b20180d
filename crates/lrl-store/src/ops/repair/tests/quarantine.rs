//! What a repair moves into quarantine.

use super::{EVERYTHING, Lab, STRUCTURE, contents, put, repaired};
use crate::ops::tests::faulty::{names, twin};

#[test]
fn what_a_repair_moved_can_be_moved_back() {
    let lab = Lab::new();
    let storage = twin(&lab.storage);
    let pack = names(&storage, "packs").remove(0);
    let sound = storage.read(&pack).unwrap();
    let mut bytes = sound.clone();
    bytes[50] ^= 1;
    put(&storage, &pack, &bytes);
    let done = repaired(&storage, &EVERYTHING, "damaged");
    assert!(done.left.wrong && storage.read(&format!("quarantine/{pack}")).unwrap() == bytes, "{done:#?}");
    // From another copy of the store, say.
    put(&storage, &pack, &sound);
    let done = repaired(&storage, &STRUCTURE, "brought back");
    assert!(!done.left.wrong && names(&storage, "repairs").is_empty(), "{done:#?}");
    assert_eq!(contents(&storage), lab.truth);
    // The same name again gets a number.
    put(&storage, &pack, &[bytes, vec![1]].concat());
    repaired(&storage, &EVERYTHING, "damaged again");
    assert_eq!(names(&storage, "quarantine/packs").len(), 2);
}

#[test]
fn a_pack_of_which_every_chunk_is_good_is_not_overwritten_by_what_is_saved_of_it() {
    let lab = Lab::new();
    let storage = twin(&lab.storage);
    for pack in names(&storage, "packs") {
        let mut bytes = storage.read(&pack).unwrap();
        bytes[2] ^= 1;
        put(&storage, &pack, &bytes);
    }
    let damaged: Vec<_> = names(&storage, "packs").iter().map(|pack| storage.read(pack).unwrap()).collect();
    let done = repaired(&storage, &STRUCTURE, "headers");
    assert!(!done.left.wrong && done.saved.chunks > 0, "{done:#?}");
    assert_eq!(contents(&storage), lab.truth);
    let moved: Vec<_> = names(&storage, "quarantine/packs").iter().map(|pack| storage.read(pack).unwrap()).collect();
    assert_eq!(moved, damaged);
}
