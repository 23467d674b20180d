//! How the next run heals a damaged store, and what it reports about a changed source.

use std::fs;
use std::path::PathBuf;

use crate::common::{Lab, database, noise};

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
fn lost_packs_are_stored_again_by_the_next_run_of_each_source_and_part() {
    let lab = Lab::small();
    lab.write("other/assets/its-own", noise(50_000, 9));
    let back_up_both = || {
        std::thread::sleep(std::time::Duration::from_millis(3100));
        lab.lrl("backup --snapshot-only").expect(0);
        lab.lrl("backup --snapshot-only --source other --data-dir other").expect(3);
    };
    back_up_both();
    let lost = packs(&lab);
    // The newer lists stand in newer packs: nothing but the files' own bytes is lost.
    ["data", "other"].iter().for_each(|data| lab.write(format!("{data}/assets/later"), b"later"));
    back_up_both();
    lost.iter().for_each(|pack| fs::remove_file(pack).unwrap());
    // One part, then both, then the other source: what one run has healed says nothing of what it did not read.
    lab.lrl("backup --snapshot-only --db-only").expect(0);
    lab.lrl("backup --snapshot-only").expect(0);
    lab.lrl("restore latest --source lab --data-dir new").expect(0);
    lab.lrl("backup --snapshot-only --source other --data-dir other").expect(3);
    lab.lrl("restore latest --source other --assets-only --data-dir new-other").expect(0);
    // Each said it once, and then nothing is read again.
    let run = lab.lrl("backup --snapshot-only --json").expect(0).json();
    assert_eq!(
        (&run["uploads_read"]["files_read"], &database(&run)["unchanged"]),
        (&0.into(), &true.into()),
        "{run:#}"
    );
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
    for _ in 0..2 {
        let run = lab.run(["backup", "-q"]).expect(3);
        assert!(run.stderr.contains("0 files, where there were"), "{}", run.stderr);
    }
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

#[test]
fn a_lost_index_is_written_again_without_reading_the_source() {
    for all in [false, true] {
        let lab = Lab::small();
        std::thread::sleep(std::time::Duration::from_millis(3100));
        lab.run(["backup"]).expect(0);
        let older = indexes(&lab);
        lab.upload("new/v1.bin", &noise(50_000, 3));
        std::thread::sleep(std::time::Duration::from_millis(3100));
        lab.run(["backup"]).expect(0);
        let before = lab.run(["dump", "latest", "assets/new/v1.bin"]).expect(0).stdout_bytes;
        let lost: Vec<_> = indexes(&lab).into_iter().filter(|path| all || !older.contains(path)).collect();
        assert_eq!(lost.len(), if all { 2 } else { 1 });
        lost.iter().for_each(|path| fs::remove_file(path).unwrap());
        for command in [
            &["snapshots"][..],
            &["ls", "latest"],
            &["find", "*.bin"],
            &["diff", "latest~1", "latest"],
            &["stats"],
            &["status"],
            &["drill"],
            &["drill", "--snapshot", "latest"],
            &["export", "latest", "--out", "exported"],
            &["restore", "latest", "--data-dir", "restored"],
            &["backup", "--dry-run"],
        ] {
            lab.run(command).expect(0);
        }
        assert_eq!(lab.run(["dump", "latest", "assets/new/v1.bin"]).expect(0).stdout_bytes, before);
        let run = lab.run(["backup", "--json"]).expect(0);
        assert!(run.stderr.contains("an index was lost, and is written again"), "{}", run.stderr);
        let run = run.json();
        let read = (&run["uploads_read"]["files_read"], &database(&run)["unchanged"]);
        assert_eq!(read, (&0.into(), &true.into()), "{run:#}");
        lab.run(["check", "--read-data"]).expect(0);
        let run = lab.run(["backup", "--snapshot-only"]).expect(0);
        assert!(!run.stderr.contains("index"), "once is enough: {}", run.stderr);
    }
}

/// Returns every index file of the lab's store.
fn indexes(lab: &Lab) -> Vec<PathBuf> {
    let entries = fs::read_dir(lab.path("backups/store/index")).unwrap();
    entries.map(|entry| entry.unwrap().path()).collect()
}

#[test]
fn packs_that_no_snapshot_names_stay_out_of_the_index() {
    let lab = Lab::small();
    lab.run(["backup", "--snapshot-only"]).expect(0);
    let snapshots = lab.path("backups/store/snapshots");
    fs::remove_dir_all(&snapshots).unwrap();
    indexes(&lab).iter().for_each(|path| fs::remove_file(path).unwrap());
    let run = lab.run(["backup", "--snapshot-only"]).expect(0);
    assert!(!run.stderr.contains("index"), "{}", run.stderr);
    lab.run(["check", "--read-data"]).expect(0);
}
