//! Moving what is alive out of packs that hold much waste, or little at all, into full ones. The old packs go when the new ones and their
//! index are durable.

use std::collections::{HashMap, HashSet};

use rayon::prelude::*;

use super::model::Packs;
use crate::budget::{MORE_INDEX_BLOCKS, MOVED_BYTES, MOVED_CHUNKS};
use crate::error::{Error, Result};
use crate::id::PackId;
use crate::progress::{Observer, checkpoint};
use crate::store::index::Location;
use crate::store::write::WriteSession;
use crate::store::{Store, pack_directory, pack_name};

/// Packs that stay where they are, and why.
type Stayed = Vec<(PackId, Error)>;

/// What one round did.
#[derive(Default)]
pub(super) struct Moved {
    /// Packs that are gone.
    pub gone: Packs,
    /// Packs that were written in their place.
    pub written: Packs,
    stayed: Stayed,
}

impl Moved {
    /// Says which packs stay, and why.
    pub(super) fn notes(&self, store: &Store) -> impl Iterator<Item = String> {
        let object = |pack| store.storage().object_location(&pack_name(pack));
        self.stayed.iter().map(move |(pack, why)| format!("{} stays as it is: {why}", object(pack)))
    }
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
    let is_alive = |place: &Location| Ok(alive.get(&place.pack).is_some_and(|here| here.contains(&place.offset)));
    let (mut copied, stayed) = Mover::move_packs(store, &session, packs, &is_alive, observer)?;
    let mut moved = Moved { stayed, ..Moved::default() };
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
    // The index was replaced, by the prune itself or by the round before. What is written takes memory, too.
    store.expect_look_ups(MORE_INDEX_BLOCKS / 2, false)?;
    let before = store.open_index_names();
    let session = WriteSession::new(store);
    let done = move_all(store, &session, packs, observer);
    if done.is_err() {
        take_back(store, &session, &before);
    }
    done
}

/// Removes what was written for nothing: on a full disk it must not take space until the next prune. Where that fails too, it is
/// garbage, or second copies, for the next prune.
pub(super) fn take_back(store: &Store, session: &WriteSession<'_>, before: &[String]) {
    let backend = store.storage();
    // Without a lock what is new may be another's.
    if !backend.capabilities().exclusive_lock || store.reload_indexes().is_err() {
        return;
    }
    let now = store.indexes();
    let (old, new): (Vec<_>, Vec<_>) = now.iter().partition(|file| before.iter().any(|old| old == file.name()));
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
    let is_listed = |place: &Location| {
        let copies = store.copies(&place.record.id)?;
        Ok(copies.iter().any(|copy| (copy.place.pack, copy.place.offset) == (place.pack, place.offset)))
    };
    let (mut gone, stayed) = Mover::move_packs(store, session, packs, &is_listed, observer)?;
    let mut moved = Moved { stayed, ..Moved::default() };
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

/// Copies what is needed of packs, each chunk verified: several threads read, one writes in order.
struct Mover<'a> {
    store: &'a Store,
    session: &'a WriteSession<'a>,
    is_needed: &'a IsNeeded<'a>,
    observer: &'a dyn Observer,
    /// What is read next, and its bytes.
    waiting: Vec<Location>,
    bytes: usize,
    stayed: Stayed,
}

type IsNeeded<'a> = dyn Fn(&Location) -> Result<bool> + Sync + 'a;

impl<'a> Mover<'a> {
    /// Returns the packs of which all was copied, and those of which something cannot be read: it stays where it is, and its pack with it.
    fn move_packs(
        store: &'a Store,
        session: &'a WriteSession<'a>,
        packs: &[(PackId, u64)],
        is_needed: &'a IsNeeded<'a>,
        observer: &'a dyn Observer,
    ) -> Result<(HashSet<PackId>, Stayed)> {
        let mut mover = Self { store, session, is_needed, observer, waiting: Vec::new(), bytes: 0, stayed: Vec::new() };
        for (pack, len) in packs {
            mover.pack(pack)?;
            observer.advance(*len, 0);
        }
        mover.flush()?;
        let mut copied: HashSet<PackId> = packs.iter().map(|(pack, _)| *pack).collect();
        for (pack, _) in &mover.stayed {
            copied.remove(pack);
        }
        Ok((copied, mover.stayed))
    }

    fn pack(&mut self, pack: &PackId) -> Result<()> {
        let records = match pack_directory(&**self.store.storage(), pack) {
            Ok(records) => records,
            Err(error) => {
                self.stays(pack, error);
                return Ok(());
            }
        };
        for (offset, record) in records {
            self.bytes += record.encoded_len as usize;
            self.waiting.push(Location { pack: *pack, offset, record });
            if self.bytes >= MOVED_BYTES || self.waiting.len() >= MOVED_CHUNKS {
                self.flush()?;
            }
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<()> {
        let read = self.waiting.par_iter().map(|place| self.read(place)).collect::<Result<Vec<_>>>()?;
        self.bytes = 0;
        for (place, read) in std::mem::take(&mut self.waiting).into_iter().zip(read) {
            match read {
                None => {}
                Some(Ok(encoded)) => self.session.append(&encoded, place.record)?,
                Some(Err(error)) => self.stays(&place.pack, error),
            }
        }
        Ok(())
    }

    /// Reads a chunk if it is needed.
    fn read(&self, place: &Location) -> Result<Option<Result<Vec<u8>>>> {
        checkpoint(self.observer)?;
        if !(self.is_needed)(place)? {
            return Ok(None);
        }
        match self.store.read_copy(place).and_then(|_| self.store.read_encoded(place)) {
            Err(error) if error.is_final() => Err(error),
            read => Ok(Some(read)),
        }
    }

    fn stays(&mut self, pack: &PackId, error: Error) {
        if self.stayed.last().is_none_or(|(last, _)| last != pack) {
            self.stayed.push((*pack, error));
        }
    }
}
