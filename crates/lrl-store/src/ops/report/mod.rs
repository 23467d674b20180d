//! The verb `report`: the history of one source, for a page about it. Read-only and bounded: the newest snapshots are all read, older ones
//! evenly thinned.

pub mod days;
pub mod forecast;
mod model;
pub mod since;

pub use model::{Contents, DrillPoint, History, Point, RowsAt, TableRows};

use std::collections::BTreeMap;

use crate::error::Result;
use crate::format::drill::Drill;
use crate::format::path_text;
use crate::format::snapshot::{Snapshot, THE_DATABASE};
use crate::ops::judgement::Judgement;
use crate::ops::status::{self, Status};
use crate::progress::{Observer, checkpoint};
use crate::store::{SnapshotName, Store};
use crate::time::{Time, is_future};

/// The days that a report shows one by one.
pub const DAYS: u32 = 90;
const DAY: i64 = 86_400;
/// Up to this many of the newest snapshots are read, if they are of the last [`DAYS`].
const MOST_READ: usize = 2000;
/// Up to about this many of those before are read as well.
const MOST_OLDER: usize = 120;
/// Reasons are kept for this many of the newest snapshots.
const MOST_REASONS: usize = 20;
/// Tables that are listed by name.
const MOST_TABLES: usize = 100;

/// Reads the status and the history of a source whose snapshots, `names`, have been listed oldest first: its snapshots with the judgement on
/// each, its drills, and the rows that these counted. Records are listed and read once for both.
///
/// # Errors
///
/// If the store cannot be listed, [`Error::Interrupted`](crate::error::Error::Interrupted); damaged documents are part of the history.
pub fn history(
    store: &Store,
    source: &str,
    names: &[SnapshotName],
    now: Time,
    observer: &dyn Observer,
) -> Result<(Status, History)> {
    let mut history = History::default();
    let mut counted = Counted::new(now);
    let (status, mut judge) = status::survey_each(store, source, names, (now, 0), observer, |drill| {
        counted.add(drill);
        if !is_future(drill.finished, now) {
            history.drills.push(DrillPoint { finished: drill.finished, passed: drill.passed });
        }
    })?;
    history.drills.sort_by_key(|drill| drill.finished);
    (history.rows, history.tables, history.more_tables) = counted.finish();
    let evidence = judge.evidence(source, observer)?;
    let proven: Vec<bool> = names.iter().map(|name| evidence.of(&name.id).is_some_and(|last| last.passed)).collect();
    let begin = now.secs - i64::from(DAYS) * DAY;
    let mut older = None;
    for (n, name) in names.iter().enumerate().rev() {
        checkpoint(observer)?;
        let newer = names.len() - 1 - n;
        if let Some(at) = older
            && (n != 0 && (at - n) % step(at) != 0)
        {
            history.unread += 1;
            continue;
        }
        let point = match store.snapshot(name) {
            Ok(snapshot) if is_future(snapshot.created, now) => continue,
            Ok(snapshot) => {
                let judgement = judge.of(name, &snapshot, observer)?;
                history.newest.get_or_insert_with(|| contents(&snapshot));
                point(name, Some(&snapshot), judgement, proven[n], newer < MOST_REASONS)
            }
            Err(error) if error.is_unreadable_document() => {
                point(name, None, Judgement::damaged(&error), false, newer < MOST_REASONS)
            }
            Err(error) => return Err(error),
        };
        if older.is_none() && (point.created.is_some_and(|created| created.secs < begin) || newer + 1 >= MOST_READ) {
            older = Some(n);
        }
        history.points.push(point);
    }
    history.points.reverse();
    Ok((status, history))
}

/// Every how many of the `left` older snapshots one is read.
fn step(left: usize) -> usize {
    left.div_ceil(MOST_OLDER).max(1)
}

