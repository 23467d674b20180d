//! The cases at one size and journal mode, in the order in which they are run. All tools see the same states of the same database; in each
//! round they take turns, another one first.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rusqlite::Connection;

use super::results::{Mode, Row, Waits};
use crate::contender::{Contender, make_empty, order, outcome, remove};
use crate::corpus::Lab;
use crate::error::{At, Result};
use crate::measure::{self, Usage, bytes_below, settle};
use crate::same_result;
use crate::tools::{Place, Task, Tool, restored};

/// Keys, headings and explanations of all cases, in the order of the page.
pub const CASES: [(&str, &str, &str); 8] = [
    ("first", "First snapshot", "Into an empty repository; the database is in the page cache."),
    ("first_cold", "First snapshot, cold", "The same with the system's caches dropped before."),
    (
        "writer",
        "First snapshot beside a writer",
        "Somebody commits twenty times a second meanwhile. borg warns that the file changed; the copies of restic, borg and rustic may be torn.",
    ),
    ("row", "One changed row", "One row changed and one inserted since the snapshot before."),
    ("percent", "1 % of the rows", "1 % of the content rows edited in place."),
    ("vacuum", "Delete and VACUUM", "2 % of the content rows deleted, then `VACUUM`, then a checkpoint."),
    ("restore", "Restore", "Of the newest snapshot into an empty directory, until it is on disk."),
    ("restore_cold", "Restore, cold", "The same with the system's caches dropped before."),
];

/// What is measured.
pub struct Plan {
    /// Where all data comes from.
    pub seed: u64,
    /// Size of the database.
    pub mib: u32,
    /// Its journal mode.
    pub mode: Mode,
    /// How many rounds.
    pub rounds: u32,
    /// Caches are dropped for cases of their own.
    pub cold: bool,
    /// Nothing is told on the way.
    pub quiet: bool,
}

struct Bench<'a> {
    plan: &'a Plan,
    work: &'a Path,
    contenders: Vec<Contender>,
    rows: Vec<Row>,
}

/// Measures everything below `work`, which is removed at the end.
pub fn run(plan: &Plan, tools: &[Tool], work: &Path) -> Result<Vec<Row>> {
    let mut lab = Lab::sized(&work.join("data"), plan.seed, f64::from(plan.mib) * f64::from(1 << 20))?;
    // As an application does: it keeps the database open, so that the log stays.
    let application = Connection::open(lab.root().join("lrl.db"))?;
    let journal = if plan.mode == Mode::Wal { "WAL" } else { "DELETE" };
    application.pragma_update_and_check(None, "journal_mode", journal, |_| Ok(()))?;
    // Only one that has read in WAL mode keeps others from removing the log when they close.
    application.query_row("SELECT count(*) FROM users", [], |_| Ok(()))?;
    let contenders = tools.iter().map(|tool| Contender::new(tool, lab.root(), work)).collect();
    let mut bench = Bench { plan, work, contenders, rows: Vec::new() };
    for n in 1..=plan.rounds {
        if plan.mode == Mode::Wal {
            lab.edit_rows(1)?;
        }
        bench.firsts(n, "writer", &|bench, index| bench.beside_a_writer(index, n))?;
        if plan.cold {
            bench.firsts(n, "first_cold", &|bench, index| {
                drop_caches()?;
                bench.measure(index, "first_cold", Task::Snapshot, n)
            })?;
        }
        bench.firsts(n, "first", &|bench, index| bench.measure(index, "first", Task::Snapshot, n))?;
        lab.edit_rows(1)?;
        bench.turns(n, &|bench, index| bench.measure(index, "row", Task::Snapshot, n))?;
        lab.edit(0.01)?;
        bench.turns(n, &|bench, index| bench.measure(index, "percent", Task::Snapshot, n))?;
        lab.vacuum(0.02)?;
        application.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))?;
        bench.turns(n, &|bench, index| bench.measure(index, "vacuum", Task::Snapshot, n))?;
        bench.turns(n, &|bench, index| bench.measure(index, "restore", Task::Restore, n))?;
        if plan.cold {
            bench.turns(n, &|bench, index| {
                drop_caches()?;
                bench.measure(index, "restore_cold", Task::Restore, n)
            })?;
        }
    }
    drop(application);
    let rows = bench.rows;
    remove(work)?;
    Ok(rows)
}

