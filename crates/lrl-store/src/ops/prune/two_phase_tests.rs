//! How old packs are, asked one by one or all at once.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::super::tests::in_bucket;
use super::super::tests::server::{NOW, Server};
use super::{LISTED_AT_ONCE, Now, Options, Run};
use crate::backend::Backend;
use crate::fs::lock::LockMode;
use crate::id::PackId;
use crate::progress::Silent;
use crate::store::deletion::pending::PendingDeletions;
use crate::store::{Store, create, pack_name};
use crate::testing::memory_backend::memory;

#[test]
fn a_pack_is_old_from_the_grace_period_on_and_one_that_is_gone_is_not() {
    let below: Arc<dyn Backend> = Arc::new(memory());
    create(&*below, [1; 32]).unwrap();
    let server = Server::new(&below, 0, true);
    let packs = [b"old", b"new", b"non"].map(|name| PackId::of(name));
    server.put_aged(&pack_name(&packs[0]), b"pack", 3600);
    server.put_aged(&pack_name(&packs[1]), b"pack", 3599);
    let store = Store::open(server, LockMode::Shared, Duration::ZERO, &Silent).unwrap();
    let options = Options { grace: Duration::from_secs(3600), ..in_bucket(true) };
    let there = SystemTime::UNIX_EPOCH + Duration::from_secs(NOW);
    let candidates = PendingDeletions::default();
    let run = |there| {
        let now = Now { here: options.now, there };
        Run { store: &store, options: &options, now, claim: None, candidates: &candidates }
    };
    let asked: Vec<&PackId> = packs.iter().collect();
    // Of few packs among many each is asked; of many all are listed.
    for among in [0, packs.len() * LISTED_AT_ONCE - 1, packs.len() * LISTED_AT_ONCE] {
        assert_eq!(run(Some(there)).old_ones(&asked, among).unwrap(), [true, false, false], "among {among}");
    }
    assert_eq!(run(None).old_ones(&asked, 0).unwrap(), [true; 3], "without its clock the lists tell");
}
