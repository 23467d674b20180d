//! Owns the writing of a tree into its staging directory: directories and links in the order of the list, files by several
//! workers, then hard links, then the metadata of directories from the leaves up. Never writes anywhere else.

use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rayon::iter::{ParallelBridge, ParallelIterator};
use rustix::fs::{
    AtFlags, FileType, Mode, OFlags, ioctl_ficlone, linkat, mkdirat, openat, statat, symlinkat, unlinkat,
};
use rustix::io::Errno;

use super::selection::{Lookup, OldTree, Selection, TreeSize, is_same};
use super::stage_file::{Meta, Owners, Writer, create, dress_link, set_metadata};
use crate::error::{Error, Result};
use crate::format::entry::{Entry, Kind};
use crate::fs::dir::{DirCursor, split};
use crate::progress::checkpoint;
use crate::store::prefetch::Prefetched;

/// How files that are right already get into the staged tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reuse {
    /// Not at all: there are none.
    No,
    /// As clones that share their blocks.
    Clone,
    /// As hard links, where the disk cannot clone.
    Link,
}

/// Files that were taken over.
#[derive(Debug, Default)]
pub(super) struct ReuseCounts {
    files: AtomicU64,
    bytes: AtomicU64,
    /// What did not get its owner.
    not_given: AtomicU64,
}

impl ReuseCounts {
    fn count(&self, bytes: u64) {
        self.files.fetch_add(1, Ordering::Relaxed);
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Counts what did not get its owner.
    pub fn owner(&self, was_given: bool) {
        self.not_given.fetch_add(u64::from(!was_given), Ordering::Relaxed);
    }

    /// Counts several of those.
    pub fn not_given(&self, count: u64) {
        self.not_given.fetch_add(count, Ordering::Relaxed);
    }

    /// Returns how many did not get their owner.
    pub fn without_owner(&self) -> u64 {
        self.not_given.load(Ordering::Relaxed)
    }

    /// Returns files and bytes.
    pub fn get(&self) -> (u64, u64) {
        (self.files.load(Ordering::Relaxed), self.bytes.load(Ordering::Relaxed))
    }
}

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
    /// What to do with what is right in it.
    pub take_over: Reuse,
    /// Writes bytes.
    pub writer: Writer<'a>,
    /// Whose the files become.
    pub owners: Owners,
    /// Counts what was taken over.
    pub taken: &'a ReuseCounts,
    /// Counts what was passed over.
    pub lost: &'a ReuseCounts,
}

struct Job {
    dir: Arc<OwnedFd>,
    old: Option<Arc<OwnedFd>>,
    entry: Entry,
    path: PathBuf,
}

