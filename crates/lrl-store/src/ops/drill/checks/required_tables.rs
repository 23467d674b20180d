//! Which tables a database must have, by its path.

use crate::error::Result;
use crate::source::files::include::Includes;

/// Tables that the databases at a path, or at those that a pattern matches, must have.
#[derive(Debug, Clone)]
pub struct RequiredTables {
    databases: Includes,
    tables: Vec<String>,
}

impl RequiredTables {
    /// Requires tables of the database at a path below the root, or of all that match a pattern (`*`, `?`, `[…]` within a component, `**` for
    /// any number of them), as a backup selects them.
    ///
    /// # Errors
    /// [`Error::Refused`](crate::error::Error::Refused) for one that does not parse, is absolute, or leads out of the root.
    pub fn new(databases: &str, tables: Vec<String>) -> Result<Self> {
        Ok(Self { databases: Includes::new(&[databases.to_string()])?, tables })
    }

    /// Returns the tables if they are required of the database at `path`.
    pub(crate) fn of(&self, path: &[u8]) -> &[String] {
        if self.databases.wants(path, false) { &self.tables } else { &[] }
    }
}

#[cfg(test)]
mod tests {
    use super::RequiredTables;

    #[test]
    fn a_path_is_one_database_and_a_pattern_any_number() {
        let new = |databases: &str| RequiredTables::new(databases, vec!["users".into()]);
        let is_of = |databases: &str, path: &str| !new(databases).unwrap().of(path.as_bytes()).is_empty();
        assert!(is_of("./data/a.db", "data/a.db") && !is_of("data/a.db", "a.db") && !is_of("a.db", "data/a.db"));
        assert!(is_of("users/*/db.sqlite", "users/ann/db.sqlite") && !is_of("users/*/db.sqlite", "users/db.sqlite"));
        assert!(is_of("**/*.db", "a/b/c.db") && is_of(".", "a.db"));
        for wrong in ["/a", "../a", "a/../b", "[a-"] {
            assert!(new(wrong).is_err(), "{wrong}");
        }
    }
}
