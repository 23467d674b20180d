//! The arguments of `lrl check`.

use std::path::PathBuf;

use clap::Args;

use super::notify::NotifyArgs;
use super::shared::OnlyPrunerArgs;
use super::values::{self, Subset};

/// `lrl check`.
#[derive(Debug, Args)]
pub struct CheckArgs {
    /// Also read and verify every pack
    #[arg(long, conflicts_with = "read_data_subset")]
    pub read_data: bool,
    /// Also read and verify a part of the packs: a slice (2/7), a percentage (5%) or a size (500M)
    #[arg(long, value_name = "PART", value_parser = values::subset)]
    pub read_data_subset: Option<Subset>,
    /// Then repair what was found.
    ///
    /// Good chunks are saved, the index is rebuilt, and what is damaged is moved into quarantine.
    #[arg(long)]
    pub repair: bool,
    /// With --repair: also look for lost data in this backup directory, data directory or store; may be repeated
    #[arg(long, value_name = "DIR|STORE", requires = "repair")]
    pub from: Vec<PathBuf>,
    /// Who else repairs.
    #[command(flatten)]
    pub only: OnlyPrunerArgs,
    /// Who is told.
    #[command(flatten)]
    pub notify: NotifyArgs,
}
