//! Adding chunks: known ones cost nothing, new ones are encoded (in the caller's thread) and packed; then packs and index are made durable.

mod trust;

use std::collections::{HashMap, HashSet};
use std::io::Write;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::handle::Store;
use super::index::{ChunkCopy, Location};
use super::names::pack_name;
use super::pack_upload::PackUploader;
use super::repair::lost_chunks::LostChunks;
use crate::backend::{Backend, TempObject};
use crate::compression;
use crate::compression::Encoding;
use crate::crypt::Key;
use crate::error::{Error, Result};
use crate::format::index::Located;
use crate::format::pack::{self, MAX_DEPTH, Record};
use crate::fs::space::SpaceGuard;
use crate::id::{ChunkId, Hasher, PackId};
pub use trust::Trust;

/// New chunks after which packs and index are written, so that memory does not grow with the first backup of a million files.
pub(super) const MAX_PENDING: usize = 64 << 10;
/// Chunks that are decoded for one, at most; its neighbours need most of them as well. Without a bound, chains of chunks with several
/// bases each would double their cost with every link.
const MAX_WORK: usize = 128;
/// The number of packs whose lengths are remembered.
const KNOWN_PACKS: usize = 16 << 10;
/// Below this a delta saves less than its base's id costs.
const MIN_DELTA_LEN: usize = 256;

/// One run's additions to a store. What was not sealed is garbage that nothing refers to.
pub struct WriteSession<'s> {
    store: &'s Store,
    state: Mutex<State>,
    added_bytes: AtomicU64,
    // A `Trust`; it only ever falls.
    trust: AtomicU8,
    lengths: Mutex<HashMap<PackId, u64>>,
    // Names that no new pack may get.
    taken: HashSet<PackId>,
    // If set, nothing but these is stored.
    only: Option<&'s LostChunks>,
    healed: AtomicU64,
}

#[derive(Default)]
struct State {
    open: Option<OpenPack>,
    uploader: Option<PackUploader>,
    // Packs by the numbers that `pending` uses; an id is known once its pack is closed.
    closed: Vec<PackId>,
    pending: HashMap<ChunkId, Located>,
    packs: Vec<PackId>,
    // Those of them that were not there before.
    fresh: Vec<PackId>,
    // Set before each step that writes and cleared after it: what a failed step left must never come into an index.
    failed: Option<Error>,
}

struct OpenPack {
    out: std::io::BufWriter<TempObject>,
    hasher: Hasher,
    space: Arc<SpaceGuard>,
    len: u64,
    records: Vec<ChunkId>,
    // In an encrypted store: the head as it was written, and the key of the chunks.
    sealed: Option<(Vec<u8>, Key)>,
}

impl<'s> WriteSession<'s> {
    /// Starts a session.
    pub fn new(store: &'s Store) -> Self {
        Self::beside(store, HashSet::new())
    }

    /// Starts a session where damaged packs have to stay as they are, whatever is stored: none of the new packs gets the name of one of them.
    pub(crate) fn beside(store: &'s Store, taken: HashSet<PackId>) -> Self {
        Self {
            taken,
            only: None,
            healed: AtomicU64::new(0),
            store,
            state: Mutex::default(),
            added_bytes: AtomicU64::new(0),
            trust: AtomicU8::new(Trust::Proved as u8),
            lengths: Mutex::default(),
        }
    }

    /// Starts a session that stores lost chunks and nothing else, each in full; `taken` as in [`WriteSession::beside`].
    pub(crate) fn healing(store: &'s Store, wanted: &'s LostChunks, taken: HashSet<PackId>) -> Self {
        let session = Self { only: Some(wanted), ..Self::beside(store, taken) };
        session.lower_trust(Trust::ReadEverything);
        session
    }

    /// Returns how many lost chunks it has stored.
    pub(crate) fn healed(&self) -> u64 {
        self.healed.load(Ordering::Relaxed)
    }

    /// Returns what may be reused unread from here on.
    pub fn trust(&self) -> Trust {
        Trust::from_u8(self.trust.load(Ordering::Relaxed))
    }

