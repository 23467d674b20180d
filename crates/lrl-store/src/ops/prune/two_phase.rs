//! Prune of a store without locks, in a bucket. What is dead is scheduled for deletion first, and nothing is deleted. A later run deletes
//! it: after a grace period, when every source has made a snapshot whose run had read that list, and only what is still dead. `docs/FORMAT.md`
//! has the rule, `docs/ARCHITECTURE.md` the argument.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::{Duration, SystemTime};

use super::apply::end_chains;
use super::model::{MaxUnused, Numbers, Packs, Plan, ROUND_BYTES};
use super::plan::plan;
use super::repack::{self, Alive};
use crate::error::{Error, Result};
use crate::format::pending::{Pending, VERSION};
use crate::fs::space::SpaceGuard;
use crate::hint::{AddHint, Hint};
use crate::id::{PackId, PendingId, SnapshotId};
use crate::progress::{Observer, Phase, checkpoint};
use crate::store::deletion::pending::{PendingDeletions, pending_name};
use crate::store::deletion::prune_lease::{Now, PruneLease};
use crate::store::{Store, pack_id, pack_name};
use crate::time::Time;
use crate::units::PROGRAM;

/// How to prune a store without locks.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Options {
    /// How much waste stays.
    pub max_unused: MaxUnused,
    /// How long a list of pending deletions waits at least.
    pub grace: Duration,
    /// Sources that will never back up again: they are not waited for.
    pub retired: Vec<String>,
    /// Nobody else prunes this store; needed where the backend's `put_if_absent` is not conditional.
    pub only_pruner: bool,
    /// Who prunes, for people.
    pub owner: String,
    /// Random hexadecimal digits.
    pub token: String,
    /// The program's name and version.
    pub program: String,
    /// The moment of the run.
    pub now: Time,
    /// How long to wait for another run of this machine.
    pub lock_wait: Duration,
    /// Reports what would be done, and changes nothing.
    pub dry_run: bool,
}

impl Options {
    /// Prunes as `owner`, who is named to other prunes; `token`, random hexadecimal digits, tells its lease from others.
    #[must_use]
    pub fn new(max_unused: MaxUnused, grace: Duration, owner: &str, token: &str, now: Time) -> Self {
        Self {
            max_unused,
            grace,
            retired: Vec::new(),
            only_pruner: false,
            owner: owner.into(),
            token: token.into(),
            program: PROGRAM.into(),
            now,
            lock_wait: Duration::ZERO,
            dry_run: false,
        }
    }
}

/// A list of pending deletions that waits, and why.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct WaitingDeletion {
    /// The list.
    pub id: PendingId,
    /// When it was written.
    #[serde(skip)]
    pub written: Time,
    /// Its packs that are there and that nothing needs.
    pub packs: Packs,
    /// Its packs are deleted already; what waits is only the record of it, for writers.
    pub deleted: bool,
    /// Seconds of the grace period that are left.
    pub grace_left_seconds: u64,
    /// The sources of which no snapshot has been made yet by a run that had read it, with their last sequence then.
    pub sources: BTreeMap<String, u64>,
}

/// What a run did, or would do.
#[derive(Debug, Default)]
#[must_use = "what waits, and why, is in the report"]
#[non_exhaustive]
pub struct Report {
    /// What is needed, and what is newly dead or wasteful: that is what was scheduled.
    pub numbers: Numbers,
    /// The list that was written.
    #[doc(hidden)]
    pub written: Option<PendingId>,
    /// What it lists.
    pub candidates: Packs,
    /// What was deleted.
    pub deleted: Packs,
    /// Packs of lists whose time had come, that are needed again: they stay.
    pub needed_again: Packs,
    /// Lists that wait.
    #[doc(hidden)]
    pub waiting: Vec<WaitingDeletion>,
    /// Packs that nothing needs, but that are so new that a run may be about to.
    pub young: Packs,
    /// Whether the backend's `put_if_absent` is conditional; not probed in a dry run.
    pub conditional_writes: Option<bool>,
    /// What was left as it was, and why.
    pub notes: Vec<String>,
}

