//! Every order of a few runs, with few switches between them.

use super::stage::Schedule;
use super::{Guards, KNOWN, STRANGERS, World, Writers};
use crate::testing::rng::Rng;

/// Says which schedules are tried.
struct Effort {
    /// All with up to this many switches.
    switches: usize,
    /// And this many by chance, with more.
    by_chance: u64,
}

fn effort() -> Effort {
    let few = Effort { switches: 0, by_chance: 120 };
    match std::env::var("LRL_TEST_ROUNDS").as_deref() {
        Ok("all") => Effort { switches: 2, by_chance: 20_000 },
        Ok(number) => number.parse().map_or(few, |n| Effort { switches: usize::from(n >= 1000), by_chance: n }),
        Err(_) => few,
    }
}

fn by_chance(dice: &mut Rng, points: &[usize], actors: usize, may_die: &dyn Fn(usize) -> bool) -> Schedule {
    let mut order: Vec<usize> = (0..actors).collect();
    (1..actors).rev().for_each(|n| order.swap(n, dice.below(n + 1)));
    let at = |dice: &mut Rng| points[dice.below(points.len())];
    let switches = (0..1 + dice.below(4)).map(|_| (at(dice), dice.below(actors))).collect();
    let kill = (dice.below(3) == 0).then(|| (dice.below(actors), at(dice)));
    Schedule { order, switches, kill: kill.filter(|(actor, _)| may_die(*actor)) }
}

/// Plays schedules until one fails; returns how many were tried, and the failure.
fn explore(writers: Writers, guards: Guards, effort: &Effort) -> (u64, Option<String>) {
    let world = World::new(writers);
    let actors = writers.len() + 1;
    // Where time is all that guards a run, and it sleeps for days right before it lists its snapshot, and then dies before it looks: that is
    // the one thing that nothing helps against.
    let may_die = |actor: usize| !guards.clocks || actor == writers.len();
    let tried = std::cell::Cell::new(0);
    let failure = std::cell::RefCell::new(None);
    let play = |schedule: &Schedule| {
        tried.set(tried.get() + 1);
        let what = match world.play(schedule, guards) {
            Ok(points) => return Some(points),
            Err(what) => what,
        };
        *failure.borrow_mut() = Some(format!("LRL_TEST_SCHEDULE='{schedule}' ({guards:?}): {what}"));
        None
    };
    let all = || -> Option<()> {
        if let Ok(text) = std::env::var("LRL_TEST_SCHEDULE") {
            return play(&Schedule::parse(&text)).map(drop);
        }
        let alone = Schedule { order: (0..actors).collect(), ..Schedule::default() };
        let points = play(&alone)?;
        let switches = |points: &[usize], after: usize, level: usize| -> Vec<(usize, usize)> {
            let points = points.iter().filter(|at| **at >= after && effort.switches >= level);
            points.flat_map(|at| (0..actors).map(|to| (*at, to))).collect()
        };
        for first in switches(&points, 0, 1) {
            let points = play(&Schedule { switches: vec![first], ..alone.clone() })?;
            for second in switches(&points, first.0 + 1, 2) {
                play(&Schedule { switches: vec![first, second], ..alone.clone() })?;
            }
        }
        let mut dice = Rng::new(7);
        for _ in 0..effort.by_chance {
            play(&by_chance(&mut dice, &points, actors, &may_die))?;
        }
        Some(())
    };
    all();
    (tried.get(), failure.into_inner())
}

#[track_caller]
fn assert_all_whole(what: &str, writers: Writers, guards: Guards) {
    let (tried, failure) = explore(writers, guards, &effort());
    assert!(failure.is_none(), "{}", failure.unwrap_or_default());
    println!("{what}: {tried} interleavings, none bad");
}

#[test]
fn runs_whose_machines_slept_are_waited_for_in_every_interleaving() {
    assert_all_whole("known sources, no clocks", KNOWN, Guards { waits: true, clocks: false });
}

#[test]
fn runs_that_nobody_waits_for_look_again_in_every_interleaving() {
    assert_all_whole("unknown sources and two runs of one", STRANGERS, Guards { waits: true, clocks: true });
    assert_all_whole("nobody is waited for", KNOWN, Guards { waits: false, clocks: true });
}

#[test]
fn the_exploration_finds_what_neither_guard_keeps() {
    let effort = Effort { switches: 1, by_chance: 0 };
    let (tried, failure) = explore(KNOWN, Guards { waits: false, clocks: false }, &effort);
    assert!(failure.is_some(), "{tried} interleavings, none bad: nothing was shown");
    println!("without guards: number {tried} is bad");
}
