//! The store: verified chunks by id, snapshots by name, over any storage. Small outside, deep inside.

pub mod cache;
pub mod drills;
pub mod index;
pub mod session;
pub mod tree;

use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use crate::codec;
use crate::error::{Error, Result};
use crate::format::config::{self, Config};
use crate::format::entry::{Content, Piece};
use crate::format::snapshot::{self, Snapshot};
use crate::id::{ChunkId, PackId, SnapshotId};
use crate::progress::Observer;
use crate::storage::{Guard, LockMode, Source, Storage};
use index::{IndexFile, Place};

/// An open store; holds its lock until it is dropped.
pub struct Store {
    storage: Arc<dyn Storage>,
    config: Config,
    indexes: RwLock<Vec<Arc<IndexFile>>>,
    locked: bool,
    _lock: Option<Box<dyn Guard>>,
}

/// The name of a snapshot's object, taken apart.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct SnapshotName {
    /// The source that it belongs to.
    pub source: String,
    /// Its position there.
    pub sequence: u64,
    /// Its id.
    pub id: SnapshotId,
}

impl SnapshotName {
    /// Returns the object's name.
    pub fn object(&self) -> String {
        format!("snapshots/{}/{:016x}-{}", self.source, self.sequence, self.id)
    }

    fn parse(object: &str) -> Option<Self> {
        let mut parts = object.strip_prefix("snapshots/")?.split('/');
        let (source, file, None) = (parts.next()?, parts.next()?, parts.next()) else { return None };
        let (sequence, id) = file.split_once('-')?;
        let sequence = u64::from_str_radix(sequence, 16).ok().filter(|_| sequence.len() == 16)?;
        Some(Self { source: source.into(), sequence, id: SnapshotId::from_hex(id).ok()? })
    }
}

/// Returns the object's name of a pack.
pub fn pack_name(id: &PackId) -> String {
    let hex = id.to_string();
    format!("packs/{}/{hex}", &hex[..2])
}

/// Says whether a name can be a source's: letters, digits, `-`, `_`, `.`; not empty, not beginning with a dot, at most 64 bytes.
pub fn is_source_name(name: &str) -> bool {
    (1..=64).contains(&name.len())
        && !name.starts_with('.')
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
}

/// Creates a plain store where there is none. `store_id` should be random.
pub fn create(storage: &dyn Storage, store_id: [u8; 32]) -> Result<()> {
    storage.write_new("config", Source::Bytes(&config::encode(&Config::new(store_id))?))
}

/// Says whether there is a store.
pub fn exists(storage: &dyn Storage) -> Result<bool> {
    match storage.len("config") {
        Ok(_) => Ok(true),
        Err(Error::Missing { .. }) => Ok(false),
        Err(e) => Err(e),
    }
}

impl Store {
    /// Opens a store and takes its lock, waiting up to `wait`.
    pub fn open(storage: Arc<dyn Storage>, mode: LockMode, wait: Duration, observer: &dyn Observer) -> Result<Self> {
        let bytes = storage.read("config").map_err(|e| match e {
            Error::Missing { .. } => Error::NoStore { what: "store", path: storage.describe().into() },
            other => other,
        })?;
        let config = config::decode(&bytes, &storage.describe_object("config"))?;
        let lock = storage.lock("lock", mode, wait, &|| observer.interrupted())?;
        let store = Self { storage, config, indexes: RwLock::default(), locked: lock.is_some(), _lock: lock };
        store.reload_indexes()?;
        Ok(store)
    }

    /// Returns the store's config.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Returns the storage below.
    pub fn storage(&self) -> &Arc<dyn Storage> {
        &self.storage
    }

    /// Says whether a lock is held; a store that cannot be written is read without one.
    pub fn is_locked(&self) -> bool {
        self.locked
    }

