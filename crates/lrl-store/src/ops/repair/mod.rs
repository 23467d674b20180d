//! The verb `check --repair`: a check is the plan, this applies it, under a lock or a lease. Salvages what is good in damaged packs, rebuilds the index from the packs,
//! and moves what is damaged into quarantine. Deletes nothing but its own records. If it is killed, all that could be read before can still
//! be read, and the next repair continues.

mod config;
mod documents;
mod exclusion;
mod packs;
pub(super) mod report;

use std::sync::Arc;

pub use exclusion::Claimant;
use exclusion::Exclusion;
pub use report::{Moved, Repaired, Saved};

use super::check::findings::Findings;
use super::check::packs::{Packs, hash_file};
use super::check::{Options, ReadData, Report, Scan, scan};
use crate::backend::Backend;
use crate::error::{Error, Result};
use crate::format::repair::{Repair, VERSION};
use crate::fs::lock::LockMode;
use crate::id::PackId;
use crate::ops::recover_chunks::HealSources;
use crate::progress::{Observer, Phase};
use crate::store::repair::lost_chunks::LostChunks;
use crate::store::repair::quarantine::repair_name;
use crate::store::{Store, pack_name};

/// What is to be done.
struct Plan {
    /// The index has to be rebuilt from all packs that stay.
    rebuild: bool,
    /// Packs to be listed where it has not.
    list: Vec<PackId>,
    damaged: Vec<PackId>,
    /// The index files as they were found.
    indexes: Vec<String>,
    /// Objects to be moved out of the way.
    aside: Vec<String>,
}

impl Plan {
    fn is_empty(&self) -> bool {
        !self.rebuild && self.list.is_empty() && self.damaged.is_empty() && self.aside.is_empty()
    }
}

/// Checks the store behind `backend` and repairs what can be repaired, under an exclusive lock; then searches sets, live
/// data and other stores for what is lost.
///
/// # Errors
///
/// [`Error::Refused`] for a store without locks, [`Error::Locked`] while anybody else uses the store, [`Error::Interrupted`]. A full disk is in
/// the report, as [`Repaired::failed`].
pub fn repair_from(
    backend: Arc<dyn Backend>,
    options: &Options,
    heal: Option<&HealSources>,
    observer: &dyn Observer,
) -> Result<Repaired> {
    if !backend.capabilities().exclusive_lock {
        let text =
            "has no lock that keeps others out: it is repaired under the lease of a prune only; nothing was changed";
        return Err(Error::refused(format!("{} {text}", backend.location())));
    }
    repair_under(&Exclusion(None), backend, options, heal, observer)
}

/// As [`repair_from`], for a store without locks: under the lease that keeps prunes apart. Backups may run meanwhile.
///
/// # Errors
///
/// As [`repair_from`]; [`Error::Locked`] while a prune or another repair runs, [`Error::Refused`] where nothing keeps these apart.
pub fn repair_in_bucket(
    backend: Arc<dyn Backend>,
    options: &Options,
    heal: Option<&HealSources>,
    claimant: &Claimant,
    observer: &dyn Observer,
) -> Result<Repaired> {
    let leased = claimant.open(observer)?;
    let lease = claimant.claim(&leased, options.lock_wait, observer)?;
    repair_under(&Exclusion(lease), backend, options, heal, observer)
}

fn repair_under(
    exclusion: &Exclusion<'_>,
    backend: Arc<dyn Backend>,
    options: &Options,
    heal: Option<&HealSources>,
    observer: &dyn Observer,
) -> Result<Repaired> {
    let (store, config_error) = Store::examine(backend, LockMode::Exclusive, options.lock_wait, observer)?;
    store.check_writable()?;
    store.storage().reclaim()?;
    let mut wanted = LostChunks::new()?;
    let mut found = scan(&store, config_error.as_ref(), options, Some(&wanted), observer)?;
    let mut repaired = Repaired {
        found: found.report.clone(),
        left: found.report.clone(),
        renamed: Vec::new(),
        moved: Vec::new(),
        saved: Saved::default(),
        healed: Saved::default(),
        notes: Vec::new(),
        listed: 0,
        config: false,
        failed: None,
    };
    let done = apply(&store, exclusion, &mut found, config_error.is_some(), options, &mut repaired, observer);
    match done {
        Err(error) if error.is_full() => repaired.failed = Some(error),
        other => other?,
    }
    let Repaired { config, listed, saved, renamed, moved, .. } = &repaired;
    if *config || *listed > 0 || saved.packs > 0 || !renamed.is_empty() || !moved.is_empty() {
        wanted = LostChunks::new()?;
        let config_error = config_error.as_ref().filter(|_| !repaired.config);
        repaired.left = scan(&store, config_error, options, Some(&wanted), observer)?.report;
    }
    if let (Some(heal), None) = (heal, &repaired.failed) {
        // Lost lists hide what is below them: what they name is looked for once they are there.
        while !wanted.is_empty()? {
            let healed = match heal.heal(&store, &wanted, &mut repaired.notes, observer) {
                Err(error) if error.is_full() => {
                    repaired.failed = Some(error);
                    break;
                }
                healed => healed?,
            };
            repaired.healed.add(&healed);
            if healed.chunks == 0 {
                break;
            }
            wanted = LostChunks::new()?;
            let structure = Options { read_data: ReadData::No, ..*options };
            scan(&store, None, &structure, Some(&wanted), observer)?;
        }
        if repaired.healed.chunks > 0 {
            let config_error = config_error.as_ref().filter(|_| !repaired.config);
            repaired.left = scan(&store, config_error, options, None, observer)?.report;
        }
    }
    if repaired.failed.is_none() {
        exclusion.check()?;
        match with_room(&store, || record(&store, &repaired.left)) {
            Err(error) if error.is_full() => repaired.failed = Some(error),
            other => other?,
        }
    }
    super::check::add_check_record(&store, options, &mut repaired.left)?;
    Ok(repaired)
}

