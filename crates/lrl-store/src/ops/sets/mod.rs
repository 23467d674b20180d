//! Removes older sets once a newer one is written: only those that the store can restore byte for byte. Plan, then apply; what cannot be
//! proved stays, with the reason.

mod remove;
pub(super) mod report;
#[cfg(test)]
mod tests;
mod verify;

use std::cmp::Reverse;
use std::num::NonZeroUsize;
use std::path::Path;

use self::report::{Kept, Removed, Sets};
use self::verify::{Set, file_name};
use crate::error::{Error, Result};
use crate::format::snapshot::Snapshot;
use crate::hint::{AddHint, Hint};
use crate::id::PackId;
use crate::ops::check;
use crate::ops::report_problem::report;
use crate::progress::{Observer, Problem};
use crate::set::archive::deflate::CODER;
use crate::set::directory;
use crate::set::layout::Names;
use crate::set::retention::{Parts, sets_to_keep};
use crate::set::sha256::sha256_of;
use crate::store::run_cache::{RunCache, Stamp};
use crate::store::{SnapshotName, Store};

/// How many sets to keep, and what the decision is based on.
pub(crate) struct RemovePolicy<'a> {
    store: &'a Store,
    source: &'a str,
    out: &'a Path,
    /// `None` keeps all.
    newest: Option<NonZeroUsize>,
    cache: Option<&'a RunCache>,
    /// Packs that are not whole.
    lost: &'a [PackId],
    observer: &'a dyn Observer,
}

/// The set that is in place already, or that a plan supposes.
pub(crate) enum Newest<'s> {
    Written(&'s SnapshotName, &'s Snapshot),
    Supposed(Parts),
    /// It does not fit yet. Of the sets that are there, the newest with each part stays until it does.
    Awaited(Parts),
}

impl<'a> RemovePolicy<'a> {
    /// Keeps the `newest` sets of each part in `out`; `None` keeps all.
    pub(crate) fn new(
        store: &'a Store,
        source: &'a str,
        out: &'a Path,
        newest: Option<NonZeroUsize>,
        cache: Option<&'a RunCache>,
        lost: &'a [PackId],
        observer: &'a dyn Observer,
    ) -> Self {
        Self { store, source, out, newest, cache, lost, observer }
    }

    /// Removes the sets that are too many now that one was written. What could not be removed is a problem: the backup is whole, but the disk
    /// fills. `removed` were removed before it was written.
    ///
    /// # Errors
    ///
    /// [`Error::Interrupted`] only.
    pub(crate) fn after(
        &self,
        name: &SnapshotName,
        snapshot: &Snapshot,
        removed: Vec<Removed>,
        problems: &mut Vec<Problem>,
    ) -> Result<Option<Sets>> {
        Ok(match self.run(&Newest::Written(name, snapshot)) {
            Ok(mut sets) => {
                sets.removed.extend(removed);
                for Kept { name, reason } in &sets.failed {
                    let reason = format!("is an old set that could not be removed: {reason}");
                    report(problems, self.observer, &self.out.join(name), reason, true);
                }
                Some(sets)
            }
            Err(Error::Interrupted) => return Err(Error::Interrupted),
            Err(error) => {
                let reason = format!("its old sets were not looked at, or not removed: {error}");
                report(problems, self.observer, self.out, reason, self.newest.is_some());
                None
            }
        })
    }

    /// Removes the sets that will be too many once one is written that does not fit yet, and reports them.
    ///
    /// # Errors
    ///
    /// [`Error::Interrupted`] only.
    pub(crate) fn make_space(&self, parts: Parts, problems: &mut Vec<Problem>) -> Result<Vec<Removed>> {
        let removed = match self.run(&Newest::Awaited(parts)) {
            Ok(sets) => sets.removed,
            Err(Error::Interrupted) => return Err(Error::Interrupted),
            // That the disk is full is the better reason.
            Err(_) => Vec::new(),
        };
        for Removed { timestamp, snapshot } in &removed {
            let path = Names::new(self.out, timestamp).manifest;
            let reason = "was the oldest set, and is removed to make room for the new one";
            let reason = reason.hint(Hint::Export(snapshot.short()));
            report(problems, self.observer, &path, reason, false);
        }
        Ok(removed)
    }

    /// Removes what `newest` does not keep, and returns the state of the directory then.
    fn run(&self, newest: &Newest<'_>) -> Result<Sets> {
        let mut sets = Sets::default();
        if let Some(count) = self.newest {
            let found = self.find(count, newest, &mut sets.kept)?;
            let found = remove::lock(found, &mut sets.kept);
            remove::remove(&found, self.out, self.cache, &mut sets);
        }
        sets.look(self.out)?;
        Ok(sets)
    }

    /// Returns what [`RemovePolicy::run`] would do. Nothing is written.
    pub(crate) fn plan(&self, newest: &Newest<'_>) -> Result<Sets> {
        let mut sets = Sets::default();
        if let Some(count) = self.newest {
            let found = self.find(count, newest, &mut sets.kept)?;
            sets.removed = found.iter().map(Set::removed).collect();
        }
        sets.look(self.out)?;
        Ok(sets)
    }

