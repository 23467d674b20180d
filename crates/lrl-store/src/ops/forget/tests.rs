//! What is named is forgotten, unless it is needed; what cannot be read is given up only on purpose.

use std::sync::Arc;
use std::time::Duration;

use super::{Options, Plan, Policy, Reason, apply, plan};
use crate::backend::{Backend, Payload};
use crate::error::{Error, Result};
use crate::format::drill::Drill;
use crate::format::snapshot::{BEFORE_RESTORE, Snapshot};
use crate::fs::lock::LockMode;
use crate::hint::Hint;
use crate::ops::judgement::State;
use crate::ops::tests::sample;
use crate::progress::Silent;
use crate::store::{SnapshotName, Store, create};
use crate::testing::memory_backend::memory;
use crate::time::Time;

struct Lab {
    backend: Arc<dyn Backend>,
    store: Store,
    names: Vec<SnapshotName>,
}

impl Lab {
    /// Four good snapshots; of the third the database alone.
    fn new() -> Self {
        let backend: Arc<dyn Backend> = Arc::new(memory());
        create(&*backend, [1; 32]).unwrap();
        let store = Store::open(Arc::clone(&backend), LockMode::Exclusive, Duration::ZERO, &Silent).unwrap();
        let publish = |sequence: u64| {
            let uploads = Some(sample::uploads()).filter(|_| sequence != 3);
            let created = Time { secs: 100 * sequence as i64, nanos: 0 };
            let of = sample::snapshot(Some(sample::database()), uploads);
            store.publish(&Snapshot { sequence, created, ..of }).unwrap().0
        };
        let names = (1..=4).map(publish).collect();
        Self { backend, store, names }
    }

    fn id(&self, sequence: usize) -> String {
        self.names[sequence - 1].id.to_string()
    }

    fn by_name(&self, words: &[&str], force: bool) -> Result<Plan> {
        let names = words.iter().map(|word| word.to_string()).collect();
        plan(&self.store, &Options { source: None, names, policy: Policy::default(), force, now: 1000 }, &Silent)
    }

    fn damage(&self, sequence: usize) {
        self.backend.put(&self.names[sequence - 1].object(), Payload::Bytes(b"damaged")).unwrap();
    }
}

fn removed(plan: &Plan) -> Vec<u64> {
    plan.removed().map(|name| name.sequence).collect()
}

#[test]
fn what_is_named_goes_and_what_is_needed_is_named_with_its_reason() {
    let lab = Lab::new();
    let planned = lab.by_name(&[&lab.id(1)[..12], &lab.id(3)], false).unwrap();
    assert_eq!((removed(&planned), planned.decisions.len()), (vec![1, 3], 4));
    let kept: Vec<_> = planned.decisions.iter().map(|decision| decision.kept.clone()).collect();
    assert_eq!(kept, [vec![], vec![], vec![], vec![Reason::Database, Reason::Uploads]]);
    let refused = lab.by_name(&[&lab.id(1), &lab.id(4)], false);
    let Err(Error::Refused(why)) = &refused else { panic!("{refused:?}") };
    assert!(why.text().contains("is the newest database of source `lab`: nothing was forgotten"), "{why}");
    assert!(matches!(why.hints(), [Hint::Force]), "{why}");
    let forced = lab.by_name(&[&lab.id(4)], true).unwrap();
    assert_eq!(removed(&forced), [4]);
    apply(&lab.store, &planned, &Silent).unwrap();
    let left: Vec<_> = lab.store.snapshot_names(None).unwrap().iter().map(|name| name.sequence).collect();
    assert_eq!(left, [2, 4]);
}

#[test]
fn the_newest_that_passed_a_drill_goes_only_by_force() {
    let lab = Lab::new();
    let drill = |sequence: usize, secs, passed| {
        let snapshot = Some(lab.names[sequence - 1].id);
        lab.store.add_drill(&Drill { snapshot, passed, ..Drill::sample("lab", Time { secs, nanos: 0 }) }).unwrap();
    };
    // By sequence, whichever was drilled last; a drill that failed proves nothing.
    drill(2, 500, true);
    drill(1, 600, true);
    drill(3, 700, false);
    let refused = lab.by_name(&[&lab.id(2)], false);
    assert!(
        matches!(&refused, Err(Error::Refused(why)) if why.text().contains("newest that passed a drill")),
        "{refused:?}"
    );
    assert_eq!(removed(&lab.by_name(&[&lab.id(1)], false).unwrap()), [1]);
    assert_eq!(removed(&lab.by_name(&[&lab.id(2)], true).unwrap()), [2]);
    let policy = |force| {
        let policy = Policy { last: 1, ..Policy::default() };
        plan(&lab.store, &Options { source: None, names: Vec::new(), policy, force, now: 1000 }, &Silent).unwrap()
    };
    assert_eq!((removed(&policy(false)), removed(&policy(true))), (vec![1, 3], vec![1, 2, 3]));
}

