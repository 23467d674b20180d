//! What a restore of a site will do: which of its databases and files, and what an operator should know of the rest.

use std::path::PathBuf;
use std::sync::Arc;

use super::barriers::Barriers;
use super::find_target::Finder;
use super::model::What;
use super::site::{SitePlan, SiteTree};
use super::snapshot_listing::SnapshotListing;
use super::source::Run;
use super::target::Target;
use super::tree_plan::TreePlan;
use crate::error::{Error, Result};
use crate::format::path_text;
use crate::format::snapshot::{Database, Snapshot};
use crate::hint::{AddHint, Hint, Message};
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
    pub notes: Vec<Message>,
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
    let lacks = |what: &str| Error::not_found(format!("snapshot {stamp} holds no {what}").hint(Hint::ListSnapshots));
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
    let paths: Vec<Vec<u8>> = databases.iter().map(|database| database.path.clone()).collect();
    let (list, skips) = (files.map(|files| files.list), skips.cloned());
    let listing = SnapshotListing { store, list, skips, databases: paths.clone() };
    let barriers = Barriers::new(&run.own(store), stay);
    let mut site = SitePlan::new(finder, (&options.data_dir, !options.only_below), &listing, paths, barriers);
    let mut entries = None;
    if let What::Paths(paths) = &options.what {
        let lacks = |path: &[u8]| {
            let shown = path_text::encode(path);
            Error::not_found(format!("snapshot {stamp} holds no `{shown}`").hint(Hint::ListFiles(stamp.clone())))
        };
        site.add_paths(paths, &lacks)?;
    } else {
        site.add_whole(with_files)?;
        if with_files {
            entries = files.map(|files| files.entries.saturating_sub(site.stay.len() as u64));
        }
    }
    if let (What::Whole, Some(dir)) = (&options.what, run.dirs.open(&options.data_dir)?) {
        site.note_rest(&dir)?;
    }
    let SitePlan { trees, alone, mut notes, .. } = site;
    if options.what == What::Whole && files.is_none() {
        notes.push(format!("snapshot {stamp} holds no files: those here were left alone").into());
    }
    notes.extend(moved_along(trees.iter().map(|tree| &tree.target), options.no_keep));
    let trees = trees.into_iter().map(|tree| {
        let SiteTree { target, base, selected, part, inside } = tree;
        let owner = options.owner.or_else(|| target.owner()).unwrap_or_default();
        let selection = listing.selection(base, selected, target.name.clone(), owner);
        let inside = inside.into_iter().map(|at| databases[at]).collect();
        TreePlan { inside, ..TreePlan::new(selection, target, part) }
    });
    let alone = alone.into_iter().map(|(at, target)| (databases[at], target)).collect();
    Ok(PlannedSite { trees: trees.collect(), alone, entries, notes })
}

/// Notes that what a snapshot lacks, such as caches that are not backed up, moves away with its directory.
pub(super) fn moved_along<'t>(targets: impl Iterator<Item = &'t Target>, no_keep: bool) -> Option<Message> {
    let mut moved = targets.filter(|target| target.is_dir()).map(Target::path);
    let first: PathBuf = moved.next()?;
    let more = match moved.count() {
        0 => String::new(),
        count => format!(" and {count} more"),
    };
    let what = if no_keep { "is removed with it" } else { "is in what is kept of it" };
    let text = "what is in an exchanged directory and not in the snapshot, also what backups exclude,";
    Some(format!("{}{more}: {text} {what}", first.display()).into())
}
