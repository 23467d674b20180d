//! Where a restored thing goes: a name in an open directory, what is there now, and under which name that is kept. [`super::find_target`] finds it.

use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::Arc;

use rustix::fs::{AtFlags, Dir, FileType, Mode, Stat, openat, readlinkat, statat};
use rustix::io::Errno;

use super::links::Links;
use super::model::{INSIDE, PARTIAL, Version};
use crate::error::{Error, Result};
use crate::fs::dir::{DIRECTORY, to_path};
use crate::fs::resolve;
use crate::fs::resolve::is_mount_root;
use crate::hint::{AddHint, Hint};
use crate::source::database::source::SIDE_FILES;

fn is_kind(stat: &Stat, kind: FileType) -> bool {
    FileType::from_raw_mode(stat.st_mode) == kind
}

/// A target.
pub(super) struct Target {
    /// The directory that the caller named. Created if it is missing.
    pub home: PathBuf,
    /// Which links were followed below it.
    pub links: Links,
    /// The components below it that `dir` and `name` stand for.
    pub wanted: Vec<Vec<u8>>,
    /// Where staging happens: the home, or below it the root of the mount on which the target is; with its handle, if it is there.
    pub base: (PathBuf, Option<Arc<OwnedFd>>),
    /// The target itself, where it cannot be renamed: its contents are exchanged.
    pub inner: Option<Arc<OwnedFd>>,
    /// The link by which the target was found.
    pub via: Option<PathBuf>,
    /// The directory that holds the name; none if the home is missing.
    pub dir: Option<Arc<OwnedFd>>,
    /// Its path.
    pub dir_path: PathBuf,
    /// The name.
    pub name: Vec<u8>,
    /// What is there now.
    pub existing: Option<Stat>,
    /// How many of the wanted components `dir` and `name` stand for.
    pub depth: usize,
}

impl Target {
    /// Opens the directory that is there.
    pub(crate) fn open_inside(&self) -> Result<Arc<OwnedFd>> {
        let failed = |e: Errno| Error::io("open", self.path())(e.into());
        let dir = self.dir.as_ref().ok_or(Errno::NOENT).map_err(failed)?;
        openat(dir, self.name.as_slice(), DIRECTORY, Mode::empty()).map(Arc::new).map_err(failed)
    }

    /// Makes the contents of the directory be exchanged, not the directory itself.
    pub(crate) fn exchange_contents(&mut self) -> Result<()> {
        if self.inner.is_none() && self.is(FileType::Directory) {
            self.inner = Some(self.open_inside()?);
        }
        Ok(())
    }

    /// Returns whether there is a directory that is exchanged by renaming it.
    pub(crate) fn is_renamed_dir(&self) -> bool {
        self.is(FileType::Directory) && self.inner.is_none()
    }

    /// Returns the target's path.
    pub(crate) fn path(&self) -> PathBuf {
        self.dir_path.join(to_path(&self.name))
    }

    /// Returns whether a directory is there.
    pub(crate) fn is_dir(&self) -> bool {
        self.is(FileType::Directory)
    }

    fn is(&self, kind: FileType) -> bool {
        self.existing.as_ref().is_some_and(|stat| is_kind(stat, kind))
    }

    /// Returns the regular file that is there now.
    pub(crate) fn existing_file(&self) -> Option<&Stat> {
        self.existing.as_ref().filter(|_| self.is(FileType::RegularFile))
    }

    /// Returns the directory that holds an old tree, if there is one.
    pub(crate) fn old_tree(&self) -> Option<&Arc<OwnedFd>> {
        self.dir.as_ref().filter(|_| self.existing.is_some() && !self.is(FileType::Symlink))
    }

    /// Returns where the link leads that is there, for a note.
    pub(crate) fn link_target(&self) -> Option<PathBuf> {
        let dir = self.dir.as_ref().filter(|_| self.is(FileType::Symlink))?;
        let target = readlinkat(dir, self.name.as_slice(), Vec::new()).ok()?;
        Some(to_path(target.as_bytes()).to_path_buf())
    }

    /// Refuses what can neither be renamed nor have its contents exchanged: a file that is mounted.
    pub(crate) fn refuse_mount(&self) -> Result<()> {
        let Some(dir) = self.dir.as_ref().filter(|_| self.existing.is_some() && self.inner.is_none()) else {
            return Ok(());
        };
        if is_mount_root(dir, &self.name) { Err(self.mount_error()) } else { Ok(()) }
    }

