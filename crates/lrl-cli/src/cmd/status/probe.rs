//! One of several stores, looked at without a trace; and why one tells nothing.

use lrl_store::backend::location::Location;
use lrl_store::error::Error;
use lrl_store::fs::lock::LockMode;
use lrl_store::store::{self as engine, Store};

use crate::cmd::shared::open;
use crate::context::Context;
use crate::hint;

/// Opens a store without leaving a trace in it; `None` where there is none.
pub fn store(context: &Context<'_>, place: &Location) -> Result<Option<Store>, Error> {
    match engine::exists(&*open::locked_backend(context, place)?) {
        // A file beside the stores.
        Err(Error::Io { source, .. }) if source.kind() == std::io::ErrorKind::NotADirectory => return Ok(None),
        Ok(false) => return Ok(None),
        Ok(true) => {}
        Err(error) => return Err(error),
    }
    let storage = open::readable_backend(context, place, None)?;
    Store::open(storage, LockMode::ReadOnly, context.cli.global.lock_wait, context.term).map(Some)
}

/// Tells why a store tells nothing, in a few words where that is all there is to say.
pub fn reason(error: &Error) -> String {
    match error {
        Error::WrongKey { reason, .. } => format!("encrypted, and {reason}"),
        error => hint::error(error),
    }
}
