//! What the next run does about a damaged store, and what it says about a source that is not as it was.

use std::fs;
use std::path::PathBuf;

use crate::common::{Lab, noise};

/// Returns every pack of the lab's store.
fn packs(lab: &Lab) -> Vec<PathBuf> {
    let mut packs = Vec::new();
    for dir in fs::read_dir(lab.path("backups/store/packs")).unwrap() {
        packs.extend(fs::read_dir(dir.unwrap().path()).unwrap().map(|pack| pack.unwrap().path()));
    }
    packs
}

/// Flips a bit in about every chunk of every pack; lengths and directories stay.
fn flip_bits(lab: &Lab) {
    for pack in packs(lab) {
        let mut bytes = fs::read(&pack).unwrap();
        for at in (64..bytes.len() * 3 / 4).step_by(999) {
            bytes[at] ^= 0x10;
        }
        fs::write(&pack, bytes).unwrap();
    }
}

#[test]
fn lost_packs_are_stored_again_by_a_rescan() {
    let lab = Lab::small();
    lab.run(["backup"]).expect(0);
    packs(&lab).iter().for_each(|pack| fs::remove_file(pack).unwrap());
    lab.run(["drill", "--snapshot", "latest"]).expect(4);
    lab.run(["backup", "--rescan"]).expect(0);
    lab.run(["drill", "--snapshot", "latest"]).expect(0);
    lab.run(["check", "--read-data"]).expect(0);
}

#[test]
fn flipped_bits_are_stored_again_by_a_rescan() {
    let lab = Lab::small();
    lab.run(["backup", "--snapshot-only"]).expect(0);
    flip_bits(&lab);
    lab.run(["drill", "--snapshot", "latest"]).expect(4);
    lab.run(["backup", "--snapshot-only", "--rescan"]).expect(0);
    lab.run(["drill", "--snapshot", "latest"]).expect(0);
}

#[test]
fn damage_that_the_archive_shows_is_healed_in_the_same_run() {
    let lab = Lab::small();
    lab.upload("ef56/v1.bin", &noise(300_000, 7));
    lab.run(["backup", "--snapshot-only"]).expect(0);
    flip_bits(&lab);
    lab.run(["backup"]).expect(0);
    lab.run(["drill", "--snapshot", "latest"]).expect(0);
    lab.run(["drill"]).expect(0);
}

#[test]
fn a_database_without_a_readable_schema_is_no_success_the_second_time_either() {
    let lab = Lab::small();
    let path = lab.path("data/lrl.db");
    let mut bytes = fs::read(&path).unwrap();
    bytes[100..400].fill(0xff);
    fs::write(&path, bytes).unwrap();
    std::thread::sleep(std::time::Duration::from_millis(3100));
    lab.run(["backup"]).expect(3);
    lab.run(["backup"]).expect(3);
}

#[test]
fn uploads_that_are_all_gone_are_mentioned() {
    let lab = Lab::small();
    lab.run(["backup"]).expect(0);
    fs::rename(lab.path("data/assets"), lab.path("elsewhere")).unwrap();
    fs::create_dir(lab.path("data/assets")).unwrap();
    let run = lab.run(["backup"]).expect(0);
    assert!(run.stderr.contains("is its disk mounted?"), "{}", run.stderr);
}

#[test]
fn a_damaged_snapshot_does_not_hide_another_that_is_named_by_its_time() {
    let lab = Lab::small();
    let first = lab.run(["backup", "--json"]).expect(0).json();
    let second = lab.run(["backup", "--json"]).expect(0).json();
    let id = first["snapshot"].as_str().unwrap();
    fs::write(lab.path(format!("backups/store/snapshots/lab/{:016x}-{id}", 1)), b"{}").unwrap();
    lab.run(["ls", second["timestamp"].as_str().unwrap()]).expect(0);
    let run = lab.run(["ls", first["timestamp"].as_str().unwrap()]).expect(1);
    assert!(run.stderr.contains(id), "{}", run.stderr);
}

#[test]
fn a_store_whose_making_was_killed_is_made() {
    let lab = Lab::small();
    lab.write("backups/store/lock", "");
    lab.write("backups/store/.tmp-killed", "{");
    lab.run(["backup"]).expect(0);
}
