//! `lrl restore`: what it replaces is kept, what was backed up is restored exactly, a failure changes nothing.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::Path;
use std::process::Command;

use rusqlite::Connection;

use crate::common::Lab;
use crate::helpers::{Disk, as_nobody, assert_same, files_with, look, names, outputs, there_is};
use crate::python_sets::{change, write_with_python};

fn backed_up() -> Lab {
    let lab = Lab::small();
    lab.lrl("backup").expect(0);
    lab
}

fn change_all(lab: &Lab) {
    lab.database().execute("DELETE FROM users", []).unwrap();
    lab.write("data/assets/later", b"later\n");
    fs::remove_file(lab.path("data/assets/ab12/v1.txt")).unwrap();
}

fn users(database: &Path) -> i64 {
    Connection::open(database).unwrap().query_row("SELECT count(*) FROM users", [], |row| row.get(0)).unwrap()
}

#[test]
fn what_was_there_is_kept_each_time_under_a_name_of_its_own() {
    let lab = backed_up();
    let uploads = look(&lab.path("data/assets"));
    change_all(&lab);
    lab.write("data/lrl.db-journal", b"leftover");
    let changed = look(&lab.path("data/assets"));
    let run = lab.lrl("restore").expect(0);
    assert!(run.stdout.contains("is kept as"), "{}", run.stdout);
    assert_same(&look(&lab.path("data/assets")), &uploads, "the tree as it was");
    assert_same(&look(&lab.path("data/assets.pre-restore")), &changed, "the tree as it was");
    assert_eq!(
        (users(&lab.path("data/lrl.db")), names(lab.path("data")).len()),
        (1, 6),
        "{:?}",
        names(lab.path("data"))
    );
    assert_eq!(fs::read(lab.path("data/lrl.db.pre-restore-journal")).unwrap(), b"leftover");
    lab.write("data/lrl.db-wal", b"another");
    lab.lrl("restore").expect(0);
    assert_eq!(fs::read(lab.path("data/lrl.db.pre-restore.1-wal")).unwrap(), b"another");
    let expected = [
        ".lrl-undo.json",
        "assets",
        "assets.pre-restore",
        "assets.pre-restore.1",
        "lrl.db",
        "lrl.db.pre-restore",
        "lrl.db.pre-restore-journal",
        "lrl.db.pre-restore.1",
        "lrl.db.pre-restore.1-wal",
    ];
    assert_eq!(names(lab.path("data")), expected);
}

#[test]
fn one_part_or_path_is_restored_alone() {
    let lab = backed_up();
    change_all(&lab);
    lab.lrl("restore --db-only").expect(0);
    assert!(users(&lab.path("data/lrl.db")) == 1 && lab.path("data/assets/later").exists());
    lab.lrl("restore --path assets/ab12/v1.txt").expect(0);
    assert!(lab.path("data/assets/ab12/v1.txt").exists() && lab.path("data/assets/later").exists());
    // What is kept of one file is an upload like any other from then on: somebody has to know.
    lab.write("data/assets/ab12/v1.txt", b"another");
    let run = lab.lrl("restore --path assets/ab12/v1.txt").expect(0);
    assert!(run.stderr.contains("v1.txt.pre-restore stands among the uploads"), "{}", run.stderr);
    fs::remove_file(lab.path("data/assets/ab12/v1.txt.pre-restore")).unwrap();
    fs::remove_dir_all(lab.path("data/assets/cd34")).unwrap();
    lab.lrl("restore --path assets/cd34").expect(0);
    assert_eq!(names(lab.path("data/assets/cd34")), ["v1.bin"]);
    for path in ["assets/none", "../x", "/etc/passwd", "assets/../lrl.db"] {
        lab.run(["restore", "--path", path]).expect(1);
    }
    change_all(&lab);
    lab.lrl("restore --assets-only").expect(0);
    assert!(users(&lab.path("data/lrl.db")) == 0 && !lab.path("data/assets/later").exists());
    lab.lrl("backup --db-only --source half").expect(0);
    let run = lab.lrl("restore --source half --data-dir new").expect(0);
    assert!(run.stderr.contains("holds no uploads"), "{}", run.stderr);
    lab.lrl("restore --source half --assets-only --data-dir new").expect(1);
    lab.lrl("restore --data-dir new nothing").expect(1);
}