/// Packs that are scheduled for deletion at once, at most.
const MOST_PACKS: usize = 100_000;
/// Packs whose contents one run moves, at most: the offsets of what is alive in them are in memory.
const MOST_MOVED: usize = 50_000;
/// Packs that are deleted at once, at most: a run is interrupted before or after them.
const AT_ONCE: usize = 256;
/// Names that one request lists.
const LISTED_AT_ONCE: usize = 1000;
/// How often the index is written anew where others merge it meanwhile.
const TRIES: u32 = 5;

/// Prunes, or reports what would be done, as if the `forgotten` snapshots were gone.
///
/// # Errors
///
/// [`Error::Locked`](crate::error::Error::Locked) while another prune holds the lease; [`Error::Corrupt`](crate::error::Error::Corrupt) or
/// [`Error::Missing`](crate::error::Error::Missing) if it is uncertain what is needed.
pub fn prune(
    store: &Store,
    options: &Options,
    forgotten: &HashSet<SnapshotId>,
    space: &SpaceGuard,
    observer: &dyn Observer,
) -> Result<Report> {
    store.check_writable()?;
    store.check_readable()?;
    let mut now = Now { here: options.now, there: None };
    let mut claim = None;
    let mut report = Report::default();
    if !options.dry_run {
        let (keeps_first, there) = store.probe_lease(&options.token)?;
        now.there = there;
        report.conditional_writes = Some(keeps_first);
        if !keeps_first && !options.only_pruner {
            let text = format!(
                "{}: this server does not keep two prunes apart (it ignores If-None-Match); nothing was removed. Prune from one machine only",
                store.storage().location()
            );
            return Err(Error::refused(text.hint(Hint::OnlyPruner)));
        }
        if keeps_first {
            let wait = options.lock_wait;
            claim = Some(store.claim(&options.owner, &options.token, &now, wait, &|| observer.interrupted())?);
        }
        store.storage().reclaim()?;
    }
    let candidates = store.reload_pending_deletions()?;
    let plan = plan(store, options.max_unused, forgotten, options.dry_run, observer)?;
    let (plan, notes) = match options.dry_run {
        true => (plan, Vec::new()),
        false => end_chains(store, plan, space, observer)?,
    };
    report.notes = notes;
    // The marks are of these index files: all that they say is asked before any is replaced.
    let alive = alive_in(store, &plan, observer)?;
    let run = Run { store, options, now, claim, candidates: &candidates };
    run.sweep(&plan, &mut report, observer)?;
    run.record_deletions(plan, &alive, &mut report, observer)?;
    Ok(report)
}

/// Returns the offsets of what is alive in the packs that are to be moved, as far as one run moves them.
fn alive_in(store: &Store, plan: &Plan, observer: &dyn Observer) -> Result<Alive> {
    let mut alive: Alive = round(plan).iter().map(|(pack, _)| (*pack, HashSet::new())).collect();
    if !alive.is_empty() {
        store.each_chunk(&mut |copies| {
            for copy in copies.iter().filter(|copy| plan.kept.has(copy.slot)) {
                if let Some(offsets) = alive.get_mut(&copy.place.pack) {
                    offsets.insert(copy.place.offset);
                }
            }
            checkpoint(observer)
        })?;
    }
    Ok(alive)
}

/// Returns the packs that one run moves: their contents are stored twice until the old ones are deleted.
fn round(plan: &Plan) -> &[(PackId, u64)] {
    let mut bytes = 0;
    let count = plan.repack.iter().take_while(|(_, alive)| {
        let fits = bytes < ROUND_BYTES;
        bytes += alive;
        fits
    });
    &plan.repack[..count.count().min(MOST_MOVED)]
}

struct Run<'a> {
    store: &'a Store,
    options: &'a Options,
    now: Now,
    claim: Option<PruneLease<'a>>,
    candidates: &'a PendingDeletions,
}

