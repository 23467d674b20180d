//! Power cuts of the whole program: a real run is recorded call by call, then states that a power cut may leave are built from it, and
//! lrl runs on them. `LRL_TEST_ROUNDS=all` tries every step several times, a number tries that many states of each run; a failure prints the
//! value of `LRL_TEST_STATE` that tries that one again.

// A log says what could not be tried here, and how many states were.
#![allow(clippy::print_stdout)]

use std::collections::BTreeMap;
use std::fs;

use lrl_testing::rng::Rng;

use crate::common::{Lab, noise};
use crate::helpers::{Seen, assert_same, assert_whole, look, names, outputs, there_is};
use crate::replay::record;

type Tree = BTreeMap<Vec<u8>, Seen>;

/// What is in place in a data directory: its uploads and its database.
type Live = (Tree, Vec<u8>);

fn live(lab: &Lab, data: &str) -> Live {
    (look(&lab.path(data).join("assets")), fs::read(lab.path(data).join("lrl.db")).unwrap())
}

#[track_caller]
fn assert_live(lab: &Lab, data: &str, right: &Live) {
    let (uploads, database) = live(lab, data);
    assert_same(&uploads, &right.0, data);
    assert!(database == right.1, "{data}/lrl.db is another one");
}

/// Records a run, and tries states that a power cut during it, or right after it, may leave: `attempt` gets a lab, the seed, and whether
/// the run was over.
fn each_power_cut(name: &str, lab: &Lab, line: &str, mut attempt: impl FnMut(&Lab, u64, bool)) {
    let recording = record(lab, line);
    let states = &recording.states;
    let count = match std::env::var("LRL_TEST_ROUNDS").as_deref() {
        Ok("all") => 20 * states.len(),
        Ok(number) => number.parse().unwrap_or(12),
        Err(_) => 12,
    };
    let one = std::env::var("LRL_TEST_STATE").ok();
    let tries: Vec<(usize, u64)> = match &one {
        // The recorded run is never quite the same; its steps are.
        Some(text) => {
            let Some((step, seed)) = text.strip_prefix(&format!("{name}/")).and_then(|text| text.split_once('/'))
            else {
                return;
            };
            vec![(step.parse().unwrap(), seed.parse().unwrap())]
        }
        None => (0..count)
            .map(|i| {
                (if count < states.len() { (i + 1) * states.len() / count - 1 } else { i % states.len() }, i as u64)
            })
            .collect(),
    };
    for (step, seed) in &tries {
        let again = Again(format!("{name}/{step}/{seed}"));
        let after = states[*step].after_power_cut(&mut Rng::new(*seed));
        attempt(&recording.build(&after), *seed, step + 1 == states.len());
        drop(again);
    }
    println!("{} power cuts of {name}, of {} steps", tries.len(), states.len());
}

/// While a test fails, says how to come back.
struct Again(String);

impl Drop for Again {
    fn drop(&mut self) {
        if std::thread::panicking() {
            println!("to try this state again: LRL_TEST_STATE='{}'", self.0);
        }
    }
}

fn ids(lab: &Lab) -> Vec<String> {
    if !lab.path("backups/store/config").exists() {
        return Vec::new();
    }
    let document = lab.lrl("snapshots --json").json();
    let of = |snapshot: &serde_json::Value| snapshot["id"].as_str().unwrap().to_string();
    document["snapshots"].as_array().map(|all| all.iter().map(of).collect()).unwrap_or_default()
}

/// Changes rows, an upload and a list, as days do.
fn change(lab: &Lab, n: u64) {
    lab.upload("new/v1.bin", &noise(20_000, 50 + n));
    lab.write(format!("data/assets/day/{n}"), noise(3000, n));
    lab.database().execute("UPDATE users SET status = ?1", [n as i64]).unwrap();
}

/// Restores each listed snapshot elsewhere and compares it with what it was made of.
fn assert_snapshots(lab: &Lab, known: &BTreeMap<String, Live>) {
    for id in ids(lab) {
        lab.lrl(&format!("restore {id} --data-dir each")).expect(0);
        match known.get(&id) {
            Some(right) => assert_live(lab, "each", right),
            None => assert_live(lab, "each", &live(lab, "data")),
        }
        fs::remove_dir_all(lab.path("each")).unwrap();
    }
}

/// A lab with this many snapshots, and the data of each.
fn lab(snapshots: u64) -> (Lab, BTreeMap<String, Live>) {
    let (lab, mut known) = (Lab::small(), BTreeMap::new());
    for n in 0..snapshots {
        change(&lab, n);
        let document = lab.lrl("backup --json").expect(0).json();
        known.insert(document["snapshot"].as_str().unwrap().to_string(), live(&lab, "data"));
    }
    (lab, known)
}

