//! How the last backup of a source ended, good or bad: a small file in the store's cache, which for a store in a bucket and an encrypted one
//! is the user's. Only `lrl status` reads it, and nothing depends on it.

use std::fs;
use std::io::Write;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use lrl_store::backend::local::LocalBackend;
use lrl_store::backend::location::Location;
use lrl_store::store::key_slots;
use lrl_store::time::time_of;
use serde::{Deserialize, Serialize};

use super::open;
use crate::args::Verb;
use crate::context::Context;
use crate::exit::{Exit, Failure, Result};

/// How a run ended.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct RunRecord {
    /// The verb.
    pub command: String,
    /// When it ended, in seconds since 1970.
    pub finished: i64,
    /// Its exit code.
    pub exit: u8,
    /// The error that ended it, if one did.
    pub error: Option<String>,
    /// What was backed up, absolute and with links resolved; earlier versions recorded none.
    #[serde(default)]
    pub data_dir: Option<PathBuf>,
}

impl RunRecord {
    /// Returns the directory that was backed up, if it is another one than `data_dir`.
    pub fn other_data_dir(self, data_dir: &Path) -> Option<PathBuf> {
        let before = self.data_dir?;
        (before != fs::canonicalize(data_dir).ok()?).then_some(before)
    }
}

/// Records how a backup ended; other verbs, and what only plans, leave no record. A record that cannot be written changes nothing.
pub fn write(context: &Context<'_>, result: &Result) {
    let Verb::Backup(args) = &context.cli.command else { return };
    let exit = result.as_ref().map_or_else(|failure| failure.exit(false), |exit| *exit);
    if args.dry_run || matches!(exit, Exit::Usage | Exit::WrongKey | Exit::NoStore) {
        return;
    }
    let record = RunRecord {
        command: "backup".into(),
        finished: time_of(SystemTime::now()).secs,
        exit: exit.code(),
        error: result.as_ref().err().map(Failure::message),
        data_dir: context.paths().ok().and_then(|paths| fs::canonicalize(paths.data_dir).ok()),
    };
    let written = path(context, &context.cli.global.source).and_then(|path| put(&path, &record));
    if written.is_none() {
        context.term.detail("how this run ended could not be recorded");
    }
}

/// Reads how the last backup of a source ended; `None` where that is not known.
pub fn read(context: &Context<'_>, source: &str) -> Option<RunRecord> {
    serde_json::from_slice(&fs::read(path(context, source)?).ok()?).ok()
}

fn path(context: &Context<'_>, source: &str) -> Option<PathBuf> {
    place(context, &format!("last-run-{source}.json"))
}

/// Returns where a record of this name is kept, beside the others of the store in force; `None` where no store is yet.
pub fn place(context: &Context<'_>, name: &str) -> Option<PathBuf> {
    let place = match context.paths().ok()?.store {
        // Where no store is, nothing is made.
        Location::Directory(path) => match key_slots::is_encrypted(&LocalBackend::new(&path)) {
            Ok(false) => {
                return Some(path.join("cache").join(name)).filter(|path| path.parent().is_some_and(Path::is_dir));
            }
            // Names of sources are nobody else's business.
            Ok(true) => std::path::absolute(&path).ok()?.into_os_string().into_vec(),
            Err(_) => return None,
        },
        Location::Bucket(url) => url.into_bytes(),
    };
    let digits: String = place.iter().map(|b| format!("{b:02x}")).collect();
    let start = digits.len().saturating_sub(120);
    Some(open::cache_dir(context).ok()?.join(format!("{}-{name}", &digits[start..])))
}

/// Writes a record by rename; `None` where it cannot be written.
pub fn put(path: &Path, record: &impl Serialize) -> Option<()> {
    let temporary = path.with_extension("json.new");
    let _ = fs::remove_file(&temporary);
    let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&temporary).ok()?;
    file.write_all(&serde_json::to_vec(record).ok()?).ok()?;
    drop(file);
    fs::rename(&temporary, path).ok()
}
