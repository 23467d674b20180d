//! The engine of lrl: content-addressed, incremental backups of one SQLite database and a directory of uploads, and the proof that they
//! restore.
//!
//! A [`Store`] holds snapshots of one or more sources, in a directory or a bucket, encrypted or not. [`backup`] adds a snapshot that costs
//! what changed, [`restore`] brings one back, [`drill`] proves that it can be. The other verbs are in modules of their own; each takes its
//! options and an [`Observer`], and returns a report. The engine prints nothing, and reads neither the environment nor a clock.
//!
//! # Back up a directory to a directory
//! ```
//! use std::time::SystemTime;
//! use lrl_store::{Location, OpenOptions, Silent, backup, create, open, time_of};
//!
//! # let dir = tempfile::tempdir()?;
//! # let (data, backups) = (dir.path().join("data"), dir.path().join("backups"));
//! # std::fs::create_dir_all(data.join("assets"))?;
//! # std::fs::write(data.join("assets/hello.txt"), "hello")?;
//! # rusqlite::Connection::open(data.join("lrl.db"))?.execute_batch("CREATE TABLE posts(text)")?;
//! # std::fs::create_dir(&backups)?;
//! let now = SystemTime::now();
//! let location = Location::parse(backups.join("store"))?;
//! let options = OpenOptions::default();
//! create(&location, &options, time_of(now))?;
//! let store = open(&location, &options, &Silent)?;
//! let report = backup::backup(&store, &backup::Options::new(&data, &backups, now), &Silent)?;
//! assert!(report.problems.is_empty());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Restore the newest good snapshot
//! ```
//! use lrl_store::{Location, OpenOptions, Silent, judgement::newest_good, open, restore, time_of};
//! # use std::time::SystemTime;
//!
//! # let dir = tempfile::tempdir()?;
//! # let (data, backups, target) = (dir.path().join("data"), dir.path().join("backups"), dir.path().join("restored"));
//! # std::fs::create_dir_all(data.join("assets"))?;
//! # rusqlite::Connection::open(data.join("lrl.db"))?.execute_batch("CREATE TABLE posts(text)")?;
//! # std::fs::create_dir(&backups)?;
//! # let (now, location) = (SystemTime::now(), Location::parse(backups.join("store"))?);
//! # lrl_store::create(&location, &OpenOptions::default(), time_of(now))?;
//! # let options = lrl_store::backup::Options::new(&data, &backups, now);
//! # lrl_store::backup::backup(&open(&location, &OpenOptions::default(), &Silent)?, &options, &Silent)?;
//! let store = open(&location, &OpenOptions::default(), &Silent)?;
//! let good = newest_good(&store, Some("lab"), time_of(SystemTime::now()), &Silent)?;
//! let report = restore::restore(&store, &good.name, &good.snapshot, &restore::Options::new(&target), &Silent)?;
//! assert!(target.join("lrl.db").exists());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Check a store
//! ```
//! use lrl_store::check::{self, ReadData};
//! # use lrl_store::{Location, OpenOptions, Silent, create, time_of};
//!
//! # let dir = tempfile::tempdir()?;
//! # let (location, now) = (Location::parse(dir.path().join("store"))?, std::time::SystemTime::now());
//! # create(&location, &OpenOptions::default(), time_of(now))?;
//! let options = check::Options::new(ReadData::All);
//! let report = check::check_at(&location, &OpenOptions::default(), &options, &Silent)?;
//! assert!(!report.wrong);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Open an encrypted store in a bucket
//! ```no_run
//! use lrl_store::{Credential, Location, OpenOptions, Silent, open};
//!
//! let mut options = OpenOptions::default();
//! options.credential = Credential::from_key_file(&std::fs::read_to_string("lrl.key")?);
//! options.cache_dir = Some("/var/cache/lrl".into());
//! options.variables = std::env::vars().filter(|(name, _)| name.starts_with("AWS_")).collect();
//! let store = open(&Location::parse("s3://bucket/site?region=eu-central-1")?, &options, &Silent)?;
//! for name in store.snapshot_names(None)? {
//!     println!("{name}");
//! }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # What is public
//! What these pages list: the file `lib.rs` names each item, and `tests/testdata/api.txt` is the list that a test compares with it. The
//! modules of the engine itself are public, but hidden, for lrl's own programs; they change without notice.
//!
//! # Layers
//! Lowest first; `tests/e2e/layers.rs` holds them: words (`id`, `units`, `hint`, `error`, `progress`, `time`, `budget`), bytes (`format`, `chunk`, `compression`, `crypt`), the
//! system (`fs`), what is backed up (`source`), where objects are kept (`backend`), the store, sets (`set`), verbs (`ops`).

