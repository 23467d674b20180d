//! Removes sets, in an order in which a kill or a power cut at any moment leaves no part of a set that looks like a whole one, and nothing
//! that the next run does not recognise.

use std::fs;
use std::path::Path;
use std::time::Duration;

use super::report::{Kept, Sets};
use super::verify::Set;
use crate::error::{Error, Result};
use crate::fs::durable::sync_dir;
use crate::fs::lock::{Guard, lock_dir};
use crate::set::directory;
use crate::store::run_cache::RunCache;

/// A set with the lock on its manifest.
type Locked = (Set, Option<Box<dyn Guard>>);

/// Locks sets; leaves out what a drill or a restore is reading.
pub(super) fn lock(sets: Vec<Set>, kept: &mut Vec<Kept>) -> Vec<Locked> {
    let mut locked = Vec::new();
    for set in sets {
        let path = if set.retired { directory::retired(&set.names.manifest) } else { set.names.manifest.clone() };
        match lock_dir(&path, Duration::ZERO, &|| false) {
            Ok(guard) => locked.push((set, guard)),
            Err(Error::Locked { .. }) => kept.push(set.kept("another lrl is reading it")),
            Err(error) => kept.push(set.kept(error.to_string())),
        }
    }
    locked
}

/// Removes sets. The manifest is renamed first and removed last: no part of a set is ever listed as a whole one, and the next run recognises
/// what a killed one has left.
pub(super) fn remove(sets: &[Locked], out: &Path, cache: Option<&RunCache>, report: &mut Sets) {
    let mut begun = Vec::new();
    for (set, _) in sets {
        let hidden = directory::retired(&set.names.manifest);
        let renamed = if set.retired { Ok(()) } else { fs::rename(&set.names.manifest, &hidden) };
        match renamed.map_err(Error::io("remove", &set.names.manifest)) {
            Ok(()) => begun.push((set, hidden)),
            Err(error) => report.failed.push(set.kept(error.to_string())),
        }
    }
    if begun.is_empty() {
        return;
    }
    // A power cut must not bring a manifest back whose files are gone.
    if let Err(error) = sync_dir(out) {
        report.failed.extend(begun.iter().map(|(set, _)| set.kept(error.to_string())));
        return;
    }
    begun.retain(|(set, _)| match remove_files(set, cache) {
        Ok(()) => true,
        Err(error) => {
            report.failed.push(set.kept(error.to_string()));
            false
        }
    });
    // The manifest is removed only once the removal of its files is durable.
    let synced = sync_dir(out);
    for (set, hidden) in begun {
        let gone = synced.as_ref().map_err(Error::again);
        match gone.and_then(|()| fs::remove_file(&hidden).map_err(Error::io("remove", &hidden))) {
            Ok(()) => report.removed.push(set.removed()),
            Err(error) => report.failed.push(set.kept(error.to_string())),
        }
    }
}

fn remove_files(set: &Set, cache: Option<&RunCache>) -> Result<()> {
    for (path, _, sha256) in set.files() {
        let remove = || match fs::remove_file(&path) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(e),
            _ => Ok(()),
        };
        let done = match cache {
            Some(cache) => cache.remove_output(&path, &sha256, remove),
            None => remove(),
        };
        done.map_err(Error::io("remove", &path))?;
    }
    Ok(())
}
