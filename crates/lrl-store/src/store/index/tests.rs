//! How much is read: on opening a store, whatever its index holds, and for one look-up, however many files there are.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::{IndexFile, MAX_FILES, write};
use crate::backend::tests::names;
use crate::backend::{Backend, Payload, TempObject};
use crate::compression::Encoding;
use crate::error::{Error, Result};
use crate::format::index::{BLOCK_LEN, Located};
use crate::format::pack::Record;
use crate::fs::lock::{Guard, LockMode};
use crate::id::{ChunkId, PackId};
use crate::progress::Silent;
use crate::store::write::WriteSession;
use crate::store::{Store, create};
use crate::testing::memory_backend::{Memory, memory};

/// Counts the bytes that are read from index files, and lets something happen once after they were listed.
struct Counting {
    below: Memory,
    read: AtomicU64,
    after_listing: Mutex<Option<fn(&Memory)>>,
}

impl Backend for Counting {
    fn location(&self) -> String {
        self.below.location()
    }
    fn read(&self, name: &str) -> Result<Vec<u8>> {
        self.below.read(name)
    }
    fn read_range(&self, name: &str, offset: u64, len: usize) -> Result<Vec<u8>> {
        self.read.fetch_add(if name.starts_with("index/") { len as u64 } else { 0 }, Ordering::Relaxed);
        self.below.read_range(name, offset, len)
    }
    fn len(&self, name: &str) -> Result<u64> {
        self.below.len(name)
    }
    fn put(&self, name: &str, source: Payload<'_>) -> Result<()> {
        self.below.put(name, source)
    }
    fn temp_object(&self) -> Result<TempObject> {
        self.below.temp_object()
    }
    fn list(&self, prefix: &str, visit: &mut dyn FnMut(&str, u64) -> Result<()>) -> Result<()> {
        self.below.list(prefix, visit)?;
        let after = self.after_listing.lock().unwrap().take_if(|_| prefix == "index");
        after.into_iter().for_each(|act| act(&self.below));
        Ok(())
    }
    fn remove(&self, name: &str) -> Result<()> {
        self.below.remove(name)
    }
    fn lock(
        &self,
        name: &str,
        mode: LockMode,
        wait: Duration,
        interrupted: &dyn Fn() -> bool,
    ) -> Result<Option<Box<dyn Guard>>> {
        self.below.lock(name, mode, wait, interrupted)
    }
    fn cache_dir(&self) -> Option<PathBuf> {
        None
    }
}

fn id(file: usize, number: u32) -> ChunkId {
    ChunkId::of(format!("{file} {number}").as_bytes())
}

fn located(id: ChunkId, offset: u32) -> Located {
    let record = Record { id, encoded_len: 9, plain_len: 9, encoding: Encoding::Stored, depth: 0, bases: Vec::new() };
    Located { pack: 0, offset, record }
}

/// Opens a store with full index files with a number of chunks in each; also returns what counts.
fn store(chunks: u32) -> (Store, Arc<Counting>) {
    let backend = Arc::new(Counting { below: memory(), read: AtomicU64::new(0), after_listing: Mutex::default() });
    create(&*backend, [1; 32]).unwrap();
    for file in 0..MAX_FILES {
        let mut all: Vec<_> = (0..chunks).map(|number| located(id(file, number), 8)).collect();
        all.sort_unstable_by_key(|located| located.record.id);
        write(&*backend, &[PackId::of(&[file as u8])], all.into_iter().map(Ok)).unwrap();
    }
    backend.read.store(0, Ordering::Relaxed);
    let below = Arc::clone(&backend) as Arc<dyn Backend>;
    (Store::open(below, LockMode::Shared, Duration::ZERO, &Silent).unwrap(), backend)
}

#[test]
fn opening_reads_as_little_of_a_large_index_as_of_a_small_one() {
    let read = |chunks| store(chunks).1.read.load(Ordering::Relaxed);
    assert_eq!(read(100), read(20_000));
    assert!(read(20_000) < MAX_FILES as u64 * 256, "{}", read(20_000));
}

#[test]
fn looking_up_what_was_stored_together_asks_one_file() {
    const LOOKS: u32 = 500;
    let (store, backend) = store(20_000);
    for file in [3, MAX_FILES - 1, 0] {
        store.locate(&id(file, 0)).unwrap().unwrap();
        backend.read.store(0, Ordering::Relaxed);
        for number in 1..=LOOKS {
            assert_eq!(store.locate(&id(file, number)).unwrap().unwrap().record.id, id(file, number));
        }
        let blocks = backend.read.load(Ordering::Relaxed) / BLOCK_LEN as u64;
        assert!(blocks < 3 * u64::from(LOOKS), "{blocks} blocks for {LOOKS} chunks");
    }
    // What is in no file is looked for in all of them.
    assert!(store.locate(&id(99, 0)).unwrap().is_none());
}

#[test]
fn where_many_look_ups_are_expected_files_without_the_chunk_are_not_read() {
    const LOOKS: u32 = 500;
    let (store, backend) = store(2000);
    store.expect_look_ups(1, false).unwrap();
    backend.read.store(0, Ordering::Relaxed);
    assert!((0..LOOKS).all(|number| store.locate(&id(99, number)).unwrap().is_none()));
    let blocks = backend.read.load(Ordering::Relaxed) / BLOCK_LEN as u64;
    assert!(blocks < u64::from(LOOKS), "{blocks} blocks for {LOOKS} chunks in none of {MAX_FILES} files");
}

