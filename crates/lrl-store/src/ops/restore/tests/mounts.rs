//! Mounts, whose contents are exchanged, and what is kept inside them.

use super::*;
use crate::ops::restore::swap_contents::tests::force;
use crate::ops::restore::{CleanOptions, UndoOptions, clean, undo};

#[test]
fn the_contents_of_a_mount_change_places_and_come_back() {
    let Some(disk) = Disk::new("8m") else { return };
    let lab = Lab::new();
    lab.write("storage/x/y", b"new");
    lab.write("storage/z", b"new");
    set_mode(&lab.source().join("storage"), 0o750);
    let snapshot = lab.snapshot();
    let mount = disk.0.path().to_path_buf();
    fs::create_dir(mount.join("x")).unwrap();
    fs::write(mount.join("x/y"), b"old").unwrap();
    set_mtime(&mount, 1_600_000_000, 7);
    let old = look(&mount);
    let options = Options { storage_dir: mount.clone(), ..lab.options(What::Whole) };
    let live = || {
        let mut seen = look(&mount);
        seen.retain(|path, _| !path.starts_with(b".lrl."));
        seen
    };
    let report = lab.restore_with(&snapshot, &options).unwrap();
    assert_eq!(live(), look(&lab.source().join("storage")));
    assert_eq!(report.restored[0].kept[0].1, mount.join(".lrl.pre-restore"));
    assert_eq!(names_in(&mount), [".lrl.pre-restore", "x", "z"]);
    assert_eq!(fs::read(mount.join(".lrl.pre-restore/x/y")).unwrap(), b"old");
    let undo_options = UndoOptions {
        data_dir: options.data_dir.clone(),
        storage_dir: mount.clone(),
        dry_run: false,
        force: false,
        locks: None,
    };
    undo(&undo_options).unwrap();
    assert_eq!(live(), old);
    undo(&undo_options).unwrap();
    assert_eq!(live(), look(&lab.source().join("storage")));
    // One file below a mount is staged on its disk.
    let path = What::Paths(vec![b"storage/x/y".to_vec()]);
    fs::write(mount.join("x/y"), b"changed").unwrap();
    let _ = lab.restore_with(&snapshot, &Options { what: path, ..options }).unwrap();
    assert_eq!(fs::read(mount.join("x/y")).unwrap(), b"new");
}

#[test]
fn what_is_kept_inside_the_uploads_or_behind_a_link_can_be_removed() {
    let lab = Lab::new();
    lab.write("lrl.db", b"new");
    lab.write("assets/x", b"new");
    lab.write("storage/y", b"new");
    let snapshot = lab.snapshot();
    let elsewhere = lab.dir.path().join("elsewhere");
    fs::create_dir_all(elsewhere.join("files")).unwrap();
    fs::write(elsewhere.join("files/x"), b"old").unwrap();
    fs::write(elsewhere.join("app.sqlite"), b"old").unwrap();
    fs::create_dir_all(lab.data()).unwrap();
    symlink(elsewhere.join("files"), lab.data().join("assets")).unwrap();
    symlink(elsewhere.join("app.sqlite"), lab.data().join("lrl.db")).unwrap();
    let options = lab.options(What::Whole);
    let cleaning = |dry_run| {
        let (data_dir, storage_dir) = (options.data_dir.clone(), options.storage_dir.clone());
        let now = std::time::SystemTime::now();
        let cleaned =
            clean(&CleanOptions { data_dir, storage_dir, is_site: false, older_than: Duration::ZERO, now, dry_run })
                .unwrap();
        (cleaned.removed.into_iter().map(|one| one.path).collect::<Vec<_>>(), cleaned.undo_gone)
    };
    for inside in [false, true] {
        // Two of them: the record of the last restore knows only one.
        for _ in 0..2 {
            fs::write(elsewhere.join("app.sqlite-wal"), b"").unwrap();
            force(inside);
            let report = lab.restore_with(&snapshot, &options);
            force(false);
            let _ = report.unwrap();
        }
        let uploads = if inside { "files/.lrl.pre-restore" } else { "files.pre-restore" };
        let storage = if inside { "storage/.lrl.pre-restore" } else { "storage.pre-restore" };
        let databases = ["", "-wal", ".1", ".1-wal"].map(|end| format!("app.sqlite.pre-restore{end}"));
        let mut expected: Vec<PathBuf> = databases.iter().map(|name| elsewhere.join(name)).collect();
        expected.extend(["", ".1"].map(|end| elsewhere.join(format!("{uploads}{end}"))));
        // The first of all restores found no second directory.
        let ends: &[&str] = if inside { &["", ".1"] } else { &[""] };
        let kept = options.storage_dir.parent().unwrap();
        expected.extend(ends.iter().map(|end| kept.join(format!("{storage}{end}"))));
        expected.sort();
        let (mut would, undo_gone) = cleaning(true);
        would.sort();
        assert_eq!((would, undo_gone), (expected.clone(), true));
        assert!(expected.iter().all(|path| path.exists()));
        assert_eq!(cleaning(false).0.len(), expected.len());
        assert_eq!(look(&elsewhere.join("files")), look(&lab.source().join("assets")), "its time included");
        assert_eq!(names_in(&elsewhere), ["app.sqlite", "files"]);
        assert_eq!(names_in(&options.storage_dir), ["y"]);
        assert_eq!(cleaning(false), (Vec::new(), false));
    }
    force(true);
    let report = lab.restore_with(&snapshot, &Options { no_keep: true, ..options.clone() });
    force(false);
    let report = report.unwrap();
    assert!(!report.notes.iter().any(|note| note.text().contains("kept")), "{:?}", report.notes);
    assert_eq!(look(&elsewhere.join("files")), look(&lab.source().join("assets")));
    assert_eq!(names_in(&elsewhere), ["app.sqlite", "files"]);
}

