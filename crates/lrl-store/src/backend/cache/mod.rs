//! A local cache of a remote backend's objects, so that what was read once is no request again. The backend below remains the
//! authority on what there is, and losing the cache costs time only. Objects are immutable, so a copy is never stale.

pub(crate) mod disk_lru;
pub(crate) mod prefetch;

use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use super::cache::disk_lru::{DiskLru, has_space, is_spool, put_file, read_at};
use super::cache::prefetch::BlockCache;
use super::{Backend, Capabilities, Payload, TempObject, each_piece};
use crate::budget::{DOCUMENT_REQUESTS, INDEX_PIECE_BYTES};
use crate::error::{Error, Result};
use crate::format::config;
use crate::fs::durable::create_dir;
use crate::fs::lock::{Guard, LockMode, lock_file};
use crate::fs::space::{Reserve, SpaceGuard};
use crate::fs::temp_file::reclaim;
use crate::id::ChunkId;

/// Kept whole, as they are read whole or found by many small reads.
const WHOLE: [&str; 5] = ["index/", "snapshots/", "drills/", "checks/", "pending/"];
const PACKS: &str = "packs/";

/// A backend with a local cache of what was read from it or written to it.
pub struct CachedBackend {
    below: Arc<dyn Backend>,
    dir: PathBuf,
    // Asked for by every run, and different in the next one perhaps: kept in memory only.
    config: Option<Vec<u8>>,
    packs: DiskLru,
    blocks: BlockCache,
    nodes: DiskLru,
    space: Arc<SpaceGuard>,
    dropped: AtomicBool,
}

/// Lays a cache over a remote backend, in a directory of `root` named by the store's id; `reserve` stays free on its disk. Where there is no
/// store there is no cache.
pub(crate) fn over(below: Arc<dyn Backend>, root: &Path, reserve: Reserve) -> Result<Arc<dyn Backend>> {
    let config = match below.read("config") {
        Err(Error::Missing { .. }) => return Ok(below),
        other => other?,
    };
    // A damaged config names no store, but its place does. What a server says becomes a directory's name only as an id.
    let id = config::decode(&config, "config").and_then(|config| ChunkId::from_hex(&config.store_id));
    let id = id.unwrap_or_else(|_| ChunkId::of(below.location().as_bytes()));
    Ok(Arc::new(CachedBackend {
        config: Some(config),
        ..CachedBackend::new(below, root.join(id.to_string()), reserve)?
    }))
}

fn pack_key(name: &str) -> Option<&str> {
    name.strip_prefix(PACKS)?.rsplit('/').next()
}

fn is_whole(name: &str) -> bool {
    WHOLE.iter().any(|dir| name.starts_with(dir))
}

impl CachedBackend {
    /// Lays a cache over a backend, in a directory that no other backend uses.
    pub fn new(below: Arc<dyn Backend>, dir: PathBuf, reserve: Reserve) -> Result<Self> {
        create_dir(&dir)?;
        let space = Arc::new(SpaceGuard::open(&dir, reserve)?);
        let pool = |name| DiskLru::new(dir.join(name), &space);
        let (packs, nodes) = (pool("packs")?, pool("nodes")?);
        let blocks = BlockCache::new(Arc::clone(&below), pool("blocks")?);
        let copies = Self { below, dir, config: None, packs, blocks, nodes, space, dropped: false.into() };
        if !has_space(&copies.space, 0) {
            // The disk has filled up since: what can be fetched again goes first.
            copies.pools().into_iter().for_each(DiskLru::clear);
        }
        Ok(copies)
    }

    fn pools(&self) -> [&DiskLru; 3] {
        [&self.packs, self.blocks.pool(), &self.nodes]
    }

    fn config(&self, name: &str) -> Option<&Vec<u8>> {
        self.config.as_ref().filter(|_| name == "config")
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.join("objects").join(name)
    }

    fn put(&self, name: &str, bytes: &[u8]) {
        if has_space(&self.space, bytes.len() as u64) {
            let _ = put_file(&self.path(name), |sink| sink(bytes));
        }
    }

    /// Returns the path of an object's copy, fetching it first where there is none; `None` where there is no space for one.
    fn copy(&self, name: &str) -> Result<Option<PathBuf>> {
        let path = self.path(name);
        if !path.is_file() {
            let len = self.below.len(name)?;
            if !has_space(&self.space, len) {
                return Ok(None);
            }
            put_file(&path, |sink| each_piece(&*self.below, name, len, INDEX_PIECE_BYTES, sink))?;
        }
        Ok(Some(path))
    }

