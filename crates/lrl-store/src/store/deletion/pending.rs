//! Packs that a prune of a store without locks has scheduled for deletion: nothing new may depend on them. A writer lists them once
//! in a run, and again by one that takes long.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

use crate::format::pending::Pending;
use crate::format::snapshot::Snapshot;
use crate::id::{PackId, PendingId};

/// The directory of the documents.
pub(crate) const PENDING: &str = "pending";

/// A stopwatch, read from two clocks, one of which may stop or be set.
pub(crate) type Stopwatch = Arc<dyn Fn() -> [Duration; 2] + Send + Sync>;

/// Reads the machine's time since it started, sleep included, and its calendar: for what lies between two readings, never for a moment.
pub(crate) fn stopwatch() -> [Duration; 2] {
    [ClockId::Boottime, ClockId::Realtime].map(|clock| {
        let read = clock_gettime(clock);
        Duration::new(read.tv_sec.max(0) as u64, read.tv_nsec.clamp(0, 999_999_999) as u32)
    })
}

/// What is scheduled for deletion, or deleted already.
#[derive(Debug, Default)]
pub(crate) struct PendingDeletions {
    /// The documents, in order of their ids.
    pub documents: Vec<(PendingId, Pending)>,
    /// The packs of all of them, and those that an index lists and that a late look found gone.
    pub(super) packs: HashSet<PackId>,
    pub(super) looked: [Duration; 2],
}

impl PendingDeletions {
    /// Returns whether nothing is to be deleted.
    pub(crate) fn are_none(&self) -> bool {
        self.packs.is_empty()
    }

    /// Returns whether a pack is to go, or is gone.
    pub(crate) fn has(&self, pack: &PackId) -> bool {
        self.packs.contains(pack)
    }

    /// Returns whether the run that made a snapshot had read all of these.
    pub(crate) fn are_avoided_by(&self, snapshot: &Snapshot) -> bool {
        self.documents.iter().all(|(id, _)| snapshot.avoids.contains(id))
    }
}

/// Returns the object's name of a list of pending deletions.
pub(crate) fn pending_name(id: &PendingId) -> String {
    format!("{PENDING}/{id}")
}

/// Takes the id out of the name of a list of pending deletions; `None` for any other name.
pub(crate) fn pending_id(name: &str) -> Option<PendingId> {
    PendingId::from_hex(name.strip_prefix(PENDING)?.strip_prefix('/')?).ok()
}
