//! Moving what is alive out of packs that hold much waste, or little at all, into full ones. The old packs go when the new ones and their
//! index are durable.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::model::Packs;
use crate::error::{Error, Result};
use crate::format::pack::Record;
use crate::id::PackId;
use crate::progress::{Observer, checkpoint};
use crate::store::index::{IndexFile, Location};
use crate::store::write::WriteSession;
use crate::store::{Store, pack_directory, pack_name};

/// What one round did.
#[derive(Default)]
pub(super) struct Moved {
    /// Packs that are gone.
    pub gone: Packs,
    /// Packs that were written in their place.
    pub written: Packs,
    /// Packs that stay where they are, and why.
    pub stayed: Vec<(PackId, Error)>,
}

/// What is alive, by pack: offsets.
pub(super) type Alive = HashMap<PackId, HashSet<u64>>;

/// Copies what is alive in `packs`, in this order, into new packs, which an index lists then; nothing is removed. Returns what it did, and
/// the packs of which nothing is needed now.
pub(super) fn copy(
    store: &Store,
    packs: &[(PackId, u64)],
    alive: &Alive,
    observer: &dyn Observer,
) -> Result<(Moved, Vec<PackId>)> {
    let session = WriteSession::new(store);
    let mut moved = Moved::default();
    let mut copied = HashSet::new();
    for (pack, len) in packs {
        let here = alive.get(pack);
        let is_alive = |_: &Record, offset: u64| Ok(here.is_some_and(|here| here.contains(&offset)));
        match move_pack(store, &session, pack, &is_alive, observer)? {
            None => drop(copied.insert(*pack)),
            Some(why) => moved.stayed.push((*pack, why)),
        }
        observer.advance(*len, 0);
    }
    session.seal()?;
    for pack in session.packs() {
        copied.remove(&pack);
        moved.written.add(store.storage().len(&pack_name(&pack))?);
    }
    packs.iter().filter(|(pack, _)| copied.contains(pack)).for_each(|(_, len)| moved.gone.add(*len));
    Ok((moved, copied.into_iter().collect()))
}

/// Moves what the index lists in `packs`, in this order.
pub(super) fn repack(store: &Store, packs: &[(PackId, u64)], observer: &dyn Observer) -> Result<Moved> {
    let before = store.indexes();
    let session = WriteSession::new(store);
    let done = move_all(store, &session, packs, observer);
    if done.is_err() {
        take_back(store, &session, &before);
    }
    done
}

/// Removes what was written for nothing: on a full disk it must not take space until the next prune. Where that fails too, it is
/// garbage, or second copies, for the next prune.
pub(super) fn take_back(store: &Store, session: &WriteSession<'_>, before: &[Arc<IndexFile>]) {
    let backend = store.storage();
    // Without a lock what is new may be another's.
    if !backend.capabilities().exclusive_lock || store.reload_indexes().is_err() {
        return;
    }
    let now = store.indexes();
    let (old, new): (Vec<_>, Vec<_>) = now.iter().partition(|file| before.iter().any(|old| old.name() == file.name()));
    // If the old ones are gone, the new ones list everything.
    if old.len() == before.len() {
        let removed = new.iter().try_for_each(|file| backend.remove(file.name()));
        if removed.and_then(|()| store.reload_indexes()).is_err() {
            return;
        }
    }
    let listed = store.listed_packs();
    for pack in session.packs().iter().filter(|pack| listed.binary_search(pack).is_err()) {
        let _ = backend.remove(&pack_name(pack));
    }
}

fn move_all(
    store: &Store,
    session: &WriteSession<'_>,
    packs: &[(PackId, u64)],
    observer: &dyn Observer,
) -> Result<Moved> {
    let mut moved = Moved::default();
    let mut gone = HashSet::new();
    for (pack, len) in packs {
        let is_listed = |record: &Record, offset: u64| {
            let copies = store.copies(&record.id)?;
            Ok(copies.iter().any(|copy| (copy.place.pack, copy.place.offset) == (*pack, offset)))
        };
        match move_pack(store, session, pack, &is_listed, observer)? {
            None => drop(gone.insert(*pack)),
            Some(why) => moved.stayed.push((*pack, why)),
        }
        observer.advance(*len, 0);
    }
    session.seal()?;
    let written: HashSet<PackId> = session.packs().into_iter().collect();
    gone.retain(|pack| !written.contains(pack));
    let mut left = store.listed_packs();
    left.retain(|pack| !gone.contains(pack));
    store.replace_indexes(left, None, &mut |copies| {
        copies.retain(|copy| !gone.contains(&copy.place.pack));
        match copies.first() {
            Some(_) => Ok(()),
            None => Err(Error::Refused("a chunk was not moved: nothing was removed".into())),
        }
    })?;
    for (pack, len) in packs.iter().filter(|(pack, _)| gone.contains(pack)) {
        store.storage().remove(&pack_name(pack))?;
        moved.gone.add(*len);
    }
    for pack in &written {
        moved.written.add(store.storage().len(&pack_name(pack))?);
    }
    Ok(moved)
}

/// Copies what is needed of a pack, each chunk verified. What cannot be read stays where it is, and its pack with it.
fn move_pack(
    store: &Store,
    session: &WriteSession<'_>,
    pack: &PackId,
    is_needed: &dyn Fn(&Record, u64) -> Result<bool>,
    observer: &dyn Observer,
) -> Result<Option<Error>> {
    let records = match pack_directory(&**store.storage(), pack) {
        Ok(records) => records,
        Err(error) => return Ok(Some(error)),
    };
    let mut stays = None;
    for (offset, record) in records {
        checkpoint(observer)?;
        if !is_needed(&record, offset)? {
            continue;
        }
        let place = Location { pack: *pack, offset, record };
        match store.read_copy(&place).and_then(|_| store.read_encoded(&place)) {
            Ok(encoded) => session.append(&encoded, place.record)?,
            Err(e) if e.is_final() => return Err(e),
            Err(error) => stays = stays.or(Some(error)),
        }
    }
    Ok(stays)
}
