//! The verb `backup`: one snapshot of the source, and the set that the manual documents. This file is the product's road on one screen.

pub(super) mod database;
mod dry_run;
pub(super) mod files;
mod full_scan;
mod image_buffer;
mod page_moves;
mod shrink;
#[cfg(test)]
pub(super) mod tests;
mod write_set;

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use crate::error::{Error, Result};
use crate::format::snapshot::{self, Snapshot};
use crate::fs::lock;
use crate::fs::lock::LockMode;
use crate::fs::space::Reserve;
use crate::fs::temp_file;
use crate::id::{PackId, RepairId, SnapshotId};
use crate::ops::judgement::Checks;
pub use crate::ops::sets::{Kept, Removed, Sets};
use crate::progress::{Observer, Phase, Problem};
use crate::set::layout::Names;
use crate::set::retention::Parts;
use crate::source::files::exclude::Excludes;
use crate::source::files::walk::Root;
use crate::store::repair::quarantine::repair_name;
use crate::store::run_cache::RunCache;
use crate::store::write::WriteSession;
use crate::store::{MissingPacks, SnapshotName, Store, is_source_name, pack_name};
use crate::time::Time;
use crate::time::is_future;
use crate::time::time_of;
pub use dry_run::{Amount, DatabasePlan, Plan, UploadsPlan, plan};
pub use files::Read as UploadsRead;
pub use full_scan::FullScan;
use shrink::Baseline;
pub use write_set::{AssetsOutput, DatabaseOutput, SetOutput};

/// What to back up and how.
pub struct Options {
    /// The database file; `None` leaves it out.
    pub database: Option<PathBuf>,
    /// The uploads' directories by name; `None` leaves them out.
    pub uploads: Option<Vec<Root>>,
    /// Directories that are never walked (the backup directory, the store), and files that are no uploads (the database).
    pub skip: Vec<PathBuf>,
    /// What is left out of the uploads.
    pub excludes: Excludes,
    /// Where the set goes; `None` makes no set.
    pub out: Option<PathBuf>,
    /// A directory on which temporary copies of the database fit.
    pub scratch: PathBuf,
    /// The named source that the snapshot belongs to.
    pub source: String,
    /// Words for people.
    pub tags: Vec<String>,
    /// The machine's name.
    pub host: String,
    /// The program's name and version.
    pub program: String,
    /// Reads everything, whatever the cache says.
    pub rescan: bool,
    /// Reads everything as well if the last time is so long ago; `None`: never.
    pub rescan_every: Option<Duration>,
    /// Marks the snapshot as suspect if more than this share of its files, their bytes or the database's pages in use is gone, in percent; 0
    /// measures nothing.
    pub max_shrink_percent: u8,
    /// Takes the snapshot as it is, however much smaller it is: what follows is measured against it.
    pub accept_shrink: bool,
    /// Uploads whose times are younger than this are read again by the next run; at least two seconds. See [`SETTLE`].
    pub settle: Duration,
    /// So many sets of each half stay in `out` once this one is written; `None`: all.
    pub keep_sets: Option<NonZeroUsize>,
    /// What stays free on the disks of `out` and `scratch`; the storage has its own guard.
    pub reserve: Reserve,
    /// How long to wait for another run.
    pub lock_wait: Duration,
    /// How long to wait for the database's own lock.
    pub busy: Duration,
    /// The moment of the run.
    pub now: SystemTime,
}

/// A file may change without a change of its times while they are younger than this. Two seconds cover the grain of every file system's
/// clock. A write through a mapping sets the times only when the page becomes dirty, and further writes show once the kernel has written the page
/// back: after `dirty_expire_centisecs` and `dirty_writeback_centisecs`, 30 s and 5 s by default. On tmpfs it never does.
pub const SETTLE: Duration = Duration::from_secs(40);
/// Shorter than this proves nothing, whatever is asked for.
const GRAIN: Duration = Duration::from_secs(2);

