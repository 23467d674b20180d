//! Full scans: when they run automatically, and that they find changes that bypassed the file system.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::time::{Duration, SystemTime};

use rusqlite::Connection;
use serde_json::Value;

use crate::common::{Lab, database, noise, sha256};
use crate::python_sets::change;

fn settled() -> Lab {
    let lab = Lab::small();
    std::thread::sleep(Duration::from_millis(3100));
    lab
}

fn back_up(lab: &Lab, flags: &str) -> Value {
    lab.lrl(&format!("backup --snapshot-only --json {flags}")).expect(0).json()
}

fn cache(lab: &Lab) -> Connection {
    Connection::open(lab.path("backups/store/cache/cache.db")).unwrap()
}

/// Moves the recorded times of the last scans to this many days ago.
fn days_ago(lab: &Lab, days: i64, which: &str) {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs() as i64;
    let changed =
        cache(lab).execute(&format!("UPDATE scans SET at = ?1 WHERE {which}"), [now - days * 86_400]).unwrap();
    assert!(changed > 0);
}

fn is_scan(run: &Value, because: &str) {
    assert_eq!(run["full_scan"]["because"], because, "{run:#}");
    assert_eq!(
        (&run["uploads_read"]["files_unchanged"], &database(run)["unchanged"]),
        (&0.into(), &false.into()),
        "{run:#}"
    );
}

fn is_none(run: &Value) {
    assert!(run["full_scan"].is_null(), "{run:#}");
    assert_eq!(run["uploads_read"]["files_read"], 0, "{run:#}");
    assert_eq!(run["uploads_read"]["bytes_unchanged"], 70_029, "{run:#}");
    assert_eq!(database(run)["unchanged"], true, "{run:#}");
}

#[test]
fn everything_is_read_again_when_the_last_time_is_long_ago() {
    let lab = settled();
    assert!(back_up(&lab, "")["full_scan"].is_null());
    is_none(&back_up(&lab, ""));
    days_ago(&lab, 6, "true");
    is_none(&back_up(&lab, ""));
    is_scan(&back_up(&lab, "--rescan-every 5d"), "due");
    is_none(&back_up(&lab, "--rescan-every 5d"));
    // One part is enough.
    days_ago(&lab, 8, "half = 'uploads'");
    is_none(&back_up(&lab, "--rescan-every never"));
    is_none(&back_up(&lab, "--rescan-every 30d"));
    let run = lab.lrl("backup --snapshot-only").expect(0);
    assert!(run.stdout.contains("\nFull scan: everything was read, the last time was 8 d ago\n"), "{}", run.stdout);
    is_none(&back_up(&lab, ""));
    is_scan(&back_up(&lab, "--rescan"), "asked");
    is_scan(&back_up(&lab, "--rescan-every 0"), "due");
    // A clock that was wrong proves nothing, and neither does silence.
    days_ago(&lab, -3, "half = 'database'");
    is_scan(&back_up(&lab, ""), "unknown");
    is_none(&back_up(&lab, ""));
    cache(&lab).execute("DELETE FROM scans WHERE half = 'uploads'", []).unwrap();
    is_scan(&back_up(&lab, ""), "unknown");
    fs::remove_dir_all(lab.path("backups/store/cache")).unwrap();
    is_scan(&back_up(&lab, ""), "unknown");
    is_none(&back_up(&lab, ""));
    lab.write("lrl.toml", "rescan-every = 'never'");
    days_ago(&lab, 1000, "true");
    is_none(&back_up(&lab, ""));
}

#[test]
fn each_source_and_part_is_scanned_on_its_own_schedule() {
    let lab = settled();
    back_up(&lab, "");
    back_up(&lab, "--source other");
    days_ago(&lab, 8, "source = 'other' AND half = 'uploads'");
    is_none(&back_up(&lab, ""));
    let half = back_up(&lab, "--source other --db-only");
    assert!(
        half["full_scan"].is_null() && database(&half)["unchanged"] == true && half["uploads_read"].is_null(),
        "{half:#}"
    );
    is_scan(&back_up(&lab, "--source other"), "due");
    // A database that changed is read whole, which is a scan of that part.
    days_ago(&lab, 6, "source = 'lab'");
    lab.database().execute("UPDATE users SET status = 'new'", []).unwrap();
    back_up(&lab, "");
    let six: i64 = cache(&lab)
        .query_row("SELECT count(*) FROM scans WHERE source = 'lab' AND at < unixepoch() - 86400", [], |row| row.get(0))
        .unwrap();
    assert_eq!(six, 1, "the uploads' time stays, the database's is now");
}

