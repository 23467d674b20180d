//! The dry run of a backup: what it would store. Writes nothing but temporary files in the scratch directory that the caller names.

use std::collections::HashSet;
use std::path::Path;

use super::databases::DatabasePaths;
use super::extents::{ExtentCutter, ParentExtents};
use super::history::History;
use super::options::Options;
use super::parent_list::{ParentList, looks_unchanged};
use super::roots::{report_unmet, roots_there};
use crate::error::{Error, Result};
use crate::format::config::Chunking;
use crate::format::entry::{Content, Entry, Kind, Piece};
use crate::format::snapshot::DATABASE_NOT_FOUND;
use crate::id::ChunkId;
use crate::ops::report_problem::report;
use crate::ops::sets::report::Sets;
use crate::ops::sets::{Newest, RemovePolicy};
use crate::progress::{Observer, Phase, Problem};
use crate::set::retention::Parts;
use crate::source::database;
use crate::source::database::source::DatabaseSource;
use crate::source::database::{ImageSink, ReadOptions};
use crate::source::files::read::{Part, ReadOutcome, read_file};
use crate::source::files::walk::{Found, FoundKind, walk};
use crate::store::Store;
use crate::store::tree::TreeItems;

/// What a backup would do.
#[derive(Debug)]
pub struct Plan {
    /// The databases that are there and asked for.
    pub databases: Vec<DatabasePlan>,
    /// The uploads, if they are there and asked for.
    pub uploads: Option<UploadsPlan>,
    /// The backup directory's sets as they are, and those that would be removed.
    pub sets: Option<Sets>,
    /// What would be missing from the snapshot, and notes.
    pub problems: Vec<Problem>,
}

/// The database.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct DatabasePlan {
    /// The path as the user gave it.
    pub path: String,
    /// Bytes of the image.
    pub size_bytes: u64,
    /// Bytes of extents that are not what the newest snapshot has in their place; before compression and deltas.
    pub changed_bytes: u64,
    /// For how long the application could not write, in milliseconds.
    pub locked_ms: u64,
}

/// A number of files and their bytes.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, serde::Serialize)]
pub struct Amount {
    /// Files; hard links count.
    pub files: u64,
    /// Bytes.
    pub bytes: u64,
}

impl Amount {
    fn add(&mut self, bytes: u64) {
        self.files += 1;
        self.bytes += bytes;
    }
}

/// The uploads.
#[derive(Debug, Default, Clone, PartialEq, Eq, serde::Serialize)]
pub struct UploadsPlan {
    /// The paths as the user gave them.
    pub paths: Vec<String>,
    /// True if contents were read and compared; false if only size and time were.
    pub exact: bool,
    /// Files that the newest snapshot does not hold; before compression, and whether or not their contents are known.
    pub new: Amount,
    /// Files with other contents.
    pub changed: Amount,
    /// Files that are as they were.
    pub unchanged: Amount,
    /// Files that are gone.
    pub removed: Amount,
}

/// Returns what [`super::backup`] would store; `store` is `None` where there is none yet.
///
/// # Errors
///
/// [`Error::Source`](crate::error::Error::Source) if nothing to back up is there, [`Error::Interrupted`](crate::error::Error::Interrupted).
pub fn plan(store: Option<&Store>, options: &Options, observer: &dyn Observer) -> Result<Plan> {
    let history = store
        .map(|store| History::read(store, &options.source, store.newest_snapshot_names(&options.source)?))
        .transpose()?;
    let mut problems = Vec::new();
    let nothing = History::none();
    let sources = super::databases::sources(history.as_ref().unwrap_or(&nothing), options, &mut problems, observer)?;
    let sizes = sources.iter().map(|source| source.file.metadata().ok().map(|meta| meta.len()));
    observer.phase(Phase::Database, sizes.sum());
    let mut databases = Vec::new();
    for source in sources.iter().filter(|_| options.asks_databases()) {
        databases.extend(database(store, history.as_ref(), source, options, &mut problems, observer)?);
    }
    let before = history.as_ref().and_then(|history| history.uploads.as_ref());
    observer.phase(Phase::Uploads, before.map(|(_, files)| files.bytes));
    let uploads = uploads(store, history.as_ref(), &sources, options, &mut problems, observer)?;
    if databases.is_empty() && uploads.is_none() {
        return Err(options.nothing_there());
    }
    let parts = Parts { database: !databases.is_empty(), uploads: uploads.is_some() };
    let there = options.out.as_deref().filter(|out| out.is_dir());
    let sets = store.zip(there).map(|(store, out)| {
        let lost = store.find_missing(None, false)?.lost;
        RemovePolicy::new(store, &options.source, out, options.keep_sets, None, &lost, observer)
            .plan(&Newest::Supposed(parts))
    });
    let sets = sets.transpose()?;
    Ok(Plan { databases, uploads, sets, problems })
}

