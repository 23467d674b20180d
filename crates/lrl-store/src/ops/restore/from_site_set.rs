//! How the parts of a site's set are staged: the archive is unpacked once for each disk, the databases are put into it, and what lies in one
//! entry of the root is put in place as one, as from a snapshot.

use std::collections::{BTreeMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::barriers::Barriers;
use super::commit::Staged;
use super::find_target::Finder;
use super::model::{ASSETS, DATABASE, Part, Report, Reuse, What};
use super::plan_site::moved_along;
use super::plan_space::require_space_of_set;
use super::safety::refuse_overlap;
use super::selection::is_below;
use super::set_list::SetList;
use super::set_parts::{SetDatabase, SetParts, skipped};
use super::set_tree::SetTree;
use super::site::{SitePlan, SiteTree};
use super::source::{Run, Source};
use super::stage_set::{give_away, note_count, prove, stage_copy, unpack};
use super::target::Target;
use super::target_dirs::StagingDirs;
use crate::error::{Error, Result};
use crate::format::entry::compare_paths;
use crate::format::path_text;
use crate::fs::dir::split;
use crate::hint::{AddHint, Hint, Message};
use crate::progress::Phase;
use crate::set::archive::extract::{self, Wanted, verify};
use crate::set::manifest::{Assets, Database, Layout, Manifest};
use crate::set::missing::Skip;

/// The files of a site's set.
pub(super) struct SiteSetSource<'a> {
    manifest: &'a Path,
    archive: Option<(&'a Assets, PathBuf)>,
    /// Everything in the archive is restored.
    is_whole: bool,
    /// Another program wrote the set.
    is_foreign: bool,
    /// The databases of which all or some are restored.
    databases: Vec<SetDatabase<'a>>,
    /// Those that are exchanged by themselves: number, target, name in the staging directory.
    alone: Vec<(usize, Target, Vec<u8>)>,
    trees: Vec<SetTree>,
    /// What the set lacks of what is restored.
    skipped: (Vec<Skip>, u64),
}

/// Returns whether a manifest is of a site, not of the manual's layout.
pub(super) fn is_of_site(manifest: &Manifest) -> bool {
    manifest.assets().is_some_and(|assets| assets.layout == Layout::Root)
        || manifest.databases().any(|database| database.path.is_some())
}

/// Refuses a path of the manual's layout that is not in the data directory: `storage/` has a place of its own.
fn require_in_data_dir(path: &[u8]) -> Result<()> {
    if path == DATABASE || is_below(path, ASSETS) {
        return Ok(());
    }
    let text = format!(
        "`{}` is nothing that can be taken out of this set by itself; out of its archive, `tar -xzf` with the path takes a single file",
        path_text::encode(path)
    );
    Err(Error::refused(text.hint(Hint::PathsOfLab)))
}

impl<'a> SiteSetSource<'a> {
    /// Finds the set's files and where they go; adds to the notes.
    pub(crate) fn plan(
        run: &Run<'_>,
        manifest: &'a Manifest,
        path: &'a Path,
        notes: &mut Vec<Message>,
    ) -> Result<Self> {
        let options = run.options;
        let SetParts { mut databases, archive } = SetParts::select(manifest, path, options, notes)?;
        databases.sort_by(|a, b| compare_paths(&a.entry.list_path(), &b.entry.list_path()));
        let paths: Vec<Vec<u8>> = databases.iter().map(|database| database.entry.list_path()).collect();
        let file = archive.as_ref().map(|(_, archive)| archive.as_path());
        let list = SetList::read(file, paths.clone(), notes)?;
        // A database that is not restored stays where it is.
        let mut stay: Vec<Vec<u8>> = manifest.missing().iter().flat_map(|missing| missing.database_paths()).collect();
        if options.what == What::AssetsOnly {
            stay.extend(manifest.databases().map(Database::list_path));
        }
        let beside = path.parent().map(Path::to_path_buf);
        let own: Vec<PathBuf> = options.own.iter().cloned().chain(beside).collect();
        let (finder, barriers) = (Finder::new(&run.dirs), Barriers::new(&own, stay));
        let mut site = SitePlan::new(&finder, (&options.data_dir, !options.only_below), &list, paths, barriers);
        match &options.what {
            What::Paths(named) => {
                let named = named.iter().map(|path| site.typed_path(path)).collect::<Result<Vec<_>>>()?;
                if !is_of_site(manifest) {
                    named.iter().try_for_each(|named| require_in_data_dir(named))?;
                }
                site.add_paths(&named, &|named| {
                    Error::not_found(format!("the set of {} holds no `{}`", path.display(), path_text::encode(named)))
                })?;
            }
            _ => site.add_whole(archive.is_some())?,
        }
        if let (What::Whole, Some(dir)) = (&options.what, run.dirs.open(&options.data_dir)?) {
            site.note_rest(&dir)?;
        }
        let SitePlan { trees, alone, notes: of_plan, .. } = site;
        notes.extend(of_plan);
        notes.extend(moved_along(trees.iter().map(|tree| &tree.target), options.no_keep));
        let named = |(at, target)| (at, target, format!("database-{at}").into_bytes());
        let alone = alone.into_iter().map(named).collect();
        let trees = trees.into_iter().map(|tree| SetTree::new(tree, &list)).collect::<Result<_>>()?;
        let is_whole = !matches!(options.what, What::Paths(_));
        let skipped = skipped(manifest, path, &options.what);
        let is_foreign = manifest.lrl.is_none();
        let set = Self { manifest: path, archive, is_whole, is_foreign, databases, alone, trees, skipped };
        let targets: Vec<&Target> = set.targets().into_iter().map(|(target, _)| target).collect();
        refuse_overlap(&targets, &set.sources())?;
        Ok(set)
    }

    /// Returns the files of the set.
    fn sources(&self) -> Vec<PathBuf> {
        let archive = self.archive.iter().map(|(_, archive)| archive.clone());
        let copies = self.databases.iter().map(|database| database.copy.clone());
        [self.manifest.to_path_buf()].into_iter().chain(archive).chain(copies).collect()
    }

    /// Returns the databases that go with a tree.
    fn inside(&self, tree: &SetTree) -> impl Iterator<Item = &SetDatabase<'a>> {
        tree.tree.inside.iter().filter_map(|at| self.databases.get(*at))
    }

    fn add(&self, tree: &SetTree, databases: u64, bytes: u64, report: &mut Report) -> Result<()> {
        let SiteTree { target, part, .. } = &tree.tree;
        report.add(*part, target, tree.files + databases, tree.bytes.saturating_add(bytes))?;
        let paths = self.inside(tree).map(|one| target.dir_path.join(tree.below(&one.entry.list_path())));
        if let Some(last) = report.restored.last_mut() {
            last.databases = paths.collect();
        }
        Ok(())
    }

    /// Unpacks the archive once for each disk, and puts the databases into the trees.
    fn stage_trees(&mut self, run: &Run<'_>, dirs: &StagingDirs<'_>, report: &mut Report) -> Result<()> {
        let mut homes: BTreeMap<PathBuf, Vec<usize>> = BTreeMap::new();
        for (at, tree) in self.trees.iter().enumerate() {
            homes.entry(tree.tree.target.base.0.clone()).or_default().push(at);
        }
        let is_one = homes.len() == 1;
        for trees in homes.values() {
            let Some(first) = trees.first().and_then(|at| self.trees.get(*at)) else { continue };
            let home = dirs.of(&first.tree.target)?;
            let selected: HashSet<&[u8]> =
                trees.iter().flat_map(|at| &self.trees[*at].tree.selected).map(Vec::as_slice).collect();
            let mut above: HashSet<&[u8]> = HashSet::new();
            for path in &selected {
                let mut parent = split(path).0;
                while !parent.is_empty() && above.insert(parent) {
                    parent = split(parent).0;
                }
            }
            let is_wanted = |path: &[u8]| {
                let mut part = path;
                while !part.is_empty() && !selected.contains(part) {
                    part = split(part).0;
                }
                !part.is_empty() || above.contains(path)
            };
            let only: Option<&Wanted<'_>> = if self.is_whole && is_one { None } else { Some(&is_wanted) };
            let unpacked = match &self.archive {
                Some((assets, archive)) if !selected.is_empty() => {
                    let (dir, counts) = unpack(archive, only, home, run)?;
                    if only.is_none() {
                        note_count(assets, &counts, &mut report.notes);
                    }
                    dir
                }
                _ => home.staging.subdir("databases")?.0,
            };
            for at in trees {
                let tree = &self.trees[*at];
                for database in self.inside(tree) {
                    tree.stage_database(database, &unpacked, home, run, &mut report.notes)?;
                }
                let from = tree.open(&unpacked)?;
                give_away(&from, split(&tree.tree.base).1, &tree.tree.target, self.is_foreign, run)?;
                self.trees[*at].from = Some(from);
            }
        }
        Ok(())
    }
}

