//! Drills a set: the files beside its manifest.

use std::path::Path;
use std::time::Instant;

use super::checks::matches_snapshot::{matches_database, matches_uploads, shown_snapshot, without_entry};
use super::checks::{archive, database};
use super::files::Facts;
use super::finding::finding;
use super::options::Options;
use super::report::{Report, holds};
use super::subject::{Subject, root_of, unplaced};
use super::uploads::Uploads;
use super::verification::{Check, MATCHES, Verification};
use crate::error::{Error, Result};
use crate::format::path_text;
use crate::format::snapshot::THE_DATABASE;
use crate::fs::lock;
use crate::progress::{Observer, Phase};
use crate::set::manifest::MISSING;
use crate::set::manifest::read::{FoundFile, FoundSet};
use crate::set::missing;
use crate::set::sha256::sha256_of;
use crate::store::SnapshotName;

const DATABASE: &str = "database";
const ASSETS: &str = "assets";
/// Paths of a list of what is missing that a failure names.
const SHOWN: usize = 5;

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
    let places: Vec<Place> = set.files.iter().map(Place::of).collect();
    let paths = database_paths(&places);
    let shown = shown_snapshot(&set, options)?;
    let mut root = None;
    if let Ok((id, snapshot)) = &shown {
        report.snapshot = Some(SnapshotName { source: snapshot.source.clone(), sequence: snapshot.sequence, id: *id });
        report.holds = holds(snapshot);
        root = root_of(snapshot);
        let mut without: Vec<_> = without_entry(snapshot, &paths).into_iter().map(|what| (what, DATABASE)).collect();
        report.lacks_database = !without.is_empty();
        if snapshot.files.is_some() && !places.contains(&Place::Assets) {
            without.push(("the files".into(), ASSETS));
        }
        report.errors.extend(without.into_iter().map(|(what, kind)| {
            format!(
                "Manifest {}: its snapshot {} holds {what}, and it has no entry of type {kind}{}: the set is not whole",
                manifest.display(),
                id.short(),
                if kind == DATABASE && !paths.is_empty() { " for it" } else { "" }
            )
        }));
    }
    report.errors.extend(unplaced(&paths, options));
    // The rows of the databases need the archive's files, whichever comes first in the manifest.
    let is_site = paths.iter().any(|path| *path != THE_DATABASE);
    let mut uploads = Uploads::Absent(if is_site { "the set holds no files" } else { "the set holds no uploads" });
    let mut done: Vec<Option<Verification>> = vec![None; set.files.len()];
    let first = |place: &Place| places.iter().position(|other| other == place);
    for kind in [ASSETS, DATABASE] {
        for (at, file) in set.files.iter().enumerate() {
            let path = match &places[at] {
                Place::Assets if kind == ASSETS => None,
                Place::Database(path) if kind == DATABASE => Some(path.as_slice()),
                _ => continue,
            };
            if first(&places[at]) != Some(at) {
                continue;
            }
            let since = Instant::now();
            let mut found = empty(file, path);
            let Some(there) = file.there() else {
                if path.is_none() {
                    uploads = Uploads::Unreadable;
                }
                done[at] = Some(found.fail("File not found"));
                continue;
            };
            hash_verification(there, file, &mut found, observer)?;
            let matches = if let Some(path) = path {
                let number = paths.iter().position(|other| *other == path).unwrap_or_default();
                let subject = Subject::of(&paths, number, root, options);
                database::check(there, &subject, options, &uploads, &mut found, observer)?;
                matches_database(&shown, path, &found)
            } else {
                uploads = archive::check(there, file, options, &mut found, observer)?;
                add_databases(&set.files, &places, options, &uploads)?;
                matches_uploads(&shown, &found)
            };
            found.push_unless_skipped(&options.skip, MATCHES, || Ok(matches))?;
            found.seconds = since.elapsed().as_secs_f64();
            done[at] = Some(found);
        }
    }
    for ((file, place), done) in set.files.iter().zip(&places).zip(done) {
        report.verifications.push(done.unwrap_or_else(|| place.refused(file)));
    }
    Ok(report.ended(started))
}

