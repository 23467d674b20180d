//! Sets of a site over data that is there: as from a snapshot, all together or not at all, with an undo.

use std::panic::{AssertUnwindSafe, catch_unwind};

use super::site::{DATABASES, Site, Taken, live, versions};
use super::*;
use crate::fs::space::Reserve;
use crate::ops::export;
use crate::ops::restore::rename::faults;
use crate::ops::restore::{AskLocks, LockHolder, is_unfinished, restore_set};

/// Makes the set of a snapshot in a directory.
fn export_to(site: &Site, (name, snapshot): &Taken, out: &Path) -> PathBuf {
    let options = export::Options { out, reserve: Reserve::NONE, program: "test", skip_damaged: true };
    export::export(&site.lab.store, name, snapshot.clone(), &options, &Silent).unwrap().names.manifest
}

fn set_of(site: &Site, taken: &Taken) -> PathBuf {
    export_to(site, taken, &site.lab.dir.path().join("set"))
}

fn restored(site: &Site, manifest: &Path, what: What) -> Report {
    restore_set(manifest, &site.options(what), &Silent).unwrap()
}

/// Contents, targets of links and modes, by path: a set has neither hard links nor the times of databases.
fn contents(seen: &Seen) -> BTreeMap<Vec<u8>, (u32, Vec<u8>)> {
    seen.iter().map(|(path, (mode, _, _, _, bytes, _))| (path.clone(), (*mode, bytes.clone()))).collect()
}

#[test]
fn a_set_comes_back_in_place_and_an_undo_takes_it_back() {
    let site = Site::new();
    set_mode(&site.root().join("data/users/a.sqlite"), 0o640);
    let taken = site.backup();
    let manifest = set_of(&site, &taken);
    let wanted = contents(&site.stored());
    site.change();
    let changed = site.live();
    let dry = Options { dry_run: true, ..site.options(What::Whole) };
    let dry = restore_set(&manifest, &dry, &Silent).unwrap();
    assert_eq!(site.live(), changed);
    let report = restored(&site, &manifest, What::Whole);
    assert_eq!((dry.files, dry.bytes, dry.restored.len()), (report.files, report.bytes, report.restored.len()));
    let kept = |report: &Report| -> Vec<_> { report.restored.iter().map(|one| one.kept.clone()).collect() };
    assert_eq!(kept(&dry), kept(&report), "with what is beside a database");
    let storage = report.restored.iter().find(|one| one.path == site.root().join("storage")).unwrap();
    assert!(storage.files >= 1 && storage.bytes >= 5000 && report.bytes > storage.bytes, "{report:?}");
    assert_eq!(contents(&site.stored()), wanted);
    assert!(!site.root().join("data/users/a.sqlite-wal").exists() && !site.root().join("app.db-wal").exists());
    assert_eq!(fs::read(site.root().join("icon_cache/i")).unwrap(), b"another icon");
    assert_eq!(fs::read(site.root().join("data.pre-restore/cache/c")).unwrap(), b"cached again");
    let said = |text: &str| report.notes.iter().any(|note| note.text().contains(text));
    assert!(said("also what backups exclude") && said("left alone in") && said("icon_cache"), "{:?}", report.notes);
    let inside: Vec<_> = report.restored.iter().flat_map(|one| one.databases.clone()).collect();
    assert_eq!(inside, ["data/users/a.sqlite", "storage/main.sqlite"].map(|path| site.root().join(path)));
    let alone: Vec<_> = report.restored.iter().filter(|one| one.part == Part::Database).collect();
    assert_eq!(alone[0].kept.len(), 2, "its -wal is kept with it");
    for path in DATABASES {
        let row: String = site.open(path).query_row("SELECT x FROM t", [], |row| row.get(0)).unwrap();
        assert_eq!(row, "first");
    }
    site.undo().unwrap();
    assert_eq!(site.live(), changed);
    assert!(site.undo().unwrap().restored_again);
    assert_eq!(contents(&site.stored()), wanted);
}

#[test]
fn a_name_that_looks_like_an_escape_means_itself_where_that_is_there() {
    let site = Site::new();
    let names = ["storage/w\\x41", "storage/wA"];
    names.iter().for_each(|name| site.write(name, b"stored"));
    let manifest = set_of(&site, &site.backup());
    let restored = |typed: &str| {
        names.iter().for_each(|name| site.write(name, b"changed"));
        let _ = restored(&site, &manifest, What::Paths(vec![typed.as_bytes().to_vec()]));
        names.map(|name| fs::read(site.root().join(name)).unwrap() == b"stored")
    };
    assert_eq!(restored("storage/w\\x41"), [true, false]);
    assert_eq!(restored("storage/wA"), [false, true]);
    assert_eq!(restored("storage/\\x77A"), [false, true], "as lrl prints it");
}

