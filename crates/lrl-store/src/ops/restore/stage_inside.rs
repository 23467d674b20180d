//! Stages databases inside a tree that is exchanged, at their paths.

use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::Arc;

use rustix::fs::{AtFlags, FileType, Stat, statat};

use super::model::ReuseCounts;
use super::selection::{Lookup, OldTree};
use super::stage_database::{Existing, Recorded, adopt, write_image};
use super::stage_file::Writer;
use super::tree_plan::TreePlan;
use crate::error::{Error, Result};
use crate::format::entry::Kind;
use crate::format::snapshot::Database;
use crate::format::xattr::Xattrs;
use crate::fs::dir::{components, split};
use crate::fs::metadata::{Metadata, Owners, mtime_of, set_all};
use crate::fs::tree_writer::{Obstacle, TreeWriter};

/// Stages the databases of one tree.
pub(super) struct StageInside<'a> {
    /// The tree, whose files are staged.
    pub plan: &'a TreePlan<'a>,
    /// Writes contents.
    pub writer: Writer<'a>,
    /// Owners that the files get.
    pub owners: Owners,
    /// Counts what does not get its owner.
    pub counts: &'a ReuseCounts,
    /// Names the snapshot in messages.
    pub snapshot: &'a str,
}

/// A directory that only databases are in, and what it gets in the end.
type Made = (Arc<OwnedFd>, (Metadata, Xattrs), PathBuf);

impl StageInside<'_> {
    /// Writes all of them. The directories of the tree must not have their modes yet.
    pub(crate) fn write(&self) -> Result<()> {
        let (dir, path) = self.plan.staged()?;
        let (mut tree, mut made) = (TreeWriter::new(dir, path), Vec::new());
        let old = self.plan.target.old_tree().map(|dir| OldTree { dir, owners: self.owners });
        let mut old = old.map(|old| Lookup::new(&old, &self.plan.tree));
        for database in &self.plan.inside {
            let written = self.one(&mut tree, database, old.as_mut(), &mut made);
            match (written, &self.plan.tree.skips) {
                (Err(error), Some(skips)) if error.is_damage() => skips.add(&database.path, 1, &error),
                (written, _) => written?,
            }
        }
        for (dir, (metadata, xattrs), path) in made.iter().rev() {
            let xattrs = (xattrs.as_slice(), self.counts.xattrs(self.owners));
            self.counts.owner(set_all(dir, metadata, Some(xattrs), true, path)?);
        }
        Ok(())
    }

    fn one(
        &self,
        tree: &mut TreeWriter,
        database: &Database,
        mut old: Option<&mut Lookup<'_>>,
        made: &mut Vec<Made>,
    ) -> Result<()> {
        let staged = self.plan.tree.staged(&database.path);
        let (parent, name) = split(&staged);
        self.enter(tree, parent, database, old.as_deref_mut(), made)?;
        let path = tree.path_of(name);
        let file = tree.create_file(name).map_err(|obstacle| self.error(obstacle, database))?;
        let written = write_image(&self.writer, &file, database, &path, self.snapshot);
        if let (Err(error), Some(_)) = (&written, &self.plan.tree.skips)
            && error.is_damage()
        {
            let gone = rustix::fs::unlinkat(tree.here(), name, AtFlags::empty());
            gone.map_err(tree.io("remove", name))?;
        }
        written?;
        let existing = old.and_then(|old| Existing::look(old.dir_of(&database.path)?, split(&database.path).1));
        let place = (existing.as_ref(), Some((database.uid, database.gid)));
        let how = (self.owners, self.counts.xattrs(self.owners));
        self.counts.owner(adopt(&file, place, &Recorded::of(database), how, &path)?);
        Ok(())
    }

    /// Goes to a directory, and makes those that are missing: the snapshot has a database in them, and no file.
    fn enter(
        &self,
        tree: &mut TreeWriter,
        dir: &[u8],
        database: &Database,
        mut old: Option<&mut Lookup<'_>>,
        made: &mut Vec<Made>,
    ) -> Result<()> {
        let mut done = 0;
        for part in components(dir) {
            let above = &dir[..done.max(1) - 1];
            done += part.len() + 1;
            tree.enter(above).map_err(|obstacle| self.error(obstacle, database))?;
            match tree.descend(part) {
                Ok(()) => continue,
                Err(Obstacle::NoDirectory) => {}
                Err(obstacle) => return Err(self.error(obstacle, database)),
            }
            // In the snapshot this directory has as many components.
            let depth = components(&dir[..done - 1]).count() + components(&self.plan.tree.base).count() - 1;
            let path = components(&database.path).take(depth).collect::<Vec<_>>().join(&b'/');
            tree.create_dir(part).map_err(|obstacle| self.error(obstacle, database))?;
            tree.descend(part).map_err(|obstacle| self.error(obstacle, database))?;
            let metadata = self.metadata(&path, database, old.as_deref_mut())?;
            made.push((Arc::clone(tree.here()), metadata, tree.path_of(b"")));
        }
        tree.enter(dir).map_err(|obstacle| self.error(obstacle, database))
    }

    /// Returns what a directory gets: what it has in the snapshot, else what the one in place has, else it is the database's owner's alone.
    fn metadata(&self, path: &[u8], database: &Database, old: Option<&mut Lookup<'_>>) -> Result<(Metadata, Xattrs)> {
        let recorded = self.plan.tree.find(path)?.filter(|entry| entry.kind == Kind::Dir);
        let is_dir = |stat: &Stat| FileType::from_raw_mode(stat.st_mode) == FileType::Directory;
        let existing = old.and_then(|old| old.stat_of(path)).filter(is_dir);
        let (mode, owner, mtime, xattrs) = match (recorded, existing) {
            (Some(entry), _) => (entry.mode, (entry.uid, entry.gid), Some(entry.mtime), entry.xattrs),
            (None, Some(stat)) => (stat.st_mode, (stat.st_uid, stat.st_gid), Some(mtime_of(&stat)), Vec::new()),
            (None, None) => (0o700, (database.uid, database.gid), None, Vec::new()),
        };
        let owner = self.owners.of(owner);
        Ok((Metadata { mode, owner, owner_is_required: self.owners.all.is_some(), mtime }, xattrs))
    }

    fn error(&self, obstacle: Obstacle, database: &Database) -> Error {
        let detail = match obstacle {
            Obstacle::Io(error) => return error,
            Obstacle::Exists => "is in the snapshot's list of files as well",
            Obstacle::NotDirectory => "has a file or a link above it in the snapshot",
            Obstacle::NoDirectory | Obstacle::NoTarget | Obstacle::TargetNotFile => "has no directory in the snapshot",
        };
        Error::corrupt(format!("the snapshot's {}", database.shown()), detail)
    }
}

impl Lookup<'_> {
    /// Looks at what is in the old tree at a path of the list.
    fn stat_of(&mut self, path: &[u8]) -> Option<Stat> {
        let dir = self.dir_of(path)?;
        statat(dir, split(path).1, AtFlags::SYMLINK_NOFOLLOW).ok()
    }
}
