//! Opening the store for a verb, and creating one at the first backup.

use std::ffi::OsString;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use clap::parser::ValueSource;
use lrl_store::backend::Backend;
use lrl_store::backend::cache;
use lrl_store::backend::local::LocalBackend;
use lrl_store::error::Error;
use lrl_store::format::key::Credential;
use lrl_store::format::snapshot::Snapshot;
use lrl_store::fs::durable;
use lrl_store::fs::lock;
use lrl_store::fs::lock::LockMode;
use lrl_store::fs::space::Reserve;
use lrl_store::fs::temp_dir::TempDir;
use lrl_store::fs::temp_file;
use lrl_store::fs::unsupported;
use lrl_store::ops::judgement::Judge;
use lrl_store::ops::ls;
use lrl_store::ops::select::{self, Need, PassedOver, Selected};
use lrl_store::store::key_slots;
use lrl_store::store::key_slots::LocalSlot;
use lrl_store::store::{self, SnapshotName, Store};
use lrl_store::time::time_of;

use super::Context;
use crate::args::Verb;
use crate::exit::{Failure, Result};
use crate::known::{self, Known};
use crate::render::units;
use crate::resolve::{Paths, Place};

/// Opens an existing store for reading or adding.
pub fn open(context: &Context<'_>, paths: &Paths) -> Result<Store> {
    open_as(context, paths, LockMode::Shared)
}

/// Opens an existing store for deleting from it: nobody else uses it meanwhile. For a dry run, without a trace.
pub fn open_to_delete(context: &Context<'_>, paths: &Paths, dry_run: bool) -> Result<Store> {
    open_as(context, paths, if dry_run { LockMode::ReadOnly } else { LockMode::Exclusive })
}

/// Opens an existing store for adding much to it: so much of its disk stays free, or of the one with its copies.
pub fn open_to_fill(context: &Context<'_>, paths: &Paths, reserve: Reserve) -> Result<Store> {
    require_backup_dir(context, paths)?;
    let storage: Arc<dyn Backend> = match &paths.store {
        Place::Bucket(url) => copied(context, url, reserve)?,
        Place::Directory(path) => {
            let storage = LocalBackend::new(path);
            // A store that is not there is told as such by opening it.
            Arc::new(if store::exists(&storage)? { storage.keep_free(reserve)? } else { storage })
        }
    };
    let store = open_storage(context, paths, unveiled(context, storage)?, LockMode::Shared)?;
    if paths.store.directory().is_some() && store.storage().space().bytes() == u64::MAX {
        context
            .term
            .detail(format!("the disk of {} does not say how full it is: --reserve has no effect", paths.store));
    }
    Ok(store)
}

/// Opens a store that is named by itself, for reading from it: with its own key, else with the one in force.
pub fn open_place(context: &Context<'_>, place: &Place, own: Option<&Credential>) -> Result<Store> {
    let storage = readable_storage(context, place, own)?;
    open_storage(context, &beside(context, place)?, storage, LockMode::Shared)
}

/// Returns the storage of a store that is only read: that one is plain though a key is in force harms nothing.
pub fn readable_storage(
    context: &Context<'_>,
    place: &Place,
    own: Option<&Credential>,
) -> Result<Arc<dyn Backend>, Error> {
    let bare = bare_storage(context, place)?;
    let is_plain = own.is_none() && store::exists(&*bare)? && !key_slots::is_encrypted(&*bare).unwrap_or(true);
    if is_plain { Ok(bare) } else { unveiled_by(context, bare, own) }
}

