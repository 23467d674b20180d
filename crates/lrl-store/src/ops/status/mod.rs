//! The verb `status`: how old the last good backup and the last passed drill are, and what is wrong. Read-only; a time in the future is never
//! trusted.

mod report;
#[cfg(test)]
mod tests;

pub use report::{Condition, Good, Limits, Newest, PartAge, Status};

use crate::error::{Error, Result};
use crate::format::drill::Drill;
use crate::format::record_order::Latest;
use crate::format::snapshot::Snapshot;
use crate::ops::drill::past_drills::{DrillOutcome, Evidence};
use crate::ops::judgement::{Judge, Judgement, State};
use crate::ops::parts::Need;
use crate::progress::{Observer, Silent, checkpoint};
use crate::store::{SnapshotName, Store};
use crate::time::{Time, is_future};

fn good(name: &SnapshotName, snapshot: &Snapshot) -> Good {
    let parts = Need { database: snapshot.has_databases(), uploads: snapshot.files.is_some() };
    Good { name: name.clone(), timestamp: snapshot.timestamp.clone(), created: snapshot.created, parts }
}

/// Passes over what is damaged or of a later format: it is no proof of anything.
fn readable<T>(result: Result<T>) -> Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) if error.is_unreadable_document() => Ok(None),
        Err(error) => Err(error),
    }
}

/// Returns the newest snapshot that holds what is needed, if it is good and not from the future. An older good one does not count: what
/// came after it may be worse. One of what was there before rows were restored is no backup.
///
/// # Errors
///
/// If the store cannot be listed.
pub fn newest_if_good(store: &Store, source: &str, need: Need, now: Time) -> Result<Option<Good>> {
    let mut judge = Judge::new(store, now);
    for name in store.reading(store.snapshot_names(Some(source))?.iter().rev()) {
        let Some(snapshot) = readable(store.snapshot(name))? else { return Ok(None) };
        if snapshot.is_before_restore() {
            continue;
        }
        let judgement = judge.of(name, &snapshot, &Silent)?;
        if !judgement.is_good() {
            return Ok(None);
        }
        if need.is_met(&snapshot) && !is_future(snapshot.created, now) {
            return Ok(Some(good(name, &snapshot)));
        }
    }
    Ok(None)
}

/// Looks at a source's snapshots and drills, newest first, as far as needed.
///
/// # Errors
///
/// If the store cannot be listed; damaged documents are part of the status.
pub fn status(store: &Store, source: &str, now: Time) -> Result<Status> {
    survey(store, source, &store.snapshot_names(Some(source))?, now, 0)
}

/// As [`status`], of a source whose snapshots have been listed, oldest first. Judges up to `judged` of the newest, also where fewer would do:
/// [`Status::states`] counts them.
///
/// # Errors
///
/// Those of [`status`].
pub fn survey(store: &Store, source: &str, names: &[SnapshotName], now: Time, judged: usize) -> Result<Status> {
    survey_each(store, source, names, (now, judged), &Silent, |_| {}).map(|(status, _)| status)
}

/// As [`survey`], telling of each drill, the newest first. Returns with the status what it was judged by, so that nothing has to be read
/// again.
pub(in crate::ops) fn survey_each<'s>(
    store: &'s Store,
    source: &str,
    names: &[SnapshotName],
    (now, judged): (Time, usize),
    observer: &dyn Observer,
    mut each: impl FnMut(&Drill),
) -> Result<(Status, Judge<'s>)> {
    let mut status = Status { snapshots: names.len() as u64, ..Status::default() };
    let mut newest = Latest::<Drill>::default();
    let mut proven = Latest::<Drill>::default();
    let mut future = Vec::new();
    let mut unreadable = Vec::new();
    let evidence = Evidence::read_each(store, source, names, now, observer, |name, word| {
        if let DrillOutcome::Said(drill) = word {
            each(drill);
        }
        match word {
            DrillOutcome::Future => future.push((None, name.object())),
            DrillOutcome::Unreadable => unreadable.push((name.finished, name.object())),
            DrillOutcome::Said(drill) => {
                newest.add(drill.rank(), || drill.clone());
                match is_future(drill.finished, now) {
                    // Nobody knows how long ago that was.
                    true => future.push((Some(drill.rank()), name.object())),
                    false if drill.passed => proven.add(drill.rank(), || drill.clone()),
                    false => {}
                }
            }
        }
    })?;
    (status.drill, status.passed_drill) = (newest.take(), proven.take());
    if let Some(proven) = &status.passed_drill {
        // What is older than the newest proof is no news.
        future.retain(|(rank, _)| rank.is_none_or(|rank| rank.is_after(proven.rank())));
        unreadable.retain(|(finished, _)| i128::from(*finished) > i128::from(proven.finished.secs));
    }
    let is_proven = |name: &&SnapshotName| evidence.of(&name.id).is_some_and(|proof| proof.passed);
    status.proven = names.iter().filter(is_proven).count() as u64;
    status.oldest_unproven = names.iter().find(|name| !is_proven(name)).cloned();
    let mut judge = Judge::new(store, now).with_evidence(source, evidence);
    let checks = judge.checks()?;
    status.check = checks.last.map(|check| (check.time, check.passed));
    status.passed_check = checks.last_passed;
    // What was there before rows were restored counts only where nothing else does.
    let mut before_restore = Status::default();
    for (n, name) in store.reading(names.iter().rev()).enumerate() {
        checkpoint(observer)?;
        let read = match store.snapshot(name) {
            Err(error) if error.is_unreadable_document() => Err(error),
            read => Ok(read?),
        };
        let snapshot = match read {
            Ok(snapshot) => snapshot,
            Err(error) => {
                status.unreadable.push(name.object());
                // A write-only key cannot tell.
                let newest = Newest { name: name.clone(), time: None, judgement: Judgement::damaged(&error) };
                if !matches!(error, Error::WriteOnly { .. }) {
                    status.newest.get_or_insert(newest);
                    *status.states.entry(State::Damaged).or_default() += 1;
                }
                continue;
            }
        };
        let judgement = judge.of(name, &snapshot, observer)?;
        *status.states.entry(judgement.state).or_default() += 1;
        if n == 0 {
            status.added_bytes = snapshot.added_bytes;
        }
        let time = Some((snapshot.timestamp.clone(), snapshot.created));
        let is_good = judgement.is_good();
        let parts = judgement.good;
        let counted = if snapshot.is_before_restore() { &mut before_restore } else { &mut status };
        counted.newest.get_or_insert(Newest { name: name.clone(), time, judgement });
        if is_future(snapshot.created, now) {
            status.future.push(name.object());
            continue;
        }
        let found = good(name, &snapshot);
        if is_good && counted.good.is_none() {
            counted.good = Some(found.clone());
        }
        for (part, there, is_good) in [
            (&mut counted.database, snapshot.has_databases(), parts.database),
            (&mut counted.uploads, snapshot.files.is_some(), parts.uploads),
        ] {
            part.known |= there;
            if is_good && part.good.is_none() {
                part.good = Some(found.clone());
            }
        }
        if n + 1 >= judged && status.good.is_some() && status.database.good.is_some() && status.uploads.good.is_some() {
            break;
        }
    }
    status.newest = status.newest.or(before_restore.newest);
    status.good = status.good.or(before_restore.good);
    status.database = status.database.or(before_restore.database);
    status.uploads = status.uploads.or(before_restore.uploads);
    status.future.extend(future.into_iter().map(|(_, object)| object));
    status.unreadable.extend(unreadable.into_iter().map(|(_, object)| object));
    Ok((status, judge))
}
