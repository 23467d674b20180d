//! Images taken while other processes write, in every journal mode, with checkpoints and vacuums racing.

use std::time::Duration;

use super::{BANK, Collect, Lab, Worker, rounds};
use crate::progress::Silent;
use crate::source::database::Method;
use crate::source::database::connect::{Refusal, open_live};
use crate::source::database::pages::Transaction;

const MODES: [&str; 5] = ["delete", "truncate", "persist", "memory", "wal"];

/// Two writing processes; one of them checkpoints and vacuums too.
fn writers(lab: &Lab, mode: &str) -> [Worker; 2] {
    let code = |chores: &str| {
        format!(
            r#"{BANK}
stop = threading.Event()
threading.Thread(target=lambda: (sys.stdin.read(), stop.set()), daemon=True).start()
c = connect({mode:?})
print("ready", flush=True)
done = 0
while not stop.is_set():
    transact(c)
    done += 1
    {chores}
    time.sleep(random.random() * .004)
print(done)
"#
        )
    };
    let chores = "done % 40 == 0 and c.execute('VACUUM'); \
                  done % 7 == 0 and c.execute('PRAGMA wal_checkpoint(' + random.choice(('PASSIVE', 'RESTART', 'TRUNCATE')) + ')').fetchall(); \
                  done % 11 == 0 and (c.close(), globals().update(c=connect()))";
    [Worker::start(&lab.db(), &code("pass")), Worker::start(&lab.db(), &code(chores))]
}

#[test]
fn every_image_is_one_moment() {
    for mode in MODES {
        let lab = Lab::new();
        lab.make_bank(mode, 1024);
        let writers = writers(&lab, mode);
        let mut seen = std::collections::BTreeSet::new();
        for _ in 0..rounds() {
            let (image, bytes) = lab.read();
            assert_eq!((image.method, image.page_size), (Method::Pages, 1024), "{mode}");
            assert_eq!(image.tables.unwrap(), ["a", "b", "counter", "log"]);
            seen.insert(lab.check_bank(&bytes));
        }
        let done: u64 = writers.map(|worker| worker.stop().trim().parse::<u64>().unwrap()).iter().sum();
        assert!(done > 10, "{mode}: the writers were starved ({done} transactions)");
        assert!(seen.len() > 5, "{mode}: the images do not follow the writers");
    }
}

#[test]
fn pages_equal_the_backup_of_the_same_transaction() {
    for mode in MODES {
        let lab = Lab::new();
        lab.make_bank(mode, 4096);
        let writers = writers(&lab, mode);
        for _ in 0..rounds() {
            let transaction = loop {
                match Transaction::begin(open_live(&lab.db()).unwrap()).map_err(|refused| refused.0) {
                    Ok(transaction) => break transaction,
                    Err(Refusal::Busy | Refusal::HotJournal) => std::thread::sleep(Duration::from_millis(1)),
                    Err(other) => panic!("{mode}: {other:?}"),
                }
            };
            let (mut by_pages, mut by_backup) = (Collect::default(), Collect::default());
            transaction.stream_pages(&mut by_pages, &Silent).unwrap().unwrap();
            // The writers go on meanwhile, or try to.
            std::thread::sleep(Duration::from_millis(1));
            transaction.copy_by_backup(&lab.db(), &lab.scratch(), &mut by_backup, &Silent).unwrap();
            assert_same_image(&by_pages.0, &by_backup.0);
        }
        writers.into_iter().for_each(|worker| drop(worker.stop()));
    }
}

/// Equal but for the header's counters and SQLite's own version number (96..100), which the backup API writes anew.
pub(super) fn assert_same_image(by_pages: &[u8], by_backup: &[u8]) {
    assert_eq!(by_pages.len(), by_backup.len());
    let differ = by_pages.iter().zip(by_backup).enumerate().filter(|(_, (a, b))| a != b).map(|(at, _)| at);
    let differ: Vec<usize> = differ.filter(|at| !matches!(at, 24..28 | 40..44 | 92..100)).take(20).collect();
    assert!(differ.is_empty(), "bytes {differ:?} differ");
}

#[test]
fn the_backup_api_gives_a_moment_too() {
    let lab = Lab::new();
    lab.make_bank("delete", 65536);
    let writers = writers(&lab, "delete");
    for _ in 0..rounds() / 3 {
        let conn = open_live(&lab.db()).unwrap();
        let Ok(transaction) = Transaction::begin(conn) else { continue };
        let mut bytes = Collect::default();
        let copied = transaction.copy_by_backup(&lab.db(), &lab.scratch(), &mut bytes, &Silent).unwrap();
        assert_eq!(copied.method, Method::BackupApi);
        lab.check_bank(&bytes.0);
    }
    writers.into_iter().for_each(|worker| drop(worker.stop()));
}

#[test]
fn every_page_size_is_read() {
    for mode in ["delete", "wal"] {
        for page_size in [512, 1024, 2048, 4096, 8192, 16384, 32768, 65536] {
            let lab = Lab::new();
            lab.make_bank(mode, page_size);
            // A connection stays open, so that the WAL is there and not empty.
            let code = format!(
                "{BANK}\nc = connect()\nfor i in range(30): transact(c)\nprint('ready', flush=True)\nsys.stdin.read()"
            );
            let worker = Worker::start(&lab.db(), &code);
            let (image, bytes) = lab.read();
            assert_eq!((image.method, image.page_size), (Method::Pages, page_size));
            assert!(lab.check_bank(&bytes) > 0);
            worker.stop();
        }
    }
}

#[test]
fn a_reader_changes_nothing_and_does_not_stop_the_application() {
    let lab = Lab::new();
    lab.make_bank("wal", 4096);
    let code = format!(
        "{BANK}\nc = connect()\nfor i in range(50): transact(c)\nprint('ready', flush=True)\nsys.stdin.readline()\ntransact(c)\nc.close()"
    );
    let mut worker = Worker::start(&lab.db(), &code);
    let before: Vec<Vec<u8>> =
        ["", "-wal"].map(|suffix| std::fs::read(format!("{}{suffix}", lab.db().display())).unwrap()).into();
    lab.read();
    let after: Vec<Vec<u8>> =
        ["", "-wal"].map(|suffix| std::fs::read(format!("{}{suffix}", lab.db().display())).unwrap()).into();
    assert!(before == after, "reading must not checkpoint");
    worker.tell("go on");
    worker.stop();
    assert_eq!(lab.files(), ["lrl.db"], "the application's close cleans up as if nobody had read");
}
