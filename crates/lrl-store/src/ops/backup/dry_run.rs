//! What a backup would store, told without writing anything: no directory, no store, no cache, and temporary files only in the scratch
//! directory that the caller names.

use std::collections::HashSet;
use std::iter::Peekable;
use std::path::Path;

use super::history::History;
use super::options::Options;
use super::roots::roots_there;
use crate::error::{Error, Result};
use crate::format::config::Chunking;
use crate::format::entry::{Content, Entry, Kind, Piece, compare_paths};
use crate::format::snapshot::DATABASE_NOT_FOUND;
use crate::id::ChunkId;
use crate::ops::problem::report;
use crate::ops::sets::report::Sets;
use crate::ops::sets::{Newest, RemovePolicy};
use crate::progress::{Observer, Phase, Problem};
use crate::set::retention::Parts;
use crate::source::database;
use crate::source::database::{ImageSink, ReadOptions};
use crate::source::files::read::{Part, ReadOutcome, read_file};
use crate::source::files::walk::{Found, FoundKind, walk};
use crate::store::Store;
use crate::store::tree::TreeItems;

/// What a backup would do.
#[derive(Debug)]
pub struct Plan {
    /// The database, if it is there and asked for.
    pub database: Option<DatabasePlan>,
    /// The uploads, if they are there and asked for.
    pub uploads: Option<UploadsPlan>,
    /// The backup directory's sets as they are, and those that would be removed.
    pub sets: Option<Sets>,
    /// What would be missing from the snapshot, and notes.
    pub problems: Vec<Problem>,
}

/// The database half.
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

/// So many files with so many bytes.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, serde::Serialize)]
pub struct Amount {
    /// Files; further names of a file count.
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

/// The uploads half.
#[derive(Debug, Default, Clone, PartialEq, Eq, serde::Serialize)]
pub struct UploadsPlan {
    /// The paths as the user gave them.
    pub paths: Vec<String>,
    /// True if contents were read and compared; false if size and time told.
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

/// Says what [`super::backup`] would store; `store` is `None` where there is none yet.
pub fn plan(store: Option<&Store>, options: &Options, observer: &dyn Observer) -> Result<Plan> {
    let history = store.map(|store| History::read(store, &options.source)).transpose()?;
    let mut problems = Vec::new();
    observer.phase(Phase::Database, None);
    let database = database(store, history.as_ref(), options, &mut problems, observer)?;
    observer.phase(Phase::Uploads, None);
    let uploads = uploads(store, history.as_ref(), options, &mut problems, observer)?;
    if database.is_none() && uploads.is_none() {
        return Err(options.nothing_there());
    }
    let halves = Parts { database: database.is_some(), uploads: uploads.is_some() };
    let there = options.out.as_deref().filter(|out| out.is_dir());
    let sets = store.zip(there).map(|(store, out)| {
        let lost = store.find_missing()?.lost;
        RemovePolicy::new(store, &options.source, out, options.keep_sets, None, &lost, observer)
            .plan(&Newest::Supposed(halves))
    });
    let sets = sets.transpose()?;
    Ok(Plan { database, uploads, sets, problems })
}

fn database(
    store: Option<&Store>,
    history: Option<&History>,
    options: &Options,
    problems: &mut Vec<Problem>,
    observer: &dyn Observer,
) -> Result<Option<DatabasePlan>> {
    let Some(path) = options.database.as_deref() else { return Ok(None) };
    if !path.try_exists().map_err(Error::io("look at", path))? {
        report(problems, observer, path, DATABASE_NOT_FOUND, true);
        return Ok(None);
    }
    let parent = history.and_then(|history| history.database.as_ref()).map(|(_, half)| half.root);
    let chunking = store.map_or_else(Chunking::default, |store| store.config().chunking);
    let mut compared = Compared {
        observer,
        old: store.zip(parent),
        items: None,
        extent: Vec::new(),
        extent_bytes: chunking.extent_bytes as usize,
        changed_bytes: 0,
    };
    compared.restart()?;
    super::database::expect_index(path)?;
    let read = ReadOptions { busy: options.busy, scratch: &options.scratch };
    let image = database::read_image(path, &read, &mut compared, observer)?;
    compared.close_extent();
    if let Some(error) = &image.schema_error {
        let reason = format!("its schema cannot be read ({error}); the copy would be kept, unverified");
        report(problems, observer, path, &reason, true);
    }
    Ok(Some(DatabasePlan {
        path: path.display().to_string(),
        size_bytes: image.size_bytes,
        changed_bytes: compared.changed_bytes,
        locked_ms: image.locked.as_millis() as u64,
    }))
}

/// An image beside the extents of an older one. It is hashed while the application waits: nothing is kept that could be hashed later.
struct Compared<'a> {
    observer: &'a dyn Observer,
    old: Option<(&'a Store, ChunkId)>,
    items: Option<TreeItems<'a, Piece>>,
    extent: Vec<u8>,
    extent_bytes: usize,
    changed_bytes: u64,
}

impl Compared<'_> {
    fn close_extent(&mut self) {
        if self.extent.is_empty() {
            return;
        }
        let old = self.items.as_mut().and_then(Iterator::next);
        let same = matches!(old, Some(Ok(Piece::Data { id, .. })) if self.old.is_some_and(|(store, _)| store.ids().chunk(&self.extent) == id));
        if !same {
            self.changed_bytes += self.extent.len() as u64;
        }
        self.extent.clear();
    }
}

impl ImageSink for Compared<'_> {
    fn bytes(&mut self, mut piece: &[u8]) -> Result<()> {
        self.observer.advance(piece.len() as u64, 0);
        while !piece.is_empty() {
            let (now, rest) = piece.split_at(piece.len().min(self.extent_bytes - self.extent.len()));
            self.extent.extend_from_slice(now);
            piece = rest;
            if self.extent.len() == self.extent_bytes {
                self.close_extent();
            }
        }
        Ok(())
    }

