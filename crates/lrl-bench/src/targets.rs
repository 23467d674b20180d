//! What lrl is to reach, as ratios within one run, and whether it did.

use crate::corpus::Size;
use crate::plan::{CASES, restore_database};
use crate::results::{Measure, Results, Row};
use crate::units::{bytes, number, seconds};

/// One demand.
pub struct Target {
    /// What is compared.
    pub case: String,
    /// What is asked for.
    pub required: String,
    /// What was measured.
    pub measured: String,
    /// Whether that is enough; `None` if it was not measured.
    pub reached: Option<bool>,
}

/// The peers that store snapshots.
pub const REPOSITORIES: [&str; 3] = ["restic", "borg", "rustic"];
/// What a command may take at most, in MiB.
pub const MIB_ALLOWED: f64 = 64.0;

/// Returns all demands in the order of the document.
pub fn all(results: &Results) -> Vec<Target> {
    let median = |case: &str, tool: &str, measure| results.median(case, tool, measure);
    let faster = |case: &str, peer: &str| over(median(case, peer, Measure::Wall), median(case, "lrl", Measure::Wall));
    let best = |case: &str, peers: &[&str], measure| {
        peers.iter().filter_map(|peer| median(case, peer, measure)).reduce(f64::min)
    };
    let first = "first snapshot";
    let mut targets = vec![
        at_least(
            &format!("{first}: faster than the fastest of restic, borg and rustic"),
            2.0,
            over(best("first", &REPOSITORIES, Measure::Wall), median("first", "lrl", Measure::Wall)),
        ),
        at_most(
            &format!("{first}: repository, of the smallest of restic, borg and rustic"),
            1.02,
            over(median("first", "lrl", Measure::Stored), best("first", &REPOSITORIES, Measure::Stored)),
        ),
    ];
    for (case, name, size) in [
        ("unchanged", "unchanged, 1,400 files", &results.lab),
        ("tiny_unchanged", "unchanged, 100,000 files", &results.tiny_files),
    ] {
        let fastest = best(case, &REPOSITORIES[..2], Measure::Wall);
        targets.push(at_least(
            &format!("{name}: faster than the fastest of restic and borg"),
            10.0,
            over(fastest, median(case, "lrl", Measure::Wall)),
        ));
        targets.push(limit(
            &format!("{name}: 20 ms + 5 µs per file and directory"),
            allowed(size),
            median(case, "lrl", Measure::Wall),
            seconds,
        ));
        targets.push(limit(&format!("{name}: bytes added"), 2000.0, median(case, "lrl", Measure::Added), bytes));
    }
    targets.push(at_least("small step: faster than restic", 4.0, faster("small_step", "restic")));
    for (case, name, want) in [("small_step", "small step", 20.0), ("large_step", "1 % of the rows", 80.0)] {
        let steps = results.rows(case, "lrl").count();
        targets.push(at_least(
            &format!("{name}: restic's bytes added, mean of {steps} steps in a row"),
            want,
            fewer(results, case, 0),
        ));
        let tail = steps.div_ceil(5);
        targets.push(at_least(
            &format!("{name}: the same, last {tail} of these steps"),
            want,
            fewer(results, case, steps - tail),
        ));
    }
    let fewer_moved = over(median("vacuum", "restic", Measure::Added), median("vacuum", "lrl", Measure::Added));
    targets.push(at_least("delete 2 % and `VACUUM`: restic's bytes added", 4.0, fewer_moved));
    targets.push(at_least("first set: faster than the Python script", 8.0, faster("set_first", "python")));
    for (case, name) in [("set_rows", "set, rows changed"), ("set_little", "set, rows changed and an upload added")] {
        targets.push(at_least(&format!("{name}: faster than the Python script"), 50.0, faster(case, "python")));
    }
    let archive = |tool| median("set_first", tool, Measure::Archive);
    targets.push(at_most("archive, of `tar` piped through `gzip -6`", 1.03, over(archive("lrl"), archive("tar+gzip"))));
    targets.push(at_least("restore, on disk: faster than restic", 1.5, faster("restore", "restic")));
    let steps = results.steps;
    let own = |deep: &str, first: &str| over(median(deep, "lrl", Measure::Wall), median(first, "lrl", Measure::Wall));
    targets.push(at_most(
        &format!("restore after {steps} small steps, of the one after the first"),
        1.3,
        own("restore_deep", "restore"),
    ));
    let database = own(&restore_database(steps), &restore_database(1));
    targets.push(at_most(
        &format!("the database alone after {steps} small steps, of the one after the first"),
        1.3,
        database,
    ));
    targets.push(memory(results));
    targets
}

/// How long an unchanged run may take, in seconds.
fn allowed(size: &Size) -> f64 {
    0.020 + 5e-6 * (size.files + size.directories) as f64
}

/// Returns how many times as many bytes restic added, without the first `skip` steps.
fn fewer(results: &Results, case: &str, skip: usize) -> Option<f64> {
    let sum = |tool| {
        let figures = results.figures(case, tool, Measure::Added);
        (figures.len() > skip).then(|| figures[skip..].iter().sum::<f64>())
    };
    over(sum("restic"), sum("lrl"))
}

fn memory(results: &Results) -> Target {
    let worst = results.rows.iter().filter(|row| row.tool == "lrl").max_by(|a, b| a.peak.total_cmp(&b.peak));
    let title = |row: &Row| {
        CASES
            .iter()
            .find(|(key, ..)| *key == row.case)
            .map_or("restore of the database", |(_, title, _)| title)
            .to_lowercase()
    };
    Target {
        case: "peak memory in every case".into(),
        required: format!("at most {MIB_ALLOWED} MiB"),
        measured: worst.map_or_else(not_measured, |row| format!("{} MiB ({})", number(row.peak), title(row))),
        reached: worst.map(|row| row.peak <= MIB_ALLOWED),
    }
}

/// Divides two figures, if both were measured.
pub fn over(a: Option<f64>, b: Option<f64>) -> Option<f64> {
    Some(a? / b.filter(|b| *b > 0.0)?)
}

fn not_measured() -> String {
    "not measured".into()
}

/// A figure that is to be no smaller.
pub fn at_least(case: &str, want: f64, got: Option<f64>) -> Target {
    Target {
        case: case.into(),
        required: format!("at least {want} ×"),
        measured: got.map_or_else(not_measured, |got| format!("{} ×", number(got))),
        reached: got.map(|got| got >= want),
    }
}

/// A ratio that is to be no larger.
pub fn at_most(case: &str, want: f64, got: Option<f64>) -> Target {
    Target {
        case: case.into(),
        required: format!("at most {want} ×"),
        measured: got.map_or_else(not_measured, |got| format!("{got:.3} ×")),
        reached: got.map(|got| got <= want),
    }
}

/// A figure that is to be no larger, in its unit.
pub fn limit(case: &str, want: f64, got: Option<f64>, unit: fn(f64) -> String) -> Target {
    Target {
        case: case.into(),
        required: format!("at most {}", unit(want)),
        measured: got.map_or_else(not_measured, unit),
        reached: got.map(|got| got <= want),
    }
}
