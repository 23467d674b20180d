//! The arguments of `lrl prune`.

use clap::Args;

use super::notify::NotifyArgs;
use super::shared::{BucketArgs, UnusedArgs};

/// `lrl prune`.
#[derive(Debug, Args)]
pub struct PruneArgs {
    /// Show what would be removed; change nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Who is told.
    #[command(flatten)]
    pub notify: NotifyArgs,
    /// How it repacks.
    #[command(flatten)]
    pub unused: UnusedArgs,
    /// How it deletes from a bucket.
    #[command(flatten)]
    pub bucket: BucketArgs,
}
