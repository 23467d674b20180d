//! The verb `find`: which snapshots hold an upload of a name, and in which versions. Goes from the newest snapshot back and reads only what
//! differs from the one after it; matches are collected in a temporary database on disk, so memory does not grow with them.

use std::collections::BTreeMap;

use rusqlite::{Connection, params};

use crate::budget::FIND_CACHE_KIB;
use crate::error::{Error, Result};
use crate::format::bytes::Reader;
use crate::format::entry::{Entry, Kind};
use crate::format::snapshot::{Database, Snapshot};
use crate::fs::temp_db::{self, Rollback};
use crate::id::ChunkId;
use crate::progress::{Observer, Problem, checkpoint};
use crate::source::files::exclude::Excludes;
use crate::store::tree::diff;
use crate::store::tree::diff::Change;
use crate::store::{SnapshotName, Store};

/// What a pattern means: a name or a path in gitignore syntax, or one path byte for byte.
pub struct Pattern {
    glob: Excludes,
    path: Vec<u8>,
}

impl Pattern {
    /// Reads a pattern; `path` is what it says as a plain path.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`](crate::error::Error::NotFound) if the pattern cannot match anything.
    pub fn new(text: &str, path: Vec<u8>) -> Result<Self> {
        // gitignore gives these a meaning that makes no sense in a search.
        if text.starts_with(['!', '#']) {
            return Self::new(&format!("\\{text}"), path);
        }
        let glob = match Excludes::new(&[text.strip_prefix("./").unwrap_or(text).to_string()], &[]) {
            Ok(glob) => glob,
            // A whole path that is no pattern, because of a bracket in a name.
            Err(_) if path.contains(&b'/') => Excludes::none(),
            Err(e) => return Err(Error::Refused(e.to_string().replacen("exclude pattern", "pattern", 1).into())),
        };
        Ok(Self { glob, path })
    }

    fn matches(&self, entry: &Entry) -> bool {
        entry.path == self.path || self.glob.matches(&entry.path, entry.kind == Kind::Dir)
    }
}

/// One version of an upload (or of the database), and the run of snapshots that hold it.
#[derive(Debug, Clone)]
pub struct Version {
    /// Its path.
    pub path: Vec<u8>,
    /// What it was.
    pub what: What,
    /// The newest snapshot that holds it.
    pub newest: Held,
    /// The oldest snapshot of the same run that holds it.
    pub oldest: Held,
    /// How many snapshots hold it, from the oldest to the newest.
    pub snapshots: u64,
}

/// What was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum What {
    /// An upload.
    Upload(Entry),
    /// The database.
    Database {
        /// Bytes.
        size_bytes: u64,
        /// SHA-256, lower-case hex.
        sha256: String,
    },
}

/// A snapshot that holds something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Held {
    /// Its name.
    pub name: SnapshotName,
    /// Its timestamp.
    pub timestamp: String,
}

/// What was searched.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Searched {
    /// Snapshots.
    pub snapshots: u64,
    /// Versions found.
    pub versions: u64,
    /// Snapshots that could not be searched, and why.
    pub problems: Vec<Problem>,
}

/// Finds what matches, in all snapshots of a source; versions come by path, the newest first.
///
/// # Errors
///
/// [`Error::Interrupted`](crate::error::Error::Interrupted), and those of the visitor.
pub fn find<E: From<Error>>(
    store: &Store,
    source: &str,
    pattern: &Pattern,
    observer: &dyn Observer,
    each: &mut dyn FnMut(&Version) -> Result<(), E>,
) -> Result<Searched, E> {
    let mut matches = Matches::new()?;
    let mut searched = Searched::default();
    let mut last_list = None;
    for name in store.snapshot_names(Some(source))?.into_iter().rev() {
        checkpoint(observer)?;
        let read = store.snapshot(&name).and_then(|snapshot| {
            matches.add(store, &name, &snapshot, &last_list, pattern, observer)?;
            Ok(snapshot)
        });
        match read {
            Ok(snapshot) => {
                searched.snapshots += 1;
                last_list = snapshot.files.map(|part| part.list);
            }
            Err(e @ (Error::Corrupt { .. } | Error::Missing { .. })) => {
                let reason = format!("cannot be searched: {e}");
                let problem = Problem { path: name.object(), reason: reason.into(), lost: true };
                observer.problem(&problem);
                searched.problems.push(problem);
            }
            Err(e) => return Err(e.into()),
        }
    }
    matches.each(store, &mut |version| {
        searched.versions += 1;
        each(version)
    })?;
    Ok(searched)
}

const PURPOSE: &str = "matches cannot be gathered";

struct Matches {
    db: Connection,
    seen: Vec<(SnapshotName, String)>,
}

impl Matches {
    fn new() -> Result<Self> {
        let schema = "CREATE TABLE versions(path BLOB, newest INTEGER, oldest INTEGER, what BLOB, open INTEGER);
                      CREATE INDEX by_path ON versions(path, newest)";
        let db = temp_db::create(PURPOSE, schema, FIND_CACHE_KIB, Rollback::Savepoints)?;
        Ok(Self { db, seen: Vec::new() })
    }

