//! The arguments of `lrl forget`.

use std::time::Duration;

use clap::Args;

use super::headings::SETTINGS;
use super::keep::{self, Keep};
use super::notify::NotifyArgs;
use super::shared::{BucketArgs, UnusedArgs};
use super::values;

/// `lrl forget`.
#[derive(Debug, Args)]
pub struct ForgetArgs {
    /// Snapshots to remove: a prefix of their id, their timestamp, good, latest, or either with ~N
    #[arg(value_name = "SNAPSHOT", conflicts_with_all = KEEP)]
    pub snapshots: Vec<String>,
    /// Keep the last N
    #[arg(long, value_name = "N", default_value_t = 0, hide_default_value = true)]
    pub keep_last: u32,
    /// Keep the newest of each of the last N hours that have one (in UTC, like the rest)
    #[arg(long, value_name = "N", default_value_t = 0, hide_default_value = true)]
    pub keep_hourly: u32,
    /// Keep the newest of each of the last N days that have one
    #[arg(long, value_name = "N", default_value_t = 0, hide_default_value = true)]
    pub keep_daily: u32,
    /// Keep the newest of each of the last N weeks that have one
    #[arg(long, value_name = "N", default_value_t = 0, hide_default_value = true)]
    pub keep_weekly: u32,
    /// Keep the newest of each of the last N months that have one
    #[arg(long, value_name = "N", default_value_t = 0, hide_default_value = true)]
    pub keep_monthly: u32,
    /// Keep the newest of each of the last N years that have one
    #[arg(long, value_name = "N", default_value_t = 0, hide_default_value = true)]
    pub keep_yearly: u32,
    /// Keep all that are at most this much older than the newest (as in 36h, 30d, 8w, 1y)
    #[arg(long, value_name = "TIME", value_parser = values::age)]
    pub keep_within: Option<Duration>,
    /// Thin by age, as in all:1h,minutely:24h,hourly:7d,daily:30d: keep all of an hour, the newest of each minute of a day, and so on
    #[arg(long, value_name = "RULES", value_parser = keep::keep)]
    pub keep: Option<Keep>,
    /// Keep all with this tag; may be repeated
    #[arg(long, value_name = "TAG", value_parser = values::word)]
    pub keep_tag: Vec<String>,
    /// Keep snapshots that are not good for this long.
    ///
    /// They never count towards a rule; while no newer snapshot is good they stay anyway.
    #[arg(long, value_name = "TIME", value_parser = values::age_or_zero, default_value = "7d", help_heading = SETTINGS)]
    pub keep_bad_within: Duration,
    /// Then prune, as `lrl prune` does
    #[arg(long)]
    pub prune: bool,
    /// How --prune repacks.
    #[command(flatten)]
    pub unused: UnusedArgs,
    /// How --prune deletes from a bucket.
    #[command(flatten)]
    pub bucket: BucketArgs,
    /// Show what would be removed and why the rest is kept; change nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Who is told.
    #[command(flatten)]
    pub notify: NotifyArgs,
    /// Also remove protected snapshots.
    ///
    /// These are the newest that passed a drill and, if named, the newest with a good database or good uploads.
    #[arg(long)]
    pub force: bool,
}

/// The flags that make a policy.
const KEEP: [&str; 9] = [
    "keep",
    "keep_last",
    "keep_hourly",
    "keep_daily",
    "keep_weekly",
    "keep_monthly",
    "keep_yearly",
    "keep_within",
    "keep_tag",
];
