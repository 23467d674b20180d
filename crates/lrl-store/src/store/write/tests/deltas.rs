//! Deltas: against which chunks, and how far down.

use super::*;

#[test]
fn a_delta_is_taken_against_all_bases_that_are_there() {
    let backend = Arc::new(memory());
    create(&*backend, [1; 32]).unwrap();
    let store = open(&backend);
    let texts: Vec<Vec<u8>> =
        (0..4).map(|n| format!("{n} and some text that compresses ").repeat(900).into_bytes()).collect();
    let session = WriteSession::new(&store);
    let old: Vec<ChunkId> = texts.iter().map(|text| session.put(text, &[]).unwrap()).collect();
    session.seal().unwrap();
    let session = WriteSession::new(&store);
    let put = |plain: &[u8], bases: &[ChunkId]| (session.put(plain, bases).unwrap(), plain.to_vec());
    let mut edited = texts[0].clone();
    edited[7000..7010].copy_from_slice(b"0123456789");
    let nowhere = ChunkId::of(b"nowhere");
    let new = [
        put(&edited, &[old[1], old[0], old[3], old[2], nowhere]),
        put(&edited[1..], &[nowhere, old[0]]),
        put(&edited[2..], &[]),
        put(b"short", &[old[0]]),
        put(b"", &[old[0]]),
        put(&texts[1], &[old[0]]),
    ];
    session.seal().unwrap();
    let bases = new.each_ref().map(|(id, plain)| {
        assert_eq!(&store.read(id).unwrap(), plain);
        store.locate(id).unwrap().unwrap().record.bases
    });
    assert_eq!(bases, [vec![old[1], old[0], old[3], old[2]], vec![old[0]], vec![], vec![], vec![], vec![]]);
}

#[test]
fn chains_are_rerooted_at_the_bound_and_damage_of_a_base_is_healed() {
    let backend = Arc::new(memory());
    create(&*backend, [1; 32]).unwrap();
    let store = open(&backend);
    let mut x = 7u64;
    let mut plain: Vec<u8> = std::iter::repeat_with(|| {
        x = x.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (x >> 33) as u8
    })
    .take(64 << 10)
    .collect();
    let mut last = None;
    let mut records = Vec::new();
    for step in 0..20usize {
        plain[step * 100] ^= 0xff;
        let session = WriteSession::new(&store);
        let id = session.put(&plain, last.as_slice()).unwrap();
        session.seal().unwrap();
        assert_eq!(store.read(&id).unwrap(), plain);
        assert_eq!(store.read_with_bases(&id).unwrap(), plain, "the longest chain too");
        let another = open(&backend);
        let place = another.locate(&id).unwrap().unwrap();
        assert_eq!(another.read_copy(&place).unwrap(), plain, "and where no base is known yet");
        records.push(store.locate(&id).unwrap().unwrap().record);
        last = Some(id);
    }
    let depths: Vec<u8> = records.iter().map(|record| record.depth).collect();
    assert_eq!(depths[..10], [0, 1, 2, 3, 4, 5, 6, 7, 8, 1]);
    assert!(depths.iter().all(|depth| *depth <= 8));
    // Nor does a delta of another store get one that is longer, or depend on itself.
    let deepest = &records[8];
    let session = WriteSession::new(&store);
    for (id, base) in [(ChunkId::of(b"another"), deepest.id), (last.unwrap(), last.unwrap())] {
        let record = Record { id, bases: vec![base], ..deepest.clone() };
        assert!(!session.append_encoded(b"delta", record).unwrap());
    }
    drop(session);
    // Every pack is emptied: no base can be read any more, so the next chunk is kept whole.
    names(&*backend, "packs").iter().for_each(|name| backend.remove(name).unwrap());
    plain[5] ^= 1;
    let session = WriteSession::new(&store);
    let id = session.put(&plain, last.as_slice()).unwrap();
    session.seal().unwrap();
    assert_eq!(store.locate(&id).unwrap().unwrap().record.depth, 0);
    assert_eq!(store.read(&id).unwrap(), plain);
}

#[test]
fn a_chunk_leans_on_another_one_where_that_is_shorter_than_the_whole() {
    let backend = Arc::new(memory());
    create(&*backend, [1; 32]).unwrap();
    let store = open(&backend);
    let stored = |plain: &[u8], bases: &[ChunkId]| {
        let session = WriteSession::new(&store);
        let id = session.put(plain, bases).unwrap();
        session.seal().unwrap();
        (id, store.locate(&id).unwrap().unwrap().record)
    };
    let old = noise(1, 64 << 10);
    let (base, _) = stored(&old, &[]);
    // More than an eighth is new, so that the whole is tried too.
    for same in [8 << 10, 32 << 10, 48 << 10] {
        let mut plain = noise(same as u64, 64 << 10);
        plain[..same].copy_from_slice(&old[..same]);
        let (_, record) = stored(&plain, &[base]);
        let left = (64 << 10) - same;
        assert_eq!((record.depth, record.bases), (1, vec![base]), "{same}");
        assert!((left..left + 100).contains(&(record.encoded_len as usize)), "{same}: {}", record.encoded_len);
    }
    // Nothing is gained by a base that has nothing of it, nor for what is short by itself.
    let part: Vec<u8> = noise(9, 8 << 10).repeat(2);
    for plain in [noise(2, 64 << 10), part] {
        let (_, record) = stored(&plain, &[base]);
        assert_eq!((record.depth, record.bases), (0, vec![]));
    }
}

fn decoded_for(store: &Store, id: &ChunkId) -> usize {
    let bases = store.locate(id).unwrap().unwrap().record.bases;
    1 + bases.iter().map(|base| decoded_for(store, base)).sum::<usize>()
}