    /// Makes the error about a target that is a mount.
    pub(crate) fn mount_error(&self) -> Error {
        let text = format!(
            "{} is a file that is mounted there, which cannot be exchanged for another one; nothing was changed. Mount the directory \
             that holds it",
            self.path().display()
        );
        Error::refused(text.hint(Hint::OtherTarget))
    }

    /// Returns owner and group of what is there, else of the directory that holds it.
    pub(crate) fn owner(&self) -> Option<(u32, u32)> {
        let dir = || self.dir.as_ref().and_then(|dir| statat(dir, ".", AtFlags::empty()).ok());
        self.existing.filter(|_| !self.is(FileType::Symlink)).or_else(dir).map(|stat| (stat.st_uid, stat.st_gid))
    }

    /// Returns where things are kept, and how their names begin.
    fn kept_dir_path(&self) -> (Option<&Arc<OwnedFd>>, PathBuf, &[u8]) {
        match &self.inner {
            Some(inner) => (Some(inner), self.path(), INSIDE),
            None => (self.dir.as_ref(), self.dir_path.clone(), &self.name),
        }
    }

    /// Returns the directory where things are kept.
    pub(crate) fn kept_dir(&self) -> Option<&Arc<OwnedFd>> {
        self.kept_dir_path().0
    }

    /// Returns the path of something that is kept.
    pub(crate) fn kept_path(&self, name: &[u8]) -> PathBuf {
        self.kept_dir_path().1.join(to_path(name))
    }

    /// Looks at something that is kept.
    pub(crate) fn kept_stat(&self, name: &[u8]) -> Result<Option<Stat>> {
        let Some(dir) = self.kept_dir() else { return Ok(None) };
        resolve::look(dir, name).map_err(|e| Error::io("look at", self.kept_path(name))(e.into()))
    }

    /// Returns a name under which a version can be kept: neither it nor the names of sidecars exist yet.
    pub(crate) fn free_name(&self, version: Version) -> Result<Vec<u8>> {
        let ending = version.ending();
        for n in 0u32.. {
            let mut kept = [self.kept_dir_path().2, ending.as_bytes()].concat();
            if n > 0 {
                kept.extend_from_slice(format!(".{n}").as_bytes());
            }
            let mut taken = false;
            for suffix in SIDE_FILES.iter().map(|suffix| suffix.as_bytes()).chain([&b""[..], PARTIAL]) {
                taken |= self.kept_stat(&[kept.as_slice(), suffix].concat())?.is_some();
            }
            if !taken {
                return Ok(kept);
            }
        }
        Err(Error::refused(format!("every name like {}{ending} is taken", self.path().display())))
    }

    /// Returns what earlier restores left beside it: everything called `name.pre-restore…` or `name.undone…`.
    pub(crate) fn kept_before(&self) -> Result<Vec<Vec<u8>>> {
        let (Some(dir), path, base) = self.kept_dir_path() else { return Ok(Vec::new()) };
        let failed = |e: Errno| Error::io("list", &path)(e.into());
        let starts = [Version::Before, Version::Restored].map(|side| [base, side.ending().as_bytes()].concat());
        let mut found = Vec::new();
        for entry in Dir::read_from(dir).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let name = entry.file_name().to_bytes();
            if starts.iter().any(|start| name.starts_with(start)) {
                found.push(name.to_vec());
            }
        }
        Ok(found)
    }

    /// Looks at another name in the same directory.
    pub(crate) fn stat_of(&self, name: &[u8]) -> Result<Option<Stat>> {
        let Some(dir) = &self.dir else { return Ok(None) };
        resolve::look(dir, name).map_err(|e| Error::io("look at", self.dir_path.join(to_path(name)))(e.into()))
    }

    /// Returns the names of the sidecars that are there, as suffixes.
    pub(crate) fn sidecars(&self) -> Result<Vec<&'static str>> {
        let mut found = Vec::new();
        for suffix in SIDE_FILES {
            if self.stat_of(&[self.name.as_slice(), suffix.as_bytes()].concat())?.is_some() {
                found.push(suffix);
            }
        }
        Ok(found)
    }
}