#[test]
fn a_backup() {
    if !there_is("strace") {
        return;
    }
    for (name, before) in [("the first backup", 0), ("a backup", 2)] {
        let (lab, known) = lab(before);
        change(&lab, before);
        let sets = known.len();
        each_power_cut(name, &lab, "backup", |lab, _, is_over| {
            if before > 0 || is_over {
                assert_whole(lab, "backups");
                let listed = ids(lab);
                assert!(
                    known.keys().all(|id| listed.contains(id)) && listed.len() >= known.len() + usize::from(is_over)
                );
                assert!(outputs(lab, "backups", ".json").len() >= sets + usize::from(is_over));
                assert_snapshots(lab, &known);
            }
            lab.lrl("backup").expect(0);
            assert_whole(lab, "backups");
            assert_snapshots(lab, &known);
            lab.lrl("prune --max-unused 0").expect(0);
            assert_snapshots(lab, &known);
        });
    }
}

#[test]
fn forget_and_prune() {
    if !there_is("strace") {
        return;
    }
    let (lab, known) = lab(5);
    let line = "forget --keep-last 2 --prune --max-unused 0";
    let stay = ids(&lab).into_iter().rev().take(2).collect::<Vec<_>>();
    each_power_cut("forget and prune", &lab, line, |lab, _, is_over| {
        assert_whole_store(lab);
        let listed = ids(lab);
        assert!(stay.iter().all(|id| listed.contains(id)) && (!is_over || listed.len() == 2), "{listed:?}");
        assert_snapshots(lab, &known);
        lab.lrl("backup --snapshot-only").expect(0);
        lab.lrl(line).expect(0);
        assert_whole_store(lab);
        assert_snapshots(lab, &known);
    });
}

#[track_caller]
fn assert_whole_store(lab: &Lab) {
    lab.lrl("check --read-data").expect(0);
}

/// A lab whose snapshot is what `new` holds, and that has changed since; a dead application's journals lie beside its database.
fn changed() -> (Lab, Live, Live) {
    let lab = Lab::small();
    lab.lrl("backup").expect(0);
    let new = live(&lab, "data");
    change(&lab, 9);
    lab.write("data/lrl.db-wal", b"");
    let old = live(&lab, "data");
    (lab, old, new)
}

/// Each part is entirely old or new, and no database has another's journal beside it.
#[track_caller]
fn assert_old_or_new(lab: &Lab, old: &Live, new: &Live) {
    let (uploads, database) = live(lab, "data");
    let found = names(lab.path("data"));
    // Either may have changed a little: then it tells what.
    if uploads != old.0 {
        assert_same(&uploads, &new.0, &format!("{found:?}"));
    }
    assert!(database == old.1 || database == new.1, "{found:?}");
    assert!(database == old.1 || !found.contains(&"lrl.db-wal".into()), "a new database beside an old -wal: {found:?}");
}

#[test]
fn a_restore() {
    if !there_is("strace") {
        return;
    }
    let (lab, old, new) = changed();
    each_power_cut("a restore", &lab, "restore", |lab, seed, is_over| {
        assert_old_or_new(lab, &old, &new);
        if is_over {
            assert_live(lab, "data", &new);
        }
        if seed % 2 == 0 {
            lab.lrl("restore").expect(0);
            assert_live(lab, "data", &new);
            return;
        }
        let run = lab.lrl("restore --undo");
        assert!(run.code == 0 || run.stderr.contains("nothing to undo"), "{}", run.stderr);
        assert_live(lab, "data", &old);
        assert!(lab.path("data/lrl.db-wal").exists());
        lab.lrl("backup").expect(0);
        lab.lrl("restore").expect(0);
        assert_live(lab, "data", &old);
    });
}

#[test]
fn an_undo() {
    if !there_is("strace") {
        return;
    }
    let (lab, old, new) = changed();
    lab.lrl("restore").expect(0);
    each_power_cut("an undo", &lab, "restore --undo", |lab, seed, is_over| {
        assert_old_or_new(lab, &old, &new);
        if is_over {
            assert_live(lab, "data", &old);
        }
        if lab.path("data/.lrl-restore.json").exists() || seed % 2 == 0 {
            // It is finished, or was not begun: then this one does it. Of one that was over it is the way back.
            let was_done = !lab.path("data/.lrl-restore.json").exists() && live(lab, "data") == old;
            lab.lrl("restore --undo").expect(0);
            let now = live(lab, "data");
            assert!(now == old || now == new, "{:?}", names(lab.path("data")));
            assert!(!was_done || now == new);
        } else {
            lab.lrl("restore").expect(0);
            assert_live(lab, "data", &new);
        }
    });
}
