//! Writers, a forget and a pruner on one store without locks, in every order that few switches between them make: whatever happens, each
//! listed snapshot restores, and no reference dangles. `LRL_TEST_ROUNDS=all` tries every schedule with up to two switches and thousands by
//! chance, a number that many by chance, from 1,000 on also each with one switch. A failure prints the schedule; `LRL_TEST_SCHEDULE` set to that text plays it again.

// A log says how many schedules were tried.
#![allow(clippy::print_stdout)]

mod killed_prune;
mod schedules;
mod stage;

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use stage::{Schedule, Stage, Stepped};

use super::faulty::twin;
use crate::backend::Backend;
use crate::error::{Error, Result};
use crate::fs::lock::LockMode;
use crate::fs::space::SpaceGuard;
use crate::ops::check::{self, ReadData, check};
use crate::ops::prune::MaxUnused;
use crate::ops::prune::two_phase::{Options, prune};
use crate::ops::{backup, dump, ls};
use crate::progress::Silent;
use crate::set::tests::noise;
use crate::store::{Store, create};
use crate::testing::memory_backend::memory;
use crate::time::Time;

const DAY: u64 = 86_400;

const GRACE: u64 = 7 * DAY;

/// Far from every file's time, so that what looks unchanged is.
const EPOCH: u64 = 400_000_000;

/// What keeps a run's references whole.
#[derive(Debug, Clone, Copy)]
struct Guards {
    /// A prune waits for a backup of each source.
    waits: bool,
    /// The writers' clocks go on, so that a run that took long looks again. Else their machines slept with them.
    clocks: bool,
}

/// What the writers do: for each its source, and of each of its runs the uploads that it finds.
type Writers = &'static [(&'static str, &'static [&'static [u64]])];

/// Uploads by their seeds: 1 and 2 stood in snapshots that are forgotten, 3 stands in the newest of `a`, 4 in that of `b`, 5 in both.
const KNOWN: Writers = &[("a", &[&[5, 3, 1], &[5, 1, 2]]), ("b", &[&[5, 4, 1]])];

/// A source that nobody knows yet, and two runs of one at once.
const STRANGERS: Writers = &[("new", &[&[5, 1, 2]]), ("a", &[&[5, 3, 1]]), ("a", &[&[5, 3, 2], &[5, 2, 6]])];

/// A store with a history, the labs beside it as their writers left them, and their caches.
struct World {
    dir: tempfile::TempDir,
    storage: Arc<dyn Backend>,
    writers: Writers,
    pools: Vec<rayon::ThreadPool>,
}

fn options(lab: &Path, source: &str, now: u64) -> backup::Options {
    let mut options = backup::tests::options(lab, EPOCH + now);
    (options.databases, options.source) = (Vec::new(), source.into());
    options
}

/// Makes a lab's uploads those of the seeds; what is there already is left untouched.
fn fill(lab: &Path, seeds: &[u64]) {
    let assets = lab.join("assets");
    std::fs::create_dir_all(&assets).unwrap();
    let wanted: Vec<PathBuf> = seeds.iter().map(|seed| assets.join(seed.to_string())).collect();
    for entry in std::fs::read_dir(&assets).unwrap().map(|entry| entry.unwrap().path()) {
        if !wanted.contains(&entry) {
            std::fs::remove_file(entry).unwrap();
        }
    }
    for (path, seed) in wanted.iter().zip(seeds).filter(|(path, _)| !path.exists()) {
        std::fs::write(path, noise(*seed, 3000)).unwrap();
    }
}

fn open(storage: &Arc<dyn Backend>) -> Store {
    Store::open(Arc::clone(storage), LockMode::Shared, Duration::ZERO, &Silent).unwrap()
}

