//! The index against the packs that are there, before a backup relies on either: packs that it names but that are gone or cut short, and
//! packs that it should name. One look at each file's end; of a remote pack, which appears whole or not at all, its length is enough.

use std::collections::HashSet;
use std::sync::PoisonError;

use super::pack_scan::directory;
use crate::backend::at_once;
use crate::budget::MAX_PENDING;
use crate::error::{Error, Result};
use crate::format::index::Located;
use crate::format::pack::{FOOTER_LEN, directory_offset};
use crate::id::{PackId, RepairId};
use crate::progress::{Observer, checkpoint};
use crate::store::handle::Store;
use crate::store::names::{pack_id, pack_name};
use crate::store::run_cache::RunCache;

/// Where index and packs differ.
pub(crate) struct MissingPacks {
    /// Packs that the index names and that cannot be whole, in order.
    pub lost: Vec<PackId>,
    /// Packs that are there and in no index that can be read.
    pub unlisted: HashSet<PackId>,
    /// Records of repairs that found something lost.
    pub repairs: Vec<RepairId>,
}

impl Store {
    /// Compares the index's packs with those that are there. Of a pack that a cache has seen whole the length alone is compared, if
    /// the cache is believed; what is seen now is noted there.
    pub(crate) fn find_missing(&self, cache: Option<&RunCache>, is_believed: bool) -> Result<MissingPacks> {
        let listed = self.listed_packs();
        let mut whole = vec![false; listed.len()];
        let mut unlisted = HashSet::new();
        // Of a remote pack nothing is read.
        let cache = cache.filter(|_| !self.backend.capabilities().cost_per_request);
        let seen = cache.map(RunCache::whole_packs).unwrap_or_default();
        let was_whole = |id: &PackId, len: u64| {
            seen.binary_search_by_key(id, |(id, _)| *id).is_ok_and(|at| seen.get(at).is_some_and(|seen| seen.1 == len))
        };
        let mut new = Vec::new();
        let visit = &mut |name: &str, len| {
            match pack_id(name).map(|id| listed.binary_search(&id).map_err(|_| id)) {
                Some(Ok(at)) => {
                    let is_noted = was_whole(&listed[at], len);
                    whole[at] = is_believed && is_noted || self.has_footer(name, len)?;
                    new.extend((whole[at] && !is_noted).then_some((listed[at], len)));
                }
                Some(Err(id)) => _ = unlisted.insert(id),
                None => {}
            }
            Ok(())
        };
        let (repairs, compared) = at_once(&*self.backend, || self.repairs(), || self.backend.list("packs", visit));
        compared?;
        let is_gone = |id: &PackId| !listed.binary_search(id).is_ok_and(|at| whole[at]);
        let gone: Vec<PackId> = seen.iter().map(|(id, _)| *id).filter(is_gone).collect();
        if let Some(cache) = cache {
            cache.put_whole_packs(new, gone);
        }
        // What a prune has deleted, or is about to, an index may still name: nothing needs it.
        let candidates = self.pending_deletions()?;
        unlisted.retain(|id| !candidates.has(id));
        let lost = listed
            .into_iter()
            .zip(whole)
            .filter(|(id, whole)| !whole && !candidates.has(id))
            .map(|(id, _)| id)
            .collect();
        Ok(MissingPacks { lost, unlisted, repairs: repairs? })
    }

    fn has_footer(&self, name: &str, len: u64) -> Result<bool> {
        let Some(at) = len.checked_sub(FOOTER_LEN as u64) else { return Ok(false) };
        // It appears whole or not at all.
        if self.backend.capabilities().cost_per_request {
            return Ok(true);
        }
        let footer = self.backend.read_range(name, at, FOOTER_LEN);
        match footer.and_then(|footer| directory_offset(&footer, len, name)) {
            Ok(_) => Ok(true),
            Err(Error::Missing { .. } | Error::Corrupt { .. }) => Ok(false),
            Err(e) => Err(e),
        }
    }

