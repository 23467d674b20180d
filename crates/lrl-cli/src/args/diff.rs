//! The arguments of `lrl diff`.

use std::path::PathBuf;

use clap::Args;

use super::shared::DataArgs;

/// `lrl diff`.
#[derive(Debug, Args)]
pub struct DiffArgs {
    /// Older snapshot
    pub from: String,
    /// Newer snapshot; with --rows also live, the live database
    pub to: String,
    /// Compare the rows of tables: how many differ, and of tables that are named each of them
    #[arg(long, value_name = "TABLE", num_args = 0.., default_missing_values = [""; 0])]
    pub rows: Option<Vec<String>>,
    /// With --rows: write the statements that turn the older rows into the newer ones
    #[arg(long, requires = "rows", conflicts_with = "json")]
    pub sql: bool,
    /// With --rows: database to look into, as `lrl ls` shows it, where the snapshots hold several
    #[arg(long, value_name = "PATH", requires = "rows")]
    pub database: Option<PathBuf>,
    /// Where the live data is.
    #[command(flatten)]
    pub data: DataArgs,
}
