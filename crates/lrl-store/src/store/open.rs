//! Opens and creates stores by their location: the backend, the local cache of a bucket, the keys of an encrypted store.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::config::{self, exists};
use super::handle::Store;
use super::key_slots::{self, LocalSlot};

use crate::backend::local::LocalBackend;
use crate::backend::location::Location;
use crate::backend::{Backend, cache};
use crate::crypt;
use crate::error::{Error, Place, Result};
use crate::format::key::Credential;
use crate::fs::lock::{self, LockMode};
use crate::fs::space::Reserve;
use crate::fs::temp_file;
use crate::hint::{AddHint, Hint, Message};
use crate::progress::{Interrupted, Observer};
use crate::time::Time;

/// How a store is opened.
#[derive(Clone)]
#[non_exhaustive]
pub struct OpenOptions {
    /// The passphrase or key file of an encrypted store; `None` for an unencrypted one.
    pub credential: Option<Credential>,
    /// [`LockMode::Shared`] for reading and adding, [`LockMode::Exclusive`] for deleting, [`LockMode::ReadOnly`] to leave no trace.
    pub mode: LockMode,
    /// How long to wait for the lock.
    pub lock_wait: Duration,
    /// A directory for local copies of objects; required for a store in a bucket. Encrypted stores keep their caches here.
    pub cache_dir: Option<PathBuf>,
    /// Free space that is never used, on the disk of the store, or of the local copies.
    pub reserve: Option<Reserve>,
    /// Credentials and settings for a bucket, as names and values of the variables that its command-line tools read
    /// (`AWS_ACCESS_KEY_ID` …).
    pub variables: Vec<(String, String)>,
    /// Upper bound of uploads to a bucket, in bytes a second.
    pub limit_upload: Option<u64>,
    /// Whether a locally cached key slot may open the store.
    #[doc(hidden)]
    pub local_slot: LocalSlot,
    /// Asked during requests to a bucket; true ends them with [`Error::Interrupted`].
    pub interrupted: Interrupted,
}

impl Default for OpenOptions {
    fn default() -> Self {
        Self {
            credential: None,
            mode: LockMode::Shared,
            lock_wait: Duration::ZERO,
            cache_dir: None,
            reserve: None,
            variables: Vec::new(),
            limit_upload: None,
            local_slot: LocalSlot::IfThere,
            interrupted: Arc::new(|| false),
        }
    }
}

/// Opens the store at a location.
///
/// # Errors
/// [`Error::NoStore`] where there is none, [`Error::WrongKey`] where the credential does not open it, [`Error::Locked`] where another
/// process holds the lock for longer than `lock_wait`, [`Error::Remote`] where a bucket cannot be reached.
pub fn open(location: &Location, options: &OpenOptions, observer: &dyn Observer) -> Result<Store> {
    Store::open(backend(location, options)?, options.mode, options.lock_wait, observer)
}

/// Returns the backend of a store, with the keys of an encrypted one.
///
/// # Errors
/// As [`open`], but for the lock.
pub fn backend(location: &Location, options: &OpenOptions) -> Result<Arc<dyn Backend>> {
    unlock(sealed_backend(location, options)?, options)
}

/// Returns the backend of a store without the keys of an encrypted one.
///
/// # Errors
/// [`Error::Remote`] where a bucket cannot be reached.
pub fn sealed_backend(location: &Location, options: &OpenOptions) -> Result<Arc<dyn Backend>> {
    match location {
        Location::Directory(path) => {
            let backend = LocalBackend::new(path);
            Ok(Arc::new(match options.reserve {
                // Opening a store that is not there says so.
                Some(reserve) if exists(&backend)? => backend.keep_free(reserve)?,
                _ => backend,
            }))
        }
        Location::Bucket(url) => {
            let dir = cache_dir(location, options)?;
            cache::over(bucket(url, dir, options)?, dir, options.reserve.unwrap_or(Reserve::LEAST))
        }
    }
}

fn cache_dir<'a>(location: &Location, options: &'a OpenOptions) -> Result<&'a Path> {
    options.cache_dir.as_deref().ok_or_else(|| {
        let text = format!("a store in a bucket ({location}) needs a directory for local copies");
        Error::refused(text.hint(Hint::NameCacheDir))
    })
}

/// Opens an encrypted store with its credential; an unencrypted one stays as it is.
///
/// # Errors
/// [`Error::WrongKey`]; [`Error::Refused`] where a credential was given for a store that is not encrypted.
pub fn unlock(backend: Arc<dyn Backend>, options: &OpenOptions) -> Result<Arc<dyn Backend>> {
    let cache = |id: &str| options.cache_dir.as_deref().map(|dir| dir.join(id));
    key_slots::unlock(backend, options.credential.as_ref(), options.local_slot, cache)
}

