//! What a restore from a snapshot will do, before anything is written: which parts go where, whether that is sound, and whether there
//! is space.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::model::{ASSETS, DATABASE, Options, Part, Reuse, ReuseCounts, STORAGE, What};
use super::safety::{refuse_overlap, storage_home};
use super::selection::{OldTree, Selection, SelectionSize, is_below};
use super::skipped_files::Skips;
use super::source::Run;
use super::target::Target;
use crate::error::{Error, Result};
use crate::format::entry::{compare_paths, is_clean_path};
use crate::format::snapshot::{Database, Files, Snapshot};
use crate::fs::metadata::Owners;
use crate::fs::resolve::OpenDirs;
use crate::fs::space::{FreeSpace, Reserve, free_at};
use crate::id::ChunkId;
use crate::progress::Observer;
use crate::store::Store;
use crate::units::size;

/// What of a snapshot is restored, and where to.
pub(super) struct Plan<'a> {
    /// The directories that the caller named.
    dirs: &'a OpenDirs,
    /// The databases.
    pub databases: Vec<(&'a Database, Target)>,
    /// Trees of uploads.
    pub trees: Vec<TreePlan<'a>>,
    /// How files are reused that are right already.
    pub reuse: Reuse,
    /// Collects what is damaged, where that is skipped.
    pub skips: Option<Arc<Skips>>,
    notes: Vec<String>,
}

/// One tree of a plan.
pub(super) struct TreePlan<'a> {
    /// Its entries.
    pub tree: Selection<'a>,
    /// Where it goes.
    pub target: Target,
    /// Its size.
    pub size: SelectionSize,
    /// Its part in the report.
    pub part: Part,
    /// The directory in which it is staged, with its path.
    pub staged: Option<(Arc<OwnedFd>, PathBuf)>,
    /// Counts files that were skipped because they are damaged.
    pub lost: ReuseCounts,
}

