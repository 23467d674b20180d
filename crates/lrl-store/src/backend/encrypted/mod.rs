//! The backend of an encrypted store: seals every object but packs, which their writer seals chunk by chunk, and encrypts the names of sources.
//! What is below sees sealed objects under encrypted names; what is above sees the same names and bytes as in a plain store.

mod sealed_object;

use std::collections::HashMap;
use std::io::Write;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use sealed_object::{BLOCK, Recipient, SEALED_BLOCK, SealedFile, Sealer, head_len, plain_len, sealed_len};

use super::cache::disk_lru::DiskLru;
use super::{Backend, Capabilities, MOST_WHOLE_BYTES, Payload, TempObject};
use crate::budget::OPEN_OBJECTS;
use crate::crypt::{Key, Keys};
use crate::error::{Error, Result};
use crate::fs::lock::{Guard, LockMode};
use crate::fs::space::SpaceGuard;

/// Marks the name of a source that is not encrypted.
const BARE: &str = "/?/";
const QUARANTINE: &str = "quarantine/";
/// A directory below which names begin with a source.
const OF_SOURCES: [&str; 2] = ["snapshots", "drills"];

/// A backend that seals what goes into another one.
pub struct EncryptedBackend {
    below: Arc<dyn Backend>,
    keys: Keys,
    cache: Option<PathBuf>,
    // The cache of a write-only key for a local store, where there is no other cache.
    local_cache: Option<DiskLru>,
    opened: Mutex<HashMap<String, Opened>>,
}

#[derive(Clone)]
struct Opened {
    key: Key,
    head: u64,
    /// Bytes of what is sealed.
    len: u64,
}

/// Returns for whom an object of this name is sealed; `None` for what is not sealed as a whole.
fn sealed_for(name: &str) -> Option<Recipient> {
    match kind(name) {
        "index" | "pending" | "claims" => Some(Recipient::Writers),
        "snapshots" | "drills" | "checks" | "repairs" => Some(Recipient::Readers),
        _ => None,
    }
}

/// What was moved out of the way stays what it is.
fn kind(name: &str) -> &str {
    name.strip_prefix(QUARANTINE).unwrap_or(name).split('/').next().unwrap_or_default()
}

impl EncryptedBackend {
    /// Lays the keys over a backend; `cache` is where caches go, instead of beside the objects.
    pub fn new(below: Arc<dyn Backend>, keys: Keys, cache: Option<PathBuf>) -> Self {
        let beside = cache.as_ref().filter(|_| !keys.can_read() && !below.capabilities().cost_per_request);
        let local_cache = beside.and_then(|dir| DiskLru::new(dir.join("nodes"), &below.space()).ok());
        Self { below, keys, cache, local_cache, opened: Mutex::default() }
    }

    /// Encrypts the source in a name.
    fn veiled(&self, name: &str) -> Result<String> {
        match name.split_once(BARE) {
            Some((dir, bare)) => Ok(format!("{dir}/{bare}")),
            None => self.each_source(name, |source| self.keys.veil(source)),
        }
    }

    /// Decrypts the source in a name; one that is not encrypted gets a name that no source has, so that it is seen to be foreign.
    fn unveiled(&self, name: &str) -> String {
        let source = |veiled: &str| Ok(self.keys.unveil(veiled).unwrap_or_else(|| format!("{}{veiled}", &BARE[1..])));
        self.each_source(name, source).unwrap_or_else(|_| name.into())
    }

    fn each_source(&self, name: &str, change: impl Fn(&str) -> Result<String>) -> Result<String> {
        if let Some(source) = name.strip_prefix("lock-") {
            return Ok(format!("lock-{}", change(source)?));
        }
        let parts: Vec<&str> = name.split('/').collect();
        let of_sources = parts.iter().take(2).position(|part| OF_SOURCES.contains(part));
        let at = of_sources.filter(|at| *at == 0 || parts[0] == "quarantine").map(|at| at + 1);
        match at.and_then(|at| Some((at, *parts.get(at).filter(|part| !part.is_empty())?))) {
            Some((at, source)) => {
                let source = change(source)?;
                let parts = parts.iter().enumerate().map(|(n, part)| if n == at { &source } else { *part });
                Ok(parts.collect::<Vec<_>>().join("/"))
            }
            None => Ok(name.into()),
        }
    }

    /// Returns an object's key and length.
    fn opened(&self, to: Recipient, name: &str) -> Result<Opened> {
        let known = |opened: &HashMap<String, Opened>| opened.get(name).cloned();
        if let Some(opened) = known(&self.opened.lock().unwrap_or_else(PoisonError::into_inner)) {
            return Ok(opened);
        }
        let (below, object) = (self.veiled(name)?, self.object_location(name));
        let head = head_len(to);
        let sealed = self.below.len(&below)?;
        let opened = Opened {
            len: plain_len(head, sealed).ok_or_else(|| Error::corrupt(&object, "has an impossible length"))?,
            key: sealed_object::key(&self.keys, to, &self.below.read_range(&below, 0, head)?, &object)?,
            head: head as u64,
        };
        let mut kept = self.opened.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() >= OPEN_OBJECTS {
            kept.clear();
        }
        kept.insert(name.into(), opened.clone());
        Ok(opened)
    }

