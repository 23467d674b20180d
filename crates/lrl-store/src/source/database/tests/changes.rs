//! The pages that the WAL names, held against all pages of the same read transaction: nothing that changed may be missing. The two traps are
//! laid without a race as well, and the rules that avoid them are shown to be needed.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::Duration;

use rusqlite::Connection;

use super::{BANK, Collect, Lab, Worker, rounds};
use crate::progress::Silent;
use crate::source::database::connect::open_live;
use crate::source::database::pages::Transaction;
use crate::source::database::shm::published;
use crate::source::database::wal_changes::{ExtentSet, RULES, Rules, Wal, WalMark, follow_wal};

const PAGE: usize = 1024;
/// Extents of two pages, so that a neighbour is among the candidates.
const EXTENT: usize = 2 * PAGE;

/// Which extents of one image differ from another's.
fn differing(old: &[u8], new: &[u8]) -> Vec<u64> {
    let extents = |image: &[u8]| image.chunks(EXTENT).map(<[u8]>::to_vec).collect::<Vec<_>>();
    let (old, new) = (extents(old), extents(new));
    (0..new.len()).filter(|n| old.get(*n) != new.get(*n)).map(|n| n as u64).collect()
}

/// The extents that changed and that nobody would look at: those of another length are always read.
fn missed(old: &[u8], new: &[u8], changed: &ExtentSet) -> Vec<u64> {
    let len = |image: &[u8], n: u64| image.len().saturating_sub(n as usize * EXTENT).min(EXTENT);
    let others = |n: &u64| !changed.has(*n) && len(old, *n) == len(new, *n);
    differing(old, new).into_iter().filter(others).collect()
}

fn image(transaction: &Transaction) -> Vec<u8> {
    let mut sink = Collect::default();
    transaction.stream_pages(&mut sink, &Silent).unwrap().unwrap();
    sink.0
}

/// Reads as a backup does, again and again beside writers; counts hints, full reads and misses.
#[derive(Debug, Default)]
struct Tally {
    hinted: u64,
    full: u64,
    named: u64,
    differ: u64,
    missed: u64,
}

/// `looks` is how often the WAL is followed between two rounds. On a busy machine no hint may hold for a while: then it takes longer.
fn watch(db: &Path, rules: Rules, rounds: usize, gap: Duration, looks: u32) -> Tally {
    let mut tally = Tally::default();
    let mut before: Option<(Vec<u8>, Option<WalMark>)> = None;
    for round in 0..20 * rounds {
        if round >= rounds && tally.hinted > 0 {
            break;
        }
        for _ in 0..looks {
            std::thread::sleep(gap / looks);
            if let Some((_, Some(mark))) = &mut before {
                *mark = follow_wal(db, mark).unwrap_or_else(|| mark.clone());
            }
        }
        let earlier = before.as_ref().and_then(|(_, mark)| mark.as_ref());
        let published = published(db);
        let mark = Wal::open(db, rules).and_then(|wal| wal.mark(earlier, published.as_ref()));
        let Ok(transaction) = Transaction::begin(open_live(db).unwrap()) else { continue };
        let pages = transaction.page_count;
        let changed = Wal::open(db, rules)
            .zip(earlier)
            .and_then(|(wal, mark)| wal.changed_since(mark, pages, EXTENT as u32, published.as_ref()));
        let now = image(&transaction);
        drop(transaction);
        match (&before, changed) {
            (Some((old, _)), Some(changed)) => {
                tally.hinted += 1;
                tally.named += changed.len();
                tally.differ += differing(old, &now).len() as u64;
                tally.missed += u64::from(!missed(old, &now, &changed).is_empty());
            }
            _ => tally.full += 1,
        }
        before = Some((now, mark.map(|mark| mark.of_image(pages))));
        if looks == 0 {
            std::thread::sleep(gap);
        }
    }
    tally
}

/// Writers that commit all the time, roll back, and do now and then what starts the WAL again or moves all pages.
fn writers(lab: &Lab, sync: &str, autocheckpoint: u32) -> Vec<Worker> {
    let code = format!(
        r#"{BANK}
stop = threading.Event()
threading.Thread(target=lambda: (sys.stdin.read(), stop.set()), daemon=True).start()
c = connect("wal")
c.execute("PRAGMA synchronous={sync}"); c.execute("PRAGMA wal_autocheckpoint={autocheckpoint}"); c.execute("PRAGMA cache_size=10")
print("ready", flush=True)
while not stop.is_set():
    try:
        transact(c, random.choice((1, 1, 1, 3)))
        k = random.random()
        if k < .002: c.execute("VACUUM")
        elif k < .004: c.execute("PRAGMA wal_checkpoint(" + random.choice(("RESTART", "TRUNCATE")) + ")").fetchall()
        elif k < .02: c.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
    except sqlite3.OperationalError:
        if c.in_transaction: c.execute("ROLLBACK")
    time.sleep(random.random() * .003)
"#
    );
    (0..2).map(|_| Worker::start(&lab.db(), &code)).collect()
}

