//! Damage is a finding of a drill, not an error.

use crate::error::{Error, Result};

/// Damage is a finding; only an interruption ends the drill.
pub(super) fn finding<T>(result: Result<T>) -> Result<Result<T, String>> {
    match result {
        Ok(value) => Ok(Ok(value)),
        Err(e) if e.is_final() => Err(e),
        Err(error) => Ok(Err(error.to_string())),
    }
}

/// As [`finding`]; notes whether the store's own bytes are what is wrong.
pub(super) fn finding_in_store<T>(result: Result<T>, damaged: &mut bool) -> Result<Result<T, String>> {
    *damaged |= result.as_ref().err().is_some_and(Error::is_damage);
    finding(result)
}
