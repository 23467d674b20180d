//! Opens the store for a verb, and creates one at the first backup. The engine builds the stack; this adds flags, environment and what is
//! known of the store.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;

use lrl_store::backend::Backend;
use lrl_store::backend::local::LocalBackend;
use lrl_store::backend::location::Location;
use lrl_store::error::Error;
use lrl_store::format::key::Credential;
use lrl_store::fs::lock::LockMode;
use lrl_store::fs::space::Reserve;
use lrl_store::fs::temp_dir::TempDir;
use lrl_store::fs::{durable, missing_features};
use lrl_store::set::own_files;
use lrl_store::store::key_slots::{self, LocalSlot};
use lrl_store::store::open::{self, OpenOptions, sealed_backend};
use lrl_store::store::{self, Store};
use lrl_store::time::time_of;

use super::bucket_variables;
use super::same_store::{compare, gone_or, refuse_gone, require_backup_dir};
use crate::args::Verb;
use crate::context::Context;
use crate::exit::Result;
use crate::resolve::Paths;
use crate::s3_credentials;

/// Returns how stores are opened by the flags and the environment, with the key in force.
pub fn options(context: &Context<'_>, location: &Location) -> Result<OpenOptions, Error> {
    let mut options = keyless(context, location)?;
    options.credential = context.credential()?;
    Ok(options)
}

/// The same for a store with a credential of its own, if it has one.
fn options_with(context: &Context<'_>, location: &Location, own: Option<&Credential>) -> Result<OpenOptions, Error> {
    let Some(own) = own else { return options(context, location) };
    let mut options = keyless(context, location)?;
    options.credential = Some(own.clone());
    Ok(options)
}

fn keyless(context: &Context<'_>, location: &Location) -> Result<OpenOptions, Error> {
    let cache_dir = match location {
        // A local store needs one only where it is encrypted.
        Location::Directory(_) => cache_dir(context).ok(),
        Location::Bucket(_) => Some(cache_dir(context)?),
    };
    keyless_with(context, location, cache_dir)
}

fn keyless_with(context: &Context<'_>, location: &Location, cache_dir: Option<PathBuf>) -> Result<OpenOptions, Error> {
    let mut options = OpenOptions::default();
    options.lock_wait = context.cli.global.lock_wait;
    options.interrupted = Arc::new(crate::signal::interrupted);
    // Each request of a backup counts.
    options.local_slot =
        if matches!(context.cli.command, Verb::Backup(_)) { LocalSlot::Trusted } else { LocalSlot::IfThere };
    options.cache_dir = cache_dir;
    if let Location::Bucket(url) = location {
        options.variables = s3_credentials::complete(&context.cli.global, url, bucket_variables::read()?)?;
    }
    Ok(options)
}

/// Opens an existing store for reading or adding.
pub fn open(context: &Context<'_>, paths: &Paths) -> Result<Store> {
    open_as(context, paths, LockMode::Shared)
}

/// Opens the store of a verb that takes no paths of its own.
pub fn open_default(context: &Context<'_>) -> Result<Store> {
    open(context, &context.paths()?)
}

/// Opens an existing store for deleting from it, with an exclusive lock; for a dry run, without a trace.
pub fn open_to_delete(context: &Context<'_>, paths: &Paths, dry_run: bool) -> Result<Store> {
    open_as(context, paths, if dry_run { LockMode::ReadOnly } else { LockMode::Exclusive })
}

/// Opens an existing store for adding much to it: `reserve` stays free on its disk, or on the one with its local copies.
pub fn open_to_fill(context: &Context<'_>, paths: &Paths, reserve: Reserve) -> Result<Store> {
    require_backup_dir(context, paths)?;
    let mut options = options(context, &paths.store)?;
    options.reserve = Some(reserve);
    let store = open_by(context, paths, open::backend(&paths.store, &options)?, LockMode::Shared)?;
    if paths.store.directory().is_some() && store.storage().space().bytes() == u64::MAX {
        context
            .term
            .detail(format!("the disk of {} does not say how full it is: --reserve has no effect", paths.store));
    }
    Ok(store)
}