#[test]
fn a_step_that_fails_or_a_kill_leaves_all_databases_of_a_set_old_or_new() {
    let site = Site::new();
    fs::remove_dir(site.root().join("empty")).unwrap();
    fs::remove_dir_all(site.root().join("icon_cache")).unwrap();
    let taken = site.backup();
    let manifest = set_of(&site, &taken);
    site.change();
    fs::remove_file(site.root().join("current")).unwrap();
    site.save();
    let changed = site.live();
    let mut steps = 0;
    for kill in [false, true] {
        for at in 0.. {
            site.reset();
            faults::arm(at, kill);
            let run = || restore_set(&manifest, &site.options(What::Whole), &Silent);
            let result = catch_unwind(AssertUnwindSafe(run));
            if !faults::disarm() {
                let _ = result.unwrap().unwrap();
                assert_eq!(versions(&site), [Some(true); 3]);
                break;
            }
            steps = at;
            if kill {
                assert!(result.is_err());
                if is_unfinished(&site.root(), &site.root().join("storage")).unwrap() {
                    site.undo().unwrap();
                    assert_eq!(site.live(), changed, "step {at}");
                }
                let now = versions(&site);
                assert!(now == [Some(false); 3] || now == [Some(true); 3], "step {at}: {now:?}");
                let _ = restored(&site, &manifest, What::Whole);
                assert_eq!(versions(&site), [Some(true); 3]);
            } else {
                assert!(matches!(result.unwrap(), Err(Error::Io { .. })), "step {at}");
                assert_eq!(site.live(), changed, "step {at}");
            }
        }
    }
    assert!(steps >= 15, "only {steps} steps");
}

#[test]
fn a_part_of_a_set_leaves_the_rest_alone() {
    let site = Site::new();
    let taken = site.backup();
    let manifest = set_of(&site, &taken);
    let row = |path: &str| site.open(path).query_row("SELECT x FROM t", [], |row| row.get::<_, String>(0)).unwrap();
    let unused = || DATABASES.iter().for_each(|path| _ = fs::remove_file(site.root().join(format!("{path}-wal"))));
    site.change();
    let _ = restored(&site, &manifest, What::AssetsOnly);
    unused();
    assert_eq!(DATABASES.map(row), ["second"; 3]);
    assert_eq!(fs::read(site.root().join("data/files/y.txt")).unwrap(), b"x");
    site.write("data/files/x.txt", b"changed");
    let _ = restored(&site, &manifest, What::DbOnly);
    assert_eq!(DATABASES.map(row), ["first"; 3]);
    assert_eq!(fs::read(site.root().join("data/files/x.txt")).unwrap(), b"changed");

    site.change();
    unused();
    let paths = ["storage", "rsa_key.pem"].map(|path| path.as_bytes().to_vec()).to_vec();
    let _ = restored(&site, &manifest, What::Paths(paths));
    assert_eq!(DATABASES.map(row), ["second", "second", "first"]);
    assert!(site.root().join("rsa_key.pem").exists() && site.root().join("data/files/later.txt").exists());
    let _ = restored(&site, &manifest, What::Paths(vec![b"data/users/a.sqlite".to_vec()]));
    assert_eq!(row("data/users/a.sqlite"), "first");
    for missing in ["data/none", "../etc", "", "/etc/passwd", "data/users/a.sqlite/x"] {
        let result = restore_set(&manifest, &site.options(What::Paths(vec![missing.into()])), &Silent);
        assert!(matches!(result, Err(Error::NotFound(_))), "{missing}: {result:?}");
    }
    // Into nothing: only what was asked for comes, with the directories that it is in.
    let target = site.lab.dir.path().join("target");
    let paths = ["data/files/x.txt", "data/users/a.sqlite"].map(|path| path.as_bytes().to_vec()).to_vec();
    let options = Options { what: What::Paths(paths), only_below: true, ..Options::new(&target) };
    let _ = restore_set(&manifest, &options, &Silent).unwrap();
    let found: Vec<_> =
        live(&target).into_keys().filter(|path| target.join(OsStr::from_bytes(path)).is_file()).collect();
    assert_eq!(found, [b"data/files/x.txt".to_vec(), b"data/users/a.sqlite".to_vec()]);
}

