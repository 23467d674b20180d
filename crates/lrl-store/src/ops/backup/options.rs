//! What to back up, and how.

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use crate::error::Error;
use crate::format::snapshot::THE_DATABASE;
use crate::fs::space::Reserve;
use crate::hint::{AddHint, Hint};
use crate::source::database::source::{DatabaseSource, Discover, SIDE_FILES};
use crate::source::files::exclude::Excludes;
use crate::source::files::walk::Root;
use crate::units::PROGRAM;

/// What to back up and how.
#[non_exhaustive]
pub struct Options {
    /// The databases; none leaves them out, unless others are found.
    pub databases: Vec<DatabaseSource>,
    /// Finds further databases among the files of a site.
    #[doc(hidden)]
    pub discover: Option<Discover>,
    /// Whether databases are stored; where they are not, they are still no files.
    pub stores_databases: bool,
    /// The directories of files by name; `None` leaves them out.
    pub uploads: Option<Vec<Root>>,
    /// Directories that are never walked (the backup directory, the store), and files that are no uploads (the database).
    pub skip: Vec<PathBuf>,
    /// What is left out of the uploads.
    pub excludes: Excludes,
    /// Files that are stored as readable by their owner alone, whatever their mode: so they are restored.
    pub secrets: Excludes,
    /// The directory for the set; `None` writes no set.
    pub out: Option<PathBuf>,
    /// A directory on which temporary copies of the database fit.
    pub scratch: PathBuf,
    /// The named source that the snapshot belongs to.
    pub source: String,
    /// Words for people.
    pub tags: Vec<String>,
    /// The machine's name.
    pub host: String,
    /// The program's name and version.
    pub program: String,
    /// Reads the source and the store, whatever the cache says.
    pub rescan: bool,
    /// Reads everything as well if the last time is longer ago than this; `None`: never.
    pub rescan_every: Option<Duration>,
    /// Marks the snapshot as suspect if more than this share of its files, their bytes or the database's pages in use is gone, in percent; 0
    /// measures nothing.
    pub max_shrink_percent: u8,
    /// Takes the snapshot as it is, however much smaller it is: what follows is measured against it.
    pub accept_shrink: bool,
    /// Adds no snapshot that has the contents of the newest one: see [`super::Report::unchanged`].
    pub only_if_changed: bool,
    /// Uploads whose times are younger than this are read again by the next run; at least two seconds. See [`SETTLE`].
    pub settle: Duration,
    /// How many sets with each part stay in `out` once this one is written; `None`: all.
    pub keep_sets: Option<NonZeroUsize>,
    /// What stays free on the disks of `out` and `scratch`; the backend has its own guard.
    pub reserve: Reserve,
    /// How long to wait for another run.
    pub lock_wait: Duration,
    /// How long to wait for the database's own lock.
    pub busy: Duration,
    /// The moment of the run.
    pub now: SystemTime,
}

/// A file may change without a change of its times while they are younger than this. Two seconds cover the grain of every file system's
/// clock. A write through a mapping sets the times only when the page becomes dirty, and further writes show once the kernel has written the page
/// back: after `dirty_expire_centisecs` and `dirty_writeback_centisecs`, 30 s and 5 s by default. On tmpfs it never does.
pub const SETTLE: Duration = Duration::from_secs(40);
/// Shorter than this proves nothing, whatever is asked for.
pub(super) const GRAIN: Duration = Duration::from_secs(2);

/// The names of the parts in the cache.
pub(super) const DATABASE: &str = "database";
pub(super) const UPLOADS: &str = "uploads";

impl Options {
    /// Backs up `lrl.db` and `assets/` of a data directory, without writing a set. Temporary copies of the database go to `scratch`.
    pub fn new(data_dir: &Path, scratch: impl Into<PathBuf>, now: SystemTime) -> Self {
        let database = data_dir.join("lrl.db");
        let beside = |suffix: &str| {
            let mut path = database.clone().into_os_string();
            path.push(suffix);
            PathBuf::from(path)
        };
        Self {
            uploads: Some(vec![Root { name: "assets".into(), path: data_dir.join("assets") }]),
            skip: [""].into_iter().chain(SIDE_FILES).map(beside).collect(),
            excludes: Excludes::none(),
            secrets: Excludes::none(),
            out: None,
            scratch: scratch.into(),
            source: "lab".into(),
            tags: Vec::new(),
            host: String::new(),
            program: PROGRAM.into(),
            rescan: false,
            rescan_every: Some(Duration::from_secs(7 * 86_400)),
            max_shrink_percent: 50,
            accept_shrink: false,
            only_if_changed: false,
            settle: SETTLE,
            keep_sets: None,
            reserve: Reserve::LEAST,
            lock_wait: Duration::ZERO,
            busy: Duration::from_secs(30),
            now,
            databases: vec![DatabaseSource { path: THE_DATABASE.to_vec(), file: database }],
            discover: None,
            stores_databases: true,
        }
    }

    /// Backs up everything below `root`: every file with SQLite's header as a database, all others as files. Without writing a set.
    pub fn site(root: &Path, scratch: impl Into<PathBuf>, now: SystemTime) -> Self {
        Self {
            databases: Vec::new(),
            discover: Some(Discover { root: root.to_path_buf(), plain: Excludes::none(), expected: Vec::new() }),
            uploads: Some(vec![Root { name: String::new(), path: root.to_path_buf() }]),
            skip: Vec::new(),
            ..Self::new(root, scratch, now)
        }
    }

    /// Returns what finds the databases that lie where no files are stored, and the patterns of those places; `None` where there are none.
    pub(in crate::ops) fn elsewhere(&self) -> Option<(&Discover, Excludes)> {
        self.discover.as_ref().filter(|_| self.stores_databases).zip(self.excludes.elsewhere())
    }

    /// Returns whether databases are asked for.
    pub(super) fn asks_databases(&self) -> bool {
        self.stores_databases && (!self.databases.is_empty() || self.discover.is_some())
    }

    /// Returns the names of the parts that are asked for.
    pub(super) fn parts(&self) -> impl Iterator<Item = &'static str> {
        let parts = [(DATABASE, self.asks_databases()), (UPLOADS, self.uploads.is_some())];
        parts.into_iter().filter(|(_, asked)| *asked).map(|(part, _)| part)
    }

    /// Returns the error of a run that finds neither part.
    pub(super) fn nothing_there(&self) -> Error {
        let first_root = || self.uploads.as_ref().and_then(|roots| Some(roots.first()?.path.clone()));
        Error::Source {
            path: self.databases.first().map(|one| one.file.clone()).or_else(first_root).unwrap_or_default(),
            detail: "nothing to back up is there".hint(Hint::NameDataDir),
        }
    }
}