/// What a run did.
#[derive(Debug)]
pub struct Report {
    /// The new snapshot's name.
    pub name: SnapshotName,
    /// The new snapshot.
    pub snapshot: Snapshot,
    /// Bytes of objects that the run added to the store, the snapshot included.
    pub added_bytes: u64,
    /// How the database was read; `None` if it was provably unchanged or not asked for.
    pub database_read: Option<DatabaseRead>,
    /// How much of the uploads was read.
    pub uploads_read: UploadsRead,
    /// Why everything was read, if it was.
    pub full_scan: Option<FullScan>,
    /// The failed drill or check because of which everything was read, and stored again where the store has lost it.
    pub distrust: Option<Distrust>,
    /// The set, if one was asked for and written.
    pub set: Option<SetOutput>,
    /// Why the set that was asked for is not there.
    pub set_error: Option<Error>,
    /// The backup directory's sets, if this one's was written.
    pub sets: Option<Sets>,
    /// A snapshot that was there when this machine looked last, and the newest of its source, and is there no more.
    pub vanished: Option<(u64, SnapshotId)>,
    /// The caller asked to stop when all was written, before the older sets were looked at.
    pub interrupted: bool,
    /// What is missing from the result, and notes.
    pub problems: Vec<Problem>,
}

/// A record that says that what the store holds may be wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Distrust {
    /// The last drill of the source failed.
    Drill(Time),
    /// The last check of the store found something wrong.
    Check(Time),
}

/// How the database was read.
#[derive(Debug, Clone)]
pub struct DatabaseRead {
    /// For how long the application could not write.
    pub locked: Duration,
    /// By which means.
    pub method: crate::source::database::Method,
    /// Why its schema could not be read; the copy is kept, unverified.
    pub schema_error: Option<String>,
    /// Its contents differ from the parent's though its state says that they cannot: see [`FullScan`].
    pub changed_unseen: bool,
}

/// Backs the source up into `store`.
pub fn backup(store: &Store, options: &Options, observer: &dyn Observer) -> Result<Report> {
    if !is_source_name(&options.source) {
        return Err(Error::Refused(format!(
            "`{}` cannot be a source's name: use letters, digits, `-`, `_`, `.`",
            options.source
        )));
    }
    let storage = store.storage();
    let interrupted = || observer.interrupted();
    let _one_run =
        storage.lock(&format!("lock-{}", options.source), LockMode::Exclusive, options.lock_wait, &interrupted)?;
    let _one_set =
        options.out.as_deref().map(|out| lock::lock_dir(out, options.lock_wait, &interrupted)).transpose()?;
    storage.reclaim()?;
    let out = options.out.as_deref().filter(|out| *out != options.scratch);
    [Some(options.scratch.as_path()), out]
        .into_iter()
        .flatten()
        .try_for_each(|dir| temp_file::reclaim(dir).map(drop))?;
    let cache = storage.cache_dir().and_then(|dir| RunCache::open(&dir));
    let cache = cache.filter(|cache| cache.begin(storage.space().bytes()).is_ok());
    let session = WriteSession::new(store);
    let done = run(&session, cache.as_ref(), options, observer);
    if done.as_ref().is_err_and(Error::is_full) {
        session.take_back();
    }
    done
}

