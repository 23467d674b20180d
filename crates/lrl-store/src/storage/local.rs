//! Objects as files of a directory. The one place that writes durably: temporary file, fsync, rename, fsync of the directory.

use std::collections::VecDeque;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use fs2::FileExt as _;

use super::{Guard, LockMode, MOST_WHOLE_BYTES, Source, Spool, Storage};
use crate::error::{Error, Result};

/// How the names of temporary files begin.
pub const SPOOL_PREFIX: &str = ".tmp-";
const RECLAIM_AGE: Duration = Duration::from_secs(10);
const OPEN_FILES: usize = 16;

/// A store's directory.
pub struct Local {
    root: PathBuf,
    // Restores read thousands of chunks from few packs: reopening each time would cost more than the read.
    open: Mutex<VecDeque<(String, Arc<File>)>>,
}

struct FileLock {
    _file: File,
}

impl Guard for FileLock {}

impl Local {
    /// Names a directory; touches nothing.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into(), open: Mutex::new(VecDeque::new()) }
    }

    /// Creates the directory and its parents (0700) if they are not there.
    pub fn create(&self) -> Result<()> {
        create_dir(&self.root)
    }

    /// Returns the directory.
    pub fn root(&self) -> &Path {
        &self.root
    }

    fn path(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    fn opened(&self, name: &str) -> Result<Arc<File>> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(at) = open.iter().position(|(n, _)| n == name) {
            let found = open.remove(at);
            open.extend(found);
        } else {
            let path = self.path(name);
            let file = File::open(&path).map_err(|e| self.missing_or(name, "open", e))?;
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
            Error::Missing { object: self.describe_object(name) }
        } else {
            Error::io(op, self.path(name))(source)
        }
    }
}

/// Creates a directory and its missing parents, readable by the owner alone, durably.
pub fn create_dir(path: &Path) -> Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    if let Some(parent) = path.parent().filter(|p| !p.as_os_str().is_empty()) {
        create_dir(parent)?;
    }
    match fs::DirBuilder::new().mode(0o700).create(path) {
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => Ok(()),
        Err(e) => Err(Error::io("create", path)(e)),
        Ok(()) => sync_dir(path.parent().unwrap_or(path)),
    }
}

/// Makes the names in a directory durable.
pub fn sync_dir(path: &Path) -> Result<()> {
    let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
    File::open(path).and_then(|dir| dir.sync_all()).map_err(Error::io("sync", path))
}

/// Makes a temporary file in `dir` (0600), locked for as long as its owner lives, so that what dead runs leave can be told apart.
pub fn temporary_file(dir: &Path) -> Result<tempfile::NamedTempFile> {
    let file = tempfile::Builder::new()
        .prefix(SPOOL_PREFIX)
        .permissions(fs::Permissions::from_mode(0o600))
        .tempfile_in(dir)
        .map_err(Error::io("create a temporary file in", dir))?;
    // Some network file systems cannot lock; then nothing is ever reclaimed, which is the safe side.
    let _ = file.as_file().try_lock_exclusive();
    Ok(file)
}

