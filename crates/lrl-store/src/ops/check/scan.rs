//! One pass over the whole store: its documents, its indexes, its packs, and every snapshot's lists.

use std::collections::HashSet;

use super::findings::Findings;
use super::options::{Options, ReadData};
use super::packs::{Packs, expect_look_ups};
use super::report::{Checked, Report};
use super::walk::Walk;
use super::{documents, read_packs};
use crate::error::{Error, Result};
use crate::id::PackId;
use crate::progress::{Observer, Phase, checkpoint};
use crate::store::Store;
use crate::store::repair::lost_chunks::LostChunks;

/// What a pass over the whole store found: its report, and what a repair needs to know.
pub(crate) struct Scan {
    pub(crate) report: Report,
    pub(crate) packs: Packs,
    /// Packs that are in no index though a snapshot needs them.
    pub(crate) needed: HashSet<PackId>,
    /// Documents (snapshots, records) that are damaged, and objects under names that lrl does not give.
    pub(crate) documents: Vec<String>,
    pub(crate) foreign: Vec<String>,
}

/// Checks everything; `wanted` collects the chunks that are lost.
pub(crate) fn scan(
    store: &Store,
    config_error: Option<&Error>,
    options: &Options,
    wanted: Option<&LostChunks>,
    observer: &dyn Observer,
) -> Result<Scan> {
    let mut findings = Findings::default();
    let mut checked = Checked::default();
    observer.phase(Phase::Verify, None);
    if let Some(error) = config_error {
        let name = store.storage().object_location("config");
        findings.wrong(&name, format!("{error}; other commands refuse the store, its data is checked all the same"));
    }
    if !store.is_locked() {
        let text = "cannot be locked: what another lrl removes meanwhile seems to be missing";
        findings.note(&store.storage().location(), text);
    }
    // First the snapshots, then the indexes, then the packs: a run that adds to the store meanwhile writes them in the opposite order.
    let mut foreign = documents::foreign(store, &mut findings)?;
    let names = store.snapshot_names(None)?;
    let records_before = documents::record_names(store)?;
    let mut packs = check_indexes(store, &mut findings, &mut checked, observer)?;
    packs.compare(store, &mut findings, &mut checked, observer)?;
    read_packs::read(&mut packs, store, options, &mut findings, &mut checked, observer)?;
    read_packs::read_suspects(&mut packs, store, observer)?;
    let (mut damaged, last_number) = documents::records(store, &records_before, &mut findings, &mut checked, observer)?;
    let unlisted = packs.unlisted();
    let mut walk = Walk::new(store, packs, unlisted, &mut findings, observer);
    walk.collect(wanted, false);
    let whole = options.read_data != ReadData::No;
    let mut read_database_of = Vec::new();
    observer.phase(Phase::Snapshots, Some(names.len() as u64));
    for name in names.iter().rev() {
        checkpoint(observer)?;
        observer.advance(0, 1);
        let snapshot = match store.snapshot(name) {
            Ok(snapshot) => snapshot,
            Err(e) if e.is_final() => return Err(e),
            // Forgotten by another process since the listing.
            Err(Error::Missing { .. }) => continue,
            Err(error) => {
                walk.damaged_snapshot(name, &error);
                damaged.extend(matches!(error, Error::Corrupt { .. }).then(|| name.object()));
                continue;
            }
        };
        checked.snapshots += 1;
        walk.snapshot(name, &snapshot)?;
        // All chunks and lists are proved one by one; the image as a whole once for each source, because its cost is its length.
        if whole && snapshot.has_databases() && !read_database_of.contains(&name.source) {
            read_database_of.push(name.source.clone());
            checked.databases_read += u64::from(walk.databases(name, &snapshot)?);
        }
    }
    let (packs, needed) = walk.finish();
    foreign.extend_from_slice(&packs.foreign);
    let mut report = findings.finish(checked, store.quarantine()?);
    report.number = store.can_read().then_some(last_number.saturating_add(1));
    Ok(Scan { report, packs, needed, documents: damaged, foreign })
}

fn check_indexes(
    store: &Store,
    findings: &mut Findings,
    checked: &mut Checked,
    observer: &dyn Observer,
) -> Result<Packs> {
    let backend = store.storage();
    let mut attempt = 0;
    let packs = loop {
        store.reload_indexes()?;
        let verified = store.verify_indexes(observer).and_then(|()| {
            let mut packs = Packs::list(store, findings)?;
            packs.read_index(store, observer)?;
            Ok(packs)
        });
        match verified {
            // Another process has merged some into a new one.
            Err(Error::Missing { .. }) if attempt < 10 => attempt += 1,
            other => break other?,
        }
    };
    for damaged in store.damaged_indexes() {
        let text = format!("{}; what it lists is found in the packs themselves", damaged.reason);
        findings.wrong(&backend.object_location(&damaged.name), text);
    }
    expect_look_ups(store)?;
    for file in store.indexes() {
        checked.index_files += 1;
        checked.index_records += file.records();
    }
    Ok(packs)
}
