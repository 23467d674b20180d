//! What was found about one file: its checks, each under its documented name.

use std::collections::BTreeMap;

use serde::{Serialize, Serializer};
use serde_json::{Map, Value};

use crate::error::Result;
use crate::format::path_text;
use crate::format::snapshot::THE_DATABASE;
use crate::id::ChunkId;

pub(super) const SQLITE_OPEN: &str = "sqlite_open";
pub(super) const SCHEMA_VALID: &str = "schema_valid";
pub(super) const INTEGRITY: &str = "integrity_check";
pub(super) const FOREIGN_KEYS: &str = "foreign_keys";
pub(super) const ASSET_ROWS: &str = "asset_rows";
pub(super) const ROWS: &str = "rows";
pub(super) const ASSERTION: &str = "assertion";
pub(super) const MATCHES: &str = "matches_snapshot";

/// The checks that can be skipped; what is left without them is that every byte came back.
pub const SKIPPABLE: [&str; 6] = [SCHEMA_VALID, INTEGRITY, FOREIGN_KEYS, ASSET_ROWS, ROWS, MATCHES];

/// What was found about one file.
#[derive(Debug, Clone, Serialize)]
pub struct Verification {
    /// The file's own name, for people.
    #[serde(skip)]
    pub name: String,
    /// The file's path, or what was drilled in its place.
    pub file: String,
    /// `database` or `assets`, or what the manifest says.
    #[serde(rename = "type")]
    pub kind: String,
    /// The path of a database in the snapshot; in the document unless it is that of the manual's layout.
    #[serde(skip_serializing_if = "is_of_no_site", serialize_with = "path_as_text")]
    pub database: Option<Vec<u8>>,
    /// The checks in their order.
    pub checks: Vec<Check>,
    /// Whether all passed.
    pub success: bool,
    /// Why there are no checks.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// How long it took to read the data back, written out or unpacked, without the checks.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub restore_seconds: Option<f64>,
    /// Rows of each table that could be counted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rows: Option<BTreeMap<String, u64>>,
    /// How long it took, in seconds.
    pub seconds: f64,
    /// SHA-256 of the file as it was read.
    #[serde(skip)]
    pub sha256: Option<String>,
    /// Root of the tree of a database that was read from the store.
    #[serde(skip)]
    #[doc(hidden)]
    pub root: Option<ChunkId>,
}

fn is_of_no_site(database: &Option<Vec<u8>>) -> bool {
    database.as_deref().is_none_or(|path| path == THE_DATABASE)
}

fn path_as_text<S: Serializer>(database: &Option<Vec<u8>>, serializer: S) -> std::result::Result<S::Ok, S::Error> {
    database.as_deref().map(path_text::encode).serialize(serializer)
}

/// One check.
#[derive(Debug, Clone, Serialize)]
pub struct Check {
    /// Its documented name.
    pub name: &'static str,
    /// Whether it passed; also true where it does not apply.
    pub passed: bool,
    /// Why it failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// Whether there was anything to check.
    #[serde(skip)]
    pub applies: bool,
    /// Whether it failed for want of the uploads: they are wrong then, by checks of their own, and not the database.
    #[serde(skip)]
    pub(super) lacks_uploads: bool,
    /// Whether the user asked for it to be skipped.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub skipped: bool,
    /// What else there is to say, e.g. that it does not apply.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
    /// Its documented further keys.
    #[serde(flatten)]
    pub facts: Map<String, Value>,
}

impl Check {
    /// Makes a check that passed if there is no error.
    pub(super) fn new(name: &'static str, error: Option<String>) -> Self {
        let (passed, facts) = (error.is_none(), Map::new());
        Self { name, passed, error, applies: true, lacks_uploads: false, skipped: false, note: None, facts }
    }

    pub(super) fn not_applicable(name: &'static str, why: impl std::fmt::Display) -> Self {
        Self { applies: false, ..Self::new(name, None).noted(format!("not applicable: {why}")) }
    }

    /// One for which the uploads were needed, which could not be read.
    pub(super) fn without_uploads(name: &'static str, error: &str) -> Self {
        Self { lacks_uploads: true, ..Self::new(name, Some(error.into())) }
    }