#[test]
fn chains_of_several_bases_stay_cheap_to_read() {
    let backend = Arc::new(memory());
    create(&*backend, [1; 32]).unwrap();
    let store = open(&backend);
    let mut last: Vec<(ChunkId, Vec<u8>)> = Vec::new();
    for n in 0..4 {
        let plain = noise(n, 8 << 10);
        let session = WriteSession::new(&store);
        last.push((session.put(&plain, &[]).unwrap(), plain));
        session.seal().unwrap();
    }
    for step in 0..12 {
        let session = WriteSession::new(&store);
        let bases: Vec<_> = last.iter().map(|(id, _)| *id).collect();
        // Each chunk takes a quarter from each of the last, as after a VACUUM.
        let next: Vec<(ChunkId, Vec<u8>)> = (0..4)
            .map(|n| {
                let mut plain: Vec<u8> =
                    last.iter().enumerate().flat_map(|(i, (_, p))| p[(i + n) % 4 * 2048..][..2048].to_vec()).collect();
                plain[step * 7 + n] ^= 0x55;
                (session.put(&plain, &bases).unwrap(), plain)
            })
            .collect();
        session.seal().unwrap();
        for (id, plain) in &next {
            let work = decoded_for(&store, id);
            assert!(work <= super::super::put::MAX_WORK + 1, "step {step}: {work} chunks are decoded");
            assert_eq!(store.read(id).unwrap(), *plain);
        }
        last = next;
    }
}

#[test]
fn a_delta_of_another_store_is_kept_as_it_is_encoded_there() {
    let (old, mut new) = (noise(3, 64 << 10), noise(3, 64 << 10));
    new[7] ^= 1;
    let stores = [7, 8].map(|id| {
        let backend = Arc::new(memory());
        create(&*backend, [id; 32]).unwrap();
        open(&backend)
    });
    let [from, to] = &stores;
    let put = |store: &Store, plain: &[u8], bases: &[ChunkId]| {
        let session = WriteSession::new(store);
        let id = session.put(plain, bases).unwrap();
        session.seal().unwrap();
        id
    };
    let base = put(from, &old, &[]);
    let id = put(from, &new, &[base]);
    let place = from.locate(&id).unwrap().unwrap();
    let encoded = from.read_encoded(&place).unwrap();
    // Without its base it is of no use.
    assert!(!WriteSession::new(to).append_encoded(&encoded, place.record.clone()).unwrap());
    assert_eq!(put(to, &old, &[]), base);
    let session = WriteSession::new(to);
    assert!(session.append_encoded(&encoded, place.record.clone()).unwrap());
    session.seal().unwrap();
    let kept = to.locate(&id).unwrap().unwrap();
    assert_eq!((&kept.record, to.read_encoded(&kept).unwrap()), (&place.record, encoded));
    assert_eq!(to.read(&id).unwrap(), new);
}

#[test]
fn a_delta_of_another_store_is_kept_while_all_its_bases_together_are_cheap_to_read() {
    let backend = Arc::new(memory());
    create(&*backend, [1; 32]).unwrap();
    let store = open(&backend);
    let delta = |session: &WriteSession<'_>, id: ChunkId, bases: &[ChunkId]| {
        let bases = bases.to_vec();
        let record = Record { id, encoded_len: 5, plain_len: 9, encoding: Encoding::Delta, depth: 0, bases };
        session.append_encoded(b"delta", record).unwrap()
    };
    let session = WriteSession::new(&store);
    let whole: Vec<ChunkId> = (0..4).map(|n| session.put(&noise(n, 100), &[]).unwrap()).collect();
    session.seal().unwrap();
    // Each is a delta against four of those below it: 1, 5, 21 and 85 chunks are decoded for one.
    let mut levels = vec![whole];
    for level in 0..3 {
        let session = WriteSession::new(&store);
        let ids: Vec<ChunkId> = (0..4).map(|n| ChunkId::of(format!("{level} {n}").as_bytes())).collect();
        assert!(ids.iter().all(|id| delta(&session, *id, &levels[level])));
        session.seal().unwrap();
        levels.push(ids);
    }
    let session = WriteSession::new(&store);
    let kept = |last: ChunkId| delta(&session, ChunkId::of(b"new"), &[levels[3][0], levels[2][0], levels[2][1], last]);
    assert!(!kept(levels[1][0]));
    assert!(kept(levels[0][0]), "{} chunks", super::super::put::MAX_WORK);
}

#[test]
fn chunks_that_are_each_others_bases_count_as_not_stored() {
    use crate::format::index::Located;
    use crate::store::index;
    let (backend, store, known) = with_one_chunk();
    let pack = store.locate(&known).unwrap().unwrap().pack;
    drop(store);
    // As only a hostile index says: the pack is there, and long enough.
    let plain = [noise(8, 500), noise(9, 500)];
    let ids = plain.each_ref().map(|plain| ChunkId::of(plain));
    let records = [(ids[0], ids[1]), (ids[1], ids[0])].map(|(id, base)| {
        let encoding = Encoding::Delta;
        Record { id, encoded_len: 9, plain_len: 500, encoding, depth: 1, bases: vec![base] }
    });
    let mut listed = records.map(|record| Located { pack: 0, offset: 8, record }).to_vec();
    listed.sort_unstable_by_key(|located| located.record.id);
    index::write(&*backend, &[pack], listed.into_iter().map(Ok)).unwrap();
    let store = open(&backend);
    assert!(store.locate(&ids[0]).unwrap().is_some());
    let session = WriteSession::new(&store);
    let stored = plain.each_ref().map(|plain| session.put(plain, &[]).unwrap());
    assert_eq!(stored, ids);
    session.seal().unwrap();
    for (id, plain) in ids.iter().zip(&plain) {
        assert_eq!(&open(&backend).read(id).unwrap(), plain);
    }
}
