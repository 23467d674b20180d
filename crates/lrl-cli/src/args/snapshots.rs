//! The arguments of `lrl snapshots`.

use clap::Args;
use lrl_store::ops::judgement::State;

use super::values;

/// `lrl snapshots`.
#[derive(Debug, Args)]
pub struct SnapshotsArgs {
    /// Show only the last N of each source, of those that the other options leave
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub last: Option<u32>,
    /// Show only those with this tag; may be repeated, and any of the tags matches
    #[arg(long, value_name = "TAG", value_parser = values::word)]
    pub tag: Vec<String>,
    /// Show only those not older than this: 36h, 30d, 8w, 1y, yesterday, 2026-11-28, 2026-11-28T14:03
    #[arg(long, value_name = "TIME", value_parser = values::word)]
    pub since: Option<String>,
    /// Show only those in this state; may be repeated.
    ///
    /// States: good, suspect, incomplete, unreadable, failed, damaged.
    #[arg(long, value_name = "STATE", value_parser = values::state)]
    pub state: Vec<State>,
}
