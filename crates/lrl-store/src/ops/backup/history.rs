//! The earlier snapshots of a source: what a new one is compared with, and its number among them.

use std::collections::HashSet;

use super::context::Context;
use super::options::Options;
use super::shrink::Baseline;
use crate::error::{Error, Result};
use crate::format::snapshot;
use crate::format::snapshot::Snapshot;
use crate::id::SnapshotId;
use crate::set::layout::Names;
use crate::store::write::WriteSession;
use crate::store::{SnapshotName, Store};
use crate::time::{Time, time_of};

/// Runs that follow each other at once are up to this many seconds ahead of the clock.
const FEW_AHEAD: i64 = 5;
/// Up to this many of the newest snapshots are searched for the one that a machine knew.
const MOST_LISTED: usize = 4096;

/// What the source's earlier snapshots say: the next number in the sequence, and what each part is compared with.
pub(in crate::ops) struct History {
    pub next_sequence: u64,
    /// The newest that are listed, in order.
    listed: Vec<(u64, SnapshotId)>,
    newest_stamp: Option<String>,
    pub databases: Option<(SnapshotId, Vec<snapshot::Database>)>,
    pub uploads: Option<(SnapshotId, snapshot::Files)>,
    /// What the new snapshot is measured against.
    pub baseline: Baseline,
    /// One of them may depend on packs scheduled for deletion: its run did not know of that yet.
    is_unsure: bool,
}

impl History {
    /// That of a source without a snapshot.
    pub(crate) fn none() -> Self {
        Self {
            next_sequence: 1,
            listed: Vec::new(),
            newest_stamp: None,
            databases: None,
            uploads: None,
            baseline: Baseline::default(),
            is_unsure: false,
        }
    }

    /// Reads the newest of these snapshots of a source.
    pub(crate) fn read(store: &Store, source: &str, mut names: Vec<SnapshotName>) -> Result<Self> {
        let next_sequence = store.highest_sequence(source, &names)?.checked_add(1);
        let next_sequence = next_sequence
            .ok_or_else(|| Error::corrupt(store.storage().location(), "holds a snapshot of the last number"))?;
        // Of a long history the newest: what this machine saw last is among them.
        let newest = names.iter().skip(names.len().saturating_sub(MOST_LISTED));
        let listed = newest.map(|name| (name.sequence, name.id)).collect();
        let mut history = Self {
            next_sequence,
            listed,
            newest_stamp: None,
            databases: None,
            uploads: None,
            baseline: Baseline::default(),
            is_unsure: false,
        };
        history.look(store, &names)?;
        let first = names.first().filter(|first| first.sequence > 1 && !history.is_whole()).cloned();
        if let Some(first) = first {
            names = store.snapshot_names(Some(source))?;
            names.retain(|name| *name < first);
            history.look(store, &names)?;
        }
        Ok(history)
    }

    /// Returns a snapshot that was the newest when this machine looked last, and is there no more.
    pub(crate) fn vanished(&self, context: Context<'_>) -> Option<(u64, SnapshotId)> {
        let backend = context.store().storage();
        // Beside the store, as in a plain directory, the cache would be set back with it.
        let cache = context.cache.filter(|_| backend.capabilities().cost_per_request || backend.keys().is_some())?;
        let gone = cache.newest(&context.options.source).filter(|known| !self.has(*known));
        // Where numbers do not show it, a repair may have moved it.
        let is_aside = |known: &(u64, SnapshotId)| {
            !backend.capabilities().rename
                && context.store().is_in_quarantine(&context.options.source, *known).unwrap_or(false)
        };
        gone.filter(|known| !is_aside(known))
    }

    /// Returns whether a snapshot that was once the newest is still there, or in quarantine. A listing that begins after it begins with one
    /// that this machine has seen since.
    fn has(&self, known: (u64, SnapshotId)) -> bool {
        let Some((first, last)) = self.listed.first().zip(self.listed.last()) else {
            return known.0 < self.next_sequence;
        };
        let is_aside = last.0 < known.0 && known.0 < self.next_sequence;
        known.0 < first.0 || is_aside || self.listed.contains(&known)
    }

    fn is_whole(&self) -> bool {
        self.databases.is_some() && self.uploads.is_some() && self.baseline.is_whole()
    }

