//! Sets read and restored by GNU tar, Python and a shell.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::Command;

use super::{DATABASES, Site, look, names, rows, run, without_databases};
use crate::error::Error;
use crate::format::entry::compare_paths;
use crate::ops::verify_snapshot::contradiction;
use crate::set::directory;
use crate::set::manifest::{Layout, Manifest};

#[test]
fn other_programs_read_the_set_of_a_site_and_segments_are_reused() {
    let site = Site::new();
    let first = site.back_up(0, None);
    let set = first.set.as_ref().unwrap();
    let listed: Vec<&[u8]> = first.snapshot.databases.iter().map(|part| part.path.as_slice()).collect();
    assert!(DATABASES.is_sorted_by(|a, b| compare_paths(a, b).is_lt()) && listed == DATABASES, "{listed:?}");
    let stamp = &first.snapshot.timestamp;
    let file_names: Vec<String> =
        set.databases.iter().map(|one| one.path.file_name().unwrap().to_str().unwrap().to_string()).collect();
    let expected = [
        "lrl_db_TS.sqlite",
        "lrl_db-data--it-s--a----HOME---db.sqlite_TS.sqlite",
        "lrl_db-data-app.db_TS.sqlite",
        "lrl_db-data-caf-.sqlite_TS.sqlite",
        "lrl_db-data-users-A.sqlite_TS.sqlite",
        "lrl_db-data-users-a.sqlite-2_TS.sqlite",
        "lrl_db-data-users-a.sqlite-3_TS.sqlite",
        "lrl_db-x-20260101-000000.sqlite_TS.sqlite",
    ];
    assert_eq!(file_names, expected.map(|name| name.replace("TS", stamp)));
    let found = directory::look(&site.at("out")).unwrap();
    assert_eq!((found.sets(), found.by_timestamp.len()), (1, 1));
    assert!(found.by_timestamp[stamp].beside.is_empty(), "{found:?}");

    let archive = &set.assets.as_ref().unwrap().path;
    for (name, command) in [("by-tar", "tar -xpzf \"$1\" -C \"$2\""), ("by-python", PYTHON)] {
        let dir = site.at(name);
        fs::create_dir(&dir).unwrap();
        run(Command::new("sh").args(["-euc", command, "sh"]).arg(archive).arg(&dir));
        assert_eq!(look(&dir), without_databases(look(&site.root())), "{name}");
    }
    for (one, path) in set.databases.iter().zip(DATABASES) {
        assert_eq!(rows(&one.path), rows(&site.root().join(OsStr::from_bytes(path))));
    }
    // What did not change is copied from the archive before, compressed as it is.
    let second = site.back_up(1, None);
    let assets = second.set.as_ref().unwrap().assets.as_ref().unwrap();
    assert_eq!(assets.reused_bytes, assets.archive_size_bytes);
    site.write("uploads/zz.txt", b"new");
    let third = site.back_up(2, None);
    let assets = third.set.as_ref().unwrap().assets.as_ref().unwrap();
    assert!(assets.reused_bytes > 650_000 && assets.reused_bytes < assets.archive_size_bytes, "{assets:?}");
    let manifest = Manifest::read(&set.manifest).unwrap();
    assert_eq!(manifest.assets().unwrap().layout, Layout::Root);
    assert_eq!(contradiction(&site.store("store"), &set.manifest).unwrap(), None);
    let text = fs::read_to_string(&set.manifest).unwrap();
    fs::write(&set.manifest, text.replace("      \"layout\": \"root\",\n", "")).unwrap();
    assert!(contradiction(&site.store("store"), &set.manifest).unwrap().unwrap().contains("paths below a root"));
    fs::write(&set.manifest, text.replace("\"layout\": \"root\"", "\"layout\": \"other\"")).unwrap();
    assert!(matches!(Manifest::read(&set.manifest), Err(Error::Corrupt { .. })));
}

const PYTHON: &str = "python3 -c \"import sys, tarfile\n\
                      t = tarfile.open(sys.argv[1])\n\
                      t.extractall(sys.argv[2], **({'filter': 'tar'} if hasattr(tarfile, 'tar_filter') else {}))\" \"$1\" \"$2\"";

#[test]
fn the_text_beside_an_exported_site_restores_it() {
    let site = Site::new();
    let report = site.back_up(0, None);
    let exported = site.export(&report);
    let text = fs::read_to_string(exported.join("RESTORE.md")).unwrap();
    let fence = text.lines().find(|line| line.ends_with("sh") && line.starts_with('`')).unwrap();
    let commands =
        text.split_once(&format!("{fence}\n")).unwrap().1.split_once(fence.trim_end_matches("sh")).unwrap().0;
    let restore = |root: &Path| {
        let mut shell = Command::new("sh");
        shell.args(["-c", commands]).env("SET", &exported).env("ROOT", root).current_dir(site.0.path());
        shell
    };
    let fresh = site.at("a 'new' place");
    run(&mut restore(&fresh));
    let (mut expected, mut found) = (look(&site.root()), look(&fresh));
    // That one has no name in a shell: the text says so.
    assert!(expected.remove(DATABASES[3]).is_some() && text.contains("data/caf"), "{text}");
    // A database that is copied into a directory changes its time.
    for tree in [&mut expected, &mut found] {
        for dir in [&b"data"[..], b"data/users"] {
            tree.get_mut(dir).unwrap().clear();
        }
    }
    assert_eq!(found, expected);
    let mode = |root: &Path| root.join("data/app.db").metadata().unwrap().mode();
    assert_eq!(mode(&fresh), mode(&site.root()));
    // In place: an old database moves away with what is beside it.
    fs::write(site.root().join("app.db-wal"), b"old").unwrap();
    fs::write(site.root().join("later"), b"later").unwrap();
    run(&mut restore(&site.root()));
    let here = names(&site.root());
    for name in ["app.db", "app.db.pre-restore", "app.db.pre-restore-wal", "later"] {
        assert!(here.contains(&name.to_string()), "{here:?}");
    }
    assert!(!here.contains(&"app.db-wal".to_string()));
    // A damaged file ends it before anything is changed.
    let archive = names(&exported).into_iter().find(|name| name.starts_with("lrl_assets_")).unwrap();
    fs::write(exported.join(archive), b"damaged").unwrap();
    let untouched = site.at("untouched");
    assert!(!restore(&untouched).output().unwrap().status.success() && !untouched.exists());
}
