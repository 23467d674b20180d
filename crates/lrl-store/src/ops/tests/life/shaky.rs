//! A storage in memory that fails, fills up or dies at a chosen call, with room for a cache, and whose objects can be damaged.

use std::path::PathBuf;
use std::sync::Mutex;
use std::time::Duration;

use crate::error::{Error, Result};
use crate::storage::memory::Memory;
use crate::storage::{Guard, LockMode, Source, Spool, Storage};

/// What goes wrong from the chosen call on.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Fault {
    /// The call fails, the next ones work.
    Fails,
    /// Nothing works any more.
    Dies,
    /// The call works, and is the last thing that does.
    DiesAfter,
    /// Nothing can be written; reading and removing work.
    Full,
}

struct Armed {
    fault: Fault,
    left: u32,
    tripped: bool,
}

/// See the module.
pub struct Shaky {
    inner: Memory,
    cache: PathBuf,
    armed: Mutex<Option<Armed>>,
    /// Names in the order of their first writing: those of packs are as good as random, and differ from run to run.
    born: Mutex<Vec<String>>,
}

impl Shaky {
    pub fn new(cache: PathBuf) -> Self {
        Self { inner: Memory::new(), cache, armed: Mutex::default(), born: Mutex::default() }
    }

    /// Lets `left` calls pass, then the fault begins.
    pub fn arm(&self, fault: Fault, left: u32) {
        *self.armed.lock().unwrap() = Some(Armed { fault, left, tripped: false });
    }

    /// Ends the fault; says whether it had begun.
    pub fn disarm(&self) -> bool {
        self.armed.lock().unwrap().take().is_some_and(|armed| armed.tripped)
    }

    /// Replaces an object's bytes, or removes it.
    pub fn put(&self, name: &str, bytes: Option<&[u8]>) {
        match bytes {
            Some(bytes) => self.inner.write_new(name, Source::Bytes(bytes)).unwrap(),
            None => self.inner.remove(name).unwrap(),
        }
    }

    pub fn get(&self, name: &str) -> Option<Vec<u8>> {
        self.inner.read(name).ok()
    }

    /// Lists all objects, the oldest first.
    pub fn names_by_age(&self) -> Vec<String> {
        let born = self.born.lock().unwrap();
        born.iter().filter(|name| self.get(name).is_some()).cloned().collect()
    }

    pub fn names(&self, prefix: &str) -> Vec<String> {
        let mut names = Vec::new();
        let list = &mut |name: &str, _| {
            names.push(name.to_string());
            Ok(())
        };
        self.inner.list(prefix, list).unwrap();
        names
    }

    fn call<T>(&self, is_write: bool, act: impl FnOnce() -> Result<T>) -> Result<T> {
        let kind = self.armed.lock().unwrap().as_mut().and_then(|armed| {
            let before = armed.tripped;
            armed.tripped = armed.left == 0;
            armed.left = armed.left.saturating_sub(1);
            match armed.fault {
                Fault::Fails if !before && armed.tripped => Some(std::io::ErrorKind::Other),
                Fault::Dies if armed.tripped => Some(std::io::ErrorKind::Other),
                Fault::DiesAfter if before => Some(std::io::ErrorKind::Other),
                Fault::Full if armed.tripped && is_write => Some(std::io::ErrorKind::StorageFull),
                _ => None,
            }
        });
        match kind {
            Some(kind) => Err(Error::Io { op: "use", path: "memory".into(), source: kind.into() }),
            None => act(),
        }
    }
}

impl Storage for Shaky {
    fn describe(&self) -> String {
        "/memory".into()
    }
    fn read(&self, name: &str) -> Result<Vec<u8>> {
        self.call(false, || self.inner.read(name))
    }
    fn read_range(&self, name: &str, offset: u64, len: usize) -> Result<Vec<u8>> {
        self.call(false, || self.inner.read_range(name, offset, len))
    }
    fn len(&self, name: &str) -> Result<u64> {
        self.call(false, || self.inner.len(name))
    }
    fn write_new(&self, name: &str, source: Source<'_>) -> Result<()> {
        self.call(true, || {
            self.inner.write_new(name, source)?;
            let mut born = self.born.lock().unwrap();
            if !born.iter().any(|known| known == name) {
                born.push(name.into());
            }
            Ok(())
        })
    }
    fn spool(&self) -> Result<Spool> {
        self.call(true, || self.inner.spool())
    }
    fn list(&self, prefix: &str, visit: &mut dyn FnMut(&str, u64) -> Result<()>) -> Result<()> {
        self.call(false, || self.inner.list(prefix, visit))
    }
    fn remove(&self, name: &str) -> Result<()> {
        self.call(false, || self.inner.remove(name))
    }
    fn sync(&self, dir: &str) -> Result<()> {
        self.call(false, || self.inner.sync(dir))
    }
    fn lock(&self, _: &str, _: LockMode, _: Duration, _: &dyn Fn() -> bool) -> Result<Option<Box<dyn Guard>>> {
        Ok(None)
    }
    fn cache_dir(&self) -> Option<PathBuf> {
        Some(self.cache.clone())
    }
}
