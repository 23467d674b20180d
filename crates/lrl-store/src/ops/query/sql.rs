//! The verb `sql`: a query in a database of a snapshot.

use std::path::Path;
use std::time::Duration;

use super::{image, limit};
use crate::error::Result;
use crate::format::snapshot::Database;
use crate::progress::Observer;
use crate::source::database::select::RowSink;
use crate::store::Store;

/// How to run a query.
pub struct Options<'a> {
    /// Where the image is made.
    pub temp: &'a Path,
    /// How long the query may run.
    pub time_limit: Duration,
}

/// Runs a query in a database of a snapshot, and gives its rows to `sink`; returns how many there were.
///
/// # Errors
/// [`Error::Refused`](crate::error::Error::Refused) with what is wrong with the query or why it was stopped, and where there is no room for
/// the image; [`Error::Corrupt`](crate::error::Error::Corrupt) if the store is damaged; the error of `sink`.
pub fn sql(
    store: &Store,
    part: &Database,
    query: &str,
    options: &Options<'_>,
    sink: &mut dyn RowSink,
    observer: &dyn Observer,
) -> Result<u64> {
    let inspector = image::open(store, part, options.temp, observer)?;
    inspector.select(query, &limit::limit(options.temp, options.time_limit), sink)
}
