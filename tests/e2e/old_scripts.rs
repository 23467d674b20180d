//! The defects of the scripts that lrl replaces, one test each.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};

use rusqlite::Connection;

use crate::common::{Lab, noise};
use crate::helpers::{look, names, outputs, python};
use crate::python_sets::{drill_with_python, manifests};

#[test]
fn a_run_that_changes_little_costs_little() {
    let lab = Lab::small();
    lab.write("data/assets/large", noise(3 << 20, 9));
    lab.lrl("backup --snapshot-only").expect(0);
    lab.database().execute("UPDATE users SET status = 'other'", []).unwrap();
    let run = lab.lrl("backup --snapshot-only --json").expect(0).json();
    assert!(run["added_bytes"].as_u64().unwrap() < 20_000, "{run}");
    // An unchanged archive takes no second room either.
    lab.lrl("backup").expect(0);
    lab.lrl("backup").expect(0);
    let inodes: Vec<u64> = outputs(&lab, "backups", ".tar.gz")
        .iter()
        .map(|path| std::os::unix::fs::MetadataExt::ino(&fs::metadata(path).unwrap()))
        .collect();
    assert!(inodes.len() == 2 && (inodes[0] == inodes[1] || lab_can_clone(&lab)), "{inodes:?}");
}

fn lab_can_clone(lab: &Lab) -> bool {
    lab.write("clone", b"x");
    let mut command = std::process::Command::new("cp");
    command.arg("--reflink=always").arg(lab.path("clone")).arg(lab.path("clone2")).output().unwrap().status.success()
}

#[test]
fn the_manuals_own_line_drills_every_set() {
    let lab = Lab::small();
    lab.lrl("backup").expect(0);
    lab.lrl("backup").expect(0);
    let mut arguments = vec!["drill".into(), "--manifest".into()];
    arguments.extend(outputs(&lab, "./backups", ".json"));
    let run = lab.run(&arguments).expect(0);
    assert_eq!(run.stdout.matches("Using manifest:").count(), 2, "{}", run.stdout);
}

#[test]
fn two_runs_in_one_second_keep_both_sets() {
    let lab = Lab::small();
    for _ in 0..3 {
        lab.lrl("backup").expect(0);
    }
    assert_eq!(names(lab.path("backups")).len(), 3 * 3 + 1);
    manifests(&lab, "backups").iter().for_each(|manifest| drill_with_python(&lab, manifest).unwrap());
}

#[test]
fn a_set_is_drilled_from_any_directory_and_after_a_move() {
    let lab = Lab::small();
    lab.lrl("backup --out backups").expect(0);
    fs::create_dir(lab.path("elsewhere")).unwrap();
    fs::rename(lab.path("backups"), lab.path("elsewhere/moved")).unwrap();
    let manifest = outputs(&lab, "elsewhere/moved", ".json").remove(0);
    let mut command = lab.command(["drill".as_ref(), "--manifest".as_ref(), manifest.as_os_str()]);
    assert!(command.current_dir("/").output().unwrap().status.success());
    lab.lrl("drill --backup elsewhere/moved").expect(0);
}

#[test]
fn empty_directories_and_links_come_back_as_what_they_are() {
    let lab = Lab::small();
    symlink("ab12/v1.txt", lab.path("data/assets/link")).unwrap();
    symlink("nowhere", lab.path("data/assets/dangling")).unwrap();
    lab.lrl("backup").expect(0);
    drill_with_python(&lab, &manifests(&lab, "backups")[0]).unwrap();
    let manifest: serde_json::Value =
        serde_json::from_slice(&fs::read(outputs(&lab, "backups", ".json").remove(0)).unwrap()).unwrap();
    assert_eq!(manifest["backups"][1]["file_count"], 3, "links are no files: {manifest}");
    fs::create_dir(lab.path("by-tar")).unwrap();
    let archive = outputs(&lab, "backups", ".tar.gz").remove(0);
    let script = "import sys, tarfile; tarfile.open(sys.argv[1]).extractall(sys.argv[2])";
    python(&lab, script, &[&archive, &lab.path("by-tar")]);
    let (tar, live) = (look(&lab.path("by-tar/assets")), look(&lab.path("data/assets")));
    assert_eq!(tar.keys().collect::<Vec<_>>(), live.keys().collect::<Vec<_>>());
    assert!(
        tar[b"link".as_slice()].contents == b"ab12/v1.txt" && tar[b"empty".as_slice()].mode & 0o170_000 == 0o040_000
    );
}

#[test]
fn what_is_missing_is_not_exit_0() {
    let lab = Lab::small();
    fs::remove_file(lab.path("data/lrl.db")).unwrap();
    lab.lrl("backup").expect(3);
    fs::remove_dir_all(lab.path("data/assets")).unwrap();
    lab.lrl("backup").expect(1);
}

#[test]
fn the_drill_checks_integrity_and_its_json_is_pure_also_when_it_fails() {
    let lab = Lab::small();
    lab.lrl("backup").expect(0);
    let copy = outputs(&lab, "backups", ".sqlite").remove(0);
    let mut bytes = fs::read(&copy).unwrap();
    bytes[8192..8192 + 2000].fill(0x5a);
    fs::write(&copy, &bytes).unwrap();
    let run = lab.lrl("drill --json").expect(4);
    let document = run.json();
    assert_eq!(document["success"], false);
    let checks = document["verifications"][0]["checks"].as_array().unwrap();
    let failed = |name: &str| checks.iter().any(|check| check["name"] == name && check["passed"] == false);
    assert!(failed("hash_verification") && failed("integrity_check"), "{document}");
}

#[test]
fn copies_hold_password_hashes_and_are_private() {
    let lab = Lab::small();
    lab.lrl("backup").expect(0);
    for ending in [".sqlite", ".tar.gz", ".json"] {
        let mode = fs::metadata(&outputs(&lab, "backups", ending)[0]).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode, 0o600, "{ending}: {mode:o}");
    }
    assert_eq!(fs::metadata(lab.path("backups")).unwrap().permissions().mode() & 0o777, 0o700);
}

#[test]
fn a_restored_database_is_not_overwritten_by_what_lay_beside_the_old_one() {
    let lab = Lab::small();
    lab.lrl("backup").expect(0);
    // The application dies in WAL mode and leaves rows in the `-wal`.
    let script = "
import os, sqlite3
c = sqlite3.connect('data/lrl.db', isolation_level=None)
c.execute('PRAGMA journal_mode = wal')
c.execute('DELETE FROM users'); c.execute('DROP TABLE content_items')
os._exit(0)";
    python(&lab, script, &[]);
    assert!(lab.path("data/lrl.db-wal").exists());
    lab.write("data/assets/later", b"later");
    lab.lrl("restore").expect(0);
    let count = |path: &str| {
        let restored = Connection::open(lab.path(path)).unwrap();
        restored.query_row("SELECT count(*) FROM users", [], |row| row.get::<_, i64>(0)).unwrap()
    };
    assert_eq!(count("data/lrl.db"), 1);
    assert!(!lab.path("data/assets/later").exists(), "the restored directory holds a later file");
    // What was committed last is still there, beside the old file under its new name.
    assert_eq!(count("data/lrl.db.pre-restore"), 0);
}
