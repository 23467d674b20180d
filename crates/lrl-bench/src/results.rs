//! What was measured: raw rows with all that is needed to repeat them, kept as JSON, and what is asked of them.

use std::fs;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::corpus::Size;
use crate::error::{At, Result};
use crate::tools::LeftOut;

/// One run of the benchmark.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Results {
    /// When it began, RFC 3339.
    pub date: String,
    /// The command that repeats it.
    pub command: String,
    /// Where everything comes from.
    pub seed: u64,
    /// 1 is the full size; anything less is a trial.
    pub scale: f64,
    /// Rounds of most cases.
    pub rounds: u32,
    /// Rounds of the tools that write everything again each time.
    pub slow_rounds: u32,
    /// Small steps in a row.
    pub steps: u32,
    /// Larger steps in a row.
    pub large_steps: u32,
    /// What it ran on.
    pub machine: Vec<Fact>,
    /// What was measured, with versions.
    pub tools: Vec<Fact>,
    /// What was not.
    pub left_out: Vec<LeftOut>,
    /// The lab at its beginning.
    pub lab: Size,
    /// The tree of tiny files.
    pub tiny_files: Size,
    /// Peak memory of a child that does nothing: what this program's own size adds at most, in MiB.
    pub floor: f64,
    /// Every single run.
    pub rows: Vec<Row>,
}

/// A name and what belongs to it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Fact {
    /// The name.
    pub name: String,
    /// What belongs to it.
    pub value: String,
}

/// One run of one tool.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Row {
    /// The case's key, as in [`crate::plan::CASES`].
    pub case: String,
    /// The tool's name.
    pub tool: String,
    /// The round or step.
    pub n: u32,
    /// Seconds.
    pub wall: f64,
    /// Seconds of processor time.
    pub cpu: f64,
    /// MiB.
    pub peak: f64,
    /// Bytes that the run added to the repository, or to the directory of sets.
    pub added: i64,
    /// Bytes there after the run.
    pub stored: u64,
    /// Bytes of the set's archive.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub archive: Option<u64>,
    /// Why the run counts for nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failed: Option<String>,
}

/// What a figure is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Measure {
    /// Seconds.
    Wall,
    /// Seconds of processor time.
    Cpu,
    /// MiB.
    Peak,
    /// Bytes added.
    Added,
    /// Bytes stored.
    Stored,
    /// Bytes of the archive.
    Archive,
}

impl Measure {
    /// Takes this figure from a row.
    pub fn of(self, row: &Row) -> Option<f64> {
        Some(match self {
            Self::Wall => row.wall,
            Self::Cpu => row.cpu,
            Self::Peak => row.peak,
            Self::Added => row.added as f64,
            Self::Stored => row.stored as f64,
            Self::Archive => row.archive? as f64,
        })
    }
}

impl Results {
    /// Reads what [`Results::write`] wrote.
    pub fn read(path: &Path) -> Result<Self> {
        serde_json::from_slice(&fs::read(path).at(path)?).at(path)
    }

    /// Writes the results, one row a line.
    pub fn write(&self, path: &Path) -> Result<()> {
        let rows: Vec<_> = self.rows.iter().map(serde_json::to_string).collect::<serde_json::Result<_>>()?;
        let head = serde_json::to_string_pretty(&Self { rows: Vec::new(), ..self.clone() })?;
        let head = head.strip_suffix("\"rows\": []\n}").ok_or("the results' rows are not their last field")?;
        fs::write(path, format!("{head}\"rows\": [\n    {}\n  ]\n}}\n", rows.join(",\n    "))).at(path)
    }

    /// Returns the names of the tools in their order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.tools.iter().map(|tool| tool.name.as_str())
    }

    /// Returns the good rows of a case and tool in their order.
    pub fn rows<'a>(&'a self, case: &'a str, tool: &'a str) -> impl Iterator<Item = &'a Row> {
        self.rows.iter().filter(move |row| row.case == case && row.tool == tool && row.failed.is_none())
    }

    /// Returns the figures of a case and tool in their order.
    pub fn figures(&self, case: &str, tool: &str, measure: Measure) -> Vec<f64> {
        self.rows(case, tool).filter_map(|row| measure.of(row)).collect()
    }

    /// Returns the median; `None` if nothing was measured.
    pub fn median(&self, case: &str, tool: &str, measure: Measure) -> Option<f64> {
        median(self.figures(case, tool, measure))
    }

    /// Returns the largest figure; `None` if nothing was measured.
    pub fn largest(&self, case: &str, tool: &str, measure: Measure) -> Option<f64> {
        self.figures(case, tool, measure).into_iter().reduce(f64::max)
    }
}

/// Returns the middle of the figures, or the mean of the two in the middle.
pub fn median(mut figures: Vec<f64>) -> Option<f64> {
    figures.sort_by(f64::total_cmp);
    let (below, above) = (figures.len().checked_sub(1)? / 2, figures.len() / 2);
    Some((figures[below] + figures[above]) / 2.0)
}

#[cfg(test)]
mod tests {
    use super::median;

    #[test]
    fn medians_are_in_the_middle() {
        assert_eq!(median(vec![]), None);
        assert_eq!(median(vec![3.0]), Some(3.0));
        assert_eq!(median(vec![5.0, 1.0]), Some(3.0));
        assert_eq!(median(vec![5.0, 1.0, 100.0]), Some(5.0));
    }
}
