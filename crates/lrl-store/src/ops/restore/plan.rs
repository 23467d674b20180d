//! Owns what a restore will do, before anything is written: which parts of the snapshot go where, whether that is sound,
//! whether there is room. Never changes anything.

use std::path::{Path, PathBuf};

use super::file::Owners;
use super::guard::{refuse_overlap, storage_home, watch_database, watch_tree};
use super::holders;
use super::place::Place;
use super::reach::Doors;
use super::stage::TakeOver;
use super::tree::{Old, Tree, Weight};
use super::{AskLocks, Options, Part, What};
use crate::error::{Error, Result};
use crate::format::entry::is_clean_path;
use crate::format::snapshot::{Database, Snapshot, Uploads};
use crate::id::ChunkId;
use crate::progress::Observer;
use crate::storage::room::{Free, Reserve, free_at};
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
    doors: &'a Doors,
    /// The database.
    pub database: Option<(&'a Database, Place)>,
    /// Trees of uploads, with what they weigh.
    pub trees: Vec<TreePlan<'a>>,
    /// How files that are right already are used.
    pub take_over: TakeOver,
    /// Notes for the report.
    pub notes: Vec<String>,
}

/// One tree of a plan.
pub(super) struct TreePlan<'a> {
    /// Which entries.
    pub tree: Tree<'a>,
    /// Where to.
    pub place: Place,
    /// How much.
    pub weight: Weight,
    /// How the report calls it.
    pub part: Part,
}

impl<'a> Plan<'a> {
    /// Makes the plan, and refuses what cannot be done.
    pub fn make(
        doors: &'a Doors,
        store: &'a Store,
        snapshot: &'a Snapshot,
        options: &Options,
        owners: Owners,
        observer: &dyn Observer,
    ) -> Result<Self> {
        let mut plan = Self { doors, database: None, trees: Vec::new(), take_over: TakeOver::No, notes: Vec::new() };
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
            What::Path(path) if path.as_slice() == DATABASE => {
                plan.add_database(Some(database.ok_or_else(|| lacks("database"))?), options)?;
            }
            What::Path(path) => {
                let uploads = uploads.ok_or_else(|| lacks("uploads"))?;
                plan.add_path(store, uploads, path, options, stamp)?;
            }
        }
        let lost: Vec<&str> = snapshot.problems.iter().filter(|p| p.lost).map(|p| p.path.as_str()).collect();
        if let (Some(first), false) = (lost.first(), plan.trees.is_empty()) {
            plan.note(format!(
                "something was missing or unreadable when snapshot {stamp} was made, and is not in it: {} in all, the first is {first}",
                lost.len()
            ));
        }
        plan.weigh(uploads, observer)?;
        let targets: Vec<&Place> = plan.places().collect();
        refuse_overlap(&targets, &[PathBuf::from(store.storage().describe())])?;
        plan.note_links();
        plan.find_room(owners, observer)?;
        Ok(plan)
    }

    fn note(&mut self, text: String) {
        self.notes.push(text);
    }

    /// Returns every target.
    pub fn places(&self) -> impl Iterator<Item = &Place> {
        self.database.iter().map(|(_, place)| place).chain(self.trees.iter().map(|tree| &tree.place))
    }

    fn add_database(&mut self, database: Option<&'a Database>, options: &Options) -> Result<()> {
        if let Some(database) = database {
            self.database = Some((database, Place::find(self.doors, &options.data_dir, &[DATABASE])?));
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
        let path = path.strip_suffix(b"/").unwrap_or(path);
        let shown = String::from_utf8_lossy(path);
        if !is_clean_path(path) {
            return Err(Error::NotFound(format!(
                "`{shown}` is no path of a snapshot: those look like `assets/ab12/photo.jpg` or `lrl.db`"
            )));
        }
        let part = if path.contains(&b'/') { Part::Path } else { Part::Uploads };
        self.add_tree(store, Some(uploads.list), path, options, part)?;
        let is_there = self.trees.last().map_or(Ok(None), |tree| tree.tree.find(path))?.is_some();
        if is_there {
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
        let place = Place::find(self.doors, &home, &components)?;
        let base = selected.split(|b| *b == b'/').take(place.depth).collect::<Vec<_>>().join(&b'/');
        let tree = Tree { store, list, base, selected: selected.to_vec(), name: place.name.clone() };
        self.trees.push(TreePlan { tree, place, weight: Weight::default(), part });
        Ok(())
    }

    fn weigh(&mut self, uploads: Option<&Uploads>, observer: &dyn Observer) -> Result<()> {
        for plan in &mut self.trees {
            plan.weight = plan.tree.weigh(free_at(&plan.place.base.0, Reserve::LEAST)?.block, None, observer)?;
            if plan.weight.entries == 0 {
                return Err(plan.tree.corrupt(&plan.tree.selected, "is not in its list"));
            }
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

    /// Decides how files get into the staged trees by what the disks have room for.
    fn find_room(&mut self, owners: Owners, observer: &dyn Observer) -> Result<()> {
        let mut homes: Vec<&Path> = self.places().map(|place| place.base.0.as_path()).collect();
        homes.dedup();
        let free: Vec<Free> = homes.iter().map(|home| free_at(home, Reserve::LEAST)).collect::<Result<_>>()?;
        let (Some(least), Some(home)) = (free.iter().min_by_key(|free| free.bytes), homes.first()) else {
            return Ok(());
        };
        let database = self.database.as_ref().map_or(0, |(database, _)| database.size_bytes);
        let sum = |weights: &[Weight]| weights.iter().fold(database, |sum, weight| sum.saturating_add(weight.needed));
        let weights: Vec<Weight> = self.trees.iter().map(|plan| plan.weight).collect();
        let inodes: u64 = 2 + weights.iter().map(|weight| weight.entries - weight.hardlinks).sum::<u64>();
        // One sum for both homes: they nearly always are one disk, and being too careful costs only speed.
        if sum(&weights) <= least.bytes && inodes <= least.inodes {
            if self.trees.iter().any(|plan| plan.place.old_tree().is_some()) {
                self.take_over = TakeOver::Clone;
            }
            return Ok(());
        }
        let mut exact = Vec::new();
        for plan in &self.trees {
            let old = plan.place.old_tree().map(|dir| Old { dir, owners });
            exact.push(plan.tree.weigh(least.block, Some(old), observer)?);
        }
        let needed = sum(&exact);
        if needed > least.bytes {
            return Err(Error::Refused(format!(
                "the restored data need {needed} bytes beside what is there, {} bytes more than the disk of {} has free. Make \
                 room (older *.pre-restore, older sets), or restore to another disk with --data-dir; nothing was changed",
                needed - least.bytes,
                home.display()
            )));
        }
        self.take_over = TakeOver::Link;
        Ok(())
    }

    /// Returns who has open what would be replaced.
    pub fn holders(&self, locks: Option<AskLocks>) -> Result<Vec<holders::Holder>> {
        let mut watched = Vec::new();
        if let Some((_, place)) = &self.database {
            watch_database(place, &mut watched)?;
        }
        self.trees.iter().for_each(|plan| watch_tree(&plan.place, &mut watched));
        Ok(holders::find(&watched, locks))
    }
}
