//! For how long a user's query runs.

use std::path::Path;
use std::time::{Duration, Instant};

use crate::fs::temp_dir;

/// No query runs for longer unless that is asked for: an attacker who wrote the database may have replaced a table with a view that never ends.
pub const TIME_LIMIT: Duration = Duration::from_secs(60);

/// Says when a user's query has run for too long, or filled the disk of `temp`.
pub(crate) fn limit(temp: &Path, limit: Duration) -> impl Fn() -> Option<String> + Sync {
    let since = Instant::now();
    move || {
        // What the query sorts goes to a temporary file.
        if temp_dir::free_bytes(temp).is_ok_and(|room| room == 0) {
            return Some(format!("it left no space in {}", temp.display()));
        }
        (since.elapsed() > limit).then(|| format!("it was stopped: it ran for more than {} s", limit.as_secs()))
    }
}
