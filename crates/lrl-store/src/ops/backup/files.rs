//! The uploads half of a backup: walked in list order beside the parent's list and the cache; what is not provably unchanged is read,
//! hashed and stored by several threads; the new list comes out in order.

use std::cell::Cell;
use std::cmp::Reverse;
use std::iter::Peekable;

use rayon::prelude::*;

use super::context::Context;
use super::full_scan;
use super::history::History;
use super::options::GRAIN;
use super::report::UploadsRead;
use super::roots::roots_there;
use super::trust::parent_is_unreadable;
use crate::error::Result;
use crate::format::entry::{Content, Entry, INLINE_PIECES, Kind, Piece, compare_paths};
use crate::format::snapshot;
use crate::id::ChunkId;
use crate::ops::problem::report;
use crate::progress::{Observer, Problem, Problems, checkpoint};
use crate::source::files::hard_links::HardLinks;
use crate::source::files::read::{Part, ReadOutcome, read_file};
use crate::source::files::walk::{Found, FoundKind, Stat};
use crate::source::files::walk_ahead;
use crate::store::run_cache::{FileState, FileStates, RunCache, tag};
use crate::store::tree::{TreeBuilder, TreeItems};
use crate::store::write::WriteSession;
use crate::time::Time;
use crate::time::time_of;

/// So many found entries, so many bytes to read, or so many bytes of names are worked on at once.
const BATCH_ENTRIES: usize = 512;
const BATCH_BYTES: u64 = 64 << 20;
const BATCH_NAMES: usize = 4 << 20;
/// The chunks of longer files are stored by several threads, so many bytes at a time. Few files of a batch are that long, so what waits is little.
const SHARED_FROM: u64 = 16 << 20;
const SHARED_BYTES: usize = 4 << 20;
/// Lists of longer paths would need nodes that are longer than chunks, or more levels than trees have. The system opens 4096 bytes at once.
const LONGEST_PATH: usize = 64 << 10;

pub(in crate::ops) struct FilesPart {
    pub record: snapshot::Uploads,
    pub read: UploadsRead,
}

/// Stores the uploads, or reuses of the parent what is proved to be the same; `None` where they are not asked for or not there.
pub(in crate::ops) fn store(
    context: Context<'_>,
    history: &History,
    problems: &mut Vec<Problem>,
) -> Result<Option<FilesPart>> {
    let Context { session, cache, options, observer } = context;
    let Some(roots) = options.uploads.as_deref() else { return Ok(None) };
    let there = roots_there(roots, problems, observer);
    if there.is_empty() {
        return Ok(None);
    }
    let parent = history.uploads.as_ref().map(|(_, half)| half.list);
    let mut keeper = FilesWriter {
        session,
        observer,
        reuses: session.trust().reuses_parent(),
        cache,
        source: &options.source,
        settled_before: time_of(options.now).secs.saturating_sub_unsigned(options.settle.max(GRAIN).as_secs()),
        old: parent.and_then(|root| readable(session, &root)).map(Iterator::peekable),
        states: cache.map(|cache| cache.files(&options.source)),
        builder: TreeBuilder::new(session, parent),
        links: HardLinks::default(),
        batch: Vec::new(),
        batch_bytes: 0,
        batch_names: 0,
        problems: Problems::new(observer),
        counts: Counts::default(),
    };
    let walked = walk_ahead(&there, &options.excludes, &options.skip, observer, &mut |found| keeper.add(found))?;
    keeper.work()?;
    problems.extend(walked);
    problems.extend(keeper.problems.into_report());
    if let (Some(states), Some(cache)) = (keeper.states.take(), cache) {
        let _ = states.finish(cache);
    }
    let Counts { entries, files, bytes, read } = keeper.counts;
    let had = history.uploads.as_ref().map_or(0, |(_, half)| half.files);
    if files == 0 && had > 0 {
        let reason = format!("holds no file, though the snapshot before had {had}: is its disk mounted?");
        report(problems, observer, &there[0].path, &reason, false);
    }
    let list = keeper.builder.finish()?;
    let roots = there.iter().map(|root| (root.name.clone(), root.path.display().to_string())).collect();
    Ok(Some(FilesPart { record: snapshot::Uploads { roots, list, entries, files, bytes, archive: None }, read }))
}

