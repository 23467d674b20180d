//! Collects what a check finds, by object, in bounded memory.

use std::collections::BTreeMap;

use super::report::{Checked, Finding, Report};
use crate::format::check::Damaged;
use crate::format::repair::Loss;
use crate::format::snapshot::THE_DATABASE;
use crate::store::SnapshotName;
use crate::store::repair::quarantine::Quarantine;

const MOST: usize = 1000;
const MOST_SNAPSHOTS: usize = 10;
const MOST_FILES: usize = 5;
/// The report names up to this many snapshots that have lost something, and this many files of each.
const MOST_LOSSES: usize = 200;
const MOST_LOST_FILES: usize = 20;
/// A record of a check names up to this many snapshots.
const MOST_DAMAGED: usize = 20_000;

/// A finding, and what was said of it last: the same file of the same snapshot counts once.
struct Entry {
    finding: Finding,
    snapshot: Option<SnapshotName>,
    file: Option<Vec<u8>>,
}

/// Findings on their way into the report.
#[derive(Default)]
pub(crate) struct Findings {
    by_object: BTreeMap<String, Entry>,
    more: u64,
    wrong: bool,
    losses: Losses,
}

/// What each snapshot has lost.
#[derive(Default)]
struct Losses {
    list: Vec<Loss>,
    more: u64,
    damaged: Vec<Damaged>,
    more_damaged: u64,
    /// The snapshot and the file of which something was said last.
    last: Option<(SnapshotName, Vec<u8>)>,
}

/// What of a snapshot is damaged.
#[derive(Clone, Copy)]
pub(crate) struct Affected<'a> {
    /// Its path.
    pub path: &'a [u8],
    /// It is a database, no file.
    pub is_database: bool,
}

impl Losses {
    /// Marks a snapshot's part as damaged.
    fn mark(&mut self, name: &SnapshotName, database: bool, is_same: bool) {
        if !is_same && self.damaged.len() == MOST_DAMAGED {
            self.more_damaged += 1;
        } else if !is_same {
            self.damaged.push(Damaged { snapshot: name.id, database: false, files: false });
        }
        if let Some(damaged) = self.damaged.last_mut().filter(|damaged| damaged.snapshot == name.id) {
            damaged.database |= database;
            damaged.files |= !database;
        }
    }

    fn add(&mut self, name: &SnapshotName, affected: Affected<'_>, files: u64) {
        let Affected { path: file, is_database } = affected;
        let is_same = self.last.as_ref().is_some_and(|(last, _)| last == name);
        self.mark(name, is_database, is_same);
        if self.last.as_ref().is_some_and(|(last, before)| last == name && before == file) {
            return;
        }
        self.last = Some((name.clone(), file.to_vec()));
        if !is_same && self.list.len() == MOST_LOSSES {
            self.more += 1;
        } else if !is_same {
            let (source, sequence, snapshot) = (name.source.clone(), name.sequence, name.id);
            self.list.push(Loss { source, sequence, snapshot, database: false, files: Vec::new(), more_files: 0 });
        }
        let Some(loss) = self.list.last_mut().filter(|loss| loss.snapshot == name.id) else { return };
        let shown = String::from_utf8_lossy(file);
        loss.database |= is_database;
        if file == THE_DATABASE {
            // Named by that alone.
        } else if !loss.files.iter().any(|known| *known == shown) {
            let is_room = loss.files.len() < MOST_LOST_FILES;
            loss.more_files += files.saturating_sub(u64::from(is_room));
            loss.files.extend(is_room.then(|| shown.into_owned()));
        }
    }
}

impl Findings {
    /// Adds what is wrong with an object; the first detail on an object is kept.
    pub(crate) fn wrong(&mut self, object: &str, detail: impl Into<String>) {
        self.wrong = true;
        self.add(object, detail.into(), true);
    }

    /// Adds a note.
    pub(crate) fn note(&mut self, object: &str, detail: impl Into<String>) {
        self.add(object, detail.into(), false);
    }

    fn add(&mut self, object: &str, detail: String, wrong: bool) -> Option<&mut Entry> {
        if !self.by_object.contains_key(object) {
            if self.by_object.len() >= MOST {
                self.more += 1;
                return None;
            }
            let object = object.to_string();
            let finding = Finding {
                object: object.clone(),
                detail: String::new(),
                wrong,
                snapshots: Vec::new(),
                more_snapshots: 0,
                files: Vec::new(),
                more_files: 0,
            };
            self.by_object.insert(object, Entry { finding, snapshot: None, file: None });
        }
        let entry = self.by_object.get_mut(object)?;
        entry.finding.wrong |= wrong;
        if entry.finding.detail.is_empty() {
            entry.finding.detail = detail;
        }
        Some(entry)
    }

    /// Adds that an object's damage affects a snapshot, and in it a file. Snapshots come one after another.
    pub(crate) fn affects(
        &mut self,
        object: &str,
        detail: &str,
        name: &SnapshotName,
        affected: Option<Affected<'_>>,
        files: u64,
    ) {
        self.wrong = true;
        affected.into_iter().for_each(|affected| self.losses.add(name, affected, files));
        let file = affected.map(|affected| affected.path);
        let Some(Entry { finding, snapshot, file: last }) = self.add(object, detail.to_string(), true) else { return };
        if snapshot.as_ref() != Some(name) {
            *snapshot = Some(name.clone());
            *last = None;
            if finding.snapshots.len() < MOST_SNAPSHOTS {
                finding.snapshots.push(name.to_string());
            } else {
                finding.more_snapshots += 1;
            }
        }
        let Some(file) = file.filter(|file| last.as_deref() != Some(file)) else { return };
        *last = Some(file.to_vec());
        let shown = String::from_utf8_lossy(file);
        if finding.files.iter().any(|known| *known == shown) {
            return;
        }
        let mut more = files;
        if finding.files.len() < MOST_FILES {
            finding.files.push(shown.into_owned());
            more = more.saturating_sub(1);
        }
        if finding.snapshots.len() == 1 {
            finding.more_files += more;
        }
    }

    /// Returns the report.
    pub(crate) fn finish(self, checked: Checked, quarantine: Quarantine) -> Report {
        let Losses { list: lost, more: more_lost, damaged, more_damaged, .. } = self.losses;
        let mut findings: Vec<Finding> = self.by_object.into_values().map(|entry| entry.finding).collect();
        // What is wrong comes first.
        findings.sort_by_key(|finding| !finding.wrong);
        Report {
            checked,
            findings,
            more: self.more,
            lost,
            more_lost,
            quarantine,
            wrong: self.wrong,
            is_store_wrong: self.wrong,
            unrecorded: None,
            number: None,
            damaged: (damaged, more_damaged),
        }
    }
}
