//! The record of what a prune of a store without locks is about to delete, in one small JSON document: writers read it and depend on nothing
//! that it lists; a later prune deletes it, when nothing can depend on it any more.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::id::{Ids, PackId, PendingId};
use crate::time::Time;

/// The document's format version that this build writes.
pub const VERSION: u32 = 1;

/// Packs that are to be deleted, or that are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pending {
    /// Format version, 1.
    pub format: u32,
    /// When it was written, by the clock of the machine that wrote it.
    pub written: Time,
    /// The packs are no longer in the index, and are deleted: only what still speaks of them is waited for.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub gone: bool,
    /// The sources that had snapshots then, each with the highest sequence that was seen.
    pub sources: BTreeMap<String, u64>,
    /// The packs, in order.
    pub packs: Vec<PackId>,
    /// The program that wrote it, e.g. `lrl 0.1.0`.
    pub program: String,
}

/// Encodes a record as one line of JSON and names it.
pub fn encode(pending: &Pending, ids: &Ids) -> Result<(PendingId, Vec<u8>)> {
    let mut bytes = serde_json::to_vec(pending)
        .map_err(|e| Error::corrupt("a new list of candidates", format!("cannot be encoded: {e}")))?;
    bytes.push(b'\n');
    Ok((ids.pending(&bytes), bytes))
}

/// Decodes a record and checks it against its name.
pub(crate) fn decode(bytes: &[u8], id: &PendingId, ids: &Ids, object: &str) -> Result<Pending> {
    if ids.pending(bytes) != *id {
        return Err(Error::corrupt(object, "its bytes do not match its name"));
    }
    #[derive(Deserialize)]
    struct Version {
        format: u32,
    }
    let malformed = |e: serde_json::Error| Error::corrupt(object, format!("is no list of candidates: {e}"));
    let Version { format } = serde_json::from_slice(bytes).map_err(malformed)?;
    if format != VERSION {
        return Err(Error::Unsupported { what: format!("format {format} of a list of candidates ({object})").into() });
    }
    serde_json::from_slice(bytes).map_err(malformed)
}
