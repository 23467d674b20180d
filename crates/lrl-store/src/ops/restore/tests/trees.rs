//! Trees of uploads: every kind of entry, hostile lists, single paths, reused files.

use super::*;
use crate::hint::Hint;
use crate::ops::restore::swap_contents::tests::force;
use crate::ops::restore::{CleanOptions, UndoOptions, clean, undo};

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
fn a_link_to_the_data_is_followed_and_stays_and_one_below_is_not() {
    let lab = Lab::new();
    lab.write("assets/ab/x.txt", b"x");
    lab.write("lrl.db", b"database");
    let snapshot = lab.snapshot();
    let elsewhere = lab.dir.path().join("elsewhere");
    fs::create_dir(&elsewhere).unwrap();
    fs::create_dir_all(lab.data()).unwrap();
    fs::write(elsewhere.join("lrl.db"), b"elsewhere").unwrap();
    symlink(&elsewhere, lab.data().join("assets")).unwrap();
    symlink(elsewhere.join("lrl.db"), lab.data().join("lrl.db")).unwrap();
    let outside = lab.dir.path().join("outside");
    fs::create_dir(&outside).unwrap();
    symlink(&outside, elsewhere.join("ab")).unwrap();
    let result = lab.restore(&snapshot, What::Paths(vec![b"assets/ab/x.txt".to_vec()]));
    assert!(matches!(result, Err(Error::Refused(_))), "{result:?}");
    fs::remove_file(elsewhere.join("ab")).unwrap();
    let before = look_inside(&elsewhere);
    let db = lab.dir.path().join("db");
    fs::create_dir(&db).unwrap();
    fs::rename(elsewhere.join("lrl.db"), db.join("real.db")).unwrap();
    fs::write(db.join("real.db-wal"), b"old wal").unwrap();
    fs::remove_file(lab.data().join("lrl.db")).unwrap();
    symlink("../db/real.db", lab.data().join("lrl.db")).unwrap();
    let report = lab.restore(&snapshot, What::Whole).unwrap();
    let is_link = |name: &str| fs::symlink_metadata(lab.data().join(name)).unwrap().is_symlink();
    assert!(is_link("assets") && is_link("lrl.db"));
    assert_eq!(look(&elsewhere), look(&lab.source().join("assets")));
    assert_eq!(fs::read(db.join("real.db")).unwrap(), b"database");
    assert_eq!(names_in(&db), ["real.db", "real.db.pre-restore", "real.db.pre-restore-wal"]);
    assert_eq!(names_in(&lab.data()), ["assets", "lrl.db"]);
    assert_eq!(report.notes.iter().filter(|note| note.text().contains("symbolic link")).count(), 2);
    let options = lab.options(What::Whole);
    let (data_dir, storage_dir) = (options.data_dir, options.storage_dir);
    undo(&UndoOptions { data_dir, storage_dir, dry_run: false, force: false, locks: None }).unwrap();
    assert!(is_link("assets") && is_link("lrl.db"));
    assert_eq!(fs::read(db.join("real.db")).unwrap(), b"elsewhere");
    assert_eq!(fs::read(db.join("real.db-wal")).unwrap(), b"old wal");
    let mut back = look_inside(&elsewhere);
    back.insert(b"lrl.db".to_vec(), before[b"lrl.db".as_slice()].clone());
    assert_eq!(back, before);
}

#[test]
fn a_link_that_another_user_could_have_planted_is_not_followed() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let lab = Lab::new();
    lab.write("assets/x", b"x");
    lab.write("lrl.db", b"database");
    let snapshot = lab.snapshot();
    let own = |path: &Path, uid: u32| std::os::unix::fs::lchown(path, Some(uid), Some(uid)).unwrap();
    let victim = lab.dir.path().join("victim");
    fs::create_dir(&victim).unwrap();
    fs::write(victim.join("lrl.db"), b"root's").unwrap();
    fs::create_dir_all(lab.data()).unwrap();
    own(&lab.data(), 4321);
    let before = look(&victim);
    for (name, target) in
        [("assets", victim.clone()), ("lrl.db", victim.join("lrl.db")), ("lrl.db", victim.join("new"))]
    {
        let link = lab.data().join(name);
        symlink(&target, &link).unwrap();
        own(&link, 4321);
        let Err(Error::Refused(text)) = lab.restore(&snapshot, What::Whole) else { panic!("{name} was followed") };
        assert!(text.text().contains("symbolic link of user 4321"), "{text}");
        assert_eq!(text.hints(), [Hint::NameDataDir]);
        assert_eq!(look(&victim), before);
        fs::remove_file(&link).unwrap();
    }
    // A data directory that somebody else's link leads to, the same.
    let link = lab.dir.path().join("link");
    symlink(&victim, &link).unwrap();
    own(&link, 4321);
    let options = Options { data_dir: link, ..lab.options(What::Whole) };
    assert!(matches!(lab.restore_with(&snapshot, &options), Err(Error::Refused(_))));
    assert_eq!(look(&victim), before);
    // What is the same user's on both ends is theirs to arrange.
    let volume = lab.dir.path().join("volume");
    fs::create_dir(&volume).unwrap();
    own(&volume, 4321);
    symlink(&volume, lab.data().join("assets")).unwrap();
    own(&lab.data().join("assets"), 4321);
    let _ = lab.restore(&snapshot, What::Whole).unwrap();
    assert_eq!(look(&volume), look(&lab.source().join("assets")));
}

