//! The verb `restore`: plan, stage beside the target, prove, swap by rename. Owns the road; what it replaces is kept, and a
//! restore that fails leaves everything as it was.

mod clean;
mod commit;
mod from_set;
mod journal;
mod journal_record;
mod open_files;
mod plan;
mod report;
mod safety;
mod selection;
mod skips;
mod sqlite_locks;
mod stage_database;
mod stage_file;
mod stage_set;
mod stage_tree;
mod staging_dir;
mod staging_dirs;
mod swap;
mod swap_contents;
mod target;
mod undo;

#[cfg(test)]
mod tests;

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::error::{Error, Result};
use crate::format::snapshot::Snapshot;
use crate::fs::resolve::OpenDirs;
use crate::progress::{Observer, Phase, Problem, checkpoint};
use crate::store::{SnapshotName, Store};
pub use clean::{CleanOptions, Cleaned, Removed, clean};
use commit::Staged;
pub use from_set::restore_set;
pub use open_files::Process;
use plan::{Plan, TreePlan};
use report::refuse_holders;
pub use report::{Older, Part, Report, Restored};
pub use skips::Skip;
use skips::Skips;
pub use sqlite_locks::{AskLocks, LockHolder, lock_holder};
use stage_file::Owners;
use stage_tree::{Reuse, ReuseCounts, Stage};
use staging_dir::CreatedDirs;
use staging_dirs::StagingDirs;
pub use swap::Moved;
use target::Target;
use undo::Resumed;
pub use undo::{Returned, UndoOptions, Undone, is_half_done, undo};

/// What of a snapshot is restored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum What {
    /// All that it holds.
    Whole,
    /// The database.
    DbOnly,
    /// The uploads.
    AssetsOnly,
    /// Files and directories by their raw paths in the snapshot: `assets/ab12/photo.jpg`, or `lrl.db`. All in one restore.
    Paths(Vec<Vec<u8>>),
}

/// How to restore.
#[derive(Debug, Clone)]
pub struct Options {
    /// Where `lrl.db` and `assets` go; created if it is not there.
    pub data_dir: PathBuf,
    /// Where `storage/…` goes.
    pub storage_dir: PathBuf,
    /// Which parts.
    pub what: What,
    /// Owner and group of everything that is restored, instead of the recorded ones.
    pub owner: Option<(u32, u32)>,
    /// Says what would happen and writes nothing.
    pub dry_run: bool,
    /// Restores also while processes have the files open.
    pub force: bool,
    /// Restores everything else where the store has lost something, and lists what that is. Snapshots only.
    pub skip_damaged: bool,
    /// Removes what is replaced, once all is in place and durable: there is no undo then.
    pub no_keep: bool,
    /// Finds who holds SQLite's locks; `None`: only `/proc` is asked.
    pub locks: Option<AskLocks>,
}

/// Restores from a snapshot.
pub fn restore(
    store: &Store,
    name: &SnapshotName,
    snapshot: &Snapshot,
    options: &Options,
    observer: &dyn Observer,
) -> Result<Report> {
    let owners = owners(options);
    let doors = &OpenDirs::default();
    let mut notes = resume_interrupted(doors, options)?;
    let mut plan = Plan::make(doors, store, snapshot, options, owners, observer)?;
    let mut report = Report { timestamp: snapshot.timestamp.clone(), ..Report::default() };
    report.notes.append(&mut notes);
    report.notes.append(&mut plan.notes);
    let found = plan.holders(options.locks)?;
    report.check_open_files(found, options)?;
    report.count(&plan)?;
    if options.dry_run {
        plan.skips.iter().for_each(|skips| report.skip(skips.take()));
        return Ok(report);
    }
    if plan.database.is_none() && plan.trees.is_empty() {
        return Err(nothing_left(plan.skips.as_deref()));
    }
    observer.phase(Phase::Restore, Some(report.bytes));

    let mut made = CreatedDirs::default();
    let database_owner = plan.database.as_ref().map(|(database, _)| (database.uid, database.gid));
    let home_owner = options.owner.or_else(|| database_owner.filter(|_| owners.recorded));
    let mut homes = StagingDirs::default();
    made.create(doors, &options.data_dir, home_owner)?;
    open_staging_dirs(&mut plan, doors, &mut homes, &mut made, home_owner, &mut report)?;

    let taken = ReuseCounts::default();
    let object = name.object();
    let workers = std::thread::available_parallelism().map_or(1, usize::from).clamp(1, 4);
    let pool = rayon::ThreadPoolBuilder::new().num_threads(workers).build();
    let pool = pool.map_err(|e| Error::Refused(format!("the threads of a restore cannot be started: {e}")))?;
    // Clones need no room either, and share nothing that could change on both sides.
    let take_over = match plan.take_over {
        Reuse::Link if homes.all.iter().all(|home| home.staging.can_clone()) => Reuse::Clone,
        other => other,
    };
    let lost_database = AtomicBool::new(false);
    let observer = &Either { observer, failed: AtomicBool::new(false) };
    let staged = pool.install(|| {
        let database = || {
            plan.database.as_ref().map_or(Ok(()), |(database, place)| {
                let writer = homes.writer(place, store, observer)?;
                match (stage_database::stage(&writer, homes.of(place)?, database, place, owners, &object), &plan.skips)
                {
                    (Err(error), Some(skips)) if error.is_damage() => {
                        skips.add(plan::DATABASE, 1, &error);
                        lost_database.store(true, Ordering::Relaxed);
                    }
                    (done, _) => taken.owner(done?),
                }
                Ok(())
            })
        };
        let uploads = || {
            plan.trees.iter().try_for_each(|tree| stage_tree(tree, &homes, store, owners, take_over, &taken, observer))
        };
        let (database, uploads) = rayon::join(|| observer.watch(database()), || observer.watch(uploads()));
        // Whoever stopped because of the other half's failure has the lesser reason.
        match (database, uploads) {
            (Err(Error::Interrupted), Err(other)) | (Err(other), _) | (Ok(()), Err(other)) => Err(other),
            (Ok(()), Ok(())) => Ok(()),
        }
    });
    staged?;
    if plan.skips.is_some() {
        plan.without_lost();
        if lost_database.into_inner() {
            // A database is whole or it is none: the one that is there stays.
            plan.database = None;
            report.notes.push("the snapshot's database is damaged: the one here was left alone".into());
        }
        if plan.database.is_none() && plan.trees.is_empty() {
            return Err(nothing_left(plan.skips.as_deref()));
        }
        report.count_again(&plan)?;
    }
    checkpoint(observer)?;
    homes.sync()?;
    if !options.force {
        refuse_holders(&plan.holders(options.locks)?)?;
    }
    let from = format!("snapshot {} of {}", name.id.short(), snapshot.timestamp);
    let incoming = incoming(&plan, &homes)?;
    let placed = commit::place(doors, options, from, &incoming)?;
    made.keep();
    let kept: Vec<(&Target, &[Moved])> =
        incoming.iter().zip(&placed.moved).map(|(one, moved)| (one.place, moved.as_slice())).collect();
    let dropped = if options.no_keep { Some(clean::drop_kept(doors, &options.data_dir, &kept)?) } else { None };
    report.placed(placed, plan.database.is_some());
    report.drop_kept(dropped);
    plan.skips.iter().for_each(|skips| report.skip(skips.take()));
    report.finish(take_over, &taken, owners);
    Ok(report)
}

