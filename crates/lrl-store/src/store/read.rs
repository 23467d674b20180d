//! Reading: chunks by id, verified, from whichever copy is whole; contents as runs of bytes. Fast where nothing is damaged; where
//! something is, every copy of every base is tried before giving up.

use std::collections::HashMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};

use super::handle::Store;
use super::index::{self, ChunkCopy, Location};
use super::local_bases::LocalBases;
use super::names::pack_name;
use super::repair::pack_scan::PackScan;
use crate::budget::PACK_KEYS;
use crate::compression;
use crate::crypt::{Key, Keys};
use crate::error::{Error, Result};
use crate::format::pack::{self, MAX_DEPTH};
use crate::id::{ChunkId, PackId};

/// Which packs are asked.
#[derive(Clone, Copy, PartialEq, Eq)]
enum From {
    /// Those that an index lists.
    Listed,
    /// All that are there.
    AnyPack,
}

impl Store {
    /// Finds one copy of a chunk. A damaged part of an index counts as one that does not list it.
    #[doc(hidden)]
    pub fn locate(&self, id: &ChunkId) -> Result<Option<Location>> {
        Ok(self.first_copy(id)?.map(|copy| copy.place))
    }

    /// Finds the copy of a chunk that is read first.
    pub(crate) fn first_copy(&self, id: &ChunkId) -> Result<Option<ChunkCopy>> {
        for attempt in 0.. {
            let mut vanished = None;
            let files = self.indexes();
            let last = self.last_hit.load(Ordering::Relaxed);
            for (n, file) in files.iter().enumerate().cycle().skip(last).take(files.len()) {
                match file.find(&**self.storage(), id) {
                    Ok(Some(copy)) => {
                        self.last_hit.store(n, Ordering::Relaxed);
                        return Ok(Some(copy));
                    }
                    Ok(None) | Err(Error::Corrupt { .. }) => {}
                    Err(e @ Error::Missing { .. }) => vanished = Some(e),
                    Err(e) => return Err(e),
                }
            }
            match vanished {
                None => break,
                // Another process has merged it into a new one.
                Some(_) if attempt < 3 => self.reload_indexes()?,
                Some(e) => return Err(e),
            }
        }
        match self.loaded_pack_scan() {
            Some(pack_scan) => Ok(pack_scan.find(id)?.into_iter().next()),
            None => Ok(None),
        }
    }

    /// Finds a copy that an index lists.
    pub(crate) fn listed_copy(&self, id: &ChunkId) -> Result<Option<ChunkCopy>> {
        Ok(self.first_copy(id)?.filter(|copy| !copy.slot.is_pack_scan()))
    }

    /// Finds every copy of a chunk.
    pub(crate) fn copies(&self, id: &ChunkId) -> Result<Vec<ChunkCopy>> {
        let mut copies = Vec::new();
        for attempt in 0.. {
            copies.clear();
            let mut vanished = false;
            for file in self.indexes() {
                match file.find_all(&**self.storage(), id) {
                    Ok(found) => copies.extend(found),
                    Err(Error::Missing { .. }) => vanished = true,
                    Err(Error::Corrupt { .. }) => {}
                    Err(e) => return Err(e),
                }
            }
            if !vanished || attempt == 3 {
                break;
            }
            self.reload_indexes()?;
        }
        if let Some(pack_scan) = self.loaded_pack_scan() {
            copies.extend(pack_scan.find(id)?);
        }
        Ok(copies)
    }

    /// Calls `visit` with all copies of every chunk that the index files list, in order of ids.
    pub(crate) fn each_chunk(&self, visit: &mut dyn FnMut(&[ChunkCopy]) -> Result<()>) -> Result<()> {
        let files = self.indexes();
        index::groups(&**self.storage(), &files).try_for_each(|group| visit(&group?))
    }