impl TreePlan<'_> {
    /// Returns the directory in which it is staged, with its path.
    pub fn staged(&self) -> Result<(&Arc<OwnedFd>, &Path)> {
        let staged = self.staged.as_ref().map(|(dir, path)| (dir, path.as_path()));
        staged.ok_or_else(|| Error::Refused(format!("{} was not prepared", self.target.path().display())))
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
    /// Makes the plan and refuses what cannot be done; adds to the notes.
    pub fn make(run: &'a Run<'_>, store: &'a Store, snapshot: &'a Snapshot, notes: &mut Vec<String>) -> Result<Self> {
        let (dirs, options) = (&run.dirs, run.options);
        let skips = options.skip_damaged.then(Arc::default);
        let mut plan =
            Self { dirs, databases: Vec::new(), trees: Vec::new(), reuse: Reuse::No, skips, notes: Vec::new() };
        let stamp = &snapshot.timestamp;
        let lacks = |what: &str| {
            Error::NotFound(format!("snapshot {stamp} holds no {what}; `lrl snapshots` lists what each holds"))
        };
        let (databases, uploads) = (snapshot.databases.as_slice(), snapshot.files.as_ref());
        match &options.what {
            What::Whole => {
                match (databases, uploads) {
                    ([], None) => return Err(lacks("database and no uploads")),
                    ([_, ..], None) => {
                        plan.note(format!("snapshot {stamp} holds no uploads: those here were left alone"))
                    }
                    ([], Some(_)) => {
                        plan.note(format!("snapshot {stamp} holds no database: the one here was left alone"))
                    }
                    _ => {}
                }
                plan.add_databases(databases, options)?;
                plan.add_roots(store, uploads, options)?;
            }
            What::DbOnly if databases.is_empty() => return Err(lacks("database")),
            What::DbOnly => plan.add_databases(databases, options)?,
            What::AssetsOnly => plan.add_roots(store, Some(uploads.ok_or_else(|| lacks("uploads"))?), options)?,
            What::Paths(paths) => {
                let paths = outermost(paths);
                if paths.is_empty() {
                    return Err(Error::NotFound("no path was given to restore".into()));
                }
                for path in paths {
                    if let Some(database) = snapshot.database(path) {
                        plan.add_database(database, options)?;
                    } else if path == DATABASE {
                        return Err(lacks("database"));
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
        plan.measure(uploads, run.observer)?;
        let targets: Vec<&Target> = plan.targets().map(|(target, _)| target).collect();
        refuse_overlap(&targets, &[PathBuf::from(store.storage().location())])?;
        plan.note_links();
        plan.require_space(run.owners, run.observer)?;
        notes.append(&mut plan.notes);
        Ok(plan)
    }

    fn note(&mut self, text: String) {
        self.notes.push(text);
    }

    /// Returns every target with its part.
    pub fn targets(&self) -> impl Iterator<Item = (&Target, Part)> {
        let trees = self.trees.iter().map(|tree| (&tree.target, tree.part));
        self.databases.iter().map(|(_, target)| (target, Part::Database)).chain(trees)
    }

    /// Returns the number of bytes of everything.
    pub fn bytes(&self) -> u64 {
        self.trees.iter().fold(self.database_bytes(), |sum, tree| sum.saturating_add(tree.size.bytes))
    }

    /// Returns whether nothing is restored.
    pub fn is_empty(&self) -> bool {
        self.databases.is_empty() && self.trees.is_empty()
    }

    fn database_bytes(&self) -> u64 {
        self.databases.iter().map(|(database, _)| database.size_bytes).sum()
    }

    fn add_databases(&mut self, databases: &'a [Database], options: &Options) -> Result<()> {
        databases.iter().try_for_each(|database| self.add_database(database, options))
    }

    fn add_database(&mut self, database: &'a Database, options: &Options) -> Result<()> {
        let components: Vec<&[u8]> = database.path.split(|byte| *byte == b'/').collect();
        self.databases.push((database, Target::find(self.dirs, &options.data_dir, &components)?));
        Ok(())
    }

    fn add_roots(&mut self, store: &'a Store, uploads: Option<&Files>, options: &Options) -> Result<()> {
        for root in uploads.iter().flat_map(|uploads| uploads.roots.keys()) {
            let list = uploads.map(|uploads| uploads.list);
            self.add_tree(store, list, root.as_bytes(), options, Part::Uploads)?;
        }
        Ok(())
    }

    fn add_path(
        &mut self,
        store: &'a Store,
        uploads: &Files,
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
        let target = Target::find(self.dirs, &home, &components)?;
        let base = selected.split(|b| *b == b'/').take(target.depth).collect::<Vec<_>>().join(&b'/');
        // Of two paths whose parent is missing, the parent is the one target.
        let same =
            |plan: &&mut TreePlan<'_>| (&plan.target.dir_path, &plan.target.name) == (&target.dir_path, &target.name);
        if let Some(plan) = self.trees.iter_mut().find(same) {
            plan.tree.selected.push(selected.to_vec());
            return Ok(());
        }
        let owner = options.owner.or_else(|| target.owner()).unwrap_or_default();
        let (name, skips) = (target.name.clone(), self.skips.clone());
        let tree = Selection { store, list, base, selected: vec![selected.to_vec()], name, skips, owner };
        self.trees.push(TreePlan {
            tree,
            target,
            size: SelectionSize::default(),
            part,
            staged: None,
            lost: ReuseCounts::default(),
        });
        Ok(())
    }

    fn measure(&mut self, uploads: Option<&Files>, observer: &dyn Observer) -> Result<()> {
        for plan in &mut self.trees {
            plan.size = plan.tree.measure(free_at(&plan.target.base.0, Reserve::LEAST)?.block, None, observer)?;
            if plan.size.entries == 0 && self.skips.is_none() {
                return Err(plan.tree.corrupt(plan.tree.selected(), "is not in its list"));
            }
        }
        if self.skips.is_some() {
            // Nothing is replaced where nothing of it is left in the snapshot.
            self.trees.retain(|plan| plan.size.entries > 0);
            return Ok(());
        }
        let whole = self.trees.iter().all(|plan| plan.part == Part::Uploads);
        match uploads {
            Some(uploads) if whole && self.trees.len() == uploads.roots.len() => {
                let found: u64 = self.trees.iter().map(|plan| plan.size.entries).sum();
                let list = format!("the list of uploads {}", uploads.list);
                let detail = || format!("holds {found} entries where the snapshot says {}", uploads.entries);
                if found == uploads.entries { Ok(()) } else { Err(Error::corrupt(list, detail())) }
            }
            _ => Ok(()),
        }
    }

    fn note_links(&mut self) {
        let links: Vec<_> =
            self.targets().filter_map(|(target, _)| Some((target.path(), target.link_target()?))).collect();
        for (path, leads_to) in links {
            self.note(format!(
                "{} was a symbolic link to {}: it was moved away as it is, what it leads to was left alone",
                path.display(),
                leads_to.display()
            ));
        }
    }

    /// Makes sure that the disks have the space, for what cannot be reused if not for everything.
    fn require_space(&mut self, owners: Owners, observer: &dyn Observer) -> Result<()> {
        if self.trees.iter().any(|plan| plan.target.old_tree().is_some()) {
            self.reuse = Reuse::Link;
        }
        let mut bases: Vec<&Path> = self.targets().map(|(target, _)| target.base.0.as_path()).collect();
        bases.dedup();
        let free: Vec<FreeSpace> = bases.iter().map(|base| free_at(base, Reserve::LEAST)).collect::<Result<_>>()?;
        let (Some(least), Some(base)) = (free.iter().min_by_key(|free| free.bytes), bases.first()) else {
            return Ok(());
        };
        let database = self.database_bytes();
        let sum = |sizes: &[SelectionSize]| sizes.iter().fold(database, |sum, size| sum.saturating_add(size.needed));
        let sizes: Vec<SelectionSize> = self.trees.iter().map(|plan| plan.size).collect();
        let inodes: u64 = 2 + sizes.iter().map(|size| size.entries - size.hardlinks).sum::<u64>();
        // One sum for both directories: they are nearly always on one disk, and being too careful costs only speed.
        if sum(&sizes) <= least.bytes && inodes <= least.inodes {
            return Ok(());
        }
        let mut exact = Vec::new();
        for plan in &self.trees {
            let old = plan.target.old_tree().map(|dir| OldTree { dir, owners });
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
                base.display()
            )));
        }
        Ok(())
    }

    /// Leaves out what turned out to be damaged: files, and a path of which nothing is left.
    pub fn remove_lost(&mut self) {
        self.trees.retain_mut(|plan| {
            let (files, bytes) = plan.lost.get();
            let is_gone = plan.part == Part::Path && files > 0 && files >= plan.size.files;
            plan.size.files = plan.size.files.saturating_sub(files);
            plan.size.bytes = plan.size.bytes.saturating_sub(bytes);
            !is_gone
        });
    }
}
