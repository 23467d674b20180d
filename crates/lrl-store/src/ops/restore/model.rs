//! What a restore works on: options, parts, names, and the report.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};

use serde::{Deserialize, Serialize};

use super::open_files::Process;
use super::sqlite_locks::AskLocks;
use crate::format::snapshot::THE_DATABASE;
use crate::fs::metadata::Owners;
use crate::fs::xattrs::{MissedXattrs, SetXattrs};
use crate::hint::Message;
use crate::set::missing::Skip;

/// The database's file name in the data directory.
pub(super) const DATABASE: &[u8] = THE_DATABASE;
/// The list's root that is in the data directory.
pub(super) const ASSETS: &[u8] = b"assets";
/// The list's root that is the storage directory.
pub(super) const STORAGE: &[u8] = b"storage";
/// The beginning of the names under which something is kept inside a directory whose contents are exchanged.
pub(super) const INSIDE: &[u8] = b".lrl";
/// The ending of such a name while what it names is being filled or emptied.
pub(super) const PARTIAL: &[u8] = b".part";

/// What is restored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum What {
    /// Everything.
    Whole,
    /// The database.
    DbOnly,
    /// The uploads.
    AssetsOnly,
    /// Files and directories by their raw paths in the snapshot, such as `assets/ab12/photo.jpg` or `lrl.db`. All in one restore.
    Paths(Vec<Vec<u8>>),
}

/// How to restore.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Options {
    /// Where `lrl.db` and `assets` go, or all of a site; created if missing.
    pub data_dir: PathBuf,
    /// Where `storage/…` goes.
    pub storage_dir: PathBuf,
    /// Of a site: follow no link below `data_dir`, so that nothing is written outside of it.
    pub only_below: bool,
    /// Directories of lrl itself (backups, sets), which are never moved along with another; the store's is known.
    pub own: Vec<PathBuf>,
    /// What is restored.
    pub what: What,
    /// Owner and group of everything that is restored, instead of the recorded ones.
    pub owner: Option<(u32, u32)>,
    /// Report what would happen, write nothing.
    pub dry_run: bool,
    /// Restore even while processes have the files open.
    pub force: bool,
    /// Restore everything else where the store has lost something, or where a set is not whole, and list what that is.
    pub skip_damaged: bool,
    /// Remove what is replaced, once everything is in place and durable: then there is no undo.
    pub no_keep: bool,
    /// Finds who holds SQLite's locks; without it only `/proc` is asked.
    #[doc(hidden)]
    pub locks: Option<AskLocks>,
}

impl Options {
    /// Restores everything below `target`: `lrl.db` and `assets/` there, `storage/…` in `target/storage`.
    pub fn new(target: impl Into<PathBuf>) -> Self {
        let data_dir = target.into();
        Self {
            storage_dir: data_dir.join("storage"),
            data_dir,
            only_below: false,
            own: Vec::new(),
            what: What::Whole,
            owner: None,
            dry_run: false,
            force: false,
            skip_damaged: false,
            no_keep: false,
            locks: None,
        }
    }
}

/// A part of a restore.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Part {
    /// The database.
    Database,
    /// A whole root of uploads.
    Uploads,
    /// One file or directory.
    Path,
}

/// A former path, and the one under which it is kept.
pub type Moved = (PathBuf, PathBuf);

/// One of the two things that a name can stand for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Version {
    /// What was there before the restore.
    Before,
    /// What the restore put there.
    Restored,
}

impl Version {
    /// Returns the other one.
    pub(crate) fn other(self) -> Self {
        match self {
            Self::Before => Self::Restored,
            Self::Restored => Self::Before,
        }
    }

    /// Returns the ending of names under which it is kept.
    pub(crate) fn ending(self) -> &'static str {
        match self {
            Self::Before => ".pre-restore",
            Self::Restored => ".undone",
        }
    }
}

