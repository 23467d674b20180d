//! What became of the sets of a backup directory.

use std::path::Path;

use crate::error::Result;
use crate::fs::space::{Reserve, free_at};
use crate::id::SnapshotId;
use crate::set::directory;

/// The sets of the backup directory, and what became of the older ones.
#[derive(Debug, Default, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Sets {
    /// How many there are now; every manifest counts as one, also those that lrl did not write.
    pub count: u64,
    /// What they take on disk, parts of sets included; hard-linked files count once.
    pub disk_bytes: u64,
    /// What is free on their disk.
    pub free_bytes: u64,
    /// What was removed, the newest first (in a plan: what would be).
    pub removed: Vec<Removed>,
    /// What would have been removed, or is no set of this source, and why it stays.
    pub kept: Vec<Kept>,
    /// What should have been removed and could not be; reported as problems.
    #[serde(skip)]
    pub failed: Vec<Kept>,
}

/// A set that was removed.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Removed {
    /// Its timestamp.
    pub timestamp: String,
    /// The snapshot that it is made of again.
    pub snapshot: SnapshotId,
}

/// A set, or a part of one, that stays.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Kept {
    /// The name of its manifest, or its timestamp if it has none.
    pub name: String,
    /// Why.
    pub reason: String,
}

impl Sets {
    /// Counts the sets in `out`, and what they and the free space come to.
    pub(super) fn look(&mut self, out: &Path) -> Result<()> {
        let found = directory::look(out)?;
        (self.count, self.disk_bytes) = (found.sets(), found.disk_bytes);
        self.free_bytes = free_at(out, Reserve::NONE)?.bytes;
        Ok(())
    }
}
