//! What a change costs: only what the WAL names is read, writers in rollback mode go on, and nothing of the database is copied to disk.

use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use rusqlite::Connection;

use crate::common::{Lab, Run, database};
use crate::helpers::{Disk, python, rounds};

/// Adds a table of this many MiB of rows that compress well.
fn grow(conn: &Connection, mib: u64) {
    conn.execute_batch(&format!(
        "CREATE TABLE bulk(id INTEGER PRIMARY KEY, pad TEXT);
         WITH RECURSIVE n(i) AS (VALUES(1) UNION ALL SELECT i + 1 FROM n WHERE i < {})
         INSERT INTO bulk SELECT i, printf('%d %s', i, hex(zeroblob(500))) FROM n;",
        mib << 10
    ))
    .unwrap();
}

fn in_wal_mode(lab: &Lab, mib: u64) -> Connection {
    let conn = lab.database();
    conn.pragma_update(None, "journal_mode", "WAL").unwrap();
    grow(&conn, mib);
    // The long transaction was checkpointed: the next one begins the WAL anew.
    conn.execute("UPDATE bulk SET pad = 'first' WHERE id = 1", []).unwrap();
    conn
}

fn back_up(lab: &Lab, flags: &str) -> Run {
    lab.lrl(&format!("backup --snapshot-only --db-only --json {flags}")).expect(0)
}

/// The way in which the database was read.
fn method(run: &Run) -> String {
    database(&run.json())["read"]["method"].as_str().unwrap().into()
}

/// Restores the newest snapshot beside the data and compares all rows.
fn assert_restores(lab: &Lab, round: u64) {
    let to = format!("restored-{round}");
    lab.lrl(&format!("restore --db-only --data-dir {to}")).expect(0);
    let same = python(
        lab,
        "import sqlite3, sys\n\
         dump = lambda path: list(sqlite3.connect(f'file:{path}?mode=ro', uri=True).iterdump())\n\
         print(dump(sys.argv[1]) == dump(sys.argv[2]))",
        &[&lab.path("data/lrl.db"), &lab.path(&to).join("lrl.db")],
    );
    assert_eq!(same.trim(), "True");
    fs::remove_dir_all(lab.path(to)).unwrap();
}

#[test]
fn only_what_the_wal_names_is_read_and_every_snapshot_restores() {
    let lab = Lab::small();
    let conn = in_wal_mode(&lab, 4);
    assert_eq!(method(&back_up(&lab, "")), "pages");
    let changes = [
        "UPDATE bulk SET pad = 'changed' WHERE id = 1000",
        "INSERT INTO bulk(pad) SELECT hex(randomblob(300)) FROM bulk LIMIT 500",
        "DELETE FROM bulk WHERE id % 3 = 0",
        "CREATE INDEX bulk_pad ON bulk(pad)",
        "VACUUM",
        "DROP TABLE bulk",
    ];
    for (round, change) in (0..).zip(changes) {
        conn.execute_batch(change).unwrap();
        // Most of the table goes, and at last all of it.
        let run = back_up(&lab, "--accept-shrink");
        let method = method(&run);
        // A long change makes the WAL start again at the next one, and then everything is read.
        assert!(["changed-pages", "pages"].contains(&method.as_str()), "{method}");
        assert!(round > 0 || method == "changed-pages", "{change}: {}", run.stdout);
        assert_restores(&lab, round);
    }
    lab.lrl("check --read-data").expect(0);
}

