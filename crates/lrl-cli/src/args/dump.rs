//! The arguments of `lrl dump`.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use super::values;

/// `lrl dump`.
#[derive(Debug, Args)]
pub struct DumpArgs {
    /// Snapshot: a prefix of its id, its timestamp, good, latest, or either with ~N.
    ///
    /// `good` is the newest good one, `latest` the newest; `good~1` is the good one before it. A time is the newest at or before it: 2026-11-28T14:03,
    /// 2026-11-28, 14:03, yesterday, 2h, 3d, 6mo.
    pub snapshot: String,
    /// File, as `lrl ls` shows it; lrl.db is the database
    #[arg(required_unless_present = "table", conflicts_with = "table")]
    pub path: Option<PathBuf>,
    /// Write this table in place of a file, as SQL that makes it with its rows
    #[arg(long, value_name = "TABLE")]
    pub table: Option<String>,
    /// With --table: only rows for which this condition holds, as in "author = 7"
    #[arg(long = "where", value_name = "SQL", requires = "table", allow_hyphen_values = true)]
    pub condition: Option<String>,
    /// With --table: write CSV; NULL is nothing, an empty text is ""
    #[arg(long, requires = "table", conflicts_with_all = ["json", "into"])]
    pub csv: bool,
    /// With --table: write a new SQLite database with this table alone
    #[arg(long, value_name = "FILE", requires = "table")]
    pub into: Option<PathBuf>,
    /// With --table: database to look into, as `lrl ls` shows it, where the snapshot holds several
    #[arg(long, value_name = "PATH", requires = "table")]
    pub database: Option<PathBuf>,
    /// With --where: stop when it takes longer than this (as in 90s, 30m)
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = values::duration, requires = "condition")]
    pub time_limit: Duration,
}