#[derive(Default)]
struct Counts {
    entries: u64,
    files: u64,
    bytes: u64,
    read: UploadsRead,
}

struct FilesWriter<'a> {
    session: &'a WriteSession<'a>,
    observer: &'a dyn Observer,
    /// Whether what is proved to be unchanged is reused unread.
    reuses: bool,
    cache: Option<&'a RunCache>,
    source: &'a str,
    settled_before: i64,
    old: Option<Peekable<TreeItems<'a, Entry>>>,
    states: Option<FileStates>,
    builder: TreeBuilder<'a, Entry>,
    /// Names under which files with several names were stored, by device and inode.
    links: HardLinks,
    batch: Vec<(Found, Plan)>,
    batch_bytes: u64,
    batch_names: usize,
    problems: Problems<'a>,
    counts: Counts,
}

/// What to do with something that the walk found.
enum Plan {
    /// Its entry is known without reading.
    Ready(Entry),
    /// It must be read; its state as far as the cache knew it, and the contents that it should have by that.
    Read(Option<FileState>, Option<Content>),
    /// A further name of a file whose first name is in the same batch or was stored.
    Link,
}

impl<'a> FilesWriter<'a> {
    fn add(&mut self, found: Found) -> Result<()> {
        if found.path.len() > LONGEST_PATH {
            let path: String = found.source.to_string_lossy().chars().take(200).chain(['…']).collect();
            let reason = format!("lies so deep that its path has {} bytes; it is not stored", found.path.len());
            self.problems.push(Problem { path, reason, lost: true });
            return Ok(());
        }
        let plan = self.plan(&found)?;
        if matches!(plan, Plan::Read(..)) {
            self.batch_bytes += found.stat.size;
        }
        self.batch_names += found.path.len() + found.source.as_os_str().len();
        self.batch.push((found, plan));
        let full =
            self.batch.len() >= BATCH_ENTRIES || self.batch_bytes >= BATCH_BYTES || self.batch_names >= BATCH_NAMES;
        if full { self.work() } else { Ok(()) }
    }

    fn plan(&mut self, found: &Found) -> Result<Plan> {
        match &found.kind {
            FoundKind::Dir => return Ok(Plan::Ready(entry(found, &found.stat, Kind::Dir))),
            FoundKind::Symlink { target } => {
                return Ok(Plan::Ready(entry(found, &found.stat, Kind::Symlink { target: target.clone() })));
            }
            FoundKind::File => {}
        }
        // Both streams advance for every file, so that they stay beside the walk.
        let old = self.old_entry(&found.path)?;
        let state = self.state(&found.path);
        if found.stat.nlink > 1 {
            if self.links.get(found.stat.id())?.is_some() {
                return Ok(Plan::Link);
            }
            self.links.put(found.stat.id(), &found.path)?;
        }
        let proved = old.zip(state).filter(|(old, state)| is_unchanged(found, old, state)).map(|(old, _)| old.kind);
        match (proved, self.reuses) {
            (Some(kind), true) => {
                self.counts.read.files_proved += 1;
                self.counts.read.bytes_proved += found.stat.size;
                Ok(Plan::Ready(entry(found, &found.stat, kind)))
            }
            (Some(Kind::File { content, .. }), false) => Ok(Plan::Read(state, Some(content))),
            _ => Ok(Plan::Read(state, None)),
        }
    }

    fn old_entry(&mut self, path: &[u8]) -> Result<Option<Entry>> {
        let Some(old) = &mut self.old else { return Ok(None) };
        loop {
            match old.peek() {
                Some(Ok(entry)) if compare_paths(&entry.path, path).is_lt() => {
                    old.next();
                }
                Some(Ok(entry)) if entry.path == path => return old.next().transpose(),
                // A parent that cannot be read is no parent: everything is read again.
                Some(Err(error)) => {
                    parent_is_unreadable(self.session, error);
                    self.old = None;
                    return Ok(None);
                }
                _ => return Ok(None),
            }
        }
    }

    fn state(&mut self, path: &[u8]) -> Option<FileState> {
        let found = self.states.as_mut()?.find(self.cache?, path);
        found.unwrap_or_else(|_| {
            self.states = None;
            None
        })
    }

