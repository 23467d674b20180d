//! Damage at any time, between backups, forgets, prunes and repairs.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use super::{
    EVERYTHING, Lab, assert_kept, assert_named, assert_true, back_up, contents, examine, put, rounds, settle, try_all,
    try_prune,
};
use crate::id::Hasher;
use crate::ops::check::check;
use crate::ops::repair::repair;
use crate::ops::tests::cases::noise;
use crate::ops::tests::faulty::names;
use crate::progress::Silent;

/// What the source holds, as it would be read from a snapshot of it.
fn of_source(dir: &Path) -> BTreeMap<Vec<u8>, [u8; 32]> {
    let digest = |path: &Path| Hasher::new().update(&std::fs::read(path).unwrap()).finish();
    let mut files = BTreeMap::from([(b"lrl.db".to_vec(), digest(&dir.join("lrl.db")))]);
    for entry in std::fs::read_dir(dir.join("assets")).unwrap() {
        let path = entry.unwrap().path();
        let name = format!("assets/{}", path.file_name().unwrap().to_str().unwrap());
        files.insert(name.into_bytes(), digest(&path));
    }
    files
}

/// A long life in which anything may be damaged at any time. Returns how many steps there were.
fn live(seed: u64, steps: u64) -> u64 {
    let mut lab = Lab::new();
    let mut x = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut pick = |of: usize| {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        (x >> 11) as usize % of.max(1)
    };
    let storage = Arc::clone(&lab.storage);
    let mut story = Vec::new();

    for step in 0..steps {
        let before = contents(&storage);
        let what = match pick(12) {
            0..=3 => {
                let all = names(&storage, "");
                let name = all[pick(all.len())].clone();
                let mut bytes = storage.read(&name).unwrap();
                match pick(4) {
                    0 if name != "config" => storage.remove(&name).unwrap(),
                    1 => put(&storage, &name, &bytes[..pick(bytes.len())]),
                    2 => put(&storage, &name, &storage.read(&all[pick(all.len())]).unwrap()),
                    _ if bytes.is_empty() => {}
                    _ => {
                        let at = pick(bytes.len());
                        bytes[at] ^= 1 << pick(8);
                        put(&storage, &name, &bytes);
                    }
                }
                format!("damage {name}")
            }
            4..=6 => {
                let assets = lab.dir.path().join("assets");
                std::fs::write(assets.join(format!("more-{}", pick(5))), noise(step + seed, 300)).unwrap();
                if pick(3) == 0 {
                    let db = rusqlite::Connection::open(lab.dir.path().join("lrl.db")).unwrap();
                    db.execute("INSERT INTO users VALUES(?, 'more')", [step as i64]).unwrap();
                }
                settle(lab.dir.path(), step);
                match back_up(&storage, lab.dir.path(), 1000 + step, pick(2) == 0) {
                    Ok(name) => {
                        lab.truth.insert(name.id, of_source(lab.dir.path()));
                        "back up".into()
                    }
                    Err(error) => format!("back up: {error}"),
                }
            }
            7 => match examine(&storage) {
                Ok(store) => {
                    let names = store.snapshot_names(None).unwrap();
                    if names.len() > 2 {
                        store.forget(&names[pick(names.len() - 1)]).unwrap();
                    }
                    "forget".into()
                }
                Err(error) => format!("forget: {error}"),
            },
            8..=9 => {
                let done = try_prune(&storage);
                assert_kept(&before, &contents(&storage), &format!("{seed}: {story:#?}, prune"));
                format!("prune: {:?}", done.err().map(|error| error.to_string()))
            }
            _ => match repair(Arc::clone(&storage), &EVERYTHING, &Silent) {
                Ok(done) => {
                    let after = contents(&storage);
                    let what = format!("{seed}: {story:#?}, repair {done:#?}");
                    assert_kept(&before, &after, &what);
                    assert_eq!(done.left.wrong, !done.left.lost.is_empty(), "{what}");
                    let name = back_up(&storage, lab.dir.path(), 1000 + step, false).unwrap();
                    lab.truth.insert(name.id, of_source(lab.dir.path()));
                    let now = contents(&storage);
                    assert_eq!(now[&name.id], lab.truth[&name.id], "{what}, backed up");
                    "repair, back up".into()
                }
                Err(error) => format!("repair: {error}"),
            },
        };
        story.push(what);
        let now = contents(&storage);
        assert_true(&lab, &now, &format!("{seed}: {story:#?}"));
        if let Ok(report) = check(Arc::clone(&storage), &EVERYTHING, &Silent) {
            assert_named(&lab, &report, &now, &format!("{seed}: {story:#?}"));
            let is_whole = now.iter().all(|(id, files)| lab.truth.get(id).is_none_or(|truth| truth == files));
            assert!(report.wrong || is_whole, "{seed}: clean, but cannot be restored: {story:#?}");
        }
    }
    steps
}

#[test]
fn damage_at_any_time_of_a_long_life() {
    let seeds: Vec<u64> = (1..if rounds() { 201 } else { 16 }).collect();
    try_all(&seeds, "lives of 25 steps", |seed| assert!(live(*seed, 25) > 0));
}
