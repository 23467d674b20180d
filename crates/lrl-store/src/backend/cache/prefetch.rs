//! An on-disk cache of blocks of remote packs: each is fetched once, and those that will be read soon by threads of their own, so that
//! a reader does not wait for one round trip after the other.

use std::collections::{HashSet, VecDeque};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, RwLock};

use super::disk_lru::{DiskLru, files, has_space, read_at};
use crate::backend::Backend;
use crate::budget::{FETCHED_BYTES, FETCHERS, WANTED_BLOCKS};
use crate::error::{Error, Result};

/// The blocks that are cached and those that are being fetched.
pub(crate) struct BlockCache(Arc<Shared>);

struct Shared {
    below: Arc<dyn Backend>,
    pool: DiskLru,
    traffic: Mutex<Traffic>,
    changed: Condvar,
    // What is fetched for nobody must not appear in a directory that its owner removes.
    closed: RwLock<bool>,
}

#[derive(Default)]
struct Traffic {
    wanted: VecDeque<Block>,
    fetching: HashSet<Block>,
    threads: usize,
    idle: usize,
    closed: bool,
}

#[derive(Clone, PartialEq, Eq, Hash)]
struct Block {
    name: String,
    number: u64,
}

impl Block {
    /// Returns its file's name; packs have different last names.
    fn file(&self) -> String {
        format!("{}-{}", key(&self.name), self.number)
    }
}

fn key(name: &str) -> &str {
    name.rsplit('/').next().unwrap_or(name)
}

fn numbers(offset: u64, len: u64) -> std::ops::Range<u64> {
    offset / FETCHED_BYTES..(offset + len).div_ceil(FETCHED_BYTES).max(offset / FETCHED_BYTES + 1)
}

impl BlockCache {
    pub(crate) fn new(below: Arc<dyn Backend>, pool: DiskLru) -> Self {
        let (traffic, changed, closed) = (Mutex::default(), Condvar::new(), RwLock::new(false));
        Self(Arc::new(Shared { below, pool, traffic, changed, closed }))
    }

    pub(crate) fn pool(&self) -> &DiskLru {
        &self.0.pool
    }

    /// Reads a range of a pack, fetching the blocks that are not there.
    pub(crate) fn read(&self, name: &str, offset: u64, len: usize) -> Result<Vec<u8>> {
        let end = offset + len as u64;
        let mut bytes = Vec::with_capacity(len);
        for number in numbers(offset, len as u64) {
            let start = number * FETCHED_BYTES;
            let (from, to) = (offset.max(start) - start, end.min(start + FETCHED_BYTES) - start);
            bytes.extend(self.0.read(Block { name: name.into(), number }, from, (to - from) as usize)?);
        }
        Ok(bytes)
    }

    /// Begins to fetch the blocks of a range that will be read.
    pub(crate) fn prefetch(&self, name: &str, offset: u64, len: u64) {
        for number in numbers(offset, len) {
            let block = Block { name: name.into(), number };
            let mut traffic = self.0.traffic();
            if traffic.wanted.len() >= WANTED_BLOCKS {
                return;
            }
            if traffic.wanted.contains(&block) || traffic.fetching.contains(&block) {
                continue;
            }
            if self.0.pool.path(&block.file()).exists() {
                continue;
            }
            traffic.wanted.push_back(block);
            if traffic.idle > 0 {
                self.0.changed.notify_all();
            } else if traffic.threads < FETCHERS {
                traffic.threads += 1;
                let shared = Arc::clone(&self.0);
                std::thread::spawn(move || shared.fetch_ahead());
            }
        }
    }

    /// Removes the cached blocks of a pack.
    pub(crate) fn forget(&self, name: &str) {
        let key = key(name).as_bytes();
        for (path, _) in files(&self.0.pool.dir) {
            if path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(key)) {
                let _ = std::fs::remove_file(path);
            }
        }
    }
}

impl Drop for BlockCache {
    fn drop(&mut self) {
        *self.0.closed.write().unwrap_or_else(PoisonError::into_inner) = true;
        let mut traffic = self.0.traffic();
        traffic.closed = true;
        traffic.wanted.clear();
        self.0.changed.notify_all();
    }
}

impl Shared {
    fn traffic(&self) -> MutexGuard<'_, Traffic> {
        self.traffic.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait<'a>(&self, traffic: MutexGuard<'a, Traffic>) -> MutexGuard<'a, Traffic> {
        self.changed.wait(traffic).unwrap_or_else(PoisonError::into_inner)
    }

    fn read(&self, block: Block, from: u64, len: usize) -> Result<Vec<u8>> {
        let file = self.pool.path(&block.file());
        loop {
            if let Some(bytes) = read_at(&file, from, len) {
                return Ok(bytes);
            }
            let mut traffic = self.traffic();
            if traffic.fetching.contains(&block) {
                drop(self.wait(traffic));
                continue;
            }
            traffic.wanted.retain(|wanted| *wanted != block);
            let fetching = Fetching::begin(self, &mut traffic, &block);
            drop(traffic);
            // It may have come between the look and the lock, or be shorter than it should.
            if let Some(bytes) = read_at(&file, from, len) {
                return Ok(bytes);
            }
            let bytes = self.fetch(fetching)?;
            let wanted = from as usize..from as usize + len;
            let short = || Error::corrupt(self.below.object_location(&block.name), "ends too early");
            return bytes.get(wanted).ok_or_else(short).map(<[u8]>::to_vec);
        }
    }

    fn fetch(&self, fetching: Fetching<'_>) -> Result<Vec<u8>> {
        let block = &fetching.block;
        let bytes = self.below.read_up_to(&block.name, block.number * FETCHED_BYTES, FETCHED_BYTES as usize)?;
        let closed = self.closed.read().unwrap_or_else(PoisonError::into_inner);
        if !*closed {
            self.pool.put(&block.file(), &bytes);
        }
        Ok(bytes)
    }

    fn fetch_ahead(&self) {
        let mut traffic = self.traffic();
        while !traffic.closed {
            let Some(block) = traffic.wanted.pop_front() else {
                traffic.idle += 1;
                traffic = self.wait(traffic);
                traffic.idle -= 1;
                continue;
            };
            // Where it cannot be kept it would be fetched again.
            if traffic.fetching.contains(&block) || !has_space(&self.pool.space, FETCHED_BYTES) {
                continue;
            }
            let fetching = Fetching::begin(self, &mut traffic, &block);
            drop(traffic);
            let fetched = self.fetch(fetching).map(drop);
            traffic = self.traffic();
            if fetched.is_err() {
                // Whoever needs it asks again, and says what is wrong.
                traffic.wanted.clear();
            }
        }
    }
}

/// A block on its way; whoever waits for it looks again when it ends.
struct Fetching<'a> {
    shared: &'a Shared,
    block: Block,
}

impl<'a> Fetching<'a> {
    fn begin(shared: &'a Shared, traffic: &mut Traffic, block: &Block) -> Self {
        traffic.fetching.insert(block.clone());
        Self { shared, block: block.clone() }
    }
}

impl Drop for Fetching<'_> {
    fn drop(&mut self) {
        self.shared.traffic().fetching.remove(&self.block);
        self.shared.changed.notify_all();
    }
}
