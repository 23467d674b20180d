//! Which database of a set or snapshot is drilled: what a check may depend on beside its bytes.

use std::path::Path;

use super::options::Options;
use crate::format::path_text;
use crate::format::snapshot::{Snapshot, THE_DATABASE};

/// One database of a set or snapshot.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Subject<'a> {
    /// Its path in the snapshot.
    pub path: &'a [u8],
    /// It is the database of the manual's layout: `lrl.db`, and no other is there.
    pub is_manual: bool,
    /// It is the first: what names no database is about it.
    pub is_first: bool,
    /// The directories that absolute paths in rows may begin with.
    pub roots: [Option<&'a Path>; 2],
}

impl<'a> Subject<'a> {
    /// Returns the one at `at` among those at `paths`; `root` is the directory that the snapshot records.
    pub(crate) fn of(paths: &[&'a [u8]], at: usize, root: Option<&'a str>, options: &'a Options<'_>) -> Self {
        let path = paths.get(at).copied().unwrap_or(THE_DATABASE);
        let recorded = root.map(Path::new).filter(|root| root.is_absolute());
        let given = options.root.as_deref().filter(|root| root.is_absolute());
        Self { path, is_manual: paths == [THE_DATABASE], is_first: at == 0, roots: [recorded, given] }
    }

    /// Returns whether what names this database, or none, is about this one.
    pub(crate) fn is_meant_by(&self, named: Option<&[u8]>) -> bool {
        named.map_or(self.is_first, |named| named == self.path)
    }
}

/// Returns the directory that a site's files were below, as the user gave it.
pub(crate) fn root_of(snapshot: &Snapshot) -> Option<&str> {
    let of_files = || snapshot.files.as_ref()?.roots.get("").map(String::as_str);
    snapshot.root.as_ref().map(|root| root.path.as_str()).or_else(of_files)
}

/// Says which assertions and checks are about a database that is not among `paths`.
pub(crate) fn unplaced(paths: &[&[u8]], options: &Options<'_>) -> Vec<String> {
    if paths.is_empty() {
        return Vec::new();
    }
    let assertions = options.assertions.iter().map(|one| ("the assertion", one.to_string(), one.database()));
    let checks = options.checks.iter().map(|one| ("the check", one.shown(), one.database.as_deref()));
    let named = assertions.chain(checks).filter_map(|(what, shown, named)| Some((what, shown, named?)));
    let missing = named.filter(|(.., named)| !paths.contains(named));
    missing
        .map(|(what, shown, named)| {
            format!("{what} {shown:?} is about the database {}, which is not there", path_text::encode(named))
        })
        .collect()
}
