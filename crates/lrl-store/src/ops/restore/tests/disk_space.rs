//! Disks without space for a second copy: what is right is reused.

use super::*;

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
    assert_eq!((full.inodes, exact.inodes), (1 + 3, 1 + 1));
    let holes = lab.snapshot_of(vec![entry("assets", Kind::Dir), entry("assets/hole", hole)]);
    assert_eq!(tree(&holes).measure(4096, None, &Silent).unwrap().needed, 4096 + (1 << 30));
    assert_eq!(tree(&holes).measure(4096, Some(None), &Silent).unwrap().needed, 4096);
}

/// All of it is refused with these words, and nothing is changed; a part of it is restored.
fn only_a_part_fits(lab: &Lab, snapshot: &Snapshot, options: Options, words: &str) {
    let before = look_inside(&options.data_dir);
    let Err(Error::Refused(text)) = lab.restore_with(snapshot, &options) else { panic!() };
    assert!(text.text().contains(words), "{text}");
    assert_eq!(look_inside(&options.data_dir), before);
    let _ = lab.restore_with(snapshot, &Options { what: What::Paths(vec![b"assets/7".to_vec()]), ..options }).unwrap();
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
    only_a_part_fits(&lab, &snapshot, options, "more than the disk");
}

#[test]
fn without_space_for_two_a_sparse_file_is_reused_unless_there_is_data_in_its_hole() {
    let Some(disk) = Disk::new("8m") else { return };
    let lab = Lab::new();
    lab.write("assets/full", &[1; 5_000_000]);
    for name in ["right", "wrong"] {
        let sparse = File::create(lab.source().join("assets").join(name)).unwrap();
        sparse.write_all_at(b"begin", 0).unwrap();
        sparse.write_all_at(b"end", 4 << 20).unwrap();
        sparse.set_len(5 << 20).unwrap();
    }
    let snapshot = lab.snapshot();
    let options = Options { data_dir: disk.0.path().join("data"), ..lab.options(What::Whole) };
    assert_eq!(lab.restore_with(&snapshot, &options).unwrap().linked, (0, 0));
    let wrong = options.data_dir.join("assets/wrong");
    let kept_mtime = mtime(&fs::metadata(&wrong).unwrap());
    File::options().write(true).open(&wrong).unwrap().write_all_at(b"x", 2 << 20).unwrap();
    set_mtime(&wrong, kept_mtime.secs, kept_mtime.nanos);
    assert_eq!(lab.restore_with(&snapshot, &options).unwrap().linked, (2, 5_000_000 + (5 << 20)));
    assert_eq!(look(&options.data_dir.join("assets")), look(&lab.source().join("assets")));
}

#[test]
fn a_disk_without_inodes_for_all_refuses_before_it_writes() {
    let Some(disk) = Disk::new("8m,nr_inodes=80") else { return };
    let lab = Lab::new();
    (0..50).for_each(|n| drop(lab.write(&format!("assets/{n}"), b"small")));
    let snapshot = lab.snapshot();
    let options = Options { data_dir: disk.0.path().join("data"), ..lab.options(What::Whole) };
    let _ = lab.restore_with(&snapshot, &options).unwrap();
    (0..50).for_each(|n| set_mtime(&options.data_dir.join(format!("assets/{n}")), 1, 1));
    only_a_part_fits(&lab, &snapshot, options, "files and directories, more than the ");
}

#[test]
fn where_nothing_is_right_no_note_counts_what_was_shared() {
    let lab = Lab::new();
    lab.write("assets/x", b"x");
    let snapshot = lab.snapshot();
    let _ = lab.restore(&snapshot, What::Whole).unwrap();
    set_mtime(&lab.data().join("assets/x"), 1, 1);
    let report = lab.restore(&snapshot, What::Whole).unwrap();
    assert_eq!(report.linked, (0, 0));
    assert!(!report.notes.iter().any(|note| note.text().contains("hard links")), "{:?}", report.notes);
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

#[test]
fn each_disk_takes_what_is_restored_to_it() {
    let Some(disk) = Disk::new("8m") else { return };
    let lab = Lab::new();
    lab.write("lrl.db", &vec![1; 6 << 20]);
    lab.write("storage/4", &vec![4; 4 << 20]);
    let options = Options { storage_dir: disk.0.path().join("storage"), ..lab.options(What::Whole) };
    // Together they are longer than the smaller disk.
    let _ = lab.restore_with(&lab.snapshot(), &options).unwrap();
    assert_eq!(look(&options.storage_dir), look(&lab.source().join("storage")));

    fs::remove_dir_all(&options.storage_dir).unwrap();
    lab.write("storage/6", &vec![6; 6 << 20]);
    let before = look_inside(&lab.data());
    let Err(Error::Refused(text)) = lab.restore_with(&lab.snapshot(), &options) else { panic!() };
    let text = text.text();
    let disk = disk.0.path().display().to_string();
    assert!(text.contains("need 10 MiB ") && text.contains(&format!("the disk of {disk} ")), "{text}");
    assert_eq!(look_inside(&lab.data()), before);
}
