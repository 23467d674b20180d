//! How an image is read: through SQLite, by plain reads, or from a recovered copy. Owns the decision; never changes the database, its
//! journal or its WAL, and never lets the application wait for longer than the copying takes.

use std::fs::{self, File};
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use super::connect::{Refusal, describe, open_copy, open_immutable, open_live, tables};
use super::model::{HeldFor, Image, ImageSink, Method, ReadOptions};
use super::pages::{Copied, Transaction, is_wal, page_size};
use super::plain_file;
use super::shm::Published;
use super::state::{Stamp, header_u32, side_file, unfinished_journal, used_pages};
use super::wal_changes::WalMark;
use crate::error::{Error, Result};
use crate::hint::Message;
use crate::progress::{Observer, checkpoint};

/// How often a hot journal must be seen before it is believed.
const HOT_TRIES: u64 = 10;
/// How long to wait until the times of a database that was closed a moment ago prove that nobody writes to it.
const CLOSED_PATIENCE: Duration = Duration::from_secs(3);
/// Databases in rollback mode up to this length are read under the lock at once: their writers wait for some hundredths of a second.
pub(super) const LOCKED_UP_TO: u64 = 32 << 20;

/// Keeps `restart` away from a sink that has got nothing yet.
struct Counting<'a> {
    inner: &'a mut dyn ImageSink,
    bytes: u64,
}

impl ImageSink for Counting<'_> {
    fn bytes(&mut self, piece: &[u8]) -> Result<()> {
        self.bytes += piece.len() as u64;
        self.inner.bytes(piece)
    }

    fn restart(&mut self) -> Result<()> {
        if std::mem::take(&mut self.bytes) == 0 { Ok(()) } else { self.inner.restart() }
    }
}

/// A database of which one image is read, in two steps: its version is held first, where SQLite's locks can do that.
pub struct Reading<'a> {
    pub(super) db: PathBuf,
    pub(super) shown: &'a Path,
    pub(super) options: &'a ReadOptions<'a>,
    pub(super) observer: &'a dyn Observer,
    pub(super) started: Instant,
    /// Holds the version that is read.
    pub(super) transaction: Option<Transaction>,
    /// The file, where it can be cloned: opened before the transaction's connection, and closed after it.
    pub(super) source: Option<File>,
    /// Where the WAL was before that.
    pub(super) mark: Option<WalMark>,
    /// What its index published before that.
    pub(super) published: Option<Published>,
}

impl<'a> Reading<'a> {
    /// Prepares to read `db`: follows links, because SQLite keeps the side files beside the real file, and checks that it is ours.
    pub(super) fn new(db: &'a Path, options: &'a ReadOptions<'a>, observer: &'a dyn Observer) -> Result<Self> {
        let real = fs::canonicalize(db).map_err(|error| source_error(db, format!("cannot be opened: {error}")))?;
        let started = Instant::now();
        let (transaction, source, mark, published) = (None, None, None, None);
        let reading = Self { db: real, shown: db, options, observer, started, transaction, source, mark, published };
        reading.check_ours()?;
        // Nobody waits for a reader in WAL mode, and long files are read before without a lasting lock.
        if !is_wal(&reading.header()?) && reading.db.metadata().is_ok_and(|meta| meta.len() <= LOCKED_UP_TO) {
            plain_file::warm(&reading.db, observer)?;
        }
        Ok(reading)
    }

    /// Reads until one image is whole.
    ///
    /// # Errors
    /// As [`super::read_image`].
    pub(crate) fn read(&mut self, sink: &mut dyn ImageSink) -> Result<Image> {
        let mut sink = Counting { inner: sink, bytes: 0 };
        self.started = Instant::now();
        loop {
            if let Some(image) = self.attempt(&mut sink)? {
                return Ok(image);
            }
            sink.restart()?;
            self.wait_for_quiet()?;
        }
    }

