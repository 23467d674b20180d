//! The document: everything that docs/BENCHMARKS.md and its plots say comes from the results alone.

use std::fmt::Write;
use std::fs;
use std::path::Path;

use crate::error::{At, Result};
use crate::plan::{CASES, restore_database};
use crate::results::{Fact, Measure, Results};
use crate::targets::Target;
use crate::tools::LeftOut;
use crate::units::{bytes, mebibytes, number, seconds};
use crate::{plots, targets};

/// Where the results are kept, below the directory of documents.
pub const RESULTS: &str = "bench/results.json";

/// Writes the document and its plots below `docs`.
pub fn write(results: &Results, docs: &Path) -> Result<()> {
    let directory = docs.join("bench");
    fs::create_dir_all(&directory).at(&directory)?;
    for (name, text) in files(results) {
        let path = docs.join(name);
        fs::write(&path, text).at(&path)?;
    }
    Ok(())
}

/// Returns the document and its plots by their names below the directory of documents.
pub fn files(results: &Results) -> Vec<(String, String)> {
    let plots = plots::all(results);
    let mut out = String::new();
    // Writing to a string cannot fail.
    let _ = document(results, &plots, &mut out);
    let plots = plots.into_iter().map(|plot| (format!("bench/{}.svg", plot.name), plot.svg));
    [("BENCHMARKS.md".to_owned(), out)].into_iter().chain(plots).collect()
}

fn document(results: &Results, plots: &[plots::Plot], out: &mut String) -> std::fmt::Result {
    let command = &results.command;
    writeln!(out, "# Benchmarks\n\n<!-- Made from {RESULTS} by `lrl-bench render`; do not edit. -->\n")?;
    if results.scale < 1.0 {
        writeln!(
            out,
            "> **A trial at {} of the full size: it shows that everything works, and its figures say nothing about speed.**\n\
             > Headings name the full sizes.\n",
            results.scale
        )?;
    }
    writeln!(
        out,
        "lrl beside its peers, in one run on one machine. Compare figures of one table, not of two machines. Repeat it with\n\n\
         ```bash\n{command}\n```\n"
    )?;
    conditions(results, out)?;
    demands(&targets::all(results), out)?;
    writeln!(out, "## Plots\n")?;
    for plot in plots {
        writeln!(out, "![{}](bench/{}.svg)\n", plot.title, plot.name)?;
    }
    cases(results, out)?;
    losses(results, out)?;
    failures(results, out)
}

fn conditions(results: &Results, out: &mut String) -> std::fmt::Result {
    writeln!(out, "## What was measured, and on what\n")?;
    facts(&results.date, results.machine.iter().chain(&results.tools), &results.left_out, out)?;
    let (lab, tiny) = (&results.lab, &results.tiny_files);
    writeln!(
        out,
        "\n- The lab, from seed {}: a database of {}, and {} of uploads in {} files and {} directories; half of these bytes do not compress. \
         The tiny files: {} in {} files and {} directories.",
        results.seed,
        bytes(lab.database_bytes as f64),
        bytes(lab.upload_bytes as f64),
        lab.files,
        lab.directories,
        bytes(tiny.upload_bytes as f64),
        tiny.files,
        tiny.directories,
    )?;
    writeln!(
        out,
        "- Figures are medians of {} rounds, or of all steps. The tools take turns, another one first in each round, and see the same states. \
         The Python script and the archivers write everything again each time; they have {} rounds. The first snapshot of 100,000 files \
         and the restore at the end have one.",
        results.rounds, results.slow_rounds
    )?;
    writeln!(
        out,
        "- Files are in the page cache, and what was written before is on disk when a run begins. A restore counts until its file system is synced.\n\
         - Everything that was restored is compared with its source: every row of the database, its integrity, every byte of every upload. \
         A run that fails or restores something else counts for nothing and is named at the end.\n\
         - Peak memory is that of the largest process; {} of it may be this program's own. Bytes added are those of all files in the repository \
         without caches, hard links once; for sets, of the backup directory, lrl's store included.\n\
         - restic, rustic and borg (`repokey-blake2`) encrypt, lrl here does not. borg compresses with `zstd,3`, the others as they do by default. \
         lrl syncs what it writes; `sqlite3`, `tar` and the Python script leave that to the system.\n\
         - python is the operations manual's pair of scripts, tar+gzip is `sqlite3 .backup` and `tar | gzip -6`, tar+pigz the same with `pigz -6`.\n",
        mebibytes(results.floor)
    )
}

/// Writes a table of when and on what was measured, and of what was not.
pub fn facts<'a>(
    date: &str,
    facts: impl Iterator<Item = &'a Fact>,
    left_out: &[LeftOut],
    out: &mut String,
) -> std::fmt::Result {
    writeln!(out, "| | |\n| --- | --- |\n| begun | {date} |")?;
    for fact in facts {
        writeln!(out, "| {} | {} |", fact.name, cell(&fact.value))?;
    }
    left_out.iter().try_for_each(|left| writeln!(out, "| {} | **left out**: {} |", left.tool, cell(&left.reason)))
}

/// Writes a table of what is to be reached.
pub fn demands(targets: &[Target], out: &mut String) -> std::fmt::Result {
    writeln!(out, "## To reach\n\n| case | required | measured | |\n| --- | --- | --- | --- |")?;
    for target in targets {
        let verdict = match target.reached {
            Some(true) => "reached",
            Some(false) => "**NOT reached**",
            None => "",
        };
        writeln!(out, "| {} | {} | {} | {verdict} |", target.case, target.required, target.measured)?;
    }
    writeln!(out)
}

/// Returns whether a case adds to what is stored.
fn adds(case: &str) -> bool {
    !case.contains("restore") && !matches!(case, "verify" | "set_drill")
}

