//! The checks of a database file: the documented ones, then SQLite's own, then the rows. Never opens it for writing.

use std::path::Path;

use super::{Check, Options, Uploads, Verification, assertion, finding, rows};
use crate::error::Result;
use crate::progress::Observer;
use crate::sqlite::Inspector;

/// So many findings of one check are listed.
const FINDINGS: u32 = 20;

/// Opens the file and adds the checks after its hash.
pub(super) fn check(
    path: &Path,
    options: &Options<'_>,
    uploads: &Uploads,
    found: &mut Verification,
    observer: &dyn Observer,
) -> Result<()> {
    let opened = Inspector::open(path, observer).and_then(|inspector| Ok((inspector.tables()?, inspector)));
    let (tables, inspector) = match finding(opened)? {
        Ok(opened) => opened,
        Err(error) => {
            found.push(Check::new("sqlite_open", Some(error)));
            return Ok(());
        }
    };
    found.push(Check::new("sqlite_open", None).with("tables_found", tables.len()).with("tables", tables.clone()));
    found.push(schema_valid(&tables, &options.required_tables));
    found.push(listed("integrity_check", finding(inspector.integrity_check(FINDINGS))?, "finding"));
    found.push(listed("foreign_keys", finding(inspector.foreign_key_check(FINDINGS))?, "row without its parent"));
    found.push(rows::check(&inspector, uploads)?);
    for assertion in options.assertions {
        found.push(assertion::check(&inspector, assertion, options)?);
    }
    if let Ok(counts) = finding(inspector.rows_per_table())? {
        found.rows = Some(counts.into_iter().filter_map(|count| Some((count.table, count.rows.ok()?))).collect());
    }
    Ok(())
}

fn schema_valid(tables: &[String], required: &[String]) -> Check {
    let has = |name: &str| tables.iter().any(|table| table.eq_ignore_ascii_case(name));
    let expected: Vec<String> = if required.is_empty() {
        // The application's own migrations make `content_items`; the manual says `content`.
        let content = if !has("content") && has("content_items") { "content_items" } else { "content" };
        ["users", content, "assets"].map(String::from).into()
    } else {
        required.to_vec()
    };
    let missing: Vec<&str> = expected.iter().map(String::as_str).filter(|name| !has(name)).collect();
    let error = (!missing.is_empty()).then(|| format!("missing tables: {}", missing.join(", ")));
    Check::new("schema_valid", error).with("expected_tables", expected).with("found_tables", tables)
}

fn listed(name: &'static str, findings: Result<Vec<String>, String>, what: &str) -> Check {
    match findings {
        Err(error) => Check::new(name, Some(error)),
        Ok(findings) => {
            let count = match findings.len() {
                1 => format!("1 {what}"),
                n if n < FINDINGS as usize => format!("{n} times: {what}"),
                n => format!("at least {n} times: {what}"),
            };
            let check = Check::new(name, (!findings.is_empty()).then_some(count));
            if findings.is_empty() { check } else { check.with("findings", findings) }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::schema_valid;

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
