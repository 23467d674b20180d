//! The record of a drill: what was verified, when, and how it ended, in one small JSON document. Never holds data of the lab.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::entry::Time;
use crate::error::{Error, Result};
use crate::id::{DrillId, SnapshotId};

/// The document's format version that this build writes.
pub const VERSION: u32 = 1;

/// One drill.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Drill {
    /// Format version, 1.
    pub format: u32,
    /// The named source whose backup was drilled.
    pub source: String,
    /// When the drill ended, for people.
    pub finished: Time,
    /// The snapshot that was drilled, or that the set shows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub snapshot: Option<SnapshotId>,
    /// The set's or snapshot's timestamp.
    pub timestamp: String,
    /// Whether every check passed.
    pub passed: bool,
    /// The checks that failed, as `database: integrity_check`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub failed_checks: Vec<String>,
    /// How long it took.
    pub seconds: f64,
    /// Rows of each table of the database, where they were counted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rows: Option<BTreeMap<String, u64>>,
    /// SHA-256 of the database as it was read, lower-case hex.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub database_sha256: Option<String>,
    /// SHA-256 of the archive as it was read, lower-case hex.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub archive_sha256: Option<String>,
    /// The program that drilled, e.g. `lrl 0.1.0`.
    pub program: String,
}

/// Encodes a record as one line of JSON and names it.
pub fn encode(drill: &Drill) -> Result<(DrillId, Vec<u8>)> {
    let mut bytes = serde_json::to_vec(drill)
        .map_err(|e| Error::corrupt("a new record of a drill", format!("cannot be encoded: {e}")))?;
    bytes.push(b'\n');
    Ok((DrillId::of(&bytes), bytes))
}

/// Decodes a record and checks it against its name.
pub fn decode(bytes: &[u8], id: &DrillId, object: &str) -> Result<Drill> {
    if DrillId::of(bytes) != *id {
        return Err(Error::corrupt(object, "its bytes do not match its name"));
    }
    #[derive(Deserialize)]
    struct Version {
        format: u32,
    }
    let malformed = |e: serde_json::Error| Error::corrupt(object, format!("is not a record of a drill: {e}"));
    let Version { format } = serde_json::from_slice(bytes).map_err(malformed)?;
    if format != VERSION {
        return Err(Error::Unsupported { what: format!("drill format {format} ({object})") });
    }
    serde_json::from_slice(bytes).map_err(malformed)
}

#[cfg(test)]
mod tests {
    use super::{Drill, VERSION, decode, encode};
    use crate::error::Error;
    use crate::format::entry::Time;
    use crate::id::{DrillId, SnapshotId};

    fn drill() -> Drill {
        Drill {
            format: VERSION,
            source: "lab".into(),
            finished: Time { secs: 1_768_392_000, nanos: 5 },
            snapshot: Some(SnapshotId::of(b"x")),
            timestamp: "20260114_120000".into(),
            passed: false,
            failed_checks: vec!["database: integrity_check".into()],
            seconds: 0.5,
            rows: Some([("users".to_string(), 3)].into()),
            database_sha256: Some("ab".repeat(32)),
            archive_sha256: None,
            program: "lrl 0.1.0".into(),
        }
    }

    #[test]
    fn a_record_round_trips_and_is_held_to_its_name() {
        let (id, mut bytes) = encode(&drill()).unwrap();
        assert_eq!(decode(&bytes, &id, "drills/x").unwrap(), drill());
        bytes[10] ^= 1;
        assert!(matches!(decode(&bytes, &id, "drills/x"), Err(Error::Corrupt { .. })));
    }

    #[test]
    fn a_later_format_is_said_to_be_one() {
        let later = br#"{"format":2,"other":"shape"}"#;
        assert!(matches!(decode(later, &DrillId::of(later), "drills/x"), Err(Error::Unsupported { .. })));
        let broken = b"[[[[";
        assert!(matches!(decode(broken, &DrillId::of(broken), "drills/x"), Err(Error::Corrupt { .. })));
    }
}
