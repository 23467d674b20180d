//! The snapshot document: what one run kept, in one small JSON file that is written last.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::entry::{compare_paths, is_clean_path};
use super::path_text;
use super::xattr::Xattrs;
use super::xattr_json;
use crate::error::{Error, Result};
use crate::id::{ChunkId, Ids, PackId, PendingId, SnapshotId};
use crate::progress::Problem;
use crate::time::Time;

/// The document's format version that this build writes.
pub const VERSION: u32 = 2;

/// The reason of the problem that a snapshot records where the database was asked for and is not there.
pub(crate) const DATABASE_NOT_FOUND: &str = "Database not found";

/// The tag of a snapshot of what was there before rows were restored: the state that its user wanted to get away from.
pub const BEFORE_RESTORE: &str = "before-restore";

/// One snapshot.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Snapshot {
    /// Format version, [`VERSION`].
    pub format: u32,
    /// The named source that it belongs to.
    pub source: String,
    /// Position in its source's history, from 1; two runs may share one.
    pub sequence: u64,
    /// The snapshots that the parts were compared with.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub parents: Vec<SnapshotId>,
    /// UTC second as `YYYYMMDD_HHMMSS`, unique in its source; names the set.
    pub timestamp: String,
    /// When the run began, seconds and nanoseconds since 1970 (for people and for retention).
    pub created: Time,
    /// The machine's name.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub host: String,
    /// Free words from `--tag`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<String>,
    /// The program that wrote it, e.g. `lrl 0.1.0`.
    pub program: String,
    /// The packs that this run added, for people: a prune may have replaced them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[doc(hidden)]
    pub packs: Vec<PackId>,
    /// Bytes of the objects that this run added before the document, for people: a prune may have replaced them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub added_bytes: Option<u64>,
    /// Milliseconds from when the run held its locks until it wrote the document.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub duration_ms: Option<u64>,
    /// Where it was made, if it was copied here from another store.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[doc(hidden)]
    pub original: Option<Origin>,
    /// Lists of pending deletions that this run had read: nothing in the snapshot is in their packs alone.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[doc(hidden)]
    pub avoids: Vec<PendingId>,
    /// The directory that all paths are below, where one was backed up as a whole.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[doc(hidden)]
    pub root: Option<RootDir>,
    /// The databases, by path; none if they were not asked for or not there.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub databases: Vec<Database>,
    /// Microseconds between the first and the last instant that the databases are of: 0 if there is one.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub window_us: u64,
    /// The files, if this snapshot holds them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub files: Option<Files>,
    /// What was asked for but is not in it, by path.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub problems: Vec<Problem>,
    /// By which measures it is much smaller than a good snapshot before it, unless that was accepted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub shrunk: Vec<Shrink>,
}

/// One measure by which a snapshot is much smaller than an earlier one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shrink {
    /// What was measured.
    pub measure: Measure,
    /// The database that was measured, by its path in the snapshot.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "path_text::optional")]
    pub database: Option<Vec<u8>>,
    /// What it was in the earlier snapshot.
    pub before: u64,
    /// What it is in this one.
    pub now: u64,
    /// The earlier snapshot.
    pub against: SnapshotId,
}

/// What is measured of a snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Measure {
    /// Regular files.
    Files,
    /// Bytes of regular files.
    FileBytes,
    /// Bytes of the database's pages that are in use.
    DatabaseBytes,
    /// The database's tables.
    Tables,
}

impl Measure {
    /// Returns whether it is one of the database.
    pub(crate) const fn is_of_database(self) -> bool {
        matches!(self, Self::DatabaseBytes | Self::Tables)
    }
}

impl std::fmt::Display for Shrink {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { before, now, .. } = self;
        let database = match self.database.as_deref() {
            None | Some(THE_DATABASE) => "the database".into(),
            Some(path) => path_text::encode(path),
        };
        match self.measure {
            Measure::Files => write!(f, "{now} files, where there were {before}"),
            Measure::FileBytes => write!(f, "files of {now} bytes, where there were {before} bytes"),
            Measure::DatabaseBytes => write!(f, "{now} bytes of {database} in use, where there were {before} bytes"),
            Measure::Tables => write!(f, "{now} tables in {database}, where there were {before}"),
        }
    }
}

/// The store that a snapshot was made in, and what it is called there. Copies of copies name the first one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Origin {
    /// The store's id, as its config has it.
    pub store: String,
    /// The snapshot's id there.
    pub snapshot: SnapshotId,
    /// Its position in its source's history there.
    pub sequence: u64,
}

/// The directory of a site.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RootDir {
    /// The path, absolute and with links resolved.
    pub path: String,
    /// Permission bits.
    pub mode: u32,
    /// Numeric owner.
    pub uid: u32,
    /// Numeric group.
    pub gid: u32,
    /// Time of its last change.
    pub mtime: Time,
    /// Extended attributes and ACLs that are stored.
    #[serde(default, skip_serializing_if = "Vec::is_empty", with = "xattr_json")]
    pub xattrs: Xattrs,
}

/// The path of the database in the manual's layout.
pub const THE_DATABASE: &[u8] = b"lrl.db";

