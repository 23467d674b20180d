//! The page: everything that it and its plots say comes from the results alone.

use std::fmt::Write;
use std::fs;
use std::path::Path;

use super::cases::CASES;
use super::results::{FILE, Mode, Results, Row};
use crate::error::{At, Result};
use crate::svg::{Axes, Line, lines};
use crate::tools::NAMES;
use crate::units::{bytes, mebibytes, number, seconds};

/// The page's name below the directory of documents.
pub const PAGE: &str = "SIZES.md";

const MODES: [Mode; 2] = [Mode::Wal, Mode::Rollback];
const PEERS: [&str; 3] = ["restic", "borg", "rustic"];
/// What may be used for a while: bytes of memory or of free disk.
const ALLOWED: f64 = (64 << 20) as f64;

/// Case, mode and name of each plot.
const PLOTS: [(&str, Mode, &str); 5] = [
    ("first", Mode::Wal, "size-first-wal"),
    ("first", Mode::Rollback, "size-first-rollback"),
    ("row", Mode::Wal, "size-row-wal"),
    ("row", Mode::Rollback, "size-row-rollback"),
    ("restore", Mode::Wal, "size-restore-wal"),
];

/// Writes the page and its plots below `docs`.
pub fn write(results: &Results, docs: &Path) -> Result<()> {
    let directory = docs.join("bench");
    fs::create_dir_all(&directory).at(&directory)?;
    for (case, mode, name) in PLOTS {
        let path = directory.join(format!("{name}.svg"));
        fs::write(&path, plot(results, case, mode)).at(&path)?;
    }
    let mut page = String::new();
    // Writing to a string cannot fail.
    let _ = document(results, &mut page);
    let path = docs.join(PAGE);
    fs::write(&path, page).at(&path)
}

fn title(case: &str) -> &'static str {
    CASES.iter().find(|(key, ..)| *key == case).map_or("", |(_, title, _)| title)
}

fn plot(results: &Results, case: &str, mode: Mode) -> String {
    let line = |tool: &str| {
        let point = |mib: u32| Some((f64::from(mib), results.median(mib, mode, case, tool, |row| row.wall)?));
        let series = NAMES.iter().position(|name| *name == tool).unwrap_or_default();
        Line { series, name: tool.into(), points: results.sizes().into_iter().filter_map(point).collect() }
    };
    let drawn: Vec<_> =
        results.tools.iter().map(|tool| line(&tool.name)).filter(|line| !line.points.is_empty()).collect();
    let title = format!("{}, {mode} mode", title(case));
    let (x, y) = ("size of the database in MiB", "wall time in seconds, median");
    lines(&Axes { title: &title, x, y, logarithmic: true, number }, &drawn)
}

fn document(results: &Results, out: &mut String) -> std::fmt::Result {
    writeln!(
        out,
        "# Benchmarks by size\n\n<!-- Made from {FILE} by `lrl-bench render`; do not edit. -->\n\n\
         What a first snapshot, a change and a restore cost as the database grows, lrl beside its peers in one run on one machine. Repeat it with\n\n\
         ```bash\njust bench-sizes\n```\n\n| | |\n| --- | --- |\n| begun | {} |",
        results.date
    )?;
    for fact in results.machine.iter().chain(&results.tools) {
        writeln!(out, "| {} | {} |", fact.name, fact.value.replace('|', "\\|"))?;
    }
    for left in &results.left_out {
        writeln!(out, "| {} | **left out**: {} |", left.tool, left.reason.replace('|', "\\|"))?;
    }
    writeln!(
        out,
        "\n- One database from seed {}: sentences of random words, and a log of visits; no uploads. The application keeps it open. In WAL mode the \
         peers copy the `-wal` file with it.\n\
         - Figures are medians of {} rounds, above 2 GiB of one. The tools take turns and see the same states.\n\
         - What was written before is on disk when a run begins. A restore counts until its file system is synced; in the first round every row \
         of what was restored is compared.\n\
         - Room is what of the free disk a run used for a while and gave back.\n",
        results.seed, results.rounds
    )?;
    targets(results, out)?;
    writeln!(out, "## Plots\n")?;
    for (case, mode, name) in PLOTS {
        writeln!(out, "![{}, {mode} mode](bench/{name}.svg)\n", title(case))?;
    }
    for (case, title, explanation) in CASES {
        if results.rows.iter().any(|row| row.case == case) {
            writeln!(out, "## {title}\n\n{explanation}\n")?;
            table(results, case, out)?;
        }
    }
    let failed: Vec<_> = results.rows.iter().filter(|row| row.failed.is_some()).collect();
    if failed.is_empty() {
        return writeln!(out, "No run failed, and all that was compared is what was backed up.");
    }
    writeln!(out, "## What failed\n")?;
    failed.iter().try_for_each(|row| {
        let reason = row.failed.as_deref().unwrap_or_default();
        writeln!(out, "- {} MiB, {}, {}, round {}, {}: {reason}", row.mib, row.mode, row.case, row.n, row.tool)
    })
}

