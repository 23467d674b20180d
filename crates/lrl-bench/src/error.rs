//! Errors as sentences: for people to read, nothing acts on them.

use std::error::Error;
use std::fmt::Display;
use std::path::Path;

/// What can fail here, with the reason in words.
pub type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

/// Names the path that an error is about.
pub trait At<T> {
    /// Puts `path` before the error.
    fn at(self, path: &Path) -> Result<T>;
}

impl<T, E: Display> At<T> for std::result::Result<T, E> {
    fn at(self, path: &Path) -> Result<T> {
        self.map_err(|error| format!("{}: {error}", path.display()).into())
    }
}