fn database(
    store: Option<&Store>,
    history: Option<&History>,
    source: &DatabaseSource,
    options: &Options,
    problems: &mut Vec<Problem>,
    observer: &dyn Observer,
) -> Result<Option<DatabasePlan>> {
    let path = source.file.as_path();
    if !path.try_exists().map_err(Error::io("look at", path))? {
        report(problems, observer, path, DATABASE_NOT_FOUND, true);
        return Ok(None);
    }
    let parent = history.and_then(|history| history.database(&source.path)).map(|part| part.root);
    let chunking = store.map_or_else(Chunking::default, |store| store.config().chunking);
    let mut compared = Compared::new(store.zip(parent), chunking.extent_bytes, observer);
    super::store_database::expect_index(path)?;
    let read = ReadOptions { busy: options.busy, scratch: &options.scratch };
    let image = database::read_image(path, &read, &mut compared, observer)?;
    if let Some(error) = &image.schema_error {
        let reason = format!("its schema cannot be read ({error}); the copy would be kept, unverified");
        report(problems, observer, path, reason, true);
    }
    Ok(Some(DatabasePlan {
        path: path.display().to_string(),
        size_bytes: image.size_bytes,
        changed_bytes: compared.finish()?,
        locked_ms: image.held.locked.as_millis() as u64,
    }))
}

/// An image beside the extents of an older one.
struct Compared<'a> {
    observer: &'a dyn Observer,
    parent: Option<(&'a Store, ChunkId)>,
    extent_bytes: u32,
    cutter: ExtentCutter,
    old: ParentExtents<'a>,
    changed_bytes: u64,
}

impl<'a> Compared<'a> {
    fn new(parent: Option<(&'a Store, ChunkId)>, extent_bytes: u32, observer: &'a dyn Observer) -> Self {
        let (cutter, old) = (ExtentCutter::new(extent_bytes), ParentExtents::new(parent));
        Self { observer, parent, extent_bytes, cutter, old, changed_bytes: 0 }
    }

    fn finish(mut self) -> Result<u64> {
        let Self { cutter, old, changed_bytes, .. } = &mut self;
        cutter.finish(&mut |extent| count(extent, old, changed_bytes))?;
        Ok(self.changed_bytes)
    }
}

fn count(extent: &[u8], old: &mut ParentExtents<'_>, changed_bytes: &mut u64) -> Result<()> {
    *changed_bytes += if old.has_next(extent) { 0 } else { extent.len() as u64 };
    Ok(())
}

impl ImageSink for Compared<'_> {
    fn bytes(&mut self, piece: &[u8]) -> Result<()> {
        self.observer.advance(piece.len() as u64, 0);
        let Self { cutter, old, changed_bytes, .. } = self;
        cutter.add(piece, &mut |extent| count(extent, old, changed_bytes))
    }

    fn restart(&mut self) -> Result<()> {
        *self = Self::new(self.parent, self.extent_bytes, self.observer);
        Ok(())
    }
}

