//! The tables `[[database]]`, `[[files]]` and `[[check]]` of `lrl.toml` and of presets: read, checked, and refused with their place.

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::checked;
use super::rules::{DatabaseRule, FilesRule, Place, RowsCheck};

/// The tables' names.
pub const NAMES: [&str; 3] = ["database", "files", "check"];

/// What a file has of them; `None` if it does not have this table at all.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tables {
    /// `[[database]]`.
    pub databases: Option<Vec<DatabaseRule>>,
    /// `[[files]]`.
    pub files: Option<Vec<FilesRule>>,
    /// `[[check]]`.
    pub checks: Option<Vec<RowsCheck>>,
}

/// Turns an offset in the text into a place for messages, as in `lrl.toml:3`.
pub type At<'a> = &'a dyn Fn(usize) -> String;

type Value<'i> = Spanned<DeValue<'i>>;

impl Tables {
    /// Reads the value of one of the [`NAMES`]; `at` is where its key is. Errors are texts for the user.
    pub fn read(&mut self, name: &str, value: &Value<'_>, at: At<'_>) -> Result<(), String> {
        match name {
            "database" => self.databases = Some(list(name, value, at, database)?),
            "files" => self.files = Some(list(name, value, at, files)?),
            _ => self.checks = Some(list(name, value, at, check)?),
        }
        Ok(())
    }

    /// Returns whether none of the tables is there.
    pub fn is_empty(&self) -> bool {
        self.databases.is_none() && self.files.is_none() && self.checks.is_none()
    }
}

/// One table of the file, whose keys are taken out one by one.
struct Table<'a, 'i> {
    name: &'a str,
    table: &'a DeTable<'i>,
    /// Where the table begins.
    start: usize,
    at: At<'a>,
}

fn list<T>(
    name: &str,
    value: &Value<'_>,
    at: At<'_>,
    read: fn(&Table<'_, '_>) -> Result<T, String>,
) -> Result<Vec<T>, String> {
    let wanted = |start: usize| format!("{}: {name} expects tables: write [[{name}]] and its keys below", at(start));
    let values = value.get_ref().as_array().ok_or_else(|| wanted(value.span().start))?;
    let mut tables = Vec::with_capacity(values.len());
    for value in values {
        let start = value.span().start;
        let table = value.get_ref().as_table().ok_or_else(|| wanted(start))?;
        tables.push(read(&Table { name, table, start, at })?);
    }
    Ok(tables)
}

impl Table<'_, '_> {
    fn refuse<T>(&self, start: usize, text: impl std::fmt::Display) -> Result<T, String> {
        Err(format!("{}: [[{}]] {text}", (self.at)(start), self.name))
    }

    fn knows(&self, keys: &[&str]) -> Result<(), String> {
        for key in self.table.keys() {
            let name = key.get_ref().as_ref();
            if !keys.contains(&name) {
                let nearest = keys.iter().min_by_key(|known| strsim::damerau_levenshtein(known, name));
                let nearest = nearest.copied().unwrap_or_default();
                return self
                    .refuse(key.span().start, format!("has no key {name:?}; the nearest known key is {nearest:?}"));
            }
        }
        Ok(())
    }

    fn string(&self, key: &str, check: fn(&str) -> Result<String, String>) -> Result<Option<String>, String> {
        let Some(value) = self.table.get(key) else { return Ok(None) };
        let start = value.span().start;
        let Some(text) = value.get_ref().as_str() else {
            return self.refuse(start, format!("{key} expects one string in quotes"));
        };
        match check(text) {
            Ok(text) => Ok(Some(text)),
            Err(reason) => self.refuse(start, format!("{key} cannot be {text:?}: it {reason}")),
        }
    }

    fn strings(&self, key: &str, check: fn(&str) -> Result<String, String>) -> Result<Vec<String>, String> {
        let Some(value) = self.table.get(key) else { return Ok(Vec::new()) };
        let wanted =
            |start: usize| self.refuse(start, format!("{key} expects a list of strings, as in [\"a\", \"b\"]"));
        let Some(values) = value.get_ref().as_array() else { return wanted(value.span().start) };
        let mut texts = Vec::with_capacity(values.len());
        for value in values {
            let start = value.span().start;
            let Some(text) = value.get_ref().as_str() else { return wanted(start) };
            match check(text) {
                Ok(text) => texts.push(text),
                Err(reason) => return self.refuse(start, format!("{key} cannot have {text:?}: it {reason}")),
            }
        }
        Ok(texts)
    }

    fn place(&self, path: fn(&str) -> Result<String, String>) -> Result<Place, String> {
        match (self.string("path", path)?, self.string("pattern", checked::selection)?) {
            (Some(path), None) => Ok(Place::Path(path)),
            (None, Some(pattern)) => Ok(Place::Pattern(pattern)),
            (Some(_), Some(_)) => self.refuse(self.start, "has both path and pattern: one of them selects"),
            (None, None) => self.refuse(self.start, "needs path or pattern"),
        }
    }
}

fn any(text: &str) -> Result<String, String> {
    if text.trim().is_empty() { Err("is empty".into()) } else { Ok(text.into()) }
}

fn database(table: &Table<'_, '_>) -> Result<DatabaseRule, String> {
    table.knows(&["path", "pattern", "require-tables"])?;
    Ok(DatabaseRule { place: table.place(checked::file)?, require_tables: table.strings("require-tables", any)? })
}

fn files(table: &Table<'_, '_>) -> Result<FilesRule, String> {
    table.knows(&["path", "pattern", "exclude", "secret"])?;
    Ok(FilesRule {
        place: table.place(checked::path)?,
        exclude: table.strings("exclude", checked::pattern)?,
        secret: table.strings("secret", checked::pattern)?,
    })
}

fn check(table: &Table<'_, '_>) -> Result<RowsCheck, String> {
    table.knows(&["rows", "database", "name"])?;
    let Some(rows) = table.string("rows", checked::query)? else {
        return table.refuse(table.start, "needs rows, a query that returns path[, size][, sha256 | md5 | md5_base64]");
    };
    Ok(RowsCheck { rows, database: table.string("database", checked::file)?, name: table.string("name", any)? })
}