    /// Refuses everything but a regular file that belongs to us, or us being root.
    fn check_ours(&self) -> Result<()> {
        let meta = fs::metadata(&self.db).map_err(|error| self.fail(format!("cannot be opened: {error}")))?;
        if !meta.is_file() {
            return Err(self.fail("is not a regular file"));
        }
        let me = rustix::process::geteuid();
        if !me.is_root() && me.as_raw() != meta.uid() {
            return Err(self.fail(format!(
                "belongs to user {} and this is user {}: only its owner or root may back it up, anyone else would leave files beside \
                 it that the application cannot write; run as that user or as root",
                meta.uid(),
                me.as_raw()
            )));
        }
        Ok(())
    }

    /// Reads the image in the way that fits what is there now; `None` if that changed on the way.
    fn attempt(&mut self, sink: &mut dyn ImageSink) -> Result<Option<Image>> {
        if let Some(held) = self.transaction.take() {
            return match self.copy(held, sink)? {
                Ok(image) => Ok(Some(image)),
                Err(reason) => self.read_as_bytes(reason, sink),
            };
        }
        let Some(stamp) = Stamp::of(&self.db)? else { return Err(self.fail("is not there any more")) };
        if stamp.size == 0 && !unfinished_journal(&self.db)? {
            return Ok(Some(unreadable(&[], 0, "the file is empty (0 bytes)".into())));
        }
        if self.is_closed_wal()? {
            if stamp.would_show_a_write(plain_file::file_clock(self.options.scratch)?) {
                return self.read_closed_wal(&stamp, sink);
            }
            // Closed a moment ago: SQLite would leave a `-wal` and a `-shm` there, two seconds of patience leave nothing.
            if self.started.elapsed() < CLOSED_PATIENCE {
                return Ok(None);
            }
        }
        let refusal = match self.begin()? {
            Ok(held) => match self.copy(held, sink)? {
                Ok(image) => return Ok(Some(image)),
                Err(reason) => Refusal::NotDatabase(reason),
            },
            Err(refusal) => refusal,
        };
        match refusal {
            Refusal::HotJournal => self.read_recovered(sink),
            Refusal::NoSideFiles(reason) if !is_wal(&self.header()?) => {
                Err(self.fail(format!("cannot be opened: {reason}")))
            }
            // Where not even the owner can make the side files, nobody has the database open in WAL mode.
            Refusal::NoSideFiles(_) if plain_file::exists(&side_file(&self.db, "-wal"))? => self.read_recovered(sink),
            Refusal::NoSideFiles(_) => self.settle()?.map_or(Ok(None), |stamp| self.read_closed_wal(&stamp, sink)),
            Refusal::NotDatabase(reason) => self.read_as_bytes(reason, sink),
            Refusal::Busy => self.wait_for_lock(self.started).map(|()| None),
            Refusal::Other(reason) => Err(self.fail(format!("cannot be read: {reason}"))),
        }
    }

    /// Begins to read through SQLite and its locks: the usual way.
    pub(super) fn begin(&self) -> Result<Result<Transaction, Refusal>> {
        let mut conn = match open_live(&self.db) {
            Ok(conn) => conn,
            Err(error) => return Ok(Err(error.into())),
        };
        let mut hot = 0;
        loop {
            let refused = match Transaction::begin(conn) {
                Ok(transaction) => return Ok(Ok(transaction)),
                Err(refused) => *refused,
            };
            match refused {
                (Refusal::Busy, again) => {
                    self.wait_for_lock(self.started)?;
                    conn = again;
                }
                // SQLite looks at the writer's lock first and at the journal second. A writer that begins in between makes a
                // read-only connection see a hot journal where there is none; one that a crash left is still there later.
                (Refusal::HotJournal, again) if hot < HOT_TRIES => {
                    hot += 1;
                    checkpoint(self.observer)?;
                    thread::sleep(Duration::from_millis(hot));
                    conn = again;
                }
                (refusal, _) => return Ok(Err(refusal)),
            }
        }
    }