fn makes_set(case: &str) -> bool {
    matches!(case, "set_first" | "set_rows" | "set_little" | "set_unchanged")
}

fn cases(results: &Results, out: &mut String) -> std::fmt::Result {
    writeln!(out, "## Cases\n\n\"× lrl\" says how many times as much as lrl.\n")?;
    for (case, title, explanation) in CASES {
        let (adds, set) = (adds(case), makes_set(case));
        let row = |cells: &[&str], out: &mut String| {
            let shown = if set {
                cells
            } else if adds {
                &cells[..8]
            } else {
                &cells[..6]
            };
            writeln!(out, "| {} |", shown.join(" | "))
        };
        writeln!(out, "### {title}\n\n{explanation}\n")?;
        row(
            &["tool", "wall, median", "× lrl", "from – to", "CPU", "peak memory", "bytes added", "× lrl", "archive"],
            out,
        )?;
        row(&["---"; 9], out)?;
        for tool in results.names() {
            let figure = |measure| results.median(case, tool, measure);
            let (Some(wall), Some(cpu), Some(added)) =
                (figure(Measure::Wall), figure(Measure::Cpu), figure(Measure::Added))
            else {
                continue;
            };
            let all = results.figures(case, tool, Measure::Wall);
            let (least, most) = (all.iter().copied().fold(f64::MAX, f64::min), all.iter().copied().fold(0.0, f64::max));
            let times = |measure, own: f64| match results.median(case, "lrl", measure) {
                Some(lrl) if lrl > 0.0 => number(own / lrl),
                _ => String::new(),
            };
            let peak = results.largest(case, tool, Measure::Peak).unwrap_or_default();
            let cells = [
                tool.into(),
                seconds(wall),
                times(Measure::Wall, wall),
                format!("{} – {}", number(least), number(most)),
                seconds(cpu),
                mebibytes(peak),
                bytes(added),
                times(Measure::Added, added),
                figure(Measure::Archive).map(bytes).unwrap_or_default(),
            ];
            row(&cells.each_ref().map(String::as_str), out)?;
        }
        writeln!(out)?;
    }
    depths(results, out)
}

/// The table of restoring the database after more and more steps.
fn depths(results: &Results, out: &mut String) -> std::fmt::Result {
    let depths = plots::depths(results);
    writeln!(out, "### Restore of the database alone\n\nAfter this many small steps, until it is on disk.\n")?;
    let heads: Vec<_> = depths.iter().map(u32::to_string).collect();
    writeln!(out, "| tool | {} |\n| --- |{}", heads.join(" | "), " --- |".repeat(depths.len()))?;
    for tool in results.names() {
        let cells = depths.iter().map(|depth| results.median(&restore_database(*depth), tool, Measure::Wall));
        let cells: Vec<_> = cells.map(|wall| wall.map(seconds).unwrap_or_default()).collect();
        if cells.iter().any(|cell| !cell.is_empty()) {
            writeln!(out, "| {tool} | {} |", cells.join(" | "))?;
        }
    }
    writeln!(out)
}

/// Every figure in which another tool is better, worst first.
fn losses(results: &Results, out: &mut String) -> std::fmt::Result {
    type Figure = (&'static str, Measure, fn(f64) -> String);
    const FIGURES: [Figure; 5] = [
        ("wall", Measure::Wall, seconds),
        ("CPU", Measure::Cpu, seconds),
        ("memory", Measure::Peak, mebibytes),
        ("bytes added", Measure::Added, bytes),
        ("archive", Measure::Archive, bytes),
    ];
    let mut found = Vec::new();
    for (case, title, _) in CASES {
        for (name, measure, unit) in FIGURES {
            if measure == Measure::Added && !adds(case) || measure == Measure::Archive && !makes_set(case) {
                continue;
            }
            let figure = |tool: &str| match measure {
                Measure::Peak => results.largest(case, tool, measure),
                _ => results.median(case, tool, measure),
            };
            let Some(own) = figure("lrl") else { continue };
            let better = results.names().filter_map(|tool| Some((tool, figure(tool).filter(|other| *other < own)?)));
            found.extend(better.map(|(tool, other)| {
                let ratio = own / other.max(f64::MIN_POSITIVE);
                (ratio, format!("| {title} | {name} | {} | {tool}: {} | {} |", unit(own), unit(other), number(ratio)))
            }));
        }
    }
    found.sort_by(|(a, _), (b, _)| b.total_cmp(a));
    writeln!(out, "## What lrl loses\n")?;
    if found.is_empty() {
        return writeln!(out, "No figure of this run.\n");
    }
    writeln!(out, "Every figure in which another tool is better, the largest difference first.\n")?;
    writeln!(out, "| case | figure | lrl | better | lrl takes × |\n| --- | --- | --- | --- | --- |")?;
    found.iter().try_for_each(|(_, line)| writeln!(out, "{line}"))?;
    writeln!(out)
}

fn failures(results: &Results, out: &mut String) -> std::fmt::Result {
    let failed: Vec<_> = results.rows.iter().filter_map(|row| Some((row, row.failed.as_ref()?))).collect();
    if failed.is_empty() {
        return writeln!(out, "No run failed, and all that was restored is what was backed up.");
    }
    writeln!(out, "## What failed\n\n| case | tool | round | why |\n| --- | --- | --- | --- |")?;
    failed
        .iter()
        .try_for_each(|(row, why)| writeln!(out, "| {} | {} | {} | {} |", row.case, row.tool, row.n, cell(why)))
}

/// Keeps text inside its cell of a table.
pub fn cell(text: &str) -> String {
    text.replace('|', "\\|").replace(['\n', '\r'], " ")
}
