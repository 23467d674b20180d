//! The contents of one directory are moved into another, also where a killed run had begun with it.

use std::os::fd::OwnedFd;

use super::*;
use crate::fs::dir::DIRECTORY;
use crate::ops::restore::find_target::Finder;
use crate::ops::restore::move_contents::ContentsMover;

fn open(path: &Path) -> Arc<OwnedFd> {
    Arc::new(rustix::fs::openat(rustix::fs::CWD, path, DIRECTORY, rustix::fs::Mode::empty()).unwrap())
}

/// Moves the contents of `from` in a directory into `to` there.
fn move_all(dir: &Path, skip_own: bool) -> Result<()> {
    let dirs = crate::fs::resolve::OpenDirs::default();
    let target = Finder::new(&dirs).find(dir, &[b"from"], Links::First).unwrap();
    let (from, to) = (dir.join("from"), dir.join("to"));
    ContentsMover { target: &target }.move_all(&open(&from), &open(&to), &from, skip_own)
}

fn with(files: &[(&str, &str)]) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    ["from", "to"].iter().for_each(|name| fs::create_dir(dir.path().join(name)).unwrap());
    for (path, text) in files {
        let path = dir.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    dir
}

fn files_in(dir: &Path) -> BTreeMap<String, String> {
    let files = look(dir).into_iter().filter(|(path, _)| dir.join(OsStr::from_bytes(path)).is_file());
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    files.map(|(path, (.., bytes, _))| (text(path), text(bytes))).collect()
}

#[test]
fn a_directory_that_a_killed_run_had_begun_to_move_is_merged() {
    let dir = with(&[("from/d/left", "1"), ("from/d/sub/deep", "2"), ("to/d/moved", "3"), ("to/d/sub/before", "4")]);
    set_mode(&dir.path().join("to/d"), 0o750);
    move_all(dir.path(), false).unwrap();
    let expected = [("d/left", "1"), ("d/moved", "3"), ("d/sub/before", "4"), ("d/sub/deep", "2")];
    assert_eq!(files_in(&dir.path().join("to")), expected.map(|(path, text)| (path.into(), text.into())).into());
    assert!(names_in(&dir.path().join("from")).is_empty());
    assert_eq!(fs::metadata(dir.path().join("to/d")).unwrap().mode() & 0o7777, 0o750);
}

#[test]
fn nothing_that_is_there_is_overwritten() {
    for files in [
        [("from/x", "old"), ("to/x", "theirs")],
        [("from/x/a", "old"), ("to/x", "theirs")],
        [("from/x", "old"), ("to/x/a", "theirs")],
        [("from/d/x", "old"), ("to/d/x", "theirs")],
    ] {
        let dir = with(&files);
        let before = files_in(dir.path());
        let moved = move_all(dir.path(), false);
        assert!(matches!(moved, Err(Error::Io { .. })), "{files:?}: {moved:?}");
        assert_eq!(files_in(dir.path()), before, "{files:?}");
    }
}

#[test]
fn what_belongs_to_restores_stays_where_that_is_asked_for() {
    let dir = with(&[("from/.lrl.pre-restore/x", "kept"), ("from/y", "1")]);
    move_all(dir.path(), true).unwrap();
    assert_eq!(names_in(&dir.path().join("from")), [".lrl.pre-restore"]);
    assert_eq!(names_in(&dir.path().join("to")), ["y"]);
    move_all(dir.path(), false).unwrap();
    assert_eq!(names_in(&dir.path().join("to")), [".lrl.pre-restore", "y"]);
}

#[test]
fn more_names_than_are_listed_at_a_time_are_all_moved() {
    let dir = with(&[]);
    for n in 0..4097 {
        fs::hard_link(dir.path().join("from/0"), dir.path().join(format!("from/{n}")))
            .or_else(|_| fs::write(dir.path().join(format!("from/{n}")), b""))
            .unwrap();
    }
    move_all(dir.path(), false).unwrap();
    assert_eq!((names_in(&dir.path().join("from")).len(), names_in(&dir.path().join("to")).len()), (0, 4097));
}

#[test]
fn a_mount_among_them_is_refused_and_stays() {
    for begun in [false, true] {
        let dir = with(&[("from/m/x", "below")]);
        if begun {
            fs::create_dir(dir.path().join("to/m")).unwrap();
        }
        let at = dir.path().join("from/m");
        if !mount("rw", &at) {
            println!("skipped: mounting is not permitted here");
            return;
        }
        fs::write(at.join("y"), b"disk").unwrap();
        let moved = move_all(dir.path(), false);
        let there = fs::read(at.join("y"));
        Command::new("umount").arg("--lazy").arg(&at).status().unwrap();
        assert!(matches!(&moved, Err(Error::Refused(text)) if text.text().contains("mounted")), "{moved:?}");
        assert_eq!(there.unwrap(), b"disk");
        assert_eq!(fs::read(at.join("x")).unwrap(), b"below");
    }
}

#[test]
fn a_directory_of_a_lower_layer_is_made_anew_as_it_was() {
    let Some(disk) = Disk::new("8m") else { return };
    let path = |name: &str| disk.0.path().join(name);
    ["lower/from/d/sub", "lower/to", "upper", "work", "merged"]
        .iter()
        .for_each(|name| fs::create_dir_all(path(name)).unwrap());
    fs::write(path("lower/from/d/sub/x"), b"x").unwrap();
    set_mode(&path("lower/from/d"), 0o510);
    set_mtime(&path("lower/from/d"), 1_600_000_000, 7);
    let layers = ["lower", "upper", "work"].map(path).map(|path| path.display().to_string());
    let options = format!("lowerdir={},upperdir={},workdir={},redirect_dir=off", layers[0], layers[1], layers[2]);
    let mounted = Command::new("mount").args(["-t", "overlay", "-o", &options, "overlay"]).arg(path("merged")).output();
    if !mounted.is_ok_and(|run| run.status.success()) {
        println!("skipped: no overlay can be mounted here");
        return;
    }
    let moved = move_all(&path("merged"), false);
    let seen = (files_in(&path("merged")), fs::metadata(path("merged/to/d")).map(|meta| (meta.mode(), mtime(&meta))));
    Command::new("umount").arg("--lazy").arg(path("merged")).status().unwrap();
    moved.unwrap();
    assert_eq!(seen.0, [("to/d/sub/x".to_string(), "x".to_string())].into());
    assert_eq!(seen.1.unwrap(), (0o40510, Time { secs: 1_600_000_000, nanos: 7 }));
}
