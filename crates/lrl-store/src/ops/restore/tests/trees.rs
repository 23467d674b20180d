//! Trees of uploads: every kind of entry, hostile lists, single paths, files that are taken over.

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
    set_mode(&assets.join("b/locked/inside"), 0o000);
    for (path, mode) in [("b/locked", 0o000), ("b/empty", 0o3777), ("b", 0o555), ("", 0o555)] {
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
    let path = |path: &str| What::Path(path.as_bytes().to_vec());

    // Where nothing is, its parents come with it, and nothing else.
    let report = lab.restore(&snapshot, path("assets/ab/x.txt")).unwrap();
    assert_eq!(look(&lab.data().join("assets")).len(), 3);
    assert_eq!(report.restored[0].path, lab.data().join("assets"));
    assert_eq!((report.files, report.dirs), (1, 2));

    fs::write(lab.data().join("assets/ab/x.txt"), b"changed").unwrap();
    fs::write(lab.data().join("assets/ab/new.txt"), b"new").unwrap();
    lab.restore(&snapshot, path("assets/ab/x.txt")).unwrap();
    assert_eq!(names_in(&lab.data().join("assets/ab")), ["new.txt", "x.txt", "x.txt.pre-restore"]);
    assert_eq!(fs::read(lab.data().join("assets/ab/x.txt")).unwrap(), b"snapshot x");
    assert_eq!(fs::read(lab.data().join("assets/ab/x.txt.pre-restore")).unwrap(), b"changed");

    lab.restore(&snapshot, path("assets/ab/")).unwrap();
    assert_eq!(names_in(&lab.data().join("assets")), ["ab", "ab.pre-restore"]);
    assert_eq!(names_in(&lab.data().join("assets/ab")), ["x.txt", "y.txt"]);

    // A further name of a file that is not asked for is that file.
    lab.restore(&snapshot, path("assets/deep/er/y-again")).unwrap();
    assert_eq!(fs::read(lab.data().join("assets/deep/er/y-again")).unwrap(), b"snapshot y");
    let deep = fs::metadata(lab.data().join("assets/deep")).unwrap();
    assert_eq!((deep.mode() & 0o7777, mtime(&deep)), (0o750, Time { secs: 1000, nanos: 1 }));

    lab.restore(&snapshot, path("lrl.db")).unwrap();
    assert_eq!(fs::read(lab.data().join("lrl.db")).unwrap(), b"database");
    for missing in ["assets/ab/none", "assets/none/none", "elsewhere", "assets/../lrl.db", "/etc/passwd", ""] {
        let result = lab.restore(&snapshot, path(missing));
        assert!(matches!(result, Err(Error::NotFound(_))), "{missing}: {result:?}");
    }
}

#[test]
fn a_planted_link_is_never_followed() {
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
    let result = lab.restore(&snapshot, What::Path(b"assets/ab/x.txt".to_vec()));
    assert!(matches!(result, Err(Error::Refused(_))), "{result:?}");
    let before = look(&elsewhere);
    let report = lab.restore(&snapshot, What::Whole).unwrap();
    assert_eq!(look(&elsewhere), before);
    assert_eq!(fs::read_link(lab.data().join("assets.pre-restore")).unwrap(), elsewhere);
    assert_eq!(fs::read_link(lab.data().join("lrl.db.pre-restore")).unwrap(), elsewhere.join("lrl.db"));
    assert_eq!(look(&lab.data().join("assets")), look(&lab.source().join("assets")));
    assert_eq!(report.notes.iter().filter(|note| note.contains("symbolic link")).count(), 2);
}

fn entry(path: &str, kind: Kind) -> Entry {
    Entry { path: path.as_bytes().to_vec(), kind, mode: 0o755, uid: 0, gid: 0, mtime: Time::default() }
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
        ("a further name of nothing", vec![dir(), entry("assets/h", further("assets/none"))]),
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
                            Builder::<Piece>::new(&Session::new(&lab.store), None).finish().unwrap(),
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
    let data = super::super::staging::open_home(&lab.data()).unwrap().unwrap();
    super::super::staging::remove_tree(&data, b"assets").unwrap();
    assert!(names_in(&lab.data()).is_empty());
}

#[test]
fn staging_directories_of_dead_runs_go_and_those_of_others_stay() {
    let lab = Lab::new();
    lab.write("assets/x", b"x");
    let dead = lab.data().join(".lrl-restore-dead");
    fs::create_dir_all(dead.join("deep/er")).unwrap();
    fs::write(dead.join("deep/er/file"), b"rest").unwrap();
    symlink(lab.source(), dead.join("link")).unwrap();
    set_mode(&dead.join("deep"), 0o000);
    set_mode(&dead, 0o700);
    let open = lab.data().join(".lrl-restore-open");
    fs::create_dir(&open).unwrap();
    set_mode(&open, 0o755);
    let home = super::super::staging::open_home(&lab.data()).unwrap().unwrap();
    let alive = super::super::staging::Staging::create(&home, &lab.data()).unwrap();
    fs::write(alive.path.join("file"), b"in use").unwrap();
    lab.restore(&lab.snapshot(), What::Whole).unwrap();
    assert!(!dead.exists() && open.exists() && alive.path.join("file").exists());
    assert!(lab.source().join("assets/x").exists());
}

#[test]
fn without_room_right_files_are_shared_and_the_report_says_so() {
    // Through the parts: a disk that is nearly full cannot be had everywhere.
    use super::super::file::Owners;
    use super::super::tree::{Old, Tree};
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
    lab.restore(&snapshot, What::Whole).unwrap();
    set_mtime(&lab.data().join("assets/touched"), 5, 5);
    let dir = super::super::staging::open_home(&lab.data()).unwrap().unwrap();
    let owners = Owners { all: None, recorded: true };
    let tree = |snapshot: &Snapshot| Tree {
        store: &lab.store,
        list: snapshot.uploads.as_ref().unwrap().list,
        base: b"assets".to_vec(),
        selected: b"assets".to_vec(),
        name: b"assets".to_vec(),
    };
    let full = tree(&snapshot).weigh(4096, None, &Silent).unwrap();
    let exact = tree(&snapshot).weigh(4096, Some(Some(Old { dir: &dir, owners })), &Silent).unwrap();
    assert_eq!((full.bytes, full.needed), (300_000, 4096 + 3 * 102_400));
    assert_eq!(exact.needed, 4096 + 102_400, "only what was touched has to be written");
    let holes = lab.snapshot_of(vec![entry("assets", Kind::Dir), entry("assets/hole", hole)]);
    assert_eq!(tree(&holes).weigh(4096, None, &Silent).unwrap().needed, 4096 + (1 << 30));
    assert_eq!(tree(&holes).weigh(4096, Some(None), &Silent).unwrap().needed, 4096);
}
