//! Packs read whole: the file against its name, every chunk against its id.

use std::sync::Mutex;

use rayon::prelude::*;

use super::findings::Findings;
use super::options::{Options, ReadData, chance};
use super::packs::{Packs, hash_file};
use super::report::Checked;
use crate::error::{Error, Result};
use crate::id::PackId;
use crate::progress::{Observer, Phase, checkpoint};
use crate::store::index::Location;
use crate::store::{Store, pack_directory, pack_name};

fn chosen(packs: &Packs, options: &Options) -> Vec<(PackId, u64)> {
    let there = packs.lengths();
    let all = there.iter().map(|(_, len)| len).sum();
    let takes = |id: &PackId| options.read_data.takes(id, options.seed, all);
    let mut chosen: Vec<_> = there.iter().filter(|(id, _)| takes(id)).copied().collect();
    let by_chance = matches!(options.read_data, ReadData::Percent(_) | ReadData::Bytes(_));
    if chosen.is_empty() && by_chance {
        // Few packs and a small share: one is read all the same, a different one for each seed.
        chosen.extend(there.iter().min_by_key(|(id, _)| chance(id, options.seed)));
    }
    chosen.sort_unstable();
    chosen
}

/// Reads the chosen packs whole: the file against its name, every chunk against its id.
pub(super) fn read(
    packs: &mut Packs,
    store: &Store,
    options: &Options,
    findings: &mut Findings,
    checked: &mut Checked,
    observer: &dyn Observer,
) -> Result<()> {
    if options.read_data == ReadData::No {
        return Ok(());
    }
    let chosen = chosen(packs, options);
    observer.phase(Phase::Verify, Some(chosen.iter().map(|(_, len)| len).sum()));
    let mut coming = chosen.clone().into_iter();
    coming.by_ref().take(1).for_each(|(id, len)| store.storage().prefetch(&pack_name(&id), 0, len));
    for (id, len) in chosen {
        coming.next().iter().for_each(|(id, len)| store.storage().prefetch(&pack_name(id), 0, *len));
        let object = store.storage().object_location(&pack_name(&id));
        let hashed = hash_file(store, &pack_name(&id), observer);
        let whole = match &hashed {
            Ok(found) => *found == id,
            Err(e) if e.is_final() => return hashed.map(drop),
            Err(_) => false,
        };
        if !whole {
            packs.mark_damaged(&id, hashed.as_ref().err().is_none_or(Error::is_damage));
            let text = hashed.map_or_else(|e| e.to_string(), |_| "its bytes do not match its name".into());
            match packs.is_listed(&id) {
                true => findings.wrong(&object, text),
                false => findings.note(&object, text),
            }
        }
        checked.packs_read += 1;
        checked.bytes_read += len;
        // Where the directory is damaged, the chunks are read as the index lists them: see below.
        let Ok(records) = pack_directory(&**store.storage(), &id) else { continue };
        let failed = Mutex::new(Vec::new());
        records.par_iter().try_for_each(|(offset, record)| {
            checkpoint(observer)?;
            let place = Location { pack: id, offset: *offset, record: record.clone() };
            match store.read_copy(&place) {
                Ok(_) => {}
                Err(e) if e.is_final() => return Err(e),
                Err(error) => failed.lock().unwrap_or_else(|e| e.into_inner()).push((place, error)),
            }
            Ok(())
        })?;
        for (place, error) in failed.into_inner().unwrap_or_else(|e| e.into_inner()) {
            let mut is_listed = false;
            for copy in store.copies(&place.record.id)? {
                if (copy.place.pack, copy.place.offset) == (place.pack, place.offset) {
                    packs.bad.set(copy.slot);
                    is_listed |= !copy.slot.is_pack_scan();
                }
            }
            // A dead chunk may depend on bases that are gone; what a snapshot needs is reported by its walk.
            let bases_read = place.record.bases.iter().all(|base| store.read(base).is_ok());
            packs.mark_damaged(&id, bases_read && error.is_damage());
            if whole && is_listed {
                findings.note(&format!("chunk {} in {object}", place.record.id), error.to_string());
            }
        }
    }
    Ok(())
}

/// Finds out which chunks of packs with a damaged directory can still be read.
pub(super) fn read_suspects(packs: &mut Packs, store: &Store, observer: &dyn Observer) -> Result<()> {
    let suspects = packs.suspects();
    if suspects.is_empty() {
        return Ok(());
    }
    let bad = &mut packs.bad;
    store.each_chunk(&mut |copies| {
        checkpoint(observer)?;
        for copy in copies.iter().filter(|copy| suspects.contains(&copy.place.pack)) {
            match store.read_copy(&copy.place) {
                Ok(_) => {}
                Err(e) if e.is_final() => return Err(e),
                Err(_) => bad.set(copy.slot),
            }
        }
        Ok(())
    })
}
