//! Databases at paths where the snapshot's list has something else, or nothing; and parts that a snapshot of a site lacks.

use super::*;
use crate::id::ChunkId;

/// A snapshot that has its second database at another path.
fn moved_to(taken: &Taken, path: &str) -> Taken {
    let mut snapshot = taken.1.clone();
    let database = snapshot.databases.iter_mut().find(|one| one.path == b"data/users/a.sqlite").unwrap();
    database.path = path.as_bytes().to_vec();
    (taken.0.clone(), snapshot)
}

fn into(site: &Site, name: &str) -> Options {
    Options { only_below: true, ..Options::new(site.lab.dir.path().join(name)) }
}

#[test]
fn a_database_where_the_list_has_something_else_is_corrupt_and_changes_nothing() {
    let site = Site::new();
    symlink("files", site.root().join("data/link")).unwrap();
    let taken = site.backup();
    site.change();
    let before = site.live();
    for path in ["data/files/x.txt", "data/files", "data/files/x.txt/a.sqlite", "data/link/a.sqlite"] {
        let hostile = moved_to(&taken, path);
        let result = site.restore_with(&hostile, &site.options(What::Whole));
        assert!(matches!(result, Err(Error::Corrupt { .. })), "{path}: {result:?}");
        assert_eq!(site.live(), before, "{path}");
    }
}

#[test]
fn directories_that_only_a_database_is_in_get_their_mode_from_those_in_place_or_are_private() {
    let site = Site::new();
    let taken = moved_to(&site.backup(), "data/new/deep/a.sqlite");
    fs::create_dir(site.root().join("data/new")).unwrap();
    set_mode(&site.root().join("data/new"), 0o751);
    set_mtime(&site.root().join("data/new"), 1_600_000_000, 7);
    let _ = site.restore(&taken, What::Whole);
    let meta = |path: &str| fs::metadata(site.root().join(path)).unwrap();
    assert_eq!((meta("data/new").mode() & 0o7777, mtime(&meta("data/new")).secs), (0o751, 1_600_000_000));
    assert_eq!(meta("data/new/deep").mode() & 0o7777, 0o700);
    assert!(meta("data/new/deep/a.sqlite").len() > 0);
    // A file in place lends its mode to no directory.
    fs::remove_dir_all(site.root().join("data/new")).unwrap();
    site.write("data/new", b"a file");
    let _ = site.restore(&taken, What::Whole);
    assert_eq!(meta("data/new").mode() & 0o7777, 0o700);
}

#[test]
fn a_lost_database_in_a_tree_is_skipped_or_stops_the_restore() {
    let site = Site::new();
    let mut taken = site.backup();
    let target = into(&site, "target");
    let database = taken.1.databases.iter_mut().find(|one| one.path == b"data/users/a.sqlite").unwrap();
    database.root = ChunkId::of(b"lost");
    let stopped = site.restore_with(&taken, &target);
    assert!(matches!(stopped, Err(Error::Missing { .. } | Error::Corrupt { .. })), "{stopped:?}");
    assert!(!target.data_dir.exists());
    let report = site.restore_with(&taken, &Options { skip_damaged: true, ..target.clone() }).unwrap();
    let skipped: Vec<_> = report.skipped.iter().map(|skip| (&*skip.path, skip.entries)).collect();
    assert_eq!(skipped, [("data/users/a.sqlite", 1)]);
    assert_eq!(names_in(&target.data_dir.join("data/users")), [""; 0]);
    assert_eq!(fs::read(target.data_dir.join("data/files/x.txt")).unwrap(), b"x");
    assert!(target.data_dir.join("storage/main.sqlite").exists());
}

#[test]
fn a_part_that_a_snapshot_of_a_site_lacks_is_not_found() {
    let site = Site::new();
    let (name, snapshot) = site.backup();
    let without = |databases: bool, files: bool| {
        let mut lacking = snapshot.clone();
        if databases {
            lacking.databases.clear();
        }
        lacking.files = lacking.files.filter(|_| !files);
        (name.clone(), lacking)
    };
    for (databases, files, what, text) in [
        (true, false, What::DbOnly, "no database"),
        (false, true, What::AssetsOnly, "no files"),
        (true, true, What::Whole, "no database and no files"),
    ] {
        let result = site.restore_with(&without(databases, files), &site.options(what));
        assert!(matches!(&result, Err(Error::NotFound(why)) if why.text().contains(text)), "{text}: {result:?}");
    }
    site.change();
    let report = site.restore(&without(false, true), What::Whole);
    assert!(report.notes.iter().any(|note| note.text().contains("holds no files")), "{:?}", report.notes);
    assert_eq!((versions(&site), site.root().join("rsa_key.pem").exists()), (vec![Some(true); 3], false));
    let report = site.restore(&(name.clone(), snapshot.clone()), What::Whole);
    assert!(!report.notes.iter().any(|note| note.text().contains("holds no files")), "{:?}", report.notes);
}

#[test]
fn without_keeping_the_note_says_that_what_is_not_in_the_snapshot_goes() {
    let site = Site::new();
    let taken = site.backup();
    let note = |report: &Report| {
        let notes: Vec<_> = report.notes.iter().map(|note| note.text().to_string()).collect();
        notes.into_iter().find(|note| note.contains("what is in an exchanged directory")).unwrap()
    };
    let kept = site.restore(&taken, What::Whole);
    assert!(note(&kept).ends_with("is in what is kept of it") && kept.dropped.is_none(), "{}", note(&kept));
    let gone = site.restore_with(&taken, &Options { no_keep: true, ..site.options(What::Whole) }).unwrap();
    assert!(note(&gone).ends_with("is removed with it") && gone.dropped.is_some(), "{}", note(&gone));
}
