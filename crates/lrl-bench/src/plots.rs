//! Which plots there are, and what each shows.

use crate::plan::CASES;
use crate::results::{Measure, Results};
use crate::svg::{Axes, Bar, Line, Panel, bars, lines};
use crate::tools::NAMES;
use crate::units::{bytes, mebibytes, number, seconds};

/// One picture.
pub struct Plot {
    /// Its file's name without the ending.
    pub name: &'static str,
    /// What it shows.
    pub title: &'static str,
    /// The picture.
    pub svg: String,
}

/// Draws all of them.
pub fn all(results: &Results) -> Vec<Plot> {
    let repository = |case: &str| !case.starts_with("set_");
    let bars = |name, title, axis, measure, unit, which: &dyn Fn(&str) -> bool| {
        let svg = bars(title, axis, &panels(results, measure, unit, which));
        Plot { name, title, svg }
    };
    let time = "wall time in seconds, median; each case on a scale of its own";
    let lines = |name, title, x, y, logarithmic, number, drawn: Vec<Line>| {
        let svg = lines(&Axes { title, x, y, logarithmic, number }, &drawn);
        Plot { name, title, svg }
    };
    let steps = "steps in a row";
    vec![
        bars("snapshots", "Time of snapshots and restores", time, Measure::Wall, seconds, &repository),
        bars("sets", "Time of sets", time, Measure::Wall, seconds, &|case| !repository(case)),
        lines(
            "bytes-small",
            "Bytes added by small steps",
            steps,
            "bytes added so far",
            true,
            bytes,
            added(results, "small_step"),
        ),
        lines(
            "bytes-large",
            "Bytes added by steps of 1 % of the rows",
            steps,
            "bytes added so far",
            true,
            bytes,
            added(results, "large_step"),
        ),
        lines(
            "depth",
            "Time to restore the database after many steps",
            "small steps before the restore",
            "wall time in seconds, median",
            false,
            number,
            depth(results),
        ),
        bars("memory", "Peak memory", "MiB; each case on a scale of its own", Measure::Peak, mebibytes, &|_| true),
    ]
}

/// Returns after how many small steps the database was restored.
pub fn depths(results: &Results) -> Vec<u32> {
    let numbers = results.rows.iter().filter_map(|row| row.case.strip_prefix("restore_db_")?.parse().ok());
    let mut depths: Vec<u32> = numbers.collect();
    depths.sort_unstable();
    depths.dedup();
    depths
}

/// Returns the number of a tool, which decides its colour.
pub fn series(tool: &str) -> usize {
    NAMES.iter().position(|name| *name == tool).unwrap_or_default()
}

fn panels(results: &Results, measure: Measure, unit: fn(f64) -> String, which: &dyn Fn(&str) -> bool) -> Vec<Panel> {
    let panel = |(case, title, _): (&str, &str, &str)| {
        let figure = |tool: &str| match measure {
            Measure::Peak => results.largest(case, tool, measure),
            _ => results.median(case, tool, measure),
        };
        let bar = |tool: &str| {
            let value = figure(tool)?;
            Some(Bar { series: series(tool), name: tool.into(), value, label: unit(value) })
        };
        Panel { title: title.into(), bars: results.names().filter_map(bar).collect() }
    };
    CASES.into_iter().filter(|(case, ..)| which(case)).map(panel).collect()
}

fn named(results: &Results, points: impl Fn(&str) -> Vec<(f64, f64)>) -> Vec<Line> {
    let line = |tool: &str| Line { series: series(tool), name: tool.into(), points: points(tool) };
    results.names().map(line).filter(|line| !line.points.is_empty()).collect()
}

/// Sums up what the steps of a case added.
fn added(results: &Results, case: &str) -> Vec<Line> {
    named(results, |tool| {
        let mut sum = 0.0;
        let mut point = |row: &crate::results::Row| {
            sum += row.added as f64;
            (f64::from(row.n), sum)
        };
        results.rows(case, tool).map(&mut point).collect()
    })
}

fn depth(results: &Results) -> Vec<Line> {
    let depths = depths(results);
    named(results, |tool| {
        let point = |depth: &u32| {
            let wall = results.median(&crate::plan::restore_database(*depth), tool, Measure::Wall)?;
            Some((f64::from(*depth), wall))
        };
        depths.iter().filter_map(point).collect()
    })
}
