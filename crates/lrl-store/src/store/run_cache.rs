//! What makes the next run cheap: states of files, of the database and of outputs, and archive segments. Only a cache: it never says that
//! a chunk exists, every answer is checked against the snapshot or a digest, and losing it (or any part) costs time only.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::fs;
use std::io::Write;
use std::path::Path;

use rusqlite::{Connection, ErrorCode, params};

use crate::error::{Error, Result};
use crate::format::entry::Entry;
use crate::id::{ChunkId, PackId, SnapshotId};
use crate::source::database::{State, WalMark};
use crate::time::Time;

const VERSION: i64 = 5;
const SCAN_ROWS: usize = 1024;
/// Seconds for which it is told where something was copied to.
const COPIES_KEPT: i64 = 30 * 86_400;

const SCHEMA: &str = "
    CREATE TABLE files(source TEXT, path BLOB, ino INTEGER, ctime_s INTEGER, ctime_n INTEGER, tag INTEGER, PRIMARY KEY(source, path)) WITHOUT ROWID;
    CREATE TABLE scans(source TEXT, half TEXT, at INTEGER, PRIMARY KEY(source, half)) WITHOUT ROWID;
    CREATE TABLE databases(source TEXT, path BLOB, state TEXT, root BLOB, PRIMARY KEY(source, path));
    CREATE TABLE segments(key BLOB PRIMARY KEY, offset INTEGER, len INTEGER, digest BLOB, crc INTEGER, plain_len INTEGER) WITHOUT ROWID;
    CREATE TABLE archive(path BLOB, coder TEXT);
    CREATE TABLE healed(source TEXT, half TEXT, lost BLOB, PRIMARY KEY(source, half, lost)) WITHOUT ROWID;
    CREATE TABLE indexes(name TEXT PRIMARY KEY) WITHOUT ROWID;
    CREATE TABLE outputs(path BLOB PRIMARY KEY, stamp TEXT, sha256 TEXT) WITHOUT ROWID;
";

// It came later: caches of this version may lack it.
const NEWEST: &str =
    "CREATE TABLE IF NOT EXISTS newest(source TEXT PRIMARY KEY, sequence INTEGER, id BLOB) WITHOUT ROWID;";

// As this one: when a file of a set was last compared with its digest, by length, device and inode.
const VERIFIED: &str = "CREATE TABLE IF NOT EXISTS verified(file TEXT PRIMARY KEY, at INTEGER) WITHOUT ROWID;";

/// The cache of one store.
pub(crate) struct RunCache {
    db: Connection,
    /// Not written yet.
    packs: RefCell<PackNotes>,
}

#[derive(Default)]
struct PackNotes {
    /// Packs that were seen whole, with their lengths.
    whole: Vec<(PackId, u64)>,
    gone: Vec<PackId>,
}

/// What was true of a file when its list entry was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FileState {
    /// Inode number.
    pub ino: u64,
    /// Time of the last change of its inode.
    pub ctime: Time,
    /// Ties the state to one entry: see [`tag`].
    pub tag: i64,
}

/// Where a segment of the newest archive is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SegmentState {
    /// Offset in the archive.
    pub offset: u64,
    /// Compressed length.
    pub len: u64,
    /// Digest of the compressed bytes.
    pub digest: [u8; 32],
    /// CRC-32 of the plain bytes.
    pub crc32: u32,
    /// Plain length.
    pub plain_len: u64,
}

/// Identifies the version of an output file: size, inode and times.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Stamp(String);

impl Stamp {
    /// Takes the stamp of a file that lies still.
    pub(crate) fn of(path: &Path) -> Result<Self> {
        use std::os::unix::fs::MetadataExt;
        let m = fs::symlink_metadata(path).map_err(Error::io("look at", path))?;
        Ok(Self(format!(
            "{} {} {} {}.{} {}.{}",
            m.len(),
            m.dev(),
            m.ino(),
            m.mtime(),
            m.mtime_nsec(),
            m.ctime(),
            m.ctime_nsec()
        )))
    }

    /// Returns what stays the same when the file gets another name: length, device and inode.
    fn file(&self) -> String {
        self.0.split(' ').take(3).collect::<Vec<_>>().join(" ")
    }

