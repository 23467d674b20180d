//! Stores the databases one after the other, and knows which files are databases: the named ones, those of the snapshot before, and those that
//! were found.

use std::collections::{HashMap, HashSet};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::{Duration, Instant};

use super::context::Context;
use super::history::History;
use super::options::Options;
use super::store_database::{self, DatabasePart, Prepared};
use crate::error::{Error, Result};
use crate::format::entry::compare_paths;
use crate::format::snapshot::DATABASE_NOT_FOUND;
use crate::fs::dir::to_path;
use crate::ops::report_problem::report;
use crate::progress::{Observer, Problem, Quiet, checkpoint};
use crate::source::database::ReadOptions;
use crate::source::database::source::{DatabaseSource, Discover, can_be_database, database_of, has_header};
use crate::source::files::exclude::Excludes;
use crate::source::files::read::look_for_header;
use crate::source::files::walk::{Found, FoundKind, Root, walk};

/// The databases of one attempt.
#[derive(Default)]
pub(super) struct DatabaseParts {
    /// In order of their paths.
    pub parts: Vec<DatabasePart>,
    /// Between the first and the last instant that they are of.
    pub window: Duration,
}

/// Snapshots hold up to this many databases: each takes about a kilobyte of the document.
const MOST: usize = 4096;

/// Returns the databases to back up, in order of their paths. Directories that cannot be searched are notes.
pub(super) fn sources(
    history: &History,
    options: &Options,
    problems: &mut Vec<Problem>,
    observer: &dyn Observer,
) -> Result<Vec<DatabaseSource>> {
    let mut sources = options.databases.clone();
    let Some(discover) = &options.discover else { return in_order(sources) };
    // What was one before is one, if it is still there, also where no files are stored.
    let excludes = options.excludes.everywhere();
    for path in history.databases.iter().flat_map(|(_, before)| before).map(|part| part.path.clone()) {
        let file = discover.root.join(to_path(&path));
        let is_left = excludes.leave_out_with_parents(&path) || discover.plain.matches(&path, false);
        // One that cannot be read is told of when it is to be stored.
        if !is_left && has_header(&file).unwrap_or(true) {
            sources.push(DatabaseSource { path, file });
        }
    }
    // Others are found among the files. Where nothing is known, or the files are not walked, they are looked at before, so that the databases
    // come first all the same.
    let mut unsearched = Vec::new();
    if history.databases.is_none() || options.uploads.is_none() {
        sources.extend(find(discover, options, &options.excludes, &mut unsearched, observer)?);
        if options.uploads.is_some() {
            // They are told of when the files are stored.
            unsearched.clear();
        }
    }
    sources.extend(find_elsewhere(options, &mut unsearched, observer)?);
    for Problem { path, reason, .. } in unsearched {
        let reason = format!("{reason}; it was not searched for databases");
        report(problems, observer, Path::new(&path), reason, false);
    }
    in_order(sources)
}

/// Finds the databases that lie where no files are stored.
pub(in crate::ops) fn find_elsewhere(
    options: &Options,
    unsearched: &mut Vec<Problem>,
    observer: &dyn Observer,
) -> Result<Vec<DatabaseSource>> {
    let Some((discover, excludes)) = options.elsewhere() else { return Ok(Vec::new()) };
    find(discover, options, &excludes, unsearched, observer)
}

/// Sorts databases by their paths; the first of two with one path stays.
pub(super) fn in_order(mut sources: Vec<DatabaseSource>) -> Result<Vec<DatabaseSource>> {
    sources.sort_by(|a, b| compare_paths(&a.path, &b.path));
    sources.dedup_by(|a, b| a.path == b.path);
    if sources.len() > MOST {
        return Err(Error::refused(format!(
            "there are {} databases, and a snapshot holds up to {MOST}: leave some out, or name those that are uploads under `plain`",
            sources.len()
        )));
    }
    Ok(sources)
}

/// The paths of the databases, which are no files.
pub(super) struct DatabasePaths<'a>(HashSet<&'a [u8]>);

impl<'a> DatabasePaths<'a> {
    pub(crate) fn new(databases: &'a [DatabaseSource]) -> Self {
        Self(databases.iter().map(|database| database.path.as_slice()).collect())
    }

    /// Returns whether it is a database, or what SQLite keeps beside one: that is part of the image.
    pub(crate) fn hold(&self, found: &Found) -> bool {
        let is_known = |path: &[u8]| self.0.contains(path);
        found.kind != FoundKind::Dir && (is_known(&found.path) || database_of(&found.path).is_some_and(is_known))
    }
}

/// Looks for databases among the files that `excludes` leaves, and adds what cannot be looked at to `unsearched`.
fn find(
    discover: &Discover,
    options: &Options,
    excludes: &Excludes,
    unsearched: &mut Vec<Problem>,
    observer: &dyn Observer,
) -> Result<Vec<DatabaseSource>> {
    let mut found = Vec::new();
    let roots = [Root { name: String::new(), path: discover.root.clone() }];
    let problems = walk(&roots, excludes, &options.skip, &Quiet(observer), &mut |file| {
        checkpoint(observer)?;
        let is_candidate = file.kind == FoundKind::File
            && can_be_database(&file.path, file.stat.size)
            && !discover.plain.matches(&file.path, false);
        if is_candidate {
            match look_for_header(&file) {
                Ok(true) => found.push(DatabaseSource { path: file.path, file: file.source }),
                Ok(false) => {}
                Err(reason) => unsearched.push(Problem {
                    path: file.source.display().to_string(),
                    reason: reason.into(),
                    lost: false,
                }),
            }
        }
        Ok(())
    })?;
    unsearched.extend(problems.into_iter().filter(|problem| problem.lost));
    Ok(found)
}