    /// Reads what must be read, in parallel, and adds the batch's entries to the list, in order.
    fn work(&mut self) -> Result<()> {
        checkpoint(self.observer)?;
        let batch = std::mem::take(&mut self.batch);
        (self.batch_bytes, self.batch_names) = (0, 0);
        let (session, observer) = (self.session, self.observer);
        // The longest first, so that no thread is left alone with one at the end. None at all wakes no other thread.
        let mut order: Vec<usize> = (0..batch.len()).filter(|at| matches!(batch[*at].1, Plan::Read(..))).collect();
        order.sort_by_key(|at| Reverse(batch[*at].0.stat.size));
        let store = |at: &usize| (*at, store_file(session, &batch[*at].0, observer));
        let done: Vec<(usize, Result<StoredFile>)> = order.par_iter().with_max_len(1).map(store).collect();
        let mut read: Vec<Option<Result<StoredFile>>> = batch.iter().map(|_| None).collect();
        done.into_iter().for_each(|(at, kept)| read[at] = Some(kept));
        for ((found, plan), kept) in batch.into_iter().zip(read) {
            match (plan, kept.transpose()?) {
                (Plan::Ready(entry), _) => {
                    if found.kind == FoundKind::File {
                        self.observer.advance(found.stat.size, 1);
                    }
                    self.push(entry, found.stat.size)?;
                }
                (Plan::Read(state, proved), Some(kept)) => self.push_read(&found, state, proved, kept)?,
                (Plan::Read(..), None) => {}
                (Plan::Link, _) => {
                    match self.links.get(found.stat.id())?.filter(|target| *target != found.path) {
                        Some(target) => {
                            self.push(entry(&found, &found.stat, Kind::Hardlink { target }), found.stat.size)?
                        }
                        // Its first name could not be read: this one gets its own try.
                        None => {
                            let kept = store_file(session, &found, observer)?;
                            self.links.put(found.stat.id(), &found.path)?;
                            self.push_read(&found, None, None, kept)?;
                        }
                    }
                }
            }
        }
        Ok(())
    }

    fn push_read(
        &mut self,
        found: &Found,
        known: Option<FileState>,
        proved: Option<Content>,
        kept: StoredFile,
    ) -> Result<()> {
        if let Some(problem) = kept.outcome.problem(found) {
            self.problems.push(problem);
        }
        let (stat, steady) = match kept.outcome {
            ReadOutcome::Whole(stat) => (stat, true),
            ReadOutcome::Changing(stat) => (stat, false),
            ReadOutcome::Unreadable(_) => {
                if self.links.get(found.stat.id())?.as_ref() == Some(&found.path) {
                    self.links.remove(found.stat.id())?;
                }
                return Ok(());
            }
        };
        self.counts.read.files_read += 1;
        self.counts.read.bytes_read += stat.size;
        let is_as_found =
            steady && (stat.size, stat.mtime, stat.ctime) == (found.stat.size, found.stat.mtime, found.stat.ctime);
        if let Some(proved) = proved.filter(|_| is_as_found)
            && full_scan::content_differs(self.session.store(), &proved, &kept.content, kept.has_holes)
        {
            self.counts.read.files_changed_unseen += 1;
            let path = found.source.display().to_string();
            self.problems.push(Problem { path, reason: full_scan::UNSEEN.into(), lost: false });
        }
        let entry = entry(found, &stat, Kind::File { size: stat.size, content: kept.content });
        if let Some(cache) = self.cache.filter(|_| steady && is_settled(&stat, self.settled_before)) {
            let state = FileState { ino: stat.ino, ctime: stat.ctime, tag: tag(&entry) };
            if known != Some(state) {
                let _ = cache.put_file(self.source, &found.path, &state);
            }
        }
        self.push(entry, stat.size)
    }

    fn push(&mut self, entry: Entry, size: u64) -> Result<()> {
        self.counts.entries += 1;
        if matches!(entry.kind, Kind::File { .. } | Kind::Hardlink { .. }) {
            self.counts.files += 1;
            self.counts.bytes += size;
        }
        self.builder.push(entry)
    }
}

/// Opens the parent's list. One that cannot be read means that the store is damaged: this run heals what it can.
fn readable<'s>(session: &WriteSession<'s>, root: &ChunkId) -> Option<TreeItems<'s, Entry>> {
    TreeItems::new(session.store(), root).map_err(|error| parent_is_unreadable(session, &error)).ok()
}

