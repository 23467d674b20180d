//! Which tables a database must have, by its path.

use crate::error::{Error, Result};
use crate::format::entry::is_clean_path;
use crate::source::files::exclude::Excludes;

/// Tables that the databases at a path, or at those that a pattern matches, must have.
#[derive(Debug, Clone)]
pub struct RequiredTables {
    place: Place,
    tables: Vec<String>,
}

#[derive(Debug, Clone)]
enum Place {
    Path(Vec<u8>),
    Pattern(Box<Excludes>),
}

impl RequiredTables {
    /// Requires tables of the database at `path` below the root.
    ///
    /// # Errors
    /// [`Error::Refused`] for a path that is absolute or leads out of the root.
    pub fn at(path: &[u8], tables: Vec<String>) -> Result<Self> {
        let path = path.strip_prefix(b"./").unwrap_or(path);
        if !is_clean_path(path) {
            let path = String::from_utf8_lossy(path);
            return Err(Error::Refused(format!("{path:?} cannot be a database's path: it must be one below the root")));
        }
        Ok(Self { place: Place::Path(path.to_vec()), tables })
    }

    /// Requires tables of every database that matches `pattern`, in gitignore syntax.
    ///
    /// # Errors
    /// [`Error::Refused`] for a pattern that does not parse.
    pub fn matching(pattern: &str, tables: Vec<String>) -> Result<Self> {
        let pattern = Excludes::new(&[pattern.to_string()], &[])?;
        Ok(Self { place: Place::Pattern(Box::new(pattern)), tables })
    }

    /// Returns the tables if they are required of the database at `path`.
    pub(super) fn of(&self, path: &[u8]) -> &[String] {
        let applies = match &self.place {
            Place::Path(own) => own == path,
            // A pattern may name a directory that it is in.
            Place::Pattern(pattern) => {
                let ends = path.iter().enumerate().filter(|(_, byte)| **byte == b'/').map(|(at, _)| at);
                pattern.matches(path, false) || ends.into_iter().any(|end| pattern.matches(&path[..end], true))
            }
        };
        if applies { &self.tables } else { &[] }
    }
}

#[cfg(test)]
mod tests {
    use super::RequiredTables;

    #[test]
    fn a_path_is_one_database_and_a_pattern_any_number() {
        let tables = || vec!["users".to_string()];
        let at = RequiredTables::at(b"./data/a.db", tables()).unwrap();
        assert!(at.of(b"data/a.db") == tables() && at.of(b"a.db").is_empty() && at.of(b"data/a.db/x").is_empty());
        let matching = RequiredTables::matching("users/*/db.sqlite", tables()).unwrap();
        assert!(matching.of(b"users/ann/db.sqlite") == tables() && matching.of(b"users/db.sqlite").is_empty());
        assert!(RequiredTables::matching("users/", tables()).unwrap().of(b"users/ann/db.sqlite") == tables());
        for path in ["", "/a", "../a", "a/../b"] {
            assert!(RequiredTables::at(path.as_bytes(), tables()).is_err(), "{path}");
        }
        assert!(RequiredTables::matching("[a-", tables()).is_err());
    }
}