fn entry(path: &str, kind: Kind) -> Entry {
    Entry {
        path: path.as_bytes().to_vec(),
        kind,
        mode: 0o755,
        uid: 0,
        gid: 0,
        mtime: Time::default(),
        xattrs: Vec::new(),
    }
}

fn file() -> Kind {
    Kind::File { size: 0, content: Content::Inline(Vec::new()) }
}

#[test]
fn a_hostile_list_is_refused_and_leaves_nothing() {
    let lab = Lab::new();
    let outside = lab.dir.path().join("outside");
    fs::create_dir(&outside).unwrap();
    let link = |target: &str| Kind::Symlink { target: target.as_bytes().to_vec() };
    let further = |target: &str| Kind::Hardlink { target: target.as_bytes().to_vec() };
    let dir = || entry("assets", Kind::Dir);
    let through = outside.to_str().unwrap();
    let lists = [
        ("a file below a link", vec![dir(), entry("assets/l", link(through)), entry("assets/l/f", file())]),
        ("a directory below a link", vec![dir(), entry("assets/l", link(through)), entry("assets/l/d", Kind::Dir)]),
        ("a file below a file", vec![dir(), entry("assets/f", file()), entry("assets/f/g", file())]),
        ("a root that is a link", vec![entry("assets", link(through)), entry("assets/f", file())]),
        ("no root", vec![entry("assets/f", file())]),
        ("no parent", vec![dir(), entry("assets/d/f", file())]),
        ("one name twice", vec![dir(), entry("assets/f", file()), entry("assets/f", file())]),
        ("disorder", vec![dir(), entry("assets/g", file()), entry("assets/f", file())]),
        ("another root", vec![dir(), entry("etc", Kind::Dir)]),
        ("a hard link to nothing", vec![dir(), entry("assets/h", further("assets/none"))]),
        ("of a directory", vec![dir(), entry("assets/d", Kind::Dir), entry("assets/h", further("assets/d"))]),
        (
            "of something through a link",
            vec![dir(), entry("assets/h", further("assets/l/f")), entry("assets/l", link(through))],
        ),
        ("of something outside", vec![dir(), entry("assets/h", further("../outside/f"))]),
        ("nothing", vec![]),
        (
            "a size that is not true",
            vec![
                dir(),
                entry(
                    "assets/f",
                    Kind::File {
                        size: 5,
                        content: Content::Tree(
                            TreeBuilder::<Piece>::new(&WriteSession::new(&lab.store), None).finish().unwrap(),
                        ),
                    },
                ),
            ],
        ),
    ];
    fs::write(outside.join("f"), b"outside").unwrap();
    for (what, list) in lists {
        let before = look_inside(lab.dir.path());
        let result = lab.restore(&lab.snapshot_of(list), What::Whole);
        assert!(matches!(result, Err(Error::Corrupt { .. } | Error::Missing { .. })), "{what}: {result:?}");
        assert_eq!(look_inside(lab.dir.path()), before, "{what}");
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
fn without_space_right_files_are_shared_and_the_report_says_so() {
    // Through the parts: a disk that is nearly full cannot be had everywhere.
    use super::super::selection::{OldTree, Selection};
    use crate::fs::metadata::Owners;
    let lab = Lab::new();
    lab.write("assets/same", &[1; 100_000]);
    lab.write("assets/changed", &[2; 100_000]);
    lab.write("assets/touched", &[3; 100_000]);
    let sparse = File::create(lab.source().join("assets/sparse")).unwrap();
    sparse.set_len(1 << 30).unwrap();
    drop(sparse);
    let hole = Kind::File { size: 1 << 30, content: Content::Inline(vec![Piece::Hole { len: 1 << 30 }]) };
    fs::remove_file(lab.source().join("assets/sparse")).unwrap();
    let snapshot = lab.snapshot();
    let _ = lab.restore(&snapshot, What::Whole).unwrap();
    set_mtime(&lab.data().join("assets/touched"), 5, 5);
    let dir = crate::fs::resolve::OpenDirs::default().open(&lab.data()).unwrap().unwrap();
    let owners = Owners { all: None, recorded: true };
    let tree = |snapshot: &Snapshot| Selection {
        store: &lab.store,
        list: snapshot.files.as_ref().map(|files| files.list),
        base: b"assets".to_vec(),
        selected: vec![b"assets".to_vec()],
        name: b"assets".to_vec(),
        skips: None,
        owner: (0, 0),
    };
    let full = tree(&snapshot).measure(4096, None, &Silent).unwrap();
    let exact = tree(&snapshot).measure(4096, Some(Some(OldTree { dir: &dir, owners })), &Silent).unwrap();
    assert_eq!((full.bytes, full.needed), (300_000, 4096 + 3 * 102_400));
    assert_eq!(exact.needed, 4096 + 102_400, "only what was touched has to be written");
    let holes = lab.snapshot_of(vec![entry("assets", Kind::Dir), entry("assets/hole", hole)]);
    assert_eq!(tree(&holes).measure(4096, None, &Silent).unwrap().needed, 4096 + (1 << 30));
    assert_eq!(tree(&holes).measure(4096, Some(None), &Silent).unwrap().needed, 4096);
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
fn further_names_of_what_is_lost_are_skipped_and_listed() {
    let lab = Lab::new();
    let further = |target: &str| Kind::Hardlink { target: target.as_bytes().to_vec() };
    let snapshot = lab.snapshot_of(vec![
        entry("assets", Kind::Dir),
        entry("assets/f", file()),
        entry("assets/of-a-lost-directory", further("assets/d/f")),
        entry("assets/of-a-lost-file", further("assets/e")),
        entry("assets/right", further("assets/f")),
    ]);
    assert!(matches!(lab.restore(&snapshot, What::Whole), Err(Error::Corrupt { .. })));
    let options = Options { skip_damaged: true, ..lab.options(What::Whole) };
    let report = lab.restore_with(&snapshot, &options).unwrap();
    let skipped: Vec<_> = report.skipped.iter().map(|skip| (&*skip.path, skip.entries)).collect();
    assert_eq!(skipped, [("assets/of-a-lost-directory", 1), ("assets/of-a-lost-file", 1)]);
    assert_eq!(names_in(&lab.data().join("assets")), ["f", "right"]);
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

/// A small disk of its own; only root can have one.
struct Disk(tempfile::TempDir);

impl Disk {
    /// One that can share blocks between files.
    fn cloning() -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        let image = dir.path().with_extension("image");
        File::create(&image).unwrap().set_len(256 << 20).unwrap();
        let run = |command: &str, args: &[&Path]| {
            std::process::Command::new(command).args(args).output().is_ok_and(|output| output.status.success())
        };
        let mounted = run("mkfs.btrfs", &[Path::new("-q"), &image])
            && run("mount", &[Path::new("-o"), Path::new("loop"), &image, dir.path()]);
        fs::remove_file(&image).unwrap();
        mounted.then(|| Self(dir))
    }

    fn new(size: &str) -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        let mount = std::process::Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={size}"), "tmpfs"])
            .arg(dir.path())
            .output();
        mount.is_ok_and(|output| output.status.success()).then(|| Self(dir))
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = std::process::Command::new("umount").arg("-l").arg(self.0.path()).output();
    }
}

#[test]
fn a_disk_without_space_for_two_reuses_what_is_right_or_refuses() {
    let Some(disk) = Disk::new("8m") else { return };
    let lab = Lab::new();
    for n in 0..20 {
        lab.write(&format!("assets/{n}/file"), &[n; 200_000]);
    }
    lab.write("assets/gone", b"gone");
    lab.write("lrl.db", &[1; 100_000]);
    let snapshot = lab.snapshot();
    let options = Options { data_dir: disk.0.path().join("data"), ..lab.options(What::Whole) };
    assert_eq!(lab.restore_with(&snapshot, &options).unwrap().linked, (0, 0));

    let changed = options.data_dir.join("assets/3/file");
    fs::write(&changed, [99; 200_000]).unwrap();
    let kept_mtime = mtime(&fs::metadata(lab.source().join("assets/3/file")).unwrap());
    // The same size and time: only reading it tells.
    set_mtime(&changed, kept_mtime.secs, kept_mtime.nanos);
    fs::remove_file(options.data_dir.join("assets/gone")).unwrap();
    let report = lab.restore_with(&snapshot, &options).unwrap();
    assert_eq!(report.linked, (19, 19 * 200_000));
    assert!(report.notes.iter().any(|note| note.text().contains("hard links")), "{:?}", report.notes);
    assert_eq!(look(&options.data_dir.join("assets")), look(&lab.source().join("assets")));
    assert_eq!(fs::read(options.data_dir.join("assets.pre-restore/3/file")).unwrap(), [99; 200_000]);

    // There is nothing to reuse, and no space for another copy.
    fs::remove_dir_all(options.data_dir.join("assets.pre-restore")).unwrap();
    for n in 0..20 {
        set_mtime(&options.data_dir.join(format!("assets/{n}/file")), 1, 1);
    }
    let before = look_inside(&options.data_dir);
    let Err(Error::Refused(text)) = lab.restore_with(&snapshot, &options) else { panic!() };
    assert!(text.text().contains("more than the disk"), "{text}");
    assert_eq!(look_inside(&options.data_dir), before);
    // A part of it still fits.
    let _ = lab.restore_with(&snapshot, &Options { what: What::Paths(vec![b"assets/7".to_vec()]), ..options }).unwrap();
}

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
fn a_disk_that_fills_up_meanwhile_is_left_with_space() {
    let Some(disk) = Disk::new("8m") else { return };
    let lab = Lab::new();
    let data: Vec<u8> = (0..5 << 20).map(|n: u32| (n >> 3) as u8).collect();
    lab.write("lrl.db", &data);
    let snapshot = lab.snapshot();
    let options = Options { data_dir: disk.0.path().join("data"), ..lab.options(What::Whole) };
    /// Another program takes the space as soon as the restore has begun to write.
    struct Greedy<'a>(&'a Path);
    impl Observer for Greedy<'_> {
        fn phase(&self, _: crate::progress::Phase, _: Option<u64>) {
            fs::write(self.0.join("greedy"), vec![1; 4 << 20]).unwrap();
        }
    }
    let result = restore(&lab.store, &name(), &snapshot, &options, &Greedy(disk.0.path()));
    assert!(matches!(result, Err(Error::NoRoom { .. })), "{result:?}");
    assert_eq!(names_in(disk.0.path()), ["greedy"]);
}

