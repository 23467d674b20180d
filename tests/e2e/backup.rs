//! `lrl backup` with hostile sources: missing parts, databases in every bad state, concurrent runs, the cost of an unchanged run.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rusqlite::Connection;

use crate::common::{Lab, database, noise};
use crate::helpers::{assert_same, assert_whole, files_with, look, names, outputs, python};
use crate::python_sets::{change, drill_with_python, manifests};

fn snapshots(lab: &Lab, backups: &str) -> usize {
    let run = lab.run(["snapshots", "--json", "--backup", backups]);
    run.expect(0).json()["snapshots"].as_array().unwrap().len()
}

#[test]
fn a_missing_half_is_exit_3_and_the_other_is_kept() {
    let lab = Lab::small();
    fs::rename(lab.path("data/lrl.db"), lab.path("away.db")).unwrap();
    let run = lab.lrl("backup --out a").expect(3);
    assert!(run.stderr.contains("lrl.db: Database not found"), "{}", run.stderr);
    assert_eq!((outputs(&lab, "a", ".sqlite").len(), outputs(&lab, "a", ".tar.gz").len()), (0, 1));
    lab.lrl("backup --out a --assets-only").expect(0);
    lab.lrl("backup --out a --db-only").expect(1);
    fs::rename(lab.path("away.db"), lab.path("data/lrl.db")).unwrap();
    fs::rename(lab.path("data/assets"), lab.path("away")).unwrap();
    let run = lab.lrl("backup --out a").expect(3);
    assert!(run.stderr.contains("assets: Assets directory not found"), "{}", run.stderr);
    lab.lrl("backup --out a --db-only").expect(0);
    lab.lrl("backup --out a --assets-only").expect(1);
    assert_eq!(snapshots(&lab, "a"), 4);
    assert_whole(&lab, "a");
}

#[test]
fn without_database_and_uploads_nothing_is_published_and_the_next_run_works() {
    let lab = Lab::small();
    fs::create_dir(lab.path("empty")).unwrap();
    lab.lrl("backup --data-dir empty").expect(1);
    assert_eq!(names(lab.path("backups")), ["store"]);
    assert_eq!(snapshots(&lab, "./backups"), 0);
    lab.lrl("backup --data-dir nowhere --out b").expect(10);
    lab.write("file", b"");
    lab.lrl("backup --data-dir file --out b").expect(10);
    lab.lrl("backup --out file").expect(1);
    assert!(!lab.path("b").exists());
    lab.lrl("backup").expect(0);
    assert_whole(&lab, "backups");
}

/// Each state of the database with the exit code of its backup and of the drill of that.
#[test]
fn a_bad_database_is_kept_as_it_is_and_said_to_be_bad() {
    let lab = Lab::small();
    let good = fs::read(lab.path("data/lrl.db")).unwrap();
    let damaged = |at: usize, len: usize| {
        let mut bytes = good.clone();
        bytes[at..at + len].copy_from_slice(&noise(len, 3));
        bytes
    };
    let states: [(&str, Vec<u8>, i32, i32); 6] = [
        ("nothing", Vec::new(), 3, 4),
        ("noise", noise(20_000, 2), 3, 4),
        ("text", b"SQLite format 3\0 but no more".to_vec(), 3, 4),
        ("torn", good[..9000].to_vec(), 3, 4),
        ("schema", damaged(100, 500), 3, 4),
        ("page", damaged(8192, 4096), 0, 4),
    ];
    for (name, bytes, backup, drill) in states {
        fs::write(lab.path("data/lrl.db"), &bytes).unwrap();
        let run = lab.run(["backup", "--out", name]);
        assert_eq!(run.code, backup, "{name}: {}", run.stderr);
        let copy = outputs(&lab, name, ".sqlite").remove(0);
        assert!(fs::read(copy).unwrap() == bytes, "{name}: the copy differs");
        assert_eq!(lab.run(["drill", "--backup", name]).code, drill, "{name}");
        lab.run(["check", "--read-data", "--backup", name]).expect(0);
        assert_eq!(names(lab.path("data")), ["assets", "lrl.db"], "{name}");
    }
    fs::remove_file(lab.path("data/lrl.db")).unwrap();
    fs::create_dir(lab.path("data/lrl.db")).unwrap();
    lab.lrl("backup --out directory").expect(1);
    fs::remove_dir(lab.path("data/lrl.db")).unwrap();
    assert!(Command::new("mkfifo").arg(lab.path("data/lrl.db")).status().unwrap().success());
    lab.lrl("backup --out fifo").expect(1);
    assert_eq!((snapshots(&lab, "directory"), snapshots(&lab, "fifo")), (0, 0));
}

