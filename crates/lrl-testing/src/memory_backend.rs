//! A disk in memory, for tests: it takes the steps of a directory of objects one by one, fails where it is told to, and remembers how it was
//! before each step that changes something, for kills and power cuts there.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use lrl_store::backend::local::LocalBackend;
use lrl_store::error::{Error, Result};
use lrl_store::fs::lock::{Guard, LockMode};
use lrl_store::fs::temp_file::TEMP_PREFIX;
use lrl_store::fs::vfs::{TempFile, Vfs};

use super::disk_image::{DiskImage, Id};
use super::rng::Rng;

/// A storage that is gone when it is dropped.
pub type Memory = LocalBackend<MemoryFs>;

const ROOT: &str = "memory";

/// Makes an empty store's backend in memory.
pub fn memory() -> Memory {
    MemoryFs::new().storage()
}

/// What goes wrong, from or at one call of its kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// One call fails with EIO, whichever it is.
    Fails,
    /// All calls fail with EIO from one on.
    Dies,
    /// From one call on that needs room there is none: ENOSPC. Reading and removing work.
    Full,
    /// One write takes a part of its bytes.
    Short,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Call {
    Reads,
    Removes,
    Grows,
    Writes,
    Syncs,
}

#[derive(Default)]
struct State {
    image: DiskImage,
    /// As it was before each step that changed something, if that is asked for.
    before: Option<Vec<DiskImage>>,
    fault: Option<(Fault, usize)>,
    calls: usize,
    tripped: bool,
    temporary: usize,
    living: BTreeSet<PathBuf>,
}

/// A disk in memory; clones share it.
#[derive(Clone, Default)]
pub struct MemoryFs(Arc<Mutex<State>>);

struct NoGuard;
impl Guard for NoGuard {}

impl MemoryFs {
    /// Makes an empty one.
    pub fn new() -> Self {
        let mut image = DiskImage::default();
        image.create_dir(Path::new(ROOT), 0o700).map(drop).unwrap_or_default();
        image.sync_all();
        Self::of(image)
    }

    /// Makes one with these contents, which no running program uses.
    pub fn of(image: DiskImage) -> Self {
        Self(Arc::new(Mutex::new(State { image, ..State::default() })))
    }

    /// Opens a storage on it, as a new process does.
    pub fn storage(&self) -> Memory {
        LocalBackend::on(self.clone(), ROOT)
    }

    /// Returns its contents.
    pub fn image(&self) -> DiskImage {
        self.state().image.clone()
    }

    /// Returns another disk with the same contents, all of them durable.
    pub fn twin(&self) -> Self {
        let mut image = self.image();
        image.sync_all();
        Self::of(image)
    }

    /// Returns what a power cut may leave.
    pub fn after_power_cut(&self, seed: u64) -> Self {
        Self::of(self.state().image.after_power_cut(&mut Rng::new(seed)))
    }

    /// Remembers from now on how it was before each step that changed something.
    pub fn record(&self) {
        self.state().before = Some(Vec::new());
    }

    /// Returns what was remembered.
    pub fn recorded(&self) -> Vec<DiskImage> {
        self.state().before.take().unwrap_or_default()
    }

    /// Lets the `n`-th call from now on go wrong, counted from 0 among those that the fault concerns.
    pub fn arm(&self, fault: Fault, n: usize) {
        let mut state = self.state();
        (state.fault, state.calls, state.tripped) = (Some((fault, n)), 0, false);
    }

    /// Returns how many calls there were that the fault concerns.
    pub fn calls(&self) -> usize {
        self.state().calls
    }

    /// Lets everything work again; returns whether something had failed.
    pub fn disarm(&self) -> bool {
        let mut state = self.state();
        state.fault = None;
        state.tripped
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One call; `Ok(true)` means that it does only a part of its work.
    fn call(&self, call: Call) -> io::Result<(MutexGuard<'_, State>, bool)> {
        let mut state = self.state();
        let State { image, before, .. } = &mut *state;
        before.as_mut().filter(|_| call != Call::Reads).into_iter().for_each(|before| before.push(image.clone()));
        let Some((fault, n)) = state.fault else { return Ok((state, false)) };
        let concerned = match fault {
            Fault::Fails | Fault::Dies => true,
            Fault::Full => matches!(call, Call::Grows | Call::Writes),
            Fault::Short => call == Call::Writes,
        };
        if !concerned {
            return Ok((state, false));
        }
        state.calls += 1;
        let hit = state.calls - 1 == n || state.calls > n && matches!(fault, Fault::Dies | Fault::Full);
        state.tripped |= hit;
        match fault {
            _ if !hit => Ok((state, false)),
            Fault::Short => Ok((state, true)),
            Fault::Full => Err(io::ErrorKind::StorageFull.into()),
            Fault::Fails | Fault::Dies => Err(io::Error::other("injected")),
        }
    }

    fn dead(&self, dir: &Path) -> Result<Vec<PathBuf>> {
        let names = self.read_dir(dir).and_then(Iterator::collect::<io::Result<Vec<_>>>);
        let names = names.map_err(Error::io("list", dir))?.into_iter().map(|(name, _)| name);
        let temporary = names.filter(|name| name.as_encoded_bytes().starts_with(TEMP_PREFIX.as_bytes()));
        Ok(temporary.map(|name| dir.join(name)).filter(|path| !self.state().living.contains(path)).collect())
    }

    fn reading(&self) -> io::Result<MutexGuard<'_, State>> {
        self.call(Call::Reads).map(|(state, _)| state)
    }

