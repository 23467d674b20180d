//! The veil over a storage in memory.

use std::collections::BTreeMap;
use std::io::Write;
use std::sync::Arc;

use proptest::prelude::*;

use super::{BLOCK, EncryptedBackend};
use crate::backend::{Backend, Payload};
use crate::crypt::{Bundle, Keys, new_secret};
use crate::error::Error;
use crate::testing::memory_backend::{Memory, memory};

struct Both {
    below: Arc<Memory>,
    reader: EncryptedBackend,
    writer: EncryptedBackend,
}

fn both() -> Both {
    let below = Arc::new(memory());
    let full = Bundle::Full(new_secret().unwrap());
    let veil = |bundle: &Bundle| {
        EncryptedBackend::new(Arc::clone(&below) as Arc<dyn Backend>, Keys::new([1; 32], bundle), None)
    };
    let (reader, writer) = (veil(&full), veil(&full.to_writer()));
    Both { below, reader, writer }
}

fn names(backend: &dyn Backend, prefix: &str) -> Vec<String> {
    crate::backend::collect(backend, prefix, |name| Some(name.to_string())).unwrap()
}

#[test]
fn a_veil_passes_what_every_storage_does() {
    let both = both();
    crate::testing::backend_conformance::conformance(&both.reader);
}

#[test]
fn what_is_below_shows_neither_contents_nor_names_of_sources() {
    let both = both();
    let name = "snapshots/a-secret-lab/0000000000000001-x";
    both.writer.put(name, Payload::Bytes(b"a secret text")).unwrap();
    both.writer.put("index/x", Payload::Bytes(b"a secret index")).unwrap();
    for below in names(&*both.below, "") {
        assert!(!below.contains("secret"), "{below}");
        let bytes = both.below.read(&below).unwrap();
        assert!(!bytes.windows(6).any(|part| part == b"secret"), "{below}");
    }
    both.reader.put("quarantine/drills/a-secret-lab/x", Payload::Bytes(b"a secret copy")).unwrap();
    assert_eq!(both.reader.read("quarantine/drills/a-secret-lab/x").unwrap(), b"a secret copy");
    both.reader.rename("index/x", "quarantine/index/x.1").unwrap();
    assert_eq!(both.reader.read("quarantine/index/x.1").unwrap(), b"a secret index");
    both.reader.rename("quarantine/index/x.1", "index/x").unwrap();
    for below in names(&*both.below, "") {
        assert!(!below.contains("secret"), "{below}");
        let bytes = both.below.read(&below).unwrap();
        assert!(!bytes.windows(6).any(|part| part == b"secret"), "{below}");
    }
    assert_eq!(names(&both.reader, "snapshots"), [name]);
    assert_eq!(names(&both.writer, "snapshots/a-secret-lab"), [name]);
    assert_eq!(both.reader.read(name).unwrap(), b"a secret text");
    assert!(matches!(both.writer.read(name), Err(Error::WriteOnly { .. })));
    assert_eq!(both.writer.read("index/x").unwrap(), b"a secret index");
}

#[test]
fn what_stands_there_without_a_veil_is_foreign() {
    let both = both();
    for name in ["snapshots/lab/0000000000000001-x", "drills/lab", "quarantine/snapshots/lab/x"] {
        both.below.put(name, Payload::Bytes(b"bare")).unwrap();
    }
    let found = names(&both.reader, "");
    assert_eq!(found, ["drills/?/lab", "quarantine/snapshots/?/lab/x", "snapshots/?/lab/0000000000000001-x"]);
    assert!(names(&both.reader, "snapshots/lab").is_empty());
    for name in found {
        both.reader.rename(&name, &format!("quarantine/{name}")).unwrap();
        assert!(both.below.len(&format!("quarantine/{}", name.replace("/?/", "/"))).is_ok(), "{name}");
    }
}

