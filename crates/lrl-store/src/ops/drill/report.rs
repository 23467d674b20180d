//! What a drill found: files, checks, and the record that is made of them.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Instant;

use super::past_drills::{self, Evidence, Shrunk};
use super::verification::{ASSERTION, FOREIGN_KEYS, ROWS, SQLITE_OPEN, Verification, orphan_rows};
use crate::error::{Error, Result};
use crate::format::drill::{self, Before, Checked, Drill, Drilled, DrilledDatabase, RowsBefore};
use crate::format::snapshot::{Snapshot, THE_DATABASE};
use crate::store::{SnapshotName, Store};
use crate::time::{SKEW_SECS, Time};

/// What a drill found.
#[derive(Debug)]
#[must_use = "whether the drill passed is in the report"]
#[non_exhaustive]
pub struct Report {
    /// The manifest that was drilled; `None` for a snapshot.
    pub manifest: Option<PathBuf>,
    /// The snapshot that was drilled, or that the set shows and the store holds.
    pub snapshot: Option<SnapshotName>,
    /// What the drill before found: see [`Report::compare`].
    #[doc(hidden)]
    pub before: Option<Before>,
    /// The number that its record gets: see [`Report::compare`].
    pub number: Option<u64>,
    /// The set's or snapshot's timestamp as it is recorded.
    pub timestamp: Option<String>,
    /// Whether everything passed.
    pub success: bool,
    /// One for each file.
    pub verifications: Vec<Verification>,
    /// Whether chunks were missing or wrong in the store that was read.
    pub damaged: bool,
    /// The parts that the snapshot holds, where it is known: `database`, `files`.
    pub holds: Vec<&'static str>,
    /// Whether the snapshot holds a database that the set has no file of.
    pub(super) lacks_database: bool,
    /// What is wrong with the set as a whole.
    pub errors: Vec<String>,
    /// True if the manifest is not there at all.
    pub missing: bool,
    /// How long it took, in seconds.
    pub seconds: f64,
}

impl Report {
    pub(super) fn new(manifest: Option<PathBuf>) -> Self {
        Self {
            manifest,
            snapshot: None,
            before: None,
            number: None,
            timestamp: None,
            success: false,
            damaged: false,
            holds: Vec::new(),
            lacks_database: false,
            verifications: Vec::new(),
            errors: Vec::new(),
            missing: false,
            seconds: 0.0,
        }
    }

    pub(super) fn ended(mut self, started: Instant) -> Self {
        self.success = self.errors.is_empty() && self.verifications.iter().all(|found| found.success);
        self.seconds = started.elapsed().as_secs_f64();
        self
    }

    /// Reports a snapshot that cannot even be read.
    #[doc(hidden)]
    pub fn unreadable(name: &SnapshotName, error: &Error) -> Self {
        let damaged = error.is_damage();
        Self { snapshot: Some(name.clone()), damaged, errors: vec![error.to_string()], ..Self::new(None) }
    }

    /// Takes the number that follows those of the records that are there, and notes what the nearest snapshot before this one held that was
    /// drilled with its rows. More rows without their parent than then are a failure.
    ///
    /// # Errors
    ///
    /// If the store cannot be read.
    #[doc(hidden)]
    pub fn compare(&mut self, store: &Store, evidence: &Evidence) -> Result<()> {
        self.number = evidence.next_number(store)?;
        let Some(name) = &self.snapshot else { return Ok(()) };
        let before = evidence.before(store, name.sequence)?;
        let Some(drill) = before else { return Ok(()) };
        self.compare_orphans(&drill);
        let counted = drill.databases.into_iter();
        let databases = counted.filter_map(|one| Some(RowsBefore { path: one.path, rows: one.rows? })).collect();
        self.before = Some(Before { snapshot: drill.snapshot, timestamp: drill.timestamp, databases });
        Ok(())
    }