/// Opens a store that is named by itself, for reading from it: with its own key, else with the one in force.
pub fn open_place(context: &Context<'_>, location: &Location, own: Option<&Credential>) -> Result<Store> {
    let backend = readable_backend(context, location, own)?;
    open_by(context, &beside(context, location)?, backend, LockMode::Shared)
}

/// Returns the backend of a store that is only read: an unencrypted one though a key is in force harms nothing.
pub fn readable_backend(
    context: &Context<'_>,
    location: &Location,
    own: Option<&Credential>,
) -> Result<Arc<dyn Backend>, Error> {
    let sealed = sealed_backend(location, &keyless(context, location)?)?;
    let is_plain = own.is_none() && store::exists(&*sealed)? && !key_slots::is_encrypted(&*sealed).unwrap_or(true);
    if is_plain { Ok(sealed) } else { open::unlock(sealed, &options_with(context, location, own)?) }
}

/// Opens a store that is named by itself, for copying into it: `reserve` stays free on its disk, and uploads take up to `limit` bytes a
/// second. For a dry run, without a trace.
pub fn open_to_copy(
    context: &Context<'_>,
    location: &Location,
    reserve: Reserve,
    limit: Option<u64>,
    dry_run: bool,
    own: Option<&Credential>,
) -> Result<Store> {
    let mut options = options_with(context, location, own)?;
    options.reserve = Some(reserve).filter(|_| !dry_run || location.directory().is_none());
    options.limit_upload = limit;
    if limit.is_some() && location.directory().is_some() {
        context.term.detail("--limit-upload is for buckets: a directory is written as fast as it takes it");
    }
    let mode = if dry_run { LockMode::ReadOnly } else { LockMode::Shared };
    open_by(context, &beside(context, location)?, open::backend(location, &options)?, mode)
}

fn beside(context: &Context<'_>, location: &Location) -> Result<Paths> {
    Ok(Paths { store: location.clone(), ..context.paths()? })
}

/// Lists the locations one level below that may be stores.
pub fn locations_below(context: &Context<'_>, location: &Location) -> Result<Vec<Location>, Error> {
    open::locations_below(location, &keyless(context, location)?)
}

fn open_as(context: &Context<'_>, paths: &Paths, mode: LockMode) -> Result<Store> {
    require_backup_dir(context, paths)?;
    open_by(context, paths, backend(context, &paths.store)?, mode)
}

fn open_by(context: &Context<'_>, paths: &Paths, backend: Arc<dyn Backend>, mode: LockMode) -> Result<Store> {
    leave(context, &paths.store, &backend);
    let opened = Store::open(backend, mode, context.cli.global.lock_wait, context.term);
    let store = opened.map_err(|error| gone_or(context, &paths.store, error))?;
    compare(context, &paths.store, &store.config().store_id)?;
    context.term.detail(format!("store {}", paths.store));
    if let Some(path) = missing_features::unlocked() {
        context.term.note(format!(
            "{} cannot be locked, its file system has no locks: read without one; nothing must be deleted there meanwhile",
            path.display()
        ));
    } else if store.is_read_only() {
        context.term.note(format!("{} cannot be written: read without a lock", paths.store));
    }
    for damaged in store.damaged_indexes() {
        context.term.warn(&damaged.reason);
        context.term.note("what it lists is read from the packs themselves; `lrl check` tells more");
    }
    Ok(store)
}

/// Leaves the backend of the store in use to the metrics, which would have to unlock it again.
fn leave(context: &Context<'_>, location: &Location, backend: &Arc<dyn Backend>) {
    if context.store_in_use().is_ok_and(|used| used == *location) {
        context.left.backend.replace(Some(Arc::clone(backend)));
    }
}

/// Opens a store without leaving a trace; `None` where there is none and none is known.
pub fn look(context: &Context<'_>, paths: &Paths) -> Result<Option<Store>> {
    let sealed = sealed_backend(&paths.store, &keyless(context, &paths.store)?)?;
    if !store::exists(&*sealed)? {
        refuse_gone(context, &paths.store)?;
        return Ok(None);
    }
    let backend = open::unlock(sealed, &options(context, &paths.store)?)?;
    let store = Store::open(backend, LockMode::ReadOnly, context.cli.global.lock_wait, context.term)?;
    compare(context, &paths.store, &store.config().store_id)?;
    Ok(Some(store))
}

