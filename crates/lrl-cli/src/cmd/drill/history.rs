//! `lrl drill --all` and `--oldest-first`: one snapshot after another, each recorded as soon as it is done. One that fails stops no other.

use lrl_store::error::Error;
use lrl_store::ops::drill::{Report, drill_snapshot};
use lrl_store::store::{SnapshotName, Store};
use serde_json::{Value, json};

use super::session::{Drills, Run, now};
use crate::cmd::shared::choose;
use crate::exit::{Failure, Result};
use crate::hint;
use crate::render::json::List;

/// Drills the history; returns what it came to.
pub fn drill(run: &Run<'_>, store: &Store, drills: &mut Drills, list: &mut List<'_>) -> Result<Value> {
    let (context, args) = (run.context, run.args);
    let mut names = store.snapshot_names(choose::named_source(context))?;
    if names.is_empty() {
        let text = format!("there is no snapshot in {}; `lrl backup` makes one", store.storage().location());
        return Err(Error::not_found(text).into());
    }
    let all = names.len();
    if args.oldest_first {
        most_urgent_first(run, store, drills, &mut names)?;
    }
    names.truncate(args.limit.and_then(|limit| usize::try_from(limit).ok()).unwrap_or(all));
    for name in &names {
        if args.max_time.is_some_and(|most| run.started.elapsed() >= most) && !drills.ended.is_empty() {
            break;
        }
        context.term.say(format!("Using snapshot: {} of {}", name.id.short(), name.source));
        match one(run, store, name) {
            Ok(report) => drills.add(run, report, Ok(store), list)?,
            Err(Error::Interrupted) => return Err(Error::Interrupted.into()),
            Err(error) => {
                // No fault of the snapshot: no record says that it failed.
                drills.undrilled += 1;
                context.term.warn(format!(
                    "snapshot {} could not be drilled: {}",
                    name.id.short(),
                    hint::error(&error)
                ));
            }
        }
    }
    let passed = drills.ended.iter().filter(|ended| ended.success).count();
    let drilled = drills.ended.len();
    Ok(json!({ "history": {
        "snapshots": all, "drilled": drilled, "passed": passed, "failed": drilled - passed, "not_drilled": drills.undrilled,
    } }))
}

fn one(run: &Run<'_>, store: &Store, name: &SnapshotName) -> Result<Report, Error> {
    match store.snapshot(name) {
        Ok(snapshot) => drill_snapshot(store, name, &snapshot, &run.options(Ok(store)), run.context.term),
        Err(error @ (Error::Corrupt { .. } | Error::Missing { .. })) => Ok(Report::unreadable(name, &error)),
        Err(error) => Err(error),
    }
}

fn most_urgent_first(
    run: &Run<'_>,
    store: &Store,
    drills: &mut Drills,
    names: &mut Vec<SnapshotName>,
) -> Result<(), Failure> {
    // Names come by source, so each source's records are read once.
    let mut keyed = Vec::with_capacity(names.len());
    for name in names.drain(..) {
        let evidence = drills.books.of(run.context, store, &name.source, now())?;
        keyed.push((evidence.urgency(&name), name));
    }
    keyed.sort();
    names.extend(keyed.into_iter().map(|(_, name)| name));
    Ok(())
}