#[test]
fn right_files_are_cloned_where_the_disk_can() {
    let Some(disk) = Disk::cloning() else { return };
    let lab = Lab::new();
    for n in 0..20 {
        lab.write(&format!("assets/{n}/file"), &vec![n; 300_000]);
    }
    lab.write("assets/empty", b"");
    lab.write("assets/other-size", b"size");
    let sparse = File::create(lab.source().join("assets/sparse")).unwrap();
    sparse.write_all_at(b"begin", 0).unwrap();
    sparse.set_len(5 << 20).unwrap();
    let snapshot = lab.snapshot();
    let options = Options { data_dir: disk.0.path().join("data"), ..lab.options(What::Whole) };
    assert_eq!(lab.restore_with(&snapshot, &options).unwrap().cloned, (0, 0));
    let assets = options.data_dir.join("assets");
    fs::write(assets.join("3/file"), vec![99; 300_000]).unwrap();
    fs::write(assets.join("other-size"), b"another size").unwrap();
    // Touched, but right: its bytes are taken, not its time.
    set_mtime(&assets.join("4/file"), 1, 1);
    set_mode(&assets.join("4/file"), 0o600);
    fs::remove_file(assets.join("5/file")).unwrap();
    rustix::fs::mknodat(rustix::fs::CWD, assets.join("5/file"), rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
    let sparse = File::options().write(true).open(assets.join("sparse")).unwrap();
    sparse.write_all_at(b"not a hole", 3 << 20).unwrap();
    drop(sparse);
    let report = lab.restore_with(&snapshot, &options).unwrap();
    assert_eq!(report.cloned, (18, 18 * 300_000));
    assert_eq!(look(&assets), look(&lab.source().join("assets")));
    assert_eq!(fs::read(options.data_dir.join("assets.pre-restore/3/file")).unwrap(), vec![99; 300_000]);
}
