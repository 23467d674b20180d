//! The verb `import`: sets that the old script wrote become snapshots with their own times, each verified before it is published.
//! Unpacks an archive into a private directory and goes the road of a backup from there; never touches the sets.

use std::collections::HashSet;
use std::fs::{self, File};
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use crate::error::{Error, Result};
use crate::format::snapshot::{self, Snapshot};
use crate::fs::lock::LockMode;
use crate::fs::temp_dir;
use crate::fs::temp_dir::TempDir;
use crate::ops::backup;
use crate::ops::backup::{History, KnownLosses, database, files};
use crate::ops::check::{Saved, lost_chunks};
use crate::ops::heal::{HealSources, Origin};
use crate::progress::{Observer, Phase, Problem, Silent};
use crate::set::archive::extract;
use crate::set::directory::manifests;
use crate::set::manifest::read::{FoundFile, FoundSet};
use crate::set::sha256::sha256_of;
use crate::source::database::{Inspector, used_pages};
use crate::source::files::exclude::Excludes;
use crate::source::files::walk::{FoundKind, Root, walk};
use crate::store::repair::lost_chunks::LostChunks;
use crate::store::write::WriteSession;
use crate::store::{SnapshotName, Store};
use crate::time::Time;
use crate::time::time_of;

/// How the names of temporary directories begin.
pub const SCRATCH: &str = ".lrl-import-";

/// What to import.
pub struct Options {
    /// The directory with the sets.
    pub dir: PathBuf,
    /// A directory on which an unpacked archive fits.
    pub scratch: PathBuf,
    /// The named source that the snapshots will belong to.
    pub source: String,
    /// The program's name and version.
    pub program: String,
    /// How long to wait for another run.
    pub lock_wait: Duration,
    /// The moment of the run.
    pub now: SystemTime,
}

/// A set that became a snapshot.
#[derive(Debug)]
pub struct Imported {
    /// Its manifest.
    pub manifest: PathBuf,
    /// The new snapshot's name.
    pub name: SnapshotName,
    /// The new snapshot.
    pub snapshot: Snapshot,
    /// Bytes of objects that it added to the store.
    pub added_bytes: u64,
}

/// A set that did not.
#[derive(Debug)]
pub struct Skipped {
    /// Its manifest.
    pub manifest: PathBuf,
    /// Why.
    pub reason: String,
}

/// What a run did.
#[derive(Debug, Default)]
pub struct Report {
    /// Sets that became snapshots, oldest first.
    pub imported: Vec<Imported>,
    /// Sets whose timestamp the source has already.
    pub known: Vec<Skipped>,
    /// Sets that are damaged or cannot be put in order.
    pub failed: Vec<Skipped>,
    /// Chunks of snapshots that are there already, which the store had lost and the sets gave back.
    pub healed: Saved,
    /// True if chunks of these snapshots are lost that the sets did not give back.
    pub still_lost: bool,
}

/// Imports every set in a directory. Errors are those of the store, the disk and the caller; a damaged set is in the report.
pub fn import(store: &Store, options: &Options, observer: &dyn Observer) -> Result<Report> {
    // Who cannot read what is there would store it again.
    store.check_readable()?;
    let interrupted = || observer.interrupted();
    let _one_run = store.storage().lock(
        &format!("lock-{}", options.source),
        LockMode::Exclusive,
        options.lock_wait,
        &interrupted,
    )?;
    store.storage().reclaim()?;
    let mut notes = Vec::new();
    let KnownLosses { lost, repairs } = backup::survey(store, &mut notes, observer)?;
    let is_whole = lost.is_empty() && repairs.is_empty();
    let found = manifests(&options.dir)?;
    if found.is_empty() {
        return Err(Error::NotFound(format!("No manifest found in {}", options.dir.display())));
    }
    let mut report = Report::default();
    let mut sets = Vec::new();
    for manifest in found {
        match FoundSet::load(&manifest).map_err(|e| e.to_string()).and_then(|set| Ok((checked(&set)?, set))) {
            Ok(set) => sets.push(set),
            Err(reason) => report.failed.push(Skipped { manifest, reason }),
        }
    }
    sets.sort_by(|a, b| (a.0, &a.1.manifest).cmp(&(b.0, &b.1.manifest)));
    let mut taken = backup::all_timestamps(store, &options.source)?;
    let mut known = Vec::new();
    for (created, set) in sets {
        let manifest = set.manifest.clone();
        if taken.contains(&set.timestamp) {
            let reason = format!("source {} has a snapshot of {}", options.source, set.timestamp);
            known.push((set.timestamp.clone(), manifest.clone()));
            report.known.push(Skipped { manifest, reason });
            continue;
        }
        match import_one(store, &set, created, is_whole, options, &taken, observer)? {
            Ok(imported) => {
                taken.insert(set.timestamp);
                report.imported.push(imported);
            }
            Err(reason) => report.failed.push(Skipped { manifest, reason }),
        }
    }
    heal(store, &known, options, &mut report, observer)?;
    Ok(report)
}

