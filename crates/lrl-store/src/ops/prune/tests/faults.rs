//! A fault or an interrupt at any call.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use super::{
    Lab, assert_clean, assert_exact, back_up, contents, open, pack_bytes, prune, try_prune, worn, worn_and_chained,
};
use crate::backend::Backend;
use crate::error::{Error, Result};
use crate::format::drill::Drill;
use crate::fs::space::SpaceGuard;
use crate::ops::forget;
use crate::ops::prune::{MaxUnused, apply, plan};
use crate::ops::tests::faulty::{Counted, Fault, Faulty, twin};
use crate::progress::{Observer, Silent};
use crate::store::Store;
use crate::time::Time;

#[test]
fn a_fault_at_any_call_that_changes_something_loses_nothing() {
    [worn(), worn_and_chained()].iter().for_each(faults_lose_nothing);
}

fn faults_lose_nothing(lab: &Lab) {
    let right = contents(&lab.backend);
    let mut states = 0;
    for fault in [Fault::Fails, Fault::DiesAfter, Fault::Full] {
        for n in 0.. {
            let backend = twin(&lab.backend);
            let faulty = Faulty::new(&backend, fault, n);
            let dyn_faulty: Arc<dyn Backend> = Arc::clone(&faulty) as Arc<dyn Backend>;
            let done = try_prune(&dyn_faulty, MaxUnused::Bytes(0));
            let tripped = faulty.has_tripped();
            assert!(tripped || done.as_ref().is_ok_and(|report| report.failed.is_none()), "{fault:?} {n}: {done:?}");
            let what = format!("{fault:?} at change {n}");
            assert_eq!(contents(&backend), right, "{what}");
            assert_clean(&backend, &what);
            if fault == Fault::Full && n == 0 {
                assert!(pack_bytes(&backend) < pack_bytes(&lab.backend), "{what}: the dead packs go on a full disk");
            }
            if n % 3 == 0 {
                back_up(&backend, lab.dir.path(), "lab", 100);
                assert_clean(&backend, &format!("{what}, and a backup"));
            }
            prune(&backend, MaxUnused::Bytes(0));
            assert!(
                right.iter().all(|(id, digest)| contents(&backend).get(id) == Some(digest)),
                "{what}, pruned again"
            );
            assert_clean(&backend, &format!("{what}, pruned again"));
            assert_exact(&backend, &format!("{what}, pruned again"));
            states += 1;
            if !tripped {
                break;
            }
        }
    }
    assert!(states > 60, "only {states} states");
}

/// Asks to stop at its n-th question, and from then on.
struct Stops(AtomicU32);

impl Observer for Stops {
    fn interrupted(&self) -> bool {
        self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| Some(left.saturating_sub(1))) == Ok(0)
    }
}

#[test]
fn who_stops_a_prune_is_told_so_and_loses_nothing() {
    let lab = worn();
    let right = contents(&lab.backend);
    let (mut at, mut stopped) = (0, 0);
    loop {
        let backend = twin(&lab.backend);
        let observer = Stops(AtomicU32::new(at));
        let store = open(&backend);
        let done = plan(&store, MaxUnused::Bytes(0), &HashSet::new(), false, &observer)
            .and_then(|plan| apply(&store, plan, &SpaceGuard::unlimited(), &observer));
        drop(store);
        assert_eq!(contents(&backend), right, "question {at}");
        assert_clean(&backend, &format!("question {at}"));
        match done {
            Err(Error::Interrupted) => stopped += 1,
            Ok(report) => break assert!(report.failed.is_none() && stopped > 10, "{report:?}, {stopped} stopped"),
            Err(error) => panic!("question {at}: {error}"),
        }
        prune(&backend, MaxUnused::Bytes(0));
        assert_exact(&backend, &format!("question {at}"));
        at += 1 + at / 12;
    }
}

#[test]
fn a_call_that_fails_stays_an_input_error_and_is_no_doubt_about_a_snapshot() {
    let lab = worn();
    let store = open(&lab.backend);
    let newest = store.snapshot_names(Some("lab")).unwrap().pop().unwrap();
    let drill = Drill { snapshot: Some(newest.id), passed: true, ..Drill::sample("lab", Time { secs: 1, nanos: 0 }) };
    store.add_drill(&drill).unwrap();
    drop(store);
    let faulty = Arc::new(Faulty::before(twin(&lab.backend), Counted::All));
    let backend: Arc<dyn Backend> = Arc::clone(&faulty) as _;
    let policy = forget::Policy { last: 1, ..forget::Policy::default() };
    let forgets = forget::Options { source: None, names: Vec::new(), policy, force: false, now: 1_800_000_000 };
    let prunes = |store: &Store| plan(store, MaxUnused::Bytes(0), &HashSet::new(), true, &Silent).map(drop);
    let by_name = forget::Options { names: vec!["latest~1".into()], ..forgets.clone() };
    let forgets = |store: &Store| forget::plan(store, &forgets, &Silent).map(drop);
    let by_name = |store: &Store| forget::plan(store, &by_name, &Silent).map(drop);
    type Run<'a> = &'a dyn Fn(&Store) -> Result<()>;
    let runs: [(&str, Run<'_>); 3] = [("prune", &prunes), ("forget", &forgets), ("forget by name", &by_name)];
    for (verb, run) in runs {
        for left in 0.. {
            let store = open(&backend);
            faulty.arm(Fault::Fails, left);
            let done = run(&store);
            let has_failed = faulty.disarm();
            assert!(matches!(done, Ok(()) | Err(Error::Io { .. })), "{verb}, call {left}: {done:?}");
            if !has_failed {
                assert!(left > 5 && done.is_ok(), "{verb}, call {left}: {done:?}");
                break;
            }
        }
    }
}