    /// Returns the open index files.
    pub fn indexes(&self) -> Vec<Arc<IndexFile>> {
        self.indexes.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn reload_indexes(&self) -> Result<()> {
        // A merge in another process may replace files between the listing and the opening: list again.
        for attempt in 0.. {
            let mut names = Vec::new();
            self.storage.list("index", &mut |name, _| {
                names.push(name.to_string());
                Ok(())
            })?;
            let opened: Result<Vec<_>> =
                names.iter().map(|name| IndexFile::open(&*self.storage, name).map(Arc::new)).collect();
            match opened {
                Err(Error::Missing { .. }) if attempt < 10 => {}
                Err(e) => return Err(e),
                Ok(files) => {
                    *self.indexes.write().unwrap_or_else(PoisonError::into_inner) = files;
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    /// Adds an index that was just written; merges the small ones when there are too many.
    pub(crate) fn add_index(&self, file: IndexFile) -> Result<()> {
        let mut files = self.indexes.write().unwrap_or_else(PoisonError::into_inner);
        files.push(Arc::new(file));
        if files.len() <= index::MAX_FILES {
            return Ok(());
        }
        // Merging a file costs its length: take small ones, and a larger one only with as much of others. Total cost stays logarithmic.
        files.sort_by_key(|file| file.records());
        let mut sum = 0;
        let count = files.iter().enumerate().take_while(|(i, file)| {
            let take = *i < index::MAX_FILES / 2 || file.records() <= sum;
            sum += file.records();
            take
        });
        let count = count.count();
        let (merged, _) = index::merge(&*self.storage, &files[..count])?;
        let merged = Arc::new(merged);
        let old: Vec<_> = files.drain(..count).filter(|file| file.name() != merged.name()).collect();
        files.push(merged);
        old.iter().try_for_each(|file| self.storage.remove(file.name()))
    }

    /// Says whether a chunk is in the index.
    pub fn contains(&self, id: &ChunkId) -> Result<bool> {
        Ok(self.locate(id)?.is_some())
    }

    /// Finds one copy of a chunk.
    pub fn locate(&self, id: &ChunkId) -> Result<Option<Place>> {
        for file in self.indexes() {
            if let Some(place) = file.find(&*self.storage, id)? {
                return Ok(Some(place));
            }
        }
        Ok(None)
    }

    /// Reads a chunk, verified against its id. Every copy is tried before giving up.
    pub fn read(&self, id: &ChunkId) -> Result<Vec<u8>> {
        let mut failed = None;
        for file in self.indexes() {
            let Some(place) = file.find(&*self.storage, id)? else { continue };
            match self.read_place(&place, 0) {
                Ok(plain) if ChunkId::of(&plain) == *id => return Ok(plain),
                Ok(_) => failed = Some(Error::corrupt(self.describe_chunk(&place), "its bytes do not match its id")),
                Err(e @ (Error::Corrupt { .. } | Error::Missing { .. })) => failed = Some(e),
                Err(e) => return Err(e),
            }
        }
        Err(failed.unwrap_or_else(|| Error::Missing { object: format!("chunk {id} in {}", self.storage.describe()) }))
    }

    fn describe_chunk(&self, place: &Place) -> String {
        format!("chunk {} in {}", place.record.id, self.storage.describe_object(&pack_name(&place.pack)))
    }

    // Only the final chunk is verified: a wrong base cannot give the right bytes, and hashing every link would cost more than decoding.
    fn read_place(&self, place: &Place, below: u8) -> Result<Vec<u8>> {
        let record = &place.record;
        let object = self.describe_chunk(place);
        if below > crate::format::pack::MAX_DEPTH {
            return Err(Error::corrupt(object, "its chain of bases is too long"));
        }
        let encoded = self.storage.read_range(&pack_name(&place.pack), place.offset, record.encoded_len as usize)?;
        let mut bases = Vec::with_capacity(record.bases.len());
        for base in &record.bases {
            let place = self
                .locate(base)?
                .ok_or_else(|| Error::Missing { object: format!("chunk {base}, a base of {object}") })?;
            bases.push(self.read_place(&place, below + 1)?);
        }
        let bases: Vec<&[u8]> = bases.iter().map(Vec::as_slice).collect();
        codec::decode(record.encoding, encoded, record.plain_len as usize, &bases, &object)
    }

    /// Feeds `len` bytes of a content from `offset` on to `sink`, verified, in order; holes as zeros.
    pub fn read_content(
        &self,
        content: &Content,
        mut offset: u64,
        mut len: u64,
        sink: &mut dyn FnMut(&[u8]) -> Result<()>,
    ) -> Result<()> {
        static ZEROS: [u8; 64 << 10] = [0; 64 << 10];
        self.each_piece(content, offset, &mut |at, piece| {
            if len == 0 {
                return Ok(false);
            }
            let skip = offset - at;
            let take = (piece.len() - skip).min(len);
            match piece {
                Piece::Data { id, len: stated } => {
                    let plain = self.read(&id)?;
                    if plain.len() as u64 != stated {
                        return Err(Error::corrupt(format!("chunk {id}"), "has another length than its list says"));
                    }
                    sink(&plain[skip as usize..(skip + take) as usize])?;
                }
                Piece::Hole { .. } => {
                    let mut left = take;
                    while left > 0 {
                        let now = left.min(ZEROS.len() as u64);
                        sink(&ZEROS[..now as usize])?;
                        left -= now;
                    }
                }
            }
            offset += take;
            len -= take;
            Ok(len > 0)
        })?;
        if len == 0 { Ok(()) } else { Err(Error::corrupt("a list of pieces", "ends before its file does")) }
    }

    /// Calls `visit` with each piece that ends after `from`, and its offset, until it returns false.
    pub fn each_piece(
        &self,
        content: &Content,
        from: u64,
        visit: &mut dyn FnMut(u64, Piece) -> Result<bool>,
    ) -> Result<()> {
        let mut at = 0;
        match content {
            Content::Inline(pieces) => {
                for piece in pieces {
                    let next = at + piece.len();
                    if next > from && !visit(at, *piece)? {
                        break;
                    }
                    at = next;
                }
            }
            Content::Tree(root) => {
                let (mut pieces, start) = tree::Items::<Piece>::from_weight(self, root, from)?;
                at = start;
                while let Some(piece) = pieces.next().transpose()? {
                    let next = at
                        .checked_add(piece.len())
                        .ok_or_else(|| Error::corrupt("a list of pieces", "is impossibly long"))?;
                    if next > from && !visit(at, piece)? {
                        break;
                    }
                    at = next;
                }
            }
        }
        Ok(())
    }

    /// Lists the names of snapshots, by source and sequence.
    pub fn snapshot_names(&self, source: Option<&str>) -> Result<Vec<SnapshotName>> {
        let mut names = Vec::new();
        let prefix = source.map_or_else(|| "snapshots".into(), |source| format!("snapshots/{source}"));
        self.storage.list(&prefix, &mut |name, _| {
            names.extend(SnapshotName::parse(name));
            Ok(())
        })?;
        names.sort();
        Ok(names)
    }

    /// Reads one snapshot, verified against its name.
    pub fn snapshot(&self, name: &SnapshotName) -> Result<Snapshot> {
        let object = name.object();
        let found = snapshot::decode(&self.storage.read(&object)?, &name.id, &self.storage.describe_object(&object))?;
        if found.source != name.source || found.sequence != name.sequence {
            return Err(Error::corrupt(self.storage.describe_object(&object), "stands under another snapshot's name"));
        }
        Ok(found)
    }

    /// Writes a snapshot: from here on it is listed, and all that it names must be durable already.
    pub(crate) fn publish(&self, snapshot: &Snapshot) -> Result<(SnapshotName, u64)> {
        let (id, bytes) = snapshot::encode(snapshot)?;
        let name = SnapshotName { source: snapshot.source.clone(), sequence: snapshot.sequence, id };
        self.storage.write_new(&name.object(), Source::Bytes(&bytes))?;
        Ok((name, bytes.len() as u64))
    }
}
