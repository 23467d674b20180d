//! The history of a source, as a report shows it.

use crate::ops::judgement::State;
use crate::store::SnapshotName;
use crate::time::Time;

/// The history of one source.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct History {
    /// Its snapshots, oldest first; those of long ago are thinned.
    pub points: Vec<Point>,
    /// Snapshots that were not read, because there are many.
    pub unread: u64,
    /// Its drills, oldest first.
    pub drills: Vec<DrillPoint>,
    /// Rows of all tables together, by the time of the snapshot, oldest first.
    pub rows: Vec<RowsAt>,
    /// Rows of each table in the newest snapshot that was counted, the largest first.
    pub tables: Vec<TableRows>,
    /// Tables that are not among them.
    pub more_tables: u64,
    /// What the newest snapshot that can be read is of.
    pub newest: Option<Contents>,
}

/// One snapshot.
#[derive(Debug, Clone, PartialEq)]
pub struct Point {
    /// Its name.
    pub name: SnapshotName,
    /// Its timestamp; none if its document cannot be read, as all that follows from it.
    pub timestamp: Option<String>,
    /// When its run began.
    pub created: Option<Time>,
    /// The judgement on it.
    pub state: State,
    /// Why it is not good; recorded for the newest only.
    pub reason: String,
    /// Bytes of its databases.
    pub database_bytes: Option<u64>,
    /// Its regular files.
    pub files: Option<u64>,
    /// Their bytes.
    pub file_bytes: Option<u64>,
    /// Bytes that its run added to the store.
    pub added_bytes: Option<u64>,
    /// Whether its newest drill passed.
    pub proven: bool,
    /// Whether it is of what was there before rows were restored.
    pub before_restore: bool,
}

/// One drill.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct DrillPoint {
    /// When it ended.
    pub finished: Time,
    /// Whether it passed.
    pub passed: bool,
}

/// Rows of all tables of a snapshot.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RowsAt {
    /// The snapshot's timestamp.
    pub at: Time,
    /// The rows.
    pub rows: u64,
}

/// Rows of one table.
#[derive(Debug, Clone, PartialEq)]
pub struct TableRows {
    /// The path of its database; empty for that of the manual's layout.
    pub database: String,
    /// The table.
    pub table: String,
    /// Its rows.
    pub rows: u64,
    /// Its rows in the oldest snapshot of the last days that was counted, if it was there.
    pub before: Option<u64>,
}

/// What a snapshot is of.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Contents {
    /// The machine.
    pub host: String,
    /// Its tags.
    pub tags: Vec<String>,
    /// Whether it is of a site, not of the manual's layout.
    pub is_site: bool,
    /// Its databases by name, and the bytes of each.
    pub databases: Vec<(String, u64)>,
}
