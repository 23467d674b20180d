//! The verb `backup`: one snapshot of the source, and the set that the manual documents. This file is the product's road on one screen.

pub(super) mod database;
mod dry_run;
pub(super) mod files;
mod full_scan;
mod history;
mod image_buffer;
mod losses;
mod options;
mod page_moves;
mod report;
mod roots;
mod shrink;
#[cfg(test)]
pub(super) mod tests;
mod write_set;

pub use dry_run::{Amount, DatabasePlan, Plan, UploadsPlan, plan};
pub use full_scan::FullScan;
pub(super) use history::{History, all_timestamps};
pub(super) use losses::{KnownLosses, survey};
pub use options::{Options, SETTLE};
pub use report::{AssetsOutput, DatabaseOutput, DatabaseRead, Distrust, Report, SetOutput, UploadsRead};

use crate::error::{Error, Result};
use crate::format::snapshot::{self, Snapshot};
use crate::fs::lock;
use crate::fs::lock::LockMode;
use crate::fs::temp_file;
use crate::id::{PackId, RepairId};
use crate::ops::judgement::Checks;
use crate::ops::problem::report;
pub use crate::ops::sets::report::{Kept, Removed, Sets};
use crate::progress::{Observer, Phase, Problem};
use crate::set::retention::Parts;
use crate::store::repair::quarantine::repair_name;
use crate::store::run_cache::RunCache;
use crate::store::write::WriteSession;
use crate::store::{Store, is_source_name, pack_name};
use crate::time::{is_future, time_of};

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
    if storage.is_remote() {
        store.reload_candidates()?;
    }
    let history = History::read(store, &options.source)?;
    if history.depends_on_pending_deletion(session)? {
        session.check_each_chunk();
    }
    let timestamp = history.free_timestamp(store, options)?;
    // Beside the store, as in a plain directory, the cache would be set back with it.
    let keeps_watch = storage.is_remote() || storage.keys().is_some();
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
        store.look_again()?;
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
        let retire =
            crate::ops::sets::RemovePolicy::new(store, &options.source, out, options.keep_sets, cache, &lost, observer);
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
        return Err(options.nothing_there());
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
    snapshot.shrunk = history.baseline.shrunk(&snapshot, options);
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
        let retire = crate::ops::sets::RemovePolicy::new(
            session.store(),
            &options.source,
            out,
            options.keep_sets,
            cache,
            lost,
            observer,
        );
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

/// A snapshot names so many of its problems; the run's report names all.
const MAX_PROBLEMS: usize = 100;
