//! One tree of a site's set: where it goes, what the archive has of it, and the databases that are staged in it.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{AtFlags, FileType, Stat, fstat, statat};

use super::set_list::SetList;
use super::set_parts::SetDatabase;
use super::site::SiteTree;
use super::source::Run;
use super::stage_database::{Existing, Recorded, adopt};
use super::stage_set::copy_proved;
use super::target_dirs::StagingHome;
use crate::error::{Error, Result};
use crate::format::path_text;
use crate::fs::dir::{DirCursor, components, split, to_path};
use crate::fs::metadata::{Metadata, mtime_of, set_metadata, set_mtime};
use crate::fs::resolve::real_path;
use crate::fs::tree_writer::{Obstacle, TreeWriter};
use crate::hint::Message;

/// One tree.
pub(super) struct SetTree {
    /// Where it goes, and what belongs to it.
    pub tree: SiteTree,
    /// Regular files of the archive in it.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// The directory that holds it, once it is staged.
    pub from: Option<Arc<OwnedFd>>,
}

impl SetTree {
    /// Looks up what the archive has of a tree.
    pub(crate) fn new(tree: SiteTree, list: &SetList) -> Result<Self> {
        let (mut files, mut bytes) = (0, 0u64);
        for path in &tree.selected {
            let (more, their) = list.measure(path)?;
            files += more;
            bytes = bytes.saturating_add(their);
        }
        Ok(Self { tree, files, bytes, from: None })
    }

    /// Returns the path below the target's directory of a path in the set.
    pub(crate) fn staged(&self, path: &[u8]) -> Vec<u8> {
        [&self.tree.target.name, path.get(self.tree.base.len()..).unwrap_or_default()].concat()
    }

    /// The same as a path.
    pub(crate) fn below(&self, path: &[u8]) -> PathBuf {
        to_path(&self.staged(path)).to_path_buf()
    }

    /// Returns where something in it is now, without links.
    pub(crate) fn in_place(&self, path: &[u8]) -> PathBuf {
        let target = &self.tree.target;
        real_path(target.dir.as_ref(), &target.dir_path).join(self.below(path))
    }

    /// Opens the directory that holds it, below the one into which the archive was unpacked.
    pub(crate) fn open(&self, unpacked: &Arc<OwnedFd>) -> Result<Arc<OwnedFd>> {
        let mut cursor = DirCursor::new(Arc::clone(unpacked), Path::new(""));
        let entered = cursor.enter(split(&self.tree.base).0);
        entered.map_err(|e| Error::io("open", self.tree.target.path())(e.into()))?;
        Ok(Arc::clone(cursor.here()))
    }

    /// Returns the directory in place for a path of the set, and the name there.
    fn place(&self, path: &[u8]) -> Option<(Arc<OwnedFd>, Vec<u8>)> {
        let mut cursor = DirCursor::new(Arc::clone(self.tree.target.old_tree()?), Path::new(""));
        let there = self.staged(path);
        let (parent, name) = split(&there);
        cursor.enter(parent).ok()?;
        Some((Arc::clone(cursor.here()), name.to_vec()))
    }

    /// Looks at the directory in place at a path of the set.
    fn existing_dir(&self, path: &[u8]) -> Option<Stat> {
        let (dir, name) = self.place(path)?;
        let stat = statat(dir, name, AtFlags::SYMLINK_NOFOLLOW).ok()?;
        (FileType::from_raw_mode(stat.st_mode) == FileType::Directory).then_some(stat)
    }

    /// Copies a database into the unpacked archive, at its path, and proves the copy. Directories that are missing on the way get mode and owner of
    /// those in place, else the owner of the target's.
    pub(crate) fn stage_database(
        &self,
        database: &SetDatabase<'_>,
        unpacked: &Arc<OwnedFd>,
        home: &StagingHome,
        run: &Run<'_>,
        notes: &mut Vec<Message>,
    ) -> Result<()> {
        let list_path = database.entry.list_path();
        let refused = |obstacle: Obstacle, what: &str| match obstacle {
            Obstacle::Io(error) => error,
            _ => Error::corrupt(database.copy.display(), format!("{what} for {}", path_text::encode(&list_path))),
        };
        let owner = |of: Option<(u32, u32)>| run.owners.all.or(of.filter(|_| run.owners.recorded));
        let (parent, name) = split(&list_path);
        let mut tree = TreeWriter::new(unpacked, &home.staging.path);
        let mut done = 0;
        for part in components(parent) {
            done += part.len();
            let is_new = match tree.create_dir(part) {
                Ok(()) => true,
                Err(Obstacle::Exists) => false,
                Err(obstacle) => return Err(refused(obstacle, "there is no place")),
            };
            tree.descend(part).map_err(|obstacle| refused(obstacle, "the archive has no directory"))?;
            if is_new {
                let there = self.existing_dir(&list_path[..done]);
                let mode = there.map_or(0o755, |stat| stat.st_mode);
                let of = there.map(|stat| (stat.st_uid, stat.st_gid)).or(self.tree.target.owner());
                let owner_is_required = run.owners.all.is_some();
                let metadata = Metadata { mode, owner: owner(of), owner_is_required, mtime: None };
                run.counts.owner(set_metadata(tree.here(), &metadata, true, &tree.path_of(b""))?);
            }
            done += 1;
        }
        let path = tree.path_of(name);
        let above = fstat(tree.here()).map_err(tree.io("look at", b""))?;
        let file = tree.create_file(name).map_err(|obstacle| refused(obstacle, "the archive holds another file"))?;
        copy_proved(database, &file, &path, home, run, notes)?;
        let existing = self.place(&list_path).and_then(|(dir, name)| Existing::look(dir, &name));
        let of_parent = if parent.is_empty() { self.tree.target.owner() } else { Some((above.st_uid, above.st_gid)) };
        let recorded = Recorded { mode_and_owner: database.mode.zip(of_parent), ..Recorded::default() };
        let how = (run.owners, run.counts.xattrs(run.owners));
        run.counts.owner(adopt(&file, (existing.as_ref(), of_parent), &recorded, how, &path)?);
        set_mtime(tree.here(), mtime_of(&above)).map_err(tree.io("set the time of", b""))
    }
}
