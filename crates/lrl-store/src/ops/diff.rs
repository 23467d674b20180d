//! The verb `diff`: what changed from one snapshot to another, uploads in list order.

use crate::error::{Error, Result};
use crate::format::entry::{Entry, Kind, compare_paths};
use crate::format::path_text;
use crate::format::snapshot::{Database, Snapshot};
use crate::progress::{Observer, checkpoint};
use crate::store::Store;
use crate::store::tree::diff;
pub use crate::store::tree::diff::Change;

/// What happened to one database.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct DatabaseDiff {
    /// Its path in the snapshots, as text.
    pub path: String,
    /// What happened to it.
    #[serde(flatten)]
    pub change: DatabaseChange,
}

/// What happened to a database.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
#[serde(tag = "change", rename_all = "snake_case")]
pub enum DatabaseChange {
    /// Only the newer one holds it.
    Added {
        /// Bytes.
        size_bytes: u64,
    },
    /// Only the older one holds it.
    Removed {
        /// Bytes.
        size_bytes: u64,
    },
    /// The same bytes in both.
    Same {
        /// Bytes.
        size_bytes: u64,
    },
    /// Other bytes.
    Changed {
        /// Bytes in the older one.
        from_bytes: u64,
        /// Bytes in the newer one.
        to_bytes: u64,
        /// Bytes of extents in the newer one that are not what the older one has in their place.
        extents_bytes: u64,
        /// Tables that only the newer one has.
        tables_added: Vec<String>,
        /// Tables that only the older one has.
        tables_removed: Vec<String>,
    },
}

/// In what a changed upload differs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Aspects {
    /// Its kind, bytes or link target.
    pub content: bool,
    /// Its mode, owner, time or extended attributes.
    pub metadata: bool,
}

/// How many uploads differ in which way.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, serde::Serialize)]
pub struct Counts {
    /// Only in the newer snapshot.
    pub added: u64,
    /// Only in the older snapshot.
    pub removed: u64,
    /// With other contents.
    pub changed: u64,
    /// With the same contents, but other metadata.
    pub metadata: u64,
    /// Bytes of files that are new or have other contents.
    pub added_bytes: u64,
    /// Bytes of files that are gone or had other contents.
    pub removed_bytes: u64,
}

/// Compares the databases, in order of their paths.
///
/// # Errors
///
/// [`Error::Corrupt`](crate::error::Error::Corrupt) or [`Error::Missing`](crate::error::Error::Missing) if the store is damaged.
pub fn databases(store: &Store, from: &Snapshot, to: &Snapshot) -> Result<Vec<DatabaseDiff>> {
    let mut paths: Vec<&[u8]> = from.databases.iter().chain(&to.databases).map(|part| part.path.as_slice()).collect();
    paths.sort_by(|a, b| compare_paths(a, b));
    paths.dedup();
    let compare = |path: &[u8]| {
        let change = match (from.database(path), to.database(path)) {
            (None, to) => DatabaseChange::Added { size_bytes: to.map_or(0, |to| to.size_bytes) },
            (Some(from), None) => DatabaseChange::Removed { size_bytes: from.size_bytes },
            (Some(from), Some(to)) => database(store, from, to)?,
        };
        Ok(DatabaseDiff { path: path_text::encode(path), change })
    };
    paths.into_iter().map(compare).collect()
}

fn database(store: &Store, from: &Database, to: &Database) -> Result<DatabaseChange> {
    if from.root == to.root && from.size_bytes == to.size_bytes {
        return Ok(DatabaseChange::Same { size_bytes: to.size_bytes });
    }
    let only = |here: &Database, there: &Database| match (&here.tables, &there.tables) {
        (Some(here), Some(there)) => here.iter().filter(|table| !there.contains(table)).cloned().collect(),
        _ => Vec::new(),
    };
    Ok(DatabaseChange::Changed {
        from_bytes: from.size_bytes,
        to_bytes: to.size_bytes,
        extents_bytes: diff::changed_bytes(store, &from.root, &to.root)?,
        tables_added: only(to, from),
        tables_removed: only(from, to),
    })
}

/// Compares the uploads; a snapshot without uploads counts as one with none.
///
/// # Errors
///
/// [`Error::Corrupt`](crate::error::Error::Corrupt) or [`Error::Missing`](crate::error::Error::Missing) if the store is damaged, and those
/// of `visit`.
pub fn uploads<E: From<Error>>(
    store: &Store,
    from: &Snapshot,
    to: &Snapshot,
    observer: &dyn Observer,
    visit: &mut dyn FnMut(&Change) -> Result<(), E>,
) -> Result<Counts, E> {
    let list = |snapshot: &Snapshot| snapshot.files.as_ref().map(|part| part.list);
    let mut counts = Counts::default();
    diff::entries(store, list(from).as_ref(), list(to).as_ref(), &mut |change| {
        checkpoint(observer)?;
        match &change {
            Change::Added(entry) => {
                counts.added += 1;
                counts.added_bytes += entry.size();
            }
            Change::Removed(entry) => {
                counts.removed += 1;
                counts.removed_bytes += entry.size();
            }
            Change::Changed(old, new) if aspects(old, new).content => {
                counts.changed += 1;
                counts.added_bytes += new.size();
                counts.removed_bytes += old.size();
            }
            Change::Changed(..) => counts.metadata += 1,
        }
        visit(&change)
    })?;
    Ok(counts)
}

/// Returns in what two versions of one upload differ. The same bytes are the same chunks: cutting depends on the bytes alone.
pub fn aspects(old: &Entry, new: &Entry) -> Aspects {
    let same = match (&old.kind, &new.kind) {
        (Kind::File { size: a, content: x }, Kind::File { size: b, content: y }) => a == b && x == y,
        (a, b) => a == b,
    };
    let all = |entry: &Entry| (entry.mode, entry.uid, entry.gid, entry.mtime);
    let metadata = all(old) != all(new) || old.xattrs != new.xattrs;
    Aspects { content: !same, metadata }
}