#[test]
fn no_changed_page_is_missed_beside_writers() {
    for (sync, autocheckpoint) in [("FULL", 1000), ("FULL", 100), ("NORMAL", 30), ("FULL", 0)] {
        let lab = Lab::new();
        lab.make_bank("wal", PAGE as u32);
        let writers = writers(&lab, sync, autocheckpoint);
        let tally = watch(&lab.db(), RULES, rounds(), Duration::from_millis(10), 0);
        writers.into_iter().for_each(|writer| drop(writer.stop()));
        println!("synchronous={sync} wal_autocheckpoint={autocheckpoint}: {tally:?}");
        assert_eq!(tally.missed, 0, "{sync} {autocheckpoint}: {tally:?}");
        assert!(tally.hinted > 0, "then nothing is shown: {tally:?}");
    }
}

#[test]
fn no_changed_page_is_missed_where_the_wal_is_followed_between_the_images() {
    for (sync, autocheckpoint) in [("FULL", 100), ("NORMAL", 200)] {
        let lab = Lab::new();
        lab.make_bank("wal", PAGE as u32);
        let writers = writers(&lab, sync, autocheckpoint);
        // Several rounds of the WAL between two images.
        let tally = watch(&lab.db(), RULES, rounds() / 4, Duration::from_millis(100), 50);
        writers.into_iter().for_each(|writer| drop(writer.stop()));
        println!("followed: synchronous={sync} wal_autocheckpoint={autocheckpoint}: {tally:?}");
        assert_eq!(tally.missed, 0, "{sync} {autocheckpoint}: {tally:?}");
        assert!(tally.hinted > 0, "then nothing is shown: {tally:?}");
    }
}

/// A database in WAL mode with a connection that stays open and never checkpoints by itself.
fn database(dir: &Path) -> (std::path::PathBuf, Connection) {
    let path = dir.join("x.db");
    let conn = Connection::open(&path).unwrap();
    conn.execute_batch(&format!(
        "PRAGMA page_size={PAGE}; PRAGMA journal_mode=WAL; PRAGMA wal_autocheckpoint=0;
         CREATE TABLE t(id INTEGER PRIMARY KEY, pad BLOB);
         WITH RECURSIVE n(i) AS (VALUES(1) UNION ALL SELECT i + 1 FROM n WHERE i < 300)
         INSERT INTO t SELECT i, randomblob(700) FROM n;"
    ))
    .unwrap();
    (path, conn)
}

fn change(conn: &Connection, row: i64) {
    conn.execute("UPDATE t SET pad = randomblob(700) WHERE id = ?", [row]).unwrap();
}

fn begin(db: &Path) -> Transaction {
    Transaction::begin(open_live(db).unwrap()).map_err(|refused| refused.0).unwrap()
}

/// Marks, reads, changes rows as told, and returns what was missed at the next reading; `None` if that reads everything.
fn round(db: &Path, rules: Rules, act: impl FnOnce()) -> Option<Vec<u64>> {
    let mark = Wal::open(db, rules).unwrap().mark(None, published(db).as_ref()).unwrap();
    let first = begin(db);
    let (old, mark) = (image(&first), mark.of_image(first.page_count));
    drop(first);
    act();
    let published = published(db);
    let second = begin(db);
    let changed = Wal::open(db, rules)?.changed_since(&mark, second.page_count, EXTENT as u32, published.as_ref())?;
    Some(missed(&old, &image(&second), &changed))
}

#[test]
fn a_commit_that_was_written_and_not_yet_published_is_not_behind_the_mark() {
    for (commits, is_missed) in [(0, true), (1, false)] {
        let dir = tempfile::tempdir().unwrap();
        let (db, conn) = database(dir.path());
        change(&conn, 1);
        let rules = Rules { unpublished_commits: commits, ..RULES };
        // The reader begins without a commit whose frames were in the file when it was marked.
        let reader = begin(&db);
        change(&conn, 200);
        let mark =
            Wal::open(&db, rules).unwrap().mark(None, published(&db).as_ref()).unwrap().of_image(reader.page_count);
        let old = image(&reader);
        drop(reader);
        let second = begin(&db);
        let changed =
            Wal::open(&db, rules).unwrap().changed_since(&mark, second.page_count, EXTENT as u32, None).unwrap();
        assert_eq!(!missed(&old, &image(&second), &changed).is_empty(), is_missed, "{commits}");
    }
}

