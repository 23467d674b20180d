//! Before a run: its locks, what dead runs have left, and the cache.

use super::options::Options;
use crate::error::{Error, Result};
use crate::fs::lock::{self, Guard, LockMode};
use crate::fs::temp_file;
use crate::progress::Observer;
use crate::store::run_cache::RunCache;
use crate::store::{Store, is_source_name};

/// Locks the source and the backup directory until the result is dropped, and removes what dead runs have left.
pub(super) fn lock(store: &Store, options: &Options, observer: &dyn Observer) -> Result<Vec<Box<dyn Guard>>> {
    if !is_source_name(&options.source) {
        return Err(Error::refused(format!(
            "`{}` cannot be a source's name: use letters, digits, `-`, `_`, `.`",
            options.source
        )));
    }
    let backend = store.storage();
    let interrupted = || observer.interrupted();
    let source = format!("lock-{}", options.source);
    let one_run = backend.lock(&source, LockMode::Exclusive, options.lock_wait, &interrupted)?;
    let one_set = options.out.as_deref().map(|out| lock::lock_dir(out, options.lock_wait, &interrupted)).transpose()?;
    backend.reclaim()?;
    let out = options.out.as_deref().filter(|out| *out != options.scratch);
    for dir in [Some(options.scratch.as_path()), out].into_iter().flatten() {
        temp_file::reclaim(dir)?;
    }
    Ok(one_run.into_iter().chain(one_set.flatten()).collect())
}

/// Opens the cache of earlier runs; `None` where there is none, or it cannot be used.
pub(super) fn open_cache(store: &Store) -> Option<RunCache> {
    let backend = store.storage();
    let cache = backend.cache_dir().and_then(|dir| RunCache::open(&dir))?;
    cache.begin(backend.space().bytes()).is_ok().then_some(cache)
}