    fn but_ctime(&self) -> Option<&str> {
        self.0.rsplit_once(' ').map(|(rest, _)| rest)
    }
}

/// Returns a short digest of an entry: a file state counts only together with the very entry that it was recorded for.
pub(crate) fn tag(entry: &Entry) -> i64 {
    let mut bytes = Vec::with_capacity(128);
    entry.encode(&mut bytes);
    i64::from_le_bytes(*ChunkId::of(&bytes).as_bytes().first_chunk().unwrap_or(&[0; 8]))
}

/// Paths sort in SQLite as lists do: `/` below every other byte.
fn key(path: &[u8]) -> Vec<u8> {
    path.iter().map(|b| if *b == b'/' { 0 } else { *b }).collect()
}

/// Creates a file that only its owner can read.
fn private(path: &Path) -> Option<fs::File> {
    use std::os::unix::fs::OpenOptionsExt;
    fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).ok()
}

impl RunCache {
    /// Opens the cache in `dir`, starting anew where it is damaged or of another version; `None` where that cannot be done.
    pub(crate) fn open(dir: &Path) -> Option<Self> {
        let tag = dir.join("CACHEDIR.TAG");
        if !tag.exists() {
            let text = "Signature: 8a477f597d28d172789f06886806bc55\n# This directory can be deleted at any time: the next backup takes longer, nothing is lost.\n";
            private(&tag)?.write_all(text.as_bytes()).ok()?;
        }
        let path = dir.join("cache.db");
        Self::open_file(&path)
            .or_else(|error| {
                // Another process works with it: that is no damage.
                if matches!(error.sqlite_error_code(), Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked)) {
                    return Err(error);
                }
                for suffix in ["", "-journal", "-wal", "-shm"] {
                    let mut side = path.clone().into_os_string();
                    side.push(suffix);
                    let _ = fs::remove_file(side);
                }
                Self::open_file(&path)
            })
            .ok()
    }

    fn open_file(path: &Path) -> rusqlite::Result<Self> {
        // SQLite would make it readable for everyone; it holds names.
        let _ = private(path);
        let db = Connection::open(path)?;
        db.busy_timeout(std::time::Duration::from_secs(10))?;
        // No WAL: its index is a file that SQLite maps, and on a full disk with small blocks a write to it is a SIGBUS. A run commits once.
        // An older lrl left a cache in WAL mode: in exclusive mode it is converted without that file.
        db.execute_batch(
            "PRAGMA locking_mode=EXCLUSIVE; PRAGMA journal_mode=TRUNCATE; PRAGMA locking_mode=NORMAL;
             PRAGMA synchronous=NORMAL; PRAGMA cache_size=-4096; PRAGMA mmap_size=0;",
        )?;
        let version = || db.query_row("PRAGMA user_version", [], |row| row.get::<_, i64>(0));
        if version()? == 0 {
            db.execute_batch("BEGIN IMMEDIATE")?;
            // Another process may have made the tables meanwhile.
            if version()? == 0 {
                db.execute_batch(&format!("{SCHEMA} PRAGMA user_version={VERSION};"))?;
            }
            db.execute_batch("COMMIT")?;
        }
        if version()? != VERSION {
            return Err(rusqlite::Error::InvalidQuery);
        }
        db.execute_batch(NEWEST)?;
        db.execute_batch(VERIFIED)?;
        Ok(Self { db, packs: RefCell::default() })
    }

    /// Begins to note what a run learns; it counts from [`RunCache::commit`] on. It grows by no more than `room` bytes, its journal included:
    /// beyond that nothing more is noted.
    pub(crate) fn begin(&self, room: u64) -> rusqlite::Result<()> {
        let number = |pragma| self.db.query_row(&format!("PRAGMA {pragma}"), [], |row| row.get::<_, i64>(0));
        let grown =
            number("page_count")?.unsigned_abs().saturating_add(room / 2 / number("page_size")?.max(1).unsigned_abs());
        self.db.pragma_update_and_check(None, "max_page_count", grown.min(i32::MAX as u64) as i64, |_| Ok(()))?;
        self.db.execute_batch("BEGIN IMMEDIATE")
    }

    /// Keeps what was noted since [`RunCache::begin`].
    pub(crate) fn commit(&self) -> rusqlite::Result<()> {
        // Without these notes packs are looked at again.
        let _ = self.write_whole_packs();
        self.db.execute_batch("COMMIT")
    }

    /// Starts reading the file states of a source in list order.
    pub(crate) fn files(&self, source: &str) -> FileStates {
        FileStates { source: source.into(), rows: VecDeque::new(), after: Vec::new(), done: false }
    }

    /// Notes the state of a file.
    pub(crate) fn put_file(&self, source: &str, path: &[u8], state: &FileState) -> rusqlite::Result<()> {
        self.db
            .prepare_cached("INSERT OR REPLACE INTO files VALUES(?,?,?,?,?,?)")?
            .execute(params![source, key(path), state.ino as i64, state.ctime.secs, state.ctime.nanos, state.tag])
            .map(|_| ())
    }

    fn remove_file(&self, source: &str, key: &[u8]) -> rusqlite::Result<()> {
        self.db.prepare_cached("DELETE FROM files WHERE source=? AND path=?")?.execute(params![source, key]).map(|_| ())
    }

    /// Returns when a part of a source was last read whole, in seconds since 1970.
    pub(crate) fn scanned(&self, source: &str, part: &str) -> Option<i64> {
        self.db.query_row("SELECT at FROM scans WHERE source=? AND half=?", [source, part], |row| row.get(0)).ok()
    }

    /// Records that a part of a source was read whole.
    pub(crate) fn put_scanned(&self, source: &str, part: &str, at: i64) -> rusqlite::Result<()> {
        self.db.execute("INSERT OR REPLACE INTO scans VALUES(?,?,?)", params![source, part, at]).map(|_| ())
    }

    /// Returns number and id of the newest snapshot that this machine has added or seen.
    pub(crate) fn newest(&self, source: &str) -> Option<(u64, SnapshotId)> {
        let row = |row: &rusqlite::Row<'_>| Ok((row.get::<_, i64>(0)? as u64, SnapshotId::from_bytes(row.get(1)?)));
        self.db.query_row("SELECT sequence, id FROM newest WHERE source=?", [source], row).ok()
    }

    /// Notes the newest snapshot, or that none is known.
    pub(crate) fn put_newest(&self, source: &str, newest: Option<(u64, SnapshotId)>) -> rusqlite::Result<()> {
        match newest {
            Some((sequence, id)) => {
                let row = params![source, sequence as i64, id.as_bytes()];
                self.db.execute("INSERT OR REPLACE INTO newest VALUES(?,?,?)", row).map(drop)
            }
            None => self.db.execute("DELETE FROM newest WHERE source=?", [source]).map(drop),
        }
    }

    /// Returns the state in which the database was when the tree at the returned root was made of it.
    pub(crate) fn database(&self, source: &str, path: &[u8]) -> Option<(State, ChunkId)> {
        let sql = "SELECT state, root FROM databases WHERE source=? AND path=?";
        let row = self
            .db
            .query_row(sql, params![source, path], |row| Ok((row.get::<_, String>(0)?, row.get::<_, [u8; 32]>(1)?)));
        let (state, root) = row.ok()?;
        Some((serde_json::from_str(&state).ok()?, ChunkId::from_bytes(root)))
    }

    /// Returns the mark in the WAL of the image of which the tree at the returned root was made.
    pub(crate) fn wal_mark(&self, source: &str, path: &[u8]) -> Option<(WalMark, ChunkId)> {
        let sql = "SELECT mark, root FROM wal_marks WHERE source=? AND path=?";
        let row = self.db.query_row(sql, params![source, path], |row| Ok((row.get::<_, String>(0)?, row.get(1)?)));
        let (mark, root) = row.ok()?;
        Some((serde_json::from_str(&mark).ok()?, ChunkId::from_bytes(root)))
    }

    /// Notes the mark in the WAL of the database's image, or that there is none.
    pub(crate) fn put_wal_mark(
        &self,
        source: &str,
        path: &[u8],
        mark: Option<(&WalMark, &ChunkId)>,
    ) -> rusqlite::Result<()> {
        let Some((mark, root)) = mark else {
            // A cache without the table knows of none.
            let _ = self.db.execute("DELETE FROM wal_marks WHERE source=? AND path=?", params![source, path]);
            return Ok(());
        };
        self.db.execute_batch(
            "CREATE TABLE IF NOT EXISTS wal_marks(source TEXT, path BLOB, mark TEXT, root BLOB, PRIMARY KEY(source, path)) WITHOUT ROWID",
        )?;
        let mark = serde_json::to_string(mark).map_err(|e| rusqlite::Error::ToSqlConversionFailure(e.into()))?;
        let row = params![source, path, mark, root.as_bytes()];
        self.db.execute("INSERT OR REPLACE INTO wal_marks VALUES(?,?,?,?)", row).map(|_| ())
    }

    /// Notes the database's state, or that nothing is known of it.
    pub(crate) fn put_database(
        &self,
        source: &str,
        path: &[u8],
        state: Option<(&State, &ChunkId)>,
    ) -> rusqlite::Result<()> {
        match state.and_then(|(state, root)| Some((serde_json::to_string(state).ok()?, root))) {
            Some((state, root)) => self.db.execute(
                "INSERT OR REPLACE INTO databases VALUES(?,?,?,?)",
                params![source, path, state, root.as_bytes()],
            ),
            None => self.db.execute("DELETE FROM databases WHERE source=? AND path=?", params![source, path]),
        }
        .map(|_| ())
    }

    /// Returns whether a run has already stored a part of this source again where the store had lost it; the lost pack, or the record of a
    /// repair, is known by its id.
    pub(crate) fn is_healed(&self, source: &str, part: &str, lost: &[u8; 32]) -> bool {
        let found = self.db.query_row(
            "SELECT 1 FROM healed WHERE source=? AND half=? AND lost=?",
            params![source, part, lost],
            |_| Ok(()),
        );
        found.is_ok()
    }

    /// Notes that a run has done so.
    pub(crate) fn put_healed(&self, source: &str, part: &str, lost: &[u8; 32]) -> rusqlite::Result<()> {
        self.db.execute("INSERT OR IGNORE INTO healed VALUES(?,?,?)", params![source, part, lost]).map(|_| ())
    }

    /// Returns the index files that the last run saw; `None` if that is not known.
    pub(crate) fn indexes(&self) -> Option<Vec<String>> {
        let mut statement = self.db.prepare_cached("SELECT name FROM indexes").ok()?;
        let names = statement.query_map([], |row| row.get(0)).ok()?.collect::<rusqlite::Result<Vec<_>>>();
        names.ok().filter(|names| !names.is_empty())
    }

    /// Notes the index files that there are.
    pub(crate) fn put_indexes(&self, names: &[String]) -> rusqlite::Result<()> {
        self.db.execute_batch("DELETE FROM indexes")?;
        let mut insert = self.db.prepare_cached("INSERT OR IGNORE INTO indexes VALUES(?)")?;
        names.iter().try_for_each(|name| insert.execute([name]).map(|_| ()))
    }

    /// Returns the packs that were seen whole, with their lengths then, in order.
    pub(crate) fn whole_packs(&self) -> Vec<(PackId, u64)> {
        let rows = || -> rusqlite::Result<Vec<_>> {
            let mut found = self.db.prepare("SELECT id, len FROM whole_packs ORDER BY id")?;
            let row = |row: &rusqlite::Row<'_>| Ok((PackId::from_bytes(row.get(0)?), row.get::<_, i64>(1)? as u64));
            found.query_map([], row)?.collect()
        };
        // A cache without the table knows of none.
        rows().unwrap_or_default()
    }

    /// Notes packs that were seen whole, and that others are gone. It is written by [`RunCache::commit`]: before the snapshot is there, a journal
    /// could take the last room on a full disk.
    pub(crate) fn put_whole_packs(&self, whole: Vec<(PackId, u64)>, gone: Vec<PackId>) {
        self.packs.replace(PackNotes { whole, gone });
    }

    fn write_whole_packs(&self) -> rusqlite::Result<()> {
        let PackNotes { whole, gone } = self.packs.take();
        if !whole.is_empty() {
            self.db.execute_batch(
                "CREATE TABLE IF NOT EXISTS whole_packs(id BLOB PRIMARY KEY, len INTEGER) WITHOUT ROWID",
            )?;
            let mut insert = self.db.prepare_cached("INSERT OR REPLACE INTO whole_packs VALUES(?,?)")?;
            whole.iter().try_for_each(|(id, len)| insert.execute(params![id.as_bytes(), *len as i64]).map(drop))?;
        }
        if !gone.is_empty() {
            let mut remove = self.db.prepare_cached("DELETE FROM whole_packs WHERE id=?")?;
            gone.iter().try_for_each(|id| remove.execute([id.as_bytes()]).map(drop))?;
        }
        Ok(())
    }

    /// Notes how far a place has a source's snapshots, as number and time.
    pub(crate) fn put_copied(&self, source: &str, place: &str, sequence: u64, at: i64) -> rusqlite::Result<()> {
        // Most stores have no copy, and a cache without this table is none of an older version.
        self.db.execute_batch(
            "CREATE TABLE IF NOT EXISTS copied(source TEXT, place TEXT, sequence INTEGER, at INTEGER, PRIMARY KEY(source, place)) WITHOUT ROWID",
        )?;
        // A place that nothing is copied to any more is forgotten.
        self.db.execute("DELETE FROM copied WHERE source=? AND at<?", params![source, at - COPIES_KEPT])?;
        let row = params![source, place, sequence as i64, at];
        self.db.execute("INSERT OR REPLACE INTO copied VALUES(?,?,?,?)", row).map(|_| ())
    }

    /// Returns the places that have a source's snapshots, each with the number and time of the newest.
    pub(crate) fn copied(&self, source: &str) -> Vec<(String, u64, i64)> {
        let rows = || -> rusqlite::Result<Vec<_>> {
            let mut found = self.db.prepare("SELECT place, sequence, at FROM copied WHERE source=? ORDER BY at")?;
            found.query_map([source], |row| Ok((row.get(0)?, row.get::<_, i64>(1)? as u64, row.get(2)?)))?.collect()
        };
        rows().unwrap_or_default()
    }

    /// Returns the newest archive's path and coder.
    pub(crate) fn archive(&self) -> Option<(std::path::PathBuf, String)> {
        use std::os::unix::ffi::OsStringExt;
        let row = self
            .db
            .query_row("SELECT path, coder FROM archive", [], |row| Ok((row.get::<_, Vec<u8>>(0)?, row.get(1)?)));
        row.ok().map(|(path, coder)| (std::ffi::OsString::from_vec(path).into(), coder))
    }

    /// Begins to note the segments of a new archive, on disk and beside those of the one before.
    pub(crate) fn start_archive(&self) -> rusqlite::Result<()> {
        self.db.execute_batch(
            "DROP TABLE IF EXISTS temp.fresh; CREATE TEMP TABLE fresh AS SELECT * FROM segments LIMIT 0;",
        )
    }

    /// Forgets the segments of the archive before: the new one, whose segments were noted, is whole.
    pub(crate) fn finish_archive(&self, path: &Path, coder: &str) -> rusqlite::Result<()> {
        use std::os::unix::ffi::OsStrExt;
        self.db.execute_batch(
            "DELETE FROM archive; DELETE FROM segments;
             INSERT OR REPLACE INTO segments SELECT * FROM temp.fresh; DROP TABLE temp.fresh;",
        )?;
        self.db.execute("INSERT INTO archive VALUES(?,?)", params![path.as_os_str().as_bytes(), coder]).map(|_| ())
    }

    /// Finds a segment of the newest archive.
    pub(crate) fn segment(&self, key: &[u8; 32]) -> Option<SegmentState> {
        let mut statement =
            self.db.prepare_cached("SELECT offset, len, digest, crc, plain_len FROM segments WHERE key=?").ok()?;
        let row = statement.query_row([key], |row| {
            Ok(SegmentState {
                offset: row.get::<_, i64>(0)? as u64,
                len: row.get::<_, i64>(1)? as u64,
                digest: row.get(2)?,
                crc32: row.get(3)?,
                plain_len: row.get::<_, i64>(4)? as u64,
            })
        });
        row.ok()
    }

    /// Notes a segment of the new archive.
    pub(crate) fn put_segment(&self, key: &[u8; 32], s: &SegmentState) -> rusqlite::Result<()> {
        self.db
            .prepare_cached("INSERT INTO temp.fresh VALUES(?,?,?,?,?,?)")?
            .execute(params![key, s.offset as i64, s.len as i64, s.digest, s.crc32, s.plain_len as i64])
            .map(|_| ())
    }

    /// Finds an output file in `dir` that has this SHA-256 and is still the version that was written.
    pub(crate) fn find_output(&self, sha256: &str, dir: &Path) -> Option<std::path::PathBuf> {
        self.names_of(sha256)
            .unwrap_or_default()
            .into_iter()
            .find(|(path, stamp)| path.parent() == Some(dir) && Stamp::of(path).is_ok_and(|now| now.0 == *stamp))
            .map(|(path, _)| path)
    }

    /// Returns when an output file's bytes were last compared with its digest, in seconds since 1970.
    pub(crate) fn verified_at(&self, path: &Path) -> Option<i64> {
        let stamp = Stamp::of(path).ok()?;
        self.db.query_row("SELECT at FROM verified WHERE file=?", [stamp.file()], |row| row.get(0)).ok()
    }

    /// Notes that an output file's bytes were compared with its digest, or written with it.
    pub(crate) fn put_verified(&self, path: &Path, at: i64) -> rusqlite::Result<()> {
        let Ok(stamp) = Stamp::of(path) else { return Ok(()) };
        self.db.execute("INSERT OR REPLACE INTO verified VALUES(?,?)", params![stamp.file(), at]).map(|_| ())
    }

    /// Finds the newest output file in `dir` whose name ends so; only its place is known, not that it is still what was written.
    pub(crate) fn newest_output(&self, dir: &Path, extension: &str) -> Option<std::path::PathBuf> {
        use std::os::unix::ffi::OsStringExt;
        let mut statement = self.db.prepare_cached("SELECT path FROM outputs ORDER BY path DESC").ok()?;
        let rows = statement.query_map([], |row| row.get::<_, Vec<u8>>(0)).ok()?;
        rows.flatten().map(|path| std::path::PathBuf::from(std::ffi::OsString::from_vec(path))).find(|path| {
            path.parent() == Some(dir) && path.extension().is_some_and(|e| e == extension) && path.exists()
        })
    }

    /// Returns the SHA-256 of an output file that is still the version whose bytes were known, under this name or another one of the same file.
    pub(crate) fn output_sha256(&self, path: &Path) -> Option<String> {
        let stamp = Stamp::of(path).ok()?;
        self.db.query_row("SELECT sha256 FROM outputs WHERE stamp=?", [stamp.0], |row| row.get(0)).ok()
    }

    /// Removes an output file. Losing a name moves the ctime of the file's other names: what is known of those stays known, and the segments of
    /// the newest archive are looked for under one of them.
    pub(crate) fn remove_output(
        &self,
        path: &Path,
        sha256: &str,
        remove: impl FnOnce() -> std::io::Result<()>,
    ) -> std::io::Result<()> {
        use std::os::unix::ffi::OsStrExt;
        let before = Stamp::of(path).ok();
        remove()?;
        // From here on trouble costs the next run time, no more.
        for (name, stamp) in self.names_of(sha256).unwrap_or_default() {
            let known = before.as_ref().is_some_and(|before| before.0 == stamp);
            if known && Stamp::of(&name).is_ok_and(|now| now.but_ctime() == Stamp(stamp).but_ctime()) {
                let _ = self.put_output(&name, sha256);
            }
        }
        if let Some(before) =
            before.filter(|_| path.parent().is_some_and(|dir| self.find_output(sha256, dir).is_none()))
        {
            let _ = self.db.execute("DELETE FROM verified WHERE file=?", [before.file()]);
        }
        let gone = path.as_os_str().as_bytes();
        let _ = self.db.execute("DELETE FROM outputs WHERE path=?", [gone]);
        if let Some(left) = path.parent().and_then(|dir| self.find_output(sha256, dir)) {
            let left = left.as_os_str().as_bytes();
            let _ = self.db.execute("UPDATE archive SET path=? WHERE path=?", [left, gone]);
        }
        Ok(())
    }

    fn names_of(&self, sha256: &str) -> rusqlite::Result<Vec<(std::path::PathBuf, String)>> {
        use std::os::unix::ffi::OsStringExt;
        let mut statement = self.db.prepare_cached("SELECT path, stamp FROM outputs WHERE sha256=?")?;
        let rows = statement.query_map([sha256], |row| {
            Ok((std::ffi::OsString::from_vec(row.get::<_, Vec<u8>>(0)?).into(), row.get::<_, String>(1)?))
        })?;
        rows.collect()
    }

    /// Notes an output file that was just written.
    pub(crate) fn put_output(&self, path: &Path, sha256: &str) -> rusqlite::Result<()> {
        use std::os::unix::ffi::OsStrExt;
        let Ok(stamp) = Stamp::of(path) else { return Ok(()) };
        self.db
            .execute(
                "INSERT OR REPLACE INTO outputs VALUES(?,?,?)",
                params![path.as_os_str().as_bytes(), stamp.0, sha256],
            )
            .map(|_| ())
    }
}

