//! The arguments of `lrl run`.

use clap::Args;

use super::notify::NotifyArgs;
use super::shared::DataArgs;
use super::step::Step;

/// `lrl run`.
#[derive(Debug, Args)]
pub struct RunArgs {
    /// Where the data is.
    #[command(flatten)]
    pub data: DataArgs,
    /// Show what is due when; do nothing
    #[arg(long, conflicts_with = "only")]
    pub list: bool,
    /// Do this step now, due or not, and no other; may be repeated
    #[arg(long, value_name = "STEP", value_enum)]
    pub only: Vec<Step>,
    /// Who is told.
    #[command(flatten)]
    pub notify: NotifyArgs,
}
