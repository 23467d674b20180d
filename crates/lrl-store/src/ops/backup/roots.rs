//! The directories of uploads that are there, and the directory of a site.

use std::path::Path;

use super::database_xattrs::xattrs_of;
use super::options::Options;
use crate::format::snapshot::RootDir;
use crate::ops::report_problem::report;
use crate::progress::{Observer, Problem};
use crate::source::files::include::Unmet;
use crate::source::files::walk::{Root, Stat};

/// Returns the uploads' directories that are there; those that are not are problems.
pub(super) fn roots_there(roots: &[Root], problems: &mut Vec<Problem>, observer: &dyn Observer) -> Vec<Root> {
    let (there, gone): (Vec<Root>, Vec<Root>) = roots.iter().cloned().partition(|root| root.path.is_dir());
    for root in gone {
        report(problems, observer, &root.path, "Assets directory not found", true);
    }
    there
}

/// Reports, after the walk, what was named to be stored and is not there: a path is missing from the snapshot, a pattern may name nothing yet.
pub(super) fn report_unmet(options: &Options, problems: &mut Vec<Problem>, observer: &dyn Observer) {
    let Some(root) = site(options) else { return };
    for Unmet { text, is_pattern } in options.excludes.unmet() {
        let reason = match is_pattern {
            true => "names no file that is there",
            false => "is to be stored, but is not there",
        };
        report(problems, observer, &root.join(text), reason, !is_pattern);
    }
}

/// Returns what restores the directory of a site; `None` in the manual's layout, and for a directory that cannot be looked at, which the walk
/// reports.
pub(super) fn root_dir(options: &Options, problems: &mut Vec<Problem>, observer: &dyn Observer) -> Option<RootDir> {
    let path = site(options)?;
    let Stat { mode, uid, gid, mtime, .. } = Stat::of(&rustix::fs::stat(path).ok()?);
    // What is relative means another directory elsewhere.
    let real = std::fs::canonicalize(path).unwrap_or_else(|_| path.to_path_buf());
    let xattrs = xattrs_of(&real, problems, observer);
    Some(RootDir { path: real.display().to_string(), mode, uid, gid, mtime, xattrs })
}

/// Returns the directory that all paths of a site are below.
fn site(options: &Options) -> Option<&Path> {
    match (&options.discover, options.uploads.as_deref()) {
        (Some(discover), _) => Some(&discover.root),
        (None, Some([root])) if root.name.is_empty() => Some(&root.path),
        (None, _) => None,
    }
}
