//! The verb `prune`: gives back the room of what no snapshot reaches; plan, then apply. Marks first, and stops at the first doubt. Then in
//! this order: deltas over what nothing else needs are stored in full; the new index, without what is dead; the old indexes go; the dead
//! packs go; what is left in wasteful packs is moved.
//! Whenever it ends, every snapshot reads, and the next prune goes on.

mod deltas;
mod inventory;
mod mark;
mod repack;
pub mod two_phase;

use std::collections::{BTreeMap, HashMap, HashSet};

use crate::backend::collect;
use crate::error::{Error, Result};
use crate::format::pack::{Record, TARGET_BYTES};
use crate::fs::space::SpaceGuard;
use crate::id::{ChunkId, PackId, PendingId, SnapshotId};
use crate::progress::{Observer, Phase, checkpoint};
use crate::store::chunk_set::ChunkSet;
use crate::store::deletion::pending::PENDING;
use crate::store::{Store, pack_name};
use inventory::{Inventory, Pack, look, refuse_foreign_names};

/// How much room may stay taken by what nothing reaches, because moving the rest costs more than it frees.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum MaxUnused {
    /// So many percent of what is alive.
    Percent(f64),
    /// So many bytes.
    Bytes(u64),
    /// Any: only packs that are wholly dead go.
    Unlimited,
}

impl MaxUnused {
    fn of(self, alive_bytes: u64) -> u64 {
        match self {
            Self::Percent(percent) => (alive_bytes as f64 * percent / 100.0) as u64,
            Self::Bytes(bytes) => bytes,
            Self::Unlimited => u64::MAX,
        }
    }
}

/// Packs: how many, and their bytes.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, serde::Serialize)]
pub struct Packs {
    /// How many.
    pub count: u64,
    /// Their bytes.
    pub bytes: u64,
}

impl Packs {
    fn add(&mut self, bytes: u64) {
        self.count += 1;
        self.bytes += bytes;
    }
}

/// Deltas that are stored in full, because of what they are deltas of nothing else needs most.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, serde::Serialize)]
pub struct Full {
    /// How many.
    pub chunks: u64,
    /// What they take then.
    pub bytes: u64,
    /// What they took, with what goes with them. Only in a plan: after a run it is among what was removed or left out.
    pub replaced_bytes: u64,
}

/// What a plan or a run comes to.
#[derive(Debug, Default, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Numbers {
    /// Snapshots that were walked.
    pub snapshots: u64,
    /// Chunks that they reach, bases included.
    pub chunks: u64,
    /// Packs that are removed as they are.
    pub dead: Packs,
    /// Packs whose live chunks are moved, before they are removed.
    pub repacked: Packs,
    /// Packs that are written for them; in a plan, their bytes only.
    pub written: Packs,
    /// Deltas that are stored in full.
    pub full: Full,
    /// Bytes in the packs that stay that nothing reaches.
    pub unused_bytes: u64,
    /// References to chunks that are lost: they make no difference here.
    pub missing: u64,
}

impl Numbers {
    /// Returns the bytes of packs that become free.
    pub fn freed_bytes(&self) -> u64 {
        let gone = self.dead.bytes + self.repacked.bytes + self.full.replaced_bytes;
        gone.saturating_sub(self.written.bytes + self.full.bytes)
    }
}

/// What would be done.
pub struct Plan {
    /// What it comes to.
    pub numbers: Numbers,
    max_unused: MaxUnused,
    forgotten: HashSet<SnapshotId>,
    /// Deltas to store in full; then all else is planned anew.
    chains: Vec<ChunkId>,
    /// Packs that are in no index.
    unlisted: Vec<PackId>,
    /// Packs of which nothing is alive.
    dead: Vec<PackId>,
    /// Packs of which something is.
    alive: Vec<PackId>,
    kept: ChunkSet,
    /// The index lists something that is dead.
    rewrite: bool,
    /// Packs to move, in order, with the bytes that are alive in them.
    repack: Vec<(PackId, u64)>,
    lengths: HashMap<PackId, u64>,
    /// Of each source the highest sequence, and the lists of candidates that its runs had read.
    sources: BTreeMap<String, (u64, HashSet<PendingId>)>,
}