type Act<'a> = &'a dyn Fn(&mut Bench<'_>, usize) -> Result<()>;

impl Bench<'_> {
    /// Calls `act` for each tool, another one first in each round.
    fn turns(&mut self, n: u32, act: Act<'_>) -> Result<()> {
        order(self.contenders.len(), n).try_for_each(|index| act(self, index))
    }

    /// The same with an empty repository for each.
    fn firsts(&mut self, n: u32, case: &str, act: Act<'_>) -> Result<()> {
        self.turns(n, &|bench, index| match bench.contenders[index].begin(&bench.work.join("log"))? {
            Err(error) => bench.push(index, case, n, 0, Err(error)),
            Ok(()) => act(bench, index),
        })
    }

    /// Runs one task of one tool, compares what it restores with the database, and keeps the row.
    fn measure(&mut self, index: usize, case: &str, task: Task, n: u32) -> Result<()> {
        let (work, first) = (self.work, n == 1);
        let Contender { tool, place } = &mut self.contenders[index];
        if task == Task::Restore {
            make_empty(&place.target)?;
        } else {
            place.runs += 1;
        }
        let before = bytes_below(&place.repository)?;
        settle(work)?;
        let ran = match tool.command(task, place) {
            None => Err("there is nothing to work on".into()),
            Some(mut command) => watched(&mut command, work, (task == Task::Restore).then_some(place.target.as_path())),
        };
        // Reading every row of both takes longer than what is measured: once for each tool.
        let ran = match (task, first) {
            (Task::Restore, true) => ran.and_then(|ran| compare(place).map(|()| ran)),
            _ => ran,
        };
        if task == Task::Restore {
            remove(&place.target)?;
        }
        self.push(index, case, n, before, ran.map(|(usage, room)| (usage, room, None)))
    }

    /// A first snapshot while somebody writes.
    fn beside_a_writer(&mut self, index: usize, n: u32) -> Result<()> {
        let work = self.work;
        let Contender { tool, place } = &mut self.contenders[index];
        place.runs += 1;
        settle(work)?;
        let ended = AtomicBool::new(false);
        let database = place.data.join("lrl.db");
        let ran = std::thread::scope(|scope| {
            let writer = scope.spawn(|| commits(&database, &ended));
            let ran = match tool.command(Task::Snapshot, place) {
                None => Err("there is nothing to work on".into()),
                // 1: borg warns that the file changed while it was read.
                Some(mut command) if tool.name == "borg" => {
                    measure::run_up_to(1, &mut command, &work.join("log"), None)
                }
                Some(mut command) => measure::run(&mut command, &work.join("log"), None),
            };
            ended.store(true, Ordering::Relaxed);
            let waits = writer.join().map_err(|_| "the writer panicked")??;
            ran.map(|usage| (usage, 0, Some(waits)))
        });
        self.push(index, "writer", n, 0, ran)
    }

    fn push(
        &mut self,
        index: usize,
        case: &str,
        n: u32,
        before: u64,
        ran: Result<(Usage, u64, Option<Waits>)>,
    ) -> Result<()> {
        let Contender { tool, place } = &self.contenders[index];
        let added = bytes_below(&place.repository)? as i64 - before as i64;
        let (ran, room, waits) = match ran {
            Ok((usage, room, waits)) => (Ok(usage), room, waits),
            Err(error) => (Err(error), 0, None),
        };
        let (usage, failed) = outcome(ran, self.work);
        let row = Row {
            mib: self.plan.mib,
            mode: self.plan.mode,
            case: case.into(),
            tool: tool.name.into(),
            n,
            wall: usage.wall,
            cpu: usage.cpu,
            peak: usage.peak,
            added,
            room,
            waits,
            failed,
        };
        if !self.plan.quiet {
            let _ = writeln!(std::io::stderr(), "{}", serde_json::to_string(&row)?);
        }
        self.rows.push(row);
        Ok(())
    }
}

/// Measures a run, and the free bytes of the disk that it used for a while and gave back.
fn watched(command: &mut Command, work: &Path, sync: Option<&Path>) -> Result<(Usage, u64)> {
    let free = || rustix::fs::statvfs(work).map(|disk| disk.f_bavail * disk.f_frsize).unwrap_or(u64::MAX);
    let ended = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let watcher = scope.spawn(|| {
            let mut least = free();
            while !ended.load(Ordering::Relaxed) {
                std::thread::sleep(Duration::from_millis(5));
                least = least.min(free());
            }
            least
        });
        let ran = measure::run(command, &work.join("log"), sync);
        ended.store(true, Ordering::Relaxed);
        let least = watcher.join().map_err(|_| "the watcher of the disk panicked")?;
        ran.map(|usage| (usage, free().saturating_sub(least)))
    })
}

/// Commits twenty times a second until it is told to end.
fn commits(database: &Path, ended: &AtomicBool) -> Result<Waits> {
    let writer = Connection::open(database).at(database)?;
    writer.busy_timeout(Duration::from_secs(600))?;
    let last: i64 = writer.query_row("SELECT max(rowid) FROM content", [], |row| row.get(0))?;
    let mut waits = Vec::new();
    for n in 0.. {
        let start = Instant::now();
        writer.execute("UPDATE content SET updated_at = updated_at WHERE rowid = ?1", [n * 7919 % last + 1])?;
        waits.push(start.elapsed().as_secs_f64() * 1e3);
        if ended.load(Ordering::Relaxed) {
            break;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    waits.sort_by(f64::total_cmp);
    let at = |part: usize| (waits[(waits.len() - 1) * part / 100] * 1e3).round() / 1e3;
    Ok(Waits { p50: at(50), p99: at(99), longest: at(100) })
}

/// Drops the system's caches; only root can.
fn drop_caches() -> Result<()> {
    let switch = Path::new("/proc/sys/vm/drop_caches");
    fs::write(switch, "3").at(switch)
}

fn compare(place: &Place) -> Result<()> {
    let found = restored(&place.target).ok_or("restored no database")?;
    same_result::database(&place.data.join("lrl.db"), &found.join("lrl.db"))
}
