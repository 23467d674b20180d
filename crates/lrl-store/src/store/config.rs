//! The config of a store: creating a store, and finding out whether there is one.

use crate::backend::{Backend, Payload};
use crate::error::{Error, Place, Result};
use crate::format::config::{self, Config};
use crate::hint::{AddHint, Hint};

/// Creates a store where there is none: a plain one, unless the backend has keys. `store_id` should be random.
pub fn create(backend: &dyn Backend, store_id: [u8; 32]) -> Result<()> {
    let config = if backend.keys().is_some() { Config::encrypted(store_id) } else { Config::new(store_id) };
    backend.put("config", Payload::Bytes(&config::encode(&config)?))
}

/// Returns whether there is a store.
pub fn exists(backend: &dyn Backend) -> Result<bool> {
    match backend.len("config") {
        Ok(_) => Ok(true),
        Err(Error::Missing { .. }) => Ok(false),
        Err(e) => Err(e),
    }
}

pub(super) fn has_snapshots(backend: &dyn Backend) -> bool {
    let mut objects = 0;
    let listed = backend.list("snapshots", &mut |_, _| {
        objects += 1;
        Ok(())
    });
    listed.is_ok() && objects > 0
}

pub(super) fn read_config(backend: &dyn Backend) -> Result<Config> {
    let bytes = backend.read("config").map_err(|e| match e {
        Error::Missing { .. } => Error::NoStore { what: Place::Store, path: backend.location().into() },
        other => other,
    })?;
    config::decode(&bytes, &backend.object_location("config"))
}

/// A key was given, so what follows is expected to be encrypted.
pub(super) fn not_encrypted(store: &str) -> Error {
    let text = format!(
        "{store} is not encrypted, though a key was given: nothing was done. If it should be, somebody has put another store in its place, or it \
         was made without encryption"
    );
    Error::refused(text.hint(Hint::TakeKeyAway))
}
