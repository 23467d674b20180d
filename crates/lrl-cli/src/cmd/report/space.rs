//! What store and sets take, how fast that grows, and how full the disks are. What a report measures is noted beside the store's other records,
//! so that the next one knows the rate.

use std::os::unix::fs::MetadataExt;
use std::path::Path;

use lrl_store::backend::location::Location;
use lrl_store::fs::space::{Reserve, free_at};
use lrl_store::ops::report::{History, forecast};
use lrl_store::ops::stats;
use lrl_store::set::directory::BackupDir;
use lrl_store::store::Store;
use lrl_store::time::Time;
use serde::{Deserialize, Serialize};

use crate::args::values::KeepSets;
use crate::cmd::shared::run_record;
use crate::context::Context;
use crate::exit::Result;
use crate::resolve::Paths;

const DAY: i64 = 86_400;
/// How long back a rate is measured.
const WINDOW: i64 = 30 * DAY;
/// Measurements make a rate once they are this many, over at least [`LEAST_SPAN`].
const LEAST_MEASURED: usize = 5;
const LEAST_SPAN: i64 = 7 * DAY;
/// One measurement a day is kept, up to this many.
const MOST_MEASURED: usize = 400;
/// Seconds for which a bucket is not measured again: less than from one night to the next.
const RECENT: i64 = 20 * 3600;
const RECORD: &str = "sizes.json";

/// What store and sets took at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Measured {
    /// When, in seconds since 1970.
    pub at: i64,
    /// Bytes of the store.
    pub store: u64,
    /// Bytes of the sets on disk; none where there is no backup directory.
    pub sets: Option<u64>,
}

/// What a store and the sets beside it take.
pub struct Space {
    /// Bytes of the store over time, oldest first.
    pub store: Vec<(i64, u64)>,
    /// Whether these were measured, not estimated from what each run added.
    pub is_measured: bool,
    /// Bytes of the sets that are there, by their time.
    pub sets: Vec<(i64, u64)>,
    /// How many sets there are, and the bytes of the newest.
    pub set_count: u64,
    /// Bytes of the newest set.
    pub newest_set: u64,
    /// Bytes a day by which the store grows.
    pub store_rate: Option<f64>,
    /// Bytes a day by which the sets grow.
    pub sets_rate: Option<f64>,
    /// Whether every set is kept.
    pub keeps_all_sets: bool,
    /// The disks that they are on.
    pub disks: Vec<Disk>,
}

/// A disk with a store, sets, or both.
pub struct Disk {
    /// What of the backups is on it.
    pub what: &'static str,
    /// Bytes that are free.
    pub free: u64,
    /// All of its bytes.
    pub total: u64,
    /// Bytes of the store on it.
    pub store: u64,
    /// Bytes of the sets on it.
    pub sets: u64,
    /// When it is full at the present rate, in seconds since 1970.
    pub full_at: Option<i64>,
    /// Whether the rate is known.
    pub has_rate: bool,
}

/// What is measured.
pub struct Place<'a> {
    /// Where everything is.
    pub paths: &'a Paths,
    /// The store in force.
    pub store: &'a Store,
    /// The backup directory, if it can be listed.
    pub backup_dir: Option<&'a BackupDir>,
}

