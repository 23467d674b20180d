//! The cases of the comparison, in the order in which they are run. All tools see the same states of the same lab; in each round they
//! take turns, so that noise hits all alike.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::contender::{Contender, make_empty, order, outcome, remove};
use crate::corpus::{Lab, Size};
use crate::error::Result;
use crate::measure::{self, bytes_below, settle};
use crate::plan::{Plan, restore_database};
use crate::results::Row;
use crate::same_result;
use crate::tools::{Place, Task, Tool, newest, restored};

/// What came out.
pub struct Outcome {
    /// Every single run.
    pub rows: Vec<Row>,
    /// The lab at its beginning.
    pub lab: Size,
    /// The tree of tiny files.
    pub tiny_files: Size,
    /// Peak memory of a child that does nothing, in MiB.
    pub floor: f64,
}

struct Bench<'a> {
    plan: &'a Plan,
    work: &'a Path,
    contenders: Vec<Contender>,
    rows: Vec<Row>,
}

/// Measures everything below `work`.
pub fn run(plan: &Plan, tools: &[Tool], work: &Path) -> Result<Outcome> {
    let mut bench = Bench { plan, work, contenders: Vec::new(), rows: Vec::new() };
    bench.note("making the lab");
    let mut lab = Lab::usual(&work.join("lab"), plan.seed, plan.scale)?;
    let size = lab.size()?;
    let floor = measure::run(&mut Command::new("true"), &work.join("log"), None)?.peak;

    let rounds = plan.rounds;
    bench.enter(tools, &lab, "repositories");
    bench.first("first", Task::Snapshot, rounds)?;
    bench.repeat("unchanged", Task::Snapshot, rounds)?;
    bench.small_steps(&mut lab)?;
    bench.aged("large_step", Task::Snapshot, plan.large_steps, || lab.edit(0.01))?;
    bench.aged("churn", Task::Snapshot, rounds, || lab.churn(0.01))?;
    bench.aged("vacuum", Task::Snapshot, rounds, || lab.vacuum(0.02))?;
    bench.repeat("restore_end", Task::Restore, 1)?;
    bench.repeat("verify", Task::Verify, rounds)?;
    bench.leave()?;

    bench.enter(tools, &lab, "sets");
    bench.first("set_first", Task::Set, rounds)?;
    bench.aged("set_rows", Task::Set, rounds, || lab.edit(0.0002))?;
    bench.aged("set_little", Task::Set, rounds, || lab.edit(0.0002).and_then(|()| lab.add_upload()))?;
    bench.repeat("set_unchanged", Task::Set, rounds)?;
    bench.repeat("set_restore", Task::RestoreSet, rounds)?;
    bench.repeat("set_drill", Task::Drill, rounds)?;
    bench.leave()?;

    bench.note("making the tiny files");
    let tiny = Lab::tiny_files(&work.join("tiny"), plan.seed, plan.scale)?;
    bench.enter(tools, &tiny, "tiny-repositories");
    bench.first("tiny_first", Task::Snapshot, 1)?;
    bench.repeat("tiny_unchanged", Task::Snapshot, rounds)?;
    Ok(Outcome { rows: bench.rows, lab: size, tiny_files: tiny.size()?, floor })
}

