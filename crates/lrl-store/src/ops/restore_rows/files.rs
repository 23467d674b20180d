//! Files that rows name: which of them are not there.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::error::{Error, Result};
use crate::format::entry::is_clean_path;
use crate::format::snapshot::Snapshot;
use crate::fs::dir::to_path;
use crate::ops::drill::checks::row_path::below_root;
use crate::ops::ls;
use crate::ops::query::limit;
use crate::source::database::{Inspector, RowPath};
use crate::store::Store;

/// How rows name files.
pub enum Named {
    /// As the manual's `assets` table does.
    Assets,
    /// By a query with a column `path`, below the root.
    Query(String),
}

/// Where files are, and how rows name them.
pub struct Places<'a> {
    /// The root: paths of the snapshot are below it.
    pub root: PathBuf,
    /// Where `storage/…` is, in the manual's layout.
    pub storage: PathBuf,
    /// What names files.
    pub named: &'a [Named],
}

/// More files than this are not looked for.
const MOST: usize = 100_000;

/// Returns the paths, as snapshots have them, that rows name and that are not on the disk; those of one file in order of preference.
pub(super) fn missing(
    inspector: &Inspector<'_>,
    places: &Places<'_>,
    temp: &Path,
    time_limit: Duration,
) -> Result<BTreeSet<Vec<Vec<u8>>>> {
    let mut found = BTreeSet::new();
    let mut look = |candidates: Vec<Vec<u8>>| -> Result<()> {
        let is_there = |path: &Vec<u8>| {
            let on_disk = match path.strip_prefix(b"storage/") {
                Some(below) if places.named.iter().any(|named| matches!(named, Named::Assets)) => {
                    places.storage.join(to_path(below))
                }
                _ => places.root.join(to_path(path)),
            };
            on_disk.symlink_metadata().is_ok()
        };
        if !candidates.iter().any(is_there) {
            found.insert(candidates);
        }
        if found.len() > MOST {
            return Err(Error::refused(format!("the rows name more than {MOST} files that are not there")));
        }
        Ok(())
    };
    for named in places.named {
        match named {
            Named::Assets => {
                inspector.asset_rows(&mut |row| {
                    let parts =
                        row.storage_path.split(|byte| *byte == b'/').filter(|part| !matches!(*part, b"" | b"."));
                    let path = parts.collect::<Vec<_>>().join(&b'/');
                    if row.storage_path.starts_with(b"/") || !is_clean_path(&path) {
                        return Ok(());
                    }
                    look(vec![
                        [b"assets/", path.as_slice()].concat(),
                        [b"storage/", path.as_slice()].concat(),
                        [b"storage/", path.as_slice(), b".bin"].concat(),
                    ])
                })?;
            }
            Named::Query(query) => {
                let stop = limit::limit(temp, time_limit);
                let rows = inspector.file_rows(query, &stop, &mut |row| match row.path {
                    RowPath::Bytes(path) => match below_root(&path, &[Some(&places.root)]) {
                        Ok(path) => look(vec![path]),
                        Err(_) => Ok(()),
                    },
                    RowPath::Empty | RowPath::TooLong(_) => Ok(()),
                });
                match rows {
                    // The query may be about a table that is not there.
                    Err(Error::Refused(why)) if !why.text().contains("files that are not there") => {}
                    rows => drop(rows?),
                }
            }
        }
    }
    Ok(found)
}

/// Returns which of the files the snapshot holds, and how many it does not.
pub(super) fn held(store: &Store, snapshot: &Snapshot, files: &BTreeSet<Vec<Vec<u8>>>) -> Result<(Vec<Vec<u8>>, u64)> {
    let (mut held, mut lost) = (Vec::new(), 0);
    for candidates in files {
        let mut found = None;
        for path in candidates {
            match ls::find(store, snapshot, path) {
                Ok(_) => {
                    found = Some(path.clone());
                    break;
                }
                Err(Error::NotFound(_)) => {}
                Err(error) => return Err(error),
            }
        }
        match found {
            Some(path) => held.push(path),
            None => lost += 1,
        }
    }
    Ok((held, lost))
}
