//! A bucket whose server has a clock of its own: who holds the lease of a prune, what is too young to go, and servers that keep no promise.

use std::collections::{BTreeMap, HashSet};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use super::{Lab, assert_clean, contents, in_bucket, pack_bytes, worn};
use crate::backend::{Backend, Capabilities, Payload, TempObject};
use crate::error::{Error, Result};
use crate::fs::lock::{Guard, LockMode};
use crate::fs::space::SpaceGuard;
use crate::id::ChunkId;
use crate::ops::prune::MaxUnused;
use crate::ops::prune::two_phase::{self, Report};
use crate::ops::tests::faulty::{flip_byte, names, twin};
use crate::progress::Silent;
use crate::store::Store;
use crate::time::Time;

pub(in crate::ops::prune) const NOW: u64 = 1_768_392_000;
const HOUR: u64 = 3600;
const LEASE: &str = "claims/prune-0000000000000007";

/// Shows a storage as a bucket that records when each object was written.
pub(in crate::ops::prune) struct Server {
    below: Arc<dyn Backend>,
    /// Its clock, in seconds since 1970.
    clock: AtomicU64,
    written: Mutex<BTreeMap<String, u64>>,
    /// Whether only the first to make an object makes it.
    is_conditional: bool,
}

impl Server {
    /// All that is there was written `age` seconds ago.
    pub(in crate::ops::prune) fn new(below: &Arc<dyn Backend>, age: u64, is_conditional: bool) -> Arc<Self> {
        let written = names(below, "").into_iter().map(|name| (name, NOW - age)).collect();
        Arc::new(Self { below: Arc::clone(below), clock: NOW.into(), written: Mutex::new(written), is_conditional })
    }

    fn note(&self, name: &str) {
        self.written.lock().unwrap().insert(name.into(), self.clock.load(Ordering::Relaxed));
    }

    /// Puts an object there that was written so long ago.
    pub(in crate::ops::prune) fn put_aged(&self, name: &str, bytes: &[u8], age: u64) {
        self.below.put(name, Payload::Bytes(bytes)).unwrap();
        self.written.lock().unwrap().insert(name.into(), NOW - age);
    }
}

impl Backend for Server {
    fn location(&self) -> String {
        "bucket".into()
    }
    fn capabilities(&self) -> Capabilities {
        Capabilities::BUCKET
    }
    fn read(&self, name: &str) -> Result<Vec<u8>> {
        self.below.read(name)
    }
    fn read_range(&self, name: &str, offset: u64, len: usize) -> Result<Vec<u8>> {
        self.below.read_range(name, offset, len)
    }
    fn len(&self, name: &str) -> Result<u64> {
        self.below.len(name)
    }
    fn put(&self, name: &str, source: Payload<'_>) -> Result<()> {
        self.note(name);
        self.below.put(name, source)
    }
    fn put_if_absent(&self, name: &str, bytes: &[u8]) -> Result<bool> {
        self.note(name);
        if self.is_conditional {
            return self.below.put_if_absent(name, bytes);
        }
        self.below.put(name, Payload::Bytes(bytes)).map(|()| true)
    }
    fn modified(&self, name: &str) -> Result<Option<SystemTime>> {
        self.below.len(name)?;
        let secs = self.written.lock().unwrap()[name];
        Ok(Some(SystemTime::UNIX_EPOCH + Duration::from_secs(secs)))
    }
    fn temp_object(&self) -> Result<TempObject> {
        self.below.temp_object()
    }
    fn list(&self, prefix: &str, visit: &mut dyn FnMut(&str, u64) -> Result<()>) -> Result<()> {
        self.below.list(prefix, visit)
    }
    fn remove(&self, name: &str) -> Result<()> {
        self.below.remove(name)
    }
    fn lock(&self, _: &str, _: LockMode, _: Duration, _: &dyn Fn() -> bool) -> Result<Option<Box<dyn Guard>>> {
        Ok(None)
    }
    fn cache_dir(&self) -> Option<PathBuf> {
        None
    }
}

