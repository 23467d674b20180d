//! The engine of lrl: content-addressed, incremental backups of one SQLite database and a directory of uploads, and the proof that they
//! restore.
//!
//! A [`Store`] holds snapshots of one or more sources, in a directory or a bucket, encrypted or not. [`backup`] adds a snapshot that costs
//! what changed, [`restore`] brings one back, [`drill`] proves that it can be. [`ops`] has the other verbs; each takes its options and
//! an [`Observer`], and returns a report. The engine prints nothing, and reads neither the environment nor a clock.
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
//! use lrl_store::{Location, OpenOptions, Silent, newest_good, open, restore, time_of};
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
//! # Layers
//! Lowest first; `tests/e2e/layers.rs` holds them: words (`id`, `units`, `hint`, `error`, `progress`, `time`), bytes (`format`, `chunk`, `compression`, `crypt`), the
//! system (`fs`), what is backed up (`source`), where objects are kept (`backend`), the store, sets (`set`), verbs ([`ops`]). Modules that
//! these pages do not list are public for lrl's own binary and tests only, and change without notice.

#![warn(clippy::missing_errors_doc)]

#[doc(hidden)]
pub mod backend;
#[doc(hidden)]
pub mod chunk;
#[doc(hidden)]
pub mod compression;
#[doc(hidden)]
pub mod crypt;
pub mod error;
#[doc(hidden)]
pub mod format;
#[doc(hidden)]
pub mod fs;
pub mod hint;
#[doc(hidden)]
pub mod id;
pub mod ops;
pub mod progress;
#[doc(hidden)]
pub mod set;
#[doc(hidden)]
pub mod source;
#[doc(hidden)]
pub mod store;
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
pub use ops::select::newest_good;
pub use ops::{backup, drill, restore};
pub use progress::{Observer, Silent};
pub use store::open::{OpenOptions, create, open};
pub use store::{SnapshotName, Store};
pub use time::{Time, time_of};

#[cfg(test)]
extern crate self as lrl_store;
#[cfg(test)]
#[path = "../../lrl-testing/src/lib.rs"]
#[allow(dead_code)] // The tests of the binary use the rest of it.
pub(crate) mod testing;
