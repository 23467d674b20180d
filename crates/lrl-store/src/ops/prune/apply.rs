//! Does what a plan says, in a store that nobody else uses meanwhile.

use super::model::{Full, Plan, ROUND_BYTES, ROUND_PACKS, Report};
use super::plan::plan;
use super::{deltas, repack};
use crate::backend::collect;
use crate::error::{Error, Result};
use crate::fs::space::SpaceGuard;
use crate::id::PackId;
use crate::progress::{Observer, Phase, checkpoint};
use crate::store::deletion::pending::PENDING;
use crate::store::{Store, pack_name};

/// Does what the plan says. `room` guards the store's disk: no more is moved at once than fits, but on a full disk one pack at a time is.
///
/// # Errors
///
/// Any doubt about what is needed ends it before anything is deleted; [`Error::NoRoom`](crate::error::Error::NoRoom) if no pack can be
/// moved.
pub fn apply(store: &Store, plan: Plan, space: &SpaceGuard, observer: &dyn Observer) -> Result<Report> {
    let backend = store.storage();
    if !backend.capabilities().exclusive_lock {
        return Err(Error::refused(format!(
            "{}: what is dead in a store without locks is scheduled for deletion first",
            backend.location()
        )));
    }
    backend.reclaim()?;
    let (plan, notes) = end_chains(store, plan, space, observer)?;
    let Plan { numbers, unlisted, dead, alive, kept, rewrite, repack, lengths, .. } = plan;
    // A forgotten snapshot must not come back by a power cut when its packs are gone.
    backend.sync("snapshots")?;
    let remove = |packs: &[PackId]| {
        packs.iter().filter(|id| lengths.contains_key(id)).try_for_each(|id| backend.remove(&pack_name(id)))
    };
    remove(&unlisted)?;
    if rewrite {
        let replace = || {
            store.replace_indexes(alive.clone(), Some(numbers.chunks), &mut |copies| {
                copies.retain(|copy| kept.has(copy.slot));
                checkpoint(observer)
            })
        };
        match replace() {
            // No space for the new index: what is dead goes first. Until the index is written it lists packs that nothing needs.
            Err(error) if error.is_full() => {
                remove(&dead)?;
                store.drop_cache();
                replace()?;
            }
            done => {
                done?;
                remove(&dead)?;
            }
        }
    }
    // What is known of a hundred thousand packs takes memory that the next rounds need.
    let repack = repack.into_iter().map(|(id, alive)| (id, alive, lengths.get(&id).copied().unwrap_or_default()));
    let mut left: Vec<(PackId, u64, u64)> = repack.collect();
    drop((unlisted, dead, alive, kept, lengths));
    let mut report = Report { numbers, notes, failed: None };
    (report.numbers.repacked, report.numbers.written) = Default::default();
    observer.phase(Phase::Repack, Some(left.iter().map(|(_, alive, _)| alive).sum()));
    let mut limit = ROUND_BYTES;
    while !left.is_empty() && report.failed.is_none() {
        let mut bytes = 0;
        let most = limit.min(space.bytes()).max(1);
        let count = left.iter().take_while(|(_, alive, _)| {
            let fits = bytes < most;
            bytes += alive;
            fits
        });
        let count = count.count().min(ROUND_PACKS);
        let packs: Vec<_> = left[..count].iter().map(|(id, _, len)| (*id, *len)).collect();
        match repack::repack(store, &packs, observer) {
            Ok(moved) => {
                for (into, from) in
                    [(&mut report.numbers.repacked, moved.gone), (&mut report.numbers.written, moved.written)]
                {
                    into.count += from.count;
                    into.bytes += from.bytes;
                }
                report.notes.extend(moved.notes(store));
                left.drain(..count);
                limit = limit.saturating_mul(2).min(ROUND_BYTES);
            }
            Err(e) if e.is_final() => return Err(e),
            // No space for that much at once: packs with little in them first, one by one, and each makes space for the next.
            Err(error) if error.is_full() && limit > 1 => {
                store.drop_cache();
                left.sort_by_key(|(id, alive, _)| (*alive, *id));
                limit = 1;
            }
            Err(error) => report.failed = Some(error),
        }
    }
    backend.sync("packs")?;
    // Nobody else is here: what a bucket's prune waited for, before the store was copied into this directory, is done.
    collect(&**backend, PENDING, |name| Some(name.to_string()))?.iter().try_for_each(|name| backend.remove(name))?;
    Ok(report)
}

/// Stores deltas in full as long as a plan names some, and returns the plan for what is then there, with what was left as it was.
pub(super) fn end_chains(
    store: &Store,
    mut planned: Plan,
    space: &SpaceGuard,
    observer: &dyn Observer,
) -> Result<(Plan, Vec<String>)> {
    let mut full = Full::default();
    let mut notes = Vec::new();
    while !planned.chains.is_empty() && notes.is_empty() {
        let done = match space.bytes() < planned.numbers.full.bytes {
            true => None,
            false => Some(deltas::store_in_full(store, &planned.chains, observer)),
        };
        match done {
            Some(Ok(done)) if done.chunks == 0 => break,
            Some(Ok(done)) => {
                full.chunks += done.chunks;
                full.bytes += done.bytes;
            }
            Some(Err(error)) if !error.is_full() => return Err(error),
            _ => notes.push(format!(
                "{} chunks stay deltas of what nothing else needs: there is no room to store them in full before that goes. The next prune tries again",
                planned.numbers.full.chunks
            )),
        }
        // Index files have come, or have gone again: the marks are of others.
        planned = plan(store, planned.max_unused, &planned.forgotten, false, observer)?;
    }
    planned.numbers.full = full;
    Ok((planned, notes))
}
