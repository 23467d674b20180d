//! Locks on files and directories, shared or exclusive, by `flock`: they end with the process that holds them.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::{Duration, Instant};

use fs2::FileExt as _;

use super::{lock_holder, missing_features};
use crate::error::{Error, Result};
use crate::hint::{AddHint, Hint};

/// Whether a lock can be held by several at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LockMode {
    /// Backing up and reading.
    Shared,
    /// Reading that leaves no trace: a lock that nobody has made yet is not made.
    ReadOnly,
    /// Deleting, or writing where only one may.
    Exclusive,
}

/// A held lock; dropping it (or dying) releases it.
pub trait Guard: Send + Sync {
    /// Makes a shared lock exclusive at once, if nobody else holds it. Returns whether it did. A lock that cannot be made so may be lost.
    fn make_exclusive(&self) -> bool {
        false
    }
}

struct FileLock {
    file: File,
}

impl Guard for FileLock {
    fn make_exclusive(&self) -> bool {
        self.file.try_lock_exclusive().is_ok()
    }
}

/// Waits for the right to write into a directory; no file is left in it.
pub(crate) fn lock_dir(path: &Path, wait: Duration, interrupted: &dyn Fn() -> bool) -> Result<Option<Box<dyn Guard>>> {
    let dir = File::open(path).map_err(Error::io("open", path))?;
    wait_for(dir, path, LockMode::Exclusive, wait, interrupted)
}

/// Keeps the set of a manifest from being removed while it is read, as far as the file system can lock and the file is there.
pub(crate) fn hold(manifest: &Path) -> Option<Box<dyn Guard>> {
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
            Err(e) if missing_features::has_no_locks(&e, path) => {
                return if mode == LockMode::Exclusive { Err(no_locks(path)) } else { Ok(None) };
            }
            Err(e) if e.raw_os_error() != fs2::lock_contended_error().raw_os_error() => {
                return Err(Error::io("lock", path)(e));
            }
            Err(_) if interrupted() => return Err(Error::Interrupted),
            Err(_) if Instant::now() >= until => {
                let holders = lock_holder::holders(&file).map(|who| format!(", by {who}")).unwrap_or_default();
                return Err(Error::Locked { what: format!("{}{holders}", path.display()) });
            }
            Err(_) => std::thread::sleep(Duration::from_millis(20)),
        }
    }
}

/// Two writers that nothing keeps apart could each delete what the other has just found.
fn no_locks(path: &Path) -> Error {
    let text = format!(
        "cannot lock {}: its file system has no locks (NFS without a lock service). Reading works, writing needs a lock: \
         mount it with the option `nolock` if no other machine writes there, start the lock service (rpc.statd), or use another place",
        path.display()
    );
    Error::refused(text.hint(Hint::OtherPlace))
}

fn is_read_only(e: &io::Error) -> bool {
    matches!(e.kind(), io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem | io::ErrorKind::NotFound)
}
