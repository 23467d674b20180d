//! The database of a snapshot that the user means.

use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use lrl_store::error::Error;
use lrl_store::format::snapshot::{Database, Snapshot};
use lrl_store::ops::ls;

use crate::exit::{Failure, Result};
use crate::render::units;

/// Returns the database that was named, or the only one.
pub fn pick<'s>(snapshot: &'s Snapshot, named: Option<&Path>) -> Result<&'s Database> {
    let stamp = &snapshot.timestamp;
    let listed = || {
        let paths: Vec<String> = snapshot.databases.iter().map(|part| units::path(&part.path)).collect();
        paths.join(", ")
    };
    match (named, snapshot.databases.as_slice()) {
        (_, []) => Err(Error::not_found(format!("the snapshot {stamp} holds no database")).into()),
        (None, [only]) => Ok(only),
        (None, _) => Err(Failure::Usage(format!(
            "the snapshot {stamp} holds several databases: name one with --database: {}",
            listed()
        ))),
        (Some(named), _) => {
            let given = ls::clean(named.as_os_str().as_bytes());
            let found = snapshot.database(&given).or_else(|| snapshot.database(&units::typed_path(&given)));
            found.ok_or_else(|| {
                let shown = units::path(&given);
                Error::not_found(format!(
                    "there is no database `{shown}` in the snapshot {stamp}; it holds {}",
                    listed()
                ))
                .into()
            })
        }
    }
}
