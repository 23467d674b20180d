//! What the destination has of a source: which snapshots are copies of which, the order of all, and the newest parts that both stores have.

use std::collections::{BTreeMap, HashMap};

use super::lists::Pair;
use super::numbering;
use super::numbering::SnapshotKey;
use crate::error::{Error, Result};
use crate::format::snapshot::{Database, Origin, Snapshot};
use crate::id::SnapshotId;
use crate::progress::{Observer, checkpoint};
use crate::store::{SnapshotName, Store};
use crate::time::Time;

/// The number of newest snapshots that are searched for parts that both stores have.
const LOOKED_THROUGH: usize = 64;

/// Lists that both stores have.
#[derive(Default, Clone)]
pub(super) struct CommonLists {
    /// By the database's path.
    pub databases: BTreeMap<Vec<u8>, Pair>,
    pub uploads: Option<Pair>,
}

impl CommonLists {
    /// Returns these, and of `other` what these lack.
    fn or(&self, other: &Self) -> Self {
        let mut databases = other.databases.clone();
        databases.extend(self.databases.clone());
        Self { databases, uploads: self.uploads.or(other.uploads) }
    }
}

/// The destination's side of one source.
pub(super) struct Destination {
    from_id: String,
    stands: Vec<SnapshotKey>,
    /// By the id where a snapshot was made.
    names: HashMap<SnapshotId, SnapshotName>,
    used: u64,
    /// The number, in the store that is read, of the newest that came from there.
    newest: Option<u64>,
    beside: CommonLists,
    /// Snapshots that both have, and that may be newer than `beside`.
    passed: Vec<(SnapshotName, SnapshotName)>,
}

impl Destination {
    /// Reads what the destination has of a source; for `newer` only as far back as the newest that came from `names`.
    pub(crate) fn read(
        from: &Store,
        to: &Store,
        source: &str,
        names: &[SnapshotName],
        newer: bool,
        observer: &dyn Observer,
    ) -> Result<Self> {
        let mut listed = if newer { to.newest_snapshot_names(source)? } else { to.snapshot_names(Some(source))? };
        let mut there = Self {
            from_id: from.config().store_id.clone(),
            stands: Vec::new(),
            names: HashMap::new(),
            used: to.highest_sequence(source, &listed)?,
            newest: None,
            beside: CommonLists::default(),
            passed: Vec::new(),
        };
        let found = there.look(to, &listed, names, newer, observer)?;
        // A listing of the newest may have left out the others.
        let first = listed.first().filter(|first| newer && !found && first.sequence > 1).cloned();
        if let Some(first) = first {
            listed = to.snapshot_names(Some(source))?;
            listed.retain(|name| *name < first);
            there.look(to, &listed, names, newer, observer)?;
        }
        Ok(there)
    }

    /// Looks at snapshots of the destination, the newest first; returns whether it has seen enough.
    fn look(
        &mut self,
        to: &Store,
        listed: &[SnapshotName],
        names: &[SnapshotName],
        newer: bool,
        observer: &dyn Observer,
    ) -> Result<bool> {
        let mut looked = 0;
        for name in listed.iter().rev() {
            checkpoint(observer)?;
            let snapshot = match to.snapshot(name) {
                // What cannot be read is not there: it is copied again.
                Err(e) if e.is_damage() || matches!(e, Error::Unsupported { .. }) => continue,
                other => other?,
            };
            let stand = SnapshotKey::of(&snapshot, name.id, &to.config().store_id);
            let origin = stand.origin.clone();
            self.note(stand, name);
            if !newer {
                continue;
            }
            if origin.store == self.from_id {
                self.newest.get_or_insert(origin.sequence);
            }
            if self.newest.is_some() {
                looked += 1;
                if let Some(both) = names.iter().rev().find(|name| name.id == origin.snapshot) {
                    self.passed.push((both.clone(), name.clone()));
                    return Ok(true);
                }
                if looked == LOOKED_THROUGH {
                    return Ok(true);
                }
            }
        }
        Ok(self.newest.is_some())
    }

    fn note(&mut self, stand: SnapshotKey, name: &SnapshotName) {
        self.used = self.used.max(stand.number);
        self.names.insert(stand.origin.snapshot, name.clone());
        self.stands.push(stand);
    }

    /// Returns how many of `names` come before the newest that the destination has had.
    pub(crate) fn had(&self, names: &[SnapshotName]) -> usize {
        self.newest.map_or(0, |newest| names.partition_point(|name| name.sequence < newest))
    }

    /// Finds a snapshot by the id that it has where it was made.
    pub(crate) fn find(&self, id: &SnapshotId) -> Option<&SnapshotName> {
        self.names.get(id)
    }

    /// Notes that both have a snapshot, going from old to new.
    pub(crate) fn pass(&mut self, name: &SnapshotName, there: SnapshotName) {
        self.passed.push((name.clone(), there));
    }

    /// Returns the number that a snapshot gets, and where it was made; `None` if there is no place for it.
    pub(crate) fn place(&self, name: &SnapshotName, snapshot: &Snapshot, now: Time) -> Option<(u64, Origin)> {
        let new = SnapshotKey::of(snapshot, name.id, &self.from_id);
        numbering::number(&new, &self.stands, self.used, now).map(|number| (number, new.origin))
    }

    /// Notes a copy.
    pub(crate) fn add(&mut self, old: &Snapshot, name: &SnapshotName, new: &Snapshot) {
        self.note(SnapshotKey::of(new, name.id, ""), name);
        self.check(old, new);
    }

    /// Notes that the destination has all of a snapshot.
    pub(crate) fn check(&mut self, old: &Snapshot, new: &Snapshot) {
        self.passed.clear();
        let beside = both(old, new);
        self.beside = beside.or(&self.beside);
    }

    /// Returns the newest lists of which this run knows that the destination has all.
    pub(crate) fn checked(&self) -> CommonLists {
        self.beside.clone()
    }

    /// Returns the newest lists that both have of what came before.
    pub(crate) fn beside(&mut self, from: &Store, to: &Store) -> CommonLists {
        let mut found = CommonLists::default();
        for (name, there) in self.passed.drain(..).rev().take(LOOKED_THROUGH) {
            let (Ok(old), Ok(new)) = (from.snapshot(&name), to.snapshot(&there)) else { continue };
            // What depends on pending deletions is not reused unread.
            if !to.pending_deletions().is_ok_and(|candidates| candidates.are_avoided_by(&new)) {
                continue;
            }
            found = found.or(&both(&old, &new));
            if !found.databases.is_empty() && found.uploads.is_some() {
                break;
            }
        }
        self.beside = found.or(&self.beside);
        self.beside.clone()
    }
}

/// Pairs the lists of a snapshot and its copy.
fn both(old: &Snapshot, new: &Snapshot) -> CommonLists {
    let mut databases = BTreeMap::new();
    for old in &old.databases {
        let same = |new: &&Database| (&old.sha256, old.size_bytes) == (&new.sha256, new.size_bytes);
        if let Some(new) = new.database(&old.path).filter(same).filter(|new| new.sha256.is_some()) {
            databases.insert(old.path.clone(), Pair { from: old.root, to: new.root });
        }
    }
    let uploads = old.files.as_ref().zip(new.files.as_ref());
    CommonLists {
        databases,
        uploads: uploads
            .filter(|(old, new)| (old.entries, old.files, old.bytes) == (new.entries, new.files, new.bytes))
            .map(|(old, new)| Pair { from: old.list, to: new.list }),
    }
}
