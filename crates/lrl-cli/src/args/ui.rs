//! `lrl ui`.

use std::time::Duration;

use clap::Args;

use super::max_age::MaxAgeArgs;
use super::values;

/// `lrl ui`.
#[derive(Debug, Args)]
pub struct UiArgs {
    /// Port on 127.0.0.1 [default: any that is free]
    #[arg(long, value_name = "PORT", default_value = "0", hide_default_value = true)]
    pub port: u16,
    /// End when nothing was asked for in this time (as in 15m, 2h)
    #[arg(long, value_name = "TIME", default_value = "15m", value_parser = values::duration)]
    pub idle: Duration,
    /// What counts as wrong.
    #[command(flatten)]
    pub limits: MaxAgeArgs,
}
