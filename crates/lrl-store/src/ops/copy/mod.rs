//! The verb `copy`: snapshots of one store become snapshots of another, oldest first, each listed there when all that it reaches is there,
//! verified. What the other store has already is not sent; a run that is killed leaves what it had sealed, and the next one goes on there.

mod chunks;
mod history;
pub mod last_copied;
mod lists;
mod numbering;
#[cfg(test)]
mod tests;

use std::time::Duration;

use crate::error::{Error, Result};
use crate::format::snapshot::{Database, Files, Snapshot};
use crate::fs::durable;
use crate::fs::lock;
use crate::fs::lock::{Guard, LockMode};
use crate::ops::backup::{self, KnownLosses};
use crate::progress::{Observer, Phase, Problem, checkpoint};
use crate::store::write::{Trust, WriteSession};
use crate::store::{SnapshotName, Store, is_source_name};
use crate::time::Time;
use chunks::{ChunkCopier, Copying, Names, Stop};
use history::{CommonLists, Destination};
use lists::Pair;

/// Which snapshots are meant.
#[derive(Debug, Clone)]
pub enum Which {
    /// All that the destination does not have, of one source or of all.
    Missing(Option<String>),
    /// Of one source, those after the newest that the destination has had from this store: what was forgotten there stays so.
    Newer(String),
    /// These.
    Named(Vec<SnapshotName>),
}

/// What to copy and how.
#[non_exhaustive]
pub struct Options {
    /// Which snapshots.
    pub which: Which,
    /// Says what would be copied, writes nothing.
    pub dry_run: bool,
    /// How long to wait for another run on a source.
    pub lock_wait: Duration,
    /// The moment of the run.
    pub now: Time,
}

impl Options {
    /// Copies these; waits for no other run.
    #[must_use]
    pub fn new(which: Which, now: Time) -> Self {
        Self { which, dry_run: false, lock_wait: Duration::ZERO, now }
    }
}

/// A snapshot that was copied.
#[derive(Debug)]
pub struct Copied {
    /// Its name in the store that it comes from.
    pub from: SnapshotName,
    /// Its name in the destination; none in a dry run.
    pub name: Option<SnapshotName>,
    /// As the store has it that it comes from.
    pub snapshot: Snapshot,
    /// Bytes of objects that it added to the destination.
    pub added_bytes: u64,
}

/// A snapshot that was not.
#[derive(Debug)]
pub struct Failed {
    /// Its name in the store that it would come from.
    pub name: SnapshotName,
    /// Why.
    pub reason: String,
}

/// What a run did.
#[derive(Debug, Default)]
#[must_use = "what was not copied is in the report"]
#[non_exhaustive]
pub struct Report {
    /// Snapshots that were copied, each source's oldest first.
    pub copied: Vec<Copied>,
    /// How many of those that were meant were there already.
    pub known: u64,
    /// Snapshots that are damaged, or have no place in the destination's history.
    pub failed: Vec<Failed>,
    /// Bytes of objects that were added, those for failed snapshots included.
    pub added_bytes: u64,
    /// Of these, what snapshots that were there already had lost.
    pub healed_bytes: u64,
    /// Notes about the destination.
    pub problems: Vec<Problem>,
    /// Why not all that was meant was tried.
    pub stopped: Option<Error>,
}

/// Copies snapshots from one store to another. The error is of the first look at the two; whatever comes later is in the report.
///
/// # Errors
///
/// Those of the first look at the two stores; later ones are in the report.
pub fn copy(from: &Store, to: &Store, options: &Options, observer: &dyn Observer) -> Result<Report> {
    to.check_writable()?;
    // Who cannot read what is there would copy it again.
    to.check_readable()?;
    if !to.storage().capabilities().exclusive_lock {
        to.reload_pending_deletions()?;
    }
    let mut sources: Vec<(String, Vec<SnapshotName>)> = Vec::new();
    let names = match &options.which {
        Which::Missing(source) => from.snapshot_names(source.as_deref())?,
        Which::Newer(source) => from.snapshot_names(Some(source))?,
        Which::Named(names) => {
            let mut names = names.clone();
            names.sort();
            names.dedup();
            names
        }
    };
    // The name of a source becomes a directory's name in the destination.
    for name in names.into_iter().filter(|name| is_source_name(&name.source)) {
        match sources.last_mut() {
            Some((source, names)) if *source == name.source => names.push(name),
            _ => sources.push((name.source.clone(), vec![name])),
        }
    }
    if !options.dry_run {
        to.storage().reclaim()?;
    }
    observer.phase(Phase::Copy, Some(sources.iter().map(|(_, names)| names.len() as u64).sum()));
    let mut run = Run { from, to, options, observer, names: Names::default(), lost: None, report: Report::default() };
    run.report.stopped = sources.iter().try_for_each(|(source, names)| run.source(source, names)).err();
    Ok(run.report)
}