#[test]
fn a_locked_database_is_a_clear_error_and_publishes_nothing() {
    let lab = Lab::small();
    let writer = lab.database();
    writer.execute_batch("BEGIN EXCLUSIVE").unwrap();
    let started = Instant::now();
    let run = lab.lrl("backup --lock-wait 1s").expect(1);
    assert!(run.stderr.contains("data/lrl.db: is locked by another process"), "{}", run.stderr);
    assert!(started.elapsed() < Duration::from_secs(20));
    assert_eq!(snapshots(&lab, "./backups"), 0);
    assert_eq!(names(lab.path("backups")), ["store"]);
    lab.lrl("backup --assets-only").expect(0);
    writer.execute_batch("ROLLBACK").unwrap();
    lab.lrl("backup").expect(0);
}

#[test]
fn wal_mode_open_and_closed_leaves_the_directory_as_it_was() {
    let lab = Lab::small();
    let writer = lab.database();
    writer
        .execute_batch(
            "PRAGMA journal_mode = wal; PRAGMA wal_autocheckpoint = 0; INSERT INTO users(id) VALUES ('late')",
        )
        .unwrap();
    let files = |lab: &Lab| {
        let bytes = |name: &String| (name.clone(), fs::read(lab.path("data").join(name)).unwrap());
        names(lab.path("data")).iter().filter(|n| *n != "assets" && !n.ends_with("-shm")).map(bytes).collect::<Vec<_>>()
    };
    let before = (names(lab.path("data")), files(&lab));
    lab.lrl("backup").expect(0);
    assert_eq!((names(lab.path("data")), files(&lab)), before);
    let count = |copy: &Path| {
        let sql = "SELECT count(*) FROM users WHERE id = 'late'";
        let copy = format!("file:{}?immutable=1", copy.display());
        Connection::open(copy).unwrap().query_row(sql, [], |row| row.get::<_, i64>(0)).unwrap()
    };
    assert_eq!(count(&outputs(&lab, "backups", ".sqlite")[0]), 1);
    drop(writer);
    assert_eq!(names(lab.path("data")), ["assets", "lrl.db"]);
    lab.lrl("backup").expect(0);
    assert_eq!(names(lab.path("data")), ["assets", "lrl.db"]);
    assert_whole(&lab, "backups");
}