    /// Fails the check of foreign keys if a table has more rows without their parent than in the drill before.
    fn compare_orphans(&mut self, drill: &Drill) {
        let timestamp = &drill.timestamp;
        for found in &mut self.verifications {
            let Some(orphans) = found.orphans() else { continue };
            let earlier = found.database.as_ref().and_then(|path| drill.database(path));
            let Some(before) = earlier.and_then(|one| one.orphans.as_ref()) else { continue };
            let grown = orphans.iter().filter(|(table, rows)| **rows > before.get(*table).copied().unwrap_or(0));
            let grown: BTreeMap<String, u64> = grown.map(|(table, rows)| (table.clone(), *rows)).collect();
            let check = found.checks.iter_mut().find(|check| check.name == FOREIGN_KEYS && check.passed);
            let Some(check) = check.filter(|_| !grown.is_empty()) else { continue };
            let had: u64 = grown.keys().filter_map(|table| before.get(table)).sum();
            let said = orphan_rows(grown.iter());
            check.passed = false;
            check.note = None;
            check.error =
                Some(format!("{said}; in {timestamp}, which was drilled before it, there were {had} such rows"));
            found.success = false;
            self.success = false;
        }
    }

    /// Names the tables that have far fewer rows than before. No failure: rows may be deleted on purpose.
    #[doc(hidden)]
    pub fn shrunk(&self) -> Vec<Shrunk> {
        let Some(before) = &self.before else { return Vec::new() };
        let mut all = Vec::new();
        for found in &self.verifications {
            let (Some(path), Some(rows)) = (&found.database, &found.rows) else { continue };
            let Some(earlier) = before.databases.iter().find(|one| one.path == *path) else { continue };
            // One that is there and cannot be counted is another check's finding.
            let opened = found.checks.iter().find(|check| check.name == SQLITE_OPEN);
            let tables = opened.and_then(|check| check.facts.get("tables")?.as_array());
            let is_there = |name: &str| tables.is_some_and(|tables| tables.iter().any(|table| table == name));
            let mut shrunk = past_drills::shrunk(path, &earlier.rows, rows);
            shrunk.retain(|lost| rows.contains_key(&lost.table) || !is_there(&lost.table));
            all.extend(shrunk);
        }
        all
    }

    /// Returns how long the restore took, without the checks; `None` if it was incomplete.
    pub fn restore_seconds(&self) -> Option<f64> {
        let seconds: Option<Vec<f64>> = self.verifications.iter().map(|found| found.restore_seconds).collect();
        seconds.filter(|seconds| !seconds.is_empty()).map(|seconds| seconds.iter().sum())
    }

    /// Returns how old the data is at a moment in seconds since 1970; `None` if a clock was wrong.
    pub fn age_seconds(&self, now: i64) -> Option<u64> {
        let then = Time::of_stamp(self.timestamp.as_deref()?)?;
        // Runs within one second are named by the seconds that follow.
        let age = now.checked_sub(then.secs).filter(|age| *age >= -SKEW_SECS)?;
        Some(age.max(0).unsigned_abs())
    }

