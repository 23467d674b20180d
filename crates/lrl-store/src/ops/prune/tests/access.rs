//! Who may not prune: a program that does not know a feature of the store, and a write-only key.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use super::{Lab, contents, in_bucket, open, prune, try_prune, worn};
use crate::backend::{Backend, Payload};
use crate::crypt::Class;
use crate::error::Error;
use crate::format::config::{self, Config};
use crate::format::key::Credential;
use crate::fs::lock::LockMode;
use crate::fs::space::SpaceGuard;
use crate::ops::forget;
use crate::ops::prune::{MaxUnused, plan, two_phase};
use crate::ops::tests::faulty::names;
use crate::progress::Silent;
use crate::store::{Store, key_slots};
use crate::testing::memory_backend::memory;
use crate::time::Time;

#[test]
fn a_store_with_a_feature_unknown_to_writers_is_not_pruned() {
    let lab = worn();
    let mut config = Config::new([1; 32]);
    config.must_know_to_write.push("later".into());
    lab.backend.remove("config").unwrap();
    lab.backend.put("config", Payload::Bytes(&config::encode(&config).unwrap())).unwrap();
    let before = names(&lab.backend, "");
    let store = Store::open(Arc::clone(&lab.backend), LockMode::Shared, Duration::ZERO, &Silent).unwrap();
    for dry_run in [true, false] {
        let unlimited = SpaceGuard::unlimited();
        let done = two_phase::prune(&store, &in_bucket(dry_run), &HashSet::new(), &unlimited, &Silent);
        assert!(matches!(done, Err(Error::Unsupported { .. })), "{done:?}");
    }
    drop(store);
    let planned = plan(&open(&lab.backend), MaxUnused::Bytes(0), &HashSet::new(), false, &Silent).map(drop);
    assert!(matches!(planned, Err(Error::Unsupported { .. })), "{planned:?}");
    assert_eq!(names(&lab.backend, ""), before);
}

#[test]
fn a_key_that_only_writes_backs_up_and_can_remove_nothing() {
    const NOW: Time = Time { secs: 1, nanos: 0 };
    let below: Arc<dyn Backend> = Arc::new(memory());
    let key = |digit: &str| Credential::from_key_file(&digit.repeat(64)).unwrap();
    key_slots::create(&*below, [1; 32], &key("a"), "", NOW).unwrap();
    let opened = key_slots::open(&*below, Some(&key("a"))).unwrap();
    key_slots::add(&*below, &opened, Class::Writer, &key("b"), "server", NOW).unwrap();
    let with = |digit: &str| {
        key_slots::unlock(Arc::clone(&below), Some(&key(digit)), key_slots::LocalSlot::IfThere, |_| None).unwrap()
    };
    let mut lab = Lab { backend: with("b"), ..Lab::new() };
    lab.back_up();
    lab.step();
    let before = names(&below, "");
    {
        let store = open(&lab.backend);
        let forgets = forget::Options {
            source: None,
            names: vec!["lab@latest".into()],
            policy: forget::Policy::default(),
            force: true,
            now: 9,
        };
        let refused = [
            try_prune(&lab.backend, MaxUnused::Bytes(0)).map(drop),
            forget::plan(&store, &forgets, &Silent).map(drop),
            store.forget(&store.snapshot_names(None).unwrap()[0]),
            Store::examine(Arc::clone(&lab.backend), LockMode::Shared, Duration::ZERO, &Silent).map(drop),
        ];
        for (n, result) in refused.into_iter().enumerate() {
            assert!(matches!(result, Err(Error::WriteOnly { .. })), "{n}: {result:?}");
        }
    }
    assert_eq!(names(&below, ""), before);
    // With the store's own key all that goes.
    lab.backend = with("a");
    lab.forget(|sequence| sequence == 1);
    let right = contents(&lab.backend);
    prune(&lab.backend, MaxUnused::Bytes(0));
    assert_eq!(contents(&lab.backend), right);
}
