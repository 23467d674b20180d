//! The database: its owner and mode, and an image that is not the recorded one.

use super::*;

#[test]
fn the_replaced_database_gives_owner_and_mode() {
    let lab = Lab::new();
    let source = lab.write("lrl.db", b"database");
    set_mode(&source, 0o644);
    set_mtime(&source, 1_700_000_000, 5);
    let snapshot = lab.snapshot();
    fs::create_dir(lab.data()).unwrap();
    let target = lab.data().join("lrl.db");
    fs::write(&target, b"old").unwrap();
    set_mode(&target, 0o660);
    let is_root = rustix::process::geteuid().is_root();
    if is_root {
        std::os::unix::fs::chown(&target, Some(1234), Some(2345)).unwrap();
    }
    let _ = lab.restore(&snapshot, What::Whole).unwrap();
    let meta = fs::metadata(&target).unwrap();
    assert_eq!((meta.mode() & 0o7777, mtime(&meta)), (0o660, Time { secs: 1_700_000_000, nanos: 5 }));
    if is_root {
        assert_eq!((meta.uid(), meta.gid()), (1234, 2345));
        let all = Options { owner: Some((77, 88)), ..lab.options(What::Whole) };
        lab.write("assets/x", b"x");
        let _ = lab.restore_with(&lab.snapshot(), &all).unwrap();
        for path in ["lrl.db", "assets", "assets/x"] {
            let meta = fs::metadata(lab.data().join(path)).unwrap();
            assert_eq!((meta.uid(), meta.gid()), (77, 88), "{path}");
        }
    }
}

#[test]
fn a_database_without_a_recorded_mode_is_ours_alone() {
    let lab = Lab::new();
    lab.write("lrl.db", b"database");
    let mut snapshot = lab.snapshot();
    snapshot.databases[0].mode = 0;
    let _ = lab.restore(&snapshot, What::Whole).unwrap();
    assert_eq!(fs::metadata(lab.data().join("lrl.db")).unwrap().mode() & 0o7777, 0o600);
}

#[test]
fn an_image_that_is_not_the_one_promised_is_refused() {
    let lab = Lab::new();
    lab.write("lrl.db", b"database");
    fs::create_dir(lab.data()).unwrap();
    fs::write(lab.data().join("lrl.db"), b"old").unwrap();
    let before = look_inside(&lab.data());
    let mut snapshot = lab.snapshot();
    snapshot.databases[0].sha256 = Some(hex(&[0; 32]));
    assert!(matches!(lab.restore(&snapshot, What::Whole), Err(Error::Corrupt { .. })));
    let mut snapshot = lab.snapshot();
    snapshot.databases[0].size_bytes += 1;
    assert!(matches!(lab.restore(&snapshot, What::Whole), Err(Error::Corrupt { .. })));
    assert_eq!(look_inside(&lab.data()), before);
}

#[test]
fn directories_that_are_created_above_it_go_to_its_owner() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let lab = Lab::new();
    let source = lab.write("lrl.db", b"database");
    std::os::unix::fs::chown(&source, Some(1234), Some(2345)).unwrap();
    let snapshot = lab.snapshot();
    for (new, owner) in [("recorded", None), ("given", Some((77, 88)))] {
        let new = lab.dir.path().join(new);
        let options = Options { data_dir: new.join("data"), owner, ..lab.options(What::Whole) };
        let _ = lab.restore_with(&snapshot, &options).unwrap();
        for path in [&new, &options.data_dir, &options.data_dir.join("lrl.db")] {
            let meta = fs::metadata(path).unwrap();
            assert_eq!((meta.uid(), meta.gid()), owner.unwrap_or((1234, 2345)), "{}", path.display());
        }
    }
}
