//! The arguments of `lrl export`.

use std::path::PathBuf;

use clap::Args;

use super::shared::FreeArgs;
use super::values;

/// `lrl export`.
#[derive(Debug, Args)]
pub struct ExportArgs {
    /// Snapshot: a prefix of its id, its timestamp, good, latest, or either with ~N.
    ///
    /// `good` is the newest good one, `latest` the newest; `good~1` is the good one before it. A time is the newest at or before it: 2026-11-28T14:03,
    /// 2026-11-28, 14:03, yesterday, 2h, 3d, 6mo.
    #[arg(default_value = "good")]
    pub snapshot: String,
    /// Directory to write to; it must be empty or not exist yet
    #[arg(long, value_name = "DIR", value_parser = values::directory_parser())]
    pub out: PathBuf,
    /// Export a snapshot even if it is not good
    #[arg(long)]
    pub force: bool,
    /// Export everything but what the store has lost.
    ///
    /// What is left out is listed, also beside the set, and the exit code is 3. A drill of such a set fails.
    #[arg(long)]
    pub skip_damaged: bool,
    /// What it leaves free.
    #[command(flatten)]
    pub free: FreeArgs,
}
