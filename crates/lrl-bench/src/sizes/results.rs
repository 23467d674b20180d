//! What was measured: one row for each run of a tool, kept as JSON.

use std::fs;
use std::path::Path;

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

use crate::error::{At, Result};
use crate::results::{Fact, median};
use crate::tools::LeftOut;

/// Where the results are kept, below the directory of documents.
pub const FILE: &str = "bench/sizes.json";

/// A journal mode.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// A write-ahead log.
    Wal,
    /// A rollback journal, SQLite's default.
    Rollback,
}

impl std::fmt::Display for Mode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(if *self == Self::Wal { "WAL" } else { "rollback" })
    }
}

/// One run of the benchmark.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Results {
    /// When it began, RFC 3339.
    pub date: String,
    /// Where all data comes from.
    pub seed: u64,
    /// Rounds of the sizes up to 2 GiB.
    pub rounds: u32,
    /// What it ran on.
    pub machine: Vec<Fact>,
    /// What was measured, with versions.
    pub tools: Vec<Fact>,
    /// What was not.
    pub left_out: Vec<LeftOut>,
    /// Every single run.
    pub rows: Vec<Row>,
}

/// One run of one tool.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Row {
    /// The size that was asked for.
    pub mib: u32,
    /// The database's journal mode.
    pub mode: Mode,
    /// The case's key, as in [`super::cases::CASES`].
    pub case: String,
    /// The tool's name.
    pub tool: String,
    /// The round.
    pub n: u32,
    /// Seconds.
    pub wall: f64,
    /// Seconds of processor time.
    pub cpu: f64,
    /// MiB.
    pub peak: f64,
    /// Bytes that the run added to the repository.
    pub added: i64,
    /// Free bytes that the run needed for a while, beyond what it left behind.
    pub room: u64,
    /// What a writer waited for its commits meanwhile.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waits: Option<Waits>,
    /// Why the run counts for nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failed: Option<String>,
}

/// How long commits took, in milliseconds.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct Waits {
    /// Half of them at most this.
    pub p50: f64,
    /// 99 of 100.
    pub p99: f64,
    /// All of them.
    pub longest: f64,
}

impl Results {
    /// Reads what [`Results::write`] wrote.
    pub fn read(path: &Path) -> Result<Self> {
        serde_json::from_slice(&fs::read(path).at(path)?).at(path)
    }

    /// Writes the results.
    pub fn write(&self, path: &Path) -> Result<()> {
        path.parent().map_or(Ok(()), fs::create_dir_all).at(path)?;
        fs::write(path, format!("{}\n", serde_json::to_string_pretty(self)?)).at(path)
    }

    /// Returns the sizes in which something was measured, smallest first.
    pub fn sizes(&self) -> Vec<u32> {
        let mut sizes: Vec<_> = self.rows.iter().map(|row| row.mib).collect();
        sizes.sort_unstable();
        sizes.dedup();
        sizes
    }

    /// Returns the good rows of one place in the tables.
    pub fn rows<'a>(&'a self, mib: u32, mode: Mode, case: &'a str, tool: &'a str) -> impl Iterator<Item = &'a Row> {
        let here = move |row: &&Row| row.mib == mib && row.mode == mode && row.case == case && row.tool == tool;
        self.rows.iter().filter(here).filter(|row| row.failed.is_none())
    }

    /// Returns the median of a figure; `None` if it was not measured.
    pub fn median(&self, mib: u32, mode: Mode, case: &str, tool: &str, figure: fn(&Row) -> f64) -> Option<f64> {
        median(self.rows(mib, mode, case, tool).map(figure).collect())
    }
}
