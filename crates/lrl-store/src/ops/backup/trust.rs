//! What a run may reuse without reading it: decided once, before anything is read, and lowered only where the store shows damage meanwhile.

use super::context::Context;
use super::full_scan::{self, FullScan};
use super::history::History;
use super::known_damage::{self, KnownLosses};
use super::options::Options;
use super::report::Distrust;
use crate::error::{Error, Result};
use crate::format::drill::Drill;
use crate::hint::{AddHint, Hint};
use crate::id::{DrillId, RepairId};
use crate::ops::judgement::Checked;
use crate::ops::report_problem::report;
use crate::progress::{Observer, Problem};
use crate::store::repair::quarantine::repair_name;
use crate::store::run_cache::RunCache;
use crate::store::write::{Trust, WriteSession};
use crate::store::{Store, pack_name};

/// What may be reused unread, and why no more than that.
pub(super) struct Decision {
    pub trust: Trust,
    /// Why everything is read, whatever looks unchanged.
    pub full_scan: Option<FullScan>,
    /// The failed drill or check that this run answers, and its record.
    pub distrust: Option<(Distrust, [u8; 32])>,
    /// What the store is known to have lost.
    pub losses: KnownLosses,
    /// Records of repairs that this run answers.
    pub healing: Vec<RepairId>,
}

impl Decision {
    /// Returns what is answered once this run's snapshot is listed: packs that are lost, records of repairs, drills and checks.
    pub(crate) fn answered(&self) -> impl Iterator<Item = [u8; 32]> {
        let lost = self.losses.lost.iter().map(|id| *id.as_bytes());
        let repairs = self.losses.repairs.iter().map(|id| *id.as_bytes());
        lost.chain(repairs).chain(self.distrust.map(|(_, id)| id))
    }

    /// Adds to the report what of the store is known to be lost.
    pub(crate) fn report_losses(&self, store: &Store, problems: &mut Vec<Problem>, observer: &dyn Observer) {
        for id in &self.healing {
            let path = store.storage().object_location(&repair_name(id));
            let reason =
                "says what a repair found lost: this run reads everything, and stores again what the source still has";
            report(problems, observer, path.as_ref(), reason, false);
        }
        for pack in &self.losses.lost {
            let path = store.storage().object_location(&pack_name(pack));
            let reason = "is missing or cut short: this snapshot does without it, earlier ones may have lost files";
            report(problems, observer, path.as_ref(), reason.hint(Hint::Check), false);
        }
    }
}

/// Decides what this run may reuse unread, given the last drill and check.
pub(super) fn decide(
    context: Context<'_>,
    history: &History,
    (drill, check): (Option<(DrillId, Drill)>, Option<Checked>),
    problems: &mut Vec<Problem>,
) -> Result<Decision> {
    let Context { session, cache, options, observer } = context;
    let store = session.store();
    let costs_requests = store.storage().capabilities().cost_per_request;
    let full_scan = full_scan::due(cache, history, options);
    let losses = match compares_packs(context, full_scan) {
        // A full scan believes no earlier look.
        true => known_damage::survey(store, (cache, full_scan.is_none()), problems, observer)?,
        false => KnownLosses::default(),
    };
    let distrust = distrust(context, drill, check);
    let is_unanswered = |id: &[u8; 32]| !is_healed(cache, options, id);
    let healing: Vec<RepairId> = losses.repairs.iter().filter(|id| is_unanswered(id.as_bytes())).copied().collect();
    // To read a remote store is to download all of it: only on request.
    let reads_store = full_scan.is_some_and(|scan| scan == FullScan::Asked || !costs_requests);
    let trust = if reads_store
        || distrust.is_some()
        || !healing.is_empty()
        || losses.lost.iter().any(|id| is_unanswered(id.as_bytes()))
    {
        Trust::ReadEverything
    } else if full_scan.is_some() || history.depends_on_pending_deletion(session)? {
        // A scan of the source alone: everything there is read, and the index says which chunks are stored.
        Trust::CheckEachChunk
    } else {
        Trust::Proved
    };
    Ok(Decision { trust, full_scan, distrust, losses, healing })
}

/// Returns whether this run compares the index with the packs that are there. On a remote backend that takes a request for each thousand
/// packs, so it is done with a full scan, and where an index file that the run before saw is gone.
fn compares_packs(context: Context<'_>, full_scan: Option<FullScan>) -> bool {
    let there = context.store().indexes();
    let all_there = |seen: Vec<String>| seen.iter().all(|name| there.iter().any(|file| file.name() == name));
    let seen = context.cache.and_then(RunCache::indexes);
    !context.store().storage().capabilities().cost_per_request || full_scan.is_some() || !seen.is_some_and(all_there)
}

/// Returns the failed drill or check that no backup of this machine has answered yet by reading everything.
fn distrust(
    context: Context<'_>,
    drill: Option<(DrillId, Drill)>,
    check: Option<Checked>,
) -> Option<(Distrust, [u8; 32])> {
    let drill = drill.filter(|(_, drill)| !drill.passed);
    let check = check.filter(|check| !check.passed);
    let found = drill
        .map(|(id, drill)| (Distrust::Drill(drill.finished), *id.as_bytes()))
        .into_iter()
        .chain(check.map(|check| (Distrust::Check(check.time), *check.id.as_bytes())));
    found.into_iter().find(|(_, id)| !is_healed(context.cache, context.options, id))
}

/// Returns whether earlier runs have stored again what a record says is lost, for each part that this run is asked for.
fn is_healed(cache: Option<&RunCache>, options: &Options, lost: &[u8; 32]) -> bool {
    options.parts().all(|part| cache.is_some_and(|cache| cache.is_healed(&options.source, part, lost)))
}

/// A list of the parent that cannot be read shows damage: from here on this run stores again what the store has lost. That a write-only key
/// cannot read it is no damage.
pub(super) fn parent_is_unreadable(session: &WriteSession<'_>, error: &Error) {
    if !matches!(error, Error::WriteOnly { .. }) {
        session.lower_trust(Trust::ReadEverything);
    }
}
