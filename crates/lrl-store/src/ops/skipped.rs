//! Collects what a restore or export with `skip_damaged` leaves out: paths and reasons, in bounded memory. Shared by the workers.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use crate::error::Error;
use crate::set::missing::{MOST, Skip};

/// What was skipped. A list is walked several times: the same damage counts once.
#[derive(Debug, Default)]
pub(crate) struct Skips(Mutex<(BTreeMap<Vec<u8>, Skip>, u64)>);

impl Skips {
    /// Adds a path, or a part of the list that begins with it.
    pub(crate) fn add(&self, path: &[u8], entries: u64, error: &Error) {
        let (skips, more) = &mut *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if skips.len() >= MOST && !skips.contains_key(path) {
            *more += entries;
            return;
        }
        let shown = String::from_utf8_lossy(path).into_owned();
        skips.entry(path.to_vec()).or_insert_with(|| Skip { path: shown, entries, reason: error.to_string() });
    }

    /// Returns the number of entries that were added.
    pub(crate) fn count(&self) -> u64 {
        let (skips, more) = &*self.0.lock().unwrap_or_else(PoisonError::into_inner);
        skips.values().map(|skip| skip.entries).sum::<u64>() + more
    }

    /// Takes what was collected, in order of the paths, and the number of further entries.
    pub(crate) fn take(&self) -> (Vec<Skip>, u64) {
        let (skips, more) = std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner));
        (skips.into_values().collect(), more)
    }
}