/// What was done.
#[derive(Debug)]
pub struct Report {
    /// What it came to.
    pub numbers: Numbers,
    /// What was left as it was, and why.
    pub notes: Vec<String>,
    /// Why not all that was planned could be moved; what was removed before is.
    pub failed: Option<Error>,
}

/// So many bytes are moved before the index is written and the old packs go: that much more room is needed at most.
const ROUND_BYTES: u64 = 1 << 30;
/// Packs below this are small.
const SMALL_BYTES: u64 = TARGET_BYTES / 4;
/// So few small packs are left alone.
const FEW_SMALL: usize = 8;
/// What a chunk takes in its pack, its record included.
fn bytes_of(record: &Record) -> u64 {
    u64::from(record.encoded_len) + 43 + 32 * record.bases.len() as u64
}

/// Decides what to remove and what to move, as if the `forgotten` snapshots were gone. May only add to the store: where a snapshot needs
/// what no index lists, but a pack holds, that pack is listed first; a `dry_run` refuses then.
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
            let text = "an index is lost, but its packs are there: `lrl prune` without --dry-run lists them again, then decides";
            return Err(Error::Refused(text.into()));
        }
        kept_unlisted = store.index_packs(&unlisted, observer)?;
        found = look(store, forgotten, observer)?;
    }
    let Inventory { mut packs, marked, mut chains, mut full, rewrite, chunks } = found;
    if let Some(text) = &marked.missing_node {
        return Err(Error::Refused(format!(
            "{text}: nothing was pruned, because what lies below it cannot be told; `lrl check` tells more"
        )));
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
        lengths: packs.iter().filter_map(|(id, pack)| Some((*id, pack.len?))).collect(),
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
    packs.retain(|id, pack| pack.chunks > 0 && pack.len.is_some() && !candidates.has(id));
    let chosen = choose(&packs, max_unused);
    for (id, pack) in &packs {
        if chosen.contains(id) {
            plan.numbers.repacked.add(pack.len.unwrap_or_default());
            plan.numbers.written.bytes += pack.needed();
            plan.repack.push((*id, pack.alive));
        } else {
            plan.numbers.unused_bytes += pack.unused();
        }
    }
    // What was stored together stays together; what no snapshot says it added is older.
    plan.repack.sort_by_key(|(id, _)| (marked.ages.get(id).copied().unwrap_or_default(), *id));
    Ok(plan)
}

