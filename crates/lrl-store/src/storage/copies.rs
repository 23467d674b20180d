//! Copies of a remote storage's objects on this machine's disk, so that what was seen once is no request again. Only copies: what there is
//! says the storage below, and losing them costs time. Objects are immutable, so a copy is never stale.

use std::collections::HashSet;
use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use super::local::{SPOOL_PREFIX, create_dir, lock_file, reclaim, temporary_file};
use super::room::{Reserve, Room};
use super::{Guard, LockMode, Source, Spool, Storage, each_piece};
use crate::error::{Error, Result};
use crate::format::config;
use crate::id::ChunkId;

/// Packs are read in blocks of this size: what was stored together is read together.
const BLOCK: u64 = 2 << 20;
/// An index is fetched in pieces of this size.
const PIECE: u64 = 4 << 20;
/// Each pool keeps at most so many bytes.
const POOL_BYTES: u64 = 512 << 20;
/// What is only kept for later leaves so much more free than the reserve: for what a run must write.
const SPARE: u64 = 64 << 20;
/// So many blocks can be fetched at once; each only once.
const LANES: usize = 16;
/// Kept whole, as they are read whole or found by many small reads.
const WHOLE: [&str; 4] = ["index/", "snapshots/", "drills/", "pending/"];
const PACKS: &str = "packs/";

/// A storage with copies of what was read from it or written to it.
pub struct Copies {
    below: Arc<dyn Storage>,
    dir: PathBuf,
    // Asked for by every run, and different in the next one perhaps: kept in memory only.
    config: Option<Vec<u8>>,
    packs: Pool,
    blocks: Pool,
    nodes: Pool,
    room: Arc<Room>,
    lanes: [Mutex<()>; LANES],
    dropped: AtomicBool,
}

/// Files of which the oldest go when there are too many.
struct Pool {
    dir: PathBuf,
    room: Arc<Room>,
    used: AtomicU64,
}

impl Pool {
    fn new(dir: PathBuf, room: &Arc<Room>) -> Result<Self> {
        create_dir(&dir)?;
        let pool = Self { dir, room: Arc::clone(room), used: AtomicU64::new(0) };
        pool.trim();
        Ok(pool)
    }

    fn path(&self, key: &str) -> PathBuf {
        self.dir.join(key)
    }

    fn put(&self, key: &str, bytes: &[u8]) {
        if has_room(&self.room, bytes.len() as u64) && put_file(&self.path(key), |sink| sink(bytes)).is_ok() {
            self.grow(bytes.len() as u64);
        }
    }

    fn grow(&self, bytes: u64) {
        if self.used.fetch_add(bytes, Ordering::Relaxed) + bytes > POOL_BYTES {
            self.trim();
        }
    }

    /// Counts the files, and removes the oldest where they are too many.
    fn trim(&self) {
        let mut files: Vec<_> =
            files(&self.dir).filter_map(|(path, meta)| Some((meta.modified().ok()?, meta.len(), path))).collect();
        let mut used: u64 = files.iter().map(|(_, len, _)| len).sum();
        if used > POOL_BYTES {
            files.sort_unstable();
            for (_, len, path) in files {
                // Some room for what comes, so that not every new file counts them all again.
                if used <= POOL_BYTES / 4 * 3 {
                    break;
                }
                used -= if fs::remove_file(path).is_ok() { len } else { 0 };
            }
        }
        self.used.store(used, Ordering::Relaxed);
    }

    fn clear(&self) {
        files(&self.dir).for_each(|(path, _)| _ = fs::remove_file(path));
    }
}

/// Says whether the disk can take a copy that is only kept for later.
fn has_room(room: &Room, len: u64) -> bool {
    room.expect(len.saturating_add(SPARE)).is_ok()
}

/// Says whether a file is on its way to its name.
fn is_spool(name: &std::ffi::OsStr) -> bool {
    name.as_encoded_bytes().starts_with(SPOOL_PREFIX.as_bytes())
}

fn files(dir: &Path) -> impl Iterator<Item = (PathBuf, fs::Metadata)> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    let entries = entries.filter(|entry| !is_spool(&entry.file_name()));
    entries.filter_map(|entry| Some((entry.path(), entry.metadata().ok()?))).filter(|(_, meta)| meta.is_file())
}

/// Writes a file that appears whole. It need not be durable: a damaged copy is noticed by who reads it.
fn put_file(path: &Path, fill: impl FnOnce(&mut dyn FnMut(&[u8]) -> Result<()>) -> Result<()>) -> Result<()> {
    let dir = path.parent().unwrap_or(path);
    create_dir(dir)?;
    let mut file = temporary_file(dir)?;
    fill(&mut |bytes| file.write_all(bytes).map_err(Error::io("write", path)))?;
    file.persist(path).map(|_| ()).map_err(|e| Error::io("rename into place", path)(e.error))
}