/// Opens a store that is named by itself, for copying into it: so much of its disk stays free, and no more bytes a second go up. For a
/// dry run, without a trace.
pub fn open_to_copy(
    context: &Context<'_>,
    place: &Place,
    reserve: Reserve,
    limit: Option<u64>,
    dry_run: bool,
    own: Option<&Credential>,
) -> Result<Store> {
    let storage: Arc<dyn Backend> = match place {
        Place::Bucket(url) => {
            let dir = cache_dir(context)?;
            cache::over(limited_bucket(url, &dir, limit)?, &dir, reserve)?
        }
        Place::Directory(path) => {
            let storage = LocalBackend::new(path);
            Arc::new(if !dry_run && store::exists(&storage)? { storage.keep_free(reserve)? } else { storage })
        }
    };
    if limit.is_some() && place.directory().is_some() {
        context.term.detail("--limit-upload is for buckets: a directory is written as fast as it takes it");
    }
    let mode = if dry_run { LockMode::ReadOnly } else { LockMode::Shared };
    open_storage(context, &beside(context, place)?, unveiled_by(context, storage, own)?, mode)
}

fn beside(context: &Context<'_>, place: &Place) -> Result<Paths> {
    Ok(Paths { store: place.clone(), ..context.paths()? })
}

/// Lists the places one level below that may be stores.
pub fn directories(context: &Context<'_>, place: &Place) -> Result<Vec<Place>, Error> {
    let mut names = match place {
        Place::Directory(path) => {
            let missing = || Error::NoStore { what: "directory of stores", path: path.clone() };
            let entries = std::fs::read_dir(path).map_err(|e| match e.kind() {
                std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory => missing(),
                _ => Error::io("list", path)(e),
            })?;
            let names = entries.map(|entry| entry.map(|entry| entry.file_name()));
            names.collect::<std::io::Result<Vec<_>>>().map_err(Error::io("list", path))?
        }
        Place::Bucket(url) => bucket_directories(url, &cache_dir(context)?)?.into_iter().map(OsString::from).collect(),
    };
    names.sort();
    Ok(names.iter().map(|name| place.below(name)).collect())
}

fn open_as(context: &Context<'_>, paths: &Paths, mode: LockMode) -> Result<Store> {
    require_backup_dir(context, paths)?;
    open_storage(context, paths, storage(context, &paths.store)?, mode)
}

