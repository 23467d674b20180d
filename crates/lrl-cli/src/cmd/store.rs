//! Opening the store for a verb, and creating one at the first backup.

use std::io::Read;
use std::path::Path;
use std::sync::Arc;

use clap::parser::ValueSource;
use lrl_store::error::Error;
use lrl_store::format::snapshot::Snapshot;
use lrl_store::ops::select::{self, Need};
use lrl_store::storage::LockMode;
use lrl_store::storage::local::{self, Local};
use lrl_store::storage::room::Reserve;
use lrl_store::store::{self, SnapshotName, Store};

use super::Context;
use crate::exit::Result;
use crate::resolve::Paths;

/// Opens an existing store for reading or adding.
pub fn open(context: &Context<'_>, paths: &Paths) -> Result<Store> {
    open_as(context, paths, LockMode::Shared)
}

/// Opens an existing store for deleting from it: nobody else uses it meanwhile. For a dry run, without a trace.
pub fn open_to_delete(context: &Context<'_>, paths: &Paths, dry_run: bool) -> Result<Store> {
    open_as(context, paths, if dry_run { LockMode::Look } else { LockMode::Exclusive })
}

/// Opens an existing store for adding much to it: so much of its disk stays free.
pub fn open_to_fill(context: &Context<'_>, paths: &Paths, reserve: Reserve) -> Result<Store> {
    require_backup_dir(context, paths)?;
    let storage = Local::new(&paths.store);
    // A store that is not there is told as such by opening it.
    let storage = if store::exists(&storage)? { storage.keep_free(reserve)? } else { storage };
    let store = open_storage(context, paths, storage, LockMode::Shared)?;
    if store.storage().room().bytes() == u64::MAX {
        context.term.detail(format!(
            "the disk of {} does not say how full it is: --reserve has no effect",
            paths.store.display()
        ));
    }
    Ok(store)
}

fn open_as(context: &Context<'_>, paths: &Paths, mode: LockMode) -> Result<Store> {
    require_backup_dir(context, paths)?;
    open_storage(context, paths, Local::new(&paths.store), mode)
}

fn open_storage(context: &Context<'_>, paths: &Paths, storage: Local, mode: LockMode) -> Result<Store> {
    let store = Store::open(Arc::new(storage), mode, context.cli.global.lock_wait, context.term)?;
    context.term.detail(format!("store {}", paths.store.display()));
    if !store.is_locked() {
        context.term.note(format!("{} cannot be written: read without a lock", paths.store.display()));
    }
    for damaged in store.damaged_indexes() {
        context.term.warn(&damaged.reason);
        context.term.note("what it lists is read from the packs themselves; `lrl check` tells more");
    }
    Ok(store)
}

/// Opens a store without leaving a trace; `None` where there is none.
pub fn look(context: &Context<'_>, paths: &Paths) -> Result<Option<Store>> {
    let storage = Local::new(&paths.store);
    if !store::exists(&storage)? {
        return Ok(None);
    }
    let wait = context.cli.global.lock_wait;
    Ok(Some(Store::open(Arc::new(storage), LockMode::Look, wait, context.term)?))
}

/// Opens the store at `path`, if there is one.
pub fn open_at(context: &Context<'_>, path: &Path) -> Result<Store, Error> {
    Store::open(Arc::new(Local::new(path)), LockMode::Shared, context.cli.global.lock_wait, context.term)
}

/// Fails where the backup directory that holds the store is not there.
pub fn require_backup_dir(context: &Context<'_>, paths: &Paths) -> Result<()> {
    if context.cli.global.store.is_none() && !paths.backup_dir.is_dir() {
        return Err(Error::NoStore { what: "backup directory", path: paths.backup_dir.clone() }.into());
    }
    Ok(())
}

/// Creates a store where there is none; says whether it did.
pub fn create_if_missing(path: &Path, wait: std::time::Duration) -> Result<bool> {
    let storage = Local::new(path);
    if store::exists(&storage)? {
        return Ok(false);
    }
    // A directory with other things in it, or a store whose config is gone, must not become a new store by a slip of the finger.
    // What a run leaves that was killed while it made the store: its locks and a temporary file.
    let of_ours = |name: &str| name.starts_with("lock") || name.starts_with(local::SPOOL_PREFIX);
    let foreign = std::fs::read_dir(path).ok().and_then(|mut entries| {
        entries.find_map(|entry| entry.ok().filter(|e| !of_ours(&e.file_name().to_string_lossy())))
    });
    if let Some(entry) = foreign {
        let text = format!(
            "{} is not a store (it has no config), but not empty either: it holds {}; name another place with --store, \
             or let `lrl check --repair` make the config again if this was a store",
            path.display(),
            entry.file_name().to_string_lossy()
        );
        return Err(Error::Refused(text).into());
    }
    storage.create()?;
    let lock = local::lock_file(&path.join("lock"), LockMode::Exclusive, wait, &crate::signal::interrupted)?;
    if store::exists(&storage)? {
        return Ok(false);
    }
    let mut id = [0; 32];
    let random = Path::new("/dev/urandom");
    std::fs::File::open(random).and_then(|mut file| file.read_exact(&mut id)).map_err(Error::io("read", random))?;
    store::create(&storage, id)?;
    drop(lock);
    Ok(true)
}

/// Returns the source that the user named, by flag or file; `None` where only the default stands: then all are meant.
pub fn named_source<'a>(context: &'a Context<'_>) -> Option<&'a str> {
    let matches = context.matches.subcommand().map_or(context.matches, |(_, sub)| sub);
    let named = matches.value_source("source") == Some(ValueSource::CommandLine) || context.file.sets("source");
    named.then_some(context.cli.global.source.as_str())
}

/// Finds the snapshot that the user means: `latest` in the source, anything else in all of them unless one was named.
pub fn select(context: &Context<'_>, store: &Store, wanted: &str, need: Need) -> Result<(SnapshotName, Snapshot)> {
    let source = match wanted.starts_with("latest") {
        true => Some(context.cli.global.source.as_str()),
        false => named_source(context),
    };
    let (name, snapshot) = select::select(store, source, wanted, need)?;
    let (id, number, time) = (name.id.short(), name.sequence, &snapshot.timestamp);
    context.term.detail(format!("`{wanted}` is snapshot {id}, number {number} of {}, of {time}", name.source));
    Ok((name, snapshot))
}

/// Opens the store of a verb that takes no paths of its own.
pub fn open_default(context: &Context<'_>) -> Result<Store> {
    open(context, &context.paths()?)
}