impl World {
    fn new(writers: Writers) -> Self {
        let memory = memory();
        create(&memory, [1; 32]).unwrap();
        let dir = tempfile::tempdir().unwrap();
        let world = Self {
            dir,
            storage: Arc::new(memory),
            writers,
            pools: (0..=writers.len())
                .map(|_| rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap())
                .collect(),
        };
        let histories: [(&str, &[&[u64]]); 2] = [("a", &[&[5, 1], &[5, 2, 1], &[5, 3]]), ("b", &[&[5, 4]])];
        for (source, history) in histories {
            let lab = world.dir.path().join(format!("history-{source}"));
            for (n, seeds) in history.iter().enumerate() {
                fill(&lab, seeds);
                let _ = backup::backup(&open(&world.storage), &options(&lab, source, n as u64), &Silent).unwrap();
            }
        }
        world
    }

    fn lab(&self, writer: usize) -> PathBuf {
        self.dir.path().join(format!("lab-{writer}"))
    }

    /// Plays one schedule; returns the steps before which a switch may matter.
    fn play(&self, schedule: &Schedule, guards: Guards) -> Result<Vec<usize>, String> {
        let storage = twin(&self.storage);
        let stage = Stage::new(self.writers.len() + 1);
        let clock = Arc::new(AtomicU64::new(100));
        // The backups that were acknowledged, and what they found.
        let made = Mutex::new(Vec::new());
        let refused = Mutex::new(Vec::new());
        let points = std::thread::scope(|scope| {
            for (actor, (source, runs)) in self.writers.iter().enumerate() {
                let (stage, clock, made, refused) = (Arc::clone(&stage), &clock, &made, &refused);
                let (lab, cache) = (self.lab(actor), self.dir.path().join(format!("cache-{actor}")));
                let _ = std::fs::remove_dir_all(&cache);
                std::fs::create_dir(&cache).unwrap();
                let view = |cache| Stepped { below: Arc::clone(&storage), stage: Arc::clone(&stage), actor, cache };
                let view: Arc<dyn Backend> = Arc::new(view(Some(cache)));
                let pool = &self.pools[actor];
                scope.spawn(move || {
                    let _part = stage.part(actor);
                    pool.install(|| {
                        for seeds in *runs {
                            fill(&lab, seeds);
                            let clock = Arc::clone(clock);
                            let done = back_up(&view, &lab, source, clock, guards);
                            match done {
                                Ok(name) => made.lock().unwrap().push((name, *seeds)),
                                Err(e) => {
                                    refused.lock().unwrap().push((actor, e));
                                    break;
                                }
                            }
                        }
                    });
                });
            }
            let actor = self.writers.len();
            let (below, stage_of) = (Arc::clone(&storage), Arc::clone(&stage));
            let view: Arc<dyn Backend> = Arc::new(Stepped { below, stage: stage_of, actor, cache: None });
            let (part, clock, refused, pool) = (stage.part(actor), &clock, &refused, &self.pools[actor]);
            let retired: Vec<String> = if guards.waits {
                Vec::new()
            } else {
                self.writers.iter().map(|(source, _)| source.to_string()).chain(["b".into()]).collect()
            };
            scope.spawn(move || {
                let _part = part;
                pool.install(|| {
                    if let Err(e) = forget_and_prune(&view, clock, &retired) {
                        refused.lock().unwrap().push((actor, e));
                    }
                });
            });
            stage.play(schedule)
        });
        let refused = refused.into_inner().unwrap();
        for (actor, error) in &refused {
            let is_killed = schedule.kill.is_some_and(|(killed, _)| killed == *actor);
            // What a run took from the store has gone meanwhile, and it says so; or others were faster five times.
            let is_said = matches!(error, Error::Refused(_) | Error::Missing { .. } | Error::Locked { .. });
            if !is_killed && !is_said {
                return Err(format!("actor {actor}: {error}"));
            }
        }
        self.verify(&storage, &made.into_inner().unwrap())?;
        Ok(points)
    }

