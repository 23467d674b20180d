//! How the engine reports progress: one observer, implemented by the terminal and by tests. The engine itself prints nothing.

use std::sync::Arc;

use crate::error::{Error, Result};
use crate::hint::Message;

/// A stage of work that a person would name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Copying the database under its lock and storing it.
    Database,
    /// Walking and storing the uploads.
    Uploads,
    /// Writing the archive from the store.
    Archive,
    /// Writing data back to a directory.
    Restore,
    /// Reading and verifying.
    Verify,
    /// Moving what is alive into new packs.
    Repack,
    /// Reading from one store and storing in another. Its total is a number of snapshots.
    Copy,
    /// Walking the lists of snapshots. Its total is a number of snapshots.
    Snapshots,
}

impl Phase {
    /// Returns whether the stage is measured in snapshots, which [`Observer::advance`] counts as files, and not in bytes.
    pub fn counts_snapshots(self) -> bool {
        matches!(self, Self::Copy | Self::Snapshots)
    }
}

/// Something that was left out or looks wrong, but did not stop the run.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Problem {
    /// The file concerned, as text for people (not UTF-8: with replacement characters).
    pub path: String,
    /// Why, in words for an operator.
    pub reason: Message,
    /// True if data is missing from the result because of it (exit code 3); false for a note.
    pub lost: bool,
}

/// Receives what happens during one engine call; called from several threads.
pub trait Observer: Sync {
    /// A stage begins; its total, in bytes or as [`Phase::counts_snapshots`] has it, is known or estimated for most.
    fn phase(&self, phase: Phase, total: Option<u64>) {
        let _ = (phase, total);
    }
    /// Adds to the bytes and files (snapshots, where these are counted) that are done in the current stage.
    fn advance(&self, bytes: u64, files: u64) {
        let _ = (bytes, files);
    }
    /// Something was left out or looks wrong. It is also part of the call's report.
    fn problem(&self, problem: &Problem) {
        let _ = problem;
    }
    /// Asked often; true stops the call with [`Error::Interrupted`].
    fn interrupted(&self) -> bool {
        false
    }
}

/// Asked often by what outlives one call, such as the connection to a bucket; true stops it with [`Error::Interrupted`].
pub type Interrupted = Arc<dyn Fn() -> bool + Send + Sync>;

/// Watches nothing and never interrupts.
#[derive(Debug, Default, Clone, Copy)]
pub struct Silent;

impl Observer for Silent {}

/// Tells nothing, and can be interrupted.
pub(crate) struct Quiet<'a>(pub(crate) &'a dyn Observer);

impl Observer for Quiet<'_> {
    fn interrupted(&self) -> bool {
        self.0.interrupted()
    }
}

/// Returns [`Error::Interrupted`] once the observer asks to stop.
///
/// # Errors
///
/// [`Error::Interrupted`].
pub fn checkpoint(observer: &dyn Observer) -> Result<()> {
    if observer.interrupted() { Err(Error::Interrupted) } else { Ok(()) }
}

/// How many problems a call keeps for its report; the observer gets all of them.
const KEPT_PROBLEMS: usize = 1000;

/// Collects problems in bounded memory and passes each on to the observer.
pub(crate) struct Problems<'a> {
    observer: &'a dyn Observer,
    kept: Vec<Problem>,
    more: u64,
    more_lost: bool,
}

impl<'a> Problems<'a> {
    pub(crate) fn new(observer: &'a dyn Observer) -> Self {
        Self { observer, kept: Vec::new(), more: 0, more_lost: false }
    }

    pub(crate) fn lost(&mut self, path: &[u8], reason: impl Into<Message>) {
        self.add(path, reason.into(), true);
    }

    pub(crate) fn note(&mut self, path: &[u8], reason: impl Into<Message>) {
        self.add(path, reason.into(), false);
    }

    fn add(&mut self, path: &[u8], reason: Message, lost: bool) {
        self.push(Problem { path: String::from_utf8_lossy(path).into_owned(), reason, lost });
    }

    pub(crate) fn push(&mut self, problem: Problem) {
        let lost = problem.lost;
        self.observer.problem(&problem);
        if self.kept.len() < KEPT_PROBLEMS {
            self.kept.push(problem);
        } else {
            self.more += 1;
            self.more_lost |= lost;
        }
    }

    pub(crate) fn into_report(mut self) -> Vec<Problem> {
        if self.more > 0 {
            let reason = format!("{} more problems, not listed here", self.more);
            self.kept.push(Problem { path: String::new(), reason: reason.into(), lost: self.more_lost });
        }
        self.kept
    }
}
