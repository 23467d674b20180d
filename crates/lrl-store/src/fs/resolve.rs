//! Resolves the directories that a caller names: each path once, component by component, to a handle. Follows a link only if nobody else could have planted it. Never creates, never changes anything.

use std::collections::VecDeque;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use rustix::fs::{
    AtFlags, CWD, FileType, Mode, OFlags, Stat, StatxAttributes, StatxFlags, fstat, open, openat, readlinkat, statat,
    statx,
};
use rustix::io::Errno;

use super::dir::{DIRECTORY, to_path};
use crate::error::{Error, Result};
use crate::hint::{AddHint, Hint};

/// As many links as the kernel follows.
const MAX_LINKS: usize = 40;
/// On the way only the right to pass is needed, not that to list.
const PASS: OFlags = OFlags::PATH.union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// The directories that were opened by path, each once.
#[derive(Default)]
pub(crate) struct OpenDirs {
    opened: Mutex<Vec<(PathBuf, Arc<OwnedFd>)>>,
}

/// Where a path leads.
pub(crate) struct Resolved {
    /// The directory that holds the last component.
    pub dir: Arc<OwnedFd>,
    /// Its path, without the links that were followed.
    pub dir_path: PathBuf,
    /// The last component; `.` for the directory itself.
    pub name: Vec<u8>,
    /// What is there, which is no link.
    pub stat: Option<Stat>,
}

impl OpenDirs {
    /// Opens a directory that the caller names; none if it is not there.
    pub(crate) fn open(&self, path: &Path) -> Result<Option<Arc<OwnedFd>>> {
        if let Some(known) = self.known(path) {
            return Ok(Some(known));
        }
        let at = if path.as_os_str().is_empty() { Path::new(".") } else { path };
        let start = if at.is_absolute() { "/" } else { "." };
        let failed = |e: Errno| Error::io("open", at)(e.into());
        let dir = Arc::new(open(start, PASS | OFlags::DIRECTORY, Mode::empty()).map_err(failed)?);
        let start = if at.is_absolute() { PathBuf::from("/") } else { PathBuf::new() };
        let found = resolve(dir, start, at.as_os_str().as_bytes(), at)?;
        let Some(found) = found.filter(|found| found.stat.is_some()) else { return Ok(None) };
        let dir = openat(&found.dir, found.name.as_slice(), DIRECTORY, Mode::empty()).map_err(failed)?;
        Ok(Some(self.know(path, Arc::new(dir))))
    }

    /// Remembers a directory that was made, so that its path is not resolved again.
    pub(crate) fn know(&self, path: &Path, dir: Arc<OwnedFd>) -> Arc<OwnedFd> {
        self.opened.lock().unwrap_or_else(PoisonError::into_inner).push((path.to_path_buf(), Arc::clone(&dir)));
        dir
    }

    fn known(&self, path: &Path) -> Option<Arc<OwnedFd>> {
        let opened = self.opened.lock().unwrap_or_else(PoisonError::into_inner);
        opened.iter().find(|(known, _)| known == path).map(|(_, dir)| Arc::clone(dir))
    }
}

/// Follows the link `name` in `dir`.
pub(crate) fn follow(dir: &Arc<OwnedFd>, dir_path: &Path, name: &[u8]) -> Result<Resolved> {
    let path = dir_path.join(to_path(name));
    resolve(Arc::clone(dir), dir_path.to_path_buf(), name, &path)?.ok_or_else(|| {
        Error::refused(format!(
            "{} is a symbolic link, and the directory of what it leads to is not there: make it (is a disk not mounted?), or remove \
             the link",
            path.display()
        ))
    })
}

