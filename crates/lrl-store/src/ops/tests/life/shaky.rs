//! A storage in memory that fails, fills up or dies at a chosen call, with room for a cache, and whose objects can be damaged.

use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::backend::{Backend, Payload, TempObject};
use crate::error::Result;
use crate::fs::lock::{Guard, LockMode};
use crate::ops::tests::faulty::{Counted, Fault, Faulty};
use crate::testing::memory_backend::memory;

/// See the module.
pub struct Shaky {
    faulty: Faulty,
    cache: PathBuf,
    /// Names in the order of their first writing: those of packs are as good as random, and differ from run to run.
    born: Mutex<Vec<String>>,
}

impl Shaky {
    pub fn new(cache: PathBuf) -> Self {
        let faulty = Faulty::before(Arc::new(memory()), Counted::All);
        Self { faulty, cache, born: Mutex::default() }
    }

    /// Lets `left` calls pass, then the fault begins.
    pub fn arm(&self, fault: Fault, left: u32) {
        self.faulty.arm(fault, left);
    }

    /// Ends the fault; returns whether it had begun.
    pub fn disarm(&self) -> bool {
        self.faulty.disarm()
    }

    /// Replaces an object's bytes, or removes it.
    pub fn put(&self, name: &str, bytes: Option<&[u8]>) {
        match bytes {
            Some(bytes) => self.faulty.below().put(name, Payload::Bytes(bytes)).unwrap(),
            None => self.faulty.below().remove(name).unwrap(),
        }
    }

    pub fn get(&self, name: &str) -> Option<Vec<u8>> {
        self.faulty.below().read(name).ok()
    }

    /// Lists all objects, the oldest first.
    pub fn names_by_age(&self) -> Vec<String> {
        let born = self.born.lock().unwrap();
        born.iter().filter(|name| self.get(name).is_some()).cloned().collect()
    }

    pub fn names(&self, prefix: &str) -> Vec<String> {
        crate::backend::tests::names(self.faulty.below(), prefix)
    }
}

impl Backend for Shaky {
    fn location(&self) -> String {
        "/memory".into()
    }
    fn read(&self, name: &str) -> Result<Vec<u8>> {
        self.faulty.read(name)
    }
    fn read_range(&self, name: &str, offset: u64, len: usize) -> Result<Vec<u8>> {
        self.faulty.read_range(name, offset, len)
    }
    fn len(&self, name: &str) -> Result<u64> {
        self.faulty.len(name)
    }
    fn put(&self, name: &str, source: Payload<'_>) -> Result<()> {
        self.faulty.put(name, source)?;
        let mut born = self.born.lock().unwrap();
        if !born.iter().any(|known| known == name) {
            born.push(name.into());
        }
        Ok(())
    }
    fn temp_object(&self) -> Result<TempObject> {
        self.faulty.temp_object()
    }
    fn list(&self, prefix: &str, visit: &mut dyn FnMut(&str, u64) -> Result<()>) -> Result<()> {
        self.faulty.list(prefix, visit)
    }
    fn remove(&self, name: &str) -> Result<()> {
        self.faulty.remove(name)
    }
    fn sync(&self, dir: &str) -> Result<()> {
        self.faulty.sync(dir)
    }
    fn lock(&self, _: &str, _: LockMode, _: Duration, _: &dyn Fn() -> bool) -> Result<Option<Box<dyn Guard>>> {
        Ok(None)
    }
    fn cache_dir(&self) -> Option<PathBuf> {
        Some(self.cache.clone())
    }
}
