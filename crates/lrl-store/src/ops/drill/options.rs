//! How to drill.

use std::path::PathBuf;
use std::time::Duration;

use super::user_query::Assertion;
use crate::store::Store;

/// How the names of temporary directories begin.
pub const SCRATCH: &str = "lrl-drill-";

/// How to drill.
pub struct Options<'a> {
    /// Where an archive is unpacked, and removed again.
    pub temp: PathBuf,
    /// Tables that the database must have; none means `users`, `assets` and one of `content`, `content_items`.
    pub required_tables: Vec<String>,
    /// What the database must answer.
    pub assertions: &'a [Assertion],
    /// Checks that are not made, by name: see [`super::SKIPPABLE`].
    pub skip: Vec<String>,
    /// How long the query of each may run.
    pub assertion_limit: Duration,
    /// The store with the set's snapshot, or why there is none to compare with.
    pub store: Result<&'a Store, String>,
}
