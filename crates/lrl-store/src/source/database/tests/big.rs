//! Large databases: speed, and the lock-byte page. Run by name, with `--ignored --nocapture`.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::time::{Duration, Instant};

use super::{Collect, Lab};
use crate::error::Result;
use crate::progress::Silent;
use crate::source::database::clone::DatabaseClone;
use crate::source::database::clone::tests::pretend;
use crate::source::database::connect::open_live;
use crate::source::database::pages::Transaction;
use crate::source::database::{Method, ReadOptions, observe, plain_file, read_image};

fn fill(lab: &Lab, mode: &str, page_size: u32, rows: u64) {
    lab.python(&format!(
        "c = sqlite3.connect(db, isolation_level=None)\nc.execute('PRAGMA page_size={page_size}')\nc.execute('PRAGMA journal_mode={mode}')\n\
         c.execute('PRAGMA synchronous=OFF')\nc.execute('CREATE TABLE t(id INTEGER PRIMARY KEY, x BLOB)')\n\
         c.execute('WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i<{rows}) INSERT INTO t SELECT i, randomblob(1000) FROM n')\n\
         c.close()"
    ));
}

fn timed<T>(what: &str, bytes: u64, work: impl FnOnce() -> T) -> T {
    let started = Instant::now();
    let result = work();
    let took = started.elapsed();
    println!("{what}: {took:.1?}, {:.2} GB/s", bytes as f64 / took.as_secs_f64() / 1e9);
    result
}

fn drop_cache(lab: &Lab) {
    lab.python("fd = os.open(db, os.O_RDONLY)\nos.fsync(fd)\nos.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)");
}

#[test]
#[ignore = "a measurement"]
fn speed() {
    for mode in ["delete", "wal"] {
        let lab = Lab::new();
        fill(&lab, mode, 4096, 115_000);
        let size = std::fs::metadata(lab.db()).unwrap().len();
        println!("{mode}: {size} bytes");
        let scratch = lab.scratch();
        let options = ReadOptions { busy: Duration::ZERO, scratch: &scratch };
        let mut sum = 0u64;
        let mut sink = |piece: &[u8]| -> Result<()> {
            sum += piece.len() as u64 + u64::from(piece[0]);
            Ok(())
        };
        for cache in ["warm", "warm", "cold"] {
            if cache == "cold" {
                drop_cache(&lab);
            }
            let image = timed(&format!("read_image, {cache}"), size, || {
                read_image(&lab.db(), &options, &mut sink, &Silent).unwrap()
            });
            println!("    {:?}, under the lock {:.1?}", image.method, image.held);
        }
        drop_cache(&lab);
        let cached = || {
            println!(
                "    {}",
                String::from_utf8_lossy(&std::process::Command::new("fincore").arg(lab.db()).output().unwrap().stdout)
            )
        };
        cached();
        timed("warming what is cold", size, || plain_file::warm(&lab.db(), &Silent).unwrap());
        cached();
        timed("warming what is warm", size, || plain_file::warm(&lab.db(), &Silent).unwrap());
        timed("observe", size, || observe(&lab.db()).unwrap().unwrap());
        for _ in 0..2 {
            let conn = open_live(&lab.db()).unwrap();
            let transaction = Transaction::begin(conn).unwrap();
            let copied = timed("backup API", size, || {
                transaction.copy_by_backup(&lab.db(), &lab.scratch(), &mut sink, &Silent).unwrap()
            });
            println!("    under the lock {:.1?}", copied.held);
        }
        std::thread::sleep(Duration::from_millis(2100));
        if mode == "wal" {
            lab.python("[os.path.exists(db + s) and os.remove(db + s) for s in ('-wal', '-shm')]");
        }
        let image = timed("settled", size, || read_image(&lab.db(), &options, &mut sink, &Silent).unwrap());
        println!("    {:?}, under the lock {:.1?}", image.method, image.held);
    }
}

#[test]
#[ignore = "a measurement"]
fn speed_of_observing_a_wal() {
    let lab = Lab::new();
    fill(&lab, "wal", 4096, 10);
    let code = "c = sqlite3.connect(db, isolation_level=None)\nfor i in range(900): c.execute('INSERT INTO t(x) VALUES(randomblob(3000))')\n\
                print('ready', flush=True)\nsys.stdin.read()";
    let worker = super::Worker::start(&lab.db(), code);
    let size = std::fs::metadata(format!("{}-wal", lab.db().display())).unwrap().len();
    for _ in 0..3 {
        timed(&format!("observe with a WAL of {size} bytes"), size, || observe(&lab.db()).unwrap().unwrap());
    }
    worker.stop();
}

#[test]
#[ignore = "writes three gigabytes"]
fn the_lock_byte_page_is_zero_and_nothing_else_differs() {
    for page_size in [65536, 4096] {
        let lab = Lab::new();
        fill(&lab, "delete", page_size, 1_100_000);
        // The page is never used: whatever is there means nothing.
        let source = File::options().read(true).write(true).open(lab.db()).unwrap();
        source.write_all_at(b"not zero", 1 << 30).unwrap();
        pretend(true);
        let conn = open_live(&lab.db()).unwrap();
        let transaction = Transaction::begin(conn).unwrap();
        let (mut by_pages, mut by_backup) = (Collect::default(), Collect::default());
        transaction.stream_pages(&mut by_pages, &Silent).unwrap().unwrap();
        let clone = DatabaseClone::new(&source, &lab.db(), page_size, transaction.size_bytes()).unwrap();
        let mut pages = Vec::new();
        for first in (1..=transaction.page_count).step_by(1000) {
            let last = transaction.page_count.min(first + 999);
            clone.read(first, last, &mut pages).unwrap();
            let at = (first - 1) as usize * page_size as usize;
            assert!(pages == by_pages.0[at..at + pages.len()], "pages {first} to {last}");
        }
        let copied = transaction.copy_by_backup(&lab.db(), &lab.scratch(), &mut by_backup, &Silent).unwrap();
        assert_eq!(copied.method, Method::BackupApi);
        assert!(by_pages.0.len() > 1 << 30);
        super::live::assert_same_image(&by_pages.0, &by_backup.0);
        let at = 1 << 30;
        assert!(by_pages.0[at..at + page_size as usize].iter().all(|byte| *byte == 0));
        assert_eq!(by_pages.0.len() as u64, std::fs::metadata(lab.db()).unwrap().len());
    }
}
