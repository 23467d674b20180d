//! Rows of each table in each snapshot, as `lrl rows` and a page of `lrl ui` show them: which snapshots, which tables, what changed.

use std::collections::BTreeSet;

use lrl_store::error::Error;
use lrl_store::format::snapshot::Snapshot;
use lrl_store::ops::query::rows::{self, Counted, Counts};
use lrl_store::progress::{Observer, checkpoint};
use lrl_store::store::{SnapshotName, Store};

use crate::hint;

/// As many tables have a column, unless they are named.
const COLUMNS: usize = 6;

/// One snapshot, and its counts, or why there are none.
pub struct Line {
    /// The snapshot.
    pub name: SnapshotName,
    /// When its run began, in seconds since 1970.
    pub created: i64,
    /// The rows of each table; none where it does not hold the database.
    pub rows: Option<Result<Counts, String>>,
}

impl Line {
    /// Takes the counts of one snapshot: those of the tables that hold what an application put into them.
    pub fn new(counted: Counted, path: &[u8]) -> Self {
        let Counted { name, snapshot, rows } = counted;
        let own = |counts: &Counts| -> Counts {
            let part = snapshot.database(path);
            part.into_iter()
                .flat_map(|part| rows::own_tables(part, counts))
                .map(|(table, rows)| (table.clone(), rows))
                .collect()
        };
        let rows = rows.map(|rows| rows.map(|(counts, _)| own(&counts)).map_err(|error| hint::error(&error)));
        Self { created: snapshot.created.secs, name, rows }
    }
}

/// Returns up to `most` snapshots with a database, from the newest of `names` back, oldest first; what cannot be read is given to `damaged`.
///
/// # Errors
/// [`Error::Interrupted`], those of reading the store.
pub fn last(
    store: &Store,
    names: Vec<SnapshotName>,
    most: usize,
    observer: &dyn Observer,
    mut damaged: impl FnMut(Error),
) -> Result<Vec<(SnapshotName, Snapshot)>, Error> {
    let mut found = Vec::new();
    for name in names.into_iter().rev() {
        checkpoint(observer)?;
        if found.len() == most {
            break;
        }
        match store.snapshot(&name) {
            Ok(snapshot) if snapshot.databases.is_empty() => {}
            Ok(snapshot) => found.push((name, snapshot)),
            Err(error @ (Error::Corrupt { .. } | Error::Missing { .. } | Error::Unsupported { .. })) => damaged(error),
            Err(error) => return Err(error),
        }
    }
    found.reverse();
    Ok(found)
}

/// Returns the counts that there are.
pub fn counts(lines: &[Line]) -> impl Iterator<Item = &Counts> {
    lines.iter().filter_map(|line| line.rows.as_ref()?.as_ref().ok())
}

/// Returns the tables that get a column, and how many others there are.
pub fn columns(lines: &[Line], named: &[String]) -> (Vec<String>, usize) {
    let all: BTreeSet<&String> = counts(lines).flat_map(Counts::keys).collect();
    if !named.is_empty() {
        let spelled =
            |name: &String| all.iter().find(|table| table.eq_ignore_ascii_case(name)).map(|table| (*table).clone());
        return (named.iter().filter_map(spelled).collect(), 0);
    }
    let rank = |table: &String| {
        let each: Vec<Option<u64>> = counts(lines).map(|counts| counts.get(table).copied()).collect();
        let changes = each.windows(2).filter(|pair| pair[0] != pair[1]).count();
        (changes == 0, std::cmp::Reverse(each.into_iter().flatten().max().unwrap_or(0)))
    };
    let mut ranked: Vec<&String> = all.into_iter().collect();
    ranked.sort_by_key(|table| rank(table));
    let more = ranked.len().saturating_sub(COLUMNS);
    ranked.truncate(COLUMNS);
    // The order of their names is that of the other commands.
    ranked.sort();
    (ranked.into_iter().cloned().collect(), more)
}

/// Returns how a count is shown, after that of the snapshot before: none of both where there is no such snapshot, or no such table.
pub fn cell(before: Option<Option<u64>>, now: Option<u64>) -> String {
    match (before, now) {
        (Some(Some(_)), None) => "- (gone)".into(),
        (_, None) => "-".into(),
        (Some(None), Some(now)) => format!("{now} (new)"),
        (Some(Some(before)), Some(now)) if now > before => format!("{now} (+{})", now - before),
        (Some(Some(before)), Some(now)) if now < before => format!("{now} (-{})", before - now),
        (_, Some(now)) => now.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::cell;

    #[test]
    fn changes_are_marked() {
        assert_eq!(cell(None, Some(3)), "3");
        assert_eq!(cell(Some(Some(3)), Some(3)), "3");
        assert_eq!(cell(Some(Some(3)), Some(5)), "5 (+2)");
        assert_eq!(cell(Some(Some(3)), Some(0)), "0 (-3)");
        assert_eq!(cell(Some(Some(3)), None), "- (gone)");
        assert_eq!(cell(Some(None), Some(1)), "1 (new)");
        assert_eq!(cell(Some(None), None), "-");
    }
}
