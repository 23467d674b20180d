//! The swap fails, or is killed, at each of its steps.

use std::panic::{AssertUnwindSafe, catch_unwind};

use super::*;
use crate::ops::restore::rename::faults;

pub(super) fn old_lab() -> (Lab, Snapshot) {
    let lab = Lab::new();
    lab.write("lrl.db", b"new");
    lab.write("assets/x", b"new");
    lab.write("storage/x", b"new");
    set_mode(&lab.source().join("assets"), 0o555);
    let snapshot = lab.snapshot();
    for dir in [lab.data().join("assets"), lab.dir.path().join("kept/storage")] {
        fs::create_dir_all(&dir).unwrap();
        fs::write(dir.join("x"), b"old").unwrap();
    }
    fs::write(lab.data().join("lrl.db"), b"old").unwrap();
    fs::write(lab.data().join("lrl.db-wal"), b"old wal").unwrap();
    fs::write(lab.data().join("lrl.db-journal"), b"old journal").unwrap();
    (lab, snapshot)
}

#[test]
fn a_step_that_fails_puts_everything_back() {
    for contents in [false, true] {
        crate::ops::restore::swap_contents::tests::force(contents);
        each_step_fails();
    }
    crate::ops::restore::swap_contents::tests::force(false);
}

fn each_step_fails() {
    let mut at = 0;
    loop {
        let (lab, snapshot) = old_lab();
        let before = [look_inside(&lab.data()), look_inside(&lab.dir.path().join("kept"))];
        faults::arm(at, false);
        let result = lab.restore(&snapshot, What::Whole);
        if !faults::disarm() {
            let _ = result.unwrap();
            break;
        }
        assert!(matches!(result, Err(Error::Io { .. })), "{at}: {result:?}");
        assert_eq!([look_inside(&lab.data()), look_inside(&lab.dir.path().join("kept"))], before, "step {at}");
        at += 1;
    }
    assert!(at >= 10, "only {at} steps");
}

#[test]
fn a_kill_at_any_step_leaves_old_or_new_and_loses_nothing() {
    let mut at = 0;
    loop {
        let (lab, snapshot) = old_lab();
        faults::arm(at, true);
        let result = catch_unwind(AssertUnwindSafe(|| lab.restore(&snapshot, What::Whole)));
        if !faults::disarm() {
            let _ = result.unwrap().unwrap();
            break;
        }
        assert!(result.is_err());
        let read = |path: &str| fs::read(lab.data().join(path)).ok();
        let database = read("lrl.db").unwrap();
        let sidecars = [("lrl.db-wal", "old wal"), ("lrl.db-journal", "old journal")];
        for (name, content) in sidecars {
            let kept = name.replace("lrl.db", "lrl.db.pre-restore");
            assert!(database == b"old" || read(name).is_none(), "step {at}: a new database beside an old {name}");
            assert_eq!(read(name).or(read(&kept)).unwrap(), content.as_bytes(), "step {at}: {name} is lost");
        }
        if read("lrl.db-wal").is_none() || database == b"new" {
            assert_eq!(read("lrl.db.pre-restore").unwrap(), b"old", "step {at}");
        }
        for root in [lab.data().join("assets"), lab.dir.path().join("kept/storage")] {
            let live = fs::read(root.join("x")).unwrap();
            let kept = fs::read(root.with_extension("pre-restore").join("x"));
            assert!(live == b"old" || live == b"new" && kept.unwrap() == b"old", "step {at}: {}", root.display());
        }
        // The next run goes through, whatever the dead one left.
        let _ = lab.restore(&snapshot, What::Whole).unwrap();
        assert_eq!(read("lrl.db").unwrap(), b"new");
        assert!(read("lrl.db-wal").is_none() && read("lrl.db-journal").is_none());
        at += 1;
    }
    assert!(at >= 10, "only {at} steps");
}
