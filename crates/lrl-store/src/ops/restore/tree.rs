//! Owns which entries of a snapshot's list are restored, under which staged names, and what they weigh. Streams the list each
//! time: nothing here grows with the number of files. Never touches a disk, but to ask what stands in the old tree.

use std::os::fd::OwnedFd;
use std::sync::Arc;

use rustix::fs::{AtFlags, FileType, Stat, statat};

use super::cursor::{Cursor, split};
use super::file::Owners;
use crate::error::{Error, Result};
use crate::format::entry::{Content, Entry, Kind, Piece, Time, compare_paths, is_clean_path};
use crate::id::ChunkId;
use crate::progress::{Observer, checkpoint};
use crate::store::Store;
use crate::store::tree::Items;

/// One file or directory of a list, with all that it contains.
pub(super) struct Tree<'a> {
    /// Where the list is.
    pub store: &'a Store,
    /// Its root.
    pub list: ChunkId,
    /// The list's path that takes the staged name: `selected`, or the first of its parents that the target lacks.
    pub base: Vec<u8>,
    /// The list's path that was asked for.
    pub selected: Vec<u8>,
    /// The name that `base` gets.
    pub name: Vec<u8>,
}

/// What a tree weighs.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Weight {
    /// Entries of the list, without the parents of the selected one.
    pub entries: u64,
    /// Regular files.
    pub files: u64,
    /// Directories.
    pub dirs: u64,
    /// Symbolic links and further names of files.
    pub links: u64,
    /// Further names alone.
    pub hardlinks: u64,
    /// Bytes of the regular files.
    pub bytes: u64,
    /// Bytes that they need on disk, in whole blocks, directories included.
    pub needed: u64,
}

/// The old tree that stands where a new one goes: what is right in it need not be written again.
pub(super) struct Old<'a> {
    /// The directory that holds the old tree.
    pub dir: &'a Arc<OwnedFd>,
    /// The owners that restored files get.
    pub owners: Owners,
}

impl<'a> Tree<'a> {
    /// Returns the path in the staging directory.
    pub fn staged(&self, path: &[u8]) -> Vec<u8> {
        [&self.name, path.get(self.base.len()..).unwrap_or_default()].concat()
    }

    fn is_inside(&self, path: &[u8]) -> bool {
        is_below(path, &self.selected)
    }

    /// Finds one entry.
    pub fn find(&self, path: &[u8]) -> Result<Option<Entry>> {
        let first = Items::from_path(self.store, &self.list, path)?.next().transpose()?;
        Ok(first.filter(|entry| entry.path == path))
    }

    /// Streams the entries in order, the parents that the target lacks first. A further name of a file outside of the selection
    /// comes as that file.
    pub fn entries(&self) -> Result<impl Iterator<Item = Result<Entry>> + Send + use<'_, 'a>> {
        let mut parents = Vec::new();
        for (at, _) in self.selected.iter().enumerate().filter(|(at, b)| **b == b'/' && *at >= self.base.len()) {
            let parent = self.find(&self.selected[..at])?.filter(|entry| entry.kind == Kind::Dir);
            parents.push(parent.ok_or_else(|| self.corrupt(&self.selected, "has no directory in the list"))?);
        }
        let mut last: Option<Vec<u8>> = None;
        let inside = Items::from_path(self.store, &self.list, &self.selected)?
            .take_while(|entry| entry.as_ref().map_or(true, |entry| self.is_inside(&entry.path)));
        let checked = inside.map(move |entry| {
            let entry = entry?;
            let in_order = last.as_ref().is_none_or(|last| compare_paths(last, &entry.path).is_lt());
            if !in_order || !is_clean_path(&entry.path) {
                return Err(self.corrupt(&entry.path, "stands in the wrong place of the list"));
            }
            last = Some(entry.path.clone());
            self.resolve(entry)
        });
        Ok(parents.into_iter().map(Ok).chain(checked))
    }

    fn resolve(&self, entry: Entry) -> Result<Entry> {
        match &entry.kind {
            Kind::Hardlink { target } if !self.is_inside(target) => match self.find(target)? {
                Some(file @ Entry { kind: Kind::File { .. }, .. }) => Ok(Entry { path: entry.path, ..file }),
                _ => Err(self.corrupt(&entry.path, "is a further name of a file that is not in the list")),
            },
            _ => Ok(entry),
        }
    }

