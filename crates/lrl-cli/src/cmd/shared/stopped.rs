//! Output that cannot be written ends an engine call. The engine knows no such failure: it is only told to stop, and the failure is kept here.

use lrl_store::error::{Error, Result as EngineResult};

use crate::exit::{Failure, Result};

/// Why an engine call was told to stop, if it was.
#[derive(Default)]
pub struct Stopped(Option<Failure>);

impl Stopped {
    /// Keeps what went wrong, and tells the engine to stop.
    pub fn keep(&mut self, written: Result<()>) -> EngineResult<()> {
        written.map_err(|failure| {
            self.0 = Some(failure);
            Error::Interrupted
        })
    }

    /// Returns what the call returned, unless it was told to stop.
    pub fn or<T>(self, done: EngineResult<T>) -> Result<T> {
        match self.0 {
            Some(failure) => Err(failure),
            None => Ok(done?),
        }
    }
}
