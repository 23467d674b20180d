//! Which entries of a snapshot's list are restored, under which staged names, and their size. Streams the list each time: nothing here grows
//! with the number of files.

use std::collections::VecDeque;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use rustix::fs::{AtFlags, FileType, Stat, statat};

use crate::error::{Error, Result};
use crate::format::entry::{Content, Entry, Kind, Piece, compare_paths, is_clean_path};
use crate::format::node::Child;
use crate::fs::dir::{DirCursor, split};
use crate::fs::metadata::{Owners, masked_mode, mtime_of};
use crate::id::ChunkId;
use crate::ops::skipped::Skips;
use crate::progress::{Observer, checkpoint};
use crate::store::Store;
use crate::store::tree::TreeItems;
use crate::time::Time;

/// Files and directories of a list that go to one target, each with all that it contains.
pub(super) struct Selection<'a> {
    /// Where the list is.
    pub store: &'a Store,
    /// Its root; none if the snapshot holds no files.
    pub list: Option<ChunkId>,
    /// The list's path that takes the staged name: the one selected path, or the first of its parents that the target lacks.
    pub base: Vec<u8>,
    /// The list's paths that were asked for, in the list's order; none is below another.
    pub selected: Vec<Vec<u8>>,
    /// The name that `base` gets.
    pub name: Vec<u8>,
    /// Collects what is damaged; `None`: damage is an error.
    pub skips: Option<Arc<Skips>>,
    /// Owner of directories whose own entries are lost.
    pub owner: (u32, u32),
}

/// The size of what is selected.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct SelectionSize {
    /// Entries of the list, without the parents of the selected one.
    pub entries: u64,
    /// Regular files.
    pub files: u64,
    /// Directories.
    pub dirs: u64,
    /// Symbolic links and hard links.
    pub links: u64,
    /// Hard links alone.
    pub hardlinks: u64,
    /// Bytes of the regular files.
    pub bytes: u64,
    /// Bytes that everything needs on the disk, in whole blocks.
    pub needed: u64,
    /// Files, directories and symbolic links that have to be made.
    pub inodes: u64,
}

/// The old tree where a new one goes: what is right in it need not be written again.
pub(super) struct OldTree<'a> {
    /// The directory that holds the old tree.
    pub dir: &'a Arc<OwnedFd>,
    /// The owners that restored files get.
    pub owners: Owners,
}

impl<'a> Selection<'a> {
    /// Returns the path in the staging directory.
    pub(crate) fn staged(&self, path: &[u8]) -> Vec<u8> {
        [&self.name, path.get(self.base.len()..).unwrap_or_default()].concat()
    }

    fn is_inside(&self, path: &[u8]) -> bool {
        self.selected.iter().any(|selected| is_below(path, selected))
    }

    /// Returns the first selected path, for messages.
    pub(crate) fn selected(&self) -> &[u8] {
        self.selected.first().map_or(&self.base, |first| first)
    }

    /// Finds one entry; where damage is passed over, none is found in what cannot be read.
    pub(crate) fn find(&self, path: &[u8]) -> Result<Option<Entry>> {
        let Some(list) = &self.list else { return Ok(None) };
        let first = TreeItems::from_path(self.store, list, path).and_then(|mut items| items.next().transpose());
        match first {
            Err(error) if self.skips.is_some() && error.is_damage() => Ok(None),
            first => Ok(first?.filter(|entry| entry.path == path)),
        }
    }

    /// Streams the entries in order, the parents that the target lacks first. A hard link to a file outside of the selection
    /// comes as that file. Where damage is passed over, directories whose own entries are lost come with usual metadata.
    pub(crate) fn entries(&self) -> Result<impl Iterator<Item = Result<Entry>> + Send + use<'_, 'a>> {
        let walk = Walk { tree: self, at: 0, items: None, ready: VecDeque::new(), last: None, dir: Vec::new() };
        Ok(Fused { walk: Some(walk) })
    }

