//! Tests of the whole module against other processes. Owns the helpers; the writers are Python's `sqlite3`, another build of SQLite.

mod big;
mod changes;
mod clones;
mod faults;
mod inspecting;
mod live;
mod states;

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::Duration;

use super::inspect::Inspector;
use super::user_query::Value;
use super::{Image, ImageSink, ReadOptions, read_image};
use crate::error::Result;
use crate::progress::Silent;

/// How many rounds the racing tests do in each journal mode; more by `LRL_TEST_ROUNDS`.
fn rounds() -> usize {
    std::env::var("LRL_TEST_ROUNDS").ok().and_then(|text| text.parse().ok()).unwrap_or(60)
}

/// A temporary directory with a `data` and a `scratch` directory in it.
struct Lab {
    dir: tempfile::TempDir,
}

impl Lab {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("data")).unwrap();
        fs::create_dir(dir.path().join("scratch")).unwrap();
        Self { dir }
    }

    fn db(&self) -> PathBuf {
        self.dir.path().join("data/lrl.db")
    }

    fn scratch(&self) -> PathBuf {
        self.dir.path().join("scratch")
    }

    /// Runs Python with `db` and `sqlite3` at hand and fails the test if it fails.
    fn python(&self, code: &str) {
        let output = python(&self.db(), code).stderr(Stdio::piped()).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }

    /// Makes the bank of `BANK` in a journal mode.
    fn make_bank(&self, mode: &str, page_size: u32) {
        self.python(&format!("{BANK}\nmake({mode:?}, {page_size})"));
    }

    fn read(&self) -> (Image, Vec<u8>) {
        self.try_read(Duration::from_secs(20)).unwrap()
    }

    fn try_read(&self, busy: Duration) -> Result<(Image, Vec<u8>)> {
        let mut sink = Collect::default();
        let scratch = self.scratch();
        let image = read_image(&self.db(), &ReadOptions { busy, scratch: &scratch }, &mut sink, &Silent)?;
        assert_eq!(image.size_bytes, sink.0.len() as u64);
        assert_eq!(fs::read_dir(&scratch).unwrap().count(), 0, "something stayed in scratch");
        Ok((image, sink.0))
    }

    /// Names of the files in the data directory.
    fn files(&self) -> Vec<String> {
        let mut names: Vec<String> = fs::read_dir(self.dir.path().join("data"))
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    /// Sets the file's times back, so that it counts as settled without waiting (ctime cannot be set: waits for that).
    fn settle(&self) {
        std::thread::sleep(Duration::from_millis(2100));
    }

    /// Checks that an image is whole and that the bank's invariants hold in it; returns how many transactions it has seen.
    fn check_bank(&self, image: &[u8]) -> i64 {
        let path = self.scratch().join("image.sqlite");
        fs::write(&path, image).unwrap();
        let inspector = Inspector::open(&path, &Silent).unwrap();
        assert_eq!(inspector.integrity_check(10).unwrap(), crate::source::database::Integrity::default());
        let int = |sql: &str| match inspector.scalar(sql, &|| None).unwrap() {
            Value::Integer(number) => number,
            other => panic!("{sql}: {other:?}"),
        };
        assert_eq!(int("SELECT (SELECT sum(n) FROM a) + (SELECT sum(n) FROM b)"), 1000, "money was lost or made");
        assert_eq!(int("SELECT count(*) FROM log"), int("SELECT v FROM counter"), "a transaction is torn");
        let count = int("SELECT v FROM counter");
        drop(inspector);
        fs::remove_file(path).unwrap();
        count
    }
}

/// A sink that keeps everything and can start again.
#[derive(Default)]
struct Collect(Vec<u8>);

impl ImageSink for Collect {
    fn bytes(&mut self, piece: &[u8]) -> Result<()> {
        assert!(!piece.is_empty() && piece.len() <= crate::budget::PIECE_BYTES);
        self.0.extend_from_slice(piece);
        Ok(())
    }

