//! Benchmarks of lrl: beside its peers (`compare`), and of the engine's stages (`micro`). Makes its own data from a seed, and believes no
//! figure of a run whose result is wrong.

mod cases;
mod compare;
mod contender;
mod corpus;
mod delay;
mod error;
mod kind;
mod machine;
mod measure;
mod micro;
mod plan;
mod plots;
mod remote;
mod report;
mod results;
mod rng;
mod same_result;
mod scale;
mod sizes;
mod svg;
mod targets;
mod tools;
mod units;

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Parser, Subcommand};

pub use error::Result;

#[derive(Parser)]
#[command(name = "lrl-bench", about = "Benchmarks of lrl", max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Measure lrl beside its peers, and write docs/BENCHMARKS.md with its plots
    Compare(compare::Arguments),
    /// Measure what snapshots and restores cost as the database grows, and write docs/SIZES.md with its plots
    Sizes(sizes::Arguments),
    /// Write docs/BENCHMARKS.md and docs/SIZES.md with their plots again from the results in docs/bench
    Render {
        /// The directory of documents
        #[arg(long, value_name = "DIR", default_value = "docs")]
        docs: PathBuf,
    },
    /// Measure the engine's stages one by one, and print a table
    Micro(micro::Arguments),
    /// Measure time and memory of every command in a very large lab and store, and print a table
    Scale(scale::Arguments),
    /// Measure a backup into a bucket and a restore from it beside `aws s3 cp`, on a line with a delay, and print a table
    Remote(remote::Arguments),
}

/// Runs a command line, the program's name first.
///
/// # Errors
///
/// A [`clap::Error`] for one that is not understood, or is a request for help; else what went wrong, in words.
pub fn run(arguments: impl IntoIterator<Item = impl Into<OsString> + Clone>) -> Result<()> {
    match Cli::try_parse_from(arguments)?.verb {
        Verb::Compare(arguments) => compare::run(&arguments),
        Verb::Sizes(arguments) => sizes::run(&arguments),
        Verb::Render { docs } => {
            report::write(&results::Results::read(&docs.join(report::RESULTS))?, &docs)?;
            sizes::render(&docs)
        }
        Verb::Micro(arguments) => micro::run(&arguments),
        Verb::Scale(arguments) => scale::run(&arguments),
        Verb::Remote(arguments) => remote::run(&arguments),
    }
}
