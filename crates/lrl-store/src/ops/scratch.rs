//! A private directory for unpacked data: how much room there is, and its removal, whatever was unpacked into it.

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::error::{Error, Result};
use crate::storage::room::{Reserve, free_at};
use crate::storage::{Guard, local};

/// What must stay free on the disk: an application that finds it full stops.
pub(super) const RESERVE: Reserve = Reserve { percent: 10.0, most: 32 << 20 };

/// Returns how many bytes may be written below `dir` without filling its disk.
pub(super) fn room(dir: &Path) -> Result<u64> {
    Ok(free_at(dir, RESERVE)?.bytes)
}

/// A directory (0700) that is removed with all that is in it when this is dropped.
pub struct Scratch {
    dir: tempfile::TempDir,
    // Tells a living run's directory from a dead one's.
    _lock: Option<Box<dyn Guard>>,
}

impl Scratch {
    /// Makes one in `parent`, and removes those of dead runs there.
    pub fn new(parent: &Path, prefix: &str) -> Result<Self> {
        reclaim(parent, prefix);
        let dir = tempfile::Builder::new().prefix(prefix).tempdir_in(parent);
        let dir = dir.map_err(Error::io("create a directory in", parent))?;
        Ok(Self { _lock: lock(dir.path()), dir })
    }

    /// Returns its path.
    pub fn path(&self) -> &Path {
        self.dir.path()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // What cannot be removed here, tempfile tries again.
        let _ = clear(self.dir.path());
    }
}

/// Where nothing can be locked, nothing is ever reclaimed: the safe side.
fn lock(dir: &Path) -> Option<Box<dyn Guard>> {
    local::lock_dir(dir, Duration::ZERO, &|| false).ok().flatten()
}

/// Removes what dead runs of this user left in `parent`. What cannot be removed is not worth failing for.
fn reclaim(parent: &Path, prefix: &str) {
    let Ok(entries) = fs::read_dir(parent) else { return };
    for entry in entries.flatten().filter(|entry| entry.file_name().as_encoded_bytes().starts_with(prefix.as_bytes())) {
        let Ok(meta) = entry.path().symlink_metadata() else { continue };
        let ours = meta.is_dir() && meta.uid() == rustix::process::geteuid().as_raw();
        if ours && local::is_settled(&meta) && lock(&entry.path()).is_some() {
            let _ = clear(&entry.path());
            let _ = fs::remove_dir(entry.path());
        }
    }
}

/// Empties a directory without recursion: subdirectories are moved to the top, so neither a deep tree nor one whose directories
/// cannot be written stands in the way.
fn clear(top: &Path) -> std::io::Result<()> {
    let mut moved = 0u64;
    loop {
        let mut again = false;
        for entry in fs::read_dir(top)? {
            let entry = entry?;
            if !entry.file_type()?.is_dir() {
                fs::remove_file(entry.path())?;
                continue;
            }
            again = true;
            let dir = entry.path();
            fs::set_permissions(&dir, Permissions::from_mode(0o700))?;
            for inner in fs::read_dir(&dir)? {
                let inner = inner?;
                if inner.file_type()?.is_dir() {
                    fs::set_permissions(inner.path(), Permissions::from_mode(0o700))?;
                    fs::rename(inner.path(), free_name(top, &mut moved))?;
                } else {
                    fs::remove_file(inner.path())?;
                }
            }
            fs::remove_dir(&dir)?;
        }
        if !again {
            return Ok(());
        }
    }
}

fn free_name(top: &Path, moved: &mut u64) -> PathBuf {
    loop {
        *moved += 1;
        let path = top.join(format!("moved-{moved}"));
        if fs::symlink_metadata(&path).is_err() {
            return path;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Scratch;
    use std::fs::{self, Permissions};
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn what_a_dead_run_left_is_removed_by_the_next() {
        let parent = tempfile::tempdir().unwrap();
        let hour_ago = std::time::SystemTime::now() - std::time::Duration::from_secs(3600);
        let age = |path: &std::path::Path| fs::File::open(path).unwrap().set_modified(hour_ago).unwrap();
        let alive = Scratch::new(parent.path(), "x-").unwrap();
        age(alive.path());
        for (name, file) in [("x-dead", "file"), ("x-young", "file"), ("other", "file")] {
            fs::create_dir(parent.path().join(name)).unwrap();
            fs::write(parent.path().join(name).join(file), "x").unwrap();
        }
        ["x-dead", "other"].iter().for_each(|name| age(&parent.path().join(name)));
        let _next = Scratch::new(parent.path(), "x-").unwrap();
        assert!(alive.path().is_dir() && !parent.path().join("x-dead").exists());
        assert!(parent.path().join("x-young/file").exists() && parent.path().join("other/file").exists());
    }

    #[test]
    fn nothing_is_left_of_deep_trees_and_of_directories_that_refuse_writing() {
        let parent = tempfile::tempdir().unwrap();
        let scratch = Scratch::new(parent.path(), "x-").unwrap();
        // A chain longer than the longest path that the system takes, made from its inner end.
        let spare = scratch.path().join("spare");
        let chain = scratch.path().join("chain");
        fs::create_dir(&chain).unwrap();
        fs::write(chain.join("file"), "x").unwrap();
        for _ in 0..600 {
            fs::create_dir(&spare).unwrap();
            fs::rename(&chain, spare.join("a-directory")).unwrap();
            fs::rename(&spare, &chain).unwrap();
        }
        let locked = scratch.path().join("locked");
        fs::create_dir(&locked).unwrap();
        fs::create_dir(locked.join("inner")).unwrap();
        std::os::unix::fs::symlink("/", locked.join("link")).unwrap();
        fs::set_permissions(locked.join("inner"), Permissions::from_mode(0o500)).unwrap();
        fs::set_permissions(&locked, Permissions::from_mode(0o500)).unwrap();
        drop(scratch);
        assert_eq!(fs::read_dir(parent.path()).unwrap().count(), 0);
    }
}
