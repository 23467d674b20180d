//! Documents are verified against their names, and one that cannot be read proves nothing.

use super::{at, new, open};
use crate::backend::Payload;
use crate::error::Error;
use crate::format::check::{self, Check, Depth};
use crate::format::drill::Drill;
use crate::id::SnapshotId;
use crate::ops::tests::sample;
use crate::store::SnapshotName;
use crate::store::check_records::CheckName;
use crate::store::drill_records::DrillName;

fn check(secs: i64, number: Option<u64>, depth: Depth) -> Check {
    let damaged = Vec::new();
    Check {
        format: check::VERSION,
        time: at(secs),
        number,
        depth,
        passed: true,
        damaged,
        more_damaged: 0,
        program: "test".into(),
    }
}

#[test]
fn a_document_under_another_name_is_corrupt() {
    let backend = new();
    let store = open(&backend);
    let copy = |from: String, to: String| backend.put(&to, Payload::Bytes(&backend.read(&from).unwrap())).unwrap();
    let (name, _) = store.publish(&sample::snapshot(None, None)).unwrap();
    let others = [
        SnapshotName { source: "other".into(), ..name.clone() },
        SnapshotName { sequence: name.sequence + 1, ..name.clone() },
        SnapshotName { id: SnapshotId::of(b"other"), ..name.clone() },
    ];
    for other in others {
        copy(name.object(), other.object());
        let read = store.snapshot(&other);
        assert!(matches!(read, Err(Error::Corrupt { .. })), "{other}: {read:?}");
    }
    let drill = store.add_drill(&Drill::sample("lab", at(100))).unwrap();
    let others = [
        DrillName { source: "other".into(), ..drill.clone() },
        DrillName { finished: drill.finished + 1, ..drill.clone() },
    ];
    for other in others {
        copy(drill.object(), other.object());
        assert!(matches!(store.drill(&other), Err(Error::Corrupt { .. })), "{other:?}");
    }
    let first = store.add_check(&check(100, None, Depth::All)).unwrap();
    let later = CheckName { time: first.time + 1, ..first.clone() };
    copy(first.object(), later.object());
    assert!(matches!(store.check_record(&later), Err(Error::Corrupt { .. })));
    assert!(store.snapshot(&name).is_ok() && store.drill(&drill).is_ok() && store.check_record(&first).is_ok());
}

#[test]
fn names_of_other_objects_are_not_taken_for_documents() {
    let backend = new();
    let store = open(&backend);
    let (name, _) = store.publish(&sample::snapshot(None, None)).unwrap();
    let drill = store.add_drill(&Drill::sample("lab", at(100))).unwrap();
    for object in [name.object(), drill.object()] {
        for other in [format!("{object}/x"), object.replace("lab/", "lab/x/"), object.replacen('-', "0-", 1)] {
            assert_ne!(other, object);
            assert!(SnapshotName::parse(&other).is_none() && DrillName::parse(&other).is_none(), "{other}");
        }
    }
    assert_eq!(SnapshotName::parse(&name.object()), Some(name));
    assert_eq!(DrillName::parse(&drill.object()), Some(drill));
}

#[test]
fn a_record_that_cannot_be_read_proves_nothing() {
    let backend = new();
    let store = open(&backend);
    let damage = |object: &str| backend.put(object, Payload::Bytes(b"damaged")).unwrap();
    // Checks that read no less are not replaced by later ones that read less.
    store.add_check(&check(100, Some(4), Depth::All)).unwrap();
    let newest = store.add_check(&check(200, Some(5), Depth::Structure)).unwrap();
    assert_eq!(store.last_check_number().unwrap(), 5);
    damage(&newest.object());
    assert_eq!(store.last_check_number().unwrap(), 4);
    // Of two drills in one second the one with later nanoseconds is the last; one that cannot be read comes first.
    let drill = |secs: i64, nanos: u32| {
        let mut drill = Drill::sample("lab", at(secs));
        drill.finished.nanos = nanos;
        store.add_drill(&drill).unwrap()
    };
    let same = [7, 3, 9, 1, 5].map(|nanos| (nanos, drill(100, nanos)));
    let order = || store.drill_names("lab").unwrap();
    let mut expected: Vec<_> = same.to_vec();
    expected.sort_by_key(|(nanos, _)| *nanos);
    assert_eq!(order(), expected.iter().map(|(_, name)| name.clone()).collect::<Vec<_>>());
    assert_eq!(store.last_drill("lab", at(1000)).unwrap().unwrap().0, expected[4].1.id);
    damage(&expected[4].1.object());
    assert_eq!(order()[0], expected[4].1);
    assert_eq!(store.last_drill("lab", at(1000)).unwrap().unwrap().0, expected[3].1.id);
    let later = drill(200, 0);
    damage(&later.object());
    assert_eq!(store.last_drill("lab", at(1000)).unwrap().unwrap().0, expected[3].1.id);
    assert!(store.last_drill("other", at(1000)).unwrap().is_none());
}
