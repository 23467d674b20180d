//! `lrl drill`: proof that sets or snapshots can be restored: which are drilled, one after another, and how that ends.

mod history;
mod records;
mod render;
mod session;
mod site;

use std::collections::{BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::time::Instant;

use lrl_store::backend::location::Location;
use lrl_store::error::Error;
use lrl_store::id::SnapshotId;
use lrl_store::ops::drill::{self, Assertion};
use lrl_store::ops::select::Need;
use lrl_store::set::directory::manifests;
use lrl_store::set::manifest::read::FoundSet;
use lrl_store::store::{SnapshotName, Store};
use serde_json::json;

use self::session::{Run, now};
use self::site::SiteChecks;
use super::shared::heading::heading;
use super::shared::{choose, open};
use crate::args::DrillArgs;
use crate::context::Context;
use crate::exit::{Exit, Failure, Result};
use crate::hint;
use crate::render::units;
use crate::resolve::{self, Paths};

/// Drills the manifests that are named, else the newest in the backup directory, or snapshots.
pub fn run(context: &Context<'_>, args: &DrillArgs) -> Result {
    let run =
        Run { context, args, assertions: assertions(args)?, site: SiteChecks::of(context)?, started: Instant::now() };
    let paths = context.paths()?;
    if args.all || args.oldest_first {
        let store = open::open(context, &paths)?;
        store.check_readable()?;
        return run.each(|drills, list| history::drill(&run, &store, drills, list));
    }
    if let Some(wanted) = &args.snapshot {
        let store = open::open(context, &paths)?;
        store.check_readable()?;
        let (name, snapshot) = choose::select(context, &store, wanted, Need::default())?;
        return run.each(|drills, list| {
            context.term.say(format!("Using snapshot: {} of {}", name.id.short(), name.source));
            let report = drill::drill_snapshot(&store, &name, &snapshot, &run.options(Ok(&store)), context.term)?;
            drills.add(&run, report, Ok(&store), list)?;
            Ok(json!({}))
        });
    }
    let wanted = if args.manifest.is_empty() {
        match newest(context, &paths)? {
            Some(newest) => vec![newest],
            None => return none(context, &paths),
        }
    } else {
        args.manifest.clone()
    };
    run.each(|drills, list| {
        let mut stores = Stores { context, paths: &paths, open: None };
        for manifest in &wanted {
            context.term.say(format!("Using manifest: {}", units::safe(&manifest.display().to_string())));
            let (store, is_its_own) = stores.of(manifest)?;
            let report = drill::drill_set(manifest, &run.options(store.clone()), context.term)?;
            let belongs = is_its_own || report.snapshot.is_some();
            let store = if belongs { store } else { Err("the set does not belong to the store".into()) };
            drills.add(&run, report, store, list)?;
        }
        Ok(json!({}))
    })
}

/// Says what is wrong with the words, before anything is drilled.
fn assertions(args: &DrillArgs) -> Result<Vec<Assertion>> {
    let pairs = args.assert.chunks_exact(2).map(|pair| Assertion::parse(&pair[0], &pair[1]));
    pairs.collect::<Result<_, _>>().map_err(|text| Failure::Usage(format!("--assert: {text}")))
}

/// Lists the manifests of the backup directory. The shape of the document stays where there is no directory.
fn found(context: &Context<'_>, paths: &Paths) -> Result<Vec<PathBuf>> {
    let found = manifests(&paths.backup_dir);
    if let (Err(error @ Error::NoStore { .. }), true) = (&found, context.term.is_json()) {
        nothing(context, &hint::error(error))?;
    }
    Ok(found?)
}

/// Finds the newest set in the backup directory; where it holds those of several sources, of the one that is named.
fn newest(context: &Context<'_>, paths: &Paths) -> Result<Option<PathBuf>> {
    let manifests: Vec<PathBuf> = found(context, paths)?.into_iter().filter(|path| path.is_file()).collect();
    let mut sets = with_snapshots(context, paths, manifests)?;
    let several: BTreeSet<String> = sets.iter().filter_map(|(_, of)| Some(of.as_ref()?.source.clone())).collect();
    match choose::named_source(context) {
        // Without the store nothing tells whose they are.
        Some(named) if !several.is_empty() => {
            sets.retain(|(_, of)| of.as_ref().is_some_and(|name| name.source == named));
        }
        None if several.len() > 1 => {
            let several: Vec<String> = several.into_iter().collect();
            return Err(Failure::Usage(format!(
                "{} holds sets of several sources ({}): name one with --source, or a set with --manifest",
                paths.backup_dir.display(),
                several.join(", ")
            )));
        }
        _ => {}
    }
    Ok(drill::newest_set(sets, now()))
}

/// Returns with each set the snapshot that it is of, as far as the store knows it.
fn with_snapshots(
    context: &Context<'_>,
    paths: &Paths,
    manifests: Vec<PathBuf>,
) -> Result<Vec<(PathBuf, Option<SnapshotName>)>> {
    let mut known = HashMap::new();
    let is_clear = manifests.len() < 2 && choose::named_source(context).is_none();
    if let (Some(last), false) = (manifests.last(), is_clear)
        && let (Ok(store), _) = (Stores { context, paths, open: None }).of(last)?
    {
        match store.snapshot_names(None) {
            Err(Error::Interrupted) => return Err(Error::Interrupted.into()),
            // The drill itself tells what is wrong with the store.
            Err(_) => {}
            Ok(names) => known.extend(names.into_iter().map(|name| (name.id, name))),
        }
    }
    let with_snapshot = |manifest: PathBuf| {
        let id = FoundSet::load(&manifest).ok().and_then(|set| set.snapshot);
        let name = id.and_then(|id: SnapshotId| known.get(&id).cloned());
        (manifest, name)
    };
    Ok(manifests.into_iter().map(with_snapshot).collect())
}

fn nothing(context: &Context<'_>, error: &str) -> Result<()> {
    context.term.json(&json!({ "success": false, "verifications": [], "errors": [error], "sets": [] }))
}

fn none(context: &Context<'_>, paths: &Paths) -> Result {
    let of = choose::named_source(context).map(|source| format!(" of the source {source}"));
    let error = format!("No manifest found in {}{}", paths.backup_dir.display(), of.unwrap_or_default());
    heading(context, "Restore Drill");
    if context.term.is_json() {
        nothing(context, &error)?;
    } else {
        render::verdict(context.term, false, &[&error]);
        if context.cli.global.quiet {
            context.term.warn(error);
        }
        context.term.note("`lrl backup` makes a set; --backup DIR names another directory");
    }
    Ok(Exit::Failed)
}

/// The store beside a manifest, opened once for all manifests that share it.
struct Stores<'a> {
    context: &'a Context<'a>,
    paths: &'a Paths,
    open: Option<(Location, Result<Store, String>)>,
}