fn table(results: &Results, case: &str, out: &mut String) -> std::fmt::Result {
    let (adds, waits) = (!case.starts_with("restore"), case == "writer");
    let mut heads = vec!["database", "tool", "wall, median", "× lrl", "CPU", "peak memory"];
    heads.extend(adds.then_some("bytes added"));
    match waits {
        true => heads.extend(["p50", "p99", "longest wait"]),
        false => heads.push("room"),
    }
    writeln!(out, "| {} |\n|{}", heads.join(" | "), " --- |".repeat(heads.len()))?;
    for mib in results.sizes() {
        for mode in MODES {
            for tool in &results.tools {
                let tool = tool.name.as_str();
                let figure = |figure: fn(&Row) -> f64| results.median(mib, mode, case, tool, figure);
                let Some(wall) = figure(|row| row.wall) else { continue };
                let lrl = results.median(mib, mode, case, "lrl", |row| row.wall).filter(|wall| *wall > 0.0);
                let mut cells = vec![
                    format!("{mib} MiB, {mode}"),
                    tool.into(),
                    seconds(wall),
                    lrl.map(|lrl| number(wall / lrl)).unwrap_or_default(),
                    figure(|row| row.cpu).map(seconds).unwrap_or_default(),
                    mebibytes(largest(results, mib, mode, case, tool, |row| row.peak)),
                ];
                if adds {
                    cells.push(figure(|row| row.added as f64).map(bytes).unwrap_or_default());
                }
                let rows = || results.rows(mib, mode, case, tool).filter_map(|row| row.waits);
                let worst = |of: fn(&super::results::Waits) -> f64| {
                    format!("{} ms", number(rows().map(|waits| of(&waits)).fold(0.0, f64::max)))
                };
                match waits {
                    true => cells.extend([worst(|w| w.p50), worst(|w| w.p99), worst(|w| w.longest)]),
                    false => cells.push(bytes(largest(results, mib, mode, case, tool, |row| row.room as f64))),
                }
                writeln!(out, "| {} |", cells.join(" | "))?;
            }
        }
    }
    writeln!(out)
}

fn largest(results: &Results, mib: u32, mode: Mode, case: &str, tool: &str, figure: fn(&Row) -> f64) -> f64 {
    results.rows(mib, mode, case, tool).map(figure).fold(0.0, f64::max)
}