/// Returns the backend of a store, with a local cache for a bucket and the keys of an encrypted store.
pub fn backend(context: &Context<'_>, location: &Location) -> Result<Arc<dyn Backend>, Error> {
    open::backend(location, &options(context, location)?)
}

/// As [`backend`], without the keys of an encrypted store.
pub fn locked_backend(context: &Context<'_>, location: &Location) -> Result<Arc<dyn Backend>, Error> {
    sealed_backend(location, &keyless(context, location)?)
}

/// Returns the backend of a store without what earlier runs cached, and the directory that this run caches in.
pub fn fresh_backend(context: &Context<'_>, location: &Location) -> Result<(Arc<dyn Backend>, Option<TempDir>), Error> {
    let mut options = options(context, location)?;
    let Location::Bucket(_) = location else { return Ok((open::backend(location, &options)?, None)) };
    let dir = cache_dir(context)?;
    durable::create_dir(&dir)?;
    let fresh = TempDir::new(&dir, "check-")?;
    options.cache_dir = Some(fresh.path().into());
    Ok((open::backend(location, &options)?, Some(fresh)))
}

/// Returns where copies of remote stores are kept.
pub fn cache_dir(context: &Context<'_>) -> Result<PathBuf, Error> {
    let named = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let of_user = || named("XDG_CACHE_HOME").or_else(|| Some(named("HOME")?.join(".cache"))).map(|dir| dir.join("lrl"));
    let dir = context.cli.global.cache_dir.clone().or_else(of_user);
    dir.ok_or_else(|| {
        Error::Refused(
            "copies of a store in a bucket need a place, and HOME is not set: name one with --cache-dir".into(),
        )
    })
}

/// Opens the store at a location, if there is one.
pub fn open_at(context: &Context<'_>, location: &Location) -> Result<Store, Error> {
    let options = options(context, location)?;
    let backend = open::backend(location, &options)?;
    leave(context, location, &backend);
    let store = Store::open(backend, options.mode, options.lock_wait, context.term)?;
    compare(context, location, &store.config().store_id).map_err(|failure| Error::refused(failure.message()))?;
    Ok(store)
}

/// Creates a local store where there is none; returns whether it did. One in a bucket needs `lrl init`.
pub fn create_if_missing(context: &Context<'_>, location: &Location) -> Result<bool> {
    refuse_gone(context, location)?;
    match location.directory() {
        // A key says that it should be encrypted, which only `lrl init --encrypt` does.
        Some(path) if context.credential()?.is_some() && !store::exists(&LocalBackend::new(path))? => Err(Error::refused(format!(
            "there is no store at {location} yet, and a key was given: make an encrypted one with `lrl init --encrypt`, or take the key away \
             (LRL_PASSWORD_FILE, LRL_PASSWORD_COMMAND, LRL_KEY_FILE, lrl.toml) for a plain one"
        ))
        .into()),
        Some(_) => create(context, location, None),
        None => Ok(false),
    }
}

/// Creates a store where there is none; returns whether it did.
pub fn create(context: &Context<'_>, location: &Location, credential: Option<&Credential>) -> Result<bool> {
    if let Some(path) = location.directory()
        && !store::exists(&LocalBackend::new(path))?
    {
        own_files::refuse_in_store(path)?;
    }
    // Nothing is cached of a store that is not there yet.
    let mut options = keyless_with(context, location, Some(std::env::temp_dir()))?;
    options.credential = credential.cloned();
    Ok(open::create(location, &options, time_of(SystemTime::now()))?)
}

/// Returns whether a bucket's server keeps the first of two that make one object.
pub fn probes_put_if_absent(context: &Context<'_>, location: &Location) -> Result<bool, Error> {
    let backend = backend(context, location)?;
    lrl_store::backend::probe_put_if_absent(&*backend, &format!("claims/probe-{}", token()?))
}

/// Names this process, for people who find its lease.
pub fn owner() -> String {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    format!("{} (process {})", host.trim(), std::process::id())
}

/// Returns random hexadecimal digits.
pub fn token() -> Result<String, Error> {
    Ok(crate::render::units::hex(&lrl_store::crypt::new_secret()?[..8]))
}
