//! The cache itself: its file, its tables, and what belongs to a source.

use std::cell::RefCell;
use std::fs;
use std::io::Write;
use std::path::Path;

use rusqlite::{Connection, ErrorCode, params};

use crate::id::{ChunkId, PackId, SnapshotId};
use crate::source::database::{State, WalMark};

const VERSION: i64 = 5;
/// Seconds for which it is told where something was copied to.
pub(super) const COPIES_KEPT: i64 = 30 * 86_400;

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
    pub(super) db: Connection,
    /// Not written yet.
    packs: RefCell<PackNotes>,
}

#[derive(Default)]
struct PackNotes {
    /// Packs that were seen whole, with their lengths.
    whole: Vec<(PackId, u64)>,
    gone: Vec<PackId>,
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

    /// Returns the marks of all databases of a source, with their paths and the roots of the images.
    pub(crate) fn wal_marks(&self, source: &str) -> Vec<(Vec<u8>, WalMark, ChunkId)> {
        // A cache without the table knows of none.
        let Ok(mut select) = self.db.prepare("SELECT path, mark, root FROM wal_marks WHERE source=?") else {
            return Vec::new();
        };
        let row = |row: &rusqlite::Row<'_>| Ok((row.get(0)?, row.get::<_, String>(1)?, row.get(2)?));
        let Ok(rows) = select.query_map([source], row) else { return Vec::new() };
        let parsed = rows.flatten().filter_map(|(path, mark, root)| {
            Some((path, serde_json::from_str(&mark).ok()?, ChunkId::from_bytes(root)))
        });
        parsed.collect()
    }

    /// Replaces the mark of an image by one further on, unless another run has left its own meanwhile.
    pub(crate) fn move_wal_mark(&self, source: &str, path: &[u8], root: &ChunkId, from: &WalMark, to: &WalMark) {
        if let [Ok(from), Ok(to)] = [from, to].map(serde_json::to_string) {
            let sql = "UPDATE wal_marks SET mark=? WHERE source=? AND path=? AND root=? AND mark=?";
            // Without it the next run reads all of the database.
            let _ = self.db.execute(sql, params![to, source, path, root.as_bytes(), from]);
        }
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
}