#[test]
fn a_full_scan_reads_everything_and_shows_that_the_wal_was_right() {
    let lab = Lab::small();
    let conn = in_wal_mode(&lab, 4);
    back_up(&lab, "");
    conn.execute("UPDATE bulk SET pad = 'x' WHERE id = 7", []).unwrap();
    let run = back_up(&lab, "--rescan");
    assert_eq!((method(&run).as_str(), &database(&run.json())["read"]["changed_unseen"]), ("pages", &false.into()));
    // A page that changes past SQLite is in no frame: the hint cannot know of it, and the scan says so.
    conn.execute("UPDATE bulk SET pad = 'y' WHERE id = 7", []).unwrap();
    back_up(&lab, "");
    conn.execute("UPDATE bulk SET pad = 'z' WHERE id = 7", []).unwrap();
    conn.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(())).unwrap();
    let path = lab.path("data/lrl.db");
    let mut bytes = fs::read(&path).unwrap();
    let at = bytes.windows(12).rposition(|window| window == b"000000000000").unwrap();
    bytes[at] = b'1';
    let file = fs::OpenOptions::new().write(true).open(&path).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&file, &bytes[at..=at], at as u64).unwrap();
    let run = back_up(&lab, "--rescan");
    assert_eq!(database(&run.json())["read"]["changed_unseen"], true, "{}", run.stdout);
    assert!(run.stderr.contains("has other contents than before"), "{}", run.stderr);
}

#[test]
fn snapshots_beside_a_writer_restore_with_all_that_was_committed() {
    for mode in ["WAL", "DELETE"] {
        let lab = Lab::small();
        let conn = lab.database();
        conn.pragma_update(None, "journal_mode", mode).unwrap();
        // Longer than what is read under the lock at once.
        grow(&conn, 40);
        conn.execute_batch(
            "CREATE TABLE log(id INTEGER PRIMARY KEY); CREATE TABLE total(n INT); INSERT INTO total VALUES(0)",
        )
        .unwrap();
        drop(conn);
        let stop = AtomicBool::new(false);
        thread::scope(|scope| {
            let writer = scope.spawn(|| {
                let conn = lab.database();
                conn.busy_timeout(Duration::from_secs(60)).unwrap();
                let mut n = 0;
                while !stop.load(Ordering::Relaxed) {
                    conn.execute_batch(
                        "BEGIN IMMEDIATE; INSERT INTO log DEFAULT VALUES; UPDATE total SET n = n + 1;
                         UPDATE bulk SET pad = pad || 'x' WHERE id = abs(random() % 40000); COMMIT",
                    )
                    .unwrap();
                    n += 1;
                    thread::sleep(Duration::from_millis(5));
                }
                n
            });
            for round in 0..rounds(3, 100) {
                let before: i64 = lab.database().query_row("SELECT n FROM total", [], |row| row.get(0)).unwrap();
                back_up(&lab, "");
                let to = format!("restored-{round}");
                lab.lrl(&format!("restore --db-only --data-dir {to}")).expect(0);
                let restored = Connection::open(lab.path(&to).join("lrl.db")).unwrap();
                let int = |sql: &str| restored.query_row(sql, [], |row| row.get::<_, i64>(0)).unwrap();
                assert_eq!(
                    restored.query_row("PRAGMA integrity_check", [], |row| row.get::<_, String>(0)).unwrap(),
                    "ok"
                );
                assert_eq!(
                    int("SELECT n FROM total"),
                    int("SELECT count(*) FROM log"),
                    "{mode}: a transaction is torn"
                );
                assert!(int("SELECT n FROM total") >= before, "{mode}: a commit is missing");
                drop(restored);
                fs::remove_dir_all(lab.path(to)).unwrap();
            }
            stop.store(true, Ordering::Relaxed);
            assert!(writer.join().unwrap() > 0);
        });
    }
}

#[test]
fn a_snapshot_needs_no_room_but_for_what_is_stored() {
    for mode in ["WAL", "DELETE"] {
        let lab = Lab::small();
        let conn = lab.database();
        conn.pragma_update(None, "journal_mode", mode).unwrap();
        grow(&conn, 48);
        let Some(_disk) = Disk::mount(lab.path("small"), "24M") else { return };
        let flags = "--backup small/backups --reserve 0";
        back_up(&lab, flags);
        conn.execute("UPDATE bulk SET pad = pad || 'x'", []).unwrap();
        back_up(&lab, flags);
        lab.lrl("drill --snapshot latest --backup small/backups -q").expect(0);
    }
}
