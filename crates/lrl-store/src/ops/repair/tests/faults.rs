//! A fault at any step of a repair.

use std::sync::Arc;

use super::{EVERYTHING, Lab, assert_kept, assert_true, back_up, battered, contents, repaired};
use crate::backend::Backend;
use crate::error::Error;
use crate::ops::repair::repair;
use crate::ops::tests::faulty::{Fault, Faulty, twin};
use crate::progress::Silent;

#[test]
fn a_fault_at_any_step_of_a_repair_loses_nothing() {
    let lab = Lab::new();
    let damaged = battered(&lab);
    let before = contents(&damaged);
    let expected = twin(&damaged);
    let done = repaired(&expected, &EVERYTHING, "without a fault");
    assert!(!done.left.lost.is_empty() && done.config && done.saved.chunks > 0 && done.renamed.len() == 1, "{done:#?}");
    let expected = contents(&expected);
    assert_eq!((before.len(), expected.len()), (1, 2), "one came back, one is damaged");
    let mut states = 0;
    for fault in [Fault::Fails, Fault::DiesAfter, Fault::Full] {
        for n in 0.. {
            let storage = twin(&damaged);
            let faulty = Faulty::new(&storage, fault, n);
            let tried = repair(Arc::clone(&faulty) as Arc<dyn Backend>, &EVERYTHING, &Silent);
            let what = format!("{fault:?} at change {n}");
            match &tried {
                // On a full disk things can still be removed, and the last steps may be no more than that.
                Ok(_) => assert!(!faulty.has_tripped() || fault != Fault::Fails, "{what}"),
                Err(error) => assert!(matches!(error, Error::Io { .. }) && faulty.has_tripped(), "{what}: {error}"),
            }
            let found = contents(&storage);
            assert_true(&lab, &found, &what);
            assert_kept(&before, &found, &what);
            // Whoever backs up now, before the repair is run again, gets a whole snapshot.
            if n % 3 == 0 && storage.len("config").is_ok() {
                let early = twin(&storage);
                if let Ok(name) = back_up(&early, lab.dir.path(), 50, true) {
                    assert_eq!(contents(&early)[&name.id].len(), 6, "{what}: backed up");
                }
            }
            let again = repaired(&storage, &EVERYTHING, &what);
            assert_eq!(contents(&storage), expected, "{what}, again");
            assert_eq!(again.left.lost, done.left.lost, "{what}, again");
            let name = back_up(&storage, lab.dir.path(), 60, false).unwrap();
            assert_eq!(contents(&storage)[&name.id].len(), 6, "{what}: healed");
            assert_eq!(name.sequence, 4, "{what}");
            states += 1;
            if !faulty.has_tripped() {
                break;
            }
        }
    }
    println!("{states} faults in a repair");
    assert!(states > 40, "only {states} states");
}
