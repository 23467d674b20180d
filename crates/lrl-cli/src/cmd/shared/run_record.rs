//! How the last run of each command of a source ended, good or bad: small files in the store's cache, which for a store in a bucket and an
//! encrypted one is the user's. Only `lrl status` and the metrics read them, and nothing depends on them.

use std::fs;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use lrl_store::backend::local::LocalBackend;
use lrl_store::backend::location::Location;
use lrl_store::store::key_slots;
use lrl_store::time::time_of;
use serde::{Deserialize, Serialize};

use super::open;
use crate::context::Context;
use crate::exit::Exit;
use crate::known_stores;
use crate::notify::Ended;
use crate::replace::replace;

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
    /// How long it took, in seconds.
    #[serde(default)]
    pub seconds: Option<f64>,
    /// When such a run last ended with exit code 0, in seconds since 1970.
    #[serde(default)]
    pub last_success: Option<i64>,
    /// For how many seconds the application could not write while its database was last read.
    #[serde(default)]
    pub read_lock: Option<f64>,
    /// When such a run last measured the size of the store, in seconds since 1970.
    #[serde(default)]
    pub sized: Option<i64>,
}

/// How long the size of a store in a bucket is not measured again: that takes a request for each thousand objects.
const SIZED: i64 = 20 * 3600;

/// The commands whose runs are recorded.
pub const COMMANDS: [&str; 7] = ["backup", "copy", "drill", "check", "forget", "prune", "run"];

impl RunRecord {
    /// Returns the directory that was backed up, if it is another one than `data_dir`.
    pub fn other_data_dir(self, data_dir: &Path) -> Option<PathBuf> {
        let before = self.data_dir?;
        (before != fs::canonicalize(data_dir).ok()?).then_some(before)
    }
}

/// Records how a run ended, and returns the record; other commands, and what only plans, leave none. A record that cannot be written changes
/// nothing.
pub fn write(context: &Context<'_>, ended: &Ended) -> Option<RunRecord> {
    let command = context.cli.command.timed_name().filter(|_| context.cli.command.notify().is_some())?;
    let source = &context.cli.global.source;
    let before = read_of(context, command, source);
    let finished = time_of(SystemTime::now()).secs;
    let record = RunRecord {
        command: command.into(),
        finished,
        exit: ended.code,
        error: ended.error.clone(),
        data_dir: match command {
            "backup" => context.paths().ok().and_then(|paths| fs::canonicalize(paths.data_dir).ok()),
            _ => None,
        },
        seconds: Some(ended.took.as_secs_f64()),
        last_success: match ended.code {
            0 => Some(finished),
            // Earlier versions recorded none, but how the run ended.
            _ => before.as_ref().and_then(|run| run.last_success.or((run.exit == 0).then_some(run.finished))),
        },
        sized: match before.as_ref().and_then(|run| run.sized) {
            Some(at) if is_dear(context, command) && (0..SIZED).contains(&(finished - at)) => Some(at),
            before => context
                .cli
                .command
                .notify()
                .and_then(|notify| notify.metrics_file.as_ref())
                .map_or(before, |_| Some(finished)),
        },
        read_lock: context.left.read_lock.get().or(before.and_then(|run| run.read_lock)),
    };
    let is_of_store = ![Exit::Usage, Exit::WrongKey, Exit::NoStore].iter().any(|exit| exit.code() == ended.code);
    if is_of_store {
        let written = path(context, command, source).and_then(|path| put(&path, &record));
        if written.is_none() {
            context.term.detail("how this run ended could not be recorded");
        }
    }
    Some(record)
}

/// Returns whether to measure the store's size costs more than the command itself might.
fn is_dear(context: &Context<'_>, command: &str) -> bool {
    let is_bucket = context.store_in_use().is_ok_and(|place| place.directory().is_none());
    is_bucket && !["prune", "check"].contains(&command)
}

/// Reads how the last backup of a source ended; `None` where that is not known.
pub fn read(context: &Context<'_>, source: &str) -> Option<RunRecord> {
    read_of(context, "backup", source)
}

/// Reads how the last run of a command ended; `None` where that is not known.
pub fn read_of(context: &Context<'_>, command: &str, source: &str) -> Option<RunRecord> {
    serde_json::from_slice(&fs::read(path(context, command, source)?).ok()?).ok()
}

fn path(context: &Context<'_>, command: &str, source: &str) -> Option<PathBuf> {
    let name = match command {
        "backup" => format!("last-run-{source}.json"),
        "run" => format!("last-whole-run-{source}.json"),
        command => format!("last-{command}-{source}.json"),
    };
    place(context, &name)
}

/// Returns where a record of this name is kept, beside the others of the store in force; `None` where no store is yet.
pub fn place(context: &Context<'_>, name: &str) -> Option<PathBuf> {
    let place = match context.store_in_use().ok()? {
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
    Some(open::cache_dir(context).ok()?.join(format!("{}-{name}", known_stores::place_digest(&place))))
}

/// Writes a record by rename, and makes the user's cache for it; `None` where it cannot be written.
pub fn put(path: &Path, record: &impl Serialize) -> Option<()> {
    known_stores::create_private(path.parent()?).ok()?;
    replace(path, &serde_json::to_vec(record).ok()?, 0o600).ok()
}