/// What lrl is to reach, as ratios within this run.
fn targets(results: &Results, out: &mut String) -> std::fmt::Result {
    writeln!(out, "## To reach\n\n| case | required | measured | |\n| --- | --- | --- | --- |")?;
    let mut line = |case: String, required: &str, measured: Option<(String, bool)>| match measured {
        None => Ok(()),
        Some((measured, reached)) => {
            let verdict = if reached { "reached" } else { "**NOT reached**" };
            writeln!(out, "| {case} | {required} | {measured} | {verdict} |")
        }
    };
    let sizes = results.sizes();
    let wall = |mib, mode, case, tool| results.median(mib, mode, case, tool, |row| row.wall);
    let added = |mib, mode, case, tool| results.median(mib, mode, case, tool, |row| row.added as f64);
    let over = |a: Option<f64>, b: Option<f64>| Some(a? / b.filter(|b| *b > 0.0)?);
    let at_least = |want: f64, got: Option<f64>| got.map(|got| (format!("{} ×", number(got)), got >= want));
    for mib in &sizes {
        for mode in MODES {
            let here = format!("{mib} MiB, {mode}");
            let fastest = PEERS.iter().filter_map(|peer| wall(*mib, mode, "first", peer)).reduce(f64::min);
            line(
                format!("first snapshot, {here}: faster than the fastest of restic, borg and rustic"),
                "at least 2 ×",
                at_least(2.0, over(fastest, wall(*mib, mode, "first", "lrl"))),
            )?;
            let room = results.rows(*mib, mode, "first", "lrl").map(|row| row.room as f64).reduce(f64::max);
            line(
                format!("first snapshot, {here}: free room needed beyond what is stored"),
                "at most 64 MiB",
                room.map(|room| (bytes(room), room <= ALLOWED)),
            )?;
        }
    }
    let (Some(least), Some(most)) = (sizes.first().copied(), sizes.last().copied()) else { return writeln!(out) };
    let row = wall(most, Mode::Wal, "row", "lrl");
    if most > least {
        let ratio = over(row, wall(least, Mode::Wal, "row", "lrl"));
        line(
            format!("one changed row in WAL mode: {most} MiB of {least} MiB"),
            "at most 1.5 ×",
            ratio.map(|ratio| (format!("{} ×", number(ratio)), ratio <= 1.5)),
        )?;
    }
    line(
        format!("one changed row in WAL mode, {most} MiB: time"),
        "at most 0.1 s",
        row.map(|row| (seconds(row), row <= 0.1)),
    )?;
    line(
        format!("one changed row in WAL mode, {most} MiB: bytes added"),
        "at most 4 KB",
        added(most, Mode::Wal, "row", "lrl").map(|added| (bytes(added), added <= 4000.0)),
    )?;
    for mode in MODES {
        let here = format!("{most} MiB, {mode}");
        let ratio = |case, figure: &dyn Fn(u32, Mode, &'static str, &'static str) -> Option<f64>| {
            over(figure(most, mode, case, "restic"), figure(most, mode, case, "lrl"))
        };
        line(
            format!("1 % of the rows, {here}: faster than restic"),
            "at least 10 ×",
            at_least(10.0, ratio("percent", &wall)),
        )?;
        line(
            format!("1 % of the rows, {here}: restic's bytes added"),
            "at least 80 ×",
            at_least(80.0, ratio("percent", &added)),
        )?;
        line(format!("`VACUUM`, {here}: as fast as restic"), "at least 1 ×", at_least(1.0, ratio("vacuum", &wall)))?;
        line(
            format!("`VACUUM`, {here}: restic's bytes added"),
            "at least 4 ×",
            at_least(4.0, ratio("vacuum", &added)),
        )?;
        line(format!("restore, {here}: faster than restic"), "at least 2 ×", at_least(2.0, ratio("restore", &wall)))?;
    }
    let waits = results.rows(most, Mode::Wal, "writer", "lrl").filter_map(|row| row.waits).map(|waits| waits.longest);
    line(
        format!("longest wait of a writer, {most} MiB, WAL"),
        "at most 20 ms",
        waits.reduce(f64::max).map(|wait| (format!("{} ms", number(wait)), wait <= 20.0)),
    )?;
    let peak = results.rows.iter().filter(|row| row.tool == "lrl").map(|row| row.peak).reduce(f64::max);
    line(
        "peak memory, everywhere".into(),
        "at most 64 MiB",
        peak.map(|peak| (mebibytes(peak), peak * f64::from(1 << 20) <= ALLOWED)),
    )?;
    writeln!(out)
}
