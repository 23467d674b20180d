//! What a prune is asked for, what it plans, and what it reports.

use std::collections::{BTreeMap, HashMap, HashSet};

use crate::error::Error;
use crate::format::pack::Record;
use crate::id::{ChunkId, PackId, PendingId, SnapshotId};
use crate::store::chunk_set::ChunkSet;

/// How much space unreferenced data may keep, because moving the rest costs more than it frees.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum MaxUnused {
    /// A percentage of what is alive.
    Percent(f64),
    /// A number of bytes.
    Bytes(u64),
    /// Any: only packs that are wholly dead go.
    Unlimited,
}

impl MaxUnused {
    pub(super) fn of(self, alive_bytes: u64) -> u64 {
        match self {
            Self::Percent(percent) => (alive_bytes as f64 * percent / 100.0) as u64,
            Self::Bytes(bytes) => bytes,
            Self::Unlimited => u64::MAX,
        }
    }
}

/// Packs: how many, and their bytes.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, serde::Serialize)]
pub struct Packs {
    /// How many.
    pub count: u64,
    /// Their bytes.
    pub bytes: u64,
}

impl Packs {
    pub(super) fn add(&mut self, bytes: u64) {
        self.count += 1;
        self.bytes += bytes;
    }
}

/// Deltas that are stored in full, because of what they are deltas of nothing else needs most.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, serde::Serialize)]
pub struct Full {
    /// How many.
    pub chunks: u64,
    /// What they take then.
    pub bytes: u64,
    /// What they took, with what goes with them. Only in a plan: after a run it is among what was removed or left out.
    pub replaced_bytes: u64,
}

/// What a plan or a run comes to.
#[derive(Debug, Default, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Numbers {
    /// Snapshots that were walked.
    pub snapshots: u64,
    /// Chunks that they reach, bases included.
    pub chunks: u64,
    /// Packs that are removed as they are.
    pub dead: Packs,
    /// Packs whose live chunks are moved, before they are removed.
    pub repacked: Packs,
    /// Packs that are written for them; in a plan, their bytes only.
    pub written: Packs,
    /// Deltas that are stored in full.
    #[doc(hidden)]
    pub full: Full,
    /// Bytes in the packs that stay that nothing reaches.
    pub unused_bytes: u64,
    /// References to chunks that are lost: they make no difference here.
    pub missing: u64,
}

impl Numbers {
    /// Returns the bytes of packs that become free.
    pub fn freed_bytes(&self) -> u64 {
        let gone = self.dead.bytes + self.repacked.bytes + self.full.replaced_bytes;
        gone.saturating_sub(self.written.bytes + self.full.bytes)
    }
}

/// What would be done.
pub struct Plan {
    /// What it comes to.
    pub numbers: Numbers,
    pub(super) max_unused: MaxUnused,
    pub(super) forgotten: HashSet<SnapshotId>,
    /// Deltas to store in full; then all else is planned anew.
    pub(super) chains: Vec<ChunkId>,
    /// Packs that are in no index.
    pub(super) unlisted: Vec<PackId>,
    /// Packs of which nothing is alive.
    pub(super) dead: Vec<PackId>,
    /// Packs of which something is.
    pub(super) alive: Vec<PackId>,
    pub(super) kept: ChunkSet,
    /// The index lists something that is dead.
    pub(super) rewrite: bool,
    /// Packs to move, in order, with the bytes that are alive in them.
    pub(super) repack: Vec<(PackId, u64)>,
    pub(super) lengths: HashMap<PackId, u64>,
    /// Of each source the highest sequence, and the lists of candidates that its runs had read.
    pub(super) sources: BTreeMap<String, (u64, HashSet<PendingId>)>,
}

/// What was done.
#[derive(Debug)]
#[must_use = "what was left is in the report"]
#[non_exhaustive]
pub struct Report {
    /// What it came to.
    pub numbers: Numbers,
    /// What was left as it was, and why.
    pub notes: Vec<String>,
    /// Why not all that was planned could be moved; what was removed before is.
    pub failed: Option<Error>,
}

/// Bytes that are moved before the index is written and the old packs are deleted: the additional space that is needed, at most.
pub(super) const ROUND_BYTES: u64 = 1 << 30;
/// Packs that are moved at once, at most: what is known of each takes memory, and each round writes the index again.
pub(super) const ROUND_PACKS: usize = 16 << 10;
/// Packs below this are small.
pub(super) const SMALL_BYTES: u64 = 4 << 20;
/// This few small packs are left alone.
pub(super) const FEW_SMALL: usize = 8;
/// What a chunk takes in its pack, its record included.
pub(super) fn bytes_of(record: &Record) -> u64 {
    u64::from(record.encoded_len) + 43 + 32 * record.bases.len() as u64
}
