//! The steps of `lrl run`, in their order. A new step is a variant here, with its place in [`Step::ALL`], what it needs, and its default
//! interval; `cmd/run/act.rs` does it, and `cmd/run/outcome.rs` tells what came of it.

use clap::ValueEnum;

/// One step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub enum Step {
    /// `lrl backup`, without its copy.
    Backup,
    /// What `lrl backup --copy-to` does after the backup.
    Copy,
    /// `lrl drill` of the newest set, and of some snapshots straight from the store.
    Drill,
    /// `lrl forget` by the rules of `[policy]`.
    Forget,
    /// `lrl prune`.
    Prune,
    /// `lrl check`.
    Check,
    /// `lrl report`.
    Report,
}

impl Step {
    /// Every step, in the order in which a run does them.
    pub const ALL: [Self; 7] =
        [Self::Backup, Self::Copy, Self::Drill, Self::Forget, Self::Prune, Self::Check, Self::Report];

    /// Returns its name, also its key in `[policy]`: the interval, or of a report the file.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Backup => "backup",
            Self::Copy => "copy",
            Self::Drill => "drill",
            Self::Forget => "forget",
            Self::Prune => "prune",
            Self::Check => "check",
            Self::Report => "report",
        }
    }

    /// Returns the steps of the same run after whose failure this one is not done.
    pub const fn needs(self) -> &'static [Self] {
        match self {
            Self::Copy => &[Self::Backup],
            // Where no new backup could be made, or an old one cannot be restored, nobody gives up history.
            Self::Forget => &[Self::Backup, Self::Drill],
            // Not the backup: a full disk may be why it failed, and pruning makes room.
            Self::Prune => &[Self::Drill, Self::Forget],
            Self::Backup | Self::Drill | Self::Check | Self::Report => &[],
        }
    }
}
