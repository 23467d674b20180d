//! Salvages damaged packs: every chunk that verifies is copied, as it is encoded, into new packs. Where a pack's directory is damaged, what
//! is left of it and of the index tells where chunks may be.

use std::cell::RefCell;
use std::collections::HashSet;

use super::report::Saved;
use crate::error::Result;
use crate::id::{ChunkId, PackId};
use crate::progress::{Observer, checkpoint};
use crate::store::index::{ChunkCopy, IndexFile, Location};
use crate::store::write::WriteSession;
use crate::store::{Store, damaged_directory, pack_directory, pack_name};

struct Saver<'a> {
    store: &'a Store,
    session: WriteSession<'a>,
    damaged: HashSet<PackId>,
    /// Chunks that could not be verified.
    bad: RefCell<HashSet<ChunkId>>,
    observer: &'a dyn Observer,
}

/// Saves what it can: durably, and listed in an index. `stay` are the packs that are not damaged.
pub(crate) fn pack_scan(store: &Store, damaged: &[PackId], stay: &[PackId], observer: &dyn Observer) -> Result<Saved> {
    let taken: HashSet<PackId> = damaged.iter().copied().collect();
    let session = WriteSession::beside(store, taken.clone());
    let saver = Saver { store, session, damaged: taken, bad: RefCell::default(), observer };
    let done = saver.rounds(damaged).and_then(|()| saver.save_leaning(stay));
    let packs = saver.session.packs();
    if let Err(error) = done {
        // What no index lists must not take up space until the next try.
        let listed = store.listed_packs();
        let unlisted = packs.iter().filter(|pack| listed.binary_search(pack).is_err());
        let _ = unlisted.map(pack_name).try_for_each(|name| store.storage().remove(&name));
        return Err(error);
    }
    let mut saved = Saved::default();
    for pack in &packs {
        saved.packs += 1;
        saved.bytes += store.storage().len(&pack_name(pack))?;
        saved.chunks += pack_directory(&**store.storage(), pack)?.len() as u64;
    }
    Ok(saved)
}

impl Saver<'_> {
    /// A delta can be verified once its base has been saved: as long as that helps, what is left is tried again.
    fn rounds(&self, packs: &[PackId]) -> Result<()> {
        loop {
            let before = self.session.packs().len();
            self.bad.borrow_mut().clear();
            self.all(packs)?;
            self.session.seal()?;
            if self.bad.borrow().is_empty() || self.session.packs().len() == before {
                return Ok(());
            }
        }
    }

    /// Saves what depends on a bad chunk and can still be read: a delta need not use all of its base. Without the base it could not be read
    /// any more, so it is stored in full.
    fn save_leaning(&self, packs: &[PackId]) -> Result<()> {
        let mut bad = self.bad.take();
        let mut is_more = !bad.is_empty();
        while is_more {
            is_more = false;
            for pack in packs {
                for (offset, record) in pack_directory(&**self.store.storage(), pack)? {
                    checkpoint(self.observer)?;
                    if bad.contains(&record.id) || !record.bases.iter().any(|base| bad.contains(base)) {
                        continue;
                    }
                    let place = Location { pack: *pack, offset, record };
                    match self.store.read_copy(&place) {
                        Ok(plain) => self.session.put_again(&plain)?,
                        Err(error) if error.is_damage() => is_more |= bad.insert(place.record.id),
                        Err(error) => return Err(error),
                    }
                }
            }
        }
        self.session.seal()
    }

    fn all(&self, packs: &[PackId]) -> Result<()> {
        let backend = self.store.storage();
        let mut unclear = HashSet::new();
        for pack in packs {
            let records = match pack_directory(&**backend, pack) {
                Err(error) if error.is_damage() => {
                    unclear.insert(*pack);
                    damaged_directory(&**backend, pack)?
                }
                other => other?,
            };
            for (offset, record) in records {
                self.save(&Location { pack: *pack, offset, record })?;
            }
        }
        if unclear.is_empty() {
            return Ok(());
        }
        for name in self.store.index_names()? {
            // Of a damaged index whatever can be read: no place is believed before its chunk is verified.
            let file = match IndexFile::open(&**backend, &name) {
                Err(error) if error.is_damage() => continue,
                other => other?,
            };
            if !file.packs().iter().any(|pack| unclear.contains(pack)) {
                continue;
            }
            for copy in file.stream(&**backend) {
                match copy {
                    Ok(ChunkCopy { place, .. }) if unclear.contains(&place.pack) => self.save(&place)?,
                    Err(error) if !error.is_damage() => return Err(error),
                    _ => {}
                }
            }
        }
        Ok(())
    }

    /// Copies a chunk if it verifies and is in no pack that stays.
    fn save(&self, place: &Location) -> Result<()> {
        checkpoint(self.observer)?;
        let stays =
            |copy: &ChunkCopy| !self.damaged.contains(&copy.place.pack) && self.store.read_copy(&copy.place).is_ok();
        if self.store.copies(&place.record.id)?.iter().any(stays) {
            return Ok(());
        }
        match self.store.read_copy(place) {
            Ok(plain) if !place.record.bases.iter().all(|base| self.store.read(base).is_ok()) => {
                self.session.put_again(&plain)
            }
            Ok(_) => {
                let encoded = self.store.read_encoded(place)?;
                self.session.append(&encoded, place.record.clone())
            }
            Err(error) if error.is_damage() => {
                self.bad.borrow_mut().insert(place.record.id);
                Ok(())
            }
            Err(error) => Err(error),
        }
    }
}
