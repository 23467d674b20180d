//! The extended attributes of a database, and of the directory of a site: what has no entry of its own.

use std::fs::File;
use std::path::Path;

use crate::format::xattr::Xattrs;
use crate::fs::xattrs::{FoundXattrs, read_xattrs};
use crate::ops::report_problem::report;
use crate::progress::{Observer, Problem};

/// Reads them, while SQLite does not have the database open: closing it here would drop SQLite's locks. What cannot be stored is a problem.
pub(super) fn xattrs_of(path: &Path, problems: &mut Vec<Problem>, observer: &dyn Observer) -> Xattrs {
    // A FIFO would block the open. What cannot be opened is told by whoever reads it.
    let is_plain = path.metadata().is_ok_and(|meta| meta.is_file() || meta.is_dir());
    let file = if is_plain { File::open(path).ok() } else { None };
    let FoundXattrs { xattrs, lost } = file.map(read_xattrs).unwrap_or_default();
    if let Some(lost) = lost {
        report(problems, observer, path, lost, true);
    }
    xattrs
}
