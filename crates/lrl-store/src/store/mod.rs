//! The store: verified chunks by id, snapshots by name, over any storage. Small outside, deep inside.

pub mod check_records;
mod chunk_cache;
pub(crate) mod chunk_set;
pub mod deletion;
pub mod drill_records;
pub mod index;
pub mod key_slots;
pub(crate) mod local_bases;
pub mod open;
pub(crate) mod prefetch;
mod read;
pub mod repair;
pub mod run_cache;
pub mod tree;
mod upload;
pub mod write;

use std::collections::HashMap;
use std::fmt;
use std::path::Path;
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use crate::backend::{Backend, MOST_WHOLE_BYTES, Payload, collect};
use crate::chunk::Gear;
use crate::crypt::{Key, Keys};
use crate::error::{Error, Result};
use crate::format::config::{self, Config};
use crate::format::snapshot::{self, Snapshot};
use crate::fs::lock::{Guard, LockMode};
use crate::fs::space::{GuardedDir, Reserve, SpaceGuard};
use crate::id::{Ids, PackId, SnapshotId};
use crate::progress::Observer;
use index::{ChunkCopy, IndexFile};
use repair::pack_scan::PackScan;

pub(crate) use repair::missing_packs::MissingPacks;
pub(crate) use repair::pack_scan::{damaged_directory, directory as pack_directory, pack_id};

/// An open store; holds its lock until it is dropped.
pub struct Store {
    storage: Arc<dyn Backend>,
    config: Config,
    ids: Ids,
    gear: Gear,
    indexes: RwLock<Vec<Arc<IndexFile>>>,
    // The index file that gave the last answer: what was stored together is looked up together.
    last_hit: AtomicUsize,
    bases: chunk_cache::ChunkCache,
    damaged: RwLock<Vec<DamagedIndex>>,
    salvage: RwLock<Option<Arc<PackScan>>>,
    near: RwLock<Option<local_bases::LocalBases>>,
    // Of packs in an encrypted store.
    pack_keys: Mutex<HashMap<PackId, Key>>,
    candidates: RwLock<Option<Arc<deletion::pending::PendingDeletions>>>,
    stopwatch: deletion::pending::Stopwatch,
    lock: Option<Box<dyn Guard>>,
}

/// An index file that is not believed: what its packs hold is read from the packs themselves where nothing else lists it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DamagedIndex {
    /// The object's name.
    pub name: String,
    /// What is wrong, for people, with its path.
    pub reason: String,
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

impl fmt::Display for SnapshotName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} ({})", self.source, self.sequence, self.id.short())
    }
}

/// No source comes to so many snapshots: who gave a higher number wanted to leave none for later ones, so it is none.
pub const LAST_SEQUENCE: u64 = 1 << 48;
/// How far the next number may be from the one before, and still count as the highest when the numbers are used up.
const FARTHEST: u64 = 1 << 32;

/// Returns the highest of a source's numbers, in order, that leaves one for the next snapshot: beside [`LAST_SEQUENCE`] itself, that
/// of the last snapshot before a gap that no history has.
pub(crate) fn highest_of(sequences: impl Iterator<Item = u64>) -> u64 {
    let (mut highest, mut near) = (0, 0);
    for sequence in sequences.filter(|n| *n <= LAST_SEQUENCE) {
        highest = sequence.max(highest);
        if sequence.saturating_sub(near) <= FARTHEST {
            near = sequence.max(near);
        }
    }
    if highest < LAST_SEQUENCE { highest } else { near.min(LAST_SEQUENCE - 1) }
}

impl SnapshotName {
    /// Returns the object's name.
    pub fn object(&self) -> String {
        format!("snapshots/{}/{:016x}-{}", self.source, self.sequence, self.id)
    }

