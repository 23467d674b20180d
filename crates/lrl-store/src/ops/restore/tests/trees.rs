//! Trees of uploads: every kind of entry, single paths, deep trees, staging directories, as any user.

use super::*;

#[test]
fn every_kind_of_upload_comes_back_exactly() {
    let lab = Lab::new();
    let assets = lab.source().join("assets");
    lab.write("assets/plain.txt", b"plain");
    lab.write("assets/empty", b"");
    lab.write("assets/many.bin", &(0..9_000_000u32).map(|n| (n % 251) as u8).collect::<Vec<_>>());
    lab.write("assets/b/locked/inside", b"locked");
    fs::write(assets.join(OsStr::from_bytes(b"b/n\xff\xfe \n\"name")), b"odd").unwrap();
    fs::create_dir(assets.join("b/empty")).unwrap();
    symlink("../plain.txt", assets.join("b/link")).unwrap();
    symlink("/nowhere\u{e9}", assets.join("dangling")).unwrap();
    fs::hard_link(assets.join("plain.txt"), assets.join("b/second")).unwrap();
    fs::hard_link(assets.join("plain.txt"), assets.join("a-third")).unwrap();
    let sparse = File::create(assets.join("sparse")).unwrap();
    sparse.write_all_at(b"begin", 0).unwrap();
    sparse.write_all_at(b"end", 40 << 20).unwrap();
    sparse.set_len(50 << 20).unwrap();
    set_mtime(&assets.join("dangling"), 7, 8);
    set_mtime(&assets.join("plain.txt"), -5, 999_999_999);
    // Root alone can look into what nobody may enter.
    let locked = if rustix::process::geteuid().is_root() { 0 } else { 0o500 };
    set_mode(&assets.join("b/locked/inside"), locked);
    for (path, mode) in [("b/locked", locked), ("b/empty", 0o3777), ("b", 0o555), ("", 0o555)] {
        set_mtime(&assets.join(path), 1_600_000_000, 123_456_789);
        set_mode(&assets.join(path), mode);
    }
    let snapshot = lab.snapshot();
    let report = lab.restore(&snapshot, What::Whole).unwrap();
    assert_eq!(look(&lab.data().join("assets")), look(&assets));
    assert_eq!((report.dirs, report.links), (4, 4));
    let blocks = fs::metadata(lab.data().join("assets/sparse")).unwrap().blocks();
    assert!(blocks * 512 < 1 << 20, "the sparse file takes {blocks} blocks");
    assert_eq!(names_in(&lab.data()), ["assets"]);
}

#[test]
fn one_file_or_directory_takes_its_place() {
    let lab = Lab::new();
    lab.write("lrl.db", b"database");
    lab.write("assets/ab/x.txt", b"snapshot x");
    lab.write("assets/ab/y.txt", b"snapshot y");
    lab.write("assets/deep/er/z.txt", b"snapshot z");
    fs::hard_link(lab.source().join("assets/ab/y.txt"), lab.source().join("assets/deep/er/y-again")).unwrap();
    set_mode(&lab.source().join("assets/deep"), 0o750);
    set_mtime(&lab.source().join("assets/deep"), 1000, 1);
    let snapshot = lab.snapshot();
    let path = |path: &str| What::Paths(vec![path.as_bytes().to_vec()]);

    // Where nothing is, its parents come with it, and nothing else.
    let report = lab.restore(&snapshot, path("assets/ab/x.txt")).unwrap();
    assert_eq!(look(&lab.data().join("assets")).len(), 3);
    assert_eq!(report.restored[0].path, lab.data().join("assets"));
    assert_eq!((report.files, report.dirs), (1, 2));

    fs::write(lab.data().join("assets/ab/x.txt"), b"changed").unwrap();
    fs::write(lab.data().join("assets/ab/new.txt"), b"new").unwrap();
    let _ = lab.restore(&snapshot, path("assets/ab/x.txt")).unwrap();
    assert_eq!(names_in(&lab.data().join("assets/ab")), ["new.txt", "x.txt", "x.txt.pre-restore"]);
    assert_eq!(fs::read(lab.data().join("assets/ab/x.txt")).unwrap(), b"snapshot x");
    assert_eq!(fs::read(lab.data().join("assets/ab/x.txt.pre-restore")).unwrap(), b"changed");

    let _ = lab.restore(&snapshot, path("assets/ab/")).unwrap();
    assert_eq!(names_in(&lab.data().join("assets")), ["ab", "ab.pre-restore"]);
    assert_eq!(names_in(&lab.data().join("assets/ab")), ["x.txt", "y.txt"]);

    // A hard link to a file that is not asked for is that file.
    let _ = lab.restore(&snapshot, path("assets/deep/er/y-again")).unwrap();
    assert_eq!(fs::read(lab.data().join("assets/deep/er/y-again")).unwrap(), b"snapshot y");
    let deep = fs::metadata(lab.data().join("assets/deep")).unwrap();
    assert_eq!((deep.mode() & 0o7777, mtime(&deep)), (0o750, Time { secs: 1000, nanos: 1 }));

    let _ = lab.restore(&snapshot, path("lrl.db")).unwrap();
    assert_eq!(fs::read(lab.data().join("lrl.db")).unwrap(), b"database");
    for missing in ["assets/ab/none", "assets/none/none", "elsewhere", "assets/../lrl.db", "/etc/passwd", ""] {
        let result = lab.restore(&snapshot, path(missing));
        assert!(matches!(result, Err(Error::NotFound(_))), "{missing}: {result:?}");
    }
}

