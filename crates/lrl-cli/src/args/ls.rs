//! The arguments of `lrl ls`.

use std::path::PathBuf;

use clap::Args;

/// `lrl ls`.
#[derive(Debug, Args)]
pub struct LsArgs {
    /// Snapshot: a prefix of its id, its timestamp, good, latest, or either with ~N.
    ///
    /// `good` is the newest good one, `latest` the newest; `good~1` is the good one before it. A time is the newest at or before it: 2026-11-28T14:03,
    /// 2026-11-28, 14:03, yesterday, 2h, 3d, 6mo.
    pub snapshot: String,
    /// List only this file or directory
    pub path: Option<PathBuf>,
}
