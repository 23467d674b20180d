//! How the parts of a snapshot are staged from its store.

use std::sync::atomic::{AtomicBool, Ordering};

use super::commit::Staged;
use super::model::{Part, Report, Reuse, ReuseCounts};
use super::plan::{Plan, TreePlan};
use super::skipped_files::{Skip, Skips};
use super::source::{Run, Source};
use super::stage_database;
use super::stage_tree::Stage;
use super::target::Target;
use super::target_dirs::StagingDirs;
use crate::error::{Error, Result};
use crate::format::snapshot::{Database, Snapshot};
use crate::fs::metadata::Owners;
use crate::progress::{Observer, Phase, Problem};
use crate::store::{SnapshotName, Store};

/// A snapshot in a store.
pub(super) struct SnapshotSource<'a> {
    store: &'a Store,
    name: &'a SnapshotName,
    timestamp: &'a str,
    plan: Plan<'a>,
}

impl<'a> SnapshotSource<'a> {
    /// Plans what is restored and where to; adds to the notes.
    pub fn plan(
        run: &'a Run<'_>,
        store: &'a Store,
        name: &'a SnapshotName,
        snapshot: &'a Snapshot,
        notes: &mut Vec<String>,
    ) -> Result<Self> {
        let plan = Plan::make(run, store, snapshot, notes)?;
        Ok(Self { store, name, timestamp: &snapshot.timestamp, plan })
    }

    /// Refuses to replace anything by nothing: everything that was asked for is damaged.
    fn refuse_empty(&self) -> Result<()> {
        if !self.plan.is_empty() {
            return Ok(());
        }
        let (skipped, _) = self.take_skipped();
        let first = skipped.into_iter().next();
        let reason = first.map_or_else(String::new, |first| format!(" ({}: {})", first.path, first.reason));
        Err(Error::Refused(format!(
            "everything that was asked for is damaged in this snapshot{reason}: nothing was changed"
        )))
    }

    fn report(&self, report: &mut Report) -> Result<()> {
        for (database, target) in &self.plan.databases {
            report.add(Part::Database, target, 1, database.size_bytes)?;
        }
        for tree in &self.plan.trees {
            report.add(tree.part, &tree.target, tree.size.files, tree.size.bytes)?;
            report.dirs += tree.size.dirs;
            report.links += tree.size.links;
        }
        Ok(())
    }

    /// Stages the databases; returns whether each is there, not lost.
    fn stage_databases(&self, run: &Staging<'_>) -> Result<Vec<bool>> {
        self.plan.databases.iter().map(|(database, target)| self.stage_database(run, database, target)).collect()
    }

    fn stage_database(&self, run: &Staging<'_>, database: &Database, target: &Target) -> Result<bool> {
        let writer = run.dirs.writer(target, self.store, run.observer)?;
        let home = run.dirs.of(target)?;
        match (
            stage_database::stage(&writer, home, database, target, run.owners, &self.name.object()),
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
        stage.write(&plan.size)
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

    fn bytes(&self) -> Option<u64> {
        Some(self.plan.bytes())
    }

    fn dir_owner(&self, run: &Run<'_>) -> Option<(u32, u32)> {
        let database = self.plan.databases.first().filter(|_| run.owners.recorded);
        run.options.owner.or_else(|| database.map(|(database, _)| (database.uid, database.gid)))
    }

    fn prove(&self, run: &Run<'_>, _: &mut Vec<String>) -> Result<()> {
        if run.options.dry_run { Ok(()) } else { self.refuse_empty() }
    }

    fn dry_run(&self, _: &Run<'_>, report: &mut Report) -> Result<()> {
        self.report(report)
    }

    fn stage(&mut self, run: &Run<'_>, dirs: &mut StagingDirs<'_>, report: &mut Report) -> Result<Reuse> {
        for (n, tree) in self.plan.trees.iter_mut().enumerate() {
            // Two targets may have the same name.
            tree.staged = Some(dirs.of(&tree.target)?.staging.subdir(&format!("tree-{n}"))?);
        }
        let workers = std::thread::available_parallelism().map_or(1, usize::from).clamp(1, 4);
        let pool = rayon::ThreadPoolBuilder::new().num_threads(workers).build();
        let pool = pool.map_err(|e| Error::Refused(format!("the threads of a restore cannot be started: {e}")))?;
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
            let mut is_there = is_there.into_iter();
            self.plan.databases.retain(|(database, _)| {
                let stays = is_there.next().unwrap_or(true);
                if !stays {
                    // A database is whole or useless: the one that is there stays.
                    let shown = database.shown();
                    report.notes.push(format!("the snapshot's {shown} is damaged: the one here was left alone"));
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
            staged.push(Staged { target, part, from, name: &target.name });
        }
        for (_, target) in &self.plan.databases {
            let from = &dirs.of(target)?.staging.dir;
            staged.push(Staged { target, part: Part::Database, from, name: &target.name });
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
