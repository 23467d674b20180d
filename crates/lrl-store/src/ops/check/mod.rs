//! The verb `check`: proves that the store can give back every snapshot, and says what is damaged and whom that concerns. Reads only.
//! Damage to one object hides no other; what could not be restored is never called clean.

mod documents;
pub(crate) mod findings;
pub(crate) mod packs;
mod sets;
mod walk;

use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

pub use findings::Finding;
use findings::Findings;

use crate::backend::Backend;
use crate::error::{Error, Result};
use crate::format::check::{self, Check, Damaged, Depth};
use crate::format::repair::Loss;
use crate::format::snapshot::Snapshot;
use crate::fs::lock::LockMode;
use crate::id::PackId;
pub use crate::ops::repair::{Moved, Repaired, Saved, repair, repair_from};
use crate::progress::{Observer, Phase, checkpoint};
use crate::store::repair::lost_chunks::LostChunks;
use crate::store::repair::quarantine::Quarantine;
use crate::store::{SnapshotName, Store};
use crate::time::Time;
use sets::sets;

/// Which packs are read whole.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum ReadData {
    /// None: only what leads to data is read.
    No,
    /// All.
    All,
    /// The `part`-th of `of` slices (from 1); together the slices are all packs.
    Slice {
        /// Which one.
        part: u32,
        /// How many there are.
        of: u32,
    },
    /// So many percent of the packs, by chance.
    Percent(f64),
    /// Packs of about so many bytes, by chance.
    Bytes(u64),
}

/// How to check.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// How much data to read.
    pub read_data: ReadData,
    /// Decides which packs are chosen by chance.
    pub seed: u64,
    /// How long to wait for the store's lock.
    pub lock_wait: Duration,
    /// What the check's record says of when it began and of the program; `None` leaves no record.
    pub record: Option<(Time, &'static str)>,
}

/// How much was looked at.
#[derive(Debug, Default, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Checked {
    /// Snapshot documents.
    pub snapshots: u64,
    /// Records of drills.
    pub drills: u64,
    /// Index files.
    pub index_files: u64,
    /// Records in them.
    pub index_records: u64,
    /// Packs whose directories were compared with the index.
    pub packs: u64,
    /// Their bytes.
    pub pack_bytes: u64,
    /// Packs that were read whole, each chunk decoded.
    pub packs_read: u64,
    /// Their bytes.
    pub bytes_read: u64,
    /// Database images that were compared with their SHA-256.
    pub databases_read: u64,
    /// Sets whose files were compared with their manifest.
    pub sets: u64,
    /// Bytes of them that were read; a file with several names counts once.
    pub set_bytes_read: u64,
}

/// What a check found.
#[derive(Debug, Clone)]
pub struct Report {
    /// How much was looked at.
    pub checked: Checked,
    /// What is wrong, and notes; by object.
    pub findings: Vec<Finding>,
    /// Findings beyond those that fit in here.
    pub more: u64,
    /// What each snapshot has lost; snapshots that are whole are not in it.
    pub lost: Vec<Loss>,
    /// Snapshots beyond those.
    pub more_lost: u64,
    /// What repairs have moved out of the way.
    pub quarantine: Quarantine,
    /// True if anything is wrong; notes do not count.
    pub wrong: bool,
    /// True if anything is wrong in the store itself, as opposed to the sets beside it.
    pub is_store_wrong: bool,
    /// Why the check is not on record, if it is not.
    pub unrecorded: Option<String>,
    /// Which parts of which snapshots are damaged, up to 20,000, the newest first in each source; and how many more there are.
    pub(crate) damaged: (Vec<Damaged>, u64),
}

/// What a look at the whole store found: what to say of it, and what a repair needs to know.
pub(crate) struct Found {
    pub(crate) report: Report,
    pub(crate) packs: packs::Packs,
    /// Packs that are in no index though a snapshot needs them.
    pub(crate) needed: HashSet<PackId>,
    /// Documents (snapshots, records) that are damaged, and objects under names that lrl does not give.
    pub(crate) documents: Vec<String>,
    pub(crate) foreign: Vec<String>,
}

/// Blocks of all index files that are kept decoded, 12 MiB: every chunk is looked up, in no order.
const CACHED_BLOCKS: usize = 2048;

/// Checks the store in `storage`.
pub fn check(storage: Arc<dyn Backend>, options: &Options, observer: &dyn Observer) -> Result<Report> {
    check_with_sets(storage, options, None, observer)
}

/// Checks the store in `storage` and the sets in a directory, whose files are read if all of the store is. The record of the check counts both:
/// status must not call a check clean that found a rotten set.
pub fn check_with_sets(
    storage: Arc<dyn Backend>,
    options: &Options,
    beside: Option<&Path>,
    observer: &dyn Observer,
) -> Result<Report> {
    let (store, config_error) = Store::examine(storage, LockMode::Shared, options.lock_wait, observer)?;
    let mut report = look(&store, config_error.as_ref(), options, None, observer)?.report;
    if let Some(dir) = beside {
        sets(dir, options.read_data == ReadData::All, &mut report, observer)?;
    }
    add_check_record(&store, options, &mut report)?;
    Ok(report)
}

/// Records a check where the store can be written; a check is none the worse without.
pub(crate) fn add_check_record(store: &Store, options: &Options, report: &mut Report) -> Result<()> {
    let Some((time, program)) = options.record else { return Ok(()) };
    let depth = match options.read_data {
        ReadData::No => Depth::Structure,
        ReadData::All => Depth::All,
        ReadData::Slice { .. } | ReadData::Percent(_) | ReadData::Bytes(_) => Depth::Part,
    };
    let (damaged, more_damaged) = report.damaged.clone();
    let check = Check {
        format: check::VERSION,
        time,
        depth,
        passed: !report.wrong,
        damaged,
        more_damaged,
        program: program.into(),
    };
    let written = match store.is_read_only() {
        true => Err(Error::Refused("the store cannot be written".into())),
        false => store.check_writable().and_then(|()| store.add_check(&check).map(drop)),
    };
    match written {
        Err(error) if error.is_final() => return Err(error),
        Err(error) => report.unrecorded = Some(error.to_string()),
        Ok(()) => {}
    }
    Ok(())
}

