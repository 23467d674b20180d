//! `lrl export`: sets that other programs read, with the bytes of the backup's own set, and a RESTORE.md that works.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::common::{Lab, sha256};

fn only(dir: &Path, part: &str) -> PathBuf {
    let mut found: Vec<_> = fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.file_name().unwrap().to_str().unwrap().contains(part))
        .collect();
    assert_eq!(found.len(), 1, "{part} in {}", dir.display());
    found.remove(0)
}

fn lab() -> Lab {
    let lab = Lab::small();
    lab.write(Path::new("data/assets").join(OsStr::from_bytes(b"odd\xff.txt")), b"odd\n");
    std::os::unix::fs::symlink("v1.txt", lab.path("data/assets/ab12/link")).unwrap();
    lab
}

#[test]
fn an_export_is_the_backups_set_byte_for_byte() {
    let lab = lab();
    lab.lrl("backup").expect(0);
    let run = lab.lrl("export --out exported").expect(0);
    assert!(run.stdout.contains("RESTORE.md"), "{}", run.stdout);
    let (set, exported) = (lab.path("backups"), lab.path("exported"));
    for part in ["lrl_assets_", "lrl_db_"] {
        let (a, b) = (fs::read(only(&set, part)).unwrap(), fs::read(only(&exported, part)).unwrap());
        assert!(a == b, "{part} differs");
    }
    let manifest: serde_json::Value = serde_json::from_slice(&fs::read(only(&exported, "manifest")).unwrap()).unwrap();
    let own: serde_json::Value = serde_json::from_slice(&fs::read(only(&set, "manifest")).unwrap()).unwrap();
    for (a, b) in manifest["backups"].as_array().unwrap().iter().zip(own["backups"].as_array().unwrap()) {
        assert_eq!(a["sha256"], b["sha256"]);
        let path = lab.path(a["backup"].as_str().unwrap());
        assert_eq!(sha256(&fs::read(path).unwrap()), a["sha256"].as_str().unwrap());
    }
    assert_eq!(manifest["timestamp_utc"], own["timestamp_utc"]);
    assert_eq!(fs::metadata(&exported).unwrap().permissions().mode() & 0o777, 0o700);
    for entry in fs::read_dir(&exported).unwrap() {
        assert_eq!(entry.unwrap().metadata().unwrap().permissions().mode() & 0o777, 0o600);
    }
}

#[test]
fn other_programs_read_an_export() {
    let lab = lab();
    lab.lrl("backup --snapshot-only").expect(0);
    let document = lab.lrl("export --out exported --json").expect(0).json();
    assert_eq!(document["assets"]["compared"]["archive"], "first_of_its_kind");
    let archive = only(&lab.path("exported"), "lrl_assets_");
    fs::create_dir(lab.path("by-tar")).unwrap();
    let tar = Command::new("tar").arg("-xzf").arg(&archive).arg("-C").arg(lab.path("by-tar")).status().unwrap();
    assert!(tar.success());
    let diff = Command::new("diff")
        .args(["-r", "--no-dereference"])
        .arg(lab.path("data/assets"))
        .arg(lab.path("by-tar/assets"))
        .output()
        .unwrap();
    assert!(diff.status.success(), "{}", String::from_utf8_lossy(&diff.stdout));
    let script = "import sys, tarfile, sqlite3\n\
                  for mode in ('r:gz', 'r|gz'):\n    \
                  with tarfile.open(sys.argv[1], mode) as t: n = sum(1 for m in t if m.isfile())\n    \
                  assert n == int(sys.argv[3]), n\n\
                  c = sqlite3.connect('file:' + sys.argv[2] + '?immutable=1', uri=True)\n\
                  assert c.execute('pragma integrity_check').fetchone()[0] == 'ok'\n\
                  assert c.execute('select count(*) from content_items').fetchone()[0] == 20\n";
    let database = only(&lab.path("exported"), "lrl_db_");
    let python = Command::new("python3").args(["-c", script]).arg(&archive).arg(&database).arg("4").output().unwrap();
    assert!(python.status.success(), "{}", String::from_utf8_lossy(&python.stderr));
}

#[test]
fn the_text_beside_the_set_restores_it() {
    let mut lab = lab();
    lab.set("STORAGE_PATH", "./keys");
    lab.write("keys/one.bin", b"stored by key\n");
    lab.lrl("backup --snapshot-only").expect(0);
    let database = lab.lrl("dump latest lrl.db").expect(0).stdout_bytes;
    lab.lrl("export --out exported").expect(0);
    // What a restore by hand usually stumbles over: later files, and a journal of the database that is replaced.
    lab.write("data/assets/ab12/later.txt", b"later\n");
    lab.write("data/lrl.db-journal", b"old journal");
    fs::remove_file(lab.path("keys/one.bin")).unwrap();
    let text = fs::read_to_string(lab.path("exported/RESTORE.md")).unwrap();
    let commands = text.split("```sh\n").nth(1).unwrap().split("```").next().unwrap();
    let run = Command::new("bash")
        .args(["-euc", commands])
        .current_dir(lab.path(""))
        .env("SET", lab.path("exported"))
        .env("STORAGE_PATH", "./keys")
        .output()
        .unwrap();
    assert!(run.status.success(), "{}\n{}", String::from_utf8_lossy(&run.stderr), commands);
    assert!(fs::read(lab.path("data/lrl.db")).unwrap() == database);
    assert!(!lab.path("data/lrl.db-journal").exists() && lab.path("data/lrl.db.pre-restore-journal").exists());
    assert!(!lab.path("data/assets/ab12/later.txt").exists());
    assert!(lab.path("data/assets.pre-restore/ab12/later.txt").exists());
    assert_eq!(fs::read(lab.path("data/assets/ab12/v1.txt")).unwrap(), b"a few words\n");
    assert_eq!(fs::read(lab.path("keys/one.bin")).unwrap(), b"stored by key\n");
}

#[test]
fn a_directory_with_something_in_it_is_refused_and_left_alone() {
    let lab = lab();
    lab.lrl("backup --snapshot-only").expect(0);
    lab.write("taken/file", b"mine");
    let run = lab.lrl("export --out taken").expect(1);
    assert!(run.stderr.contains("not empty"), "{}", run.stderr);
    assert_eq!(fs::read_dir(lab.path("taken")).unwrap().count(), 1);
    fs::create_dir(lab.path("empty")).unwrap();
    lab.lrl("export --out empty").expect(0);
}

#[test]
fn half_a_snapshot_is_half_a_set() {
    let lab = lab();
    lab.lrl("backup --snapshot-only --db-only").expect(0);
    let run = lab.lrl("export --out exported").expect(0);
    assert!(run.stderr.contains("holds no uploads"), "{}", run.stderr);
    let names: Vec<_> = fs::read_dir(lab.path("exported")).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(names.len(), 3, "{names:?}");
    assert!(fs::read_to_string(lab.path("exported/RESTORE.md")).unwrap().contains("holds no uploads"));
}

#[test]
fn an_export_that_fails_leaves_nothing() {
    let lab = lab();
    lab.lrl("backup --snapshot-only").expect(0);
    let mut dirs = vec![lab.path("backups/store/packs")];
    while let Some(dir) = dirs.pop() {
        for entry in fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() { dirs.push(path) } else { fs::remove_file(path).unwrap() }
        }
    }
    let run = lab.lrl("export --out exported").expect(1);
    assert!(run.stderr.contains("lrl check"), "{}", run.stderr);
    assert!(!lab.path("exported").exists());
}