/// One database.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Database {
    /// Its path in the snapshot: below the root, components joined by `/`. Raw bytes; in the document a text with escapes.
    #[serde(with = "path_text")]
    pub path: Vec<u8>,
    /// The path as the user gave it.
    pub source_path: String,
    /// Length of the image in bytes.
    pub size_bytes: u64,
    /// SHA-256 of the image, lower-case hex; unknown where not all of it was read. The root of the tree is a digest as well.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha256: Option<String>,
    /// Root of the tree of extents.
    #[doc(hidden)]
    pub root: ChunkId,
    /// Bytes per page.
    pub page_size: u32,
    /// The file change counter of the source's header.
    pub change_counter: u32,
    /// Pages that are not on the freelist; not known of a file that is no SQLite database.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub used_pages: Option<u64>,
    /// Names of its tables; none if the schema could not be read.
    pub tables: Option<Vec<String>>,
    /// Permission bits of the source file.
    pub mode: u32,
    /// Owner of the source file.
    pub uid: u32,
    /// Group of the source file.
    pub gid: u32,
    /// Modification time of the source file.
    pub mtime: Time,
    /// Extended attributes and ACLs that are stored.
    #[serde(default, skip_serializing_if = "Vec::is_empty", with = "xattr_json")]
    #[doc(hidden)]
    pub xattrs: Xattrs,
}

/// The files.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Files {
    /// First component of the paths in the list (`assets`, `storage`; empty for the root of a site) → path as the user gave it.
    pub roots: BTreeMap<String, String>,
    /// Root of the tree of entries.
    #[doc(hidden)]
    pub list: ChunkId,
    /// Entries of every kind.
    pub entries: u64,
    /// Regular files as the archive has them: hard links count.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// The archive of this list, if a set was written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[doc(hidden)]
    pub archive: Option<Archive>,
}

impl Files {
    /// Returns whether these are the files of a site: paths in the list are simply below its root.
    pub(crate) fn is_site(&self) -> bool {
        self.roots.contains_key("")
    }

    /// Returns the path of the files for people: that of `assets`, else of the other root.
    pub fn shown_source(&self) -> String {
        self.roots.get("assets").or_else(|| self.roots.values().next()).cloned().unwrap_or_default()
    }
}

/// What archive a list becomes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Archive {
    /// Which compressor made it; only the same one makes the same bytes.
    pub coder: String,
    /// Length in bytes.
    pub size_bytes: u64,
    /// SHA-256, lower-case hex.
    pub sha256: String,
}

fn is_zero(number: &u64) -> bool {
    *number == 0
}

impl Database {
    /// Returns whether an image with this SHA-256 may be this one: any, where that of its image is not known.
    pub(crate) fn has_sha256(&self, sha256: &str) -> bool {
        self.sha256.as_ref().is_none_or(|expected| expected == sha256)
    }

    /// Returns its name for people: "database" in the manual's layout, else its path.
    pub(crate) fn shown(&self) -> String {
        if self.path == THE_DATABASE { "database".into() } else { path_text::encode(&self.path) }
    }
}

impl Snapshot {
    /// Returns the database at a path of the snapshot.
    pub fn database(&self, path: &[u8]) -> Option<&Database> {
        self.databases.iter().find(|database| database.path == path)
    }

    /// Returns the length of all databases' images, in bytes.
    pub fn database_bytes(&self) -> u64 {
        self.databases.iter().map(|database| database.size_bytes).sum()
    }

    /// Returns whether it is of a site, not of the manual's layout: by its root, its files, or the path of a database.
    pub(crate) fn is_site(&self) -> bool {
        let has_path = |database: &Database| database.path != THE_DATABASE;
        self.root.is_some() || self.files.as_ref().is_some_and(Files::is_site) || self.databases.iter().any(has_path)
    }

    /// Returns whether it is of what was there before rows were restored, by its tag: no backup that anybody wants without naming it.
    pub(crate) fn is_before_restore(&self) -> bool {
        is_before_restore(&self.tags)
    }

    /// Returns whether it holds a database.
    pub fn has_databases(&self) -> bool {
        !self.databases.is_empty()
    }
}

/// Returns whether a snapshot with these tags is of what was there before rows were restored.
pub(crate) fn is_before_restore(tags: &[String]) -> bool {
    tags.iter().any(|tag| tag == BEFORE_RESTORE)
}

/// Encodes a snapshot as one line of JSON and names it.
pub fn encode(snapshot: &Snapshot, ids: &Ids) -> Result<(SnapshotId, Vec<u8>)> {
    let mut bytes = serde_json::to_vec(snapshot)
        .map_err(|e| Error::corrupt("a new snapshot", format!("cannot be encoded: {e}")))?;
    bytes.push(b'\n');
    Ok((ids.snapshot(&bytes), bytes))
}

/// Decodes a snapshot and checks it against its name.
pub fn decode(bytes: &[u8], id: &SnapshotId, ids: &Ids, object: &str) -> Result<Snapshot> {
    if ids.snapshot(bytes) != *id {
        return Err(Error::corrupt(object, "its bytes do not match its name"));
    }
    #[derive(Deserialize)]
    struct Version {
        format: u32,
    }
    let malformed = |e: serde_json::Error| Error::corrupt(object, format!("is not a snapshot document: {e}"));
    let Version { format } = serde_json::from_slice(bytes).map_err(malformed)?;
    if format != VERSION {
        return Err(Error::Unsupported { what: format!("snapshot format {format} ({object})").into() });
    }
    let snapshot: Snapshot = serde_json::from_slice(bytes).map_err(malformed)?;
    let is_sorted = snapshot.databases.windows(2).all(|pair| compare_paths(&pair[0].path, &pair[1].path).is_lt());
    if !is_sorted || !snapshot.databases.iter().all(|database| is_clean_path(&database.path)) {
        return Err(Error::corrupt(object, "names a database by a path that leads elsewhere, or two by the same"));
    }
    Ok(snapshot)
}