#[test]
fn uploads_that_hold_a_name_of_restores_are_refused_where_it_would_mean_something() {
    let lab = Lab::new();
    fs::create_dir_all(lab.data().join("assets")).unwrap();
    fs::write(lab.data().join("assets/x"), b"old").unwrap();
    let snapshot = lab.snapshot_of(vec![entry("assets", Kind::Dir), entry("assets/.lrl.pre-restore", file())]);
    let before = look_inside(&lab.data());
    force(true);
    let refused = lab.restore(&snapshot, What::AssetsOnly);
    force(false);
    assert!(
        matches!(&refused, Err(Error::Refused(why)) if why.text().contains("holds `.lrl.pre-restore`")),
        "{refused:?}"
    );
    assert_eq!(look_inside(&lab.data()), before);
    let _ = lab.restore(&snapshot, What::AssetsOnly).unwrap();
    assert!(lab.data().join("assets/.lrl.pre-restore").is_file(), "a directory that is renamed may hold it");
}

#[test]
fn a_directory_whose_contents_are_exchanged_gets_the_owner_and_mode_of_what_came() {
    if !rustix::process::geteuid().is_root() {
        println!("skipped: only root can give a directory away");
        return;
    }
    let lab = Lab::new();
    lab.write("assets/x", b"new");
    std::os::unix::fs::chown(lab.source().join("assets"), Some(12_345), Some(12_346)).unwrap();
    set_mode(&lab.source().join("assets"), 0o750);
    let snapshot = lab.snapshot();
    let assets = lab.data().join("assets");
    fs::create_dir_all(&assets).unwrap();
    fs::write(assets.join("x"), b"old").unwrap();
    set_mode(&assets, 0o705);
    let seen = || {
        let meta = fs::metadata(&assets).unwrap();
        (meta.uid(), meta.gid(), meta.mode() & 0o7777, fs::read(assets.join("x")).unwrap())
    };
    let (old, new) = (seen(), (12_345, 12_346, 0o750, b"new".to_vec()));
    force(true);
    let done = lab.restore(&snapshot, What::AssetsOnly);
    force(false);
    let _ = done.unwrap();
    assert_eq!(seen(), new);
    let Options { data_dir, storage_dir, .. } = lab.options(What::Whole);
    let back = UndoOptions { data_dir, storage_dir, dry_run: false, force: false, locks: None };
    undo(&back).unwrap();
    assert_eq!(seen(), old);
    undo(&back).unwrap();
    assert_eq!(seen(), new);
}

#[test]
fn a_directory_that_its_owner_may_not_write_is_opened_only_while_its_contents_are_exchanged() {
    let lab = Lab::new();
    lab.write("assets/x", b"new");
    set_mode(&lab.source().join("assets"), 0o554);
    let snapshot = lab.snapshot();
    set_mode(&lab.source().join("assets"), 0o755);
    let assets = lab.data().join("assets");
    fs::create_dir_all(&assets).unwrap();
    fs::write(assets.join("x"), b"old").unwrap();
    set_mode(&assets, 0o515);
    let seen = |kept: &str| {
        let mode = |path: &Path| fs::metadata(path).unwrap().mode() & 0o7777;
        (mode(&assets), fs::read(assets.join("x")).unwrap(), mode(&assets.join(kept)))
    };
    let Options { data_dir, storage_dir, .. } = lab.options(What::Whole);
    let back = UndoOptions { data_dir, storage_dir, dry_run: false, force: false, locks: None };
    force(true);
    let done = lab.restore(&snapshot, What::AssetsOnly);
    force(false);
    let _ = done.unwrap();
    assert_eq!(seen(".lrl.pre-restore"), (0o554, b"new".to_vec(), 0o515));
    undo(&back).unwrap();
    assert_eq!(seen(".lrl.undone"), (0o515, b"old".to_vec(), 0o554));
    undo(&back).unwrap();
    assert_eq!(seen(".lrl.pre-restore"), (0o554, b"new".to_vec(), 0o515));
    // Else what belongs to nobody cannot be removed by one who is not root.
    [assets.join(".lrl.pre-restore"), assets].iter().for_each(|dir| set_mode(dir, 0o755));
}

#[test]
fn a_file_that_is_mounted_cannot_be_exchanged_and_nothing_changes() {
    let lab = Lab::new();
    lab.write("lrl.db", b"new");
    lab.write("assets/x", b"new");
    let snapshot = lab.snapshot();
    fs::create_dir_all(lab.data()).unwrap();
    let (below, above) = (lab.data().join("lrl.db"), lab.dir.path().join("mounted.db"));
    [&below, &above].iter().for_each(|path| fs::write(path, b"old").unwrap());
    let mounted = Command::new("mount").arg("--bind").args([&above, &below]).output();
    if !mounted.is_ok_and(|run| run.status.success()) {
        println!("skipped: mounting is not permitted here");
        return;
    }
    let refused = [What::Whole, What::DbOnly].map(|what| lab.restore(&snapshot, what));
    let names = names_in(&lab.data());
    Command::new("umount").arg("--lazy").arg(&below).status().unwrap();
    for refused in refused {
        assert!(
            matches!(&refused, Err(Error::Refused(why)) if why.text().contains("is a file that is mounted")),
            "{refused:?}"
        );
    }
    assert_eq!(names, ["lrl.db"]);
    assert_eq!(fs::read(&above).unwrap(), b"old");
}
