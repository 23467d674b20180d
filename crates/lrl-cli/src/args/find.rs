//! The arguments of `lrl find`.

use clap::Args;

use super::values;

/// `lrl find`.
#[derive(Debug, Args)]
pub struct FindArgs {
    /// Name, or pattern in gitignore syntax
    #[arg(value_parser = values::word)]
    pub pattern: String,
}