/// Looks at everything; `wanted` gets the chunks that are lost.
pub(crate) fn look(
    store: &Store,
    config_error: Option<&Error>,
    options: &Options,
    wanted: Option<&LostChunks>,
    observer: &dyn Observer,
) -> Result<Found> {
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
    let mut packs = check_indexes(store, &mut findings, &mut checked, observer)?;
    packs.compare(store, &mut findings, &mut checked, observer)?;
    packs.read(store, options, &mut findings, &mut checked, observer)?;
    packs.read_suspects(store, observer)?;
    let mut damaged = documents::records(store, &mut findings, &mut checked, observer)?;
    let unlisted = packs.unlisted();
    let mut walk = walk::Walk::new(store, packs, unlisted, &mut findings, observer);
    walk.collect(wanted, false);
    let whole = options.read_data != ReadData::No;
    let mut read_database_of = Vec::new();
    for name in names.iter().rev() {
        checkpoint(observer)?;
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
        if whole && snapshot.database.is_some() && !read_database_of.contains(&name.source) {
            read_database_of.push(name.source.clone());
            checked.databases_read += u64::from(walk.database(name, &snapshot)?);
        }
    }
    let (packs, needed) = walk.finish();
    foreign.extend_from_slice(&packs.foreign);
    let report = findings.finish(checked, store.quarantine()?);
    Ok(Found { report, packs, needed, documents: damaged, foreign })
}

/// Says of each snapshot what keeps the store from giving it back; `None` where every list reads and every chunk is in a pack that is there.
/// Nothing but the lists is read.
pub(crate) fn damage_of(
    store: &Store,
    snapshots: &[(SnapshotName, Snapshot)],
    lost: &[PackId],
    observer: &dyn Observer,
) -> Result<Vec<Option<String>>> {
    if snapshots.is_empty() {
        return Ok(Vec::new());
    }
    keep_blocks(store);
    let mut findings = Findings::default();
    let mut packs = packs::Packs::list(store, &mut Findings::default())?;
    packs.lose(lost);
    let mut walk = walk::Walk::new(store, packs, HashSet::new(), &mut findings, observer);
    let one = |(name, snapshot): &(SnapshotName, Snapshot)| {
        walk.snapshot(name, snapshot)?;
        Ok(walk.take_damage())
    };
    snapshots.iter().map(one).collect()
}

/// Collects the chunks of some snapshots that cannot be read, by reading all of them; each chunk is read once.
pub(crate) fn lost_chunks(
    store: &Store,
    snapshots: &[(SnapshotName, Snapshot)],
    wanted: &LostChunks,
    observer: &dyn Observer,
) -> Result<()> {
    keep_blocks(store);
    let mut findings = Findings::default();
    let packs = packs::Packs::list(store, &mut Findings::default())?;
    let mut walk = walk::Walk::new(store, packs, HashSet::new(), &mut findings, observer);
    walk.collect(Some(wanted), true);
    snapshots.iter().try_for_each(|(name, snapshot)| walk.snapshot(name, snapshot))
}

/// Lists the packs that are there.
pub(crate) fn packs_there(store: &Store) -> Result<HashSet<PackId>> {
    Ok(packs::Packs::list(store, &mut Findings::default())?.there().into_iter().collect())
}

fn keep_blocks(store: &Store) {
    let files = store.indexes();
    files.iter().for_each(|file| file.keep_blocks(CACHED_BLOCKS / files.len()));
}

fn check_indexes(
    store: &Store,
    findings: &mut Findings,
    checked: &mut Checked,
    observer: &dyn Observer,
) -> Result<packs::Packs> {
    let storage = store.storage();
    let mut attempt = 0;
    let packs = loop {
        store.reload_indexes()?;
        let verified = store.verify_indexes(observer).and_then(|()| {
            let mut packs = packs::Packs::list(store, findings)?;
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
        findings.wrong(&storage.object_location(&damaged.name), text);
    }
    keep_blocks(store);
    for file in store.indexes() {
        checked.index_files += 1;
        checked.index_records += file.records();
    }
    Ok(packs)
}

impl ReadData {
    /// Says how many of all packs are chosen, between 0 and 1.
    fn share(self, all_bytes: u64) -> f64 {
        match self {
            Self::No | Self::Slice { .. } => 0.0,
            Self::All => 1.0,
            Self::Percent(percent) => percent / 100.0,
            Self::Bytes(bytes) => bytes as f64 / all_bytes.max(1) as f64,
        }
    }

    fn takes(self, pack: &PackId, seed: u64, all_bytes: u64) -> bool {
        if let Self::Slice { part, of } = self {
            let value = u64::from_be_bytes(*pack.as_bytes().first_chunk().unwrap_or(&[0; 8]));
            return value % u64::from(of.max(1)) + 1 == u64::from(part);
        }
        (chance(pack, seed) as f64) < self.share(all_bytes) * u64::MAX as f64 || self == Self::All
    }
}

/// A number that is the same for a pack and a seed, and as good as random.
fn chance(pack: &PackId, seed: u64) -> u64 {
    let digest = crate::id::Hasher::new().update(&seed.to_le_bytes()).update(pack.as_bytes()).finish();
    u64::from_le_bytes(*digest.first_chunk().unwrap_or(&[0; 8]))
}

#[cfg(test)]
mod tests;
