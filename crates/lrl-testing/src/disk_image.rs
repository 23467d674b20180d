//! A file system's contents, as running programs see them and as a power cut may leave them. Only what was synced is sure: of every other
//! byte and name any part may be there. Shared by the tests of the engine and those of the binary; uses nothing but the standard library.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::rng::Rng;

/// A file, directory or link, whatever its names are.
pub type Id = usize;

/// What a file's inode says beside its contents.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Meta {
    /// Permissions.
    pub mode: u32,
    /// Seconds and nanoseconds of its last change, where it was set.
    pub time: Option<(i64, i64)>,
}

#[derive(Clone)]
enum Kind {
    File(Content),
    Link(PathBuf),
    /// Names as programs see them, and as they are on the disk for sure.
    Dir {
        now: BTreeMap<OsString, Id>,
        durable: BTreeMap<OsString, Id>,
    },
}

#[derive(Clone)]
struct Inode {
    kind: Kind,
    meta: Meta,
    durable_meta: Meta,
}

#[derive(Clone, Default)]
struct Content {
    now: Vec<u8>,
    durable: Arc<Vec<u8>>,
    /// What was written since, in order.
    dirty: Vec<Range<usize>>,
    /// What a sync that failed has dropped: no later one makes up for it.
    lost: Vec<Range<usize>>,
}

/// One change of names, which is on the disk as a whole or not at all.
#[derive(Clone)]
struct Change(Vec<(Id, OsString, Option<Id>)>);

/// A file system.
#[derive(Clone)]
pub struct DiskImage {
    inodes: Vec<Arc<Inode>>,
    pending: Vec<Change>,
}