fn read_at(path: &Path, offset: u64, len: usize) -> Option<Vec<u8>> {
    let mut bytes = vec![0; len];
    File::open(path).ok()?.read_exact_at(&mut bytes, offset).ok()?;
    Some(bytes)
}

/// Lays copies over a remote storage, in a directory of `root` that the store's id names; so much of its disk stays free. Where there is no
/// store there are no copies.
pub fn over(below: Arc<dyn Storage>, root: &Path, reserve: Reserve) -> Result<Arc<dyn Storage>> {
    let config = match below.read("config") {
        Err(Error::Missing { .. }) => return Ok(below),
        other => other?,
    };
    // A damaged config names no store, but its place does. What a server says becomes a directory's name only as an id.
    let id = config::decode(&config, "config").and_then(|config| ChunkId::from_hex(&config.store_id));
    let id = id.unwrap_or_else(|_| ChunkId::of(below.describe().as_bytes()));
    Ok(Arc::new(Copies { config: Some(config), ..Copies::new(below, root.join(id.to_string()), reserve)? }))
}

fn pack_key(name: &str) -> Option<&str> {
    name.strip_prefix(PACKS)?.rsplit('/').next()
}

fn is_whole(name: &str) -> bool {
    WHOLE.iter().any(|dir| name.starts_with(dir))
}

impl Copies {
    /// Lays copies over a storage, in a directory that no other storage has.
    pub fn new(below: Arc<dyn Storage>, dir: PathBuf, reserve: Reserve) -> Result<Self> {
        create_dir(&dir)?;
        let room = Arc::new(Room::open(&dir, reserve)?);
        let pool = |name| Pool::new(dir.join(name), &room);
        let (packs, blocks, nodes) = (pool("packs")?, pool("blocks")?, pool("nodes")?);
        let (lanes, dropped) = (Default::default(), false.into());
        let copies = Self { below, dir, config: None, packs, blocks, nodes, room, lanes, dropped };
        if !has_room(&copies.room, 0) {
            // The disk has filled up since: what can be fetched again goes first.
            copies.pools().into_iter().for_each(Pool::clear);
        }
        Ok(copies)
    }

    fn pools(&self) -> [&Pool; 3] {
        [&self.packs, &self.blocks, &self.nodes]
    }

    fn config(&self, name: &str) -> Option<&Vec<u8>> {
        self.config.as_ref().filter(|_| name == "config")
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.join("objects").join(name)
    }

    fn put(&self, name: &str, bytes: &[u8]) {
        if has_room(&self.room, bytes.len() as u64) {
            let _ = put_file(&self.path(name), |sink| sink(bytes));
        }
    }

    /// Returns the path of an object's copy, fetching it first where there is none; `None` where there is no room for one.
    fn copy(&self, name: &str) -> Result<Option<PathBuf>> {
        let path = self.path(name);
        if !path.is_file() {
            let len = self.below.len(name)?;
            if !has_room(&self.room, len) {
                return Ok(None);
            }
            put_file(&path, |sink| each_piece(&*self.below, name, len, PIECE, sink))?;
        }
        Ok(Some(path))
    }

    fn block(&self, key: &str, name: &str, number: u64) -> Result<Vec<u8>> {
        let file = format!("{key}-{number}");
        let lane = &self.lanes[ChunkId::of(file.as_bytes()).as_bytes()[0] as usize % LANES];
        let _lane = lane.lock().unwrap_or_else(PoisonError::into_inner);
        if let Ok(bytes) = fs::read(self.blocks.path(&file)) {
            return Ok(bytes);
        }
        let bytes = self.below.read_up_to(name, number * BLOCK, BLOCK as usize)?;
        self.blocks.put(&file, &bytes);
        Ok(bytes)
    }

    fn read_pack(&self, key: &str, name: &str, offset: u64, len: usize) -> Result<Vec<u8>> {
        if let Some(bytes) = read_at(&self.packs.path(key), offset, len) {
            return Ok(bytes);
        }
        let end = offset + len as u64;
        let mut bytes = Vec::with_capacity(len);
        for number in offset / BLOCK..end.div_ceil(BLOCK).max(offset / BLOCK + 1) {
            let start = number * BLOCK;
            let (from, to) = (offset.max(start) - start, end.min(start + BLOCK) - start);
            let wanted = from as usize..to as usize;
            let part = match read_at(&self.blocks.path(&format!("{key}-{number}")), from, wanted.len()) {
                Some(part) => part,
                None => {
                    let block = self.block(key, name, number)?;
                    let short = || Error::corrupt(self.describe_object(name), "ends too early");
                    block.get(wanted).ok_or_else(short)?.to_vec()
                }
            };
            bytes.extend(part);
        }
        Ok(bytes)
    }

