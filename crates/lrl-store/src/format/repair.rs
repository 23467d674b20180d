//! The record of a repair: which snapshots had lost what, in one small JSON document. For people; to a writer its presence says that what
//! earlier snapshots hold cannot be reused unread.

use serde::Serialize;

use crate::error::{Error, Result};
use crate::id::{Ids, RepairId, SnapshotId};

/// The document's format version that this build writes.
pub const VERSION: u32 = 1;

/// One repair that found something lost.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Repair {
    /// Format version, 1.
    pub format: u32,
    /// The snapshots that are not whole, the newest first in each source.
    pub lost: Vec<Loss>,
    /// How many more there are.
    pub more: u64,
}

/// What one snapshot has lost.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Loss {
    /// The source that it belongs to.
    pub source: String,
    /// Its position there.
    pub sequence: u64,
    /// Its id.
    pub snapshot: SnapshotId,
    /// Whether the database, or a part of it, is lost.
    pub database: bool,
    /// Some of the uploads that are lost, as text for people.
    pub files: Vec<String>,
    /// How many more there are.
    pub more_files: u64,
}

/// Encodes a record as one line of JSON and names it.
pub fn encode(repair: &Repair, ids: &Ids) -> Result<(RepairId, Vec<u8>)> {
    let mut bytes = serde_json::to_vec(repair)
        .map_err(|e| Error::corrupt("a new record of a repair", format!("cannot be encoded: {e}")))?;
    bytes.push(b'\n');
    Ok((ids.repair(&bytes), bytes))
}
