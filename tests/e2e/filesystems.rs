//! File systems that lack something: `fsync` of directories, locks, space for a mapped file. And one that can share blocks.

// A log says what could not be tried here.
#![allow(clippy::print_stdout)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::Duration;

use rusqlite::Connection;

use crate::common::{Lab, Run, database as json_database, noise};
use crate::helpers::{assert_whole, strace, there_is};

/// Makes an ext4 with blocks of 1 KiB.
const SMALL_BLOCKS: [&str; 6] = ["mkfs.ext4", "-q", "-m", "0", "-b", "1024"];

/// A small file system in a file, until it is dropped.
struct Image {
    file: PathBuf,
    at: PathBuf,
}

impl Image {
    /// Makes and mounts one by a command; `None`, with a note, where that is not permitted or the command is not there.
    fn mount(lab: &Lab, name: &str, size: u64, make: &[&str]) -> Option<Self> {
        let image = Self { file: lab.path(format!("{name}.img")), at: lab.path(name) };
        fs::create_dir(&image.at).unwrap();
        fs::File::create(&image.file).unwrap().set_len(size).unwrap();
        let made = Command::new(make[0]).args(&make[1..]).arg(&image.file).output();
        let mount = || Command::new("mount").args(["-o", "loop"]).arg(&image.file).arg(&image.at).output();
        if made.is_ok_and(|run| run.status.success()) && mount().is_ok_and(|run| run.status.success()) {
            return Some(image);
        }
        println!("skipped: {} is not there, or loop mounts are not permitted here", make[0]);
        None
    }

    /// Leaves only this many KiB free.
    fn fill(&self, left_kib: u64) {
        let free = || {
            let run = Command::new("df").args(["--output=avail", "-k"]).arg(&self.at).output().unwrap();
            String::from_utf8(run.stdout).unwrap().lines().last().unwrap().trim().parse::<u64>().unwrap()
        };
        let path = self.at.join("fill");
        fs::write(&path, noise((free() - left_kib) as usize * 1024, 9)).unwrap();
        fs::File::open(&path).unwrap().sync_all().unwrap();
        println!("{} KiB are free", free());
    }
}

impl Drop for Image {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(&self.at).status();
    }
}

/// Runs lrl with one system call that fails on these paths, or everywhere.
fn failing(lab: &Lab, call: &str, error: &str, paths: &[&str], line: &str) -> Run {
    let trace = format!("trace={call}");
    let inject = format!("inject={call}:error={error}");
    let paths: Vec<String> = paths.iter().map(|path| lab.path(path).to_str().unwrap().to_string()).collect();
    let mut options = vec!["-f", "-qq", "-o", "/dev/null", "-e", &trace, "-e", &inject];
    options.extend(paths.iter().flat_map(|path| ["-P", path]));
    strace(lab, &options, line).into()
}

#[test]
fn directories_that_cannot_be_synced_are_a_note_and_no_failure() {
    let lab = Lab::small();
    if !there_is("strace") {
        return;
    }
    lab.lrl("backup").expect(0);
    lab.lrl("restore").expect(0);
    let directories = [
        "backups",
        "backups/store",
        "backups/store/packs",
        "backups/store/snapshots/lab",
        "backups/store/index",
        "data",
    ];
    lab.upload("new/v1.txt", b"x");
    for error in ["EINVAL", "EOPNOTSUPP"] {
        for line in ["backup", "restore", "restore --undo", "backup --keep-sets 1", "forget --keep-last 1 --prune"] {
            let run = failing(&lab, "fsync", error, &directories, line).expect(0);
            let notes = run.stderr.matches("cannot be synced: its file system").count();
            assert_eq!(notes, usize::from(!line.starts_with("forget") || notes > 0), "{line}: {}", run.stderr);
        }
        lab.upload("new/v1.txt", error.as_bytes());
    }
    assert_whole(&lab, "backups");
    // Any other error, and any on a file, is what it was: something may be lost.
    assert_ne!(failing(&lab, "fsync", "EIO", &directories, "backup").code, 0);
    assert_ne!(failing(&lab, "fsync", "EINVAL", &[], "backup").code, 0);
}

