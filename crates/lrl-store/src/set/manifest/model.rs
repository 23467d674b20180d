//! The manifest of a set: the manual's fields, values and order.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::format::entry::is_clean_path;
use crate::format::path_text;
use crate::format::snapshot::THE_DATABASE;

/// The layout's version that the manual documents.
pub const VERSION: &str = "1.0";

/// The type of the entry of what a set lacks: programs that do not know it fail at it, as they should.
pub const MISSING: &str = "missing";

/// One set's manifest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Manifest {
    /// UTC second as `YYYYMMDD_HHMMSS`, as in the files' names.
    pub timestamp_utc: String,
    /// The same or a later moment in ISO 8601, with offset.
    pub created_at: String,
    /// [`VERSION`].
    pub version: String,
    /// The files of the set.
    pub backups: Vec<ManifestEntry>,
    /// What lrl adds; not in sets that other programs wrote.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lrl: Option<Origin>,
}

/// Where a set comes from.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Origin {
    /// The snapshot's id, 64 hexadecimal digits.
    pub snapshot: String,
    /// Its source.
    pub source: String,
    /// The program that wrote the set, e.g. `lrl 0.1.0`.
    pub program: String,
    /// Permission bits of the databases, in octal, by their paths below the root, as text; not in older sets.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub modes: BTreeMap<String, String>,
}

/// One file of a set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ManifestEntry {
    /// The copy of the database.
    Database(Database),
    /// The archive of the uploads.
    Assets(Assets),
    /// The list of what the set lacks of its snapshot.
    Missing(Missing),
    /// A file of a type that this version does not know.
    Unknown {
        /// Its `type`.
        kind: String,
        /// Its file, as stated.
        backup: Option<String>,
    },
}

/// The copy of the database.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Database {
    /// Its path below the root, as text; none for the database of the manual's layout.
    pub path: Option<String>,
    /// The database's path as the user gave it.
    pub source: String,
    /// The copy's path as the user gave it; only its file name counts.
    pub backup: String,
    /// The copy's length in bytes; always written.
    pub size_bytes: Option<u64>,
    /// Lower-case hex; without it nothing can be proved.
    pub sha256: Option<String>,
}

/// The archive of the uploads.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Assets {
    /// How the archive's members are named.
    pub layout: Layout,
    /// The uploads' path as the user gave it.
    pub source: String,
    /// The archive's path as the user gave it; only its file name counts.
    pub backup: String,
    /// Regular files in the archive; always written.
    pub file_count: Option<u64>,
    /// Their bytes; always written.
    pub total_source_size_bytes: Option<u64>,
    /// The archive's length in bytes; always written.
    pub archive_size_bytes: Option<u64>,
    /// Lower-case hex; without it nothing can be proved.
    pub sha256: Option<String>,
}

/// The list of what a set lacks: its snapshot holds it, and the store had lost it when the set was written.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Missing {
    /// The path of the data as the user gave it.
    pub source: String,
    /// The list's path as the user gave it; only its file name counts.
    pub backup: String,
    /// How many entries and databases are missing; always written.
    pub entries: Option<u64>,
    /// The databases among them, by their paths below the root, as text.
    pub databases: Vec<String>,
    /// The list's length in bytes; always written.
    pub size_bytes: Option<u64>,
    /// Lower-case hex; always written.
    pub sha256: Option<String>,
}

/// How the members of an archive are named.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Layout {
    /// Below `assets/` and `storage/`, as the manual has it; the manifest does not state it.
    #[default]
    Manual,
    /// By their paths below the root of a site.
    Root,
}

impl Layout {
    /// Returns the value of the manifest's key, where it has one.
    pub(crate) fn key(self) -> Option<&'static str> {
        match self {
            Self::Manual => None,
            Self::Root => Some("root"),
        }
    }

    /// Returns the layout of a manifest's key; `None` if this version does not know it.
    pub(crate) fn of(key: Option<&str>) -> Option<Self> {
        match key {
            None => Some(Self::Manual),
            Some("root") => Some(Self::Root),
            Some(_) => None,
        }
    }
}

/// Returns the path of a database in the snapshot, by the `path` of its entry: without one it is that of the manual's layout. `None` if it
/// leads elsewhere.
pub(super) fn database_path(path: Option<&str>) -> Option<Vec<u8>> {
    match path {
        None => Some(THE_DATABASE.to_vec()),
        Some(text) => path_text::decode(text).filter(|path| is_clean_path(path)),
    }
}

impl Database {
    /// Returns its path below the root; a manifest with one that leads elsewhere was refused.
    pub(crate) fn list_path(&self) -> Vec<u8> {
        database_path(self.path.as_deref()).unwrap_or_default()
    }
}

impl Missing {
    /// Returns the paths of the databases that the set lacks; a manifest with one that leads elsewhere was refused.
    pub(crate) fn database_paths(&self) -> impl Iterator<Item = Vec<u8>> {
        self.databases.iter().filter_map(|path| database_path(Some(path)))
    }
}

impl Manifest {
    /// Returns the entries of the databases.
    pub(crate) fn databases(&self) -> impl Iterator<Item = &Database> {
        self.backups
            .iter()
            .filter_map(|backup| if let ManifestEntry::Database(found) = backup { Some(found) } else { None })
    }

    /// Returns the permission bits of a database, where they are known.
    pub(crate) fn mode_of(&self, database: &Database) -> Option<u32> {
        let modes = &self.lrl.as_ref()?.modes;
        let path = database.path.clone().unwrap_or_else(|| path_text::encode(THE_DATABASE));
        u32::from_str_radix(modes.get(&path)?, 8).ok().map(|mode| mode & 0o777)
    }

    /// Returns the entry of the uploads.
    pub(crate) fn assets(&self) -> Option<&Assets> {
        self.backups
            .iter()
            .find_map(|backup| if let ManifestEntry::Assets(found) = backup { Some(found) } else { None })
    }

    /// Returns the entry of what the set lacks; a set that is whole has none.
    pub(crate) fn missing(&self) -> Option<&Missing> {
        self.backups
            .iter()
            .find_map(|backup| if let ManifestEntry::Missing(found) = backup { Some(found) } else { None })
    }
}
