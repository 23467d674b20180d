//! Chunks that are lost and still needed, in a temporary database on disk, so that memory does not grow with the damage.

use std::sync::{Mutex, MutexGuard, PoisonError};

use rusqlite::{Connection, params};

use crate::budget::LOST_CACHE_KIB;
use crate::error::{Error, Result};
use crate::fs::temp_db::{self, Rollback};
use crate::id::ChunkId;

const PURPOSE: &str = "what is lost cannot be listed";

/// A set of chunks' ids.
pub(crate) struct LostChunks {
    db: Mutex<Connection>,
}

impl LostChunks {
    /// Makes an empty one.
    pub(crate) fn new() -> Result<Self> {
        let schema = "CREATE TABLE wanted(id BLOB PRIMARY KEY) WITHOUT ROWID";
        let db = temp_db::create(PURPOSE, schema, LOST_CACHE_KIB, Rollback::Never)?;
        Ok(Self { db: Mutex::new(db) })
    }

    fn db(&self) -> MutexGuard<'_, Connection> {
        self.db.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds an id.
    pub(crate) fn add(&self, id: &ChunkId) -> Result<()> {
        let db = self.db();
        let mut insert = db.prepare_cached("INSERT OR IGNORE INTO wanted VALUES(?)").map_err(failed)?;
        insert.execute(params![id.as_bytes()]).map(drop).map_err(failed)
    }

    /// Removes an id; returns whether it was there.
    pub(crate) fn take(&self, id: &ChunkId) -> Result<bool> {
        let db = self.db();
        let mut delete = db.prepare_cached("DELETE FROM wanted WHERE id=?").map_err(failed)?;
        Ok(delete.execute(params![id.as_bytes()]).map_err(failed)? > 0)
    }

    /// Checks whether it is empty.
    pub(crate) fn is_empty(&self) -> Result<bool> {
        Ok(self.after(None, 1)?.is_empty())
    }

    /// Returns up to `most` ids that follow `last`, in order.
    pub(crate) fn after(&self, last: Option<&ChunkId>, most: u32) -> Result<Vec<ChunkId>> {
        let db = self.db();
        let mut select = db.prepare_cached("SELECT id FROM wanted WHERE id>? ORDER BY id LIMIT ?").map_err(failed)?;
        let last: &[u8] = last.map_or(&[], |last| last.as_bytes());
        let rows = select.query_map(params![last, most], |row| row.get::<_, [u8; 32]>(0)).map_err(failed)?;
        rows.map(|id| id.map(ChunkId::from_bytes).map_err(failed)).collect()
    }
}

fn failed(error: rusqlite::Error) -> Error {
    temp_db::failed(PURPOSE, &error)
}

#[cfg(test)]
mod tests {
    use super::LostChunks;
    use crate::id::ChunkId;

    #[test]
    fn ids_are_listed_in_order_until_they_are_taken() {
        let wanted = LostChunks::new().unwrap();
        assert!(wanted.is_empty().unwrap());
        let mut ids: Vec<ChunkId> = (0..10u8).map(|n| ChunkId::of(&[n])).collect();
        ids.iter().chain(&ids).for_each(|id| wanted.add(id).unwrap());
        ids.sort_unstable();
        assert_eq!(wanted.after(None, 100).unwrap(), ids);
        assert_eq!(wanted.after(Some(&ids[3]), 2).unwrap(), ids[4..6]);
        assert!(wanted.take(&ids[4]).unwrap() && !wanted.take(&ids[4]).unwrap());
        assert_eq!(wanted.after(Some(&ids[3]), 1).unwrap(), ids[5..6]);
        ids.iter().for_each(|id| _ = wanted.take(id).unwrap());
        assert!(wanted.is_empty().unwrap());
    }
}
