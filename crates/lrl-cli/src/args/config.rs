//! The arguments of `lrl config`.

use clap::Args;

/// `lrl config`.
#[derive(Debug, Args)]
pub struct ConfigArgs {
    /// Show the site that the settings describe, as an lrl.toml
    #[arg(long)]
    pub expand: bool,
}