/// Up to this many databases are held at once, each by a connection with its memory and files: more are read in several groups.
const HELD: usize = 16;

/// Stores the databases, or reuses those of the parent that are proved to be the same. Each one of a group is held before any is read, so that
/// they are of one moment, as nearly as can be.
pub(super) fn store(
    context: Context<'_>,
    history: &History,
    sources: &[DatabaseSource],
    problems: &mut Vec<Problem>,
) -> Result<DatabaseParts> {
    let Context { options, observer, .. } = context;
    let mut parts = Vec::new();
    let mut instants = Vec::new();
    let read_options = ReadOptions { busy: options.busy, scratch: &options.scratch };
    for (pattern, expected) in options.discover.iter().flat_map(|discover| &discover.expected) {
        if !sources.iter().any(|source| expected.wants(&source.path, false)) {
            let path = options.discover.as_ref().map(|discover| discover.root.join(pattern)).unwrap_or_default();
            report(problems, observer, &path, DATABASE_NOT_FOUND, true);
        }
    }
    let sources = one_name_each(sources, problems, observer);
    let is_alone = sources.len() == 1;
    for group in sources.chunks(HELD) {
        let mut changed = Vec::new();
        for source in group {
            checkpoint(observer)?;
            let prepared = store_database::prepare(context, history, source, problems);
            let Some(prepared) = unless_unreadable(prepared, source, is_alone, problems, observer)? else { continue };
            if !matches!(prepared, Prepared::Absent) {
                instants.push(Instant::now());
            }
            match prepared {
                Prepared::Absent => {}
                Prepared::Unchanged(part) => parts.push(part),
                Prepared::Changed(one) => changed.push(one),
            }
        }
        let mut held = Vec::new();
        for one in changed {
            let source = one.source;
            let open = || {
                store_database::expect_index(&source.file)?;
                let mut reading = crate::source::database::prepare(&source.file, &read_options, observer)?;
                let draft = one.draft(context, &mut reading)?;
                Ok((reading, draft))
            };
            let opened = unless_unreadable(open(), source, is_alone, problems, observer)?;
            held.extend(opened.map(|(reading, draft)| (reading, draft, one)));
        }
        let mut ready = Vec::new();
        for (mut reading, draft, one) in held {
            let done = reading.hold(one.mark.as_ref());
            if unless_unreadable(done, one.source, is_alone, problems, observer)?.is_some() {
                instants.push(Instant::now());
                ready.push((reading, draft, one));
            }
        }
        // Whose writers wait is read first.
        ready.sort_by_key(|(reading, ..)| !reading.blocks_writers());
        for (reading, draft, one) in ready {
            let source = one.source;
            let part = one.store(context, reading, draft, problems);
            parts.extend(unless_unreadable(part, source, is_alone, problems, observer)?);
        }
    }
    parts.sort_by(|a, b| compare_paths(&a.record.path, &b.record.path));
    let window = match (instants.first(), instants.last()) {
        (Some(first), Some(last)) if parts.len() > 1 => *last - *first,
        _ => Duration::ZERO,
    };
    Ok(DatabaseParts { parts, window })
}

/// Reports a database that cannot be read, so that the others are stored all the same. Where it is the only one, that is an error: nothing is left of
/// what is backed up.
fn unless_unreadable<T>(
    result: Result<T>,
    source: &DatabaseSource,
    is_alone: bool,
    problems: &mut Vec<Problem>,
    observer: &dyn Observer,
) -> Result<Option<T>> {
    let reason = match &result {
        Err(Error::Source { path, detail }) if *path == source.file => detail.text().to_string(),
        Err(error @ Error::Io { op, source: reason, .. }) if error.is_about(&source.file) => {
            format!("cannot {op} it: {reason}")
        }
        _ => return result.map(Some),
    };
    if is_alone {
        return result.map(Some);
    }
    report(problems, observer, &source.file, format!("is not in this snapshot: {reason}"), true);
    Ok(None)
}

/// Returns the databases without hard links and symbolic links to one that is among them already: SQLite keeps the side files beside one of them only.
fn one_name_each<'a>(
    sources: &'a [DatabaseSource],
    problems: &mut Vec<Problem>,
    observer: &dyn Observer,
) -> Vec<&'a DatabaseSource> {
    let mut known: HashMap<(u64, u64), &DatabaseSource> = HashMap::new();
    let mut one_each = Vec::new();
    for source in sources {
        let id = source.file.metadata().ok().map(|meta| (meta.dev(), meta.ino()));
        match id.and_then(|id| known.insert(id, source).map(|first| (id, first))) {
            None => one_each.push(source),
            Some((id, first)) => {
                known.insert(id, first);
                let reason = format!("is another name of {}, and is stored as that alone", first.file.display());
                report(problems, observer, &source.file, reason, true);
            }
        }
    }
    one_each
}
