//! The record of a drill: what was verified, when, and how it ended, in one small JSON document. Never holds data of the lab.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::path_text;
use super::record_order::Rank;
use crate::error::{Error, Result};
use crate::id::{ChunkId, DrillId, Ids, SnapshotId};
use crate::time::Time;

/// The document's format version that this build writes.
pub const VERSION: u32 = 2;

/// One drill.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Drill {
    /// Format version, [`VERSION`].
    pub format: u32,
    /// The named source whose backup was drilled.
    pub source: String,
    /// When the drill ended, for people.
    pub finished: Time,
    /// One more than the highest number of the records, of checks and of the source's drills, that were there when it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub number: Option<u64>,
    /// The snapshot that was drilled, or that the set shows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub snapshot: Option<SnapshotId>,
    /// That snapshot's number in its source.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sequence: Option<u64>,
    /// Whether its set was drilled, or it itself.
    #[serde(default)]
    #[doc(hidden)]
    pub drilled: Drilled,
    /// The set's or snapshot's timestamp.
    pub timestamp: String,
    /// How old the data was, in seconds; not known where a clock was wrong.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub age_seconds: Option<u64>,
    /// Whether every check passed.
    pub passed: bool,
    /// Whether chunks were missing or wrong in the store itself, as opposed to a check that failed on sound bytes.
    #[serde(default, skip_serializing_if = "is_false")]
    pub damaged: bool,
    /// Every check that was made, in order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[doc(hidden)]
    pub checks: Vec<Checked>,
    /// The checks that failed, as `database: integrity_check` or `database data/a.db: integrity_check`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub failed_checks: Vec<String>,
    /// How long it took.
    pub seconds: f64,
    /// How long of that it took to bring the data back, without the checks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restore_seconds: Option<f64>,
    /// What was found of each database, in the order of the snapshot or set.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[doc(hidden)]
    pub databases: Vec<DrilledDatabase>,
    /// The parts that passed, `database` and `files`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub parts: Vec<String>,
    /// The parts that the snapshot holds and that this drill did not prove.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unproven_parts: Vec<String>,
    /// What the nearest snapshot before it held that was drilled with its rows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[doc(hidden)]
    pub before: Option<Before>,
    /// Rows that lead to no stored file of their size and digest, where they were followed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub missing_files: Option<u64>,
    /// SHA-256 of the archive as it was read, lower-case hex.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub archive_sha256: Option<String>,
    /// The program that drilled, e.g. `lrl 0.1.0`.
    pub program: String,
}

fn is_false(value: &bool) -> bool {
    !value
}

/// What was drilled.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Drilled {
    /// A set: the files beside its manifest.
    Set,
    /// A snapshot, straight from the store.
    Snapshot,
    /// Older records do not say, and later ones may say something else.
    #[default]
    #[serde(other)]
    Unknown,
}

/// One database as it was drilled.
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DrilledDatabase {
    /// Its path in the snapshot.
    #[serde(with = "path_text")]
    pub path: Vec<u8>,
    /// SHA-256 of the image as it was read, lower-case hex.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha256: Option<String>,
    /// Root of its tree of extents, if it was read from the store.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub root: Option<ChunkId>,
    /// Whether SQLite could not open it or found it malformed, which is the same wherever these bytes are.
    #[serde(default, skip_serializing_if = "is_false")]
    pub malformed: bool,
    /// Rows of each table, where they were counted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rows: Option<BTreeMap<String, u64>>,
    /// Rows whose foreign key leads nowhere, by table, where they were counted; tables without any are left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub orphans: Option<BTreeMap<String, u64>>,
}

/// One check with its result.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Checked {
    /// `database` or `assets`.
    pub of: String,
    /// Which database, unless it is that of the manual's layout.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "path_text::optional")]
    pub database: Option<Vec<u8>>,
    /// Its name.
    pub check: String,
    /// How it ended; none where it does not apply.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub passed: Option<bool>,
    /// Whether the user asked for it to be skipped.
    #[serde(default, skip_serializing_if = "is_false")]
    pub skipped: bool,
    /// What was asserted; of a query for files its name, or the query.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub assertion: Option<String>,
}