/// What stands under a path.
pub enum Seen<'a> {
    /// A file's bytes.
    File(&'a [u8], Meta),
    /// A directory.
    Dir(Meta),
    /// A link's target.
    Link(&'a Path),
}

const ROOT: Id = 0;

fn not_found() -> io::Error {
    io::ErrorKind::NotFound.into()
}

impl Default for DiskImage {
    fn default() -> Self {
        let mut image = Self { inodes: Vec::new(), pending: Vec::new() };
        image.add(Kind::Dir { now: BTreeMap::new(), durable: BTreeMap::new() }, 0o755);
        image
    }
}

impl DiskImage {
    fn add(&mut self, kind: Kind, mode: u32) -> Id {
        let meta = Meta { mode, time: None };
        self.inodes.push(Arc::new(Inode { kind, meta, durable_meta: meta }));
        self.inodes.len() - 1
    }

    fn inode(&mut self, id: Id) -> &mut Inode {
        Arc::make_mut(&mut self.inodes[id])
    }

    fn file(&mut self, id: Id) -> &mut Content {
        match &mut self.inode(id).kind {
            Kind::File(content) => content,
            _ => panic!("only files have contents"),
        }
    }

    fn now(&self, dir: Id) -> io::Result<&BTreeMap<OsString, Id>> {
        match &self.inodes[dir].kind {
            Kind::Dir { now, .. } => Ok(now),
            _ => Err(io::ErrorKind::NotADirectory.into()),
        }
    }

    /// Finds what a path names; links are not followed.
    pub fn find(&self, path: &Path) -> io::Result<Id> {
        let names = path.iter().filter(|part| !matches!(part.as_encoded_bytes(), b"/" | b"."));
        names.into_iter().try_fold(ROOT, |dir, name| self.now(dir)?.get(name).copied().ok_or_else(not_found))
    }

    fn split<'p>(&self, path: &'p Path) -> io::Result<(Id, &'p OsStr)> {
        let parent = self.find(path.parent().unwrap_or(Path::new("")))?;
        self.now(parent)?;
        Ok((parent, path.file_name().ok_or_else(not_found)?))
    }

    fn change(&mut self, sets: Vec<(Id, OsString, Option<Id>)>) {
        for (dir, name, id) in &sets {
            if let Kind::Dir { now, .. } = &mut self.inode(*dir).kind {
                match id {
                    Some(id) => now.insert(name.clone(), *id),
                    None => now.remove(name),
                };
            }
        }
        self.pending.push(Change(sets));
    }

    fn add_at(&mut self, path: &Path, kind: Kind, mode: u32) -> io::Result<Id> {
        let (dir, name) = self.split(path)?;
        if self.now(dir)?.contains_key(name) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let id = self.add(kind, mode);
        self.change(vec![(dir, name.into(), Some(id))]);
        Ok(id)
    }

    /// Makes an empty file.
    pub fn create(&mut self, path: &Path, mode: u32) -> io::Result<Id> {
        self.add_at(path, Kind::File(Content::default()), mode)
    }

    /// Makes a directory.
    pub fn create_dir(&mut self, path: &Path, mode: u32) -> io::Result<Id> {
        self.add_at(path, Kind::Dir { now: BTreeMap::new(), durable: BTreeMap::new() }, mode)
    }

    /// Makes a symbolic link.
    pub fn symlink(&mut self, target: &Path, path: &Path) -> io::Result<Id> {
        self.add_at(path, Kind::Link(target.into()), 0o777)
    }

    /// Gives a file one more name.
    pub fn link(&mut self, id: Id, path: &Path) -> io::Result<()> {
        let (dir, name) = self.split(path)?;
        if self.now(dir)?.contains_key(name) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        self.change(vec![(dir, name.into(), Some(id))]);
        Ok(())
    }

    /// Renames, in place of what has the name.
    pub fn rename(&mut self, from: &Path, to: &Path) -> io::Result<()> {
        let id = self.find(from)?;
        let ((from_dir, from_name), (to_dir, to_name)) = (self.split(from)?, self.split(to)?);
        self.change(vec![(from_dir, from_name.into(), None), (to_dir, to_name.into(), Some(id))]);
        Ok(())
    }

    /// Lets two names change places.
    pub fn exchange(&mut self, one: &Path, other: &Path) -> io::Result<()> {
        let (one_id, other_id) = (self.find(one)?, self.find(other)?);
        let ((one_dir, one_name), (other_dir, other_name)) = (self.split(one)?, self.split(other)?);
        self.change(vec![(one_dir, one_name.into(), Some(other_id)), (other_dir, other_name.into(), Some(one_id))]);
        Ok(())
    }

    /// Removes a name.
    pub fn remove(&mut self, path: &Path) -> io::Result<()> {
        self.find(path)?;
        let (dir, name) = self.split(path)?;
        self.change(vec![(dir, name.into(), None)]);
        Ok(())
    }

    /// Writes into a file.
    pub fn write(&mut self, id: Id, offset: usize, bytes: &[u8]) {
        let content = self.file(id);
        let end = offset + bytes.len();
        if content.now.len() < end {
            content.now.resize(end, 0);
        }
        content.now[offset..end].copy_from_slice(bytes);
        content.dirty.push(offset..end);
    }

    /// Cuts a file off, or makes it longer.
    pub fn truncate(&mut self, id: Id, len: usize) {
        let content = self.file(id);
        let before = content.now.len();
        content.now.resize(len, 0);
        content.dirty.push(before.min(len)..len);
    }

    /// Sets what an inode says.
    pub fn set_meta(&mut self, id: Id, set: impl FnOnce(&mut Meta)) {
        set(&mut self.inode(id).meta);
    }

    /// Returns a file's bytes.
    pub fn bytes(&self, id: Id) -> &[u8] {
        match &self.inodes[id].kind {
            Kind::File(content) => &content.now,
            _ => &[],
        }
    }

    /// Returns whether it is a directory.
    pub fn is_dir(&self, id: Id) -> bool {
        matches!(self.inodes[id].kind, Kind::Dir { .. })
    }

    /// Lists a directory.
    pub fn names(&self, dir: Id) -> io::Result<Vec<(OsString, Id)>> {
        Ok(self.now(dir)?.iter().map(|(name, id)| (name.clone(), *id)).collect())
    }

    /// Makes a file's bytes durable, or a directory's names. A file's name is its directory's matter.
    pub fn sync(&mut self, id: Id) {
        let inode = self.inode(id);
        inode.durable_meta = inode.meta;
        match &mut inode.kind {
            Kind::File(content) => {
                content.durable = Arc::new(content.now.clone());
                content.dirty.clear();
            }
            Kind::Link(_) => {}
            Kind::Dir { .. } => self.sync_names(id),
        }
    }

    fn sync_names(&mut self, dir: Id) {
        let mut left: Vec<Change> = Vec::new();
        for Change(mut sets) in std::mem::take(&mut self.pending) {
            // A rename whose old name is known to be gone has arrived as a whole: nothing vanishes half-way between two directories. Nor
            // does a directory ever have two names.
            let all = sets.iter().any(|(at, _, to)| *at == dir && to.is_none_or(|id| self.is_dir(id)));
            let mut rest = Vec::new();
            for (at, name, to) in sets.drain(..) {
                if at != dir && !all {
                    rest.push((at, name, to));
                    continue;
                }
                left.iter_mut().for_each(|earlier| earlier.0.retain(|(a, n, _)| (*a, n) != (at, &name)));
                self.set_durable(at, name, to);
            }
            left.push(Change(rest));
        }
        left.retain(|change| !change.0.is_empty());
        self.pending = left;
    }

    fn set_durable(&mut self, dir: Id, name: OsString, to: Option<Id>) {
        if let Kind::Dir { durable, .. } = &mut self.inode(dir).kind {
            match to {
                Some(id) => durable.insert(name, id),
                None => durable.remove(&name),
            };
        }
    }

    /// Drops what was written to a file and not synced yet, as a disk does that reports an error: programs still see it.
    pub fn lose(&mut self, id: Id) {
        if let Kind::File(content) = &mut self.inode(id).kind {
            content.lost.append(&mut content.dirty);
        }
    }

    /// Makes everything durable.
    pub fn sync_all(&mut self) {
        (0..self.inodes.len()).for_each(|id| self.sync(id));
    }

    /// Returns what may be there after a power cut: all that is durable, and of the rest what the dice say.
    pub fn after_power_cut(&self, dice: &mut Rng) -> Self {
        let mut after = self.clone();
        let pending = std::mem::take(&mut after.pending);
        let (mood, cut) = (dice.below(4), dice.below(pending.len() + 1));
        let arrives = |at: usize| match mood {
            // The order of the journal, or any order, or all but one, or one alone.
            0 => at < cut,
            1 => dice.below(2) == 0,
            2 => at != cut,
            _ => at == cut,
        };
        let mut arrived: Vec<bool> = (0..pending.len()).map(arrives).collect();
        // A directory never has two names: where it has moved on, it has also left.
        for at in (0..pending.len()).rev() {
            if !arrived[at] {
                continue;
            }
            let moved: Vec<Id> = pending[at].0.iter().filter_map(|set| set.2).filter(|id| self.is_dir(*id)).collect();
            let touches = |change: &Change| change.0.iter().any(|set| set.2.is_some_and(|id| moved.contains(&id)));
            (0..at).filter(|n| touches(&pending[*n])).for_each(|n| arrived[n] = true);
        }
        for (change, _) in pending.into_iter().zip(arrived).filter(|(_, arrived)| *arrived) {
            change.0.into_iter().for_each(|(dir, name, to)| after.set_durable(dir, name, to));
        }
        let mood = dice.below(4);
        for id in 0..after.inodes.len() {
            let inode = after.inode(id);
            match &mut inode.kind {
                Kind::File(content) => content.cut(mood, dice),
                Kind::Link(_) => {}
                Kind::Dir { now, durable } => *now = durable.clone(),
            }
            if dice.below(2) == 0 {
                inode.meta = inode.durable_meta;
            }
            inode.durable_meta = inode.meta;
        }
        after
    }

    /// Returns how many names a directory has.
    pub fn count(&self, path: &Path) -> Option<usize> {
        self.now(self.find(path).ok()?).ok().map(BTreeMap::len)
    }

    /// Walks everything, directories before what is in them.
    pub fn walk<'a>(&'a self, visit: &mut dyn FnMut(&Path, Id, Seen<'a>)) {
        self.walk_below(ROOT, Path::new("/"), visit);
    }

    fn walk_below<'a>(&'a self, id: Id, path: &Path, visit: &mut dyn FnMut(&Path, Id, Seen<'a>)) {
        let inode = &self.inodes[id];
        match &inode.kind {
            Kind::File(content) => visit(path, id, Seen::File(&content.now, inode.meta)),
            Kind::Link(target) => visit(path, id, Seen::Link(target)),
            Kind::Dir { now, .. } => {
                visit(path, id, Seen::Dir(inode.meta));
                now.iter().for_each(|(name, id)| self.walk_below(*id, &path.join(name), visit));
            }
        }
    }
}