/// Says what is damaged where that is all there is.
fn nothing_left(skips: Option<&Skips>) -> Error {
    let (skipped, _) = skips.map(Skips::take).unwrap_or_default();
    let first = skipped.into_iter().next();
    let reason = first.map_or_else(String::new, |first| format!(" ({}: {})", first.path, first.reason));
    Error::Refused(format!("everything that was asked for is damaged in this snapshot{reason}: nothing was changed"))
}

/// Interrupts one half of a restore when the other has failed.
struct Either<'a> {
    observer: &'a dyn Observer,
    failed: AtomicBool,
}

impl Either<'_> {
    fn watch(&self, done: Result<()>) -> Result<()> {
        self.failed.fetch_or(done.is_err(), Ordering::Relaxed);
        done
    }
}

impl Observer for Either<'_> {
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

fn owners(options: &Options) -> Owners {
    Owners { all: options.owner, recorded: rustix::process::geteuid().is_root() }
}

fn open_staging_dirs(
    plan: &mut Plan<'_>,
    doors: &OpenDirs,
    homes: &mut StagingDirs,
    made: &mut CreatedDirs,
    owner: Option<(u32, u32)>,
    report: &mut Report,
) -> Result<()> {
    let places =
        plan.database.iter_mut().map(|(_, place)| place).chain(plan.trees.iter_mut().map(|tree| &mut tree.place));
    for place in places {
        let was_known = place.inner.is_some();
        homes.open(place, doors, made, owner)?;
        if place.inner.is_some() && !was_known {
            report.note_contents(place)?;
        }
    }
    // Two targets may have the same name.
    for (n, tree) in plan.trees.iter_mut().enumerate() {
        tree.staged = Some(homes.of(&tree.place)?.staging.subdir(&format!("tree-{n}"))?);
    }
    Ok(())
}

/// Takes up what a dead run left half done, before anything is planned.
fn resume_interrupted(doors: &OpenDirs, options: &Options) -> Result<Vec<String>> {
    let (data_dir, storage_dir) = (&options.data_dir, &options.storage_dir);
    if options.dry_run {
        let half = is_half_done(data_dir, storage_dir)?;
        return Ok(half
            .then(|| "a restore that was killed left this half done: it would be taken back first".into())
            .into_iter()
            .collect());
    }
    let Resumed::Settled(undone) = undo::resume(doors, data_dir, storage_dir, options.force, options.locks)? else {
        return Ok(Vec::new());
    };
    let done = if undone.restored_again { "finished" } else { "taken back" };
    let mut notes = vec![format!("a change of the data directory that was killed was {done} first: {}", undone.from)];
    let kept = undone.returned.iter().flat_map(|one| &one.kept);
    notes.extend(kept.map(|(was, now)| format!("{} is kept as {}", was.display(), now.display())));
    notes.extend(undone.notes);
    Ok(notes)
}

fn incoming<'a>(plan: &'a Plan<'_>, homes: &'a StagingDirs) -> Result<Vec<Staged<'a>>> {
    // Uploads first: every row of the database then finds its file the moment it is there.
    let trees = plan.trees.iter().map(|tree| Ok((&tree.place, tree.part, tree.staged()?.0)));
    let database = plan.database.iter().map(|(_, place)| Ok((place, Part::Database, &homes.of(place)?.staging.dir)));
    trees
        .chain(database)
        .map(|one: Result<_>| one.map(|(place, part, from)| Staged { place, part, from, name: &place.name }))
        .collect()
}

fn stage_tree(
    plan: &TreePlan<'_>,
    homes: &StagingDirs,
    store: &Store,
    owners: Owners,
    take_over: Reuse,
    taken: &ReuseCounts,
    observer: &dyn Observer,
) -> Result<()> {
    let (dir, path) = plan.staged()?;
    let stage = Stage {
        tree: &plan.tree,
        dir,
        path,
        old: plan.place.old_tree(),
        take_over,
        writer: homes.writer(&plan.place, store, observer)?,
        owners,
        taken,
        lost: &plan.lost,
    };
    stage.write(&plan.weight)
}
