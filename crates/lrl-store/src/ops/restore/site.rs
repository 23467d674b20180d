//! Splits a site into targets: each entry directly in its root is exchanged by itself, with the databases that lie in it, so that what else
//! is in the root stays. A directory with something in it that must not move along is not exchanged: its entries are, one by one.

use std::collections::HashSet;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Arc;

use rustix::fs::Dir;
use rustix::io::Errno;

use super::barriers::{Barriers, links_in_place};
use super::find_target::Finder;
use super::links::Links;
use super::model::Part;
use super::selection::{Selection, is_below};
use super::target::Target;
use super::tree_plan::TreePlan;
use crate::error::{Error, Result};
use crate::format::entry::{Entry, Kind, is_clean_path};
use crate::format::node::Child;
use crate::format::path_text;
use crate::format::snapshot::Database;
use crate::fs::dir::{components, split, to_path};
use crate::fs::resolve::real_path;
use crate::id::ChunkId;
use crate::ops::skipped::Skips;
use crate::source::database::source::database_of;
use crate::source::files::kept::{is_record, kept_of};
use crate::source::files::walk::is_of_restore;
use crate::store::Store;
use crate::store::tree::TreeItems;

/// A record of a restore has a few hundred bytes for each target.
const MOST: usize = 8192;
/// Names that a note lists.
const SHOWN: usize = 5;

/// What of a site is restored where.
pub(super) struct SitePlan<'a, 'p> {
    pub finder: &'p Finder<'p>,
    pub root: &'p Path,
    /// Links are followed to where the data is.
    pub follow: bool,
    pub store: &'a Store,
    /// The files; none if the snapshot holds none.
    pub list: Option<ChunkId>,
    /// The databases that are restored.
    pub databases: &'p [&'a Database],
    pub barriers: Barriers,
    /// Collects what is damaged; `None`: damage is an error.
    pub skips: Option<Arc<Skips>>,
    /// Owner of what is made anew and has no recorded one.
    pub owner: Option<(u32, u32)>,
    /// Trees that are exchanged.
    pub trees: Vec<TreePlan<'a>>,
    /// Databases that are exchanged by themselves.
    pub alone: Vec<(&'a Database, Target)>,
    /// Directories that stay, whose entries are exchanged.
    pub stay: Vec<Vec<u8>>,
    pub notes: Vec<String>,
}

