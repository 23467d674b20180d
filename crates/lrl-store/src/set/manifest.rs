//! The set's manifest: the manual's fields in the manual's order, ours beside them under `lrl`.

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// The manifest of one set.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// UTC second as in the files' names.
    pub timestamp_utc: String,
    /// The same moment as ISO 8601.
    pub created_at: String,
    /// `1.0`.
    pub version: String,
    /// The set's files.
    pub backups: Vec<Backup>,
    /// What lrl adds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lrl: Option<Extra>,
}

/// Facts that the manual does not know.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Extra {
    /// The snapshot that the set shows.
    pub snapshot: String,
    /// The source that it belongs to.
    pub source: String,
    /// The program that wrote the set.
    pub program: String,
}

/// One file of a set.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "lowercase")]
pub enum Backup {
    /// The database.
    Database {
        /// Where it was.
        source: String,
        /// Where its copy was written.
        backup: String,
        /// Bytes.
        size_bytes: u64,
        /// SHA-256, lower-case hex.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        sha256: Option<String>,
    },
    /// The uploads.
    Assets {
        /// Where they were.
        source: String,
        /// Where their archive was written.
        backup: String,
        /// Regular members.
        file_count: u64,
        /// Their bytes.
        total_source_size_bytes: u64,
        /// Bytes of the archive.
        archive_size_bytes: u64,
        /// SHA-256 of the archive, lower-case hex.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        sha256: Option<String>,
    },
}

impl Manifest {
    /// Encodes as the manual shows it: JSON, two spaces of indent.
    pub fn encode(&self) -> Result<Vec<u8>> {
        serde_json::to_vec_pretty(self).map_err(|e| Error::corrupt("a new manifest", e.to_string()))
    }
}