/// Backs up, all locks being held.
fn run(
    session: &WriteSession<'_>,
    cache: Option<&RunCache>,
    options: &Options,
    observer: &dyn Observer,
) -> Result<Report> {
    let store = session.store();
    let storage = store.storage();
    if !storage.capabilities().exclusive_lock {
        store.reload_pending_deletions()?;
    }
    let history = History::read(store, &options.source)?;
    if history.depends_on_pending_deletion(session)? {
        session.check_each_chunk();
    }
    let timestamp = history.free_timestamp(store, options)?;
    // Beside the store, as in a plain directory, the cache would be set back with it.
    let keeps_watch = storage.capabilities().cost_per_request || storage.keys().is_some();
    let known = cache.filter(|_| keeps_watch).and_then(|cache| cache.newest(&options.source));
    let vanished = known.filter(|known| !history.has(*known));
    let mut notes = Vec::new();
    let full_scan = full_scan::due(cache, &history, options);
    let KnownLosses { lost, repairs } = match full_scan::looks_at_packs(store, cache, full_scan) {
        true => survey(store, &mut notes, observer)?,
        false => KnownLosses::default(),
    };
    let distrust = distrust(store, cache, options)?;
    let healing: Vec<RepairId> =
        repairs.iter().filter(|id| full_scan::heals(cache, options, id.as_bytes())).copied().collect();
    let reads_store = full_scan::reads_store(store, full_scan);
    if reads_store
        || distrust.is_some()
        || !healing.is_empty()
        || lost.iter().any(|id| full_scan::heals(cache, options, id.as_bytes()))
    {
        // Nothing is taken over unread, neither from the source nor from the store: what the store has lost is stored again.
        session.doubt();
    }
    let make = || make(session, cache, &history, &timestamp, &lost, options, observer);
    // What was removed for the first try's room stays removed.
    let again = |before: Attempt| -> Result<Attempt> {
        let mut made = make()?;
        made.removed.splice(..0, before.removed);
        Ok(made)
    };
    let mut made = make()?;
    if let Some(Err(Error::Corrupt { .. } | Error::Missing { .. })) = made.staged {
        // The archive shows that the store has damage below this snapshot: once more, and what cannot be read is stored again.
        session.doubt();
        made = again(made)?;
    }
    for _ in 0..LATE_TRIES {
        if !store.is_late()? {
            break;
        }
        store.recheck()?;
        if session.snapshot_depends_on_pending_deletion(&made.snapshot)? {
            // It took so long that a prune has written down, or deleted, some of what it found in the store.
            session.check_each_chunk();
            made = again(made)?;
        }
    }
    let Attempt { snapshot, staged, removed, database_read, uploads_read, mut problems } = made;
    problems.append(&mut notes);
    for id in &healing {
        let path = storage.object_location(&repair_name(id));
        let reason =
            "says what a repair found lost: this run reads everything, and stores again what the source still has";
        report(&mut problems, observer, path.as_ref(), reason, false);
    }
    for pack in &lost {
        let path = storage.object_location(&pack_name(pack));
        let reason = "is missing or cut short: this snapshot does without it, earlier ones may have lost files; `lrl check` tells";
        report(&mut problems, observer, path.as_ref(), reason, false);
    }
    let staged = match staged {
        // What was stored earlier cannot be read back, so this snapshot would not be whole: it must not be listed.
        Some(Err(e @ (Error::Interrupted | Error::Remote { .. } | Error::Corrupt { .. } | Error::Missing { .. }))) => {
            return Err(e);
        }
        staged => staged,
    };
    let snapshot = Snapshot { added_bytes: Some(session.added_bytes()), ..snapshot };
    let (name, bytes) = store.publish(&snapshot)?;
    session.count_bytes(bytes);
    let published = staged.map(|staged| write_set::publish(staged?, &name, &snapshot, cache));
    let written = published.as_ref().is_some_and(Result::is_ok);
    let looked = options.out.as_deref().filter(|_| written).map(|out| {
        let retire = crate::ops::sets::RemovePolicy::new(store, options, out, cache, &lost, observer);
        retire.after(&name, &snapshot, removed, &mut problems)
    });
    let interrupted = matches!(looked, Some(Err(Error::Interrupted)));
    let sets = looked.and_then(Result::ok).flatten();
    full_scan::note(cache, options, &snapshot, database_read.is_some(), uploads_read.files_proved);
    if let Some(cache) = cache {
        let ids = lost.iter().map(|id| *id.as_bytes()).chain(repairs.iter().map(|id| *id.as_bytes()));
        let ids = ids.chain(distrust.map(|(_, id)| id));
        full_scan::note_healed(cache, &snapshot, ids);
        let _ = cache.put_newest(&options.source, Some((name.sequence, name.id)));
        let _ = full_scan::note_indexes(store, cache).and_then(|()| cache.commit());
    }
    let (set, set_error) = match published {
        None => (None, None),
        Some(Ok(set)) => (Some(set), None),
        Some(Err(e)) => (None, Some(e)),
    };
    let added_bytes = session.added_bytes();
    Ok(Report {
        name,
        snapshot,
        added_bytes,
        database_read,
        uploads_read,
        full_scan,
        distrust: distrust.map(|(why, _)| why),
        set,
        set_error,
        sets,
        vanished,
        interrupted,
        problems,
    })
}

/// So often a run that took long looks again at what it relies on.
const LATE_TRIES: u32 = 3;

/// What is ready to be published.
struct Attempt {
    snapshot: Snapshot,
    staged: Option<Result<write_set::StagedSet>>,
    /// Older sets that went so that this one fits.
    removed: Vec<Removed>,
    database_read: Option<DatabaseRead>,
    uploads_read: UploadsRead,
    problems: Vec<Problem>,
}

