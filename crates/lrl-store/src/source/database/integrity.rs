//! SQLite's own checks of a copy: its structure, and its foreign keys.

use std::collections::{BTreeMap, BTreeSet};

use rusqlite::types::ValueRef;

use super::connect::{names_where, text_of};
use super::inspect::Inspector;
use super::sql_text::{VIRTUAL_FAILED, clipped, needs_the_application, quoted, short};
use crate::error::{Error, Result};

/// What SQLite's check of the structure found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Integrity {
    /// What is wrong, up to a limit.
    pub findings: Vec<String>,
    /// What could not be checked here, because it needs what the application registers with SQLite itself: by table, and why.
    pub not_checkable: Vec<String>,
}

/// Rows whose foreign key leads nowhere.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Orphans {
    /// How many there are, by table; tables without any are left out.
    pub rows: BTreeMap<String, u64>,
    /// Some of them, for people.
    pub described: Vec<String>,
    /// What could not be checked here, by table, and why.
    pub not_checkable: Vec<String>,
    /// Why not all rows could be read.
    pub error: Option<String>,
}

impl Inspector<'_> {
    /// Runs SQLite's own check of its structure; lists up to `limit` findings, none if it is whole. (`CHECK` constraints are not
    /// evaluated: SQLite does not parse them in a database that is open read-only.)
    ///
    /// One collation or function that only the application has keeps SQLite from checking anything. Then the structure is checked without
    /// the order of indexes, and each table by itself.
    pub(crate) fn integrity_check(&self, limit: u32) -> Result<Integrity> {
        let limit = limit.max(1);
        let (mut findings, failed) = self.lines(&format!("PRAGMA main.integrity_check({limit})"), limit)?;
        let mut not_checkable = Vec::new();
        let Some(why) = failed else { return Ok(Integrity { findings, not_checkable }) };
        // The full text index of a virtual table is checked last, and SQLite does not say which one it gave up on.
        let is_virtual = why.starts_with(VIRTUAL_FAILED);
        if !needs_the_application(&why) && !is_virtual {
            findings.push(why);
            return Ok(Integrity { findings, not_checkable });
        }
        let bare = self.without_collations()?;
        let (found, failed) = bare.lines(&format!("PRAGMA main.quick_check({limit})"), limit)?;
        findings.extend(found);
        match failed {
            Some(why) if why.starts_with(VIRTUAL_FAILED) => {}
            Some(why) if needs_the_application(&why) => not_checkable.push(format!("the structure as a whole: {why}")),
            failed => findings.extend(failed),
        }
        let virtuals = self.watched(|conn| names_where(conn, "rootpage = 0"))?;
        for table in self.tables()?.names {
            let (found, failed) = self.lines(&format!("PRAGMA main.integrity_check({})", quoted(&table)), limit)?;
            findings.extend(found);
            let Some(why) = failed else { continue };
            if needs_the_application(&why) || why.starts_with(VIRTUAL_FAILED) && virtuals.contains(&table) {
                not_checkable.push(format!("{table}: {why}"));
            } else {
                findings.push(why);
            }
        }
        let mut seen = BTreeSet::new();
        findings.retain(|line| seen.insert(line.clone()));
        findings.truncate(limit as usize);
        Ok(Integrity { findings, not_checkable })
    }

    /// Looks for rows whose foreign key leads nowhere; describes up to `limit` and counts all.
    pub(crate) fn foreign_key_check(&self, limit: u32) -> Result<Orphans> {
        let mut orphans = Orphans::default();
        let Some(why) = self.orphans("PRAGMA main.foreign_key_check", limit, &mut orphans)? else { return Ok(orphans) };
        if !needs_the_application(&why) && !why.contains("foreign key mismatch") {
            orphans.error = Some(why);
            return Ok(orphans);
        }
        orphans = Orphans::default();
        for table in self.tables()?.names {
            let failed =
                self.orphans(&format!("PRAGMA main.foreign_key_check({})", quoted(&table)), limit, &mut orphans)?;
            match failed {
                Some(why) if needs_the_application(&why) || why.contains("foreign key mismatch") => {
                    orphans.not_checkable.push(format!("{table}: {why}"));
                }
                failed => orphans.error = orphans.error.or(failed),
            }
        }
        Ok(orphans)
    }

    /// Adds the rows that one check finds; returns why it could not read them all.
    fn orphans(&self, sql: &str, limit: u32, orphans: &mut Orphans) -> Result<Option<String>> {
        /// Only an attacker's database has orphans in more tables.
        const TABLES: usize = 1000;
        let run = self.watched(|conn| {
            let mut statement = conn.prepare(sql)?;
            let mut rows = statement.query([])?;
            while let Some(row) = rows.next()? {
                let table = short(row.get_ref(0)?);
                if orphans.described.len() < limit as usize {
                    let row_id = match row.get_ref(1)? {
                        ValueRef::Null => "a row".to_string(),
                        id => format!("row {}", short(id)),
                    };
                    let parent = short(row.get_ref(2)?);
                    orphans.described.push(format!("{table}: {row_id} refers to a row of {parent} that is not there"));
                }
                if orphans.rows.len() < TABLES || orphans.rows.contains_key(&table) {
                    *orphans.rows.entry(table).or_default() += 1;
                }
            }
            Ok(())
        });
        reason(run)
    }

    /// Collects up to `limit` lines of a check, each short; and the error that ended it early.
    fn lines(&self, sql: &str, limit: u32) -> Result<(Vec<String>, Option<String>)> {
        let mut found = Vec::new();
        let run = self.watched(|conn| {
            let mut statement = conn.prepare(sql)?;
            let mut rows = statement.query([])?;
            while let Some(row) = rows.next()? {
                // SQLite puts what it says of the whole file into one row of several lines, under a heading.
                let text = match row.get_ref(0)? {
                    ValueRef::Text(bytes) => String::from_utf8_lossy(bytes).into_owned(),
                    other => text_of(other)?,
                };
                let lines = text.lines().filter(|line| *line != "ok" && !line.starts_with("*** in database "));
                found.extend(lines.filter(|line| !line.is_empty()).take(limit as usize).map(clipped));
                if found.len() >= limit as usize {
                    break;
                }
            }
            Ok(())
        });
        found.truncate(limit as usize);
        Ok((found, reason(run)?))
    }
}

/// What SQLite says is wrong with a copy is a finding; anything else is an error.
fn reason(run: Result<()>) -> Result<Option<String>> {
    match run {
        Ok(()) => Ok(None),
        Err(Error::Corrupt { detail, .. }) => Ok(Some(detail.to_string())),
        Err(other) => Err(other),
    }
}