    /// Everything that is listed can be restored, and what was acknowledged holds what was there.
    fn verify(&self, storage: &Arc<dyn Backend>, made: &[(crate::store::SnapshotName, &[u64])]) -> Result<(), String> {
        let options = check::Options { read_data: ReadData::All, seed: 1, lock_wait: Duration::ZERO, record: None };
        let report = check(Arc::clone(storage), &options, &Silent).unwrap();
        if report.wrong {
            return Err(format!("{:#?}", report.findings));
        }
        let store = open(storage);
        let listed = store.snapshot_names(None).unwrap();
        for name in &listed {
            let snapshot = store.snapshot(name).unwrap();
            let entries = ls::ls(&store, &snapshot, b"").unwrap().entries.map(|entry| entry.unwrap());
            let mut seeds = Vec::new();
            for entry in entries.filter(|entry| entry.size() > 0) {
                let mut bytes = Vec::new();
                let sink = &mut |piece: &[u8]| {
                    bytes.extend_from_slice(piece);
                    Ok(())
                };
                dump::dump(&store, &snapshot, &entry.path, &Silent, sink).map_err(|e| format!("{name}: {e}"))?;
                let seed: u64 = String::from_utf8_lossy(&entry.path).rsplit('/').next().unwrap().parse().unwrap();
                if bytes != noise(seed, 3000) {
                    return Err(format!("{name}: {seed} has other bytes"));
                }
                seeds.push(seed);
            }
            if let Some((_, wanted)) = made.iter().find(|(made, _)| made == name) {
                let wanted: HashSet<u64> = wanted.iter().copied().collect();
                if seeds.into_iter().collect::<HashSet<_>>() != wanted {
                    return Err(format!("{name} does not hold {wanted:?}"));
                }
            }
        }
        match made.iter().find(|(name, _)| !listed.contains(name)) {
            Some((name, _)) => Err(format!("{name} was acknowledged and is not listed")),
            None => Ok(()),
        }
    }
}

fn back_up(
    view: &Arc<dyn Backend>,
    lab: &Path,
    source: &str,
    clock: Arc<AtomicU64>,
    guards: Guards,
) -> Result<crate::store::SnapshotName> {
    let now = clock.load(Ordering::SeqCst);
    let read = move || [Duration::from_secs(if guards.clocks { clock.load(Ordering::SeqCst) } else { 0 }); 2];
    let store =
        Store::open(Arc::clone(view), LockMode::Shared, Duration::ZERO, &Silent)?.with_stopwatch(Arc::new(read));
    Ok(backup::backup(&store, &options(lab, source, now), &Silent)?.name)
}

/// Forgets the older snapshots of `a`, then prunes until nothing is left to do, waiting between the runs.
fn forget_and_prune(view: &Arc<dyn Backend>, clock: &AtomicU64, retired: &[String]) -> Result<()> {
    let open = || Store::open(Arc::clone(view), LockMode::Exclusive, Duration::ZERO, &Silent);
    let store = open()?;
    for name in store.snapshot_names(Some("a"))?.iter().filter(|name| name.sequence < 3) {
        store.forget(name)?;
    }
    for run in 0..3 {
        one_prune(&open()?, clock, retired, run)?;
        clock.fetch_add(GRACE + DAY, Ordering::SeqCst);
    }
    Ok(())
}

fn one_prune(store: &Store, clock: &AtomicU64, retired: &[String], run: u64) -> Result<()> {
    let options = Options {
        max_unused: MaxUnused::Bytes(0),
        grace: Duration::from_secs(GRACE),
        retired: retired.to_vec(),
        only_pruner: true,
        owner: "test".into(),
        token: run.to_string(),
        program: "test".into(),
        now: Time { secs: (EPOCH + clock.load(Ordering::SeqCst)) as i64, nanos: 0 },
        lock_wait: Duration::ZERO,
        dry_run: false,
    };
    prune(store, &options, &HashSet::new(), &SpaceGuard::unlimited(), &Silent).map(drop)
}
