//! What a run of today cannot leave on a disk, and must not remove all the same.

use std::fs;
use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use crate::backend::Backend;
use crate::backend::local::LocalBackend;
use crate::error::Error;
use crate::fs::lock::LockMode;
use crate::ops::backup::tests::options;
use crate::ops::backup::{Options, Report, backup};
use crate::progress::{Observer, Silent};
use crate::set::layout;
use crate::set::layout::Names;
use crate::store::{Store, create};

fn open(dir: &Path) -> Store {
    let storage: Arc<dyn Backend> = Arc::new(<LocalBackend>::new(dir.join("store")));
    Store::open(storage, LockMode::Shared, Duration::ZERO, &Silent).unwrap()
}

fn back_up(dir: &Path, second: u64, keep_sets: Option<usize>) -> Report {
    let keep_sets = keep_sets.and_then(NonZeroUsize::new);
    let options = Options { databases: Vec::new(), out: Some(dir.join("out")), keep_sets, ..options(dir, second) };
    backup(&open(dir), &options, &Silent).unwrap()
}

fn lab() -> tempfile::TempDir {
    let place = tempfile::tempdir().unwrap();
    let dir = place.path();
    fs::create_dir(dir.join("assets")).unwrap();
    fs::create_dir(dir.join("out")).unwrap();
    fs::write(dir.join("assets/a"), b"a").unwrap();
    let storage = <LocalBackend>::new(dir.join("store"));
    storage.create().unwrap();
    create(&storage, [1; 32]).unwrap();
    place
}

/// Asks to stop at its n-th question.
struct Stops(AtomicU32);

impl Observer for Stops {
    fn interrupted(&self) -> bool {
        self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| Some(left.saturating_sub(1))) == Ok(0)
    }
}

#[test]
fn who_stops_a_run_is_told_so_even_when_only_the_old_sets_are_left_to_look_at() {
    let (mut nothing_yet, mut set_there) = (0, 0);
    for n in 0.. {
        let place = lab();
        let dir = place.path();
        let first = back_up(dir, 0, None);
        fs::write(dir.join("assets/b"), b"b").unwrap();
        // Without the cache the old set has to be read, which asks whether to stop.
        fs::remove_dir_all(dir.join("store/cache")).unwrap();
        let out = Some(dir.join("out"));
        let options = Options { databases: Vec::new(), out, keep_sets: NonZeroUsize::new(1), ..options(dir, 1) };
        let stamps = |report: &Report| fs::exists(report.set.as_ref().unwrap().manifest.as_path()).unwrap();
        match backup(&open(dir), &options, &Stops(AtomicU32::new(n))) {
            Err(Error::Interrupted) => nothing_yet += 1,
            Ok(report) if report.interrupted => {
                set_there += 1;
                assert!(stamps(&report) && stamps(&first) && report.problems.is_empty(), "{report:?}");
                let next = back_up(dir, 2, Some(1));
                assert_eq!(next.sets.unwrap().count, 1, "the next run removes them");
            }
            Ok(report) => {
                assert!(stamps(&report) && !stamps(&first) && report.problems.is_empty(), "{report:?}");
                break;
            }
            Err(error) => panic!("{error}"),
        }
    }
    assert!(nothing_yet > 0 && set_there > 0, "{nothing_yet} {set_there}");
}

#[test]
fn a_set_of_another_coder_stays_and_counts() {
    let place = lab();
    let dir = place.path();
    let first = back_up(dir, 0, None);
    // A later snapshot whose set an lrl with another compressor wrote.
    let mut other = first.snapshot.clone();
    other.sequence += 1;
    other.timestamp = "20240101_000000".into();
    other.files.as_mut().unwrap().archive.as_mut().unwrap().coder = "another/1".into();
    let (name, _) = open(dir).publish(&other).unwrap();
    let names = Names::new(&dir.join("out"), &other.timestamp);
    fs::copy(&first.set.as_ref().unwrap().assets.as_ref().unwrap().path, &names.assets).unwrap();
    layout::write_manifest(&names, &layout::manifest(&names, &name, &other, "lrl 0.9.0").unwrap()).unwrap();

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
