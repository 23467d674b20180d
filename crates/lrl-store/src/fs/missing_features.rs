//! What some file systems do not support, and lrl does without: `fsync` of directories (CIFS, vboxsf) and file locks (NFS without a lock
//! service). Where that was seen is remembered for the whole process, so that the caller can say it once.

use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use rustix::io::Errno;

static UNSYNCED: OnceLock<PathBuf> = OnceLock::new();
static UNLOCKED: OnceLock<PathBuf> = OnceLock::new();

/// Returns a directory whose names could not be made durable, if there was one.
pub fn unsynced() -> Option<&'static Path> {
    UNSYNCED.get().map(PathBuf::as_path)
}

/// Returns a path that could not be locked, if there was one.
pub fn unlocked() -> Option<&'static Path> {
    UNLOCKED.get().map(PathBuf::as_path)
}

/// Makes the names in an open directory durable, as far as its file system supports that. The one place that syncs directories.
pub(crate) fn sync_dir(dir: impl AsFd) -> Result<(), Errno> {
    let dir = dir.as_fd();
    match rustix::fs::fsync(dir) {
        // Any other error means that names may be lost.
        Err(Errno::INVAL | Errno::NOTSUP) => {
            UNSYNCED.get_or_init(|| {
                std::fs::read_link(format!("/proc/self/fd/{}", dir.as_raw_fd())).unwrap_or_else(|_| PathBuf::from("?"))
            });
            Ok(())
        }
        done => done,
    }
}

/// Returns whether an error of `flock` means that the file system has no locks, and remembers the path.
pub(crate) fn has_no_locks(error: &io::Error, path: &Path) -> bool {
    let lacks =
        [Errno::NOLCK, Errno::NOSYS, Errno::NOTSUP].iter().any(|e| error.raw_os_error() == Some(e.raw_os_error()));
    if lacks {
        UNLOCKED.get_or_init(|| path.to_path_buf());
    }
    lacks
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::path::Path;

    #[test]
    fn only_a_file_system_without_locks_is_one() {
        let is = |code| super::has_no_locks(&io::Error::from_raw_os_error(code), Path::new("/x"));
        assert!(is(37) && is(38) && is(95));
        assert!(!is(11) && !is(5) && !is(4));
        assert_eq!(super::unlocked(), Some(Path::new("/x")));
    }
}