    fn forget(&self, name: &str) {
        self.opened.lock().unwrap_or_else(PoisonError::into_inner).remove(name);
    }

    fn check_may_remove(&self, name: &str) -> Result<()> {
        match self.keys.can_read() {
            true => Ok(()),
            false => {
                let object = self.object_location(name);
                Err(Error::refused(format!("{object} stays: the key only writes, and removes nothing")))
            }
        }
    }

    fn list_with(
        &self,
        visit: &mut dyn FnMut(&str, u64) -> Result<()>,
        list: impl FnOnce(&mut dyn FnMut(&str, u64) -> Result<()>) -> Result<()>,
    ) -> Result<()> {
        list(&mut |name, len| {
            let name = self.unveiled(name);
            let plain = sealed_for(&name).and_then(|to| plain_len(head_len(to), len));
            visit(&name, plain.unwrap_or(len))
        })
    }
}

impl Backend for EncryptedBackend {
    fn location(&self) -> String {
        self.below.location()
    }

    // As it is called there: who looks for it finds it.
    fn object_location(&self, name: &str) -> String {
        self.below.object_location(&self.veiled(name).unwrap_or_else(|_| name.into()))
    }

    fn read(&self, name: &str) -> Result<Vec<u8>> {
        let bytes = self.below.read(&self.veiled(name)?)?;
        match sealed_for(name) {
            Some(to) => sealed_object::open(&self.keys, to, kind(name), &bytes, &self.object_location(name)),
            None => Ok(bytes),
        }
    }

    fn read_range(&self, name: &str, offset: u64, len: usize) -> Result<Vec<u8>> {
        let Some(to) = sealed_for(name) else { return self.below.read_range(&self.veiled(name)?, offset, len) };
        let object = self.object_location(name);
        let opened = self.opened(to, name)?;
        let end = offset.checked_add(len as u64).filter(|end| *end <= opened.len);
        let end = end.ok_or_else(|| Error::corrupt(&object, "ends too early"))?;
        let first = offset / BLOCK as u64;
        let blocks = end.div_ceil(BLOCK as u64).max(first + 1);
        let is_end = blocks * BLOCK as u64 >= opened.len;
        let sealed_end = sealed_len(0, opened.len).min(blocks * SEALED_BLOCK as u64);
        let at = first * SEALED_BLOCK as u64;
        let below = self.veiled(name)?;
        let sealed = self.below.read_range(&below, opened.head + at, sealed_end.saturating_sub(at) as usize)?;
        let plain = sealed_object::open_blocks(&self.keys, &opened.key, kind(name), first, is_end, &sealed);
        let mut plain = plain.ok_or_else(|| Error::corrupt(&object, "its bytes do not open: they were changed"))?;
        plain.drain(..(offset - first * BLOCK as u64) as usize);
        plain.truncate(len);
        if plain.len() == len { Ok(plain) } else { Err(Error::corrupt(object, "ends too early")) }
    }

    fn len(&self, name: &str) -> Result<u64> {
        let len = self.below.len(&self.veiled(name)?)?;
        match sealed_for(name) {
            // What is in quarantine may be damaged, and takes space all the same.
            Some(to) => plain_len(head_len(to), len)
                .or(name.starts_with(QUARANTINE).then_some(len))
                .ok_or_else(|| Error::corrupt(self.object_location(name), "has an impossible length")),
            None => Ok(len),
        }
    }

    fn put(&self, name: &str, source: Payload<'_>) -> Result<()> {
        let veiled = self.veiled(name)?;
        let Some(to) = sealed_for(name) else { return self.below.put(&veiled, source) };
        self.forget(name);
        match source {
            Payload::Bytes(bytes) => {
                if sealed_len(head_len(to), bytes.len() as u64) > MOST_WHOLE_BYTES {
                    return Err(Error::refused(format!("{name} would be too long to be read again")));
                }
                self.below.put(&veiled, Payload::Bytes(&sealed_object::seal(&self.keys, to, kind(name), bytes)?))
            }
            // What came by another way is not sealed.
            Payload::TempObject(temp) if !temp.0.is_sealed() => {
                Err(Error::refused(format!("{name} would be stored unsealed: nothing was written")))
            }
            Payload::TempObject(temp) => self.below.put(&veiled, Payload::TempObject(TempObject(temp.0.finish()?))),
        }
    }

    fn put_if_absent(&self, name: &str, bytes: &[u8]) -> Result<bool> {
        self.forget(name);
        let veiled = self.veiled(name)?;
        match sealed_for(name) {
            Some(to) => self.below.put_if_absent(&veiled, &sealed_object::seal(&self.keys, to, kind(name), bytes)?),
            None => self.below.put_if_absent(&veiled, bytes),
        }
    }

    fn modified(&self, name: &str) -> Result<Option<SystemTime>> {
        self.below.modified(&self.veiled(name)?)
    }

    fn temp_object(&self) -> Result<TempObject> {
        self.below.temp_object()
    }

