//! Reads which packs are scheduled for deletion, and checks again before a late run publishes its snapshot.

use std::sync::{Arc, PoisonError};
use std::time::Duration;

#[cfg(test)]
use super::pending::Stopwatch;
use super::pending::{PENDING, PendingDeletions, pending_id, pending_name};
use crate::backend::{Payload, collect};
use crate::error::{Error, Result};
use crate::format::pending::{self, Pending};
use crate::format::snapshot::Snapshot;
use crate::id::PendingId;
use crate::store::handle::Store;
use crate::store::write::WriteSession;

/// A run that read the pending deletions longer ago than this reads them again before it lists its snapshot: much less than the shortest time
/// that any prune should wait.
const LOOK_AGAIN: Duration = Duration::from_secs(3600);

impl Store {
    /// Reads another clock, for tests of runs that take long.
    #[cfg(test)]
    pub(crate) fn with_stopwatch(self, stopwatch: Stopwatch) -> Self {
        Self { stopwatch, ..self }
    }

    /// Returns the pending deletions, read at the first call. A store with locks has none: its prune deletes at once.
    pub(crate) fn pending_deletions(&self) -> Result<Arc<PendingDeletions>> {
        if self.backend.capabilities().exclusive_lock {
            return Ok(Arc::default());
        }
        if let Some(known) = &*self.pending_deletions.read().unwrap_or_else(PoisonError::into_inner) {
            return Ok(Arc::clone(known));
        }
        self.reload_pending_deletions()
    }

    /// Reads the pending deletions anew.
    pub(crate) fn reload_pending_deletions(&self) -> Result<Arc<PendingDeletions>> {
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
        *self.pending_deletions.write().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(&found));
        found
    }

    /// Returns whether the pending deletions were read so long ago that much may have been deleted since.
    pub(crate) fn is_late(&self) -> Result<bool> {
        if self.backend.capabilities().exclusive_lock {
            return Ok(false);
        }
        let (then, now) = (self.pending_deletions()?.looked, (self.stopwatch)());
        Ok(then.iter().zip(&now).any(|(then, now)| now.saturating_sub(*then) >= LOOK_AGAIN))
    }

    /// Reads again all that new snapshots rely on: pending deletions, the index, and which of its packs are there.
    pub(crate) fn recheck(&self) -> Result<()> {
        let known = self.reload_pending_deletions()?;
        self.reload_indexes()?;
        let lost = self.find_missing(None, false)?.lost;
        if !lost.is_empty() {
            let packs = known.packs.iter().copied().chain(lost).collect();
            self.know(PendingDeletions { documents: known.documents.clone(), packs, looked: known.looked });
        }
        Ok(())
    }

    /// Fails where a run was so slow that what its snapshot relies on may be gone.
    pub(crate) fn refuse_late(&self, snapshot: &Snapshot) -> Result<()> {
        if self.is_late()? {
            self.recheck()?;
            if WriteSession::new(self).snapshot_depends_on_pending_deletion(snapshot)? {
                return Err(Error::refused(format!(
                    "{}: while this run took its time a prune has scheduled for deletion, or deleted, what it relies on; nothing was listed, run it again",
                    self.backend.location()
                )));
            }
        }
        Ok(())
    }

    /// Lists the documents.
    pub(crate) fn pending_ids(&self) -> Result<Vec<PendingId>> {
        let mut ids = collect(&*self.backend, PENDING, pending_id)?;
        ids.sort_unstable();
        Ok(ids)
    }

    /// Reads one document, verified against its name.
    pub(crate) fn pending(&self, id: &PendingId) -> Result<Pending> {
        let object = pending_name(id);
        let shown = self.backend.object_location(&object);
        let read = || pending::decode(&self.backend.read(&object)?, id, &self.ids, &shown);
        match read() {
            Err(Error::Corrupt { .. }) if self.backend.cache_clear() => read(),
            read => read,
        }
    }

    /// Writes a document.
    pub(crate) fn add_pending(&self, document: &Pending) -> Result<PendingId> {
        self.check_writable()?;
        let (id, bytes) = pending::encode(document, &self.ids)?;
        self.backend.put(&pending_name(&id), Payload::Bytes(&bytes))?;
        Ok(id)
    }

    /// Removes a document: its packs are gone, or needed.
    pub(crate) fn remove_pending(&self, id: &PendingId) -> Result<()> {
        self.backend.remove(&pending_name(id))
    }
}
