//! Drills of sites: several databases, and rows that name files.

mod rows;
mod several;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rusqlite::Connection;
use tempfile::TempDir;

use super::{Check, Options, Report, RowsCheck, Verification, drill_set, drill_snapshot};
use crate::format::drill::Drill;
use crate::format::snapshot::Snapshot;
use crate::fs::lock::LockMode;
use crate::fs::space::Reserve;
use crate::ops::backup;
use crate::ops::drill::past_drills::Evidence;
use crate::progress::Silent;
use crate::store::{SnapshotName, Store, create};
use crate::testing::memory_backend::memory;
use crate::time::Time;

/// A site with its store.
struct Site {
    dir: TempDir,
    store: Store,
}

impl Site {
    fn new() -> Self {
        let backend = memory();
        create(&backend, [1; 32]).unwrap();
        let store = Store::open(Arc::new(backend), LockMode::Shared, Duration::ZERO, &Silent).unwrap();
        let dir = tempfile::tempdir().unwrap();
        for sub in ["site", "out", "scratch"] {
            fs::create_dir(dir.path().join(sub)).unwrap();
        }
        Self { dir, store }
    }

    fn root(&self) -> PathBuf {
        self.dir.path().join("site")
    }

    fn scratch(&self) -> PathBuf {
        self.dir.path().join("scratch")
    }

    fn file(&self, path: impl AsRef<Path>, bytes: &[u8]) {
        let path = self.root().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }

    fn sql(&self, path: &str, sql: &str) {
        let path = self.root().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        Connection::open(path).unwrap().execute_batch(sql).unwrap();
    }

    /// Backs up the site as it is, with a set in `out`.
    fn back_up(&self, second: u64) -> (SnapshotName, Snapshot, PathBuf) {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000 + second);
        let mut options = backup::Options::site(&self.root(), self.scratch(), now);
        (options.out, options.reserve) = (Some(self.dir.path().join("out")), Reserve::NONE);
        let done = backup::backup(&self.store, &options, &Silent).unwrap();
        (done.name, done.snapshot, done.set.expect("a set").manifest)
    }

    fn options(&self) -> Options<'_> {
        Options::new(self.scratch(), Ok(&self.store))
    }

    /// Drills a snapshot and compares it with the drills before.
    fn drill(&self, (name, snapshot): (&SnapshotName, &Snapshot), options: &Options<'_>) -> Report {
        let mut report = drill_snapshot(&self.store, name, snapshot, options, &Silent).unwrap();
        let now = Time { secs: 1_800_000_000, nanos: 0 };
        report.compare(&self.store, &Evidence::read(&self.store, &name.source, now, &Silent).unwrap()).unwrap();
        report
    }

    /// Backs the site up, and drills the snapshot and the set, which must find the same.
    fn both(&self, second: u64, options: &Options<'_>) -> Report {
        let (name, snapshot, manifest) = self.back_up(second);
        let report = self.drill((&name, &snapshot), options);
        let of_set = drill_set(&manifest, options, &Silent).unwrap();
        assert_eq!(report.success, of_set.success, "{report:#?}\n{of_set:#?}");
        let rows = |report: &Report| {
            report.verifications.iter().flat_map(|one| &one.checks).fold(Vec::new(), |mut all, check| {
                if check.name == "rows" || check.name == "assertion" {
                    all.push((check.error.clone(), check.note.clone(), check.facts.clone()));
                }
                all
            })
        };
        assert_eq!(rows(&report), rows(&of_set));
        report
    }

    fn record(&self, report: &Report, secs: i64) -> Drill {
        let record = report.record("lab", Time { secs, nanos: 0 }, "test");
        self.store.add_drill(&record).unwrap();
        record
    }
}

fn rows_check(query: &str) -> RowsCheck {
    RowsCheck { name: Some("files".into()), database: None, query: query.into() }
}

#[track_caller]
fn of<'r>(report: &'r Report, path: &str) -> &'r Verification {
    let found = report.verifications.iter().find(|found| found.database.as_deref() == Some(path.as_bytes()));
    found.unwrap_or_else(|| panic!("no {path} in {report:#?}"))
}

#[track_caller]
fn check<'r>(found: &'r Verification, name: &str) -> &'r Check {
    found.checks.iter().find(|check| check.name == name).unwrap_or_else(|| panic!("no {name} in {found:#?}"))
}

fn names(found: &Verification) -> Vec<&'static str> {
    found.checks.iter().map(|check| check.name).collect()
}
