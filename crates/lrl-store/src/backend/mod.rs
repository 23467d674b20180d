//! Where objects are stored: a narrow trait that a directory and an object store can both implement. Objects are written once, whole.

#[cfg(feature = "bucket")]
pub mod bucket;
pub mod cache;
pub mod encrypted;
pub mod local;
pub mod location;
#[cfg(test)]
pub(crate) mod tests;

use std::io::{self, Write};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use crate::crypt::Keys;
use crate::error::{Error, Result};
use crate::fs::durable;
use crate::fs::lock::{Guard, LockMode};
use crate::fs::space::SpaceGuard;
use crate::fs::vfs::{OsFs, TempFile, Vfs};
use crate::id::Hasher;

/// The length of an object that is read whole, at most: the document of a snapshot that added 8 TiB at once is shorter.
pub(crate) const MOST_WHOLE_BYTES: u64 = 32 << 20;

/// The bytes of a new object.
pub enum Payload<'a> {
    /// In memory.
    Bytes(&'a [u8]),
    /// In a file that [`Backend::temp_object`] made; it is consumed.
    TempObject(TempObject),
}

/// A temporary file on the backend's own disk, removed unless it becomes an object.
pub struct TempObject(Box<dyn TempFile>);

impl TempObject {
    /// Creates one in a local directory, for a backend on another machine.
    fn in_dir(dir: &Path) -> Result<Self> {
        durable::create_dir(dir)?;
        OsFs.temporary(dir).map(Self)
    }
}

impl Write for TempObject {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes)
    }
    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

/// What a backend can do and what its operations cost: callers ask for the one that they mean, not for the kind of backend.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Capabilities {
    /// [`Backend::lock`] can keep everybody else out. Without it nothing is deleted at once: it is scheduled for deletion first, for writers
    /// that cannot be seen.
    pub exclusive_lock: bool,
    /// Every operation is a request to another machine, which takes time and may cost money.
    pub cost_per_request: bool,
    /// [`Backend::rename`] is one step that copies nothing.
    pub rename: bool,
}

impl Capabilities {
    /// Those of a directory.
    pub(crate) const DIRECTORY: Self = Self { exclusive_lock: true, cost_per_request: false, rename: true };
    /// Those of a bucket.
    #[cfg(any(feature = "bucket", test))]
    pub(crate) const BUCKET: Self = Self { exclusive_lock: false, cost_per_request: true, rename: false };

    /// Returns how many bytes close a pack. In a bucket one request takes it whole: in parts it would be one for each 5 MiB, and two more.
    pub(crate) const fn pack_bytes(self) -> u64 {
        if self.cost_per_request { 5 << 20 } else { 16 << 20 }
    }
}

/// Named, immutable objects. Names are relative, `/`-separated, lower-case; directories exist only as part of names.
pub trait Backend: Send + Sync {
    /// Returns where it is, for messages.
    fn location(&self) -> String;

    /// Names an object as a person would look for it.
    fn object_location(&self, name: &str) -> String {
        format!("{}/{name}", self.location())
    }

    /// Reads a whole small object, at most `MOST_WHOLE_BYTES`. [`crate::error::Error::Missing`] if it is not there.
    fn read(&self, name: &str) -> Result<Vec<u8>>;

    /// Reads exactly `len` bytes at `offset`; an object that is shorter is [`crate::error::Error::Corrupt`].
    fn read_range(&self, name: &str, offset: u64, len: usize) -> Result<Vec<u8>>;

    /// As [`Backend::read_range`], but an object that ends sooner gives what it has.
    fn read_up_to(&self, name: &str, offset: u64, len: usize) -> Result<Vec<u8>> {
        let left = self.len(name)?.saturating_sub(offset);
        self.read_range(name, offset, len.min(usize::try_from(left).unwrap_or(len)))
    }

    /// Announces that a range of a pack will be read soon, so that a backend behind requests can fetch it.
    fn prefetch(&self, name: &str, offset: u64, len: u64) {
        let _ = (name, offset, len);
    }

    /// Returns an object's length in bytes.
    fn len(&self, name: &str) -> Result<u64>;

