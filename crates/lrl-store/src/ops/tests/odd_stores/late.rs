//! Runs that took so long that a prune may have scheduled, or deleted, what their snapshots rely on.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::{at, new, open, put};
use crate::backend::Backend;
use crate::error::{Error, Result};
use crate::format::entry::Piece;
use crate::format::pending::{Pending, VERSION};
use crate::format::snapshot::{Database, Snapshot};
use crate::fs::lock::LockMode;
use crate::ops::tests::faulty::names;
use crate::ops::tests::lockless::Lockless;
use crate::ops::tests::sample;
use crate::progress::Silent;
use crate::store::tree::TreeBuilder;
use crate::store::write::WriteSession;
use crate::store::{Store, pack_name};

/// A bucket with a database of one chunk, and a snapshot of it that is not listed yet.
fn stored() -> (Arc<dyn Backend>, Snapshot) {
    let below = new();
    let store = open(&below);
    let id = put(&store, &[b"contents"])[0];
    let session = WriteSession::new(&store);
    let mut builder = TreeBuilder::new(&session, None);
    builder.push(Piece::Data { id, len: 8 }).unwrap();
    let root = builder.finish().unwrap();
    session.seal().unwrap();
    let database = Database { root, size_bytes: 8, ..sample::database() };
    (below, sample::snapshot(Some(database), None))
}

/// Opens the bucket, after `hours` of which a snapshot is published; `meanwhile` comes in between.
fn publish_after(secs: u64, below: &Arc<dyn Backend>, snapshot: &Snapshot, meanwhile: &dyn Fn(&Store)) -> Result<()> {
    let clock = Arc::new(AtomicU64::new(0));
    let read = Arc::clone(&clock);
    let view = Lockless::before(below) as Arc<dyn Backend>;
    let store = Store::open(view, LockMode::Shared, Duration::ZERO, &Silent)?
        .with_stopwatch(Arc::new(move || [Duration::from_secs(read.load(Ordering::Relaxed)), Duration::ZERO]));
    store.pending_deletions()?;
    meanwhile(&open(below));
    clock.store(secs, Ordering::Relaxed);
    store.publish(snapshot).map(drop)
}

/// Schedules every pack for deletion.
fn schedule(store: &Store) {
    let packs = store.listed_packs();
    let document =
        Pending { format: VERSION, written: at(1), gone: false, sources: [].into(), packs, program: "test".into() };
    store.add_pending(&document).unwrap();
}

fn delete(store: &Store) {
    let packs = store.listed_packs();
    packs.iter().for_each(|pack| store.storage().remove(&pack_name(pack)).unwrap());
}

#[test]
fn a_late_run_lists_no_snapshot_of_what_was_scheduled_or_deleted_meanwhile() {
    for (secs, meanwhile, is_refused) in [
        (3600, &schedule as &dyn Fn(&Store), true),
        (3600, &delete, true),
        (3600, &|_: &Store| {}, false),
        (3599, &schedule, false),
    ] {
        let (below, snapshot) = stored();
        let done = publish_after(secs, &below, &snapshot, meanwhile);
        assert_eq!(matches!(done, Err(Error::Refused(_))), is_refused, "{secs}: {done:?}");
        assert_eq!((done.is_ok(), names(&below, "snapshots").len()), (!is_refused, usize::from(!is_refused)));
    }
}

#[test]
fn a_snapshot_that_was_written_too_late_is_taken_back() {
    let (below, snapshot) = stored();
    // The machine sleeps between the look and the write: the clock is read once before it.
    let reads = Arc::new(AtomicU64::new(0));
    let count = Arc::clone(&reads);
    let view = Lockless::before(&below) as Arc<dyn Backend>;
    let at_read = move || {
        let secs = if count.fetch_add(1, Ordering::Relaxed) < 2 { 0 } else { 3600 };
        [Duration::ZERO, Duration::from_secs(secs)]
    };
    let store = Store::open(view, LockMode::Shared, Duration::ZERO, &Silent).unwrap().with_stopwatch(Arc::new(at_read));
    store.pending_deletions().unwrap();
    schedule(&open(&below));
    let done = store.publish(&snapshot);
    assert!(matches!(done, Err(Error::Refused(_))), "{done:?}");
    assert!(reads.load(Ordering::Relaxed) > 2 && names(&below, "snapshots").is_empty());
}

#[test]
fn a_document_that_vanishes_between_listing_and_reading_is_looked_for_again() {
    let (below, _) = stored();
    schedule(&open(&below));
    let document = names(&below, "pending").remove(0);
    // Another prune removes it at each of the first calls.
    for left in 0..4 {
        let gone = document.clone();
        let copy = crate::ops::tests::faulty::twin(&below);
        let other = Arc::clone(&copy);
        let view = Lockless::with(&copy, left, move || other.remove(&gone).unwrap());
        let store = open(&(Arc::clone(&view) as Arc<dyn Backend>));
        let found = store.reload_pending_deletions().unwrap();
        let pack = crate::store::pack_id(&names(&below, "packs")[0]).unwrap();
        assert_eq!(found.has(&pack), found.documents.len() == 1, "{left}");
        assert_eq!(store.reload_pending_deletions().unwrap().documents.len(), usize::from(!view.has_acted()));
    }
}
