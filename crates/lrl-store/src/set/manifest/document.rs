//! A manifest as it is in the file, with fields of any type.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Read;
use std::path::Path;

use serde::Deserialize;
use serde_json::Value;

use crate::error::{Error, Result};

/// A manifest of this length would name thousands of files; real ones name two.
const MANIFEST_MAX: u64 = 1 << 20;

/// A manifest as it is in the file. A key that is there twice is an error.
#[derive(Clone, Deserialize)]
pub(super) struct Document {
    pub timestamp_utc: Option<String>,
    pub created_at: Option<Field<String>>,
    pub version: Option<Field<String>>,
    pub backups: Vec<DocumentEntry>,
    pub lrl: Option<Field<DocumentOrigin>>,
}

/// One file of a set.
#[derive(Clone, Deserialize)]
pub(super) struct DocumentEntry {
    #[serde(rename = "type")]
    pub kind: Option<Field<String>>,
    pub path: Option<Field<String>>,
    pub layout: Option<Field<String>>,
    pub source: Option<Field<String>>,
    pub backup: Option<Field<String>>,
    pub size_bytes: Option<Field<u64>>,
    pub file_count: Option<Field<u64>>,
    pub total_source_size_bytes: Option<Field<u64>>,
    pub archive_size_bytes: Option<Field<u64>>,
    pub entries: Option<Field<u64>>,
    pub databases: Option<Field<Vec<String>>>,
    pub sha256: Option<Field<String>>,
}

/// What lrl adds.
#[derive(Clone, Deserialize)]
pub(super) struct DocumentOrigin {
    #[serde(default)]
    pub snapshot: String,
    #[serde(default)]
    pub source: String,
    #[serde(default)]
    pub program: String,
    pub modes: Option<Field<BTreeMap<String, String>>>,
}

/// The value of a key: of its type, or anything else.
#[derive(Clone, Deserialize)]
#[serde(untagged)]
pub(super) enum Field<T> {
    /// A value of the type that it should have.
    Typed(T),
    /// Any other value.
    Other(Value),
}

impl<T> Field<T> {
    /// Returns the value if it has its type.
    pub(crate) fn typed(field: Option<Self>) -> Option<T> {
        match field {
            Some(Self::Typed(value)) => Some(value),
            _ => None,
        }
    }

    /// Returns the value, and refuses one of another type.
    pub(crate) fn strict(field: Option<Self>, key: &str) -> Result<Option<T>, String> {
        match field {
            Some(Self::Typed(value)) => Ok(Some(value)),
            Some(Self::Other(value)) => Err(format!("its {key} is {:.80}", value.to_string())),
            None => Ok(None),
        }
    }
}

impl Document {
    /// Reads a file; [`Error::Corrupt`] if it is no manifest.
    pub(crate) fn read(path: &Path) -> Result<Self> {
        let meta = fs::metadata(path).map_err(Error::io("read", path))?;
        if !meta.is_file() || meta.len() > MANIFEST_MAX {
            return Err(Error::corrupt(path.display(), "is no manifest: those are regular files of a kilobyte or so"));
        }
        let mut bytes = Vec::new();
        let file = File::open(path).map_err(Error::io("read", path))?;
        file.take(MANIFEST_MAX).read_to_end(&mut bytes).map_err(Error::io("read", path))?;
        Self::decode(&bytes, path)
    }

    /// Decodes a manifest; `path` is for messages.
    pub(crate) fn decode(bytes: &[u8], path: &Path) -> Result<Self> {
        let malformed = |e: serde_json::Error| Error::corrupt(path.display(), format!("is not a manifest: {e}"));
        serde_json::from_slice(bytes).map_err(malformed)
    }
}
