//! Any small site, by the command line: set up, backed up, drilled, restored elsewhere and in place, exported and imported.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::Command;

use rusqlite::Connection;

use crate::common::Lab;
use crate::helpers::as_nobody;
use crate::site_fixtures::{self, SITES};

/// Returns what is below a directory: of a database its dump, of a file its bytes.
fn contents(root: &Path, databases: &[&str]) -> BTreeMap<String, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut dirs = vec![root.to_path_buf()];
    while let Some(dir) = dirs.pop() {
        for entry in fs::read_dir(&dir).unwrap() {
            let path = entry.unwrap().path();
            let name = path.strip_prefix(root).unwrap().to_str().unwrap().to_string();
            // lrl's own record of a restore.
            if name.starts_with(".lrl") {
                continue;
            }
            if path.is_dir() {
                dirs.push(path);
            } else if databases.contains(&name.as_str()) {
                found.insert(name, dump(&path));
            } else if !databases.iter().any(|database| name.starts_with(database)) {
                found.insert(name, fs::read(&path).unwrap());
            }
        }
    }
    found
}

/// Returns all rows of a database by Python's `sqlite3`, as statements.
fn dump(path: &Path) -> Vec<u8> {
    let script = "import sqlite3,sys\nfor line in sqlite3.connect(sys.argv[1]).iterdump(): print(line)";
    let output = Command::new("python3").args(["-c", script]).arg(path).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

#[test]
fn the_whole_road_of_every_preset() {
    for site in SITES.iter().filter(|site| site.app != "lab") {
        let lab = Lab::empty();
        let root = lab.path("site");
        site_fixtures::site(site.app, &root);
        lab.lrl("setup site --write").expect(0);
        let with = |line: &str| lab.lrl(&format!("{line} --config site/lrl.toml"));
        let run = with("backup --json").expect(0).json();
        let stored: Vec<&str> = run["backups"]
            .as_array()
            .unwrap()
            .iter()
            .filter(|one| one["type"] == "database")
            .map(|one| one["path"].as_str().unwrap())
            .collect();
        let mut expected = site.databases.to_vec();
        expected.sort_unstable();
        assert_eq!(stored, expected, "{}", site.app);
        let again = with("backup --snapshot-only --json").expect(0);
        // A preset leaves out what may come.
        assert!(!again.stderr.contains("leaves nothing out"), "{}: {}", site.app, again.stderr);
        let again = again.json();
        assert!(again["added_bytes"].as_u64().unwrap() < 20_000, "{}: {again:#}", site.app);

        // The set, then the store.
        for line in ["drill --json", "drill --snapshot latest --json"] {
            let drill = with(line).expect(0);
            assert!(drill.stdout.contains("\"integrity_check\""), "{}: {}", site.app, drill.stdout);
        }
        let drilled = with("drill").expect(0).stdout;
        assert!(drilled.contains(": Restore Drill\n") && !drilled.contains("Little Research Lab"), "{drilled}");
        with("check --read-data").expect(0);

        let mut before = contents(&root, site.databases);
        // Some presets name the files, and this one is lrl's.
        before.retain(|name, _| !site.left_out.contains(&name.as_str()) && name != "lrl.toml");
        with("restore good --target elsewhere").expect(0);
        let mut back = contents(&lab.path("elsewhere"), site.databases);
        back.remove("lrl.toml");
        let differ = |name: &&String| before.get(*name) != back.get(*name);
        let other: Vec<&String> = before.keys().chain(back.keys()).filter(differ).collect();
        assert!(other.is_empty(), "{}: {other:?}", site.app);

        // A row that leads nowhere is found.
        if let Some(named) =
            site.named().first().filter(|_| fs::read_to_string(root.join("lrl.toml")).unwrap().contains("\nrows = "))
        {
            fs::remove_file(root.join(named)).unwrap();
            with("backup --snapshot-only --accept-shrink").expect(0);
            let drill = with("drill --snapshot latest").expect(4);
            assert!(drill.stdout.contains("rows") || drill.stderr.contains("rows"), "{}: {}", site.app, drill.stdout);
        }
    }
}

/// A site of two databases and files of its own, without a preset.
fn small(lab: &Lab) {
    let root = lab.path("site");
    fs::create_dir_all(root.join("data/users")).unwrap();
    for (path, mode) in [("data/users/ann.db", "wal"), ("main.sqlite", "delete")] {
        let db = Connection::open(root.join(path)).unwrap();
        db.pragma_update(None, "journal_mode", mode).unwrap();
        db.execute_batch("CREATE TABLE t(a, b); INSERT INTO t VALUES (1, 'one'), (2, 'two')").unwrap();
    }
    lab.write("site/data/note.txt", "a note");
    lab.write("site/config.json", "{}");
    // An encrypted or foreign file with such a name is a file.
    lab.write("site/data/other.db", "not a database at all");
}

const DATABASES: [&str; 2] = ["data/users/ann.db", "main.sqlite"];

#[test]
fn a_root_alone_is_enough_and_a_restore_puts_everything_back() {
    let lab = Lab::empty();
    small(&lab);
    let run = lab.lrl("backup --root site").expect(0);
    assert!(run.stdout.contains("site: Backup") && run.stdout.contains("main.sqlite"), "{}", run.stdout);
    let listed = lab.lrl("ls good --source site").expect(0).stdout;
    for path in ["config.json", "data/note.txt", "data/other.db", "data/users/ann.db", "main.sqlite"] {
        assert_eq!(listed.lines().filter(|line| line.ends_with(path)).count(), 1, "{path} in\n{listed}");
    }
    assert!(!listed.contains("-wal") && !listed.contains("-shm"), "{listed}");
    let before = contents(&lab.path("site"), &DATABASES);

    // A migration that went wrong, and a file that is gone.
    Connection::open(lab.path("site/main.sqlite")).unwrap().execute_batch("DELETE FROM t").unwrap();
    Connection::open(lab.path("site/data/users/ann.db")).unwrap().execute_batch("DROP TABLE t").unwrap();
    fs::remove_file(lab.path("site/data/note.txt")).unwrap();
    lab.write("site/data/new.txt", "new");
    let after = contents(&lab.path("site"), &DATABASES);
    // Only a root that is named is written to.
    lab.lrl("restore --source site").expect(2);
    lab.lrl("restore --root site").expect(0);
    let restored = contents(&lab.path("site"), &DATABASES);
    let kept = |name: &String| name.contains(".pre-restore");
    assert!(restored.into_iter().filter(|(name, _)| !kept(name)).collect::<BTreeMap<_, _>>() == before);
    // What is kept is no part of the site.
    let run = lab.lrl("backup --root site --snapshot-only").expect(0);
    assert!(!lab.lrl("ls latest --source site").expect(0).stdout.contains("pre-restore"), "{}", run.stderr);
    lab.lrl("restore --undo --root site").expect(0);
    let undone = contents(&lab.path("site"), &DATABASES);
    let kept = |name: &String| name.contains(".undone");
    assert!(undone.into_iter().filter(|(name, _)| !kept(name)).collect::<BTreeMap<_, _>>() == after);
}

#[test]
fn parts_of_a_site_come_back_alone() {
    let lab = Lab::empty();
    small(&lab);
    lab.lrl("backup --root site").expect(0);
    let before = contents(&lab.path("site"), &DATABASES);
    lab.lrl("restore --source site --target one --only data/users/ann.db").expect(0);
    let one = contents(&lab.path("one"), &DATABASES);
    assert_eq!(one.keys().collect::<Vec<_>>(), ["data/users/ann.db"]);
    assert_eq!(one["data/users/ann.db"], before["data/users/ann.db"]);
    lab.lrl("restore --source site --target two --db-only").expect(0);
    assert_eq!(contents(&lab.path("two"), &DATABASES).keys().collect::<Vec<_>>(), DATABASES);
    lab.lrl("restore --source site --target three --only data --only config.json").expect(0);
    assert!(lab.path("three/data/note.txt").exists() && lab.path("three/config.json").exists());
    assert!(!lab.path("three/main.sqlite").exists());
    assert_eq!(lab.run(["dump", "good", "main.sqlite", "--source", "site"]).expect(0).stdout_bytes.len() % 512, 0);
}

#[test]
fn what_is_named_decides_what_is_stored() {
    let lab = Lab::empty();
    small(&lab);
    let plain = ["backup", "--root", "site", "--snapshot-only", "--plain", "data/users/*.db", "--source", "plain"];
    let run = lab.run(plain).expect(0);
    assert!(!run.stdout.contains("Backing up database: site/data/users"), "{}", run.stdout);
    assert!(lab.lrl("ls latest data/users --source plain").expect(0).stdout.contains("ann.db"));
    lab.lrl("backup --root site --snapshot-only --files data --source some").expect(0);
    let listed = lab.lrl("ls latest --source some").expect(0).stdout;
    // Files are those that are named; databases are copied wherever they lie.
    assert!(
        listed.contains("data/note.txt") && !listed.contains("config.json") && listed.contains("main.sqlite"),
        "{listed}"
    );
    // One that is named must be there.
    let run =
        lab.run(["backup", "--root", "site", "--snapshot-only", "--database", "gone.db", "--source", "gone"]).expect(3);
    assert!(run.stderr.contains("gone.db"), "{}", run.stderr);
    lab.run(["backup", "--root", "site", "--snapshot-only", "--database", "x/*.db", "--source", "gone2"]).expect(3);
    lab.run(["backup", "--root", "nowhere"]).expect(10);
    lab.run(["backup", "--root", "site", "--database", "/etc/passwd"]).expect(2);
    lab.run(["backup", "--root", "site", "--data-dir", "data"]).expect(2);
}

#[test]
fn a_database_that_cannot_be_read_stops_none_of_the_others() {
    let lab = Lab::empty();
    small(&lab);
    lab.lrl("backup --root site --snapshot-only").expect(0);
    lab.write("site/data/note.txt", "changed");
    Connection::open(lab.path("site/data/users/ann.db")).unwrap().execute("INSERT INTO t VALUES (3, 'x')", []).unwrap();
    let writer = Connection::open(lab.path("site/main.sqlite")).unwrap();
    writer.execute_batch("BEGIN EXCLUSIVE; INSERT INTO t VALUES (9, 'nine')").unwrap();
    let run = lab.lrl("backup --root site --snapshot-only --lock-wait 1s").expect(3);
    assert!(run.stderr.contains("site/main.sqlite: is not in this snapshot: is locked"), "{}", run.stderr);
    assert_eq!(lab.run(["dump", "latest", "data/note.txt", "--source", "site"]).expect(0).stdout, "changed");
    let listed = lab.lrl("ls latest --source site").expect(0).stdout;
    assert!(listed.contains("data/users/ann.db") && !listed.contains("main.sqlite"), "{listed}");
    lab.lrl("status --source site").expect(4);
    writer.execute_batch("COMMIT").unwrap();
    drop(writer);
    lab.lrl("backup --root site --snapshot-only").expect(0);
    assert!(lab.lrl("ls latest --source site").expect(0).stdout.contains("main.sqlite"));
    lab.lrl("status --source site").expect(0);
    // Alone it is all that there is to back up.
    fs::create_dir(lab.path("one")).unwrap();
    fs::copy(lab.path("site/main.sqlite"), lab.path("one/main.sqlite")).unwrap();
    let writer = Connection::open(lab.path("one/main.sqlite")).unwrap();
    writer.execute_batch("BEGIN EXCLUSIVE").unwrap();
    lab.lrl("backup --root one --snapshot-only --lock-wait 1s").expect(1);
}

#[test]
fn what_is_named_and_not_there_is_missing() {
    let lab = Lab::empty();
    small(&lab);
    for (extra, code, told) in [
        ("--files dataa", 3, "site/dataa"),
        ("--files data --files config.jsn", 3, "site/config.jsn"),
        // A pattern may name nothing yet.
        ("--files data --files '*.key'", 0, "site/*.key"),
        ("--files data --files data/note.txt --files config.json", 0, ""),
        ("--files main.sqlite", 0, ""),
    ] {
        for verb in ["backup --dry-run", "backup --snapshot-only"] {
            let run = lab.run(shlex::split(&format!("{verb} --root site --accept-shrink {extra}")).unwrap());
            let run = run.expect(code);
            assert!(run.stderr.contains(told), "{extra}: {}", run.stderr);
            assert_eq!(run.stderr.contains("names no file") || run.stderr.contains("is not there"), !told.is_empty());
        }
    }
    lab.lrl("backup --root site --snapshot-only --files dataa").expect(3);
    lab.lrl("status --source site").expect(4);
    // A directory over which no disk is mounted is no site.
    fs::create_dir(lab.path("volume")).unwrap();
    let run = lab.lrl("backup --root volume --snapshot-only").expect(3);
    assert!(run.stderr.contains("is its disk mounted?"), "{}", run.stderr);
    lab.lrl("restore --source volume --target back").expect(1);
    let run = lab.lrl("backup --root site --snapshot-only --source none --exclude *").expect(3);
    assert!(run.stderr.contains("neither a database nor a file"), "{}", run.stderr);
}

#[test]
fn kept_copies_of_every_restore_are_found() {
    let lab = Lab::empty();
    small(&lab);
    lab.lrl("backup --root site --snapshot-only").expect(0);
    let grow = |name: &str| {
        let db = Connection::open(lab.path(name)).unwrap();
        db.execute_batch("INSERT INTO t VALUES (3, 'three')").unwrap();
    };
    grow("site/data/users/ann.db");
    lab.write("site/data/note.txt", "changed");
    lab.lrl("restore --root site --only data/users/ann.db").expect(0);
    lab.lrl("restore --root site --only data/note.txt").expect(0);
    // What the application calls so is its own.
    lab.write("site/data/users/x.undone", "the application's");
    grow("site/main.sqlite");
    // This one keeps nothing, and has no record of the others.
    lab.lrl("restore --root site --only main.sqlite --no-keep").expect(0);
    let run = lab.lrl("backup --root site --snapshot-only").expect(0);
    assert!(run.stderr.contains("`lrl restore --clean` removes them"), "{}", run.stderr);
    assert!(lab.path("site/data/users/ann.db.pre-restore").exists());
    let cleaned = lab.lrl("restore --clean --root site --dry-run").expect(0);
    assert!(cleaned.stdout.contains("Would remove 2 kept copies"), "{}", cleaned.stdout);
    let cleaned = lab.lrl("restore --clean --root site").expect(0);
    assert!(cleaned.stdout.contains("Removed 2 kept copies"), "{}", cleaned.stdout);
    assert!(!lab.path("site/data/users/ann.db.pre-restore").exists());
    assert!(!lab.path("site/data/note.txt.pre-restore").exists());
    assert!(lab.path("site/data/users/x.undone").exists() && lab.path("site/data/users/ann.db").exists());
    assert!(!lab.lrl("backup --root site --snapshot-only").expect(0).stderr.contains("kept by a restore"));
}

#[test]
fn databases_are_copied_wherever_they_lie() {
    let lab = Lab::empty();
    small(&lab);
    let database = |name: &str, rows: i64| {
        fs::create_dir_all(lab.path(name).parent().unwrap()).unwrap();
        let db = Connection::open(lab.path(name)).unwrap();
        db.execute_batch("CREATE TABLE IF NOT EXISTS t(a)").unwrap();
        for row in 0..rows {
            db.execute("INSERT INTO t VALUES (?1)", [row]).unwrap();
        }
    };
    let stored = |line: &str| -> Vec<String> {
        let run = lab.lrl(&format!("backup --root site --files data/note.txt --snapshot-only --json {line}"));
        let run = run.expect(0).json();
        let parts = run["backups"].as_array().unwrap().iter().filter(|part| part["type"] == "database");
        parts.map(|part| part["path"].as_str().unwrap().to_string()).collect()
    };
    assert_eq!(stored(""), DATABASES);
    // One that comes later, deep below what is no file of the backup, and is known from then on.
    database("site/var/deep/queue", 3);
    lab.write("site/var/deep/pages", [7; 4096]);
    let all = ["data/users/ann.db", "main.sqlite", "var/deep/queue"];
    assert_eq!(stored(""), all);
    database("site/var/deep/queue", 5);
    assert_eq!(stored(""), all);
    assert_eq!(
        lab.lrl("backup --root site --files data/note.txt --dry-run").expect(0).stdout.matches("queue").count(),
        1
    );
    lab.lrl("restore latest --source site --target back").expect(0);
    let rows = |path: &str| -> i64 {
        Connection::open(lab.path(path)).unwrap().query_row("SELECT count(*) FROM t", [], |row| row.get(0)).unwrap()
    };
    assert_eq!(rows("back/var/deep/queue"), 8);
    assert!(!lab.path("back/var/deep/pages").exists() && !lab.path("back/config.json").exists());
    // What is excluded, or plain, is left out there as well; so is what lrl writes.
    assert_eq!(stored("--accept-shrink --exclude /var/"), DATABASES);
    assert_eq!(stored("--accept-shrink --plain queue"), DATABASES);
    let files_only = "backup --root site --files data/note.txt --snapshot-only --assets-only --source files";
    lab.lrl(files_only).expect(0);
    assert!(!lab.lrl("ls latest --source files").expect(0).stdout.contains("sqlite"));
    lab.lrl("backup --root site --files data/note.txt --backup site/backups --source inside").expect(0);
    let run = lab.lrl("backup --root site --files data/note.txt --backup site/backups --source inside").expect(0);
    assert!(!run.stdout.contains("database: site/backups"), "{}", run.stdout);
}

#[test]
fn what_cannot_be_searched_for_databases_is_named() {
    use std::os::unix::fs::PermissionsExt;
    let lab = Lab::empty();
    small(&lab);
    lab.write("site/closed/state", "x");
    let Some(nobody) = as_nobody(&lab) else { return };
    for (path, mode) in [("site/closed", 0o700), ("site/main.sqlite", 0o600)] {
        std::os::unix::fs::chown(lab.path(path), Some(0), Some(0)).unwrap();
        fs::set_permissions(lab.path(path), fs::Permissions::from_mode(mode)).unwrap();
    }
    let run = nobody("backup --root site --snapshot-only --files data").expect(0);
    for path in ["site/closed", "site/main.sqlite"] {
        let told = |line: &str| line.contains(path) && line.contains("was not searched for databases");
        assert!(run.stderr.lines().any(told), "{path}: {}", run.stderr);
    }
    assert!(run.stdout.contains("ann.db"), "{}", run.stdout);
}

#[test]
fn a_database_that_was_stored_before_can_be_left_out() {
    let lab = Lab::empty();
    small(&lab);
    lab.lrl("backup --root site --snapshot-only").expect(0);
    // It is missed once, like any database that is gone.
    let exclude = ["backup", "--root", "site", "--snapshot-only", "--exclude", "users/", "--accept-shrink"];
    let run = lab.run(exclude).expect(0);
    assert!(!run.stdout.contains("ann.db") && run.stdout.contains("main.sqlite"), "{}", run.stdout);
    assert!(!run.stderr.contains("leaves nothing out"), "{}", run.stderr);
    assert!(!lab.lrl("ls latest --source site").expect(0).stdout.contains("ann.db"));
}

#[test]
fn a_database_that_appears_later_is_found_and_one_that_vanishes_is_missed() {
    let lab = Lab::empty();
    small(&lab);
    lab.lrl("backup --root site --snapshot-only").expect(0);
    let late = Connection::open(lab.path("site/data/late.bin")).unwrap();
    late.pragma_update(None, "journal_mode", "wal").unwrap();
    // Still in its WAL: a copy of the file alone would lack it.
    late.execute_batch("CREATE TABLE t(a); INSERT INTO t VALUES ('late')").unwrap();
    let run = lab.lrl("backup --root site --snapshot-only").expect(0);
    assert!(run.stdout.contains("data/late.bin"), "{}", run.stdout);
    lab.lrl("restore latest --source site --target then").expect(0);
    let row: String = Connection::open(lab.path("then/data/late.bin"))
        .unwrap()
        .query_row("SELECT a FROM t", [], |row| row.get(0))
        .unwrap();
    assert_eq!(row, "late");
    drop(late);
    fs::remove_file(lab.path("site/main.sqlite")).unwrap();
    let run = lab.lrl("backup --root site --snapshot-only").expect(3);
    assert!(run.stderr.contains("main.sqlite"), "{}", run.stderr);
    lab.lrl("backup --root site --snapshot-only --accept-shrink").expect(0);
}

#[test]
fn a_set_of_a_site_is_exported_imported_and_restored() {
    let lab = Lab::empty();
    small(&lab);
    lab.lrl("backup --root site").expect(0);
    let before = contents(&lab.path("site"), &DATABASES);
    lab.lrl("export good --source site --out set").expect(0);
    let manifest = fs::read_dir(lab.path("set")).unwrap().map(|entry| entry.unwrap().path());
    let manifest = manifest.into_iter().find(|path| path.to_str().unwrap().ends_with(".json")).unwrap();
    lab.run(["drill", "--manifest", manifest.to_str().unwrap()]).expect(0);
    lab.run(["restore", "--manifest", manifest.to_str().unwrap(), "--target", "by-set"]).expect(0);
    assert!(contents(&lab.path("by-set"), &DATABASES) == before);
    lab.run(["import", "set", "--source", "again"]).expect(0);
    lab.lrl("restore latest --source again --target by-import").expect(0);
    assert!(contents(&lab.path("by-import"), &DATABASES) == before);
}

#[test]
fn databases_are_of_one_moment_and_the_unchanged_are_not_read() {
    let lab = Lab::empty();
    small(&lab);
    lab.lrl("backup --root site --snapshot-only").expect(0);
    let snapshots = lab.lrl("snapshots --json --source site").expect(0).json();
    let snapshot = &snapshots["snapshots"][0];
    assert!(snapshot["window_us"].as_u64().unwrap() > 0, "{snapshot:#}");
    let mode = fs::metadata(lab.path("site")).unwrap().mode() & 0o7777;
    assert_eq!(snapshot["root"]["mode"], format!("{mode:04o}"), "{snapshot:#}");
    std::thread::sleep(std::time::Duration::from_millis(2500));
    lab.lrl("backup --root site --snapshot-only").expect(0);
    let run = lab.lrl("backup --root site --snapshot-only --json").expect(0).json();
    for one in run["backups"].as_array().unwrap().iter().filter(|one| one["type"] == "database") {
        assert_eq!(one["unchanged"], true, "{run:#}");
    }
}

#[test]
fn secrets_come_back_for_their_owner_alone() {
    let lab = Lab::empty();
    small(&lab);
    lab.write("site/lrl.toml", "root = '.'\n[[files]]\npath = '.'\nsecret = ['*.json']\n");
    let run = lab.lrl("backup --config site/lrl.toml").expect(0);
    assert!(run.stderr.contains("not encrypted") && run.stderr.contains("*.json"), "{}", run.stderr);
    lab.lrl("restore --source site --target back").expect(0);
    let mode = |path: &str| fs::metadata(lab.path(path)).unwrap().mode() & 0o777;
    assert_eq!((mode("site/config.json") & 0o044, mode("back/config.json")), (0o044, 0o600));
    assert_eq!(mode("back/data/note.txt"), mode("site/data/note.txt"));
    // What is stored with another mode than it has is proved unchanged all the same.
    std::thread::sleep(std::time::Duration::from_millis(2500));
    lab.lrl("backup --config site/lrl.toml --snapshot-only").expect(0);
    let run = lab.lrl("backup --config site/lrl.toml --snapshot-only --json").expect(0).json();
    assert_eq!(run["uploads_read"]["files_read"], 0, "{run:#}");
}
