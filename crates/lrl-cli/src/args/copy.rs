//! The arguments of `lrl copy`.

use std::path::PathBuf;

use clap::Args;

use super::notify::NotifyArgs;
use super::shared::{FreeArgs, LimitArgs};
use super::values;

/// `lrl copy`.
#[derive(Debug, Args)]
pub struct CopyArgs {
    /// Snapshots to copy [default: all that the other store lacks].
    ///
    /// Each is named by a prefix of its id, its timestamp, good, latest, or either with ~N for the N-th before it.
    #[arg(value_name = "SNAPSHOT")]
    pub snapshots: Vec<String>,
    /// Store to copy from
    #[arg(long, value_name = "PATH|URL", value_parser = values::place_parser())]
    pub from: PathBuf,
    /// File with the passphrase of the store to copy from, if it has another one
    #[arg(long, value_name = "FILE", env = "LRL_FROM_PASSWORD_FILE", hide_env_values = true)]
    pub from_password_file: Option<PathBuf>,
    /// Key file of the store to copy from, if it has another one
    #[arg(long, value_name = "FILE", env = "LRL_FROM_KEY_FILE", hide_env_values = true)]
    pub from_key_file: Option<PathBuf>,
    /// Store to copy to [default: that of --store or --backup]
    #[arg(long, value_name = "PATH|URL", value_parser = values::place_parser())]
    pub to: Option<PathBuf>,
    /// How fast.
    #[command(flatten)]
    pub limit: LimitArgs,
    /// What it leaves free.
    #[command(flatten)]
    pub free: FreeArgs,
    /// Show what would be copied; write nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Who is told.
    #[command(flatten)]
    pub notify: NotifyArgs,
}