#[test]
fn sets_of_lrl_and_of_python_come_back_the_same() {
    let lab = backed_up();
    let ours = outputs(&lab, "backups", ".json").remove(0);
    let theirs = write_with_python(&lab, "old", "20260114_120000");
    for (manifest, to) in [(ours.as_path(), "a"), (theirs.as_path(), "b")] {
        lab.run(["restore".as_ref(), "--manifest".as_ref(), manifest.as_os_str(), "--data-dir".as_ref(), to.as_ref()])
            .expect(0);
        assert_eq!(users(&lab.path(to).join("lrl.db")), 1);
        let mut back = look(&lab.path(to).join("assets"));
        let mut live = look(&lab.path("data/assets"));
        // The old scripts keep neither empty directories nor the times of directories, nor parts of a second.
        for tree in [&mut back, &mut live] {
            tree.retain(|_, seen| seen.mode & 0o170_000 == 0o100_000);
            tree.values_mut().for_each(|seen| seen.time.1 = 0);
        }
        assert_same(&back, &live, to);
    }
}

#[test]
fn owner_and_mode_follow_what_is_replaced() {
    let lab = backed_up();
    let database = lab.path("data/lrl.db");
    let owner = |path: &Path| fs::metadata(path).map(|m| (m.uid(), m.gid(), m.mode() & 0o777)).unwrap();
    if owner(&database).0 != 0 {
        println!("skipped: needs root");
        return;
    }
    chown(&database, Some(4321), Some(1234)).unwrap();
    fs::set_permissions(&database, fs::Permissions::from_mode(0o640)).unwrap();
    lab.lrl("restore").expect(0);
    assert_eq!(owner(&database), (4321, 1234, 0o640));
    lab.lrl("restore --owner 77:88").expect(0);
    assert_eq!(owner(&database), (77, 88, 0o640));
    assert!(look(&lab.path("data/assets")).values().all(|seen| seen.owner == (77, 88)));
    lab.lrl("restore --owner nobody-of-that-name:root").expect(1);
}

#[test]
fn who_has_the_database_open_is_named_and_force_goes_on() {
    let lab = backed_up();
    let script = "import sqlite3, sys; c = sqlite3.connect('data/lrl.db'); c.execute('select 1 from users').fetchall(); print('open', flush=True); sys.stdin.read()";
    let mut holder = Command::new("python3");
    let holder = holder.args(["-c", script]).current_dir(lab.path(""));
    let mut holder = holder.stdin(std::process::Stdio::piped()).stdout(std::process::Stdio::piped()).spawn().unwrap();
    std::io::Read::read_exact(holder.stdout.as_mut().unwrap(), &mut [0; 5]).unwrap();
    let before = look(&lab.path("data"));
    let run = lab.lrl("restore").expect(1);
    assert!(
        run.stderr.contains(&format!("process {}", holder.id())) && run.stderr.contains("lrl.db open"),
        "{}",
        run.stderr
    );
    assert!(run.stderr.contains("python"), "{}", run.stderr);
    assert_same(&look(&lab.path("data")), &before, "the tree as it was");
    lab.lrl("restore --assets-only").expect(0);
    lab.lrl("restore --force").expect(0);
    drop(holder.stdin.take());
    holder.wait().unwrap();
}

#[test]
fn a_dry_run_writes_nothing() {
    let lab = backed_up();
    change_all(&lab);
    let before = look(&lab.path(""));
    let run = lab.lrl("restore --dry-run").expect(0);
    assert!(run.stdout.contains("Would restore") && run.stdout.contains("Nothing was written"), "{}", run.stdout);
    lab.lrl("restore --dry-run --data-dir new").expect(0);
    assert_same(&look(&lab.path("")), &before, "the tree as it was");
}

