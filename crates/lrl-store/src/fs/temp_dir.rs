//! A private directory for unpacked data: its free space, and its removal, whatever was unpacked into it.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use fs2::FileExt;
use rustix::fs::{AtFlags, Dir, Mode, OFlags, chmodat, fchmod, openat, renameat, statat, unlinkat};
use rustix::io::Errno;

use crate::error::{Error, Result};
use crate::fs::space::{Reserve, free_at};
use crate::fs::temp_file;

/// What must stay free on the disk: an application that finds it full stops.
pub(crate) const RESERVE: Reserve = Reserve { percent: 10.0, most: 32 << 20 };

const DIRECTORY: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// Returns how many bytes may be written below `dir` without filling its disk.
pub(crate) fn free_bytes(dir: &Path) -> Result<u64> {
    Ok(free_at(dir, RESERVE)?.bytes)
}

/// A directory (0700) that is removed with all that is in it when this is dropped.
pub struct TempDir {
    path: PathBuf,
    name: Vec<u8>,
    parent: OwnedFd,
    // Holds the lock that tells a living run's directory from a dead one's.
    dir: File,
}

impl TempDir {
    /// Makes one in `parent`, and removes those of dead runs there. Errors: [`Error::Refused`] where others could exchange it.
    pub fn new(parent: &Path, prefix: &str) -> Result<Self> {
        let parent = if parent.as_os_str().is_empty() { Path::new(".") } else { parent };
        let home = open_parent(parent)?;
        reclaim_in(&home, prefix);
        loop {
            let made = tempfile::Builder::new()
                .prefix(prefix)
                .rand_bytes(12)
                .permissions(std::os::unix::fs::PermissionsExt::from_mode(0o700))
                .tempdir_in(parent)
                .map_err(Error::io("create a directory in", parent))?;
            let path = made.keep();
            let name = path.file_name().map(|name| name.as_bytes().to_vec()).unwrap_or_default();
            let dir = match openat(&home, name.as_slice(), DIRECTORY, Mode::empty()) {
                // Another run took it for a dead one's before it was locked.
                Err(Errno::NOENT) => continue,
                opened => File::from(opened.map_err(|e| Error::io("open", &path)(e.into()))?),
            };
            let failed = |e: Errno| Error::io("look at", &path)(e.into());
            let meta = dir.metadata().map_err(Error::io("look at", &path))?;
            if meta.uid() != rustix::process::geteuid().as_raw() {
                return Err(Error::refused(format!("{} was exchanged by somebody else", path.display())));
            }
            // The umask takes bits away and, with a default ACL on the parent, the directory has more of them.
            fchmod(&dir, Mode::from_raw_mode(0o700)).map_err(failed)?;
            // Where nothing can be locked, nothing is ever reclaimed: the safe side. Nobody else holds it for long.
            let _ = dir.lock_exclusive();
            if statat(&home, name.as_slice(), AtFlags::SYMLINK_NOFOLLOW).is_ok_and(|stat| stat.st_ino == meta.ino()) {
                return Ok(Self { path, name, parent: home, dir });
            }
        }
    }

    /// Returns its path.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for TempDir {
    fn drop(&mut self) {
        // Best effort: the next run reclaims what stays.
        let _ = clear(&self.dir);
        let _ = unlinkat(&self.parent, self.name.as_slice(), AtFlags::REMOVEDIR);
    }
}

/// Opens the directory that scratch directories are made in; not one in which other users may rename them.
fn open_parent(parent: &Path) -> Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let opened = rustix::fs::open(parent, flags, Mode::empty());
    let home = opened.map_err(|e| Error::io("create a directory in", parent)(e.into()))?;
    let stat = rustix::fs::fstat(&home).map_err(|e| Error::io("look at", parent)(e.into()))?;
    let mode = Mode::from_raw_mode(stat.st_mode);
    if mode.contains(Mode::WOTH) && !mode.contains(Mode::SVTX) {
        return Err(Error::refused(format!(
            "{} can be written by every user and has no sticky bit, so they could exchange what is unpacked there: \
             set TMPDIR to another directory, or run `chmod +t` on this one",
            parent.display()
        )));
    }
    Ok(home)
}

/// Removes what dead runs of this user left in `parent` under names with this prefix. What cannot be removed is not worth failing for.
pub fn reclaim(parent: &Path, prefix: &str) {
    let parent = if parent.as_os_str().is_empty() { Path::new(".") } else { parent };
    if let Ok(home) = open_parent(parent) {
        reclaim_in(&home, prefix);
    }
}

fn reclaim_in(home: &OwnedFd, prefix: &str) {
    let Ok(entries) = Dir::read_from(home) else { return };
    for entry in entries.flatten() {
        let name = entry.file_name();
        if !name.to_bytes().starts_with(prefix.as_bytes()) {
            continue;
        }
        // A link of this name is somebody's trap: it is not followed.
        let Ok(dir) = openat(home, name, DIRECTORY, Mode::empty()) else { continue };
        let dir = File::from(dir);
        let Ok(meta) = dir.metadata() else { continue };
        if meta.uid() != rustix::process::geteuid().as_raw() || dir.try_lock_exclusive().is_err() {
            continue;
        }
        // A run locks its directory before it writes: one that is empty may belong to a run that is about to lock it.
        let is_dead = temp_file::is_settled(&meta) || names(&dir).is_ok_and(|names| !names.is_empty());
        if is_dead && clear(&dir).is_ok() {
            let _ = unlinkat(home, name, AtFlags::REMOVEDIR);
        }
    }
}