/// One target that was restored.
#[derive(Debug, Clone)]
pub struct Restored {
    /// Its part.
    pub part: Part,
    /// Where it is now; for a path whose parents were missing, the first of them.
    pub path: PathBuf,
    /// Regular files.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Databases in it: they are restored with it.
    pub databases: Vec<PathBuf>,
    /// What was replaced, and where it is kept: the thing itself first, then what was beside a database.
    pub kept: Vec<Moved>,
}

/// Kept copies of earlier restores, which `--undo` does not use.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Older {
    /// Their number.
    pub copies: u64,
    /// Bytes that they take on the disk.
    pub bytes: u64,
}

/// What a restore did, or would do.
#[derive(Debug, Clone, Default)]
#[must_use = "what was not restored is in the report"]
#[non_exhaustive]
pub struct Report {
    /// True if nothing was written.
    pub dry_run: bool,
    /// The snapshot's or set's timestamp.
    pub timestamp: String,
    /// Every target.
    pub restored: Vec<Restored>,
    /// Regular files, the database included.
    pub files: u64,
    /// Directories.
    pub dirs: u64,
    /// Symbolic links and hard links.
    pub links: u64,
    /// Bytes of the regular files.
    pub bytes: u64,
    /// Files and bytes that were right already and were cloned, sharing their blocks.
    pub cloned: (u64, u64),
    /// Files and bytes that were right already and are hard links to what is kept.
    pub linked: (u64, u64),
    /// Bytes that what is kept takes on the disk.
    pub kept_bytes: u64,
    /// Bytes that removing what had been kept gave back (with `no_keep`).
    pub dropped: Option<u64>,
    /// What earlier restores left beside the targets.
    #[doc(hidden)]
    pub older: Older,
    /// What could not be restored because the store has lost it (with `skip_damaged`), in order.
    pub skipped: Vec<Skip>,
    /// The number of further entries that are not listed.
    pub more_skipped: u64,
    /// Processes that have the files open (with `force` or `dry_run`; otherwise they are a reason to refuse).
    #[doc(hidden)]
    pub holders: Vec<Process>,
    /// What an operator should know.
    pub notes: Vec<Message>,
}

/// How files that are right already get into the staged tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reuse {
    /// Not at all: there are none.
    No,
    /// As clones that share their blocks.
    Clone,
    /// As hard links, where the disk cannot clone.
    Link,
}

/// Counts of files that were reused, and of owners and extended attributes that could not be set.
#[derive(Debug, Default)]
pub(super) struct ReuseCounts {
    /// Extended attributes that could not be set.
    pub missed: MissedXattrs,
    files: AtomicU64,
    bytes: AtomicU64,
    /// What did not get its owner.
    not_given: AtomicU64,
}

impl ReuseCounts {
    /// Counts one file.
    pub(crate) fn count(&self, bytes: u64) {
        self.files.fetch_add(1, Ordering::Relaxed);
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Returns how extended attributes are set: an ACL only where owners are those that were recorded, or the caller's.
    pub(crate) fn xattrs(&self, owners: Owners) -> SetXattrs<'_> {
        SetXattrs { acls: owners.all.is_none(), privileged: false, missed: &self.missed }
    }

    /// Counts what did not get its owner.
    pub(crate) fn owner(&self, was_given: bool) {
        self.not_given.fetch_add(u64::from(!was_given), Ordering::Relaxed);
    }

    /// Counts several of those.
    pub(crate) fn not_given(&self, count: u64) {
        self.not_given.fetch_add(count, Ordering::Relaxed);
    }

    /// Returns how many did not get their owner.
    pub(crate) fn without_owner(&self) -> u64 {
        self.not_given.load(Ordering::Relaxed)
    }

    /// Returns files and bytes.
    pub(crate) fn get(&self) -> (u64, u64) {
        (self.files.load(Ordering::Relaxed), self.bytes.load(Ordering::Relaxed))
    }
}