struct Run<'a> {
    from: &'a Store,
    to: &'a Store,
    options: &'a Options,
    observer: &'a dyn Observer,
    names: Names,
    lost: Option<Lost>,
    report: Report,
}

impl<'a> Run<'a> {
    fn source(&mut self, source: &str, names: &[SnapshotName]) -> Result<()> {
        let _one_run = if self.options.dry_run { None } else { self.lock(source)? };
        let newer = matches!(self.options.which, Which::Newer(_));
        let mut there = Destination::read(self.from, self.to, source, names, newer, self.observer)?;
        let had = there.had(names);
        self.report.known += had as u64;
        // Each counts when the next one begins: so time left is told from those that are done.
        let mut done = had as u64;
        for name in &names[had..] {
            checkpoint(self.observer)?;
            self.observer.advance(0, std::mem::replace(&mut done, 1));
            if let Some(known) = there.find(&name.id).cloned() {
                self.known(name, known, &mut there)?;
                continue;
            }
            let snapshot = match self.from.snapshot(name) {
                Ok(snapshot) => snapshot,
                Err(e) if e.is_damage() || matches!(e, Error::Unsupported { .. }) => {
                    self.fail(name, &e.to_string());
                    continue;
                }
                Err(e) => return Err(e),
            };
            if let Some(known) = snapshot.original.as_ref().and_then(|made| there.find(&made.snapshot)).cloned() {
                self.known(name, known, &mut there)?;
                continue;
            }
            self.snapshot(name, snapshot, &mut there)?;
        }
        self.observer.advance(0, done);
        Ok(())
    }

    /// Waits for other runs on a source. Where the destination has no locks, for those of this machine: else each backup would begin anew to
    /// send what an earlier one is still sending.
    fn lock(&self, source: &str) -> Result<Option<Box<dyn Guard>>> {
        let (to, wait) = (self.to.storage(), self.options.lock_wait);
        let name = format!("lock-{source}");
        let interrupted = || self.observer.interrupted();
        match (to.lock(&name, LockMode::Exclusive, wait, &interrupted)?, to.cache_dir()) {
            (None, Some(dir)) if !to.capabilities().exclusive_lock => {
                durable::create_dir(&dir)?;
                lock::lock_file(&dir.join(name), LockMode::Exclusive, wait, &interrupted)
            }
            (lock, _) => Ok(lock),
        }
    }

    /// Passes over a snapshot that is there; where the destination has lost something, sends again what it misses.
    fn known(&mut self, name: &SnapshotName, known: SnapshotName, there: &mut Destination) -> Result<()> {
        self.report.known += 1;
        let asked = !self.options.dry_run && matches!(self.options.which, Which::Missing(_));
        if !asked || !self.losses()?.any {
            there.pass(name, known);
            return Ok(());
        }
        let snapshot = match self.from.snapshot(name) {
            Ok(snapshot) => snapshot,
            Err(e) if e.is_damage() => return Ok(()),
            Err(e) => return Err(e),
        };
        let session = self.session()?;
        let mover = ChunkCopier::new(self.from, &session, &self.names, self.observer);
        let done = parts(&mover, name, &snapshot, &there.checked());
        let sealed = session.seal();
        self.report.healed_bytes += session.added_bytes();
        self.report.added_bytes += session.added_bytes();
        match done {
            Ok((databases, files)) => {
                let copy = Snapshot { databases, files, ..snapshot.clone() };
                there.check(&snapshot, &copy);
            }
            // Neither has all of it.
            Err(Stop::Damaged(error)) => self.fail(name, &error.to_string()),
            Err(Stop::Failed(error)) => return Err(error),
        }
        sealed
    }

    fn fail(&mut self, name: &SnapshotName, reason: &str) {
        let path = self.from.storage().object_location(&name.object());
        self.observer.problem(&Problem { path, reason: format!("was not copied: {reason}").into(), lost: true });
        self.report.failed.push(Failed { name: name.clone(), reason: reason.into() });
    }

