//! The verb `import`: sets that the old script wrote become snapshots with their own times, each verified before it is published.
//! Unpacks an archive into a private directory and stores it as a backup would; never changes the sets.

pub(super) mod archive;
mod report;
mod set;
pub(super) mod uploads;

use std::path::PathBuf;
use std::time::Duration;

pub use archive::SCRATCH;
pub use report::{Imported, Options, Report, Skipped};

use crate::error::{Error, Result};
use crate::fs::lock::LockMode;
use crate::ops::backup::{self, KnownLosses};
use crate::ops::check::lost_chunks;
use crate::ops::recover_chunks::{HealSources, Origin};
use crate::progress::Observer;
use crate::set::directory::manifests;
use crate::set::manifest::read::FoundSet;
use crate::store::Store;
use crate::store::repair::lost_chunks::LostChunks;
use set::{checked, import_one};

/// Imports every set in a directory. A damaged set is in the report.
///
/// # Errors
///
/// [`Error::NotFound`] if the directory holds no set, [`Error::WriteOnly`] with a key that cannot read, [`Error::Locked`] while another run
/// holds the source, [`Error::Interrupted`].
pub fn import(store: &Store, options: &Options, observer: &dyn Observer) -> Result<Report> {
    // A write-only key cannot read what is there, and would store it again.
    store.check_readable()?;
    let interrupted = || observer.interrupted();
    let _one_run = store.storage().lock(
        &format!("lock-{}", options.source),
        LockMode::Exclusive,
        options.lock_wait,
        &interrupted,
    )?;
    store.storage().reclaim()?;
    let mut notes = Vec::new();
    let KnownLosses { lost, repairs } = backup::survey(store, (None, false), &mut notes, observer)?;
    let is_whole = lost.is_empty() && repairs.is_empty();
    let found = manifests(&options.dir)?;
    if found.is_empty() {
        return Err(Error::not_found(format!("No manifest found in {}", options.dir.display())));
    }
    let mut report = Report::default();
    let mut sets = Vec::new();
    for manifest in found {
        match FoundSet::load(&manifest).map_err(|e| e.to_string()).and_then(|set| Ok((checked(&set)?, set))) {
            Ok(set) => sets.push(set),
            Err(reason) => report.failed.push(Skipped { manifest, reason: reason.into() }),
        }
    }
    sets.sort_by(|a, b| (a.0, &a.1.manifest).cmp(&(b.0, &b.1.manifest)));
    let mut taken = backup::all_timestamps(store, &options.source)?;
    let mut known = Vec::new();
    for (created, set) in sets {
        let manifest = set.manifest.clone();
        if taken.contains(&set.timestamp) {
            let reason = format!("source {} has a snapshot of {}", options.source, set.timestamp);
            known.push((set.timestamp.clone(), manifest.clone()));
            report.known.push(Skipped { manifest, reason: reason.into() });
            continue;
        }
        match import_one(store, &set, created, is_whole, options, &taken, observer)? {
            Ok(imported) => {
                taken.insert(set.timestamp);
                report.imported.push(imported);
            }
            Err(reason) => report.failed.push(Skipped { manifest, reason }),
        }
    }
    heal(store, &known, options, &mut report, observer)?;
    Ok(report)
}

/// Stores again what the store has lost of snapshots whose sets are here.
fn heal(
    store: &Store,
    known: &[(String, PathBuf)],
    options: &Options,
    report: &mut Report,
    observer: &dyn Observer,
) -> Result<()> {
    let mut snapshots = Vec::new();
    for name in if known.is_empty() { Vec::new() } else { store.snapshot_names(Some(&options.source))? } {
        match store.snapshot(&name) {
            Ok(snapshot) if known.iter().any(|(stamp, _)| *stamp == snapshot.timestamp) => {
                snapshots.push((name, snapshot))
            }
            Ok(_) => {}
            Err(error) if error.is_damage() => {}
            Err(error) => return Err(error),
        }
    }
    let healing = HealSources {
        origins: known.iter().map(|(_, manifest)| Origin::Set(manifest.clone())).collect(),
        scratch: options.scratch.clone(),
        program: options.program.clone(),
        busy: Duration::ZERO,
        now: options.now,
    };
    loop {
        let wanted = LostChunks::new()?;
        lost_chunks(store, &snapshots, &wanted, observer)?;
        if wanted.is_empty()? {
            report.still_lost = false;
            return Ok(());
        }
        report.still_lost = true;
        let healed = healing.heal(store, &wanted, &mut Vec::new(), observer)?;
        report.healed.add(&healed);
        if healed.chunks == 0 {
            return Ok(());
        }
    }
}