    /// Takes an object's name apart; `None` for what is no snapshot's name.
    pub(crate) fn parse(object: &str) -> Option<Self> {
        let mut parts = object.strip_prefix("snapshots/")?.split('/');
        let (source, file, None) = (parts.next()?, parts.next()?, parts.next()) else { return None };
        let (sequence, id) = file.split_once('-')?;
        let is_number = sequence.len() == 16 && sequence.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        let sequence = u64::from_str_radix(sequence, 16).ok().filter(|n| is_number && *n <= LAST_SEQUENCE)?;
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

/// Creates a store where there is none: a plain one, unless the storage has keys. `store_id` should be random.
pub fn create(storage: &dyn Backend, store_id: [u8; 32]) -> Result<()> {
    let config = if storage.keys().is_some() { Config::encrypted(store_id) } else { Config::new(store_id) };
    storage.put("config", Payload::Bytes(&config::encode(&config)?))
}

/// Says whether there is a store.
pub fn exists(storage: &dyn Backend) -> Result<bool> {
    match storage.len("config") {
        Ok(_) => Ok(true),
        Err(Error::Missing { .. }) => Ok(false),
        Err(e) => Err(e),
    }
}

/// What [`Error::NoStore`] says is missing where all else of a store is there.
pub const CONFIG: &str = "config in the store";

fn has_snapshots(storage: &dyn Backend) -> bool {
    let mut objects = 0;
    let listed = storage.list("snapshots", &mut |_, _| {
        objects += 1;
        Ok(())
    });
    listed.is_ok() && objects > 0
}

fn read_config(storage: &dyn Backend) -> Result<Config> {
    let bytes = storage.read("config").map_err(|e| match e {
        Error::Missing { .. } => Error::NoStore { what: "store", path: storage.location().into() },
        other => other,
    })?;
    config::decode(&bytes, &storage.object_location("config"))
}

impl Store {
    /// Opens a store and takes its lock, waiting up to `wait`. Damaged index files do not keep it shut: see [`Store::damaged_indexes`].
    pub fn open(storage: Arc<dyn Backend>, mode: LockMode, wait: Duration, observer: &dyn Observer) -> Result<Self> {
        let config = read_config(&*storage).map_err(|error| match error {
            // Where snapshots are, there is a store: what it lacks can be made again.
            Error::NoStore { path, .. } if has_snapshots(&*storage) => Error::NoStore { what: CONFIG, path },
            error => error,
        })?;
        if config.is_encrypted() != storage.keys().is_some() {
            return Err(match config.is_encrypted() {
                true => Error::WrongKey { store: storage.location(), reason: "no key was given".into() },
                false => key_slots::not_encrypted(&storage.location()),
            });
        }
        Self::open_with(storage, config, mode, wait, observer)
    }

    /// Opens a store for examining it, even where its config is damaged or gone; also returns why.
    pub fn examine(
        storage: Arc<dyn Backend>,
        mode: LockMode,
        wait: Duration,
        observer: &dyn Observer,
    ) -> Result<(Self, Option<Error>)> {
        let (config, error) = match read_config(&*storage) {
            Ok(config) => (config, None),
            Err(error @ Error::Corrupt { .. }) => (Config::new([0; 32]), Some(error)),
            Err(Error::NoStore { .. }) if has_snapshots(&*storage) => {
                (Config::new([0; 32]), Some(Error::Missing { object: storage.object_location("config") }))
            }
            Err(error) => return Err(error),
        };
        let store = Self::open_with(storage, config, mode, wait, observer)?;
        store.check_readable()?;
        Ok((store, error))
    }

    fn open_with(
        storage: Arc<dyn Backend>,
        config: Config,
        mode: LockMode,
        wait: Duration,
        observer: &dyn Observer,
    ) -> Result<Self> {
        let ids = storage.keys().map(Keys::ids).unwrap_or_default();
        let gear = storage.keys().map(|keys| Gear::keyed(keys.gear())).unwrap_or_default();
        let lock = storage.lock("lock", mode, wait, &|| observer.interrupted())?;
        let store = Self {
            storage,
            config,
            ids,
            gear,
            indexes: RwLock::default(),
            last_hit: AtomicUsize::default(),
            bases: chunk_cache::ChunkCache::default(),
            damaged: RwLock::default(),
            salvage: RwLock::default(),
            near: RwLock::default(),
            pack_keys: Mutex::default(),
            candidates: RwLock::default(),
            stopwatch: Arc::new(deletion::pending::stopwatch),
            lock,
        };
        store.reload_indexes()?;
        Ok(store)
    }

    /// Names chunks and documents by other ids than its config says: what a store with a key of its own does.
    #[cfg(test)]
    pub(crate) fn named_by(mut self, ids: Ids) -> Self {
        self.ids = ids;
        self
    }

    /// Returns the store's config.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Returns how its chunks and documents are named.
    pub fn ids(&self) -> &Ids {
        &self.ids
    }

    /// Returns how contents are cut.
    pub fn gear(&self) -> &Gear {
        &self.gear
    }

    /// Returns the storage below.
    pub fn storage(&self) -> &Arc<dyn Backend> {
        &self.storage
    }

    /// Guards a directory's disk: by the storage's own guard where that is the same disk.
    pub(crate) fn target<'a>(&self, dir: &'a Path, reserve: Reserve) -> Result<GuardedDir<'a>> {
        let room = self.storage.space();
        let room = if room.guards(dir) { room } else { Arc::new(SpaceGuard::open(dir, reserve)?) };
        Ok(GuardedDir { dir, room })
    }

