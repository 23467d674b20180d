//! Damaged stores: any doubt ends a prune before it deletes, and of several copies one that can be read stays.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use super::{Lab, assert_clean, assert_exact, back_up, contents, open, pack_bytes, prune, try_prune, worn};
use crate::backend::{Backend, Payload, TempObject};
use crate::compression;
use crate::compression::Encoding;
use crate::error::{Error, Result};
use crate::format::pack::Record;
use crate::fs::lock::{Guard, LockMode};
use crate::hint::Hint;
use crate::id::ChunkId;
use crate::ops::check::{self, ReadData, check};
use crate::ops::prune::{MaxUnused, plan};
use crate::ops::repair;
use crate::ops::tests::faulty::{flip_byte, names, twin};
use crate::progress::Silent;
use crate::store::write::WriteSession;
use crate::store::{SnapshotName, create, pack_name};
use crate::testing::memory_backend::memory;

#[test]
fn any_doubt_deletes_nothing() {
    let lab = worn();
    let node = {
        let store = open(&lab.backend);
        let name = store.snapshot_names(None).unwrap().remove(0);
        let list = store.snapshot(&name).unwrap().files.unwrap().list;
        store.locate(&list).unwrap().unwrap()
    };
    let rename = |from: &str, to: &str| {
        let (from, to) = (from.to_string(), to.to_string());
        move |backend: &Arc<dyn Backend>| {
            let bytes = backend.read(&from).unwrap();
            backend.remove(&from).unwrap();
            backend.put(&to, Payload::Bytes(&bytes)).unwrap();
        }
    };
    let flip = |name: &str, at: u64| {
        let name = name.to_string();
        move |backend: &Arc<dyn Backend>| {
            let mut bytes = backend.read(&name).unwrap();
            bytes[at as usize] ^= 1;
            backend.put(&name, Payload::Bytes(&bytes)).unwrap();
        }
    };
    let (snapshot, index) = (names(&lab.backend, "snapshots").remove(1), names(&lab.backend, "index").remove(0));
    let pack = pack_name(&node.pack);
    type Damage = Box<dyn Fn(&Arc<dyn Backend>)>;
    let id = SnapshotName::parse(&snapshot).unwrap().id.short();
    let damages: [(&str, Vec<Hint>, Damage); 7] = [
        ("is not a name that lrl gives", vec![Hint::Repair], Box::new(rename(&pack, &format!("{pack}.bak")))),
        (
            "is not a name that lrl gives",
            vec![Hint::Repair],
            Box::new(rename(&snapshot, &snapshot.to_uppercase().replace("SNAPSHOTS", "snapshots"))),
        ),
        ("is not a name that lrl gives", vec![Hint::Repair], Box::new(rename(&index, "index/old"))),
        ("cannot be told", vec![Hint::Repair, Hint::GiveUp(id)], Box::new(flip(&snapshot, 40))),
        ("what that file listed", vec![Hint::Repair], Box::new(flip(&index, 300))),
        ("needs it", vec![Hint::CheckData], Box::new(flip(&pack, node.offset + 1))),
        (
            "needs it",
            vec![Hint::CheckData],
            Box::new({
                let pack = pack.clone();
                move |backend: &Arc<dyn Backend>| backend.remove(&pack).unwrap()
            }),
        ),
    ];
    for (words, hints, damage) in damages {
        let backend = twin(&lab.backend);
        damage(&backend);
        let before = names(&backend, "");
        let error = try_prune(&backend, MaxUnused::Percent(5.0)).unwrap_err();
        let text = error.to_string();
        assert!(text.contains(words) && text.contains("nothing was pruned"), "{words}: {text}");
        assert_eq!(error.hints(), hints, "{words}");
        assert_eq!(names(&backend, ""), before, "{words}");
    }
    // A listing that fails is no empty one.
    for prefix in ["packs", "index", "snapshots"] {
        struct Unlisted(Arc<dyn Backend>, &'static str);
        impl Backend for Unlisted {
            fn location(&self) -> String {
                self.0.location()
            }
            fn read(&self, name: &str) -> Result<Vec<u8>> {
                self.0.read(name)
            }
            fn read_range(&self, name: &str, offset: u64, len: usize) -> Result<Vec<u8>> {
                self.0.read_range(name, offset, len)
            }
            fn len(&self, name: &str) -> Result<u64> {
                self.0.len(name)
            }
            fn put(&self, name: &str, source: Payload<'_>) -> Result<()> {
                self.0.put(name, source)
            }
            fn temp_object(&self) -> Result<TempObject> {
                self.0.temp_object()
            }
            fn list(&self, prefix: &str, visit: &mut dyn FnMut(&str, u64) -> Result<()>) -> Result<()> {
                if prefix == self.1 {
                    let source = std::io::Error::other("injected");
                    return Err(Error::Io { op: "list", path: prefix.into(), source });
                }
                self.0.list(prefix, visit)
            }
            fn remove(&self, name: &str) -> Result<()> {
                self.0.remove(name)
            }
            fn lock(&self, _: &str, _: LockMode, _: Duration, _: &dyn Fn() -> bool) -> Result<Option<Box<dyn Guard>>> {
                Ok(None)
            }
            fn cache_dir(&self) -> Option<std::path::PathBuf> {
                None
            }
        }
        let backend = twin(&lab.backend);
        let before = names(&backend, "");
        let unlisted: Arc<dyn Backend> = Arc::new(Unlisted(Arc::clone(&backend), prefix));
        assert!(matches!(try_prune(&unlisted, MaxUnused::Bytes(0)), Err(Error::Io { .. })), "{prefix}");
        assert_eq!(names(&backend, ""), before, "{prefix}");
    }
}

#[test]
fn packs_that_a_lost_index_listed_are_listed_again_before_anything_goes() {
    let lab = worn();
    let right = contents(&lab.backend);
    for all in [true, false] {
        let backend = twin(&lab.backend);
        let indexes = names(&backend, "index");
        indexes.iter().take(if all { usize::MAX } else { 3 }).for_each(|name| backend.remove(name).unwrap());
        let before = names(&backend, "");
        let dry = plan(&open(&backend), MaxUnused::Bytes(0), &HashSet::new(), true, &Silent);
        assert!(dry.is_err_and(|error| error.to_string().contains("lists them again")));
        assert_eq!(names(&backend, ""), before, "a dry run changes nothing");
        prune(&backend, MaxUnused::Bytes(0));
        assert_eq!(contents(&backend), right);
        assert_clean(&backend, "the index was lost");
        assert_exact(&backend, "the index was lost");
    }
}

#[test]
fn of_several_copies_one_that_can_be_read_stays() {
    let mut lab = Lab::new();
    lab.upload("precious", 9, 50_000);
    lab.back_up();
    let right = contents(&lab.backend);
    // The same contents in two more packs; one of the three stays whole, each in its turn.
    let store = open(&lab.backend);
    let id = ChunkId::of(&std::fs::read(lab.dir.path().join("assets/precious")).unwrap());
    let plain = store.read(&id).unwrap();
    for _ in 0..2 {
        let elsewhere: Arc<dyn Backend> = Arc::new(memory());
        create(&*elsewhere, [2; 32]).unwrap();
        let other = open(&elsewhere);
        let session = WriteSession::new(&other);
        session.put(&[names(&lab.backend, "packs").len() as u8; 100], &[]).unwrap();
        session.put(&plain, &[]).unwrap();
        session.seal().unwrap();
        for name in names(&elsewhere, "").iter().filter(|name| *name != "config") {
            lab.backend.put(name, Payload::Bytes(&elsewhere.read(name).unwrap())).unwrap();
        }
    }
    let places: Vec<_> = open(&lab.backend).copies(&id).unwrap().into_iter().map(|copy| copy.place).collect();
    assert_eq!(places.len(), 3);
    for whole in 0..3 {
        let backend = twin(&lab.backend);
        for place in places.iter().enumerate().filter(|(at, _)| *at != whole).map(|(_, place)| place) {
            let name = pack_name(&place.pack);
            let mut bytes = backend.read(&name).unwrap();
            bytes[place.offset as usize + 77] ^= 4;
            backend.put(&name, Payload::Bytes(&bytes)).unwrap();
        }
        let report = try_prune(&backend, MaxUnused::Bytes(0)).unwrap();
        assert_eq!(contents(&backend), right, "{whole}: {report:?}");
        assert_exact(&backend, "copies");
    }
    // None can be read: none goes, and the other files are not held up.
    let backend = twin(&lab.backend);
    for place in &places {
        let name = pack_name(&place.pack);
        let mut bytes = backend.read(&name).unwrap();
        bytes[place.offset as usize + 77] ^= 4;
        backend.put(&name, Payload::Bytes(&bytes)).unwrap();
    }
    let report = try_prune(&backend, MaxUnused::Bytes(0)).unwrap();
    assert_eq!(open(&backend).copies(&id).unwrap().len(), 3);
    assert!(!report.notes.is_empty() && report.failed.is_none(), "{report:?}");
}

#[test]
fn a_copy_that_leans_on_itself_is_not_the_one_that_stays() {
    // A forged depth puts the copy first that is a delta of what is a delta of its own chunk.
    let lab = Lab::new();
    lab.upload("a", 9, 50_000);
    let path = lab.dir.path().join("assets/a");
    let a = std::fs::read(&path).unwrap();
    let (mut b, mut c) = (a.clone(), a.clone());
    (b[7], c[9]) = (b[7] ^ 1, c[9] ^ 1);
    let store = open(&lab.backend);
    let forge = |plain: &[u8], base: Option<&[u8]>, depth: u8| {
        let session = WriteSession::new(&store);
        let (bytes, bases) = match base {
            Some(base) => (compression::compress_delta(plain, &[base]).unwrap(), vec![ChunkId::of(base)]),
            None => (plain.to_vec(), Vec::new()),
        };
        let encoding = if base.is_some() { Encoding::Delta } else { Encoding::Stored };
        let (encoded_len, plain_len) = (bytes.len() as u32, plain.len() as u32);
        let record = Record { id: ChunkId::of(plain), encoded_len, plain_len, encoding, depth, bases };
        session.append(&bytes, record).unwrap();
        session.seal().unwrap();
    };
    forge(&c, None, 0);
    forge(&b, Some(&a), 1);
    forge(&a, Some(&b), 1);
    forge(&a, Some(&c), 2);
    drop(store);
    back_up(&lab.backend, lab.dir.path(), "lab", 1);
    let right = contents(&lab.backend);
    let _ = try_prune(&lab.backend, MaxUnused::Bytes(0)).unwrap();
    assert_eq!(contents(&lab.backend), right);
    assert_clean(&lab.backend, "after");
}

#[test]
fn a_lost_chunk_of_contents_does_not_keep_the_room_of_what_is_dead() {
    let mut lab = Lab::new();
    lab.upload("lost", 3, 300_000);
    lab.back_up();
    lab.step();
    lab.step();
    let store = open(&lab.backend);
    let id = ChunkId::of(&std::fs::read(lab.dir.path().join("assets/lost")).unwrap());
    flip_byte(&*lab.backend, &store.locate(&id).unwrap().unwrap(), 5);
    lab.forget(|sequence| sequence == 2);
    let before = pack_bytes(&lab.backend);
    let report = try_prune(&lab.backend, MaxUnused::Bytes(0)).unwrap();
    assert!(pack_bytes(&lab.backend) < before);
    assert!(open(&lab.backend).locate(&id).unwrap().is_some(), "still listed, for whoever can bring it back");
    assert!(report.notes.iter().all(|note| note.contains("stays as it is")), "{report:?}");
    // All but that file reads.
    let options = check::Options { read_data: ReadData::All, seed: 1, lock_wait: Duration::ZERO, record: None };
    let report = check(Arc::clone(&lab.backend), &options, &Silent).unwrap();
    let files: HashSet<&String> = report.findings.iter().flat_map(|finding| &finding.files).collect();
    assert_eq!(files, HashSet::from([&"assets/lost".to_string()]), "{:?}", report.findings);
    // Once a repair has taken it off the index, plan and run say that it is missing, and lose no more.
    assert!(try_prune(&lab.backend, MaxUnused::Bytes(0)).unwrap().numbers.missing == 0, "it was listed");
    repair::repair(Arc::clone(&lab.backend), &options, &Silent).unwrap();
    assert!(open(&lab.backend).locate(&id).unwrap().is_none());
    let planned = plan(&open(&lab.backend), MaxUnused::Bytes(0), &HashSet::new(), true, &Silent).unwrap().numbers;
    let numbers = prune(&lab.backend, MaxUnused::Bytes(0));
    assert!(numbers.missing > 0 && planned.missing == numbers.missing, "{planned:?}, then {numbers:?}");
    let report = check(Arc::clone(&lab.backend), &options, &Silent).unwrap();
    let files: HashSet<&String> = report.findings.iter().flat_map(|finding| &finding.files).collect();
    assert_eq!(files, HashSet::from([&"assets/lost".to_string()]), "{:?}", report.findings);
}

#[test]
fn a_list_that_is_no_list_is_a_doubt_and_nothing_goes() {
    let mut lab = Lab::new();
    lab.upload("a", 9, 50_000);
    lab.back_up();
    lab.step();
    lab.forget(|sequence| sequence == 1);
    let store = open(&lab.backend);
    let name = store.snapshot_names(None).unwrap().remove(0);
    let mut snapshot = store.snapshot(&name).unwrap();
    // Contents where the root of a list should be.
    let contents = ChunkId::of(&std::fs::read(lab.dir.path().join("assets/a")).unwrap());
    snapshot.sequence += 1;
    snapshot.files.as_mut().unwrap().list = contents;
    store.publish(&snapshot).unwrap();
    drop(store);
    let before = names(&lab.backend, "");
    let refused = try_prune(&lab.backend, MaxUnused::Bytes(0));
    assert!(matches!(&refused, Err(Error::Refused(why)) if why.text().contains("nothing was pruned")), "{refused:?}");
    assert_eq!(names(&lab.backend, ""), before);
}