/// Stores both halves durably and stages the set.
fn make(
    session: &WriteSession<'_>,
    cache: Option<&RunCache>,
    history: &History,
    timestamp: &str,
    lost: &[PackId],
    options: &Options,
    observer: &dyn Observer,
) -> Result<Attempt> {
    let mut problems = Vec::new();
    let size = options.database.as_ref().and_then(|path| path.metadata().ok()).map(|meta| meta.len());
    observer.phase(Phase::Database, size);
    let database = database::keep(session, cache, history, options, &mut problems, observer)?;
    observer.phase(Phase::Uploads, None);
    let uploads = files::keep(session, cache, history, options, &mut problems, observer)?;
    if database.is_none() && uploads.is_none() {
        return Err(nothing_there(options));
    }
    session.seal()?;

    let mut snapshot = Snapshot {
        format: snapshot::VERSION,
        source: options.source.clone(),
        sequence: history.next_sequence,
        parents: history.parents(database.is_some(), uploads.is_some()),
        timestamp: timestamp.into(),
        created: time_of(options.now),
        host: options.host.clone(),
        tags: options.tags.clone(),
        program: options.program.clone(),
        packs: session.packs(),
        original: None,
        avoids: Vec::new(),
        added_bytes: None,
        database: database.as_ref().map(|half| half.record.clone()),
        uploads: uploads.as_ref().map(|half| half.record.clone()),
        problems: problems.iter().filter(|p| p.lost).take(MAX_PROBLEMS).cloned().collect(),
        shrunk: Vec::new(),
    };
    snapshot.shrunk = shrink::found(history, &snapshot, options);
    let database_is_there = database.is_some();
    // The archive is written from the store, so it proves that what was just stored can be read back; its digest is part of the snapshot.
    let (mut staged_image, database_read) = database.map_or((None, None), |half| (half.staged, half.read));
    let same_database =
        snapshot.database.as_ref().map(|half| half.root) == history.database.as_ref().map(|(_, half)| half.root);
    let same_uploads =
        snapshot.uploads.as_ref().map(|half| half.list) == history.uploads.as_ref().map(|(_, half)| half.list);
    let distrust = session.doubts() || options.rescan;
    let earlier = write_set::Earlier::new(cache, options, distrust, same_database && same_uploads);
    let mut stage = |out| {
        let target = session.store().target(out, options.reserve)?;
        write_set::stage(session.store(), earlier, history, &mut snapshot, staged_image.take(), &target, observer)
    };
    let mut staged = options.out.as_deref().map(&mut stage);
    let mut removed = Vec::new();
    if let (Some(out), Some(Err(error))) = (options.out.as_deref(), &staged)
        && error.is_full()
    {
        let retire = crate::ops::sets::RemovePolicy::new(session.store(), options, out, cache, lost, observer);
        let halves = Parts { database: database_is_there, uploads: uploads.is_some() };
        removed = retire.make_room(halves, &mut problems)?;
        if !removed.is_empty() {
            staged = Some(stage(out));
        }
    }
    if let Some(Ok(staged)) = &mut staged {
        problems.append(&mut staged.notes);
    }
    let uploads_read = uploads.map(|half| half.read).unwrap_or_default();
    Ok(Attempt { snapshot, staged, removed, database_read, uploads_read, problems })
}

/// What a run knows of the store's losses before it relies on it.
#[derive(Default)]
pub(super) struct KnownLosses {
    /// Packs that the index names and that cannot be whole.
    pub lost: Vec<PackId>,
    /// Records of repairs that found something lost.
    pub repairs: Vec<RepairId>,
}

/// Looks for packs that are lost; writes an index again that is.
pub(super) fn survey(store: &Store, problems: &mut Vec<Problem>, observer: &dyn Observer) -> Result<KnownLosses> {
    let MissingPacks { lost, unlisted, repairs } = store.find_missing()?;
    let listed_again = store.list_again(unlisted, observer)?;
    if listed_again > 0 {
        let path = store.storage().object_location("index");
        let reason =
            format!("did not list {listed_again} packs that snapshots name: an index was lost, and is written again");
        report(problems, observer, path.as_ref(), &reason, false);
    }
    Ok(KnownLosses { lost, repairs })
}

/// What a snapshot says where the database was asked for and is not there.
pub const DATABASE_NOT_FOUND: &str = "Database not found";

