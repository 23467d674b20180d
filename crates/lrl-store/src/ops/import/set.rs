//! One set on its way into the store.

use std::collections::HashSet;
use std::fs::File;
use std::io::Read;
use std::os::unix::fs::MetadataExt;

use super::archive::{SCRATCH, unpack, verified};
use super::report::{Imported, Options};
use super::uploads::{Uploads, store_roots};
use crate::error::{Error, Result};
use crate::format::entry::compare_paths;
use crate::format::snapshot::{self, Snapshot};
use crate::fs::temp_dir::TempDir;
use crate::hint::{AddHint, Hint, Message};
use crate::ops::backup::{History, store_database};
use crate::progress::{Observer, Phase, Problem};
use crate::set::manifest::MISSING;
use crate::set::manifest::read::{FoundFile, FoundSet};
use crate::set::missing;
use crate::source::database::{Inspector, page_size, used_pages};
use crate::store::Store;
use crate::store::write::{Trust, WriteSession};
use crate::time::Time;

/// Problems that a snapshot records of what its set lacks.
const MOST_PROBLEMS: usize = 100;

/// Checks a manifest by itself; returns the set's time.
pub(super) fn checked(set: &FoundSet) -> Result<Time, String> {
    if let Some(error) = &set.error {
        return Err(error.clone());
    }
    for (at, file) in set.files.iter().enumerate() {
        if !matches!(file.kind.as_str(), "database" | "assets" | MISSING) {
            return Err(format!("Unknown backup type: {}", file.kind));
        }
        let is_same = |other: &FoundFile| other.kind == file.kind && other.list_path == file.list_path;
        if set.files[..at].iter().any(is_same) {
            return Err(format!("it has two files of type {}", file.kind));
        }
        if file.database_path().is_none() {
            return Err(format!("the path of a database leads elsewhere: {:?}", file.list_path));
        }
        if file.there().is_none() && file.kind != MISSING {
            return Err(format!("File not found: {}", file.name()));
        }
    }
    let stamp =
        Time::of_stamp(&set.timestamp).ok_or_else(|| format!("its timestamp_utc {:?} is no time", set.timestamp))?;
    // The finer time counts if it is of the same run.
    let finer = set.created_at.as_ref().and_then(|text| text.parse::<jiff::Timestamp>().ok());
    let finer = finer.filter(|time| (time.as_second() - stamp.secs).abs() <= 86_400);
    Ok(finer.map_or(stamp, |time| Time {
        secs: time.as_second(),
        nanos: u32::try_from(time.subsec_nanosecond()).unwrap_or_default(),
    }))
}

/// Imports one set. The inner error is the set's own fault.
pub(super) fn import_one(
    store: &Store,
    set: &FoundSet,
    created: Time,
    is_whole: bool,
    options: &Options,
    taken: &HashSet<String>,
    observer: &dyn Observer,
) -> Result<Result<Imported, Message>> {
    // A later place in the sequence means newer: what is older than what is there already would become `latest`.
    if let Some(newer) = taken.iter().filter(|stamp| **stamp > set.timestamp).max() {
        let text =
            format!("source {} already holds newer snapshots ({newer}): import it into one of its own", options.source);
        return Ok(Err(text.hint(Hint::NameSource)));
    }
    let file = |kind: &str| set.files.iter().find(|file| file.kind == kind);
    let history = History::read(store, &options.source, store.newest_snapshot_names(&options.source)?)?;
    let session = WriteSession::new(store);
    if !is_whole {
        session.lower_trust(Trust::ReadEverything);
    }
    if history.depends_on_pending_deletion(&session)? {
        session.lower_trust(Trust::CheckEachChunk);
    }
    observer.phase(Phase::Database, file("database").and_then(|file| file.size_bytes));
    let mut databases = Vec::new();
    for file in set.files.iter().filter(|file| file.kind == "database") {
        match keep_database(&session, file, created, &history, options, observer)? {
            Ok(part) => databases.push(part),
            Err(reason) => return Ok(Err(reason.into())),
        }
    }
    databases.sort_by(|a, b| compare_paths(&a.path, &b.path));
    observer.phase(Phase::Uploads, file("assets").and_then(|file| file.source_bytes));
    let uploads = match file("assets") {
        None => None,
        Some(file) => match keep_uploads(&session, set, file, &history, options, observer)? {
            Ok(part) => Some(part),
            Err(reason) => return Ok(Err(reason.into())),
        },
    };
    session.seal()?;
    let snapshot = Snapshot {
        format: snapshot::VERSION,
        source: options.source.clone(),
        sequence: history.next_sequence,
        parents: history.parents(!databases.is_empty(), uploads.is_some()),
        timestamp: set.timestamp.clone(),
        created,
        host: String::new(),
        tags: vec!["imported".into()],
        program: options.program.clone(),
        packs: session.packs(),
        original: None,
        avoids: Vec::new(),
        added_bytes: Some(session.added_bytes()),
        duration_ms: None,
        root: None,
        databases,
        window_us: 0,
        files: uploads,
        problems: set.files.iter().filter(|file| file.kind == MISSING).flat_map(lacked).collect(),
        shrunk: Vec::new(),
    };
    let (name, bytes) = store.publish(&snapshot)?;
    session.count_bytes(bytes);
    let manifest = set.manifest.clone();
    Ok(Ok(Imported { manifest, name, snapshot, added_bytes: session.added_bytes() }))
}