    /// Makes an error about an entry.
    pub fn corrupt(&self, path: &[u8], detail: &str) -> Error {
        Error::corrupt(format!("the snapshot's entry {}", String::from_utf8_lossy(path)), detail)
    }

    /// Adds up what is to be restored; with `exact`, holes count as nothing, and neither do files that could be taken over from
    /// the old tree as they are.
    pub fn weigh(&self, block: u64, exact: Option<Option<Old<'_>>>, observer: &dyn Observer) -> Result<Weight> {
        let mut weight = Weight::default();
        let on_disk = |len: u64| len.checked_next_multiple_of(block).unwrap_or(u64::MAX);
        let mut old = exact.as_ref().and_then(|old| old.as_ref()).map(|old| Lookup::new(old, self));
        for entry in self.entries()? {
            checkpoint(observer)?;
            let entry = entry?;
            if self.is_inside(&entry.path) {
                weight.entries += 1;
            }
            match &entry.kind {
                Kind::Dir => {
                    weight.dirs += 1;
                    weight.needed += block;
                }
                Kind::File { size, content } => {
                    weight.files += 1;
                    weight.bytes = weight.bytes.saturating_add(*size);
                    let needed = if exact.is_none() {
                        *size
                    } else if old.as_mut().is_some_and(|old| old.looks_right(&entry)) {
                        0
                    } else {
                        self.data_bytes(content)?
                    };
                    weight.needed = weight.needed.saturating_add(on_disk(needed));
                }
                Kind::Symlink { .. } => weight.links += 1,
                Kind::Hardlink { .. } => {
                    weight.links += 1;
                    weight.hardlinks += 1;
                }
            }
        }
        Ok(weight)
    }

    fn data_bytes(&self, content: &Content) -> Result<u64> {
        let mut sum = 0u64;
        self.store.each_piece(content, 0, &mut |_, piece| {
            if let Piece::Data { len, .. } = piece {
                sum = sum.saturating_add(len);
            }
            Ok(true)
        })?;
        Ok(sum)
    }
}

/// Says whether `path` is `base` or below it.
pub(super) fn is_below(path: &[u8], base: &[u8]) -> bool {
    path.strip_prefix(base).is_some_and(|rest| rest.is_empty() || rest.starts_with(b"/"))
}

/// Looks files up in the old tree; trouble with it only means that there is nothing to take over.
pub(super) struct Lookup<'a> {
    cursor: Cursor,
    tree: &'a Tree<'a>,
    owners: Owners,
}

impl<'a> Lookup<'a> {
    /// Starts at the directory that holds the old tree.
    pub fn new(old: &Old<'_>, tree: &'a Tree<'a>) -> Self {
        Self { cursor: Cursor::new(Arc::clone(old.dir), std::path::Path::new("")), tree, owners: old.owners }
    }

    /// Returns the directory where an entry of the list would stand, if it is there.
    pub fn dir_of(&mut self, path: &[u8]) -> Option<&Arc<OwnedFd>> {
        let staged = self.tree.staged(path);
        self.cursor.enter(split(&staged).0).ok()?;
        Some(self.cursor.here())
    }

    fn looks_right(&mut self, entry: &Entry) -> bool {
        let owners = self.owners;
        let Some(dir) = self.dir_of(&entry.path) else { return false };
        statat(dir, split(&entry.path).1, AtFlags::SYMLINK_NOFOLLOW).is_ok_and(|stat| is_same(&stat, entry, owners))
    }
}

/// Says whether a file has an entry's size, mode, owner and time; its bytes are another question.
pub(super) fn is_same(stat: &Stat, entry: &Entry, owners: Owners) -> bool {
    FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile
        && stat.st_size as u64 == entry.size()
        && stat.st_mode & 0o7777 == entry.mode & !0o6000
        && owners.of((entry.uid, entry.gid)).is_none_or(|owner| owner == (stat.st_uid, stat.st_gid))
        && Time { secs: stat.st_mtime, nanos: stat.st_mtime_nsec as u32 } == entry.mtime
}
