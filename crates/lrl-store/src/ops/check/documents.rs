//! The small objects: records of drills and repairs, each against its name, and what lies among lrl's objects under other names.

use std::collections::HashSet;

use super::findings::Findings;
use super::report::Checked;
use crate::backend::collect;
use crate::error::{Error, Result};
use crate::progress::{Observer, checkpoint};
use crate::store::check_records::CheckName;
use crate::store::deletion::pending::{PENDING, pending_id, pending_name};
use crate::store::deletion::prune_lease;
use crate::store::deletion::prune_lease::CLAIMS;
use crate::store::drill_records::DrillName;
use crate::store::repair::quarantine::{repair_id, repair_name};
use crate::store::{SnapshotName, Store, index};

/// Notes and returns what lies among snapshots, indexes and records under names that lrl does not give; packs are listed by themselves.
pub(crate) fn foreign(store: &Store, findings: &mut Findings) -> Result<Vec<String>> {
    let backend = store.storage();
    let mut foreign = Vec::new();
    let mut look = |prefix: &str, what: &str, is_ours: &dyn Fn(&str) -> bool| {
        backend.list(prefix, &mut |name, _| {
            if !is_ours(name) {
                let text = format!("is not a name that lrl gives to {what}: not looked at");
                findings.note(&backend.object_location(name), text);
                foreign.push(name.to_string());
            }
            Ok(())
        })
    };
    look("snapshots", "a snapshot", &|name| SnapshotName::parse(name).is_some())?;
    look("index", "an index", &index::is_object_name)?;
    look("drills", "a drill's record", &|name| DrillName::parse(name).is_some())?;
    look("checks", "a check's record", &|name| CheckName::parse(name).is_some())?;
    look("repairs", "a repair's record", &|name| repair_id(name).is_some())?;
    look(PENDING, "a list of candidates", &|name| pending_id(name).is_some())?;
    look(CLAIMS, "a claim", &prune_lease::is_object_name)?;
    Ok(foreign)
}

/// Lists the names of the records of drills and checks.
pub(super) fn record_names(store: &Store) -> Result<HashSet<String>> {
    let mut names = HashSet::new();
    for kind in ["drills", "checks"] {
        store.storage().list(kind, &mut |name, _| {
            names.insert(name.to_string());
            Ok(())
        })?;
    }
    Ok(names)
}

/// Reads every record; returns the names of those that are damaged, and the highest number of those drills and checks that were there before.
pub(super) fn records(
    store: &Store,
    before: &HashSet<String>,
    findings: &mut Findings,
    checked: &mut Checked,
    observer: &dyn Observer,
) -> Result<(Vec<String>, u64)> {
    let backend = store.storage();
    let mut last_number = 0;
    let mut number = |object: &str, number: Option<u64>| {
        if before.contains(object) {
            last_number = last_number.max(number.unwrap_or_default());
        }
    };
    let mut damaged = Vec::new();
    let mut judge = |object: String, read: Result<()>| match read {
        Ok(()) => Ok(()),
        Err(e) if e.is_final() => Err(e),
        // Removed since the listing.
        Err(Error::Missing { .. }) => Ok(()),
        Err(error) => {
            findings.wrong(&backend.object_location(&object), format!("{error}; no snapshot needs it"));
            damaged.extend(matches!(error, Error::Corrupt { .. }).then_some(object));
            Ok(())
        }
    };
    for name in collect(&**backend, "drills", DrillName::parse)? {
        checkpoint(observer)?;
        checked.drills += 1;
        let read = store.drill(&name).map(|drill| number(&name.object(), drill.number));
        judge(name.object(), read)?;
    }
    for name in store.check_names()? {
        let read = store.check_record(&name).map(|check| number(&name.object(), check.number));
        judge(name.object(), read)?;
    }
    for id in store.pending_ids()? {
        judge(pending_name(&id), store.pending(&id).map(drop))?;
    }
    for id in store.repairs()? {
        let name = repair_name(&id);
        let object = backend.object_location(&name);
        let is_named = |bytes: Vec<u8>| match store.ids().repair(&bytes) == id {
            true => Ok(()),
            false => Err(Error::corrupt(object, "its bytes do not match its name")),
        };
        judge(name.clone(), backend.read(&name).and_then(is_named))?;
    }
    Ok((damaged, last_number))
}