/// Gives the store back what it has lost of snapshots whose sets are here.
fn heal(
    store: &Store,
    known: &[(String, PathBuf)],
    options: &Options,
    report: &mut Report,
    observer: &dyn Observer,
) -> Result<()> {
    let mut snapshots = Vec::new();
    for name in if known.is_empty() { Vec::new() } else { store.snapshot_names(Some(&options.source))? } {
        match store.snapshot(&name) {
            Ok(snapshot) if known.iter().any(|(stamp, _)| *stamp == snapshot.timestamp) => {
                snapshots.push((name, snapshot))
            }
            Ok(_) => {}
            Err(error) if error.is_damage() => {}
            Err(error) => return Err(error),
        }
    }
    let healing = HealSources {
        origins: known.iter().map(|(_, manifest)| Origin::Set(manifest.clone())).collect(),
        scratch: options.scratch.clone(),
        program: options.program.clone(),
        busy: Duration::ZERO,
        now: options.now,
    };
    loop {
        let wanted = LostChunks::new()?;
        lost_chunks(store, &snapshots, &wanted, observer)?;
        if wanted.is_empty()? {
            report.still_lost = false;
            return Ok(());
        }
        report.still_lost = true;
        let healed = healing.heal(store, &wanted, &mut Vec::new(), observer)?;
        report.healed.add(&healed);
        if healed.chunks == 0 {
            return Ok(());
        }
    }
}

/// Checks what the manifest says for itself; returns the set's time.
fn checked(set: &FoundSet) -> Result<Time, String> {
    if let Some(error) = &set.error {
        return Err(error.clone());
    }
    for (at, file) in set.files.iter().enumerate() {
        if !matches!(file.kind.as_str(), "database" | "assets") {
            return Err(format!("Unknown backup type: {}", file.kind));
        }
        if set.files[..at].iter().any(|other| other.kind == file.kind) {
            return Err(format!("it has two files of type {}", file.kind));
        }
        if file.there().is_none() {
            return Err(format!("File not found: {}", file.name()));
        }
    }
    let stamp =
        Time::of_stamp(&set.timestamp).ok_or_else(|| format!("its timestamp_utc {:?} is no time", set.timestamp))?;
    // The finer time counts if it tells of the same run.
    let finer = set.created_at.as_ref().and_then(|text| text.parse::<jiff::Timestamp>().ok());
    let finer = finer.filter(|time| (time.as_second() - stamp.secs).abs() <= 86_400);
    Ok(finer.map_or(stamp, |time| Time {
        secs: time.as_second(),
        nanos: u32::try_from(time.subsec_nanosecond()).unwrap_or_default(),
    }))
}

