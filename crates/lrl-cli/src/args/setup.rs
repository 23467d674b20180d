//! The arguments of `lrl setup`.

use std::path::PathBuf;

use clap::Args;

use super::values;
use crate::site::preset::{self, Preset};

/// `lrl setup`.
#[derive(Debug, Args)]
pub struct SetupArgs {
    /// Directory to look at
    #[arg(value_name = "DIR", default_value = ".", value_parser = values::directory_parser())]
    pub dir: PathBuf,
    /// Write the proposal to DIR/lrl.toml, if there is none yet
    #[arg(long)]
    pub write: bool,
    /// Use the preset of this application, whatever is found
    #[arg(long, value_name = "NAME", value_parser = preset::app)]
    pub app: Option<&'static Preset>,
    /// List the presets and what each was read from
    #[arg(long, conflicts_with_all = ["dir", "write", "app"])]
    pub list_apps: bool,
}
