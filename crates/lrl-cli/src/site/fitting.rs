//! Whether the checks of a preset fit the database that is there, and which further ones its rows suggest.

use std::path::Path;

use lrl_store::error::{Error, Result};
use lrl_store::progress::Observer;
use lrl_store::source::database::{Inspector, Value, inspect_in_use};
use serde::Deserialize;

use super::checked;
use super::preset::{ChecksFrom, Preset};
use super::rules::{Place, RowsCheck};
use crate::hint;

/// A proposal has up to this number of checks that a query wrote.
const MOST_WRITTEN: usize = 64;

/// A check, and why it cannot run in the database that is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fitted {
    /// The check.
    pub check: RowsCheck,
    /// What SQLite says of it; `None` if it fits, or could not be tried.
    pub unfit: Option<String>,
}

/// A check as a query writes it.
#[derive(Deserialize)]
struct Written {
    name: String,
    rows: String,
}

/// Returns the checks of a preset for the site in `dir`, and what to tell of them. Reads a database at a inspect_in_use, and none of its rows but
/// for the checks that a query writes.
pub fn checks(
    preset: &Preset,
    dir: &Path,
    scratch: &Path,
    observer: &dyn Observer,
) -> Result<(Vec<Fitted>, Vec<String>)> {
    let mut notes = Vec::new();
    let mut checks = preset.tables.checks.clone().unwrap_or_default();
    if let Some(from) = &preset.checks_from {
        match written(from, dir, scratch, observer) {
            Ok(written) => checks.extend(written),
            Err(Error::Interrupted) => return Err(Error::Interrupted),
            Err(error) => {
                notes.push(format!("no checks could be made from {}: {}", from.database, hint::error(&error)))
            }
        }
    }
    let first = preset.tables.databases.iter().flatten().find_map(|rule| match &rule.place {
        Place::Path(path) => Some(path),
        Place::Pattern(_) => None,
    });
    let mut fitted = Vec::with_capacity(checks.len());
    for check in checks {
        let database = check.database.as_ref().or(first).map(|path| dir.join(path));
        let unfit = match database.filter(|path| path.is_file()) {
            Some(path) => prepare(&path, &check.rows, scratch, observer)?,
            None => None,
        };
        fitted.push(Fitted { check, unfit });
    }
    Ok((fitted, notes))
}

/// Lets SQLite prepare a query; no row of it is read.
fn prepare(db: &Path, rows: &str, scratch: &Path, observer: &dyn Observer) -> Result<Option<String>> {
    let sql = format!("SELECT path FROM ({rows}) LIMIT 0");
    let prepared = inspect_in_use(db, scratch, observer, |inspector| match inspector.scalar(&sql, &|| None) {
        Ok(_) => Ok(None),
        Err(Error::Refused(reason)) => Ok(Some(reason.to_string())),
        Err(error) => Err(error),
    });
    match prepared {
        Err(Error::Interrupted) => Err(Error::Interrupted),
        // What is wrong with the database has been told.
        Err(_) => Ok(None),
        fits => fits,
    }
}

fn written(from: &ChecksFrom, dir: &Path, scratch: &Path, observer: &dyn Observer) -> Result<Vec<RowsCheck>> {
    let value = inspect_in_use(&dir.join(&from.database), scratch, observer, |inspector: &Inspector<'_>| {
        inspector.scalar(&from.query, &|| None)
    })?;
    let Value::Text(text) = value else { return Ok(Vec::new()) };
    let refuse = |reason: String| Error::refused(reason);
    let written: Vec<Written> = serde_json::from_str(&text).map_err(|error| refuse(error.to_string()))?;
    if written.len() > MOST_WRITTEN {
        return Err(refuse(format!(
            "they would be {}, and more than {MOST_WRITTEN} are none to look through",
            written.len()
        )));
    }
    let check = |Written { name, rows }| {
        let rows = checked::query(&rows).map_err(refuse)?;
        Ok(RowsCheck { rows, database: Some(from.database.clone()), name: Some(name) })
    };
    written.into_iter().map(check).collect()
}
