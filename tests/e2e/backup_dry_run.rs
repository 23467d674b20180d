//! `lrl backup --dry-run`: shows what would be stored and writes nothing.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use serde_json::json;

use crate::common::Lab;

/// Everything below the lab with its size, time and inode. (SQLite, run by root, gives a journal the owner that it has: its ctime moves.)
fn state(lab: &Lab) -> BTreeMap<PathBuf, (u64, i64, u64)> {
    let mut found = BTreeMap::new();
    let mut dirs = vec![lab.path("")];
    while let Some(dir) = dirs.pop() {
        for entry in fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            let meta = path.symlink_metadata().unwrap();
            found.insert(path.clone(), (meta.len(), meta.mtime_nsec(), meta.ino()));
            if meta.is_dir() {
                dirs.push(path);
            }
        }
    }
    found
}

#[test]
fn nothing_is_written_and_everything_is_told() {
    let lab = Lab::small();
    let before = state(&lab);
    let run = lab.lrl("backup --dry-run").expect(0);
    assert!(run.stdout.contains("no store") && run.stdout.contains("3 files"), "{}", run.stdout);
    assert!(state(&lab) == before);
    lab.lrl("backup").expect(0);
    // A copy of a store has no lock and no cache; looking must not make them.
    fs::remove_dir_all(lab.path("backups/store/cache")).unwrap();
    for lock in ["lock", "lock-lab"] {
        let _ = fs::remove_file(lab.path("backups/store").join(lock));
    }
    let before = state(&lab);
    let document = lab.lrl("backup --dry-run --json").expect(0).json();
    assert_eq!(document["databases"][0]["changed_bytes"], 0);
    assert_eq!(document["uploads"]["unchanged"], json!({ "files": 3, "bytes": 70_029 }));
    assert!(state(&lab) == before);

    lab.upload("new/v1.txt", b"12345");
    fs::remove_file(lab.path("data/assets/ab12/v2.txt")).unwrap();
    let touched = fs::File::options().write(true).open(lab.path("data/assets/ab12/v1.txt")).unwrap();
    touched.set_modified(std::time::SystemTime::UNIX_EPOCH).unwrap();
    let before = state(&lab);
    let estimate = lab.lrl("backup --dry-run --json").expect(0).json();
    let uploads = &estimate["uploads"];
    assert_eq!(uploads["new"], json!({ "files": 1, "bytes": 5 }));
    assert_eq!(uploads["removed"], json!({ "files": 1, "bytes": 17 }));
    assert_eq!((&uploads["changed"]["files"], &uploads["exact"]), (&json!(1), &json!(false)));
    assert!(estimate["databases"][0]["changed_bytes"].as_u64().unwrap() > 0);
    let exact = lab.lrl("backup --dry-run --rescan --json").expect(0).json();
    assert_eq!(
        (&exact["uploads"]["changed"]["files"], &exact["uploads"]["unchanged"]["files"]),
        (&json!(0), &json!(2))
    );
    assert!(state(&lab) == before);
}

#[test]
fn what_would_be_missing_is_told_as_a_backup_tells_it() {
    let lab = Lab::small();
    fs::remove_file(lab.path("data/lrl.db")).unwrap();
    let run = lab.lrl("backup --dry-run").expect(3);
    assert!(run.stderr.contains("Database not found"), "{}", run.stderr);
    fs::remove_dir_all(lab.path("data/assets")).unwrap();
    lab.lrl("backup --dry-run").expect(1);
    lab.lrl("backup --dry-run --data-dir elsewhere").expect(10);
    assert!(!Path::new(&lab.path("backups")).exists());
}

#[test]
fn a_journal_that_a_crash_left_is_rolled_back_in_a_copy_elsewhere() {
    let lab = Lab::small();
    let connection = lab.database();
    connection
        .execute_batch("PRAGMA cache_size=1; PRAGMA cache_spill=1; BEGIN; UPDATE content_items SET body = upper(body);")
        .unwrap();
    connection.cache_flush().unwrap();
    // The state of a machine that stopped now.
    let mut copy = Lab::empty();
    let scratch = tempfile::tempdir().unwrap();
    copy.set("TMPDIR", scratch.path().to_str().unwrap());
    for name in ["lrl.db", "lrl.db-journal"] {
        copy.write(Path::new("data").join(name), fs::read(lab.path("data").join(name)).unwrap());
    }
    fs::create_dir(copy.path("data/assets")).unwrap();
    drop(connection);
    let before = state(&copy);
    let run = copy.lrl("backup --dry-run --json").expect(0);
    assert!(run.json()["databases"][0]["size_bytes"].as_u64().unwrap() > 0);
    assert!(state(&copy) == before);
    assert_eq!(fs::read_dir(scratch.path()).unwrap().count(), 0);
}