impl<'a> SitePlan<'a, '_> {
    /// Adds every entry directly in the root.
    pub fn add_all(&mut self) -> Result<()> {
        for (path, is_dir) in self.children(b"")? {
            self.place(&path, is_dir, None)?;
        }
        Ok(())
    }

    /// Adds a file or directory of the list; returns false if it is not there.
    pub fn add(&mut self, path: &[u8]) -> Result<bool> {
        let found = self.selection(path.to_vec(), Vec::new(), Vec::new()).find(path)?;
        // In a damaged list nothing tells that it is not there.
        if found.is_none() && self.skips.is_none() {
            return Ok(false);
        }
        self.place(path, found.is_some_and(|entry| entry.kind == Kind::Dir), None)?;
        Ok(true)
    }

    /// Adds the databases: in the trees that hold them, else by themselves.
    pub fn add_databases(&mut self, databases: &[&'a Database]) -> Result<()> {
        for database in databases {
            let holds = |tree: &&mut TreePlan<'_>| tree.tree.selected.iter().any(|path| is_below(&database.path, path));
            if let Some(tree) = self.trees.iter_mut().find(holds) {
                tree.inside.push(database);
                continue;
            }
            let components: Vec<&[u8]> = components(&database.path).collect();
            let links = if self.follow { Links::All } else { Links::Never };
            let target = self.finder.find(self.root, &components, links)?;
            if target.depth == components.len() {
                self.alone.push((database, target));
            } else {
                // Its directory is missing and comes with it.
                let base = components[..target.depth].join(&b'/');
                let tree = self.tree(target, base, None);
                self.trees[tree].inside.push(database);
            }
        }
        if self.trees.len() + self.alone.len() > MOST {
            return Err(Error::Refused(format!(
                "{} is not restored in place: that takes more than {MOST} renames at once. Restore into another directory with \
                 --target, or parts of it with --only",
                self.root.display()
            )));
        }
        Ok(())
    }

    /// Notes what is in the root and not in the snapshot: it stays.
    pub fn note_rest(&mut self, dir: &Arc<OwnedFd>) -> Result<()> {
        let failed = |e: Errno| Error::io("list", self.root)(e.into());
        let planned: HashSet<&[u8]> = self
            .trees
            .iter()
            .map(|tree| &tree.target)
            .chain(self.alone.iter().map(|(_, target)| target))
            .filter_map(|target| target.wanted.first().map(Vec::as_slice))
            .chain(self.stay.iter().map(Vec::as_slice))
            .collect();
        let (mut rest, mut count) = (Vec::new(), 0);
        for entry in Dir::read_from(dir).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let name = entry.file_name().to_bytes();
            let is_planned = |name: &[u8]| planned.contains(name);
            let is_own =
                matches!(name, b"." | b"..") || is_record(name) || is_of_restore(name) || kept_of(name).is_some();
            if is_own || is_planned(name) || database_of(name).is_some_and(is_planned) {
                continue;
            }
            count += 1;
            if rest.len() < SHOWN {
                rest.push(path_text::encode(name));
            }
        }
        rest.sort();
        if count > 0 {
            let more = if count > rest.len() { format!(" and {} more", count - rest.len()) } else { String::new() };
            self.notes.push(format!(
                "left alone in {}, not in the snapshot: {}{more}",
                self.root.display(),
                rest.join(", ")
            ));
        }
        Ok(())
    }

    /// Plans one entry, `links` being where links are in place below the directory of which this is a part.
    fn place(&mut self, path: &[u8], is_dir: bool, links: Option<&[Vec<u8>]>) -> Result<()> {
        let components: Vec<&[u8]> = components(path).collect();
        let rules = match (self.follow, is_dir) {
            (false, _) => Links::Never,
            (true, false) => Links::Way,
            (true, true) => Links::All,
        };
        let target = self.finder.find(self.root, &components, rules)?;
        if is_dir && target.depth == components.len() && target.is_dir() {
            let found;
            let links = match (links, target.old_tree()) {
                (None, Some(old)) if self.follow => {
                    let tree = self.selection(path.to_vec(), vec![path.to_vec()], target.name.clone());
                    let mut databases = self.databases.iter().map(|database| database.path.as_slice());
                    found = links_in_place(old, &tree, &mut databases.by_ref().filter(|it| is_below(it, path)))?;
                    found.as_slice()
                }
                (links, _) => links.unwrap_or_default(),
            };
            let real = real_path(target.dir.as_ref(), &target.dir_path).join(to_path(&target.name));
            let holds = self.barriers.below(path, &real, links).or_else(|| self.in_mount(path, &target));
            if let Some(holds) = holds {
                self.notes.push(format!(
                    "{} holds {holds}: it stays, its entries are exchanged one by one, and what is in it and not in the snapshot is \
                     left alone",
                    target.path().display()
                ));
                self.stay.push(path.to_vec());
                let links = links.to_vec();
                for (child, is_dir) in self.children(path)? {
                    self.place(&child, is_dir, Some(&links))?;
                }
                return Ok(());
            }
        }
        let base = components[..target.depth].join(&b'/');
        let at = self.tree(target, base, Some(path.to_vec()));
        if is_dir && components.len() == 1 {
            self.trees[at].part = Part::Uploads;
        }
        Ok(())
    }

    /// The contents of a mount are moved one by one: a database and what SQLite keeps beside it would part on the way.
    fn in_mount(&self, path: &[u8], target: &Target) -> Option<String> {
        target.inner.as_ref()?;
        let database = self.databases.iter().find(|database| split(&database.path).0 == path)?;
        Some(format!("the database {} directly in a mount", database.shown()))
    }

    /// Returns the tree of a target, which two paths share if their parent is missing.
    fn tree(&mut self, target: Target, base: Vec<u8>, selected: Option<Vec<u8>>) -> usize {
        let is_shared = selected.as_ref().is_none_or(|path| *path != base);
        let same = |plan: &TreePlan<'_>| (&plan.target.dir_path, &plan.target.name) == (&target.dir_path, &target.name);
        if let Some(at) = self.trees.iter().position(|plan| is_shared && same(plan)) {
            self.trees[at].tree.selected.extend(selected);
            return at;
        }
        let owner = self.owner.or_else(|| target.owner()).unwrap_or_default();
        let selection = self.selection(base, selected.into_iter().collect(), target.name.clone());
        self.trees.push(TreePlan::new(Selection { owner, ..selection }, target, Part::Path));
        self.trees.len() - 1
    }

    fn selection(&self, base: Vec<u8>, selected: Vec<Vec<u8>>, name: Vec<u8>) -> Selection<'a> {
        let (store, list, skips) = (self.store, self.list, self.skips.clone());
        Selection { store, list, base, selected, name, skips, owner: (0, 0) }
    }

    /// Returns what is directly in a directory of the list, and whether each is a directory.
    fn children(&self, dir: &[u8]) -> Result<Vec<(Vec<u8>, bool)>> {
        let Some(list) = self.list else { return Ok(Vec::new()) };
        let mut children: Vec<(Vec<u8>, bool)> = Vec::new();
        let mut gap = |child: &Child, error: &Error| {
            self.skips.iter().for_each(|skips| skips.add(&child.first_key, child.weight.max(1), error));
        };
        let start = if dir.is_empty() { 0 } else { dir.len() + 1 };
        let mut from = dir.to_vec();
        loop {
            let next = match &self.skips {
                Some(_) => TreeItems::from_path_around(self.store, &list, &from, &mut gap)?.next_around(&mut gap)?,
                None => TreeItems::<Entry>::from_path(self.store, &list, &from)?.next().transpose()?,
            };
            let Some(entry) = next.filter(|entry| dir.is_empty() || is_below(&entry.path, dir)) else {
                return Ok(children);
            };
            if !is_clean_path(&entry.path) {
                return Err(Error::corrupt("the snapshot's list of files", "has a path that leads elsewhere"));
            }
            if entry.path == dir {
                from = [dir, b"/"].concat();
                continue;
            }
            let rest = entry.path.get(start..).unwrap_or_default();
            let name = rest.split(|b| *b == b'/').next().unwrap_or_default();
            let child = [&entry.path[..start.min(entry.path.len())], name].concat();
            // The own entry of a directory may be what is damaged.
            let is_dir = entry.kind == Kind::Dir || child.len() < entry.path.len();
            // Behind everything below it: no name has a byte that sorts between.
            from = [child.as_slice(), b"\x01"].concat();
            if children.last().is_some_and(|(last, _)| *last == child) {
                return Err(Error::corrupt("the snapshot's list of files", "is not in order"));
            }
            children.push((child, is_dir));
        }
    }
}
