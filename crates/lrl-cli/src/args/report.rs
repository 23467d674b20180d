//! `lrl report`.

use std::ffi::OsStr;
use std::path::PathBuf;

use clap::Args;

use super::max_age::MaxAgeArgs;

/// `lrl report`.
#[derive(Debug, Args)]
pub struct ReportArgs {
    /// File to write, - for standard output [default: report in the table [policy] of lrl.toml].
    ///
    /// It is replaced as a whole. A file that is no report is never overwritten. A new one is readable by its owner only; one that is there keeps
    /// its mode.
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
    /// Leave names out: of paths, stores, machines, sources, tables and tags, and messages of errors
    #[arg(long)]
    pub redact: bool,
    /// What counts as wrong.
    #[command(flatten)]
    pub limits: MaxAgeArgs,
}

impl ReportArgs {
    /// Returns whether the page goes to standard output.
    pub fn to_stdout(&self) -> bool {
        self.out.as_deref().is_some_and(|out| out.as_os_str() == OsStr::new("-"))
    }
}
