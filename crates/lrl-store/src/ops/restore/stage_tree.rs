//! Writes a tree into its staging directory: directories and links in the order of the list, files by several workers, then hard
//! links, then the metadata of directories from the leaves up.

use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rayon::iter::{ParallelBridge, ParallelIterator};
use rustix::fs::{AtFlags, FileType, Mode, OFlags, Stat, ioctl_ficlone, linkat, openat, statat, unlinkat};
use rustix::io::Errno;

use super::model::{Reuse, ReuseCounts};
use super::selection::{Lookup, OldTree, Selection, SelectionSize, is_same};
use super::stage_file::Writer;
use crate::error::{Error, Result};
use crate::format::entry::{Entry, Kind};
use crate::fs::dir::{create_file, split};
use crate::fs::metadata::{Metadata, Owners, set_all};
use crate::fs::tree_writer::{Obstacle, TreeWriter};
use crate::fs::xattrs::{FoundXattrs, read_xattrs, remove_default_acl, restorable};
use crate::progress::checkpoint;
use crate::store::prefetch::Prefetched;

/// Where and how a tree is staged.
pub(super) struct Stage<'a> {
    /// What is restored.
    pub tree: &'a Selection<'a>,
    /// The staging directory.
    pub dir: &'a Arc<OwnedFd>,
    /// Its path.
    pub path: &'a Path,
    /// The directory that holds the old tree, if there is one.
    pub old: Option<&'a Arc<OwnedFd>>,
    /// How files of it are reused that are as they should be.
    pub reuse: Reuse,
    /// Writes contents.
    pub writer: Writer<'a>,
    /// Owners that the files get.
    pub owners: Owners,
    /// Counts what was reused.
    pub counts: &'a ReuseCounts,
    /// Counts files that were skipped because they are damaged.
    pub lost: &'a ReuseCounts,
}

struct Job {
    dir: Arc<OwnedFd>,
    old: Option<Arc<OwnedFd>>,
    entry: Entry,
    path: PathBuf,
}

