//! The record of a check: how much was read, and which snapshots are damaged, in one small JSON document. Never holds data of the source.

use serde::{Deserialize, Serialize};

use super::record_order::Rank;
use crate::error::{Error, Result};
use crate::id::{CheckId, Ids, SnapshotId};
use crate::time::Time;

/// The document's format version that this build writes.
pub(crate) const VERSION: u32 = 1;

/// One check of a whole store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Check {
    /// Format version, 1.
    pub format: u32,
    /// When the check began.
    pub time: Time,
    /// One more than the highest number of the records, of checks and drills, that were there when it began.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub number: Option<u64>,
    /// How much of the packs was read.
    pub depth: Depth,
    /// Whether nothing was wrong.
    pub passed: bool,
    /// The damaged snapshots, the newest first in each source; up to 20,000 of them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub damaged: Vec<Damaged>,
    /// How many more there are.
    #[serde(default)]
    pub more_damaged: u64,
    /// The program that checked, e.g. `lrl 0.1.0`.
    pub program: String,
}

/// How much of the packs a check read.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Depth {
    /// Nothing but what leads to data.
    #[default]
    Structure,
    /// Some packs.
    Part,
    /// Every pack.
    All,
}

/// A snapshot that a check found damaged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Damaged {
    /// The snapshot.
    pub snapshot: SnapshotId,
    /// Whether its database, or a part of it, is lost.
    pub database: bool,
    /// Whether files of it are lost.
    pub files: bool,
}

impl Check {
    /// Returns when it was made, for comparison with other records.
    pub(crate) fn rank(&self) -> Rank {
        Rank { number: self.number, time: self.time }
    }
}

/// Encodes a record as one line of JSON and names it.
pub(crate) fn encode(check: &Check, ids: &Ids) -> Result<(CheckId, Vec<u8>)> {
    let mut bytes = serde_json::to_vec(check)
        .map_err(|e| Error::corrupt("a new record of a check", format!("cannot be encoded: {e}")))?;
    bytes.push(b'\n');
    Ok((ids.check(&bytes), bytes))
}

/// Decodes a record and checks it against its name.
pub(crate) fn decode(bytes: &[u8], id: &CheckId, ids: &Ids, object: &str) -> Result<Check> {
    if ids.check(bytes) != *id {
        return Err(Error::corrupt(object, "its bytes do not match its name"));
    }
    #[derive(Deserialize)]
    struct Version {
        format: u32,
    }
    let malformed = |e: serde_json::Error| Error::corrupt(object, format!("is not a record of a check: {e}"));
    let Version { format } = serde_json::from_slice(bytes).map_err(malformed)?;
    if format != VERSION {
        return Err(Error::Unsupported { what: format!("check format {format} ({object})").into() });
    }
    serde_json::from_slice(bytes).map_err(malformed)
}

#[cfg(test)]
mod tests {
    use super::{Check, Damaged, Depth, VERSION, decode, encode};
    use crate::error::Error;
    use crate::id::{CheckId, Ids, SnapshotId};
    use crate::time::Time;

    #[test]
    fn a_record_round_trips_and_refuses_other_bytes_and_later_formats() {
        let check = Check {
            format: VERSION,
            time: Time { secs: 7, nanos: 1 },
            number: Some(4),
            depth: Depth::All,
            passed: false,
            damaged: vec![Damaged { snapshot: SnapshotId::of(b"a"), database: true, files: false }],
            more_damaged: 2,
            program: "test".into(),
        };
        let ids = Ids::default();
        let (id, bytes) = encode(&check, &ids).unwrap();
        assert_eq!(decode(&bytes, &id, &ids, "checks/x").unwrap(), check);
        let (id, bytes) = encode(&Check { number: None, ..check }, &ids).unwrap();
        assert_eq!(decode(&bytes, &id, &ids, "checks/x").unwrap().number, None, "as older programs wrote it");
        let other = CheckId::of(b"other");
        assert!(matches!(decode(&bytes, &other, &ids, "checks/x"), Err(Error::Corrupt { .. })));
        let later = br#"{"format":2}"#;
        assert!(matches!(decode(later, &CheckId::of(later), &ids, "checks/x"), Err(Error::Unsupported { .. })));
    }
}
