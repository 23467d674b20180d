//! Sessions: what is stored, what counts as known, and what damage does.

mod deltas;

use std::sync::Arc;
use std::time::Duration;

use super::{Trust, WriteSession};
use crate::backend::cache::CachedBackend;
use crate::backend::local::LocalBackend;
use crate::backend::tests::names;
use crate::backend::{Backend, Payload};
use crate::compression::Encoding;
use crate::error::Error;
use crate::format::config::{Config, encode};
use crate::format::pack::Record;
use crate::fs::lock::LockMode;
use crate::fs::space::Reserve;
use crate::id::ChunkId;
use crate::progress::Silent;
use crate::store::index::MAX_FILES;
use crate::store::{Store, create};
use crate::testing::memory_backend::{Memory, memory};
use crate::testing::rng::noise;

#[test]
fn a_store_with_a_feature_unknown_to_writers_is_read_but_not_written() {
    let backend = memory();
    let mut config = Config::new([1; 32]);
    config.must_know_to_write.push("later".into());
    backend.put("config", Payload::Bytes(&encode(&config).unwrap())).unwrap();
    let store = Store::open(Arc::new(backend), LockMode::Shared, Duration::ZERO, &Silent).unwrap();
    assert!(store.snapshot_names(None).unwrap().is_empty());
    assert!(matches!(WriteSession::new(&store).put(b"x", &[]), Err(Error::Unsupported { .. })));
}

fn open(backend: &Arc<impl Backend + 'static>) -> Store {
    Store::open(Arc::clone(backend) as Arc<dyn Backend>, LockMode::Shared, Duration::ZERO, &Silent).unwrap()
}

/// Makes a store with one chunk.
fn with_one_chunk() -> (Arc<Memory>, Store, ChunkId) {
    let backend = Arc::new(memory());
    create(&*backend, [1; 32]).unwrap();
    let store = open(&backend);
    let session = WriteSession::new(&store);
    let id = session.put(&noise(3, 1000), &[]).unwrap();
    session.seal().unwrap();
    (backend, store, id)
}

#[test]
fn what_a_lost_or_shortened_pack_held_is_stored_again() {
    let backend = Arc::new(memory());
    create(&*backend, [1; 32]).unwrap();
    let store = open(&backend);
    let base = noise(3, 64 << 10);
    let mut plain = base.clone();
    plain[7] ^= 1;
    let put = |plain: &[u8], bases: &[_]| {
        let session = WriteSession::new(&store);
        let id = session.put(plain, bases).unwrap();
        session.seal().unwrap();
        (id, session.packs())
    };
    let (base_id, packs) = put(&base, &[]);
    let (id, _) = put(&plain, &[base_id]);
    let pack = crate::store::names::pack_name(&packs[0]);
    let place = store.locate(&base_id).unwrap().unwrap();
    let end = place.offset as usize + place.record.encoded_len as usize;
    for left in [None, Some(end / 2), Some(end - 1)] {
        let bytes = backend.read(&pack).unwrap();
        backend.remove(&pack).unwrap();
        if let Some(left) = left {
            backend.put(&pack, Payload::Bytes(&bytes[..left])).unwrap();
        }
        assert!(!WriteSession::new(&store).knows(&id).unwrap(), "its base is gone");
        assert_eq!(put(&base, &[]).1.len(), 1);
        assert_eq!(store.read(&id).unwrap(), plain);
        assert!(put(&base, &[]).1.is_empty(), "healed once, not each time");
        backend.put(&pack, Payload::Bytes(&bytes)).unwrap();
    }
}

#[test]
fn a_pack_that_ends_with_the_chunk_still_has_it() {
    let (backend, store, id) = with_one_chunk();
    let place = store.locate(&id).unwrap().unwrap();
    let end = place.offset as usize + place.record.encoded_len as usize;
    let pack = crate::store::names::pack_name(&place.pack);
    let bytes = backend.read(&pack).unwrap();
    for (left, is_known) in [(end, true), (end - 1, false)] {
        backend.put(&pack, Payload::Bytes(&bytes[..left])).unwrap();
        assert_eq!(WriteSession::new(&store).knows(&id).unwrap(), is_known, "{left} of {}", bytes.len());
    }
}

