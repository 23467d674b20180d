//! Every verb on a disk that fails, killed and cut off at every step: what was listed as complete stays so, the next run completes.
//!
//! `LRL_TEST_ROUNDS=all` tries every step and thousands of power cuts, a number that many of each kind in each case. A failure prints
//! the value of `LRL_TEST_STATE` that tries that one state again.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use super::cases::{self, Case, back_up, check, contents, prune};
use crate::backend::Backend;
use crate::error::Result;
use crate::id::SnapshotId;
use crate::ops::judgement::Judge;
use crate::ops::prune::tests::assert_exact;
use crate::ops::restore;
use crate::ops::select::{Need, Selected, select};
use crate::progress::Silent;
use crate::store::create;
use crate::testing::memory_backend::{Fault, MemoryFs};
use crate::time::Time;

/// The one state that is to be tried, if it is one.
fn wanted() -> Option<String> {
    std::env::var("LRL_TEST_STATE").ok()
}

/// How many states of a kind are tried in a case: a few, or as many as are asked for. `long`: for "all".
fn rounds(short: usize, long: usize) -> usize {
    if wanted().is_some() {
        return long;
    }
    match std::env::var("LRL_TEST_ROUNDS").as_deref() {
        Ok("all") => long,
        Ok(number) => number.parse().unwrap_or(short),
        Err(_) => short,
    }
}

/// One state; while a test fails in it, it says how to come back.
struct Try {
    text: String,
}

impl Try {
    /// Begins one, if it is to be tried.
    fn new(kind: &str, case: &Case, step: usize, seed: u64) -> Option<Self> {
        let text = format!("{kind}/{}/{step}/{seed}", case.name);
        wanted().is_none_or(|wanted| wanted == text).then_some(Self { text })
    }
}

impl Drop for Try {
    fn drop(&mut self) {
        if std::thread::panicking() {
            println!("to try this state again: LRL_TEST_STATE='{}'", self.text);
        }
    }
}

/// Fails unless all that is promised is listed, and all that is listed is what it was made of. Returns what is listed.
#[track_caller]
fn assert_whole(case: &Case, ram: &MemoryFs, promised: &HashSet<SnapshotId>) -> HashSet<SnapshotId> {
    let storage = case.on(ram);
    let listed = contents(&storage).unwrap();
    check(case, &storage).unwrap();
    let source = case.source();
    for (id, files) in &listed {
        assert!(files == case.held.get(id).unwrap_or(&source), "snapshot {id} is not what it was made of");
    }
    for id in promised {
        assert!(listed.contains_key(id), "snapshot {id} is gone");
    }
    listed.into_keys().collect()
}

/// The same for a state that a verb left half-way: there may be no store yet, and what was lost before it may be lost still.
#[track_caller]
fn assert_bearable(case: &Case, ram: &MemoryFs, promised: &HashSet<SnapshotId>) {
    let storage = case.on(ram);
    if case.is_damaged && check(case, &storage).is_err() || promised.is_empty() && storage.len("config").is_err() {
        return;
    }
    assert_whole(case, ram, promised);
}

/// The next run goes through and makes everything whole; returns what is promised from here on.
#[track_caller]
fn assert_recovers(case: &Case, ram: &MemoryFs, promised: &HashSet<SnapshotId>) -> HashSet<SnapshotId> {
    let storage = case.on(ram);
    if storage.len("config").is_err() {
        create(&*storage, [1; 32]).unwrap();
    }
    back_up(case, &storage).unwrap();
    let source = case.source();
    assert!(contents(&storage).unwrap().values().any(|files| *files == source), "the backup is not listed");
    assert_whole(case, ram, promised)
}

/// A prune deletes nothing that is needed.
#[track_caller]
fn assert_prunes(case: &Case, ram: &MemoryFs, promised: &HashSet<SnapshotId>) {
    prune(case, &case.on(ram)).unwrap();
    assert_exact(&case.on(ram), case.name);
    assert_whole(case, ram, promised);
}

/// Spreads `count` numbers over those below `all`.
fn spread(count: usize, all: usize) -> impl Iterator<Item = usize> {
    let count = count.min(all);
    (0..count).map(move |i| i * all / count)
}

/// Runs the verb; returns how the disk was before each step that changed it and in the end, and what is promised then.
fn steps(case: &Case) -> (Vec<MemoryFs>, HashSet<SnapshotId>) {
    let ram = case.ram.twin();
    ram.record();
    (case.verb)(case, &case.on(&ram)).unwrap();
    let mut states: Vec<MemoryFs> = ram.recorded().into_iter().map(MemoryFs::of).collect();
    let done = assert_whole(case, &ram, &case.promised);
    states.push(MemoryFs::of(ram.image()));
    (states, done)
}

#[test]
fn a_kill_at_any_step_loses_nothing() {
    let (mut kills, mut cuts) = (0, 0);
    for case in cases::all() {
        let (states, done) = steps(&case);
        for n in spread(rounds(12, usize::MAX), states.len()) {
            let promised = if n + 1 == states.len() { &done } else { &case.promised };
            let Some(_try) = Try::new("kill", &case, n, 0) else { continue };
            assert_bearable(&case, &states[n], promised);
            kills += 1;
            // What the killed run did not sync, the next one must not rely on.
            let next = states[n].clone();
            let promised = assert_recovers(&case, &next, promised);
            for seed in 0..rounds(1, 4) as u64 {
                let after = next.after_power_cut(seed);
                assert_whole(&case, &after, &promised);
                cuts += 1;
                if seed == 0 {
                    assert_prunes(&case, &after, &promised);
                }
            }
            assert_prunes(&case, &next, &promised);
        }
    }
    println!("{kills} kills, and {cuts} power cuts after the run that followed one");
}

