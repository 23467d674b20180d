//! What a restore from a snapshot will do, before anything is written: which parts go where, whether that is sound, and whether there
//! is space.

use std::path::PathBuf;
use std::sync::Arc;

use super::find_target::Finder;
use super::links::Links;
use super::model::{ASSETS, DATABASE, Options, Part, Reuse, STORAGE, What};
use super::plan_site::plan_site;
use super::plan_space::require_space;
use super::safety::{refuse_overlap, storage_home};
use super::selection::{Selection, outermost};
use super::source::Run;
use super::target::Target;
use super::tree_plan::TreePlan;
use crate::error::{Error, Result};
use crate::format::entry::is_clean_path;
use crate::format::snapshot::{Database, Files, Snapshot};
use crate::fs::dir::components;
use crate::fs::space::{Reserve, free_at};
use crate::hint::{AddHint, Hint, Message};
use crate::id::ChunkId;
use crate::ops::skipped::Skips;
use crate::progress::Observer;
use crate::store::Store;

/// What of a snapshot is restored, and where to.
pub(super) struct Plan<'a> {
    /// Finds targets below the directories that the caller named.
    finder: Finder<'a>,
    /// The databases that are exchanged by themselves.
    pub databases: Vec<(&'a Database, Target)>,
    /// Trees of uploads.
    pub trees: Vec<TreePlan<'a>>,
    /// How files are reused that are right already.
    pub reuse: Reuse,
    /// Collects what is damaged, where that is skipped.
    pub skips: Option<Arc<Skips>>,
    /// How many entries the trees have by the snapshot, where all are restored.
    entries: Option<u64>,
    notes: Vec<Message>,
}

impl<'a> Plan<'a> {
    /// Makes the plan and refuses what cannot be done; adds to the notes.
    pub(crate) fn make(
        run: &'a Run<'_>,
        store: &'a Store,
        snapshot: &'a Snapshot,
        notes: &mut Vec<Message>,
    ) -> Result<Self> {
        let options = run.options;
        let skips = options.skip_damaged.then(Arc::default);
        let finder = Finder::new(&run.dirs);
        let (databases, trees, notes_here) = (Vec::new(), Vec::new(), Vec::new());
        let mut plan = Self { finder, databases, trees, reuse: Reuse::No, skips, entries: None, notes: notes_here };
        let own = if snapshot.is_site() {
            let planned = plan_site(run, &plan.finder, store, snapshot, plan.skips.as_ref())?;
            (plan.trees, plan.databases, plan.entries) = (planned.trees, planned.alone, planned.entries);
            plan.notes.extend(planned.notes);
            run.own(store)
        } else {
            plan.add_lab(options, store, snapshot)?;
            vec![PathBuf::from(store.storage().location())]
        };
        let stamp = &snapshot.timestamp;
        let lost: Vec<&str> = snapshot.problems.iter().filter(|p| p.lost).map(|p| p.path.as_str()).collect();
        if let (Some(first), false) = (lost.first(), plan.trees.is_empty()) {
            plan.note(format!(
                "something was missing or unreadable when snapshot {stamp} was made, and is not in it: {} in all, the first is {first}",
                lost.len()
            ));
        }
        plan.measure(run.observer)?;
        let targets: Vec<&Target> = plan.targets().map(|(target, _)| target).collect();
        refuse_overlap(&targets, &own)?;
        plan.note_links();
        if plan.trees.iter().any(|tree| tree.target.old_tree().is_some()) {
            plan.reuse = Reuse::Link;
        }
        require_space(&plan.trees, &plan.databases, run.owners, run.observer)?;
        notes.append(&mut plan.notes);
        Ok(plan)
    }

    /// Adds what is restored of the manual's layout.
    fn add_lab(&mut self, options: &Options, store: &'a Store, snapshot: &'a Snapshot) -> Result<()> {
        let plan = self;
        let stamp = &snapshot.timestamp;
        let lacks =
            |what: &str| Error::not_found(format!("snapshot {stamp} holds no {what}").hint(Hint::ListSnapshots));
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
        let whole = plan.trees.iter().all(|tree| tree.part == Part::Uploads);
        plan.entries =
            uploads.filter(|files| whole && plan.trees.len() == files.roots.len()).map(|files| files.entries);
        Ok(())
    }

