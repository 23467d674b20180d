//! The command line of `lrl man`.

use std::path::PathBuf;

use clap::Args;

/// `lrl man`.
#[derive(Debug, Args)]
pub struct ManArgs {
    /// Directory to write to, one page for each command; it is made if it is not there
    #[arg(value_name = "DIR")]
    pub dir: PathBuf,
}
