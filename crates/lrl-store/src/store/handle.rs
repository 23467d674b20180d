//! An open store: its backend, config, lock, and what it remembers between calls.

use std::collections::HashMap;
use std::path::Path;
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, Mutex, RwLock};
use std::time::Duration;

use super::chunk_cache::ChunkCache;
use super::config::{has_snapshots, not_encrypted, read_config};
use super::deletion::pending::{self, PendingDeletions, Stopwatch};
use super::index::IndexFile;
use super::local_bases::LocalBases;
use super::repair::pack_scan::PackScan;
use crate::backend::Backend;
use crate::chunk::Gear;
use crate::crypt::{Key, Keys};
use crate::error::{Error, Place, Result};
use crate::format::config::Config;
use crate::fs::lock::{Guard, LockMode};
use crate::fs::space::{GuardedDir, Reserve, SpaceGuard};
use crate::id::{Ids, PackId};
use crate::progress::Observer;

/// An open store; holds its lock until it is dropped.
pub struct Store {
    pub(super) backend: Arc<dyn Backend>,
    pub(super) config: Config,
    pub(super) ids: Ids,
    pub(super) gear: Gear,
    pub(super) indexes: RwLock<Vec<Arc<IndexFile>>>,
    // The index file that gave the last answer: what was stored together is looked up together.
    pub(super) last_hit: AtomicUsize,
    pub(super) bases: ChunkCache,
    pub(super) damaged: RwLock<Vec<DamagedIndex>>,
    pub(super) pack_scan: RwLock<Option<Arc<PackScan>>>,
    pub(super) local_bases: RwLock<Option<LocalBases>>,
    // Of packs in an encrypted store.
    pub(super) pack_keys: Mutex<HashMap<PackId, Key>>,
    pub(super) pending_deletions: RwLock<Option<Arc<PendingDeletions>>>,
    pub(super) stopwatch: Stopwatch,
    pub(super) lock: Option<Box<dyn Guard>>,
}

/// An index file that is not trusted: what its packs hold is read from the packs themselves where nothing else lists it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DamagedIndex {
    /// The object's name.
    pub name: String,
    /// What is wrong, for people, with its path.
    pub reason: String,
}

impl Store {
    /// Opens a store and takes its lock, waiting up to `wait`. Damaged index files are no obstacle: see [`Store::damaged_indexes`].
    #[doc(hidden)]
    pub fn open(backend: Arc<dyn Backend>, mode: LockMode, wait: Duration, observer: &dyn Observer) -> Result<Self> {
        let config = read_config(&*backend).map_err(|error| match error {
            // Where snapshots are, there is a store: what it lacks can be made again.
            Error::NoStore { path, .. } if has_snapshots(&*backend) => Error::NoStore { what: Place::Config, path },
            error => error,
        })?;
        if config.is_encrypted() != backend.keys().is_some() {
            return Err(match config.is_encrypted() {
                true => Error::WrongKey { store: backend.location(), reason: "no key was given".into() },
                false => not_encrypted(&backend.location()),
            });
        }
        Self::open_with(backend, config, mode, wait, observer)
    }

    /// Opens a store for examining it, even where its config is damaged or gone; also returns why.
    pub(crate) fn examine(
        backend: Arc<dyn Backend>,
        mode: LockMode,
        wait: Duration,
        observer: &dyn Observer,
    ) -> Result<(Self, Option<Error>)> {
        let (config, error) = match read_config(&*backend) {
            Ok(config) => (config, None),
            Err(error @ Error::Corrupt { .. }) => (Config::new([0; 32]), Some(error)),
            Err(Error::NoStore { .. }) if has_snapshots(&*backend) => {
                (Config::new([0; 32]), Some(Error::Missing { object: backend.object_location("config") }))
            }
            Err(error) => return Err(error),
        };
        let store = Self::open_with(backend, config, mode, wait, observer)?;
        store.check_readable()?;
        Ok((store, error))
    }

    fn open_with(
        backend: Arc<dyn Backend>,
        config: Config,
        mode: LockMode,
        wait: Duration,
        observer: &dyn Observer,
    ) -> Result<Self> {
        let ids = backend.keys().map(Keys::ids).unwrap_or_default();
        let gear = backend.keys().map(|keys| Gear::keyed(keys.gear())).unwrap_or_default();
        let lock = backend.lock("lock", mode, wait, &|| observer.interrupted())?;
        let store = Self {
            backend,
            config,
            ids,
            gear,
            indexes: RwLock::default(),
            last_hit: AtomicUsize::default(),
            bases: ChunkCache::default(),
            damaged: RwLock::default(),
            pack_scan: RwLock::default(),
            local_bases: RwLock::default(),
            pack_keys: Mutex::default(),
            pending_deletions: RwLock::default(),
            stopwatch: Arc::new(pending::stopwatch),
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
    #[doc(hidden)]
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Returns how its chunks and documents are named.
    #[doc(hidden)]
    pub fn ids(&self) -> &Ids {
        &self.ids
    }

    /// Returns how contents are cut.
    pub(crate) fn gear(&self) -> &Gear {
        &self.gear
    }

    /// Returns the backend below.
    #[doc(hidden)]
    pub fn storage(&self) -> &Arc<dyn Backend> {
        &self.backend
    }

    /// Guards a directory's disk: by the backend's own guard where that is the same disk.
    pub(crate) fn target<'a>(&self, dir: &'a Path, reserve: Reserve) -> Result<GuardedDir<'a>> {
        let room = self.backend.space();
        let room = if room.guards(dir) { room } else { Arc::new(SpaceGuard::open(dir, reserve)?) };
        Ok(GuardedDir { dir, room })
    }

    /// Makes the lock exclusive if nobody else uses the store. Returns whether it did. Nothing but removing may follow: a lock that
    /// cannot be made so may be lost.
    pub(crate) fn is_alone(&self) -> bool {
        self.lock.as_ref().is_some_and(|lock| lock.make_exclusive())
    }

    /// Returns whether a lock is held; a store that cannot be written is read without one.
    pub(crate) fn is_locked(&self) -> bool {
        self.lock.is_some()
    }

    /// Returns whether it is known that nothing can be written. A backend without locks refuses writes itself.
    pub fn is_read_only(&self) -> bool {
        self.lock.is_none() && self.backend.capabilities().exclusive_lock
    }

    /// Returns whether contents can be read, not only added.
    pub(crate) fn can_read(&self) -> bool {
        self.backend.keys().is_none_or(crate::crypt::Keys::can_read)
    }

    /// Fails where the store has a feature that a writer must know and this build does not.
    pub(crate) fn check_writable(&self) -> Result<()> {
        match self.config.must_know_to_write.first() {
            None => Ok(()),
            Some(feature) => {
                Err(Error::Unsupported { what: format!("writing to a store with the feature `{feature}`").into() })
            }
        }
    }

    /// Fails for a write-only key: it knows too little to remove or to judge anything.
    #[doc(hidden)]
    pub fn check_readable(&self) -> Result<()> {
        if self.can_read() { Ok(()) } else { Err(Error::WriteOnly { object: self.backend.location() }) }
    }
}