    fn temp_document(&self, name: &str) -> Result<TempObject> {
        let temp = self.below.temp_object()?;
        let Some(to) = sealed_for(name) else { return Ok(temp) };
        let (sealer, head) = Sealer::new(&self.keys, to, kind(name))?;
        let mut below = temp.0;
        below.write_all(&head).map_err(Error::io("write a new object in", self.location()))?;
        Ok(TempObject(Box::new(SealedFile { below, sealer })))
    }

    fn keys(&self) -> Option<&Keys> {
        Some(&self.keys)
    }

    fn prefetch(&self, name: &str, offset: u64, len: u64) {
        // Only packs are read in the order in which they lie there.
        if sealed_for(name).is_none() {
            self.below.prefetch(name, offset, len);
        }
    }

    fn list(&self, prefix: &str, visit: &mut dyn FnMut(&str, u64) -> Result<()>) -> Result<()> {
        let prefix = self.veiled(prefix)?;
        self.list_with(visit, |visit| self.below.list(&prefix, visit))
    }

    fn list_after(&self, prefix: &str, after: &str, visit: &mut dyn FnMut(&str, u64) -> Result<()>) -> Result<()> {
        let (prefix, after) = (self.veiled(prefix)?, self.veiled(after)?);
        self.list_with(visit, |visit| self.below.list_after(&prefix, &after, visit))
    }

    fn list_names(&self, prefix: &str, visit: &mut dyn FnMut(&str) -> Result<()>) -> Result<()> {
        let prefix = self.veiled(prefix)?;
        self.below.list_names(&prefix, &mut |name| visit(&self.unveiled(name)))
    }

    fn list_newest(&self, dir: &str, visit: &mut dyn FnMut(&str) -> Result<()>) -> Result<()> {
        let dir = self.veiled(dir)?;
        self.below.list_newest(&dir, &mut |name| visit(&self.unveiled(name)))
    }

    fn list_modified(&self, prefix: &str, visit: &mut dyn FnMut(&str, Option<SystemTime>) -> Result<()>) -> Result<()> {
        let prefix = self.veiled(prefix)?;
        self.below.list_modified(&prefix, &mut |name, modified| visit(&self.unveiled(name), modified))
    }

    fn fetch_whole(&self, names: &[String]) {
        let veiled = names.iter().map(|name| self.veiled(name)).collect::<Result<Vec<_>>>();
        // What has no name below cannot be read either.
        veiled.iter().for_each(|names| self.below.fetch_whole(names));
    }

    fn rename(&self, from: &str, to: &str) -> Result<()> {
        self.forget(from);
        self.below.rename(&self.veiled(from)?, &self.veiled(to)?)
    }

    fn remove(&self, name: &str) -> Result<()> {
        self.check_may_remove(name)?;
        self.forget(name);
        self.below.remove(&self.veiled(name)?)
    }

    fn remove_all(&self, names: &[String]) -> Result<()> {
        names.first().map_or(Ok(()), |name| self.check_may_remove(name))?;
        names.iter().for_each(|name| self.forget(name));
        self.below.remove_all(&names.iter().map(|name| self.veiled(name)).collect::<Result<Vec<_>>>()?)
    }

    fn sync(&self, dir: &str) -> Result<()> {
        self.below.sync(&self.veiled(dir)?)
    }

    fn lock(
        &self,
        name: &str,
        mode: LockMode,
        wait: Duration,
        interrupted: &dyn Fn() -> bool,
    ) -> Result<Option<Box<dyn Guard>>> {
        self.below.lock(&self.veiled(name)?, mode, wait, interrupted)
    }

    fn reclaim(&self) -> Result<u64> {
        self.below.reclaim()
    }

    fn capabilities(&self) -> Capabilities {
        self.below.capabilities()
    }

    fn cache_put(&self, name: &str, bytes: &[u8]) {
        let Ok(sealed) = sealed_object::seal(&self.keys, Recipient::Writers, "kept", bytes) else { return };
        match &self.local_cache {
            Some(local_cache) if !local_cache.path(name).exists() => local_cache.put(name, &sealed),
            Some(_) => {}
            None => self.below.cache_put(name, &sealed),
        }
    }

    fn cache_get(&self, name: &str) -> Option<Vec<u8>> {
        let sealed = match &self.local_cache {
            Some(local_cache) => std::fs::read(local_cache.path(name)).ok(),
            None => self.below.cache_get(name),
        };
        sealed_object::open(&self.keys, Recipient::Writers, "kept", &sealed?, name).ok()
    }

    fn cache_clear(&self) -> bool {
        self.opened.lock().unwrap_or_else(PoisonError::into_inner).clear();
        self.below.cache_clear()
    }

    fn space(&self) -> Arc<SpaceGuard> {
        self.below.space()
    }

    fn cache_dir(&self) -> Option<PathBuf> {
        let beside = || self.below.cache_dir().filter(|_| self.below.capabilities().cost_per_request);
        self.cache.clone().filter(|dir| crate::fs::durable::create_dir(dir).is_ok()).or_else(beside)
    }
}

#[cfg(test)]
mod tests;
