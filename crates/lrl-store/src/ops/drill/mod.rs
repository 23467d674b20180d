//! The verb `drill`: proves that a set or a snapshot can be restored. Runs the checks in order and reports them; writes nothing but its own
//! temporary files and, where it is asked to, the record of the drill.

mod archive;
mod database;
mod files;
mod finding;
mod options;
pub mod past_drills;
mod report;
mod rows;
mod snapshot;
mod uploads;
mod user_query;
mod verification;

use std::path::Path;
use std::time::Instant;

use crate::error::{Error, Result};
use crate::format::snapshot::Snapshot;
use crate::fs::lock;
use crate::id::SnapshotId;
use crate::progress::{Observer, Phase};
use crate::set::manifest::read::{FoundFile, FoundSet};
use crate::set::sha256::sha256_of;
use crate::store::SnapshotName;
use finding::finding;
pub use options::{Options, SCRATCH};
pub use report::Report;
use report::holds;
pub use snapshot::drill_snapshot;
use uploads::Uploads;
pub use user_query::{Assertion, TIME_LIMIT};
use verification::MATCHES;
pub use verification::{Check, SKIPPABLE, Verification};

/// Drills one set. Damage is in the report.
///
/// # Errors
///
/// [`Error::Interrupted`] only.
pub fn drill_set(manifest: &Path, options: &Options<'_>, observer: &dyn Observer) -> Result<Report> {
    let started = Instant::now();
    let mut report = Report::new(Some(manifest.to_path_buf()));
    let _held = lock::hold(manifest);
    let set = match FoundSet::load(manifest) {
        Ok(set) => set,
        Err(error) => {
            report.missing =
                matches!(&error, Error::Io { source, .. } if source.kind() == std::io::ErrorKind::NotFound);
            report.errors.push(format!("Failed to load manifest: {error}"));
            return Ok(report.ended(started));
        }
    };
    report.timestamp = Some(set.timestamp.clone());
    report.errors.extend(set.error.as_ref().map(|why| format!("Manifest {}: {why}", manifest.display())));
    let total = set.files.iter().filter_map(|file| file.source_bytes.or(file.size_bytes)).fold(0, u64::saturating_add);
    observer.phase(Phase::Verify, Some(total));
    let shown = shown_snapshot(&set, options)?;
    if let Ok((id, snapshot)) = &shown {
        report.snapshot = Some(SnapshotName { source: snapshot.source.clone(), sequence: snapshot.sequence, id: *id });
        report.holds = holds(snapshot);
        for (part, kind) in [("database", "database"), ("files", "assets")] {
            if report.holds.contains(&part) && set.files.iter().all(|file| file.kind != kind) {
                report.errors.push(format!(
                    "Manifest {}: its snapshot {} holds the {part}, and it has no entry of type {kind}: the set is not whole",
                    manifest.display(),
                    id.short()
                ));
            }
        }
    }
    // The rows of the database need the archive's files, whichever comes first in the manifest.
    let mut uploads = Uploads::Absent("the set holds no uploads");
    let mut done: Vec<Option<Verification>> = vec![None; set.files.len()];
    let is_first = |at: usize, kind: &str| set.files.iter().position(|file| file.kind == kind) == Some(at);
    for (kind, is_database) in [("assets", false), ("database", true)] {
        for (at, file) in set.files.iter().enumerate().filter(|(at, _)| is_first(*at, kind)) {
            let since = Instant::now();
            let mut found = Verification::new(kind, file.name(), shown_path(file));
            let Some(path) = file.there() else {
                if !is_database {
                    uploads = Uploads::Unreadable;
                }
                done[at] = Some(found.fail("File not found"));
                continue;
            };
            hash_verification(path, file, &mut found, observer)?;
            if is_database {
                database::check(path, options, &uploads, &mut found, observer)?;
                let matches = matches_database(&shown, &found);
                found.push_unless_skipped(&options.skip, MATCHES, || Ok(matches))?;
            } else {
                uploads = archive::check(path, file, options, &mut found, observer)?;
                let matches = matches_uploads(&shown, &found);
                found.push_unless_skipped(&options.skip, MATCHES, || Ok(matches))?;
            }
            found.seconds = since.elapsed().as_secs_f64();
            done[at] = Some(found);
        }
    }
    for (file, done) in set.files.iter().zip(done) {
        report.verifications.push(done.unwrap_or_else(|| {
            let found = Verification::new(&file.kind, file.name(), shown_path(file));
            match file.kind.as_str() {
                kind @ ("database" | "assets") => found.fail(format!("A set has only one file of type {kind}")),
                other => found.fail(format!("Unknown backup type: {other}")),
            }
        }));
    }
    Ok(report.ended(started))
}

fn shown_path(file: &FoundFile) -> String {
    file.path.as_ref().map_or_else(|| file.stated.clone(), |path| path.display().to_string())
}

fn hash_verification(path: &Path, file: &FoundFile, found: &mut Verification, observer: &dyn Observer) -> Result<()> {
    let since = Instant::now();
    let actual = finding(sha256_of(path, observer))?;
    let (actual, size) = match actual {
        Ok(actual) => actual,
        Err(error) => {
            found.push(Check::new("hash_verification", Some(error)));
            return Ok(());
        }
    };
    if let Some(expected) = &file.sha256 {
        let error = (!expected.eq_ignore_ascii_case(&actual))
            .then(|| format!("its SHA-256 is {actual}, the manifest says {expected}"));
        found.push(
            Check::new("hash_verification", error).with("expected", expected.as_str()).with("actual", actual.as_str()),
        );
    } else if let Some(stated) = file.size_bytes.filter(|stated| *stated != size) {
        found.push(Check::new("size", Some(format!("it has {size} bytes, the manifest says {stated}"))));
    }
    found.sha256 = Some(actual);
    found.restore_seconds = Some(since.elapsed().as_secs_f64());
    Ok(())
}

/// Finds the snapshot that the set shows; the text says why there is none to compare with.
fn shown_snapshot(set: &FoundSet, options: &Options<'_>) -> Result<Result<(SnapshotId, Snapshot), String>> {
    let Some(id) = set.snapshot else { return Ok(Err("the set names no snapshot".into())) };
    let store = match &options.store {
        Ok(store) => store,
        Err(why) => return Ok(Err(why.clone())),
    };
    finding(store.snapshot_names(None).and_then(|names| match names.iter().find(|name| name.id == id) {
        Some(name) => Ok((id, store.snapshot(name)?)),
        None => Err(Error::NotFound(format!("{} does not hold snapshot {}", store.storage().location(), id.short()))),
    }))
}

fn matches_database(shown: &Result<(SnapshotId, Snapshot), String>, found: &Verification) -> Check {
    let (id, snapshot) = match shown {
        Ok(shown) => shown,
        Err(why) => return Check::not_applicable(MATCHES, why),
    };
    let actual = found.sha256.as_ref();
    let error = match snapshot.databases.as_slice() {
        [] => Some("the snapshot holds no database".into()),
        databases if actual.is_some() && databases.iter().any(|part| part.sha256.as_ref() == actual) => None,
        databases => Some(format!(
            "the snapshot's database has SHA-256 {}, this file {}",
            databases.iter().filter_map(|part| part.sha256.as_deref()).collect::<Vec<_>>().join(" or "),
            actual.map_or("could not be read", |actual| actual)
        )),
    };
    Check::new(MATCHES, error).with("snapshot", id.to_string())
}

fn matches_uploads(shown: &Result<(SnapshotId, Snapshot), String>, found: &Verification) -> Check {
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