/// What the drill before found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Before {
    /// The snapshot that was drilled then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub snapshot: Option<SnapshotId>,
    /// Its timestamp.
    pub timestamp: String,
    /// The databases whose rows were counted.
    pub databases: Vec<RowsBefore>,
}

/// The rows of one database in the drill before.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RowsBefore {
    /// Its path in the snapshot.
    #[serde(with = "path_text")]
    pub path: Vec<u8>,
    /// Rows of each table then.
    pub rows: BTreeMap<String, u64>,
}

impl Drill {
    /// Returns when it was made, for comparison with other records.
    pub(crate) fn rank(&self) -> Rank {
        Rank { number: self.number, time: self.finished }
    }

    /// Returns what was found of the database at a path.
    pub(crate) fn database(&self, path: &[u8]) -> Option<&DrilledDatabase> {
        self.databases.iter().find(|database| database.path == path)
    }
}

/// Encodes a record as one line of JSON and names it.
pub fn encode(drill: &Drill, ids: &Ids) -> Result<(DrillId, Vec<u8>)> {
    let mut bytes = serde_json::to_vec(drill)
        .map_err(|e| Error::corrupt("a new record of a drill", format!("cannot be encoded: {e}")))?;
    bytes.push(b'\n');
    Ok((ids.drill(&bytes), bytes))
}

/// Decodes a record and checks it against its name.
pub fn decode(bytes: &[u8], id: &DrillId, ids: &Ids, object: &str) -> Result<Drill> {
    if ids.drill(bytes) != *id {
        return Err(Error::corrupt(object, "its bytes do not match its name"));
    }
    #[derive(Deserialize)]
    struct Version {
        format: u32,
    }
    let malformed = |e: serde_json::Error| Error::corrupt(object, format!("is not a record of a drill: {e}"));
    let Version { format } = serde_json::from_slice(bytes).map_err(malformed)?;
    if format != VERSION {
        return Err(Error::Unsupported { what: format!("drill format {format} ({object})").into() });
    }
    serde_json::from_slice(bytes).map_err(malformed)
}