    fn forget(&self, name: &str) {
        let _ = fs::remove_file(self.object_path(name));
        if let Some(key) = pack_key(name) {
            let is_of_it =
                |path: &Path| path.file_name().is_some_and(|n| n.as_encoded_bytes().starts_with(key.as_bytes()));
            files(&self.blocks.dir).filter(|(path, _)| is_of_it(path)).for_each(|(path, _)| _ = fs::remove_file(path));
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

impl Storage for Copies {
    fn describe(&self) -> String {
        self.below.describe()
    }

    fn is_remote(&self) -> bool {
        self.below.is_remote()
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
            Some(key) => self.read_pack(key, name, offset, len),
            None => match if is_whole(name) { self.copy(name)? } else { None } {
                Some(copy) => read_at(&copy, offset, len)
                    .ok_or_else(|| Error::corrupt(self.describe_object(name), "ends too early")),
                None => self.below.read_range(name, offset, len),
            },
        }
    }

    fn len(&self, name: &str) -> Result<u64> {
        if let Some(config) = self.config(name) {
            return Ok(config.len() as u64);
        }
        let path = self.object_path(name);
        fs::metadata(path).map_or_else(|_| self.below.len(name), |meta| Ok(meta.len()))
    }

    fn write_new(&self, name: &str, source: Source<'_>) -> Result<()> {
        // What was there under this name, if anything, was damaged.
        self.forget(name);
        match source {
            Source::Bytes(bytes) => {
                self.below.write_new(name, Source::Bytes(bytes))?;
                if is_whole(name) {
                    self.put(name, bytes);
                }
                Ok(())
            }
            Source::Spool(spool) => {
                let path = self.object_path(name);
                let file = spool.0.on_disk();
                let len = file.and_then(|file| file.as_file().metadata().ok()).map_or(0, |meta| meta.len());
                // The spool's bytes are on the disk already.
                let linked = has_room(&self.room, 0)
                    && path.parent().is_some_and(|dir| create_dir(dir).is_ok())
                    && file.is_some_and(|file| fs::hard_link(file.path(), &path).is_ok());
                let written = self.below.write_new(name, Source::Spool(spool));
                match &written {
                    Err(_) if linked => _ = fs::remove_file(path),
                    Ok(()) if linked && pack_key(name).is_some() => self.packs.grow(len),
                    _ => {}
                }
                written
            }
        }
    }

    fn create_new(&self, name: &str, bytes: &[u8]) -> Result<bool> {
        self.forget(name);
        self.below.create_new(name, bytes)
    }

    fn modified(&self, name: &str) -> Result<Option<SystemTime>> {
        self.below.modified(name)
    }

    fn spool(&self) -> Result<Spool> {
        Spool::in_dir(&self.dir)
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

    fn list_newest(&self, dir: &str, visit: &mut dyn FnMut(&str, u64) -> Result<()>) -> Result<()> {
        let copies = fs::read_dir(self.path(dir)).into_iter().flatten().flatten();
        let newest =
            copies.filter_map(|entry| entry.file_name().into_string().ok()).filter(|name| !name.starts_with('.')).max();
        let Some(known) = newest.map(|name| format!("{dir}/{name}")) else { return self.list(dir, visit) };
        // The number alone comes before every name that begins with it, so the known one is seen again if it is still there.
        let after = known.rsplit_once('-').map_or(known.as_str(), |(before, _)| before);
        let mut found = Vec::new();
        self.below.list_after(dir, after, &mut |name, len| {
            found.push((name.to_string(), len));
            Ok(())
        })?;
        if found.iter().all(|(name, _)| *name != known) {
            return self.list(dir, visit);
        }
        found.iter().try_for_each(|(name, len)| visit(name, *len))
    }

    fn remove(&self, name: &str) -> Result<()> {
        self.below.remove(name)?;
        self.forget(name);
        Ok(())
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

    fn keep(&self, name: &str, bytes: &[u8]) {
        if !self.nodes.path(name).exists() {
            self.nodes.put(name, bytes);
        }
    }

    fn kept(&self, name: &str) -> Option<Vec<u8>> {
        fs::read(self.nodes.path(name)).ok()
    }

    fn drop_copies(&self) -> bool {
        if self.dropped.swap(true, Ordering::Relaxed) {
            return false;
        }
        self.pools().into_iter().for_each(Pool::clear);
        let _ = fs::remove_dir_all(self.path(""));
        true
    }

    fn room(&self) -> Arc<Room> {
        Arc::clone(&self.room)
    }

    fn cache_dir(&self) -> Option<PathBuf> {
        Some(self.dir.clone())
    }
}
