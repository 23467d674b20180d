//! The checks of a database file: the documented ones of the manual's layout, SQLite's own, then the rows. Never opens it for writing.

use std::path::Path;

use serde_json::Map;

use super::{asset_rows, file_rows, user_query};
use crate::error::Result;
use crate::ops::drill::finding::finding;
use crate::ops::drill::options::Options;
use crate::ops::drill::subject::Subject;
use crate::ops::drill::uploads::Uploads;
use crate::ops::drill::verification::{
    ASSET_ROWS, Check, FOREIGN_KEYS, INTEGRITY, ROWS, SCHEMA_VALID, SQLITE_OPEN, Verification, orphan_rows, shortened,
};
use crate::progress::Observer;
use crate::source::database::{Inspector, Integrity, Orphans};

/// Up to this many findings of one check are listed.
const FINDINGS: u32 = 20;

/// Opens the file and adds the checks after its hash.
pub(crate) fn check(
    path: &Path,
    subject: &Subject<'_>,
    options: &Options<'_>,
    uploads: &Uploads,
    found: &mut Verification,
    observer: &dyn Observer,
) -> Result<()> {
    let opened = Inspector::open(path, observer).and_then(|inspector| Ok((inspector.tables()?, inspector)));
    let (tables, inspector) = match finding(opened)? {
        Ok(opened) => opened,
        Err(error) => {
            found.push(Check::new(SQLITE_OPEN, Some(error)));
            return Ok(());
        }
    };
    let count = tables.names.len() as u64 + tables.more;
    let mut opened = Check::new(SQLITE_OPEN, None).with("tables_found", count).with("tables", tables.names.clone());
    if tables.more > 0 {
        opened.note = Some(format!("{} more tables are not named: their names are too long, or too many", tables.more));
    }
    found.push(opened);
    let required = required_tables(subject, options);
    if subject.is_manual || !required.is_empty() {
        found.push_unless_skipped(&options.skip, SCHEMA_VALID, || {
            let has = |name: &str| match tables.names.iter().any(|table| table.eq_ignore_ascii_case(name)) {
                false if tables.more > 0 => finding(inspector.has_table(name)).map(|found| found == Ok(true)),
                has => Ok(has),
            };
            schema_valid(&tables.names, has, &required)
        })?;
    }
    found.push_unless_skipped(&options.skip, INTEGRITY, || {
        Ok(finding(inspector.integrity_check(FINDINGS))?
            .map_or_else(|error| Check::new(INTEGRITY, Some(error)), integrity))
    })?;
    found.push_unless_skipped(&options.skip, FOREIGN_KEYS, || {
        let checked = finding(inspector.foreign_key_check(FINDINGS))?;
        Ok(checked.map_or_else(|error| Check::new(FOREIGN_KEYS, Some(error)), foreign_keys))
    })?;
    if subject.is_manual {
        found.push_unless_skipped(&options.skip, ASSET_ROWS, || asset_rows::check(&inspector, uploads))?;
    }
    let limits = (options.temp.as_path(), options.assertion_limit);
    for wanted in options.checks.iter().filter(|check| subject.is_meant_by(check.database.as_deref())) {
        found.push_unless_skipped(&options.skip, ROWS, || {
            file_rows::check(&inspector, wanted, subject, uploads, limits, observer)
        })?;
    }
    for assertion in options.assertions.iter().filter(|assertion| subject.is_meant_by(assertion.database())) {
        found.push(user_query::check(&inspector, assertion, &options.temp, options.assertion_limit)?);
    }
    // The last of all: whatever the order of a table, it has as many rows.
    if let Ok(counts) = finding(inspector.accept_collations().and_then(|()| inspector.rows_per_table()))? {
        found.rows = Some(counts.into_iter().filter_map(|count| Some((count.table, count.rows.ok()?))).collect());
    }
    Ok(())
}

