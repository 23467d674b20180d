//! How to drill.

use std::path::PathBuf;
use std::time::Duration;

use super::checks::required_tables::RequiredTables;
use super::checks::rows_query::RowsCheck;
use super::checks::user_query::Assertion;
pub use crate::ops::query::limit::TIME_LIMIT;
pub use crate::ops::query::private_file::SCRATCH;
use crate::store::Store;

/// How to drill.
#[non_exhaustive]
pub struct Options<'a> {
    /// Where an archive is unpacked, and removed again.
    pub temp: PathBuf,
    /// Tables that the first database must have; none means, in the manual's layout, `users`, `assets` and one of `content`, `content_items`.
    pub required_tables: Vec<String>,
    /// Tables that databases must have, by the databases' paths.
    pub required: &'a [RequiredTables],
    /// What the databases must answer.
    pub assertions: &'a [Assertion],
    /// Queries whose rows name files that must be there.
    pub checks: &'a [RowsCheck],
    /// The site's root as the user gives it: rows may hold absolute paths below it. That which the snapshot records counts as well.
    pub root: Option<PathBuf>,
    /// Checks that are not made, by name: see [`super::SKIPPABLE`].
    pub skip: Vec<String>,
    /// How long the query of each assertion and check may run.
    pub assertion_limit: Duration,
    /// The store with the set's snapshot, or why there is none to compare with.
    pub store: Result<&'a Store, String>,
}

impl<'a> Options<'a> {
    /// Drills with every check that needs no configuration.
    pub fn new(temp: impl Into<PathBuf>, store: Result<&'a Store, String>) -> Self {
        Self {
            temp: temp.into(),
            required_tables: Vec::new(),
            required: &[],
            assertions: &[],
            checks: &[],
            root: None,
            skip: Vec::new(),
            assertion_limit: TIME_LIMIT,
            store,
        }
    }

    /// Returns whether the MD5 of files has to be computed.
    pub(super) fn wants_md5(&self) -> bool {
        self.checks.iter().any(RowsCheck::wants_md5)
    }
}
