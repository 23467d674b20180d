//! Owns where a restored thing goes: a name in an open directory, what stands there now, and under which name that is kept.
//! Follows no link below the directories that the caller names. Never changes anything.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{AtFlags, Dir, FileType, Mode, Stat, StatxAttributes, StatxFlags, openat, readlinkat, statat, statx};
use rustix::io::Errno;

use super::cursor::{DIRECTORY, to_path};
use super::record::Side;
use super::staging::open_home;
use crate::error::{Error, Result};

/// What SQLite keeps beside a database.
pub(super) const SIDECARS: [&str; 3] = ["-wal", "-journal", "-shm"];

/// A target.
pub(super) struct Place {
    /// The directory that the caller named; staging happens in it. Created if it is missing.
    pub home: PathBuf,
    /// The directory that holds the name; none if the home is missing.
    pub dir: Option<Arc<OwnedFd>>,
    /// Its path.
    pub dir_path: PathBuf,
    /// The name.
    pub name: Vec<u8>,
    /// What stands there now.
    pub existing: Option<Stat>,
    /// How many of the wanted components `dir` and `name` stand for.
    pub depth: usize,
}

impl Place {
    /// Finds the target `components` below `home`, or the first part of it that is missing.
    pub fn find(home: &Path, components: &[&[u8]]) -> Result<Self> {
        let mut dir = open_home(home)?;
        let mut dir_path = home.to_path_buf();
        let mut depth = 0;
        let mut existing = None;
        for (at, name) in components.iter().enumerate() {
            depth = at + 1;
            let Some(here) = &dir else { break };
            let path = dir_path.join(to_path(name));
            existing = match statat(here, *name, AtFlags::SYMLINK_NOFOLLOW) {
                Ok(stat) => Some(stat),
                Err(Errno::NOENT) => None,
                Err(e) => return Err(Error::io("look at", &path)(e.into())),
            };
            if existing.is_none() || depth == components.len() {
                break;
            }
            let below = openat(here, *name, DIRECTORY, Mode::empty()).map_err(|e| match e {
                Errno::LOOP | Errno::NOTDIR => Error::Refused(format!(
                    "{} is a link or a file, not a directory: nothing is restored through it",
                    path.display()
                )),
                e => Error::io("open", &path)(e.into()),
            })?;
            dir = Some(Arc::new(below));
            dir_path = path;
        }
        let name = components.get(depth.saturating_sub(1)).map(|name| name.to_vec()).unwrap_or_default();
        Ok(Self { home: home.to_path_buf(), dir, dir_path, name, existing, depth })
    }

    /// Returns the target's path.
    pub fn path(&self) -> PathBuf {
        self.dir_path.join(to_path(&self.name))
    }

    fn is(&self, kind: FileType) -> bool {
        self.existing.is_some_and(|stat| FileType::from_raw_mode(stat.st_mode) == kind)
    }

    /// Returns the regular file that stands there now.
    pub fn existing_file(&self) -> Option<&Stat> {
        self.existing.as_ref().filter(|_| self.is(FileType::RegularFile))
    }

    /// Returns the directory to find an old tree in, if one stands there.
    pub fn old_tree(&self) -> Option<&Arc<OwnedFd>> {
        self.dir.as_ref().filter(|_| self.existing.is_some() && !self.is(FileType::Symlink))
    }

    /// Returns where the link leads that stands there, for a note.
    pub fn link_target(&self) -> Option<PathBuf> {
        let dir = self.dir.as_ref().filter(|_| self.is(FileType::Symlink))?;
        let target = readlinkat(dir, self.name.as_slice(), Vec::new()).ok()?;
        Some(to_path(target.as_bytes()).to_path_buf())
    }

    /// Refuses what cannot be swapped by rename: the root of a mount.
    pub fn refuse_mount(&self) -> Result<()> {
        let Some(dir) = self.dir.as_ref().filter(|_| self.existing.is_some()) else { return Ok(()) };
        let flags = AtFlags::SYMLINK_NOFOLLOW;
        let is_mount = statx(dir, self.name.as_slice(), flags, StatxFlags::empty())
            .is_ok_and(|stat| stat.stx_attributes.contains(StatxAttributes::MOUNT_ROOT));
        if is_mount { Err(self.mount_error()) } else { Ok(()) }
    }

    /// Says that the target is a mount and what to do.
    pub fn mount_error(&self) -> Error {
        Error::Refused(format!(
            "{} is a mount point, which cannot be swapped for the restored one; nothing was changed. Restore into another \
             --data-dir and move the files from there, or unmount it first",
            self.path().display()
        ))
    }

    /// Returns owner and group of what stands there, else of the directory that holds it.
    pub fn owner(&self) -> Option<(u32, u32)> {
        let dir = || self.dir.as_ref().and_then(|dir| statat(dir, ".", AtFlags::empty()).ok());
        self.existing.filter(|_| !self.is(FileType::Symlink)).or_else(dir).map(|stat| (stat.st_uid, stat.st_gid))
    }

    /// Returns a name with this ending under which something can be kept, one that nothing has yet, the sidecars' names included.
    pub fn free_name(&self, ending: &str) -> Result<Vec<u8>> {
        for n in 0u32.. {
            let mut kept = [self.name.as_slice(), ending.as_bytes()].concat();
            if n > 0 {
                kept.extend_from_slice(format!(".{n}").as_bytes());
            }
            let mut taken = false;
            for suffix in [""].iter().chain(&SIDECARS) {
                taken |= self.stat_of(&[kept.as_slice(), suffix.as_bytes()].concat())?.is_some();
            }
            if !taken {
                return Ok(kept);
            }
        }
        Err(Error::Refused(format!("every name like {}{ending} is taken", self.path().display())))
    }

    /// Returns what earlier restores left beside it: everything called `name.pre-restore…` or `name.undone…`.
    pub fn kept_before(&self) -> Result<Vec<PathBuf>> {
        let Some(dir) = &self.dir else { return Ok(Vec::new()) };
        let failed = |e: Errno| Error::io("list", &self.dir_path)(e.into());
        let starts = [Side::Before, Side::Restored].map(|side| [&self.name, side.ending().as_bytes()].concat());
        let mut found = Vec::new();
        for entry in Dir::read_from(dir).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let name = entry.file_name().to_bytes();
            if starts.iter().any(|start| name.starts_with(start)) {
                found.push(self.dir_path.join(to_path(name)));
            }
        }
        Ok(found)
    }

    /// Looks at another name in the same directory.
    pub fn stat_of(&self, name: &[u8]) -> Result<Option<Stat>> {
        let Some(dir) = &self.dir else { return Ok(None) };
        match statat(dir, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => Ok(Some(stat)),
            Err(Errno::NOENT) => Ok(None),
            Err(e) => Err(Error::io("look at", self.dir_path.join(to_path(name)))(e.into())),
        }
    }

    /// Returns the names of the sidecars that are there, as suffixes.
    pub fn sidecars(&self) -> Result<Vec<&'static str>> {
        let mut found = Vec::new();
        for suffix in SIDECARS {
            if self.stat_of(&[self.name.as_slice(), suffix.as_bytes()].concat())?.is_some() {
                found.push(suffix);
            }
        }
        Ok(found)
    }
}
