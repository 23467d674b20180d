//! Bringing chunks from one store to the other: what is there already is neither read nor sent where both name it alike; the rest is read
//! and verified, and kept as it is encoded, or encoded anew where its bases are not there.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use crate::budget::COPIED_IDS;
use crate::compression::MAX_BASES;
use crate::error::{Error, Result};
use crate::format::pack::Record;
use crate::id::ChunkId;
use crate::progress::{Observer, checkpoint};
use crate::store::Store;
use crate::store::index::Location;
use crate::store::write::WriteSession;

/// New bytes after which packs and index are written: what is sealed need not be sent again by the next run if this one is killed.
const SEAL_BYTES: u64 = 64 << 20;

/// Why a snapshot was not copied.
pub(super) enum Stop {
    /// It cannot be read; others may.
    Damaged(Error),
    /// Nothing more can be copied.
    Failed(Error),
}

/// The result of what reads one store and writes the other.
pub(super) type Copying<T> = Result<T, Stop>;

impl From<Error> for Stop {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

/// Sorts the errors of the store that is read.
pub(super) fn reading(error: Error) -> Stop {
    if error.is_damage() { Stop::Damaged(error) } else { Stop::Failed(error) }
}

/// What chunks of the one store are called in the other, where the two name them differently.
#[derive(Default)]
pub(super) struct Names(Mutex<[HashMap<ChunkId, ChunkId>; 2]>);

impl Names {
    fn get(&self, id: &ChunkId) -> Option<ChunkId> {
        let names = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        names.iter().find_map(|part| part.get(id)).copied()
    }

    fn put(&self, id: &ChunkId, there: ChunkId) {
        let mut names = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if names[0].len() >= COPIED_IDS {
            names.swap(0, 1);
            names[0].clear();
        }
        names[0].insert(*id, there);
    }
}

/// Copies the chunks of one snapshot; shared by threads.
pub(super) struct ChunkCopier<'a> {
    pub from: &'a Store,
    pub session: &'a WriteSession<'a>,
    pub observer: &'a dyn Observer,
    names: &'a Names,
    alike: bool,
    sealed_at: AtomicU64,
}

impl<'a> ChunkCopier<'a> {
    pub(crate) fn new(
        from: &'a Store,
        session: &'a WriteSession<'a>,
        names: &'a Names,
        observer: &'a dyn Observer,
    ) -> Self {
        let alike = from.ids().same_as(session.store().ids());
        Self { from, session, observer, names, alike, sealed_at: AtomicU64::new(0) }
    }

    /// Makes sure that a chunk is in the destination, and returns its name there. `beside` is one there that it may resemble.
    pub(crate) fn chunk(&self, id: &ChunkId, len: u64, beside: Option<ChunkId>) -> Copying<ChunkId> {
        checkpoint(self.observer)?;
        let known = if self.alike { Some(*id) } else { self.names.get(id) };
        if let Some(known) = known
            && self.session.knows(&known)?
        {
            return Ok(known);
        }
        let (plain, place) = self.read(id).map_err(reading)?;
        if plain.len() as u64 != len {
            return Err(Stop::Damaged(Error::corrupt(format!("chunk {id}"), "has another length than its list says")));
        }
        let new = self.session.store().ids().chunk(&plain);
        self.remember(id, new);
        if !self.session.knows(&new)? {
            self.keep(new, &plain, place.as_ref(), beside)?;
        }
        self.observer.advance(len, 0);
        Ok(new)
    }

    /// Reads a chunk, verified; also returns where its bytes are, if it was read from the first place.
    fn read(&self, id: &ChunkId) -> Result<(Vec<u8>, Option<Location>)> {
        if let Some(place) = self.from.locate(id)? {
            match self.from.read_copy(&place) {
                Ok(plain) => return Ok((plain, Some(place))),
                Err(e) if e.is_final() => return Err(e),
                Err(_) => {}
            }
        }
        Ok((self.from.read(id)?, None))
    }

    fn keep(&self, new: ChunkId, plain: &[u8], place: Option<&Location>, beside: Option<ChunkId>) -> Copying<()> {
        let mut bases = Vec::new();
        if let Some(place) = place {
            let record = &place.record;
            bases = record.bases.iter().map(|base| self.base(base)).collect::<Copying<Vec<_>>>()?;
            let record = Record { id: new, bases: bases.clone(), ..record.clone() };
            let encoded = self.from.read_encoded(place).map_err(reading)?;
            if self.session.append_encoded(&encoded, record)? {
                return Ok(());
            }
        }
        bases.extend(beside);
        bases.truncate(MAX_BASES);
        self.session.put(plain, &bases)?;
        Ok(())
    }

    /// Returns what a base is called in the destination, whether or not it is there.
    fn base(&self, id: &ChunkId) -> Copying<ChunkId> {
        if self.alike {
            return Ok(*id);
        }
        if let Some(known) = self.names.get(id) {
            return Ok(known);
        }
        let plain = self.from.read(id).map_err(reading)?;
        let new = self.session.store().ids().chunk(&plain);
        self.remember(id, new);
        Ok(new)
    }

    fn remember(&self, id: &ChunkId, new: ChunkId) {
        if !self.alike {
            self.names.put(id, new);
        }
    }

    /// Writes packs and index if enough has come together.
    pub(crate) fn seal_often(&self) -> Result<()> {
        let added = self.session.added_bytes();
        if added - self.sealed_at.load(Ordering::Relaxed) < SEAL_BYTES {
            return Ok(());
        }
        self.session.seal()?;
        self.sealed_at.store(self.session.added_bytes(), Ordering::Relaxed);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::{COPIED_IDS, Names};
    use crate::id::ChunkId;

    #[test]
    fn so_many_names_are_remembered_and_not_more() {
        let names = Names::default();
        let id = |n: usize| ChunkId::of(&n.to_le_bytes());
        let there = |n: usize| ChunkId::of(&(!n).to_le_bytes());
        (0..3 * COPIED_IDS).for_each(|n| names.put(&id(n), there(n)));
        assert_eq!(names.get(&id(3 * COPIED_IDS - 1)), Some(there(3 * COPIED_IDS - 1)));
        assert_eq!(names.get(&id(2 * COPIED_IDS)), Some(there(2 * COPIED_IDS)));
        assert_eq!(names.get(&id(0)), None);
        assert!(names.0.lock().unwrap().iter().map(std::collections::HashMap::len).sum::<usize>() <= 2 * COPIED_IDS);
    }
}