fn point(name: &SnapshotName, snapshot: Option<&Snapshot>, judgement: Judgement, proven: bool, told: bool) -> Point {
    let files = snapshot.and_then(|snapshot| snapshot.files.as_ref());
    Point {
        name: name.clone(),
        timestamp: snapshot.map(|snapshot| snapshot.timestamp.clone()),
        created: snapshot.map(|snapshot| snapshot.created),
        state: judgement.state,
        reason: if told { judgement.reason } else { String::new() },
        database_bytes: snapshot.filter(|it| it.has_databases()).map(Snapshot::database_bytes),
        files: files.map(|files| files.files),
        file_bytes: files.map(|files| files.bytes),
        added_bytes: snapshot.and_then(|snapshot| snapshot.added_bytes),
        proven,
        before_restore: snapshot.is_some_and(Snapshot::is_before_restore),
    }
}

fn contents(snapshot: &Snapshot) -> Contents {
    Contents {
        host: snapshot.host.clone(),
        tags: snapshot.tags.clone(),
        is_site: snapshot.is_site(),
        databases: snapshot.databases.iter().map(|database| (database.shown(), database.size_bytes)).collect(),
    }
}

/// Rows as drills counted them.
struct Counted {
    now: Time,
    rows: Vec<RowsAt>,
    /// The rows of each table in the newest snapshot that was counted, and in the oldest of the last days.
    newest: Option<(Time, Tables)>,
    oldest: Option<(Time, Tables)>,
}

type Tables = BTreeMap<(String, String), u64>;

impl Counted {
    fn new(now: Time) -> Self {
        Self { now, rows: Vec::new(), newest: None, oldest: None }
    }

    fn add(&mut self, drill: &Drill) {
        let Some(at) = Time::of_stamp(&drill.timestamp).filter(|at| !is_future(*at, self.now)) else { return };
        let counted: Option<Vec<_>> =
            drill.databases.iter().map(|database| database.rows.as_ref().map(|rows| (&database.path, rows))).collect();
        let Some(counted) = counted.filter(|counted| !counted.is_empty()) else { return };
        self.rows.push(RowsAt { at, rows: counted.iter().flat_map(|(_, rows)| rows.values()).sum() });
        let tables = || {
            let of_database = |(path, rows): &(&Vec<u8>, &BTreeMap<String, u64>)| {
                let database = if *path == THE_DATABASE { String::new() } else { path_text::encode(path) };
                let rows = rows.iter().map(move |(table, rows)| ((database.clone(), table.clone()), *rows));
                rows.collect::<Vec<_>>()
            };
            counted.iter().flat_map(of_database).collect()
        };
        if self.newest.as_ref().is_none_or(|(newest, _)| at > *newest) {
            self.newest = Some((at, tables()));
        }
        let is_recent = at.secs >= self.now.secs - i64::from(DAYS) * DAY;
        if is_recent && self.oldest.as_ref().is_none_or(|(oldest, _)| at < *oldest) {
            self.oldest = Some((at, tables()));
        }
    }

    fn finish(mut self) -> (Vec<RowsAt>, Vec<TableRows>, u64) {
        self.rows.sort_by_key(|rows| rows.at);
        self.rows.dedup_by_key(|rows| rows.at);
        let Some((_, newest)) = self.newest else { return (self.rows, Vec::new(), 0) };
        let before = self.oldest.map(|(_, tables)| tables).unwrap_or_default();
        let table = |((database, table), rows): ((String, String), u64)| {
            let before = before.get(&(database.clone(), table.clone())).copied();
            TableRows { database, table, rows, before }
        };
        let mut tables: Vec<TableRows> = newest.into_iter().map(table).collect();
        tables.sort_by(|a, b| b.rows.cmp(&a.rows).then_with(|| a.table.cmp(&b.table)));
        let more = tables.len().saturating_sub(MOST_TABLES);
        tables.truncate(MOST_TABLES);
        (self.rows, tables, more as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::{MOST_OLDER, step};

    #[test]
    fn older_snapshots_are_thinned_to_a_bounded_number() {
        for left in [0, 1, 119, 120, 121, 5000, 1_000_000] {
            assert!((left / step(left)) <= MOST_OLDER, "{left}");
        }
        assert_eq!(step(100), 1);
    }
}