/// Resolves a path from an open directory; none if a directory on the way is missing.
fn resolve(mut dir: Arc<OwnedFd>, mut dir_path: PathBuf, path: &[u8], asked: &Path) -> Result<Option<Resolved>> {
    let failed = |e: Errno| Error::io("open", asked)(e.into());
    let split = |path: &[u8]| path.split(|b| *b == b'/').map(<[u8]>::to_vec).collect::<Vec<_>>();
    let is_step = |part: &Vec<u8>| !matches!(part.as_slice(), b"" | b".");
    let mut left: VecDeque<Vec<u8>> = split(path).into_iter().filter(is_step).collect();
    let mut planted = Vec::new();
    let mut links = 0;
    let found = loop {
        let Some(name) = left.pop_front() else {
            let stat = fstat(&dir).map_err(failed)?;
            break Resolved { dir, dir_path, name: b".".to_vec(), stat: Some(stat) };
        };
        if name == b".." {
            dir = Arc::new(openat(&dir, "..", PASS | OFlags::DIRECTORY, Mode::empty()).map_err(failed)?);
            dir_path.push("..");
            continue;
        }
        // One handle for all questions: whose the link is and where it leads cannot be of two different links.
        let here = match openat(&dir, name.as_slice(), PASS, Mode::empty()) {
            Ok(here) => here,
            Err(Errno::NOENT) if left.is_empty() => break Resolved { dir, dir_path, name, stat: None },
            Err(Errno::NOENT) => return Ok(None),
            Err(e) => return Err(failed(e)),
        };
        let stat = fstat(&here).map_err(failed)?;
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::Symlink => {
                links += 1;
                if links > MAX_LINKS {
                    return Err(failed(Errno::LOOP));
                }
                let target = readlinkat(&here, "", Vec::new()).map_err(failed)?;
                planted.push((stat.st_uid, dir_path.join(to_path(&name)), to_path(target.as_bytes()).to_path_buf()));
                for part in split(target.as_bytes()).into_iter().filter(is_step).rev() {
                    left.push_front(part);
                }
                if target.as_bytes().starts_with(b"/") {
                    dir = Arc::new(open("/", PASS | OFlags::DIRECTORY, Mode::empty()).map_err(failed)?);
                    dir_path = PathBuf::from("/");
                }
            }
            _ if left.is_empty() => break Resolved { dir, dir_path, name, stat: Some(stat) },
            FileType::Directory => {
                dir = Arc::new(here);
                dir_path.push(to_path(&name));
            }
            _ => return Err(failed(Errno::NOTDIR)),
        }
    };
    planted.iter().try_for_each(|(owner, link, target)| trust(*owner, link, target, &found))?;
    // What was only passed so far is listed and synced from now on; where nobody may, this says so.
    let dir = openat(&found.dir, ".", DIRECTORY, Mode::empty()).map(Arc::new);
    Ok(Some(Resolved { dir: dir.unwrap_or(found.dir), ..found }))
}

/// Refuses a link by which somebody could make the caller change what is not theirs. Links of root and of the caller are meant;
/// anybody else's may lead to what belongs to its owner as well.
fn trust(owner: u32, link: &Path, target: &Path, found: &Resolved) -> Result<()> {
    if owner == 0 || owner == rustix::process::geteuid().as_raw() {
        return Ok(());
    }
    let of_dir = || fstat(&found.dir).map(|stat| stat.st_uid).ok();
    let is_dir = |stat: &Stat| FileType::from_raw_mode(stat.st_mode) == FileType::Directory;
    let is_theirs = match &found.stat {
        Some(stat) if is_dir(stat) => stat.st_uid == owner,
        // A file is replaced in its directory.
        Some(stat) => stat.st_uid == owner && of_dir() == Some(owner),
        None => of_dir() == Some(owner),
    };
    if is_theirs {
        return Ok(());
    }
    let text = format!(
        "{} is a symbolic link of user {owner} to {}, which belongs to somebody else: it was not followed, because its owner could \
         have had anything replaced that way. If it is meant, give the link to root, or name the real directory",
        link.display(),
        target.display()
    );
    Err(Error::refused(text.hint(Hint::NameDataDir)))
}

/// Returns the path of an open directory without links, else the one by which it was found.
pub(crate) fn real_path(dir: Option<&Arc<OwnedFd>>, path: &Path) -> PathBuf {
    use std::os::fd::AsRawFd;
    let link = dir.map(|dir| format!("/proc/self/fd/{}", dir.as_raw_fd()));
    link.and_then(|link| std::fs::read_link(link).ok()).filter(|path| path.is_absolute()).unwrap_or_else(|| {
        let at = if path.as_os_str().is_empty() { Path::new(".") } else { path };
        std::fs::canonicalize(at).unwrap_or_else(|_| path.to_path_buf())
    })
}

