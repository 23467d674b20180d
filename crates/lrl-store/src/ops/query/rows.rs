//! The verb `rows`: how many rows each table has in each snapshot. Counts come from records of drills where those have them, else from the
//! image; a tree that was counted is not read again.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use super::image;
use crate::error::{Error, Result};
use crate::format::snapshot::{Database, Snapshot};
use crate::id::ChunkId;
use crate::progress::{Observer, checkpoint};
use crate::store::{SnapshotName, Store};

/// Rows of each table that can be counted.
pub type Counts = BTreeMap<String, u64>;

/// Where counts come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Origin {
    /// The record of a drill.
    Drill,
    /// The image of the database.
    Image,
    /// Another snapshot with the same database.
    Same,
}

/// The counts of one snapshot.
#[derive(Debug)]
pub struct Counted {
    /// The snapshot's name.
    pub name: SnapshotName,
    /// Its document.
    pub snapshot: Snapshot,
    /// The counts, and where they come from; `None` where the snapshot does not hold the database.
    pub rows: Option<Result<(Counts, Origin)>>,
}

/// Counts the rows of the database at `path` in each of these snapshots, and gives them to `visit` in their order.
///
/// # Errors
/// [`Error::Interrupted`], [`Error::Refused`] where there is no room for an image, the error of `visit`. What is damaged is given to `visit`.
pub fn rows<E: From<Error>>(
    store: &Store,
    snapshots: Vec<(SnapshotName, Snapshot)>,
    path: &[u8],
    temp: &Path,
    observer: &dyn Observer,
    visit: &mut dyn FnMut(Counted) -> Result<(), E>,
) -> Result<(), E> {
    let mut known = from_drills(store, &snapshots, path, observer)?;
    for (name, snapshot) in snapshots {
        checkpoint(observer)?;
        let rows = match snapshot.database(path) {
            None => None,
            Some(part) => match known.get(&part.root) {
                Some((counts, origin)) => Some(Ok((counts.clone(), *origin))),
                None => match count(store, part, temp, observer) {
                    Ok(counts) => {
                        known.insert(part.root, (counts.clone(), Origin::Same));
                        Some(Ok((counts, Origin::Image)))
                    }
                    Err(error @ (Error::Corrupt { .. } | Error::Missing { .. } | Error::WriteOnly { .. })) => {
                        Some(Err(error))
                    }
                    Err(error) => return Err(error.into()),
                },
            },
        };
        visit(Counted { name, snapshot, rows })?;
    }
    Ok(())
}

/// Reads the newest records of drills for as long as a wanted tree is not known.
fn from_drills(
    store: &Store,
    snapshots: &[(SnapshotName, Snapshot)],
    path: &[u8],
    observer: &dyn Observer,
) -> Result<HashMap<ChunkId, (Counts, Origin)>> {
    let roots = snapshots.iter().filter_map(|(_, snapshot)| snapshot.database(path)).map(|part| part.root);
    let mut wanted: Vec<ChunkId> = roots.collect();
    wanted.sort();
    wanted.dedup();
    let mut sources: Vec<&str> = snapshots.iter().map(|(name, _)| name.source.as_str()).collect();
    sources.dedup();
    let mut known = HashMap::new();
    for source in sources {
        for name in store.drill_names(source)?.iter().rev() {
            if wanted.is_empty() {
                return Ok(known);
            }
            checkpoint(observer)?;
            let drill = match store.drill(name) {
                Ok(drill) => drill,
                Err(error) if error.is_unreadable_document() => continue,
                Err(error) => return Err(error),
            };
            for database in drill.databases {
                let (Some(root), Some(rows)) = (database.root, database.rows) else { continue };
                if let Ok(at) = wanted.binary_search(&root) {
                    wanted.remove(at);
                    known.insert(root, (rows, Origin::Drill));
                }
            }
        }
    }
    Ok(known)
}

fn count(store: &Store, part: &Database, temp: &Path, observer: &dyn Observer) -> Result<Counts> {
    let inspector = image::open(store, part, temp, observer)?;
    // Whatever the order of a table, it has as many rows.
    inspector.accept_collations()?;
    let counts = inspector.rows_per_table()?;
    Ok(counts.into_iter().filter_map(|count| Some((count.table, count.rows.ok()?))).collect())
}

/// Returns the tables that hold what an application put into them: not those in which a virtual table keeps its own data.
pub fn own_tables<'c>(part: &Database, counts: &'c Counts) -> impl Iterator<Item = (&'c String, u64)> {
    // A virtual table has a name, and no pages to count rows in.
    let names = part.tables.iter().flatten().filter(|name| !counts.contains_key(*name));
    let prefixes: Vec<String> = names.map(|name| format!("{name}_")).collect();
    counts.iter().filter_map(move |(table, rows)| {
        let is_shadow = prefixes.iter().any(|prefix| table.starts_with(prefix));
        (!is_shadow).then_some((table, *rows))
    })
}
