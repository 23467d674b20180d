//! Opening the store for a verb, and creating one at the first backup.

use std::io::Read;
use std::path::Path;
use std::sync::Arc;

use lrl_store::error::Error;
use lrl_store::storage::LockMode;
use lrl_store::storage::local::{self, Local};
use lrl_store::store::{self, Store};

use super::Context;
use crate::exit::Result;
use crate::resolve::Paths;

/// Opens an existing store for reading or adding.
pub fn open(context: &Context<'_>, paths: &Paths) -> Result<Store> {
    if context.cli.global.store.is_none() && !paths.backup_dir.is_dir() {
        return Err(Error::NoStore { what: "backup directory", path: paths.backup_dir.clone() }.into());
    }
    let store = open_at(context, &paths.store)?;
    if !store.is_locked() {
        context.term.note(format!("{} cannot be written: read without a lock", paths.store.display()));
    }
    Ok(store)
}

/// Opens the store at `path`, if there is one.
pub fn open_at(context: &Context<'_>, path: &Path) -> Result<Store, Error> {
    Store::open(Arc::new(Local::new(path)), LockMode::Shared, context.cli.global.lock_wait, context.term)
}

/// Creates a store where there is none; says whether it did.
pub fn create_if_missing(path: &Path, wait: std::time::Duration) -> Result<bool> {
    let storage = Local::new(path);
    if store::exists(&storage)? {
        return Ok(false);
    }
    // A directory with other things in it, or a store whose config is gone, must not become a new store by a slip of the finger.
    let foreign = std::fs::read_dir(path).ok().and_then(|mut entries| {
        entries.find_map(|entry| entry.ok().filter(|e| !e.file_name().to_string_lossy().starts_with("lock")))
    });
    if let Some(entry) = foreign {
        let text = format!(
            "{} is not a store (it has no config), but not empty either: it holds {}; name another place with --store",
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
