//! The restore itself: one transaction in the live database.

use std::path::Path;

use super::apply::apply;
use super::checks::{orphans, refuse_orphans, refuse_unsound};
use super::idle;
use super::model::{Counts, Mode, Options, Prepared};
use super::record::{About, Recorder, forget};
use super::stopped::{Stopped, in_transaction};
use super::target::refused;
use crate::error::Result;
use crate::progress::Observer;
use crate::source::database::{Inspector, writer};

/// Writes the rows into the live database, and records in `data_dir` how that is taken back. `database` is its path there as text, `from` says
/// what is restored, `files` that files were restored before.
///
/// # Errors
/// [`Error::Refused`](crate::error::Error::Refused) with why nothing was changed, [`Error::Source`](crate::error::Error::Source) if the
/// database cannot be opened for writing.
pub fn commit(
    prepared: &Prepared,
    options: &Options<'_>,
    data_dir: &Path,
    (database, from, files): (&str, &str, bool),
    observer: &dyn Observer,
) -> Result<Counts> {
    let target = &prepared.target;
    let rows = Inspector::open_as(prepared.wanted.path(), "the rows of the snapshot", observer)?;
    let live = writer::open_live(&options.live, options.busy, options.triggers, observer)?;
    let mut recorder = Recorder::create(data_dir, target.columns.len())?;
    let mut is_recorded = false;
    let done = in_transaction(&live, &target.table, |conn| {
        let before = orphans(conn)?;
        let counts = apply(conn, &rows, target, options.mode, &mut recorder, observer)?;
        if options.mode == Mode::Careful && counts.differ > 0 {
            let why = format!("{} of its rows have changed since the plan was made", counts.differ);
            return Err(Stopped::Other(refused(&target.table, why)));
        }
        refuse_orphans(&target.table, &before, &orphans(conn)?)?;
        refuse_unsound(conn, &target.table)?;
        // Before the commit: what is in place can always be taken back.
        recorder
            .persist(data_dir, &About::new(database.into(), from.into(), target, options.triggers, files, before))?;
        is_recorded = true;
        Ok(counts)
    });
    if done.is_err() && is_recorded {
        forget(data_dir)?;
    }
    if done.is_ok() {
        // The last restore is this one now.
        idle::forget(data_dir)?;
    }
    done
}
