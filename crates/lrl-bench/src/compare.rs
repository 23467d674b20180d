//! The verb `compare`: find the tools, run the cases, keep the results, write the document.

use std::fmt::Write;
use std::fs;
use std::path::PathBuf;

use clap::Args;

use crate::error::{At, Result};
use crate::plan::Plan;
use crate::results::{Fact, Results};
use crate::tools::{self, NAMES, Programs};
use crate::{cases, machine, report};

/// The options of `compare`.
#[derive(Args)]
pub struct Arguments {
    /// The binary to measure
    #[arg(long, value_name = "PATH", default_value = "target/release/lrl")]
    lrl: PathBuf,
    /// rustic, which is left out without this
    #[arg(long, value_name = "PATH")]
    rustic: Option<PathBuf>,
    /// The directory of the operations manual's backup.py and restore_drill.py, which are left out without this
    #[arg(long, value_name = "DIR")]
    python_scripts: Option<PathBuf>,
    /// Measure only these tools
    #[arg(long, value_name = "TOOL", value_delimiter = ',', value_parser = NAMES)]
    only: Vec<String>,
    /// Sizes, as a part of the full ones: less than 1 is a trial
    #[arg(long, default_value_t = 1.0)]
    scale: f64,
    /// Say nothing while measuring
    #[arg(long, short)]
    quiet: bool,
    /// Where all data comes from
    #[arg(long, default_value_t = 7)]
    seed: u64,
    /// Rounds; results are their medians
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// Rounds of the tools that write everything again each time
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..))]
    slow_rounds: u32,
    /// Small steps in a row
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..))]
    steps: u32,
    /// Steps of 1 % of the rows in a row
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..))]
    large_steps: u32,
    /// A directory on the disk to measure; about 6 GB are used in it for a while
    #[arg(long, value_name = "DIR", default_value = "target")]
    work: PathBuf,
    /// The directory of documents, where the results go
    #[arg(long, value_name = "DIR", default_value = "docs")]
    docs: PathBuf,
}

/// Measures, and writes what came out; fails at the end if a run failed or restored something wrong.
pub fn run(arguments: &Arguments) -> Result<()> {
    if !(arguments.scale > 0.0 && arguments.scale <= 1.0) {
        return Err("--scale is more than 0 and at most 1".into());
    }
    let programs = Programs {
        lrl: &arguments.lrl,
        rustic: arguments.rustic.as_deref(),
        python_scripts: arguments.python_scripts.as_deref(),
    };
    let (mut found, mut left_out) = tools::find(&programs)?;
    if !arguments.only.is_empty() {
        let wanted = |name: &str| arguments.only.iter().any(|only| only == name);
        found.retain(|tool| wanted(tool.name));
        left_out.retain(|left| wanted(&left.tool));
        let others = NAMES.into_iter().filter(|name| !wanted(name));
        left_out.extend(
            others.map(|name| tools::LeftOut { tool: name.into(), reason: "was not asked for (--only)".into() }),
        );
    }
    let plan = Plan {
        seed: arguments.seed,
        scale: arguments.scale,
        rounds: arguments.rounds,
        slow_rounds: arguments.slow_rounds.min(arguments.rounds),
        steps: arguments.steps,
        large_steps: arguments.large_steps,
        quiet: arguments.quiet,
    };
    let date = jiff::Timestamp::now().round(jiff::Unit::Second)?.to_string();
    fs::create_dir_all(&arguments.work).at(&arguments.work)?;
    let work = tempfile::Builder::new().prefix("lrl-bench-").tempdir_in(&arguments.work).at(&arguments.work)?;
    let work_path = fs::canonicalize(work.path()).at(work.path())?;
    let machine = machine::describe(&work_path);
    let outcome = cases::run(&plan, &found, &work_path)?;
    let results = Results {
        date,
        command: command(arguments),
        seed: plan.seed,
        scale: plan.scale,
        rounds: plan.rounds,
        slow_rounds: plan.slow_rounds,
        steps: plan.steps,
        large_steps: plan.large_steps,
        machine,
        tools: found.iter().map(|tool| Fact { name: tool.name.into(), value: tools::described(tool) }).collect(),
        left_out,
        lab: outcome.lab,
        tiny_files: outcome.tiny_files,
        floor: outcome.floor,
        rows: outcome.rows,
    };
    report::write(&results, &arguments.docs)?;
    results.write(&arguments.docs.join(report::RESULTS))?;
    work.close()?;
    match results.rows.iter().filter(|row| row.failed.is_some()).count() {
        0 => Ok(()),
        count => Err(format!(
            "{count} runs failed or gave something wrong: see the end of {}",
            arguments.docs.join("BENCHMARKS.md").display()
        )
        .into()),
    }
}

/// Returns the command line that repeats this run, without this machine's paths.
fn command(arguments: &Arguments) -> String {
    let mut line = "just bench".to_owned();
    let mut add = |given: bool, text: &str| {
        if given {
            // Writing to a string cannot fail.
            let _ = write!(line, " {text}");
        }
    };
    add(arguments.rustic.is_some(), "--rustic PATH");
    add(arguments.python_scripts.is_some(), "--python-scripts DIR");
    add(!arguments.only.is_empty(), &format!("--only {}", arguments.only.join(",")));
    add(arguments.scale < 1.0, &format!("--scale {}", arguments.scale));
    add(arguments.seed != 7, &format!("--seed {}", arguments.seed));
    add(arguments.rounds != 5, &format!("--rounds {}", arguments.rounds));
    add(arguments.slow_rounds != 2, &format!("--slow-rounds {}", arguments.slow_rounds));
    add(arguments.steps != 100, &format!("--steps {}", arguments.steps));
    add(arguments.large_steps != 20, &format!("--large-steps {}", arguments.large_steps));
    line
}