/// Returns the failed drill or check that no backup of this machine has answered yet by reading everything.
fn distrust(store: &Store, cache: Option<&RunCache>, options: &Options) -> Result<Option<(Distrust, [u8; 32])>> {
    if !store.can_read() {
        return Ok(None);
    }
    let now = time_of(options.now);
    let drill = store.last_drill(&options.source)?;
    let drill = drill.filter(|(_, drill)| !drill.passed && !is_future(drill.finished, now));
    let check = Checks::read(store, now)?.last.filter(|check| !check.passed);
    let found = drill
        .map(|(id, drill)| (Distrust::Drill(drill.finished), *id.as_bytes()))
        .into_iter()
        .chain(check.map(|check| (Distrust::Check(check.time), *check.id.as_bytes())));
    Ok(found.into_iter().find(|(_, id)| full_scan::heals(cache, options, id)))
}

/// Both halves are missing: that is no backup.
fn nothing_there(options: &Options) -> Error {
    let first_root = || options.uploads.as_ref().and_then(|roots| Some(roots.first()?.path.clone()));
    Error::Source {
        path: options.database.clone().or_else(first_root).unwrap_or_default(),
        detail: "nothing to back up is there; look at --data-dir".into(),
    }
}

/// A snapshot names so many of its problems; the run's report names all.
const MAX_PROBLEMS: usize = 100;

/// Returns the uploads' directories that are there; those that are not are problems.
fn roots_there(roots: &[Root], problems: &mut Vec<Problem>, observer: &dyn Observer) -> Vec<Root> {
    let (there, gone): (Vec<Root>, Vec<Root>) = roots.iter().cloned().partition(|root| root.path.is_dir());
    for root in gone {
        report(problems, observer, &root.path, "Assets directory not found", true);
    }
    there
}

/// Adds a problem to the report and tells the observer.
pub(crate) fn report(
    problems: &mut Vec<Problem>,
    observer: &dyn Observer,
    path: &std::path::Path,
    reason: &str,
    lost: bool,
) {
    let problem = Problem { path: path.display().to_string(), reason: reason.into(), lost };
    observer.problem(&problem);
    problems.push(problem);
}

/// So many seconds at most are runs ahead of the clock that follow each other at once.
const FEW_AHEAD: i64 = 5;
/// So many of the newest snapshots are looked through for the one that a machine knew.
const MOST_LISTED: usize = 4096;

/// What the source's earlier snapshots say: the next place in the sequence, and what each half is compared with.
pub(super) struct History {
    pub next_sequence: u64,
    /// The newest that are listed, in order.
    listed: Vec<(u64, SnapshotId)>,
    newest_stamp: Option<String>,
    pub database: Option<(SnapshotId, snapshot::Database)>,
    uploads: Option<(SnapshotId, snapshot::Uploads)>,
    /// What the new snapshot is measured against.
    baseline: Baseline,
    /// One of them may lean on what is to be deleted: its run did not know of that yet.
    is_unsure: bool,
}

impl History {
    /// That of a source without a snapshot.
    pub fn none() -> Self {
        Self {
            next_sequence: 1,
            listed: Vec::new(),
            newest_stamp: None,
            database: None,
            uploads: None,
            baseline: Baseline::default(),
            is_unsure: false,
        }
    }

    pub fn read(store: &Store, source: &str) -> Result<Self> {
        let mut names = store.newest_snapshot_names(source)?;
        let next_sequence = store.highest_sequence(source, &names)?.checked_add(1);
        let next_sequence = next_sequence
            .ok_or_else(|| Error::corrupt(store.storage().location(), "holds a snapshot of the last number"))?;
        // Of a long history the newest: what this machine saw last is among them.
        let newest = names.iter().skip(names.len().saturating_sub(MOST_LISTED));
        let listed = newest.map(|name| (name.sequence, name.id)).collect();
        let mut history = Self {
            next_sequence,
            listed,
            newest_stamp: None,
            database: None,
            uploads: None,
            baseline: Baseline::default(),
            is_unsure: false,
        };
        history.look(store, &names)?;
        let first = names.first().filter(|first| first.sequence > 1 && !history.is_whole()).cloned();
        if let Some(first) = first {
            names = store.snapshot_names(Some(source))?;
            names.retain(|name| *name < first);
            history.look(store, &names)?;
        }
        Ok(history)
    }

