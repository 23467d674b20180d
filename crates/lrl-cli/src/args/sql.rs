//! The arguments of `lrl sql`.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use super::values;

/// `lrl sql`.
#[derive(Debug, Args)]
pub struct SqlArgs {
    /// Snapshot: a prefix of its id, its timestamp, good, latest, either with ~N, or a time as in 2026-11-28T14:03, yesterday, 3d
    pub snapshot: String,
    /// Query: one SELECT, WITH or VALUES; - reads it from standard input
    #[arg(value_name = "SQL", allow_hyphen_values = true)]
    pub query: String,
    /// Database to look into, as `lrl ls` shows it, where the snapshot holds several
    #[arg(long, value_name = "PATH")]
    pub database: Option<PathBuf>,
    /// Write CSV: NULL is nothing, an empty text is ""
    #[arg(long, conflicts_with = "json")]
    pub csv: bool,
    /// Stop a query that runs for longer than this (as in 90s, 30m)
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = values::duration)]
    pub time_limit: Duration,
}
