//! Runs that are killed at each step.

use super::*;

/// Kills a run at each of its steps; `then` says how it goes on. Returns how many steps there were.
fn each_kill(
    make: impl Fn() -> (Lab, Snapshot),
    run: impl Fn(&Lab, &Snapshot),
    then: impl Fn(u32, &Lab, &Snapshot),
) -> u32 {
    for at in 0.. {
        let (lab, snapshot) = make();
        faults::arm(at, true);
        let result = catch_unwind(AssertUnwindSafe(|| run(&lab, &snapshot)));
        if !faults::disarm() {
            result.unwrap();
            return at;
        }
        assert!(result.is_err());
        then(at, &lab, &snapshot);
    }
    0
}

/// Returns what is there before a restore and after it.
fn old_and_new(what: What) -> (Vec<Seen>, Vec<Seen>) {
    let (lab, snapshot) = old_lab();
    let old = contents(&lab);
    let _ = lab.restore(&snapshot, what).unwrap();
    (old, contents(&lab))
}

#[test]
fn a_restore_that_was_killed_is_taken_back_or_done_again() {
    both_ways(restores_that_are_killed);
}

fn restores_that_are_killed() {
    let (old, new) = old_and_new(What::Whole);
    let run = |lab: &Lab, snapshot: &Snapshot| drop(lab.restore(snapshot, What::Whole).unwrap());
    let half = std::cell::Cell::new(0);
    let steps = each_kill(old_lab, run, |at, lab, _| {
        let is_whole = contents(lab) == old || contents(lab) == new;
        half.set(half.get() + u32::from(!is_whole));
        // A database whose -wal is away is unfinished, though everything there is old.
        // With contents that change places, more is done before the first file moves.
        let exact = !crate::ops::restore::swap_contents::tests::is_forced();
        let is_unfinished = lab.is_unfinished();
        assert!(is_unfinished != is_whole || !exact && is_whole, "step {at}");
        match lab.undo() {
            Ok(_) => {}
            Err(Error::NotFound(_)) => assert!(is_whole, "step {at}"),
            Err(e) => panic!("step {at}: {e}"),
        }
        assert_eq!(contents(lab), old, "step {at}");
        assert!(!lab.intent().exists());
    });
    each_kill(old_lab, run, |at, lab, snapshot| {
        let was_done = contents(lab) == new;
        let _ = lab.restore(snapshot, What::Whole).unwrap();
        assert_eq!(contents(lab), new, "step {at}");
        lab.undo().unwrap();
        assert_eq!(contents(lab), if was_done { new.clone() } else { old.clone() }, "step {at}");
        assert!(!lab.intent().exists());
    });
    assert!(steps >= 12 && half.get() >= 3, "{steps} steps, {} half done", half.get());
}

#[test]
fn a_restore_of_the_database_alone_is_unfinished_while_its_wal_is_away() {
    let (old, new) = old_and_new(What::DbOnly);
    let run = |lab: &Lab, snapshot: &Snapshot| drop(lab.restore(snapshot, What::DbOnly).unwrap());
    let away = std::cell::Cell::new(0);
    each_kill(old_lab, run, |at, lab, _| {
        let now = contents(lab);
        let is_away = !lab.data().join("lrl.db-wal").exists() && now != new;
        away.set(away.get() + u32::from(is_away));
        assert_eq!(lab.is_unfinished(), now != old && now != new, "step {at}");
        if is_away {
            lab.undo().unwrap();
            assert_eq!(contents(lab), old, "step {at}");
        }
    });
    assert!(away.get() >= 2, "{}", away.get());
}

#[test]
fn an_undo_that_was_killed_is_finished() {
    both_ways(undos_that_are_killed);
}

fn undos_that_are_killed() {
    let (lab, _) = restored_lab();
    let new = contents(&lab);
    lab.undo().unwrap();
    let old = contents(&lab);
    let run = |lab: &Lab, _: &Snapshot| drop(lab.undo().unwrap());
    let steps = each_kill(restored_lab, run, |at, lab, _| {
        if lab.intent().exists() {
            lab.undo().unwrap();
        }
        let now = contents(lab);
        assert!(now == old || at < 2 && now == new, "step {at}");
        assert!(!lab.intent().exists());
    });
    assert!(steps >= 12, "{steps}");
    // And so is the undoing of an undo.
    let undone = || {
        let (lab, snapshot) = restored_lab();
        lab.undo().unwrap();
        (lab, snapshot)
    };
    each_kill(undone, run, |at, lab, snapshot| {
        if lab.intent().exists() && at % 2 == 0 {
            lab.undo().unwrap();
            assert!(contents(lab) == new || at < 2, "step {at}");
        }
        let _ = lab.restore(snapshot, What::Whole).unwrap();
        assert_eq!(fs::read(lab.data().join("lrl.db")).unwrap(), b"new", "step {at}");
        assert!(!lab.intent().exists() && !lab.data().join("lrl.db-wal").exists());
    });
}
