//! A long random life: operations of every kind, faults and damage among them, on one store that two labs share, against a plain model of
//! what every snapshot holds. `LRL_TEST_ROUNDS=all` lives 100,000 operations, a number that many lives of about a hundred.

// A log says how much was done.
#![allow(clippy::print_stdout)]

mod acts;
pub mod lab;
mod shaky;
pub mod world;

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;
use proptest::test_runner::{TestError, TestRunner};

use crate::ops::forget::Policy;
use crate::ops::tests::faulty::Fault;
use acts::{Harm, How, Op, Place, Trouble};
use lab::Step;
use world::World;

const YEARS: i64 = 10 * 365 * 86_400;

fn step() -> impl Strategy<Value = Step> {
    let name = any::<u8>;
    prop_oneof![
        6 => (name(), 0u8..20, prop_oneof![4 => 0u32..3000, 2 => 3000u32..40_000, 1 => 300_000u32..700_000])
            .prop_map(|(name, seed, len)| Step::Write { name, seed, len }),
        4 => (name(), any::<u8>()).prop_map(|(name, seed)| Step::Patch { name, seed }),
        2 => name().prop_map(|name| Step::Remove { name }),
        2 => (name(), name()).prop_map(|(from, to)| Step::Move { from, to }),
        1 => (name(), name()).prop_map(|(name, target)| Step::Link { name, target }),
        1 => (name(), name()).prop_map(|(name, target)| Step::HardLink { name, target }),
        1 => (name(), any::<u8>()).prop_map(|(name, mode)| Step::Mode { name, mode }),
        6 => (0u16..800, 1u8..20, any::<u8>()).prop_map(|(from, count, seed)| Step::Rows { from, count, seed }),
        2 => (0u16..800, 1u8..100).prop_map(|(from, count)| Step::DeleteRows { from, count }),
        1 => (0u8..6).prop_map(|name| Step::Table { name }),
        1 => Just(Step::Vacuum),
        1 => any::<bool>().prop_map(|wal| Step::Journal { wal }),
    ]
}

fn trouble() -> impl Strategy<Value = Option<Trouble>> {
    let fault = prop_oneof![Just(Fault::Fails), Just(Fault::Dies), Just(Fault::DiesAfter), Just(Fault::Full)];
    let one = prop_oneof![
        3 => (fault, 0u32..80).prop_map(|(fault, after)| Trouble::Storage(fault, after)),
        1 => (0u32..60).prop_map(Trouble::Interrupt),
    ];
    prop::option::weighted(0.3, one)
}

fn how() -> impl Strategy<Value = How> {
    (0u8..6, prop::bool::weighted(0.2), any::<bool>(), prop::bool::weighted(0.15), prop::bool::weighted(0.2)).prop_map(
        |(half, exclude, tag, rescan, set)| How { database: half != 1, uploads: half != 2, exclude, tag, rescan, set },
    )
}

fn policy() -> impl Strategy<Value = Policy> {
    prop_oneof![
        (1u32..5).prop_map(|last| Policy { last, ..Policy::default() }),
        (1u32..4, 0u32..3).prop_map(|(daily, yearly)| Policy { daily, yearly, ..Policy::default() }),
        (1u64..10_000_000).prop_map(|within_secs| Policy { within_secs, ..Policy::default() }),
        Just(Policy { tags: vec!["keep".into()], ..Policy::default() }),
    ]
}

fn op() -> impl Strategy<Value = Op> {
    let index = any::<Index>;
    let harm = prop_oneof![
        3 => (index(), any::<u8>()).prop_map(|(at, bit)| Harm::Flip(at, bit)),
        1 => index().prop_map(Harm::Cut),
        1 => Just(Harm::Remove),
    ];
    let place = prop_oneof![3 => Just(Place::Fresh), 1 => Just(Place::Over), 2 => Just(Place::Undone)];
    let jump = prop_oneof![Just(1i64), Just(-1), Just(3600), Just(86_400), Just(YEARS), Just(-YEARS)];
    prop_oneof![
        40 => (any::<bool>(), step()).prop_map(|(lab, step)| Op::Step { lab, step }),
        20 => (any::<bool>(), how(), trouble()).prop_map(|(lab, how, trouble)| Op::Backup { lab, how, trouble }),
        5 => (policy(), trouble()).prop_map(|(policy, trouble)| Op::Forget { policy, trouble }),
        2 => (index(), prop::bool::weighted(0.3)).prop_map(|(which, force)| Op::ForgetOne { which, force }),
        6 => (any::<bool>(), trouble()).prop_map(|(all, trouble)| Op::Prune { all, trouble }),
        6 => (index(), any::<bool>(), any::<u8>(), place, trouble())
            .prop_map(|(which, lab, part, place, trouble)| Op::Restore { which, lab, part, place, trouble }),
        4 => (index(), trouble()).prop_map(|(which, trouble)| Op::Drill { which, trouble }),
        4 => (index(), harm).prop_map(|(object, harm)| Op::Damage { object, harm }),
        2 => Just(Op::PutBack),
        2 => any::<bool>().prop_map(|all| Op::Repair { all }),
        2 => any::<bool>().prop_map(|garbled| Op::Cache { garbled }),
        6 => jump.prop_map(|secs| Op::Clock { secs }),
    ]
}

fn text(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref().copied());
    text.unwrap_or_default().into()
}

/// How many lives, and how long they are.
fn bounds() -> (u32, std::ops::Range<usize>) {
    match std::env::var("LRL_TEST_ROUNDS").as_deref() {
        Ok("all") => (500, 1..400),
        Ok(number) => (number.parse().unwrap_or(4), 1..200),
        Err(_) => (4, 1..200),
    }
}

#[test]
fn a_long_random_life_loses_nothing() {
    let (cases, ops) = bounds();
    let config = ProptestConfig { cases, max_shrink_iters: 3000, ..ProptestConfig::default() };
    let counts = Mutex::new(BTreeMap::<&str, u64>::new());
    let mut runner = TestRunner::new(ProptestConfig { source_file: Some(file!()), ..config });
    let result = runner.run(&vec(op(), ops), |ops| {
        let mut world = World::new();
        for (n, op) in ops.iter().enumerate() {
            // What follows the failure has nothing to do with it.
            let done = catch_unwind(AssertUnwindSafe(|| world.act(op)));
            done.map_err(|why| TestCaseError::fail(format!("operation {n}: {}", text(&*why))))?;
        }
        let mut counts = counts.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        *counts.entry("operations").or_default() += ops.len() as u64;
        world.counts.into_iter().for_each(|(what, n)| *counts.entry(what).or_default() += n);
        Ok(())
    });
    println!("{:?}", counts.lock().unwrap());
    match result {
        Ok(()) => {}
        Err(TestError::Fail(why, ops)) => {
            let ops: Vec<String> = ops.iter().enumerate().map(|(n, op)| format!("{n}: {op:?}")).collect();
            panic!("{why}; the shortest life that fails (its seed is in proptest-regressions):\n{}", ops.join("\n"));
        }
        Err(other) => panic!("{other}"),
    }
}
