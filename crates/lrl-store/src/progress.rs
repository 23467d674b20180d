//! How the engine tells what it does: one observer, implemented by the terminal and by tests. The engine itself prints nothing.

use crate::error::{Error, Result};

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
}

/// Something that was left out or looks wrong, but did not stop the run.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Problem {
    /// The file concerned, as text for people (not UTF-8: with replacement characters).
    pub path: String,
    /// Why, in words for an operator.
    pub reason: String,
    /// True if data is missing from the result because of it (exit code 3); false for a note.
    pub lost: bool,
}

/// Receives what happens during one engine call; called from several threads.
pub trait Observer: Sync {
    /// A stage begins; `total_bytes` is known for some.
    fn phase(&self, phase: Phase, total_bytes: Option<u64>) {
        let _ = (phase, total_bytes);
    }
    /// So many more bytes and files are done in the current stage.
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

/// Watches nothing and never interrupts.
#[derive(Debug, Default, Clone, Copy)]
pub struct Silent;

impl Observer for Silent {}

/// Returns [`Error::Interrupted`] once the observer asks to stop.
pub fn checkpoint(observer: &dyn Observer) -> Result<()> {
    if observer.interrupted() { Err(Error::Interrupted) } else { Ok(()) }
}
