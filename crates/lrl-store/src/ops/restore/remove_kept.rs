//! Removes what a restore kept, with everything below it, but nothing that is mounted there.

use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Arc;

use rustix::fs::{AtFlags, Dir, FileType, Mode, StatxAttributes, StatxFlags, fstat, openat, statx};
use rustix::io::Errno;

use super::model::INSIDE;
use crate::error::{Error, Result};
use crate::fs::dir::{DIRECTORY, DirCursor, to_path};
use crate::fs::metadata::{mtime_of, set_mtime};
use crate::fs::remove::remove_tree;
use crate::fs::resolve::look;

/// Removes something that was kept.
pub(super) fn remove(dir: &Arc<OwnedFd>, name: &[u8], dir_path: &Path) -> Result<()> {
    let before = fstat(dir).ok().filter(|_| name.starts_with(INSIDE));
    match remove_tree(dir, name) {
        Ok(()) | Err(Errno::NOENT) => {}
        Err(e) => return Err(Error::io("remove", dir_path.join(to_path(name)))(e.into())),
    }
    // The uploads in which it was kept have the time that was restored.
    if let Some(stat) = before {
        let _ = set_mtime(dir, mtime_of(&stat));
    }
    Ok(())
}

/// Refuses what has a mount in it: that is another disk, which was moved along with its directory.
pub(super) fn refuse_inner_mount(dir: &Arc<OwnedFd>, name: &[u8], dir_path: &Path) -> Result<()> {
    let top = dir_path.join(to_path(name));
    let failed = |e: Errno| Error::io("look at", &top)(e.into());
    let Some(stat) = look(dir, name).map_err(failed)? else { return Ok(()) };
    if FileType::from_raw_mode(stat.st_mode) != FileType::Directory {
        return Ok(());
    }
    let mut cursor = DirCursor::new(Arc::clone(dir), dir_path);
    let mut waiting = vec![vec![name.to_vec()]];
    while let Some(level) = waiting.last_mut() {
        let Some(next) = level.pop() else {
            waiting.pop();
            if !waiting.is_empty() {
                cursor.ascend().map_err(failed)?;
            }
            continue;
        };
        let found =
            statx(cursor.here(), next.as_slice(), AtFlags::SYMLINK_NOFOLLOW, StatxFlags::empty()).map_err(failed)?;
        let opened = openat(cursor.here(), next.as_slice(), DIRECTORY, Mode::empty());
        let inside = match opened {
            Ok(inside) => inside,
            // Nobody but root can have mounted something there, and root may read it.
            Err(Errno::ACCESS | Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => continue,
            Err(e) => return Err(failed(e)),
        };
        let device = fstat(&inside).map_err(failed)?.st_dev;
        if found.stx_attributes.contains(StatxAttributes::MOUNT_ROOT) || device != stat.st_dev {
            return Err(Error::refused(format!(
                "{} holds a mount ({}), which is not removed with it: unmount it first",
                top.display(),
                to_path(&next).display()
            )));
        }
        let mut below = Vec::new();
        for entry in Dir::read_from(&inside).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let child = entry.file_name().to_bytes();
            if child != b"." && child != b".." && matches!(entry.file_type(), FileType::Directory | FileType::Unknown) {
                below.push(child.to_vec());
            }
        }
        cursor.descend(&next).map_err(failed)?;
        waiting.push(below);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::process::Command;
    use std::sync::Arc;

    use rustix::fs::{Mode, open};

    use super::refuse_inner_mount;
    use crate::error::Error;
    use crate::fs::dir::DIRECTORY;
    use crate::ops::restore::tests::mount;

    #[test]
    fn a_mount_deep_in_a_kept_tree_is_seen() {
        let temp = tempfile::tempdir().unwrap();
        let deep = temp.path().join("kept/b/c");
        fs::create_dir_all(&deep).unwrap();
        fs::create_dir_all(temp.path().join("kept/a/x/y")).unwrap();
        fs::create_dir_all(temp.path().join("kept/c")).unwrap();
        let dir = Arc::new(open(temp.path(), DIRECTORY, Mode::empty()).unwrap());
        let look = || refuse_inner_mount(&dir, b"kept", temp.path());
        assert!(look().is_ok());
        if !mount("rw", &deep) {
            println!("skipped: mounting is not permitted here");
            return;
        }
        let found = look();
        let _ = Command::new("umount").arg("--lazy").arg(&deep).status();
        assert!(matches!(found, Err(Error::Refused(_))), "{found:?}");
        assert!(look().is_ok());
    }
}