impl Stores<'_> {
    /// Returns the store, or why there is none: a set can be drilled without, and only an interruption is an error. Says also
    /// whether the store is the set's own: beside it, or named.
    fn of(&mut self, manifest: &Path) -> Result<(Result<&Store, String>, bool)> {
        let beside = resolve::default_store(manifest.parent().unwrap_or(Path::new("")));
        let named = self.context.cli.global.store.is_some();
        let is_beside = !named && beside.join("config").is_file();
        let place = if is_beside { Location::Directory(beside) } else { self.paths.store.clone() };
        if self.open.as_ref().is_none_or(|(open, _)| *open != place) {
            // A second store is not opened before the first has given its lock back.
            self.open = None;
            let store = match open::open_at(self.context, &place) {
                Err(Error::Interrupted) => return Err(Error::Interrupted.into()),
                Err(Error::NoStore { .. }) => Err("there is no store beside it".into()),
                // Who gives a key means the store, too: a wrong one must not look like a store that is not asked about.
                Err(error) => match self.context.credential()? {
                    Some(_) if matches!(error, Error::WrongKey { .. }) => return Err(error.into()),
                    _ => Err(hint::error(&error)),
                },
                Ok(store) => Ok(store),
            };
            self.open = Some((place, store));
        }
        let store = match &self.open {
            Some((_, Ok(store))) => Ok(store),
            Some((_, Err(why))) => Err(why.clone()),
            None => Err("there is no store beside it".into()),
        };
        let is_its_own = named || is_beside || store.is_err();
        Ok((store, is_its_own))
    }
}
