//! What must hold before a commit: foreign keys lead where they led, and the table and its indexes are sound.

use std::collections::BTreeMap;

use rusqlite::Connection;
use rusqlite::types::ValueRef;

use super::stopped::Stopped;
use super::target::refused;
use crate::source::database::sql_text::{needs_the_application, quoted};

/// Rows whose foreign key leads nowhere, by table and by the table that it names.
pub(super) type Orphans = BTreeMap<(String, String), u64>;

/// Counts the rows whose foreign key leads nowhere. What SQLite cannot check is not counted, neither before nor after.
pub(super) fn orphans(conn: &Connection) -> rusqlite::Result<Orphans> {
    let mut found = Orphans::new();
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
            *found.entry((name(0)?, name(2)?)).or_default() += 1;
        }
        Ok(())
    };
    match read() {
        Err(error)
            if error.to_string().contains("foreign key mismatch") || needs_the_application(&error.to_string()) =>
        {
            Ok(Orphans::new())
        }
        done => done.map(|()| found),
    }
}

/// Refuses rows that have lost what they refer to, beyond those that had before.
pub(super) fn refuse_orphans(table: &str, before: &Orphans, after: &Orphans) -> Result<(), Stopped> {
    for ((child, parent), count) in after {
        let had = before.get(&(child.clone(), parent.clone())).copied().unwrap_or(0);
        if *count > had {
            let rows = count - had;
            let why =
                format!("{rows} of {child} would refer to rows of {parent} that are not there: restore those first");
            return Err(refused(table, &why).into());
        }
    }
    Ok(())
}

/// Refuses a table that SQLite finds unsound, with its indexes.
pub(super) fn refuse_unsound(conn: &Connection, table: &str) -> Result<(), Stopped> {
    let line: String =
        conn.query_row(&format!("PRAGMA main.integrity_check({})", quoted(table)), [], |row| row.get(0))?;
    if line == "ok" { Ok(()) } else { Err(refused(table, &format!("SQLite finds it unsound: {line}")).into()) }
}
