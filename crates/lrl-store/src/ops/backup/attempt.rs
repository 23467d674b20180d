//! One attempt at a snapshot: both parts stored durably, and the set staged. It is made again, with less trust, where the store shows damage
//! meanwhile, or where a prune has overtaken the run.

use std::collections::BTreeMap;
use std::path::Path;

use super::context::Context;
use super::databases::{self, DatabaseParts};
use super::earlier::Earlier;
use super::files::{self, FilesOutcome};
use super::history::History;
use super::publish_set::StagedSet;
use super::report::{DatabaseRead, UploadsRead};
use super::{roots, stage_set};
use crate::error::{Error, Result};
use crate::format::snapshot::{self, Snapshot};
use crate::id::PackId;
use crate::ops::report_problem::report;
use crate::ops::sets::RemovePolicy;
use crate::ops::sets::report::Removed;
use crate::progress::{Phase, Problem};
use crate::set::retention::Parts;
use crate::source::database::source::DatabaseSource;
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
    pub databases_read: BTreeMap<Vec<u8>, DatabaseRead>,
    pub uploads_read: UploadsRead,
    pub problems: Vec<Problem>,
}

/// Stores both parts and stages the set, as often as needed. `lost` are the packs that are known to be lost.
pub(super) fn attempt(context: Context<'_>, history: &History, timestamp: &str, lost: &[PackId]) -> Result<Attempt> {
    let Context { session, .. } = context;
    let store = session.store();
    let mut notes = Vec::new();
    let mut sources = databases::sources(history, context.options, &mut notes, context.observer)?;
    let again = |before: Attempt, trust: Trust, sources: &mut Vec<DatabaseSource>| -> Result<Attempt> {
        session.lower_trust(trust);
        let mut made = make_found(context, history, sources, timestamp, lost)?;
        // What the first try removed for free space stays removed.
        made.removed.splice(..0, before.removed);
        Ok(made)
    };
    let mut made = make_found(context, history, &mut sources, timestamp, lost)?;
    if let Some(Err(Error::Corrupt { .. } | Error::Missing { .. })) = made.staged {
        // The archive shows that the store has damage below this snapshot: what cannot be read is stored again.
        made = again(made, Trust::ReadEverything, &mut sources)?;
    }
    for _ in 0..LATE_TRIES {
        if !store.is_late()? {
            break;
        }
        store.recheck()?;
        if session.snapshot_depends_on_pending_deletion(&made.snapshot)? {
            // Meanwhile a prune has scheduled for deletion, or deleted, some of what this run found in the store.
            made = again(made, Trust::CheckEachChunk, &mut sources)?;
        }
    }
    made.problems.append(&mut notes);
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

/// Makes an attempt, and where it finds databases among the files another one, in which they are read before the files.
fn make_found(
    context: Context<'_>,
    history: &History,
    sources: &mut Vec<DatabaseSource>,
    timestamp: &str,
    lost: &[PackId],
) -> Result<Attempt> {
    loop {
        match make(context, history, sources, timestamp, lost)? {
            Made::Attempt(attempt) => return Ok(*attempt),
            Made::Found(found) => *sources = databases::in_order([std::mem::take(sources), found].concat())?,
        }
    }
}

/// How an attempt ended.
enum Made {
    Attempt(Box<Attempt>),
    /// These are among the files.
    Found(Vec<DatabaseSource>),
}

/// Stores both parts durably and stages the set.
fn make(
    context: Context<'_>,
    history: &History,
    sources: &[DatabaseSource],
    timestamp: &str,
    lost: &[PackId],
) -> Result<Made> {
    let Context { session, cache, options, observer } = context;
    let mut problems = Vec::new();
    let sizes = sources.iter().map(|source| source.file.metadata().ok().map(|meta| meta.len()));
    observer.phase(Phase::Database, sizes.sum());
    let DatabaseParts { parts, window } = match options.asks_databases() {
        true => databases::store(context, history, sources, &mut problems)?,
        false => DatabaseParts::default(),
    };
    // As many as last time, or nearly so.
    observer.phase(Phase::Uploads, history.uploads.as_ref().map(|(_, files)| files.bytes));
    let root = roots::root_dir(options, &mut problems, observer);
    let FilesOutcome { part: uploads, found } = files::store(context, history, sources, &mut problems)?;
    if !found.is_empty() {
        return Ok(Made::Found(found));
    }
    if parts.is_empty() && uploads.is_none() {
        return Err(options.nothing_there());
    }
    if let (true, Some(files), Some(root)) = (parts.is_empty() && options.asks_databases(), &uploads, &root)
        && files.record.files == 0
    {
        let reason = "holds neither a database nor a file to store: is its disk mounted?";
        report(&mut problems, observer, Path::new(&root.path), reason, true);
    }
    session.seal()?;

    let mut snapshot = Snapshot {
        format: snapshot::VERSION,
        source: options.source.clone(),
        sequence: history.next_sequence,
        parents: history.parents(!parts.is_empty(), uploads.is_some()),
        timestamp: timestamp.into(),
        created: time_of(options.now),
        host: options.host.clone(),
        tags: options.tags.clone(),
        program: options.program.clone(),
        packs: session.packs(),
        original: None,
        avoids: Vec::new(),
        added_bytes: None,
        duration_ms: None,
        root,
        databases: parts.iter().map(|part| part.record.clone()).collect(),
        window_us: u64::try_from(window.as_micros()).unwrap_or(u64::MAX),
        files: uploads.as_ref().map(|part| part.record.clone()),
        problems: problems.iter().filter(|problem| problem.lost).take(MAX_PROBLEMS).cloned().collect(),
        shrunk: Vec::new(),
    };
    snapshot.shrunk = history.baseline.shrunk(&snapshot, options);
    let has_databases = !parts.is_empty();
    // The archive is written from the store, so it proves that what was just stored can be read back; its digest is part of the snapshot.
    let (mut images, mut databases_read) = (Vec::new(), BTreeMap::new());
    for part in parts {
        databases_read.extend(part.read.map(|read| (part.record.path, read)));
        images.push(part.staged);
    }
    let before: Vec<_> = history.databases.iter().flat_map(|(_, all)| all).map(|part| part.root).collect();
    let same_databases = snapshot.databases.iter().map(|part| part.root).eq(before);
    let same_uploads =
        snapshot.files.as_ref().map(|part| part.list) == history.uploads.as_ref().map(|(_, part)| part.list);
    let earlier = Earlier::new(context, same_databases && same_uploads);
    let mut stage = |out| {
        let target = session.store().target(out, options.reserve)?;
        stage_set::stage(
            session.store(),
            earlier,
            history,
            &mut snapshot,
            std::mem::take(&mut images),
            &target,
            observer,
        )
    };
    let mut staged = options.out.as_deref().map(&mut stage);
    let mut removed = Vec::new();
    if let (Some(out), Some(Err(error))) = (options.out.as_deref(), &staged)
        && error.is_full()
    {
        let policy = RemovePolicy::new(session.store(), &options.source, out, options.keep_sets, cache, lost, observer);
        let parts = Parts { database: has_databases, uploads: uploads.is_some() };
        removed = policy.make_space(parts, &mut problems)?;
        if !removed.is_empty() {
            staged = Some(stage(out));
        }
    }
    if let Some(Ok(staged)) = &mut staged {
        problems.append(&mut staged.notes);
    }
    let uploads_read = uploads.map(|part| part.read).unwrap_or_default();
    let attempt = Attempt { snapshot, staged, removed, databases_read, uploads_read, problems };
    Ok(Made::Attempt(Box::new(attempt)))
}
