//! The plan, by doing it on a copy of the live database.

use super::apply::apply;
use super::checks::{orphans, refuse_orphans, refuse_unsound};
use super::files::{self, Places};
use super::model::{Mode, Options, Plan, Prepared};
use super::record::Recorder;
use super::stopped::in_transaction;
use super::target::{Target, refused};
use crate::error::{Error, Result};
use crate::format::snapshot::{Database, Snapshot};
use crate::hint::{AddHint, Hint};
use crate::ops::query::private_file::PrivateFile;
use crate::ops::query::{image, limit, live};
use crate::progress::Observer;
use crate::source::database::Inspector;
use crate::source::database::each_row::Filter;
use crate::source::database::small_file::write_table;
use crate::source::database::sql_text::needs_the_application;
use crate::source::database::table_shape::TableKind;
use crate::source::database::writer;
use crate::store::Store;

/// Tries the restore on a copy of the live database; changes nothing else.
///
/// # Errors
/// [`Error::Refused`](crate::error::Error::Refused) with why rows cannot go back, [`Error::NotFound`](crate::error::Error::NotFound) for a table
/// that the snapshot does not have, and those of reading both databases.
pub fn prepare(
    store: &Store,
    snapshot: &Snapshot,
    part: &Database,
    options: &Options<'_>,
    places: &Places<'_>,
    observer: &dyn Observer,
) -> Result<Prepared> {
    plan(store, snapshot, part, options, places, observer).map_err(|error| match error {
        // Nothing is damaged.
        Error::Corrupt { detail, .. } if needs_the_application(detail.text()) => {
            refused(options.table, format!("it needs what only the application registers with SQLite ({detail})"))
        }
        error => error,
    })
}

fn plan(
    store: &Store,
    snapshot: &Snapshot,
    part: &Database,
    options: &Options<'_>,
    places: &Places<'_>,
    observer: &dyn Observer,
) -> Result<Prepared> {
    let old = image::open(store, part, options.temp, observer)?;
    let copy = live::copy(&options.live, options.busy, options.temp, observer)?;
    let shown = options.live.display().to_string();
    let now = Inspector::open_as(copy.path(), &shown, observer)?;
    if now.encoding()? != old.encoding()? {
        return Err(refused(options.table, "the two databases encode texts differently"));
    }
    let target = Target::find(&old, &now, options.table)?;
    if options.mode == Mode::Replace && target.key.is_empty() {
        let why = "it has no key, so no row is there with other values".hint(Hint::WithoutReplace);
        return Err(refused(&target.table, why));
    }
    let mut plan = Plan {
        table: target.table.clone(),
        creates: !target.definitions.is_empty(),
        key: target.key.clone(),
        rebuilds: target.rebuild.clone(),
        ..Plan::default()
    };
    let schema = if plan.creates { old.schema()? } else { now.schema()? };
    let triggers = schema.iter().filter(|item| item.kind == "trigger" && item.table == target.table);
    plan.triggers = triggers.map(|item| item.name.clone()).collect();
    plan.refers_to = if plan.creates { old.refers_to(&target.table)? } else { now.refers_to(&target.table)? };
    let missing_before = files::missing(&now, places, options.temp, options.time_limit)?;
    drop(now);
    let wanted = wanted(&old, &target, part, options)?;
    drop(old);
    plan.counts = {
        let trial = writer::open_trial(copy.path(), options.triggers, observer)?;
        let rows = Inspector::open_as(wanted.path(), "the rows of the snapshot", observer)?;
        let mut recorder = Recorder::create(options.temp, target.columns.len())?;
        in_transaction(&trial, &target.table, |conn| {
            let before = orphans(conn)?;
            let counts = apply(conn, &rows, &target, options.mode, &mut recorder, observer)?;
            refuse_orphans(&target.table, &before, &orphans(conn)?)?;
            refuse_unsound(conn, &target.table)?;
            Ok(counts)
        })?
    };
    let after = Inspector::open_as(copy.path(), &shown, observer)?;
    if let Some(finding) = after.integrity_check(1)?.findings.first() {
        return Err(refused(&target.table, format!("SQLite finds the live database unsound: {finding}")));
    }
    let missing = files::missing(&after, places, options.temp, options.time_limit)?;
    let named: std::collections::BTreeSet<_> = missing.difference(&missing_before).cloned().collect();
    (plan.files, plan.lost_files) = files::held(store, snapshot, &named)?;
    Ok(Prepared { plan, wanted, target })
}

/// Writes the wanted rows into a private database of their own.
fn wanted(old: &Inspector<'_>, target: &Target, part: &Database, options: &Options<'_>) -> Result<PrivateFile> {
    let mut shape = old.shape(options.table)?;
    shape.name.clone_from(&target.table);
    let from = old.shape(options.table)?.name;
    // Its own definition could refuse rows, or need the application.
    shape.kind = TableKind::Shadow;
    let file = PrivateFile::new(options.temp, part.size_bytes)?;
    let stop = limit::limit(options.temp, options.time_limit);
    write_table(file.path(), old.encoding()?, &shape, &mut |visit| {
        let filter = options.condition.map(|condition| Filter { condition, stop: &stop });
        old.each_row(&from, &target.columns, filter, visit)
    })?;
    Ok(file)
}
