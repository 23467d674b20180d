//! Arguments that several commands take.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use lrl_store::fs::space::Reserve;
use lrl_store::ops::prune::MaxUnused;

use super::headings::SETTINGS;
use super::values;
use crate::site::preset::{self, Preset};

/// Where the application keeps its data.
#[derive(Debug, Args)]
pub struct DataArgs {
    /// Data directory: contains lrl.db and assets/
    #[arg(long, value_name = "DIR", default_value = "./data", env = "LAB_DATA_DIR", hide_env_values = true, help_heading = SETTINGS)]
    pub data_dir: PathBuf,
    /// Root of a site: the directory that all of its databases and files are below.
    ///
    /// In place of --data-dir. In lrl.toml a relative path is below the directory of that file.
    #[arg(long, value_name = "DIR", value_parser = values::directory_parser(), help_heading = SETTINGS)]
    pub root: Option<PathBuf>,
    /// Which preset.
    #[command(flatten)]
    pub app: AppArgs,
}

/// The application, for what is known of it.
#[derive(Debug, Args)]
pub struct AppArgs {
    /// Application whose preset describes the site; `lrl setup --list-apps` lists them
    #[arg(long, value_name = "NAME", value_parser = preset::app, help_heading = SETTINGS)]
    pub app: Option<&'static Preset>,
}

/// Which part of a lab is meant; neither flag means both.
#[derive(Debug, Args)]
pub struct HalfArgs {
    /// Only the database
    #[arg(long, conflicts_with = "assets_only")]
    pub db_only: bool,
    /// Only the uploads
    #[arg(long)]
    pub assets_only: bool,
}

/// How fast bytes go out.
#[derive(Debug, Args)]
pub struct LimitArgs {
    /// Limit the upload rate of copies to a bucket, in bytes per second: 500K, 2M
    #[arg(long, value_name = "RATE", value_parser = values::rate, help_heading = SETTINGS)]
    pub limit_upload: Option<u64>,
}

/// What stays free on the disks that are written to.
#[derive(Debug, Args)]
pub struct FreeArgs {
    /// Free space to leave on the disk for the application: 5% (at most 1 GiB), 200MB, or 0
    #[arg(long, value_name = "AMOUNT", default_value = "5%", value_parser = values::reserve, help_heading = SETTINGS)]
    pub reserve: Reserve,
}

/// How dead data is deleted where there are no locks.
#[derive(Debug, Args)]
pub struct BucketArgs {
    /// In a bucket: wait this long before deleting what an earlier prune scheduled (as in 36h, 7d)
    #[arg(long, value_name = "TIME", value_parser = values::duration, default_value = "7d", help_heading = SETTINGS)]
    pub grace: Duration,
    /// In a bucket: do not wait for a backup of this source, which no longer makes any; may be repeated
    #[arg(long, value_name = "SOURCE", value_parser = values::source, help_heading = SETTINGS)]
    pub retired: Vec<String>,
    /// Who else prunes.
    #[command(flatten)]
    pub only: OnlyPrunerArgs,
}

/// Whether another machine may prune or repair a bucket.
#[derive(Debug, Args)]
pub struct OnlyPrunerArgs {
    /// In a bucket whose server has no conditional writes: declare that no other machine prunes or repairs it
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    #[arg(default_value = "false", hide_default_value = true, hide_possible_values = true, help_heading = SETTINGS)]
    #[arg(action = clap::ArgAction::Set)]
    pub only_pruner: bool,
}

/// How much dead data is worth repacking the live data beside it.
#[derive(Debug, Args)]
pub struct UnusedArgs {
    /// Tolerate this much dead data in packs that also hold live data: 5%, 500M, or unlimited
    #[arg(long, value_name = "AMOUNT", default_value = "5%", value_parser = values::unused)]
    pub max_unused: MaxUnused,
    /// What it leaves free while it repacks; one pack at a time may use that as well.
    #[command(flatten)]
    pub free: FreeArgs,
}
