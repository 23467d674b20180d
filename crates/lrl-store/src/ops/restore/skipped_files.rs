//! Collects what a restore with `skip_damaged` could not restore: paths and reasons, in bounded memory. Shared by the workers.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use crate::error::Error;

/// The largest number of paths that are kept; more are only counted.
const MOST: usize = 100_000;

/// Something that was not restored because the store has lost it.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Skip {
    /// Its path in the snapshot; of a damaged part of the list of uploads the first path in it. Non-UTF-8 bytes are replaced.
    pub path: String,
    /// 1, or the number of entries in the damaged part of the list.
    pub entries: u64,
    /// What is damaged.
    pub reason: String,
}

/// What was skipped. A list is walked several times: the same damage counts once.
#[derive(Debug, Default)]
pub(super) struct Skips(Mutex<(BTreeMap<Vec<u8>, Skip>, u64)>);

impl Skips {
    /// Adds a path, or a part of the list that begins with it.
    pub fn add(&self, path: &[u8], entries: u64, error: &Error) {
        let (skips, more) = &mut *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if skips.len() >= MOST && !skips.contains_key(path) {
            *more += entries;
            return;
        }
        let shown = String::from_utf8_lossy(path).into_owned();
        skips.entry(path.to_vec()).or_insert_with(|| Skip { path: shown, entries, reason: error.to_string() });
    }

    /// Takes what was collected, in order of the paths, and the number of further entries.
    pub fn take(&self) -> (Vec<Skip>, u64) {
        let (skips, more) = std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner));
        (skips.into_values().collect(), more)
    }
}
