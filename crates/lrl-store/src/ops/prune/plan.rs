//! Decides what to remove and what to move, from what snapshots reach.

use std::collections::{HashMap, HashSet};

use super::inventory::{Inventory, Pack, look, refuse_foreign_names};
use super::model::{FEW_SMALL, MaxUnused, Numbers, Plan, SMALL_BYTES};
use crate::error::{Error, Result};
use crate::hint::{AddHint, Hint};
use crate::id::{PackId, SnapshotId};
use crate::progress::{Observer, Phase};
use crate::store::Store;

/// Decides what to remove and what to move, as if the `forgotten` snapshots were gone. May only add to the store: where a snapshot needs
/// what no index lists, but a pack holds, that pack is listed first; a `dry_run` refuses then.
///
/// # Errors
///
/// [`Error::Corrupt`](crate::error::Error::Corrupt) or [`Error::Missing`](crate::error::Error::Missing) if it is uncertain what a snapshot
/// needs: then nothing may be deleted.
pub fn plan(
    store: &Store,
    max_unused: MaxUnused,
    forgotten: &HashSet<SnapshotId>,
    dry_run: bool,
    observer: &dyn Observer,
) -> Result<Plan> {
    store.check_writable()?;
    store.check_readable()?;
    observer.phase(Phase::Verify, None);
    refuse_foreign_names(store)?;
    let candidates = store.pending_deletions()?;
    let mut found = look(store, forgotten, observer)?;
    let is_unlisted = |(id, pack): &(&PackId, &Pack)| !pack.is_listed && !candidates.has(id);
    let unlisted: Vec<PackId> = found.packs.iter().filter(is_unlisted).map(|(id, _)| *id).collect();
    let mut kept_unlisted = Vec::new();
    if found.marked.missing > 0 && !unlisted.is_empty() {
        if dry_run {
            let text =
                "an index is lost, but its packs are there: a prune that is no dry run lists them again, then decides";
            return Err(Error::Refused(text.into()));
        }
        kept_unlisted = store.index_packs(&unlisted, observer)?;
        found = look(store, forgotten, observer)?;
    }
    let Inventory { mut packs, marked, mut chains, mut full, rewrite, chunks } = found;
    if let Some(text) = &marked.missing_node {
        let text = format!("{text}: nothing was pruned, because what lies below it cannot be told");
        return Err(Error::refused(text.hint(Hint::Check)));
    }
    // What only deltas need is waste like any other.
    if full.replaced_bytes.saturating_sub(full.bytes) <= max_unused.of(packs.values().map(|pack| pack.alive).sum()) {
        (chains, full) = Default::default();
    }
    // What may hold a chunk that is missed, but cannot tell, stays.
    packs.retain(|id, _| !kept_unlisted.contains(id));
    let mut plan = Plan {
        numbers: Numbers { snapshots: marked.snapshots, chunks, missing: marked.missing, full, ..Numbers::default() },
        max_unused,
        forgotten: forgotten.clone(),
        chains,
        unlisted: Vec::new(),
        dead: Vec::new(),
        alive: Vec::new(),
        kept: marked.kept,
        rewrite,
        repack: Vec::new(),
        lengths: HashMap::new(),
        sources: marked.sources,
    };
    for (id, pack) in &packs {
        let is_candidate = candidates.has(id);
        match (pack.is_listed, pack.chunks) {
            (_, 1..) => plan.alive.push(*id),
            _ if is_candidate => {}
            (true, 0) => plan.dead.push(*id),
            (false, 0) => plan.unlisted.push(*id),
        }
        if let (0, Some(len), false) = (pack.chunks, pack.len, is_candidate) {
            plan.numbers.dead.add(len);
        }
    }
    plan.rewrite |= !plan.dead.is_empty();
    let is_movable = |id: &PackId, pack: &Pack| pack.chunks > 0 && pack.len.is_some() && !candidates.has(id);
    let movable: Vec<_> = packs.iter().filter(|(id, pack)| is_movable(id, pack)).collect();
    let chosen = choose(&movable, max_unused);
    for (id, pack) in movable {
        if chosen.contains(id) {
            plan.numbers.repacked.add(pack.len.unwrap_or_default());
            plan.numbers.written.bytes += pack.needed();
            plan.repack.push((*id, pack.alive));
        } else {
            plan.numbers.unused_bytes += pack.unused();
        }
    }
    drop(chosen);
    // What was stored together stays together; what no snapshot says it added is older.
    plan.repack.sort_unstable_by_key(|(id, _)| (packs.get(id).map(|pack| pack.age), *id));
    plan.lengths.reserve(packs.len());
    plan.lengths.extend(packs.into_iter().filter_map(|(id, pack)| Some((id, pack.len?))));
    Ok(plan)
}

/// Chooses the packs to move: the most wasteful until little enough is wasted, and small ones where there are many.
pub(super) fn choose(packs: &[(&PackId, &Pack)], max_unused: MaxUnused) -> HashSet<PackId> {
    let alive: u64 = packs.iter().map(|(_, pack)| pack.alive).sum();
    let limit = max_unused.of(alive);
    let mut unused: u64 = packs.iter().map(|(_, pack)| pack.unused()).sum();
    let mut by_waste: Vec<_> = packs.iter().filter(|(_, pack)| pack.unused() > 0).collect();
    let share = |pack: &Pack| pack.unused() as f64 / pack.len.unwrap_or(1).max(1) as f64;
    by_waste.sort_by(|(a_id, a), (b_id, b)| share(b).total_cmp(&share(a)).then_with(|| a_id.cmp(b_id)));
    let mut chosen = HashSet::new();
    for (id, pack) in by_waste {
        if unused <= limit {
            break;
        }
        unused -= pack.unused();
        chosen.insert(**id);
    }
    // A pack is moved only with as much of smaller ones: so a chunk is moved a few times in its life, however often packs are added.
    let mut small: Vec<(u64, PackId)> = packs.iter().map(|(id, pack)| (pack.needed(), **id)).collect();
    small.retain(|(len, id)| *len < SMALL_BYTES && !chosen.contains(id));
    small.sort_unstable();
    let mut sum = 0;
    let taken = small.iter().enumerate().take_while(|(n, (len, _))| {
        let take = *n < FEW_SMALL || *len <= sum;
        sum += len;
        take
    });
    let taken = taken.count();
    if taken > FEW_SMALL {
        chosen.extend(small[..taken].iter().map(|(_, id)| *id));
    }
    chosen
}
