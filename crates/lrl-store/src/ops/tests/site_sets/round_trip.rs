//! An imported or restored set is the site that was backed up.

use std::fs;
use std::path::Path;
use std::time::{Duration, SystemTime};

use super::{DATABASES, Site, look, names};
use crate::error::Error;
use crate::ops::{import, restore};
use crate::progress::Silent;

#[test]
fn an_imported_site_is_the_snapshot_that_was_exported() {
    let site = Site::new();
    // Archives hold the contents of hard links, not the links.
    fs::remove_file(site.root().join("uploads/same.pem")).unwrap();
    let report = site.back_up(0, None);
    let dir = site.export(&report);
    let store = site.store("other");
    let options = import::Options {
        dir,
        scratch: site.0.path().to_path_buf(),
        source: "lab".into(),
        program: "test".into(),
        lock_wait: Duration::ZERO,
        now: SystemTime::UNIX_EPOCH + Duration::from_secs(2_000_000_100),
    };
    let done = import::import(&store, &options, &Silent).unwrap();
    assert!(done.failed.is_empty() && done.imported.len() == 1, "{:?}", done.failed);
    let (made, was) = (&done.imported[0].snapshot, &report.snapshot);
    assert_eq!((&made.timestamp, made.databases.len()), (&was.timestamp, DATABASES.len()));
    for (made, was) in made.databases.iter().zip(&was.databases) {
        assert_eq!((&made.path, &made.sha256, made.root), (&was.path, &was.sha256, was.root));
        assert_eq!(made.source_path, was.source_path);
    }
    let (made, was) = (made.files.as_ref().unwrap(), was.files.as_ref().unwrap());
    assert_eq!((&made.roots, made.list, made.entries), (&was.roots, was.list, was.entries));
    let again = import::import(&store, &options, &Silent).unwrap();
    assert!(again.imported.is_empty() && again.known.len() == 1, "{again:?}");
}

#[test]
fn the_set_of_a_site_is_restored_into_a_new_directory_and_in_place() {
    let site = Site::new();
    let report = site.back_up(0, None);
    let manifest = &report.set.as_ref().unwrap().manifest;
    let options = |name: &str, what| restore::Options { what, ..restore::Options::new(site.at(name)) };
    let whole = restore::What::Whole;
    let dry = restore::Options { dry_run: true, ..options("new", whole.clone()) };
    let dry = restore::restore_set(manifest, &dry, &Silent).unwrap();
    assert!(!site.at("new").exists());
    let done = restore::restore_set(manifest, &options("new", whole.clone()), &Silent).unwrap();
    assert_eq!((dry.files, dry.bytes, dry.restored.len()), (done.files, done.bytes, done.restored.len()));
    let mut found = look(&site.at("new"));
    found.retain(|path, _| !path.starts_with(b".lrl"));
    assert_eq!(found, look(&site.root()));
    // In place as well, and an undo takes that back.
    let before = look(&site.root());
    site.write("uploads/ab/note.txt", b"changed");
    site.rows(b"data/users/A.sqlite", 3);
    let changed = look(&site.root());
    let done = restore::restore_set(manifest, &options("site", whole.clone()), &Silent).unwrap();
    assert!(done.restored.iter().any(|one| one.databases.len() > 2), "{:?}", done.restored);
    let live = |dir: &Path| {
        let mut found = look(dir);
        found.retain(|path, _| {
            !path.starts_with(b".lrl")
                && !path.windows(12).any(|part| part == b".pre-restore")
                && !path.windows(7).any(|part| part == b".undone")
        });
        found
    };
    assert_eq!(live(&site.root()), before);
    restore::undo(&restore::UndoOptions {
        data_dir: site.root(),
        storage_dir: site.root().join("storage"),
        dry_run: false,
        force: false,
        locks: None,
    })
    .unwrap();
    assert_eq!(live(&site.root()), changed);
    let _ = restore::restore_set(manifest, &options("site", whole.clone()), &Silent).unwrap();
    // Databases alone: in place, and where their directories are missing.
    for name in ["site", "databases"] {
        let _ = restore::restore_set(manifest, &options(name, restore::What::DbOnly), &Silent).unwrap();
        let found = look(&site.at(name));
        DATABASES.iter().for_each(|path| assert_eq!(found[*path], before[*path]));
    }
    assert!(site.at("site/app.db.pre-restore").exists());
    // A member of another name than the manifest promises is no way out of the directory.
    let copy = site.at("copy");
    fs::create_dir(&copy).unwrap();
    names(&site.at("out")).iter().for_each(|name| {
        fs::copy(site.at("out").join(name), copy.join(name)).unwrap();
    });
    let manifest = copy.join(manifest.file_name().unwrap());
    let text = fs::read_to_string(&manifest).unwrap();
    fs::write(&manifest, text.replace("\"data/app.db\"", "\"secret.pem/app.db\"")).unwrap();
    let refused = restore::restore_set(&manifest, &options("bad", whole), &Silent);
    assert!(matches!(&refused, Err(Error::Corrupt { .. })) && !site.at("bad").exists(), "{refused:?}");
}
