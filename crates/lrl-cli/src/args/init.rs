//! The arguments of `lrl init`.

use clap::Args;

/// `lrl init`.
#[derive(Debug, Args)]
pub struct InitArgs {
    /// Encrypt the store, with the passphrase or key file given as for every other command
    #[arg(long, conflicts_with = "no_encryption")]
    pub encrypt: bool,
    /// Make an unencrypted store; required for an unencrypted store in a bucket
    #[arg(long)]
    pub no_encryption: bool,
}
