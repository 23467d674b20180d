//! What restores have kept is removed: by age, from the record alone, and not while a restore is unfinished.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::SystemTime;

use super::*;
use crate::error::Place;
use crate::ops::restore::rename::faults;
use crate::ops::restore::{CleanOptions, Cleaned, clean, is_unfinished};

fn options(lab: &Lab) -> CleanOptions {
    let Options { data_dir, storage_dir, .. } = lab.options(What::Whole);
    let now = SystemTime::now();
    CleanOptions { data_dir, storage_dir, is_site: false, older_than: Duration::ZERO, now, dry_run: false }
}

fn removed(cleaned: &Cleaned) -> Vec<&Path> {
    cleaned.removed.iter().map(|one| one.path.as_path()).collect()
}

/// A lab of which a restore has kept the database and the uploads.
fn restored() -> Lab {
    let lab = Lab::new();
    lab.write("lrl.db", b"new");
    lab.write("assets/x", b"new");
    fs::create_dir_all(lab.data().join("assets")).unwrap();
    fs::write(lab.data().join("assets/x"), b"old").unwrap();
    fs::write(lab.data().join("lrl.db"), b"old").unwrap();
    let _ = lab.restore(&lab.snapshot(), What::Whole).unwrap();
    lab
}

#[test]
fn a_data_directory_that_is_missing_is_named() {
    let lab = Lab::new();
    let result = clean(&options(&lab));
    let Err(Error::NoStore { what: Place::DataDir, path }) = result else { panic!("{result:?}") };
    assert_eq!(path, lab.data());
}

#[test]
fn a_copy_goes_at_the_age_that_was_asked_for_and_not_a_second_before() {
    let lab = restored();
    let kept = ["assets.pre-restore", "lrl.db.pre-restore"].map(|name| lab.data().join(name));
    // No program can set this time, so the clock of the run is set by it.
    let since = kept.iter().map(|path| fs::symlink_metadata(path).unwrap().ctime() as u64);
    let (first, last) = (since.clone().min().unwrap(), since.max().unwrap());
    let at = |secs: u64, dry_run| {
        let older_than = Duration::from_secs(1000);
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(secs);
        clean(&CleanOptions { older_than, now, dry_run, ..options(&lab) }).unwrap()
    };
    let young = at(first + 999, false);
    assert_eq!((young.younger, removed(&young).len(), young.undo_gone), (2, 0, false));
    assert!(kept.iter().all(|path| path.exists()) && lab.data().join(".lrl-undo.json").exists());
    let dry = at(last + 1000, true);
    assert_eq!((dry.younger, removed(&dry), dry.undo_gone), (0, kept.iter().map(PathBuf::as_path).collect(), true));
    assert!(dry.removed.iter().all(|one| one.bytes > 0));
    assert!(kept.iter().all(|path| path.exists()) && lab.data().join(".lrl-undo.json").exists());
    let old = at(last + 1000, false);
    assert_eq!((removed(&old), old.undo_gone), (removed(&dry), true));
    assert_eq!(names_in(&lab.data()), ["assets", "lrl.db"]);
    assert!(!lab.data().join(".lrl-undo.json").exists(), "what is gone cannot come back");
}

#[test]
fn nothing_is_removed_while_a_restore_is_unfinished() {
    let lab = restored();
    for at in 0.. {
        faults::arm(at, true);
        let killed = catch_unwind(AssertUnwindSafe(|| lab.restore(&lab.snapshot(), What::Whole)));
        assert!(faults::disarm() && killed.is_err(), "no kill left it unfinished");
        if is_unfinished(&lab.data(), &lab.options(What::Whole).storage_dir).unwrap() {
            break;
        }
    }
    let before = look(&lab.data());
    let refused = clean(&options(&lab));
    assert!(matches!(&refused, Err(Error::Refused(text)) if text.text().contains("killed half way")), "{refused:?}");
    assert_eq!(look(&lab.data()), before);
}

#[test]
fn what_a_restored_path_replaced_among_the_uploads_is_found_by_the_record() {
    let lab = restored();
    let paths = |names: &[&str]| What::Paths(names.iter().map(|name| name.as_bytes().to_vec()).collect());
    lab.write("assets/dir/file", b"new");
    let snapshot = lab.snapshot();
    fs::create_dir(lab.data().join("assets/dir")).unwrap();
    fs::write(lab.data().join("assets/dir/file"), b"old").unwrap();
    let _ = lab.restore(&snapshot, paths(&["assets/dir/file"])).unwrap();
    let kept = lab.data().join("assets/dir/file.pre-restore");
    assert_eq!(fs::read(&kept).unwrap(), b"old");
    let cleaned = clean(&options(&lab)).unwrap();
    assert!(removed(&cleaned).contains(&kept.as_path()) && cleaned.undo_gone, "{cleaned:?}");
    assert_eq!(names_in(&lab.data().join("assets/dir")), ["file"]);
    // Where the directories of the record are gone it keeps nothing, and hinders nothing.
    fs::write(lab.data().join("assets/dir/file"), b"old").unwrap();
    let _ = lab.restore(&snapshot, paths(&["assets/dir/file"])).unwrap();
    fs::remove_dir_all(lab.data().join("assets")).unwrap();
    fs::write(lab.data().join("assets"), b"a file").unwrap();
    let cleaned = clean(&options(&lab)).unwrap();
    assert_eq!((removed(&cleaned).len(), cleaned.undo_gone), (0, false));
}

#[test]
fn a_name_that_no_restore_gives_stays() {
    let lab = restored();
    let others = ["lrl.db.pre-restore.old", "lrl.db.bak", "assets.pre-restore.01", "assets.pre-restore-wal"];
    others.iter().for_each(|name| fs::write(lab.data().join(name), b"mine").unwrap());
    assert_eq!(clean(&options(&lab)).unwrap().removed.len(), 2);
    assert!(others.iter().all(|name| lab.data().join(name).exists()));
}