    fn changing(&self, call: Call) -> io::Result<MutexGuard<'_, State>> {
        self.call(call).map(|(state, _)| state)
    }
}

impl Vfs for MemoryFs {
    type File = Id;

    fn open(&self, path: &Path) -> io::Result<Id> {
        self.reading()?.image.find(path)
    }

    fn read_exact_at(&self, file: &Id, bytes: &mut [u8], offset: u64) -> io::Result<()> {
        let state = self.reading()?;
        let (all, from) = (state.image.bytes(*file), usize::try_from(offset).unwrap_or(usize::MAX));
        let found = from.checked_add(bytes.len()).and_then(|to| all.get(from..to));
        bytes.copy_from_slice(found.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn read(&self, path: &Path, most: u64) -> io::Result<Vec<u8>> {
        let state = self.reading()?;
        state.image.find(path).map(|id| {
            let bytes = state.image.bytes(id);
            bytes[..bytes.len().min(most as usize)].to_vec()
        })
    }

    fn len(&self, path: &Path) -> io::Result<u64> {
        let state = self.reading()?;
        state.image.find(path).map(|id| state.image.bytes(id).len() as u64)
    }

    fn is_dir(&self, path: &Path) -> bool {
        self.reading().is_ok_and(|state| state.image.find(path).is_ok_and(|id| state.image.is_dir(id)))
    }

    fn read_dir(&self, path: &Path) -> io::Result<impl Iterator<Item = io::Result<(OsString, bool)>>> {
        let names = {
            let state = self.reading()?;
            let names = state.image.names(state.image.find(path)?)?;
            names.into_iter().map(|(name, id)| (name, state.image.is_dir(id))).collect::<Vec<_>>()
        };
        // Each page of a listing is a call that can fail.
        Ok(names.into_iter().map(|name| self.reading().map(|_| name)))
    }

    fn temporary(&self, dir: &Path) -> Result<Box<dyn TempFile>> {
        let create = || {
            let mut state = self.changing(Call::Grows)?;
            state.temporary += 1;
            let mut path = dir.join(format!("{TEMP_PREFIX}{}", state.temporary));
            while state.image.find(&path).is_ok() {
                state.temporary += 1;
                path = dir.join(format!("{TEMP_PREFIX}{}", state.temporary));
            }
            let id = state.image.create(&path, 0o600)?;
            state.living.insert(path.clone());
            Ok(MemoryTempFile { disk: self.clone(), id, path, is_named: false })
        };
        Ok(Box::new(create().map_err(Error::io("create a temporary file in", dir))?))
    }

    fn create_dir(&self, path: &Path) -> io::Result<()> {
        self.changing(Call::Grows)?.image.create_dir(path, 0o700).map(drop)
    }

    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        self.remove_file(path)
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        self.changing(Call::Removes)?.image.remove(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.changing(Call::Removes)?.image.rename(from, to)
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        // Names that a failed sync left are tried again by a later one: they are in the journal, not in the cache.
        let mut state = self.changing(Call::Syncs)?;
        let dir = state.image.find(path)?;
        state.image.sync(dir);
        Ok(())
    }

    fn lock(&self, path: &Path, _: LockMode, _: Duration, _: &dyn Fn() -> bool) -> Result<Option<Box<dyn Guard>>> {
        drop(self.reading().map_err(Error::io("open", path))?);
        Ok(Some(Box::new(NoGuard)))
    }

    fn has_dead(&self, dir: &Path) -> Result<bool> {
        self.dead(dir).map(|dead| !dead.is_empty())
    }

    fn reclaim(&self, dir: &Path) -> Result<u64> {
        let mut freed = 0;
        for path in self.dead(dir)? {
            freed += self.len(&path).map_err(Error::io("look at", &path))?;
            self.remove_file(&path).map_err(Error::io("remove", &path))?;
        }
        Ok(freed)
    }

    fn keeps_caches(&self) -> bool {
        false
    }
}

struct MemoryTempFile {
    disk: MemoryFs,
    id: Id,
    path: PathBuf,
    is_named: bool,
}

impl Write for MemoryTempFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let (mut state, is_short) = self.disk.call(Call::Writes)?;
        let len = if is_short { bytes.len().div_ceil(2) } else { bytes.len() };
        let end = state.image.bytes(self.id).len();
        state.image.write(self.id, end, &bytes[..len]);
        Ok(len)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl TempFile for MemoryTempFile {
    fn sync(&mut self) -> io::Result<()> {
        match self.disk.changing(Call::Syncs) {
            Ok(mut state) => {
                state.image.sync(self.id);
                Ok(())
            }
            Err(e) => {
                self.disk.state().image.lose(self.id);
                Err(e)
            }
        }
    }

    fn finish(self: Box<Self>) -> Result<Box<dyn TempFile>> {
        Ok(self)
    }

    fn rename(mut self: Box<Self>, path: &Path) -> io::Result<()> {
        let mut state = self.disk.changing(Call::Grows)?;
        state.image.rename(&self.path, path)?;
        state.living.remove(&self.path);
        drop(state);
        self.is_named = true;
        Ok(())
    }
}

impl Drop for MemoryTempFile {
    fn drop(&mut self) {
        if !self.is_named {
            let _ = self.disk.remove_file(&self.path);
            self.disk.state().living.remove(&self.path);
        }
    }
}