/// File states in list order, beside a walk in the same order.
pub(crate) struct FileStates {
    source: String,
    rows: VecDeque<(Vec<u8>, FileState)>,
    after: Vec<u8>,
    done: bool,
}

impl FileStates {
    /// Returns the state recorded for `path`, forgetting those of paths before it: they are gone from the source.
    pub(crate) fn find(&mut self, cache: &RunCache, path: &[u8]) -> rusqlite::Result<Option<FileState>> {
        let wanted = key(path);
        loop {
            if self.rows.is_empty() && !self.fill(cache)? {
                return Ok(None);
            }
            match self.rows.front() {
                Some((found, state)) if *found == wanted => {
                    let state = *state;
                    self.rows.pop_front();
                    return Ok(Some(state));
                }
                Some((found, _)) if *found < wanted => {
                    cache.remove_file(&self.source, found)?;
                    self.rows.pop_front();
                }
                _ => return Ok(None),
            }
        }
    }

    /// Forgets the states of all paths that are left: the walk is over.
    pub(crate) fn finish(mut self, cache: &RunCache) -> rusqlite::Result<()> {
        loop {
            while let Some((gone, _)) = self.rows.pop_front() {
                cache.remove_file(&self.source, &gone)?;
            }
            if !self.fill(cache)? {
                return Ok(());
            }
        }
    }

