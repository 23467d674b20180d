//! Objects as files of a directory. The one place that writes durably: temporary file, fsync, rename, fsync of the directory.

use std::collections::VecDeque;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use fs2::FileExt as _;

use super::disk::{OsFs, Vfs};
use super::{Backend, Guard, LockMode, MOST_WHOLE_BYTES, Payload, TempObject};
use crate::error::{Error, Result};
use crate::fs::space::{Reserve, SpaceGuard};
use crate::fs::unsupported;

/// How the names of temporary files begin.
pub const TEMP_PREFIX: &str = ".tmp-";
/// A temporary file or directory is locked a moment after it was made: what is younger may be alive without a lock.
pub(crate) const RECLAIM_AGE: Duration = Duration::from_secs(10);
const OPEN_FILES: usize = 16;

/// A store's directory.
pub struct LocalBackend<D: Vfs = OsFs> {
    disk: D,
    root: PathBuf,
    // Restores read thousands of chunks from few packs: reopening each time would cost more than the read.
    open: Mutex<VecDeque<(String, Arc<D::File>)>>,
    room: Arc<SpaceGuard>,
}

struct FileLock {
    file: File,
}

impl Guard for FileLock {
    fn make_exclusive(&self) -> bool {
        self.file.try_lock_exclusive().is_ok()
    }
}

impl LocalBackend {
    /// Names a directory; touches nothing.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self::on(OsFs, root)
    }

    /// Keeps room free on its disk from here on. The directory must be there. Documents of a few KiB may use it all the same: they
    /// make what was written before them worth something.
    pub fn keep_free(mut self, reserve: Reserve) -> Result<Self> {
        self.room = Arc::new(SpaceGuard::open(&self.root, reserve)?);
        Ok(self)
    }

    /// Creates the directory and its parents (0700) if they are not there.
    pub fn create(&self) -> Result<()> {
        create_dir(&self.root)
    }
}

impl<D: Vfs> LocalBackend<D> {
    /// Names a directory of a disk.
    pub(super) fn on(disk: D, root: impl Into<PathBuf>) -> Self {
        Self { disk, root: root.into(), open: Mutex::new(VecDeque::new()), room: Arc::new(SpaceGuard::unlimited()) }
    }

    /// Returns the directory.
    pub fn root(&self) -> &Path {
        &self.root
    }