fn uploads(
    store: Option<&Store>,
    history: Option<&History>,
    databases: &[DatabaseSource],
    options: &Options,
    problems: &mut Vec<Problem>,
    observer: &dyn Observer,
) -> Result<Option<UploadsPlan>> {
    let Some(roots) = options.uploads.as_deref() else { return Ok(None) };
    let there = roots_there(roots, problems, observer);
    if there.is_empty() {
        return Ok(None);
    }
    let list = history.and_then(|history| history.uploads.as_ref()).map(|(_, part)| part.list);
    let known = DatabasePaths::new(databases);
    let paths = there.iter().map(|root| shown(&root.path)).collect();
    let mut beside = ParentWalk {
        store,
        // A parent that cannot be read is no parent, here as in a backup.
        old: ParentList::open(store.zip(list)).unwrap_or_else(|_| ParentList::none()),
        links: HashSet::new(),
        observer,
        scratch: Vec::new(),
        problems: Vec::new(),
        plan: UploadsPlan { paths, exact: options.rescan, ..UploadsPlan::default() },
    };
    let walked = walk(&there, &options.excludes, &options.skip, observer, &mut |found| beside.found(&found, &known))?;
    let ParentWalk { old, mut plan, problems: mut found, .. } = beside;
    // What could be read of the list counts.
    let _ = old.finish(&mut |entry| gone(&mut plan, &entry));
    problems.extend(walked);
    report_unmet(options, problems, observer);
    problems.append(&mut found);
    Ok(Some(plan))
}

fn shown(path: &Path) -> String {
    path.display().to_string()
}

/// Counts a file that is in the newest snapshot and no more in the source.
fn gone(plan: &mut UploadsPlan, entry: &Entry) {
    if matches!(entry.kind, Kind::File { .. } | Kind::Hardlink { .. }) {
        plan.removed.add(entry.size());
    }
}

/// The walk beside the newest snapshot's list.
struct ParentWalk<'a> {
    store: Option<&'a Store>,
    old: ParentList<'a>,
    links: HashSet<(u64, u64)>,
    observer: &'a dyn Observer,
    scratch: Vec<u8>,
    problems: Vec<Problem>,
    plan: UploadsPlan,
}

impl ParentWalk<'_> {
    fn found(&mut self, found: &Found, databases: &DatabasePaths<'_>) -> Result<()> {
        if databases.hold(found) {
            return Ok(());
        }
        let Self { old, plan, .. } = self;
        let old = old.find(&found.path, &mut |entry| gone(plan, &entry)).unwrap_or_default();
        if found.kind != FoundKind::File {
            return Ok(());
        }
        self.observer.advance(if self.plan.exact { 0 } else { found.stat.size }, 1);
        // A hard link costs its name.
        let further = found.stat.nlink > 1 && !self.links.insert(found.stat.id());
        let bytes = if further { 0 } else { found.stat.size };
        let plan = match old.as_ref().map(|old| &old.kind) {
            Some(Kind::File { .. } | Kind::Hardlink { .. }) if further => &mut self.plan.unchanged,
            Some(Kind::File { content, .. }) => {
                let same = match self.plan.exact {
                    true => self.holds(found, content)?,
                    false => old.as_ref().is_some_and(|old| looks_unchanged(found, old)),
                };
                if same { &mut self.plan.unchanged } else { &mut self.plan.changed }
            }
            _ => &mut self.plan.new,
        };
        plan.add(bytes);
        Ok(())
    }

    /// Reads a file and compares it with what is stored.
    fn holds(&mut self, found: &Found, content: &Content) -> Result<bool> {
        let Some(store) = self.store else { return Ok(false) };
        let start = || -> Result<Box<dyn Iterator<Item = Result<Piece>> + '_>> {
            Ok(match content {
                Content::Inline(pieces) => Box::new(pieces.iter().map(|piece| Ok(*piece))),
                Content::Tree(root) => Box::new(TreeItems::<Piece>::new(store, root)?),
            })
        };
        let mut old = start()?;
        let mut same = true;
        let outcome = read_file(found, store.gear(), &mut self.scratch, &mut |part| {
            crate::progress::checkpoint(self.observer)?;
            let piece = match part {
                Part::Again => {
                    (old, same) = (start()?, true);
                    return Ok(());
                }
                Part::Xattrs(_) => return Ok(()),
                Part::Hole(len) => Piece::Hole { len },
                Part::Data(bytes) => {
                    self.observer.advance(bytes.len() as u64, 0);
                    Piece::Data { id: store.ids().chunk(bytes), len: bytes.len() as u64 }
                }
            };
            same = same && old.next().transpose()? == Some(piece);
            Ok(())
        })?;
        if let Some(problem) = outcome.problem(found) {
            self.observer.problem(&problem);
            self.problems.push(problem);
        }
        Ok(same && matches!(outcome, ReadOutcome::Whole(_)) && old.next().is_none())
    }
}
