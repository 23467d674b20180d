//! Failed steps, kills and damage: all databases are replaced, or none.

use std::panic::{AssertUnwindSafe, catch_unwind};

use super::*;
use crate::ops::restore::is_unfinished;
use crate::ops::restore::rename::faults;

#[test]
fn a_step_that_fails_or_a_kill_leaves_all_databases_old_or_new() {
    let site = Site::new();
    // Each target has its steps: these are enough.
    fs::remove_dir(site.root().join("empty")).unwrap();
    fs::remove_dir_all(site.root().join("icon_cache")).unwrap();
    let taken = site.backup();
    site.change();
    fs::remove_file(site.root().join("current")).unwrap();
    site.save();
    let changed = site.live();
    let mut steps = 0;
    for kill in [false, true] {
        for at in 0.. {
            site.reset();
            faults::arm(at, kill);
            let result = catch_unwind(AssertUnwindSafe(|| site.restore_with(&taken, &site.options(What::Whole))));
            if !faults::disarm() {
                let _ = result.unwrap().unwrap();
                assert_eq!(versions(&site), [Some(true); 3]);
                break;
            }
            steps = at;
            if kill {
                assert!(result.is_err());
                assert!(versions(&site).iter().all(Option::is_some), "step {at}: a database is missing");
                if is_unfinished(&site.root(), &site.root().join("storage")).unwrap() {
                    site.undo().unwrap();
                    assert_eq!(site.live(), changed, "step {at}");
                }
                let now = versions(&site);
                assert!(now == [Some(false); 3] || now == [Some(true); 3], "step {at}: {now:?}");
                let _ = site.restore(&taken, What::Whole);
                assert_eq!(versions(&site), [Some(true); 3]);
            } else {
                assert!(matches!(result.unwrap(), Err(Error::Io { .. })), "step {at}");
                assert_eq!(site.live(), changed, "step {at}");
            }
        }
        // The way back as well.
        for at in 0.. {
            site.reset();
            let _ = site.restore(&taken, What::Whole);
            let restored = site.live();
            faults::arm(at, kill);
            let result = catch_unwind(AssertUnwindSafe(|| site.undo()));
            if !faults::disarm() {
                result.unwrap().unwrap();
                break;
            }
            if kill {
                assert!(result.is_err());
                site.undo().unwrap();
                let now = versions(&site);
                assert!(now == [Some(false); 3] || now == [Some(true); 3], "step {at}: {now:?}");
            } else {
                assert!(result.unwrap().is_err(), "step {at}");
                assert_eq!(site.live(), restored, "step {at}");
                site.undo().unwrap();
                assert_eq!(site.live(), changed, "step {at}");
            }
        }
    }
    assert!(steps >= 15, "only {steps} steps");
}

#[test]
fn what_is_damaged_leaves_the_database_that_is_there() {
    let site = Site::new();
    let mut taken = site.backup();
    site.change();
    let damaged = taken.1.databases.iter_mut().find(|database| database.path == b"data/users/a.sqlite").unwrap();
    damaged.sha256 = Some(hex(&[0; 32]));
    let options = Options { skip_damaged: true, ..site.options(What::Whole) };
    let report = site.restore_with(&taken, &options).unwrap();
    assert_eq!(versions(&site), [Some(true), Some(false), Some(true)]);
    assert_eq!(report.skipped[0].path, "data/users/a.sqlite");
    assert_eq!(fs::read(site.root().join("data/files/x.txt")).unwrap(), b"x");
}
