//! The shrink guard: measures a new snapshot against the newest good one before it, part by part. A mount that is gone or a table that was
//! emptied by mistake looks like any other change, except for its size.

use super::options::Options;
use crate::format::snapshot::{Database, Files, Measure, Shrink, Snapshot};
use crate::id::SnapshotId;
use crate::ops::judgement::judge;
use crate::store::SnapshotName;

/// Fewer files than this may go, whatever their share.
const FEW_FILES: u64 = 10;
/// Fewer bytes than this may go, whatever their share.
const FEW_BYTES: u64 = 1 << 20;

/// What a new snapshot is measured against: of each part, the newest that is good.
#[derive(Debug, Default)]
pub(in crate::ops) struct Baseline {
    databases: Option<(SnapshotId, Vec<Database>)>,
    uploads: Option<(SnapshotId, Files)>,
    /// The databases as they were before rows were restored; used where no others are known.
    before_restore: Option<(SnapshotId, Vec<Database>)>,
}

impl Baseline {
    /// Returns whether both parts are known.
    pub(crate) fn is_whole(&self) -> bool {
        self.databases.is_some() && self.uploads.is_some()
    }

    /// Takes the parts that are good and not known yet; snapshots come newest first.
    pub(crate) fn look(&mut self, name: &SnapshotName, snapshot: &Snapshot) {
        let good = judge(snapshot, None, None).good;
        let databases = if snapshot.is_before_restore() { &mut self.before_restore } else { &mut self.databases };
        if databases.is_none() && good.database {
            *databases = Some((name.id, snapshot.databases.clone()));
        }
        if self.uploads.is_none() && good.uploads {
            self.uploads = snapshot.files.clone().map(|part| (name.id, part));
        }
    }

    /// Returns the measures by which a new snapshot is suspiciously smaller; none where that is accepted.
    pub(crate) fn shrunk(&self, snapshot: &Snapshot, options: &Options) -> Vec<Shrink> {
        let limit = if options.accept_shrink { 0 } else { options.max_shrink_percent };
        self.compare(&snapshot.databases, snapshot.files.as_ref(), limit)
    }

    /// Returns the measures by which new parts are suspiciously smaller. `limit` is the share that may go, in percent; 0 measures nothing.
    fn compare(&self, databases: &[Database], uploads: Option<&Files>, limit: u8) -> Vec<Shrink> {
        let mut found = Vec::new();
        if limit == 0 {
            return found;
        }
        let mut measure = |measure, of: Option<&Database>, against: SnapshotId, before: u64, now: u64, few: u64| {
            let gone = before.saturating_sub(now);
            let share = u128::from(gone) * 100 > u128::from(before) * u128::from(limit);
            if before > 0 && (now == 0 || share && gone >= few) {
                let database = of.map(|database| database.path.clone());
                found.push(Shrink { measure, database, before, now, against });
            }
        };
        if let (Some((against, before)), Some(now)) = (&self.uploads, uploads) {
            measure(Measure::Files, None, *against, before.files, now.files, FEW_FILES);
            // Without a file there are no bytes either.
            if now.files > 0 {
                measure(Measure::FileBytes, None, *against, before.bytes, now.bytes, FEW_BYTES);
            }
        }
        // Where no database is stored, none was asked for or there: that is another matter.
        let before =
            self.databases.as_ref().or(self.before_restore.as_ref()).into_iter().filter(|_| !databases.is_empty());
        for (against, before) in before.flat_map(|(id, all)| all.iter().map(move |one| (id, one))) {
            let now = databases.iter().find(|now| now.path == before.path);
            // Nothing else matters if the database is empty.
            let tables = |part: &Database| part.tables.as_ref().map_or(0, |tables| tables.len() as u64);
            if now.is_none_or(|now| now.tables.is_some() && tables(now) == 0) {
                measure(Measure::Tables, Some(before), *against, tables(before), 0, 1);
            } else if let (Some(used), Some(used_now)) = (used_bytes(before), now.and_then(used_bytes)) {
                measure(Measure::DatabaseBytes, Some(before), *against, used, used_now, FEW_BYTES);
            }
        }
        found
    }
}

fn used_bytes(part: &Database) -> Option<u64> {
    part.used_pages.map(|pages| pages.saturating_mul(u64::from(part.page_size)))
}

#[cfg(test)]
mod tests {
    use super::Baseline;
    use crate::format::snapshot::{Database, Files, Measure};
    use crate::id::SnapshotId;
    use crate::ops::tests::sample;

    fn uploads(files: u64, bytes: u64) -> Files {
        Files { entries: files, files, bytes, ..sample::uploads() }
    }

    fn database(used_pages: u64, tables: Option<usize>) -> Database {
        let tables = tables.map(|count| vec!["t".into(); count]);
        Database { used_pages: Some(used_pages), tables, ..sample::database() }
    }

    fn files(before: (u64, u64), now: (u64, u64), limit: u8) -> Vec<Measure> {
        let baseline =
            Baseline { uploads: Some((SnapshotId::of(b""), uploads(before.0, before.1))), ..Baseline::default() };
        baseline.compare(&[], Some(&uploads(now.0, now.1)), limit).into_iter().map(|found| found.measure).collect()
    }

    fn pages(before: (u64, Option<usize>), now: (u64, Option<usize>)) -> Vec<Measure> {
        let before = database(before.0, before.1);
        let baseline = Baseline { databases: Some((SnapshotId::of(b""), vec![before])), ..Baseline::default() };
        let found = baseline.compare(&[database(now.0, now.1)], None, 50);
        found.into_iter().map(|found| found.measure).collect()
    }

    #[test]
    fn files_that_vanish_are_suspicious_by_number_bytes_or_altogether() {
        assert_eq!(files((1, 5), (0, 0), 50), [Measure::Files]);
        assert_eq!(files((1, 5), (0, 0), 100), [Measure::Files], "none left is more than any limit");
        assert_eq!(files((1, 5), (0, 0), 0), []);
        assert_eq!(files((0, 0), (0, 0), 50), []);
        assert_eq!(files((20, 20), (10, 10), 50), [], "exactly half is not more than half");
        assert_eq!(files((20, 20), (9, 9), 50), [Measure::Files]);
        assert_eq!(files((18, 18), (9, 9), 49), [], "nine files are few");
        assert_eq!(files((20, 4 << 20), (19, 1 << 20), 50), [Measure::FileBytes]);
        assert_eq!(files((20, 2 << 20), (19, (1 << 20) - 1), 50), [Measure::FileBytes]);
        assert_eq!(files((20, 1 << 20), (19, 1), 50), [], "less than a mebibyte is little");
        assert_eq!(files((20, 20), (20, 0), 50), [Measure::FileBytes], "files without a byte");
        assert_eq!(files((20, 20), (30, 90), 50), []);
    }

    #[test]
    fn databases_are_measured_by_their_pages_in_use_and_by_having_tables() {
        assert_eq!(pages((600, Some(3)), (299, Some(3))), [Measure::DatabaseBytes]);
        assert_eq!(pages((600, Some(3)), (300, Some(3))), []);
        assert_eq!(pages((300, Some(3)), (100, Some(3))), [], "less than a mebibyte is little");
        assert_eq!(pages((300, Some(3)), (1, Some(0))), [Measure::Tables]);
        assert_eq!(pages((1, Some(0)), (1, Some(0))), [], "it was empty before");
        assert_eq!(pages((300, Some(3)), (0, None)), [Measure::DatabaseBytes]);
    }
}
