//! Every flip and every truncation of every object; objects that are gone, swapped or doubled.

use std::sync::Arc;

use super::{
    EVERYTHING, Lab, STRUCTURE, assert_kept, assert_named, assert_true, back_up, contents, put, repaired, rounds,
    try_all, try_prune,
};
use crate::backend::Backend;
use crate::error::Error;
use crate::ops::check::{Report, check};
use crate::ops::repair::repair;
use crate::ops::tests::faulty::{names, twin};
use crate::progress::Silent;

/// The whole road of one damaged store: seen, named, repaired, pruned, healed.
fn judge(lab: &Lab, storage: &Arc<dyn Backend>, is_seen: bool, what: &str) {
    let before = contents(storage);
    assert_true(lab, &before, what);
    let report = match check(Arc::clone(storage), &EVERYTHING, &Silent) {
        // A format of the future cannot be judged, nor a directory that is no store.
        Err(Error::Unsupported { .. } | Error::NoStore { .. }) => return,
        other => other.unwrap_or_else(|e| panic!("{what}: {e}")),
    };
    let is_whole = lab.truth.iter().all(|(id, files)| before.get(id).is_none_or(|found| found == files));
    assert!(report.wrong || !is_seen, "{what}: not seen");
    assert!(report.wrong || is_whole, "{what}: clean, but cannot be restored");
    assert_named(lab, &report, &before, what);
    let structure = check(Arc::clone(storage), &STRUCTURE, &Silent).unwrap();
    assert!(!structure.wrong || report.wrong, "{what}: more to see with less reading");

    // The next backup that reads everything is whole, whatever the store has lost.
    let unrepaired = twin(storage);
    if let Ok(name) = back_up(&unrepaired, lab.dir.path(), 100, true) {
        let found = contents(&unrepaired);
        assert_eq!(found[&name.id].len(), 6, "{what}: backed up without a repair");
        assert_kept(&before, &found, what);
    }

    let done = match repair(Arc::clone(storage), &EVERYTHING, &Silent) {
        // No document is left that shows what the config said; or an object is of a later format.
        Err(Error::Refused(_)) if before.is_empty() => return,
        Err(Error::Unsupported { .. }) => return,
        other => other.unwrap_or_else(|e| panic!("{what}: {e}")),
    };
    let after = contents(storage);
    assert_true(lab, &after, what);
    assert_kept(&before, &after, &format!("{what}, repaired"));
    assert_eq!(done.left.wrong, !done.left.lost.is_empty(), "{what}, repaired: {:#?}", done.left.findings);
    assert_named(lab, &done.left, &after, &format!("{what}, repaired"));
    let objects = names(storage, "");
    let again = repaired(storage, &EVERYTHING, what);
    assert_eq!(names(storage, ""), objects, "{what}, repaired again: {again:#?}");
    assert!(
        again.moved.is_empty() && again.renamed.is_empty() && again.left.lost == done.left.lost,
        "{what}: {again:#?}"
    );
    match try_prune(&twin(storage)) {
        Ok(stayed) => assert_eq!(stayed, 0, "{what}: nothing in it is damaged any more"),
        // What lies below a node that is lost cannot be told.
        Err(error @ Error::Refused(_)) if !done.left.lost.is_empty() => {
            assert!(error.to_string().contains("nothing was pruned"), "{what}: {error}");
        }
        Err(error) => panic!("{what}: {error}"),
    }

    // The next backup needs to be told nothing: it is whole, and so is all of which the source has the contents.
    let name = back_up(storage, lab.dir.path(), 200, false).unwrap_or_else(|e| panic!("{what}: {e}"));
    if is_seen {
        assert_eq!(name.sequence, 4, "{what}: a number is used once");
    }
    let healed = contents(storage);
    assert_true(lab, &healed, what);
    assert_kept(&after, &healed, &format!("{what}, healed"));
    assert_eq!(healed[&name.id].len(), 6, "{what}: the new snapshot is whole");
    for (id, files) in healed.iter().filter(|(id, _)| lab.truth.contains_key(*id)) {
        let list_is_there = lab.is_newest(id) || files.keys().any(|path| path != b"lrl.db");
        for (path, digest) in lab.truth[id].iter().filter(|(_, digest)| lab.has(digest) && list_is_there) {
            let shown = String::from_utf8_lossy(path);
            let is_there = files.get(path) == Some(digest);
            // The file's own entry may stand in a node that only the source of that time had.
            assert!(is_there || !lab.is_newest(id), "{what}: {shown} of {} is not healed", id.short());
        }
    }
    let last = repaired(storage, &EVERYTHING, &format!("{what}, healed"));
    assert_named(lab, &last.left, &healed, &format!("{what}, healed"));
    let is_whole = healed.iter().all(|(id, files)| lab.truth.get(id).is_none_or(|truth| truth == files));
    assert_eq!(last.left.wrong, !is_whole, "{what}, healed: {:#?}", last.left.findings);
    if is_whole {
        assert!(names(storage, "repairs").is_empty(), "{what}: nothing is lost any more");
        assert_eq!(try_prune(storage).unwrap_or_else(|e| panic!("{what}: {e}")), 0, "{what}");
        assert_eq!(contents(storage), healed, "{what}, pruned");
        assert!(!check(Arc::clone(storage), &EVERYTHING, &Silent).unwrap().wrong, "{what}, pruned");
    }
}

