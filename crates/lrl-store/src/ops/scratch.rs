//! A private directory for unpacked data: how much room there is, and its removal, whatever was unpacked into it.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};

/// What must stay free on the disk: an application that finds it full stops.
const RESERVE_BYTES: u64 = 32 << 20;

/// Returns how many bytes may be written below `dir` without filling its disk.
pub(super) fn room(dir: &Path) -> Result<u64> {
    let disk = rustix::fs::statvfs(dir).map_err(|e| Error::io("look at the disk of", dir)(e.into()))?;
    let (total, free) = (disk.f_blocks.saturating_mul(disk.f_frsize), disk.f_bavail.saturating_mul(disk.f_frsize));
    Ok(free.saturating_sub(RESERVE_BYTES.min(total / 10)))
}

/// A directory (0700) that is removed with all that is in it when this is dropped.
pub(super) struct Scratch {
    dir: tempfile::TempDir,
}

impl Scratch {
    pub fn new(parent: &Path, prefix: &str) -> Result<Self> {
        let dir = tempfile::Builder::new().prefix(prefix).tempdir_in(parent);
        Ok(Self { dir: dir.map_err(Error::io("create a directory in", parent))? })
    }

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
