//! The arguments of `lrl import`.

use std::path::PathBuf;

use clap::Args;

use super::shared::FreeArgs;

/// `lrl import`.
#[derive(Debug, Args)]
pub struct ImportArgs {
    /// Directory with the manifests and their files
    pub dir: PathBuf,
    /// What it leaves free.
    #[command(flatten)]
    pub free: FreeArgs,
}
