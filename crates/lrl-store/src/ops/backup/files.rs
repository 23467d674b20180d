//! Stores the uploads: the source is walked in list order beside the parent's list and the cache; what is not provably unchanged is read,
//! hashed and stored by several threads; the new list comes out in order.

use std::cmp::Reverse;

use rayon::prelude::*;

use super::context::Context;
use super::databases::DatabasePaths;
use super::full_scan;
use super::history::History;
use super::options::GRAIN;
use super::parent_list::{ParentList, is_unchanged};
use super::report::UploadsRead;
use super::roots::{report_unmet, roots_there};
use super::store_file::{StoredFile, store_file};
use super::trust::parent_is_unreadable;
use crate::budget::{BATCH_ENTRIES, BATCH_NAMES_BYTES};
use crate::error::Result;
use crate::format::entry::{Content, Entry, Kind};
use crate::format::snapshot;
use crate::format::xattr::{Xattrs, bytes_of};
use crate::fs::xattrs::FoundXattrs;
use crate::id::ChunkId;
use crate::ops::report_problem::report;
use crate::progress::{Observer, Problem, Problems, checkpoint};
use crate::source::database::source::{DatabaseSource, Discover};
use crate::source::files::exclude::Excludes;
use crate::source::files::hard_links::HardLinks;
use crate::source::files::read::{ReadOutcome, read_xattrs_of};
use crate::source::files::walk::{Found, FoundKind, Stat};
use crate::source::files::walk_ahead;
use crate::store::run_cache::{FileState, FileStates, RunCache, tag};
use crate::store::tree::TreeBuilder;
use crate::store::write::WriteSession;
use crate::time::time_of;

const BATCH_BYTES: u64 = 64 << 20;
/// Lists of longer paths would need nodes that are longer than chunks, or more levels than trees have. The system opens 4096 bytes at once.
const LONGEST_PATH: usize = 64 << 10;

pub(in crate::ops) struct FilesPart {
    pub record: snapshot::Files,
    pub read: UploadsRead,
}

/// What became of the files.
pub(in crate::ops) struct FilesOutcome {
    /// `None` where they are not asked for or not there.
    pub part: Option<FilesPart>,
    /// Databases among them: they are not in the list.
    pub found: Vec<DatabaseSource>,
}

/// Stores the files, or reuses of the parent what is proved to be the same. The databases are not among them, nor what SQLite keeps beside
/// them.
pub(in crate::ops) fn store(
    context: Context<'_>,
    history: &History,
    databases: &[DatabaseSource],
    problems: &mut Vec<Problem>,
) -> Result<FilesOutcome> {
    let Context { session, cache, options, observer } = context;
    let none = FilesOutcome { part: None, found: Vec::new() };
    let Some(roots) = options.uploads.as_deref() else { return Ok(none) };
    let there = roots_there(roots, problems, observer);
    if there.is_empty() {
        return Ok(none);
    }
    let parent = history.uploads.as_ref().map(|(_, part)| part.list);
    let mut writer = FilesWriter {
        session,
        observer,
        reuses: session.trust().reuses_parent(),
        cache,
        source: &options.source,
        settled_before: time_of(options.now).secs.saturating_sub_unsigned(options.settle.max(GRAIN).as_secs()),
        discover: options.discover.as_ref(),
        secrets: &options.secrets,
        databases: DatabasePaths::new(databases),
        found: Vec::new(),
        old: parent_list(session, parent),
        states: cache.map(|cache| cache.files(&options.source)),
        builder: TreeBuilder::new(session, parent),
        links: HardLinks::default(),
        batch: Vec::new(),
        batch_bytes: 0,
        batch_names: 0,
        problems: Problems::new(observer),
        counts: Counts::default(),
    };
    let walked = walk_ahead(&there, &options.excludes, &options.skip, observer, &mut |found| writer.add(found))?;
    writer.work()?;
    if !writer.found.is_empty() {
        return Ok(FilesOutcome { part: None, found: writer.found });
    }
    problems.extend(walked);
    report_unmet(options, problems, observer);
    problems.extend(writer.problems.into_report());
    if let (Some(states), Some(cache)) = (writer.states.take(), cache) {
        let _ = states.finish(cache);
    }
    let Counts { entries, files, bytes, read } = writer.counts;
    let had = history.uploads.as_ref().map_or(0, |(_, part)| part.files);
    if files == 0 && had > 0 {
        let reason = format!("holds no file, though the snapshot before had {had}: is its disk mounted?");
        report(problems, observer, &there[0].path, reason, false);
    }
    let list = writer.builder.finish()?;
    let roots = there.iter().map(|root| (root.name.clone(), root.path.display().to_string())).collect();
    let record = snapshot::Files { roots, list, entries, files, bytes, archive: None };
    Ok(FilesOutcome { part: Some(FilesPart { record, read }), found: Vec::new() })
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
    discover: Option<&'a Discover>,
    secrets: &'a Excludes,
    databases: DatabasePaths<'a>,
    /// Databases that nobody knew of.
    found: Vec<DatabaseSource>,
    old: ParentList<'a>,
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
    /// A hard link to a file whose first name is in the same batch or was stored.
    Link,
}