/// Measures the store in force and the sets beside it. To list a bucket takes a request for each thousand packs: a measurement
/// there counts for [`RECENT`], with what was added since.
pub fn measure(
    context: &Context<'_>,
    place: &Place<'_>,
    histories: &[&History],
    (keep_sets, notes): (KeepSets, bool),
    now: Time,
) -> Result<Space> {
    let (now, dir) = (now.secs, place.backup_dir);
    let added = added(histories);
    let sets_bytes = dir.map(|dir| dir.disk_bytes);
    let record = run_record::place(context, RECORD);
    let known = record.as_deref().map(known).unwrap_or_default();
    let is_dear = place.store.storage().capabilities().cost_per_request;
    let recent = known.last().filter(|last| is_dear && (0..RECENT).contains(&(now - last.at)));
    let (bytes, measured) = match recent {
        Some(last) => (last.store.saturating_add(since(&added, last.at)), known),
        None => {
            let bytes = stats::store_bytes(place.store, context.term)?;
            let all = with(known, Measured { at: now, store: bytes, sets: sets_bytes });
            if notes && record.is_some_and(|path| run_record::put(&path, &all).is_none()) {
                context.term.detail("what the store takes could not be noted");
            }
            (bytes, all)
        }
    };
    let begin = added.first().map_or(now, |(at, _)| *at).max(now - WINDOW);
    let of_store: Vec<(i64, u64)> = measured.iter().map(|at| (at.at, at.store)).collect();
    let store_rate =
        measured_rate(&of_store, now).or_else(|| forecast::rate_of_additions(added.iter().copied(), begin, now));
    let is_measured = span(&of_store) >= LEAST_SPAN;
    let by_time = sets(dir);
    let set_count = dir.map_or(0, BackupDir::sets);
    let keeps_all_sets = keep_sets == KeepSets::All;
    let sets_rate = match keep_sets {
        _ if set_count == 0 => Some(0.0),
        KeepSets::Newest(most) if set_count >= most.get() as u64 => Some(0.0),
        _ => {
            let measured: Vec<_> = measured.iter().filter_map(|at| Some((at.at, at.sets?))).collect();
            let first = by_time.first().map_or(now, |(at, _)| *at).max(now - WINDOW);
            measured_rate(&measured, now).or_else(|| forecast::rate_of_additions(by_time.iter().copied(), first, now))
        }
    };
    let mut space = Space {
        store: if is_measured { of_store } else { estimated(bytes, &added, now) },
        is_measured,
        newest_set: by_time.last().map_or(0, |(_, bytes)| *bytes),
        sets: cumulated(&by_time),
        set_count,
        store_rate,
        sets_rate,
        keeps_all_sets,
        disks: Vec::new(),
    };
    space.disks = disks(place.paths, &space, bytes, sets_bytes.unwrap_or(0), now);
    Ok(space)
}

/// Returns the measurements that are noted, oldest first.
fn known(record: &Path) -> Vec<Measured> {
    let text = std::fs::read(record).ok();
    let mut known: Vec<Measured> = text.and_then(|text| serde_json::from_slice(&text).ok()).unwrap_or_default();
    known.sort_by_key(|old| old.at);
    known
}

/// Returns the bytes that were added after a moment.
fn since(added: &[(i64, u64)], at: i64) -> u64 {
    added.iter().filter(|(when, _)| *when > at).map(|(_, bytes)| bytes).sum()
}

/// Adds a measurement in place of those of the same day and of the future.
fn with(mut known: Vec<Measured>, now: Measured) -> Vec<Measured> {
    known.retain(|old| old.at.div_euclid(DAY) < now.at.div_euclid(DAY));
    known.push(now);
    known.drain(..known.len().saturating_sub(MOST_MEASURED));
    known
}

fn span(series: &[(i64, u64)]) -> i64 {
    series.first().zip(series.last()).map_or(0, |(first, last)| last.0 - first.0)
}

fn measured_rate(series: &[(i64, u64)], now: i64) -> Option<f64> {
    let recent: Vec<_> = series.iter().copied().filter(|(at, _)| now - at <= WINDOW).collect();
    (recent.len() >= LEAST_MEASURED && span(&recent) >= LEAST_SPAN).then(|| forecast::rate(&recent))?
}

/// Returns what the runs of all sources added, oldest first.
fn added(histories: &[&History]) -> Vec<(i64, u64)> {
    let points = histories.iter().flat_map(|history| &history.points);
    let mut added: Vec<_> = points.filter_map(|point| Some((point.created?.secs, point.added_bytes?))).collect();
    added.sort_unstable();
    added
}

/// Estimates what the store took before, from what it takes now and what was added since.
fn estimated(bytes: u64, added: &[(i64, u64)], now: i64) -> Vec<(i64, u64)> {
    let mut series = vec![(now, bytes)];
    let mut left = bytes;
    for (at, added) in added.iter().rev() {
        series.push((*at, left));
        left = left.saturating_sub(*added);
    }
    series.reverse();
    series
}

