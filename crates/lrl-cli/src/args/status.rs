//! The arguments of `lrl status`.

use clap::Args;

use super::max_age::MaxAgeArgs;

/// `lrl status`.
#[derive(Debug, Args)]
pub struct StatusArgs {
    /// From which age on something is too old.
    #[command(flatten)]
    pub limits: MaxAgeArgs,
    /// Print metrics for Prometheus, as --metrics-file writes them
    #[arg(long, conflicts_with = "json")]
    pub metrics: bool,
}
