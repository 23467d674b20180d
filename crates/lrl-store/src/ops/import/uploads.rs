//! Unpacked uploads, stored as a backup would store them.

use std::path::Path;
use std::time::{Duration, SystemTime};

use crate::error::Result;
use crate::format::snapshot;
use crate::fs::temp_dir;
use crate::ops::backup::{self, Context, History, files};
use crate::progress::{Observer, Problem};
use crate::source::files::exclude::Excludes;
use crate::source::files::walk::Root;
use crate::store::write::WriteSession;

/// Directories of uploads that are read as a backup would.
pub(in crate::ops) struct Uploads<'a> {
    pub roots: Vec<Root>,
    pub scratch: &'a Path,
    pub source: &'a str,
    pub program: &'a str,
    pub lock_wait: Duration,
    pub now: SystemTime,
}

/// Stores directories of uploads; every file is read.
pub(in crate::ops) fn store_roots(
    session: &WriteSession<'_>,
    uploads: Uploads<'_>,
    history: &History,
    problems: &mut Vec<Problem>,
    observer: &dyn Observer,
) -> Result<Option<snapshot::Files>> {
    let like_a_backup = backup::Options {
        databases: Vec::new(),
        discover: None,
        stores_databases: true,
        uploads: Some(uploads.roots),
        skip: Vec::new(),
        excludes: Excludes::none(),
        secrets: Excludes::none(),
        out: None,
        scratch: uploads.scratch.to_path_buf(),
        source: uploads.source.into(),
        tags: Vec::new(),
        max_shrink_percent: 0,
        accept_shrink: false,
        only_if_changed: false,
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
    let context = Context { session, cache: None, options: &like_a_backup, observer };
    Ok(files::store(context, history, &[], problems)?.part.map(|part| part.record))
}
