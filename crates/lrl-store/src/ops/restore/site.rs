//! Splits a site into targets: each entry directly in its root is exchanged by itself, with the databases that lie in it, so that what else
//! is in the root stays. A directory with something in it that must not move along is not exchanged: its entries are, one by one.

use std::collections::HashSet;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Arc;

use rustix::fs::Dir;
use rustix::io::Errno;

use super::barriers::Barriers;
use super::find_target::Finder;
use super::links::Links;
use super::listing::Listing;
use super::model::Part;
use super::selection::{is_below, outermost};
use super::target::Target;
use crate::error::{Error, Result};
use crate::format::entry::is_clean_path;
use crate::format::path_text;
use crate::fs::dir::{components, split, to_path};
use crate::fs::resolve::real_path;
use crate::hint::{AddHint, Hint, Message};
use crate::source::database::source::database_of;
use crate::source::files::kept_copies::{is_of_restore, is_record, kept_of};

/// A record of a restore has a few hundred bytes for each target.
const MOST: usize = 8192;
/// Names that a note lists.
const SHOWN: usize = 5;

/// Files and directories that go to one target, each with all that it contains.
pub(super) struct SiteTree {
    /// Where they go.
    pub target: Target,
    /// The path that takes the target's name: the one selected path, or the first of its parents that the target lacks.
    pub base: Vec<u8>,
    /// The paths that were asked for; none is below another.
    pub selected: Vec<Vec<u8>>,
    /// Its part in the report.
    pub part: Part,
    /// The numbers of the databases that are put in place with it.
    pub inside: Vec<usize>,
}

/// What of a site is restored where.
pub(super) struct SitePlan<'p> {
    pub finder: &'p Finder<'p>,
    pub root: &'p Path,
    /// Links are followed to where the data is.
    pub follow: bool,
    pub listing: &'p dyn Listing,
    /// The paths of the databases, of which all or some are restored.
    pub databases: Vec<Vec<u8>>,
    pub barriers: Barriers,
    /// Trees that are exchanged.
    pub trees: Vec<SiteTree>,
    /// Databases that are exchanged by themselves, by their numbers.
    pub alone: Vec<(usize, Target)>,
    /// Directories that stay, whose entries are exchanged.
    pub stay: Vec<Vec<u8>>,
    pub notes: Vec<Message>,
}