#[test]
fn bytes_that_changed_under_an_unchanged_state_are_reported() {
    let lab = settled();
    back_up(&lab, "");
    is_none(&back_up(&lab, ""));
    // What a bad disk does: other bytes, the same size, inode and times. The ctime cannot be set, so the cache is made to expect the new one.
    for path in ["data/assets/cd34/v1.bin", "data/lrl.db"] {
        let time = fs::metadata(lab.path(path)).unwrap().modified().unwrap();
        let at = if path.ends_with("db") {
            let bytes = fs::read(lab.path(path)).unwrap();
            bytes.windows(7).position(|word| word == b"block 7").unwrap()
        } else {
            30_000
        };
        change(&lab, path, |bytes| bytes[at] ^= 1);
        fs::File::options().write(true).open(lab.path(path)).unwrap().set_modified(time).unwrap();
    }
    let meta = fs::metadata(lab.path("data/assets/cd34/v1.bin")).unwrap();
    let file = (meta.ctime(), meta.ctime_nsec(), &b"assets\0cd34\0v1.bin"[..]);
    assert_eq!(cache(&lab).execute("UPDATE files SET ctime_s = ?1, ctime_n = ?2 WHERE path = ?3", file).unwrap(), 1);
    let state: String = cache(&lab).query_row("SELECT state FROM databases", [], |row| row.get(0)).unwrap();
    let mut state: Value = serde_json::from_str(&state).unwrap();
    let meta = fs::metadata(lab.path("data/lrl.db")).unwrap();
    state["file"]["ctime_s"] = meta.ctime().into();
    state["file"]["ctime_ns"] = meta.ctime_nsec().into();
    assert_eq!(cache(&lab).execute("UPDATE databases SET state = ?1", [state.to_string()]).unwrap(), 1);
    std::thread::sleep(Duration::from_millis(3100));

    // The shortcut believes the state; the scan does not.
    is_none(&back_up(&lab, ""));
    let run = back_up(&lab, "--rescan");
    let named: Vec<&str> = run["problems"].as_array().unwrap().iter().map(|p| p["path"].as_str().unwrap()).collect();
    assert_eq!(named, ["./data/lrl.db", "./data/assets/cd34/v1.bin"], "{run:#}");
    assert!(run["problems"][0]["reason"].as_str().unwrap().contains("other contents than before"), "{run:#}");
    assert_eq!(
        (&run["uploads_read"]["files_changed_unseen"], &database(&run)["read"]["changed_unseen"]),
        (&1.into(), &true.into())
    );
    // Said once, and the snapshot has what is there now.
    let run = back_up(&lab, "--rescan");
    assert_eq!(run["problems"], Value::from(Vec::<Value>::new()));
    assert_eq!(
        (&run["uploads_read"]["files_changed_unseen"], &database(&run)["read"]["changed_unseen"]),
        (&0.into(), &false.into())
    );
    let stored = lab.lrl("dump latest assets/cd34/v1.bin").expect(0).stdout_bytes;
    assert!(stored == fs::read(lab.path("data/assets/cd34/v1.bin")).unwrap());
    is_none(&back_up(&lab, ""));
}

#[test]
fn the_sha256_of_a_long_database_is_recorded_by_sets_and_full_scans() {
    let lab = Lab::small();
    let connection = lab.database();
    connection.execute_batch("CREATE TABLE pads (pad BLOB)").unwrap();
    let stated = || lab.lrl("ls latest lrl.db --json").expect(0).json()["entries"][0]["sha256"].clone();
    let digest = || sha256(&fs::read(lab.path("data/lrl.db")).unwrap());
    lab.lrl("backup --snapshot-only").expect(0);
    assert_eq!(stated(), digest(), "a short one");
    (0..33).for_each(|n| _ = connection.execute("INSERT INTO pads VALUES (?1)", [noise(1 << 20, n)]).unwrap());
    lab.lrl("backup --snapshot-only").expect(0);
    assert_eq!(stated(), Value::Null);
    lab.lrl("backup --snapshot-only --rescan").expect(0);
    assert_eq!(stated(), digest(), "a full scan");
    connection.execute("DELETE FROM pads WHERE rowid = 3", []).unwrap();
    lab.lrl("backup").expect(0);
    assert_eq!(stated(), digest(), "a set");
    lab.lrl("drill --snapshot latest").expect(0);
}

#[test]
fn what_was_really_written_is_no_surprise() {
    let lab = settled();
    back_up(&lab, "");
    change(&lab, "data/assets/cd34/v1.bin", |bytes| bytes[7] ^= 1);
    lab.database().execute("UPDATE users SET status = 'new'", []).unwrap();
    let run = back_up(&lab, "--rescan");
    assert_eq!(run["problems"], Value::from(Vec::<Value>::new()), "{run:#}");
}

#[test]
fn writes_through_a_mapping_are_seen_while_the_kernel_may_not_have_written_the_page_back() {
    let lab = Lab::small();
    lab.write("data/assets/map/v1.bin", vec![b'-'; 8192]);
    // The page is dirty from the first write on: the second one moves no time.
    let script = "import mmap, subprocess, sys, time
file = open('data/assets/map/v1.bin', 'r+b')
memory = mmap.mmap(file.fileno(), 0)
memory[0:4] = b'once'
time.sleep(3.1)
subprocess.run([sys.argv[1], 'backup', '-q'], check=True)
memory[0:4] = b'then'
subprocess.run([sys.argv[1], 'backup', '-q'], check=True)
";
    crate::helpers::python(&lab, script, &[std::path::Path::new(env!("CARGO_BIN_EXE_lrl"))]);
    let run = lab.lrl("dump latest assets/map/v1.bin").expect(0);
    assert_eq!(&run.stdout_bytes[..5], b"then-");
}
