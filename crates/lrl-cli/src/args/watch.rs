//! What `lrl watch` takes beside the flags of `lrl backup`: when it acts, and the application that it runs.

use std::ffi::OsString;
use std::time::Duration;

use clap::Args;

use super::backup::BackupArgs;
use super::keep::{Keep, keep};
use super::values::{self, Every};

/// The heading of the flags that the table [watch] of `lrl.toml` can set under the same name.
pub const HEADING: &str = "When it acts (each is also a key of [watch] in lrl.toml)";

/// `lrl watch`.
#[derive(Debug, Args)]
pub struct WatchArgs {
    /// What each snapshot is made of, and where it goes.
    #[command(flatten)]
    pub backup: BackupArgs,
    /// When it acts.
    #[command(flatten)]
    pub when: WhenArgs,
}

/// When a watch acts, and until when.
#[derive(Debug, Args)]
pub struct WhenArgs {
    /// Make a snapshot this long after the last change (as in 200ms, 2s, 1m)
    #[arg(long, value_name = "TIME", value_parser = values::pace, default_value = "2s", help_heading = HEADING)]
    pub quiet_for: Duration,
    /// Make at most one snapshot in this time, and while changes go on, one each time it has passed
    #[arg(long, value_name = "TIME", value_parser = values::pace, default_value = "10s", help_heading = HEADING)]
    pub at_most_every: Duration,
    /// Look at the data at least this often, whatever the system tells of changes.
    ///
    /// A look that finds nothing changed makes no snapshot.
    #[arg(long, value_name = "TIME", value_parser = values::pace, default_value = "1h", help_heading = HEADING)]
    pub at_least_every: Duration,
    /// Thin the history by age, at most once a minute, as in all:1h,minutely:24h,hourly:7d,daily:30d [default: every snapshot stays].
    ///
    /// All of an hour, the last of each minute of a day, and so on; and what the rules of [policy] keep. As `lrl forget --keep` does.
    #[arg(long, value_name = "RULES", value_parser = keep, help_heading = HEADING)]
    pub keep: Option<Keep>,
    /// With --keep: prune the store this often (as in 12h, 7d, or never)
    #[arg(long, value_name = "TIME", value_parser = values::every, default_value = "24h", help_heading = HEADING)]
    pub prune_every: Every,
    /// Write a set this often, if something has changed since the last one; other snapshots have none.
    ///
    /// As in 12h, 7d, or never. With --snapshot-only no set is written.
    #[arg(long, value_name = "TIME", value_parser = values::every, default_value = "24h", help_heading = HEADING)]
    pub set_every: Every,
    /// While all is well, tell --ping-url and --on-success at most this often, also when nothing changes.
    ///
    /// A failure and its end are told at once.
    #[arg(long, value_name = "TIME", value_parser = values::pace, default_value = "15m", help_heading = HEADING)]
    pub ping_every: Duration,
    /// End when nothing has changed for this long
    #[arg(long, value_name = "TIME", value_parser = values::pace, help_heading = HEADING)]
    pub exit_when_idle: Option<Duration>,
    /// Wait for the first change that no snapshot has, make one, and end
    #[arg(long, conflicts_with = "command")]
    pub once: bool,
    /// Run this program, and end with it, after a last snapshot and with its exit code (with that of the snapshot, if the program's is 0).
    ///
    /// Signals are passed on to it. There is no shell.
    #[arg(last = true, value_name = "COMMAND")]
    pub command: Vec<OsString>,
}
