//! A site in place: links, what is beside the snapshot, what lrl keeps there, databases in use.

use super::*;
use crate::ops::restore::{AskLocks, CleanOptions, LockHolder, clean};

#[test]
fn all_of_a_site_comes_back_in_place_and_an_undo_takes_it_back() {
    let site = Site::new();
    let taken = site.backup();
    assert_eq!(taken.1.databases.len(), 3);
    let (before, wanted) = (site.live(), site.stored());
    site.change();
    let changed = site.live();
    let report = site.restore(&taken, What::Whole);
    assert!(report.kept_bytes > 3 * 8192, "{report:?}");
    assert_eq!(site.stored(), wanted);
    // Databases in a tree are restored with it, and nothing of the old ones is left beside them.
    assert!(!site.root().join("data/users/a.sqlite-wal").exists() && !site.root().join("app.db-wal").exists());
    assert_eq!(fs::read(site.root().join("icon_cache/i")).unwrap(), b"another icon");
    assert_eq!(fs::read(site.root().join("data.pre-restore/cache/c")).unwrap(), b"cached again");
    let said = |text: &str| report.notes.iter().any(|note| note.text().contains(text));
    assert!(said("also what backups exclude") && said("left alone in") && said("icon_cache"), "{:?}", report.notes);
    let inside: Vec<_> = report.restored.iter().flat_map(|one| one.databases.clone()).collect();
    assert_eq!(inside, ["data/users/a.sqlite", "storage/main.sqlite"].map(|path| site.root().join(path)));
    let alone: Vec<_> = report.restored.iter().filter(|one| one.part == Part::Database).collect();
    assert_eq!(alone[0].kept[0], (site.root().join("app.db"), site.root().join("app.db.pre-restore")));
    assert_eq!(alone[0].kept.len(), 2, "its -wal is kept with it");
    for path in DATABASES {
        let row: String = site.open(path).query_row("SELECT x FROM t", [], |row| row.get(0)).unwrap();
        assert_eq!(row, "first");
    }
    site.undo().unwrap();
    assert_eq!(site.live(), changed);
    assert!(site.undo().unwrap().restored_again);
    assert_eq!(site.stored(), wanted);
    assert!(before.len() > wanted.len());
}

#[test]
fn in_place_links_to_the_data_stay_and_what_they_lead_to_is_restored() {
    let site = Site::new();
    let taken = site.backup();
    let wanted = site.stored();
    site.change();
    let disk = site.lab.dir.path().join("disk");
    fs::create_dir(&disk).unwrap();
    for (path, name) in
        [("data", "data"), ("storage/ab", "ab"), ("app.db", "real.db"), ("storage/main.sqlite", "main.db")]
    {
        fs::rename(site.root().join(path), disk.join(name)).unwrap();
        symlink(disk.join(name), site.root().join(path)).unwrap();
    }
    fs::rename(site.root().join("app.db-wal"), disk.join("real.db-wal")).unwrap();
    fs::rename(site.root().join("storage/main.sqlite-wal"), disk.join("main.db-wal")).unwrap();
    site.write("storage/unlisted", b"stays");
    let report = site.restore(&taken, What::Whole);
    for path in ["data", "storage/ab", "app.db", "storage/main.sqlite"] {
        assert!(fs::symlink_metadata(site.root().join(path)).unwrap().is_symlink(), "{path}");
    }
    assert!(report.notes.iter().any(|note| note.text().contains("the link storage/ab")), "{:?}", report.notes);
    for (path, (_, _, _, _, bytes, _)) in wanted.iter().filter(|(path, _)| path.as_slice() != b"current") {
        let path = site.root().join(OsStr::from_bytes(path));
        assert!(path.is_dir() || fs::read(&path).unwrap() == *bytes, "{}", path.display());
    }
    assert!(disk.join("data.pre-restore/files/later.txt").exists() && disk.join("real.db.pre-restore-wal").exists());
    assert!(site.root().join("storage/unlisted").exists() && disk.join("ab.pre-restore").exists());
    site.undo().unwrap();
    assert_eq!(fs::read(site.root().join("storage/ab/blob")).unwrap(), b"short");
    assert_eq!(versions(&site), [Some(false); 3]);
}

#[test]
fn what_is_beside_the_snapshot_is_named_and_what_lrl_keeps_there_is_not() {
    let site = Site::new();
    let taken = site.backup();
    let note = || {
        let mut notes = site.restore(&taken, What::Whole).notes;
        notes.retain(|note| note.text().starts_with("left alone in"));
        let note = notes.pop().unwrap();
        assert!(notes.is_empty(), "{notes:?}");
        note.text()
            .strip_prefix(&format!("left alone in {}, not in the snapshot: ", site.root().display()))
            .unwrap()
            .to_string()
    };
    assert_eq!(note(), "icon_cache");
    // Kept copies, records, and what is beside the databases.
    site.change();
    fs::create_dir(site.root().join(".lrl-restore-1-1")).unwrap();
    assert_eq!(note(), "icon_cache");
    assert!(site.root().join("data.pre-restore").exists());
    ["1", "2", "3", "4"].iter().for_each(|name| site.write(name, b""));
    assert_eq!(note(), "1, 2, 3, 4, icon_cache");
    site.write("5", b"");
    site.write("6", b"");
    assert!(note().ends_with(" and 2 more"));
    ["1", "2", "3", "4", "5", "6"].iter().for_each(|name| fs::remove_file(site.root().join(name)).unwrap());
    fs::remove_dir_all(site.root().join("icon_cache")).unwrap();
    let notes = site.restore(&taken, What::Whole).notes;
    assert!(!notes.iter().any(|note| note.text().starts_with("left alone in")), "{notes:?}");
}