impl Source for SiteSetSource<'_> {
    fn description(&self) -> String {
        format!("set {}", self.manifest.display())
    }

    fn targets(&self) -> Vec<(&Target, Part)> {
        let databases = self.alone.iter().map(|(_, target, _)| (target, Part::Database));
        databases.chain(self.trees.iter().map(|tree| (&tree.tree.target, tree.tree.part))).collect()
    }

    fn targets_mut(&mut self) -> Vec<&mut Target> {
        let trees = self.trees.iter_mut().map(|tree| &mut tree.tree.target);
        self.alone.iter_mut().map(|(_, target, _)| target).chain(trees).collect()
    }

    fn databases_in_trees(&self) -> Vec<PathBuf> {
        let inside = |tree| self.inside(tree).map(move |one| tree.in_place(&one.entry.list_path()));
        self.trees.iter().flat_map(inside).collect()
    }

    /// As the manifest states.
    fn bytes(&self) -> Option<u64> {
        let databases = self.databases.iter().enumerate().filter(|(at, _)| self.is_restored(*at));
        let databases = databases.map(|(_, database)| database.entry.size_bytes).sum::<Option<u64>>()?;
        Some(self.trees.iter().fold(databases, |sum, tree| sum.saturating_add(tree.bytes)))
    }

    fn prove(&self, run: &Run<'_>, notes: &mut Vec<Message>) -> Result<()> {
        let len = |path: &Path| path.metadata().map_or(0, |meta| meta.len());
        let archive = self.archive.as_ref().map_or(0, |(_, archive)| len(archive));
        let databases = self.databases.iter().map(|database| len(&database.copy)).sum::<u64>();
        run.observer.phase(Phase::Verify, Some(archive + if run.options.dry_run { databases } else { 0 }));
        if let Some((assets, archive)) = &self.archive {
            prove(archive, assets.sha256.as_deref(), assets.archive_size_bytes, run.observer, notes)?;
        }
        let of = |database: &SetDatabase<'_>| database.entry.size_bytes.unwrap_or(0);
        let alone = self.alone.iter().map(|(at, target, _)| (target, of(&self.databases[*at]), 1));
        let trees = self.trees.iter().map(|tree| {
            let (inside, count) =
                self.inside(tree).fold((0_u64, 0), |(sum, n), one| (sum.saturating_add(of(one)), n + 1));
            (&tree.tree.target, tree.bytes.saturating_add(inside), tree.files + count)
        });
        require_space_of_set(alone.chain(trees))
    }

    fn dry_run(&self, run: &Run<'_>, report: &mut Report) -> Result<()> {
        let prove = |database: &SetDatabase<'_>, report: &mut Report| {
            let SetDatabase { entry, copy, .. } = database;
            let len = prove(copy, entry.sha256.as_deref(), entry.size_bytes, run.observer, &mut report.notes)?;
            database.require_readable(run).map(|()| len)
        };
        for (at, target, _) in &self.alone {
            let len = prove(&self.databases[*at], report)?;
            report.add(Part::Database, target, 1, len)?;
        }
        for tree in &self.trees {
            let (mut databases, mut bytes) = (0, 0);
            for one in self.inside(tree) {
                bytes += prove(one, report)?;
                databases += 1;
            }
            self.add(tree, databases, bytes, report)?;
        }
        let Some((assets, archive)) = &self.archive else { return Ok(()) };
        let mut how = extract::Options {
            owners: false,
            xattrs: None,
            limit: None,
            watch: None,
            only: None,
            observer: run.observer,
        };
        note_count(assets, &verify(archive, &mut how)?, &mut report.notes);
        Ok(())
    }

    fn stage(&mut self, run: &Run<'_>, dirs: &mut StagingDirs<'_>, report: &mut Report) -> Result<Reuse> {
        for (at, target, name) in &self.alone {
            let len = stage_copy(&self.databases[*at], (target, name), dirs.of(target)?, run, &mut report.notes)?;
            report.add(Part::Database, target, 1, len)?;
        }
        self.stage_trees(run, dirs, report)?;
        for tree in &self.trees {
            let inside = || self.inside(tree);
            let len = |one: &SetDatabase<'_>| one.entry.size_bytes.or(Some(one.copy.metadata().ok()?.len()));
            self.add(tree, inside().count() as u64, inside().filter_map(len).sum(), report)?;
        }
        Ok(Reuse::No)
    }

    fn staged<'s>(&'s self, dirs: &'s StagingDirs<'_>) -> Result<Vec<Staged<'s>>> {
        let mut staged = Vec::new();
        for tree in &self.trees {
            let SiteTree { target, base, part, .. } = &tree.tree;
            let missing = || Error::refused(format!("{} was not prepared", target.path().display()));
            let from: &Arc<_> = tree.from.as_ref().ok_or_else(missing)?;
            let databases = self.inside(tree).map(|one| tree.staged(&one.entry.list_path())).collect();
            staged.push(Staged { target, part: *part, from, name: split(base).1, databases });
        }
        for (_, target, name) in &self.alone {
            let from = &dirs.of(target)?.staging.dir;
            staged.push(Staged { target, part: Part::Database, from, name, databases: Vec::new() });
        }
        Ok(staged)
    }

    fn take_skipped(&self) -> (Vec<Skip>, u64) {
        self.skipped.clone()
    }
}

impl SiteSetSource<'_> {
    fn is_restored(&self, at: usize) -> bool {
        self.alone.iter().any(|(one, _, _)| *one == at) || self.trees.iter().any(|tree| tree.tree.inside.contains(&at))
    }
}
