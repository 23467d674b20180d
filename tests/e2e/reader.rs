//! A reader written in Python from docs/FORMAT.md alone reads what lrl writes.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::common::{Lab, noise, repository};

/// What is there: path → mode, modification time, contents or target.
fn facts(root: &Path) -> BTreeMap<PathBuf, (u32, i64, i64, Vec<u8>)> {
    let mut found = BTreeMap::new();
    let mut todo = vec![root.to_path_buf()];
    while let Some(path) = todo.pop() {
        let meta = fs::symlink_metadata(&path).unwrap();
        let bytes = if meta.is_dir() {
            todo.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
            Vec::new()
        } else if meta.is_symlink() {
            fs::read_link(&path).unwrap().into_os_string().into_vec()
        } else {
            fs::read(&path).unwrap()
        };
        let name = path.strip_prefix(root).unwrap().to_path_buf();
        found.insert(name, (meta.mode(), meta.mtime(), meta.mtime_nsec(), bytes));
    }
    found
}

/// An odd lab: many directories, a link of each kind, a hole, names and modes that are unusual.
fn odd_lab() -> Lab {
    let lab = Lab::small();
    let assets = lab.path("data/assets");
    for n in 0..1_500 {
        fs::create_dir(assets.join(format!("many-{n}"))).unwrap();
    }
    fs::hard_link(assets.join("ab12/v1.txt"), assets.join("ab12/v1-again.txt")).unwrap();
    std::os::unix::fs::symlink("ab12/v1.txt", assets.join("newest")).unwrap();
    let sparse = fs::File::create(assets.join("sparse")).unwrap();
    sparse.set_len(3 << 20).unwrap();
    sparse.write_all_at(b"in the middle", 1 << 20).unwrap();
    fs::write(assets.join(OsString::from_vec(b"caf\xe9.txt".to_vec())), b"").unwrap();
    fs::set_permissions(assets.join("cd34/v1.bin"), fs::Permissions::from_mode(0o640)).unwrap();
    lab
}

#[test]
fn a_second_reader_restores_what_was_backed_up() {
    let lab = odd_lab();
    lab.lrl("backup --snapshot-only").expect(0);
    // Steps, so that there are deltas, of lists too.
    for n in 0..3u32 {
        lab.database().execute("UPDATE content_items SET title = ?1 WHERE id = ?1", [n]).unwrap();
        lab.upload(&format!("step-{n}"), &noise(300, n.into()));
        lab.lrl("backup --snapshot-only").expect(0);
    }
    lab.lrl("backup").expect(0);
    let read = Command::new("python3")
        .arg(repository().join("tests/reader/read_store.py"))
        .args([lab.path("backups/store"), lab.path("out")])
        .output();
    let Ok(read) = read else { return eprintln!("not run: there is no python3 here") };
    if read.status.code() == Some(77) {
        return eprintln!("not run: nothing here unpacks zstd for Python");
    }
    let (stdout, stderr) = (String::from_utf8_lossy(&read.stdout), String::from_utf8_lossy(&read.stderr));
    assert!(read.status.success(), "{stdout}{stderr}");
    assert!(stdout.starts_with("5 snapshots, ") && !stdout.contains(", 0 of them deltas"), "{stdout}");
    assert_eq!(facts(&lab.path("out/assets")), facts(&lab.path("data/assets")));
    let set = fs::read_dir(lab.path("backups")).unwrap().map(|entry| entry.unwrap().path());
    let copy = set.into_iter().find(|path| path.extension().is_some_and(|e| e == "sqlite")).unwrap();
    assert!(fs::read(copy).unwrap() == fs::read(lab.path("out/lrl.db")).unwrap());
}

#[test]
fn a_second_reader_sees_damage() {
    let lab = Lab::small();
    lab.lrl("backup --snapshot-only").expect(0);
    let mut todo = vec![lab.path("backups/store/packs")];
    while let Some(path) = todo.pop() {
        if path.is_dir() {
            todo.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
            continue;
        }
        let mut bytes = fs::read(&path).unwrap();
        bytes[20] ^= 1;
        fs::write(&path, bytes).unwrap();
    }
    let read = Command::new("python3")
        .arg(repository().join("tests/reader/read_store.py"))
        .args([lab.path("backups/store"), lab.path("out")])
        .output();
    let Ok(read) = read else { return eprintln!("not run: there is no python3 here") };
    assert!(matches!(read.status.code(), Some(1 | 77)), "{read:?}");
}