#[test]
fn a_very_deep_tree_comes_back_and_a_failed_one_is_cleaned_up() {
    let lab = Lab::new();
    let mut path = String::from("assets");
    let mut list = vec![entry("assets", Kind::Dir)];
    for n in 0..900 {
        path.push_str("/abcdefgh");
        let mode = if n % 3 == 0 { 0o500 } else { 0o755 };
        list.push(Entry { mode, ..entry(&path, Kind::Dir) });
    }
    list.push(entry(&format!("{path}/file"), file()));
    let report = lab.restore(&lab.snapshot_of(list.clone()), What::Whole).unwrap();
    assert_eq!((report.dirs, report.files), (901, 1));
    assert_eq!(fs::metadata(lab.data().join("assets/abcdefgh")).unwrap().mode() & 0o777, 0o500);
    list.push(entry(&format!("{path}/file/below"), file()));
    assert!(lab.restore(&lab.snapshot_of(list), What::Whole).is_err());
    assert_eq!(names_in(&lab.data()), ["assets"]);
    // Its path is too long for most functions: leave nothing behind all the same.
    let data = crate::fs::resolve::OpenDirs::default().open(&lab.data()).unwrap().unwrap();
    crate::fs::remove::remove_tree(&data, b"assets").unwrap();
    assert!(names_in(&lab.data()).is_empty());
}

#[test]
fn staging_directories_of_dead_runs_go_and_those_of_others_stay() {
    let lab = Lab::new();
    lab.write("assets/x", b"x");
    let dead = lab.data().join(".lrl-restore-dead");
    fs::create_dir_all(dead.join("deep/er")).unwrap();
    fs::write(dead.join("deep/er/file"), b"rest").unwrap();
    fs::write(dead.join(".lrl-staging"), b"").unwrap();
    // Whoever owns the directory above can give a directory of ours such a name.
    let renamed = lab.data().join(".lrl-restore-renamed");
    fs::create_dir(&renamed).unwrap();
    fs::write(renamed.join("private"), b"not a restore's").unwrap();
    set_mode(&renamed, 0o700);
    symlink(lab.source(), dead.join("link")).unwrap();
    set_mode(&dead.join("deep"), 0o000);
    set_mode(&dead, 0o700);
    let open = lab.data().join(".lrl-restore-open");
    fs::create_dir(&open).unwrap();
    set_mode(&open, 0o755);
    let home = crate::fs::resolve::OpenDirs::default().open(&lab.data()).unwrap().unwrap();
    let alive = crate::ops::restore::staging_dir::StagingDir::create(&home, &lab.data()).unwrap();
    fs::write(alive.path.join("file"), b"in use").unwrap();
    let _ = lab.restore(&lab.snapshot(), What::Whole).unwrap();
    assert!(!dead.exists() && open.exists() && renamed.join("private").exists() && alive.path.join("file").exists());
    assert!(lab.source().join("assets/x").exists());
}

#[test]
fn a_directory_that_somebody_else_made_is_not_ours() {
    use crate::ops::restore::staging_dir::is_ours;
    let lab = Lab::new();
    let open = || std::os::fd::OwnedFd::from(fs::File::open(lab.source()).unwrap());
    let me = rustix::process::geteuid();
    assert!(is_ours(&open(), me.as_raw()));
    // Root may write there, but what it makes is its own.
    if me.is_root() {
        std::os::unix::fs::chown(lab.source(), Some(65534), Some(65534)).unwrap();
        set_mode(&lab.source(), 0o700);
        assert!(!is_ours(&open(), 65534));
        assert!(names_in(&lab.source()).is_empty());
    }
}

#[test]
fn all_of_this_holds_for_others_than_root() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let home = tempfile::tempdir().unwrap();
    set_mode(home.path(), 0o777);
    let test = home.path().join("test");
    fs::copy(std::env::current_exe().unwrap(), &test).unwrap();
    set_mode(&test, 0o755);
    let output = std::process::Command::new("setpriv")
        .args(["--reuid=65534", "--regid=65534", "--clear-groups"])
        .arg(&test)
        .arg("ops::restore::")
        .env("TMPDIR", home.path())
        .output();
    match output {
        Ok(output) => assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout)),
        Err(e) => assert_eq!(e.kind(), std::io::ErrorKind::NotFound, "{e}"),
    }
}

#[test]
fn directories_that_nobody_may_enter_are_made_by_others_than_root_too() {
    let lab = Lab::new();
    let mut list = vec![entry("assets", Kind::Dir), entry("assets/d", Kind::Dir), entry("assets/d/e", Kind::Dir)];
    list.iter_mut().for_each(|entry| entry.mode = 0);
    list.push(entry("assets/d/e/f", file()));
    list.push(entry("assets/d/g", Kind::Hardlink { target: b"assets/d/e/f".to_vec() }));
    let snapshot = lab.snapshot_of(list);
    let _ = lab.restore(&snapshot, What::Whole).unwrap();
    let _ = lab.restore(&snapshot, What::Whole).unwrap();
    for kept in ["assets", "assets.pre-restore"] {
        for path in ["", "d", "d/e"] {
            let path = lab.data().join(kept).join(path);
            assert_eq!(fs::metadata(&path).unwrap().mode() & 0o7777, 0);
            set_mode(&path, 0o700);
        }
        let inode = |path: &str| fs::metadata(lab.data().join(kept).join(path)).unwrap().ino();
        assert_eq!(inode("d/e/f"), inode("d/g"));
    }
}