/// Returns the tables that a database must have; none where that is not known.
fn required_tables(subject: &Subject<'_>, options: &Options<'_>) -> Vec<String> {
    let of_first = if subject.is_first { options.required_tables.as_slice() } else { &[] };
    let mut required = of_first.to_vec();
    for table in options.required.iter().flat_map(|required| required.of(subject.path)) {
        if !required.contains(table) {
            required.push(table.clone());
        }
    }
    required
}

fn schema_valid(tables: &[String], has: impl Fn(&str) -> Result<bool>, required: &[String]) -> Result<Check> {
    let expected: Vec<String> = if required.is_empty() {
        // The application's own migrations make `content_items`; the manual says `content`.
        let content = if !has("content")? && has("content_items")? { "content_items" } else { "content" };
        ["users", content, "assets"].map(String::from).into()
    } else {
        required.to_vec()
    };
    let mut missing = Vec::new();
    for name in &expected {
        if !has(name)? {
            missing.push(name.as_str());
        }
    }
    let error = (!missing.is_empty()).then(|| format!("missing tables: {}", missing.join(", ")));
    Ok(Check::new(SCHEMA_VALID, error).with("expected_tables", expected).with("found_tables", tables))
}

fn integrity(found: Integrity) -> Check {
    let error = match found.findings.len() {
        0 => None,
        1 => Some("1 finding".to_string()),
        n if n < FINDINGS as usize => Some(format!("{n} findings")),
        n => Some(format!("at least {n} findings")),
    };
    let mut check = Check::new(INTEGRITY, error);
    if !found.findings.is_empty() {
        check = check.with("findings", found.findings);
    }
    not_checkable(&mut check, found.not_checkable);
    check
}

/// Rows without their parent are the application's own where they are no news: SQLite lets it write them. [`super::report::Report::compare`] knows
/// the drill before.
fn foreign_keys(found: Orphans) -> Check {
    let mut check = Check::new(FOREIGN_KEYS, found.error.map(|why| format!("cannot be checked: {why}")));
    if !found.rows.is_empty() {
        let note = format!("{}, as in the application's own database", orphan_rows(found.rows.iter()));
        check.note = Some(note);
        check = check.with("findings", found.described);
    }
    not_checkable(&mut check, found.not_checkable);
    check.with("orphans", found.rows.into_iter().map(|(table, rows)| (table, rows.into())).collect::<Map<_, _>>())
}

/// Notes what could not be checked here, in the document as well.
fn not_checkable(check: &mut Check, tables: Vec<String>) {
    if tables.is_empty() {
        return;
    }
    let said = format!("not checkable here: {}", shortened(tables.clone()));
    check.note = Some(check.note.take().map_or_else(|| said.clone(), |note| format!("{note}; {said}")));
    check.facts.insert("not_checkable".into(), tables.into());
}

#[cfg(test)]
mod tests {
    use crate::error::Result;

    fn schema_valid(tables: &[String], required: &[String]) -> super::Check {
        let has = |name: &str| -> Result<bool> { Ok(tables.iter().any(|table| table.eq_ignore_ascii_case(name))) };
        super::schema_valid(tables, has, required).unwrap()
    }

    #[test]
    fn one_of_the_two_content_tables_is_enough() {
        let tables = |names: &str| names.split(' ').map(String::from).collect::<Vec<_>>();
        assert!(schema_valid(&tables("users content assets"), &[]).passed);
        assert!(schema_valid(&tables("users content_items assets more"), &[]).passed);
        let check = schema_valid(&tables("users content_items"), &[]);
        assert_eq!(check.error.as_deref(), Some("missing tables: assets"));
        assert_eq!(check.facts["expected_tables"], serde_json::json!(["users", "content_items", "assets"]));
        assert!(!schema_valid(&tables("users assets"), &[]).passed);
        assert!(schema_valid(&tables("notes"), &tables("Notes")).passed);
        assert!(!schema_valid(&tables("users content assets"), &tables("notes users")).passed);
    }
}