#[test]
fn without_hard_links_a_restore_is_done_and_can_be_undone() {
    let lab = Lab::small();
    if !there_is("strace") {
        return;
    }
    lab.lrl("backup").expect(0);
    let wanted = fs::read(lab.path("data/lrl.db")).unwrap();
    for error in ["EPERM", "EOPNOTSUPP", "EACCES"] {
        lab.upload("ab12/v1.txt", error.as_bytes());
        let changed = fs::read(lab.path("data/lrl.db")).unwrap();
        for (line, now) in [("restore", &wanted), ("restore --undo", &changed), ("restore --undo", &wanted)] {
            failing(&lab, "linkat", error, &["data"], line).expect(0);
            assert!(fs::read(lab.path("data/lrl.db")).unwrap() == *now, "{error}: {line}");
        }
    }
    // Any other error is what it was, and nothing is changed.
    assert_ne!(failing(&lab, "linkat", "EIO", &["data"], "restore --undo").code, 0);
    assert!(fs::read(lab.path("data/lrl.db")).unwrap() == wanted);
}

#[test]
fn without_locks_reading_goes_on_and_writing_says_what_helps() {
    let mut lab = Lab::small();
    // A directory that another test's lrl, which has locks, does not take for one of a dead run.
    fs::create_dir(lab.path("tmp")).unwrap();
    let own = lab.path("tmp").display().to_string();
    lab.set("TMPDIR", &own);
    if !there_is("strace") {
        return;
    }
    lab.lrl("backup").expect(0);
    for error in ["ENOLCK", "EOPNOTSUPP"] {
        let on = |line: &str| failing(&lab, "flock", error, &[], line);
        for line in ["snapshots", "ls latest", "stats", "check", "drill", "restore", "export --out exported"] {
            let run = on(line).expect(0);
            let reads_store = !line.starts_with("drill") && !line.starts_with("check");
            assert!(!reads_store || run.stderr.contains("its file system has no locks"), "{line}: {}", run.stderr);
        }
        for line in ["backup", "backup --snapshot-only", "forget --keep-last 1", "prune", "import exported"] {
            let run = on(line).expect(1);
            assert!(run.stderr.contains("has no locks") && run.stderr.contains("nolock"), "{line}: {}", run.stderr);
        }
        fs::remove_dir_all(lab.path("exported")).unwrap();
    }
    assert_ne!(failing(&lab, "flock", "EIO", &[], "snapshots").code, 0);
    assert_eq!(lab.lrl("snapshots --json").expect(0).json().as_array().map_or(1, Vec::len), 1);
    assert_whole(&lab, "backups");
}

#[test]
fn a_full_disk_with_small_blocks_kills_no_run_by_the_caches_own_files() {
    let lab = Lab::small();
    let Some(image) = Image::mount(&lab, "bk", 16 << 20, &SMALL_BLOCKS) else { return };
    lab.lrl("backup -q --out bk/b --reserve 0").expect(0);
    lab.upload("f/v1.txt", b"1");
    lab.lrl("backup -q --out bk/b --reserve 0 --snapshot-only").expect(0);
    image.fill(8);
    lab.lrl("forget --backup bk/b --keep-last 1 --prune -q").expect(0);
    let cache = lab.path("bk/b/store/cache");
    for name in ["cache.db-shm", "cache.db-wal"] {
        assert!(!cache.join(name).exists(), "{name}");
    }
    lab.lrl("check --backup bk/b").expect(0);
}