/// Imports one set. The inner error is the set's own fault.
fn import_one(
    store: &Store,
    set: &FoundSet,
    created: Time,
    is_whole: bool,
    options: &Options,
    taken: &HashSet<String>,
    observer: &dyn Observer,
) -> Result<Result<Imported, String>> {
    // A later place in the sequence means newer: what is older than what is there already would become `latest`.
    if let Some(newer) = taken.iter().filter(|stamp| **stamp > set.timestamp).max() {
        return Ok(Err(format!(
            "source {} already holds newer snapshots ({newer}): import it into a source of its own with --source NAME",
            options.source
        )));
    }
    let file = |kind: &str| set.files.iter().find(|file| file.kind == kind);
    let history = History::read(store, &options.source)?;
    let session = WriteSession::new(store);
    if !is_whole {
        session.doubt();
    }
    if history.depends_on_pending_deletion(&session)? {
        session.check_each_chunk();
    }
    observer.phase(Phase::Database, file("database").and_then(|file| file.size_bytes));
    let database = match file("database") {
        None => None,
        Some(file) => match keep_database(&session, file, created, &history, options, observer)? {
            Ok(half) => Some(half),
            Err(reason) => return Ok(Err(reason)),
        },
    };
    observer.phase(Phase::Uploads, file("assets").and_then(|file| file.source_bytes));
    let uploads = match file("assets") {
        None => None,
        Some(file) => match keep_uploads(&session, file, &history, options, observer)? {
            Ok(half) => Some(half),
            Err(reason) => return Ok(Err(reason)),
        },
    };
    session.seal()?;
    let snapshot = Snapshot {
        format: snapshot::VERSION,
        source: options.source.clone(),
        sequence: history.next_sequence,
        parents: history.parents(database.is_some(), uploads.is_some()),
        timestamp: set.timestamp.clone(),
        created,
        host: String::new(),
        tags: vec!["imported".into()],
        program: options.program.clone(),
        packs: session.packs(),
        original: None,
        avoids: Vec::new(),
        added_bytes: Some(session.added_bytes()),
        database,
        uploads,
        problems: Vec::new(),
        shrunk: Vec::new(),
    };
    let (name, bytes) = store.publish(&snapshot)?;
    session.count_bytes(bytes);
    let manifest = set.manifest.clone();
    Ok(Ok(Imported { manifest, name, snapshot, added_bytes: session.added_bytes() }))
}

/// Damage of the set is the set's; an interruption is the caller's.
fn of_the_set<T>(result: Result<T>) -> Result<Result<T, String>> {
    match result {
        Ok(value) => Ok(Ok(value)),
        Err(e) if e.is_final() => Err(e),
        Err(error) => Ok(Err(error.to_string())),
    }
}

pub(super) fn verified(file: &FoundFile, observer: &dyn Observer) -> Result<PathBuf> {
    let path = file.there().ok_or_else(|| Error::Missing { object: file.name() })?;
    let (actual, size) = sha256_of(path, observer)?;
    match (&file.sha256, file.size_bytes) {
        (Some(stated), _) if !stated.eq_ignore_ascii_case(&actual) => {
            Err(Error::corrupt(path.display(), "does not match the SHA-256 in its manifest"))
        }
        (_, Some(stated)) if stated != size => {
            Err(Error::corrupt(path.display(), format!("has {size} bytes, its manifest says {stated}")))
        }
        _ => Ok(path.to_path_buf()),
    }
}

