//! Who is told of a run: the arguments of the commands that a timer starts.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use super::headings::SETTINGS;
use super::values::{self, PingKind, Secret};

/// Who is told how a run went; of the commands that a timer starts.
#[derive(Debug, Args)]
pub struct NotifyArgs {
    /// Write metrics for Prometheus to this file after every run, also one that failed
    #[arg(long, value_name = "FILE", hide_short_help = true, help_heading = SETTINGS)]
    pub metrics_file: Option<PathBuf>,
    /// Tell this URL when a run starts and how it ends.
    ///
    /// It is a secret, which lrl never prints. {verb} and {source} in it are replaced.
    #[arg(long, value_name = "URL", env = "LRL_PING_URL", hide_env_values = true, value_parser = values::secret, hide_short_help = true, help_heading = SETTINGS)]
    pub ping_url: Option<Secret>,
    /// File with that URL, in its first line; --ping-url wins over it
    #[arg(long, value_name = "FILE", env = "LRL_PING_URL_FILE", hide_env_values = true, hide_short_help = true, help_heading = SETTINGS)]
    pub ping_url_file: Option<PathBuf>,
    /// What is at --ping-url.
    ///
    /// Healthchecks, an Uptime Kuma push monitor, an ntfy topic, any URL to request after a success, or one that takes JSON.
    #[arg(long, value_name = "KIND", default_value = "healthchecks", value_parser = values::ping_kind(), hide_short_help = true, help_heading = SETTINGS)]
    pub ping_kind: PingKind,
    /// Run this program before the run: one word each time, the program first.
    ///
    /// There is no shell. It gets the run as JSON on standard input.
    #[arg(long, value_name = "WORD", allow_hyphen_values = true, hide_short_help = true, help_heading = SETTINGS)]
    pub on_start: Vec<String>,
    /// Run this program after a run that ended with 0: one word each time, the program first
    #[arg(long, value_name = "WORD", allow_hyphen_values = true, hide_short_help = true, help_heading = SETTINGS)]
    pub on_success: Vec<String>,
    /// Run this program after a run that ended with another code: one word each time, the program first
    #[arg(long, value_name = "WORD", allow_hyphen_values = true, hide_short_help = true, help_heading = SETTINGS)]
    pub on_failure: Vec<String>,
    /// How long telling may take each time, by --ping-url or a program
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = values::duration, hide_short_help = true, help_heading = SETTINGS)]
    pub tell_limit: Duration,
}