#[test]
fn in_doubt_a_chunk_is_known_only_if_it_can_be_read() {
    let (backend, store, id) = with_one_chunk();
    let plain = store.read(&id).unwrap();
    let pack = names(&*backend, "packs").remove(0);
    let mut bytes = backend.read(&pack).unwrap();
    bytes[100] ^= 1;
    backend.put(&pack, Payload::Bytes(&bytes)).unwrap();
    assert!(store.read(&id).is_err());
    let session = WriteSession::new(&store);
    session.lower_trust(Trust::ReadEverything);
    session.put(&plain, &[]).unwrap();
    session.seal().unwrap();
    assert_eq!(store.read(&id).unwrap(), plain);
}

#[test]
fn in_doubt_too_only_the_index_says_what_is_known() {
    let backend = Arc::new(memory());
    create(&*backend, [1; 32]).unwrap();
    let plain = noise(3, 1000);
    let add = |in_doubt: bool| {
        let store = open(&backend);
        let session = WriteSession::new(&store);
        if in_doubt {
            session.lower_trust(Trust::ReadEverything);
        }
        let id = session.put(&plain, &[]).unwrap();
        session.seal().unwrap();
        id
    };
    add(false);
    // A run that died between its packs and its index.
    names(&*backend, "index").iter().for_each(|name| backend.remove(name).unwrap());
    let id = add(true);
    assert!(open(&backend).locate(&id).unwrap().is_some(), "what depends on it is not listed");
}

#[test]
fn in_doubt_a_chunk_must_not_lean_on_a_damaged_one() {
    let backend = Arc::new(memory());
    create(&*backend, [1; 32]).unwrap();
    let store = open(&backend);
    let put = |plain: &[u8], bases: &[ChunkId], in_doubt: bool| {
        let session = WriteSession::new(&store);
        if in_doubt {
            session.lower_trust(Trust::ReadEverything);
        }
        let id = session.put(plain, bases).unwrap();
        session.seal().unwrap();
        id
    };
    // Two deltas that use the first half of their base, whose second half is damaged then.
    let base = noise(1, 64 << 10);
    let base_id = put(&base, &[], false);
    let pack = names(&*backend, "packs").remove(0);
    let part = [&base[..32 << 10], &noise(2, 100)].concat();
    let id = put(&part, &[base_id], false);
    let mut bytes = backend.read(&pack).unwrap();
    bytes[40 << 10] ^= 1;
    backend.put(&pack, Payload::Bytes(&bytes)).unwrap();
    assert!(store.read(&base_id).is_err() && store.read(&id).is_ok(), "what is damaged is not what is used");
    put(&part, &[base_id], true);
    let other = [&part[..], b"and more"].concat();
    let other_id = put(&other, &[id], true);
    // Whoever takes the damaged pack away, as the next step of a repair, must lose nothing of this.
    backend.remove(&pack).unwrap();
    let store = open(&backend);
    assert_eq!((store.read(&id).unwrap(), store.read(&other_id).unwrap()), (part, other));
}

#[test]
fn small_indexes_are_merged_into_one_and_a_large_one_is_not_written_again_for_them() {
    // However little the new one holds: else there would be more of them with each run.
    for (large, small, left) in [(1, 1, vec![17]), (40, 1, vec![16, 40]), (3, 3, vec![49])] {
        let backend = Arc::new(memory());
        create(&*backend, [1; 32]).unwrap();
        let store = open(&backend);
        let store_some = |seed: u64, count: u64| {
            let session = WriteSession::new(&store);
            for n in 0..count {
                session.put(&noise(seed * 1000 + n, 100), &[]).unwrap();
            }
            session.seal().unwrap();
        };
        store_some(1, large);
        (0..MAX_FILES as u64 - 1).for_each(|n| store_some(2 + n, small));
        assert_eq!(names(&*backend, "index").len(), MAX_FILES);
        store_some(100, 1);
        let mut records: Vec<u64> = store.indexes().iter().map(|file| file.records()).collect();
        records.sort_unstable();
        assert_eq!((records, names(&*backend, "index").len()), (left.clone(), left.len()));
    }
}

#[test]
fn an_index_that_another_process_merged_meanwhile_is_no_failure() {
    let backend = Arc::new(memory());
    create(&*backend, [1; 32]).unwrap();
    let add = |store: &Store, n: u64| {
        let session = WriteSession::new(store);
        let id = session.put(&noise(n, 100), &[]).unwrap();
        session.seal().unwrap();
        id
    };
    let one = open(&backend);
    let mut ids: Vec<_> = (0..16).map(|n| add(&one, n)).collect();
    let (other, reader) = (open(&backend), open(&backend));
    ids.push(add(&one, 16));
    assert!(names(&*backend, "index").len() < 16, "it has merged");
    assert!(ids.iter().all(|id| reader.read_with_bases(id).is_ok()), "every copy is looked for again");
    ids.push(add(&other, 17));
    for store in [&one, &other, &open(&backend)] {
        assert!(ids.iter().all(|id| store.read(id).is_ok()));
    }
}