fn keep_database(
    session: &WriteSession<'_>,
    file: &FoundFile,
    created: Time,
    history: &History,
    options: &Options,
    observer: &dyn Observer,
) -> Result<Result<snapshot::Database, String>> {
    let look = || {
        let path = verified(file, observer)?;
        let tables = Inspector::open(&path, observer)?.tables()?.names;
        let mut image = File::open(&path).map_err(Error::io("open", &path))?;
        let mut header = [0; 100];
        image.read_exact(&mut header).map_err(Error::io("read", &path))?;
        let meta = image.metadata().map_err(Error::io("look at", &path))?;
        Ok((path, tables, image, header, meta))
    };
    let (path, tables, mut image, header, meta) = match of_the_set(look())? {
        Ok(found) => found,
        Err(reason) => return Ok(Err(reason)),
    };
    let page_size = match u16::from_be_bytes([header[16], header[17]]) {
        1 => 65_536,
        size => u32::from(size),
    };
    let parent = history.database.as_ref().map(|(_, half)| half);
    let room = session.store().target(&options.scratch, temp_dir::RESERVE)?.room;
    let (root, sha256) =
        database::keep_file(session, &mut image, page_size, parent, &options.scratch, &room, observer)?;
    if file.sha256.as_ref().is_some_and(|stated| !stated.eq_ignore_ascii_case(&sha256)) {
        return Ok(Err(format!("{} changed while it was imported", path.display())));
    }
    Ok(Ok(snapshot::Database {
        path: file.source.clone().unwrap_or_default(),
        size_bytes: meta.len(),
        sha256,
        root,
        page_size,
        change_counter: u32::from_be_bytes([header[24], header[25], header[26], header[27]]),
        used_pages: used_pages(&header, page_size, meta.len()),
        tables: Some(tables),
        // The script leaves its copies readable for everybody; the database, which holds password hashes, is not restored so.
        mode: meta.mode() & 0o660,
        uid: meta.uid(),
        gid: meta.gid(),
        mtime: created,
    }))
}

fn keep_uploads(
    session: &WriteSession<'_>,
    file: &FoundFile,
    history: &History,
    options: &Options,
    observer: &dyn Observer,
) -> Result<Result<snapshot::Uploads, String>> {
    let scratch = TempDir::new(&options.scratch, SCRATCH)?;
    let unpacked = of_the_set(
        verified(file, observer)
            .and_then(|path| unpack(&path, file, &scratch, &options.scratch, Some(options.now), observer)),
    )?;
    let roots = match unpacked {
        Ok(roots) => roots,
        Err(reason) => return Ok(Err(reason)),
    };
    let names: Vec<String> = roots.iter().map(|root| root.name.clone()).collect();
    let like_a_backup = Uploads {
        roots,
        scratch: &options.scratch,
        source: &options.source,
        program: &options.program,
        lock_wait: options.lock_wait,
        now: options.now,
    };
    let mut problems = Vec::new();
    let half = keep_roots(session, like_a_backup, history, &mut problems, observer)?;
    match (half, problems.into_iter().find(|problem| problem.lost)) {
        (Some(half), None) => {
            let shown = |name: String| match name.as_str() {
                "assets" => (name, file.source.clone().unwrap_or_default()),
                _ => (name.clone(), name),
            };
            Ok(Ok(snapshot::Uploads { roots: names.into_iter().map(shown).collect(), ..half }))
        }
        (_, problem) => {
            let problem = problem.map(|problem| format!("{}: {}", problem.path, problem.reason));
            Ok(Err(format!("its uploads cannot be read back: {}", problem.unwrap_or_default())))
        }
    }
}

/// Directories of uploads that are read as a backup would.
pub(super) struct Uploads<'a> {
    pub roots: Vec<Root>,
    pub scratch: &'a Path,
    pub source: &'a str,
    pub program: &'a str,
    pub lock_wait: Duration,
    pub now: SystemTime,
}

/// Keeps directories of uploads, all of them read.
pub(super) fn keep_roots(
    session: &WriteSession<'_>,
    uploads: Uploads<'_>,
    history: &History,
    problems: &mut Vec<Problem>,
    observer: &dyn Observer,
) -> Result<Option<snapshot::Uploads>> {
    let like_a_backup = backup::Options {
        database: None,
        uploads: Some(uploads.roots),
        skip: Vec::new(),
        excludes: Excludes::none(),
        out: None,
        scratch: uploads.scratch.to_path_buf(),
        source: uploads.source.into(),
        tags: Vec::new(),
        max_shrink_percent: 0,
        accept_shrink: false,
        settle: backup::SETTLE,
        host: String::new(),
        program: uploads.program.into(),
        rescan: true,
        rescan_every: None,
        keep_sets: None,
        reserve: temp_dir::RESERVE,
        lock_wait: uploads.lock_wait,
        busy: Duration::ZERO,
        now: uploads.now,
    };
    Ok(files::keep(session, None, history, &like_a_backup, problems, observer)?.map(|half| half.record))
}