/// Removes the temporary files that dead runs left in `dir`; returns their bytes. Those of living ones are locked, or too young to tell.
pub fn reclaim(dir: &Path) -> Result<u64> {
    let mut freed = 0;
    for entry in fs::read_dir(dir).map_err(Error::io("list", dir))? {
        let entry = entry.map_err(Error::io("list", dir))?;
        if !entry.file_name().as_encoded_bytes().starts_with(SPOOL_PREFIX.as_bytes()) {
            continue;
        }
        let path = entry.path();
        let Ok(file) = File::open(&path) else { continue };
        let Ok(meta) = file.metadata() else { continue };
        // A file is locked a moment after it was made.
        let settled = meta.modified().ok().and_then(|time| time.elapsed().ok()).is_some_and(|age| age > RECLAIM_AGE);
        if meta.is_file() && settled && file.try_lock_exclusive().is_ok() {
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

/// Moves a finished temporary file to its name: its bytes are durable before the name is, and the name before this returns.
pub fn persist(file: tempfile::NamedTempFile, path: &Path) -> Result<()> {
    file.as_file().sync_all().map_err(Error::io("sync", path))?;
    file.persist(path).map_err(|e| Error::io("rename into place", path)(e.error))?;
    sync_dir(path.parent().unwrap_or(path))
}

/// Moves a finished temporary file to a name that nothing has yet, as durably as [`persist`].
pub fn persist_new(file: tempfile::NamedTempFile, path: &Path) -> Result<()> {
    file.as_file().sync_all().map_err(Error::io("sync", path))?;
    file.persist_noclobber(path).map_err(|e| Error::io("rename into place", path)(e.error))?;
    sync_dir(path.parent().unwrap_or(path))
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
    is_file.then(|| lock_file(manifest, LockMode::Look, Duration::ZERO, &|| false).ok().flatten()).flatten()
}

/// Opens (or creates, 0600) a lock file and waits for it.
pub fn lock_file(
    path: &Path,
    mode: LockMode,
    wait: Duration,
    interrupted: &dyn Fn() -> bool,
) -> Result<Option<Box<dyn Guard>>> {
    let opened = match mode {
        LockMode::Look => File::open(path),
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
            LockMode::Shared | LockMode::Look => fs2::FileExt::try_lock_shared(&file),
            LockMode::Exclusive => file.try_lock_exclusive(),
        };
        match taken {
            Ok(()) => return Ok(Some(Box::new(FileLock { _file: file }))),
            Err(e) if e.raw_os_error() != fs2::lock_contended_error().raw_os_error() => {
                return Err(Error::io("lock", path)(e));
            }
            Err(_) if interrupted() => return Err(Error::Interrupted),
            Err(_) if Instant::now() >= until => return Err(Error::Locked { what: path.display().to_string() }),
            Err(_) => std::thread::sleep(Duration::from_millis(20)),
        }
    }
}

fn is_read_only(e: &io::Error) -> bool {
    matches!(e.kind(), io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem | io::ErrorKind::NotFound)
}

impl Storage for Local {
    fn describe(&self) -> String {
        self.root.display().to_string()
    }

    fn read(&self, name: &str) -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        // Not by the length that is stated: a file of holes has any.
        File::open(self.path(name))
            .and_then(|file| file.take(MOST_WHOLE_BYTES + 1).read_to_end(&mut bytes))
            .map_err(|e| self.missing_or(name, "read", e))?;
        if bytes.len() as u64 > MOST_WHOLE_BYTES {
            return Err(Error::corrupt(self.describe_object(name), "is far too long for what it should be"));
        }
        Ok(bytes)
    }

    fn read_range(&self, name: &str, offset: u64, len: usize) -> Result<Vec<u8>> {
        let mut bytes = vec![0; len];
        self.opened(name)?.read_exact_at(&mut bytes, offset).map_err(|e| {
            if e.kind() == io::ErrorKind::UnexpectedEof {
                Error::corrupt(self.describe_object(name), "ends too early")
            } else {
                Error::io("read", self.path(name))(e)
            }
        })?;
        Ok(bytes)
    }

    fn len(&self, name: &str) -> Result<u64> {
        fs::metadata(self.path(name)).map(|m| m.len()).map_err(|e| self.missing_or(name, "look at", e))
    }

    fn write_new(&self, name: &str, source: Source<'_>) -> Result<()> {
        let path = self.path(name);
        let file = match source {
            Source::Spool(spool) => spool.file,
            Source::Bytes(bytes) => {
                let mut file = temporary_file(&self.root)?;
                file.write_all(bytes).map_err(Error::io("write", &path))?;
                file
            }
        };
        if let Some(parent) = path.parent() {
            create_dir(parent)?;
        }
        self.forget_open(name);
        persist(file, &path)
    }

    fn spool(&self) -> Result<Spool> {
        Ok(Spool { file: temporary_file(&self.root)? })
    }

    fn list(&self, prefix: &str, visit: &mut dyn FnMut(&str, u64) -> Result<()>) -> Result<()> {
        let dir = self.path(prefix);
        let listing = match fs::read_dir(&dir) {
            Ok(listing) => listing,
            // A directory exists only as part of names: none there means no objects, but only if the store itself is there.
            Err(e) if e.kind() == io::ErrorKind::NotFound && self.root.is_dir() => return Ok(()),
            Err(e) => return Err(Error::io("list", &dir)(e)),
        };
        let mut names = Vec::new();
        for entry in listing {
            let entry = entry.map_err(Error::io("list", &dir))?;
            let name = entry.file_name();
            // Names that lrl never writes are not objects.
            let Some(name) = name.to_str().filter(|n| !n.starts_with('.')) else { continue };
            let kind = entry.file_type().map_err(Error::io("look at", entry.path()))?;
            names.push((name.to_string(), kind.is_dir()));
        }
        names.sort_unstable();
        for (name, is_dir) in names {
            let full = if prefix.is_empty() { name } else { format!("{prefix}/{name}") };
            if is_dir {
                self.list(&full, visit)?;
            } else {
                match fs::metadata(self.path(&full)) {
                    Ok(meta) => visit(&full, meta.len())?,
                    // Another process removed it after the listing began.
                    Err(e) if e.kind() == io::ErrorKind::NotFound => {}
                    Err(e) => return Err(Error::io("look at", self.path(&full))(e)),
                }
            }
        }
        Ok(())
    }

    fn remove(&self, name: &str) -> Result<()> {
        self.forget_open(name);
        match fs::remove_file(self.path(name)) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => Err(Error::io("remove", self.path(name))(e)),
            _ => Ok(()),
        }
    }

    fn sync(&self, dir: &str) -> Result<()> {
        let path = self.path(dir);
        match fs::read_dir(&path) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(e) => return Err(Error::io("list", &path)(e)),
            Ok(entries) => {
                for entry in entries {
                    let entry = entry.map_err(Error::io("list", &path))?;
                    if entry.file_type().map_err(Error::io("look at", entry.path()))?.is_dir() {
                        sync_dir(&entry.path())?;
                    }
                }
            }
        }
        sync_dir(&path)
    }

    fn lock(
        &self,
        name: &str,
        mode: LockMode,
        wait: Duration,
        interrupted: &dyn Fn() -> bool,
    ) -> Result<Option<Box<dyn Guard>>> {
        lock_file(&self.path(name), mode, wait, interrupted)
    }

    fn reclaim(&self) -> Result<u64> {
        reclaim(&self.root)
    }

    fn cache_dir(&self) -> Option<PathBuf> {
        let dir = self.root.join("cache");
        create_dir(&dir).ok()?;
        Some(dir)
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