#[test]
fn what_only_an_unlisted_pack_holds_is_not_known_and_no_base() {
    // A killed run left a pack, perhaps not durable: nothing that is listed later may depend on it.
    let backend = Arc::new(memory());
    create(&*backend, [1; 32]).unwrap();
    let (base, mut plain) = (noise(3, 64 << 10), noise(3, 64 << 10));
    plain[7] ^= 1;
    let store = open(&backend);
    let session = WriteSession::new(&store);
    let dead = session.put(&base, &[]).unwrap();
    session.seal().unwrap();
    names(&*backend, "index").iter().for_each(|name| backend.remove(name).unwrap());
    for doubts in [true, false] {
        let store = open(&backend);
        // A read finds it there, and from then on so does every look-up.
        assert_eq!(store.read(&dead).unwrap(), base);
        let session = WriteSession::new(&store);
        if doubts {
            session.lower_trust(Trust::ReadEverything);
        }
        assert!(!session.knows(&dead).unwrap());
        let id = session.put(&plain, &[dead]).unwrap();
        session.seal().unwrap();
        assert_eq!(store.locate(&id).unwrap().unwrap().record.bases, []);
        plain[8] ^= 1;
    }
}

#[test]
fn what_was_read_while_an_index_listed_it_is_no_base_once_none_does() {
    let (backend, store, id) = with_one_chunk();
    store.read_listed(&id).unwrap();
    names(&*backend, "index").iter().for_each(|name| backend.remove(name).unwrap());
    store.reload_indexes().unwrap();
    store.pack_scan().unwrap();
    assert!(store.read_listed(&id).is_err() && store.read(&id).is_ok());
}

#[test]
fn what_was_stored_for_nothing_goes_only_if_nobody_else_uses_the_store() {
    let dir = tempfile::tempdir().unwrap();
    let backend = Arc::new(<LocalBackend>::new(dir.path()));
    create(&*backend, [1; 32]).unwrap();
    let open = || {
        let backend: Arc<dyn Backend> = Arc::clone(&backend) as Arc<dyn Backend>;
        Store::open(backend, LockMode::Shared, Duration::ZERO, &Silent).unwrap()
    };
    let packs = || names(&*backend, "packs");
    // One pack that an index lists, and one that none does.
    let fill = |store: &Store, word: &str, is_alone: bool, left: usize| {
        let session = WriteSession::new(store);
        session.put(format!("{word}, listed").as_bytes(), &[]).unwrap();
        session.seal().unwrap();
        session.put(format!("{word}, unlisted").as_bytes(), &[]).unwrap();
        session.step(|state| session.close_pack(state)).unwrap();
        session.take_back();
        assert_eq!(packs().len(), left, "{word}: alone {is_alone}");
    };
    let other = open();
    fill(&open(), "first", false, 2);
    drop(other);
    fill(&open(), "second", true, 3);
    // The same pack was there before this run: it may be somebody's.
    let store = open();
    fill(&store, "first", true, 3);
    assert!(store.read(&ChunkId::of(b"first, listed")).is_ok());
    assert!(store.read(&ChunkId::of(b"second, listed")).is_ok());
}

#[test]
fn a_damaged_copy_in_the_cache_is_dropped_and_fetched_anew() {
    let (backend, _, id) = with_one_chunk();
    let dir = tempfile::tempdir().unwrap();
    let near = || {
        let below = Arc::clone(&backend) as Arc<dyn Backend>;
        open(&Arc::new(CachedBackend::new(below, dir.path().into(), Reserve::NONE).unwrap()))
    };
    assert_eq!(near().read(&id).unwrap(), noise(3, 1000));
    let mut flipped = 0;
    for entry in walkdir::WalkDir::new(dir.path()) {
        let entry = entry.unwrap();
        let mut bytes = if entry.file_type().is_file() { std::fs::read(entry.path()).unwrap() } else { continue };
        if let Some(at) = bytes.windows(1000).position(|part| part == noise(3, 1000)) {
            bytes[at + 50] ^= 1;
            std::fs::write(entry.path(), bytes).unwrap();
            flipped += 1;
        }
    }
    assert!(flipped > 0, "nothing was copied");
    assert_eq!(near().read(&id).unwrap(), noise(3, 1000));
}
