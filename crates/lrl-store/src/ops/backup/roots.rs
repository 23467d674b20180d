//! The directories of uploads that are there.

use crate::ops::report_problem::report;
use crate::progress::{Observer, Problem};
use crate::source::files::walk::Root;

/// Returns the uploads' directories that are there; those that are not are problems.
pub(super) fn roots_there(roots: &[Root], problems: &mut Vec<Problem>, observer: &dyn Observer) -> Vec<Root> {
    let (there, gone): (Vec<Root>, Vec<Root>) = roots.iter().cloned().partition(|root| root.path.is_dir());
    for root in gone {
        report(problems, observer, &root.path, "Assets directory not found", true);
    }
    there
}
