//! Prune in two phases, as in a bucket.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use super::{in_bucket, worn};
use crate::fs::lock::LockMode;
use crate::fs::space::SpaceGuard;
use crate::ops::prune::two_phase;
use crate::ops::tests::faulty::names;
use crate::progress::Silent;
use crate::store::Store;

#[test]
fn what_a_prune_of_a_bucket_would_list_is_what_it_lists() {
    let lab = worn();
    let run = |dry_run: bool| {
        let options = in_bucket(dry_run);
        let store = Store::open(Arc::clone(&lab.backend), LockMode::Shared, Duration::ZERO, &Silent).unwrap();
        let report = two_phase::prune(&store, &options, &HashSet::new(), &SpaceGuard::unlimited(), &Silent).unwrap();
        let (numbers, listed) = (&report.numbers, report.candidates);
        assert!(numbers.dead.count > 1 && numbers.repacked.count > 0, "{report:?}");
        assert_eq!(listed.count, numbers.dead.count + numbers.repacked.count);
        assert_eq!(listed.bytes, numbers.dead.bytes + numbers.repacked.bytes);
        assert_eq!(report.written.is_none(), dry_run);
        (numbers.dead.count, numbers.dead.bytes)
    };
    let before = names(&lab.backend, "");
    let would = run(true);
    assert_eq!(names(&lab.backend, ""), before);
    assert_eq!(run(false), would);
}
