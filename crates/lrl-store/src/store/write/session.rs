//! One run's additions to a store: what it knows, its packs, and their index, which are made durable in this order.

use std::collections::{HashMap, HashSet};
use std::io::{self, BufWriter, Write};
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::encode::whole;
use super::trust::Trust;
use crate::backend::{Backend, TempObject};
use crate::budget::{KNOWN_PACKS, MAX_PENDING, PACK_BUFFER_BYTES};
use crate::compression::Encoding;
use crate::crypt::Key;
use crate::error::{Error, Result};
use crate::format::index::Located;
use crate::format::pack::{self, MAX_DEPTH, Record};
use crate::fs::space::SpaceGuard;
use crate::id::{ChunkId, Hasher, PackId};
use crate::store::handle::Store;
use crate::store::index::{Location, MIN_EXPECTED};
use crate::store::names::pack_name;
use crate::store::pack_upload::PackUploader;
use crate::store::repair::lost_chunks::LostChunks;

/// One run's additions to a store. What was not sealed is garbage that nothing refers to.
pub struct WriteSession<'s> {
    store: &'s Store,
    state: Mutex<State>,
    added_bytes: AtomicU64,
    // A `Trust`; it only ever falls.
    trust: AtomicU8,
    lengths: Mutex<HashMap<PackId, u64>>,
    // How many chunks were looked up in the index.
    look_ups: AtomicU64,
    // Names that no new pack may get.
    taken: HashSet<PackId>,
    // If set, nothing but these is stored.
    pub(super) only: Option<&'s LostChunks>,
    healed: AtomicU64,
}

#[derive(Default)]
pub(super) struct State {
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
    out: BufWriter<HashedFile>,
    space: Arc<SpaceGuard>,
    len: u64,
    records: Vec<ChunkId>,
    // In an encrypted store: the head as it was written, and the key of the chunks.
    sealed: Option<(Vec<u8>, Key)>,
}

/// The file of a pack, which is hashed as it is written: in runs as long as the buffer before it, which is several times as fast as chunk by chunk.
struct HashedFile {
    file: TempObject,
    hasher: Hasher,
}

impl Write for HashedFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.file.write(bytes)?;
        self.hasher.update(&bytes[..written]);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
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
            look_ups: AtomicU64::new(0),
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

    pub(super) fn count_healed(&self) {
        self.healed.fetch_add(1, Ordering::Relaxed);
    }

    /// Returns what may be reused unread from here on.
    pub(crate) fn trust(&self) -> Trust {
        Trust::from_u8(self.trust.load(Ordering::Relaxed))
    }

    /// Lowers the trust; a higher one than before changes nothing.
    pub(crate) fn lower_trust(&self, trust: Trust) {
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
    pub(crate) fn store(&self) -> &'s Store {
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
    pub(crate) fn knows(&self, id: &ChunkId) -> Result<bool> {
        if self.state().pending.contains_key(id) {
            return Ok(true);
        }
        // Every so often, as the index files that it writes itself are among those that are asked.
        let look_ups = self.look_ups.fetch_add(1, Ordering::Relaxed) + 1;
        if look_ups.is_multiple_of(MIN_EXPECTED) {
            self.store.expect_chunks(look_ups, false)?;
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
    pub(super) fn read(&self, id: &ChunkId) -> Result<Arc<Vec<u8>>> {
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
    pub(super) fn is_condemned(&self, id: &ChunkId) -> Result<bool> {
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
            let full = open.len >= backend.capabilities().pack_bytes();
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

    /// Runs a step that writes. After one that failed, all others fail as it did.
    pub(super) fn step(&self, act: impl FnOnce(&mut State) -> Result<()>) -> Result<()> {
        let mut state = self.state();
        if let Some(first) = &state.failed {
            return Err(first.again());
        }
        state.failed = Some(Error::Refused("nothing more is stored after a write has failed".into()));
        let done = act(&mut state);
        state.failed = done.as_ref().err().map(Error::again);
        done
    }

    pub(super) fn close_pack(&self, state: &mut State) -> Result<()> {
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
        while is_taken(PackId::from_bytes(open.hasher(&**backend)?.update(&end).finish())) {
            // The very same chunks once more: one that nobody needs makes it another pack.
            let plain = open.hasher(&**backend)?.finish();
            let record = whole(self.store.ids().chunk(&plain), plain.len() as u32, plain.len(), Encoding::Stored);
            open.write(&plain, &**backend)?;
            records.push(record);
            end = tail(&open, &records)?;
        }
        open.write(&end, &**backend)?;
        self.added_bytes.fetch_add(open.len, Ordering::Relaxed);
        let id = PackId::from_bytes(open.hasher(&**backend)?.finish());
        let temp = open.out.into_parts().0.file;
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

impl OpenPack {
    fn start(backend: &dyn Backend) -> Result<Self> {
        let file = HashedFile { file: backend.temp_object()?, hasher: Hasher::new() };
        let out = BufWriter::with_capacity(PACK_BUFFER_BYTES, file);
        let sealed = match backend.keys() {
            Some(keys) => {
                let key = Key::new()?;
                Some((pack::sealed_head(keys, &key)?, key))
            }
            None => None,
        };
        let head = sealed.as_ref().map_or(pack::HEADER.to_vec(), |(head, _)| head.clone());
        let space = backend.space();
        let mut pack = Self { out, space, len: 0, records: Vec::new(), sealed };
        pack.write(&head, backend)?;
        Ok(pack)
    }

    fn write(&mut self, bytes: &[u8], backend: &dyn Backend) -> Result<()> {
        self.space.charge(bytes.len() as u64)?;
        self.len += bytes.len() as u64;
        self.out.write_all(bytes).map_err(Error::io("write a pack in", backend.location()))
    }

    /// Returns the hasher of all that was written so far.
    fn hasher(&mut self, backend: &dyn Backend) -> Result<Hasher> {
        self.out.flush().map_err(Error::io("write a pack in", backend.location()))?;
        Ok(self.out.get_ref().hasher.clone())
    }
}
