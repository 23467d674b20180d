//! Sets that outgrow their store: said before their disk is full, with what helps.

use std::path::Path;
use std::time::SystemTime;

use lrl_store::error::Error;
use lrl_store::fs::space::{Reserve, free_at};
use lrl_store::ops::stats;
use lrl_store::progress::Silent;
use lrl_store::set::directory::{self, BackupDir};
use lrl_store::set::growth::Sets;
use lrl_store::store::Store;
use lrl_store::time::{Time, time_of};
use serde_json::{Value, json};

use crate::render::{entry, units};

/// The sets of a backup directory, and how long there is room for more.
pub struct SetsGrowth {
    sets: Sets,
    now: Time,
}

/// Looks at the sets of a directory; `None` if there are none, or they cannot be listed. Without a store they are not compared with one.
pub fn look(dir: &Path, store: Option<&Store>) -> Option<SetsGrowth> {
    let found = directory::look(dir).ok().filter(|found| found.sets() > 0)?;
    let free = free_at(dir, Reserve::NONE).ok().filter(|free| free.total().is_some())?;
    let sets = Sets {
        count: found.sets(),
        disk_bytes: found.disk_bytes,
        span_secs: span_secs(&found),
        free_bytes: free.bytes,
        store_bytes: store.and_then(|store| store_bytes(store).ok().flatten()),
    };
    Some(SetsGrowth { sets, now: time_of(SystemTime::now()) })
}

/// Listing a bucket costs requests: what is in one is not compared.
fn store_bytes(store: &Store) -> Result<Option<u64>, Error> {
    match store.storage().capabilities().cost_per_request {
        true => Ok(None),
        false => stats::store_bytes(store, &Silent).map(Some),
    }
}

fn span_secs(found: &BackupDir) -> u64 {
    let stamps = found.by_timestamp.iter().filter(|(_, set)| set.manifest);
    let mut times = stamps.filter_map(|(stamp, _)| Time::of_stamp(stamp)).map(|time| time.secs);
    let first = times.next();
    let last = times.next_back().or(first);
    first.zip(last).map_or(0, |(first, last)| last.abs_diff(first))
}

impl SetsGrowth {
    /// Returns what there is to say, if there is.
    pub fn note(&self) -> Option<String> {
        let Sets { count, disk_bytes, free_bytes, store_bytes, .. } = self.sets;
        let outgrown = self.sets.outgrown()?;
        let store = store_bytes.map(|bytes| format!(", the store {}", units::size(bytes))).unwrap_or_default();
        let full = outgrown.full_in.map(|time| {
            let day = units::moment(self.now.secs.saturating_add(i64::try_from(time.as_secs()).unwrap_or(i64::MAX)));
            let day = day.split(' ').next().unwrap_or_default();
            format!("; at this rate their disk is full on {day} (in {})", units::duration(time))
        });
        let keep = outgrown.keep;
        Some(format!(
            "{} take {}{store}, and only {} are free{}: --keep-sets {keep} (keep-sets = {keep} in lrl.toml) keeps the newest {keep}, and `lrl export` makes any other again",
            units::count(count, "set"),
            units::size(disk_bytes),
            units::size(free_bytes),
            full.unwrap_or_default(),
        ))
    }

    /// Returns one line for `lrl status`.
    pub fn line(&self) -> String {
        format!("Sets: {}, {} on disk", self.sets.count, units::size(self.sets.disk_bytes))
    }

    /// Returns it as a document.
    pub fn document(&self) -> Value {
        let outgrown = self.sets.outgrown();
        let full = outgrown
            .and_then(|outgrown| outgrown.full_in)
            .map(|time| entry::iso(Time { secs: self.now.secs.saturating_add_unsigned(time.as_secs()), nanos: 0 }));
        json!({
            "count": self.sets.count, "disk_bytes": self.sets.disk_bytes, "free_bytes": self.sets.free_bytes,
            "store_bytes": self.sets.store_bytes, "outgrown": outgrown.is_some(), "full_on": full,
            "keep_sets_that_helps": outgrown.map(|outgrown| outgrown.keep),
        })
    }
}