#![warn(clippy::missing_errors_doc)]

// The engine. Hidden: what a program that embeds it needs is listed below.
#[doc(hidden)]
pub mod backend;
#[doc(hidden)]
pub mod budget;
#[doc(hidden)]
pub mod chunk;
#[doc(hidden)]
pub mod compression;
#[doc(hidden)]
pub mod crypt;
#[doc(hidden)]
pub mod error;
#[doc(hidden)]
pub mod format;
#[doc(hidden)]
pub mod fs;
#[doc(hidden)]
pub mod hint;
#[doc(hidden)]
pub mod id;
#[doc(hidden)]
pub mod ops;
#[doc(hidden)]
pub mod progress;
#[doc(hidden)]
pub mod set;
#[doc(hidden)]
pub mod source;
#[doc(hidden)]
pub mod store;
#[doc(hidden)]
pub mod time;
#[doc(hidden)]
pub mod units;

pub use backend::location::Location;
pub use error::{Error, Result};
pub use format::key::Credential;
pub use format::snapshot::Snapshot;
pub use fs::lock::LockMode;
pub use fs::space::Reserve;
pub use hint::{Hint, Message};
pub use id::SnapshotId;
pub use progress::{Interrupted, Observer, Phase, Problem, Silent};
pub use store::open::{OpenOptions, create, open};
pub use store::{SnapshotName, Store};
pub use time::{Time, time_of};

/// What a snapshot records of its parts.
pub mod snapshot {
    pub use crate::format::snapshot::{Database, Files, Measure, Shrink};
}

/// Makes a snapshot, and a set of ordinary files if asked to.
pub mod backup {
    pub use crate::ops::backup::{Options, Report, SetOutput, backup};
    pub use crate::source::database::source::DatabaseSource;
    pub use crate::source::files::exclude::Excludes;
    pub use crate::source::files::walk::Root;
}

/// Restores a snapshot or a set, and takes a restore back.
pub mod restore {
    pub use crate::ops::restore::{
        Moved, Options, Part, Report, Restored, Returned, UndoOptions, Undone, What, restore, restore_set, undo,
    };
    pub use crate::set::missing::Skip;
}

/// Proves that a snapshot or a set can be restored.
pub mod drill {
    pub use crate::format::drill::Drill;
    pub use crate::ops::drill::{
        Assertion, Check, Options, Report, RequiredTables, RowsCheck, Verification, drill_set, drill_snapshot,
    };
    pub use crate::store::drill_records::DrillName;
}

/// Tells which snapshots are good, and whether the newest is as it should be.
pub mod judgement {
    pub use crate::ops::judgement::{Judgement, State};
    pub use crate::ops::parts::Need;
    pub use crate::ops::select::{PassedOver, Selected, at, newest_good};
    pub use crate::ops::status::{Condition, Good, Limits, Newest, Status, status};
}

/// Removes snapshots by a policy.
pub mod forget {
    pub use crate::ops::forget::{Decision, Options, Period, Plan, Policy, Reason, apply, plan};
}

/// Deletes what no snapshot needs.
pub mod prune {
    pub use crate::fs::space::SpaceGuard;
    pub use crate::ops::prune::{MaxUnused, Numbers, Packs, Plan, Report, apply, plan};

    /// In a bucket: schedules for deletion first, and deletes later.
    pub mod two_phase {
        pub use crate::ops::prune::two_phase::{Options, Report, prune};
    }
}

/// Verifies that every snapshot can be restored.
pub mod check {
    pub use crate::ops::check::{Checked, Finding, Options, ReadData, Report, check_at};
}

/// Copies snapshots from one store to another.
pub mod copy {
    pub use crate::ops::copy::{Copied, Failed, Options, Report, Which, copy};
}

/// Writes the set of a snapshot.
pub mod export {
    pub use crate::ops::export::{Options, Report, export};
    pub use crate::set::layout::Names;
}

/// Takes sets into a store as snapshots.
pub mod import {
    pub use crate::ops::import::{Imported, Options, Report, Skipped, import};
}

/// Looks into a snapshot: what it holds, and the bytes of one file.
pub mod contents {
    pub use crate::format::entry::{Entry, Kind};
    pub use crate::ops::dump::dump;
    pub use crate::ops::ls::{Entries, Listing, ls};
}

/// Measures what a store takes.
pub mod stats {
    pub use crate::ops::stats::{Added, Objects, Stats, stats};
}

#[cfg(test)]
extern crate self as lrl_store;
#[cfg(test)]
#[path = "../../lrl-testing/src/lib.rs"]
#[allow(dead_code)] // The tests of the binary use the rest of it.
pub(crate) mod testing;