/// At which steps the power is cut, each with the seed of what is left.
fn cuts(steps: usize) -> Vec<(usize, u64)> {
    if let Some(text) = wanted() {
        let mut numbers = text.rsplit('/').map_while(|number| number.parse::<u64>().ok());
        let (seed, step) = (numbers.next(), numbers.next());
        return step
            .zip(seed)
            .map(|(step, seed)| (step as usize, seed))
            .filter(|cut| cut.0 < steps)
            .into_iter()
            .collect();
    }
    // Without steps there is nothing to choose from.
    let count = if steps == 1 { 1 } else { rounds(24, 1000) };
    (0..count).map(|i| (if count < steps { i * steps / count } else { i % steps }, i as u64)).collect()
}

#[test]
fn a_power_cut_at_any_step_loses_nothing() {
    let mut tried = 0;
    for case in cases::all() {
        let (states, done) = steps(&case);
        for (n, seed) in cuts(states.len()) {
            let Some(_try) = Try::new("cut", &case, n, seed) else { continue };
            let promised = if n + 1 == states.len() { &done } else { &case.promised };
            let after = states[n].after_power_cut(seed);
            assert_bearable(&case, &after, promised);
            let promised = assert_recovers(&case, &after, promised);
            assert_prunes(&case, &after, &promised);
            tried += 1;
        }
    }
    println!("{tried} power cuts");
}

#[test]
fn a_disk_that_fails_at_any_call_loses_nothing_and_publishes_nothing_half() {
    let mut tried = BTreeMap::new();
    for case in cases::all() {
        for fault in [Fault::Fails, Fault::Dies, Fault::Full, Fault::Short] {
            // How many calls there are that can go wrong.
            let ram = case.ram.twin();
            ram.arm(fault, usize::MAX);
            (case.verb)(&case, &case.on(&ram)).unwrap();
            let calls = ram.calls();
            let listed = assert_whole(&case, &ram, &case.promised);
            for n in spread(rounds(12, usize::MAX), calls) {
                let kind = format!("{fault:?}").to_lowercase();
                let Some(_try) = Try::new(&kind, &case, n, 0) else { continue };
                let ram = case.ram.twin();
                ram.arm(fault, n);
                let done: Result<()> = (case.verb)(&case, &case.on(&ram));
                if !ram.disarm() {
                    // Threads look chunks up in another order, and so one block more or less is read.
                    done.unwrap();
                    continue;
                }
                assert!(done.is_ok() || fault != Fault::Short, "{done:?}");
                assert_bearable(&case, &ram, &case.promised);
                assert!(done.is_err() || assert_whole(&case, &ram, &case.promised).len() >= listed.len());
                // What a failed sync has dropped, no later one may count on.
                let promised = assert_recovers(&case, &ram, &case.promised);
                let after = ram.after_power_cut(n as u64);
                assert_whole(&case, &after, &promised);
                assert_prunes(&case, &after, &promised);
                *tried.entry(kind).or_insert(0) += 1;
            }
        }
    }
    println!("{tried:?}, each with a power cut after the run that followed");
}

#[test]
fn a_restore_from_a_disk_that_fails_leaves_old_or_new() {
    let case = cases::restorable();
    let (mut failed, mut done) = (0, 0);
    for fault in [Fault::Fails, Fault::Dies] {
        let calls = restore_on(&case.ram.twin(), fault, usize::MAX, &tempfile::tempdir().unwrap()).1;
        for n in spread(rounds(8, usize::MAX), calls) {
            let kind = format!("restore {fault:?}").to_lowercase();
            let Some(_try) = Try::new(&kind, &case, n, 0) else { continue };
            let target = tempfile::tempdir().unwrap();
            std::fs::create_dir(target.path().join("assets")).unwrap();
            for name in ["lrl.db", "assets/old"] {
                std::fs::write(target.path().join(name), b"old").unwrap();
            }
            let old = cases::files(target.path());
            let (result, _) = restore_on(&case.ram.twin(), fault, n, &target);
            let wanted = if result.is_ok() { case.source() } else { old };
            assert!(cases::files(target.path()) == wanted, "{result:?}");
            *(if result.is_ok() { &mut done } else { &mut failed }) += 1;
        }
    }
    assert!(failed > 0);
    println!("{failed} restores failed, {done} went through");
}

/// Restores the newest snapshot; returns also how many calls could go wrong.
fn restore_on(ram: &MemoryFs, fault: Fault, n: usize, target: &tempfile::TempDir) -> (Result<()>, usize) {
    ram.arm(fault, n);
    let options = restore::Options { force: true, ..restore::Options::new(target.path()) };
    let run = || {
        let store = cases::open(&(Arc::new(ram.storage()) as Arc<dyn Backend>))?;
        let mut judge = Judge::new(&store, Time::default());
        let found = select(&store, None, "latest", Need::default(), &mut judge, &Silent)?;
        let Selected { name, snapshot, .. } = found;
        restore::restore(&store, &name, &snapshot, &options, &Silent).map(drop)
    };
    (run(), ram.calls())
}