impl Bench<'_> {
    /// Gives every tool empty directories of its own.
    fn enter(&mut self, tools: &[Tool], lab: &Lab, name: &str) {
        let root = self.work.join(name);
        self.contenders = tools.iter().map(|tool| Contender::new(tool, lab.root(), &root)).collect();
    }

    /// Removes what the tools stored, so that a run needs less room.
    fn leave(&mut self) -> Result<()> {
        self.contenders.drain(..).try_for_each(|contender| contender.place.home.parent().map_or(Ok(()), remove))
    }

    /// Calls `act` for each tool that has the task, another one first in each round; those that rewrite everything have fewer rounds.
    fn turns(&mut self, task: Task, n: u32, mut act: impl FnMut(&mut Self, usize) -> Result<()>) -> Result<()> {
        for index in order(self.contenders.len(), n) {
            let Contender { tool, place } = &self.contenders[index];
            // Whether a set can be restored shows only when it is tried: who makes sets has to.
            let has = tool.command(if task == Task::RestoreSet { Task::Set } else { task }, place).is_some();
            if has && (n <= self.plan.slow_rounds || !tool.rewrites()) {
                act(self, index)?;
            }
        }
        Ok(())
    }

    /// Measures into empty repositories, round by round.
    fn first(&mut self, case: &str, task: Task, rounds: u32) -> Result<()> {
        (1..=rounds).try_for_each(|n| {
            self.turns(task, n, |bench, index| match bench.contenders[index].begin(&bench.work.join("log"))? {
                Err(error) => bench.push(index, case, n, 0, Err(error)),
                Ok(()) => bench.measure(index, case, task, n),
            })
        })
    }

    /// Measures the same task on the same lab, round by round.
    fn repeat(&mut self, case: &str, task: Task, rounds: u32) -> Result<()> {
        self.aged(case, task, rounds, || Ok(()))
    }

    /// Ages the lab before each round.
    fn aged(&mut self, case: &str, task: Task, rounds: u32, mut age: impl FnMut() -> Result<()>) -> Result<()> {
        (1..=rounds).try_for_each(|n| {
            age()?;
            self.turns(task, n, |bench, index| bench.measure(index, case, task, n))
        })
    }

    /// Small steps in a row, with restores after some of them.
    fn small_steps(&mut self, lab: &mut Lab) -> Result<()> {
        let (rounds, steps, depths) = (self.plan.rounds, self.plan.steps, self.plan.depths());
        for step in 1..=steps {
            lab.edit(0.0002)?;
            self.turns(Task::Snapshot, step, |bench, index| bench.measure(index, "small_step", Task::Snapshot, step))?;
            if depths.contains(&step) {
                self.repeat(&restore_database(step), Task::RestoreDatabase, rounds)?;
            }
            if step == 1 {
                self.repeat("restore", Task::Restore, rounds)?;
            }
            if step == steps {
                self.repeat("restore_deep", Task::Restore, rounds)?;
            }
        }
        Ok(())
    }

    /// Runs one task of one tool, compares what it restores with the lab, and keeps the row.
    fn measure(&mut self, index: usize, case: &str, task: Task, n: u32) -> Result<()> {
        let work = self.work;
        let Contender { tool, place } = &mut self.contenders[index];
        let restores = matches!(task, Task::Restore | Task::RestoreDatabase | Task::RestoreSet);
        if restores {
            make_empty(&place.target)?;
        }
        if task == Task::Set && tool.rewrites() {
            make_empty(&place.repository)?;
        }
        if task == Task::Set && tool.name == "python" {
            // Two of its runs in one second overwrite each other.
            std::thread::sleep(Duration::from_millis(1100));
        }
        if matches!(task, Task::Snapshot | Task::Set) {
            place.runs += 1;
        }
        let before = bytes_below(&place.repository)?;
        settle(work)?;
        let ran = match tool.command(task, place) {
            None => Err("there is nothing to work on".into()),
            Some(mut command) => {
                measure::run(&mut command, &work.join("log"), restores.then_some(place.target.as_path()))
            }
        };
        let ran = ran.and_then(|usage| match restores {
            true => compare(task, place).map(|()| usage),
            false => Ok(usage),
        });
        if restores {
            remove(&place.target)?;
        }
        self.push(index, case, n, before, ran)
    }

    fn push(&mut self, index: usize, case: &str, n: u32, before: u64, ran: Result<measure::Usage>) -> Result<()> {
        let Contender { tool, place } = &self.contenders[index];
        let stored = bytes_below(&place.repository)?;
        let archive =
            newest(&place.repository, ".tar.gz").and_then(|path| fs::metadata(path).ok()).map(|meta| meta.len());
        let (usage, failed) = outcome(ran, self.work);
        let row = Row {
            case: case.into(),
            tool: tool.name.into(),
            n,
            wall: usage.wall,
            cpu: usage.cpu,
            peak: usage.peak,
            added: stored as i64 - before as i64,
            stored,
            archive,
            failed,
        };
        self.note(&match &row.failed {
            Some(reason) => format!("{case} {n}, {}: FAILED: {reason}", row.tool),
            None => {
                format!("{case} {n}, {}: {:.3} s, {:.1} MiB, {} bytes added", row.tool, row.wall, row.peak, row.added)
            }
        });
        self.rows.push(row);
        Ok(())
    }

    /// Reports progress.
    fn note(&self, text: &str) {
        if !self.plan.quiet {
            let _ = writeln!(std::io::stderr(), "{text}");
        }
    }
}

fn compare(task: Task, place: &Place) -> Result<()> {
    let found: PathBuf = restored(&place.target).ok_or("restored no database")?;
    match task {
        Task::RestoreDatabase => same_result::database(&place.data.join("lrl.db"), &found.join("lrl.db")),
        _ => same_result::lab(&place.data, &found),
    }
}
