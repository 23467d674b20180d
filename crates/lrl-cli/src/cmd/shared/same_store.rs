//! Whether the store at a location is the one that was used there: a known store that is gone is never begun anew by itself.

use std::time::SystemTime;

use lrl_store::backend::Backend;
use lrl_store::backend::location::Location;
use lrl_store::error::{Error, Place};
use lrl_store::store::key_slots;
use lrl_store::time::time_of;

use crate::context::Context;
use crate::exit::{Failure, Result};
use crate::known_stores;
use crate::known_stores::Known;
use crate::render::units;
use crate::resolve::Paths;

/// Returns the id that the store at a place must have: the one that was named, else the one that was used there.
fn expected_id(context: &Context<'_>, place: &Location) -> Option<String> {
    let named = context.cli.global.store_id.clone();
    named.filter(|_| is_main(context, place)).or_else(|| Known::new(&context.cli.global).id(place))
}

/// Returns whether a place is that of the store in force: a second store has an id of its own.
fn is_main(context: &Context<'_>, place: &Location) -> bool {
    context.paths().is_ok_and(|paths| paths.store == *place)
}

fn gone(place: &Location, known: &str) -> Failure {
    Failure::Gone(format!("the store {} that was used at {place} is not there", known.get(..8).unwrap_or(known)))
}

/// Turns "there is no store" into "it is gone" where one is known.
pub fn gone_or(context: &Context<'_>, place: &Location, error: Error) -> Failure {
    match (&error, expected_id(context, place)) {
        (Error::NoStore { what, .. }, Some(known)) if *what != Place::Config => gone(place, &known),
        _ => error.into(),
    }
}

/// Fails where a store is known, and its directory is missing or empty. To be asked before anything is created there.
pub fn refuse_gone(context: &Context<'_>, place: &Location) -> Result<()> {
    let Some(path) = place.directory().filter(|path| known_stores::is_empty(path)) else { return Ok(()) };
    match expected_id(context, place) {
        Some(known) if !path.join("config").exists() => Err(gone(place, &known)),
        _ => Ok(()),
    }
}

/// Fails unless a store is the one that is known at its place.
pub fn compare(context: &Context<'_>, place: &Location, found: &str) -> Result<()> {
    match expected_id(context, place) {
        Some(known) if !found.starts_with(&known) => Err(Failure::Gone(format!(
            "{place} holds another store than the one that was used there: its id is {found}, and {known} is known"
        ))),
        _ => Ok(()),
    }
}

/// Compares the store in a storage that is not opened as one; a config that cannot be read is the verb's own business.
pub fn compare_storage(context: &Context<'_>, place: &Location, storage: &dyn Backend) -> Result<()> {
    match key_slots::store_id(storage) {
        Ok(found) => compare(context, place, &found),
        Err(error @ Error::NoStore { .. }) if place.directory().is_none_or(known_stores::is_empty) => {
            match expected_id(context, place) {
                Some(known) => Err(gone(place, &known)),
                None => Err(error.into()),
            }
        }
        Err(_) => Ok(()),
    }
}

/// Remembers a store that was written to, so that it is missed when it is gone.
pub fn remember(context: &Context<'_>, place: &Location, store_id: &str) {
    let now = units::moment(time_of(SystemTime::now()).secs);
    if let Err(error) = Known::new(&context.cli.global).note(place, store_id, &now) {
        context.term.detail(format!("the store's id is not remembered: {error}"));
    }
}

/// Fails where the backup directory that holds the store is not there.
pub fn require_backup_dir(context: &Context<'_>, paths: &Paths) -> Result<()> {
    if context.cli.global.store.is_none() && !paths.backup_dir.is_dir() {
        let error = Error::NoStore { what: Place::BackupDir, path: paths.backup_dir.clone() };
        return Err(gone_or(context, &paths.store, error));
    }
    Ok(())
}
