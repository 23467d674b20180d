//! The cache forgets what is gone, keeps what is not, and starts anew where it is damaged.

use super::cache::COPIES_KEPT;
use super::{FileState, RunCache};
use crate::time::Time;

#[test]
fn names_of_one_file_stay_known_when_another_one_goes() {
    let dir = tempfile::tempdir().unwrap();
    let cache = RunCache::open(dir.path()).unwrap();
    let name = |name: &str| dir.path().join(name);
    let linked = |from: &str, to: &str| {
        std::fs::hard_link(name(from), name(to)).unwrap();
        cache.put_output(&name(to), "ab").unwrap();
    };
    std::fs::write(name("1"), b"bytes").unwrap();
    cache.put_output(&name("1"), "ab").unwrap();
    cache.start_archive().unwrap();
    cache.finish_archive(&name("1"), "coder").unwrap();
    linked("1", "2");
    linked("2", "3");
    // Each link moved the ctime, yet it is one file.
    assert_eq!(cache.output_sha256(&name("1")).as_deref(), Some("ab"));
    let remove = |gone: &str| cache.remove_output(&name(gone), "ab", || std::fs::remove_file(name(gone))).unwrap();
    remove("1");
    assert_eq!(cache.find_output("ab", dir.path()), Some(name("3")));
    assert_eq!(cache.archive().unwrap().0, name("3"));
    remove("2");
    assert_eq!(cache.output_sha256(&name("3")).as_deref(), Some("ab"));
    // What was edited before is not believed because of it.
    linked("3", "4");
    std::fs::write(name("3"), b"other").unwrap();
    remove("4");
    assert_eq!((cache.output_sha256(&name("3")), cache.find_output("ab", dir.path())), (None, None));
    // Nor what was edited while the other name went.
    std::fs::write(name("5"), b"bytes").unwrap();
    cache.put_output(&name("5"), "ab").unwrap();
    linked("5", "6");
    linked("6", "7");
    let edit = || std::fs::remove_file(name("6")).and_then(|()| std::fs::write(name("7"), b"bytes and more"));
    cache.remove_output(&name("6"), "ab", edit).unwrap();
    assert_eq!((cache.output_sha256(&name("5")), cache.output_sha256(&name("7"))), (None, None));
}

#[test]
fn an_output_counts_as_verified_from_the_comparison_until_it_changes() {
    let dir = tempfile::tempdir().unwrap();
    let cache = RunCache::open(dir.path()).unwrap();
    let path = dir.path().join("set.tar.gz");
    std::fs::write(&path, b"bytes").unwrap();
    cache.put_output(&path, "ab").unwrap();
    assert_eq!(cache.verified_at(&path), None);
    cache.put_verified(&path, 900).unwrap();
    assert_eq!(cache.verified_at(&path), Some(900));
    std::fs::write(&path, b"other bytes").unwrap();
    assert_eq!(cache.verified_at(&path), None);
}

#[test]
fn states_come_in_list_order_and_vanished_ones_are_forgotten() {
    let dir = tempfile::tempdir().unwrap();
    let cache = RunCache::open(dir.path()).unwrap();
    let state = |ino| FileState { ino, ctime: Time { secs: 5, nanos: 6 }, tag: -7 };
    for (n, path) in ["a/z", "a", "a-b", "b"].iter().enumerate() {
        cache.put_file("lab", path.as_bytes(), &state(n as u64)).unwrap();
    }
    cache.put_file("other", b"c", &state(9)).unwrap();
    let mut files = cache.files("lab");
    assert_eq!(files.find(&cache, b"a").unwrap(), Some(state(1)));
    assert_eq!(files.find(&cache, b"a-a").unwrap(), None);
    assert_eq!(files.find(&cache, b"a-b").unwrap(), Some(state(2)));
    files.finish(&cache).unwrap();
    let mut files = cache.files("lab");
    assert_eq!(files.find(&cache, b"a/z").unwrap(), None, "it stands before a-b, and was passed over");
    assert_eq!(files.find(&cache, b"a-b").unwrap(), Some(state(2)));
    assert_eq!(files.find(&cache, b"b").unwrap(), None);
}

#[test]
fn of_each_place_that_a_source_is_copied_to_the_newest_is_known() {
    let dir = tempfile::tempdir().unwrap();
    let cache = RunCache::open(dir.path()).unwrap();
    assert_eq!(cache.copied("lab"), []);
    for (source, place, sequence, at) in
        [("lab", "far", 3, 900), ("lab", "near", 2, 800), ("lab", "near", 4, 1000), ("other", "near", 7, 950)]
    {
        cache.put_copied(source, place, sequence, at).unwrap();
    }
    let place = |place: &str, sequence, at| (place.to_string(), sequence, at);
    assert_eq!(cache.copied("lab"), [place("far", 3, 900), place("near", 4, 1000)]);
    assert_eq!(cache.copied("other"), [place("near", 7, 950)]);
    // Where nothing went for so long, nothing is looked for any more; of the other source that says nothing.
    let later = 901 + COPIES_KEPT;
    cache.put_copied("lab", "near", 9, later).unwrap();
    assert_eq!(cache.copied("lab"), [place("near", 9, later)]);
    assert_eq!(cache.copied("other"), [place("near", 7, 950)]);
}

#[test]
fn a_damaged_cache_starts_anew() {
    let dir = tempfile::tempdir().unwrap();
    let names = ["cache.db", "cache.db-journal", "cache.db-wal", "cache.db-shm"].map(|name| dir.path().join(name));
    names.iter().for_each(|path| std::fs::write(path, vec![b'x'; 9000]).unwrap());
    let cache = RunCache::open(dir.path()).unwrap();
    assert!(cache.database("lab", b"lrl.db").is_none());
    for path in names {
        assert!(!std::fs::read(&path).is_ok_and(|bytes| bytes.starts_with(b"xxxx")), "{}", path.display());
    }
}
