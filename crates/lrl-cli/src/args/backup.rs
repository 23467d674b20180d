//! The arguments of `lrl backup`.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use super::headings::SETTINGS;
use super::notify::NotifyArgs;
use super::shared::{DataArgs, FreeArgs, HalfArgs, LimitArgs};
use super::values::{self, Every, KeepSets};
use crate::site::checked;
use crate::site::rules::Place;

/// `lrl backup`.
#[derive(Debug, Args)]
pub struct BackupArgs {
    /// Where the data is.
    #[command(flatten)]
    pub data: DataArgs,
    /// Which part.
    #[command(flatten)]
    pub half: HalfArgs,
    /// Database below the root, a path or a pattern; may be repeated.
    ///
    /// In a pattern `*`, `?` and `[…]` match within a name, `**` any number of directories. Replaces the tables [[database]] of
    /// lrl.toml. Every other SQLite database below the root is copied as well.
    #[arg(long, value_name = "PATH", value_parser = checked::database)]
    pub database: Vec<Place>,
    /// File or directory below the root, a path or a pattern; may be repeated.
    ///
    /// Replaces the tables [[files]] of lrl.toml [default: everything below the root].
    #[arg(long, value_name = "PATH", value_parser = checked::place)]
    pub files: Vec<Place>,
    /// Store SQLite files that match this pattern as ordinary files; may be repeated
    #[arg(long, value_name = "PATTERN", value_parser = checked::pattern, help_heading = SETTINGS)]
    pub plain: Vec<String>,
    /// Backup directory [default: that of --backup]
    #[arg(long, value_name = "DIR", value_parser = values::directory_parser(), conflicts_with = "backup", help_heading = SETTINGS)]
    pub out: Option<PathBuf>,
    /// Store the snapshot only, without writing a set
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    #[arg(default_value = "false", hide_default_value = true, hide_possible_values = true, help_heading = SETTINGS)]
    #[arg(action = clap::ArgAction::Set)]
    pub snapshot_only: bool,
    /// Exclude uploads that match this pattern, in gitignore syntax; may be repeated.
    ///
    /// A pattern matches the path that `lrl ls` shows, or the path inside assets/.
    #[arg(long, value_name = "PATTERN", value_parser = values::word, help_heading = SETTINGS)]
    pub exclude: Vec<String>,
    /// Read exclude patterns from this file, one per line; may be repeated
    #[arg(long, value_name = "FILE", help_heading = SETTINGS)]
    pub exclude_file: Vec<PathBuf>,
    /// Store the directory behind this symbolic link in place of the link; may be repeated.
    ///
    /// PATH is the link as `lrl ls` shows it. Links that lead out of the uploads are otherwise stored as links only.
    #[arg(long, value_name = "PATH", value_parser = values::word, help_heading = SETTINGS)]
    pub follow_link: Vec<String>,
    /// Tag for the snapshot; may be repeated
    #[arg(long, value_name = "TAG", value_parser = values::word, help_heading = SETTINGS)]
    pub tag: Vec<String>,
    /// Do nothing if the newest good snapshot is younger than this (as in 30m, 20h, 7d)
    #[arg(long, value_name = "TIME", value_parser = values::duration, help_heading = SETTINGS)]
    pub if_older_than: Option<Duration>,
    /// Keep the newest N sets, or all.
    ///
    /// Older ones are removed once the new set is written, if the store can reproduce them byte for byte.
    #[arg(long, value_name = "N", value_parser = values::keep_sets, default_value = "all", help_heading = SETTINGS)]
    pub keep_sets: KeepSets,
    /// Read everything, also what looks unchanged.
    ///
    /// Data that the store has lost is stored again.
    #[arg(long)]
    pub rescan: bool,
    /// Run a full --rescan automatically when the last one is older than this (as in 12h, 7d, or never)
    #[arg(long, value_name = "TIME", value_parser = values::every, default_value = "7d", help_heading = SETTINGS)]
    pub rescan_every: Every,
    /// Mark the snapshot as suspect, and exit 3, if more than this share of the data is gone.
    ///
    /// The number of files, their bytes and the size of the database are compared with the last good snapshot. 0 turns this off.
    #[arg(long, value_name = "PERCENT", value_parser = values::percent, default_value = "50%", help_heading = SETTINGS)]
    pub max_shrink: u8,
    /// Accept the backup however much smaller it is; the next ones are compared with it
    #[arg(long)]
    pub accept_shrink: bool,
    /// Begin the history of a source whose name is nearly that of another one in the store
    #[arg(long)]
    pub new_source: bool,
    /// Read an upload again while its times are younger than this, at least 2s.
    ///
    /// A program that writes through mmap changes a file, but not its times until the kernel writes the pages back.
    #[arg(long, value_name = "TIME", env = "LRL_SETTLE_TIME", hide_env_values = true, value_parser = values::duration)]
    #[arg(default_value = "40s", help_heading = SETTINGS)]
    pub settle_time: Duration,
    /// Then copy new snapshots of the source to this second store.
    ///
    /// If that fails the backup still succeeds (exit 5), and the next one catches up.
    #[arg(long, value_name = "PATH|URL", value_parser = values::place_parser(), help_heading = SETTINGS)]
    pub copy_to: Option<PathBuf>,
    /// File with the passphrase of the second store, if it has another one
    #[arg(long, value_name = "FILE", env = "LRL_COPY_TO_PASSWORD_FILE", hide_env_values = true, help_heading = SETTINGS)]
    pub copy_to_password_file: Option<PathBuf>,
    /// Key file of the second store, if it has another one
    #[arg(long, value_name = "FILE", env = "LRL_COPY_TO_KEY_FILE", hide_env_values = true, help_heading = SETTINGS)]
    pub copy_to_key_file: Option<PathBuf>,
    /// How fast.
    #[command(flatten)]
    pub limit: LimitArgs,
    /// What it leaves free.
    #[command(flatten)]
    pub free: FreeArgs,
    /// Show what would be stored; write nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Who is told.
    #[command(flatten)]
    pub notify: NotifyArgs,
}
