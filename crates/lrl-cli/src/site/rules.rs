//! The rules by which a site is described: values only, already checked.

use serde::Serialize;

/// Where something is below the root.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Place {
    /// One path, clean and relative; `.` is the root itself.
    Path(String),
    /// A pattern: `*`, `?` and `[…]` within a component, `**` for any number of them.
    Pattern(String),
}

impl Place {
    /// Returns the path or the pattern.
    pub fn text(&self) -> &str {
        match self {
            Self::Path(text) | Self::Pattern(text) => text,
        }
    }
}

/// One `[[database]]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct DatabaseRule {
    /// Where it is.
    #[serde(flatten)]
    pub place: Place,
    /// Tables that it must have.
    #[serde(rename = "require-tables")]
    pub require_tables: Vec<String>,
}

/// One `[[files]]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FilesRule {
    /// A file, a directory with all of its contents, or a pattern.
    #[serde(flatten)]
    pub place: Place,
    /// Patterns of what is left out, matched from the root.
    pub exclude: Vec<String>,
    /// Patterns of what only its owner may read once restored, matched from the root.
    pub secret: Vec<String>,
}

/// One `[[check]]`: a query with the columns `path[, size][, sha256 | md5 | md5_base64]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RowsCheck {
    /// The query.
    pub rows: String,
    /// The database that it runs in; `None`: the first.
    pub database: Option<String>,
    /// What the check is called.
    pub name: Option<String>,
}

/// Returns the pattern that matches this directory and nothing else.
pub fn literal(path: &str) -> String {
    let mut pattern = String::from("/");
    for c in path.chars() {
        if matches!(c, '*' | '?' | '[' | ']' | '{' | '}' | '\\') {
            pattern.push('\\');
        }
        pattern.push(c);
    }
    pattern.push('/');
    pattern
}