    fn forget(&self, name: &str) {
        let _ = fs::remove_file(self.object_path(name));
        if pack_key(name).is_some() {
            self.blocks.forget(name);
        }
    }

    /// Returns where an object's whole copy is, if there is one.
    fn object_path(&self, name: &str) -> PathBuf {
        pack_key(name).map_or_else(|| self.path(name), |key| self.packs.path(key))
    }

    /// Removes copies below a directory of objects that are gone.
    fn forget_but(&self, dir: &str, there: &HashSet<String>) {
        let mut waiting = vec![dir.trim_end_matches('/').to_string()];
        while let Some(dir) = waiting.pop() {
            for entry in fs::read_dir(self.path(&dir)).into_iter().flatten().flatten() {
                let Some(name) = entry.file_name().to_str().map(|name| format!("{dir}/{name}")) else { continue };
                if entry.path().is_dir() {
                    waiting.push(name);
                } else if !there.contains(&name) && !is_spool(&entry.file_name()) {
                    let _ = fs::remove_file(entry.path());
                }
            }
        }
    }
}

impl Backend for CachedBackend {
    fn location(&self) -> String {
        self.below.location()
    }

    fn capabilities(&self) -> Capabilities {
        self.below.capabilities()
    }

    fn read(&self, name: &str) -> Result<Vec<u8>> {
        if let Some(config) = self.config(name) {
            return Ok(config.clone());
        }
        if !is_whole(name) {
            return self.below.read(name);
        }
        if let Ok(bytes) = fs::read(self.path(name)) {
            return Ok(bytes);
        }
        let bytes = self.below.read(name)?;
        self.put(name, &bytes);
        Ok(bytes)
    }

    fn read_range(&self, name: &str, offset: u64, len: usize) -> Result<Vec<u8>> {
        match pack_key(name) {
            Some(key) => match read_at(&self.packs.path(key), offset, len) {
                Some(bytes) => Ok(bytes),
                None => self.blocks.read(name, offset, len),
            },
            None => {
                if is_whole(name)
                    && let Some(copy) = self.copy(name)?
                {
                    match read_at(&copy, offset, len) {
                        Some(bytes) => return Ok(bytes),
                        None if copy.is_file() => {
                            return Err(Error::corrupt(self.object_location(name), "ends too early"));
                        }
                        // Another process of this machine has removed the copy meanwhile: that is no damage.
                        None => {}
                    }
                }
                self.below.read_range(name, offset, len)
            }
        }
    }

    fn prefetch(&self, name: &str, offset: u64, len: u64) {
        if pack_key(name).is_some_and(|key| !self.packs.path(key).exists()) {
            self.blocks.prefetch(name, offset, len);
        }
    }

    fn len(&self, name: &str) -> Result<u64> {
        if let Some(config) = self.config(name) {
            return Ok(config.len() as u64);
        }
        let path = self.object_path(name);
        fs::metadata(path).map_or_else(|_| self.below.len(name), |meta| Ok(meta.len()))
    }

    fn put(&self, name: &str, source: Payload<'_>) -> Result<()> {
        // What was there under this name, if anything, was damaged.
        self.forget(name);
        match source {
            Payload::Bytes(bytes) => {
                self.below.put(name, Payload::Bytes(bytes))?;
                if is_whole(name) {
                    self.put(name, bytes);
                }
                Ok(())
            }
            Payload::TempObject(temp) => {
                let path = self.object_path(name);
                let file = temp.0.on_disk();
                let len = file.and_then(|file| file.as_file().metadata().ok()).map_or(0, |meta| meta.len());
                // The temporary object's bytes are on the disk already.
                let linked = has_space(&self.space, 0)
                    && path.parent().is_some_and(|dir| create_dir(dir).is_ok())
                    && file.is_some_and(|file| fs::hard_link(file.path(), &path).is_ok());
                let written = self.below.put(name, Payload::TempObject(temp));
                match &written {
                    Err(_) if linked => _ = fs::remove_file(path),
                    Ok(()) if linked && pack_key(name).is_some() => self.packs.grow(len),
                    _ => {}
                }
                written
            }
        }
    }

    fn put_if_absent(&self, name: &str, bytes: &[u8]) -> Result<bool> {
        self.forget(name);
        self.below.put_if_absent(name, bytes)
    }

    fn modified(&self, name: &str) -> Result<Option<SystemTime>> {
        self.below.modified(name)
    }

    fn temp_object(&self) -> Result<TempObject> {
        TempObject::in_dir(&self.dir)
    }