    fn restart(&mut self) -> Result<()> {
        self.0.clear();
        Ok(())
    }
}

fn python(db: &Path, code: &str) -> Command {
    let mut command = Command::new("python3");
    let prelude = "import sqlite3, os, sys, random, signal, threading, time\ndb = sys.argv[1]\n";
    command.arg("-c").arg(format!("{prelude}{code}")).arg(db);
    command
}

/// A process that works until it is told to stop.
struct Worker {
    child: Child,
    stdin: Option<ChildStdin>,
}

impl Worker {
    /// Starts `code`, which prints a line when it is ready and stops when its standard input ends.
    fn start(db: &Path, code: &str) -> Self {
        let mut child = python(db, code).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
        assert_eq!(line, "ready\n");
        let stdin = child.stdin.take();
        Self { child, stdin }
    }

    /// Sends a line.
    fn tell(&mut self, line: &str) {
        writeln!(self.stdin.as_mut().unwrap(), "{line}").unwrap();
    }

    /// Waits for a line and returns it. No byte behind it is taken.
    fn hear(&mut self) -> String {
        let stdout = self.child.stdout.as_mut().unwrap();
        let (mut line, mut byte) = (String::new(), [0]);
        loop {
            stdout.read_exact(&mut byte).unwrap();
            match byte {
                [b'\n'] => return line,
                [other] => line.push(other.into()),
            }
        }
    }

    /// Lets it end by itself and returns what else it printed.
    fn stop(mut self) -> String {
        self.stdin = None;
        let mut rest = String::new();
        self.child.stdout.as_mut().unwrap().read_to_string(&mut rest).unwrap();
        assert!(self.child.wait().unwrap().success());
        rest
    }

    fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A bank whose tables only make sense together: the sum of `a` and `b` is 1000 and `counter` counts `log`.
const BANK: &str = r#"
def connect(mode=None):
    c = sqlite3.connect(db, timeout=30, isolation_level=None)
    c.execute("PRAGMA synchronous=OFF")
    if mode: c.execute("PRAGMA journal_mode=" + mode)
    return c
def make(mode, page_size):
    c = sqlite3.connect(db, isolation_level=None)
    c.execute("PRAGMA page_size=%d" % page_size)
    c.execute("PRAGMA journal_mode=" + mode)
    c.execute("PRAGMA synchronous=OFF")
    c.executescript("""BEGIN;
      CREATE TABLE a(id INTEGER PRIMARY KEY, n INT, pad TEXT); CREATE TABLE b(id INTEGER PRIMARY KEY, n INT, pad TEXT);
      CREATE TABLE counter(v INT); CREATE TABLE log(id INTEGER PRIMARY KEY, pad BLOB); CREATE INDEX log_pad ON log(substr(pad, 1, 8));
      INSERT INTO counter VALUES(0);""")
    for i in range(20):
        c.execute("INSERT INTO a VALUES(?, 25, ?)", (i, "x" * 300)); c.execute("INSERT INTO b VALUES(?, 25, ?)", (i, "y" * 300))
    c.execute("COMMIT")
    c.close()
def transact(c, rows=1):
    c.execute("BEGIN IMMEDIATE")
    n = random.randrange(-20, 20)
    c.execute("UPDATE a SET n = n + ? WHERE id = ?", (n, random.randrange(20)))
    c.execute("UPDATE counter SET v = v + ?", (rows,))
    for i in range(rows):
        c.execute("INSERT INTO log(pad) VALUES(?)", (random.randbytes(random.choice((10, 200, 9000))),))
    c.execute("UPDATE b SET n = n - ? WHERE id = ?", (n, random.randrange(20)))
    if random.random() < .1:
        cut = c.execute("DELETE FROM log WHERE id % 3 = 0").rowcount
        c.execute("UPDATE counter SET v = v - ?", (cut,))
    c.execute("COMMIT" if random.random() < .95 else "ROLLBACK")
"#;
