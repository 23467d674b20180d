//! Where a restore writes to.

use std::path::{Path, PathBuf};

use clap::parser::ValueSource;
use lrl_store::format::snapshot::{RootDir, Snapshot};
use lrl_store::store::{SnapshotName, Store};

use crate::args::RestoreArgs;
use crate::cmd::shared::choose;
use crate::context::Context;
use crate::exit::{Failure, Result};
use crate::render::units::safe;
use crate::resolve::Storage;

/// Where a restore writes to.
pub struct Places {
    /// Where `lrl.db` and `assets` go.
    pub data_dir: PathBuf,
    /// Where `storage/…` goes.
    pub storage: PathBuf,
    /// It is where the application reads.
    pub(super) is_live: bool,
    /// `./storage` is there, and not where `storage/…` goes.
    pub(super) passes_storage: bool,
    /// Nothing is written outside `data_dir`.
    pub(super) only_below: bool,
    /// The command line names it.
    is_named: bool,
}

impl Places {
    /// What is restored elsewhere than where the application's data is lies there altogether: it must not overwrite half of the
    /// live data.
    pub fn of(context: &Context<'_>, args: &RestoreArgs) -> Result<Self> {
        let matches = context.matches.subcommand().map_or(context.matches, |(_, sub)| sub);
        let is_given = |id: &str| {
            matches.try_contains_id(id).is_ok() && matches.value_source(id) == Some(ValueSource::CommandLine)
        };
        let is_named = is_given("data_dir") || is_given("root");
        if let Some(target) = &args.target {
            if is_named {
                return Err(Failure::Usage("--target and --data-dir name the same thing: give one of them".into()));
            }
            let (data_dir, storage) = (target.clone(), target.join("storage"));
            let (is_live, passes_storage, only_below) = (false, false, true);
            return Ok(Self { data_dir, storage, is_live, passes_storage, only_below, is_named: true });
        }
        let paths = context.paths()?;
        let usual = std::env::var_os("LAB_DATA_DIR").filter(|value| !value.is_empty()).map(PathBuf::from);
        let usual = usual.unwrap_or_else(|| context.file.value("data-dir").unwrap_or("./data").into());
        let is_live = !is_named || is_same(&paths.data_dir, &usual);
        let below = paths.data_dir.join("storage");
        let (storage, passes_storage) = match paths.storage {
            Storage::Named(path) => (path, false),
            Storage::Found(_) if !is_live => (below, true),
            Storage::Absent(_) if !is_live => (below, false),
            Storage::Found(path) | Storage::Absent(path) => (path, false),
        };
        Ok(Self { data_dir: paths.data_dir, storage, is_live, passes_storage, only_below: false, is_named })
    }

    /// Refuses to restore the set of a site to where it would only go because nobody says where.
    pub(super) fn require_named(&self, context: &Context<'_>, manifest: &Path) -> Result<()> {
        let is_set = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
        if self.is_named
            || context.site()?.root.is_some()
            || context.file.value("data-dir").is_some()
            || is_set("LAB_DATA_DIR")
        {
            return Ok(());
        }
        let manifest = manifest.display().to_string();
        let quoted = shlex::try_quote(&manifest).map_or_else(|_| manifest.clone(), |path| path.into_owned());
        Err(Failure::Usage(format!(
            "{manifest} is of a site, and neither the command line nor lrl.toml names its root: `lrl restore --manifest {quoted} --root DIR` \
             restores it in place, `lrl restore --manifest {quoted} --target DIR` elsewhere"
        )))
    }

    /// Refuses to restore a site to where nobody but the store says that it was.
    pub(super) fn require_root(&self, snapshot: &Snapshot, wanted: &str) -> Result<()> {
        let Some(root) = &snapshot.root else { return Ok(()) };
        if self.is_named || is_same(&self.data_dir, Path::new(&root.path)) {
            return Ok(());
        }
        let quoted = shlex::try_quote(&root.path).map_or_else(|_| root.path.clone(), |path| path.into_owned());
        Err(Failure::Usage(format!(
            "snapshot {} is of {}, which neither the command line nor lrl.toml names: `lrl restore {wanted} --root {quoted}` restores \
             it there, `lrl restore {wanted} --target DIR` elsewhere",
            snapshot.timestamp, root.path
        )))
    }

    /// Refuses to put another source's data in place, unless the command line names that source. A store that holds one source only has no
    /// other to be taken for it.
    pub(super) fn require_source(
        &self,
        context: &Context<'_>,
        store: &Store,
        (name, snapshot): (&SnapshotName, &Snapshot),
    ) -> Result<()> {
        let in_place = self.is_live || snapshot.root.is_some() && !self.only_below;
        if !in_place || choose::is_source_given(context) {
            return Ok(());
        }
        let (usual, sources) = (&context.cli.global.source, store.sources()?);
        if sources.len() < 2 {
            return Ok(());
        }
        let but = if name.source != *usual {
            format!("this command is about source `{}`", safe(usual))
        } else if let Some(other) = self.backed_up_as(store, (name, snapshot), &sources)? {
            format!("{} is backed up as source `{}`", safe(&self.data_dir.to_string_lossy()), safe(&other))
        } else {
            return Ok(());
        };
        Err(Failure::Usage(format!(
            "snapshot {} of {} is of source `{source}`, but {but}: nothing was changed. With `--source {source}` it is restored here all the same, \
             with `--target DIR` elsewhere",
            name.id.short(),
            snapshot.timestamp,
            source = safe(&name.source)
        )))
    }

    /// Finds another source whose newest snapshot is of the directory that is restored to, where this snapshot is not.
    fn backed_up_as(
        &self,
        store: &Store,
        (name, snapshot): (&SnapshotName, &Snapshot),
        sources: &[String],
    ) -> Result<Option<String>> {
        let is_of_here = |root: &RootDir| is_same(&self.data_dir, Path::new(&root.path));
        if snapshot.root.as_ref().is_none_or(is_of_here) {
            return Ok(None);
        }
        for other in sources.iter().filter(|other| **other != name.source) {
            let newest = store.snapshot_names(Some(other))?.pop().and_then(|newest| store.snapshot(&newest).ok());
            if newest.and_then(|newest| newest.root).as_ref().is_some_and(is_of_here) {
                return Ok(Some(other.clone()));
            }
        }
        Ok(None)
    }
}

pub(super) fn is_same(one: &Path, other: &Path) -> bool {
    let real = |path: &Path| std::fs::canonicalize(path).or_else(|_| std::path::absolute(path));
    matches!((real(one), real(other)), (Ok(one), Ok(other)) if one == other)
}
