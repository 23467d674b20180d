//! What is reachable from a snapshot stays, what is not goes.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::{Lab, assert_clean, assert_exact, contents, open, pack_bytes, prune, worn};
use crate::format::entry::Entry;
use crate::format::node::{self, Node};
use crate::ops::prune::MaxUnused;
use crate::ops::tests::faulty::{names, twin};
use crate::progress::Silent;

#[test]
fn what_nothing_reaches_goes_and_a_second_time_there_is_nothing_to_do() {
    let mut lab = worn();
    let (right, before) = (contents(&lab.backend), pack_bytes(&lab.backend));
    assert_clean(&lab.backend, "before");
    let tolerant = twin(&lab.backend);
    let numbers = prune(&lab.backend, MaxUnused::Bytes(0));
    assert_eq!((numbers.snapshots, numbers.unused_bytes, numbers.missing), (4, 0, 0));
    assert!(numbers.dead.count > 1 && numbers.repacked.count > 0, "{numbers:?}");
    assert_eq!(before - pack_bytes(&lab.backend), numbers.freed_bytes());
    assert!(pack_bytes(&lab.backend) < before * 3 / 4, "{before} {}", pack_bytes(&lab.backend));
    assert_eq!(contents(&lab.backend), right);
    assert_clean(&lab.backend, "after");
    assert_exact(&lab.backend, "after");
    let objects = names(&lab.backend, "");
    let again = prune(&lab.backend, MaxUnused::Bytes(0));
    assert_eq!((again.dead.count, again.repacked.count), (0, 0));
    assert_eq!(names(&lab.backend, ""), objects);

    // Packs that waste something may stay; what is dead in them is no longer listed.
    let numbers = prune(&tolerant, MaxUnused::Unlimited);
    assert!(numbers.unused_bytes > 0 && numbers.repacked.count == 0);
    assert_eq!(contents(&tolerant), right);
    assert_clean(&tolerant, "with waste");
    assert_exact(&tolerant, "with waste");
    assert_eq!(prune(&tolerant, MaxUnused::Unlimited).unused_bytes, numbers.unused_bytes);
    assert_eq!(prune(&tolerant, MaxUnused::Bytes(0)).unused_bytes, 0);
    assert_exact(&tolerant, "without waste");
    assert_eq!(contents(&tolerant), right);

    // A backup goes on: what is unchanged is still known.
    let before = pack_bytes(&lab.backend);
    lab.back_up();
    assert!(pack_bytes(&lab.backend) - before < 2000, "{} more bytes", pack_bytes(&lab.backend) - before);
    lab.step();
    assert_clean(&lab.backend, "after backups");
    lab.forget(|_| true);
    prune(&lab.backend, MaxUnused::Percent(5.0));
    assert_eq!((names(&lab.backend, "packs").len(), names(&lab.backend, "index").len()), (0, 0));
    lab.step();
    assert_clean(&lab.backend, "begun anew");
}

#[test]
fn a_file_with_the_bytes_of_a_node_does_not_hide_the_nodes_children() {
    let mut lab = Lab::new();
    lab.upload("a", 1, 3000);
    lab.back_up();
    // The list's own root as an upload: in the next snapshot it is contents, in the first one a node.
    let root = {
        let store = open(&lab.backend);
        let name = store.snapshot_names(None).unwrap().remove(0);
        let snapshot = store.snapshot(&name).unwrap();
        [snapshot.files.unwrap().list, snapshot.databases[0].root].map(|id| store.read(&id).unwrap())
    };
    std::fs::write(lab.dir.path().join("assets/0"), &root[0]).unwrap();
    std::fs::write(lab.dir.path().join("assets/1"), &root[1]).unwrap();
    lab.back_up();
    let right = contents(&lab.backend);
    prune(&lab.backend, MaxUnused::Bytes(0));
    assert_eq!(contents(&lab.backend), right);
    assert_clean(&lab.backend, "nodes as contents");
}

#[test]
fn of_a_list_of_many_leaves_every_one_is_kept() {
    let mut lab = Lab::new();
    for n in 0..700 {
        lab.upload(&format!("{n:0150}"), n, 20);
    }
    lab.back_up();
    lab.upload(&format!("{:0150}", 300), 1, 30);
    lab.back_up();
    let store = open(&lab.backend);
    let name = store.snapshot_names(None).unwrap().remove(1);
    let list = store.read(&store.snapshot(&name).unwrap().files.unwrap().list).unwrap();
    assert!(matches!(node::decode::<Entry>(&list, "the list").unwrap(), Node::Inner(..)));
    drop(store);
    lab.forget(|sequence| sequence == 1);
    let right = contents(&lab.backend);
    prune(&lab.backend, MaxUnused::Bytes(0));
    assert_eq!(contents(&lab.backend), right);
    assert_clean(&lab.backend, "a list of many leaves");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, ..ProptestConfig::default() })]

    #[test]
    fn whatever_is_forgotten_the_rest_reads(steps in proptest::collection::vec(any::<(u8, u16)>(), 4..14)) {
        let mut lab = Lab::new();
        let mut right = BTreeMap::new();
        for (kind, pick) in steps {
            match kind % 5 {
                0..=2 => lab.step(),
                3 => lab.forget(|sequence| (sequence * 7 + u64::from(pick)) % 3 == 0),
                _ => {
                    let before = contents(&lab.backend);
                    prune(&lab.backend, if pick % 2 == 0 { MaxUnused::Bytes(0) } else { MaxUnused::Percent(20.0) });
                    assert_exact(&lab.backend, "pruned");
                    prop_assert_eq!(contents(&lab.backend), before);
                }
            }
            for (id, digest) in contents(&lab.backend) {
                prop_assert_eq!(right.entry(id).or_insert(digest), &digest);
            }
        }
        assert_clean(&lab.backend, "in the end");
    }
}

#[test]
fn a_place_that_two_index_files_list_counts_once() {
    // Which of the two a look-up finds depends on the one before it, so several stores are tried.
    for n in 1..=4 {
        let mut lab = Lab::new();
        (0..6).for_each(|_| lab.step());
        let store = open(&lab.backend);
        let listed = store.listed_packs();
        store.index_packs(&listed[..n], &Silent).unwrap();
        drop(store);
        lab.forget(|sequence| sequence <= 2);
        let right = contents(&lab.backend);
        prune(&lab.backend, MaxUnused::Bytes(0));
        assert_eq!(contents(&lab.backend), right);
    }
}
