//! The verb `sizes`: what a first snapshot, a change and a restore cost as the database grows, in WAL and in rollback mode.

mod cases;
mod report;
mod results;

use std::fs;
use std::path::{Path, PathBuf};

use clap::Args;

use crate::error::{At, Result};
use crate::machine;
use crate::results::Fact;
use crate::tools::{self, Programs};
use results::{Mode, Results};

/// The options of `sizes`.
#[derive(Args)]
pub struct Arguments {
    /// The binary to measure
    #[arg(long, value_name = "PATH", default_value = "target/release/lrl")]
    lrl: PathBuf,
    /// rustic, which is left out without this
    #[arg(long, value_name = "PATH")]
    rustic: Option<PathBuf>,
    /// Sizes of the database, in MiB; those above 2048 get one round
    #[arg(long, value_delimiter = ',', default_value = "128,1024,4096,10240", value_parser = clap::value_parser!(u32).range(1..))]
    mib: Vec<u32>,
    /// The database's journal modes
    #[arg(long, value_delimiter = ',', default_value = "wal,rollback")]
    mode: Vec<Mode>,
    /// Measure only these tools
    #[arg(long, value_name = "TOOL", value_delimiter = ',', value_parser = PEERS)]
    only: Vec<String>,
    /// Rounds; results are their medians
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// Measure with the system's caches dropped, too; only root can
    #[arg(long)]
    cold: bool,
    /// Say nothing while measuring
    #[arg(long, short)]
    quiet: bool,
    /// Where all data comes from
    #[arg(long, default_value_t = 7)]
    seed: u64,
    /// A directory on the disk to measure; about seven times the largest size is used in it for a while
    #[arg(long, value_name = "DIR", default_value = "target")]
    work: PathBuf,
    /// The directory of documents, where the results go
    #[arg(long, value_name = "DIR", default_value = "docs")]
    docs: PathBuf,
}

/// Those that store snapshots.
const PEERS: [&str; 4] = ["lrl", "restic", "borg", "rustic"];

/// Measures, and writes what came out; fails at the end if a run failed or restored something wrong.
pub fn run(arguments: &Arguments) -> Result<()> {
    let programs = Programs { lrl: &arguments.lrl, rustic: arguments.rustic.as_deref(), python_scripts: None };
    let (mut found, mut left_out) = tools::find(&programs)?;
    let wanted = |name: &str| {
        PEERS.contains(&name) && (arguments.only.is_empty() || arguments.only.iter().any(|only| only == name))
    };
    found.retain(|tool| wanted(tool.name));
    left_out.retain(|left| wanted(&left.tool));
    let date = jiff::Timestamp::now().round(jiff::Unit::Second)?.to_string();
    fs::create_dir_all(&arguments.work).at(&arguments.work)?;
    let work = tempfile::Builder::new().prefix("lrl-sizes-").tempdir_in(&arguments.work).at(&arguments.work)?;
    let path = fs::canonicalize(work.path()).at(work.path())?;
    let mut rows = Vec::new();
    for mib in &arguments.mib {
        for mode in &arguments.mode {
            let plan = cases::Plan {
                seed: arguments.seed,
                mib: *mib,
                mode: *mode,
                rounds: if *mib > 2048 { 1 } else { arguments.rounds },
                cold: arguments.cold,
                quiet: arguments.quiet,
            };
            rows.extend(cases::run(&plan, &found, &path.join(format!("{mode}-{mib}")))?);
        }
    }
    let results = Results {
        date,
        seed: arguments.seed,
        rounds: arguments.rounds,
        machine: machine::describe(&path),
        tools: found.iter().map(|tool| Fact { name: tool.name.into(), value: tools::described(tool) }).collect(),
        left_out,
        rows,
    };
    results.write(&arguments.docs.join(results::FILE))?;
    report::write(&results, &arguments.docs)?;
    work.close()?;
    match results.rows.iter().filter(|row| row.failed.is_some()).count() {
        0 => Ok(()),
        count => Err(format!("{count} runs failed or gave something wrong: see {}", report::PAGE).into()),
    }
}

/// Writes the page and its plots again from the results, if there are any.
///
/// # Errors
///
/// For results that cannot be read, and a page that cannot be written.
pub fn render(docs: &Path) -> Result<()> {
    let file = docs.join(results::FILE);
    match file.exists() {
        true => report::write(&Results::read(&file)?, docs),
        false => Ok(()),
    }
}
