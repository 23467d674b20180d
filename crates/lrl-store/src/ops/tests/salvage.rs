//! Exports of stores with one damaged byte, at many places: whatever it hits, the set holds nothing that is wrong, and says what it lacks.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rusqlite::Connection;

use crate::backend::Backend;
use crate::backend::local::LocalBackend;
use crate::error::Error;
use crate::fs::lock::LockMode;
use crate::fs::space::Reserve;
use crate::ops::backup::{Options, backup};
use crate::ops::tests::cases::noise;
use crate::ops::{export, restore};
use crate::progress::Silent;
use crate::set::manifest::Manifest;
use crate::store::{Store, create};

fn open(path: &Path) -> Store {
    let storage: Arc<dyn Backend> = Arc::new(<LocalBackend>::new(path));
    Store::open(storage, LockMode::Shared, Duration::ZERO, &Silent).unwrap()
}

fn files(dir: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut waiting = vec![dir.to_path_buf()];
    while let Some(next) = waiting.pop() {
        for entry in fs::read_dir(&next).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                waiting.push(path);
            } else {
                found.insert(path.strip_prefix(dir).unwrap().to_str().unwrap().into(), fs::read(&path).unwrap());
            }
        }
    }
    found
}

#[test]
fn whatever_byte_is_damaged_the_set_has_the_rest_and_says_so() {
    let place = tempfile::tempdir().unwrap();
    let at = |name: &str| place.path().join(name);
    for (path, rows) in [("site/a.db", 300), ("site/d/b.db", 50), ("site/d/c.db", 10)] {
        fs::create_dir_all(at(path).parent().unwrap()).unwrap();
        let database = Connection::open(at(path)).unwrap();
        database.execute_batch("CREATE TABLE t(n, x); BEGIN").unwrap();
        for n in 0..rows {
            database.execute("INSERT INTO t VALUES (?1, ?2)", (n, format!("{n} of {path}"))).unwrap();
        }
        database.execute_batch("COMMIT").unwrap();
    }
    // Several leaves of the list, and few contents.
    for n in 0..700 {
        let path = at(&format!("site/files/{}/file-{n}", n % 9));
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, format!("content {}", n % 5)).unwrap();
    }
    fs::write(at("site/files/noise"), noise(3, 4000)).unwrap();
    fs::hard_link(at("site/files/noise"), at("site/files/zz-same")).unwrap();
    let storage = <LocalBackend>::new(at("store"));
    storage.create().unwrap();
    create(&storage, [1; 32]).unwrap();
    let options = Options::site(&at("site"), place.path(), SystemTime::UNIX_EPOCH + Duration::from_secs(2_000_000_000));
    let options = Options { settle: Duration::ZERO, reserve: Reserve::NONE, ..options };
    let report = backup(&open(&at("store")), &options, &Silent).unwrap();
    let export = |out: &Path| {
        let options = export::Options { out, reserve: Reserve::NONE, program: "test", skip_damaged: true };
        export::export(&open(&at("store")), &report.name, report.snapshot.clone(), &options, &Silent)
    };
    let whole = export(&at("whole")).unwrap();
    assert!(whole.skipped.is_empty() && whole.copies.len() == 3);
    let live = files(&at("site"));

    let packs: Vec<_> = files(&at("store")).into_keys().filter(|name| name.starts_with("packs/")).collect();
    let (mut partial, mut nothing) = (0, 0);
    for pack in packs {
        let path = at("store").join(&pack);
        let good = fs::read(&path).unwrap();
        for flipped in (20..good.len()).step_by((good.len() / 24).max(1)) {
            let mut bad = good.clone();
            bad[flipped] ^= 0x10;
            fs::write(&path, bad).unwrap();
            let out = at("out");
            let report = match export(&out) {
                Ok(report) => report,
                Err(error) => {
                    assert!(matches!(error, Error::Refused(_)), "{pack} {flipped}: {error}");
                    assert!(!out.exists(), "{pack} {flipped}");
                    nothing += 1;
                    continue;
                }
            };
            let manifest = Manifest::read(&report.names.manifest).unwrap();
            assert_eq!(manifest.missing().is_some(), !report.skipped.is_empty(), "{pack} {flipped}");
            partial += u64::from(!report.skipped.is_empty());
            let mut how = restore::Options::new(at("restored"));
            let is_refused = restore::restore_set(&report.names.manifest, &how, &Silent).is_err();
            assert_eq!(is_refused, !report.skipped.is_empty(), "{pack} {flipped}");
            if is_refused {
                how.skip_damaged = true;
                let restored = restore::restore_set(&report.names.manifest, &how, &Silent).unwrap();
                assert_eq!((restored.skipped, restored.more_skipped), (report.skipped.clone(), 0));
            }
            let found = files(&at("restored"));
            let mut lacking = 0;
            for (path, content) in &live {
                match found.get(path) {
                    Some(found) if path.ends_with(".db") => {
                        assert_eq!(found.len(), content.len(), "{pack} {flipped}: {path}");
                    }
                    Some(found) => assert!(found == content, "{pack} {flipped}: {path}"),
                    None => lacking += 1,
                }
            }
            let skipped: u64 = report.skipped.iter().map(|skip| skip.entries).sum();
            // Directories are entries too.
            assert!(
                lacking <= skipped && (lacking > 0 || skipped == 0),
                "{pack} {flipped}: {lacking}, {:?}",
                report.skipped
            );
            for dir in ["out", "restored"] {
                fs::remove_dir_all(at(dir)).unwrap();
            }
        }
        fs::write(&path, &good).unwrap();
    }
    assert!(partial > 6, "{partial} of the exports lack something, {nothing} could not be made");
}