#[test]
fn what_a_crash_left_beside_the_database_is_used_and_left_alone() {
    let lab = Lab::small();
    // A process dies in the middle of a transaction whose pages it had to write already; another in WAL mode after a commit.
    let crash = "
import os, shutil, sqlite3, sys
for mode in ('delete', 'wal'):
    shutil.copytree('data', mode)
    c = sqlite3.connect(mode + '/lrl.db', isolation_level=None)
    c.execute('PRAGMA journal_mode = ' + mode)
    c.execute(\"INSERT INTO users(id) VALUES ('committed')\")
    c.execute('PRAGMA cache_size = 1')
    c.execute('BEGIN')
    c.execute('UPDATE content_items SET body = hex(randomblob(3000))')
    if mode == 'wal': c.execute('ROLLBACK')
    else: shutil.copytree(mode, 'hot')
shutil.copytree('wal', 'left')
os._exit(0)";
    python(&lab, crash, &[]);
    fs::remove_file(lab.path("left/lrl.db-shm")).unwrap();
    for (place, side) in [("hot", "lrl.db-journal"), ("left", "lrl.db-wal")] {
        let before = look(&lab.path(place));
        assert!(before.contains_key(side.as_bytes()), "{place}: {:?}", names(lab.path(place)));
        lab.run(["backup", "--out", &format!("{place}-out"), "--data-dir", place]).expect(0);
        let mut after = look(&lab.path(place));
        // Names may come and go meanwhile (as root SQLite also sets the owner of a journal): none is left, none is changed.
        after.insert(Vec::new(), before[b"".as_slice()].clone());
        // Replaying a `-wal` whose `-shm` was lost makes that anew, as the application's next start would.
        if place == "left" {
            after.remove(b"lrl.db-shm".as_slice());
        }
        assert_same(&after, &before, place);
        lab.run(["restore", "--backup", &format!("{place}-out"), "--data-dir", &format!("{place}-new")]).expect(0);
        let restored = Connection::open(lab.path(format!("{place}-new/lrl.db"))).unwrap();
        let said: (i64, String) = restored
            .query_row(
                "SELECT (SELECT count(*) FROM users WHERE id = 'committed'), body FROM content_items WHERE id = 1",
                [],
                |r| Ok((r.get(0)?, r.get(1)?)),
            )
            .unwrap();
        assert!(said.0 == 1 && said.1.contains("block 1"), "{place}: {said:?}");
    }
}

#[test]
fn two_runs_in_one_second_and_two_at_once_overwrite_nothing() {
    let lab = Lab::small();
    lab.lrl("backup").expect(0);
    lab.lrl("backup").expect(0);
    lab.lrl("backup --source other").expect(0);
    let start = || lab.command(["backup"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let both = [start(), start(), start()];
    for child in both {
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
    assert_eq!(snapshots(&lab, "./backups"), 6);
    let sets = manifests(&lab, "backups");
    assert_eq!(sets.len(), 6);
    sets.iter().for_each(|manifest| drill_with_python(&lab, manifest).unwrap());
    assert_whole(&lab, "backups");
}

#[test]
fn outputs_are_private_whatever_the_umask() {
    let lab = Lab::small();
    let script = "umask 0; exec \"$@\"";
    let run = |line: &str| {
        let mut command = Command::new("sh");
        command.args(["-c", script, "sh", env!("CARGO_BIN_EXE_lrl")]).args(line.split_whitespace());
        assert!(
            command
                .current_dir(lab.path(""))
                .env_clear()
                .env("HOME", lab.path("home"))
                .output()
                .unwrap()
                .status
                .success()
        );
    };
    [
        "backup --out deep/er",
        "export --backup deep/er --out copy",
        "drill --backup deep/er",
        "restore --backup deep/er --data-dir new",
    ]
    .into_iter()
    .for_each(run);
    for place in ["deep", "copy"] {
        for (name, seen) in look(&lab.path(place)) {
            let is_open = seen.mode & 0o077 != 0;
            assert!(!is_open, "{place}/{} is open to others: {:o}", String::from_utf8_lossy(&name), seen.mode);
        }
    }
    let mode = fs::metadata(lab.path("new")).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode & 0o022, 0, "{mode:o}");
}

#[test]
fn unchanged_is_cheap_and_never_guessed() {
    let lab = Lab::small();
    for n in 0..50 {
        lab.write(format!("data/assets/many/{n}"), noise(5000, n));
    }
    std::thread::sleep(Duration::from_millis(3100));
    lab.lrl("backup").expect(0);
    let run = lab.lrl("backup --json").expect(0).json();
    assert!(run["added_bytes"].as_u64().unwrap() < 2048, "{run}");
    assert_eq!(run["uploads_read"]["files_read"], 0, "{run}");
    assert!(database(&run)["read"].is_null(), "{run}");
    let run = lab.lrl("backup --json --rescan").expect(0).json();
    assert_eq!(run["uploads_read"]["files_unchanged"], 0, "{run}");
    assert!(!database(&run)["read"].is_null() && run["added_bytes"].as_u64().unwrap() < 2048, "{run}");
    // The same size, in the same second, and even the same time: seen.
    let path = lab.path("data/assets/many/7");
    let time = fs::metadata(&path).unwrap().modified().unwrap();
    for seed in [100, 101, 102] {
        fs::write(&path, noise(5000, seed)).unwrap();
        fs::File::options().write(true).open(&path).unwrap().set_modified(time).unwrap();
        lab.lrl("backup").expect(0);
        let stored = lab.lrl("dump latest assets/many/7").expect(0).stdout_bytes;
        assert!(stored == noise(5000, seed), "an overwrite was missed");
    }
    for n in 0..3 {
        lab.database().execute("UPDATE users SET status = ?1", [n.to_string()]).unwrap();
        lab.lrl("backup").expect(0);
        fs::write(lab.path("copy.db"), lab.lrl("dump latest lrl.db").expect(0).stdout_bytes).unwrap();
        let copy = Connection::open(lab.path("copy.db")).unwrap();
        assert_eq!(copy.query_row("SELECT status FROM users", [], |r| r.get::<_, String>(0)).unwrap(), n.to_string());
    }
    assert_whole(&lab, "backups");
}

#[test]
fn a_lost_or_damaged_cache_costs_time_only() {
    let lab = Lab::small();
    lab.lrl("backup").expect(0);
    for damage in ["gone", "noise", "torn"] {
        match damage {
            "gone" => fs::remove_dir_all(lab.path("backups/store/cache")).unwrap(),
            "noise" => fs::write(lab.path("backups/store/cache/cache.db"), noise(9000, 1)).unwrap(),
            _ => change(&lab, "backups/store/cache/cache.db", |bytes| bytes.truncate(bytes.len() / 2)),
        }
        lab.lrl("backup").expect(0);
        lab.lrl("backup").expect(0);
    }
    assert_eq!(files_with(&lab.path("backups"), ".tmp").len(), 0);
    assert_whole(&lab, "backups");
}

#[test]
fn one_half_alone_never_looks_at_the_other() {
    let lab = Lab::small();
    fs::remove_file(lab.path("data/lrl.db")).unwrap();
    fs::create_dir(lab.path("data/lrl.db")).unwrap();
    lab.lrl("backup --assets-only").expect(0);
    let lab = Lab::small();
    fs::remove_dir_all(lab.path("data/assets")).unwrap();
    assert!(Command::new("mkfifo").arg(lab.path("data/assets")).status().unwrap().success());
    let run = lab.lrl("backup --db-only").expect(0);
    assert!(!run.stdout.contains("assets") && !run.stderr.contains("assets"), "{}{}", run.stdout, run.stderr);
}

#[test]
fn a_new_source_is_announced_and_a_mistyped_one_stops() {
    let lab = Lab::small();
    assert!(
        !lab.lrl("backup --snapshot-only").expect(0).stderr.contains("new history"),
        "the first of a store is no news"
    );
    let run = lab.lrl("backup --snapshot-only --source lba").expect(2);
    assert!(run.stderr.contains("one called `lab`") && run.stderr.contains("--new-source"), "{}", run.stderr);
    assert!(!lab.path("backups/store/snapshots/lba").exists());
    let run = lab.lrl("backup --snapshot-only --source lba --new-source").expect(0);
    assert!(run.stderr.contains("begins a new history: source `lba`; this store also has lab"), "{}", run.stderr);
    assert!(!lab.lrl("backup --snapshot-only --source lba").expect(0).stderr.contains("new history"));
    // Numbered names are meant.
    lab.lrl("backup --snapshot-only --source lab2").expect(0);
}

#[test]
fn two_directories_in_one_source_are_said() {
    let lab = Lab::small();
    lab.lrl("backup --snapshot-only").expect(0);
    fs::create_dir_all(lab.path("other/assets")).unwrap();
    fs::copy(lab.path("data/lrl.db"), lab.path("other/lrl.db")).unwrap();
    fs::copy(lab.path("data/assets/ab12/v1.txt"), lab.path("other/assets/a.txt")).unwrap();
    let run = lab.run(["backup", "--snapshot-only", "--data-dir", "other", "--accept-shrink"]);
    assert!(run.stderr.contains("was backed up from") && run.stderr.contains("/data before"), "{}", run.stderr);
    let run = lab.run(["backup", "--snapshot-only", "--data-dir", "./other/", "--accept-shrink"]);
    assert!(!run.stderr.contains("was backed up from"), "{}", run.stderr);
}