/// Returns what the set says that it lacks, as a backup says what it could not read.
fn lacked(file: &FoundFile) -> Vec<Problem> {
    let listed = file.there().and_then(|path| missing::read(path).ok()).unwrap_or_default();
    let problem = |path: String, reason: String| Problem { path, reason: reason.into(), lost: true };
    let count = file.missing.unwrap_or(0);
    let mut named = listed.into_iter().take(MOST_PROBLEMS).peekable();
    if named.peek().is_none() {
        return vec![problem(file.name(), format!("{count} of the snapshot that was exported are not in the set"))];
    }
    named
        .map(|skip| problem(skip.path, format!("is not in the set, because it was damaged: {}", skip.reason)))
        .collect()
}

/// Damage of the set is the inner error; an interruption is the outer one.
fn of_the_set<T>(result: Result<T>) -> Result<Result<T, String>> {
    match result {
        Ok(value) => Ok(Ok(value)),
        Err(e) if e.is_final() => Err(e),
        Err(error) => Ok(Err(error.to_string())),
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
    let page_size = page_size(&header);
    // A path that leads elsewhere was refused.
    let list_path = file.database_path().unwrap_or_default();
    let parent = history.database(&list_path);
    let (root, sha256) = store_database::store_file(session, &mut image, parent, &options.scratch, observer)?;
    if file.sha256.as_ref().is_some_and(|stated| !stated.eq_ignore_ascii_case(&sha256)) {
        return Ok(Err(format!("{} changed while it was imported", path.display())));
    }
    Ok(Ok(snapshot::Database {
        path: list_path,
        source_path: file.source.clone().unwrap_or_default(),
        size_bytes: meta.len(),
        sha256: Some(sha256),
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
        xattrs: Vec::new(),
    }))
}

fn keep_uploads(
    session: &WriteSession<'_>,
    set: &FoundSet,
    file: &FoundFile,
    history: &History,
    options: &Options,
    observer: &dyn Observer,
) -> Result<Result<snapshot::Files, String>> {
    // The archives of lrl describe every directory.
    let undated = set.snapshot.is_none().then_some(options.now);
    let scratch = TempDir::new(&options.scratch, SCRATCH)?;
    let unpacked = of_the_set(
        verified(file, observer).and_then(|path| unpack(&path, file, &scratch, &options.scratch, undated, observer)),
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
    let part = store_roots(session, like_a_backup, history, &mut problems, observer)?;
    match (part, problems.into_iter().find(|problem| problem.lost)) {
        (Some(part), None) => {
            let shown = |name: String| match name.as_str() {
                "assets" | "" => (name, file.source.clone().unwrap_or_default()),
                _ => (name.clone(), name),
            };
            Ok(Ok(snapshot::Files { roots: names.into_iter().map(shown).collect(), ..part }))
        }
        (_, problem) => {
            let problem = problem.map(|problem| format!("{}: {}", problem.path, problem.reason));
            Ok(Err(format!("its uploads cannot be read back: {}", problem.unwrap_or_default())))
        }
    }
}
