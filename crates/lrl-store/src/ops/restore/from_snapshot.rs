//! How the parts of a snapshot are staged from its store.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};

use super::commit::Staged;
use super::model::{Part, Report, Reuse, ReuseCounts};
use super::plan::Plan;
use super::source::{Run, Source};
use super::stage_database;
use super::stage_inside::StageInside;
use super::stage_tree::Stage;
use super::target::Target;
use super::target_dirs::StagingDirs;
use super::tree_plan::TreePlan;
use crate::budget::WORKERS;
use crate::error::{Error, Result};
use crate::format::snapshot::{Database, RootDir, Snapshot};
use crate::fs::dir::to_path;
use crate::fs::metadata::Owners;
use crate::hint::Message;
use crate::ops::skipped::Skips;
use crate::progress::{Observer, Phase, Problem};
use crate::set::missing::Skip;
use crate::store::{SnapshotName, Store};

/// A snapshot in a store.
pub(super) struct SnapshotSource<'a> {
    store: &'a Store,
    name: &'a SnapshotName,
    timestamp: &'a str,
    root: Option<&'a RootDir>,
    plan: Plan<'a>,
    /// Under which name each database is staged: several may have the same.
    names: Vec<String>,
}

impl<'a> SnapshotSource<'a> {
    /// Plans what is restored and where to; adds to the notes.
    pub(crate) fn plan(
        run: &'a Run<'_>,
        store: &'a Store,
        name: &'a SnapshotName,
        snapshot: &'a Snapshot,
        notes: &mut Vec<Message>,
    ) -> Result<Self> {
        let plan = Plan::make(run, store, snapshot, notes)?;
        let names = (0..plan.databases.len()).map(|n| format!("database-{n}")).collect();
        Ok(Self { store, name, timestamp: &snapshot.timestamp, root: snapshot.root.as_ref(), plan, names })
    }

    /// Refuses to replace anything by nothing: everything that was asked for is damaged.
    fn refuse_empty(&self) -> Result<()> {
        if !self.plan.is_empty() {
            return Ok(());
        }
        let (skipped, _) = self.take_skipped();
        let first = skipped.into_iter().next();
        let reason = first.map_or_else(String::new, |first| format!(" ({}: {})", first.path, first.reason));
        Err(Error::refused(format!(
            "everything that was asked for is damaged in this snapshot{reason}: nothing was changed"
        )))
    }

    fn report(&self, report: &mut Report) -> Result<()> {
        for (database, target) in &self.plan.databases {
            report.add(Part::Database, target, 1, database.size_bytes)?;
        }
        for tree in &self.plan.trees {
            let files = tree.size.files + tree.inside.len() as u64;
            report.add(tree.part, &tree.target, files, tree.size.bytes.saturating_add(tree.database_bytes()))?;
            let paths = tree.databases_below().map(|path| tree.target.dir_path.join(to_path(&path)));
            if let Some(last) = report.restored.last_mut() {
                last.databases = paths.collect();
            }
            report.dirs += tree.size.dirs;
            report.links += tree.size.links;
        }
        Ok(())
    }

    /// Stages the databases; returns whether each is there, not lost.
    fn stage_databases(&self, run: &Staging<'_>) -> Result<Vec<bool>> {
        let all = self.plan.databases.iter().zip(&self.names);
        all.map(|((database, target), name)| self.stage_database(run, (database, target), name)).collect()
    }

    fn stage_database(&self, run: &Staging<'_>, (database, target): (&Database, &Target), name: &str) -> Result<bool> {
        let writer = run.dirs.writer(target, self.store, run.observer)?;
        let home = run.dirs.of(target)?;
        match (
            stage_database::stage(
                &writer,
                home,
                (database, target),
                name.as_bytes(),
                (run.owners, run.counts.xattrs(run.owners)),
                &self.name.object(),
            ),
            &self.plan.skips,
        ) {
            (Err(error), Some(skips)) if error.is_damage() => {
                skips.add(&database.path, 1, &error);
                Ok(false)
            }
            (done, _) => {
                run.counts.owner(done?);
                Ok(true)
            }
        }
    }

    fn stage_tree(&self, plan: &TreePlan<'_>, run: &Staging<'_>) -> Result<()> {
        let (dir, path) = plan.staged()?;
        let stage = Stage {
            tree: &plan.tree,
            dir,
            path,
            old: plan.target.old_tree(),
            reuse: run.reuse,
            writer: run.dirs.writer(&plan.target, self.store, run.observer)?,
            owners: run.owners,
            counts: run.counts,
            lost: &plan.lost,
        };
        stage.write(&plan.size)?;
        if !plan.inside.is_empty() {
            let writer = run.dirs.writer(&plan.target, self.store, run.observer)?;
            let snapshot = self.name.object();
            StageInside { plan, writer, owners: run.owners, counts: run.counts, snapshot: &snapshot }.write()?;
        }
        stage.finish()
    }
}

/// What the threads that stage have in common.
struct Staging<'a> {
    dirs: &'a StagingDirs<'a>,
    observer: &'a EitherFails<'a>,
    owners: Owners,
    counts: &'a ReuseCounts,
    reuse: Reuse,
}

