//! The arguments of `lrl rows`.

use std::path::PathBuf;

use clap::Args;

/// `lrl rows`.
#[derive(Debug, Args)]
pub struct RowsArgs {
    /// Tables to show [default: those that changed, then the largest, as many as fit]
    #[arg(value_name = "TABLE")]
    pub tables: Vec<String>,
    /// Database to look into, as `lrl ls` shows it, where the snapshots hold several
    #[arg(long, value_name = "PATH")]
    pub database: Option<PathBuf>,
    /// Show the last N snapshots that hold a database
    #[arg(long, value_name = "N", default_value_t = 30, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub last: u32,
}
