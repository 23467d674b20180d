//! Compares the files of a set with the snapshot that the set shows.

use crate::error::{Error, Result};
use crate::format::snapshot::{Snapshot, THE_DATABASE};
use crate::id::SnapshotId;
use crate::ops::drill::finding::finding;
use crate::ops::drill::options::Options;
use crate::ops::drill::verification::{Check, MATCHES, Verification};
use crate::set::manifest::read::FoundSet;

/// The snapshot that a set shows, or why there is none to compare with.
pub(crate) type Shown = Result<(SnapshotId, Snapshot), String>;

/// Finds the snapshot that the set shows; the text says why there is none to compare with.
pub(crate) fn shown_snapshot(set: &FoundSet, options: &Options<'_>) -> Result<Shown> {
    let Some(id) = set.snapshot else { return Ok(Err("the set names no snapshot".into())) };
    let store = match &options.store {
        Ok(store) => store,
        Err(why) => return Ok(Err(why.clone())),
    };
    finding(store.snapshot_names(None).and_then(|names| match names.iter().find(|name| name.id == id) {
        Some(name) => Ok((id, store.snapshot(name)?)),
        None => Err(Error::not_found(format!("{} does not hold snapshot {}", store.storage().location(), id.short()))),
    }))
}

/// Compares a database by its path in the snapshot.
pub(crate) fn matches_database(shown: &Shown, path: &[u8], found: &Verification) -> Check {
    let (id, snapshot) = match shown {
        Ok(shown) => shown,
        Err(why) => return Check::not_applicable(MATCHES, why),
    };
    let mut note = None;
    let error = match (snapshot.database(path), &found.sha256) {
        (None, _) if !snapshot.has_databases() => Some("the snapshot holds no database".into()),
        (None, _) => Some("the snapshot holds no database of this path".into()),
        (Some(part), Some(actual)) if part.sha256.as_ref() == Some(actual) => None,
        (Some(part), Some(_)) if part.sha256.is_none() => {
            note = Some("the snapshot records no SHA-256 of this database: it was not compared");
            None
        }
        (Some(part), actual) => Some(format!(
            "the snapshot's database has SHA-256 {}, this file {}",
            part.sha256.as_deref().unwrap_or("unknown"),
            actual.as_deref().unwrap_or("could not be read"),
        )),
    };
    let mut check = Check::new(MATCHES, error).with("snapshot", id.to_string());
    check.note = note.map(String::from);
    check
}

/// Says which databases of the snapshot have no entry in the manifest, whose entries are of those at `paths`.
pub(crate) fn without_entry(snapshot: &Snapshot, paths: &[&[u8]]) -> Vec<String> {
    let missing = snapshot.databases.iter().filter(|part| !paths.contains(&part.path.as_slice()));
    let is_manual = |path: &[u8]| path == THE_DATABASE;
    let of = |path: &[u8], shown: String| {
        if is_manual(path) { "the database".into() } else { format!("the database {shown}") }
    };
    missing.map(|part| of(&part.path, part.shown())).collect()
}

/// Compares the archive.
pub(crate) fn matches_uploads(shown: &Shown, found: &Verification) -> Check {
    let (id, snapshot) = match shown {
        Ok(shown) => shown,
        Err(why) => return Check::not_applicable(MATCHES, why),
    };
    let Some(part) = &snapshot.files else {
        return Check::new(MATCHES, Some("the snapshot holds no uploads".into())).with("snapshot", id.to_string());
    };
    let fact = |name: &str, key: &str| {
        found.checks.iter().find(|check| check.name == name).and_then(|check| check.facts.get(key)?.as_u64())
    };
    let (files, bytes) = (fact("extract_archive", "file_count"), fact("extract_archive", "total_bytes"));
    let counted = (files, bytes) == (Some(part.files), Some(part.bytes));
    let digest = part.archive.as_ref().map(|archive| archive.sha256.as_str());
    let mut check = Check::new(MATCHES, None);
    if !counted {
        let show = |number: Option<u64>| number.map_or_else(|| "?".into(), |number| number.to_string());
        check = Check::new(
            MATCHES,
            Some(format!(
                "the snapshot has {} files of {} bytes, the archive {} of {}",
                part.files,
                part.bytes,
                show(files),
                show(bytes)
            )),
        );
    } else if digest != found.sha256.as_deref() {
        let same_coder =
            part.archive.as_ref().is_some_and(|archive| archive.coder == crate::set::archive::deflate::CODER);
        if same_coder {
            check = Check::new(MATCHES, Some("the archive's SHA-256 is not the one that the snapshot records".into()));
        } else {
            check.note = Some("another compressor wrote this archive: files and bytes were compared".into());
        }
    }
    check.with("snapshot", id.to_string())
}