    /// Looks at snapshots, the newest first, until both parts are found, and of each one that is good.
    fn look(&mut self, store: &Store, names: &[SnapshotName]) -> Result<()> {
        for name in store.reading(names.iter().rev()) {
            // A damaged snapshot is no parent; the new one is complete without it.
            let snapshot = match store.snapshot(name) {
                Err(Error::Corrupt { .. } | Error::Missing { .. } | Error::WriteOnly { .. }) => continue,
                other => other?,
            };
            let gives = |had: bool, has: bool| !had && has;
            if gives(self.databases.is_some(), snapshot.has_databases())
                || gives(self.uploads.is_some(), snapshot.files.is_some())
            {
                self.is_unsure |= !store.pending_deletions()?.are_avoided_by(&snapshot);
            }
            self.baseline.look(name, &snapshot);
            self.newest_stamp.get_or_insert(snapshot.timestamp);
            let databases = snapshot.databases;
            self.databases = self.databases.take().or((!databases.is_empty()).then_some((name.id, databases)));
            self.uploads = self.uploads.take().or(snapshot.files.map(|part| (name.id, part)));
            if self.is_whole() {
                break;
            }
        }
        Ok(())
    }

    /// Returns whether what could be reused of the parents depends on packs scheduled for deletion.
    pub(crate) fn depends_on_pending_deletion(&self, session: &WriteSession<'_>) -> Result<bool> {
        let databases: Vec<_> = self.databases.iter().flat_map(|(_, all)| all).map(|part| &part.root).collect();
        Ok(self.is_unsure
            && session.depends_on_pending_deletion(&databases, self.uploads.as_ref().map(|(_, part)| &part.list))?)
    }

    /// Returns the newest snapshot, if it has the contents of this one. The times of databases and of a site's root are no contents.
    pub(crate) fn with_contents_of(&self, new: &Snapshot) -> Option<SnapshotName> {
        let (sequence, id) = *self.listed.last()?;
        if new.parents != [id] {
            return None;
        }
        let before = self.databases.as_ref().filter(|(of, _)| *of == id).map_or(&[][..], |(_, all)| all);
        let content =
            |one: &snapshot::Database| (one.path.clone(), one.root, one.page_size, one.mode, one.uid, one.gid);
        let same_databases = before.iter().map(content).eq(new.databases.iter().map(content));
        let files = self.uploads.as_ref().filter(|(of, _)| *of == id).map(|(_, part)| part.list);
        let is_same = same_databases && files == new.files.as_ref().map(|part| part.list);
        is_same.then(|| SnapshotName { source: new.source.clone(), sequence, id })
    }

    /// Returns the database at a path, as the newest snapshot with databases has it.
    pub(crate) fn database(&self, path: &[u8]) -> Option<&snapshot::Database> {
        self.databases.iter().flat_map(|(_, all)| all).find(|part| part.path == path)
    }

    pub(crate) fn parents(&self, database: bool, uploads: bool) -> Vec<SnapshotId> {
        let database = self.databases.as_ref().filter(|_| database).map(|(id, _)| *id);
        let uploads = self.uploads.as_ref().filter(|_| uploads).map(|(id, _)| *id);
        let mut parents: Vec<_> = database.into_iter().chain(uploads).collect();
        parents.dedup();
        parents
    }

    /// Finds the first second from now on that no snapshot of the source and no set in the directory has.
    pub(crate) fn free_timestamp(&self, store: &Store, options: &Options) -> Result<String> {
        // All snapshots are read only if the clock went back.
        let mut taken = None;
        let mut second = time_of(options.now).secs;
        // Runs that follow each other at once are ahead of the clock: the second after the newest snapshot's is free.
        let is_newest = |ahead: &i64| Time { secs: second + ahead, nanos: 0 }.stamp() == self.newest_stamp;
        second += (0..=FEW_AHEAD).find(is_newest).map_or(0, |ahead| ahead + 1);
        loop {
            let stamp = Time { secs: second, nanos: 0 }.stamp();
            let stamp = stamp.ok_or_else(|| Error::Refused("the clock shows a year that cannot be written".into()))?;
            let in_source = match &self.newest_stamp {
                Some(newest) if stamp <= *newest => {
                    if taken.is_none() {
                        taken = Some(all_timestamps(store, &options.source)?);
                    }
                    taken.as_ref().is_some_and(|taken| taken.contains(&stamp))
                }
                _ => false,
            };
            let in_out = options.out.as_ref().is_some_and(|out| Names::new(out, &stamp).is_taken());
            if !in_source && !in_out {
                return Ok(stamp);
            }
            second += 1;
        }
    }
}

/// Returns the timestamps of all of a source's snapshots.
pub(in crate::ops) fn all_timestamps(store: &Store, source: &str) -> Result<HashSet<String>> {
    let names = store.snapshot_names(Some(source))?;
    Ok(store
        .reading(names.iter())
        .filter_map(|name| store.snapshot(name).ok())
        .map(|snapshot| snapshot.timestamp)
        .collect())
}