    /// Copies the image of a transaction; the inner error is why the file's bytes say more.
    fn copy(&self, held: Transaction, sink: &mut dyn ImageSink) -> Result<Result<Image, String>> {
        let (size, tables) = (held.size_bytes(), held.tables.clone());
        match held.copy(self.shown, self.options.scratch, sink, self.observer)? {
            Some(copied) => Ok(Ok(describe_image(copied, size, tables))),
            None => Ok(Err(tables.err().unwrap_or_default())),
        }
    }

    /// Returns whether this is a WAL-mode database that was closed cleanly and that nobody has opened since. Opening it through SQLite
    /// would leave a `-wal` and a `-shm` beside it.
    ///
    /// No `-wal` means that the file alone is the database: the last connection removes it only after everything is checkpointed and
    /// synced. The check lies between two equal stamps (`before` and the one after reading), so what is read is that database, also
    /// if somebody opens it and writes to a new `-wal` meanwhile.
    pub(super) fn is_closed_wal(&self) -> Result<bool> {
        Ok(is_wal(&self.header()?)
            && !plain_file::exists(&side_file(&self.db, "-wal"))?
            && !unfinished_journal(&self.db)?)
    }

    fn read_closed_wal(&self, stamp: &Stamp, sink: &mut dyn ImageSink) -> Result<Option<Image>> {
        let tables = open_immutable(&self.db)
            .and_then(|conn| tables(&conn).map(|tables| tables.names))
            .map_err(|error| describe(&error));
        let Some(header) = plain_file::stream(&self.db, stamp, sink, self.observer)? else { return Ok(None) };
        let copied = Copied { header, method: Method::PlainFile, held: HeldFor::default() };
        Ok(Some(describe_image(copied, stamp.size, tables)))
    }

    /// Lets SQLite roll back or replay a copy: in place that is the application's business.
    fn read_recovered(&self, sink: &mut dyn ImageSink) -> Result<Option<Image>> {
        let scratch = self.options.scratch;
        let dir = plain_file::CopyDir::new(scratch)?;
        let copy = dir.path().join("database");
        // Waiting happens here and not in another attempt: as root, SQLite's own look at a journal sets its owner, and so its ctime.
        let started = Instant::now();
        while !plain_file::side_files_are_quiet(&self.db, scratch)? {
            if started.elapsed() > Duration::from_secs(3) {
                // Somebody writes, so somebody has rolled it back.
                return Ok(None);
            }
            self.wait_for_quiet()?;
        }
        if !plain_file::copy_with_side_files(&self.db, &copy, self.observer)? {
            return Ok(None);
        }
        let conn =
            open_copy(&copy).map_err(|error| self.fail(format!("its copy cannot be opened: {}", describe(&error))))?;
        let transaction = match Transaction::begin(conn).map_err(|refused| refused.0) {
            Ok(transaction) => transaction,
            Err(Refusal::NotDatabase(reason)) => return self.read_as_bytes(reason, sink),
            Err(refusal) => return Err(self.fail(format!("its copy cannot be rolled back: {refusal:?}"))),
        };
        let (size, tables) = (transaction.size_bytes(), transaction.tables.clone());
        let Some(mut copied) = transaction.copy(self.shown, scratch, sink, self.observer)? else {
            return self.read_as_bytes(tables.err().unwrap_or_default(), sink);
        };
        copied.method = Method::RecoveredCopy;
        copied.held = HeldFor::default();
        if size == 0 {
            return Ok(Some(unreadable(&[], 0, "the file is empty (0 bytes)".into())));
        }
        Ok(Some(describe_image(copied, size, tables)))
    }

