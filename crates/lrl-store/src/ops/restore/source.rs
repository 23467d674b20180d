//! What a restore needs of the source that it restores from.

use std::path::PathBuf;

use super::commit::Staged;
use super::model::{Options, Part, Report, Reuse, ReuseCounts};
use super::target::Target;
use super::target_dirs::StagingDirs;
use crate::error::Result;
use crate::format::snapshot::RootDir;
use crate::fs::metadata::Owners;
use crate::fs::resolve::OpenDirs;
use crate::hint::Message;
use crate::progress::Observer;
use crate::set::missing::Skip;
use crate::store::Store;

/// What all steps of one restore share.
pub(super) struct Run<'a> {
    /// How to restore.
    pub options: &'a Options,
    /// Told of the progress, and asked whether to stop.
    pub observer: &'a dyn Observer,
    /// Owners that the files get.
    pub owners: Owners,
    /// The directories that the caller named.
    pub dirs: OpenDirs,
    /// Counts what was reused, and what did not get its owner.
    pub counts: ReuseCounts,
}

impl<'a> Run<'a> {
    /// Begins a restore.
    pub(crate) fn new(options: &'a Options, observer: &'a dyn Observer) -> Self {
        let owners = Owners { all: options.owner, recorded: rustix::process::geteuid().is_root() };
        Self { options, observer, owners, dirs: OpenDirs::default(), counts: ReuseCounts::default() }
    }
}

impl Run<'_> {
    /// Returns the directories of lrl itself, which nothing carries away.
    pub(crate) fn own(&self, store: &Store) -> Vec<PathBuf> {
        let store = PathBuf::from(store.storage().location());
        [store].into_iter().chain(self.options.own.iter().cloned()).collect()
    }
}

/// A snapshot in a store, or the files of a set: what is restored, planned already.
pub(super) trait Source {
    /// Names what is restored, for the record of the restore.
    fn description(&self) -> String;

    /// Returns every target that is known so far, with its part.
    fn targets(&self) -> Vec<(&Target, Part)>;

    /// Returns the same targets, the database's first, so that it is known how each can change.
    fn targets_mut(&mut self) -> Vec<&mut Target>;

    /// Returns where databases are that lie in a tree which is exchanged.
    fn databases_in_trees(&self) -> Vec<PathBuf> {
        Vec::new()
    }

    /// Returns what the directory gets that everything is below, where it is made anew.
    fn root_dir(&self) -> Option<&RootDir> {
        None
    }

    /// Returns the number of bytes that will be written, where that is known.
    fn bytes(&self) -> Option<u64>;

    /// Returns the owner of directories that are created above the targets.
    fn dir_owner(&self, run: &Run<'_>) -> Option<(u32, u32)> {
        run.options.owner
    }

    /// Refuses what is damaged as a whole, or does not fit on the disk, before anything is written.
    fn prove(&self, run: &Run<'_>, notes: &mut Vec<Message>) -> Result<()>;

    /// Adds to the report what a restore would do.
    fn dry_run(&self, run: &Run<'_>, report: &mut Report) -> Result<()>;

    /// Writes every part into the staging directories, proved, and adds it to the report. Returns how files were reused.
    fn stage(&mut self, run: &Run<'_>, dirs: &mut StagingDirs<'_>, report: &mut Report) -> Result<Reuse>;

    /// Returns what was staged, the database last: when it comes in place, every row finds its file.
    fn staged<'s>(&'s self, dirs: &'s StagingDirs<'_>) -> Result<Vec<Staged<'s>>>;

    /// Takes what was skipped because it is damaged, and the number of further entries.
    fn take_skipped(&self) -> (Vec<Skip>, u64) {
        Default::default()
    }
}