    fn fill(&mut self, cache: &RunCache) -> rusqlite::Result<bool> {
        if self.done {
            return Ok(false);
        }
        let mut statement = cache.db.prepare_cached(
            "SELECT path, ino, ctime_s, ctime_n, tag FROM files WHERE source=? AND path>? ORDER BY path LIMIT ?",
        )?;
        let mut rows = statement.query(params![self.source, self.after, SCAN_ROWS as i64])?;
        while let Some(row) = rows.next()? {
            let state = FileState {
                ino: row.get::<_, i64>(1)? as u64,
                ctime: Time { secs: row.get(2)?, nanos: row.get(3)? },
                tag: row.get(4)?,
            };
            self.rows.push_back((row.get(0)?, state));
        }
        self.done = self.rows.len() < SCAN_ROWS;
        if let Some((last, _)) = self.rows.back() {
            self.after.clone_from(last);
        }
        Ok(!self.rows.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::{COPIES_KEPT, FileState, RunCache};
    use crate::time::Time;

    #[test]
    fn names_of_one_file_stay_known_when_another_one_goes() {
        let dir = tempfile::tempdir().unwrap();
        let cache = RunCache::open(dir.path()).unwrap();
        let name = |name: &str| dir.path().join(name);
        let linked = |from: &str, to: &str| {
            std::fs::hard_link(name(from), name(to)).unwrap();
            cache.put_output(&name(to), "ab").unwrap();
        };
        std::fs::write(name("1"), b"bytes").unwrap();
        cache.put_output(&name("1"), "ab").unwrap();
        cache.start_archive().unwrap();
        cache.finish_archive(&name("1"), "coder").unwrap();
        linked("1", "2");
        linked("2", "3");
        // Each link moved the ctime, yet it is one file.
        assert_eq!(cache.output_sha256(&name("1")).as_deref(), Some("ab"));
        let remove = |gone: &str| cache.remove_output(&name(gone), "ab", || std::fs::remove_file(name(gone))).unwrap();
        remove("1");
        assert_eq!(cache.find_output("ab", dir.path()), Some(name("3")));
        assert_eq!(cache.archive().unwrap().0, name("3"));
        remove("2");
        assert_eq!(cache.output_sha256(&name("3")).as_deref(), Some("ab"));
        // What was edited before is not believed because of it.
        linked("3", "4");
        std::fs::write(name("3"), b"other").unwrap();
        remove("4");
        assert_eq!((cache.output_sha256(&name("3")), cache.find_output("ab", dir.path())), (None, None));
    }

    #[test]
    fn states_come_in_list_order_and_vanished_ones_are_forgotten() {
        let dir = tempfile::tempdir().unwrap();
        let cache = RunCache::open(dir.path()).unwrap();
        let state = |ino| FileState { ino, ctime: Time { secs: 5, nanos: 6 }, tag: -7 };
        for (n, path) in ["a/z", "a", "a-b", "b"].iter().enumerate() {
            cache.put_file("lab", path.as_bytes(), &state(n as u64)).unwrap();
        }
        cache.put_file("other", b"c", &state(9)).unwrap();
        let mut files = cache.files("lab");
        assert_eq!(files.find(&cache, b"a").unwrap(), Some(state(1)));
        assert_eq!(files.find(&cache, b"a-a").unwrap(), None);
        assert_eq!(files.find(&cache, b"a-b").unwrap(), Some(state(2)));
        files.finish(&cache).unwrap();
        let mut files = cache.files("lab");
        assert_eq!(files.find(&cache, b"a/z").unwrap(), None, "it stands before a-b, and was passed over");
        assert_eq!(files.find(&cache, b"a-b").unwrap(), Some(state(2)));
        assert_eq!(files.find(&cache, b"b").unwrap(), None);
    }

    #[test]
    fn of_each_place_that_a_source_is_copied_to_the_newest_is_known() {
        let dir = tempfile::tempdir().unwrap();
        let cache = RunCache::open(dir.path()).unwrap();
        assert_eq!(cache.copied("lab"), []);
        for (source, place, sequence, at) in
            [("lab", "far", 3, 900), ("lab", "near", 2, 800), ("lab", "near", 4, 1000), ("other", "near", 7, 950)]
        {
            cache.put_copied(source, place, sequence, at).unwrap();
        }
        let place = |place: &str, sequence, at| (place.to_string(), sequence, at);
        assert_eq!(cache.copied("lab"), [place("far", 3, 900), place("near", 4, 1000)]);
        assert_eq!(cache.copied("other"), [place("near", 7, 950)]);
        // Where nothing went for so long, nothing is looked for any more; of the other source that says nothing.
        let later = 901 + COPIES_KEPT;
        cache.put_copied("lab", "near", 9, later).unwrap();
        assert_eq!(cache.copied("lab"), [place("near", 9, later)]);
        assert_eq!(cache.copied("other"), [place("near", 7, 950)]);
    }

    #[test]
    fn a_damaged_cache_starts_anew() {
        let dir = tempfile::tempdir().unwrap();
        let names = ["cache.db", "cache.db-journal", "cache.db-wal", "cache.db-shm"].map(|name| dir.path().join(name));
        names.iter().for_each(|path| std::fs::write(path, vec![b'x'; 9000]).unwrap());
        let cache = RunCache::open(dir.path()).unwrap();
        assert!(cache.database("lab", b"lrl.db").is_none());
        for path in names {
            assert!(!std::fs::read(&path).is_ok_and(|bytes| bytes.starts_with(b"xxxx")), "{}", path.display());
        }
    }
}