/// Returns the sets that are there by their time, oldest first, with the bytes of each.
fn sets(dir: Option<&BackupDir>) -> Vec<(i64, u64)> {
    let all = dir.into_iter().flat_map(|dir| &dir.by_timestamp).filter(|(_, set)| set.manifest);
    all.filter_map(|(stamp, set)| Some((Time::of_stamp(stamp)?.secs, set.disk_bytes))).collect()
}

fn cumulated(series: &[(i64, u64)]) -> Vec<(i64, u64)> {
    let mut sum = 0;
    series
        .iter()
        .map(|(at, bytes)| {
            (*at, {
                sum += bytes;
                sum
            })
        })
        .collect()
}

fn disks(paths: &Paths, space: &Space, store_bytes: u64, sets_bytes: u64, now: i64) -> Vec<Disk> {
    let device = |path: &Path| std::fs::metadata(path).ok().map(|meta| meta.dev());
    let store = paths.store.directory().filter(|_| matches!(paths.store, Location::Directory(_)));
    let sets = Some(paths.backup_dir.as_path()).filter(|dir| dir.is_dir() && (sets_bytes > 0 || store.is_none()));
    let is_one = store.zip(sets).is_some_and(|(store, sets)| device(store) == device(sets));
    let mut disks = Vec::new();
    let mut add = |dir: &Path, what, (store, sets): (u64, u64), rates: &[Option<f64>]| {
        let Ok(free) = free_at(dir, Reserve::NONE) else { return };
        let Some(total) = free.total() else { return };
        let rate: Option<f64> = rates.iter().copied().sum();
        let full_at = rate.and_then(|rate| forecast::full_at(free.bytes, rate, now));
        disks.push(Disk { what, free: free.bytes, total, store, sets, full_at, has_rate: rate.is_some() });
    };
    match (store, sets) {
        (Some(store), Some(_)) if is_one => {
            add(store, "store and sets", (store_bytes, sets_bytes), &[space.store_rate, space.sets_rate])
        }
        (store, sets) => {
            if let Some(store) = store {
                add(store, "store", (store_bytes, 0), &[space.store_rate]);
            }
            if let Some(sets) = sets {
                add(sets, "sets", (0, sets_bytes), &[space.sets_rate]);
            }
        }
    }
    disks
}

#[cfg(test)]
mod tests {
    use super::{DAY, MOST_MEASURED, Measured, cumulated, estimated, measured_rate, with};

    fn at(day: i64, store: u64) -> Measured {
        Measured { at: day * DAY + 7, store, sets: None }
    }

    #[test]
    fn one_measurement_a_day_is_kept() {
        let known = with(vec![at(1, 10), at(2, 20), at(9, 90)], at(2, 21));
        assert_eq!(known, [at(1, 10), at(2, 21)], "one from the future goes");
        let many = (0..1000).map(|day| at(day, 1)).collect();
        assert_eq!(with(many, at(1000, 2)).len(), MOST_MEASURED);
    }

    #[test]
    fn what_the_store_took_before_is_estimated_from_what_was_added() {
        assert_eq!(estimated(100, &[(1, 50), (2, 30)], 9), [(1, 70), (2, 100), (9, 100)]);
        assert_eq!(estimated(10, &[(1, 5), (2, 30)], 9), [(1, 0), (2, 10), (9, 10)], "a prune came between");
        assert_eq!(cumulated(&[(1, 5), (2, 7)]), [(1, 5), (2, 12)]);
    }

    #[test]
    fn a_rate_needs_a_week_of_measurements() {
        let series = |days: i64| (0..=days).map(|day| (day * DAY, 10 * day as u64)).collect::<Vec<_>>();
        assert_eq!(measured_rate(&series(5), 5 * DAY), None);
        assert!((measured_rate(&series(10), 10 * DAY).unwrap() - 10.0).abs() < 0.01);
    }
}
