//! The entries that hard links of a list refer to, in a temporary database: they are anywhere in the list, and to read a node of it for each of many links
//! takes longer than the archive.

use rusqlite::{Connection, OptionalExtension};

use crate::budget::TARGETS_CACHE_KIB;
use crate::error::{Error, Result};
use crate::format::bytes::Reader;
use crate::format::entry::{Entry, Kind};
use crate::fs::temp_db::{self, Rollback};
use crate::id::ChunkId;
use crate::store::Store;
use crate::store::tree::TreeItems;

const PURPOSE: &str = "targets of hard links cannot be noted";
const SCHEMA: &str = "CREATE TABLE targets(path BLOB PRIMARY KEY, entry BLOB) WITHOUT ROWID";

/// The targets of the hard links of one list.
pub(super) struct LinkTargets(Connection);

impl LinkTargets {
    /// Reads the list twice: for the paths of the targets, then for their entries.
    ///
    /// # Errors
    /// [`Error::Refused`] where there is no space for it, others if the list cannot be read.
    pub(crate) fn of_list(store: &Store, list: &ChunkId) -> Result<Self> {
        let db = temp_db::create(PURPOSE, SCHEMA, TARGETS_CACHE_KIB, Rollback::Never)?;
        {
            let mut note = db.prepare("INSERT OR IGNORE INTO targets(path) VALUES(?)").map_err(failed)?;
            for entry in TreeItems::<Entry>::new(store, list)? {
                if let Kind::Hardlink { target } = entry?.kind {
                    note.execute([target]).map_err(failed)?;
                }
            }
            let mut put = db.prepare("UPDATE targets SET entry = ?2 WHERE path = ?1").map_err(failed)?;
            let mut bytes = Vec::new();
            for entry in TreeItems::<Entry>::new(store, list)? {
                let entry = entry?;
                if matches!(entry.kind, Kind::File { .. }) {
                    bytes.clear();
                    entry.encode(&mut bytes);
                    put.execute((&entry.path, &bytes)).map_err(failed)?;
                }
            }
        }
        Ok(Self(db))
    }

    /// Returns the entry at a path, if it is one of the targets.
    pub(crate) fn find(&self, path: &[u8]) -> Result<Option<Entry>> {
        let mut found = self.0.prepare_cached("SELECT entry FROM targets WHERE path = ?").map_err(failed)?;
        let bytes: Option<Option<Vec<u8>>> = found.query_row([path], |row| row.get(0)).optional().map_err(failed)?;
        let entry = bytes.flatten().map(|bytes| Entry::decode(&mut Reader::new(&bytes, PURPOSE)));
        entry.transpose()
    }
}

fn failed(error: rusqlite::Error) -> Error {
    temp_db::failed(PURPOSE, &error)
}
