//! Blocks that are fetched ahead: each once, several at a time, and an error is told to who reads.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use crate::backend::cache::CachedBackend;
use crate::backend::{Backend, Capabilities, Payload, TempObject};
use crate::error::{Error, Result};
use crate::fs::lock::{Guard, LockMode};
use crate::fs::space::Reserve;
use crate::testing::backend_conformance::conformance;
use crate::testing::memory_backend::{Memory, memory};

const PACK: &str = "packs/ab/abcd";
const BLOCKS: u64 = 9;

/// A storage far away: counts what is read of it, and how much of that at once.
struct Far {
    memory: Memory,
    reads: Mutex<Reads>,
    changed: Condvar,
    fails: AtomicBool,
    waits: bool,
}

#[derive(Default)]
struct Reads {
    of: HashMap<u64, usize>,
    now: usize,
    most: usize,
}

impl Far {
    fn new() -> Self {
        Self {
            memory: memory(),
            reads: Mutex::default(),
            changed: Condvar::new(),
            fails: AtomicBool::new(false),
            waits: false,
        }
    }
}

impl Backend for Far {
    fn location(&self) -> String {
        "far".into()
    }
    fn capabilities(&self) -> Capabilities {
        Capabilities::BUCKET
    }
    fn put_if_absent(&self, name: &str, bytes: &[u8]) -> Result<bool> {
        self.memory.put_if_absent(name, bytes)
    }
    fn read(&self, name: &str) -> Result<Vec<u8>> {
        self.memory.read(name)
    }
    fn read_range(&self, name: &str, offset: u64, len: usize) -> Result<Vec<u8>> {
        self.memory.read_range(name, offset, len)
    }
    fn read_up_to(&self, name: &str, offset: u64, len: usize) -> Result<Vec<u8>> {
        if self.fails.load(Ordering::Relaxed) {
            return Err(Error::Refused("the line is cut".into()));
        }
        let mut reads = self.reads.lock().unwrap();
        *reads.of.entry(offset).or_default() += 1;
        reads.now += 1;
        reads.most = reads.most.max(reads.now);
        self.changed.notify_all();
        // Waits for company, but not for ever: the last one has none.
        let few = |reads: &mut Reads| self.waits && reads.most < 3;
        reads = self.changed.wait_timeout_while(reads, Duration::from_millis(300), few).unwrap().0;
        reads.now -= 1;
        drop(reads);
        self.memory.read_up_to(name, offset, len)
    }
    fn len(&self, name: &str) -> Result<u64> {
        self.memory.len(name)
    }
    fn put(&self, name: &str, source: Payload<'_>) -> Result<()> {
        match source {
            Payload::Bytes(bytes) => self.memory.put(name, Payload::Bytes(bytes)),
            // A spool of this machine's disk goes up as its bytes.
            Payload::TempObject(temp) => {
                let bytes = std::fs::read(temp.0.on_disk().unwrap().path()).unwrap();
                self.memory.put(name, Payload::Bytes(&bytes))
            }
        }
    }
    fn temp_object(&self) -> Result<TempObject> {
        self.memory.temp_object()
    }
    fn list(&self, prefix: &str, visit: &mut dyn FnMut(&str, u64) -> Result<()>) -> Result<()> {
        self.memory.list(prefix, visit)
    }
    fn remove(&self, name: &str) -> Result<()> {
        self.memory.remove(name)
    }
    fn lock(&self, _: &str, _: LockMode, _: Duration, _: &dyn Fn() -> bool) -> Result<Option<Box<dyn Guard>>> {
        Ok(None)
    }
    fn cache_dir(&self) -> Option<PathBuf> {
        None
    }
}

fn far() -> (Arc<Far>, Vec<u8>) {
    let far = Arc::new(Far { waits: true, ..Far::new() });
    let bytes: Vec<u8> = (0..(BLOCKS << 21) as u32 - 77).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    far.memory.put(PACK, Payload::Bytes(&bytes)).unwrap();
    (far, bytes)
}