fn prune(server: &Arc<Server>, options: &two_phase::Options) -> Result<Report> {
    let backend = Arc::clone(server) as Arc<dyn Backend>;
    let store = Store::open(backend, LockMode::Shared, Duration::ZERO, &Silent).unwrap();
    two_phase::prune(&store, options, &HashSet::new(), &SpaceGuard::unlimited(), &Silent)
}

fn options() -> two_phase::Options {
    two_phase::Options { retired: vec!["lab".into(), "other".into()], only_pruner: false, ..in_bucket(false) }
}

fn lease(secs_ago: u64) -> Vec<u8> {
    let written = Time { secs: (NOW - secs_ago) as i64, nanos: 0 };
    let document = serde_json::json!({ "format": 1, "owner": "host-b", "token": "2", "written": written });
    serde_json::to_vec(&document).unwrap()
}

#[test]
fn without_conditional_writes_only_the_only_pruner_prunes() {
    let lab = worn();
    let server = Server::new(&twin(&lab.backend), 9 * HOUR, false);
    let before = names(&server.below, "");
    let refused = prune(&server, &options());
    assert!(matches!(&refused, Err(Error::Refused(text)) if text.text().contains("two prunes")), "{refused:?}");
    assert_eq!(names(&server.below, ""), before);
    let report = prune(&server, &two_phase::Options { only_pruner: true, ..options() }).unwrap();
    assert_eq!((report.conditional_writes, report.written.is_some()), (Some(false), true));
    let with = Server::new(&lab.backend, 9 * HOUR, true);
    let report = prune(&with, &options()).unwrap();
    assert_eq!((report.conditional_writes, report.written.is_some()), (Some(true), true));
    assert!(names(&with.below, "claims").is_empty());
}

#[test]
fn a_lease_holds_for_a_day_by_both_clocks_and_is_outbid_then() {
    let lab = Lab::new();
    let day = 24 * HOUR;
    // Seconds since the lease was written by the clock of its run, and by the server's.
    for (here, there, is_held) in
        [(0, 0, true), (day - 1, day - 1, true), (day, day - 1, true), (day - 1, day, true), (day, day, false)]
    {
        let server = Server::new(&twin(&lab.backend), 0, true);
        server.put_aged(LEASE, &lease(here), there);
        let done = prune(&server, &options());
        let what = format!("{here} s, {there} s: {done:?}");
        let left = names(&server.below, "claims");
        if is_held {
            let Err(Error::Locked { what: text }) = &done else { panic!("{what}") };
            assert!(text.contains("claimed by host-b since 202601"), "{text}");
            assert_eq!(left, [LEASE], "{what}");
        } else {
            assert!(done.is_ok() && left.is_empty(), "{what}: {left:?}");
        }
    }
}

#[test]
fn what_is_no_lease_stops_a_prune() {
    let server = Server::new(&Lab::new().backend, 0, true);
    server.put_aged(LEASE, b"no lease", 99 * HOUR);
    let done = prune(&server, &options());
    assert!(matches!(done, Err(Error::Corrupt { .. })), "{done:?}");
    assert_eq!(names(&server.below, "claims"), [LEASE]);
}

#[test]
fn probes_of_killed_runs_go_after_an_hour_and_other_objects_stay() {
    let server = Server::new(&Lab::new().backend, 0, true);
    server.put_aged("claims/probe-dead", b"first", HOUR);
    server.put_aged("claims/probe-alive", b"first", HOUR - 1);
    server.put_aged("claims/notes", b"somebody's", 99 * HOUR);
    let _ = prune(&server, &options()).unwrap();
    assert_eq!(names(&server.below, "claims"), ["claims/notes", "claims/probe-alive"]);
}

