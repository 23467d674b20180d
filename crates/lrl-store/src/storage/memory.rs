//! Objects in memory, for tests of the layers above.

use std::collections::BTreeMap;
use std::io::{Read, Seek};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use super::{Guard, LockMode, Source, Spool, Storage};
use crate::error::{Error, Result};

/// A storage that is gone when it is dropped.
#[derive(Default)]
pub struct Memory {
    objects: Mutex<BTreeMap<String, Vec<u8>>>,
}

impl Memory {
    /// Makes an empty one.
    pub fn new() -> Self {
        Self::default()
    }

    fn with<T>(&self, name: &str, act: impl FnOnce(&[u8]) -> T) -> Result<T> {
        let objects = self.objects.lock().unwrap_or_else(PoisonError::into_inner);
        objects.get(name).map(|bytes| act(bytes)).ok_or_else(|| Error::Missing { object: name.into() })
    }
}

impl Storage for Memory {
    fn describe(&self) -> String {
        "memory".into()
    }

    fn read(&self, name: &str) -> Result<Vec<u8>> {
        self.with(name, <[u8]>::to_vec)
    }

    fn read_range(&self, name: &str, offset: u64, len: usize) -> Result<Vec<u8>> {
        let found = self.with(name, |bytes| {
            let from = usize::try_from(offset).ok()?;
            bytes.get(from..from.checked_add(len)?).map(<[u8]>::to_vec)
        })?;
        found.ok_or_else(|| Error::corrupt(name, "ends too early"))
    }

    fn len(&self, name: &str) -> Result<u64> {
        self.with(name, |bytes| bytes.len() as u64)
    }

    fn write_new(&self, name: &str, source: Source<'_>) -> Result<()> {
        let bytes = match source {
            Source::Bytes(bytes) => bytes.to_vec(),
            Source::Spool(mut spool) => {
                let mut bytes = Vec::new();
                spool
                    .file()
                    .rewind()
                    .and_then(|()| spool.file().read_to_end(&mut bytes))
                    .map_err(Error::io("read", name))?;
                bytes
            }
        };
        self.objects.lock().unwrap_or_else(PoisonError::into_inner).insert(name.into(), bytes);
        Ok(())
    }

    fn spool(&self) -> Result<Spool> {
        Ok(Spool { file: super::local::temporary_file(&std::env::temp_dir())? })
    }

    fn list(&self, prefix: &str, visit: &mut dyn FnMut(&str, u64) -> Result<()>) -> Result<()> {
        // Visited without the lock: a visitor may read.
        let below =
            |name: &str| prefix.is_empty() || name.strip_prefix(prefix).is_some_and(|rest| rest.starts_with('/'));
        let objects = self.objects.lock().unwrap_or_else(PoisonError::into_inner);
        let found =
            objects.iter().filter(|(name, _)| below(name)).map(|(name, bytes)| (name.clone(), bytes.len() as u64));
        let found: Vec<_> = found.collect();
        drop(objects);
        found.iter().try_for_each(|(name, len)| visit(name, *len))
    }

    fn remove(&self, name: &str) -> Result<()> {
        self.objects.lock().unwrap_or_else(PoisonError::into_inner).remove(name);
        Ok(())
    }

    fn lock(&self, _: &str, _: LockMode, _: Duration, _: &dyn Fn() -> bool) -> Result<Option<Box<dyn Guard>>> {
        Ok(None)
    }

    fn cache_dir(&self) -> Option<std::path::PathBuf> {
        None
    }
}