fn near(far: &Arc<Far>, dir: &std::path::Path) -> CachedBackend {
    CachedBackend::new(Arc::clone(far) as Arc<dyn Backend>, dir.into(), Reserve::NONE).unwrap()
}

#[test]
fn copies_of_what_is_far_away_conform() {
    let dir = tempfile::tempdir().unwrap();
    conformance(&near(&Arc::new(Far::new()), dir.path()));
}

#[test]
fn a_copy_that_another_process_removes_meanwhile_is_no_damage() {
    let far = Arc::new(Far::new());
    let name = format!("index/{}", "7".repeat(64));
    far.memory.put(&name, Payload::Bytes(&[7; 1000])).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let near = near(&far, dir.path());
    assert_eq!(near.read_range(&name, 10, 5).unwrap(), [7; 5]);
    let copy = dir.path().join("objects").join(&name);
    assert!(copy.is_file());
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                let _ = std::fs::remove_file(&copy);
            }
        });
        let read: Result<Vec<_>> = (0..5000).map(|at| near.read_range(&name, at % 900, 100)).collect();
        done.store(true, Ordering::Relaxed);
        assert!(read.unwrap().iter().all(|bytes| *bytes == [7; 100]));
    });
}

#[test]
fn what_is_asked_for_ahead_comes_once_and_several_at_a_time() {
    let (far, bytes) = far();
    let dir = tempfile::tempdir().unwrap();
    let near = near(&far, dir.path());
    near.prefetch(PACK, 0, bytes.len() as u64);
    std::thread::scope(|scope| {
        for reader in 0..4 {
            let (near, bytes) = (&near, &bytes);
            scope.spawn(move || {
                for at in (reader * 1000..bytes.len() - 70_000).step_by(50_000) {
                    near.prefetch(PACK, at as u64, 70_000);
                    assert!(near.read_range(PACK, at as u64, 70_000).unwrap() == bytes[at..at + 70_000]);
                }
            });
        }
    });
    let reads = far.reads.lock().unwrap();
    assert_eq!(reads.of.len() as u64, BLOCKS);
    assert!(reads.of.values().all(|times| *times == 1), "{:?}", reads.of);
    // Six threads ahead, and the four readers.
    assert!((3..=10).contains(&reads.most), "{}", reads.most);
}

#[test]
fn what_cannot_be_fetched_ahead_is_told_to_who_reads_it_and_may_come_later() {
    let (far, bytes) = far();
    let dir = tempfile::tempdir().unwrap();
    let near = near(&far, dir.path());
    far.fails.store(true, Ordering::Relaxed);
    near.prefetch(PACK, 0, bytes.len() as u64);
    near.prefetch("packs/ab/none", 0, 1);
    let cut = near.read_range(PACK, 5, 5).unwrap_err().to_string();
    assert!(cut.contains("the line is cut"), "{cut}");
    far.fails.store(false, Ordering::Relaxed);
    near.prefetch(PACK, 0, bytes.len() as u64);
    assert!(near.read_range(PACK, 5, bytes.len() - 5).unwrap() == bytes[5..]);
    assert!(matches!(near.read_range(PACK, bytes.len() as u64 - 1, 2), Err(Error::Corrupt { .. })));
    assert!(matches!(near.read_range("packs/ab/none", 0, 1), Err(Error::Missing { .. })));
}

#[test]
fn what_is_still_on_its_way_at_the_end_leaves_nothing_behind() {
    for _ in 0..20 {
        let (far, bytes) = far();
        let dir = tempfile::tempdir().unwrap();
        let copies = dir.path().join("copies");
        let near = near(&far, &copies);
        near.prefetch(PACK, 0, bytes.len() as u64);
        near.read_range(PACK, 0, 10).unwrap();
        drop(near);
        std::fs::remove_dir_all(&copies).unwrap();
        while Arc::strong_count(&far) > 1 {
            std::thread::yield_now();
        }
        assert!(!copies.exists());
    }
}