/// Names in a directory, some of them if there are very many.
fn names(dir: impl AsFd) -> Result<Vec<Vec<u8>>, Errno> {
    const MOST: usize = 4096;
    let names = Dir::read_from(dir)?.map(|entry| entry.map(|entry| entry.file_name().to_bytes().to_vec()));
    names.filter(|name| !matches!(name.as_deref(), Ok(b"." | b".."))).take(MOST).collect()
}

/// Empties a directory without recursion and without following a link: subdirectories are moved to the top, so neither a deep tree nor one
/// whose directories cannot be written is in the way.
fn clear(top: &File) -> io::Result<()> {
    let mut moved = 0u64;
    loop {
        let found = names(top)?;
        if found.is_empty() {
            return Ok(());
        }
        for name in found {
            if remove_file(top, &name)? {
                continue;
            }
            // It is a directory, and nobody else can exchange it: the one that it is in is ours alone.
            chmodat(top, name.as_slice(), Mode::from_raw_mode(0o700), AtFlags::empty())?;
            let dir = openat(top, name.as_slice(), DIRECTORY, Mode::empty())?;
            loop {
                let inner = names(&dir)?;
                if inner.is_empty() {
                    break;
                }
                for inner in inner {
                    if !remove_file(&dir, &inner)? {
                        chmodat(&dir, inner.as_slice(), Mode::from_raw_mode(0o700), AtFlags::empty())?;
                        renameat(&dir, inner.as_slice(), top, free_name(top, &mut moved))?;
                    }
                }
            }
            unlinkat(top, name.as_slice(), AtFlags::REMOVEDIR)?;
        }
    }
}

/// Removes a name; false if it is a directory's.
fn remove_file(dir: impl AsFd, name: &[u8]) -> Result<bool, Errno> {
    match unlinkat(&dir, name, AtFlags::empty()) {
        Err(Errno::ISDIR) => Ok(false),
        // What other systems than Linux say of a directory.
        Err(Errno::PERM) => {
            let stat = statat(&dir, name, AtFlags::SYMLINK_NOFOLLOW)?;
            let is_dir = rustix::fs::FileType::from_raw_mode(stat.st_mode) == rustix::fs::FileType::Directory;
            if is_dir { Ok(false) } else { Err(Errno::PERM) }
        }
        done => done.map(|()| true),
    }
}

fn free_name(top: &File, moved: &mut u64) -> String {
    loop {
        *moved += 1;
        let name = format!("moved-{moved}");
        if statat(top, name.as_str(), AtFlags::SYMLINK_NOFOLLOW).is_err() {
            return name;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{TempDir, reclaim};
    use std::fs::{self, Permissions};
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn what_a_dead_run_left_is_removed_by_the_next() {
        let parent = tempfile::tempdir().unwrap();
        let hour_ago = std::time::SystemTime::now() - std::time::Duration::from_secs(3600);
        let age = |path: &std::path::Path| fs::File::open(path).unwrap().set_modified(hour_ago).unwrap();
        let alive = TempDir::new(parent.path(), "x-").unwrap();
        fs::write(alive.path().join("file"), "x").unwrap();
        age(alive.path());
        for name in ["x-dead", "x-dead-and-young", "other"] {
            fs::create_dir(parent.path().join(name)).unwrap();
            fs::write(parent.path().join(name).join("file"), "x").unwrap();
        }
        ["x-empty", "x-begins"].iter().for_each(|name| fs::create_dir(parent.path().join(name)).unwrap());
        ["x-dead", "x-empty", "other"].iter().for_each(|name| age(&parent.path().join(name)));
        reclaim(parent.path(), "x-");
        assert!(alive.path().join("file").exists() && parent.path().join("other/file").exists());
        for name in ["x-dead", "x-dead-and-young", "x-empty"] {
            assert!(!parent.path().join(name).exists(), "{name}");
        }
        assert!(parent.path().join("x-begins").is_dir(), "its run may be about to lock it");
    }

    #[test]
    fn links_and_what_belongs_to_others_are_left_alone() {
        let parent = tempfile::tempdir().unwrap();
        let precious = tempfile::tempdir().unwrap();
        fs::write(precious.path().join("file"), "x").unwrap();
        std::os::unix::fs::symlink(precious.path(), parent.path().join("x-trap")).unwrap();
        fs::create_dir(parent.path().join("x-theirs")).unwrap();
        fs::write(parent.path().join("x-theirs/file"), "x").unwrap();
        let theirs = std::os::unix::fs::chown(parent.path().join("x-theirs"), Some(65534), Some(65534)).is_ok();
        drop(TempDir::new(parent.path(), "x-").unwrap());
        assert!(precious.path().join("file").exists() && parent.path().join("x-trap").is_symlink());
        assert_eq!(parent.path().join("x-theirs/file").exists(), theirs);
    }

    #[test]
    fn it_is_private_whatever_the_umask_and_never_where_others_could_exchange_it() {
        let parent = tempfile::tempdir().unwrap();
        let scratch = TempDir::new(parent.path(), "x-").unwrap();
        assert_eq!(fs::metadata(scratch.path()).unwrap().permissions().mode() & 0o7777, 0o700);
        fs::set_permissions(parent.path(), Permissions::from_mode(0o777)).unwrap();
        assert!(TempDir::new(parent.path(), "x-").is_err_and(|error| error.to_string().contains("sticky")));
        fs::set_permissions(parent.path(), Permissions::from_mode(0o1777)).unwrap();
        assert!(TempDir::new(parent.path(), "x-").is_ok());
    }

    #[test]
    fn nothing_is_left_of_deep_trees_and_of_directories_that_refuse_writing() {
        let parent = tempfile::tempdir().unwrap();
        let scratch = TempDir::new(parent.path(), "x-").unwrap();
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