#[test]
fn a_database_whose_wal_index_has_no_room_is_an_error_and_no_bus_error() {
    let lab = Lab::small();
    let Some(image) = Image::mount(&lab, "small", 16 << 20, &SMALL_BLOCKS) else { return };
    let database = lab.database();
    database.pragma_update(None, "journal_mode", "WAL").unwrap();
    database.execute("UPDATE users SET display_name = 'Eve'", []).unwrap();
    fs::create_dir_all(lab.path("small/data/assets")).unwrap();
    for name in ["lrl.db", "lrl.db-wal"] {
        fs::copy(lab.path("data").join(name), lab.path("small/data").join(name)).unwrap();
    }
    image.fill(8);
    for line in ["backup --data-dir small/data", "backup --data-dir small/data --dry-run"] {
        let run = lab.lrl(line).expect(1);
        assert!(run.stderr.contains("is nearly full") && run.stderr.contains("small/data"), "{}", run.stderr);
    }
    assert!(!Path::new(&lab.path("small/data/lrl.db-shm")).exists());
    fs::remove_file(lab.path("small/fill")).unwrap();
    lab.lrl("backup --data-dir small/data").expect(0);
    lab.lrl("restore --db-only --data-dir back").expect(0);
    let restored = rusqlite::Connection::open(lab.path("back/lrl.db")).unwrap();
    let name: String = restored.query_row("SELECT display_name FROM users", [], |row| row.get(0)).unwrap();
    assert_eq!(name, "Eve");
}

#[test]
fn where_blocks_can_be_shared_a_long_database_in_rollback_mode_is_cloned() {
    let lab = Lab::small();
    let Some(_image) = Image::mount(&lab, "disk", 512 << 20, &["mkfs.btrfs", "-q"]) else { return };
    assert!(Command::new("cp").args(["-a", "data", "disk"]).current_dir(lab.path("")).status().unwrap().success());
    let database = Connection::open(lab.path("disk/data/lrl.db")).unwrap();
    database
        .execute_batch(
            "PRAGMA journal_mode=DELETE; CREATE TABLE bulk(id INTEGER PRIMARY KEY, pad TEXT);
             WITH RECURSIVE n(i) AS (VALUES(1) UNION ALL SELECT i + 1 FROM n WHERE i < 40000)
             INSERT INTO bulk SELECT i, hex(zeroblob(500)) FROM n;",
        )
        .unwrap();
    let back_up = || {
        let run = lab.lrl("backup --snapshot-only --db-only --json --data-dir disk/data").expect(0);
        assert_eq!(json_database(&run.json())["read"]["method"], "clone", "{}", run.stdout);
    };
    let restored = |to: &str| {
        lab.lrl(&format!("restore --db-only --data-dir {to}")).expect(0);
        let restored = Connection::open(lab.path(to).join("lrl.db")).unwrap();
        let whole: String = restored.query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
        assert_eq!(whole, "ok");
        restored.query_row("SELECT sum(length(pad)), max(id) FROM bulk", [], |row| {
            Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?))
        })
    };
    // Each commit adds two rows: an image between two commits has an even number.
    let mut commits = 0;
    thread::scope(|scope| {
        let backup = scope.spawn(back_up);
        while !backup.is_finished() {
            let two = "BEGIN; INSERT INTO bulk(pad) VALUES('x'); INSERT INTO bulk(pad) VALUES('x'); COMMIT";
            database.execute_batch(two).unwrap();
            commits += 1;
            thread::sleep(Duration::from_millis(2));
        }
        backup.join().unwrap();
    });
    let (_, rows) = restored("first").unwrap();
    assert!(rows % 2 == 0 && (40_000..=40_000 + 2 * commits).contains(&rows), "{rows} rows, {commits} commits");
    database.execute("UPDATE bulk SET pad = 'changed' WHERE id = 20000", []).unwrap();
    back_up();
    assert_eq!(restored("second").unwrap(), (39_999 * 1000 + 7 + 2 * commits, 40_000 + 2 * commits));
    // Nothing is left beside it.
    let left: Vec<_> = fs::read_dir(lab.path("disk/data")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert!(left.iter().all(|name| ["lrl.db", "assets"].contains(&name.to_str().unwrap())), "{left:?}");
}
