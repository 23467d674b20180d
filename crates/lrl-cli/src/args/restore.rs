//! The arguments of `lrl restore`.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use super::headings::SETTINGS;
use super::restore_rows::RestoreRowsArgs;
use super::shared::{DataArgs, HalfArgs};
use super::values::{self, Owner};

/// `lrl restore`.
#[derive(Debug, Args)]
pub struct RestoreArgs {
    /// Snapshot: a prefix of its id, its timestamp, good, latest, or either with ~N.
    ///
    /// `good` is the newest good one, `latest` the newest; `good~1` is the good one before it. A time is the newest at or before it: 2026-11-28T14:03,
    /// 2026-11-28, 14:03, yesterday, 2h, 3d, 6mo.
    #[arg(default_value = "good")]
    pub snapshot: String,
    /// Where the data goes.
    #[command(flatten)]
    pub data: DataArgs,
    /// Which part.
    #[command(flatten)]
    pub half: HalfArgs,
    /// Restore below this directory only: DIR/lrl.db, DIR/assets, DIR/storage, or all of a site.
    ///
    /// Of a site, no link below DIR is followed.
    #[arg(long, value_name = "DIR")]
    pub target: Option<PathBuf>,
    /// Restore only this database, file or directory, as `lrl ls` shows it; may be repeated
    #[arg(long = "only", visible_alias = "path", value_name = "PATH", conflicts_with_all = ["db_only", "assets_only"])]
    pub path: Vec<PathBuf>,
    /// Restore the set of this manifest instead of a snapshot
    #[arg(long, value_name = "FILE", conflicts_with = "snapshot")]
    pub manifest: Option<PathBuf>,
    /// Owner of what is restored [default: as before, else as in the snapshot]
    #[arg(long, value_name = "USER:GROUP", value_parser = values::owner, help_heading = SETTINGS)]
    pub owner: Option<Owner>,
    /// Show what would be restored; write nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Undo the last restore; a second --undo redoes it
    #[arg(long, conflicts_with_all = ["snapshot", "db_only", "assets_only", "path", "manifest", "owner"])]
    pub undo: bool,
    /// Restore everything but what the store, or the set of --manifest, has lost.
    ///
    /// What is left out is listed, and the exit code is 3.
    #[arg(long, conflicts_with = "undo")]
    pub skip_damaged: bool,
    /// Remove what is replaced once everything is in place; nothing is left to undo
    #[arg(long, conflicts_with = "undo")]
    pub no_keep: bool,
    /// Remove the copies kept by earlier restores
    #[arg(long, conflicts_with_all = ["snapshot", "db_only", "assets_only", "path", "manifest", "owner", "undo", "skip_damaged", "no_keep", "force"])]
    pub clean: bool,
    /// With --clean: keep copies younger than this (as in 36h, 7d)
    #[arg(long, value_name = "TIME", value_parser = values::age, requires = "clean")]
    pub older_than: Option<Duration>,
    /// Restore a snapshot that is not good, or while a process has the data open
    #[arg(long)]
    pub force: bool,
    /// Rows of a table.
    #[command(flatten)]
    pub rows: RestoreRowsArgs,
}