impl<'p> SitePlan<'p> {
    /// Starts with nothing; `databases` are those that are restored.
    pub(crate) fn new(
        finder: &'p Finder<'p>,
        (root, follow): (&'p Path, bool),
        listing: &'p dyn Listing,
        databases: Vec<Vec<u8>>,
        barriers: Barriers,
    ) -> Self {
        let (trees, alone, stay, notes) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        Self { finder, root, follow, listing, databases, barriers, trees, alone, stay, notes }
    }

    /// Adds all databases, and all files if they are wanted.
    pub(crate) fn add_whole(&mut self, with_files: bool) -> Result<()> {
        if with_files {
            self.add_all()?;
        }
        let all: Vec<usize> = (0..self.databases.len()).collect();
        self.add_databases(&all)
    }

    /// Returns the path that is meant: as lrl prints it, with escapes, where only that is there.
    pub(crate) fn typed_path(&self, given: &[u8]) -> Result<Vec<u8>> {
        let is_there = |path: &[u8]| {
            let is_database = self.databases.iter().any(|database| is_below(database, path));
            Ok(is_clean_path(path) && (is_database || self.listing.find(path)?.is_some()))
        };
        let meant = std::str::from_utf8(given).ok().and_then(path_text::decode);
        match meant {
            Some(meant) if meant != given && !is_there(given)? && is_there(&meant)? => Ok(meant),
            _ => Ok(given.to_vec()),
        }
    }

    /// Adds the files, directories and databases at and below paths; `lacks` makes the error about one that is not there.
    pub(crate) fn add_paths(&mut self, paths: &[Vec<u8>], lacks: &dyn Fn(&[u8]) -> Error) -> Result<()> {
        let paths = outermost(paths);
        if paths.is_empty() {
            return Err(Error::NotFound("no path was given to restore".into()));
        }
        let mut wanted = Vec::new();
        for path in paths {
            let before = wanted.len();
            wanted.extend((0..self.databases.len()).filter(|at| is_below(&self.databases[*at], path)));
            let is_database = self.databases.iter().any(|database| database == path);
            if !is_clean_path(path) || !(is_database || self.add(path)? || wanted.len() > before) {
                return Err(lacks(path));
            }
        }
        self.add_databases(&wanted)
    }

    /// Adds every entry directly in the root.
    fn add_all(&mut self) -> Result<()> {
        for (path, is_dir) in self.listing.children(b"")? {
            self.place(&path, is_dir, None)?;
        }
        Ok(())
    }

    /// Adds a file or directory; returns false if it is not there.
    fn add(&mut self, path: &[u8]) -> Result<bool> {
        let Some(is_dir) = self.listing.find(path)? else { return Ok(false) };
        self.place(path, is_dir, None)?;
        Ok(true)
    }

    /// Adds databases: in the trees that hold them, else by themselves.
    fn add_databases(&mut self, wanted: &[usize]) -> Result<()> {
        for at in wanted {
            let path = self.databases[*at].clone();
            let holds = |tree: &&mut SiteTree| tree.selected.iter().any(|selected| is_below(&path, selected));
            if let Some(tree) = self.trees.iter_mut().find(holds) {
                tree.inside.push(*at);
                continue;
            }
            let components: Vec<&[u8]> = components(&path).collect();
            let links = if self.follow { Links::All } else { Links::Never };
            let target = self.finder.find(self.root, &components, links)?;
            if target.depth == components.len() {
                self.alone.push((*at, target));
            } else {
                // Its directory is missing and comes with it.
                let base = components[..target.depth].join(&b'/');
                let tree = self.tree(target, base, None);
                self.trees[tree].inside.push(*at);
            }
        }
        if self.trees.len() + self.alone.len() > MOST {
            let root = self.root.display();
            let text = format!("{root} is not restored in place: that takes more than {MOST} renames at once");
            return Err(Error::refused(text.hint(Hint::RestoreInParts).hint(Hint::OtherTarget)));
        }
        Ok(())
    }

    /// Notes what is in the root and not in the snapshot: it stays.
    pub(crate) fn note_rest(&mut self, dir: &Arc<OwnedFd>) -> Result<()> {
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
            self.notes.push(
                format!("left alone in {}, not in the snapshot: {}{more}", self.root.display(), rest.join(", ")).into(),
            );
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
                (None, Some(_)) if self.follow => {
                    found = self.listing.links_in_place(path, &target)?;
                    found.as_slice()
                }
                (links, _) => links.unwrap_or_default(),
            };
            let real = real_path(target.dir.as_ref(), &target.dir_path).join(to_path(&target.name));
            let holds = self.barriers.below(path, &real, links).or_else(|| self.in_mount(path, &target));
            if let Some(holds) = holds {
                let text = format!(
                    "{} holds {holds}: it stays, its entries are exchanged one by one, and what is in it and not in the snapshot is \
                     left alone",
                    target.path().display()
                );
                self.notes.push(text.into());
                self.stay.push(path.to_vec());
                let links = links.to_vec();
                for (child, is_dir) in self.listing.children(path)? {
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
        let database = self.databases.iter().find(|database| split(database).0 == path)?;
        Some(format!("the database {} directly in a mount", path_text::encode(database)))
    }

    /// Returns the tree of a target, which two paths share if their parent is missing.
    fn tree(&mut self, target: Target, base: Vec<u8>, selected: Option<Vec<u8>>) -> usize {
        let is_shared = selected.as_ref().is_none_or(|path| *path != base);
        let same = |tree: &SiteTree| (&tree.target.dir_path, &tree.target.name) == (&target.dir_path, &target.name);
        if let Some(at) = self.trees.iter().position(|tree| is_shared && same(tree)) {
            self.trees[at].selected.extend(selected);
            return at;
        }
        let (selected, inside) = (selected.into_iter().collect(), Vec::new());
        self.trees.push(SiteTree { target, base, selected, part: Part::Path, inside });
        self.trees.len() - 1
    }
}
