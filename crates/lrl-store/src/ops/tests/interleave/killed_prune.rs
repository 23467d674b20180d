//! A prune that is killed at any step, and later ones.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::stage::{Schedule, Stage, Stepped};
use super::{DAY, GRACE, Guards, KNOWN, World, back_up, fill, forget_and_prune, one_prune, open};
use crate::backend::Backend;
use crate::fs::lock::LockMode;
use crate::ops::tests::faulty::{names, twin};
use crate::progress::Silent;
use crate::store::Store;

/// Prunes, killed at a step; then backups and prunes go on until there must be nothing left to do. Returns where else it could be killed.
fn killed_and_finished(world: &World, kill: Option<usize>) -> Vec<usize> {
    let storage = twin(&world.storage);
    let stage = Stage::new(2);
    let clock = AtomicU64::new(100);
    let view = |actor| -> Arc<dyn Backend> {
        Arc::new(Stepped { below: Arc::clone(&storage), stage: Arc::clone(&stage), actor, cache: None })
    };
    let (first, second) = (view(0), view(1));
    let (first_part, second_part) = (stage.part(0), stage.part(1));
    let schedule = Schedule { order: vec![0, 1], kill: kill.map(|at| (0, at)), ..Schedule::default() };
    let points = std::thread::scope(|scope| {
        scope.spawn(|| {
            let _part = first_part;
            let done = forget_and_prune(&first, &clock, &[]);
            assert!(done.is_ok() || kill.is_some(), "{done:?}");
        });
        scope.spawn(|| {
            let _part = second_part;
            // When the other is dead its claim ends, too.
            second.list("claims", &mut |_, _| Ok(())).unwrap();
            clock.fetch_add(GRACE + DAY, Ordering::SeqCst);
            world.pools[0].install(|| {
                for run in 3..9 {
                    for (n, source) in ["a", "b"].into_iter().enumerate() {
                        fill(&world.lab(n), &[5, 3 + n as u64]);
                        let guards = Guards { waits: true, clocks: false };
                        back_up(&second, &world.lab(n), source, Arc::new(AtomicU64::new(run)), guards).unwrap();
                    }
                    let store = Store::open(Arc::clone(&second), LockMode::Exclusive, Duration::ZERO, &Silent).unwrap();
                    one_prune(&store, &clock, &[], run).unwrap();
                    clock.fetch_add(GRACE + DAY, Ordering::SeqCst);
                }
            });
        });
        stage.play(&schedule)
    });
    world.verify(&storage, &[]).unwrap_or_else(|what| panic!("killed at step {kill:?}: {what}"));
    for dir in ["pending", "claims"] {
        assert!(names(&storage, dir).is_empty(), "killed at step {kill:?}: {:?}", names(&storage, dir));
    }
    let listed = open(&storage).listed_packs().len();
    assert_eq!(names(&storage, "packs").len(), listed, "killed at step {kill:?}");
    points
}

#[test]
fn a_prune_that_is_killed_at_any_step_is_finished_by_later_ones_and_leaves_nothing() {
    let world = World::new(KNOWN);
    let points = killed_and_finished(&world, None);
    let stride = match std::env::var("LRL_TEST_ROUNDS").as_deref() {
        Ok("all") => 1,
        _ => points.len().div_ceil(12),
    };
    let kills: Vec<usize> = points.iter().step_by(stride).copied().collect();
    kills.iter().for_each(|at| _ = killed_and_finished(&world, Some(*at)));
    println!("{} kills of a prune, each finished by later ones", kills.len());
}
