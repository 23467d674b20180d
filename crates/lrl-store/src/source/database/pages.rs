//! The image read through SQLite, inside one read transaction. Owns the choice between `sqlite_dbpage`, the backup API and a clone of the file;
//! never waits for a lock and never looks at the file by other means.

use std::fs::File;
use std::path::Path;
use std::time::{Duration, Instant};

use rusqlite::backup::{Backup, StepResult};
use rusqlite::config::DbConfig;
use rusqlite::types::ValueRef;
use rusqlite::{Connection, OpenFlags};

use super::clone::DatabaseClone;
use super::connect::{Refusal, describe, tables};
use super::model::{HeldFor, ImageSink, Method};
use super::plain_file;
use super::source::MAGIC;
use super::state::{Stamp, header_u32};
use crate::budget::PIECE_BYTES;
use crate::error::{Error, Result};
use crate::progress::{Observer, checkpoint};

/// Adds the pages from one number to another, both included, to `bytes`; `sqlite_dbpage` looks for one page at a time without reading those
/// before it. It ends early at a page that is not there.
pub(super) fn read_pages(conn: &Connection, from: u64, to: u64, bytes: &mut Vec<u8>) -> rusqlite::Result<()> {
    let mut statement = conn.prepare_cached(
        "WITH RECURSIVE number(n) AS (VALUES(?1) UNION ALL SELECT n + 1 FROM number WHERE n < ?2)
         SELECT data FROM number JOIN sqlite_dbpage ON pgno = n",
    )?;
    let mut rows = statement.query([from as i64, to as i64])?;
    while let Some(row) = rows.next()? {
        let ValueRef::Blob(page) = row.get_ref(0)? else { break };
        bytes.extend_from_slice(page);
    }
    Ok(())
}

/// An open read transaction: from here to its end, what the connection sees is one version.
pub(crate) struct Transaction {
    conn: Connection,
    since: Instant,
    pub(crate) page_size: u32,
    pub(crate) page_count: u64,
    pub(crate) tables: Result<Vec<String>, String>,
    damaged: bool,
    /// Its readers and writers do not wait for each other.
    pub(crate) is_wal: bool,
    /// The version's pages, and for how long it was locked: the lock is gone.
    clone: Option<(DatabaseClone, HeldFor)>,
}

/// What was streamed, and how.
pub(crate) struct Copied {
    pub(crate) header: Vec<u8>,
    pub(crate) method: Method,
    pub(crate) held: HeldFor,
}

impl Transaction {
    /// Begins the transaction: takes the shared lock and reads the schema's tables. Gives the connection back where that is refused.
    pub(crate) fn begin(conn: Connection) -> Result<Self, Box<(Refusal, Connection)>> {
        match Begun::new(&conn) {
            Ok(Begun { since, page_size, page_count, tables, damaged }) => {
                let mode = conn.pragma_query_value(None, "journal_mode", |row| row.get::<_, String>(0));
                let is_wal = mode.is_ok_and(|mode| mode == "wal");
                Ok(Self { conn, since, page_size, page_count, tables, damaged, is_wal, clone: None })
            }
            Err(refusal) => Err(Box::new((refusal, conn))),
        }
    }

    /// Lets go of the lock of a database in rollback mode if its file can be cloned: the pages come from the clone then. `source` is that file; it
    /// must have been opened before the connection, and is to be closed after it.
    pub(crate) fn detach(&mut self, source: &File, db: &Path) {
        let Some(header) = self.header().filter(|_| !self.is_wal && self.tables.is_ok()) else { return };
        let Some(clone) = DatabaseClone::new(source, db, self.page_size, self.size_bytes()) else { return };
        let mut first = Vec::new();
        if clone.read(1, 1, &mut first).is_ok()
            && first.starts_with(&header)
            && self.conn.execute_batch("COMMIT").is_ok()
        {
            self.clone = Some((clone, HeldFor { locked: self.since.elapsed(), wal: Duration::ZERO }));
        }
    }

    /// Returns whether its writers wait for its end.
    pub(crate) fn blocks_writers(&self) -> bool {
        !self.is_wal && self.clone.is_none()
    }

    /// Streams the image and ends the transaction. Any doubt about `sqlite_dbpage` leads to the backup API, whose copy is made under
    /// the lock in `scratch` and streamed after it. `None` if the database is so damaged that the file's bytes say more.
    pub(crate) fn copy(
        self,
        path: &Path,
        scratch: &Path,
        sink: &mut dyn ImageSink,
        observer: &dyn Observer,
    ) -> Result<Option<Copied>> {
        if let Some(header) = self.stream_pages(sink, observer)? {
            let method = if self.clone.is_some() { Method::Clone } else { Method::Pages };
            return Ok(Some(Copied { header, method, held: self.end() }));
        }
        sink.restart()?;
        if self.damaged {
            return Ok(None);
        }
        self.copy_by_backup(path, scratch, sink, observer).map(Some)
    }

