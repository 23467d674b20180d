//! Objects as files of a directory, written durably: temporary file, fsync, rename, fsync of the directory.

use std::collections::VecDeque;
use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::{Backend, MOST_WHOLE_BYTES, Payload, TempObject};
use crate::error::{Error, Result};
use crate::fs::durable::{create_dir, create_dir_on, sync_dir_on};
use crate::fs::lock::{Guard, LockMode};
use crate::fs::space::{Reserve, SpaceGuard};
use crate::fs::vfs::{OsFs, Vfs};

/// Packs of a store of 1 GiB.
const OPEN_FILES: usize = 64;
/// What of a file is read ahead at once.
const AHEAD_BYTES: u64 = 512 << 10;

/// A store's directory.
pub struct LocalBackend<D: Vfs = OsFs> {
    disk: D,
    root: PathBuf,
    // Restores read thousands of chunks from few packs: reopening each time would cost more than the read.
    open: Mutex<OpenFiles<D::File>>,
    space: Arc<SpaceGuard>,
}

/// Files by their names, those used last at the end.
type OpenFiles<F> = VecDeque<(String, Arc<Opened<F>>)>;

/// A file that is open, and which parts of it are wanted: a bit for each [`AHEAD_BYTES`] of the first 32 MiB.
struct Opened<F> {
    file: F,
    read_once: AtomicU64,
    read_ahead: AtomicU64,
}

impl<F> Opened<F> {
    fn new(file: F) -> Self {
        Self { file, read_once: AtomicU64::new(0), read_ahead: AtomicU64::new(0) }
    }

    /// Returns where to read ahead from now that `offset` is read: what is near two places that were read is mostly read as well, and one
    /// large read takes no longer than three small ones.
    fn ahead_of(&self, offset: u64) -> Option<u64> {
        let part = u32::try_from(offset / AHEAD_BYTES).ok()?;
        let bit = 1_u64.checked_shl(part)?;
        let is_new = |parts: &AtomicU64| parts.fetch_or(bit, Ordering::Relaxed) & bit == 0;
        (!is_new(&self.read_once) && is_new(&self.read_ahead)).then_some(u64::from(part) * AHEAD_BYTES)
    }
}

impl LocalBackend {
    /// Names a directory; touches nothing.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self::on(OsFs, root)
    }

    /// Keeps space free on its disk from here on. The directory must be there. Documents of a few KiB may use it all the same: they
    /// make what was written before them worth something.
    pub(crate) fn keep_free(mut self, reserve: Reserve) -> Result<Self> {
        self.space = Arc::new(SpaceGuard::open(&self.root, reserve)?);
        Ok(self)
    }

    /// Creates the directory and its parents (0700) if they are not there.
    pub fn create(&self) -> Result<()> {
        create_dir(&self.root)
    }
}

impl<D: Vfs> LocalBackend<D> {
    /// Names a directory of a file system.
    pub fn on(disk: D, root: impl Into<PathBuf>) -> Self {
        Self { disk, root: root.into(), open: Mutex::new(VecDeque::new()), space: Arc::new(SpaceGuard::unlimited()) }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    fn opened(&self, name: &str) -> Result<Arc<Opened<D::File>>> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(at) = open.iter().position(|(n, _)| n == name) {
            let found = open.remove(at);
            open.extend(found);
        } else {
            let file = self.disk.open(&self.path(name)).map_err(|e| self.missing_or(name, "open", e))?;
            if open.len() == OPEN_FILES {
                open.pop_front();
            }
            open.push_back((name.to_string(), Arc::new(Opened::new(file))));
        }
        open.back().map(|(_, file)| Arc::clone(file)).ok_or_else(|| Error::Missing { object: name.into() })
    }

    fn forget_open(&self, name: &str) {
        self.open.lock().unwrap_or_else(PoisonError::into_inner).retain(|(n, _)| n != name);
    }

    fn missing_or(&self, name: &str, op: &'static str, source: io::Error) -> Error {
        if source.kind() == io::ErrorKind::NotFound {
            Error::Missing { object: self.object_location(name) }
        } else {
            Error::io(op, self.path(name))(source)
        }
    }
}

impl<D: Vfs> Backend for LocalBackend<D> {
    fn location(&self) -> String {
        self.root.display().to_string()
    }

    fn read(&self, name: &str) -> Result<Vec<u8>> {
        let most = MOST_WHOLE_BYTES + 1;
        let bytes = self.disk.read(&self.path(name), most).map_err(|e| self.missing_or(name, "read", e))?;
        if bytes.len() as u64 == most {
            return Err(Error::corrupt(self.object_location(name), "is far too long for what it should be"));
        }
        Ok(bytes)
    }

    fn read_range(&self, name: &str, offset: u64, len: usize) -> Result<Vec<u8>> {
        let mut bytes = vec![0; len];
        let opened = self.opened(name)?;
        if let Some(ahead) = opened.ahead_of(offset) {
            self.disk.read_ahead(&opened.file, ahead, AHEAD_BYTES);
        }
        self.disk.read_exact_at(&opened.file, &mut bytes, offset).map_err(|e| {
            if e.kind() == io::ErrorKind::UnexpectedEof {
                Error::corrupt(self.object_location(name), "ends too early")
            } else {
                Error::io("read", self.path(name))(e)
            }
        })?;
        Ok(bytes)
    }

    fn len(&self, name: &str) -> Result<u64> {
        self.disk.len(&self.path(name)).map_err(|e| self.missing_or(name, "look at", e))
    }

