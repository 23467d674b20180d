//! What a run of today cannot leave on a disk, and must not remove all the same.

use std::fs;
use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use crate::ops::backup::tests::options;
use crate::ops::backup::{Options, Report, backup};
use crate::progress::Silent;
use crate::set::files::{self, Names};
use crate::storage::local::Local;
use crate::storage::{LockMode, Storage};
use crate::store::{Store, create};

fn open(dir: &Path) -> Store {
    let storage: Arc<dyn Storage> = Arc::new(<Local>::new(dir.join("store")));
    Store::open(storage, LockMode::Shared, Duration::ZERO, &Silent).unwrap()
}

fn back_up(dir: &Path, second: u64, keep_sets: Option<usize>) -> Report {
    let keep_sets = keep_sets.and_then(NonZeroUsize::new);
    let options = Options { database: None, out: Some(dir.join("out")), keep_sets, ..options(dir, second) };
    backup(&open(dir), &options, &Silent).unwrap()
}

#[test]
fn a_set_of_another_coder_stays_and_counts() {
    let place = tempfile::tempdir().unwrap();
    let dir = place.path();
    fs::create_dir(dir.join("assets")).unwrap();
    fs::create_dir(dir.join("out")).unwrap();
    fs::write(dir.join("assets/a"), b"a").unwrap();
    let storage = <Local>::new(dir.join("store"));
    storage.create().unwrap();
    create(&storage, [1; 32]).unwrap();
    let first = back_up(dir, 0, None);
    // A later snapshot whose set an lrl with another compressor wrote.
    let mut other = first.snapshot.clone();
    other.sequence += 1;
    other.timestamp = "20240101_000000".into();
    other.uploads.as_mut().unwrap().archive.as_mut().unwrap().coder = "another/1".into();
    let (name, _) = open(dir).publish(&other).unwrap();
    let names = Names::new(&dir.join("out"), &other.timestamp);
    fs::copy(&first.set.as_ref().unwrap().assets.as_ref().unwrap().path, &names.assets).unwrap();
    files::write_manifest(&names, &files::manifest(&names, &name, &other, "lrl 0.9.0").unwrap()).unwrap();

    let removed = |report: &Report| {
        let removed = &report.sets.as_ref().unwrap().removed;
        removed.iter().map(|set| set.timestamp.clone()).collect::<Vec<_>>()
    };
    // It is one of the two newest: whole, though not to be made again.
    let second = back_up(dir, 1, Some(2));
    assert_eq!(removed(&second), [first.snapshot.timestamp.as_str()]);
    let third = back_up(dir, 2, Some(1));
    assert_eq!(removed(&third), [second.snapshot.timestamp.as_str()]);
    let kept = &third.sets.unwrap().kept;
    assert!(kept.len() == 1 && kept[0].reason.contains("another coder made its archive"), "{kept:?}");
    assert!(names.manifest.exists() && names.assets.exists());
}
