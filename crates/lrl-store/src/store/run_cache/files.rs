//! States of files, in the order of lists, beside a walk in the same order.

use std::collections::VecDeque;

use rusqlite::params;

use super::cache::RunCache;
use crate::format::entry::Entry;
use crate::id::ChunkId;
use crate::time::Time;

/// Rows that are read at once.
const SCAN_ROWS: usize = 1024;

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

impl RunCache {
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