    /// Says whether a snapshot that was once the newest is still there, or in quarantine. A listing that begins behind it begins with one that
    /// this machine has seen since.
    fn has(&self, known: (u64, SnapshotId)) -> bool {
        let Some((first, last)) = self.listed.first().zip(self.listed.last()) else {
            return known.0 < self.next_sequence;
        };
        let is_aside = last.0 < known.0 && known.0 < self.next_sequence;
        known.0 < first.0 || is_aside || self.listed.contains(&known)
    }

    fn is_whole(&self) -> bool {
        self.database.is_some() && self.uploads.is_some() && self.baseline.is_whole()
    }

    /// Looks at snapshots, the newest first, until both halves are found, and of each one that is good.
    fn look(&mut self, store: &Store, names: &[SnapshotName]) -> Result<()> {
        for name in names.iter().rev() {
            // A damaged snapshot is no parent; the new one is complete without it.
            let snapshot = match store.snapshot(name) {
                Err(Error::Corrupt { .. } | Error::Missing { .. } | Error::WriteOnly { .. }) => continue,
                other => other?,
            };
            let gives = |had: bool, has: bool| !had && has;
            if gives(self.database.is_some(), snapshot.database.is_some())
                || gives(self.uploads.is_some(), snapshot.uploads.is_some())
            {
                self.is_unsure |= !store.pending_deletions()?.are_avoided_by(&snapshot);
            }
            self.baseline.look(name, &snapshot);
            self.newest_stamp.get_or_insert(snapshot.timestamp);
            self.database = self.database.take().or(snapshot.database.map(|half| (name.id, half)));
            self.uploads = self.uploads.take().or(snapshot.uploads.map(|half| (name.id, half)));
            if self.is_whole() {
                break;
            }
        }
        Ok(())
    }

    /// Says whether what could be taken over from here leans on what is to be deleted.
    pub fn depends_on_pending_deletion(&self, session: &WriteSession<'_>) -> Result<bool> {
        let database = self.database.as_ref().map(|(_, half)| &half.root);
        Ok(self.is_unsure
            && session.depends_on_pending_deletion(database, self.uploads.as_ref().map(|(_, half)| &half.list))?)
    }

    pub fn parents(&self, database: bool, uploads: bool) -> Vec<SnapshotId> {
        let database = self.database.as_ref().filter(|_| database).map(|(id, _)| *id);
        let uploads = self.uploads.as_ref().filter(|_| uploads).map(|(id, _)| *id);
        let mut parents: Vec<_> = database.into_iter().chain(uploads).collect();
        parents.dedup();
        parents
    }

    /// Finds the first second from now on that no snapshot of the source and no set in the directory has.
    fn free_timestamp(&self, store: &Store, options: &Options) -> Result<String> {
        // Only a clock that went back makes a look at every snapshot necessary.
        let mut taken = None;
        let mut second = time_of(options.now).secs;
        // Runs that follow each other at once are ahead of the clock: what comes after the newest is free as it would be then.
        let is_newest = |ahead: &i64| Time { secs: second + ahead, nanos: 0 }.stamp() == self.newest_stamp;
        second += (0..=FEW_AHEAD).find(is_newest).map_or(0, |ahead| ahead + 1);
        loop {
            let stamp = Time { secs: second, nanos: 0 }.stamp();
            let stamp = stamp.ok_or_else(|| Error::Refused("the clock shows a year that cannot be written".into()))?;
            let in_source = match &self.newest_stamp {
                Some(newest) if stamp <= *newest => {
                    if taken.is_none() {
                        taken = Some(all_timestamps(store, &options.source)?);
                    }
                    taken.as_ref().is_some_and(|taken| taken.contains(&stamp))
                }
                _ => false,
            };
            let in_out = options.out.as_ref().is_some_and(|out| Names::new(out, &stamp).is_taken());
            if !in_source && !in_out {
                return Ok(stamp);
            }
            second += 1;
        }
    }
}

/// Returns the timestamps of all of a source's snapshots.
pub(super) fn all_timestamps(store: &Store, source: &str) -> Result<std::collections::HashSet<String>> {
    let names = store.snapshot_names(Some(source))?;
    Ok(names.iter().filter_map(|name| store.snapshot(name).ok()).map(|snapshot| snapshot.timestamp).collect())
}
