//! The verb `backup`: one snapshot of the source, and the set that the manual documents. The whole run is on this one screen.

mod attempt;
mod changed_extents;
mod context;
mod database_xattrs;
mod databases;
mod dry_run;
mod earlier;
mod extent_ids;
mod extents;
pub(super) mod files;
mod full_scan;
mod history;
mod image_buffer;
mod known_damage;
mod listings;
mod options;
mod page_moves;
mod parent_list;
mod prepare;
mod publish_set;
mod records;
mod report;
mod roots;
mod set_image;
mod shrink;
mod stage_set;
pub(super) mod store_database;
mod store_file;
mod store_image;
#[cfg(test)]
pub(super) mod tests;
mod trust;

pub(super) use context::Context;
pub(super) use databases::find_elsewhere;
pub use dry_run::{Amount, DatabasePlan, Plan, UploadsPlan, plan};
pub use full_scan::FullScan;
pub(super) use history::{History, all_timestamps};
pub(super) use known_damage::{KnownLosses, survey};
pub use options::{Options, SETTLE};
pub use report::{AssetsOutput, DatabaseOutput, DatabaseRead, Distrust, Report, SetOutput, UploadsRead};

use std::time::Instant;

use crate::error::{Error, Result};
use crate::format::snapshot::Snapshot;
use crate::ops::sets::RemovePolicy;
pub use crate::ops::sets::report::{Kept, Removed, Sets};
use crate::progress::Observer;
use crate::store::Store;
use crate::store::write::WriteSession;
use attempt::Attempt;
use listings::Listings;

/// Backs the source up into `store`.
///
/// # Errors
///
/// [`Error::Refused`] for a bad name of a source, [`Error::Locked`] while another run holds the source or the backup directory,
/// [`Error::Source`] if nothing to back up is there, [`Error::Interrupted`] if the observer asked to stop. After an error no snapshot is
/// listed. That the set could not be written is no error: see [`Report::set_error`].
pub fn backup(store: &Store, options: &Options, observer: &dyn Observer) -> Result<Report> {
    let _locks = prepare::lock(store, options, observer)?;
    let cache = prepare::open_cache(store);
    let session = WriteSession::new(store);
    let done = run(Context { session: &session, cache: cache.as_ref(), options, observer });
    if done.as_ref().is_err_and(Error::is_full) {
        session.take_back();
    }
    done
}

/// Backs up while all locks are held.
fn run(context: Context<'_>) -> Result<Report> {
    let Context { session, cache, options, observer } = context;
    let store = session.store();
    let started = Instant::now();

    // Prepare: what was there before, and what of it may be reused unread.
    let Listings { snapshots, drill, check } = Listings::read(store, options)?;
    let history = History::read(store, &options.source, snapshots)?;
    let timestamp = history.free_timestamp(store, options)?;
    let vanished = history.vanished(context);
    let mut notes = Vec::new();
    let decision = trust::decide(context, &history, (drill, check), &mut notes)?;
    session.lower_trust(decision.trust);

    // Attempt: both parts are stored and the set is staged, but nothing is listed.
    let attempt = attempt::attempt(context, &history, &timestamp, &decision.losses.lost)?;
    let Attempt { snapshot, staged, removed, databases_read, uploads_read, mut problems } = attempt;
    problems.append(&mut notes);
    decision.report_losses(store, &mut problems, observer);
    let staged = attempt::listable(staged)?;
    let all_read = databases_read.len() == snapshot.databases.len();
    let newest = options.only_if_changed.then(|| history.with_contents_of(&snapshot)).flatten();
    if let Some(name) = newest.filter(|_| vanished.is_none() && decision.answered().next().is_none()) {
        records::record(context, &decision, &name, &snapshot, all_read, uploads_read.files_proved);
        return Ok(Report {
            unchanged: true,
            databases_read,
            uploads_read,
            full_scan: decision.full_scan,
            vanished,
            problems,
            ..Report::new(name, snapshot, session.added_bytes())
        });
    }

    // Publish: the snapshot first, then the set.
    let duration_ms = u64::try_from(started.elapsed().as_millis()).ok();
    let snapshot = Snapshot { added_bytes: Some(session.added_bytes()), duration_ms, ..snapshot };
    let (name, bytes) = store.publish(&snapshot)?;
    session.count_bytes(bytes);
    let published = staged.map(|staged| publish_set::publish(staged?, &name, &snapshot, cache));
    let (set, set_error) = match published.transpose() {
        Ok(set) => (set, None),
        Err(error) => (None, Some(error)),
    };

    // Afterwards: older sets go, and the cache records what this run has read.
    let looked = options.out.as_deref().filter(|_| set.is_some()).map(|out| {
        let lost = &decision.losses.lost;
        let policy = RemovePolicy::new(store, &options.source, out, options.keep_sets, cache, lost, observer);
        policy.after(&name, &snapshot, removed, &mut problems)
    });
    let interrupted = matches!(looked, Some(Err(Error::Interrupted)));
    let sets = looked.and_then(Result::ok).flatten();
    records::record(context, &decision, &name, &snapshot, all_read, uploads_read.files_proved);

    Ok(Report {
        databases_read,
        uploads_read,
        full_scan: decision.full_scan,
        distrust: decision.distrust.map(|(why, _)| why),
        set,
        set_error,
        sets,
        vanished,
        interrupted,
        problems,
        ..Report::new(name, snapshot, session.added_bytes())
    })
}