fn is_settled(stat: &Stat, before: i64) -> bool {
    stat.mtime.secs < before && stat.ctime.secs < before
}

/// Size, inode, mtime and ctime are what they were when this very entry was made, and were settled then: the bytes are the same.
fn is_unchanged(found: &Found, old: &Entry, state: &FileState) -> bool {
    let stat = &found.stat;
    matches!(old.kind, Kind::File { size, .. } if size == stat.size)
        && old.mtime == stat.mtime
        && state.ino == stat.ino
        && state.ctime == stat.ctime
        && state.tag == tag(old)
}

fn entry(found: &Found, stat: &Stat, kind: Kind) -> Entry {
    let Time { secs, nanos } = stat.mtime;
    Entry { path: found.path.clone(), kind, mode: stat.mode, uid: stat.uid, gid: stat.gid, mtime: Time { secs, nanos } }
}

struct StoredFile {
    outcome: ReadOutcome,
    content: Content,
    has_holes: bool,
}

thread_local! {
    /// Memory for the bytes of a file, kept from file to file; taken out while it is in use.
    static SCRATCH: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// Reads a file and stores its chunks; a long list of pieces becomes a tree of its own.
fn store_file(session: &WriteSession<'_>, found: &Found, observer: &dyn Observer) -> Result<StoredFile> {
    let mut pieces = Pieces::new(session, observer);
    let ahead = if found.stat.size >= SHARED_FROM { SHARED_BYTES } else { 0 };
    let mut scratch = SCRATCH.take();
    let outcome = read_file(found, session.store().gear(), &mut scratch, &mut |part| {
        checkpoint(observer)?;
        match part {
            Part::Again => pieces = Pieces::new(session, observer),
            Part::Hole(len) => {
                pieces.has_holes = true;
                pieces.store_waiting()?;
                pieces.push(Piece::Hole { len })?;
            }
            Part::Data(bytes) if ahead == 0 => pieces.push(pieces.store(bytes)?)?,
            Part::Data(bytes) => {
                pieces.bytes += bytes.len();
                pieces.waiting.push(bytes.to_vec());
                if pieces.bytes >= ahead {
                    pieces.store_waiting()?;
                }
            }
        }
        Ok(())
    });
    SCRATCH.set(scratch);
    let outcome = outcome?;
    if !matches!(outcome, ReadOutcome::Unreadable(_)) {
        pieces.store_waiting()?;
        observer.advance(0, 1);
    }
    let content = match pieces.tree {
        Some(tree) => Content::Tree(tree.finish()?),
        None => Content::Inline(pieces.list),
    };
    Ok(StoredFile { outcome, content, has_holes: pieces.has_holes })
}

/// The pieces of one file so far.
struct Pieces<'a> {
    session: &'a WriteSession<'a>,
    observer: &'a dyn Observer,
    list: Vec<Piece>,
    tree: Option<TreeBuilder<'a, Piece>>,
    has_holes: bool,
    /// Chunks of a long file that several threads will store at once.
    waiting: Vec<Vec<u8>>,
    bytes: usize,
}

impl<'a> Pieces<'a> {
    fn new(session: &'a WriteSession<'a>, observer: &'a dyn Observer) -> Self {
        Self { session, observer, list: Vec::new(), tree: None, has_holes: false, waiting: Vec::new(), bytes: 0 }
    }

    fn store(&self, bytes: &[u8]) -> Result<Piece> {
        self.observer.advance(bytes.len() as u64, 0);
        Ok(Piece::Data { id: self.session.put(bytes, &[])?, len: bytes.len() as u64 })
    }

    fn store_waiting(&mut self) -> Result<()> {
        self.bytes = 0;
        let waiting = std::mem::take(&mut self.waiting);
        let stored: Vec<Piece> = waiting.par_iter().map(|bytes| self.store(bytes)).collect::<Result<_>>()?;
        stored.into_iter().try_for_each(|piece| self.push(piece))
    }

    fn push(&mut self, piece: Piece) -> Result<()> {
        match &mut self.tree {
            Some(tree) => tree.push(piece),
            None if self.list.len() < INLINE_PIECES => {
                self.list.push(piece);
                Ok(())
            }
            None => {
                let tree = self.tree.insert(TreeBuilder::new(self.session, None));
                self.list.drain(..).chain([piece]).try_for_each(|piece| tree.push(piece))
            }
        }
    }
}
