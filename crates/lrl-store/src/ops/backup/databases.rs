//! Stores the databases one after the other, and knows which files are databases: the named ones, those of the snapshot before, and those that
//! were found.

use std::time::{Duration, Instant};

use super::context::Context;
use super::database::{self, DatabasePart};
use super::history::History;
use super::options::Options;
use crate::error::{Error, Result};
use crate::format::entry::compare_paths;
use crate::fs::dir::to_path;
use crate::progress::{Observer, Problem, checkpoint};
use crate::source::database::source::{DatabaseSource, Discover, has_header};
use crate::source::files::walk::{FoundKind, Root, walk};

/// The databases of one attempt.
pub(super) struct DatabaseParts {
    /// In order of their paths.
    pub parts: Vec<DatabasePart>,
    /// Between the first and the last instant that they are of.
    pub window: Duration,
}

/// Snapshots hold up to this many databases: each takes about a kilobyte of the document.
const MOST: usize = 4096;

/// Returns the databases to back up, in order of their paths.
pub(super) fn sources(history: &History, options: &Options, observer: &dyn Observer) -> Result<Vec<DatabaseSource>> {
    let mut sources = options.databases.clone();
    if let Some(discover) = &options.discover {
        match &history.databases {
            // What was one before is one, if it is still there; others are found among the files.
            Some((_, before)) => {
                for path in before.iter().map(|part| part.path.clone()) {
                    let file = discover.root.join(to_path(&path));
                    if !discover.plain.matches(&path, false) && has_header(&file)? {
                        sources.push(DatabaseSource { path, file });
                    }
                }
            }
            // Nothing is known: so that the databases come first all the same, the files are looked at before.
            None => sources.extend(find(discover, options, observer)?),
        }
    }
    in_order(sources)
}

/// Sorts databases by their paths; the first of two with one path stays.
pub(super) fn in_order(mut sources: Vec<DatabaseSource>) -> Result<Vec<DatabaseSource>> {
    sources.sort_by(|a, b| compare_paths(&a.path, &b.path));
    sources.dedup_by(|a, b| a.path == b.path);
    if sources.len() > MOST {
        return Err(Error::Refused(format!(
            "there are {} databases, and a snapshot holds up to {MOST}: leave some out, or name those that are uploads under `plain`",
            sources.len()
        )));
    }
    Ok(sources)
}

/// Looks for databases among the files.
fn find(discover: &Discover, options: &Options, observer: &dyn Observer) -> Result<Vec<DatabaseSource>> {
    let mut found = Vec::new();
    let roots: Vec<Root> = options.uploads.clone().unwrap_or_default();
    // What cannot be looked at is told when the files are stored.
    walk(&roots, &options.excludes, &options.skip, &Quiet(observer), &mut |file| {
        checkpoint(observer)?;
        let is_candidate = file.kind == FoundKind::File && !discover.plain.matches(&file.path, false);
        if is_candidate && crate::source::files::read::is_database(&file) {
            found.push(DatabaseSource { path: file.path, file: file.source });
        }
        Ok(())
    })?;
    Ok(found)
}

/// Tells nothing, and can be interrupted.
struct Quiet<'a>(&'a dyn Observer);

impl Observer for Quiet<'_> {
    fn interrupted(&self) -> bool {
        self.0.interrupted()
    }
}

/// Stores the databases, or reuses those of the parent that are proved to be the same.
pub(super) fn store(
    context: Context<'_>,
    history: &History,
    sources: &[DatabaseSource],
    problems: &mut Vec<Problem>,
) -> Result<DatabaseParts> {
    let mut parts = Vec::new();
    let mut instants: Vec<Instant> = Vec::new();
    for source in sources {
        checkpoint(context.observer)?;
        let part = database::store(context, history, source, problems)?;
        instants.extend(part.as_ref().and(Some(Instant::now())));
        parts.extend(part);
    }
    let window = instants.first().zip(instants.last()).map_or(Duration::ZERO, |(first, last)| *last - *first);
    Ok(DatabaseParts { parts, window })
}