    /// If a snapshot names one of the `unlisted` packs, an index was lost: writes it again, from the directories of all of them, because
    /// snapshots also need packs of others that are forgotten. Returns how many it lists.
    pub(crate) fn list_again(&self, mut unlisted: HashSet<PackId>, observer: &dyn Observer) -> Result<usize> {
        if unlisted.is_empty() {
            return Ok(0);
        }
        let names_one = |unlisted: &HashSet<PackId>| -> Result<bool> {
            for name in self.reading(self.snapshot_names(None)?.iter().rev()).take_while(|_| !unlisted.is_empty()) {
                checkpoint(observer)?;
                match self.snapshot(name) {
                    Ok(snapshot) if snapshot.packs.iter().any(|pack| unlisted.contains(pack)) => return Ok(true),
                    Ok(_) | Err(Error::Corrupt { .. } | Error::Missing { .. }) => {}
                    Err(e) => return Err(e),
                }
            }
            Ok(false)
        };
        if !names_one(&unlisted)? {
            return Ok(0);
        }
        // A run that has ended meanwhile wrote its index before its snapshot.
        self.reload_indexes()?;
        self.listed_packs().iter().for_each(|pack| _ = unlisted.remove(pack));
        if !names_one(&unlisted)? {
            return Ok(0);
        }
        // One that cannot say what it holds stays as it is; `check` names it.
        let unlisted: Vec<PackId> = unlisted.into_iter().collect();
        Ok(unlisted.len() - self.index_packs(&unlisted, observer)?.len())
    }

    /// Lists packs in the index, as their own directories say; returns those whose directories are damaged or gone.
    pub(crate) fn index_packs(&self, packs: &[PackId], observer: &dyn Observer) -> Result<Vec<PackId>> {
        let (mut damaged, mut listed, mut records) = (Vec::new(), Vec::new(), Vec::new());
        for id in packs {
            checkpoint(observer)?;
            let found = match directory(&*self.backend, id) {
                Err(Error::Corrupt { .. } | Error::Missing { .. } | Error::Unsupported { .. }) => {
                    damaged.push(*id);
                    continue;
                }
                other => other?,
            };
            let pack = listed.len() as u32;
            records.extend(found.into_iter().map(|(offset, record)| Located { pack, offset: offset as u32, record }));
            listed.push(*id);
            if records.len() >= MAX_PENDING {
                self.write_index(std::mem::take(&mut listed), std::mem::take(&mut records))?;
            }
        }
        if !listed.is_empty() {
            self.write_index(listed, records)?;
        }
        *self.pack_scan.write().unwrap_or_else(PoisonError::into_inner) = None;
        Ok(damaged)
    }

    /// Writes the index anew, from the directories of `packs`. The files in `before` go into quarantine, whatever they say; under a lock
    /// others, which this run has written, go for good, and without one they may be a backup's, and stay. Returns the names of the former, old
    /// and new. A failure before that changes nothing.
    pub(crate) fn rebuild_indexes(
        &self,
        packs: &[PackId],
        before: &[String],
        observer: &dyn Observer,
    ) -> Result<Vec<(String, String)>> {
        let is_alone = self.backend.capabilities().exclusive_lock;
        let mut old = self.index_names()?;
        self.indexes.write().unwrap_or_else(PoisonError::into_inner).clear();
        let written = self.index_packs(packs, observer).and_then(|unread| match unread.first() {
            None => Ok(()),
            Some(id) => Err(Error::corrupt(
                self.backend.object_location(&pack_name(id)),
                "its directory cannot be read: the index was left as it is",
            )),
        });
        if let Err(error) = written {
            // True, but it must not take space until the next try.
            let new = self.indexes();
            let _ = new
                .iter()
                .filter(|file| is_alone && old.iter().all(|old| old != file.name()))
                .try_for_each(|file| self.backend.remove(file.name()));
            self.reload_indexes()?;
            return Err(error);
        }
        let new = self.indexes();
        old.retain(|old| new.iter().all(|file| file.name() != old));
        let (known, ours): (Vec<_>, Vec<_>) = old.into_iter().partition(|name| before.contains(name));
        if is_alone {
            ours.iter().try_for_each(|name| self.backend.remove(name))?;
        }
        let mut moved = Vec::new();
        for name in known {
            match self.move_to_quarantine(&name) {
                Ok(to) => moved.push((name, to)),
                // A backup has merged it meanwhile.
                Err(Error::Missing { .. }) if !is_alone => {}
                Err(error) => return Err(error),
            }
        }
        self.backend.sync("index")?;
        self.damaged.write().unwrap_or_else(PoisonError::into_inner).clear();
        Ok(moved)
    }
}