#[cfg(test)]
impl Drill {
    /// A record of a drill of nothing that passed, for tests.
    pub(crate) fn sample(source: &str, finished: Time) -> Self {
        Self {
            format: VERSION,
            source: source.into(),
            finished,
            number: None,
            snapshot: None,
            sequence: None,
            drilled: Drilled::Unknown,
            timestamp: "t".into(),
            age_seconds: None,
            passed: true,
            damaged: false,
            checks: Vec::new(),
            failed_checks: Vec::new(),
            seconds: 0.0,
            restore_seconds: None,
            databases: Vec::new(),
            parts: Vec::new(),
            unproven_parts: Vec::new(),
            missing_files: None,
            before: None,
            archive_sha256: None,
            program: "test".into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Before, Checked, Drill, Drilled, DrilledDatabase, RowsBefore, decode, encode};
    use crate::error::Error;
    use crate::id::{ChunkId, DrillId, Ids, SnapshotId};
    use crate::time::Time;

    fn drill() -> Drill {
        let checked = |check: &str, passed| Checked {
            of: "database".into(),
            database: (check == "rows").then(|| b"data/\xff.db".to_vec()),
            check: check.into(),
            passed,
            skipped: false,
            assertion: (check == "assertion").then(|| "SELECT count(*) FROM users >= 1".into()),
        };
        Drill {
            snapshot: Some(SnapshotId::of(b"x")),
            sequence: Some(7),
            number: Some(12),
            drilled: Drilled::Snapshot,
            age_seconds: Some(3600),
            passed: false,
            damaged: true,
            checks: vec![
                checked("integrity_check", Some(false)),
                checked("asset_rows", None),
                checked("assertion", Some(true)),
                checked("rows", Some(true)),
            ],
            failed_checks: vec!["database: integrity_check".into()],
            restore_seconds: Some(0.25),
            databases: vec![
                DrilledDatabase {
                    path: b"data/\xff.db".to_vec(),
                    sha256: Some("ab".repeat(32)),
                    root: Some(ChunkId::of(b"root")),
                    malformed: true,
                    rows: Some([("users".to_string(), 3)].into()),
                    orphans: Some([("posts".to_string(), 1)].into()),
                },
                DrilledDatabase { path: b"lrl.db".to_vec(), ..DrilledDatabase::default() },
            ],
            parts: vec!["files".into()],
            unproven_parts: vec!["database".into()],
            missing_files: Some(2),
            before: Some(Before {
                snapshot: None,
                timestamp: "t".into(),
                databases: vec![RowsBefore { path: b"data/\xff.db".to_vec(), rows: [("users".to_string(), 2)].into() }],
            }),
            ..Drill::sample("lab", Time { secs: 1_768_392_000, nanos: 5 })
        }
    }

    #[test]
    fn times_come_back_as_they_were_written_whatever_they_are() {
        for seconds in [0.1 + 0.2, 1.0 / 3.0, 2.222_222_222_222_222_3e122, f64::MAX, f64::MIN_POSITIVE] {
            let record = Drill { seconds, restore_seconds: Some(seconds), ..drill() };
            let (id, bytes) = encode(&record, &Ids::default()).unwrap();
            assert_eq!(decode(&bytes, &id, &Ids::default(), "drill").unwrap(), record);
        }
        // More digits than there are bits, as a fuzzer found.
        let (_, bytes) = encode(&Drill { seconds: 7.25, ..drill() }, &Ids::default()).unwrap();
        let text = String::from_utf8(bytes).unwrap().replace("7.25", &"2".repeat(123));
        let read = decode(text.as_bytes(), &DrillId::of(text.as_bytes()), &Ids::default(), "drill").unwrap();
        let (id, again) = encode(&read, &Ids::default()).unwrap();
        assert_eq!(decode(&again, &id, &Ids::default(), "drill").unwrap(), read);
    }

    #[test]
    fn small_records_and_words_of_later_ones_are_read() {
        let old = br#"{"format":2,"source":"lab","finished":{"secs":5,"nanos":0},"timestamp":"t","passed":true,"seconds":0.5,"databases":[{"path":"lrl.db","rows":{"users":3}}],"program":"lrl 0.1.0"}
"#;
        let read = decode(old, &DrillId::of(old), &Ids::default(), "drills/x").unwrap();
        assert_eq!((read.drilled, read.checks.len(), read.before, read.passed), (Drilled::Unknown, 0, None, true));
        assert!(!read.damaged);
        let later = String::from_utf8(old.to_vec())
            .unwrap()
            .replace("\"passed\"", "\"drilled\":\"copy\",\"more\":[1],\"passed\"");
        let read = decode(later.as_bytes(), &DrillId::of(later.as_bytes()), &Ids::default(), "drills/x").unwrap();
        assert_eq!((read.drilled, read.passed), (Drilled::Unknown, true));
    }

    #[test]
    fn a_record_round_trips_and_is_held_to_its_name() {
        let (id, mut bytes) = encode(&drill(), &Ids::default()).unwrap();
        assert_eq!(decode(&bytes, &id, &Ids::default(), "drills/x").unwrap(), drill());
        bytes[10] ^= 1;
        assert!(matches!(decode(&bytes, &id, &Ids::default(), "drills/x"), Err(Error::Corrupt { .. })));
    }

    #[test]
    fn a_later_format_is_said_to_be_one() {
        let later = br#"{"format":3,"other":"shape"}"#;
        assert!(matches!(
            decode(later, &DrillId::of(later), &Ids::default(), "drills/x"),
            Err(Error::Unsupported { .. })
        ));
        let broken = b"[[[[";
        assert!(matches!(
            decode(broken, &DrillId::of(broken), &Ids::default(), "drills/x"),
            Err(Error::Corrupt { .. })
        ));
    }
}