#[test]
fn every_flip_and_every_truncation_of_every_object() {
    let lab = Lab::new();
    let mut damages = Vec::new();
    for name in names(&lab.storage, "") {
        let sound = lab.storage.read(&name).unwrap();
        let step = if rounds() { 1 } else { (sound.len() / 8).max(1) };
        for at in (0..sound.len()).step_by(step).chain([sound.len() - 1]) {
            let mut flipped = sound.clone();
            flipped[at] ^= 1 << (at % 8);
            damages.push((name.clone(), format!("flipped at {at}"), flipped));
            damages.push((name.clone(), format!("cut at {at}"), sound[..at].to_vec()));
        }
        damages.push((name.clone(), "longer".into(), [&sound[..], b"more"].concat()));
        damages.push((name.clone(), "empty".into(), Vec::new()));
    }
    assert!(damages.len() > 180, "{}", damages.len());
    try_all(&damages, "damaged objects", |(name, what, bytes)| {
        let storage = twin(&lab.storage);
        put(&storage, name, bytes);
        let report = check(Arc::clone(&storage), &EVERYTHING, &Silent);
        let is_named =
            |report: &Report| report.findings.iter().any(|found| found.wrong && found.object.contains(name.as_str()));
        match &report {
            Ok(report) => assert!(is_named(report), "{name} {what}: {:#?}", report.findings),
            Err(error) => assert!(error.to_string().contains(name.as_str()), "{name} {what}: {error}"),
        }
        judge(&lab, &storage, true, &format!("{name} {what}"));
    });
}

#[test]
fn objects_that_are_gone_swapped_or_doubled_alone_and_in_pairs() {
    let lab = Lab::new();
    let objects = names(&lab.storage, "");
    // What is done, and the new bytes of each object; none if it goes.
    type Changes = Vec<(String, Option<Vec<u8>>)>;
    let mut damages: Vec<(String, Changes)> = Vec::new();
    let read = |name: &str| lab.storage.read(name).unwrap();
    for (n, one) in objects.iter().enumerate() {
        damages.push((format!("{one} is gone"), vec![(one.clone(), None)]));
        damages.push((
            format!("{one} has another name"),
            vec![(one.clone(), None), (format!("{one}.bak"), Some(read(one)))],
        ));
        damages.push((format!("{one} has a second name"), vec![(format!("{one}.bak"), Some(read(one)))]));
        for (m, other) in objects.iter().enumerate().filter(|(m, _)| *m != n) {
            damages.push((format!("{one} instead of {other}"), vec![(other.clone(), Some(read(one)))]));
            if m > n {
                damages.push((format!("{one} and {other} are gone"), vec![(one.clone(), None), (other.clone(), None)]));
                let swapped = vec![(one.clone(), Some(read(other))), (other.clone(), Some(read(one)))];
                damages.push((format!("{one} and {other} are swapped"), swapped));
                let mut flipped = [read(one), read(other)];
                for (n, bytes) in flipped.iter_mut().enumerate() {
                    let at = bytes.len() * (n + 1) / 3;
                    bytes[at] ^= 4;
                }
                let [first, second] = flipped;
                let both = vec![(one.clone(), Some(first)), (other.clone(), Some(second))];
                damages.push((format!("{one} and {other} are flipped"), both));
            }
        }
    }
    assert!(damages.len() > 250, "{}", damages.len());
    try_all(&damages, "combinations of objects", |(what, changes)| {
        let storage = twin(&lab.storage);
        for (name, bytes) in changes {
            match bytes {
                Some(bytes) => put(&storage, name, bytes),
                None => storage.remove(name).unwrap(),
            }
        }
        judge(&lab, &storage, false, what);
        let swapped_pack = what.ends_with("swapped") && what.matches("packs/").count() == 2;
        let swapped_snapshot = what.ends_with("swapped") && what.matches("snapshots/").count() == 2;
        if swapped_pack || swapped_snapshot || what.ends_with("another name") && !what.starts_with("config") {
            let found = contents(&storage);
            let all = lab.truth.iter().all(|(id, files)| found.get(id) == Some(files));
            assert!(all, "{what}: nothing was damaged but names");
        }
    });
}