    /// Makes a new object appear whole and durably, or not at all.
    fn put(&self, name: &str, source: Payload<'_>) -> Result<()>;

    /// Makes a small new object as [`Backend::put`] does, unless there is one of this name. Returns whether it did. Of two that try at once
    /// one succeeds. Backends that cannot promise this fail with [`crate::error::Error::Unsupported`], or break the promise: see [`probe_put_if_absent`].
    fn put_if_absent(&self, name: &str, bytes: &[u8]) -> Result<bool> {
        if !self.capabilities().exclusive_lock {
            return Err(Error::Unsupported {
                what: format!("an object at {} that only one can make", self.location()).into(),
            });
        }
        // Whoever writes here holds a lock.
        match self.len(name) {
            Ok(_) => Ok(false),
            Err(Error::Missing { .. }) => self.put(name, Payload::Bytes(bytes)).map(|()| true),
            Err(e) => Err(e),
        }
    }

    /// Returns when an object was written, by the clock of the machine that stores it; `None` where that is not known.
    fn modified(&self, name: &str) -> Result<Option<SystemTime>> {
        let _ = name;
        Ok(None)
    }

    /// Makes a temporary file for [`Payload::TempObject`].
    fn temp_object(&self) -> Result<TempObject>;

    /// As [`Backend::temp_object`], for an object that a backend may seal as a whole: an index.
    fn temp_document(&self, name: &str) -> Result<TempObject> {
        let _ = name;
        self.temp_object()
    }

    /// Returns the keys of the encrypted store that it holds; `None` for a plain one.
    fn keys(&self) -> Option<&Keys> {
        None
    }

    /// Calls `visit` with the name and length of every object below `prefix` (a directory's name, or `""`), in order of names
    /// within a directory. A listing that fails half-way fails as a whole.
    fn list(&self, prefix: &str, visit: &mut dyn FnMut(&str, u64) -> Result<()>) -> Result<()>;

    /// As [`Backend::list`], but only names that come after `after` in the order of bytes.
    fn list_after(&self, prefix: &str, after: &str, visit: &mut dyn FnMut(&str, u64) -> Result<()>) -> Result<()> {
        self.list(prefix, &mut |name, len| if name > after { visit(name, len) } else { Ok(()) })
    }

    /// As [`Backend::list`], but names alone: no object is looked at.
    fn list_names(&self, prefix: &str, visit: &mut dyn FnMut(&str) -> Result<()>) -> Result<()> {
        self.list(prefix, &mut |name, _| visit(name))
    }

    /// As [`Backend::list_names`], for a directory in which new names come last: may leave out names before one that an earlier run saw.
    fn list_newest(&self, dir: &str, visit: &mut dyn FnMut(&str) -> Result<()>) -> Result<()> {
        self.list_names(dir, visit)
    }

    /// As [`Backend::list_names`], each with what [`Backend::modified`] says of it; one that goes meanwhile may be left out.
    fn list_modified(&self, prefix: &str, visit: &mut dyn FnMut(&str, Option<SystemTime>) -> Result<()>) -> Result<()> {
        let names = collect(self, prefix, |name| Some(name.to_string()))?;
        names.iter().try_for_each(|name| match self.modified(name) {
            Err(Error::Missing { .. }) => Ok(()),
            modified => visit(name, modified?),
        })
    }

    /// Announces that these small objects will be read whole soon, so that a backend behind requests can fetch several at a time.
    fn fetch_whole(&self, names: &[String]) {
        let _ = names;
    }

    /// Gives an object another name, durably: for what is moved out of the way. Where a backend cannot, a copy is made first, so a run
    /// that is killed leaves both.
    fn rename(&self, from: &str, to: &str) -> Result<()> {
        let mut temp = self.temp_object()?;
        each_run(self, from, self.len(from)?, &mut |bytes| {
            temp.write_all(bytes).map_err(Error::io("write a copy in", self.location()))
        })?;
        self.put(to, Payload::TempObject(temp))?;
        self.remove(from)
    }

    /// Removes an object; one that is not there is no error.
    fn remove(&self, name: &str) -> Result<()>;

    /// Removes objects, in any order; after an error some of them are still there.
    fn remove_all(&self, names: &[String]) -> Result<()> {
        names.iter().try_for_each(|name| self.remove(name))
    }

    /// Makes removals below a directory durable; what was written is so already.
    fn sync(&self, dir: &str) -> Result<()> {
        let _ = dir;
        Ok(())
    }

    /// Waits up to `wait` for the named lock; `None` where the backend cannot lock (read-only, or a bucket).
    fn lock(
        &self,
        name: &str,
        mode: LockMode,
        wait: Duration,
        interrupted: &dyn Fn() -> bool,
    ) -> Result<Option<Box<dyn Guard>>>;

    /// Removes the temporary files of dead runs; returns how many bytes that frees.
    fn reclaim(&self) -> Result<u64> {
        Ok(0)
    }

    /// Returns what it can do, and what its operations cost.
    fn capabilities(&self) -> Capabilities {
        Capabilities::DIRECTORY
    }

    /// Caches bytes locally, under a name that only this machine knows, where reading them again would be a request.
    fn cache_put(&self, name: &str, bytes: &[u8]) {
        let _ = (name, bytes);
    }

    /// Returns bytes that [`Backend::cache_put`] kept, if they still are; the caller verifies them.
    fn cache_get(&self, name: &str) -> Option<Vec<u8>> {
        let _ = name;
        None
    }

    /// Deletes what is cached locally, because something in it is damaged. Returns whether another try may succeed.
    fn cache_clear(&self) -> bool {
        false
    }

    /// Returns the guard of the disk below; one that guards nothing where there is no disk, or nothing is kept free.
    fn space(&self) -> Arc<SpaceGuard> {
        Arc::new(SpaceGuard::unlimited())
    }

    /// Returns the directory for caches, if this backend has one that can be written.
    fn cache_dir(&self) -> Option<std::path::PathBuf>;
}

/// Probes whether `put_if_absent` really is conditional, by creating one unused name twice. Some servers accept the condition
/// and ignore it.
pub fn probe_put_if_absent(backend: &dyn Backend, name: &str) -> Result<bool> {
    let tried = backend.put_if_absent(name, b"first").and_then(|first| {
        let second = first && backend.put_if_absent(name, b"second")?;
        Ok(first && !second && backend.read(name)? == b"first")
    });
    match tried {
        Err(Error::Unsupported { .. }) => Ok(false),
        tried => {
            backend.remove(name)?;
            tried
        }
    }
}

/// Lists what `parse` makes of the objects' names below `prefix`, in the order of [`Backend::list`].
pub(crate) fn collect<T, S: Backend + ?Sized>(
    backend: &S,
    prefix: &str,
    parse: impl Fn(&str) -> Option<T>,
) -> Result<Vec<T>> {
    let mut found = Vec::new();
    backend.list_names(prefix, &mut |name| {
        found.extend(parse(name));
        Ok(())
    })?;
    Ok(found)
}

/// Reads the first `len` bytes of an object, a mebibyte at a time.
pub(crate) fn each_run<S: Backend + ?Sized>(
    backend: &S,
    name: &str,
    len: u64,
    visit: &mut dyn FnMut(&[u8]) -> Result<()>,
) -> Result<()> {
    each_piece(backend, name, len, 1 << 20, visit)
}

/// Reads the first `len` bytes of an object, up to `piece` at a time.
fn each_piece<S: Backend + ?Sized>(
    backend: &S,
    name: &str,
    len: u64,
    piece: u64,
    visit: &mut dyn FnMut(&[u8]) -> Result<()>,
) -> Result<()> {
    let mut at = 0;
    while at < len {
        let run = (len - at).min(piece);
        visit(&backend.read_range(name, at, run as usize)?)?;
        at += run;
    }
    Ok(())
}

/// Does two things that wait for the backend: at the same time where it is requests that they wait for, else one after the other.
pub(crate) fn at_once<A: Send, B>(
    backend: &dyn Backend,
    one: impl FnOnce() -> A + Send,
    other: impl FnOnce() -> B,
) -> (A, B) {
    if !backend.capabilities().cost_per_request {
        return (one(), other());
    }
    std::thread::scope(|scope| {
        let one = scope.spawn(one);
        let other = other();
        (one.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)), other)
    })
}

/// Returns the BLAKE3 of the first `len` bytes of an object.
pub(crate) fn hash_start(backend: &dyn Backend, name: &str, len: u64) -> Result<[u8; 32]> {
    let mut hasher = Hasher::new();
    each_run(backend, name, len, &mut |bytes| {
        hasher.update(bytes);
        Ok(())
    })?;
    Ok(hasher.finish())
}