    fn restart(&mut self) -> Result<()> {
        // A parent that cannot be read is no parent, here as in a backup.
        self.items = self.old.and_then(|(store, root)| TreeItems::new(store, &root).ok());
        self.extent.clear();
        self.changed_bytes = 0;
        Ok(())
    }
}

fn uploads(
    store: Option<&Store>,
    history: Option<&History>,
    options: &Options,
    problems: &mut Vec<Problem>,
    observer: &dyn Observer,
) -> Result<Option<UploadsPlan>> {
    let Some(roots) = options.uploads.as_deref() else { return Ok(None) };
    let there = roots_there(roots, problems, observer);
    if there.is_empty() {
        return Ok(None);
    }
    let list = history.and_then(|history| history.uploads.as_ref()).map(|(_, half)| half.list);
    let paths = there.iter().map(|root| shown(&root.path)).collect();
    let mut beside = ParentWalk {
        store,
        old: store.zip(list).and_then(|(store, list)| TreeItems::new(store, &list).ok()).map(Iterator::peekable),
        links: HashSet::new(),
        observer,
        scratch: Vec::new(),
        problems: Vec::new(),
        plan: UploadsPlan { paths, exact: options.rescan, ..UploadsPlan::default() },
    };
    let walked = walk(&there, &options.excludes, &options.skip, observer, &mut |found| beside.found(&found))?;
    while let Some(entry) = beside.next_old(None) {
        beside.gone(&entry);
    }
    problems.extend(walked);
    problems.append(&mut beside.problems);
    Ok(Some(beside.plan))
}

fn shown(path: &Path) -> String {
    path.display().to_string()
}

/// The walk beside the newest snapshot's list.
struct ParentWalk<'a> {
    store: Option<&'a Store>,
    old: Option<Peekable<TreeItems<'a, Entry>>>,
    links: HashSet<(u64, u64)>,
    observer: &'a dyn Observer,
    scratch: Vec<u8>,
    problems: Vec<Problem>,
    plan: UploadsPlan,
}

impl ParentWalk<'_> {
    /// Takes the next entry of the list, if it stands before `path` (or at all).
    fn next_old(&mut self, path: Option<&[u8]>) -> Option<Entry> {
        let next = self.old.as_mut()?.next_if(|next| match (next, path) {
            (Ok(entry), Some(path)) => compare_paths(&entry.path, path).is_lt(),
            _ => true,
        })?;
        if next.is_err() {
            self.old = None;
        }
        next.ok()
    }

    fn gone(&mut self, entry: &Entry) {
        if matches!(entry.kind, Kind::File { .. } | Kind::Hardlink { .. }) {
            self.plan.removed.add(entry.size());
        }
    }

    fn found(&mut self, found: &Found) -> Result<()> {
        while let Some(entry) = self.next_old(Some(&found.path)) {
            self.gone(&entry);
        }
        let same_path = |next: &Result<Entry>| next.as_ref().is_ok_and(|entry| entry.path == found.path);
        let old = self.old.as_mut().and_then(|old| old.next_if(same_path)).transpose()?;
        if found.kind != FoundKind::File {
            return Ok(());
        }
        self.observer.advance(if self.plan.exact { 0 } else { found.stat.size }, 1);
        // A further name of a file costs its name.
        let further = found.stat.nlink > 1 && !self.links.insert(found.stat.id());
        let bytes = if further { 0 } else { found.stat.size };
        let plan = match old.as_ref().map(|old| &old.kind) {
            Some(Kind::File { .. } | Kind::Hardlink { .. }) if further => &mut self.plan.unchanged,
            Some(Kind::File { size, content }) => {
                let same = match self.plan.exact {
                    true => self.holds(found, content)?,
                    false => *size == found.stat.size && old.as_ref().is_some_and(|old| old.mtime == found.stat.mtime),
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