#[test]
fn elsewhere_no_link_leads_out_and_in_place_links_stay() {
    let site = Site::new();
    let taken = site.backup();
    let manifest = set_of(&site, &taken);
    let wanted = contents(&site.stored());
    let target = site.lab.dir.path().join("deep/target");
    let elsewhere = Options { only_below: true, ..Options::new(&target) };
    let _ = restore_set(&manifest, &elsewhere, &Silent).unwrap();
    let mut found = contents(&live(&target));
    let mode = |of: &BTreeMap<Vec<u8>, (u32, Vec<u8>)>| of.get(b"app.db".as_slice()).unwrap().0;
    assert_eq!(mode(&found), mode(&wanted), "a set has the modes of its databases");
    found.retain(|path, _| !path.is_empty());
    let mut of_root = wanted.clone();
    of_root.retain(|path, _| !path.is_empty());
    assert_eq!(found, of_root);
    let outside = site.lab.dir.path().join("outside");
    fs::create_dir_all(outside.join("users")).unwrap();
    let nothing = look(&outside);
    fs::remove_dir_all(target.join("data")).unwrap();
    symlink(&outside, target.join("data")).unwrap();
    let through = Options { what: What::Paths(vec![b"data/users/a.sqlite".to_vec()]), ..elsewhere.clone() };
    assert!(matches!(restore_set(&manifest, &through, &Silent), Err(Error::Refused(_))));
    let _ = restore_set(&manifest, &elsewhere, &Silent).unwrap();
    assert_eq!(look(&outside), nothing);

    site.change();
    let disk = site.lab.dir.path().join("disk");
    fs::create_dir(&disk).unwrap();
    for (path, name) in [("data", "data"), ("storage/ab", "ab"), ("app.db", "real.db")] {
        fs::rename(site.root().join(path), disk.join(name)).unwrap();
        symlink(disk.join(name), site.root().join(path)).unwrap();
    }
    fs::rename(site.root().join("app.db-wal"), disk.join("real.db-wal")).unwrap();
    site.write("storage/unlisted", b"stays");
    let report = restored(&site, &manifest, What::Whole);
    for path in ["data", "storage/ab", "app.db"] {
        assert!(fs::symlink_metadata(site.root().join(path)).unwrap().is_symlink(), "{path}");
    }
    assert!(report.notes.iter().any(|note| note.text().contains("the link storage/ab")), "{:?}", report.notes);
    for (path, (_, bytes)) in wanted.iter().filter(|(path, _)| path.as_slice() != b"current") {
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
fn the_set_itself_is_never_moved_along_and_one_in_use_is_refused() {
    let site = Site::new();
    let taken = site.backup();
    site.change();
    let manifest = export_to(&site, &taken, &site.root().join("data/files/backups"));
    let report = restored(&site, &manifest, What::Whole);
    assert!(report.notes.iter().any(|note| note.text().contains("lrl's own")), "{:?}", report.notes);
    assert!(manifest.exists() && versions(&site) == [Some(true); 3]);
    assert_eq!(fs::read(site.root().join("data/files/x.txt")).unwrap(), b"x");
    for path in DATABASES {
        let file = File::open(site.root().join(path)).unwrap();
        let mut holder = Command::new("sleep").arg("60").stdin(file).spawn().unwrap();
        let before = site.live();
        let refused = restore_set(&manifest, &site.options(What::Whole), &Silent);
        holder.kill().unwrap();
        holder.wait().unwrap();
        let Err(Error::Refused(text)) = refused else { panic!("{refused:?}") };
        assert!(text.text().contains("sleep") && text.text().contains(path), "{text}");
        assert_eq!(site.live(), before);
    }
}

#[test]
fn a_database_that_the_set_lacks_stays_where_it_is() {
    let site = Site::new();
    let mut taken = site.backup();
    site.change();
    let damaged = taken.1.databases.iter_mut().find(|database| database.path == b"data/users/a.sqlite").unwrap();
    damaged.sha256 = Some(hex(&[0; 32]));
    let manifest = set_of(&site, &taken);
    let whole = site.options(What::Whole);
    assert!(matches!(restore_set(&manifest, &whole, &Silent), Err(Error::Refused(_))));
    let report = restore_set(&manifest, &Options { skip_damaged: true, ..whole }, &Silent).unwrap();
    assert_eq!(versions(&site), [Some(true), Some(false), Some(true)]);
    assert_eq!(report.skipped[0].path, "data/users/a.sqlite");
    assert_eq!(fs::read(site.root().join("data/files/x.txt")).unwrap(), b"x");
}

#[test]
fn a_database_of_a_set_that_is_locked_out_of_sight_is_named_wherever_it_lies() {
    fn is_locked<const AT: usize>(path: &Path) -> std::io::Result<Option<LockHolder>> {
        Ok(path.ends_with(DATABASES[AT]).then_some(LockHolder::Unseen))
    }
    let site = Site::new();
    let manifest = set_of(&site, &site.backup());
    let asks: [AskLocks; 3] = [is_locked::<0>, is_locked::<1>, is_locked::<2>];
    for (path, ask) in DATABASES.iter().zip(asks) {
        let refused = restore_set(&manifest, &Options { locks: Some(ask), ..site.options(What::Whole) }, &Silent);
        let Err(Error::Refused(text)) = refused else { panic!("{refused:?}") };
        let place = site.root().join(path);
        assert!(text.text().contains("cannot be seen") && text.text().contains(place.to_str().unwrap()), "{text}");
    }
}

#[test]
fn a_directory_of_a_set_is_restored_through_the_link_in_its_place_and_a_file_replaces_one() {
    let site = Site::new();
    let taken = site.backup();
    let manifest = set_of(&site, &taken);
    let (dir, file) = (site.root().join("data/files"), site.root().join("rsa_key.pem"));
    let what = What::Paths(vec![b"data/files".to_vec(), b"rsa_key.pem".to_vec()]);
    for from_set in [true, false] {
        site.save();
        let (other_dir, other_file) = (site.root().join("moved"), site.root().join("moved.pem"));
        fs::rename(&dir, &other_dir).unwrap();
        fs::rename(&file, &other_file).unwrap();
        fs::write(other_dir.join("x.txt"), b"changed").unwrap();
        fs::write(&other_file, b"changed").unwrap();
        symlink("../moved", &dir).unwrap();
        symlink("moved.pem", &file).unwrap();
        let _ = if from_set { restored(&site, &manifest, what.clone()) } else { site.restore(&taken, what.clone()) };
        assert_eq!(fs::read_link(&dir).unwrap(), Path::new("../moved"), "{from_set}");
        assert_eq!(fs::read(other_dir.join("x.txt")).unwrap(), b"x", "{from_set}");
        assert!(fs::symlink_metadata(&file).unwrap().is_file(), "{from_set}");
        assert_eq!(fs::read(&other_file).unwrap(), b"changed", "{from_set}");
        site.reset();
    }
}

#[test]
fn a_set_without_databases_or_without_files_is_a_sites_too() {
    for has_files in [true, false] {
        let site = Site::new();
        let (name, snapshot) = site.backup();
        let half = match has_files {
            true => Snapshot { databases: Vec::new(), ..snapshot },
            false => Snapshot { files: None, ..snapshot },
        };
        let manifest = set_of(&site, &(name, half));
        site.change();
        let _ = restored(&site, &manifest, What::Whole);
        assert_eq!(versions(&site)[0], Some(!has_files));
        assert_eq!(fs::read(site.root().join("data/files/x.txt")).unwrap() == b"x", has_files);
    }
}

#[test]
fn a_mount_in_a_directory_is_restored_into_from_a_set() {
    let site = Site::new();
    let taken = site.backup();
    let manifest = set_of(&site, &taken);
    let wanted = contents(&site.stored());
    site.change();
    let mounts = [site.root().join("data/files"), site.root().join("data/cache")];
    if !mounts.iter().all(|at| mount("rw", at)) {
        println!("skipped: mounting is not permitted here");
        return;
    }
    fs::write(mounts[0].join("on the disk"), b"disk").unwrap();
    fs::write(mounts[1].join("hot"), b"hot").unwrap();
    let done = catch_unwind(AssertUnwindSafe(|| {
        let _ = restored(&site, &manifest, What::Whole);
        assert_eq!(versions(&site), [Some(true); 3]);
        for path in ["data/files/x.txt", "data/users/a.sqlite", "storage/ab/blob"] {
            assert_eq!(fs::read(site.root().join(path)).unwrap(), wanted[path.as_bytes()].1, "{path}");
        }
        assert_eq!(fs::read(mounts[1].join("hot")).unwrap(), b"hot");
        assert_eq!(fs::read(mounts[0].join(".lrl.pre-restore/on the disk")).unwrap(), b"disk");
        site.undo().unwrap();
        assert_eq!(versions(&site), [Some(false); 3]);
        assert_eq!(fs::read(mounts[0].join("on the disk")).unwrap(), b"disk");
    }));
    mounts.iter().for_each(|mount| _ = Command::new("umount").arg("--lazy").arg(mount).status());
    done.unwrap();
}

#[test]
fn a_file_of_a_set_comes_back_with_the_directories_that_are_gone() {
    let site = Site::new();
    set_mode(&site.root().join("data/files"), 0o710);
    set_mtime(&site.root().join("data/files"), 1_000, 5);
    let seen = || {
        ["data", "data/files"]
            .map(|path| fs::metadata(site.root().join(path)).map(|meta| (meta.mode(), mtime(&meta).secs)))
    };
    let manifest = set_of(&site, &site.backup());
    let wanted = seen().map(Result::unwrap);
    fs::remove_dir_all(site.root().join("data")).unwrap();
    let _ = restored(&site, &manifest, What::Paths(vec![b"data/files/x.txt".to_vec()]));
    assert_eq!(seen().map(Result::unwrap), wanted);
    assert_eq!(names_in(&site.root().join("data/files")), ["x.txt"]);
}