#[test]
fn a_damaged_pack_or_archive_changes_nothing_and_is_named() {
    let lab = backed_up();
    change_all(&lab);
    // What is right in place would not be read from the store.
    lab.write("data/assets/cd34/v1.bin", b"changed");
    let inside = |tree: &str| {
        let mut seen = look(&lab.path(tree));
        // Staging came and went in the directory itself.
        seen.remove(b"".as_slice());
        seen
    };
    let before = inside("data");
    for pack in files_with(&lab.path("backups/store"), "packs/") {
        change(&lab, &pack, |bytes| {
            let middle = bytes.len() / 2;
            bytes[middle] ^= 1;
        });
    }
    let run = lab.lrl("restore").expect(1);
    assert!(run.stderr.contains("packs/") && run.stderr.contains("cd34/v1.bin"), "{}", run.stderr);
    assert_same(&inside("data"), &before, "the tree as it was");
    // Other files of the snapshot still come back.
    lab.lrl("restore --path assets/ab12/v1.txt --data-dir new").expect(0);
    let manifest = outputs(&lab, "backups", ".json").remove(0);
    let archive = outputs(&lab, "backups", ".tar.gz").remove(0);
    change(&lab, &archive, |bytes| bytes.truncate(bytes.len() - 100));
    let run = lab.run(["restore".as_ref(), "--manifest".as_ref(), manifest.as_os_str()]).expect(1);
    assert!(run.stderr.contains(".tar.gz"), "{}", run.stderr);
    assert_same(&inside("data"), &before, "the tree as it was");
}

#[test]
fn a_full_or_read_only_target_stays_as_it_was() {
    let lab = backed_up();
    for n in 0..40 {
        lab.write(format!("data/assets/more/{n}"), crate::common::noise(50_000, n));
    }
    lab.lrl("backup").expect(0);
    let Some(disk) = Disk::mount(lab.path("tiny"), "1m") else { return };
    let before = look(&lab.path("tiny"));
    let run = lab.lrl("restore --data-dir tiny").expect(1);
    assert!(run.stderr.contains("more than the disk of tiny has free"), "{}", run.stderr);
    assert_same(&look(&lab.path("tiny")), &before, "the tree as it was");
    lab.lrl("restore --data-dir tiny --db-only").expect(0);
    let before = look(&lab.path("tiny"));
    disk.remount("ro");
    let run = lab.lrl("restore --data-dir tiny --db-only").expect(1);
    assert!(run.stderr.contains("tiny"), "{}", run.stderr);
    assert_same(&look(&lab.path("tiny")), &before, "the tree as it was");
    // A store on a disk that cannot be written is read all the same.
    disk.remount("rw,size=30m");
    assert!(Command::new("cp").arg("-a").arg(lab.path("backups")).arg(lab.path("tiny")).status().unwrap().success());
    disk.remount("ro");
    for line in [
        "restore --backup tiny/backups --data-dir new",
        "check --backup tiny/backups",
        "drill --backup tiny/backups",
        "snapshots --backup tiny/backups",
    ] {
        lab.lrl(line).expect(0);
    }
    lab.lrl("backup --out tiny/backups").expect(1);
}

#[test]
fn others_than_root_restore_what_they_own() {
    let lab = backed_up();
    let Some(lrl) = as_nobody(&lab) else { return };
    change_all(&lab);
    assert!(Command::new("chown").args(["-R", "65534:65534"]).arg(lab.path("data")).status().unwrap().success());
    lrl("restore").expect(0);
    assert_eq!(users(&lab.path("data/lrl.db")), 1);
    chown(lab.path("data"), Some(0), Some(0)).unwrap();
    let before = look(&lab.path("data"));
    let run = lrl("restore").expect(1);
    assert!(run.stderr.contains("data"), "{}", run.stderr);
    assert_same(&look(&lab.path("data")), &before, "the tree as it was");
}

#[test]
fn restored_trees_are_what_rsync_would_not_touch() {
    if !there_is("rsync") {
        return;
    }
    let lab = backed_up();
    lab.lrl("restore --data-dir new").expect(0);
    let mut command = Command::new("rsync");
    command.args(["-naHOi", "--checksum", "--delete"]).arg(lab.path("data/assets/")).arg(lab.path("new/assets"));
    let output = command.output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout), "");
}