    fn snapshot(&mut self, name: &SnapshotName, snapshot: Snapshot, there: &mut Destination) -> Result<()> {
        let Some((number, origin)) = there.place(name, &snapshot, self.options.now) else {
            let reason = format!(
                "the destination holds newer snapshots of source {} from its number 1 on, and nothing can stand before that",
                name.source
            );
            self.fail(name, &reason);
            return Ok(());
        };
        let mut copied = Copied { from: name.clone(), name: None, snapshot, added_bytes: 0 };
        if self.options.dry_run {
            self.report.copied.push(copied);
            return Ok(());
        }
        // Once it has shown losses, nothing that the destination had before is believed unread.
        let beside = if self.losses()?.any { there.checked() } else { there.beside(self.from, self.to) };
        let session = self.session()?;
        let mover = ChunkCopier::new(self.from, &session, &self.names, self.observer);
        let made = parts(&mover, name, &copied.snapshot, &beside).and_then(|parts| Ok((parts, session.seal()?)));
        let ((databases, files), ()) = match made {
            Ok(made) => made,
            Err(stop) => {
                let error = match stop {
                    Stop::Damaged(error) => {
                        self.fail(name, &error.to_string());
                        None
                    }
                    Stop::Failed(error) => Some(error),
                };
                // What came over is good, and need not be sent again.
                match &error {
                    Some(error) if error.is_full() => session.take_back(),
                    _ => _ = session.seal(),
                }
                self.report.added_bytes += session.added_bytes();
                return error.map_or(Ok(()), Err);
            }
        };
        let parents = copied.snapshot.parents.iter().filter_map(|id| there.find(id)).map(|name| name.id).collect();
        let packs = session.packs();
        let new = Snapshot {
            sequence: number,
            parents,
            packs,
            added_bytes: Some(session.added_bytes()),
            original: Some(origin),
            databases,
            files,
            ..copied.snapshot.clone()
        };
        let (published, bytes) = self.to.publish(&new)?;
        session.count_bytes(bytes);
        there.add(&copied.snapshot, &published, &new);
        copied.added_bytes = session.added_bytes();
        copied.name = Some(published);
        self.report.added_bytes += copied.added_bytes;
        self.report.copied.push(copied);
        Ok(())
    }

    /// Looks, once there is something to copy, whether the destination has lost something.
    fn losses(&mut self) -> Result<Lost> {
        if let Some(lost) = self.lost {
            return Ok(lost);
        }
        // Behind requests that lists all packs: not after each backup.
        let lost = if self.to.storage().capabilities().cost_per_request && matches!(self.options.which, Which::Newer(_))
        {
            Lost::default()
        } else {
            let KnownLosses { lost, repairs } =
                backup::survey(self.to, (None, false), &mut self.report.problems, self.observer)?;
            Lost { any: !lost.is_empty() || !repairs.is_empty(), packs: !lost.is_empty() }
        };
        Ok(*self.lost.insert(lost))
    }

    fn session(&mut self) -> Result<WriteSession<'a>> {
        let session = WriteSession::new(self.to);
        // Of packs on a disk a session sees by itself that they are gone.
        if self.losses()?.packs && self.to.storage().capabilities().cost_per_request {
            session.lower_trust(Trust::ReadEverything);
        }
        Ok(session)
    }
}

/// Whether the destination has lost something.
#[derive(Default, Clone, Copy)]
struct Lost {
    /// Packs, now or before a repair.
    any: bool,
    /// Packs that the index still lists.
    packs: bool,
}

/// Copies what a snapshot reaches; returns its parts as the destination has them.
fn parts(
    mover: &ChunkCopier<'_>,
    name: &SnapshotName,
    snapshot: &Snapshot,
    beside: &CommonLists,
) -> Copying<(Vec<Database>, Option<Files>)> {
    let taken = |pair: Option<Pair>, root| {
        pair.filter(|pair| pair.from == root && mover.session.trust() < Trust::ReadEverything)
    };
    let differs = |what: &str| {
        let object = mover.from.storage().object_location(&name.object());
        Stop::Damaged(Error::corrupt(object, format!("its list of {what} does not come to what it says")))
    };
    let (mut databases, mut uploads) = (snapshot.databases.clone(), snapshot.files.clone());
    for part in &mut databases {
        let pair = beside.databases.get(&part.path).copied();
        part.root = match taken(pair, part.root) {
            Some(pair) => pair.to,
            None => match lists::pieces(mover, &part.root, pair)? {
                (root, bytes) if bytes == part.size_bytes => root,
                _ => return Err(differs("the database's extents")),
            },
        };
    }
    if let Some(part) = &mut uploads {
        part.list = match taken(beside.uploads, part.list) {
            Some(pair) => pair.to,
            None => match lists::entries(mover, &part.list, beside.uploads)? {
                (list, found) if (found.entries, found.files) == (part.entries, part.files) => list,
                _ => return Err(differs("uploads")),
            },
        };
    }
    Ok((databases, uploads))
}