#[test]
fn a_wal_that_starts_again_while_it_is_scanned_is_noticed() {
    for looks_again in [false, true] {
        let dir = tempfile::tempdir().unwrap();
        let (db, conn) = database(dir.path());
        change(&conn, 1);
        let rules = Rules { looks_again, ..RULES };
        let mark = Wal::open(&db, rules).unwrap().mark(None, published(&db).as_ref()).unwrap();
        let first = begin(&db);
        let (old, mark) = (image(&first), mark.of_image(first.page_count));
        drop(first);
        change(&conn, 200);
        // The scan has read the header. Then everything is checkpointed and another writer begins the WAL anew, over the frames behind the mark.
        let scanned = Wal::open(&db, rules).unwrap();
        let all_of_it = |pragma: &str| conn.query_row(pragma, [], |row| row.get::<_, i64>(0)).unwrap();
        assert_eq!(all_of_it("PRAGMA wal_checkpoint(RESTART)"), 0);
        conn.execute("UPDATE t SET pad = randomblob(700) WHERE id < 290", []).unwrap();
        let second = begin(&db);
        let changed = scanned.changed_since(&mark, second.page_count, EXTENT as u32, None);
        match changed {
            None => assert!(looks_again),
            Some(changed) => {
                assert!(!looks_again && !missed(&old, &image(&second), &changed).is_empty());
            }
        }
    }
}

#[test]
fn older_frames_are_used_only_where_all_of_them_are_there() {
    let dir = tempfile::tempdir().unwrap();
    let (db, conn) = database(dir.path());
    let restart = || {
        let busy: i64 = conn.query_row("PRAGMA wal_checkpoint(RESTART)", [], |row| row.get(0)).unwrap();
        assert_eq!(busy, 0);
    };
    // A long round, so that a shorter one ends before the file does.
    conn.execute("UPDATE t SET pad = randomblob(700)", []).unwrap();
    restart();
    (1..40).for_each(|row| change(&conn, row));
    let again = round(&db, RULES, || {
        change(&conn, 250);
        restart();
        change(&conn, 120);
    });
    assert_eq!(again, Some(Vec::new()), "one start is followed");
    let twice = round(&db, RULES, || {
        change(&conn, 60);
        restart();
        change(&conn, 61);
        restart();
        change(&conn, 62);
    });
    assert_eq!(twice, None, "two are not");
    let followed = {
        let mark = Wal::open(&db, RULES).unwrap().mark(None, published(&db).as_ref()).unwrap();
        let first = begin(&db);
        let (old, mut mark) = (image(&first), mark.of_image(first.page_count));
        drop(first);
        for row in 63..90 {
            change(&conn, row);
            mark = follow_wal(&db, &mark).unwrap();
            if row % 6 == 0 {
                restart();
            }
        }
        let second = begin(&db);
        let changed = Wal::open(&db, RULES).unwrap().changed_since(&mark, second.page_count, EXTENT as u32, None);
        changed.map(|changed| missed(&old, &image(&second), &changed))
    };
    assert_eq!(followed, Some(Vec::new()), "unless they are followed in between");
    let over = round(&db, RULES, || {
        restart();
        (1..60).for_each(|row| change(&conn, row));
    });
    assert_eq!(over, None, "the mark was written over");
}

#[test]
fn frames_that_a_limit_of_the_wals_length_cut_off_are_missed() {
    for needs_end in [false, true] {
        let dir = tempfile::tempdir().unwrap();
        let (db, conn) = database(dir.path());
        (1..200).for_each(|row| change(&conn, row));
        let wal = dir.path().join("x.db-wal");
        let found = round(&db, Rules { needs_end, ..RULES }, || {
            let limit = fs::metadata(&wal).unwrap().len();
            conn.query_row(&format!("PRAGMA journal_size_limit={limit}"), [], |_| Ok(())).unwrap();
            (200..290).for_each(|row| change(&conn, row));
            conn.query_row("PRAGMA wal_checkpoint(RESTART)", [], |_| Ok(())).unwrap();
            change(&conn, 1);
            assert_eq!(fs::metadata(&wal).unwrap().len(), limit, "then nothing is shown");
        });
        match found {
            None => assert!(needs_end),
            Some(missed) => assert!(!needs_end && !missed.is_empty()),
        }
    }
}