    /// Makes the lock exclusive if nobody else uses the store, and says whether it did. Nothing but removing may follow: a lock that
    /// cannot be made so may be lost.
    pub(crate) fn is_alone(&self) -> bool {
        self.lock.as_ref().is_some_and(|lock| lock.make_exclusive())
    }

    /// Says whether a lock is held; a store that cannot be written is read without one.
    pub fn is_locked(&self) -> bool {
        self.lock.is_some()
    }

    /// Says whether it is known that nothing can be written. A bucket has no locks, and says itself what it takes.
    pub fn is_read_only(&self) -> bool {
        self.lock.is_none() && !self.storage.is_remote()
    }

    /// Returns the open index files.
    pub fn indexes(&self) -> Vec<Arc<IndexFile>> {
        self.indexes.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Returns the index files that are not believed.
    pub fn damaged_indexes(&self) -> Vec<DamagedIndex> {
        self.damaged.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Looks again which index files there are.
    pub(crate) fn reload_indexes(&self) -> Result<()> {
        // A merge in another process may replace files between the listing and the opening: list again.
        for attempt in 0.. {
            let names = self.index_names()?;
            let (mut files, mut damaged, mut vanished) = (Vec::new(), Vec::new(), None);
            for name in names {
                let opened = match IndexFile::open(&*self.storage, &name) {
                    // The damage may be in a copy near at hand.
                    Err(Error::Corrupt { .. }) if self.storage.cache_clear() => IndexFile::open(&*self.storage, &name),
                    opened => opened,
                };
                match opened {
                    Ok(file) => files.push(Arc::new(file)),
                    Err(e @ Error::Corrupt { .. }) => damaged.push(DamagedIndex { name, reason: e.to_string() }),
                    Err(e @ Error::Missing { .. }) => vanished = Some(e),
                    Err(e) => return Err(e),
                }
            }
            match vanished {
                Some(_) if attempt < 10 => continue,
                Some(e) => return Err(e),
                None => {}
            }
            files.iter().for_each(|file| file.keep_blocks(index::SHARED_BLOCKS / files.len()));
            *self.indexes.write().unwrap_or_else(PoisonError::into_inner) = files;
            *self.damaged.write().unwrap_or_else(PoisonError::into_inner) = damaged;
            break;
        }
        Ok(())
    }

    /// Reads every index file whole; those that are damaged are not believed from here on.
    pub(crate) fn verify_indexes(&self, observer: &dyn Observer) -> Result<()> {
        let (mut good, mut bad) = (Vec::new(), Vec::new());
        for file in self.indexes() {
            crate::progress::checkpoint(observer)?;
            match file.verify(&*self.storage) {
                Ok(()) => good.push(file),
                Err(e @ (Error::Corrupt { .. } | Error::Io { .. })) => {
                    bad.push(DamagedIndex { name: file.name().into(), reason: e.to_string() });
                }
                Err(e) => return Err(e),
            }
        }
        *self.indexes.write().unwrap_or_else(PoisonError::into_inner) = good;
        self.damaged.write().unwrap_or_else(PoisonError::into_inner).extend(bad);
        Ok(())
    }

    /// Adds an index that was just written; merges the small ones when there are too many.
    pub(crate) fn add_index(&self, file: IndexFile) -> Result<()> {
        let mut files = self.indexes.write().unwrap_or_else(PoisonError::into_inner);
        files.push(Arc::new(file));
        // Merging removes what was merged, and who only writes removes nothing.
        if files.len() <= index::MAX_FILES || !self.can_read() {
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
        let merged = match index::merge(&*self.storage, &files[..count]) {
            Ok((merged, _)) => Arc::new(merged),
            // A rewrite of a damaged index would lose what it still says.
            Err(Error::Corrupt { .. }) => return Ok(()),
            // Another process has merged some of them meanwhile. What this run added is durable already.
            Err(Error::Missing { .. }) => {
                drop(files);
                return self.reload_indexes();
            }
            Err(e) => return Err(e),
        };
        let old: Vec<_> = files.drain(..count).filter(|file| file.name() != merged.name()).collect();
        files.push(merged);
        old.iter().try_for_each(|file| self.storage.remove(file.name()))
    }

    /// Writes one index of what `keep` leaves of each chunk's copies, in `packs`; then removes all other index files, durably. A failure
    /// before that changes nothing. Where it is known how many records there must be, another number is a failure.
    pub(crate) fn replace_indexes(
        &self,
        packs: Vec<PackId>,
        records: Option<u64>,
        keep: &mut dyn FnMut(&mut Vec<ChunkCopy>) -> Result<()>,
    ) -> Result<()> {
        self.check_writable()?;
        let old = self.indexes();
        let mut files = Vec::new();
        if !packs.is_empty() {
            let (new, _) = index::select(&*self.storage, &old, packs, keep)?;
            // The old ones go for good: what is said in their place is read back first.
            new.verify(&*self.storage)?;
            if records.is_some_and(|records| new.records() != records) {
                return Err(Error::corrupt(
                    self.storage.object_location(new.name()),
                    "does not list all that it should",
                ));
            }
            files.push(Arc::new(new));
        }
        *self.indexes.write().unwrap_or_else(PoisonError::into_inner) = files.clone();
        *self.salvage.write().unwrap_or_else(PoisonError::into_inner) = None;
        for file in old.iter().filter(|file| files.iter().all(|new| new.name() != file.name())) {
            self.storage.remove(file.name())?;
        }
        self.storage.sync("index")
    }

    /// Gives the cache's room back: on a full disk it is room that costs only time.
    pub(crate) fn drop_cache(&self) {
        if let Some(dir) = self.storage.cache_dir() {
            let _ = std::fs::remove_dir_all(dir);
        }
    }

    /// Lists the names of snapshots, by source and sequence.
    pub fn snapshot_names(&self, source: Option<&str>) -> Result<Vec<SnapshotName>> {
        let prefix = source.map_or_else(|| "snapshots".into(), |source| format!("snapshots/{source}"));
        let mut names = collect(&*self.storage, &prefix, SnapshotName::parse)?;
        names.sort();
        Ok(names)
    }

    /// Lists the newest snapshots of a source: all of them, or from one that an earlier run saw.
    pub(crate) fn newest_snapshot_names(&self, source: &str) -> Result<Vec<SnapshotName>> {
        let mut names = Vec::new();
        self.storage.list_newest(&format!("snapshots/{source}"), &mut |name, _| {
            names.extend(SnapshotName::parse(name));
            Ok(())
        })?;
        names.sort();
        // From a number that nobody counts up to the listing shows nothing of the history before it.
        match names.first() {
            Some(first) if first.sequence > FARTHEST => self.snapshot_names(Some(source)),
            _ => Ok(names),
        }
    }

    /// Reads one snapshot, verified against its name.
    pub fn snapshot(&self, name: &SnapshotName) -> Result<Snapshot> {
        let object = name.object();
        let read = || {
            snapshot::decode(&self.storage.read(&object)?, &name.id, &self.ids, &self.storage.object_location(&object))
        };
        let found = match read() {
            Err(Error::Corrupt { .. }) if self.storage.cache_clear() => read()?,
            // Who only writes has kept its own.
            Err(error @ Error::WriteOnly { .. }) => {
                let kept = self.storage.cache_get(&name.id.to_string()).ok_or(error)?;
                snapshot::decode(&kept, &name.id, &self.ids, &self.storage.object_location(&object))?
            }
            found => found?,
        };
        if found.source != name.source || found.sequence != name.sequence {
            return Err(Error::corrupt(self.storage.object_location(&object), "stands under another snapshot's name"));
        }
        Ok(found)
    }

    /// Fails where the store has a feature that a writer must know and this build does not.
    pub(crate) fn check_writable(&self) -> Result<()> {
        match self.config.must_know_to_write.first() {
            None => Ok(()),
            Some(feature) => {
                Err(Error::Unsupported { what: format!("writing to a store with the feature `{feature}`") })
            }
        }
    }

    /// Fails for a key that only writes: it knows too little to remove or to judge anything.
    pub fn check_readable(&self) -> Result<()> {
        if self.can_read() { Ok(()) } else { Err(Error::WriteOnly { object: self.storage.location() }) }
    }

    /// Removes a snapshot's document; what it alone reaches is garbage from here on.
    pub fn forget(&self, name: &SnapshotName) -> Result<()> {
        self.check_writable()?;
        self.check_readable()?;
        self.storage.remove(&name.object())
    }

    /// Writes a snapshot: from here on it is listed, and all that it names must be durable already. It says itself what it does not lean on.
    pub fn publish(&self, snapshot: &Snapshot) -> Result<(SnapshotName, u64)> {
        self.check_writable()?;
        self.refuse_late(snapshot)?;
        let avoids = self.pending_deletions()?.documents.iter().map(|(id, _)| *id).collect();
        let snapshot = &Snapshot { avoids, ..snapshot.clone() };
        let (id, bytes) = snapshot::encode(snapshot, &self.ids)?;
        if bytes.len() as u64 > MOST_WHOLE_BYTES {
            return Err(Error::Refused(format!(
                "the snapshot's document would have {} bytes: too many to be read again",
                bytes.len()
            )));
        }
        let name = SnapshotName { source: snapshot.source.clone(), sequence: snapshot.sequence, id };
        self.storage.put(&name.object(), Payload::Bytes(&bytes))?;
        // The machine may have slept between the look and the write.
        if let Err(error) = self.refuse_late(snapshot) {
            // Who only writes removes nothing: then a check says what the snapshot lacks, if anything.
            if self.can_read() {
                self.storage.remove(&name.object())?;
            }
            return Err(error);
        }
        if !self.can_read() {
            self.storage.cache_put(&name.id.to_string(), &bytes);
        }
        Ok((name, bytes.len() as u64))
    }
}

#[cfg(test)]
mod tests {
    use super::{LAST_SEQUENCE, SnapshotName, highest_of, is_source_name};

    #[test]
    fn a_number_that_leaves_none_for_later_ones_is_no_snapshots() {
        let id = "0".repeat(64);
        let parse =
            |number: &str| SnapshotName::parse(&format!("snapshots/lab/{number}-{id}")).map(|name| name.sequence);
        assert_eq!(parse("000000000000002a"), Some(42));
        assert_eq!(parse("0001000000000000"), Some(LAST_SEQUENCE));
        for bad in ["0001000000000001", "ffffffffffffffff", "000000000000002A", "+00000000000002a", "2a"] {
            assert_eq!(parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn the_next_number_is_free_whatever_numbers_are_there() {
        let highest = |numbers: &[u64]| highest_of(numbers.iter().copied());
        assert_eq!(highest(&[]), 0);
        assert_eq!(highest(&[1, 2, 7]), 7);
        assert_eq!(highest(&[1, 1 << 40]), 1 << 40);
        assert_eq!(highest(&[1, 2, LAST_SEQUENCE]), 2);
        assert_eq!(highest(&[1, 2, LAST_SEQUENCE - 1, LAST_SEQUENCE]), 2);
        assert_eq!(highest(&[1, u64::MAX]), 1);
        let end = [LAST_SEQUENCE - 1, LAST_SEQUENCE];
        assert!(highest(&end) < LAST_SEQUENCE);
    }

    #[test]
    fn a_sources_name_is_plain_and_no_way_out_of_its_directory() {
        assert!(["lab", "a", "Lab-1_x.y", &"a".repeat(64)].into_iter().all(is_source_name));
        assert!(
            !["", ".", "..", ".lab", "a/b", "a b", "\u{e4}", "a\0", &"a".repeat(65)].into_iter().any(is_source_name)
        );
    }
}
