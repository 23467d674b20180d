//! What every storage must do, whatever it is made of. Also compiled into the tests of whole stores: it names only what stands beside it.

use std::io::Write;

use super::{Error, Source, Storage};

fn spooled<'a>(storage: &dyn Storage, name: &str, bytes: &[u8]) -> Source<'a> {
    let mut spool = storage.spool_document(name).unwrap();
    spool.write_all(bytes).unwrap();
    Source::Spool(spool)
}

fn names(storage: &dyn Storage, prefix: &str) -> Vec<(String, u64)> {
    let mut names = Vec::new();
    storage
        .list(prefix, &mut |name, len| {
            names.push((name.to_string(), len));
            Ok(())
        })
        .unwrap();
    names
}

fn is_missing<T: std::fmt::Debug>(result: Result<T, Error>) -> bool {
    matches!(result, Err(Error::Missing { .. }))
}

/// Holds an empty storage to the trait's promises.
pub(crate) fn conformance(storage: &dyn Storage) {
    assert!(names(storage, "").is_empty() && names(storage, "packs").is_empty());
    for name in ["config", "packs/ab/none", "index/none"] {
        assert!(is_missing(storage.read(name)), "{name}");
        assert!(is_missing(storage.read_range(name, 0, 4)), "{name}");
        assert!(is_missing(storage.len(name)), "{name}");
        storage.remove(name).unwrap();
    }

    objects_appear_whole(storage);
    only_the_first_makes_an_object(storage);
    ranges_are_exact(storage);
    listings_are_whole_and_in_order(storage);

    // An unused spool leaves nothing, and neither does what dead runs left.
    drop(storage.spool().unwrap());
    storage.reclaim().unwrap();
    for (name, _) in names(storage, "") {
        storage.remove(&name).unwrap();
        assert!(is_missing(storage.len(&name)), "{name}");
    }
    storage.sync("packs").unwrap();
    assert!(names(storage, "").is_empty());
}

fn objects_appear_whole(storage: &dyn Storage) {
    let long: Vec<u8> = (0..11 << 20).map(|n: u32| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    for (name, bytes) in
        [("config", &b"{}"[..]), ("index/empty", b""), ("packs/aa/long", &long), ("packs/aa/part", &long[..5 << 20])]
    {
        storage.write_new(name, Source::Bytes(bytes)).unwrap();
        assert!(storage.read(name).unwrap() == bytes, "{name}");
        storage.remove(name).unwrap();
        assert!(is_missing(storage.read(name)), "{name}");
        storage.write_new(name, spooled(storage, name, bytes)).unwrap();
        assert!(storage.read(name).unwrap() == bytes, "{name}");
        assert_eq!(storage.len(name).unwrap(), bytes.len() as u64, "{name}");
    }
    // The same object again, as after an answer that was lost; and whole in the place of a damaged one.
    storage.write_new("packs/aa/long", spooled(storage, "packs/aa/long", &long)).unwrap();
    storage.write_new("packs/aa/part", Source::Bytes(b"cut")).unwrap();
    assert_eq!(storage.len("packs/aa/part").unwrap(), 3);
    storage.write_new("packs/aa/part", spooled(storage, "packs/aa/part", &long[..4 << 20])).unwrap();
    assert!(storage.read("packs/aa/part").unwrap() == long[..4 << 20]);
}

fn only_the_first_makes_an_object(storage: &dyn Storage) {
    for _ in 0..2 {
        assert!(storage.create_new("claims/prune-1", b"first").unwrap());
        assert!(!storage.create_new("claims/prune-1", b"second").unwrap());
        assert_eq!(storage.read("claims/prune-1").unwrap(), b"first");
        storage.remove("claims/prune-1").unwrap();
    }
    assert!(is_missing(storage.read("claims/prune-1")));
}

fn ranges_are_exact(storage: &dyn Storage) {
    let whole = storage.read("packs/aa/long").unwrap();
    let end = whole.len();
    for (from, to) in [(0, 1), (0, end), (1000, 5 << 20), ((2 << 20) - 1, (2 << 20) + 1), (end - 10, end), (7, 7)] {
        assert!(
            storage.read_range("packs/aa/long", from as u64, to - from).unwrap() == whole[from..to],
            "{from}..{to}"
        );
    }
    for (from, len) in [(end as u64 - 1, 2), (end as u64, 1), (end as u64 + (9 << 20), 1)] {
        let read = storage.read_range("packs/aa/long", from, len);
        assert!(matches!(read, Err(Error::Corrupt { .. })), "{from}: {:?}", read.map(|bytes| bytes.len()));
    }
    assert_eq!(storage.read_up_to("packs/aa/long", end as u64 - 5, 100).unwrap(), whole[end - 5..]);
}

fn listings_are_whole_and_in_order(storage: &dyn Storage) {
    // More than a server gives in one answer.
    let many: Vec<String> = (0..1100).map(|n| format!("snapshots/lab/{n:016x}-{n}")).collect();
    for name in &many {
        storage.write_new(name, Source::Bytes(b"x")).unwrap();
    }
    storage.write_new("snapshots/lab2/0-0", Source::Bytes(b"other")).unwrap();
    let found = names(storage, "snapshots/lab");
    assert!(found.iter().map(|(name, _)| name).eq(&many), "{} names", found.len());
    assert!(found.iter().all(|(_, len)| *len == 1));
    assert_eq!(names(storage, "snapshots").len(), many.len() + 1);
    assert_eq!(
        names(storage, "packs").iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(),
        ["packs/aa/long", "packs/aa/part"]
    );
    assert_eq!(names(storage, "").len(), many.len() + 5);
    assert!(names(storage, "snap").is_empty() && names(storage, "snapshots/la").is_empty());

    let mut after = Vec::new();
    storage
        .list_after("snapshots/lab", &many[1090], &mut |name, _| {
            after.push(name.to_string());
            Ok(())
        })
        .unwrap();
    assert_eq!(after, many[1091..]);
    let mut newest = None;
    storage
        .list_newest("snapshots/lab", &mut |name, _| {
            newest = newest.take().max(Some(name.to_string()));
            Ok(())
        })
        .unwrap();
    assert_eq!(newest.as_ref(), many.last());
    // A visitor that fails ends the listing, which fails as it did.
    let stopped = storage.list("snapshots", &mut |_, _| Err(Error::NotFound("enough".into())));
    assert!(matches!(stopped, Err(Error::NotFound(_))));
}