#[test]
fn rounds_of_the_wal_that_end_with_its_file_are_followed() {
    let dir = tempfile::tempdir().unwrap();
    let (db, conn) = database(dir.path());
    // The file is made anew, so that it ends with the next round.
    for commits in 10..20 {
        let found = round(&db, RULES, || {
            (0..commits).for_each(|row| change(&conn, 1 + row * 7));
            conn.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())).unwrap();
            (200..205).for_each(|row| change(&conn, row));
        });
        assert_eq!(found, None, "{commits}: nothing older is left");
        let found = round(&db, RULES, || {
            (0..commits).for_each(|row| change(&conn, 1 + row * 7));
            conn.query_row("PRAGMA wal_checkpoint(RESTART)", [], |_| Ok(())).unwrap();
            (250..253).for_each(|row| change(&conn, row));
        });
        assert_eq!(found, Some(Vec::new()), "{commits}");
    }
}

#[test]
fn a_commit_that_is_repeated_up_to_the_end_of_a_sector_is_not_counted_twice() {
    let dir = tempfile::tempdir().unwrap();
    let (db, idle) = database(dir.path());
    let uri = format!("file:{}?psow=0", db.display());
    let conn = Connection::open(uri).unwrap();
    conn.execute_batch("PRAGMA synchronous=FULL; PRAGMA wal_autocheckpoint=0").unwrap();
    idle.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())).unwrap();
    (1..20).for_each(|row| change(&conn, row));
    let frames = fs::metadata(dir.path().join("x.db-wal")).unwrap().len() / (24 + PAGE as u64);
    assert!(frames > 30, "then nothing is repeated: {frames}");
    let found = round(&db, RULES, || {
        (20..60).for_each(|row| change(&conn, row));
        conn.query_row("PRAGMA wal_checkpoint(RESTART)", [], |_| Ok(())).unwrap();
        (250..253).for_each(|row| change(&conn, row));
    });
    assert_eq!(found, None);
}

#[test]
fn what_is_odd_reads_everything() {
    type Act = fn(&Path, &Connection);
    let acts: BTreeMap<&str, Act> = BTreeMap::from([
        (
            "truncated",
            (|_, conn| {
                conn.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())).unwrap();
                change(conn, 7);
            }) as Act,
        ),
        ("another file", |db, _| {
            let copy = db.with_extension("copy");
            fs::copy(db, &copy).unwrap();
            fs::rename(copy, db).unwrap();
        }),
        ("frame of the mark overwritten", |db, _| {
            let mut name = db.as_os_str().to_os_string();
            name.push("-wal");
            let wal = fs::OpenOptions::new().write(true).open(name).unwrap();
            let len = wal.metadata().unwrap().len();
            let frames = (len - 32) / (24 + PAGE as u64);
            (0..frames).for_each(|n| wal.write_all_at(&[9; 8], 32 + n * (24 + PAGE as u64) + 16).unwrap());
        }),
    ]);
    for (name, act) in acts {
        let dir = tempfile::tempdir().unwrap();
        let (db, conn) = database(dir.path());
        (1..9).for_each(|row| change(&conn, row));
        let mark = Wal::open(&db, RULES).unwrap().mark(None, published(&db).as_ref()).unwrap();
        let pages = begin(&db).page_count;
        act(&db, &conn);
        let changed = Wal::open(&db, RULES)
            .and_then(|wal| wal.changed_since(&mark.of_image(pages), pages, EXTENT as u32, published(&db).as_ref()));
        assert_eq!(changed, None, "{name}");
    }
}

#[test]
fn growth_shrinking_and_vacuum_are_followed() {
    let dir = tempfile::tempdir().unwrap();
    let (db, conn) = database(dir.path());
    change(&conn, 1);
    for sql in [
        "INSERT INTO t(pad) SELECT randomblob(700) FROM t",
        "DELETE FROM t WHERE id % 2 = 0",
        "VACUUM",
        "DROP TABLE t; CREATE TABLE t(id INTEGER PRIMARY KEY, pad BLOB)",
        "VACUUM",
    ] {
        let found = round(&db, RULES, || conn.execute_batch(sql).unwrap());
        assert_eq!(found, Some(Vec::new()), "{sql}");
    }
}
