//! Problems of a run: collected for its report, and passed to its observer at once.

use std::path::Path;

use crate::hint::Message;
use crate::progress::{Observer, Problem};

/// Adds a problem to the report and passes it to the observer. `lost`: data is missing from the result because of it.
pub(super) fn report(
    problems: &mut Vec<Problem>,
    observer: &dyn Observer,
    path: &Path,
    reason: impl Into<Message>,
    lost: bool,
) {
    let problem = Problem { path: path.display().to_string(), reason: reason.into(), lost };
    observer.problem(&problem);
    problems.push(problem);
}