    /// Keeps a file that SQLite cannot open, as it is.
    fn read_as_bytes(&self, mut reason: String, sink: &mut dyn ImageSink) -> Result<Option<Image>> {
        for suffix in ["-wal", "-journal"] {
            if Stamp::of(&side_file(&self.db, suffix))?.is_some_and(|stamp| stamp.size > 0) {
                reason.push_str(&format!("; its {suffix} file is not part of the copy"));
            }
        }
        let Some(stamp) = self.settle()? else { return Ok(None) };
        let Some(header) = plain_file::stream(&self.db, &stamp, sink, self.observer)? else {
            return Ok(None);
        };
        Ok(Some(unreadable(&header, stamp.size, reason)))
    }

    /// Waits until a write to the file would show in its times; `None` if the file is gone.
    fn settle(&self) -> Result<Option<Stamp>> {
        loop {
            let Some(stamp) = Stamp::of(&self.db)? else { return Ok(None) };
            if stamp.would_show_a_write(plain_file::file_clock(self.options.scratch)?) {
                return Ok(Some(stamp));
            }
            self.wait_for_quiet()?;
        }
    }

    /// Reads the first 100 bytes; fewer if there are fewer. Only while SQLite does not have the file open.
    pub(super) fn header(&self) -> Result<Vec<u8>> {
        let mut header = Vec::with_capacity(100);
        let file = File::open(&self.db).map_err(|error| self.fail(format!("cannot be opened: {error}")))?;
        file.take(100).read_to_end(&mut header).map_err(Error::io("read", self.shown))?;
        if header.len() < 100 {
            header.clear();
        }
        Ok(header)
    }

    /// Sleeps a moment for another process's lock, or fails once the caller's patience, counted from `since`, is over.
    pub(super) fn wait_for_lock(&self, since: Instant) -> Result<()> {
        let advice =
            "look for a long transaction or a program that holds it open (fuser, lsof), then run the command again";
        self.wait("is locked by another process", advice, since, self.options.busy)
    }

    /// Sleeps a moment while file times are too recent to prove anything, which takes two seconds whatever the caller's patience.
    fn wait_for_quiet(&self) -> Result<()> {
        let patience = self.options.busy.max(Duration::from_secs(4));
        self.wait(
            "keeps changing and has no lock to hold",
            "stop the program that writes it, then run the command again",
            self.started,
            patience,
        )
    }

    fn wait(&self, what: &str, advice: &str, since: Instant, patience: Duration) -> Result<()> {
        checkpoint(self.observer)?;
        let waited = since.elapsed();
        if waited >= patience {
            return Err(self.fail(format!("{what} (waited {:.0} s): {advice}", waited.as_secs_f64())));
        }
        // Briefly at first, because a busy application leaves short gaps; later it costs too many tries.
        let nap = (waited / 50).clamp(Duration::from_millis(1), Duration::from_millis(20));
        thread::sleep(nap.min(patience - waited));
        Ok(())
    }

    fn fail(&self, detail: impl Into<Message>) -> Error {
        source_error(self.shown, detail)
    }
}

fn source_error(path: &Path, detail: impl Into<Message>) -> Error {
    Error::Source { path: PathBuf::from(path), detail: detail.into() }
}

pub(super) fn describe_image(copied: Copied, size_bytes: u64, tables: Result<Vec<String>, String>) -> Image {
    let (tables, schema_error) = match tables {
        Ok(tables) => (Some(tables), None),
        Err(reason) => (None, Some(reason)),
    };
    Image {
        size_bytes,
        page_size: page_size(&copied.header),
        change_counter: header_u32(&copied.header, 24),
        used_pages: used_pages(&copied.header, page_size(&copied.header), size_bytes),
        tables,
        schema_error,
        held: copied.held,
        method: copied.method,
    }
}

fn unreadable(header: &[u8], size_bytes: u64, reason: String) -> Image {
    let copied = Copied { header: header.to_vec(), method: Method::PlainFile, held: HeldFor::default() };
    describe_image(copied, size_bytes, Err(reason))
}
