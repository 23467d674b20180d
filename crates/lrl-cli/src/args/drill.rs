//! The arguments of `lrl drill`.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use super::headings::SETTINGS;
use super::notify::NotifyArgs;
use super::shared::AppArgs;
use super::values;

/// `lrl drill`.
#[derive(Debug, Args)]
pub struct DrillArgs {
    /// Which preset's checks.
    #[command(flatten)]
    pub app: AppArgs,
    /// Drill the sets of these manifests [default: the newest in the backup directory]
    #[arg(long, value_name = "FILE", num_args = 1.., conflicts_with = "snapshot")]
    pub manifest: Vec<PathBuf>,
    /// Drill a snapshot straight from the store
    #[arg(long, value_name = "SNAPSHOT")]
    pub snapshot: Option<String>,
    /// Drill every snapshot, oldest first
    #[arg(long, conflicts_with_all = ["manifest", "snapshot", "oldest_first"])]
    pub all: bool,
    /// Drill every snapshot, the least recently drilled first.
    ///
    /// Those that were never drilled come before all others, the newest of them first.
    #[arg(long, conflicts_with_all = ["manifest", "snapshot"])]
    pub oldest_first: bool,
    /// Drill at most N snapshots
    #[arg(long, value_name = "N", requires = "oldest_first", conflicts_with = "all", value_parser = clap::value_parser!(u64).range(1..))]
    pub limit: Option<u64>,
    /// Start no further drill after this time (as in 90s, 30m, 2h)
    #[arg(long, value_name = "TIME", requires = "oldest_first", conflicts_with = "all", value_parser = values::duration)]
    pub max_time: Option<Duration>,
    /// Table that the database must have; may be repeated.
    ///
    /// Replaces the default: users, assets, and content or content_items. Of several databases the first is meant.
    #[arg(long, value_name = "TABLE", value_parser = values::word, help_heading = SETTINGS)]
    pub require_table: Vec<String>,
    /// Assertion about the database: a query with one value, and a comparison; may be repeated.
    ///
    /// The comparison is =, !=, <, <=, > or >= with a number or a 'text'. Of several databases the first is meant, unless the query begins
    /// with the path of another, as in 'data/a.db: SELECT …'.
    #[arg(long, num_args = 2, value_names = ["QUERY", "COMPARISON"], action = clap::ArgAction::Append, help_heading = SETTINGS)]
    pub assert: Vec<String>,
    /// Skip a check that this database cannot pass; may be repeated
    #[arg(long, value_name = "CHECK", value_parser = clap::builder::PossibleValuesParser::new(lrl_store::ops::drill::SKIPPABLE), help_heading = SETTINGS)]
    pub skip_check: Vec<String>,
    /// Who is told.
    #[command(flatten)]
    pub notify: NotifyArgs,
}