    /// Streams the image page by page; `None` on any doubt.
    pub(crate) fn stream_pages(&self, sink: &mut dyn ImageSink, observer: &dyn Observer) -> Result<Option<Vec<u8>>> {
        if let Some((clone, _)) = &self.clone {
            return clone.stream(self.page_count, sink, observer).map(Some);
        }
        let Ok(mut statement) = self.conn.prepare("SELECT pgno, data FROM sqlite_dbpage ORDER BY pgno") else {
            return Ok(None);
        };
        let Ok(mut rows) = statement.query([]) else { return Ok(None) };
        let mut piece = Vec::with_capacity(PIECE_BYTES);
        let mut header = Vec::new();
        let mut pages = 0;
        loop {
            let row = match rows.next() {
                Ok(Some(row)) => row,
                Ok(None) => break,
                Err(_) => return Ok(None),
            };
            let (Ok(ValueRef::Integer(number)), Ok(ValueRef::Blob(page))) = (row.get_ref(0), row.get_ref(1)) else {
                return Ok(None);
            };
            pages += 1;
            if u64::try_from(number) != Ok(pages) || page.len() != self.page_size as usize || pages > self.page_count {
                return Ok(None);
            }
            if pages == 1 {
                header = page[..100].to_vec();
                if !self.fits(&header) {
                    return Ok(None);
                }
            }
            if piece.len() + page.len() > PIECE_BYTES {
                checkpoint(observer)?;
                sink.bytes(&piece)?;
                piece.clear();
            }
            piece.extend_from_slice(page);
        }
        if pages != self.page_count {
            return Ok(None);
        }
        if !piece.is_empty() {
            sink.bytes(&piece)?;
        }
        Ok(Some(header))
    }

    /// Reads pages, `from` and `to` included, into `bytes`; returns whether all are there.
    pub(crate) fn read_pages(&self, from: u64, to: u64, bytes: &mut Vec<u8>) -> bool {
        bytes.clear();
        let is_read = !self.damaged
            && to <= self.page_count
            && match &self.clone {
                Some((clone, _)) => clone.read(from, to, bytes).is_ok(),
                None => read_pages(&self.conn, from, to, bytes).is_ok(),
            };
        is_read && bytes.len() as u64 == (to + 1).saturating_sub(from) * u64::from(self.page_size)
    }

    /// Returns the header, if it can be read and agrees with what SQLite says about the sizes.
    pub(crate) fn header(&self) -> Option<Vec<u8>> {
        let mut page = Vec::new();
        let is_read = self.read_pages(1, 1, &mut page);
        page.truncate(100);
        (is_read && self.fits(&page)).then_some(page)
    }

    /// Returns the length of the image in bytes.
    pub(crate) fn size_bytes(&self) -> u64 {
        self.page_count * u64::from(self.page_size)
    }

    /// Returns whether the header agrees with what SQLite says about the sizes.
    fn fits(&self, header: &[u8]) -> bool {
        let in_header = u64::from(header_u32(header, 28));
        // Old writers leave the page count of the header stale, which they mark by not copying the change counter.
        let stale = header_u32(header, 24) != header_u32(header, 92);
        page_size(header) == self.page_size && (stale || in_header == self.page_count)
    }

    pub(crate) fn copy_by_backup(
        self,
        path: &Path,
        scratch: &Path,
        sink: &mut dyn ImageSink,
        observer: &dyn Observer,
    ) -> Result<Copied> {
        let dir = plain_file::CopyDir::new(scratch)?;
        let copy = dir.path().join("database");
        drop(plain_file::create_private(&copy)?);
        let failed = |error: rusqlite::Error| Error::Source {
            path: path.to_path_buf(),
            detail: format!("cannot be copied to {}: {}", copy.display(), describe(&error)).into(),
        };
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let mut target = Connection::open_with_flags(&copy, flags).map_err(failed)?;
        // The copy is worth nothing after a crash: no journal and no syncing while the application waits.
        target
            .execute_batch("PRAGMA journal_mode=OFF; PRAGMA synchronous=OFF; PRAGMA locking_mode=EXCLUSIVE")
            .map_err(failed)?;
        {
            let backup = Backup::new(&self.conn, &mut target).map_err(failed)?;
            // Steps only to see an interruption: the transaction keeps the version, and the lock, from the first to the last.
            let pages = i32::try_from((16 << 20) / self.page_size).unwrap_or(1);
            loop {
                checkpoint(observer)?;
                match backup.step(pages).map_err(failed)? {
                    StepResult::Done => break,
                    StepResult::More => {}
                    _ => return Err(Error::Source { path: path.to_path_buf(), detail: "its copy is locked".into() }),
                }
            }
        }
        let expected = self.size_bytes();
        let held = self.end();
        target.close().map_err(|(_, error)| failed(error))?;
        let changed = || Error::corrupt(copy.display(), "is not what SQLite's backup wrote");
        let stamp = Stamp::of(&copy)?.filter(|stamp| stamp.size == expected).ok_or_else(changed)?;
        let header = plain_file::stream(&copy, &stamp, sink, observer)?.ok_or_else(changed)?;
        Ok(Copied { header, method: Method::BackupApi, held })
    }