    /// Records what changed between this snapshot and the one after it; all of it or, if it cannot be read, nothing.
    fn add(
        &mut self,
        store: &Store,
        name: &SnapshotName,
        snapshot: &Snapshot,
        after: &Option<ChunkId>,
        pattern: &Pattern,
        observer: &dyn Observer,
    ) -> Result<()> {
        self.db.execute_batch("SAVEPOINT step").map_err(failed)?;
        let number = self.seen.len() as i64;
        let list = snapshot.files.as_ref().map(|part| part.list);
        let compared = diff::entries(store, after.as_ref(), list.as_ref(), &mut |change| {
            checkpoint(observer)?;
            let (gone, come) = match change {
                Change::Removed(gone) => (Some(gone), None),
                Change::Added(come) => (None, Some(come)),
                Change::Changed(gone, come) => (Some(gone), Some(come)),
            };
            if let Some(gone) = gone.filter(|entry| pattern.matches(entry)) {
                self.close(&gone.path, number)?;
            }
            if let Some(come) = come.filter(|entry| pattern.matches(entry)) {
                let mut what = vec![0];
                come.encode(&mut what);
                self.open(&come.path, number, &what)?;
            }
            Result::Ok(())
        });
        let compared = compared.and_then(|()| self.add_database(snapshot, number, pattern));
        let end = if compared.is_ok() { "RELEASE step" } else { "ROLLBACK TO step; RELEASE step" };
        self.db.execute_batch(end).map_err(failed)?;
        compared?;
        self.seen.push((name.clone(), snapshot.timestamp.clone()));
        Ok(())
    }

    fn add_database(&self, snapshot: &Snapshot, number: i64, pattern: &Pattern) -> Result<()> {
        let mut statement = self
            .db
            .prepare_cached("SELECT path, what FROM versions WHERE open AND substr(what, 1, 1) = x'01'")
            .map_err(failed)?;
        let before = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).map_err(failed)?;
        let before: BTreeMap<Vec<u8>, Vec<u8>> = before.collect::<rusqlite::Result<_>>().map_err(failed)?;
        let matching = snapshot.databases.iter().filter(|part| pattern.glob.matches(&part.path, false));
        let now: BTreeMap<&Vec<u8>, Vec<u8>> = matching.map(|part| (&part.path, encode_database(part))).collect();
        for (path, _) in before.iter().filter(|(path, what)| now.get(path) != Some(what)) {
            self.close(path, number)?;
        }
        for (path, what) in now.iter().filter(|(path, what)| before.get(**path) != Some(what)) {
            self.open(path, number, what)?;
        }
        Ok(())
    }

    fn open(&self, path: &[u8], number: i64, what: &[u8]) -> Result<()> {
        let mut insert = self.db.prepare_cached("INSERT INTO versions VALUES(?,?,0,?,1)").map_err(failed)?;
        insert.execute(params![path, number, what]).map(drop).map_err(failed)
    }

    fn close(&self, path: &[u8], number: i64) -> Result<()> {
        let sql = "UPDATE versions SET oldest=?, open=0 WHERE path=? AND open";
        self.db.prepare_cached(sql).map_err(failed)?.execute(params![number - 1, path]).map(drop).map_err(failed)
    }

    fn each<E: From<Error>>(&self, store: &Store, each: &mut dyn FnMut(&Version) -> Result<(), E>) -> Result<(), E> {
        let held = |number: i64| {
            let found = usize::try_from(number).ok().and_then(|n| self.seen.get(n));
            let (name, timestamp) =
                found.ok_or_else(|| Error::corrupt(store.storage().location(), "changed while it was searched"))?;
            Ok::<_, Error>(Held { name: name.clone(), timestamp: timestamp.clone() })
        };
        let last = self.seen.len() as i64 - 1;
        let sql =
            "SELECT path, newest, CASE WHEN open THEN ? ELSE oldest END, what FROM versions ORDER BY path, newest";
        let mut statement = self.db.prepare(sql).map_err(failed)?;
        let mut rows = statement.query([last]).map_err(failed)?;
        while let Some(row) = rows.next().map_err(failed)? {
            let get = |at| row.get::<_, i64>(at).map_err(failed);
            let (path, newest, oldest) = (row.get::<_, Vec<u8>>(0).map_err(failed)?, get(1)?, get(2)?);
            let what = decode(&row.get::<_, Vec<u8>>(3).map_err(failed)?)?;
            let snapshots = (oldest - newest + 1).max(0) as u64;
            each(&Version { path, what, newest: held(newest)?, oldest: held(oldest)?, snapshots })?;
        }
        Ok(())
    }
}

/// Without the SHA-256 of the image the root of its tree tells versions apart.
fn encode_database(part: &Database) -> Vec<u8> {
    let mut what = vec![1];
    what.extend_from_slice(&part.size_bytes.to_le_bytes());
    what.extend_from_slice(part.sha256.clone().unwrap_or_else(|| part.root.to_string()).as_bytes());
    what
}

fn decode(bytes: &[u8]) -> Result<What> {
    let mut reader = Reader::new(bytes, "a match");
    if reader.u8()? == 0 {
        return Ok(What::Upload(Entry::decode(&mut reader)?));
    }
    let size_bytes = reader.u64()?;
    let sha256 = String::from_utf8_lossy(reader.take(reader.remaining())?).into_owned();
    Ok(What::Database { size_bytes, sha256 })
}

fn failed(error: rusqlite::Error) -> Error {
    temp_db::failed(PURPOSE, &error)
}
