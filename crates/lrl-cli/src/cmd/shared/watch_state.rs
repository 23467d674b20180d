//! What a watch leaves for others to see: a small file beside the records of runs, and a lock that is held as long as the watch lives. A process
//! that was killed leaves the file, and no lock.

use std::fs;
use std::path::Path;
use std::time::Duration;

use lrl_store::error::Error;
use lrl_store::fs::durable;
use lrl_store::fs::lock::{Guard, LockMode, lock_file};
use serde::{Deserialize, Serialize};

use super::run_record;
use crate::context::Context;
use crate::exit::Result;
use crate::signal;

/// What is known of the watch of a source. Times are in seconds since 1970.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct WatchState {
    /// Its process.
    pub pid: u32,
    /// When it began.
    pub started: i64,
    /// When it last knew that the newest snapshot has everything, or that it does not.
    pub looked: Option<i64>,
    /// When the oldest change was made that no snapshot has.
    pub unsaved_since: Option<i64>,
    /// The last snapshot that it made.
    pub snapshot: Option<String>,
    /// What fails, if something does.
    pub failing: Option<Failing>,
    /// Why the system does not tell it of every change, if so.
    pub blind: Option<String>,
    /// When it ended by itself.
    pub ended: Option<i64>,
    /// When it last wrote a set.
    pub set: Option<i64>,
    /// There are snapshots since.
    #[serde(default)]
    pub owes_set: bool,
    /// When it last pruned.
    pub pruned: Option<i64>,
}

/// A failure that goes on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failing {
    /// Since when.
    pub since: i64,
    /// How often it was tried.
    pub tries: u64,
    /// The exit code that a backup would have had.
    pub exit: u8,
    /// Why.
    pub error: String,
}

/// A watch as others see it.
#[derive(Debug, Clone, PartialEq)]
pub struct Seen {
    /// What it left.
    pub state: WatchState,
    /// Its process lives.
    pub is_running: bool,
}

impl Seen {
    /// Returns whether it was killed: it did not say that it ended.
    pub fn died(&self) -> bool {
        !self.is_running && self.state.ended.is_none()
    }

    /// Returns the age of the oldest change that no snapshot has, in seconds; of a watch that died all that came after its last look counts. `None`
    /// where no watch knows.
    pub fn lag(&self, now: i64) -> Option<i64> {
        let state = &self.state;
        let since = match (state.unsaved_since, self.died()) {
            (Some(since), _) => since,
            (None, true) => state.looked.unwrap_or(state.started),
            (None, false) => return self.is_running.then_some(0),
        };
        Some(now.saturating_sub(since).max(0))
    }
}

/// Looks at the watch of a source; `None` where there never was one.
pub fn look(context: &Context<'_>, source: &str) -> Option<Seen> {
    let state = read(context, source)?;
    let lock = run_record::place(context, &name(source, "lock"))?;
    let is_running =
        matches!(lock_file(&lock, LockMode::ReadOnly, Duration::ZERO, &|| false), Err(Error::Locked { .. }));
    Some(Seen { state, is_running })
}

/// Reads what the last watch of a source left.
pub fn read(context: &Context<'_>, source: &str) -> Option<WatchState> {
    serde_json::from_slice(&fs::read(run_record::place(context, &name(source, "json"))?).ok()?).ok()
}

/// Writes the state; returns whether there is a place for it and it could be written.
pub fn write(context: &Context<'_>, source: &str, state: &WatchState) -> bool {
    run_record::place(context, &name(source, "json")).and_then(|path| run_record::put(&path, state)).is_some()
}

/// Keeps two watches of one source apart; `None` where there is no place for a lock yet, or its file system has none.
///
/// # Errors
/// [`Error::Locked`] while another watch runs, [`Error::Interrupted`].
pub fn lock(context: &Context<'_>, source: &str) -> Result<Option<Box<dyn Guard>>> {
    let Some(path) = run_record::place(context, &name(source, "lock")) else { return Ok(None) };
    if let Some(dir) = path.parent().filter(|dir| *dir != Path::new("")) {
        let _ = durable::create_dir(dir);
    }
    match lock_file(&path, LockMode::Exclusive, context.cli.global.lock_wait, &signal::interrupted) {
        Ok(guard) => Ok(guard),
        Err(error @ (Error::Locked { .. } | Error::Interrupted)) => Err(error.into()),
        // A store that cannot be written fails in its rounds, with its own reason.
        Err(error) => {
            context.term.detail(format!("two watches are not kept apart: {error}"));
            Ok(None)
        }
    }
}

fn name(source: &str, extension: &str) -> String {
    format!("watch-{source}.{extension}")
}

#[cfg(test)]
mod tests {
    use super::{Seen, WatchState};

    #[test]
    fn a_watch_that_died_does_not_look_alive() {
        let state = WatchState { started: 10, looked: Some(100), ..WatchState::default() };
        let seen = |is_running, ended, unsaved_since| Seen {
            state: WatchState { ended, unsaved_since, ..state.clone() },
            is_running,
        };
        assert_eq!((seen(true, None, None).lag(150), seen(true, None, None).died()), (Some(0), false));
        assert_eq!(seen(true, None, Some(140)).lag(150), Some(10));
        assert_eq!((seen(false, None, None).lag(150), seen(false, None, None).died()), (Some(50), true));
        assert_eq!(seen(false, Some(120), None).lag(150), None);
        assert_eq!(seen(false, Some(120), Some(110)).lag(150), Some(40));
    }
}