    /// Finds the sets that are too many and that the store can restore.
    fn find(&self, count: NonZeroUsize, newest: &Newest<'_>, kept: &mut Vec<Kept>) -> Result<Vec<Set>> {
        let known = self.store.snapshot_names(Some(self.source))?;
        let mut sets = Vec::new();
        for (stamp, standing) in directory::look(self.out)?.by_timestamp {
            let names = Names::new(self.out, &stamp);
            match Set::recognise(self.store, self.source, &known, names, &stamp, standing) {
                Ok(set) => sets.push(set),
                Err(stays) => kept.push(stays),
            }
        }
        sets.sort_by_key(|set| Reverse((set.name.sequence, set.name.id)));
        let (retired, mut sets): (Vec<Set>, Vec<Set>) = sets.into_iter().partition(|set| set.retired);
        let supposed = match newest {
            Newest::Supposed(parts) | Newest::Awaited(parts) => Some(*parts),
            Newest::Written(..) => None,
        };
        let standing: Vec<(Parts, Parts)> = sets.iter().map(|set| (set.parts(), set.good_parts())).collect();
        let parts: Vec<(Parts, Parts)> =
            supposed.map(|parts| (parts, parts)).into_iter().chain(standing.iter().copied()).collect();
        let mut stay = sets_to_keep(&parts, count).into_iter().skip(usize::from(supposed.is_some()));
        let mut last = sets_to_keep(&standing, NonZeroUsize::MIN).into_iter();
        sets.retain(|set| {
            let written = matches!(newest, Newest::Written(name, _) if name.id == set.name.id);
            let last = last.next().unwrap_or(true) && matches!(newest, Newest::Awaited(_));
            !stay.next().unwrap_or(true) && !written && !last
        });
        sets.extend(retired);
        let mut provable = Vec::new();
        for set in sets {
            match self.is_untouched(&set)? {
                Some(reason) => kept.push(set.kept(reason)),
                None => provable.push(set),
            }
        }
        self.stored(provable, newest, kept)
    }

    /// Compares every byte of a set with what the snapshot records, and the coder with this build's; returns what differs. A file that the cache
    /// knows to be as it was read or written last is not read again.
    fn is_untouched(&self, set: &Set) -> Result<Option<String>> {
        let archive = set.snapshot.files.as_ref().and_then(|part| part.archive.as_ref());
        if let Some(made) = archive.filter(|made| made.coder != CODER) {
            return Ok(Some(format!("another coder made its archive ({}): an export has other bytes", made.coder)));
        }
        if let Some(other) = set.beside.first() {
            return Ok(Some(format!("{other} stands beside it")));
        }
        for (path, _, expected) in set.files() {
            // Of a set whose removal began a file may be gone already.
            if set.retired && path.symlink_metadata().is_err() {
                continue;
            }
            let sha256 = match self.cache.and_then(|cache| cache.output_sha256(&path)) {
                Some(sha256) => sha256,
                None => {
                    let before = Stamp::of(&path);
                    let sha256 = match sha256_of(&path, self.observer) {
                        Ok((sha256, _)) => sha256,
                        Err(e) if e.is_final() => return Err(e),
                        Err(error) => return Ok(Some(error.to_string())),
                    };
                    if let (Some(cache), Ok(before), Ok(after)) = (self.cache, before, Stamp::of(&path))
                        && before == after
                    {
                        // Also that of an edited one: it is not read again in every run.
                        let _ = cache.put_output(&path, &sha256);
                    }
                    sha256
                }
            };
            if sha256 != expected {
                return Ok(Some(format!("{} was changed: its SHA-256 is not the snapshot's", file_name(&path))));
            }
        }
        Ok(None)
    }

    /// Returns the sets all of whose chunks are in packs that are there. The packs are not read: `check --read-data` does that.
    fn stored(&self, sets: Vec<Set>, newest: &Newest<'_>, kept: &mut Vec<Kept>) -> Result<Vec<Set>> {
        // A part that is the same in the set just written stays there, with the same bytes: nothing depends on the store.
        let needed = |set: &Set| {
            let mut needed = set.snapshot.clone();
            if let Newest::Written(_, newest) = newest {
                needed.databases.retain(|part| newest.database(&part.path).map(|n| n.root) != Some(part.root));
                needed.files = needed.files.filter(|part| newest.files.as_ref().map(|n| n.list) != Some(part.list));
            }
            (set.name.clone(), needed)
        };
        let snapshots: Vec<(SnapshotName, Snapshot)> = sets.iter().map(needed).collect();
        let damage = check::damage_of(self.store, &snapshots, self.lost, self.observer)?;
        let mut whole = Vec::new();
        for (set, damage) in sets.into_iter().zip(damage) {
            match damage {
                None => whole.push(set),
                Some(damage) => kept.push(set.kept(format!("the store cannot give all of it back: {damage}"))),
            }
        }
        Ok(whole)
    }
}
