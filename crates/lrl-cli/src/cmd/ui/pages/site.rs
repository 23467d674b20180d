//! What every page works with, and how it finds the snapshot that it is about.

use std::sync::Arc;
use std::time::{Duration, Instant};

use lrl_store::backend::Backend;
use lrl_store::error::Error;
use lrl_store::format::snapshot::Snapshot;
use lrl_store::fs::lock::LockMode;
use lrl_store::progress::Observer;
use lrl_store::store::{SnapshotName, Store};

use super::super::download::Downloads;
use super::super::url::{Address, Base};
use crate::args::max_age::MaxAgeArgs;
use crate::cmd::status::source::{self, Listed};
use crate::context::{Context, store_word};
use crate::exit::{Failure, Result};
use crate::render::units::shell_word;
use crate::resolve::Paths;
use crate::signal;

/// What all pages have in common.
pub struct Site<'a> {
    /// The command.
    pub context: &'a Context<'a>,
    /// Where everything is.
    pub paths: &'a Paths,
    /// What counts as wrong.
    pub limits: &'a MaxAgeArgs,
    /// The store in force, unlocked.
    pub backend: Arc<dyn Backend>,
    /// Where the pages are.
    pub base: Base,
    /// What is on its way.
    pub downloads: Downloads,
}

/// One request.
pub struct Asked<'a> {
    /// What all pages have in common.
    pub site: &'a Site<'a>,
    /// The store, for as long as the request takes: nobody who deletes waits for longer.
    pub store: &'a Store,
    /// What is asked for.
    pub address: &'a Address,
    /// Ends what takes too long.
    pub limited: &'a Limited,
}

/// How long a page may take: others wait for it.
const MOST_TIME: Duration = Duration::from_secs(20);

/// Ends a page that takes too long, and everything at a signal.
pub struct Limited(Instant);

impl Limited {
    /// Begins now.
    pub fn new() -> Self {
        Self(Instant::now())
    }
}

impl Observer for Limited {
    fn interrupted(&self) -> bool {
        signal::interrupted() || self.0.elapsed() > MOST_TIME
    }
}

impl Site<'_> {
    /// Opens the store for one request.
    pub fn open(&self, limited: &Limited) -> Result<Store> {
        let wait = self.context.cli.global.lock_wait.min(Duration::from_secs(5));
        Ok(Store::open(Arc::clone(&self.backend), LockMode::Shared, wait, limited)?)
    }

    /// Returns the flags that name the store in a command to copy.
    pub fn flags(&self, source: &str) -> String {
        format!("--store {} --source {}", store_word(&self.paths.store), shell_word(source))
    }
}

impl Asked<'_> {
    /// Returns the source that is meant: the one that is named, if it is a source of this store, else the usual one.
    pub fn source(&self) -> Result<String> {
        self.sources().map(|(source, _)| source.name)
    }

    /// Returns the source that is meant, and the names of the others.
    pub fn sources(&self) -> Result<(Listed, Vec<String>)> {
        let mut sources = source::sources(self.site.context, self.store)?;
        let named = self.address.text("source");
        let wanted = named.unwrap_or(&self.site.context.cli.global.source);
        let at = sources.iter().position(|source| source.name == wanted).or(named.is_none().then_some(0));
        let none = || Error::NotFound("there is no such source in this store".into());
        let at = at.filter(|at| *at < sources.len()).ok_or_else(none)?;
        let meant = sources.remove(at);
        Ok((meant, sources.into_iter().map(|source| source.name).collect()))
    }

    /// Finds the snapshot that a value names by its whole id.
    pub fn snapshot(&self, key: &str) -> Result<(SnapshotName, Snapshot)> {
        let id = self.address.text(key).ok_or_else(|| Failure::Usage(format!("the address names no {key}")))?;
        let names = self.store.snapshot_names(None)?;
        let name = names.into_iter().find(|name| name.id.to_string() == id);
        let name = name.ok_or_else(|| Error::NotFound("there is no such snapshot any more".into()))?;
        let snapshot = self.store.snapshot(&name)?;
        Ok((name, snapshot))
    }

    /// Returns the address of a page about a path of a snapshot.
    pub fn link(&self, page: &str, name: &SnapshotName, path: &[u8]) -> String {
        self.site.base.link(page, &[("snapshot", name.id.to_string().as_bytes()), ("path", path)])
    }
}
