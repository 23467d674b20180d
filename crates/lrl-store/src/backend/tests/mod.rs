//! What is durable when, on a disk in memory that is killed, fails and loses its power.

mod blocks;

use super::local::LocalBackend;
use super::{Backend, Payload, collect};
use crate::testing::backend_conformance::conformance;
use crate::testing::memory_backend::{Fault, MemoryFs, memory};

const NAME: &str = "packs/ab/abcd";

/// Lists the objects below a prefix.
pub fn names(backend: &dyn Backend, prefix: &str) -> Vec<String> {
    collect(backend, prefix, |name| Some(name.to_string())).unwrap()
}

#[test]
fn a_directory_and_memory_conform() {
    let dir = tempfile::tempdir().unwrap();
    conformance(&<LocalBackend>::new(dir.path()));
    conformance(&memory());
}

#[test]
fn an_object_is_durable_and_whole_once_it_is_written_and_never_half() {
    let ram = MemoryFs::new();
    ram.record();
    ram.storage().put(NAME, Payload::Bytes(b"some bytes")).unwrap();
    let states = ram.recorded();
    assert!(states.len() > 8, "{}", states.len());
    for image in states.into_iter().map(MemoryFs::of) {
        for seed in 0..50 {
            let backend = image.after_power_cut(seed).storage();
            assert!(names(&backend, "").is_empty() || backend.read(NAME).unwrap() == b"some bytes");
        }
    }
    for seed in 0..50 {
        assert_eq!(ram.after_power_cut(seed).storage().read(NAME).unwrap(), b"some bytes");
    }
}

#[test]
fn what_a_killed_run_did_not_make_durable_the_next_one_does() {
    let ram = MemoryFs::new();
    ram.record();
    ram.storage().put(NAME, Payload::Bytes(b"some bytes")).unwrap();
    for image in ram.recorded() {
        let ram = MemoryFs::of(image);
        let backend = ram.storage();
        backend.reclaim().unwrap();
        let seen = names(&backend, "");
        backend.put("packs/ab/ef01", Payload::Bytes(b"more")).unwrap();
        for seed in 0..50 {
            let after = names(&ram.after_power_cut(seed).storage(), "");
            assert!(
                seen.iter().all(|name| after.contains(name)) && after.contains(&"packs/ab/ef01".into()),
                "{after:?}"
            );
        }
    }
}

#[test]
fn a_write_that_fails_leaves_no_name_that_a_later_one_takes_for_durable() {
    for n in 0.. {
        let ram = MemoryFs::new();
        ram.arm(Fault::Fails, n);
        let done = ram.storage().put(NAME, Payload::Bytes(b"some bytes"));
        if !ram.disarm() {
            done.unwrap();
            break;
        }
        // One call that is only a help may fail.
        assert!(names(&ram.storage(), "").is_empty() || done.is_ok(), "call {n}");
        ram.storage().put("packs/ab/ef01", Payload::Bytes(b"more")).unwrap();
        for seed in 0..20 {
            assert_eq!(ram.after_power_cut(seed).storage().read("packs/ab/ef01").unwrap(), b"more");
        }
    }
}
