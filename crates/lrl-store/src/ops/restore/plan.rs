//! Owns what a restore will do, before anything is written: which parts of the snapshot go where, whether that is sound,
//! whether there is room. Never changes anything.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::open_files;
use super::safety::{refuse_overlap, storage_home, watch_database, watch_tree};
use super::selection::{OldTree, Selection, TreeSize, is_below};
use super::skips::Skips;
use super::stage_file::Owners;
use super::stage_tree::{Reuse, ReuseCounts};
use super::target::Target;
use super::{AskLocks, Options, Part, What};
use crate::error::{Error, Result};
use crate::format::entry::{compare_paths, is_clean_path};
use crate::format::snapshot::{Database, Snapshot, Uploads};
use crate::fs::resolve::OpenDirs;
use crate::fs::space::{FreeSpace, Reserve, free_at};
use crate::id::ChunkId;
use crate::progress::{Observer, size};
use crate::store::Store;

/// The database's file name in the data directory.
pub(super) const DATABASE: &[u8] = b"lrl.db";
/// The list's root that is kept in the data directory.
pub(super) const ASSETS: &[u8] = b"assets";
/// The list's root that is kept in the storage directory.
pub(super) const STORAGE: &[u8] = b"storage";

/// What is to be restored, and where to.
pub(super) struct Plan<'a> {
    /// The directories that the caller named.
    doors: &'a OpenDirs,
    /// The database.
    pub database: Option<(&'a Database, Target)>,
    /// Trees of uploads, with what they weigh.
    pub trees: Vec<TreePlan<'a>>,
    /// How files that are right already are used.
    pub take_over: Reuse,
    /// Collects what is damaged, where that is passed over.
    pub skips: Option<Arc<Skips>>,
    /// Notes for the report.
    pub notes: Vec<String>,
}

/// One tree of a plan.
pub(super) struct TreePlan<'a> {
    /// Which entries.
    pub tree: Selection<'a>,
    /// Where to.
    pub place: Target,
    /// How much.
    pub weight: TreeSize,
    /// How the report calls it.
    pub part: Part,
    /// The directory in which it is made ready, with its path.
    pub staged: Option<(Arc<OwnedFd>, PathBuf)>,
    /// Files that were passed over because they are damaged.
    pub lost: ReuseCounts,
}

impl TreePlan<'_> {
    /// Returns the directory in which it is made ready, with its path.
    pub fn staged(&self) -> Result<(&Arc<OwnedFd>, &Path)> {
        let staged = self.staged.as_ref().map(|(dir, path)| (dir, path.as_path()));
        staged.ok_or_else(|| Error::Refused(format!("{} was not prepared", self.place.path().display())))
    }
}

/// Returns the paths in the list's order, without those that are below another one.
fn outermost(paths: &[Vec<u8>]) -> Vec<&[u8]> {
    let mut sorted: Vec<&[u8]> = paths.iter().map(|path| path.strip_suffix(b"/").unwrap_or(path)).collect();
    sorted.sort_by(|a, b| compare_paths(a, b));
    sorted.dedup_by(|path, before| is_below(path, before));
    sorted
}

impl<'a> Plan<'a> {
    /// Makes the plan, and refuses what cannot be done.
    pub fn make(
        doors: &'a OpenDirs,
        store: &'a Store,
        snapshot: &'a Snapshot,
        options: &Options,
        owners: Owners,
        observer: &dyn Observer,
    ) -> Result<Self> {
        let skips = options.skip_damaged.then(Arc::default);
        let mut plan =
            Self { doors, database: None, trees: Vec::new(), take_over: Reuse::No, skips, notes: Vec::new() };
        let stamp = &snapshot.timestamp;
        let lacks = |what: &str| {
            Error::NotFound(format!("snapshot {stamp} holds no {what}; `lrl snapshots` lists what each holds"))
        };
        let (database, uploads) = (snapshot.database.as_ref(), snapshot.uploads.as_ref());
        match &options.what {
            What::Whole => {
                match (database, uploads) {
                    (None, None) => return Err(lacks("database and no uploads")),
                    (Some(_), None) => {
                        plan.note(format!("snapshot {stamp} holds no uploads: those here were left alone"))
                    }
                    (None, Some(_)) => {
                        plan.note(format!("snapshot {stamp} holds no database: the one here was left alone"))
                    }
                    _ => {}
                }
                plan.add_database(database, options)?;
                plan.add_roots(store, uploads, options)?;
            }
            What::DbOnly => plan.add_database(Some(database.ok_or_else(|| lacks("database"))?), options)?,
            What::AssetsOnly => plan.add_roots(store, Some(uploads.ok_or_else(|| lacks("uploads"))?), options)?,
            What::Paths(paths) => {
                let paths = outermost(paths);
                if paths.is_empty() {
                    return Err(Error::NotFound("no path was given to restore".into()));
                }
                for path in paths {
                    if path == DATABASE {
                        plan.add_database(Some(database.ok_or_else(|| lacks("database"))?), options)?;
                    } else {
                        plan.add_path(store, uploads.ok_or_else(|| lacks("uploads"))?, path, options, stamp)?;
                    }
                }
            }
        }
        let lost: Vec<&str> = snapshot.problems.iter().filter(|p| p.lost).map(|p| p.path.as_str()).collect();
        if let (Some(first), false) = (lost.first(), plan.trees.is_empty()) {
            plan.note(format!(
                "something was missing or unreadable when snapshot {stamp} was made, and is not in it: {} in all, the first is {first}",
                lost.len()
            ));
        }
        plan.measure(uploads, observer)?;
        let targets: Vec<&Target> = plan.places().collect();
        refuse_overlap(&targets, &[PathBuf::from(store.storage().location())])?;
        plan.note_links();
        plan.find_room(owners, observer)?;
        Ok(plan)
    }

