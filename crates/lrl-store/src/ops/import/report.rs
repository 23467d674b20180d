//! What to import, and what an import did.

use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use crate::format::snapshot::Snapshot;
use crate::hint::Message;
use crate::ops::repair::report::Saved;
use crate::store::SnapshotName;
use crate::units::PROGRAM;

/// What to import.
#[non_exhaustive]
pub struct Options {
    /// The directory with the sets.
    pub dir: PathBuf,
    /// A directory on which an unpacked archive fits.
    pub scratch: PathBuf,
    /// The named source that the snapshots will belong to.
    pub source: String,
    /// The program's name and version.
    pub program: String,
    /// How long to wait for another run.
    pub lock_wait: Duration,
    /// The moment of the run.
    pub now: SystemTime,
}

impl Options {
    /// Imports the sets of a directory into a source; waits for no other run.
    #[must_use]
    pub fn new(dir: impl Into<PathBuf>, scratch: impl Into<PathBuf>, source: &str, now: SystemTime) -> Self {
        let (dir, scratch) = (dir.into(), scratch.into());
        Self { dir, scratch, source: source.into(), program: PROGRAM.into(), lock_wait: Duration::ZERO, now }
    }
}

/// A set that became a snapshot.
#[derive(Debug)]
pub struct Imported {
    /// Its manifest.
    pub manifest: PathBuf,
    /// The new snapshot's name.
    pub name: SnapshotName,
    /// The new snapshot.
    pub snapshot: Snapshot,
    /// Bytes of objects that it added to the store.
    pub added_bytes: u64,
}

/// A set that did not.
#[derive(Debug)]
pub struct Skipped {
    /// Its manifest.
    pub manifest: PathBuf,
    /// Why.
    pub reason: Message,
}

/// What a run did.
#[derive(Debug, Default)]
#[must_use = "what was not imported is in the report"]
#[non_exhaustive]
pub struct Report {
    /// Sets that became snapshots, oldest first.
    pub imported: Vec<Imported>,
    /// Sets whose timestamp the source has already.
    pub known: Vec<Skipped>,
    /// Sets that are damaged or cannot be put in order.
    pub failed: Vec<Skipped>,
    /// Chunks of snapshots that are there already, which the store had lost and the sets gave back.
    #[doc(hidden)]
    pub healed: Saved,
    /// True if chunks of these snapshots are lost that the sets did not give back.
    pub still_lost: bool,
}