/// Checks whether a directory begins another mount than the one in which it was found: nothing can be renamed from one to the other.
pub(crate) fn is_other_mount(above: impl AsFd, below: impl AsFd) -> bool {
    let of = |fd: rustix::fd::BorrowedFd<'_>| {
        let stat = statx(fd, "", AtFlags::EMPTY_PATH, StatxFlags::MNT_ID).ok()?;
        let mount = (stat.stx_mask & StatxFlags::MNT_ID.bits() != 0).then_some(stat.stx_mnt_id);
        Some((mount, stat.stx_dev_major, stat.stx_dev_minor))
    };
    match (of(above.as_fd()), of(below.as_fd())) {
        (Some(above), Some(below)) => above != below,
        // Kernels before 4.11.
        _ => match (fstat(above.as_fd()), fstat(below.as_fd())) {
            (Ok(above), Ok(below)) => above.st_dev != below.st_dev,
            _ => false,
        },
    }
}

/// Checks whether a name is where something is mounted.
pub(crate) fn is_mount_root(dir: impl AsFd, name: &[u8]) -> bool {
    statx(dir, name, AtFlags::SYMLINK_NOFOLLOW, StatxFlags::empty())
        .is_ok_and(|stat| stat.stx_attributes.contains(StatxAttributes::MOUNT_ROOT))
}

/// Looks at a name in an open directory.
pub(crate) fn look(dir: impl AsFd, name: &[u8]) -> Result<Option<Stat>, Errno> {
    match statat(dir, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => Ok(Some(stat)),
        Err(Errno::NOENT) => Ok(None),
        Err(e) => Err(e),
    }
}

/// Sets the mode of what a handle stands for, also of one that can only be passed.
pub(crate) fn set_mode(fd: impl AsFd, mode: u32) -> Result<(), Errno> {
    use std::os::fd::AsRawFd;
    let mode = Mode::from_raw_mode(mode & 0o7777);
    match rustix::fs::fchmod(&fd, mode) {
        // The kernel's own link to the handle: no name is looked up behind it.
        Err(Errno::BADF) => {
            let link = format!("/proc/self/fd/{}", fd.as_fd().as_raw_fd());
            rustix::fs::chmodat(CWD, link, mode, AtFlags::empty())
        }
        done => done,
    }
}

/// Gets hold of a directory, also of one that its owner may not read; follows no link.
pub(crate) fn hold(dir: impl AsFd, name: &[u8]) -> Result<OwnedFd, Errno> {
    openat(dir, name, PASS | OFlags::DIRECTORY, Mode::empty())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::chown;

    use super::*;

    /// Needs root, who alone can give files away.
    #[test]
    fn a_link_leads_only_to_what_its_owner_could_change_without_it() {
        const OWNER: u32 = 1234;
        if !rustix::process::geteuid().is_root() {
            return;
        }
        let temp = tempfile::tempdir().unwrap();
        std::fs::create_dir(temp.path().join("dir")).unwrap();
        std::fs::write(temp.path().join("file"), b"").unwrap();
        let trusted = |owner: u32, name: &str| {
            let dir = Arc::new(open(temp.path(), DIRECTORY, Mode::empty()).unwrap());
            let stat = look(&dir, name.as_bytes()).unwrap();
            let found = Resolved { dir, dir_path: temp.path().into(), name: name.into(), stat };
            trust(owner, Path::new("link"), Path::new(name), &found).is_ok()
        };
        assert!(["dir", "file", "none"].map(|name| trusted(0, name)) == [true; 3]);
        assert!(["dir", "file", "none"].map(|name| trusted(OWNER, name)) == [false; 3]);
        chown(temp.path().join("dir"), Some(OWNER), None).unwrap();
        chown(temp.path().join("file"), Some(OWNER), None).unwrap();
        assert_eq!(["dir", "file", "none"].map(|name| trusted(OWNER, name)), [true, false, false]);
        chown(temp.path(), Some(OWNER), None).unwrap();
        assert_eq!(["dir", "file", "none"].map(|name| trusted(OWNER, name)), [true; 3]);
        chown(temp.path().join("dir"), Some(0), None).unwrap();
        chown(temp.path().join("file"), Some(0), None).unwrap();
        assert_eq!(["dir", "file", "none"].map(|name| trusted(OWNER, name)), [false, false, true]);
    }
}