#[test]
fn directories_of_lrl_are_never_moved_along() {
    let site = Site::new();
    let taken = site.backup();
    site.change();
    site.write("data/files/backups/store/config", b"own");
    let own = vec![site.root().join("data/files/backups")];
    let options = Options { own, ..site.options(What::Whole) };
    let report = site.restore_with(&taken, &options).unwrap();
    assert!(report.notes.iter().any(|note| note.text().contains("lrl's own")), "{:?}", report.notes);
    assert_eq!(fs::read(site.root().join("data/files/backups/store/config")).unwrap(), b"own");
    assert_eq!(fs::read(site.root().join("data/files/x.txt")).unwrap(), b"x");
    assert_eq!(fs::read(site.root().join("data/cache/c")).unwrap(), b"cached again");
    assert_eq!(versions(&site), [Some(true); 3]);
    // What would be replaced itself is refused.
    let own = vec![site.root().join("data/files/x.txt")];
    let refused = site.restore_with(&taken, &Options { own, ..site.options(What::Whole) });
    assert!(matches!(refused, Err(Error::Refused(_))), "{refused:?}");
}

#[test]
fn a_database_in_use_is_named_wherever_it_lies() {
    let site = Site::new();
    let taken = site.backup();
    for path in DATABASES {
        let file = File::open(site.root().join(path)).unwrap();
        let mut holder = Command::new("sleep").arg("60").stdin(file).spawn().unwrap();
        let before = site.live();
        let refused = site.restore_with(&taken, &site.options(What::Whole));
        holder.kill().unwrap();
        holder.wait().unwrap();
        let Err(Error::Refused(text)) = refused else { panic!("{refused:?}") };
        assert!(text.text().contains("sleep") && text.text().contains(path), "{text}");
        assert_eq!(site.live(), before);
    }
}

#[test]
fn a_database_that_is_locked_out_of_sight_is_named_wherever_it_lies() {
    // As by a program in another container.
    fn is_locked<const AT: usize>(path: &Path) -> std::io::Result<Option<LockHolder>> {
        Ok(path.ends_with(DATABASES[AT]).then_some(LockHolder::Unseen))
    }
    let site = Site::new();
    let taken = site.backup();
    let asks: [AskLocks; 3] = [is_locked::<0>, is_locked::<1>, is_locked::<2>];
    for (path, ask) in DATABASES.iter().zip(asks) {
        let before = site.live();
        let refused = site.restore_with(&taken, &Options { locks: Some(ask), ..site.options(What::Whole) });
        let Err(Error::Refused(text)) = refused else { panic!("{refused:?}") };
        assert!(text.text().contains("cannot be seen") && text.text().contains(path), "{text}");
        assert_eq!(site.live(), before);
    }
}

#[test]
fn a_directory_where_the_site_has_a_file_is_replaced_unless_lrls_own_lies_in_it() {
    let site = Site::new();
    site.write("notes", b"text");
    let taken = site.backup();
    fs::remove_file(site.root().join("notes")).unwrap();
    site.write("notes/backups/x", b"a backup");
    let own = vec![site.root().join("notes/backups")];
    let before = site.live();
    let refused = site.restore_with(&taken, &Options { own, ..site.options(What::Whole) });
    assert!(matches!(&refused, Err(Error::Refused(why)) if why.text().contains("would be moved away")), "{refused:?}");
    assert_eq!(site.live(), before);
    let _ = site.restore(&taken, What::Whole);
    assert_eq!(fs::read(site.root().join("notes")).unwrap(), b"text");
    assert_eq!(fs::read(site.root().join("notes.pre-restore/backups/x")).unwrap(), b"a backup");
}

#[test]
fn what_a_restore_keeps_is_no_part_of_the_site() {
    let site = Site::new();
    let taken = site.backup();
    site.change();
    site.write("data/files/notes.undone", b"the user's own");
    let own = site.backup();
    assert_eq!(own.1.databases.len(), 3);
    let _ = site.restore(&taken, What::Whole);
    let _ = site.restore(&taken, What::Paths(vec![b"data/users/a.sqlite".to_vec()]));
    let report = backup(&site.lab.store, &site.options_of_backup(), &Silent).unwrap();
    assert_eq!(report.snapshot.databases.len(), 3);
    assert_eq!(report.snapshot.files.as_ref().unwrap().entries, taken.1.files.as_ref().unwrap().entries);
    let told: Vec<_> =
        report.problems.iter().filter(|problem| problem.reason.text().contains("kept by a restore")).collect();
    assert!(told.len() == 1 && !told[0].lost, "{:?}", report.problems);

    let (data_dir, storage_dir) = (site.root(), site.root().join("storage"));
    let (older_than, now) = (Duration::ZERO, SystemTime::now());
    let cleaned =
        clean(&CleanOptions { data_dir, storage_dir, is_site: false, older_than, now, dry_run: false }).unwrap();
    assert!(cleaned.undo_gone && cleaned.removed.len() >= 5, "{:?}", cleaned.removed);
    assert!(!site.root().join("data.pre-restore").exists());
    assert!(!site.root().join("data/users/a.sqlite.pre-restore").exists());
    assert_eq!(versions(&site), [Some(true); 3]);
    // The user's own file with such a name is stored, as no record of a restore is there any more.
    site.write("data/files/notes.undone", b"the user's own");
    let (_, snapshot) = site.backup();
    let entries = snapshot.files.unwrap().entries;
    assert_eq!(entries, taken.1.files.unwrap().entries + 1);
}