    fn stand_in(&self, path: &[u8]) -> Entry {
        let (uid, gid) = self.owner;
        Entry {
            path: path.to_vec(),
            kind: Kind::Dir,
            mode: 0o755,
            uid,
            gid,
            mtime: Time::default(),
            xattrs: Vec::new(),
        }
    }

    fn resolve(&self, entry: Entry) -> Result<Option<Entry>> {
        match &entry.kind {
            Kind::Hardlink { target } if !self.is_inside(target) => match self.find(target)? {
                Some(file @ Entry { kind: Kind::File { .. }, .. }) => Ok(Some(Entry { path: entry.path, ..file })),
                _ => {
                    let error = self.corrupt(&entry.path, "is a hard link to a file that is not in the list");
                    let Some(skips) = &self.skips else { return Err(error) };
                    skips.add(&entry.path, 1, &error);
                    Ok(None)
                }
            },
            _ => Ok(Some(entry)),
        }
    }

    /// Makes an error about an entry.
    pub(crate) fn corrupt(&self, path: &[u8], detail: &str) -> Error {
        Error::corrupt(format!("the snapshot's entry {}", String::from_utf8_lossy(path)), detail)
    }

    /// Adds up what is selected. With `exact`, neither holes count nor files that can be reused from the old tree as they are.
    pub(crate) fn measure(
        &self,
        block: u64,
        exact: Option<Option<OldTree<'_>>>,
        observer: &dyn Observer,
    ) -> Result<SelectionSize> {
        let mut size = SelectionSize::default();
        let on_disk = |len: u64| len.checked_next_multiple_of(block).unwrap_or(u64::MAX);
        let mut old = exact.as_ref().and_then(|old| old.as_ref()).map(|old| Lookup::new(old, self));
        for entry in self.entries()? {
            checkpoint(observer)?;
            let entry = entry?;
            let mut inodes = u64::from(self.is_inside(&entry.path));
            size.entries += inodes;
            match &entry.kind {
                Kind::Dir => {
                    size.dirs += 1;
                    size.needed += block;
                }
                Kind::File { size: len, content } => {
                    size.files += 1;
                    size.bytes = size.bytes.saturating_add(*len);
                    let needed = if exact.is_none() {
                        *len
                    } else if old.as_mut().is_some_and(|old| old.looks_right(&entry)) {
                        inodes = 0;
                        0
                    } else {
                        match self.data_bytes(content) {
                            Err(error) if self.skips.is_some() && error.is_damage() => *len,
                            bytes => bytes?,
                        }
                    };
                    size.needed = size.needed.saturating_add(on_disk(needed));
                }
                Kind::Symlink { .. } => size.links += 1,
                Kind::Hardlink { .. } => {
                    size.links += 1;
                    size.hardlinks += 1;
                    inodes = 0;
                }
            }
            size.inodes += inodes;
        }
        Ok(size)
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

/// A position in the selected entries of a tree.
struct Walk<'t, 'a> {
    tree: &'t Selection<'a>,
    /// Which selected path is being walked.
    at: usize,
    items: Option<TreeItems<'a, Entry>>,
    ready: VecDeque<Entry>,
    last: Option<Vec<u8>>,
    /// The last directory that came; it and all above it have come.
    dir: Vec<u8>,
}

/// Ends after the first error.
struct Fused<'t, 'a> {
    walk: Option<Walk<'t, 'a>>,
}

impl Iterator for Fused<'_, '_> {
    type Item = Result<Entry>;

    fn next(&mut self) -> Option<Result<Entry>> {
        let next = self.walk.as_mut()?.next().transpose();
        if !matches!(next, Some(Ok(_))) {
            self.walk = None;
        }
        next
    }
}

impl Walk<'_, '_> {
    fn next(&mut self) -> Result<Option<Entry>> {
        let tree = self.tree;
        loop {
            if let Some(entry) = self.ready.pop_front() {
                return Ok(Some(entry));
            }
            let (Some(selected), Some(list)) = (tree.selected.get(self.at), &tree.list) else { return Ok(None) };
            let mut gap = |child: &Child, error: &Error| {
                let first = if child.first_key.is_empty() { selected } else { &child.first_key };
                tree.skips.iter().for_each(|skips| skips.add(first, child.weight.max(1), error));
            };
            let Some(items) = &mut self.items else {
                self.items = Some(match tree.skips {
                    Some(_) => TreeItems::from_path_around(tree.store, list, selected, &mut gap)?,
                    None => TreeItems::from_path(tree.store, list, selected)?,
                });
                self.parents(selected)?;
                continue;
            };
            let next = match tree.skips {
                Some(_) => items.next_around(&mut gap)?,
                None => items.next().transpose()?,
            };
            let Some(entry) = next.filter(|entry| is_below(&entry.path, selected)) else {
                self.items = None;
                self.at += 1;
                continue;
            };
            let in_order = self.last.as_ref().is_none_or(|last| compare_paths(last, &entry.path).is_lt());
            if !in_order || !is_clean_path(&entry.path) {
                return Err(tree.corrupt(&entry.path, "stands in the wrong place of the list"));
            }
            self.last = Some(entry.path.clone());
            if tree.skips.is_some() {
                self.parents(&entry.path)?;
            }
            if entry.kind == Kind::Dir {
                self.dir.clone_from(&entry.path);
            }
            self.ready.extend(tree.resolve(entry)?);
        }
    }

    /// Makes the directories above `path` come, as far as the target lacks them and they have not come yet.
    fn parents(&mut self, path: &[u8]) -> Result<()> {
        let tree = self.tree;
        for (at, _) in path.iter().enumerate().filter(|(at, b)| **b == b'/' && *at >= tree.base.len()) {
            let parent = &path[..at];
            if is_below(&self.dir, parent) {
                continue;
            }
            let found = tree.find(parent)?.filter(|entry| entry.kind == Kind::Dir);
            let found = found.or_else(|| tree.skips.as_ref().map(|_| tree.stand_in(parent)));
            self.ready.push_back(found.ok_or_else(|| tree.corrupt(path, "has no directory in the list"))?);
            self.dir = parent.to_vec();
        }
        Ok(())
    }
}

/// Returns the paths in the list's order, without those that are below another one.
pub(super) fn outermost(paths: &[Vec<u8>]) -> Vec<&[u8]> {
    let mut sorted: Vec<&[u8]> = paths.iter().map(|path| path.strip_suffix(b"/").unwrap_or(path)).collect();
    sorted.sort_by(|a, b| compare_paths(a, b));
    sorted.dedup_by(|path, before| is_below(path, before));
    sorted
}

/// Returns whether `path` is `base` or below it.
pub(super) fn is_below(path: &[u8], base: &[u8]) -> bool {
    path.strip_prefix(base).is_some_and(|rest| rest.is_empty() || rest.starts_with(b"/"))
}

/// Looks files up in the old tree; trouble with it only means that there is nothing to reuse.
pub(super) struct Lookup<'a> {
    cursor: DirCursor,
    tree: &'a Selection<'a>,
    owners: Owners,
}

impl<'a> Lookup<'a> {
    /// Starts at the directory that holds the old tree.
    pub(crate) fn new(old: &OldTree<'_>, tree: &'a Selection<'a>) -> Self {
        Self { cursor: DirCursor::new(Arc::clone(old.dir), std::path::Path::new("")), tree, owners: old.owners }
    }

    /// Returns the directory where an entry of the list would be, if it exists.
    pub(crate) fn dir_of(&mut self, path: &[u8]) -> Option<&Arc<OwnedFd>> {
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

/// Returns whether a file has an entry's size, mode, owner and time. Does not look at its bytes.
pub(super) fn is_same(stat: &Stat, entry: &Entry, owners: Owners) -> bool {
    FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile
        && stat.st_size as u64 == entry.size()
        && stat.st_mode & 0o7777 == masked_mode(entry.mode, false)
        && owners.of((entry.uid, entry.gid)).is_none_or(|owner| owner == (stat.st_uid, stat.st_gid))
        && mtime_of(stat) == entry.mtime
}
