//! Putting chunks: which are new, and what they are like. They are encoded in the caller's thread.

use super::encode::{Bases, encode};
use super::session::WriteSession;
use crate::compression::{DeltaEncoder, MAX_BASES};
use crate::error::Result;
use crate::format::pack::{MAX_DEPTH, Record};
use crate::id::ChunkId;
use crate::store::index::ChunkCopy;

/// Chunks that are decoded for one, at most; its neighbours need most of them as well. Without a bound, chains of chunks with several
/// bases each would double their cost with every link.
pub(super) const MAX_WORK: usize = 128;
/// Below this a delta saves less than its base's id costs.
const MIN_DELTA_LEN: usize = 256;

/// A chunk to put.
pub(crate) struct NewChunk<'p> {
    /// Its bytes.
    pub plain: &'p [u8],
    /// Chunks of sealed packs that it is like, best first.
    pub bases: Vec<ChunkId>,
}

impl WriteSession<'_> {
    /// Keeps a chunk, as a delta against `bases` (chunks of sealed packs, best first) where that is smaller. Returns its id.
    pub fn put(&self, plain: &[u8], bases: &[ChunkId]) -> Result<ChunkId> {
        let id = self.store().ids().chunk(plain);
        self.put_new(&[(id, plain, bases)])?;
        Ok(id)
    }

    /// Keeps a few chunks at once, which costs less than one after another where they become deltas: all are in memory with their bases
    /// meanwhile. Returns their ids.
    pub(crate) fn put_all(&self, chunks: &[NewChunk<'_>]) -> Result<Vec<ChunkId>> {
        let chunk = |new: &NewChunk<'_>| self.store().ids().chunk(new.plain);
        let ids: Vec<ChunkId> = chunks.iter().map(chunk).collect();
        let new: Vec<_> = ids.iter().zip(chunks).map(|(id, new)| (*id, new.plain, &*new.bases)).collect();
        self.put_new(&new)?;
        Ok(ids)
    }

    fn put_new(&self, chunks: &[(ChunkId, &[u8], &[ChunkId])]) -> Result<()> {
        if let Some(wanted) = self.only {
            for (id, plain, _) in chunks {
                if wanted.take(id)? {
                    self.put_again(plain)?;
                    self.count_healed();
                }
            }
            return Ok(());
        }
        let mut found = Vec::with_capacity(chunks.len());
        for (id, plain, bases) in chunks {
            if !self.knows(id)? {
                let bases = if plain.len() >= MIN_DELTA_LEN { self.read_bases(bases)? } else { None };
                found.push((*id, *plain, bases));
            }
        }
        // Its bases must outlive it.
        let mut encoder = DeltaEncoder::default();
        for (id, plain, bases) in &found {
            let delta = bases.as_ref().and_then(|bases| bases.delta(plain, &mut encoder));
            let (encoded, record) = encode(*id, plain, delta)?;
            self.append(encoded.as_deref().unwrap_or(plain), record)?;
        }
        Ok(())
    }

    /// Keeps a chunk in full, though it may be known: as what it is known cannot be relied on.
    pub(crate) fn put_again(&self, plain: &[u8]) -> Result<()> {
        let (encoded, record) = encode(self.store().ids().chunk(plain), plain, None)?;
        self.append(encoded.as_deref().unwrap_or(plain), record)
    }

    /// Reads those of a chunk's bases that it may be a delta against.
    fn read_bases(&self, bases: &[ChunkId]) -> Result<Option<Bases>> {
        let mut rerooted = false;
        let mut used = Vec::new();
        let mut contents = Vec::new();
        let mut depth = 0;
        let mut left = MAX_WORK;
        for base in bases.iter().take(MAX_BASES) {
            let Some(ChunkCopy { mut place, .. }) = self.store().listed_copy(base)? else { continue };
            let mut cost = self.work(&place.record, left)?;
            if place.record.depth >= MAX_DEPTH || cost.is_none() && used.is_empty() {
                // At the bound the delta is taken against the chain's root: a full copy would cost three times as much (design, "Encoding").
                rerooted = true;
                for _ in 0..=MAX_DEPTH {
                    let Some(below) = place.record.bases.first() else { break };
                    let Some(found) = self.store().listed_copy(below)? else { break };
                    place = found.place;
                }
                cost = self.work(&place.record, left)?;
            }
            let Some(cost) = cost.filter(|_| !used.contains(&place.record.id)) else { continue };
            if self.is_condemned(&place.record.id)? {
                continue;
            }
            match self.read(&place.record.id) {
                Ok(content) => {
                    left -= cost;
                    depth = depth.max(place.record.depth + 1);
                    used.push(place.record.id);
                    contents.push(content);
                }
                Err(e) if e.is_final() => return Err(e),
                // A base that is damaged is no base; the chunk is then kept whole, which also heals it.
                Err(_) => {}
            }
        }
        Ok(Bases::new(&contents, used, depth, rerooted))
    }

    /// Counts the chunks that are decoded for this one, itself included; `None` if they are more than `limit`.
    pub(super) fn work(&self, record: &Record, limit: usize) -> Result<Option<usize>> {
        let mut count = 1;
        let mut below = record.bases.clone();
        while let Some(id) = below.pop() {
            count += 1;
            if count > limit {
                return Ok(None);
            }
            below.extend(self.store().locate(&id)?.map(|place| place.record.bases).unwrap_or_default());
        }
        Ok((count <= limit).then_some(count))
    }

    /// Keeps a chunk as another store has it encoded, if its bases are in sealed packs here and decoding it takes no more than it may;
    /// returns whether it did. The caller has decoded it.
    pub(crate) fn append_encoded(&self, bytes: &[u8], record: Record) -> Result<bool> {
        let (mut depth, mut left) = (0, MAX_WORK);
        for base in &record.bases {
            let Some(ChunkCopy { place, .. }) = self.store().listed_copy(base)? else { return Ok(false) };
            let cost = self.work(&place.record, left)?.filter(|_| place.record.depth < MAX_DEPTH && base != &record.id);
            let (Some(cost), true) = (cost, self.knows(base)?) else { return Ok(false) };
            left -= cost;
            depth = depth.max(place.record.depth + 1);
        }
        self.append(bytes, Record { depth, ..record })?;
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use super::{NewChunk, WriteSession};
    use crate::backend::Backend;
    use crate::fs::lock::LockMode;
    use crate::id::ChunkId;
    use crate::progress::Silent;
    use crate::store::{Store, create};
    use crate::testing::memory_backend::memory;

    #[test]
    fn chunks_put_at_once_are_stored_as_one_after_another() {
        let texts: Vec<Vec<u8>> =
            (0..6).map(|n| format!("{n} and some text that compresses ").repeat(900).into_bytes()).collect();
        let mut edited: Vec<Vec<u8>> = texts.clone();
        edited.iter_mut().for_each(|text| text[7000..7010].copy_from_slice(b"0123456789"));
        edited.push(edited[0].clone());
        edited.push(texts[1].clone());
        edited.push(b"short".to_vec());
        edited.push(Vec::new());
        let stored = |at_once: bool| {
            let backend: Arc<dyn Backend> = Arc::new(memory());
            create(&*backend, [1; 32]).unwrap();
            let store = Store::open(Arc::clone(&backend), LockMode::Shared, Duration::ZERO, &Silent).unwrap();
            let session = WriteSession::new(&store);
            let old: Vec<ChunkId> = texts.iter().map(|text| session.put(text, &[]).unwrap()).collect();
            session.seal().unwrap();
            let bases = |n: usize| match n {
                0 => vec![],
                1 => vec![old[1], old[2], old[3]],
                2 => vec![ChunkId::of(b"nowhere"), old[2]],
                _ => old.get(n).copied().into_iter().collect(),
            };
            let session = WriteSession::new(&store);
            let ids = if at_once {
                let new = edited.iter().enumerate().map(|(n, plain)| NewChunk { plain, bases: bases(n) });
                session.put_all(&new.collect::<Vec<_>>()).unwrap()
            } else {
                edited.iter().enumerate().map(|(n, plain)| session.put(plain, &bases(n)).unwrap()).collect()
            };
            session.seal().unwrap();
            let records = ids.iter().zip(&edited).map(|(id, plain)| {
                assert_eq!(&store.read(id).unwrap(), plain);
                let record = store.locate(id).unwrap().unwrap().record;
                (record.id, record.encoding, record.depth, record.bases)
            });
            (records.collect::<Vec<_>>(), session.packs().len())
        };
        let at_once = stored(true);
        assert_eq!(at_once, stored(false));
        assert_eq!(at_once.0[1].3.len(), 3, "all bases are of use");
        assert_eq!(at_once.0.iter().filter(|record| record.2 == 1).count(), 5);
    }
}