    fn put(&self, name: &str, source: Payload<'_>) -> Result<()> {
        let path = self.path(name);
        let mut file = match source {
            Payload::TempObject(temp) => temp.0,
            Payload::Bytes(bytes) => {
                let mut file = self.disk.temporary(&self.root)?;
                file.write_all(bytes).map_err(Error::io("write", &path))?;
                file
            }
        };
        let dir = path.parent().unwrap_or(&self.root);
        create_dir_on(&self.disk, dir)?;
        self.forget_open(name);
        // A run that is killed before the name is durable leaves this behind: see `reclaim`.
        let _unsure = self.disk.temporary(&self.root).ok();
        // Its bytes are durable before its name is, and the name before this returns.
        file.sync().map_err(Error::io("sync", &path))?;
        file.rename(&path).map_err(Error::io("rename into place", &path))?;
        // A later run would take it for durable.
        sync_dir_on(&self.disk, dir).inspect_err(|_| _ = self.disk.remove_file(&path))
    }

    fn temp_object(&self) -> Result<TempObject> {
        self.disk.temporary(&self.root).map(TempObject)
    }

    fn list(&self, prefix: &str, visit: &mut dyn FnMut(&str, u64) -> Result<()>) -> Result<()> {
        self.list_names(prefix, &mut |name| match self.disk.len(&self.path(name)) {
            Ok(len) => visit(name, len),
            // Another process removed it after the listing began.
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(e) => Err(Error::io("look at", self.path(name))(e)),
        })
    }

    fn list_names(&self, prefix: &str, visit: &mut dyn FnMut(&str) -> Result<()>) -> Result<()> {
        let dir = self.path(prefix);
        let listing = match self.disk.read_dir(&dir) {
            Ok(listing) => listing,
            // A directory exists only as part of names: none there means no objects, but only if the store itself is there.
            Err(e) if e.kind() == io::ErrorKind::NotFound && self.disk.is_dir(&self.root) => return Ok(()),
            Err(e) => return Err(Error::io("list", &dir)(e)),
        };
        let mut names: Vec<(Box<str>, bool)> = Vec::new();
        for entry in listing {
            let (name, is_dir) = entry.map_err(Error::io("list", &dir))?;
            // Names that lrl never writes are not objects.
            let Some(name) = name.to_str().filter(|n| !n.starts_with('.')) else { continue };
            names.push((name.into(), is_dir));
        }
        names.sort_unstable();
        for (name, is_dir) in names {
            let full = if prefix.is_empty() { name.into_string() } else { format!("{prefix}/{name}") };
            if is_dir {
                self.list_names(&full, visit)?;
            } else {
                visit(&full)?;
            }
        }
        Ok(())
    }

    /// Needs no space for the object's bytes.
    fn rename(&self, from: &str, to: &str) -> Result<()> {
        let (old, new) = (self.path(from), self.path(to));
        if let Some(parent) = new.parent() {
            create_dir_on(&self.disk, parent)?;
        }
        self.forget_open(from);
        self.forget_open(to);
        self.disk.rename(&old, &new).map_err(|e| self.missing_or(from, "rename", e))?;
        sync_dir_on(&self.disk, new.parent().unwrap_or(&new))?;
        sync_dir_on(&self.disk, old.parent().unwrap_or(&old))
    }

    fn remove(&self, name: &str) -> Result<()> {
        self.forget_open(name);
        match self.disk.remove_file(&self.path(name)) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => Err(Error::io("remove", self.path(name))(e)),
            _ => Ok(()),
        }
    }

    fn sync(&self, dir: &str) -> Result<()> {
        let path = self.path(dir);
        match self.disk.read_dir(&path) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(e) => return Err(Error::io("list", &path)(e)),
            Ok(entries) => {
                for entry in entries {
                    let (name, is_dir) = entry.map_err(Error::io("list", &path))?;
                    if is_dir {
                        sync_dir_on(&self.disk, &path.join(name))?;
                    }
                }
            }
        }
        sync_dir_on(&self.disk, &path)
    }

    fn lock(
        &self,
        name: &str,
        mode: LockMode,
        wait: Duration,
        interrupted: &dyn Fn() -> bool,
    ) -> Result<Option<Box<dyn Guard>>> {
        self.disk.lock(&self.path(name), mode, wait, interrupted)
    }

    fn reclaim(&self) -> Result<u64> {
        if self.disk.has_dead(&self.root)? {
            // It may have died between giving a name and making it durable: nothing may depend on what a power cut can still take away.
            ["", "packs", "snapshots"].into_iter().try_for_each(|dir| self.sync(dir))?;
        }
        self.disk.reclaim(&self.root)
    }

    fn space(&self) -> Arc<SpaceGuard> {
        Arc::clone(&self.space)
    }

    fn cache_dir(&self) -> Option<PathBuf> {
        self.disk.keeps_caches().then(|| self.root.join("cache")).filter(|dir| create_dir(dir).is_ok())
    }
}

#[cfg(test)]
mod tests {
    use super::{AHEAD_BYTES, Opened};

    #[test]
    fn a_part_is_read_ahead_once_two_places_in_it_were_read() {
        let opened = Opened::new(());
        let read = |offsets: &[u64]| offsets.iter().map(|offset| opened.ahead_of(*offset)).collect::<Vec<_>>();
        assert_eq!(read(&[7, AHEAD_BYTES - 1, 7, 8]), [None, Some(0), None, None]);
        assert_eq!(read(&[AHEAD_BYTES, 9, 63 * AHEAD_BYTES, AHEAD_BYTES]), [None, None, None, Some(AHEAD_BYTES)]);
        assert_eq!(read(&[63 * AHEAD_BYTES + 5]), [Some(63 * AHEAD_BYTES)]);
        // Further on nothing is known.
        assert_eq!(read(&[64 * AHEAD_BYTES, 64 * AHEAD_BYTES + 1, u64::MAX, u64::MAX]), [None; 4]);
    }
}
