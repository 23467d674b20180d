//! The arguments of `lrl restore --table`.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use super::values;

/// What concerns rows of a table.
#[derive(Debug, Args)]
pub struct RestoreRowsArgs {
    /// Restore the rows of this table into the live database, which may be in use
    #[arg(long, value_name = "TABLE", conflicts_with_all = ["db_only", "assets_only", "path", "manifest", "owner", "skip_damaged", "no_keep", "clean", "undo"])]
    pub table: Option<String>,
    /// With --table: only rows of the snapshot for which this condition holds, as in "author = 7"
    #[arg(long = "where", value_name = "SQL", requires = "table", allow_hyphen_values = true)]
    pub condition: Option<String>,
    /// With --table: leave rows that are there with other values as they are
    #[arg(long, requires = "table", conflicts_with = "replace")]
    pub missing_only: bool,
    /// With --table: give rows that are there the snapshot's values
    #[arg(long, requires = "table")]
    pub replace: bool,
    /// With --table: do not run the application's triggers
    #[arg(long, requires = "table")]
    pub no_triggers: bool,
    /// With --table: do not ask whether the plan is right; only at a terminal is that asked
    #[arg(long, requires = "table", conflicts_with = "dry_run")]
    pub yes: bool,
    /// With --table: database to restore into, as `lrl ls` shows it, where the snapshot holds several
    #[arg(long, value_name = "PATH", requires = "table")]
    pub database: Option<PathBuf>,
    /// With --where: stop when reading takes longer than this (as in 90s, 30m)
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = values::duration, requires = "condition")]
    pub time_limit: Duration,
}
