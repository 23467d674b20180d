//! The verb `check`: verifies that every snapshot can be restored; names what is damaged and which snapshots that affects. Read-only, but
//! for the record of the check. Damage to one object hides no other; what could not be restored is never called clean.

mod chunks;
mod documents;
pub(crate) mod findings;
mod options;
pub(crate) mod packs;
mod read_packs;
pub(crate) mod report;
mod scan;
mod sets;
mod snapshots;
mod walk;

use std::path::Path;
use std::sync::Arc;

pub use options::{Options, ReadData};
pub use report::{Checked, Finding, Report};
pub(crate) use scan::{Scan, scan};
use sets::sets;
pub(crate) use snapshots::{damage_of, lost_chunks};

use crate::backend::Backend;
use crate::backend::location::Location;
use crate::error::{Error, Result};
use crate::format::check::{self, Check, Depth};
use crate::fs::lock::LockMode;
use crate::progress::Observer;
use crate::store::Store;
use crate::store::open::{self, OpenOptions};

/// Checks the store at a location.
///
/// # Errors
///
/// As [`open`](crate::open), and [`Error::Interrupted`]; damage is in the report.
pub fn check_at(location: &Location, open: &OpenOptions, options: &Options, observer: &dyn Observer) -> Result<Report> {
    check(open::backend(location, open)?, options, observer)
}

/// Checks the store behind `backend`.
///
/// # Errors
///
/// [`Error::NoStore`] and [`Error::Locked`] if the store cannot be opened, [`Error::Interrupted`]; damage is in the report.
pub(crate) fn check(backend: Arc<dyn Backend>, options: &Options, observer: &dyn Observer) -> Result<Report> {
    check_with_sets(backend, options, None, observer)
}

/// Checks the store behind `backend` and the sets in a directory; their files are read if all of the store is. The record of the check counts
/// both: status must not call a check clean that found a rotten set.
///
/// # Errors
///
/// As [`check_at`], but for opening the backend.
pub fn check_with_sets(
    backend: Arc<dyn Backend>,
    options: &Options,
    beside: Option<&Path>,
    observer: &dyn Observer,
) -> Result<Report> {
    let (store, config_error) = Store::examine(backend, LockMode::Shared, options.lock_wait, observer)?;
    let mut report = scan(&store, config_error.as_ref(), options, None, observer)?.report;
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
        number: report.number,
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

#[cfg(test)]
mod tests;
