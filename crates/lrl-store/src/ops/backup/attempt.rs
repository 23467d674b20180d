//! One attempt at a snapshot: both parts stored durably, and the set staged. It is made again, with less trust, where the store shows damage
//! meanwhile, or where a prune has overtaken the run.

use super::context::Context;
use super::earlier::Earlier;
use super::history::History;
use super::publish_set::StagedSet;
use super::report::{DatabaseRead, UploadsRead};
use super::{database, files, stage_set};
use crate::error::{Error, Result};
use crate::format::snapshot::{self, Snapshot};
use crate::id::PackId;
use crate::ops::sets::RemovePolicy;
use crate::ops::sets::report::Removed;
use crate::progress::{Phase, Problem};
use crate::set::retention::Parts;
use crate::store::write::Trust;
use crate::time::time_of;

/// A run that took long looks again up to this many times at what it depends on.
const LATE_TRIES: u32 = 3;
/// A snapshot names up to this many of its problems; the run's report names all.
const MAX_PROBLEMS: usize = 100;

/// What is ready to be published.
pub(super) struct Attempt {
    pub snapshot: Snapshot,
    pub staged: Option<Result<StagedSet>>,
    /// Older sets that were removed so that this one fits.
    pub removed: Vec<Removed>,
    pub database_read: Option<DatabaseRead>,
    pub uploads_read: UploadsRead,
    pub problems: Vec<Problem>,
}

/// Stores both parts and stages the set, as often as needed. `lost` are the packs that are known to be lost.
pub(super) fn attempt(context: Context<'_>, history: &History, timestamp: &str, lost: &[PackId]) -> Result<Attempt> {
    let Context { session, .. } = context;
    let store = session.store();
    let again = |before: Attempt, trust: Trust| -> Result<Attempt> {
        session.lower_trust(trust);
        let mut made = make(context, history, timestamp, lost)?;
        // What the first try removed for free space stays removed.
        made.removed.splice(..0, before.removed);
        Ok(made)
    };
    let mut made = make(context, history, timestamp, lost)?;
    if let Some(Err(Error::Corrupt { .. } | Error::Missing { .. })) = made.staged {
        // The archive shows that the store has damage below this snapshot: what cannot be read is stored again.
        made = again(made, Trust::ReadEverything)?;
    }
    for _ in 0..LATE_TRIES {
        if !store.is_late()? {
            break;
        }
        store.recheck()?;
        if session.snapshot_depends_on_pending_deletion(&made.snapshot)? {
            // Meanwhile a prune has scheduled for deletion, or deleted, some of what this run found in the store.
            made = again(made, Trust::CheckEachChunk)?;
        }
    }
    Ok(made)
}

/// Returns the set as it was staged, unless what was stored earlier could not be read back for it: then the snapshot would not be whole, and
/// must not be listed.
pub(super) fn listable(staged: Option<Result<StagedSet>>) -> Result<Option<Result<StagedSet>>> {
    match staged {
        Some(Err(e @ (Error::Interrupted | Error::Remote { .. } | Error::Corrupt { .. } | Error::Missing { .. }))) => {
            Err(e)
        }
        staged => Ok(staged),
    }
}

/// Stores both parts durably and stages the set.
fn make(context: Context<'_>, history: &History, timestamp: &str, lost: &[PackId]) -> Result<Attempt> {
    let Context { session, cache, options, observer } = context;
    let mut problems = Vec::new();
    let size = options.database.as_ref().and_then(|path| path.metadata().ok()).map(|meta| meta.len());
    observer.phase(Phase::Database, size);
    let database = database::store(context, history, &mut problems)?;
    observer.phase(Phase::Uploads, None);
    let uploads = files::store(context, history, &mut problems)?;
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
        database: database.as_ref().map(|part| part.record.clone()),
        uploads: uploads.as_ref().map(|part| part.record.clone()),
        problems: problems.iter().filter(|problem| problem.lost).take(MAX_PROBLEMS).cloned().collect(),
        shrunk: Vec::new(),
    };
    snapshot.shrunk = history.baseline.shrunk(&snapshot, options);
    let database_is_there = database.is_some();
    // The archive is written from the store, so it proves that what was just stored can be read back; its digest is part of the snapshot.
    let (mut staged_image, database_read) = database.map_or((None, None), |part| (part.staged, part.read));
    let same_database =
        snapshot.database.as_ref().map(|part| part.root) == history.database.as_ref().map(|(_, part)| part.root);
    let same_uploads =
        snapshot.uploads.as_ref().map(|part| part.list) == history.uploads.as_ref().map(|(_, part)| part.list);
    let earlier = Earlier::new(context, same_database && same_uploads);
    let mut stage = |out| {
        let target = session.store().target(out, options.reserve)?;
        stage_set::stage(session.store(), earlier, history, &mut snapshot, staged_image.take(), &target, observer)
    };
    let mut staged = options.out.as_deref().map(&mut stage);
    let mut removed = Vec::new();
    if let (Some(out), Some(Err(error))) = (options.out.as_deref(), &staged)
        && error.is_full()
    {
        let policy = RemovePolicy::new(session.store(), &options.source, out, options.keep_sets, cache, lost, observer);
        let parts = Parts { database: database_is_there, uploads: uploads.is_some() };
        removed = policy.make_space(parts, &mut problems)?;
        if !removed.is_empty() {
            staged = Some(stage(out));
        }
    }
    if let Some(Ok(staged)) = &mut staged {
        problems.append(&mut staged.notes);
    }
    let uploads_read = uploads.map(|part| part.read).unwrap_or_default();
    Ok(Attempt { snapshot, staged, removed, database_read, uploads_read, problems })
}
