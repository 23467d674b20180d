//! What is asked for, and what will happen.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::target::Target;
use crate::ops::query::private_file::PrivateFile;

/// What happens to rows that are there with other values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// There must be none.
    Careful,
    /// They stay as they are.
    MissingOnly,
    /// They get the snapshot's values.
    Replace,
}

/// What is asked for.
pub struct Options<'a> {
    /// The table.
    pub table: &'a str,
    /// A condition on the snapshot's rows, as after WHERE; `None`: all.
    pub condition: Option<&'a str>,
    /// What happens to rows that are there.
    pub mode: Mode,
    /// The application's triggers run.
    pub triggers: bool,
    /// The live database.
    pub live: PathBuf,
    /// Where copies are made.
    pub temp: &'a Path,
    /// How long to wait for another process's lock.
    pub busy: Duration,
    /// How long reading with a condition may take.
    pub time_limit: Duration,
}

/// How many rows.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, serde::Serialize)]
pub struct Counts {
    /// Come: they are not there.
    pub come: u64,
    /// Change: they are there with other values, and get the snapshot's.
    pub change: u64,
    /// Stay: they are there as the snapshot has them.
    pub stay: u64,
    /// Are there with other values, and stay as they are.
    pub differ: u64,
}

/// What would happen.
#[derive(Debug, Clone, Default, serde::Serialize)]
pub struct Plan {
    /// The table, as the database spells it.
    pub table: String,
    /// How many rows.
    #[serde(flatten)]
    pub counts: Counts,
    /// The table is not there, and is made.
    pub creates: bool,
    /// The columns by which rows are found; none: as a whole.
    pub key: Vec<String>,
    /// Triggers that are concerned.
    pub triggers: Vec<String>,
    /// Tables that the rows refer to.
    pub refers_to: Vec<String>,
    /// Full text indexes that are made again.
    pub rebuilds: Vec<String>,
    /// Files that the rows name, that are not there, and that the snapshot holds: their paths in the snapshot.
    #[serde(skip)]
    pub files: Vec<Vec<u8>>,
    /// How many files that the rows name are neither there nor in the snapshot.
    pub lost_files: u64,
}

/// What was tried, and is ready to be done.
pub struct Prepared {
    /// What would happen.
    pub plan: Plan,
    pub(super) wanted: PrivateFile,
    pub(super) target: Target,
}