    /// Lowers the trust; a higher one than before changes nothing.
    pub fn lower_trust(&self, trust: Trust) {
        if trust == Trust::ReadEverything {
            // A chunk that is cached locally must not hide that the backend has lost it.
            self.store.storage().cache_clear();
        }
        self.trust.fetch_max(trust as u8, Ordering::Relaxed);
    }

    fn reads_everything(&self) -> bool {
        self.trust() == Trust::ReadEverything
    }

    /// Returns the store that it adds to.
    pub fn store(&self) -> &'s Store {
        self.store
    }

    /// Returns how many bytes of objects it has added so far.
    pub fn added_bytes(&self) -> u64 {
        self.added_bytes.load(Ordering::Relaxed)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns whether a chunk was added by this session or is in the store: listed there, in a pack that reaches so far, and its bases too.
    pub fn knows(&self, id: &ChunkId) -> Result<bool> {
        if self.state().pending.contains_key(id) {
            return Ok(true);
        }
        if !self.reads_everything() {
            return self.is_present(id, 0);
        }
        if self.is_condemned(id)? {
            return Ok(false);
        }
        match self.read(id) {
            Ok(_) => Ok(true),
            Err(Error::WriteOnly { .. }) => self.is_present(id, 0),
            Err(e) if e.is_final() => Err(e),
            Err(_) => Ok(false),
        }
    }

    /// Reads a chunk; where everything is read its bases must be whole too, also where it makes no use of what is damaged in them.
    fn read(&self, id: &ChunkId) -> Result<Arc<Vec<u8>>> {
        if self.reads_everything() { self.store.read_with_bases(id).map(Arc::new) } else { self.store.read_listed(id) }
    }

    fn is_present(&self, id: &ChunkId, below: u8) -> Result<bool> {
        let Some(first) = self.store.listed_copy(id)? else { return Ok(false) };
        if self.is_location_present(&first.place, below)? {
            return Ok(true);
        }
        for copy in self.store.copies(id)? {
            if copy.slot != first.slot && !copy.slot.is_pack_scan() && self.is_location_present(&copy.place, below)? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn is_location_present(&self, place: &Location, below: u8) -> Result<bool> {
        if below > MAX_DEPTH || self.pack_len(&place.pack)? < place.offset + u64::from(place.record.encoded_len) {
            return Ok(false);
        }
        for base in &place.record.bases {
            if !self.is_present(base, below + 1)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Returns whether a prune is about to delete every copy of a chunk, or of a base that it depends on.
    fn is_condemned(&self, id: &ChunkId) -> Result<bool> {
        Ok(!self.store.pending_deletions()?.are_none() && !self.is_present(id, 0)?)
    }

    /// Returns a pack's length; 0 if it is gone, or is to go.
    fn pack_len(&self, id: &PackId) -> Result<u64> {
        if self.store.storage().capabilities().cost_per_request {
            // A request for each pack in each run would be too many: `find_missing` lists all of them at once, when it is due.
            return Ok(if self.store.pending_deletions()?.has(id) { 0 } else { u64::MAX });
        }
        let mut lengths = self.lengths.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(len) = lengths.get(id) {
            return Ok(*len);
        }
        let len = match self.store.storage().len(&pack_name(id)) {
            Err(Error::Missing { .. }) => 0,
            other => other?,
        };
        if lengths.len() >= KNOWN_PACKS {
            lengths.clear();
        }
        lengths.insert(*id, len);
        Ok(len)
    }

    /// Keeps a chunk, as a delta against `bases` (chunks of sealed packs, best first) where that is smaller. Returns its id.
    pub fn put(&self, plain: &[u8], bases: &[ChunkId]) -> Result<ChunkId> {
        let id = self.store.ids().chunk(plain);
        if let Some(wanted) = self.only {
            if wanted.take(&id)? {
                self.put_again(plain)?;
                self.healed.fetch_add(1, Ordering::Relaxed);
            }
            return Ok(id);
        }
        if !self.knows(&id)? {
            let (encoded, record) = self.encode(id, plain, bases)?;
            self.append(encoded.as_deref().unwrap_or(plain), record)?;
        }
        Ok(id)
    }

    /// Keeps a chunk in full, though it may be known: as what it is known cannot be relied on.
    pub(crate) fn put_again(&self, plain: &[u8]) -> Result<()> {
        let (encoded, record) = self.encode(self.store.ids().chunk(plain), plain, &[])?;
        self.append(encoded.as_deref().unwrap_or(plain), record)
    }

    fn encode(&self, id: ChunkId, plain: &[u8], bases: &[ChunkId]) -> Result<(Option<Vec<u8>>, Record)> {
        let plain_len = u32::try_from(plain.len()).ok().filter(|len| *len as usize <= compression::MAX_CHUNK);
        let plain_len =
            plain_len.ok_or_else(|| Error::Refused(format!("a chunk of {} bytes is too long", plain.len())))?;
        let delta = if plain.len() >= MIN_DELTA_LEN { self.delta(plain, bases)? } else { None };
        // A delta this good needs no comparison with the full encoding, which would cost as much again.
        let full = match &delta {
            Some(delta) if !delta.rerooted && delta.encoded.len() < plain.len() / 8 => None,
            _ => Some(compression::compress(plain)),
        };
        let full_len = full.as_ref().map(|full| full.as_ref().map_or(plain.len(), Vec::len));
        Ok(match (delta, full) {
            (Some(delta), _) if full_len.is_none_or(|full| delta.is_worth(full)) => {
                let record = whole(id, plain_len, delta.encoded.len(), Encoding::Delta);
                (Some(delta.encoded), Record { depth: delta.depth, bases: delta.bases, ..record })
            }
            (_, Some(Some(full))) => {
                let record = whole(id, plain_len, full.len(), Encoding::Zstd);
                (Some(full), record)
            }
            _ => (None, whole(id, plain_len, plain.len(), Encoding::Stored)),
        })
    }

    fn delta(&self, plain: &[u8], bases: &[ChunkId]) -> Result<Option<Delta>> {
        let mut rerooted = false;
        let mut used = Vec::new();
        let mut contents = Vec::new();
        let mut depth = 0;
        let mut left = MAX_WORK;
        for base in bases.iter().take(compression::MAX_BASES) {
            let Some(ChunkCopy { mut place, .. }) = self.store.listed_copy(base)? else { continue };
            let mut cost = self.work(&place.record, left)?;
            if place.record.depth >= MAX_DEPTH || cost.is_none() && used.is_empty() {
                // At the bound the delta is taken against the chain's root: a full copy would cost three times as much (design, "Encoding").
                rerooted = true;
                for _ in 0..=MAX_DEPTH {
                    let Some(below) = place.record.bases.first() else { break };
                    let Some(found) = self.store.listed_copy(below)? else { break };
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
        if used.is_empty() {
            return Ok(None);
        }
        let contents: Vec<&[u8]> = contents.iter().map(|content| content.as_slice()).collect();
        let Some(encoded) = compression::compress_delta(plain, &contents) else { return Ok(None) };
        let decoded = compression::decode(Encoding::Delta, encoded.clone(), plain.len(), &contents, "a new delta");
        // What does not decode to what went in is not stored.
        Ok(decoded.is_ok_and(|back| back == plain).then_some(Delta { encoded, depth, bases: used, rerooted }))
    }

    /// Counts the chunks that are decoded for this one, itself included; `None` if they are more than `limit`.
    fn work(&self, record: &Record, limit: usize) -> Result<Option<usize>> {
        let mut count = 1;
        let mut below = record.bases.clone();
        while let Some(id) = below.pop() {
            count += 1;
            if count > limit {
                return Ok(None);
            }
            below.extend(self.store.locate(&id)?.map(|place| place.record.bases).unwrap_or_default());
        }
        Ok((count <= limit).then_some(count))
    }

    /// Keeps a chunk as it is encoded already, from wherever its record is.
    pub(crate) fn append(&self, bytes: &[u8], mut record: Record) -> Result<()> {
        self.store.check_writable()?;
        record.encoded_len = bytes.len() as u32;
        self.step(|state| {
            if state.pending.contains_key(&record.id) {
                return Ok(());
            }
            let backend = self.store.storage();
            let pack = state.closed.len() as u32;
            let open = match &mut state.open {
                Some(open) => open,
                none => none.insert(OpenPack::start(&**backend)?),
            };
            let offset = open.len as u32;
            match (backend.keys(), &open.sealed) {
                (Some(keys), Some((_, key))) => {
                    let mut bytes = bytes.to_vec();
                    pack::seal_chunk(keys, key, open.len, &mut record, &mut bytes)?;
                    open.write(&bytes, &**backend)?;
                }
                _ => open.write(bytes, &**backend)?,
            }
            open.records.push(record.id);
            let full = open.len >= pack::TARGET_BYTES;
            state.pending.insert(record.id, Located { pack, offset, record });
            if state.pending.len() >= MAX_PENDING {
                self.flush(state)
            } else if full {
                self.close_pack(state)
            } else {
                Ok(())
            }
        })
    }

    /// Keeps a chunk as another store has it encoded, if its bases are in sealed packs here and decoding it takes no more than it may;
    /// returns whether it did. The caller has decoded it.
    pub(crate) fn append_encoded(&self, bytes: &[u8], record: Record) -> Result<bool> {
        let (mut depth, mut left) = (0, MAX_WORK);
        for base in &record.bases {
            let Some(ChunkCopy { place, .. }) = self.store.listed_copy(base)? else { return Ok(false) };
            let cost = self.work(&place.record, left)?.filter(|_| place.record.depth < MAX_DEPTH && base != &record.id);
            let (Some(cost), true) = (cost, self.knows(base)?) else { return Ok(false) };
            left -= cost;
            depth = depth.max(place.record.depth + 1);
        }
        self.append(bytes, Record { depth, ..record })?;
        Ok(true)
    }

    /// Runs a step that writes. After one that failed, all others fail as it did.
    fn step(&self, act: impl FnOnce(&mut State) -> Result<()>) -> Result<()> {
        let mut state = self.state();
        if let Some(first) = &state.failed {
            return Err(first.again());
        }
        state.failed = Some(Error::Refused("nothing more is stored after a write has failed".into()));
        let done = act(&mut state);
        state.failed = done.as_ref().err().map(Error::again);
        done
    }

    fn close_pack(&self, state: &mut State) -> Result<()> {
        let Some(mut open) = state.open.take() else { return Ok(()) };
        let backend = self.store.storage();
        let mut records: Vec<Record> =
            open.records.iter().filter_map(|id| state.pending.get(id)).map(|l| l.record.clone()).collect();
        let tail = |open: &OpenPack, records: &[Record]| match (backend.keys(), &open.sealed) {
            (Some(keys), Some((head, _))) => pack::seal_tail(keys, head, records, open.len as u32),
            _ => Ok(pack::encode_tail(records, open.len as u32)),
        };
        let mut end = tail(&open, &records)?;
        let candidates = self.store.pending_deletions()?;
        let is_taken = |id: PackId| self.taken.contains(&id) || candidates.has(&id);
        while is_taken(PackId::from_bytes(open.hasher.clone().update(&end).finish())) {
            // The very same chunks once more: one that nobody needs makes it another pack.
            let plain = open.hasher.finish();
            let record = whole(self.store.ids().chunk(&plain), plain.len() as u32, plain.len(), Encoding::Stored);
            open.write(&plain, &**backend)?;
            records.push(record);
            end = tail(&open, &records)?;
        }
        open.write(&end, &**backend)?;
        self.added_bytes.fetch_add(open.len, Ordering::Relaxed);
        let id = PackId::from_bytes(open.hasher.finish());
        let temp =
            open.out.into_inner().map_err(|e| Error::io("write a pack in", backend.location())(e.into_error()))?;
        if let Some((_, key)) = &open.sealed {
            self.store.keep_pack_key(&id, key);
        }
        state.closed.push(id);
        state.packs.push(id);
        // Where nobody is ever alone nothing is taken back, and asking would be a request for each pack.
        if backend.capabilities().exclusive_lock && matches!(backend.len(&pack_name(&id)), Err(Error::Missing { .. })) {
            state.fresh.push(id);
        }
        match state.uploader.get_or_insert_with(|| PackUploader::start(backend)).send(id, temp) {
            true => Ok(()),
            // The threads stop at the first error, which `finish` returns.
            false => state.uploader.take().map_or(Ok(()), PackUploader::finish),
        }
    }

    fn flush(&self, state: &mut State) -> Result<()> {
        self.close_pack(state)?;
        state.uploader.take().map_or(Ok(()), PackUploader::finish)?;
        if state.pending.is_empty() {
            return Ok(());
        }
        let records = std::mem::take(&mut state.pending).into_values().collect();
        let len = self.store.write_index(std::mem::take(&mut state.closed), records)?;
        self.added_bytes.fetch_add(len, Ordering::Relaxed);
        Ok(())
    }

    /// Makes everything that was put durable and readable through the store.
    pub fn seal(&self) -> Result<()> {
        self.step(|state| self.flush(state))
    }

    /// Returns the packs that this session has written; call it after [`WriteSession::seal`].
    pub fn packs(&self) -> Vec<PackId> {
        self.state().packs.clone()
    }

    /// Removes what it wrote for nothing: on a full disk it must not take space until the next prune. What an index lists by now stays,
    /// and so does everything while others use the store, who may have come to the same packs. Call it last.
    pub(crate) fn take_back(&self) {
        let mut state = self.state();
        state.open = None;
        let sealed = state.uploader.take().map_or(Ok(()), PackUploader::finish);
        // Whatever the thread ended with, what it wrote is looked for.
        drop(sealed);
        if state.fresh.is_empty() || !self.store.is_alone() || self.store.reload_indexes().is_err() {
            return;
        }
        let listed = self.store.listed_packs();
        for pack in state.fresh.drain(..).filter(|pack| listed.binary_search(pack).is_err()) {
            let _ = self.store.storage().remove(&pack_name(&pack));
        }
    }

    pub(crate) fn count_bytes(&self, bytes: u64) {
        self.added_bytes.fetch_add(bytes, Ordering::Relaxed);
    }
}

/// Describes a chunk without bases.
fn whole(id: ChunkId, plain_len: u32, encoded_len: usize, encoding: Encoding) -> Record {
    Record { id, encoded_len: encoded_len as u32, plain_len, encoding, depth: 0, bases: Vec::new() }
}

struct Delta {
    encoded: Vec<u8>,
    depth: u8,
    bases: Vec<ChunkId>,
    rerooted: bool,
}

impl Delta {
    fn is_worth(&self, full_len: usize) -> bool {
        let cost = self.encoded.len() + 64 * self.bases.len();
        if self.rerooted { cost <= full_len / 2 } else { cost < full_len }
    }
}

impl OpenPack {
    fn start(backend: &dyn Backend) -> Result<Self> {
        let out = std::io::BufWriter::with_capacity(256 << 10, backend.temp_object()?);
        let sealed = match backend.keys() {
            Some(keys) => {
                let key = Key::new()?;
                Some((pack::sealed_head(keys, &key)?, key))
            }
            None => None,
        };
        let head = sealed.as_ref().map_or(pack::HEADER.to_vec(), |(head, _)| head.clone());
        let space = backend.space();
        let mut pack = Self { out, hasher: Hasher::new(), space, len: 0, records: Vec::new(), sealed };
        pack.write(&head, backend)?;
        Ok(pack)
    }

    fn write(&mut self, bytes: &[u8], backend: &dyn Backend) -> Result<()> {
        self.space.charge(bytes.len() as u64)?;
        self.hasher.update(bytes);
        self.len += bytes.len() as u64;
        self.out.write_all(bytes).map_err(Error::io("write a pack in", backend.location()))
    }
}

#[cfg(test)]
mod tests;
