//! The page: everything that it and its plots say comes from the results alone.

use std::fmt::Write;
use std::fs;
use std::path::Path;

use super::cases::CASES;
use super::results::{FILE, Mode, Results, Row};
use crate::error::{At, Result};
use crate::plots::series;
use crate::report::{cell, demands, facts};
use crate::svg::{Axes, Line, lines};
use crate::targets::{MIB_ALLOWED, REPOSITORIES, Target, at_least, at_most, limit, over};
use crate::units::{bytes, mebibytes, milliseconds, number, seconds};

/// The page's name below the directory of documents.
pub const PAGE: &str = "SIZES.md";

const MODES: [Mode; 2] = [Mode::Wal, Mode::Rollback];

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
        Line {
            series: series(tool),
            name: tool.into(),
            points: results.sizes().into_iter().filter_map(point).collect(),
        }
    };
    let drawn: Vec<_> =
        results.tools.iter().map(|tool| line(&tool.name)).filter(|line| !line.points.is_empty()).collect();
    let title = format!("{}, {mode} mode", title(case));
    let (x, y) = ("size of the database in MiB", "wall time in seconds, median");
    lines(&Axes { title: &title, x, y, logarithmic: true, number }, &drawn)
}

fn document(results: &Results, out: &mut String) -> std::fmt::Result {
    let sizes: Vec<_> = results.sizes().iter().map(u32::to_string).collect();
    let (seed, rounds) = (results.seed, results.rounds);
    writeln!(
        out,
        "# Benchmarks by size\n\n<!-- Made from {FILE} by `lrl-bench render`; do not edit. -->\n\n\
         What a first snapshot, a change and a restore cost as the database grows, lrl beside its peers in one run on one machine. Repeat it with\n\n\
         ```bash\njust bench-sizes --mib {} --rounds {rounds} --rustic PATH\n```\n",
        sizes.join(",")
    )?;
    facts(&results.date, results.machine.iter().chain(&results.tools), &results.left_out, out)?;
    writeln!(
        out,
        "\n- One database from seed {seed}: sentences of random words, and a log of visits; no uploads. The application keeps it open. In WAL mode the \
         peers copy the `-wal` file with it.\n\
         - Figures are medians over the rounds: {rounds} up to 2 GiB, one above. The tools take turns and see the same states.\n\
         - What was written before is on disk when a run begins. A restore counts until its file system is synced; in the first round every row \
         of what was restored is compared.\n\
         - Room is what of the free disk a run used for a while and gave back.\n"
    )?;
    let measured: Vec<_> = targets(results).into_iter().filter(|target| target.reached.is_some()).collect();
    demands(&measured, out)?;
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
        let reason = cell(reason);
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
                    milliseconds(rows().map(|waits| of(&waits)).fold(0.0, f64::max))
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
fn targets(results: &Results) -> Vec<Target> {
    let sizes = results.sizes();
    let wall = |mib, mode, case, tool| results.median(mib, mode, case, tool, |row| row.wall);
    let added = |mib, mode, case, tool| results.median(mib, mode, case, tool, |row| row.added as f64);
    let mut targets = Vec::new();
    for (mib, mode) in sizes.iter().flat_map(|mib| MODES.map(|mode| (*mib, mode))) {
        let first = format!("first snapshot, {mib} MiB, {mode}");
        let fastest = REPOSITORIES.iter().filter_map(|peer| wall(mib, mode, "first", peer)).reduce(f64::min);
        let room = results.rows(mib, mode, "first", "lrl").map(|row| in_mib(row.room)).reduce(f64::max);
        targets.extend([
            at_least(
                &format!("{first}: faster than the fastest of restic, borg and rustic"),
                2.0,
                over(fastest, wall(mib, mode, "first", "lrl")),
            ),
            limit(&format!("{first}: free room needed beyond what is stored"), MIB_ALLOWED, room, mebibytes),
        ]);
    }
    let (Some(least), Some(most)) = (sizes.first().copied(), sizes.last().copied()) else { return targets };
    let row = |mib| wall(mib, Mode::Wal, "row", "lrl");
    let one = format!("one changed row in WAL mode, {most} MiB");
    if most > least {
        targets.push(at_most(&format!("{one}: of the time at {least} MiB"), 1.5, over(row(most), row(least))));
    }
    targets.push(limit(&format!("{one}: time"), 0.1, row(most), seconds));
    targets.push(limit(&format!("{one}: bytes added"), 4000.0, added(most, Mode::Wal, "row", "lrl"), bytes));
    for mode in MODES {
        let faster = |case| over(wall(most, mode, case, "restic"), wall(most, mode, case, "lrl"));
        let fewer = |case| over(added(most, mode, case, "restic"), added(most, mode, case, "lrl"));
        for (case, name, want, want_fewer) in [
            ("percent", "1 % of the rows", 10.0, Some(80.0)),
            ("vacuum", "`VACUUM`", 1.0, Some(4.0)),
            ("restore", "restore", 2.0, None),
        ] {
            let here = format!("{name}, {most} MiB, {mode}");
            targets.push(at_least(&format!("{here}: faster than restic"), want, faster(case)));
            targets
                .extend(want_fewer.map(|want| at_least(&format!("{here}: restic's bytes added"), want, fewer(case))));
        }
    }
    let waits = results.rows(most, Mode::Wal, "writer", "lrl").filter_map(|row| row.waits);
    let longest = waits.map(|waits| waits.longest).reduce(f64::max);
    targets.push(limit(&format!("longest wait of a writer, {most} MiB, WAL"), 20.0, longest, milliseconds));
    let peak = results.rows.iter().filter(|row| row.tool == "lrl").map(|row| row.peak).reduce(f64::max);
    targets.push(limit("peak memory, everywhere", MIB_ALLOWED, peak, mebibytes));
    targets
}

fn in_mib(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}