/// Unpacks an archive and returns the roots that were in it. Directories that are not older than `now` are those that the archive
/// does not describe; `None`: it describes all, as lrl's own do.
pub(super) fn unpack(
    path: &Path,
    file: &FoundFile,
    scratch: &TempDir,
    scratch_dir: &Path,
    now: Option<SystemTime>,
    observer: &dyn Observer,
) -> Result<Vec<Root>> {
    let room = temp_dir::free_bytes(scratch_dir)?;
    let limit = |bytes: u64| {
        let full = || Error::io("unpack an archive into", scratch_dir)(std::io::ErrorKind::StorageFull.into());
        if bytes <= room { Ok(()) } else { Err(full()) }
    };
    limit(file.source_bytes.unwrap_or(0))?;
    let owners = rustix::process::geteuid().is_root();
    let mut unpacking = extract::Options { owners, limit: Some(&limit), watch: None, observer };
    extract::extract(path, scratch.path(), &mut unpacking)?;
    let mut roots = Vec::new();
    for entry in fs::read_dir(scratch.path()).map_err(Error::io("list", scratch.path()))? {
        let entry = entry.map_err(Error::io("list", scratch.path()))?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let is_dir = entry.file_type().map_err(Error::io("look at", entry.path()))?.is_dir();
        if !is_dir || !matches!(name.as_str(), "assets" | "storage") {
            return Err(Error::corrupt(
                path.display(),
                format!("it holds {name}, which is neither assets/ nor storage/"),
            ));
        }
        roots.push(Root { name, path: entry.path() });
    }
    if roots.is_empty() {
        // The script leaves directories out: no file at all is an archive without a member.
        let empty = scratch.path().join("assets");
        fs::create_dir(&empty).map_err(Error::io("create", &empty))?;
        roots.push(Root { name: "assets".into(), path: empty });
    }
    roots.sort_by(|a, b| a.name.cmp(&b.name));
    now.map_or(Ok(()), |now| date_directories(&roots, time_of(now).secs))?;
    Ok(roots)
}

/// Gives directories that the archive does not describe the time of the newest thing in them: the time of the unpacking would make
/// each import differ from the next.
fn date_directories(roots: &[Root], since: i64) -> Result<()> {
    let mut inside: Vec<(Vec<u8>, PathBuf, bool, Time)> = Vec::new();
    let leave = |inside: &mut Vec<(Vec<u8>, PathBuf, bool, Time)>| {
        let Some((_, dir, is_new, newest)) = inside.pop() else { return };
        if let Some(above) = inside.last_mut() {
            above.3 = above.3.max(newest);
        }
        if is_new {
            let time = rustix::fs::Timespec { tv_sec: newest.secs, tv_nsec: newest.nanos.into() };
            let times = rustix::fs::Timestamps { last_access: time, last_modification: time };
            // A time is not worth failing for.
            let _ = rustix::fs::utimensat(rustix::fs::CWD, &dir, &times, rustix::fs::AtFlags::SYMLINK_NOFOLLOW);
        }
    };
    walk(roots, &Excludes::none(), &[], &Silent, &mut |found| {
        while inside.last().is_some_and(|(path, ..)| {
            !found.path.strip_prefix(path.as_slice()).is_some_and(|rest| rest.starts_with(b"/"))
        }) {
            leave(&mut inside);
        }
        let mtime = found.stat.mtime;
        match found.kind {
            FoundKind::Dir => {
                let is_new = mtime.secs >= since;
                let newest = if is_new { Time::default() } else { mtime };
                inside.push((found.path, found.source, is_new, newest));
            }
            _ => {
                if let Some(above) = inside.last_mut() {
                    above.3 = above.3.max(mtime);
                }
            }
        }
        Ok(())
    })?;
    while !inside.is_empty() {
        leave(&mut inside);
    }
    Ok(())
}