#[test]
fn where_many_look_ups_are_expected_each_reads_one_block() {
    const LOOKS: u32 = 500;
    let (store, backend) = store(20_000);
    store.expect_look_ups(1, false).unwrap();
    backend.read.store(0, Ordering::Relaxed);
    for number in 0..LOOKS {
        let id = id(number as usize % MAX_FILES, 20 * number);
        assert_eq!(store.locate(&id).unwrap().unwrap().record.id, id);
        assert_eq!(store.copies(&id).unwrap().len(), 1);
    }
    // Twice for each, and one of eighty times in each other file.
    let blocks = backend.read.load(Ordering::Relaxed) / BLOCK_LEN as u64;
    assert!(blocks < 2 * u64::from(LOOKS) * 3 / 2, "{blocks} blocks for {LOOKS} chunks");
}

#[test]
fn what_a_run_has_written_it_does_not_read_to_know_that_something_is_new() {
    const LOOKS: u32 = 1000;
    let (store, backend) = store(100);
    let session = WriteSession::new(&store);
    for n in 0..3 * LOOKS {
        session.put(&n.to_le_bytes(), &[]).unwrap();
        if n % 500 == 0 {
            session.seal().unwrap();
        }
    }
    // The next look-ups find the last index.
    (0..1024u32).for_each(|n| _ = session.knows(&id(99, n)).unwrap());
    backend.read.store(0, Ordering::Relaxed);
    assert!((1024..1024 + LOOKS).all(|n| !session.knows(&id(99, n)).unwrap()));
    let blocks = backend.read.load(Ordering::Relaxed) / BLOCK_LEN as u64;
    assert!(
        blocks < u64::from(LOOKS) / 5,
        "{blocks} blocks for {LOOKS} chunks in none of {} files",
        store.indexes().len()
    );
}

#[test]
fn an_index_with_a_damaged_block_is_not_read_whole_again_and_again() {
    let (store, backend) = store(20_000);
    let name = store.indexes()[0].name().to_string();
    let mut bytes = backend.below.read(&name).unwrap();
    // The last block; before it is the rest of the file.
    let at = bytes.len() - bytes.len() / 20;
    bytes[at..at + 4].iter_mut().for_each(|byte| *byte ^= 0x55);
    backend.below.put(&name, Payload::Bytes(&bytes)).unwrap();
    backend.read.store(0, Ordering::Relaxed);
    (0..3).for_each(|_| store.expect_look_ups(1, true).unwrap());
    let read = backend.read.load(Ordering::Relaxed);
    let all: u64 = store.indexes().iter().map(|file| file.file_len()).sum();
    assert!(read <= all, "{read} bytes of {all}");
    assert!(store.indexes()[0].verify(&*backend).is_err());
}

#[test]
fn every_copy_of_a_chunk_is_found_in_whichever_blocks_of_an_index_they_are() {
    const COPIES: u32 = 300;
    let backend = memory();
    for number in 0..20 {
        let copied = id(0, number);
        let mut all: Vec<_> = (0..200).map(|number| located(id(0, number), 8)).collect();
        all.extend((1..COPIES).map(|copy| located(copied, 8 + copy)));
        all.sort_by_key(|located| (located.record.id, located.offset));
        let (file, _) = write(&backend, &[PackId::of(b"pack")], all.into_iter().map(Ok)).unwrap();
        let offsets =
            |id| -> Vec<u64> { file.find_all(&backend, &id).unwrap().iter().map(|copy| copy.place.offset).collect() };
        for _ in 0..2 {
            assert_eq!(offsets(copied), (8..8 + u64::from(COPIES)).collect::<Vec<_>>());
            assert_eq!(offsets(id(0, 100)), [8]);
            file.summarize(&backend, true).unwrap();
        }
    }
}

#[test]
fn an_index_of_a_later_format_is_told_from_a_damaged_one_by_its_digest() {
    let backend = memory();
    let records = (0..3).map(|number| located(id(0, number), 8));
    let mut records: Vec<_> = records.collect();
    records.sort_unstable_by_key(|located| located.record.id);
    write(&backend, &[PackId::of(b"pack")], records.into_iter().map(Ok)).unwrap();
    let mut bytes = backend.read(&names(&backend, "index")[0]).unwrap();
    bytes[4] += 1;
    let later = format!("index/{}", blake3::hash(&bytes[..bytes.len() - 32]).to_hex());
    backend.put(&later, Payload::Bytes(&bytes)).unwrap();
    assert!(matches!(IndexFile::open(&backend, &later), Err(Error::Unsupported { .. })));
    bytes[20] ^= 1;
    backend.put(&later, Payload::Bytes(&bytes)).unwrap();
    assert!(matches!(IndexFile::open(&backend, &later), Err(Error::Corrupt { .. })));
}

#[test]
fn indexes_that_are_merged_between_their_listing_and_opening_are_listed_again() {
    let (store, backend) = store(3);
    *backend.after_listing.lock().unwrap() = Some(|below| {
        let merged = names(below, "index");
        write(below, &[PackId::of(b"merged")], [Ok(located(id(0, 0), 8))].into_iter()).unwrap();
        merged.iter().for_each(|name| below.remove(name).unwrap());
    });
    store.reload_indexes().unwrap();
    assert_eq!(store.indexes().len(), 1);
    assert_eq!(store.locate(&id(0, 0)).unwrap().unwrap().pack, PackId::of(b"merged"));
}
