//! A bucket in memory: no locks, no renames; before a chosen call, or before each listing, something else happens.

use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::backend::{Backend, Capabilities, Payload, TempObject};
use crate::error::Result;
use crate::fs::lock::{Guard, LockMode};

/// What happens beside a run, once.
pub type Beside = Box<dyn FnOnce() + Send>;

/// See the module.
pub struct Lockless {
    below: Arc<dyn Backend>,
    beside: Mutex<Option<(u32, Beside)>>,
    before_list: Box<dyn Fn(&str) + Send + Sync>,
}

impl Lockless {
    /// Shows a storage as a bucket.
    pub fn before(below: &Arc<dyn Backend>) -> Arc<Self> {
        Self::new(below, None, Box::new(|_| {}))
    }

    /// As [`Lockless::before`]; `act` is called with each directory before it is listed.
    pub fn with_lists(below: &Arc<dyn Backend>, act: impl Fn(&str) + Send + Sync + 'static) -> Arc<Self> {
        Self::new(below, None, Box::new(act))
    }

    /// As [`Lockless::before`]; after `left` calls `act` happens.
    pub fn with(below: &Arc<dyn Backend>, left: u32, act: impl FnOnce() + Send + 'static) -> Arc<Self> {
        Self::new(below, Some((left, Box::new(act))), Box::new(|_| {}))
    }

    fn new(
        below: &Arc<dyn Backend>,
        beside: Option<(u32, Beside)>,
        before_list: Box<dyn Fn(&str) + Send + Sync>,
    ) -> Arc<Self> {
        Arc::new(Self { below: Arc::clone(below), beside: Mutex::new(beside), before_list })
    }

    /// Returns whether it has happened.
    pub fn has_acted(&self) -> bool {
        self.beside.lock().unwrap().is_none()
    }

    fn below(&self) -> &dyn Backend {
        let act = {
            let mut beside = self.beside.lock().unwrap();
            match &mut *beside {
                Some((0, _)) => beside.take().map(|(_, act)| act),
                Some((left, _)) => {
                    *left -= 1;
                    None
                }
                None => None,
            }
        };
        act.into_iter().for_each(|act| act());
        &*self.below
    }
}

impl Backend for Lockless {
    fn location(&self) -> String {
        "bucket".into()
    }
    fn capabilities(&self) -> Capabilities {
        Capabilities::BUCKET
    }
    fn read(&self, name: &str) -> Result<Vec<u8>> {
        self.below().read(name)
    }
    fn read_range(&self, name: &str, offset: u64, len: usize) -> Result<Vec<u8>> {
        self.below().read_range(name, offset, len)
    }
    fn len(&self, name: &str) -> Result<u64> {
        self.below().len(name)
    }
    fn put(&self, name: &str, source: Payload<'_>) -> Result<()> {
        self.below().put(name, source)
    }
    fn put_if_absent(&self, name: &str, bytes: &[u8]) -> Result<bool> {
        self.below().put_if_absent(name, bytes)
    }
    fn temp_object(&self) -> Result<TempObject> {
        self.below.temp_object()
    }
    fn list(&self, prefix: &str, visit: &mut dyn FnMut(&str, u64) -> Result<()>) -> Result<()> {
        (self.before_list)(prefix);
        self.below().list(prefix, visit)
    }
    fn remove(&self, name: &str) -> Result<()> {
        self.below().remove(name)
    }
    fn lock(&self, _: &str, _: LockMode, _: Duration, _: &dyn Fn() -> bool) -> Result<Option<Box<dyn Guard>>> {
        Ok(None)
    }
    fn cache_dir(&self) -> Option<PathBuf> {
        None
    }
}