impl Content {
    fn cut(&mut self, mood: usize, dice: &mut Rng) {
        let unsure: Vec<Range<usize>> = self.lost.drain(..).chain(self.dirty.drain(..)).collect();
        if unsure.is_empty() {
            return;
        }
        let shortest = self.durable.len().min(self.now.len());
        let len = match dice.below(3) {
            0 => shortest + dice.below(self.now.len() - shortest + 1),
            _ => self.now.len(),
        };
        let mut after = self.durable.to_vec();
        after.resize(len.max(after.len().min(self.now.len())), 0);
        after.truncate(self.now.len());
        after.truncate(len);
        for range in unsure {
            let range = range.start.min(len)..range.end.min(len);
            let torn = range.start + dice.below(range.len() + 1);
            let arrived = match if mood == 3 { 1 + dice.below(5) } else { mood * 2 } {
                // Whole, not at all, or torn: what comes after is what was there, zeros, or anything.
                0 | 1 => range.end,
                2 => range.start,
                _ => torn,
            };
            after[range.start..arrived].copy_from_slice(&self.now[range.start..arrived]);
            match dice.below(3) {
                0 => after[arrived..range.end].fill(0),
                1 => dice.fill(&mut after[arrived..range.end]),
                _ => {}
            }
        }
        *self = Self { durable: Arc::new(after.clone()), now: after, ..Self::default() };
    }
}