/// Creates a store, encrypted where the options have a credential. Returns whether it did: false where there is one already.
///
/// # Errors
/// [`Error::Refused`] where the place holds something else.
pub fn create(location: &Location, options: &OpenOptions, now: Time) -> Result<bool> {
    match location {
        Location::Directory(path) => create_local(path, options, now),
        Location::Bucket(url) => {
            let backend = bucket(url, cache_dir(location, options)?, options)?;
            if exists(&*backend)? {
                return Ok(false);
            }
            require_empty(&*backend)?;
            create_in(&*backend, options.credential.as_ref(), now)?;
            Ok(true)
        }
    }
}

fn create_local(path: &Path, options: &OpenOptions, now: Time) -> Result<bool> {
    let backend = LocalBackend::new(path);
    if exists(&backend)? {
        return Ok(false);
    }
    // A directory with other things in it, or a store whose config is gone, must not become a new store by a slip of the finger.
    // A run that was killed while it made the store leaves its locks and a temporary file.
    let is_ours = |name: &str| name.starts_with("lock") || name.starts_with(temp_file::TEMP_PREFIX);
    let foreign = std::fs::read_dir(path).ok().and_then(|mut entries| {
        entries.find_map(|entry| entry.ok().filter(|e| !is_ours(&e.file_name().to_string_lossy())))
    });
    if let Some(entry) = foreign {
        let text = not_empty(&path.display().to_string(), &entry.file_name().to_string_lossy());
        return Err(Error::refused(text.hint(Hint::RepairConfig)));
    }
    backend.create()?;
    let interrupted = &*options.interrupted;
    let lock = lock::lock_file(&path.join("lock"), LockMode::Exclusive, options.lock_wait, &interrupted)?;
    if exists(&backend)? {
        return Ok(false);
    }
    create_in(&backend, options.credential.as_ref(), now)?;
    drop(lock);
    Ok(true)
}

fn require_empty(backend: &dyn Backend) -> Result<()> {
    let mut found = None;
    let listed = backend.list("", &mut |name, _| {
        found = Some(name.to_string());
        Err(Error::Interrupted)
    });
    found.map_or(listed, |name| Err(Error::refused(not_empty(&backend.location(), &name))))
}

fn create_in(backend: &dyn Backend, credential: Option<&Credential>, now: Time) -> Result<()> {
    let id = *crypt::new_secret()?;
    match credential {
        Some(credential) => key_slots::create(backend, id, credential, "", now).map(drop),
        None => config::create(backend, id),
    }
}

fn not_empty(place: &str, found: &str) -> Message {
    format!("{place} is not a store (it has no config), but not empty either: it holds {found}").hint(Hint::OtherStore)
}

#[cfg(feature = "bucket")]
fn bucket(url: &str, scratch: &Path, options: &OpenOptions) -> Result<Arc<dyn Backend>> {
    let backend = connect(url, scratch, options)?;
    Ok(Arc::new(match options.limit_upload {
        Some(limit) => backend.limit_upload(limit),
        None => backend,
    }))
}

#[cfg(feature = "bucket")]
fn connect(url: &str, scratch: &Path, options: &OpenOptions) -> Result<crate::backend::bucket::Bucket> {
    use crate::backend::bucket::{Bucket, Options};
    Bucket::new(Options {
        url: url.into(),
        variables: options.variables.clone(),
        scratch: scratch.into(),
        interrupted: Arc::clone(&options.interrupted),
    })
}

#[cfg(not(feature = "bucket"))]
fn bucket(url: &str, _: &Path, _: &OpenOptions) -> Result<Arc<dyn Backend>> {
    Err(Error::Unsupported { what: format!("a store at {url}").into() })
}

/// Lists the names one level below a location: directories, or common prefixes of a bucket. Each may be a store.
///
/// # Errors
/// [`Error::NoStore`] where there is no such directory, [`Error::Remote`] where a bucket cannot be reached.
pub fn locations_below(location: &Location, options: &OpenOptions) -> Result<Vec<Location>> {
    use std::ffi::OsString;
    use std::io::{ErrorKind, Result as IoResult};
    let mut names: Vec<OsString> = match location {
        Location::Directory(path) => {
            let missing = || Error::NoStore { what: Place::StoresDir, path: path.clone() };
            let entries = std::fs::read_dir(path).map_err(|e| match e.kind() {
                ErrorKind::NotFound | ErrorKind::NotADirectory => missing(),
                _ => Error::io("list", path)(e),
            })?;
            let names = entries.map(|entry| entry.map(|entry| entry.file_name()));
            names.collect::<IoResult<_>>().map_err(Error::io("list", path))?
        }
        #[cfg(feature = "bucket")]
        Location::Bucket(url) => connect(url, cache_dir(location, options)?, options)?
            .directories()?
            .into_iter()
            .map(OsString::from)
            .collect(),
        #[cfg(not(feature = "bucket"))]
        Location::Bucket(url) => {
            let _ = options;
            return Err(Error::Unsupported { what: format!("stores at {url}").into() });
        }
    };
    names.sort();
    Ok(names.iter().map(|name| location.below(name)).collect())
}