#[test]
fn what_was_there_before_a_restore_is_the_proven_one_only_where_no_other_is() {
    let mut lab = Lab::new();
    let created = Time { secs: 500, nanos: 0 };
    let of = sample::snapshot(Some(sample::database()), Some(sample::uploads()));
    let tagged = Snapshot { sequence: 5, created, tags: vec![BEFORE_RESTORE.into()], ..of };
    lab.names.push(lab.store.publish(&tagged).unwrap().0);
    let passed = |sequence: usize, secs| {
        let snapshot = Some(lab.names[sequence - 1].id);
        let drill = Drill { snapshot, passed: true, ..Drill::sample("lab", Time { secs, nanos: 0 }) };
        lab.store.add_drill(&drill).unwrap();
    };
    let is_kept = |sequence: usize| lab.by_name(&[&lab.id(sequence)], false).is_err();
    passed(5, 600);
    assert!(is_kept(5) && !is_kept(2));
    passed(2, 700);
    assert!(!is_kept(5) && is_kept(2));
}

#[test]
fn what_cannot_be_read_is_given_up_only_by_force_and_by_its_id() {
    let lab = Lab::new();
    lab.damage(2);
    let before = lab.store.snapshot_names(None).unwrap();
    let policy = Options::new(Policy { last: 1, ..Policy::default() }, Time { secs: 1000, nanos: 0 });
    for refused in [plan(&lab.store, &policy, &Silent), lab.by_name(&[&lab.id(2)], false)] {
        let Err(Error::Refused(why)) = refused else { panic!("{refused:?}") };
        assert!(why.text().contains("nobody can tell what"), "{why}");
        assert!(matches!(why.hints(), [Hint::GiveUp(id)] if lab.id(2).starts_with(id)), "{why}");
    }
    // Another one can go, and this one is listed as damaged and stays.
    let planned = lab.by_name(&[&lab.id(1)], false).unwrap();
    let seen: Vec<_> = planned.decisions.iter().map(|one| (one.state, one.time.is_some())).collect();
    let good = (State::Good, true);
    assert_eq!((removed(&planned), seen), (vec![1], vec![good, (State::Damaged, false), good, good]));
    assert_eq!(lab.store.snapshot_names(None).unwrap(), before);
    let given_up = lab.by_name(&[&lab.id(2)], true).unwrap();
    assert_eq!(removed(&given_up), [2]);
    apply(&lab.store, &given_up, &Silent).unwrap();
    assert_eq!(lab.store.snapshot_names(None).unwrap().len(), 3);
}

#[test]
fn a_policy_that_keeps_nothing_or_a_source_that_is_not_there_is_refused() {
    let lab = Lab::new();
    let options = |source: Option<&str>, tags: &[&str]| {
        let policy = Policy { tags: tags.iter().map(|tag| tag.to_string()).collect(), ..Policy::default() };
        Options { source: source.map(Into::into), names: Vec::new(), policy, force: true, now: 1000 }
    };
    let refused = plan(&lab.store, &options(None, &["mistyped"]), &Silent);
    assert!(matches!(&refused, Err(Error::Refused(why)) if why.text().contains("none of the 4")), "{refused:?}");
    let refused = plan(&lab.store, &options(Some("lba"), &["x"]), &Silent);
    assert!(matches!(&refused, Err(Error::NotFound(why)) if why.text().contains("some of lab")), "{refused:?}");
    lab.store.forget_all(&lab.names.iter().collect::<Vec<_>>()).unwrap();
    assert!(plan(&lab.store, &options(Some("lba"), &["x"]), &Silent).unwrap().decisions.is_empty(), "an empty store");
}