fn open_storage(context: &Context<'_>, paths: &Paths, storage: Arc<dyn Backend>, mode: LockMode) -> Result<Store> {
    let opened = Store::open(storage, mode, context.cli.global.lock_wait, context.term);
    let store = opened.map_err(|error| gone_or(context, &paths.store, error))?;
    compare(context, &paths.store, &store.config().store_id)?;
    context.term.detail(format!("store {}", paths.store));
    if let Some(path) = unsupported::unlocked() {
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

/// Opens a store without leaving a trace; `None` where there is none and none is known.
pub fn look(context: &Context<'_>, paths: &Paths) -> Result<Option<Store>> {
    let storage = bare_storage(context, &paths.store)?;
    if !store::exists(&*storage)? {
        refuse_gone(context, &paths.store)?;
        return Ok(None);
    }
    let wait = context.cli.global.lock_wait;
    let store = Store::open(unveiled(context, storage)?, LockMode::ReadOnly, wait, context.term)?;
    compare(context, &paths.store, &store.config().store_id)?;
    Ok(Some(store))
}

/// Returns the id that the store at a place must have: the one that was named, else the one that was used there.
fn expected_id(context: &Context<'_>, place: &Place) -> Option<String> {
    let named = context.cli.global.store_id.clone();
    named.filter(|_| is_main(context, place)).or_else(|| Known::new(&context.cli.global).id(place))
}

/// Returns whether a place is that of the store in force: a second store has an id of its own.
fn is_main(context: &Context<'_>, place: &Place) -> bool {
    context.paths().is_ok_and(|paths| paths.store == *place)
}

fn gone(place: &Place, known: &str) -> Failure {
    Failure::Gone(format!("the store {} that was used at {place} is not there", known.get(..8).unwrap_or(known)))
}

/// Turns "there is no store" into "it is gone" where one is known.
fn gone_or(context: &Context<'_>, place: &Place, error: Error) -> Failure {
    match (&error, expected_id(context, place)) {
        (Error::NoStore { what, .. }, Some(known)) if *what != store::CONFIG => gone(place, &known),
        _ => error.into(),
    }
}

/// Fails where a store is known, and its directory is missing or empty. To be asked before anything is created there.
pub fn refuse_gone(context: &Context<'_>, place: &Place) -> Result<()> {
    let Some(path) = place.directory().filter(|path| known::is_empty(path)) else { return Ok(()) };
    match expected_id(context, place) {
        Some(known) if !path.join("config").exists() => Err(gone(place, &known)),
        _ => Ok(()),
    }
}

/// Fails unless a store is the one that is known at its place.
pub fn compare(context: &Context<'_>, place: &Place, found: &str) -> Result<()> {
    match expected_id(context, place) {
        Some(known) if !found.starts_with(&known) => Err(Failure::Gone(format!(
            "{place} holds another store than the one that was used there: its id is {found}, and {known} is known"
        ))),
        _ => Ok(()),
    }
}

/// Compares the store in a storage that is not opened as one; a config that cannot be read is the verb's own business.
pub fn compare_storage(context: &Context<'_>, place: &Place, storage: &dyn Backend) -> Result<()> {
    match key_slots::store_id(storage) {
        Ok(found) => compare(context, place, &found),
        Err(error @ Error::NoStore { .. }) if place.directory().is_none_or(known::is_empty) => {
            match expected_id(context, place) {
                Some(known) => Err(gone(place, &known)),
                None => Err(error.into()),
            }
        }
        Err(_) => Ok(()),
    }
}

/// Remembers a store that was written to, so that it is missed when it is gone.
pub fn remember(context: &Context<'_>, place: &Place, store_id: &str) {
    let now = units::moment(time_of(SystemTime::now()).secs);
    if let Err(error) = Known::new(&context.cli.global).note(place, store_id, &now) {
        context.term.detail(format!("the store's id is not remembered: {error}"));
    }
}

/// Returns the storage of a store, with copies near at hand where it is far away.
pub fn storage(context: &Context<'_>, place: &Place) -> Result<Arc<dyn Backend>, Error> {
    unveiled(context, bare_storage(context, place)?)
}

/// As [`storage`], without the keys of an encrypted store.
pub fn bare_storage(context: &Context<'_>, place: &Place) -> Result<Arc<dyn Backend>, Error> {
    match place {
        Place::Directory(path) => Ok(Arc::new(LocalBackend::new(path))),
        Place::Bucket(url) => copied(context, url, Reserve::LEAST),
    }
}

/// Opens an encrypted store with the credential that was given; a plain one is as it is.
fn unveiled(context: &Context<'_>, storage: Arc<dyn Backend>) -> Result<Arc<dyn Backend>, Error> {
    unveiled_by(context, storage, None)
}

/// The same with a credential of the store's own, if it has one.
fn unveiled_by(
    context: &Context<'_>,
    storage: Arc<dyn Backend>,
    own: Option<&Credential>,
) -> Result<Arc<dyn Backend>, Error> {
    let in_force = if own.is_some() { None } else { context.credential()? };
    let cache = |id: &str| cache_dir(context).ok().map(|dir| dir.join(id));
    // Each request of a backup counts.
    let near = if matches!(context.cli.command, Verb::Backup(_)) { LocalSlot::Trusted } else { LocalSlot::IfThere };
    key_slots::unveil(storage, own.or(in_force.as_ref()), near, cache)
}

fn copied(context: &Context<'_>, url: &str, reserve: Reserve) -> Result<Arc<dyn Backend>, Error> {
    let dir = cache_dir(context)?;
    cache::over(bucket(url, &dir)?, &dir, reserve)
}

/// Returns the storage of a store without what earlier runs copied, and the directory that the copies of this one are in.
pub fn fresh_storage(context: &Context<'_>, place: &Place) -> Result<(Arc<dyn Backend>, Option<TempDir>), Error> {
    let Place::Bucket(url) = place else { return Ok((storage(context, place)?, None)) };
    let dir = cache_dir(context)?;
    durable::create_dir(&dir)?;
    let fresh = TempDir::new(&dir, "check-")?;
    let copies = cache::over(bucket(url, &dir)?, fresh.path(), Reserve::LEAST)?;
    Ok((unveiled(context, copies)?, Some(fresh)))
}

fn bucket(url: &str, scratch: &Path) -> Result<Arc<dyn Backend>, Error> {
    limited_bucket(url, scratch, None)
}

#[cfg(any(feature = "s3", feature = "gcs", feature = "azure"))]
fn limited_bucket(url: &str, scratch: &Path, limit: Option<u64>) -> Result<Arc<dyn Backend>, Error> {
    let storage = reached(url, scratch)?;
    Ok(Arc::new(match limit {
        Some(limit) => storage.limit_upload(limit),
        None => storage,
    }))
}

#[cfg(any(feature = "s3", feature = "gcs", feature = "azure"))]
fn bucket_directories(url: &str, scratch: &Path) -> Result<Vec<String>, Error> {
    reached(url, scratch)?.directories()
}

/// Variables that name files with keys to buckets.
#[cfg(any(feature = "s3", feature = "gcs", feature = "azure"))]
const CREDENTIALS_FILES: [&str; 3] =
    ["GOOGLE_APPLICATION_CREDENTIALS", "GOOGLE_SERVICE_ACCOUNT", "GOOGLE_SERVICE_ACCOUNT_PATH"];

#[cfg(any(feature = "s3", feature = "gcs", feature = "azure"))]
fn reached(url: &str, scratch: &Path) -> Result<lrl_store::backend::bucket::Bucket, Error> {
    use crate::trust;
    use lrl_store::backend::bucket::{Bucket, Options, VARIABLES};
    let of_bucket = |name: String| VARIABLES.iter().any(|start| name.starts_with(start)).then_some(name);
    let variables = std::env::vars_os()
        .filter_map(|(name, value)| Some((of_bucket(name.into_string().ok()?)?, value.into_string().ok()?)));
    let variables: Vec<(String, String)> = variables.collect();
    for (_, file) in variables.iter().filter(|(name, _)| CREDENTIALS_FILES.contains(&name.as_str())) {
        if let Err(trust::Refusal::Untrusted(why)) = trust::check_secret(Path::new(file)) {
            return Err(Error::Refused(why));
        }
    }
    let (url, scratch) = (url.into(), scratch.into());
    Bucket::new(Options { url, variables, scratch, interrupted: crate::signal::interrupted })
}

#[cfg(not(any(feature = "s3", feature = "gcs", feature = "azure")))]
fn limited_bucket(url: &str, _: &Path, _: Option<u64>) -> Result<Arc<dyn Backend>, Error> {
    Err(Error::Unsupported { what: format!("a store at {url}") })
}

#[cfg(not(any(feature = "s3", feature = "gcs", feature = "azure")))]
fn bucket_directories(url: &str, _: &Path) -> Result<Vec<String>, Error> {
    Err(Error::Unsupported { what: format!("a store at {url}") })
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

/// Opens the store at a place, if there is one.
pub fn open_at(context: &Context<'_>, place: &Place) -> Result<Store, Error> {
    let store = Store::open(storage(context, place)?, LockMode::Shared, context.cli.global.lock_wait, context.term)?;
    compare(context, place, &store.config().store_id).map_err(|failure| Error::Refused(failure.message()))?;
    Ok(store)
}

/// Fails where the backup directory that holds the store is not there.
pub fn require_backup_dir(context: &Context<'_>, paths: &Paths) -> Result<()> {
    if context.cli.global.store.is_none() && !paths.backup_dir.is_dir() {
        let error = Error::NoStore { what: "backup directory", path: paths.backup_dir.clone() };
        return Err(gone_or(context, &paths.store, error));
    }
    Ok(())
}

/// Creates a local store where there is none; says whether it did. A remote one needs `lrl init`.
pub fn create_if_missing(context: &Context<'_>, place: &Place) -> Result<bool> {
    refuse_gone(context, place)?;
    match place.directory() {
        // A key says that it should be encrypted, which only `lrl init --encrypt` does.
        Some(path) if context.credential()?.is_some() && !store::exists(&LocalBackend::new(path))? => Err(Error::Refused(format!(
            "there is no store at {place} yet, and a key was given: make an encrypted one with `lrl init --encrypt`, or take the key away \
             (LRL_PASSWORD_FILE, LRL_PASSWORD_COMMAND, LRL_KEY_FILE, lrl.toml) for a plain one"
        ))
        .into()),
        Some(_) => create(context, place, None),
        None => Ok(false),
    }
}

/// Creates a store where there is none; says whether it did.
pub fn create(context: &Context<'_>, place: &Place, credential: Option<&Credential>) -> Result<bool> {
    match place {
        Place::Directory(path) => create_local(path, context.cli.global.lock_wait, credential),
        Place::Bucket(url) => create_remote(&*bucket(url, &std::env::temp_dir())?, credential),
    }
}

fn create_in(storage: &dyn Backend, credential: Option<&Credential>) -> Result<(), Error> {
    let id = random_id()?;
    match credential {
        Some(credential) => key_slots::create(storage, id, credential, "", time_of(SystemTime::now())).map(drop),
        None => store::create(storage, id),
    }
}

fn create_remote(storage: &dyn Backend, credential: Option<&Credential>) -> Result<bool> {
    if store::exists(storage)? {
        return Ok(false);
    }
    let mut found = None;
    let listed = storage.list("", &mut |name, _| {
        found = Some(name.to_string());
        Err(Error::Interrupted)
    });
    match found {
        Some(name) => Err(not_empty(&storage.location(), &name, "").into()),
        None => {
            listed?;
            create_in(storage, credential)?;
            Ok(true)
        }
    }
}

/// Says whether a bucket's server keeps the first of two that make one object.
pub fn keeps_first(context: &Context<'_>, place: &Place) -> Result<bool, Error> {
    let storage = storage(context, place)?;
    lrl_store::backend::probe_put_if_absent(&*storage, &format!("claims/probe-{}", token()?))
}

/// Returns random hexadecimal digits.
pub fn token() -> Result<String, Error> {
    Ok(units::hex(&random_id()?[..8]))
}

fn not_empty(place: &str, found: &str, repair: &str) -> Error {
    Error::Refused(format!(
        "{place} is not a store (it has no config), but not empty either: it holds {found}; name another place with --store{repair}"
    ))
}

fn random_id() -> Result<[u8; 32], Error> {
    let mut id = [0; 32];
    let random = Path::new("/dev/urandom");
    std::fs::File::open(random).and_then(|mut file| file.read_exact(&mut id)).map_err(Error::io("read", random))?;
    Ok(id)
}

fn create_local(path: &Path, wait: std::time::Duration, credential: Option<&Credential>) -> Result<bool> {
    let storage = LocalBackend::new(path);
    if store::exists(&storage)? {
        return Ok(false);
    }
    // A directory with other things in it, or a store whose config is gone, must not become a new store by a slip of the finger.
    // What a run leaves that was killed while it made the store: its locks and a temporary file.
    let of_ours = |name: &str| name.starts_with("lock") || name.starts_with(temp_file::TEMP_PREFIX);
    let foreign = std::fs::read_dir(path).ok().and_then(|mut entries| {
        entries.find_map(|entry| entry.ok().filter(|e| !of_ours(&e.file_name().to_string_lossy())))
    });
    if let Some(entry) = foreign {
        let place = path.display().to_string();
        let repair = ", or let `lrl check --repair` make the config again if this was a store";
        return Err(not_empty(&place, &entry.file_name().to_string_lossy(), repair).into());
    }
    storage.create()?;
    let lock = lock::lock_file(&path.join("lock"), LockMode::Exclusive, wait, &crate::signal::interrupted)?;
    if store::exists(&storage)? {
        return Ok(false);
    }
    create_in(&storage, credential)?;
    drop(lock);
    Ok(true)
}

/// Returns the source that the user named, by flag or file; `None` where only the default stands: then all are meant.
pub fn named_source<'a>(context: &'a Context<'_>) -> Option<&'a str> {
    let matches = context.matches.subcommand().map_or(context.matches, |(_, sub)| sub);
    let named = matches.value_source("source") == Some(ValueSource::CommandLine) || context.file.sets("source");
    named.then_some(context.cli.global.source.as_str())
}

/// Finds the snapshot that the user means: `latest` and `good` in the source, anything else in all of them unless one was named.
pub fn select(context: &Context<'_>, store: &Store, wanted: &str, need: Need) -> Result<(SnapshotName, Snapshot)> {
    let Selected { name, snapshot, passed_over } = find(context, store, &mut judge(store), wanted, need)?;
    warn_passed_over(context, &passed_over);
    Ok((name, snapshot))
}

/// Finds the snapshot that is to be used as a backup. What `good` passes over is named; another one by name must be good, unless that is forced.
pub fn choose(
    context: &Context<'_>,
    store: &Store,
    wanted: &str,
    need: Need,
    force: bool,
) -> Result<(SnapshotName, Snapshot)> {
    let mut judge = judge(store);
    let found = find(context, store, &mut judge, wanted, need)?;
    let Selected { name, snapshot, passed_over } = found;
    warn_passed_over(context, &passed_over);
    let judgement = judge.of(&name, &snapshot, context.term)?;
    if !judgement.serves(need.of(&snapshot)) {
        let text = format!("snapshot {} is {}: {}", name.id.short(), judgement.state, judgement.reason);
        if !force {
            return Err(Failure::NotGood(text));
        }
        context.term.warn(text);
    }
    Ok((name, snapshot))
}

/// Returns what judges the snapshots of a store, as of now.
pub fn judge(store: &Store) -> Judge<'_> {
    Judge::new(store, time_of(SystemTime::now()))
}

fn find(context: &Context<'_>, store: &Store, judge: &mut Judge<'_>, wanted: &str, need: Need) -> Result<Selected> {
    let source = match wanted.starts_with("latest") || wanted.starts_with("good") {
        true => Some(context.cli.global.source.as_str()),
        false => named_source(context),
    };
    let found = select::select(store, source, wanted, need, judge, context.term)?;
    let (id, number, time) = (found.name.id.short(), found.name.sequence, &found.snapshot.timestamp);
    context.term.detail(format!("`{wanted}` is snapshot {id}, number {number} of {}, of {time}", found.name.source));
    Ok(found)
}

/// Names the newest few snapshots that were passed over because they are not good.
pub fn warn_passed_over(context: &Context<'_>, passed_over: &[PassedOver]) {
    const SHOWN: usize = 5;
    for PassedOver { name, timestamp, state, reason, good } in passed_over.iter().take(SHOWN) {
        let of = timestamp.as_ref().map(|timestamp| format!(" of {timestamp}")).unwrap_or_default();
        let part = match (good.database, good.uploads) {
            (true, false) => "; its database is good",
            (false, true) => "; its uploads are good",
            _ => "",
        };
        context.term.warn(format!("passed over snapshot {}{of}: {state}: {reason}{part}", name.id.short()));
    }
    if let more @ 1.. = passed_over.len().saturating_sub(SHOWN) {
        context.term.warn(format!("and {}", units::count(more as u64, "more that is not good|more that are not good")));
    }
}

/// Returns the path that the user means: as lrl prints it, with escapes, where the snapshot has that, else as it was given.
pub fn typed_path(store: &Store, snapshot: &Snapshot, given: &[u8]) -> Vec<u8> {
    let meant = units::typed_path(given);
    if meant != given && ls::find(store, snapshot, &meant).is_ok() { meant } else { given.to_vec() }
}

/// Opens the store of a verb that takes no paths of its own.
pub fn open_default(context: &Context<'_>) -> Result<Store> {
    open(context, &context.paths()?)
}