    fn skipped(name: &'static str) -> Self {
        Self { applies: false, skipped: true, ..Self::new(name, None) }
    }

    pub(super) fn with(mut self, key: &str, value: impl Into<Value>) -> Self {
        self.facts.insert(key.into(), value.into());
        self
    }

    pub(super) fn noted(mut self, note: impl Into<String>) -> Self {
        self.note = Some(note.into());
        self
    }
}

impl Verification {
    pub(super) fn new(kind: &str, name: impl Into<String>, file: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            file: file.into(),
            kind: kind.into(),
            database: None,
            checks: Vec::new(),
            success: true,
            error: None,
            restore_seconds: None,
            rows: None,
            seconds: 0.0,
            sha256: None,
            root: None,
        }
    }

    /// Makes one of the database at a path of the snapshot.
    pub(super) fn of_database(path: &[u8], name: impl Into<String>, file: impl Into<String>) -> Self {
        Self { database: Some(path.to_vec()), ..Self::new("database", name, file) }
    }

    /// Returns what it is of in records: `assets`, `database`, or `database data/a.db`.
    pub(super) fn shown(&self) -> String {
        match self.database.as_deref().filter(|path| *path != THE_DATABASE) {
            Some(path) => format!("{} {}", self.kind, path_text::encode(path)),
            None => self.kind.clone(),
        }
    }

    /// Returns whether SQLite could not open a database or found it malformed.
    pub(super) fn is_malformed(&self) -> bool {
        self.checks.iter().any(|check| !check.passed && [SQLITE_OPEN, INTEGRITY].contains(&check.name))
    }

    pub(super) fn push(&mut self, check: Check) {
        self.success &= check.passed;
        self.checks.push(check);
    }

    /// Returns the rows without their parent that were counted, by table.
    pub(super) fn orphans(&self) -> Option<BTreeMap<String, u64>> {
        let check = self.checks.iter().find(|check| check.name == FOREIGN_KEYS)?;
        let rows = check.facts.get("orphans")?.as_object()?;
        Some(rows.iter().filter_map(|(table, rows)| Some((table.clone(), rows.as_u64()?))).collect())
    }

    /// Returns how many rows lead to no stored file of their size and digest, where they were followed.
    pub(super) fn missing_files(&self) -> Option<u64> {
        const BAD: [&str; 5] = ["bad_rows", "missing", "wrong_size", "wrong_digest", "outside"];
        let of_rows = |check: &&Check| [ASSET_ROWS, ROWS].contains(&check.name) && check.facts.contains_key("rows");
        let bad = |check: &Check| BAD.iter().filter_map(|key| check.facts.get(*key)?.as_u64()).sum::<u64>();
        self.checks.iter().filter(of_rows).map(bad).reduce(|all, more| all + more)
    }

    /// Makes a check and adds it, or notes that the user wants it skipped.
    pub(super) fn push_unless_skipped(
        &mut self,
        skip: &[String],
        name: &'static str,
        make: impl FnOnce() -> Result<Check>,
    ) -> Result<()> {
        let skipped = skip.iter().any(|skip| skip == name);
        self.push(if skipped { Check::skipped(name) } else { make()? });
        Ok(())
    }

    pub(super) fn fail(mut self, error: impl Into<String>) -> Self {
        self.error = Some(error.into());
        self.success = false;
        self
    }
}

/// Describes how many rows of which tables have no parent.
pub(super) fn orphan_rows<'a>(tables: impl Iterator<Item = (&'a String, &'a u64)>) -> String {
    let rows = |rows: u64| if rows == 1 { "row without its parent row" } else { "rows without their parent row" };
    let said = tables.map(|(table, count)| format!("{table}: {count} {}", rows(*count)));
    shortened(said.collect())
}

/// Joins a list for people: the first few, and how many more.
pub(super) fn shortened(mut list: Vec<String>) -> String {
    const MOST: usize = 5;
    let more = list.len().saturating_sub(MOST);
    list.truncate(MOST);
    let more = if more > 0 { format!("; {more} more") } else { String::new() };
    list.join("; ") + &more
}
