//! A copy that fails or dies at any step.

use std::time::Duration;

use super::{Lab, Shared, assert_clean, assert_same, empty, open, options, run, whole};
use crate::error::Error;
use crate::fs::lock::LockMode;
use crate::ops::copy::{Report, Which, copy};
use crate::ops::tests::faulty::{Fault, Faulty, names};
use crate::progress::Silent;
use crate::store::Store;

#[test]
fn a_run_that_dies_at_any_step_leaves_whole_snapshots_and_the_next_goes_on() {
    let mut lab = Lab::new();
    (0..4).for_each(|_| lab.step());
    let from = open(&lab.backend, None);
    for fault in [Fault::Dies, Fault::DiesAfter, Fault::Fails, Fault::Full] {
        for left in 0.. {
            let copied = empty(2);
            let faulty: Shared = Faulty::new(&copied, fault, left);
            let store = Store::open(faulty, LockMode::Shared, Duration::ZERO, &Silent);
            let ended = store.and_then(|to| copy(&from, &to, &options(Which::Missing(None)), &Silent));
            let to = open(&copied, None);
            let what = format!("{fault:?} {left}");
            assert_clean(&copied, &what);
            let there = to.snapshot_names(None).unwrap().len();
            let before: Vec<String> = names(&copied, "packs");
            let report = whole(run(&from, &to, Which::Missing(None)));
            assert_eq!((report.copied.len(), report.known), (4 - there, there as u64), "{what}");
            assert_same(&from, &to);
            assert_clean(&copied, &what);
            // What an index listed is not stored a second time.
            let twice = to.indexes().iter().map(|file| file.records()).sum::<u64>();
            let mut once = 0;
            to.each_chunk(&mut |_| {
                once += 1;
                Ok(())
            })
            .unwrap();
            assert_eq!(twice, once, "{what}");
            assert!(names(&copied, "packs").len() <= before.len() + 4, "{what}");
            if ended.is_ok_and(|report| report.stopped.is_none()) {
                break;
            }
        }
    }
}

#[test]
fn the_first_look_fails_where_nothing_can_be_written() {
    let mut lab = Lab::new();
    lab.step();
    let from = open(&lab.backend, None);
    let copied = empty(2);
    let faulty: Shared = Faulty::new(&copied, Fault::Dies, 0);
    let to = Store::open(faulty, LockMode::Shared, Duration::ZERO, &Silent).unwrap();
    let ended = copy(&from, &to, &options(Which::Missing(None)), &Silent);
    assert!(!matches!(ended, Ok(Report { stopped: None, .. })));
    assert!(matches!(ended, Err(Error::Io { .. }) | Ok(Report { stopped: Some(Error::Io { .. }), .. })), "{ended:?}");
}
