//! `lrl check --repair` of a store in a bucket: what is damaged goes into quarantine, what is good stays, the next backup heals, and no prune
//! runs beside it.

use crate::bucket::{Bucket, KEY};
use crate::common::{Lab, noise};

fn lab(bucket: &Bucket) -> Lab {
    lab_of(bucket, "init --no-encryption")
}

fn lab_of(bucket: &Bucket, init: &str) -> Lab {
    let mut lab = Lab::small();
    if init.contains("--encrypt") {
        lab.lrl("key make-file key").expect(0);
        lab.set("LRL_KEY_FILE", "key");
    }
    lab.set("LRL_STORE", &bucket.url("history/one"));
    lab.set("AWS_ACCESS_KEY_ID", KEY);
    lab.set("AWS_SECRET_ACCESS_KEY", "secret");
    lab.lrl(init).expect(0);
    for n in 0..2 {
        lab.upload(&format!("new-{n}.bin"), &noise(90_000, n));
        lab.lrl("backup --snapshot-only").expect(0);
    }
    lab
}

/// Flips a bit in the middle of one object whose name has this word.
fn flip(bucket: &Bucket, word: &str) -> String {
    let name = bucket.names().into_iter().rfind(|name| name.contains(word)).unwrap();
    let changed = name.clone();
    bucket.change(move |objects| {
        let bytes = objects.get_mut(&changed).unwrap();
        let at = bytes.len() / 2;
        bytes[at] ^= 4;
    });
    name
}

#[test]
fn a_damaged_pack_in_a_bucket_is_set_aside_and_the_next_backup_heals() {
    for init in ["init --no-encryption", "init --encrypt"] {
        heals(init);
    }
}

fn heals(init: &str) {
    let bucket = Bucket::start();
    let lab = lab_of(&bucket, init);
    let pack = flip(&bucket, "/packs/");
    let found = lab.lrl("check --read-data").expect(4);
    assert!(found.stderr.contains("`lrl check --read-data --repair`"), "{}", found.stderr);
    let run = lab.lrl("check --read-data --repair").expect(4);
    assert!(run.stdout.contains("Moved out of the way"), "{}", run.stdout);
    let names = bucket.names();
    assert!(!names.contains(&pack), "{names:?}");
    assert!(names.iter().any(|name| name.contains("/quarantine/packs/")), "{names:?}");
    assert!(!names.iter().any(|name| name.contains("/claims/")), "the lease has ended: {names:?}");
    let healed = lab.lrl("backup --snapshot-only").expect(0);
    assert!(!healed.stderr.contains("somebody removed it"), "{}", healed.stderr);
    lab.lrl("check --read-data").expect(0);
    lab.lrl("check --read-data --repair").expect(0);
    lab.lrl("drill --all").expect(0);
}

#[test]
fn a_snapshot_that_was_set_aside_has_not_vanished() {
    let bucket = Bucket::start();
    let lab = lab(&bucket);
    flip(&bucket, "/snapshots/");
    lab.lrl("check --repair").expect(0);
    assert_eq!(lab.lrl("snapshots --json").expect(0).json()["total"], 1);
    let run = lab.lrl("backup --snapshot-only").expect(0);
    assert!(!run.stderr.contains("no longer in"), "{}", run.stderr);
    assert_eq!(lab.lrl("snapshots --json").expect(0).json()["total"], 2);
}

#[test]
fn a_repair_and_a_prune_of_a_bucket_keep_apart() {
    let bucket = Bucket::start();
    let lab = lab(&bucket);
    flip(&bucket, "/packs/");
    let lease = r#"{"format":1,"owner":"another machine (process 7)","token":"x","written":{"secs":SECS,"nanos":0}}"#;
    let now = std::time::SystemTime::now().duration_since(std::time::SystemTime::UNIX_EPOCH).unwrap().as_secs();
    let lease = lease.replace("SECS", &now.to_string());
    let name = flip(&bucket, "/config").replace("config", "claims/prune-0000000000000009");
    flip(&bucket, "/config");
    let (held, bytes) = (name.clone(), lease.into_bytes());
    bucket.change(move |objects| {
        objects.insert(held, bytes);
    });
    let before = bucket.names();
    let run = lab.lrl("check --read-data --repair --lock-wait 0").expect(11);
    assert!(run.stderr.contains("another machine (process 7)"), "{}", run.stderr);
    assert_eq!(bucket.names(), before);
    bucket.change(move |objects| {
        objects.remove(&name);
    });
    bucket.ignore_conditions();
    let run = lab.lrl("check --read-data --repair").expect(1);
    assert!(run.stderr.contains("--only-pruner"), "{}", run.stderr);
    lab.lrl("check --read-data --repair --only-pruner").expect(4);
}
