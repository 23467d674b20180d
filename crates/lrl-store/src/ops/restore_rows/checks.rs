//! What must hold before a commit: foreign keys lead where they led, and the table and its indexes are sound.

use std::collections::{BTreeMap, BTreeSet};

use rusqlite::Connection;
use rusqlite::types::ValueRef;
use serde::{Deserialize, Serialize};

use super::stopped::Stopped;
use super::target::refused;
use crate::source::database::sql_text::{needs_the_application, quoted};

/// Of more rows than this that one foreign key leaves alone only the number is kept.
const MOST_NAMED: usize = 100_000;

/// Rows that one foreign key leads nowhere.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Group {
    child: String,
    parent: String,
    /// SQLite's number of the foreign key.
    key: i64,
    count: u64,
    /// Their rowids; fewer than `count` where the table has none, or there are more than [`MOST_NAMED`].
    rows: BTreeSet<i64>,
}

impl Group {
    fn is_exact(&self) -> bool {
        self.rows.len() as u64 == self.count
    }
}

/// Rows whose foreign key leads nowhere, by foreign key.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Orphans(Vec<Group>);

impl Orphans {
    fn same(&self, group: &Group) -> Option<&Group> {
        let is_same = |one: &&Group| one.child == group.child && one.parent == group.parent && one.key == group.key;
        self.0.iter().find(is_same)
    }
}

/// Finds the rows whose foreign key leads nowhere. What SQLite cannot check is not counted, neither before nor after.
pub(super) fn orphans(conn: &Connection) -> rusqlite::Result<Orphans> {
    let mut found = BTreeMap::new();
    let mut read = || -> rusqlite::Result<()> {
        let mut statement = conn.prepare("PRAGMA main.foreign_key_check")?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let name = |at: usize| -> rusqlite::Result<String> {
                Ok(match row.get_ref(at)? {
                    ValueRef::Text(bytes) => String::from_utf8_lossy(bytes).into_owned(),
                    _ => String::new(),
                })
            };
            let (child, parent, key) = (name(0)?, name(2)?, row.get(3)?);
            let group = found.entry((child.clone(), parent.clone(), key)).or_insert_with(|| Group {
                child,
                parent,
                key,
                count: 0,
                rows: BTreeSet::new(),
            });
            group.count += 1;
            if let (Some(rowid), true) = (row.get::<_, Option<i64>>(1)?, group.rows.len() < MOST_NAMED) {
                group.rows.insert(rowid);
            }
        }
        Ok(())
    };
    match read() {
        Err(error)
            if error.to_string().contains("foreign key mismatch") || needs_the_application(&error.to_string()) =>
        {
            Ok(Orphans::default())
        }
        done => done.map(|()| Orphans(found.into_values().collect())),
    }
}

/// Returns how many rows lose what they refer to, of which table and to which: those that had lost it in one of the states `before` are not counted.
pub(super) fn newly_lost(before: &[&Orphans], after: &Orphans) -> Option<(u64, String, String)> {
    after.0.iter().find_map(|group| {
        let known: Vec<&Group> = before.iter().filter_map(|state| state.same(group)).collect();
        let lost = if group.is_exact() && known.iter().all(|one| one.is_exact()) {
            group.rows.iter().filter(|row| !known.iter().any(|one| one.rows.contains(row))).count() as u64
        } else {
            group.count.saturating_sub(known.iter().map(|one| one.count).max().unwrap_or(0))
        };
        (lost > 0).then(|| (lost, group.child.clone(), group.parent.clone()))
    })
}

/// Refuses rows that have lost what they refer to, beyond those that had before.
pub(super) fn refuse_orphans(table: &str, before: &Orphans, after: &Orphans) -> Result<(), Stopped> {
    newly_lost(&[before], after).map_or(Ok(()), |(rows, child, parent)| {
        let why = format!("{rows} of {child} would refer to rows of {parent} that are not there: restore those first");
        Err(refused(table, why).into())
    })
}

/// Refuses a table that SQLite finds unsound, with its indexes.
pub(super) fn refuse_unsound(conn: &Connection, table: &str) -> Result<(), Stopped> {
    let line: String =
        conn.query_row(&format!("PRAGMA main.integrity_check({})", quoted(table)), [], |row| row.get(0))?;
    if line == "ok" { Ok(()) } else { Err(refused(table, format!("SQLite finds it unsound: {line}")).into()) }
}