    fn note(&mut self, text: String) {
        self.notes.push(text);
    }

    /// Returns every target.
    pub fn places(&self) -> impl Iterator<Item = &Target> {
        self.database.iter().map(|(_, place)| place).chain(self.trees.iter().map(|tree| &tree.place))
    }

    fn add_database(&mut self, database: Option<&'a Database>, options: &Options) -> Result<()> {
        if let Some(database) = database {
            self.database = Some((database, Target::find(self.doors, &options.data_dir, &[DATABASE])?));
        }
        Ok(())
    }

    fn add_roots(&mut self, store: &'a Store, uploads: Option<&Uploads>, options: &Options) -> Result<()> {
        for root in uploads.iter().flat_map(|uploads| uploads.roots.keys()) {
            let list = uploads.map(|uploads| uploads.list);
            self.add_tree(store, list, root.as_bytes(), options, Part::Uploads)?;
        }
        Ok(())
    }

    fn add_path(
        &mut self,
        store: &'a Store,
        uploads: &Uploads,
        path: &[u8],
        options: &Options,
        stamp: &str,
    ) -> Result<()> {
        let shown = String::from_utf8_lossy(path);
        if !is_clean_path(path) {
            return Err(Error::NotFound(format!(
                "`{shown}` is no path of a snapshot: those look like `assets/ab12/photo.jpg` or `lrl.db`"
            )));
        }
        let part = if path.contains(&b'/') { Part::Path } else { Part::Uploads };
        self.add_tree(store, Some(uploads.list), path, options, part)?;
        let is_there = self.trees.last().map_or(Ok(None), |tree| tree.tree.find(path))?.is_some();
        // In a damaged list nothing tells that it is not there.
        if is_there || self.skips.is_some() {
            Ok(())
        } else {
            Err(Error::NotFound(format!("snapshot {stamp} holds no `{shown}`; `lrl ls {stamp}` lists what it holds")))
        }
    }

    fn add_tree(
        &mut self,
        store: &'a Store,
        list: Option<ChunkId>,
        selected: &[u8],
        options: &Options,
        part: Part,
    ) -> Result<()> {
        let Some(list) = list else { return Ok(()) };
        let mut components: Vec<&[u8]> = selected.split(|b| *b == b'/').collect();
        let (home, storage_name) = storage_home(&options.storage_dir)?;
        let home = match components.first().copied() {
            Some(STORAGE) => {
                components[0] = &storage_name;
                home
            }
            Some(ASSETS) => options.data_dir.clone(),
            _ => {
                let root = String::from_utf8_lossy(components.first().copied().unwrap_or_default()).into_owned();
                return Err(Error::NotFound(format!(
                    "`{root}` is no part of a lab: there are `assets`, `storage` and `lrl.db`"
                )));
            }
        };
        let place = Target::find(self.doors, &home, &components)?;
        let base = selected.split(|b| *b == b'/').take(place.depth).collect::<Vec<_>>().join(&b'/');
        // Of two paths whose parent is missing, the parent is the one target.
        let same =
            |plan: &&mut TreePlan<'_>| (&plan.place.dir_path, &plan.place.name) == (&place.dir_path, &place.name);
        if let Some(plan) = self.trees.iter_mut().find(same) {
            plan.tree.selected.push(selected.to_vec());
            return Ok(());
        }
        let owner = options.owner.or_else(|| place.owner()).unwrap_or_default();
        let (name, skips) = (place.name.clone(), self.skips.clone());
        let tree = Selection { store, list, base, selected: vec![selected.to_vec()], name, skips, owner };
        self.trees.push(TreePlan {
            tree,
            place,
            weight: TreeSize::default(),
            part,
            staged: None,
            lost: ReuseCounts::default(),
        });
        Ok(())
    }

