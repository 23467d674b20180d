//! One table in two states: whether its rows can be compared, and by what.

use crate::error::{Error, Result};
use crate::source::database::Inspector;
use crate::source::database::merge::Selection;
use crate::source::database::sql_text::needs_the_application;
use crate::source::database::table_shape::{TableKind, TableShape};

/// More columns than this are not ordered by SQLite, each with its type.
const MOST_COLUMNS: usize = 500;

/// Chooses by which columns rows are paired; the error is why they cannot be, for people.
pub(super) fn selection(
    from: (&Inspector<'_>, &TableShape),
    to: (&Inspector<'_>, &TableShape),
) -> Result<Result<Selection, String>> {
    let names = |shape: &TableShape| -> Vec<String> { shape.stored().map(|column| column.name.clone()).collect() };
    let (columns, before) = (names(to.1), names(from.1));
    let is_same = columns.len() == before.len() && columns.iter().all(|name| before.contains(name));
    if !is_same {
        return Ok(Err("its columns are not the same in both".into()));
    }
    for key in &to.1.keys {
        let is_old = from.1.keys.iter().any(|old| same_names(&old.columns, &key.columns));
        if !is_old {
            continue;
        }
        if key.nullable && (nullable(from.0, &from.1.name, &key.columns)? || nullable(to.0, &to.1.name, &key.columns)?)
        {
            continue;
        }
        let rest = columns.iter().filter(|name| !key.columns.contains(name)).cloned();
        let is_rowid =
            |shape: &TableShape| shape.rowid_alias.as_ref() == Some(&key.columns[0]) && key.columns.len() == 1;
        return Ok(Ok(Selection {
            table: to.1.name.clone(),
            columns: key.columns.iter().cloned().chain(rest).collect(),
            key: key.columns.len(),
            by_rowid: is_rowid(from.1) && is_rowid(to.1),
        }));
    }
    if columns.len() > MOST_COLUMNS {
        return Ok(Err(format!("it has no key, and more than {MOST_COLUMNS} columns")));
    }
    Ok(Ok(Selection { table: to.1.name.clone(), columns, key: 0, by_rowid: false }))
}

/// A key with NULL in it tells nothing apart; what cannot be looked at is refused later, when rows are read.
fn nullable(inspector: &Inspector<'_>, table: &str, columns: &[String]) -> Result<bool> {
    match inspector.has_null(table, columns) {
        Err(Error::Corrupt { .. }) => Ok(false),
        other => other,
    }
}

fn same_names(a: &[String], b: &[String]) -> bool {
    a.len() == b.len() && a.iter().all(|name| b.contains(name))
}

/// Returns why a table's rows are never compared.
pub(super) fn left_out(shape: &TableShape) -> Option<String> {
    match &shape.kind {
        TableKind::Ordinary => None,
        TableKind::Shadow => Some("a virtual table keeps its own data in it".into()),
        TableKind::Virtual(module) => Some(format!("a virtual table ({module}): its rows are made from others")),
    }
}

/// Says why SQLite could not read a table's rows, where that is not damage.
pub(super) fn refusal(error: Error) -> Result<String> {
    match error {
        Error::Corrupt { detail, .. } if needs_the_application(detail.text()) => Ok(format!(
            "it needs what only the application registers with SQLite ({detail}): a dump of the table gives its rows"
        )),
        Error::Corrupt { detail, .. } if detail.text().contains("too big") => {
            Ok(format!("a row is longer than the 8 MiB that are read ({detail})"))
        }
        other => Err(other),
    }
}