impl Source for SnapshotSource<'_> {
    fn description(&self) -> String {
        format!("snapshot {} of {}", self.name.id.short(), self.timestamp)
    }

    fn targets(&self) -> Vec<(&Target, Part)> {
        self.plan.targets().collect()
    }

    fn targets_mut(&mut self) -> Vec<&mut Target> {
        let trees = self.plan.trees.iter_mut().map(|tree| &mut tree.target);
        self.plan.databases.iter_mut().map(|(_, target)| target).chain(trees).collect()
    }

    fn databases_in_trees(&self) -> Vec<PathBuf> {
        self.plan.trees.iter().flat_map(TreePlan::databases_in_place).collect()
    }

    fn root_dir(&self) -> Option<&RootDir> {
        self.root
    }

    fn bytes(&self) -> Option<u64> {
        Some(self.plan.bytes())
    }

    fn dir_owner(&self, run: &Run<'_>) -> Option<(u32, u32)> {
        let database = self.plan.databases.first().filter(|_| run.owners.recorded);
        run.options.owner.or_else(|| database.map(|(database, _)| (database.uid, database.gid)))
    }

    fn prove(&self, run: &Run<'_>, _: &mut Vec<Message>) -> Result<()> {
        if run.options.dry_run { Ok(()) } else { self.refuse_empty() }
    }

    fn dry_run(&self, _: &Run<'_>, report: &mut Report) -> Result<()> {
        self.report(report)
    }

    fn stage(&mut self, run: &Run<'_>, dirs: &mut StagingDirs<'_>, report: &mut Report) -> Result<Reuse> {
        // Targets in one directory have different names, others may have the same.
        let mut staged = BTreeMap::new();
        for tree in &mut self.plan.trees {
            let next = staged.len();
            let dir = match staged.entry((tree.target.base.0.clone(), tree.target.dir_path.clone())) {
                Entry::Occupied(known) => known.into_mut(),
                Entry::Vacant(new) => new.insert(dirs.of(&tree.target)?.staging.subdir(&format!("tree-{next}"))?),
            };
            tree.staged = Some(dir.clone());
        }
        let workers = std::thread::available_parallelism().map_or(1, usize::from).clamp(1, WORKERS);
        let pool = rayon::ThreadPoolBuilder::new().num_threads(workers).build();
        let pool = pool.map_err(|e| Error::refused(format!("the threads of a restore cannot be started: {e}")))?;
        // Clones take no space either, and share nothing that could change on both sides.
        let reuse = if self.plan.reuse == Reuse::Link && dirs.can_clone() { Reuse::Clone } else { self.plan.reuse };
        let observer = &EitherFails { observer: run.observer, failed: AtomicBool::new(false) };
        let staging = &Staging { dirs, observer, owners: run.owners, counts: &run.counts, reuse };
        let this = &*self;
        let (database, uploads) = pool.install(|| {
            let databases = || this.stage_databases(staging);
            let uploads = || this.plan.trees.iter().try_for_each(|tree| this.stage_tree(tree, staging));
            rayon::join(|| observer.watch(databases()), || observer.watch(uploads()))
        });
        let is_there = match (database, uploads) {
            // Whichever stopped because the other failed has the lesser reason.
            (Err(Error::Interrupted), Err(other)) | (Err(other), _) | (Ok(_), Err(other)) => return Err(other),
            (Ok(is_there), Ok(())) => is_there,
        };
        if self.plan.skips.is_some() {
            self.plan.remove_lost();
            let mut staged = is_there.clone().into_iter();
            self.names.retain(|_| staged.next().unwrap_or(true));
            let mut is_there = is_there.into_iter();
            self.plan.databases.retain(|(database, _)| {
                let stays = is_there.next().unwrap_or(true);
                if !stays {
                    // A database is whole or useless: the one that is there stays.
                    let shown = database.shown();
                    report.notes.push(format!("the snapshot's {shown} is damaged: the one here was left alone").into());
                }
                stays
            });
            self.refuse_empty()?;
        }
        self.report(report)?;
        Ok(reuse)
    }

    fn staged<'s>(&'s self, dirs: &'s StagingDirs<'_>) -> Result<Vec<Staged<'s>>> {
        let mut staged = Vec::new();
        for tree in &self.plan.trees {
            let (target, part, from) = (&tree.target, tree.part, tree.staged()?.0);
            let below = tree.databases_below().collect();
            staged.push(Staged { target, part, from, name: &target.name, databases: below });
        }
        for ((_, target), name) in self.plan.databases.iter().zip(&self.names) {
            let (from, name) = (&dirs.of(target)?.staging.dir, name.as_bytes());
            staged.push(Staged { target, part: Part::Database, from, name, databases: Vec::new() });
        }
        Ok(staged)
    }

    fn take_skipped(&self) -> (Vec<Skip>, u64) {
        self.plan.skips.as_deref().map(Skips::take).unwrap_or_default()
    }
}

/// Interrupts the other part of a restore when one has failed.
struct EitherFails<'a> {
    observer: &'a dyn Observer,
    failed: AtomicBool,
}

impl EitherFails<'_> {
    fn watch<T>(&self, done: Result<T>) -> Result<T> {
        self.failed.fetch_or(done.is_err(), Ordering::Relaxed);
        done
    }
}

impl Observer for EitherFails<'_> {
    fn phase(&self, phase: Phase, total_bytes: Option<u64>) {
        self.observer.phase(phase, total_bytes);
    }
    fn advance(&self, bytes: u64, files: u64) {
        self.observer.advance(bytes, files);
    }
    fn problem(&self, problem: &Problem) {
        self.observer.problem(problem);
    }
    fn interrupted(&self) -> bool {
        self.failed.load(Ordering::Relaxed) || self.observer.interrupted()
    }
}
