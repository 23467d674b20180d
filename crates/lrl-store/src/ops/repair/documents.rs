//! Renames good objects that are under wrong names: a document's name follows from what it says, a pack's from its bytes. What is damaged
//! under such a name is copied into quarantine first.

use std::collections::HashSet;

use super::report::Moved;
use crate::backend::Payload;
use crate::error::{Error, Result};
use crate::format::{drill, pack, snapshot};
use crate::id::PackId;
use crate::ops::check::Scan;
use crate::ops::check::packs::hash_file;
use crate::progress::Observer;
use crate::store::drill_records::DrillName;
use crate::store::{SnapshotName, Store, is_source_name, pack_name};

/// Gives names back; returns which.
pub(crate) fn rename(store: &Store, found: &Scan, observer: &dyn Observer) -> Result<Vec<Moved>> {
    let backend = store.storage();
    let mut renamed = Vec::new();
    let bad_packs = found.packs.damaged();
    for object in &found.packs.foreign {
        let Some(id) = own_pack(store, object, observer)? else { continue };
        let to = pack_name(&id);
        // Any bytes are some pack's: it must be known from elsewhere.
        let is_known = found.packs.is_known(&id) || object.contains(&id.to_string());
        let is_there = found.packs.len(&id).is_some();
        if is_known && is_there && bad_packs.binary_search(&id).is_ok() {
            store.move_to_quarantine(&to)?;
        } else if !is_known || is_there {
            continue;
        }
        backend.rename(object, &to)?;
        renamed.push(Moved { object: object.clone(), to });
    }
    let damaged: HashSet<&String> = found.documents.iter().collect();
    let mut misnamed = Vec::new();
    for object in found.documents.iter().chain(&found.foreign).filter(|name| !name.starts_with("packs/")) {
        let Some((to, bytes)) = own_name(store, object)? else { continue };
        // Any bytes are something's: the name must be known from elsewhere, or a flipped byte would make another snapshot.
        let id = to.rsplit('-').next().unwrap_or_default();
        let is_known = damaged.contains(&to) || object.to_lowercase().contains(id);
        let is_free = damaged.contains(&to) || matches!(backend.len(&to), Err(Error::Missing { .. }));
        if is_known && is_free && !misnamed.iter().any(|(_, other, _)| *other == to) {
            misnamed.push((object, to, bytes));
        }
    }
    // All that will be replaced is in quarantine before anything is: two documents may have swapped names.
    for (_, to, _) in misnamed.iter().filter(|(_, to, _)| damaged.contains(to)) {
        store.copy_to_quarantine(to, &backend.read(to)?)?;
    }
    for (_, to, bytes) in &misnamed {
        backend.put(to, Payload::Bytes(bytes))?;
    }
    for (object, to, _) in &misnamed {
        if misnamed.iter().all(|(_, to, _)| to != *object) {
            backend.remove(object)?;
        }
        renamed.push(Moved { object: (*object).clone(), to: to.clone() });
    }
    Ok(renamed)
}

/// Returns the name that a document should have by what it says, and the document; `None` if it has it, or is damaged.
fn own_name(store: &Store, object: &str) -> Result<Option<(String, Vec<u8>)>> {
    let backend = store.storage();
    let bytes = match backend.read(object) {
        Err(error) if error.is_damage() => return Ok(None),
        other => other?,
    };
    let name = match object.split('/').next() {
        Some("snapshots") => {
            let id = store.ids().snapshot(&bytes);
            let found =
                snapshot::decode(&bytes, &id, store.ids(), object).ok().filter(|found| is_source_name(&found.source));
            found.map(|found| SnapshotName { source: found.source, sequence: found.sequence, id }.object())
        }
        Some("drills") => {
            let id = store.ids().drill(&bytes);
            let found =
                drill::decode(&bytes, &id, store.ids(), object).ok().filter(|found| is_source_name(&found.source));
            found.map(|found| {
                let finished = u64::try_from(found.finished.secs).unwrap_or_default();
                DrillName { source: found.source, finished, id }.object()
            })
        }
        _ => None,
    };
    Ok(name.filter(|name| name != object).map(|name| (name, bytes)))
}

/// Returns the id of the pack that an object is by its bytes; `None` for what does not even begin like one.
fn own_pack(store: &Store, object: &str, observer: &dyn Observer) -> Result<Option<PackId>> {
    let header = store.storage().read_range(object, 0, pack::HEADER.len());
    match header.map(|header| [pack::HEADER, pack::SEALED_HEADER].iter().any(|ours| header == ours)) {
        Ok(true) => {}
        Err(error) if !error.is_damage() => return Err(error),
        _ => return Ok(None),
    }
    match hash_file(store, object, observer) {
        Err(error) if error.is_damage() => Ok(None),
        other => other.map(Some),
    }
}