fn apply(
    store: &Store,
    exclusion: &Exclusion<'_>,
    found: &mut Scan,
    make_config: bool,
    options: &Options,
    repaired: &mut Repaired,
    observer: &dyn Observer,
) -> Result<()> {
    exclusion.check()?;
    if make_config {
        let aside = with_room(store, || config::make_again(store, &found.report))?;
        repaired.moved.extend(aside);
        repaired.config = true;
    }
    let renamed = with_room(store, || documents::rename(store, found, observer))?;
    if !renamed.is_empty() {
        repaired.renamed.extend(renamed);
        *found = scan(store, None, options, None, observer)?;
    }
    let plan = plan(store, found, observer)?;
    if plan.is_empty() {
        return Ok(());
    }
    let chunks = with_room(store, || {
        if !found.report.lost.is_empty() {
            // A backup must not reuse what is lost, even if this run is killed when the index no longer lists it.
            add_record(store, &found.report)?;
        }
        save_chunks(store, exclusion, &plan, repaired, observer)
    });
    exclusion.check()?;
    // What is left is only renamed, which needs no free space.
    for name in &plan.aside {
        repaired.moved.extend(move_to_quarantine(store, name)?);
    }
    chunks
}

/// Saves what is good in damaged packs, writes the index, and moves the damaged packs away; in this order, so that all that can be read
/// stays readable.
fn save_chunks(
    store: &Store,
    exclusion: &Exclusion<'_>,
    plan: &Plan,
    repaired: &mut Repaired,
    observer: &dyn Observer,
) -> Result<()> {
    observer.phase(Phase::Repack, None);
    if !plan.damaged.is_empty() {
        repaired.saved.add(&packs::pack_scan(store, &plan.damaged, &sound_packs(store, plan)?, observer)?);
    }
    let mut list = plan.list.clone();
    exclusion.check()?;
    if plan.rebuild {
        list = sound_packs(store, plan)?;
        let moved = store.rebuild_indexes(&list, &plan.indexes, observer)?;
        repaired.moved.extend(moved.into_iter().map(|(object, to)| Moved { object, to }));
    } else if !list.is_empty() {
        store.index_packs(&list, observer)?;
    }
    repaired.listed = list.len() as u64;
    exclusion.check()?;
    for id in &plan.damaged {
        repaired.moved.extend(move_to_quarantine(store, &pack_name(id))?);
    }
    store.storage().sync("packs")
}

/// Lists the packs that are there and not damaged.
fn sound_packs(store: &Store, plan: &Plan) -> Result<Vec<PackId>> {
    let mut packs = Packs::list(store, &mut Findings::default())?.there();
    packs.retain(|id| plan.damaged.binary_search(id).is_err());
    Ok(packs)
}

fn plan(store: &Store, found: &Scan, observer: &dyn Observer) -> Result<Plan> {
    let packs = &found.packs;
    let mut damaged = packs.damaged();
    let contradicted = packs.contradicted();
    for id in &contradicted {
        // One of the two is wrong; the pack's name shows which.
        match hash_file(store, &pack_name(id), observer) {
            Ok(hash) if hash == *id => {}
            Err(error) if !error.is_damage() => return Err(error),
            _ => damaged.push(*id),
        }
    }
    damaged.sort_unstable();
    // Where something is lost, an index may have lost it that says nothing wrong.
    let rebuild = !contradicted.is_empty()
        || !store.damaged_indexes().is_empty()
        || !packs.gone().is_empty()
        || !found.report.lost.is_empty()
        || damaged.iter().any(|id| packs.is_listed(id));
    let is_good = |id: &&PackId| !rebuild && damaged.binary_search(id).is_err();
    let list = found.needed.iter().filter(is_good).copied().collect();
    let aside = found.documents.iter().chain(&found.foreign).cloned().collect();
    Ok(Plan { rebuild, list, damaged, indexes: store.index_names()?, aside })
}

/// Moves an object out of the way; `None` where another run has removed it.
fn move_to_quarantine(store: &Store, name: &str) -> Result<Option<Moved>> {
    match store.move_to_quarantine(name) {
        Ok(to) => Ok(Some(Moved { object: name.to_string(), to })),
        Err(Error::Missing { .. }) if !store.storage().capabilities().exclusive_lock => Ok(None),
        Err(error) => Err(error),
    }
}

/// Runs something that writes; on a full disk once more without the cache, which only costs time to lose.
fn with_room<T>(store: &Store, mut act: impl FnMut() -> Result<T>) -> Result<T> {
    match act() {
        Err(error) if error.is_full() => {
            store.drop_cache();
            act()
        }
        other => other,
    }
}

/// Replaces all records of repairs with one of what is lost; with none if nothing is.
fn record(store: &Store, left: &Report) -> Result<()> {
    let id = if left.lost.is_empty() { None } else { Some(add_record(store, left)?) };
    let mut others = store.repairs()?;
    others.retain(|other| Some(*other) != id);
    others.iter().try_for_each(|other| store.storage().remove(&repair_name(other)))
}

fn add_record(store: &Store, report: &Report) -> Result<crate::id::RepairId> {
    store.add_repair(&Repair { format: VERSION, lost: report.lost.clone(), more: report.more_lost })
}

/// As [`repair_from`], without anything to search.
#[cfg(test)]
pub(crate) fn repair(backend: Arc<dyn Backend>, options: &Options, observer: &dyn Observer) -> Result<Repaired> {
    repair_from(backend, options, None, observer)
}

#[cfg(test)]
mod tests;