    fn measure(&mut self, uploads: Option<&Uploads>, observer: &dyn Observer) -> Result<()> {
        for plan in &mut self.trees {
            plan.weight = plan.tree.measure(free_at(&plan.place.base.0, Reserve::LEAST)?.block, None, observer)?;
            if plan.weight.entries == 0 && self.skips.is_none() {
                return Err(plan.tree.corrupt(plan.tree.selected(), "is not in its list"));
            }
        }
        if self.skips.is_some() {
            // What stands there is not replaced by nothing.
            self.trees.retain(|plan| plan.weight.entries > 0);
            return Ok(());
        }
        let whole = self.trees.iter().all(|plan| plan.part == Part::Uploads);
        match uploads {
            Some(uploads) if whole && self.trees.len() == uploads.roots.len() => {
                let found: u64 = self.trees.iter().map(|plan| plan.weight.entries).sum();
                let list = format!("the list of uploads {}", uploads.list);
                let detail = || format!("holds {found} entries where the snapshot says {}", uploads.entries);
                if found == uploads.entries { Ok(()) } else { Err(Error::corrupt(list, detail())) }
            }
            _ => Ok(()),
        }
    }

    fn note_links(&mut self) {
        let links: Vec<_> = self.places().filter_map(|place| Some((place.path(), place.link_target()?))).collect();
        for (path, target) in links {
            self.note(format!(
                "{} was a symbolic link to {}: it was moved away as it is, what it leads to was left alone",
                path.display(),
                target.display()
            ));
        }
    }

    /// Makes sure that the disks have room, for what is not there yet if not for all.
    fn find_room(&mut self, owners: Owners, observer: &dyn Observer) -> Result<()> {
        if self.trees.iter().any(|plan| plan.place.old_tree().is_some()) {
            self.take_over = Reuse::Link;
        }
        let mut homes: Vec<&Path> = self.places().map(|place| place.base.0.as_path()).collect();
        homes.dedup();
        let free: Vec<FreeSpace> = homes.iter().map(|home| free_at(home, Reserve::LEAST)).collect::<Result<_>>()?;
        let (Some(least), Some(home)) = (free.iter().min_by_key(|free| free.bytes), homes.first()) else {
            return Ok(());
        };
        let database = self.database.as_ref().map_or(0, |(database, _)| database.size_bytes);
        let sum = |weights: &[TreeSize]| weights.iter().fold(database, |sum, weight| sum.saturating_add(weight.needed));
        let weights: Vec<TreeSize> = self.trees.iter().map(|plan| plan.weight).collect();
        let inodes: u64 = 2 + weights.iter().map(|weight| weight.entries - weight.hardlinks).sum::<u64>();
        // One sum for both homes: they nearly always are one disk, and being too careful costs only speed.
        if sum(&weights) <= least.bytes && inodes <= least.inodes {
            return Ok(());
        }
        let mut exact = Vec::new();
        for plan in &self.trees {
            let old = plan.place.old_tree().map(|dir| OldTree { dir, owners });
            exact.push(plan.tree.measure(least.block, Some(old), observer)?);
        }
        let needed = sum(&exact);
        if needed > least.bytes {
            return Err(Error::Refused(format!(
                "the restored data need {} beside what is there, {} more than the disk of {} has free. Make room (`lrl restore \
                 --clean` removes what earlier restores kept; older sets), or restore to another disk with --target; nothing was \
                 changed",
                size(needed),
                size(needed - least.bytes),
                home.display()
            )));
        }
        Ok(())
    }

    /// Leaves out what turned out to be damaged: files, and a path of which nothing is left.
    pub fn without_lost(&mut self) {
        self.trees.retain_mut(|plan| {
            let (files, bytes) = plan.lost.get();
            let is_gone = plan.part == Part::Path && files > 0 && files >= plan.weight.files;
            plan.weight.files = plan.weight.files.saturating_sub(files);
            plan.weight.bytes = plan.weight.bytes.saturating_sub(bytes);
            !is_gone
        });
    }

    /// Returns who has open what would be replaced.
    pub fn holders(&self, locks: Option<AskLocks>) -> Result<Vec<open_files::Process>> {
        let mut watched = Vec::new();
        if let Some((_, place)) = &self.database {
            watch_database(place, &mut watched)?;
        }
        self.trees.iter().for_each(|plan| watch_tree(&plan.place, &mut watched));
        Ok(open_files::find(&watched, locks))
    }
}