    fn note(&mut self, text: String) {
        self.notes.push(text.into());
    }

    /// Returns every target with its part.
    pub(crate) fn targets(&self) -> impl Iterator<Item = (&Target, Part)> {
        let trees = self.trees.iter().map(|tree| (&tree.target, tree.part));
        self.databases.iter().map(|(_, target)| (target, Part::Database)).chain(trees)
    }

    /// Returns the number of bytes of everything.
    pub(crate) fn bytes(&self) -> u64 {
        self.trees.iter().fold(self.database_bytes(), |sum, tree| sum.saturating_add(tree.size.bytes))
    }

    /// Returns whether nothing is restored.
    pub(crate) fn is_empty(&self) -> bool {
        self.databases.is_empty() && self.trees.is_empty()
    }

    fn database_bytes(&self) -> u64 {
        let alone: u64 = self.databases.iter().map(|(database, _)| database.size_bytes).sum();
        self.trees.iter().fold(alone, |sum, tree| sum.saturating_add(tree.database_bytes()))
    }

    fn add_databases(&mut self, databases: &'a [Database], options: &Options) -> Result<()> {
        databases.iter().try_for_each(|database| self.add_database(database, options))
    }

    fn add_database(&mut self, database: &'a Database, options: &Options) -> Result<()> {
        let components: Vec<&[u8]> = components(&database.path).collect();
        self.databases.push((database, self.finder.find(&options.data_dir, &components, Links::First)?));
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
            return Err(Error::not_found(format!(
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
            let text = format!("snapshot {stamp} holds no `{shown}`");
            Err(Error::not_found(text.hint(Hint::ListFiles(stamp.to_string()))))
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
                return Err(Error::not_found(format!(
                    "`{root}` is no part of a lab: there are `assets`, `storage` and `lrl.db`"
                )));
            }
        };
        let target = self.finder.find(&home, &components, Links::First)?;
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
        let tree = Selection { store, list: Some(list), base, selected: vec![selected.to_vec()], name, skips, owner };
        self.trees.push(TreePlan::new(tree, target, part));
        Ok(())
    }

    fn measure(&mut self, observer: &dyn Observer) -> Result<()> {
        for plan in &mut self.trees {
            plan.size = plan.tree.measure(free_at(&plan.target.base.0, Reserve::LEAST)?.block, None, observer)?;
            if plan.size.entries == 0 && self.skips.is_none() && plan.inside.is_empty() {
                return Err(plan.tree.corrupt(plan.tree.selected(), "is not in its list"));
            }
        }
        if self.skips.is_some() {
            // Nothing is replaced where nothing of it is left in the snapshot.
            self.trees.retain(|plan| plan.size.entries > 0 || !plan.inside.is_empty());
            return Ok(());
        }
        let found: u64 = self.trees.iter().map(|plan| plan.size.entries).sum();
        match self.entries.filter(|entries| *entries != found) {
            Some(entries) => {
                let list = self.trees.first().and_then(|plan| plan.tree.list).map(|list| list.to_string());
                let list = format!("the list of uploads {}", list.unwrap_or_default());
                Err(Error::corrupt(list, format!("holds {found} entries where the snapshot says {entries}")))
            }
            None => Ok(()),
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

    /// Leaves out what turned out to be damaged: files, and a path of which nothing is left.
    pub(crate) fn remove_lost(&mut self) {
        self.trees.retain_mut(|plan| {
            let (files, bytes) = plan.lost.get();
            let is_gone = plan.part == Part::Path && plan.inside.is_empty() && files > 0 && files >= plan.size.files;
            plan.size.files = plan.size.files.saturating_sub(files);
            plan.size.bytes = plan.size.bytes.saturating_sub(bytes);
            !is_gone
        });
    }
}