    fn list(&self, prefix: &str, visit: &mut dyn FnMut(&str, u64) -> Result<()>) -> Result<()> {
        let mut there = is_whole(&format!("{prefix}/")).then(HashSet::new);
        self.below.list(prefix, &mut |name, len| {
            there.as_mut().map(|there| there.insert(name.to_string()));
            visit(name, len)
        })?;
        there.iter().for_each(|there| self.forget_but(prefix, there));
        Ok(())
    }

    fn list_after(&self, prefix: &str, after: &str, visit: &mut dyn FnMut(&str, u64) -> Result<()>) -> Result<()> {
        self.below.list_after(prefix, after, visit)
    }

    fn list_modified(&self, prefix: &str, visit: &mut dyn FnMut(&str, Option<SystemTime>) -> Result<()>) -> Result<()> {
        self.below.list_modified(prefix, visit)
    }

    fn fetch_whole(&self, names: &[String]) {
        let missing: Vec<&String> = names.iter().filter(|name| is_whole(name) && !self.path(name).is_file()).collect();
        let threads = missing.len().min(DOCUMENT_REQUESTS);
        let missing = Mutex::new(missing.into_iter());
        let next = || missing.lock().unwrap_or_else(PoisonError::into_inner).next();
        // One that cannot be read is an error when it is asked for.
        let fetch = || while next().is_some_and(|name| self.read(name).is_ok()) {};
        std::thread::scope(|scope| {
            for _ in 0..threads {
                // Without a thread they are fetched one by one.
                let _ = std::thread::Builder::new().name("fetch".into()).spawn_scoped(scope, fetch);
            }
        });
    }

    fn list_newest(&self, dir: &str, visit: &mut dyn FnMut(&str) -> Result<()>) -> Result<()> {
        let copies = fs::read_dir(self.path(dir)).into_iter().flatten().flatten();
        let newest =
            copies.filter_map(|entry| entry.file_name().into_string().ok()).filter(|name| !name.starts_with('.')).max();
        let Some(known) = newest.map(|name| format!("{dir}/{name}")) else { return self.list_names(dir, visit) };
        // The number alone comes before every name that begins with it, so the known one is seen again if it is still there.
        let after = known.rsplit_once('-').map_or(known.as_str(), |(before, _)| before);
        let mut found = Vec::new();
        self.below.list_after(dir, after, &mut |name, _| {
            found.push(name.to_string());
            Ok(())
        })?;
        if !found.contains(&known) {
            return self.list_names(dir, visit);
        }
        found.iter().try_for_each(|name| visit(name))
    }

    fn remove(&self, name: &str) -> Result<()> {
        self.below.remove(name)?;
        self.forget(name);
        Ok(())
    }

    fn remove_all(&self, names: &[String]) -> Result<()> {
        // Of what could not be removed a copy is fetched again.
        names.iter().for_each(|name| self.forget(name));
        self.below.remove_all(names)
    }

    fn sync(&self, dir: &str) -> Result<()> {
        self.below.sync(dir)
    }

    fn lock(
        &self,
        name: &str,
        mode: LockMode,
        wait: Duration,
        interrupted: &dyn Fn() -> bool,
    ) -> Result<Option<Box<dyn Guard>>> {
        let lock = self.below.lock(name, mode, wait, interrupted)?;
        // Runs of one machine queue all the same. The store's own lock would keep readers out who need none.
        match mode {
            LockMode::Exclusive if lock.is_none() && name != "lock" => {
                lock_file(&self.dir.join(name), mode, wait, interrupted)
            }
            _ => Ok(lock),
        }
    }

    fn reclaim(&self) -> Result<u64> {
        let objects = self.path("index");
        let pools = self.pools().map(|pool| &pool.dir);
        let dirs = pools.into_iter().chain([&self.dir, &objects]).filter(|dir| dir.is_dir());
        dirs.into_iter().try_fold(0, |freed, dir| Ok(freed + reclaim(dir)?))
    }

    fn cache_put(&self, name: &str, bytes: &[u8]) {
        if !self.nodes.path(name).exists() {
            self.nodes.put(name, bytes);
        }
    }

    fn cache_get(&self, name: &str) -> Option<Vec<u8>> {
        fs::read(self.nodes.path(name)).ok()
    }

    fn cache_clear(&self) -> bool {
        if self.dropped.swap(true, Ordering::Relaxed) {
            return false;
        }
        self.pools().into_iter().for_each(DiskLru::clear);
        let _ = fs::remove_dir_all(self.path(""));
        true
    }

    fn space(&self) -> Arc<SpaceGuard> {
        Arc::clone(&self.space)
    }

    fn cache_dir(&self) -> Option<PathBuf> {
        Some(self.dir.clone())
    }
}