impl Stage<'_> {
    /// Writes the whole tree, with up to the current pool's threads. The directories get their metadata by [`Stage::finish`].
    pub(crate) fn write(&self, size: &SelectionSize) -> Result<()> {
        remove_default_acl(self.dir);
        let mut tree = TreeWriter::new(self.dir, self.path);
        let mut lookup = match self.old {
            Some(dir) if self.reuse != Reuse::No => Some(Lookup::new(&OldTree { dir, owners: self.owners }, self.tree)),
            _ => None,
        };
        // What can be reused is not read.
        let entries = Prefetched::new(self.tree.store, lookup.is_none(), self.tree.entries()?);
        // Whichever worker is free takes the next entry of the list: each has one file in flight.
        let jobs = entries.filter_map(|entry| self.begin(entry, &mut tree, lookup.as_mut()).transpose());
        jobs.par_bridge().try_for_each(|job| self.file(&job?))?;
        if size.hardlinks > 0 {
            self.hardlinks()?;
        }
        Ok(())
    }

    fn metadata(&self, entry: &Entry) -> Metadata {
        let owner = self.owners.of((entry.uid, entry.gid));
        Metadata { mode: entry.mode, owner, owner_is_required: self.owners.all.is_some(), mtime: Some(entry.mtime) }
    }

    fn set_metadata(&self, fd: impl AsFd, entry: &Entry, path: &Path) -> Result<()> {
        let xattrs = (entry.xattrs.as_slice(), self.counts.xattrs(self.owners));
        self.counts.owner(set_all(fd, &self.metadata(entry), Some(xattrs), entry.kind == Kind::Dir, path)?);
        Ok(())
    }

    /// Makes an error of what was in the way of an entry.
    fn error(&self, obstacle: Obstacle, entry: &Entry) -> Error {
        let detail = match obstacle {
            Obstacle::Exists => "stands there twice",
            Obstacle::NoDirectory => "has no directory in the list",
            Obstacle::NotDirectory => "leads through a link or a file",
            Obstacle::NoTarget | Obstacle::TargetNotFile => "is a hard link to a file that is not in the list",
            Obstacle::Io(error) => return error,
        };
        self.tree.corrupt(&entry.path, detail)
    }

    /// Creates directories and symbolic links at once, and returns files as work to be done.
    fn begin(
        &self,
        entry: Result<Entry>,
        tree: &mut TreeWriter,
        lookup: Option<&mut Lookup<'_>>,
    ) -> Result<Option<Job>> {
        checkpoint(self.writer.observer)?;
        let entry = entry?;
        let staged = self.tree.staged(&entry.path);
        let (parent, name) = split(&staged);
        if matches!(entry.kind, Kind::Hardlink { .. }) {
            return Ok(None);
        }
        tree.enter(parent).map_err(|obstacle| self.error(obstacle, &entry))?;
        match &entry.kind {
            Kind::Dir => {
                tree.create_dir(name).map_err(|obstacle| self.error(obstacle, &entry))?;
                Ok(None)
            }
            Kind::Symlink { target } => {
                let has_owner = tree.create_symlink(name, target, &self.metadata(&entry));
                self.counts.owner(has_owner.map_err(|obstacle| self.error(obstacle, &entry))?);
                Ok(None)
            }
            Kind::File { .. } | Kind::Hardlink { .. } => {
                let old = lookup.and_then(|lookup| lookup.dir_of(&entry.path)).map(Arc::clone);
                Ok(Some(Job { dir: Arc::clone(tree.here()), old, path: tree.path_of(name), entry }))
            }
        }
    }

    fn create(&self, job: &Job, name: &[u8]) -> Result<File> {
        create_file(&job.dir, name).map_err(|e| match e {
            Errno::EXIST => self.error(Obstacle::Exists, &job.entry),
            e => Error::io("create", &job.path)(e.into()),
        })
    }

    fn file(&self, job: &Job) -> Result<()> {
        let entry = &job.entry;
        let Kind::File { size, content } = &entry.kind else { return Ok(()) };
        let name = split(&entry.path).1;
        let staged_name = job.path.file_name().map(OsStrExt::as_bytes).unwrap_or_default();
        if self.reuse == Reuse::Link && self.link(job, name, staged_name)? {
            self.writer.observer.advance(0, 1);
            return Ok(());
        }
        let mut file = self.create(job, staged_name)?;
        let cloned = self.reuse == Reuse::Clone && self.clone_from(job, name, &file)?;
        if cloned {
            self.counts.count(*size);
        } else {
            if file.metadata().map_err(Error::io("look at", &job.path))?.len() > 0 {
                unlinkat(&job.dir, staged_name, AtFlags::empty())
                    .map_err(|e| Error::io("remove", &job.path)(e.into()))?;
                file = self.create(job, staged_name)?;
            }
            let written = self.writer.write(&file, content, *size, &job.path);
            match (written, &self.tree.skips) {
                // The disk that is written to may be the bad one.
                (Err(error), Some(skips)) if error.is_damage() && !error.is_about(&job.path) => {
                    unlinkat(&job.dir, staged_name, AtFlags::empty())
                        .map_err(|e| Error::io("remove", &job.path)(e.into()))?;
                    skips.add(&entry.path, 1, &error);
                    self.lost.count(*size);
                    return Ok(());
                }
                (written, _) => written.map_err(|e| e.needed_for(&entry.path))?,
            }
        }
        self.set_metadata(&file, entry, &job.path)?;
        self.writer.observer.advance(0, 1);
        Ok(())
    }

    /// Clones the old file, then proves the clone: the old one may change under our eyes, the clone cannot.
    fn clone_from(&self, job: &Job, name: &[u8], file: &File) -> Result<bool> {
        let (Some(old), Kind::File { size, content }) = (&job.old, &job.entry.kind) else { return Ok(false) };
        let same_size = |stat: Stat| {
            FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile && stat.st_size as u64 == *size && *size > 0
        };
        if !statat(old, name, AtFlags::SYMLINK_NOFOLLOW).is_ok_and(same_size) {
            return Ok(false);
        }
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let Ok(old) = openat(old, name, flags, Mode::empty()) else { return Ok(false) };
        Ok(ioctl_ficlone(file, old).is_ok() && self.writer.is_right(file, content, *size, &job.path)?)
    }

    /// Links the old file into the staged tree, if it is right in every respect.
    fn link(&self, job: &Job, name: &[u8], staged_name: &[u8]) -> Result<bool> {
        let (Some(old), Kind::File { size, content }) = (&job.old, &job.entry.kind) else { return Ok(false) };
        let is_same = |stat: Stat| is_same(&stat, &job.entry, self.owners);
        if !statat(old, name, AtFlags::SYMLINK_NOFOLLOW).is_ok_and(is_same)
            || linkat(old, name, &job.dir, staged_name, AtFlags::empty()).is_err()
        {
            return Ok(false);
        }
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let right = statat(&job.dir, staged_name, AtFlags::SYMLINK_NOFOLLOW).is_ok_and(is_same)
            && match openat(&job.dir, staged_name, flags, Mode::empty()) {
                Ok(file) => {
                    let wanted =
                        FoundXattrs { xattrs: restorable(&job.entry.xattrs, self.owners.all.is_none()), lost: None };
                    read_xattrs(&file) == wanted && self.writer.is_right(&file.into(), content, *size, &job.path)?
                }
                Err(_) => false,
            };
        if right {
            self.counts.count(*size);
        } else {
            unlinkat(&job.dir, staged_name, AtFlags::empty()).map_err(|e| Error::io("remove", &job.path)(e.into()))?;
        }
        Ok(right)
    }

    fn hardlinks(&self) -> Result<()> {
        let mut tree = TreeWriter::new(self.dir, self.path);
        for entry in self.tree.entries()? {
            checkpoint(self.writer.observer)?;
            let entry = entry?;
            let Kind::Hardlink { target } = &entry.kind else { continue };
            let (staged, target) = (self.tree.staged(&entry.path), self.tree.staged(target));
            let (parent, name) = split(&staged);
            tree.enter(parent).map_err(|obstacle| self.error(obstacle, &entry))?;
            match (tree.create_hardlink(name, &target), &self.tree.skips) {
                (Err(Obstacle::NoTarget), Some(skips)) => {
                    let error = self.tree.corrupt(&entry.path, "is a hard link to a file that is damaged");
                    skips.add(&entry.path, 1, &error);
                }
                (done, _) => done.map_err(|obstacle| self.error(obstacle, &entry))?,
            }
        }
        Ok(())
    }

    /// Sets the metadata of directories once nothing more is created in them, leaves first: one without the right to enter it
    /// would lock us out.
    pub(crate) fn finish(&self) -> Result<()> {
        let mut tree = TreeWriter::new(self.dir, self.path);
        let mut open: Vec<Entry> = Vec::new();
        for entry in self.tree.entries()? {
            let entry = entry?;
            if entry.kind != Kind::Dir {
                continue;
            }
            checkpoint(self.writer.observer)?;
            let staged = self.tree.staged(&entry.path);
            let (parent, name) = split(&staged);
            while tree.depth() > tree.common(parent) {
                self.leave(&mut tree, open.pop())?;
            }
            let entered = tree.enter(parent).and_then(|()| tree.descend(name));
            entered.map_err(|obstacle| self.error(obstacle, &entry))?;
            open.push(entry);
        }
        while let Some(entry) = open.pop() {
            self.leave(&mut tree, Some(entry))?;
        }
        Ok(())
    }

    fn leave(&self, tree: &mut TreeWriter, entry: Option<Entry>) -> Result<()> {
        let Some(entry) = entry else { return Ok(()) };
        self.set_metadata(tree.here(), &entry, &tree.path_of(b""))?;
        tree.ascend()
    }
}