impl<'a> FilesWriter<'a> {
    fn add(&mut self, mut found: Found) -> Result<()> {
        found.stat = self.kept_secret(&found, found.stat);
        if self.databases.hold(&found) {
            return Ok(());
        }
        if found.path.len() > LONGEST_PATH {
            let path: String = found.source.to_string_lossy().chars().take(200).chain(['…']).collect();
            let reason = format!("lies so deep that its path has {} bytes; it is not stored", found.path.len());
            self.problems.push(Problem { path, reason: reason.into(), lost: true });
            return Ok(());
        }
        let plan = self.plan(&found)?;
        if matches!(plan, Plan::Read(..)) {
            self.batch_bytes += found.stat.size;
        }
        if let Plan::Ready(entry) = &plan {
            self.batch_names += bytes_of(&entry.xattrs);
        }
        self.batch_names += found.held_bytes();
        self.batch.push((found, plan));
        let full = self.batch.len() >= BATCH_ENTRIES
            || self.batch_bytes >= BATCH_BYTES
            || self.batch_names >= BATCH_NAMES_BYTES;
        if full { self.work() } else { Ok(()) }
    }

    /// Returns the metadata to store: of a secret its owner's rights alone.
    fn kept_secret(&self, found: &Found, stat: Stat) -> Stat {
        let is_secret = found.kind == FoundKind::File && self.secrets.matches(&found.path, false);
        if is_secret { Stat { mode: stat.mode & 0o700, ..stat } } else { stat }
    }

    fn plan(&mut self, found: &Found) -> Result<Plan> {
        match &found.kind {
            FoundKind::Dir => return Ok(Plan::Ready(entry(found, &found.stat, Kind::Dir, found.xattrs.clone()))),
            FoundKind::Symlink { target } => {
                let kind = Kind::Symlink { target: target.clone() };
                return Ok(Plan::Ready(entry(found, &found.stat, kind, Xattrs::new())));
            }
            FoundKind::File => {}
        }
        // Both streams advance for every file, so that they stay beside the walk.
        let old = self.old_entry(&found.path);
        let state = self.state(&found.path);
        if found.stat.nlink > 1 {
            if self.links.get(found.stat.id())?.is_some() {
                return Ok(Plan::Link);
            }
            self.links.put(found.stat.id(), &found.path)?;
        }
        let proved = old.zip(state).filter(|(old, state)| is_unchanged(found, old, state)).map(|(old, _)| old);
        match (proved, self.reuses) {
            (Some(old), true) => {
                self.counts.read.files_proved += 1;
                self.counts.read.bytes_proved += found.stat.size;
                // A change of attributes is a change of ctime: they are those of the entry.
                Ok(Plan::Ready(entry(found, &found.stat, old.kind, old.xattrs)))
            }
            (Some(Entry { kind: Kind::File { content, .. }, .. }), false) => Ok(Plan::Read(state, Some(content))),
            _ => Ok(Plan::Read(state, None)),
        }
    }

    fn old_entry(&mut self, path: &[u8]) -> Option<Entry> {
        self.old.find(path, &mut |_| {}).unwrap_or_else(|error| {
            parent_is_unreadable(self.session, &error);
            None
        })
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
        let discover = self.discover;
        let is_candidate = |found: &Found| discover.is_some_and(|it| !it.plain.matches(&found.path, false));
        let store = |at: &usize| {
            let found = &batch[*at].0;
            (*at, store_file(session, found, is_candidate(found), observer))
        };
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
                            let kind = Kind::Hardlink { target };
                            self.push(entry(&found, &found.stat, kind, Xattrs::new()), found.stat.size)?;
                        }
                        // The first name could not be read: try this one.
                        None => {
                            let kept = store_file(session, &found, is_candidate(&found), observer)?;
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
        if kept.is_database {
            self.found.push(DatabaseSource { path: found.path.clone(), file: found.source.clone() });
            return Ok(());
        }
        if let Some(problem) = kept.outcome.problem(found) {
            self.problems.push(problem);
        }
        let (stat, steady) = match kept.outcome {
            ReadOutcome::Whole(stat) => (self.kept_secret(found, stat), true),
            ReadOutcome::Changing(stat) => (self.kept_secret(found, stat), false),
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
        let FoundXattrs { xattrs, lost } = kept.xattrs.unwrap_or_else(|| read_xattrs_of(found));
        // What is not stored is said each time, so the file is read each time.
        let is_whole = steady && lost.is_none();
        if let Some(reason) = lost {
            self.problems.push(Problem {
                path: found.source.to_string_lossy().into_owned(),
                reason: reason.into(),
                lost: true,
            });
        }
        let entry = entry(found, &stat, Kind::File { size: stat.size, content: kept.content }, xattrs);
        if let Some(cache) = self.cache.filter(|_| is_whole && is_settled(&stat, self.settled_before)) {
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

/// Opens the parent's list; one that cannot be read is no parent.
fn parent_list<'s>(session: &WriteSession<'s>, root: Option<ChunkId>) -> ParentList<'s> {
    ParentList::open(root.map(|root| (session.store(), root))).unwrap_or_else(|error| {
        parent_is_unreadable(session, &error);
        ParentList::none()
    })
}

fn is_settled(stat: &Stat, before: i64) -> bool {
    stat.mtime.secs < before && stat.ctime.secs < before
}

fn entry(found: &Found, stat: &Stat, kind: Kind, xattrs: Xattrs) -> Entry {
    let Stat { mode, uid, gid, mtime, .. } = *stat;
    Entry { path: found.path.clone(), kind, mode, uid, gid, mtime, xattrs }
}