/// Chooses the packs to move: the most wasteful until little enough is wasted, and small ones where there are many.
fn choose(packs: &HashMap<PackId, Pack>, max_unused: MaxUnused) -> HashSet<PackId> {
    let alive: u64 = packs.values().map(|pack| pack.alive).sum();
    let limit = max_unused.of(alive);
    let mut unused: u64 = packs.values().map(Pack::unused).sum();
    let mut by_waste: Vec<(&PackId, &Pack)> = packs.iter().filter(|(_, pack)| pack.unused() > 0).collect();
    let share = |pack: &Pack| pack.unused() as f64 / pack.len.unwrap_or(1).max(1) as f64;
    by_waste.sort_by(|(a_id, a), (b_id, b)| share(b).total_cmp(&share(a)).then_with(|| a_id.cmp(b_id)));
    let mut chosen = HashSet::new();
    for (id, pack) in by_waste {
        if unused <= limit {
            break;
        }
        unused -= pack.unused();
        chosen.insert(*id);
    }
    // A pack is moved only with as much of smaller ones: so a chunk is moved a few times in its life, however often packs are added.
    let mut small: Vec<(u64, PackId)> = packs.iter().map(|(id, pack)| (pack.needed(), *id)).collect();
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

/// Does what the plan says. `room` guards the store's disk: no more is moved at once than fits, but on a full disk one pack at a time is.
pub fn apply(store: &Store, plan: Plan, room: &SpaceGuard, observer: &dyn Observer) -> Result<Report> {
    let storage = store.storage();
    if storage.is_remote() {
        return Err(Error::Refused(format!("{}: what is dead in a bucket is written down first", storage.location())));
    }
    storage.reclaim()?;
    let (plan, notes) = end_chains(store, plan, room, observer)?;
    let Plan { numbers, unlisted, dead, alive, kept, rewrite, repack, lengths, .. } = plan;
    // A forgotten snapshot must not come back by a power cut when its packs are gone.
    storage.sync("snapshots")?;
    let remove = |packs: &[PackId]| {
        packs.iter().filter(|id| lengths.contains_key(id)).try_for_each(|id| storage.remove(&pack_name(id)))
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
            // No room for the new index: what is dead goes first. Until the index is written it lists packs that nothing needs.
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
    drop(kept);
    let mut report = Report { numbers, notes, failed: None };
    (report.numbers.repacked, report.numbers.written) = Default::default();
    observer.phase(Phase::Repack, Some(repack.iter().map(|(_, bytes)| bytes).sum()));
    let (mut left, mut limit) = (repack, ROUND_BYTES);
    while !left.is_empty() && report.failed.is_none() {
        let mut bytes = 0;
        let most = limit.min(room.bytes()).max(1);
        let count = left.iter().take_while(|(_, alive)| {
            let fits = bytes < most;
            bytes += alive;
            fits
        });
        let count = count.count();
        let round = &left[..count];
        let packs: Vec<_> = round.iter().map(|(id, _)| (*id, lengths.get(id).copied().unwrap_or_default())).collect();
        match repack::repack(store, &packs, observer) {
            Ok(moved) => {
                for (into, from) in
                    [(&mut report.numbers.repacked, moved.gone), (&mut report.numbers.written, moved.written)]
                {
                    into.count += from.count;
                    into.bytes += from.bytes;
                }
                report.notes.extend(
                    moved
                        .stayed
                        .iter()
                        .map(|(id, why)| format!("{} stays as it is: {why}", storage.object_location(&pack_name(id)))),
                );
                left.drain(..count);
                limit = limit.saturating_mul(2).min(ROUND_BYTES);
            }
            Err(e) if e.is_final() => return Err(e),
            // No room for so much at once: packs with little in them first, one by one, and each makes room for the next.
            Err(error) if error.is_full() && limit > 1 => {
                store.drop_cache();
                left.sort_by_key(|(id, alive)| (*alive, *id));
                limit = 1;
            }
            Err(error) => report.failed = Some(error),
        }
    }
    storage.sync("packs")?;
    // Nobody else is here: what a bucket's prune waited for, before the store was copied into this directory, is done.
    collect(&**storage, PENDING, |name| Some(name.to_string()))?.iter().try_for_each(|name| storage.remove(name))?;
    Ok(report)
}

/// Stores deltas in full as long as a plan names some, and returns the plan for what is then there, with what was left as it was.
fn end_chains(
    store: &Store,
    mut plan: Plan,
    room: &SpaceGuard,
    observer: &dyn Observer,
) -> Result<(Plan, Vec<String>)> {
    let mut full = Full::default();
    let mut notes = Vec::new();
    while !plan.chains.is_empty() && notes.is_empty() {
        let done = match room.bytes() < plan.numbers.full.bytes {
            true => None,
            false => Some(deltas::store_in_full(store, &plan.chains, observer)),
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
                plan.numbers.full.chunks
            )),
        }
        // Index files have come, or have gone again: the marks are of others.
        plan = self::plan(store, plan.max_unused, &plan.forgotten, false, observer)?;
    }
    plan.numbers.full = full;
    Ok((plan, notes))
}

#[cfg(test)]
pub(super) mod tests;