impl Stage<'_> {
    /// Writes the whole tree, with up to the current pool's threads.
    pub fn write(&self, weight: &TreeSize) -> Result<()> {
        let mut cursor = DirCursor::new(Arc::clone(self.dir), self.path);
        let mut lookup = match self.old {
            Some(dir) if self.take_over != Reuse::No => {
                Some(Lookup::new(&OldTree { dir, owners: self.owners }, self.tree))
            }
            _ => None,
        };
        // What can be taken over is not read.
        let entries = Prefetched::new(self.tree.store, lookup.is_none(), self.tree.entries()?);
        // The list is walked by whichever worker is free, one entry at a time: what is in flight is one file for each.
        let jobs = entries.filter_map(|entry| self.begin(entry, &mut cursor, lookup.as_mut()).transpose());
        jobs.par_bridge().try_for_each(|job| self.file(&job?))?;
        if weight.hardlinks > 0 {
            self.hardlinks()?;
        }
        self.finish_dirs()
    }

    fn meta(&self, entry: &Entry) -> Meta {
        let owner = self.owners.of((entry.uid, entry.gid));
        Meta { mode: entry.mode, owner, is_asked: self.owners.all.is_some(), mtime: Some(entry.mtime) }
    }

    fn enter(&self, cursor: &mut DirCursor, dir: &[u8], entry: &Entry) -> Result<()> {
        cursor.enter(dir).map_err(|e| match e {
            Errno::LOOP | Errno::NOTDIR => self.tree.corrupt(&entry.path, "leads through a link or a file"),
            Errno::NOENT => self.tree.corrupt(&entry.path, "has no directory in the list"),
            e => Error::io("open", cursor.path_of(dir))(e.into()),
        })
    }

    fn created<T>(&self, done: Result<T, Errno>, entry: &Entry, path: &Path) -> Result<T> {
        done.map_err(|e| match e {
            Errno::EXIST => self.tree.corrupt(&entry.path, "stands there twice"),
            e => Error::io("create", path)(e.into()),
        })
    }

    /// Makes directories and symbolic links at once and returns files as work to be done.
    fn begin(
        &self,
        entry: Result<Entry>,
        cursor: &mut DirCursor,
        lookup: Option<&mut Lookup<'_>>,
    ) -> Result<Option<Job>> {
        checkpoint(self.writer.observer)?;
        let entry = entry?;
        let staged = self.tree.staged(&entry.path);
        let (parent, name) = split(&staged);
        if matches!(entry.kind, Kind::Hardlink { .. }) {
            return Ok(None);
        }
        self.enter(cursor, parent, &entry)?;
        let path = cursor.path_of(&staged);
        match &entry.kind {
            Kind::Dir => {
                self.created(mkdirat(cursor.here(), name, Mode::from_raw_mode(0o700)), &entry, &path)?;
                Ok(None)
            }
            Kind::Symlink { target } => {
                self.created(symlinkat(target.as_slice(), cursor.here(), name), &entry, &path)?;
                self.taken.owner(dress_link(cursor.here(), name, &self.meta(&entry), &path)?);
                Ok(None)
            }
            Kind::File { .. } | Kind::Hardlink { .. } => {
                let old = lookup.and_then(|lookup| lookup.dir_of(&entry.path)).map(Arc::clone);
                Ok(Some(Job { dir: Arc::clone(cursor.here()), old, entry, path }))
            }
        }
    }

    fn file(&self, job: &Job) -> Result<()> {
        let entry = &job.entry;
        let Kind::File { size, content } = &entry.kind else { return Ok(()) };
        let name = split(&entry.path).1;
        let staged_name = job.path.file_name().map(std::os::unix::ffi::OsStrExt::as_bytes).unwrap_or_default();
        if self.take_over == Reuse::Link && self.link(job, name, staged_name)? {
            self.writer.observer.advance(0, 1);
            return Ok(());
        }
        let mut file = self.created(create(&job.dir, staged_name), entry, &job.path)?;
        let cloned = self.take_over == Reuse::Clone && self.clone_from(job, name, &file)?;
        if cloned {
            self.taken.count(*size);
        } else {
            if file.metadata().map_err(Error::io("look at", &job.path))?.len() > 0 {
                unlinkat(&job.dir, staged_name, AtFlags::empty())
                    .map_err(|e| Error::io("remove", &job.path)(e.into()))?;
                file = self.created(create(&job.dir, staged_name), entry, &job.path)?;
            }
            let written = self.writer.write(&file, content, *size, &job.path, &mut |_| {});
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
        self.taken.owner(set_metadata(&file, &self.meta(entry), false, &job.path)?);
        self.writer.observer.advance(0, 1);
        Ok(())
    }

    /// Clones the old file, then proves the clone: the old one may change under our eyes, the clone cannot.
    fn clone_from(&self, job: &Job, name: &[u8], file: &std::fs::File) -> Result<bool> {
        let (Some(old), Kind::File { size, content }) = (&job.old, &job.entry.kind) else { return Ok(false) };
        let same_size = |stat: rustix::fs::Stat| {
            FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile && stat.st_size as u64 == *size && *size > 0
        };
        if !statat(old, name, AtFlags::SYMLINK_NOFOLLOW).is_ok_and(same_size) {
            return Ok(false);
        }
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let Ok(old) = openat(old, name, flags, Mode::empty()) else { return Ok(false) };
        Ok(ioctl_ficlone(file, old).is_ok() && self.writer.is_right(file, content, *size, &job.path)?)
    }

    /// Gives the old file a further name in the staged tree, if it is right in every respect.
    fn link(&self, job: &Job, name: &[u8], staged_name: &[u8]) -> Result<bool> {
        let (Some(old), Kind::File { size, content }) = (&job.old, &job.entry.kind) else { return Ok(false) };
        let is_same = |stat: rustix::fs::Stat| is_same(&stat, &job.entry, self.owners);
        if !statat(old, name, AtFlags::SYMLINK_NOFOLLOW).is_ok_and(is_same)
            || linkat(old, name, &job.dir, staged_name, AtFlags::empty()).is_err()
        {
            return Ok(false);
        }
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let right = statat(&job.dir, staged_name, AtFlags::SYMLINK_NOFOLLOW).is_ok_and(is_same)
            && match openat(&job.dir, staged_name, flags, Mode::empty()) {
                Ok(file) => self.writer.is_right(&file.into(), content, *size, &job.path)?,
                Err(_) => false,
            };
        if right {
            self.taken.count(*size);
        } else {
            unlinkat(&job.dir, staged_name, AtFlags::empty()).map_err(|e| Error::io("remove", &job.path)(e.into()))?;
        }
        Ok(right)
    }

    fn hardlinks(&self) -> Result<()> {
        let mut cursor = DirCursor::new(Arc::clone(self.dir), self.path);
        let mut targets = DirCursor::new(Arc::clone(self.dir), self.path);
        for entry in self.tree.entries()? {
            checkpoint(self.writer.observer)?;
            let entry = entry?;
            let Kind::Hardlink { target } = &entry.kind else { continue };
            let no_file = || self.tree.corrupt(&entry.path, "is a hard link to a file that is not in the list");
            let (staged, target) = (self.tree.staged(&entry.path), self.tree.staged(target));
            let ((dir, name), (target_dir, target_name)) = (split(&staged), split(&target));
            self.enter(&mut cursor, dir, &entry)?;
            if self.tree.skips.is_none() {
                self.enter(&mut targets, target_dir, &entry)?;
            } else if targets.enter(target_dir).is_err() {
                let skips = self.tree.skips.iter();
                skips.for_each(|skips| skips.add(&entry.path, 1, &no_file()));
                targets = DirCursor::new(Arc::clone(self.dir), self.path);
                continue;
            }
            let stat = match statat(targets.here(), target_name, AtFlags::SYMLINK_NOFOLLOW) {
                Ok(stat) => stat,
                Err(_) => {
                    let Some(skips) = &self.tree.skips else { return Err(no_file()) };
                    skips.add(
                        &entry.path,
                        1,
                        &self.tree.corrupt(&entry.path, "is a hard link to a file that is damaged"),
                    );
                    continue;
                }
            };
            if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
                return Err(no_file());
            }
            let linked = linkat(targets.here(), target_name, cursor.here(), name, AtFlags::empty());
            self.created(linked, &entry, &cursor.path_of(&staged))?;
        }
        Ok(())
    }

    /// Sets the metadata of directories once nothing more is created in them, leaves first: one without the right to enter it
    /// would lock us out.
    fn finish_dirs(&self) -> Result<()> {
        let mut cursor = DirCursor::new(Arc::clone(self.dir), self.path);
        let mut open: Vec<Entry> = Vec::new();
        for entry in self.tree.entries()? {
            let entry = entry?;
            if entry.kind != Kind::Dir {
                continue;
            }
            checkpoint(self.writer.observer)?;
            let staged = self.tree.staged(&entry.path);
            let (parent, name) = split(&staged);
            while cursor.depth() > cursor.common(parent) {
                self.leave(&mut cursor, open.pop())?;
            }
            self.enter(&mut cursor, parent, &entry)?;
            cursor.descend(name).map_err(|e| Error::io("open", cursor.path_of(&staged))(e.into()))?;
            open.push(entry);
        }
        while let Some(entry) = open.pop() {
            self.leave(&mut cursor, Some(entry))?;
        }
        Ok(())
    }

    fn leave(&self, cursor: &mut DirCursor, entry: Option<Entry>) -> Result<()> {
        let Some(entry) = entry else { return Ok(()) };
        let path = cursor.path_of(&self.tree.staged(&entry.path));
        self.taken.owner(set_metadata(cursor.here().as_fd(), &self.meta(&entry), true, &path)?);
        cursor.ascend().map_err(|e| Error::io("open", path)(e.into()))
    }
}
