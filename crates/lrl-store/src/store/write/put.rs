//! Putting chunks: which are new, and what they are like. They are encoded in the caller's thread.

use super::encode::{Bases, encode};
use super::session::WriteSession;
use crate::compression::MAX_BASES;
use crate::error::Result;
use crate::format::pack::{MAX_DEPTH, Record};
use crate::id::ChunkId;
use crate::store::index::ChunkCopy;

/// Chunks that are decoded for one, at most; its neighbours need most of them as well. Without a bound, chains of chunks with several
/// bases each would double their cost with every link.
pub(super) const MAX_WORK: usize = 128;
/// Below this a delta saves less than its base's id costs.
const MIN_DELTA_LEN: usize = 256;

impl WriteSession<'_> {
    /// Keeps a chunk, as a delta against `bases` (chunks of sealed packs, best first) where that is smaller. Returns its id.
    pub fn put(&self, plain: &[u8], bases: &[ChunkId]) -> Result<ChunkId> {
        let id = self.store().ids().chunk(plain);
        self.put_as(id, plain, bases)?;
        Ok(id)
    }

    /// Keeps a chunk whose id the caller has computed, as [`WriteSession::put`] does.
    pub(crate) fn put_as(&self, id: ChunkId, plain: &[u8], bases: &[ChunkId]) -> Result<()> {
        if let Some(wanted) = self.only {
            if wanted.take(&id)? {
                self.put_again(plain)?;
                self.count_healed();
            }
        } else if !self.knows(&id)? {
            let bases = if plain.len() >= MIN_DELTA_LEN { self.read_bases(bases)? } else { None };
            let (encoded, record) = encode(id, plain, bases.and_then(|bases| bases.delta(plain)))?;
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
        let mut ids = Vec::new();
        let mut contents = Vec::new();
        let mut depth = 0;
        let mut left = MAX_WORK;
        for base in bases.iter().take(MAX_BASES) {
            let Some(ChunkCopy { mut place, .. }) = self.store().listed_copy(base)? else { continue };
            let mut cost = self.work(&place.record, left)?;
            if place.record.depth >= MAX_DEPTH || cost.is_none() && ids.is_empty() {
                // At the bound the delta is taken against the chain's root: a full copy would cost three times as much (design, "Encoding").
                rerooted = true;
                for _ in 0..=MAX_DEPTH {
                    let Some(below) = place.record.bases.first() else { break };
                    let Some(found) = self.store().listed_copy(below)? else { break };
                    place = found.place;
                }
                cost = self.work(&place.record, left)?;
            }
            let Some(cost) = cost.filter(|_| !ids.contains(&place.record.id)) else { continue };
            if self.is_condemned(&place.record.id)? {
                continue;
            }
            match self.read(&place.record.id) {
                Ok(content) => {
                    left -= cost;
                    depth = depth.max(place.record.depth + 1);
                    ids.push(place.record.id);
                    contents.push(content);
                }
                Err(e) if e.is_final() => return Err(e),
                // A base that is damaged is no base; the chunk is then kept whole, which also heals it.
                Err(_) => {}
            }
        }
        Ok((!ids.is_empty()).then_some(Bases { contents, ids, depth, rerooted }))
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
