//! Databases in rollback mode that are cloned: the image is one moment, the same as SQLite's, and nobody waits for it.

use std::fs::File;
use std::time::Duration;

use super::{BANK, Collect, Lab, Worker};
use crate::progress::Silent;
use crate::source::database::clone::tests::pretend;
use crate::source::database::connect::open_live;
use crate::source::database::pages::Transaction;
use crate::source::database::read::LOCKED_UP_TO;
use crate::source::database::{Method, ReadOptions, prepare};

/// A bank that is longer than what is read under the lock.
fn long_bank(lab: &Lab, mode: &str) {
    let rows = LOCKED_UP_TO / 9000;
    let fill = format!(
        "c = connect()\nc.execute('BEGIN')\nfor i in range({rows}): c.execute('INSERT INTO log(pad) VALUES(randomblob(10000))')\n\
                        c.execute('UPDATE counter SET v = v + {rows}')\nc.execute('COMMIT')"
    );
    lab.python(&format!("{BANK}\nmake({mode:?}, 4096)\n{fill}"));
    assert!(std::fs::metadata(lab.db()).unwrap().len() > LOCKED_UP_TO);
}

/// Commits when told to, and prints `done` or `busy`.
fn writer(lab: &Lab) -> Worker {
    let code = format!(
        r#"{BANK}
c = sqlite3.connect(db, timeout=0, isolation_level=None)
print("ready", flush=True)
for line in sys.stdin:
    try:
        c.execute("BEGIN IMMEDIATE")
        c.execute("UPDATE counter SET v = v + 1")
        c.execute("INSERT INTO log(pad) VALUES('more')")
        c.execute("COMMIT")
        print("done", flush=True)
    except sqlite3.OperationalError:
        if c.in_transaction: c.execute("ROLLBACK")
        print("busy", flush=True)
"#
    );
    Worker::start(&lab.db(), &code)
}

#[test]
fn a_clone_is_the_image_that_sqlite_reads() {
    for page_size in [512, 4096, 65536] {
        let lab = Lab::new();
        lab.make_bank("delete", page_size);
        let source = File::open(lab.db()).unwrap();
        let mut transaction = Transaction::begin(open_live(&lab.db()).unwrap()).map_err(|refused| refused.0).unwrap();
        let mut under_the_lock = Collect::default();
        let header = transaction.stream_pages(&mut under_the_lock, &Silent).unwrap().unwrap();
        pretend(true);
        transaction.detach(&source, &lab.db());
        pretend(false);
        assert!(!transaction.blocks_writers());
        let mut cloned = Collect::default();
        assert_eq!(transaction.stream_pages(&mut cloned, &Silent).unwrap(), Some(header));
        assert!(cloned.0 == under_the_lock.0, "{page_size}");
        let mut pages = Vec::new();
        let page = page_size as usize;
        assert!(transaction.read_pages(2, 3, &mut pages) && pages == cloned.0[page..3 * page]);
        assert!(!transaction.read_pages(1, transaction.page_count + 1, &mut pages));
        drop(transaction);
        drop(source);
    }
}

#[test]
fn writers_go_on_while_a_clone_is_read_and_the_image_is_from_before() {
    for mode in ["delete", "truncate", "persist"] {
        let lab = Lab::new();
        long_bank(&lab, mode);
        let (scratch, db) = (lab.scratch(), lab.db());
        let options = ReadOptions { busy: Duration::from_secs(20), scratch: &scratch };
        pretend(true);
        let mut reading = prepare(&db, &options, &Silent).unwrap();
        assert!(!reading.would_block_writers().unwrap(), "{mode}: no draft is needed");
        reading.hold(None).unwrap();
        pretend(false);
        assert!(!reading.blocks_writers());
        let mut writer = writer(&lab);
        for _ in 0..3 {
            writer.tell("commit");
            assert_eq!(writer.hear(), "done", "{mode}");
        }
        let mut sink = Collect::default();
        let image = reading.read(&mut sink).unwrap();
        drop(reading);
        writer.stop();
        assert_eq!((image.method, image.size_bytes), (Method::Clone, sink.0.len() as u64), "{mode}");
        assert_eq!(image.tables.unwrap(), ["a", "b", "counter", "log"]);
        let before = lab.check_bank(&sink.0);
        let (_, now) = lab.read();
        assert_eq!(lab.check_bank(&now), before + 3, "{mode}");
    }
}

#[test]
fn the_lock_stays_where_a_clone_cannot_be_made() {
    let lab = Lab::new();
    long_bank(&lab, "delete");
    let (scratch, db) = (lab.scratch(), lab.db());
    let options = ReadOptions { busy: Duration::from_secs(20), scratch: &scratch };
    pretend(true);
    let mut reading = prepare(&db, &options, &Silent).unwrap();
    assert!(!reading.would_block_writers().unwrap());
    // Now the file system has no room for one: closing the file that was to be cloned must not take SQLite's lock away.
    pretend(false);
    reading.hold(None).unwrap();
    if !reading.blocks_writers() {
        println!("skipped: files for tests lie where blocks can be shared");
        return;
    }
    let mut writer = writer(&lab);
    writer.tell("commit");
    assert_eq!(writer.hear(), "busy");
    let mut sink = Collect::default();
    let image = reading.read(&mut sink).unwrap();
    drop(reading);
    writer.tell("commit");
    assert_eq!(writer.hear(), "done");
    writer.stop();
    assert_eq!(image.method, Method::Pages);
    lab.check_bank(&sink.0);
}

#[test]
fn a_file_that_took_the_databases_name_is_not_cloned() {
    let lab = Lab::new();
    lab.make_bank("delete", 4096);
    let source = File::open(lab.db()).unwrap();
    let other = lab.db().with_extension("other");
    std::fs::copy(lab.db(), &other).unwrap();
    std::fs::rename(&other, lab.db()).unwrap();
    let mut transaction = Transaction::begin(open_live(&lab.db()).unwrap()).map_err(|refused| refused.0).unwrap();
    pretend(true);
    transaction.detach(&source, &lab.db());
    pretend(false);
    assert!(transaction.blocks_writers());
    drop(transaction);
    drop(source);
}