#[test]
fn packs_younger_than_the_grace_period_are_not_scheduled() {
    let lab = worn();
    let dead = {
        let planned = prune(&Server::new(&lab.backend, 0, true), &in_bucket(true)).unwrap();
        planned.numbers.dead
    };
    assert!(dead.count > 1);
    let grace = Duration::from_secs(HOUR);
    for (age, is_young) in [(HOUR - 1, true), (HOUR, false)] {
        let server = Server::new(&twin(&lab.backend), age, true);
        // Nothing is moved: that would be scheduled at any age.
        let max_unused = MaxUnused::Unlimited;
        let report = prune(&server, &two_phase::Options { grace, max_unused, ..options() }).unwrap();
        let moved = report.numbers.repacked;
        let (young, listed) = if is_young { (dead, moved) } else { (Default::default(), report.candidates) };
        assert_eq!((report.young.count, report.young.bytes), (young.count, young.bytes), "{age}: {report:?}");
        assert_eq!(report.candidates.count, listed.count, "{age}");
        assert_eq!(report.candidates.count, moved.count + dead.count - young.count, "{age}");
    }
}

#[test]
fn scheduled_packs_go_when_the_grace_period_is_over_by_both_clocks() {
    let lab = worn();
    let server = Server::new(&lab.backend, 9 * HOUR, true);
    let right = contents(&lab.backend);
    let run = |secs: u64, server_secs: u64| {
        server.clock.store(NOW + server_secs, Ordering::Relaxed);
        let now = Time { secs: (NOW + secs) as i64, nanos: 0 };
        prune(&server, &two_phase::Options { grace: Duration::from_secs(HOUR), now, ..options() }).unwrap()
    };
    let listed = run(0, 0).candidates;
    assert!(listed.count > 1);
    let before = pack_bytes(&lab.backend);
    for (here, there, left) in [(HOUR, 0, HOUR), (HOUR - 1, HOUR, 1), (HOUR, HOUR - 1, 1)] {
        let report = run(here, there);
        assert_eq!((report.deleted.count, report.waiting.len()), (0, 1), "{here}, {there}: {report:?}");
        let waiting = &report.waiting[0];
        assert_eq!((waiting.grace_left_seconds, waiting.deleted, waiting.packs.bytes), (left, false, listed.bytes));
        assert!(waiting.sources.is_empty());
    }
    assert_eq!(pack_bytes(&lab.backend), before);
    let report = run(HOUR, HOUR);
    assert_eq!((report.deleted.count, report.deleted.bytes), (listed.count, listed.bytes));
    assert_eq!(pack_bytes(&lab.backend), before - listed.bytes);
    assert_eq!(contents(&lab.backend), right);
    assert_clean(&lab.backend, "after the grace period");
}

#[test]
fn a_list_waits_for_each_source_that_is_not_retired() {
    let lab = worn();
    let server = Server::new(&lab.backend, 9 * HOUR, true);
    let none_retired = two_phase::Options { retired: Vec::new(), ..options() };
    let listed = prune(&server, &none_retired).unwrap();
    let report = prune(&server, &none_retired).unwrap();
    assert_eq!(report.deleted.count, 0);
    let waits: Vec<_> = report.waiting[0].sources.iter().map(|(source, last)| (source.as_str(), *last)).collect();
    assert_eq!(waits, [("lab", 12)]);
    let report = prune(&server, &options()).unwrap();
    assert_eq!((report.deleted.count, report.waiting.is_empty()), (listed.candidates.count, true), "{report:?}");
}

#[test]
fn a_pack_with_an_unreadable_chunk_stays_and_is_named() {
    let mut lab = Lab::new();
    lab.upload("lost", 3, 300_000);
    lab.back_up();
    lab.step();
    lab.step();
    let server = Server::new(&lab.backend, 9 * HOUR, true);
    let store = super::open(&lab.backend);
    let id = ChunkId::of(&std::fs::read(lab.dir.path().join("assets/lost")).unwrap());
    let pack = flip_byte(&*lab.backend, &store.locate(&id).unwrap().unwrap(), 5);
    drop(store);
    lab.forget(|sequence| sequence < 3);
    server.written.lock().unwrap().extend(names(&lab.backend, "").into_iter().map(|name| (name, NOW - 9 * HOUR)));
    let report = prune(&server, &options()).unwrap();
    assert!(
        matches!(&report.notes[..], [note] if note.contains(&pack) && note.contains("stays as it is")),
        "{report:?}"
    );
    let _ = prune(&server, &options()).unwrap();
    assert!(names(&lab.backend, "packs").contains(&pack));
}
