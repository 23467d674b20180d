//! A restore over what is there, into a fresh directory, and as a dry run.

use super::*;

#[test]
fn both_halves_come_back_and_what_was_there_is_kept() {
    let lab = Lab::new();
    lab.write("lrl.db", &b"new database".repeat(20_000));
    lab.write("assets/a/one.txt", b"one");
    lab.write("storage/key.bin", b"two");
    let snapshot = lab.snapshot();
    fs::create_dir_all(lab.data().join("assets/old")).unwrap();
    fs::create_dir_all(lab.dir.path().join("kept/storage")).unwrap();
    fs::write(lab.data().join("assets/old/later.txt"), b"later").unwrap();
    fs::write(lab.data().join("lrl.db"), b"old database").unwrap();
    fs::write(lab.data().join("lrl.db-wal"), b"old wal").unwrap();
    fs::write(lab.data().join("lrl.db-shm"), b"old shm").unwrap();
    fs::write(lab.data().join("other"), b"untouched").unwrap();

    let report = lab.restore(&snapshot, What::Whole).unwrap();

    assert_eq!(
        names_in(&lab.data()),
        [
            "assets",
            "assets.pre-restore",
            "lrl.db",
            "lrl.db.pre-restore",
            "lrl.db.pre-restore-shm",
            "lrl.db.pre-restore-wal",
            "other"
        ]
    );
    assert_eq!(look(&lab.data().join("assets")), look(&lab.source().join("assets")));
    assert_eq!(look(&lab.dir.path().join("kept/storage")), look(&lab.source().join("storage")));
    assert_eq!(fs::read(lab.data().join("lrl.db")).unwrap(), b"new database".repeat(20_000));
    assert_eq!(fs::read(lab.data().join("lrl.db.pre-restore")).unwrap(), b"old database");
    assert_eq!(fs::read(lab.data().join("lrl.db.pre-restore-wal")).unwrap(), b"old wal");
    assert_eq!(fs::read(lab.data().join("assets.pre-restore/old/later.txt")).unwrap(), b"later");
    assert_eq!((report.files, report.bytes), (3, 240_006));
    assert_eq!(report.restored[0].kept[0], (lab.data().join("lrl.db"), lab.data().join("lrl.db.pre-restore")));
    assert_eq!(report.restored[0].kept.len(), 3);
    assert_eq!(report.restored[1].kept.len(), 1);
    assert_eq!(names_in(&lab.dir.path().join("kept")), ["storage", "storage.pre-restore"]);

    // A second time: nothing that was kept is overwritten.
    let _ = lab.restore(&snapshot, What::Whole).unwrap();
    assert_eq!(fs::read(lab.data().join("lrl.db.pre-restore")).unwrap(), b"old database");
    assert_eq!(fs::read(lab.data().join("lrl.db.pre-restore.1")).unwrap(), b"new database".repeat(20_000));
    assert!(lab.data().join("assets.pre-restore.1/a/one.txt").exists());
}

#[test]
fn a_fresh_directory_is_made_for_us_alone() {
    let lab = Lab::new();
    lab.write("lrl.db", b"database");
    set_mode(&lab.write("assets/x", b"x"), 0o6755);
    set_mode(&lab.source().join("lrl.db"), 0o640);
    let snapshot = lab.snapshot();
    let report = lab.restore(&snapshot, What::Whole).unwrap();
    assert_eq!(fs::metadata(lab.data()).unwrap().mode() & 0o7777, 0o700);
    assert_eq!(fs::metadata(lab.data().join("lrl.db")).unwrap().mode() & 0o7777, 0o640);
    assert_eq!(fs::metadata(lab.data().join("assets/x")).unwrap().mode() & 0o7777, 0o755, "setuid must go");
    assert!(report.restored.iter().all(|restored| restored.kept.is_empty()));
}

#[test]
fn a_leftover_wal_without_its_database_is_moved_away_too() {
    let lab = Lab::new();
    lab.write("lrl.db", b"database");
    fs::create_dir(lab.data()).unwrap();
    fs::write(lab.data().join("lrl.db-journal"), b"hot").unwrap();
    let report = lab.restore(&lab.snapshot(), What::DbOnly).unwrap();
    assert_eq!(names_in(&lab.data()), ["lrl.db", "lrl.db.pre-restore-journal"]);
    assert_eq!(report.restored[0].kept.len(), 1);
}

#[test]
fn a_dry_run_writes_nothing_and_says_all() {
    let lab = Lab::new();
    lab.write("lrl.db", b"database");
    lab.write("assets/a/b", b"bytes");
    let snapshot = lab.snapshot();
    let dry = Options { dry_run: true, ..lab.options(What::Whole) };
    let report = lab.restore_with(&snapshot, &dry).unwrap();
    assert!(report.dry_run && !lab.data().exists());
    assert_eq!((report.files, report.dirs, report.bytes), (2, 2, 13));
    let _ = lab.restore(&snapshot, What::Whole).unwrap();
    let before = look(lab.dir.path());
    let report = lab.restore_with(&snapshot, &dry).unwrap();
    assert_eq!(look(lab.dir.path()), before);
    assert_eq!(report.restored[0].kept, [(lab.data().join("lrl.db"), lab.data().join("lrl.db.pre-restore"))]);
}

#[test]
fn a_store_inside_the_target_is_not_carried_away() {
    let lab = Lab::new();
    let inside = lab.data().join("assets/backups");
    fs::create_dir_all(&inside).unwrap();
    let dirs = crate::fs::resolve::OpenDirs::default();
    let finder = crate::ops::restore::find_target::Finder::new(&dirs);
    let place = finder.find(&lab.data(), &[b"assets"], Links::First).unwrap();
    assert!(matches!(crate::ops::restore::safety::refuse_overlap(&[&place], &[inside]), Err(Error::Refused(_))));
    let nested = finder.find(&lab.data().join("assets"), &[b"storage"], Links::First).unwrap();
    assert!(matches!(crate::ops::restore::safety::refuse_overlap(&[&place, &nested], &[]), Err(Error::Refused(_))));
    assert!(crate::ops::restore::safety::refuse_overlap(&[&place], &[lab.source()]).is_ok());
}