    /// Ends the transaction and returns for how long it was open.
    pub(crate) fn end(self) -> HeldFor {
        if let Some((_, held)) = self.clone {
            return held;
        }
        // Nothing was written: a failing COMMIT loses nothing, and closing the connection releases the lock as well.
        let _ = self.conn.execute_batch("COMMIT");
        let open = self.since.elapsed();
        match self.is_wal {
            true => HeldFor { locked: Duration::ZERO, wal: open },
            false => HeldFor { locked: open, wal: Duration::ZERO },
        }
    }
}

/// What a transaction is when it has begun.
struct Begun {
    since: Instant,
    page_size: u32,
    page_count: u64,
    tables: Result<Vec<String>, String>,
    damaged: bool,
}

impl Begun {
    fn new(conn: &Connection) -> Result<Self, Refusal> {
        let since = Instant::now();

        let mut schema_error = None;
        let mut counted = begin_and_count(conn);
        if let Err(Refusal::NotDatabase(reason)) = &counted {
            // A damaged schema keeps SQLite from preparing any statement. This setting makes it go on with what it could read (and
            // with a file shorter than its header says), after one more failing statement.
            schema_error = Some(reason.clone());
            conn.set_db_config(DbConfig::SQLITE_DBCONFIG_WRITABLE_SCHEMA, true)?;
            counted = begin_and_count(conn).or_else(|_| begin_and_count(conn));
        }
        let (page_size, page_count) = match (counted, schema_error.clone()) {
            (Ok(counted), _) => counted,
            (Err(Refusal::NotDatabase(_)), Some(first)) => return Err(Refusal::NotDatabase(first)),
            (Err(refusal), _) => return Err(refusal),
        };
        let damaged = schema_error.is_some();
        // Every page is read once: a small cache stays in the processor's.
        conn.pragma_update(None, "cache_size", 64)?;
        let tables = match schema_error {
            Some(reason) => Err(reason),
            None => tables(conn).map(|tables| tables.names).map_err(|error| describe(&error)),
        };
        Ok(Self { since, page_size, page_count, tables, damaged })
    }
}

impl Drop for Transaction {
    fn drop(&mut self) {
        if !self.conn.is_autocommit() {
            let _ = self.conn.execute_batch("ROLLBACK");
        }
    }
}

fn begin_and_count(conn: &Connection) -> Result<(u32, u64), Refusal> {
    if !conn.is_autocommit() {
        conn.execute_batch("ROLLBACK")?;
    }
    conn.execute_batch("BEGIN")?;
    let counted = conn
        .pragma_query_value(None, "page_count", |row| row.get::<_, i64>(0))
        .and_then(|count| Ok((conn.pragma_query_value(None, "page_size", |row| row.get::<_, u32>(0))?, count)));
    match counted {
        Ok((size, count)) => Ok((size, u64::try_from(count).unwrap_or(0))),
        Err(error) => {
            let _ = conn.execute_batch("ROLLBACK");
            Err(error.into())
        }
    }
}

/// Returns whether a header (of 100 bytes) asks for WAL mode.
pub(crate) fn is_wal(header: &[u8]) -> bool {
    page_size(header) > 0 && header[18..20] == [2, 2]
}

/// Returns the page size in bytes that a database header names; 0 if it is not the header of a database.
pub(crate) fn page_size(header: &[u8]) -> u32 {
    if header.len() < 100 || !header.starts_with(MAGIC) {
        return 0;
    }
    match u32::from(u16::from_be_bytes([header[16], header[17]])) {
        1 => 65536,
        size if size >= 512 && size.is_power_of_two() => size,
        _ => 0,
    }
}
