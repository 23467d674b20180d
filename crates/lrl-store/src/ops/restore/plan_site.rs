//! What a restore of a site will do: which of its databases and files, and what an operator should know of the rest.

use std::path::PathBuf;
use std::sync::Arc;

use super::barriers::Barriers;
use super::find_target::Finder;
use super::model::What;
use super::selection::{is_below, outermost};
use super::site::SitePlan;
use super::source::Run;
use super::target::Target;
use super::tree_plan::TreePlan;
use crate::error::{Error, Result};
use crate::format::entry::is_clean_path;
use crate::format::path_text;
use crate::format::snapshot::{Database, Snapshot};
use crate::ops::skipped::Skips;
use crate::store::Store;

/// What is restored of a site.
pub(super) struct PlannedSite<'a> {
    /// Trees that are exchanged.
    pub trees: Vec<TreePlan<'a>>,
    /// Databases that are exchanged by themselves.
    pub alone: Vec<(&'a Database, Target)>,
    /// How many entries the trees have by the snapshot, where all are restored.
    pub entries: Option<u64>,
    /// What an operator should know.
    pub notes: Vec<String>,
}

/// Plans what is restored of a site.
pub(super) fn plan_site<'a>(
    run: &Run<'_>,
    finder: &Finder<'_>,
    store: &'a Store,
    snapshot: &'a Snapshot,
    skips: Option<&Arc<Skips>>,
) -> Result<PlannedSite<'a>> {
    let (options, stamp) = (run.options, &snapshot.timestamp);
    let files = snapshot.files.as_ref();
    let lacks = |what: &str| {
        Error::NotFound(format!("snapshot {stamp} holds no {what}; `lrl snapshots` lists what each holds"))
    };
    let all: Vec<&Database> = snapshot.databases.iter().collect();
    let (databases, with_files) = match &options.what {
        What::DbOnly if all.is_empty() => return Err(lacks("database")),
        What::AssetsOnly if files.is_none() => return Err(lacks("files")),
        What::Whole if all.is_empty() && files.is_none() => return Err(lacks("database and no files")),
        What::DbOnly => (all.clone(), false),
        What::AssetsOnly => (Vec::new(), true),
        What::Whole | What::Paths(_) => (all.clone(), true),
    };
    // A database that is not restored, or perhaps not, stays where it is.
    let stay = if options.what == What::AssetsOnly || options.skip_damaged { all.as_slice() } else { &[] };
    let stay = stay.iter().map(|database| database.path.clone()).collect();
    let mut site = SitePlan {
        finder,
        root: &options.data_dir,
        follow: !options.only_below,
        store,
        list: files.map(|files| files.list),
        databases: &databases,
        barriers: Barriers::new(&run.own(store), stay),
        skips: skips.cloned(),
        owner: options.owner,
        trees: Vec::new(),
        alone: Vec::new(),
        stay: Vec::new(),
        notes: Vec::new(),
    };
    let mut entries = None;
    if let What::Paths(paths) = &options.what {
        let wanted = find_paths(&mut site, snapshot, paths)?;
        site.add_databases(&wanted)?;
    } else {
        if with_files {
            site.add_all()?;
            entries = files.map(|files| files.entries.saturating_sub(site.stay.len() as u64));
        }
        site.add_databases(&databases)?;
    }
    if let (What::Whole, Some(dir)) = (&options.what, run.dirs.open(&options.data_dir)?) {
        site.note_rest(&dir)?;
    }
    let SitePlan { trees, alone, mut notes, .. } = site;
    if options.what == What::Whole && files.is_none() {
        notes.push(format!("snapshot {stamp} holds no files: those here were left alone"));
    }
    notes.extend(moved_along(&trees, options.no_keep));
    Ok(PlannedSite { trees, alone, entries, notes })
}

/// Adds the files and directories that are named; returns the databases at or below the names.
fn find_paths<'a>(site: &mut SitePlan<'a, '_>, snapshot: &'a Snapshot, paths: &[Vec<u8>]) -> Result<Vec<&'a Database>> {
    let paths = outermost(paths);
    if paths.is_empty() {
        return Err(Error::NotFound("no path was given to restore".into()));
    }
    let mut databases = Vec::new();
    for path in paths {
        let before = databases.len();
        databases.extend(snapshot.databases.iter().filter(|database| is_below(&database.path, path)));
        let is_held =
            is_clean_path(path) && (snapshot.database(path).is_some() || site.add(path)? || databases.len() > before);
        if !is_held {
            let (shown, stamp) = (path_text::encode(path), &snapshot.timestamp);
            return Err(Error::NotFound(format!(
                "snapshot {stamp} holds no `{shown}`; `lrl ls {stamp}` lists what it holds"
            )));
        }
    }
    Ok(databases)
}

/// Notes that what a snapshot lacks, such as caches that are not backed up, moves away with its directory.
fn moved_along(trees: &[TreePlan<'_>], no_keep: bool) -> Option<String> {
    let mut moved = trees.iter().filter(|tree| tree.target.is_dir()).map(|tree| tree.target.path());
    let first: PathBuf = moved.next()?;
    let more = match moved.count() {
        0 => String::new(),
        count => format!(" and {count} more"),
    };
    let what = if no_keep { "is removed with it" } else { "is in what is kept of it" };
    Some(format!(
        "{}{more}: what is in an exchanged directory and not in the snapshot, also what backups exclude, {what}",
        first.display()
    ))
}