    /// Makes the record of this drill. `source` is what it belongs to where the drill itself does not know.
    pub fn record(&self, source: &str, finished: Time, program: &str) -> Drill {
        // Each kind has its own share: of twenty databases that failed none hides the files that failed as well.
        let failed = ["database", "assets"].into_iter().flat_map(|kind| self.failed(kind).take(MOST_FAILED));
        let other = self.verifications.iter().filter(|found| !["database", "assets"].contains(&found.kind.as_str()));
        let other = other.map(|found| found.kind.chars().take(40).collect::<String>() + ": unknown");
        let whole = if self.manifest.is_some() { "manifest" } else { "snapshot" };
        let whole = self.errors.iter().map(|_| whole.to_string()).chain(other).take(MOST_FAILED);
        let is_whole = |kind: &str| {
            let mut own = self.verifications.iter().filter(|found| found.kind == kind).peekable();
            own.peek().is_some() && own.all(|found| found.success) && !(kind == "database" && self.lacks_database)
        };
        let parts = [("database", "database"), ("assets", "files")];
        let parts: Vec<&str> = parts.into_iter().filter(|(kind, _)| is_whole(kind)).map(|(_, part)| part).collect();
        let unproven: Vec<&str> = self.holds.iter().copied().filter(|part| !parts.contains(part)).collect();
        let of = |kind: &str| self.verifications.iter().find(|found| found.kind == kind);
        Drill {
            format: drill::VERSION,
            source: self.snapshot.as_ref().map_or_else(|| source.into(), |name| name.source.clone()),
            finished,
            number: self.number,
            snapshot: self.snapshot.as_ref().map(|name| name.id),
            sequence: self.snapshot.as_ref().map(|name| name.sequence),
            drilled: if self.manifest.is_some() { Drilled::Set } else { Drilled::Snapshot },
            age_seconds: self.age_seconds(finished.secs),
            checks: self.verifications.iter().flat_map(checked).take(MOST_CHECKS).collect(),
            restore_seconds: self.restore_seconds(),
            before: self.before.clone(),
            timestamp: self.timestamp.clone().unwrap_or_default().chars().take(40).collect(),
            passed: self.success,
            damaged: self.damaged,
            failed_checks: failed.chain(whole).collect(),
            seconds: self.seconds,
            databases: self.databases(),
            missing_files: self
                .verifications
                .iter()
                .filter_map(Verification::missing_files)
                .reduce(|all, more| all + more),
            unproven_parts: unproven.into_iter().map(String::from).collect(),
            parts: parts.into_iter().map(String::from).collect(),
            archive_sha256: of("assets").and_then(|found| found.sha256.clone()),
            program: program.into(),
        }
    }
}

impl Report {
    /// Names the checks of one kind of file that failed.
    fn failed(&self, kind: &'static str) -> impl Iterator<Item = String> {
        self.verifications.iter().filter(move |found| found.kind == kind).flat_map(|found| {
            let whole = found.error.iter().map(|error| format!("{}: {error}", found.shown()));
            let failed = found.checks.iter().filter(|check| !check.passed && !check.lacks_uploads);
            whole.chain(failed.map(|check| format!("{}: {}", found.shown(), check.name)))
        })
    }

    /// Describes each database for the record. Names of tables have a bound for all together, because every record repeats them.
    fn databases(&self) -> Vec<DrilledDatabase> {
        let mut bytes = 0;
        let mut within = |rows: &BTreeMap<String, u64>| {
            bytes += rows.keys().map(String::len).sum::<usize>();
            bytes <= MOST_NAMES
        };
        let found = self.verifications.iter().filter_map(|found| Some((found, found.database.as_ref()?)));
        let mut databases = Vec::new();
        for (found, path) in found.take(MOST_DATABASES) {
            databases.push(DrilledDatabase {
                path: path.clone(),
                sha256: found.sha256.clone(),
                root: found.root,
                malformed: found.is_malformed(),
                rows: found.rows.clone().filter(&mut within),
                orphans: found.orphans().filter(&mut within),
            });
        }
        databases
    }
}

/// Names the parts that a snapshot holds.
pub(super) fn holds(snapshot: &Snapshot) -> Vec<&'static str> {
    let parts = [("database", snapshot.has_databases()), ("files", snapshot.files.is_some())];
    parts.into_iter().filter(|(_, there)| *there).map(|(part, _)| part).collect()
}

/// A record names up to this many checks.
const MOST_CHECKS: usize = 200;
/// A record names up to this many failed checks of each part.
const MOST_FAILED: usize = 20;
/// A record describes up to this many databases.
const MOST_DATABASES: usize = 1000;
/// A record holds up to this many bytes of names of tables.
const MOST_NAMES: usize = 256 << 10;

fn checked(found: &Verification) -> impl Iterator<Item = Checked> {
    found.checks.iter().map(|check| Checked {
        of: found.kind.chars().take(40).collect(),
        database: found.database.clone().filter(|path| path != THE_DATABASE),
        check: check.name.into(),
        passed: check.applies.then_some(check.passed),
        skipped: check.skipped,
        assertion: match check.name {
            ASSERTION => check.note.clone(),
            ROWS => check.facts.get("check").and_then(|name| name.as_str()).map(String::from),
            _ => None,
        },
    })
}
