//! What a prune of a store without locks has written down to delete, as a writer sees it: packs on which nothing new may lean. Listed once
//! in a run, and again by one that takes long.

use std::collections::HashSet;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

use crate::backend::{Payload, collect};
use crate::error::{Error, Result};
use crate::format::pending::{self, Pending};
use crate::format::snapshot::Snapshot;
use crate::id::{PackId, PendingId};
use crate::store::Store;
use crate::store::write::WriteSession;

/// The directory of the documents.
pub(crate) const PENDING: &str = "pending";

/// A run that has looked so long ago what is to be deleted looks again before it lists its snapshot: much less than the shortest time
/// that any prune should wait.
const LOOK_AGAIN: Duration = Duration::from_secs(3600);

/// A stopwatch, read from two clocks of which one may stand still or be set.
pub(crate) type Stopwatch = Arc<dyn Fn() -> [Duration; 2] + Send + Sync>;

/// Reads the machine's time since it started, sleep included, and its calendar: for what lies between two readings, never for a moment.
pub(crate) fn stopwatch() -> [Duration; 2] {
    [ClockId::Boottime, ClockId::Realtime].map(|clock| {
        let read = clock_gettime(clock);
        Duration::new(read.tv_sec.max(0) as u64, read.tv_nsec.clamp(0, 999_999_999) as u32)
    })
}

/// What is to be deleted, or is.
#[derive(Debug, Default)]
pub struct PendingDeletions {
    /// The documents, in order of their ids.
    pub documents: Vec<(PendingId, Pending)>,
    /// The packs of all of them, and those that an index lists and that a late look found gone.
    packs: HashSet<PackId>,
    looked: [Duration; 2],
}

impl PendingDeletions {
    /// Says whether nothing is to be deleted.
    pub fn are_none(&self) -> bool {
        self.packs.is_empty()
    }

    /// Says whether a pack is to go, or is gone.
    pub fn has(&self, pack: &PackId) -> bool {
        self.packs.contains(pack)
    }

    /// Says whether the run that made a snapshot had read all of these.
    pub fn are_avoided_by(&self, snapshot: &Snapshot) -> bool {
        self.documents.iter().all(|(id, _)| snapshot.avoids.contains(id))
    }
}

/// Returns the object's name of a list of candidates.
pub(crate) fn pending_name(id: &PendingId) -> String {
    format!("{PENDING}/{id}")
}

/// Takes the id out of the name of a list of candidates; `None` for what is none.
pub(crate) fn pending_id(name: &str) -> Option<PendingId> {
    PendingId::from_hex(name.strip_prefix(PENDING)?.strip_prefix('/')?).ok()
}

impl Store {
    /// Reads another clock, for tests of runs that take long.
    #[cfg(test)]
    pub(crate) fn with_stopwatch(self, stopwatch: Stopwatch) -> Self {
        Self { stopwatch, ..self }
    }

    /// Returns what is to be deleted; looks at the first call. Where there are locks nothing ever is: what is dead goes at once.
    pub fn pending_deletions(&self) -> Result<Arc<PendingDeletions>> {
        if !self.storage.is_remote() {
            return Ok(Arc::default());
        }
        if let Some(known) = &*self.candidates.read().unwrap_or_else(PoisonError::into_inner) {
            return Ok(Arc::clone(known));
        }
        self.reload_candidates()
    }

    /// Looks again what is to be deleted.
    pub(crate) fn reload_candidates(&self) -> Result<Arc<PendingDeletions>> {
        let mut found = PendingDeletions::default();
        let looked = (self.stopwatch)();
        // A prune writes the document that takes another's place before it removes that one: what vanishes meanwhile is in the next listing.
        for attempt in 0.. {
            found.documents.clear();
            let mut vanished = None;
            for id in self.pending_ids()? {
                match self.pending(&id) {
                    Ok(document) => found.documents.push((id, document)),
                    Err(e @ Error::Missing { .. }) => vanished = Some(e),
                    Err(e) => return Err(e),
                }
            }
            match vanished {
                Some(_) if attempt < 10 => {}
                Some(e) => return Err(e),
                None => break,
            }
        }
        found.looked = looked;
        found.packs = found.documents.iter().flat_map(|(_, document)| document.packs.iter().copied()).collect();
        Ok(self.know(found))
    }

    fn know(&self, found: PendingDeletions) -> Arc<PendingDeletions> {
        let found = Arc::new(found);
        *self.candidates.write().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(&found));
        found
    }

    /// Says whether it is so long ago that this store was looked at that much may have been deleted since.
    pub(crate) fn is_late(&self) -> Result<bool> {
        if !self.storage.is_remote() {
            return Ok(false);
        }
        let (then, now) = (self.pending_deletions()?.looked, (self.stopwatch)());
        Ok(then.iter().zip(&now).any(|(then, now)| now.saturating_sub(*then) >= LOOK_AGAIN))
    }

    /// Looks again at all that new snapshots rely on: what is to be deleted, the index, and which of its packs are there.
    pub(crate) fn look_again(&self) -> Result<()> {
        let known = self.reload_candidates()?;
        self.reload_indexes()?;
        let lost = self.find_missing()?.lost;
        if !lost.is_empty() {
            let packs = known.packs.iter().copied().chain(lost).collect();
            self.know(PendingDeletions { documents: known.documents.clone(), packs, looked: known.looked });
        }
        Ok(())
    }

    /// Fails where a run was so slow that what its snapshot relies on may be gone.
    pub(crate) fn refuse_late(&self, snapshot: &Snapshot) -> Result<()> {
        if self.is_late()? {
            self.look_again()?;
            if WriteSession::new(self).snapshot_depends_on_pending_deletion(snapshot)? {
                return Err(Error::Refused(format!(
                    "{}: while this run took its time a prune has written down, or deleted, what it relies on; nothing was listed, run it again",
                    self.storage.location()
                )));
            }
        }
        Ok(())
    }

    /// Lists the documents.
    pub(crate) fn pending_ids(&self) -> Result<Vec<PendingId>> {
        let mut ids = collect(&*self.storage, PENDING, pending_id)?;
        ids.sort_unstable();
        Ok(ids)
    }

    /// Reads one document, verified against its name.
    pub(crate) fn pending(&self, id: &PendingId) -> Result<Pending> {
        let object = pending_name(id);
        let shown = self.storage.object_location(&object);
        let read = || pending::decode(&self.storage.read(&object)?, id, &self.ids, &shown);
        match read() {
            Err(Error::Corrupt { .. }) if self.storage.cache_clear() => read(),
            read => read,
        }
    }

    /// Writes a document.
    pub(crate) fn add_pending(&self, document: &Pending) -> Result<PendingId> {
        self.check_writable()?;
        let (id, bytes) = pending::encode(document, &self.ids)?;
        self.storage.put(&pending_name(&id), Payload::Bytes(&bytes))?;
        Ok(id)
    }

    /// Removes a document: its packs are gone, or needed.
    pub(crate) fn remove_pending(&self, id: &PendingId) -> Result<()> {
        self.storage.remove(&pending_name(id))
    }
}
