//! The arguments of `lrl key`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

/// `lrl key`.
#[derive(Debug, Args)]
pub struct KeyArgs {
    /// What to do with the keys.
    #[command(subcommand)]
    pub command: KeyVerb,
}

/// The commands below `lrl key`.
#[derive(Debug, Subcommand)]
pub enum KeyVerb {
    /// List the keys: what each can do, and how it is opened
    List,
    /// Add a key
    Add(NewKeyArgs),
    /// Remove a key; a former user may still know the store's master key
    Remove {
        /// First digits of its id, as `lrl key list` shows them
        #[arg(value_name = "KEY")]
        key: String,
    },
    /// Replace the passphrase or key file in use with a new one
    Change(NewCredentialArgs),
    /// Write a new random key file; it opens nothing until it is added
    MakeFile {
        /// File to create; an existing one is not overwritten
        #[arg(value_name = "FILE")]
        file: PathBuf,
    },
}

/// `lrl key add`.
#[derive(Debug, Args)]
pub struct NewKeyArgs {
    /// Make a write-only key: it adds snapshots, and can neither read nor remove them
    #[arg(long)]
    pub writer: bool,
    /// Label shown by `lrl key list`
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    pub label: String,
    /// What opens it.
    #[command(flatten)]
    pub new: NewCredentialArgs,
}

/// What a new key is opened with.
#[derive(Debug, Args)]
#[group(required = true)]
pub struct NewCredentialArgs {
    /// File with the new passphrase, in its first line
    #[arg(long, value_name = "FILE", conflicts_with = "new_key_file")]
    pub new_password_file: Option<PathBuf>,
    /// New key file
    #[arg(long, value_name = "FILE")]
    pub new_key_file: Option<PathBuf>,
}