    fn loaded_pack_scan(&self) -> Option<Arc<PackScan>> {
        self.pack_scan.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Reads the directories of all packs that no sound index lists, once; what they hold is found from here on.
    pub(crate) fn pack_scan(&self) -> Result<Arc<PackScan>> {
        let mut made = self.pack_scan.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(pack_scan) = &*made {
            return Ok(Arc::clone(pack_scan));
        }
        // An index with a damaged block is still asked, but no longer trusted to list all of its packs' chunks.
        let files = self.indexes();
        let sound = files.iter().filter(|file| file.verify(&**self.storage()).is_ok());
        let listed = sound.flat_map(|file| file.packs().iter().copied()).collect();
        let pack_scan = Arc::new(PackScan::build(&**self.storage(), &listed)?);
        Ok(Arc::clone(made.insert(pack_scan)))
    }

    /// Reads a chunk, verified against its id. Every copy is tried before giving up.
    #[doc(hidden)]
    pub fn read(&self, id: &ChunkId) -> Result<Vec<u8>> {
        self.read_from(id, From::AnyPack)
    }

    /// Reads a chunk from its first copy without comparing it with its id: for what may be wrong.
    pub(crate) fn read_unverified(&self, id: &ChunkId) -> Result<Vec<u8>> {
        if let Some(plain) = self.read_local_base(id) {
            return Ok(plain);
        }
        let missing = || Error::Missing { object: format!("chunk {id} in {}", self.storage().location()) };
        self.decode(&self.locate(id)?.ok_or_else(missing)?, 0)
    }

    /// Reads a node of a list, verified. Every backup reads the lists, so their nodes are cached locally.
    pub(crate) fn read_node(&self, id: &ChunkId) -> Result<Vec<u8>> {
        if let Some(node) = self.cached_node(id) {
            return Ok(node);
        }
        let node = self.read(id)?;
        self.cache_node(id, &node);
        Ok(node)
    }

    pub(crate) fn cache_node(&self, id: &ChunkId, node: &[u8]) {
        if self.caches_nodes() {
            self.storage().cache_put(&id.to_string(), node);
        }
    }

    /// Reading a node again would be a request, or cannot be.
    fn caches_nodes(&self) -> bool {
        self.storage().capabilities().cost_per_request || !self.can_read()
    }

    fn cached_node(&self, id: &ChunkId) -> Option<Vec<u8>> {
        let kept = self.caches_nodes().then(|| self.storage().cache_get(&id.to_string())).flatten();
        kept.filter(|node| self.ids().chunk(node) == *id)
    }

    /// Reads a chunk as [`Store::read`] does, but it and its bases only from where an index lists them. What is new may depend on such chunks
    /// alone: in a pack that no index lists a dead run may have left its bytes, and nothing says that they are durable.
    pub(crate) fn read_listed(&self, id: &ChunkId) -> Result<Arc<Vec<u8>>> {
        let may_be_cached = self.loaded_pack_scan().is_none();
        let kept = may_be_cached.then(|| self.bases.get_verified(id, self.ids())).flatten();
        if let Some(plain) = kept {
            return Ok(plain);
        }
        let local_bases = if self.listed_copy(id)?.is_some() { self.cached_node(id) } else { None };
        let plain = Arc::new(local_bases.map_or_else(|| self.read_from(id, From::Listed), Ok)?);
        self.bases.keep_verified(id, &plain);
        Ok(plain)
    }

    /// Sets the local delta bases.
    pub(crate) fn set_local_bases(&self, local_bases: LocalBases) {
        *self.local_bases.write().unwrap_or_else(PoisonError::into_inner) = Some(local_bases);
    }

    /// Reads a chunk from the local delta bases, verified; only where the store itself cannot be read.
    fn read_local_base(&self, id: &ChunkId) -> Option<Vec<u8>> {
        if self.can_read() {
            return None;
        }
        let local_bases = self.local_bases.read().unwrap_or_else(PoisonError::into_inner);
        local_bases.as_ref()?.read(id).filter(|plain| self.ids.chunk(plain) == *id)
    }

    fn read_from(&self, id: &ChunkId, from: From) -> Result<Vec<u8>> {
        if let Some(plain) = self.read_local_base(id) {
            return Ok(plain);
        }
        let first = self.locate(id).and_then(|place| place.map(|place| self.decode(&place, 0)).transpose());
        // Once packs outside the index are looked at, the first copy may come from one.
        let counts = from == From::AnyPack || self.loaded_pack_scan().is_none();
        match first {
            Ok(Some(plain)) if counts && self.ids().chunk(&plain) == *id => Ok(plain),
            Err(e) if e.is_final() => Err(e),
            // The damage may be in a locally cached copy.
            _ if self.storage().cache_clear() => self.read_from(id, from),
            _ => self.read_any(id, 0, from),
        }
    }

    /// Reads a chunk, it and all that it depends on verified and in the index: slower, and proof that a snapshot may rely on it.
    pub(crate) fn read_with_bases(&self, id: &ChunkId) -> Result<Vec<u8>> {
        self.read_any(id, 0, From::Listed)
    }

    /// Reads a chunk from the first copy that is whole.
    fn read_any(&self, id: &ChunkId, below: u8, from: From) -> Result<Vec<u8>> {
        let mut failed = None;
        let mut tried = Vec::new();
        for last_resort in [false, true] {
            match (last_resort, from) {
                (true, From::Listed) => break,
                (true, From::AnyPack) => drop(self.pack_scan()?),
                (false, _) => {}
            }
            for copy in self.copies(id)? {
                if tried.contains(&copy.slot) || copy.slot.is_pack_scan() && from == From::Listed {
                    continue;
                }
                tried.push(copy.slot);
                match self.read_at(&copy.place, below, from) {
                    Err(e) if e.is_final() => return Err(e),
                    Err(e) => failed = failed.or(Some(e)),
                    plain => return plain,
                }
            }
        }
        Err(failed.unwrap_or_else(|| Error::Missing { object: format!("chunk {id} in {}", self.storage().location()) }))
    }

    /// Reads one copy of a chunk, verified; its bases from whichever copies of them are whole.
    pub(crate) fn read_copy(&self, place: &Location) -> Result<Vec<u8>> {
        match self.decode(place, 0) {
            Ok(plain) if self.ids().chunk(&plain) == place.record.id => Ok(plain),
            Err(e) if place.record.bases.is_empty() => Err(e),
            _ => self.read_at(place, 0, From::AnyPack),
        }
    }

    fn read_at(&self, place: &Location, below: u8, from: From) -> Result<Vec<u8>> {
        let object = self.describe_chunk(place);
        if below > MAX_DEPTH {
            return Err(Error::corrupt(object, "its chain of bases is too long"));
        }
        let bases = place.record.bases.iter().map(|base| self.read_any(base, below + 1, from).map(Arc::new));
        let bases = bases.collect::<Result<Vec<_>>>();
        let plain = self.decode_over(place, &bases?, &object)?;
        if self.ids().chunk(&plain) == place.record.id {
            Ok(plain)
        } else {
            Err(Error::corrupt(object, "its bytes do not match its id"))
        }
    }

    // Only the final chunk is verified: bytes of a wrong base that are used cannot give the right ones, and hashing every link would cost
    // more than decoding.
    fn decode(&self, place: &Location, below: u8) -> Result<Vec<u8>> {
        let object = self.describe_chunk(place);
        if below > MAX_DEPTH {
            return Err(Error::corrupt(object, "its chain of bases is too long"));
        }
        let mut bases = Vec::with_capacity(place.record.bases.len());
        for base in &place.record.bases {
            bases.push(match self.bases.get(base) {
                Some(plain) => plain,
                None => {
                    let place = self
                        .locate(base)?
                        .ok_or_else(|| Error::Missing { object: format!("chunk {base}, a base of {object}") })?;
                    let plain = Arc::new(self.decode(&place, below + 1)?);
                    self.bases.keep(base, &plain);
                    plain
                }
            });
        }
        self.decode_over(place, &bases, &object)
    }

    fn decode_over(&self, place: &Location, bases: &[Arc<Vec<u8>>], object: &str) -> Result<Vec<u8>> {
        let record = &place.record;
        let encoded = self.read_encoded(place)?;
        let bases: Vec<&[u8]> = bases.iter().map(|base| base.as_slice()).collect();
        compression::decode(record.encoding, encoded, record.plain_len as usize, &bases, object)
    }

    /// Reads a chunk's bytes as they were encoded, unsealed in an encrypted store.
    pub(crate) fn read_encoded(&self, place: &Location) -> Result<Vec<u8>> {
        let name = pack_name(&place.pack);
        let bytes = self.storage().read_range(&name, place.offset, place.record.encoded_len as usize)?;
        let Some(keys) = self.storage().keys() else { return Ok(bytes) };
        let key = self.pack_key(keys, &place.pack)?;
        pack::open_chunk(keys, &key, place.offset, &place.record, bytes, &self.describe_chunk(place))
    }

    /// Returns the key of a pack's chunks.
    fn pack_key(&self, keys: &Keys, id: &PackId) -> Result<Key> {
        let known = |keys: &HashMap<PackId, Key>| keys.get(id).cloned();
        if let Some(key) = known(&self.pack_keys.lock().unwrap_or_else(PoisonError::into_inner)) {
            return Ok(key);
        }
        let name = pack_name(id);
        let head = self.storage().read_range(&name, 0, pack::head_len(Some(keys)))?;
        let key = pack::open_head(keys, &head, &self.storage().object_location(&name))?;
        self.keep_pack_key(id, &key);
        Ok(key)
    }

    /// Remembers a pack's key; without the private key it is the only way to read what this run stored.
    pub(crate) fn keep_pack_key(&self, id: &PackId, key: &Key) {
        let mut kept = self.pack_keys.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() >= PACK_KEYS && self.storage().keys().is_some_and(Keys::can_read) {
            kept.clear();
        }
        kept.insert(*id, key.clone());
    }

    fn describe_chunk(&self, place: &Location) -> String {
        format!("chunk {} in {}", place.record.id, self.storage().object_location(&pack_name(&place.pack)))
    }
}