impl Run<'_> {
    fn check_claim(&self) -> Result<()> {
        self.claim.as_ref().map_or(Ok(()), PruneLease::check)
    }

    /// Returns what a list waits for; nothing if its time has come.
    fn waits_for(&self, id: &PendingId, document: &Pending, plan: &Plan) -> Result<(u64, BTreeMap<String, u64>)> {
        let age = self.now.age(self.store, &pending_name(id), document.written)?;
        let left = self.options.grace.saturating_sub(age);
        let known = document.sources.iter().map(|(source, sequence)| (source.clone(), *sequence));
        // One that came later may have begun earlier.
        let later = plan.sources.keys().filter(|source| !document.sources.contains_key(*source));
        let all = known.chain(later.map(|source| (source.clone(), 0)));
        let has_read = |source: &String| plan.sources.get(source).is_some_and(|(_, avoided)| avoided.contains(id));
        let waited = all.filter(|(source, _)| !has_read(source) && !self.options.retired.contains(source)).collect();
        Ok((left.as_secs() + u64::from(left.subsec_nanos() > 0), waited))
    }

    /// Deletes what lists name whose time has come, and that is dead still.
    fn sweep(&self, plan: &Plan, report: &mut Report, observer: &dyn Observer) -> Result<()> {
        let alive: HashSet<&PackId> = plan.alive.iter().collect();
        let packs_of = |packs: &mut dyn Iterator<Item = &PackId>| {
            let mut sum = Packs::default();
            packs.filter_map(|pack| plan.lengths.get(pack)).for_each(|len| sum.add(*len));
            sum
        };
        let (mut due, mut deleted): (Vec<&PendingId>, Vec<(&PendingId, &Pending, bool)>) = Default::default();
        // Packs to delete; those of them of which no record says yet that they are gone; those that nothing lists any more.
        let (mut going, mut gone): (HashSet<PackId>, HashSet<PackId>) = Default::default();
        for (id, document) in &self.candidates.documents {
            let (grace_left_seconds, sources) = self.waits_for(id, document, plan)?;
            let dead = document.packs.iter().filter(|pack| !alive.contains(pack));
            let is_due = grace_left_seconds == 0 && sources.is_empty();
            match (document.gone, is_due) {
                (true, _) => {
                    gone.extend(dead.clone());
                    deleted.push((id, document, is_due));
                }
                (false, true) => {
                    going.extend(dead.clone());
                    let again = packs_of(&mut document.packs.iter().filter(|pack| alive.contains(pack)));
                    report.needed_again.count += again.count;
                    report.needed_again.bytes += again.bytes;
                    due.push(id);
                }
                (false, false) => {}
            }
            if !is_due {
                let (written, deleted) = (document.written, document.gone);
                let packs = packs_of(&mut dead.into_iter());
                report.waiting.push(WaitingDeletion { id: *id, written, packs, deleted, grace_left_seconds, sources });
            }
        }
        let all: HashSet<PackId> = going.union(&gone).copied().collect();
        let listed = self.store.listed_packs();
        let is_listed = |pack: &PackId| listed.binary_search(pack).is_ok();
        report.deleted = packs_of(&mut all.iter());
        if self.options.dry_run {
            return Ok(());
        }
        if all.iter().any(is_listed) {
            self.check_claim()?;
            self.remove_record(&all)?;
        }
        // Whoever begins from here on finds them in no index, but a run that has begun may still merge what it has read into a new one.
        let come_back = |document: &Pending| document.packs.iter().any(|pack| gone.contains(pack) && is_listed(pack));
        let mut anew: Vec<PackId> = going.difference(&gone).copied().collect();
        for (_, document, _) in deleted.iter().filter(|(_, document, _)| come_back(document)) {
            anew.extend(document.packs.iter().filter(|pack| gone.contains(pack)));
        }
        anew.sort_unstable();
        anew.dedup();
        if !anew.is_empty() {
            self.record(anew, true, plan)?;
        }
        self.check_claim()?;
        let names: Vec<_> = all.iter().filter(|pack| plan.lengths.contains_key(pack)).map(pack_name).collect();
        names.chunks(AT_ONCE).try_for_each(|some| {
            checkpoint(observer)?;
            self.store.storage().remove_all(some)
        })?;
        due.into_iter().try_for_each(|id| self.store.remove_pending(id))?;
        let done = deleted.iter().filter(|(_, document, is_due)| *is_due || come_back(document));
        done.map(|(id, ..)| id).try_for_each(|id| self.store.remove_pending(id))
    }

    /// Takes packs out of the index.
    fn remove_record(&self, packs: &HashSet<PackId>) -> Result<()> {
        for attempt in 0.. {
            let mut left = self.store.listed_packs();
            left.retain(|pack| !packs.contains(pack));
            let replaced = self.store.replace_indexes(left, None, &mut |copies| {
                copies.retain(|copy| !packs.contains(&copy.place.pack));
                Ok(())
            });
            match replaced {
                // Another run has merged some of them meanwhile.
                Err(Error::Missing { .. }) if attempt < TRIES => self.store.reload_indexes()?,
                done => return done,
            }
        }
        Ok(())
    }

    fn record(&self, packs: Vec<PackId>, gone: bool, plan: &Plan) -> Result<PendingId> {
        let sources = plan.sources.iter().map(|(source, (highest, _))| (source.clone(), *highest)).collect();
        let (written, program) = (self.options.now, self.options.program.clone());
        self.store.add_pending(&Pending { format: VERSION, written, gone, sources, packs, program })
    }

    /// Schedules for deletion what is dead, and what is moved out of wasteful packs.
    fn record_deletions(&self, plan: Plan, alive: &Alive, report: &mut Report, observer: &dyn Observer) -> Result<()> {
        let round = round(&plan);
        report.numbers = plan.numbers.clone();
        let mut packs = Vec::new();
        let dead: Vec<&PackId> = plan.dead.iter().chain(&plan.unlisted).take(MOST_PACKS - round.len()).collect();
        let old = self.old_ones(&dead, plan.lengths.len())?;
        for (pack, is_old) in dead.into_iter().zip(old) {
            checkpoint(observer)?;
            let Some(len) = plan.lengths.get(pack) else { continue };
            if !is_old {
                report.young.add(*len);
                continue;
            }
            packs.push(*pack);
            report.candidates.add(*len);
        }
        report.numbers.dead = report.candidates;
        let lengths = |pack: &PackId| plan.lengths.get(pack).copied().unwrap_or_default();
        if self.options.dry_run {
            report.numbers.repacked = Packs::default();
            round.iter().for_each(|(pack, _)| report.numbers.repacked.add(lengths(pack)));
            report.candidates.count += report.numbers.repacked.count;
            report.candidates.bytes += report.numbers.repacked.bytes;
            return Ok(());
        }
        (report.numbers.repacked, report.numbers.written) = Default::default();
        if !round.is_empty() {
            observer.phase(Phase::Repack, Some(round.iter().map(|(_, bytes)| bytes).sum()));
            let moving: Vec<_> = round.iter().map(|(pack, _)| (*pack, lengths(pack))).collect();
            let (moved, copied) = repack::copy(self.store, &moving, alive, observer)?;
            (report.numbers.repacked, report.numbers.written) = (moved.gone, moved.written);
            report.candidates.count += moved.gone.count;
            report.candidates.bytes += moved.gone.bytes;
            report.notes.extend(moved.notes(self.store));
            packs.extend(copied);
        }
        if !packs.is_empty() {
            packs.sort_unstable();
            self.check_claim()?;
            report.written = Some(self.record(packs, false, &plan)?);
        }
        Ok(())
    }

    /// Returns of each pack whether it is so old that the run that wrote it has listed its snapshot, or has ended without.
    fn old_ones(&self, packs: &[&PackId], there: usize) -> Result<Vec<bool>> {
        let Some(now) = self.now.there else { return Ok(vec![true; packs.len()]) };
        let is_old = |at: Option<SystemTime>| {
            at.is_none_or(|at| now.duration_since(at).unwrap_or_default() >= self.options.grace)
        };
        let backend = self.store.storage();
        // One request tells of a pack, or of a thousand.
        if packs.len() <= there / LISTED_AT_ONCE {
            let look = |pack: &&PackId| match backend.modified(&pack_name(pack)) {
                Err(Error::Missing { .. }) => Ok(false),
                at => Ok(is_old(at?)),
            };
            return packs.iter().map(look).collect();
        }
        let places: HashMap<PackId, usize> = packs.iter().enumerate().map(|(at, pack)| (**pack, at)).collect();
        let mut old = vec![false; packs.len()];
        backend.list_modified("packs", &mut |name, at| {
            if let Some(place) = pack_id(name).and_then(|id| places.get(&id)) {
                old[*place] = is_old(at);
            }
            Ok(())
        })?;
        Ok(old)
    }
}

#[cfg(test)]
#[path = "two_phase_tests.rs"]
mod tests;
