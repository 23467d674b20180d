//! What a copy transfers after small changes, and that a dry run writes nothing.

use super::{KEYS, Lab, assert_clean, assert_same, bytes, empty, open, options, run, whole};
use crate::ops::copy::{Options, Which, copy};
use crate::ops::tests::faulty::names;
use crate::progress::Silent;

#[test]
fn many_small_steps_cost_in_the_copy_what_they_cost_in_the_store() {
    let mut lab = Lab::new();
    (0..30).for_each(|_| lab.step());
    let from = open(&lab.backend, None);
    for key in KEYS {
        let copied = empty(2);
        let to = open(&copied, key);
        let report = whole(run(&from, &to, Which::Missing(None)));
        assert_eq!((report.copied.len(), report.known), (30, 0));
        assert_same(&from, &to);
        let (before, after) = (bytes(&lab.backend, "packs"), bytes(&copied, "packs"));
        assert!(after < before + before / 50, "{before} became {after}");
        let added: u64 = report.copied.iter().map(|copied| copied.added_bytes).sum();
        assert_eq!((added, report.added_bytes), (report.added_bytes, bytes(&copied, "packs") + added - after));
        // A second time nothing is done, and a step more costs a step.
        let objects = names(&copied, "");
        let report = whole(run(&from, &to, Which::Missing(None)));
        assert_eq!((report.copied.len(), report.known, report.added_bytes), (0, 30, 0));
        assert_eq!(names(&copied, ""), objects);
    }
    let to = empty(3);
    let _ = whole(run(&from, &open(&to, None), Which::Missing(None)));
    assert_clean(&to, "the copy");
    lab.step();
    let report = whole(run(&open(&lab.backend, None), &open(&to, None), Which::Newer("lab".into())));
    assert_eq!((report.copied.len(), report.known), (1, 30));
    assert!(report.added_bytes < bytes(&to, "packs") / 20, "{}", report.added_bytes);
    assert_clean(&to, "one more");
}

#[test]
fn nothing_is_written_by_a_dry_run() {
    let mut lab = Lab::new();
    (0..2).for_each(|_| lab.step());
    let from = open(&lab.backend, None);
    let copied = empty(2);
    let dry = Options { dry_run: true, ..options(Which::Missing(None)) };
    let report = copy(&from, &open(&copied, None), &dry, &Silent).unwrap();
    assert_eq!((report.copied.len(), names(&copied, "").len()), (2, 1));
    assert!(report.copied.iter().all(|copied| copied.name.is_none()));
}
