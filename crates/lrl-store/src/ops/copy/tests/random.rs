//! Random histories, there and back.

use proptest::prelude::*;

use super::{KEYS, Lab, assert_clean, assert_same, contents, empty, noise, open, run, whole};
use crate::id::SnapshotId;
use crate::ops::copy::Which;

/// What happens to a lab.
#[derive(Debug, Clone)]
enum Act {
    Rows(i64),
    Vacuum,
    Upload(u8, u64, usize),
    Rename(u8, u8),
    Remove(u8),
    Link(u8),
    Large(u64),
    BackUp(u8),
    Forget(u64),
    Copy,
}

fn acts() -> impl Strategy<Value = Vec<Act>> {
    let act = prop_oneof![
        3 => (0i64..4000).prop_map(Act::Rows),
        1 => Just(Act::Vacuum),
        3 => (0u8..8, any::<u64>(), 0usize..90_000).prop_map(|(n, seed, len)| Act::Upload(n, seed, len)),
        1 => (0u8..8, 0u8..8).prop_map(|(a, b)| Act::Rename(a, b)),
        1 => (0u8..8).prop_map(Act::Remove),
        1 => (0u8..8).prop_map(Act::Link),
        1 => any::<u64>().prop_map(Act::Large),
        5 => (0u8..5).prop_map(Act::BackUp),
        1 => (0u64..12).prop_map(Act::Forget),
        2 => Just(Act::Copy),
    ];
    proptest::collection::vec(act, 1..24)
}

fn act(lab: &mut Lab, act: &Act, steps: &mut Vec<Which>) {
    let place = |n: &u8| lab.dir.path().join(format!("assets/u{n}"));
    match act {
        Act::Rows(at) => {
            let rows = "UPDATE users SET name = hex(randomblob(20)) WHERE id BETWEEN ?1 AND ?1 + 40";
            lab.database().execute(rows, [at]).unwrap();
        }
        Act::Vacuum => lab.database().execute_batch("DELETE FROM users WHERE id % 40 = 3; VACUUM").unwrap(),
        Act::Upload(n, seed, len) => lab.upload(&format!("u{n}"), *seed, *len),
        Act::Rename(a, b) => _ = std::fs::rename(place(a), place(b)),
        Act::Remove(n) => _ = std::fs::remove_file(place(n)),
        Act::Link(n) => _ = std::fs::hard_link(place(n), lab.dir.path().join(format!("assets/link{n}"))),
        // Cut by content, with a piece of its own that moves all later ones.
        Act::Large(seed) => {
            let mut bytes = noise(*seed, 1000);
            bytes.extend(noise(4, 3 << 20));
            std::fs::write(lab.dir.path().join("assets/large"), bytes).unwrap();
        }
        Act::BackUp(0) => lab.back_up_as("lab", |options| options.uploads = None),
        Act::BackUp(1) => lab.back_up_as("lab", |options| options.databases.clear()),
        Act::BackUp(2) => lab.back_up_as("other", |_| {}),
        Act::BackUp(_) => lab.back_up(),
        Act::Forget(n) => lab.forget(|sequence| sequence == *n),
        Act::Copy => steps.push(Which::Newer("lab".into())),
    }
}

fn life(acts: &[Act], key: Option<[u8; 32]>) {
    let mut lab = Lab::new();
    let copied = empty(2);
    for what in acts {
        let mut steps = Vec::new();
        act(&mut lab, what, &mut steps);
        for which in steps {
            let _ = whole(run(&open(&lab.backend, None), &open(&copied, key), which));
        }
    }
    let from = open(&lab.backend, None);
    let to = open(&copied, key);
    let _ = whole(run(&from, &to, Which::Missing(None)));
    let (right, order) = contents(&from);
    let (there, there_order) = contents(&to);
    // What the lab has forgotten since may still be in the copy.
    let kept: Vec<&SnapshotId> = there_order.iter().filter(|id| right.contains_key(id)).collect();
    assert_eq!(kept, order.iter().collect::<Vec<_>>());
    right.iter().for_each(|(id, held)| assert_eq!(&there[id], held));
    // And back, into another store that names chunks as the first one does.
    let back = empty(3);
    let _ = whole(run(&to, &open(&back, None), Which::Missing(None)));
    assert_same(&to, &open(&back, None));
    assert_clean(&back, "there and back");
    if key.is_none() {
        assert_clean(&copied, "the copy");
    }
}

/// `LRL_TEST_ROUNDS` says how many histories are copied.
fn cases() -> u32 {
    match std::env::var("LRL_TEST_ROUNDS").as_deref() {
        Ok("all") => 2000,
        Ok(rounds) => rounds.parse().unwrap(),
        Err(_) => 12,
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(cases()))]
    #[test]
    fn random_histories_are_the_same_in_the_copy(acts in acts(), keyed: bool) {
        life(&acts, KEYS[usize::from(keyed)]);
    }
}
