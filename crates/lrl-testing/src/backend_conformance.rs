//! What every backend must do, whatever it is made of.

use std::io::Write;
use std::time::SystemTime;

use lrl_store::backend::{Backend, Payload};
use lrl_store::error::Error;

fn spooled<'a>(storage: &dyn Backend, name: &str, bytes: &[u8]) -> Payload<'a> {
    let mut spool = storage.temp_document(name).unwrap();
    spool.write_all(bytes).unwrap();
    Payload::TempObject(spool)
}

fn names(storage: &dyn Backend, prefix: &str) -> Vec<(String, u64)> {
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
pub fn conformance(storage: &dyn Backend) {
    assert!(names(storage, "").is_empty() && names(storage, "packs").is_empty());
    for name in ["config", "packs/ab/none", "index/none"] {
        assert!(is_missing(storage.read(name)), "{name}");
        assert!(is_missing(storage.read_range(name, 0, 4)), "{name}");
        assert!(is_missing(storage.len(name)), "{name}");
        storage.remove(name).unwrap();
    }

    objects_appear_whole(storage);
    only_the_first_makes_an_object(storage);
    several_at_once_do_not_mix(storage);
    ranges_are_exact(storage);
    listings_are_whole_and_in_order(storage);
    names_are_taken_as_they_are(storage);
    removing_while_listing_misses_nothing(storage);

    // An unused spool leaves nothing, and neither does what dead runs left.
    drop(storage.temp_object().unwrap());
    storage.reclaim().unwrap();
    for (name, _) in names(storage, "") {
        storage.remove(&name).unwrap();
        assert!(is_missing(storage.len(&name)), "{name}");
        storage.remove(&name).unwrap();
    }
    storage.sync("packs").unwrap();
    assert!(names(storage, "").is_empty());
}

fn objects_appear_whole(storage: &dyn Backend) {
    let long: Vec<u8> = (0..11 << 20).map(|n: u32| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    for (name, bytes) in
        [("config", &b"{}"[..]), ("index/empty", b""), ("packs/aa/long", &long), ("packs/aa/part", &long[..5 << 20])]
    {
        storage.put(name, Payload::Bytes(bytes)).unwrap();
        assert!(storage.read(name).unwrap() == bytes, "{name}");
        storage.remove(name).unwrap();
        assert!(is_missing(storage.read(name)), "{name}");
        storage.put(name, spooled(storage, name, bytes)).unwrap();
        assert!(storage.read(name).unwrap() == bytes, "{name}");
        assert_eq!(storage.len(name).unwrap(), bytes.len() as u64, "{name}");
    }
    // The same object again, as after an answer that was lost; and whole in the place of a damaged one.
    storage.put("packs/aa/long", spooled(storage, "packs/aa/long", &long)).unwrap();
    storage.put("packs/aa/part", Payload::Bytes(b"cut")).unwrap();
    assert_eq!(storage.len("packs/aa/part").unwrap(), 3);
    storage.put("packs/aa/part", spooled(storage, "packs/aa/part", &long[..4 << 20])).unwrap();
    assert!(storage.read("packs/aa/part").unwrap() == long[..4 << 20]);
}

fn only_the_first_makes_an_object(storage: &dyn Backend) {
    for _ in 0..2 {
        assert!(storage.put_if_absent("claims/prune-1", b"first").unwrap());
        assert!(!storage.put_if_absent("claims/prune-1", b"second").unwrap());
        assert_eq!(storage.read("claims/prune-1").unwrap(), b"first");
        storage.remove("claims/prune-1").unwrap();
    }
    assert!(is_missing(storage.read("claims/prune-1")));
}

/// Returns bytes that differ from those of every other seed.
fn bytes(len: usize, seed: u32) -> Vec<u8> {
    (0..len as u32).map(|n| ((n ^ seed << 20).wrapping_mul(2_654_435_761) >> 24) as u8).collect()
}

fn several_at_once_do_not_mix(storage: &dyn Backend) {
    // Whole objects, up to the longest, beside objects in parts, the last part of any length.
    let lens = [1, 100, (5 << 20) - 1, (5 << 20) + 1, (10 << 20) - 1, 10 << 20, (16 << 20) + 7];
    let name = |n: usize| format!("packs/bb/{n}");
    std::thread::scope(|scope| {
        for (n, len) in lens.into_iter().enumerate() {
            scope.spawn(move || storage.put(&name(n), spooled(storage, &name(n), &bytes(len, n as u32))).unwrap());
        }
    });
    std::thread::scope(|scope| {
        for (n, len) in lens.into_iter().enumerate() {
            scope.spawn(move || {
                storage.prefetch(&name(n), 0, len as u64);
                assert!(storage.read(&name(n)).unwrap() == bytes(len, n as u32), "{len}");
                let (from, half) = (len / 3, len / 2);
                let read = storage.read_range(&name(n), from as u64, half).unwrap();
                assert!(read == bytes(len, n as u32)[from..from + half], "{len}");
            });
        }
    });
    // Gone for all who look, however often it is said.
    for n in 0..lens.len() {
        storage.remove(&name(n)).unwrap();
        storage.remove(&name(n)).unwrap();
        assert!(is_missing(storage.read(&name(n))) && is_missing(storage.read_range(&name(n), 0, 1)));
        storage.prefetch(&name(n), 0, 1);
    }
    storage.put("packs/bb/old", Payload::Bytes(b"moved")).unwrap();
    storage.rename("packs/bb/old", "quarantine/packs/bb/new").unwrap();
    assert!(is_missing(storage.len("packs/bb/old")));
    assert_eq!(storage.read("quarantine/packs/bb/new").unwrap(), b"moved");
    storage.remove("quarantine/packs/bb/new").unwrap();
}

fn ranges_are_exact(storage: &dyn Backend) {
    let whole = storage.read("packs/aa/long").unwrap();
    let end = whole.len();
    for (from, to) in
        [(0, 1), (0, end), (1000, 5 << 20), ((2 << 20) - 1, (2 << 20) + 1), (end - 10, end), (7, 7), (end, end)]
    {
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

fn listings_are_whole_and_in_order(storage: &dyn Backend) {
    // More than a server gives in one answer.
    let many: Vec<String> = (0..1100).map(|n| format!("snapshots/lab/{n:016x}-{n}")).collect();
    for name in &many {
        storage.put(name, Payload::Bytes(b"x")).unwrap();
    }
    storage.put("snapshots/lab2/0-0", Payload::Bytes(b"other")).unwrap();
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
    for (from, count) in [("snapshots/lab/", 1100), (&many[1099], 0), ("snapshots/lab/00000000000000ff-", 845)] {
        let mut found = 0;
        let mut visit = |_: &str, _| {
            found += 1;
            Ok(())
        };
        storage.list_after("snapshots/lab", from, &mut visit).unwrap();
        assert_eq!(found, count, "{from}");
    }
    let mut newest = None;
    storage
        .list_newest("snapshots/lab", &mut |name| {
            newest = newest.take().max(Some(name.to_string()));
            Ok(())
        })
        .unwrap();
    assert_eq!(newest.as_ref(), many.last());
    let mut only_names = Vec::new();
    storage
        .list_names("snapshots/lab", &mut |name| {
            only_names.push(name.to_string());
            Ok(())
        })
        .unwrap();
    assert_eq!(only_names, many);
    let mut dated = 0;
    storage
        .list_modified("snapshots/lab", &mut |name, modified| {
            let alone = storage.modified(name)?;
            // One of the two may leave out parts of a second.
            let secs = |time: SystemTime| time.duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
            assert_eq!(modified.map(secs), alone.map(secs), "{name}");
            dated += 1;
            match dated {
                5 => Err(Error::NotFound("enough".into())),
                _ => Ok(()),
            }
        })
        .unwrap_err();
    assert_eq!(dated, 5);
    // A visitor that fails ends the listing, which fails as it did.
    let stopped = storage.list("snapshots", &mut |_, _| Err(Error::NotFound("enough".into())));
    assert!(matches!(stopped, Err(Error::NotFound(_))));
}

fn names_are_taken_as_they_are(storage: &dyn Backend) {
    let longest = "x".repeat(64);
    let sources = ["Lab", "lab-2", "lab.de", "lab_2", "a..b", "0", "--", &longest];
    let name = |source: &str| format!("snapshots/{source}/0000000000000001-ab");
    for source in sources {
        storage.put(&name(source), Payload::Bytes(source.as_bytes())).unwrap();
    }
    for source in sources {
        assert_eq!(storage.read(&name(source)).unwrap(), source.as_bytes());
        assert_eq!(names(storage, &format!("snapshots/{source}")), [(name(source), source.len() as u64)]);
    }
    let all = sources.map(name);
    storage.fetch_whole(&all);
    assert!(sources.iter().zip(&all).all(|(source, name)| storage.read(name).unwrap() == source.as_bytes()));
    // What begins like another's name is not in its directory.
    assert_eq!(names(storage, "snapshots/lab").len(), 1100);
    // What is not there is no error.
    storage.remove_all(&all[..3]).unwrap();
    storage.remove_all(&all).unwrap();
    assert!(all.iter().all(|name| matches!(storage.read(name), Err(Error::Missing { .. }))));
}

fn removing_while_listing_misses_nothing(storage: &dyn Backend) {
    let mut seen = 0;
    storage
        .list("snapshots/lab", &mut |name, _| {
            seen += 1;
            storage.remove(name)
        })
        .unwrap();
    assert_eq!(seen, 1100);
    assert!(names(storage, "snapshots/lab").is_empty());
    assert_eq!(names(storage, "snapshots").len(), 1);
}