#[test]
fn every_flip_and_every_cut_of_a_sealed_object_is_seen() {
    let both = both();
    // The private key is slow: its object is short.
    for (name, len) in [("index/x", BLOCK + 20), ("snapshots/lab/1-x", 100)] {
        let plain: Vec<u8> = (0..len).map(|n| n as u8).collect();
        both.reader.put(name, Payload::Bytes(&plain)).unwrap();
        let below = both.reader.veiled(name).unwrap();
        let sealed = both.below.read(&below).unwrap();
        let fails = |bytes: &[u8], what: &str| {
            both.below.put(&below, Payload::Bytes(bytes)).unwrap();
            both.reader.cache_clear();
            assert!(matches!(both.reader.read(name), Err(Error::Corrupt { .. })), "{name} {what}");
        };
        for at in 0..sealed.len() {
            let mut bad = sealed.clone();
            bad[at] ^= 1;
            fails(&bad, &format!("flip at {at}"));
        }
        (0..sealed.len()).for_each(|at| fails(&sealed[..at], &format!("cut at {at}")));
        fails(&[&sealed[..], &[0]].concat(), "longer");
        // A whole block less is seen too, also where only a part is read.
        both.below.put(&below, Payload::Bytes(&sealed[..sealed.len() - len % BLOCK - 16])).unwrap();
        both.reader.cache_clear();
        assert!(both.reader.read_range(name, 0, 10).is_err());
    }
}

#[test]
fn an_object_of_another_kind_or_store_does_not_open() {
    let both = both();
    both.reader.put("snapshots/lab/1-x", Payload::Bytes(b"{}")).unwrap();
    let sealed = both.below.read(&both.reader.veiled("snapshots/lab/1-x").unwrap()).unwrap();
    both.below.put(&both.reader.veiled("drills/lab/1-x").unwrap(), Payload::Bytes(&sealed)).unwrap();
    assert!(matches!(both.reader.read("drills/lab/1-x"), Err(Error::Corrupt { .. })));
    let other = EncryptedBackend::new(
        Arc::clone(&both.below) as Arc<dyn Backend>,
        Keys::new([1; 32], &Bundle::Full(new_secret().unwrap())),
        None,
    );
    assert!(other.read("index/x").is_err() && names(&other, "snapshots/lab").is_empty());
}

#[test]
fn the_same_bytes_are_sealed_differently_each_time() {
    let both = both();
    let mut seen = BTreeMap::new();
    for n in 0..50 {
        both.reader.put("index/x", Payload::Bytes(b"the same")).unwrap();
        both.reader.put("snapshots/lab/1-x", Payload::Bytes(b"the same")).unwrap();
        for name in names(&*both.below, "") {
            assert_eq!(seen.insert(both.below.read(&name).unwrap(), n), None);
        }
    }
}

proptest! {
    #[test]
    fn parts_read_as_of_the_whole(len in 0usize..3 * BLOCK + 2, parts in prop::collection::vec((0usize..4 * BLOCK, 0usize..2 * BLOCK), 1..20)) {
        let both = both();
        let plain: Vec<u8> = (0..len).map(|n| (n * 7 + n / 251) as u8).collect();
        let mut temp = both.writer.temp_document("index").unwrap();
        for piece in plain.chunks(1000) {
            temp.write_all(piece).unwrap();
        }
        both.writer.put("index/a", Payload::TempObject(temp)).unwrap();
        both.writer.put("index/b", Payload::Bytes(&plain)).unwrap();
        for name in ["index/a", "index/b"] {
            prop_assert_eq!(both.writer.len(name).unwrap(), len as u64);
            prop_assert_eq!(&both.writer.read(name).unwrap(), &plain);
            for (at, part) in &parts {
                match plain.get(*at..at + part) {
                    Some(expected) => prop_assert_eq!(&both.writer.read_range(name, *at as u64, *part).unwrap(), expected),
                    None => prop_assert!(both.writer.read_range(name, *at as u64, *part).is_err()),
                }
            }
        }
    }
}