/// What an entry of the manifest is of.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Place {
    Assets,
    /// The database at a path of the snapshot.
    Database(Vec<u8>),
    /// A database whose path leads elsewhere.
    Elsewhere,
    /// The list of what the set lacks.
    Missing,
    Unknown,
}

impl Place {
    fn of(file: &FoundFile) -> Self {
        match file.kind.as_str() {
            ASSETS => Self::Assets,
            DATABASE => file.database_path().map_or(Self::Elsewhere, Self::Database),
            MISSING => Self::Missing,
            _ => Self::Unknown,
        }
    }

    /// Says why an entry was not drilled.
    fn refused(&self, file: &FoundFile) -> Verification {
        match self {
            Self::Assets => empty(file, None).fail("A set has only one file of type assets"),
            Self::Database(_) if file.list_path.is_none() => {
                empty(file, None).fail("A set has only one file of type database")
            }
            Self::Database(path) => empty(file, Some(path)).fail("A set has only one database of each path"),
            Self::Elsewhere => empty(file, None).fail("Its path leads out of the root"),
            Self::Missing => empty(file, None).fail(not_whole(file)),
            Self::Unknown => empty(file, None).fail(format!("Unknown backup type: {}", file.kind)),
        }
    }
}

/// Says of a set what it lacks, by its list, as far as that can be read.
fn not_whole(file: &FoundFile) -> String {
    let listed = file.there().and_then(|path| missing::read(path).ok()).unwrap_or_default();
    let names: Vec<&str> = listed.iter().take(SHOWN).map(|skip| skip.path.as_str()).collect();
    let count = file.missing.unwrap_or_else(|| listed.iter().map(|skip| skip.entries).fold(0, u64::saturating_add));
    let more = if count > names.len() as u64 { ", and more" } else { "" };
    format!(
        "The set is not whole: {count} of what its snapshot holds was damaged in the store when it was exported, and is not in it: \
         {}{more}",
        names.join(", ")
    )
}

/// Lists the paths of the databases, each once, in their order.
fn database_paths(places: &[Place]) -> Vec<&[u8]> {
    let mut paths = Vec::new();
    for place in places {
        if let Place::Database(path) = place
            && !paths.contains(&path.as_slice())
        {
            paths.push(path.as_slice());
        }
    }
    paths
}

/// Makes the verification of a file without any check.
fn empty(file: &FoundFile, database: Option<&[u8]>) -> Verification {
    let shown = file.path.as_ref().map_or_else(|| file.stated.clone(), |path| path.display().to_string());
    match database {
        Some(path) if file.list_path.is_some() => {
            Verification::of_database(path, format!("{} ({})", file.name(), path_text::encode(path)), shown)
        }
        Some(path) => Verification::of_database(path, file.name(), shown),
        None => Verification::new(&file.kind, file.name(), shown),
    }
}

/// Adds the databases to the files, for rows that name one.
fn add_databases(files: &[FoundFile], places: &[Place], options: &Options<'_>, uploads: &Uploads) -> Result<()> {
    let Uploads::Known(known) = uploads else { return Ok(()) };
    for (file, place) in files.iter().zip(places).filter(|_| !options.checks.is_empty()) {
        if let (Place::Database(path), Some(size)) = (place, file.size_bytes) {
            let sha256 = file.sha256.as_deref().and_then(crate::units::digest);
            known.add_database(path, &Facts { size, sha256, md5: None })?;
        }
    }
    Ok(())
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
    }
    if let Some(stated) = file.size_bytes.filter(|stated| *stated != size) {
        found.push(Check::new("size", Some(format!("it has {size} bytes, the manifest says {stated}"))));
    }
    found.sha256 = Some(actual);
    found.restore_seconds = Some(since.elapsed().as_secs_f64());
    Ok(())
}
