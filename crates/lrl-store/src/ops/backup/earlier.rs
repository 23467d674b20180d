//! The files of earlier sets, and which of them a new set may share.

use std::fs::File;
use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;

use super::context::Context;
use crate::error::{Error, Result};
use crate::fs::temp_file::temporary_file;
use crate::hint::{AddHint, Hint};
use crate::ops::report_problem::report;
use crate::progress::{Observer, Problem};
use crate::set::sha256::sha256_of;
use crate::store::run_cache::RunCache;
use crate::store::write::Trust;
use crate::time::time_of;

/// Older outputs, and how they are believed when they are shared with a new set.
#[derive(Clone, Copy)]
pub(super) struct Earlier<'a> {
    /// Knows them.
    pub cache: Option<&'a RunCache>,
    /// One that was compared with its digest since then, in seconds since 1970, is not read again; `None` reads all.
    pub since: Option<i64>,
    /// The moment of the run.
    pub now: i64,
}

impl<'a> Earlier<'a> {
    /// Where nothing has changed, what a full scan reads is read as often; else an older file is no evidence, whatever its times say.
    pub(crate) fn new(context: Context<'a>, is_unchanged: bool) -> Self {
        let Context { session, cache, options, .. } = context;
        let now = time_of(options.now).secs;
        let every = options.rescan_every.map_or(i64::MAX, |every| i64::try_from(every.as_secs()).unwrap_or(i64::MAX));
        let believes = is_unchanged && session.trust() < Trust::ReadEverything;
        Self { cache, since: believes.then(|| now.saturating_sub(every)), now }
    }

    /// A time that is ahead of the clock proves nothing.
    pub(crate) fn trusts(self, verified_at: Option<i64>) -> bool {
        self.since.zip(verified_at).is_some_and(|(since, at)| (since..=self.now).contains(&at))
    }
}

/// Finds an older output whose bytes have this digest. One whose bytes were changed though its times were not is a problem, and is never
/// taken again.
pub(super) fn sound_output(
    earlier: Earlier<'_>,
    sha256: &str,
    out: &Path,
    rotten: &mut Vec<Problem>,
    observer: &dyn Observer,
) -> Result<Option<PathBuf>> {
    let Some(cache) = earlier.cache else { return Ok(None) };
    while let Some(path) = cache.find_output(sha256, out) {
        if earlier.trusts(cache.verified_at(&path)) {
            return Ok(Some(path));
        }
        let found = match sha256_of(&path, observer) {
            Err(error) if error.is_final() => return Err(error),
            Err(error) => Err(error.to_string()),
            Ok((found, _)) if found == sha256 => {
                let _ = cache.put_verified(&path, earlier.now);
                return Ok(Some(path));
            }
            Ok((found, _)) => Ok(found),
        };
        let what = found
            .as_ref()
            .map_or_else(String::as_str, |_| "its bytes have changed, though its size and times have not");
        let reason = format!("is damaged: {what}. The new set gets a fresh archive; other sets may share the damage");
        report(rotten, observer, &path, reason.hint(Hint::CheckData), true);
        // Without this note it would be found again.
        if cache.put_output(&path, found.as_deref().unwrap_or_default()).is_err() {
            return Ok(None);
        }
    }
    Ok(None)
}

/// Clones a file of an earlier set, where the file system can share its blocks.
pub(super) fn reflink(path: &Path, out: &Path) -> Result<Option<NamedTempFile>> {
    let copy = temporary_file(out)?;
    let source = File::open(path).map_err(Error::io("open", path))?;
    Ok(rustix::fs::ioctl_ficlone(copy.as_file(), &source).is_ok().then_some(copy))
}
