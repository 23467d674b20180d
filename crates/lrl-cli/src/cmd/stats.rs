//! `lrl stats`: what the store takes, and what it saves.

use lrl_store::ops::stats::{self, Added, Objects, Stats};
use serde_json::json;

use super::shared::open;
use crate::context::Context;
use crate::exit::{Exit, Result};
use crate::render::table::{Side, Table};
use crate::render::{json, units};

/// Counts objects, chunks and snapshots.
pub fn run(context: &Context<'_>) -> Result {
    let paths = context.paths()?;
    let store = open::open(context, &paths)?;
    let term = context.term;
    let mut newest: Option<Added> = None;
    json::list(
        term,
        json!({ "store": paths.store.to_string(), "store_id": store.config().store_id }),
        "snapshots",
        |list| {
            let counted = stats::stats(&store, term, &mut |added| {
                newest = Some(added.clone());
                list.item(|| {
                    json!({
                        "id": added.name.id, "source": added.name.source, "sequence": added.name.sequence,
                        "timestamp": added.timestamp, "added_bytes": added.bytes, "full_bytes": added.full_bytes,
                    })
                })
            })?;
            if !term.is_json() {
                table(context, &counted, newest.as_ref())?;
            }
            if counted.damaged_snapshots > 0 {
                let which = units::count(counted.damaged_snapshots, "snapshot");
                term.warn(format!("{which} cannot be read and not counted; `lrl check` tells more"));
            }
            let exit = if counted.damaged_snapshots == 0 { Exit::Done } else { Exit::Incomplete };
            let tail = json!({
                "store_bytes": counted.store_bytes(), "packs": counted.packs, "index": counted.index,
                "snapshot_documents": counted.snapshots, "drills": counted.drills,
                "quarantine": counted.quarantine, "candidates": counted.candidates, "other": counted.other,
                "chunks": counted.chunks, "plain_bytes": counted.plain_bytes, "duplicates": counted.duplicates,
                "full_copies": counted.full_copies, "ratio": ratio(&counted), "damaged_snapshots": counted.damaged_snapshots,
            });
            Ok((tail, exit))
        },
    )
}

/// How many times smaller the store is than full copies; none where there is nothing to compare.
fn ratio(counted: &Stats) -> Option<f64> {
    let ratio = counted.full_copies.bytes as f64 / counted.store_bytes() as f64;
    (counted.full_copies.count > 0 && ratio.is_finite()).then(|| (ratio * 100.0).round() / 100.0)
}

fn table(context: &Context<'_>, counted: &Stats, newest: Option<&Added>) -> Result<()> {
    let term = context.term;
    let mut table = Table::new(&[("", Side::Left), ("count", Side::Right), ("size", Side::Right)]);
    let mut row = |name: &str, objects: Objects| {
        table.row([name.into(), objects.count.to_string(), units::size(objects.bytes)]);
    };
    row("packs", counted.packs);
    row("index files", counted.index);
    row("snapshots", counted.snapshots);
    row("drill records", counted.drills);
    if counted.quarantine.count > 0 {
        row("in quarantine", counted.quarantine);
    }
    if counted.candidates.count > 0 {
        row("packs to be deleted", counted.candidates);
    }
    row("config, cache, lock", counted.other);
    row("chunks, encoded", counted.chunks);
    row("chunks, plain", Objects { count: counted.chunks.count, bytes: counted.plain_bytes });
    row("chunks stored twice", counted.duplicates);
    row("as full copies", counted.full_copies);
    term.table(&table)?;
    if let Some(ratio) = ratio(counted) {
        let (full, now) = (units::size(counted.full_copies.bytes), units::size(counted.store_bytes()));
        term.line(format!("\n{full} of full copies in {now}: {ratio} times smaller"))?;
    }
    if let Some(newest) = newest {
        let (added, full) = (units::size(newest.bytes), units::size(newest.full_bytes));
        term.line(format!("The last one listed ({}) holds {full} and added {added}", newest.name.id.short()))?;
    }
    Ok(())
}
