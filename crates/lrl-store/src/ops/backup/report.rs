//! What a backup did.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::full_scan::FullScan;
use crate::error::Error;
use crate::format::snapshot::Snapshot;
use crate::id::SnapshotId;
use crate::ops::sets::report::Sets;
use crate::progress::Problem;
use crate::source::database::{HeldFor, Method};
use crate::store::SnapshotName;
use crate::time::Time;

/// What a run did.
#[derive(Debug)]
#[must_use = "what is missing from the snapshot is in the report"]
#[non_exhaustive]
pub struct Report {
    /// The new snapshot's name.
    pub name: SnapshotName,
    /// The new snapshot.
    pub snapshot: Snapshot,
    /// No snapshot was added, as asked for: the newest one, whose name this is, has the same contents.
    pub unchanged: bool,
    /// Bytes of objects that the run added to the store, the snapshot included.
    pub added_bytes: u64,
    /// How the databases were read, by path: those that were provably unchanged are not among them.
    #[doc(hidden)]
    pub databases_read: BTreeMap<Vec<u8>, DatabaseRead>,
    /// How much of the uploads was read.
    #[doc(hidden)]
    pub uploads_read: UploadsRead,
    /// Why everything was read, if it was.
    #[doc(hidden)]
    pub full_scan: Option<FullScan>,
    /// The failed drill or check because of which everything was read, and stored again where the store has lost it.
    #[doc(hidden)]
    pub distrust: Option<Distrust>,
    /// The set, if one was asked for and written.
    pub set: Option<SetOutput>,
    /// Why the set that was asked for is not there.
    pub set_error: Option<Error>,
    /// The backup directory's sets, if this one's was written.
    #[doc(hidden)]
    pub sets: Option<Sets>,
    /// A snapshot that was there when this machine looked last, and the newest of its source, and is there no more.
    pub vanished: Option<(u64, SnapshotId)>,
    /// The observer asked to stop after everything was written, before the older sets were checked.
    pub interrupted: bool,
    /// What is missing from the result, and notes.
    pub problems: Vec<Problem>,
}

impl Report {
    /// Makes one of a run that read nothing and wrote no set.
    pub(super) fn new(name: SnapshotName, snapshot: Snapshot, added_bytes: u64) -> Self {
        Self {
            name,
            snapshot,
            unchanged: false,
            added_bytes,
            databases_read: BTreeMap::new(),
            uploads_read: UploadsRead::default(),
            full_scan: None,
            distrust: None,
            set: None,
            set_error: None,
            sets: None,
            vanished: None,
            interrupted: false,
            problems: Vec::new(),
        }
    }
}

/// A record that shows that the store may be damaged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Distrust {
    /// The last drill of the source failed.
    Drill(Time),
    /// The last check of the store found something wrong.
    Check(Time),
}

/// How a database was read.
#[derive(Debug, Clone)]
pub struct DatabaseRead {
    /// For how long reading kept something from the application.
    pub held: HeldFor,
    /// By which means.
    pub method: Method,
    /// Why its schema could not be read; the copy is kept, unverified.
    pub schema_error: Option<String>,
    /// Its contents differ from the parent's though its state says that they cannot: see [`FullScan`].
    pub changed_unseen: bool,
}

/// How much of the uploads had to be read.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct UploadsRead {
    /// Files reused from the parent because their state proves that they are unchanged.
    pub files_proved: u64,
    /// Their bytes.
    pub bytes_proved: u64,
    /// Files that were read.
    pub files_read: u64,
    /// Their bytes.
    pub bytes_read: u64,
    /// Of those, files whose contents differ from the parent's though their state says that they cannot.
    pub files_changed_unseen: u64,
}

/// A set that was written.
#[derive(Debug, Clone)]
pub struct SetOutput {
    /// The manifest's path.
    pub manifest: PathBuf,
    /// The databases' copies, in their order.
    #[doc(hidden)]
    pub databases: Vec<DatabaseOutput>,
    /// The uploads' archive.
    #[doc(hidden)]
    pub assets: Option<AssetsOutput>,
}

/// The `.sqlite` of a set.
#[derive(Debug, Clone)]
pub struct DatabaseOutput {
    /// The database's path in the snapshot.
    pub of: Vec<u8>,
    /// Its path.
    pub path: PathBuf,
    /// Its length in bytes.
    pub size_bytes: u64,
}

/// The `.tar.gz` of a set.
#[derive(Debug, Clone)]
pub struct AssetsOutput {
    /// Its path.
    pub path: PathBuf,
    /// Regular members.
    pub file_count: u64,
    /// Its length in bytes.
    pub archive_size_bytes: u64,
    /// How many of those were reused from the archive before.
    pub reused_bytes: u64,
}
