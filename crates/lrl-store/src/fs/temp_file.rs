//! Temporary files that are locked for as long as their owner lives, so that what dead runs leave can be told apart and removed.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use fs2::FileExt as _;

use crate::error::{Error, Result};

/// How the names of temporary files begin.
pub const TEMP_PREFIX: &str = ".tmp-";
/// A temporary file or directory is locked a moment after it was made: what is younger may be alive without a lock.
pub(crate) const RECLAIM_AGE: Duration = Duration::from_secs(10);

/// Makes a temporary file in `dir` (0600), locked for as long as its owner lives, so that what dead runs leave can be told apart.
pub(crate) fn temporary_file(dir: &Path) -> Result<tempfile::NamedTempFile> {
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

/// Returns whether a dead run left a temporary file in `dir`, or one begins to live in this moment.
pub(crate) fn has_dead(dir: &Path) -> Result<bool> {
    for path in temporary_files(dir)? {
        if File::open(path?).is_ok_and(|file| fs2::FileExt::try_lock_shared(&file).is_ok()) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Returns whether a file or directory is old enough for its owner to have locked it, which comes a moment after it was made.
pub(crate) fn is_settled(meta: &fs::Metadata) -> bool {
    meta.modified().ok().and_then(|time| time.elapsed().ok()).is_some_and(|age| age > RECLAIM_AGE)
}

/// Removes the temporary files that dead runs left in `dir`; returns their bytes. Those of living ones are locked, or too young to tell.
pub(crate) fn reclaim(dir: &Path) -> Result<u64> {
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