    fn path(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    fn opened(&self, name: &str) -> Result<Arc<D::File>> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(at) = open.iter().position(|(n, _)| n == name) {
            let found = open.remove(at);
            open.extend(found);
        } else {
            let file = self.disk.open(&self.path(name)).map_err(|e| self.missing_or(name, "open", e))?;
            if open.len() == OPEN_FILES {
                open.pop_front();
            }
            open.push_back((name.to_string(), Arc::new(file)));
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

/// Creates a directory and its missing parents, readable by the owner alone, durably.
pub fn create_dir(path: &Path) -> Result<()> {
    create_dir_on(&OsFs, path)
}

fn create_dir_on<D: Vfs>(disk: &D, path: &Path) -> Result<()> {
    if disk.is_dir(path) {
        return Ok(());
    }
    if let Some(parent) = path.parent().filter(|p| !p.as_os_str().is_empty()) {
        create_dir_on(disk, parent)?;
    }
    match disk.create_dir(path) {
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists && disk.is_dir(path) => Ok(()),
        Err(e) => Err(Error::io("create", path)(e)),
        // One whose name may not be durable must not be taken for one that is.
        Ok(()) => sync_dir_on(disk, path.parent().unwrap_or(path)).inspect_err(|_| _ = disk.remove_dir(path)),
    }
}

/// Makes the names in a directory durable.
pub fn sync_dir(path: &Path) -> Result<()> {
    sync_dir_on(&OsFs, path)
}

fn sync_dir_on<D: Vfs>(disk: &D, path: &Path) -> Result<()> {
    let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
    disk.sync_dir(path).map_err(Error::io("sync", path))
}

/// Makes a temporary file in `dir` (0600), locked for as long as its owner lives, so that what dead runs leave can be told apart.
pub fn temporary_file(dir: &Path) -> Result<tempfile::NamedTempFile> {
    let file = tempfile::Builder::new()
        .prefix(TEMP_PREFIX)
        .permissions(fs::Permissions::from_mode(0o600))
        .tempfile_in(dir)
        .map_err(Error::io("create a temporary file in", dir))?;
    // Some network file systems cannot lock; then nothing is ever reclaimed, which is the safe side. Nobody else holds it for long.
    let _ = file.as_file().lock_exclusive();
    Ok(file)
}

fn temporary_files(dir: &Path) -> Result<impl Iterator<Item = Result<PathBuf>>> {
    let is_temporary = |entry: &fs::DirEntry| entry.file_name().as_encoded_bytes().starts_with(TEMP_PREFIX.as_bytes());
    let entries = fs::read_dir(dir).map_err(Error::io("list", dir))?;
    let found = entries.filter(move |entry| entry.as_ref().map_or(true, is_temporary));
    Ok(found.map(move |entry| entry.map(|entry| entry.path()).map_err(Error::io("list", dir))))
}

/// Says whether a dead run left a temporary file in `dir`, or one begins to live in this moment.
pub(super) fn has_dead(dir: &Path) -> Result<bool> {
    for path in temporary_files(dir)? {
        if File::open(path?).is_ok_and(|file| fs2::FileExt::try_lock_shared(&file).is_ok()) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Says whether a file or directory is old enough for its owner to have locked it, which comes a moment after it was made.
pub(crate) fn is_settled(meta: &fs::Metadata) -> bool {
    meta.modified().ok().and_then(|time| time.elapsed().ok()).is_some_and(|age| age > RECLAIM_AGE)
}

/// Removes the temporary files that dead runs left in `dir`; returns their bytes. Those of living ones are locked, or too young to tell.
pub fn reclaim(dir: &Path) -> Result<u64> {
    let mut freed = 0;
    for path in temporary_files(dir)? {
        let path = path?;
        let Ok(file) = File::open(&path) else { continue };
        let Ok(meta) = file.metadata() else { continue };
        if meta.is_file() && is_settled(&meta) && file.try_lock_exclusive().is_ok() {
            match fs::remove_file(&path) {
                // Another run reclaimed it, or its owner gave it its name, after it was opened here.
                Err(e) if e.kind() == io::ErrorKind::NotFound => {}
                Err(e) => return Err(Error::io("remove", &path)(e)),
                Ok(()) => freed += meta.len(),
            }
        }
    }
    Ok(freed)
}

/// A temporary file whose bytes the disk has: a name never becomes durable before them.
pub struct SyncedFile(tempfile::NamedTempFile);

impl SyncedFile {
    /// Waits until the disk has the file's bytes.
    pub fn new(file: tempfile::NamedTempFile) -> Result<Self> {
        file.as_file().sync_all().map_err(Error::io("sync", file.path()))?;
        Ok(Self(file))
    }

    /// Moves it to a name that nothing has yet, which is durable when this returns; after an error this file has it not.
    pub fn persist_new(self, path: &Path) -> Result<()> {
        self.0.persist_noclobber(path).map_err(|e| Error::io("rename into place", path)(e.error))?;
        // A manifest that could not be made sure of must not outlive the files that are taken away because of it.
        sync_dir(path.parent().unwrap_or(path)).inspect_err(|_| _ = fs::remove_file(path))
    }
}

/// Waits for the right to write into a directory; no file is left in it.
pub fn lock_dir(path: &Path, wait: Duration, interrupted: &dyn Fn() -> bool) -> Result<Option<Box<dyn Guard>>> {
    let dir = File::open(path).map_err(Error::io("open", path))?;
    wait_for(dir, path, LockMode::Exclusive, wait, interrupted)
}

/// Keeps the set of a manifest from being removed while it is read, as far as the file system can lock and the file is there.
pub fn hold(manifest: &Path) -> Option<Box<dyn Guard>> {
    // A pipe would hold up the open.
    let is_file = fs::metadata(manifest).is_ok_and(|meta| meta.is_file());
    is_file.then(|| lock_file(manifest, LockMode::ReadOnly, Duration::ZERO, &|| false).ok().flatten()).flatten()
}

/// Opens (or creates, 0600) a lock file and waits for it.
pub fn lock_file(
    path: &Path,
    mode: LockMode,
    wait: Duration,
    interrupted: &dyn Fn() -> bool,
) -> Result<Option<Box<dyn Guard>>> {
    let opened = match mode {
        LockMode::ReadOnly => File::open(path),
        _ => OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path),
    };
    let file = match opened.or_else(|e| File::open(path).map_err(|_| e)) {
        Ok(file) => file,
        Err(e) if mode != LockMode::Exclusive && is_read_only(&e) => return Ok(None),
        Err(e) => return Err(Error::io("open", path)(e)),
    };
    wait_for(file, path, mode, wait, interrupted)
}

fn wait_for(
    file: File,
    path: &Path,
    mode: LockMode,
    wait: Duration,
    interrupted: &dyn Fn() -> bool,
) -> Result<Option<Box<dyn Guard>>> {
    let until = Instant::now() + wait;
    loop {
        let taken = match mode {
            LockMode::Shared | LockMode::ReadOnly => fs2::FileExt::try_lock_shared(&file),
            LockMode::Exclusive => file.try_lock_exclusive(),
        };
        match taken {
            Ok(()) => return Ok(Some(Box::new(FileLock { file }))),
            Err(e) if unsupported::has_no_locks(&e, path) => {
                return if mode == LockMode::Exclusive { Err(no_locks(path)) } else { Ok(None) };
            }
            Err(e) if e.raw_os_error() != fs2::lock_contended_error().raw_os_error() => {
                return Err(Error::io("lock", path)(e));
            }
            Err(_) if interrupted() => return Err(Error::Interrupted),
            Err(_) if Instant::now() >= until => {
                let holders =
                    crate::fs::lock_holder::holders(&file).map(|who| format!(", by {who}")).unwrap_or_default();
                return Err(Error::Locked { what: format!("{}{holders}", path.display()) });
            }
            Err(_) => std::thread::sleep(Duration::from_millis(20)),
        }
    }
}

/// Two writers that nothing keeps apart could each delete what the other has just found.
fn no_locks(path: &Path) -> Error {
    Error::Refused(format!(
        "cannot lock {}: its file system has no locks (NFS without a lock service). Reading works, writing needs a lock: \
         mount it with the option `nolock` if no other machine writes there, start the lock service (rpc.statd), or name another place \
         with --store, --backup or --cache-dir",
        path.display()
    ))
}

fn is_read_only(e: &io::Error) -> bool {
    matches!(e.kind(), io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem | io::ErrorKind::NotFound)
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
        self.disk.read_exact_at(&*self.opened(name)?, &mut bytes, offset).map_err(|e| {
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
            Payload::TempObject(spool) => spool.0,
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
        let dir = self.path(prefix);
        let listing = match self.disk.read_dir(&dir) {
            Ok(listing) => listing,
            // A directory exists only as part of names: none there means no objects, but only if the store itself is there.
            Err(e) if e.kind() == io::ErrorKind::NotFound && self.disk.is_dir(&self.root) => return Ok(()),
            Err(e) => return Err(Error::io("list", &dir)(e)),
        };
        let mut names = Vec::new();
        for entry in listing {
            let (name, is_dir) = entry.map_err(Error::io("list", &dir))?;
            // Names that lrl never writes are not objects.
            let Some(name) = name.to_str().filter(|n| !n.starts_with('.')) else { continue };
            names.push((name.to_string(), is_dir));
        }
        names.sort_unstable();
        for (name, is_dir) in names {
            let full = if prefix.is_empty() { name } else { format!("{prefix}/{name}") };
            if is_dir {
                self.list(&full, visit)?;
            } else {
                match self.disk.len(&self.path(&full)) {
                    Ok(len) => visit(&full, len)?,
                    // Another process removed it after the listing began.
                    Err(e) if e.kind() == io::ErrorKind::NotFound => {}
                    Err(e) => return Err(Error::io("look at", self.path(&full))(e)),
                }
            }
        }
        Ok(())
    }

    /// Needs no room for the object's bytes.
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
            // It may have died between giving a name and making it durable: nobody may lean on what a power cut can still take away.
            ["", "packs", "snapshots"].into_iter().try_for_each(|dir| self.sync(dir))?;
        }
        self.disk.reclaim(&self.root)
    }

    fn space(&self) -> Arc<SpaceGuard> {
        Arc::clone(&self.room)
    }

    fn cache_dir(&self) -> Option<PathBuf> {
        self.disk.keeps_caches().then(|| self.root.join("cache")).filter(|dir| create_dir(dir).is_ok())
    }
}

#[cfg(test)]
mod tests {
    use std::fs::{self, File};
    use std::time::{Duration, SystemTime};

    use super::{reclaim, temporary_file};

    #[test]
    fn only_what_the_dead_left_is_reclaimed() {
        let dir = tempfile::tempdir().unwrap();
        let hour_ago = SystemTime::now() - Duration::from_secs(3600);
        let dead = dir.path().join(".tmp-dead");
        fs::write(&dead, b"12345").unwrap();
        File::options().write(true).open(&dead).unwrap().set_modified(hour_ago).unwrap();
        fs::write(dir.path().join(".tmp-young"), b"1").unwrap();
        fs::write(dir.path().join("lrl_db.sqlite"), b"1").unwrap();
        let alive = temporary_file(dir.path()).unwrap();
        alive.as_file().set_modified(hour_ago).unwrap();
        assert_eq!(reclaim(dir.path()).unwrap(), 5);
        assert!(!dead.exists() && alive.path().exists());
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 3);
    }
}
