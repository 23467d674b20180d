//! `lrl check` on damaged stores: its output and exit codes.

use std::fs;
use std::path::Path;

use crate::common::{Lab, noise};
use crate::helpers::{flip, objects};

/// A lab with two snapshots in a store of several packs.
fn lab() -> Lab {
    let lab = Lab::small();
    lab.lrl("backup --snapshot-only").expect(0);
    lab.upload("later/v1.bin", &noise(200_000, 7));
    lab.lrl("backup --snapshot-only").expect(0);
    lab
}

fn name(path: &Path) -> String {
    path.file_name().unwrap().to_str().unwrap().to_string()
}

#[test]
fn a_backup_into_a_store_that_lost_its_packs_says_so_and_is_whole() {
    let lab = Lab::small();
    lab.lrl("backup").expect(0);
    fs::remove_dir_all(lab.path("backups/store/packs")).unwrap();
    // Otherwise the very same pack is written again, and nothing is lost.
    fs::remove_dir_all(lab.path("data/assets/cd34")).unwrap();
    let run = lab.lrl("backup").expect(0);
    assert!(run.stderr.contains("is missing or cut short"), "{}", run.stderr);
    lab.lrl("check").expect(4);
    lab.lrl("restore latest~1 --data-dir old").expect(4);
    lab.lrl("restore latest~1 --data-dir old --force").expect(1);
    lab.lrl("restore --data-dir new").expect(0);
    // What is lost stays lost, and is said each time; what is stored again is not stored once more.
    std::thread::sleep(std::time::Duration::from_millis(3100));
    lab.lrl("backup --snapshot-only").expect(0);
    let run = lab.lrl("backup --snapshot-only --json").expect(0);
    assert!(run.stderr.contains("is missing or cut short"), "{}", run.stderr);
    assert_eq!(run.json()["uploads_read"]["files_read"], 0);
    assert!(run.json()["added_bytes"].as_u64().unwrap() < 2048);
}

#[test]
fn a_sound_store_is_clean() {
    let lab = lab();
    let run = lab.lrl("check").expect(0);
    assert!(run.stdout.contains("No errors found.") && run.stdout.contains("2 snapshots"), "{}", run.stdout);
    assert!(run.stdout.contains("--read-data"), "it says what it did not read: {}", run.stdout);
    let run = lab.lrl("check --read-data --json").expect(0);
    let document = run.json();
    assert_eq!(document["success"], true);
    assert_eq!(document["errors"], serde_json::json!([]));
    assert_eq!(document["checked"]["packs_read"], document["checked"]["packs"]);
    for subset in ["1/1", "100%", "1", "1%"] {
        lab.lrl(&format!("check --read-data-subset {subset}")).expect(0);
    }
    lab.lrl("check --store elsewhere").expect(10);
}

#[test]
fn a_flipped_byte_in_a_pack_names_the_files() {
    let lab = lab();
    let largest = objects(&lab, "packs").pop().unwrap();
    flip(&largest, 100_000);
    lab.lrl("check").expect(0);
    let run = lab.lrl("check --read-data").expect(4);
    assert!(run.stdout.contains(&name(&largest)) && run.stdout.contains("assets/later/v1.bin"), "{}", run.stdout);
    let document = lab.lrl("check --read-data --json").expect(4).json();
    assert_eq!(document["success"], false);
    let finding = &document["errors"][0];
    assert_eq!(finding["files"], serde_json::json!(["assets/later/v1.bin"]));
    assert_eq!(finding["snapshots"].as_array().unwrap().len(), 1, "the older snapshot does not hold it: {finding}");
    lab.lrl("dump latest assets/later/v1.bin").expect(1);
    lab.lrl("dump latest lrl.db").expect(0);
}

#[test]
fn removed_and_truncated_packs_are_seen_without_reading_data() {
    for truncate in [false, true] {
        let lab = lab();
        let largest = objects(&lab, "packs").pop().unwrap();
        if truncate {
            let bytes = fs::read(&largest).unwrap();
            fs::write(&largest, &bytes[..bytes.len() / 2]).unwrap();
        } else {
            fs::remove_file(&largest).unwrap();
        }
        let run = lab.lrl("check").expect(4);
        assert!(run.stdout.contains(&name(&largest)) && run.stdout.contains("assets and 8 more"), "{}", run.stdout);
    }
}

#[test]
fn a_lost_or_damaged_index_is_an_error_but_loses_nothing() {
    for damage in ["remove all", "remove one", "flip"] {
        let lab = lab();
        let before = lab.lrl("dump latest lrl.db").expect(0).stdout_bytes;
        let indexes = objects(&lab, "index");
        match damage {
            "remove all" => indexes.iter().for_each(|path| fs::remove_file(path).unwrap()),
            "remove one" => fs::remove_file(&indexes[0]).unwrap(),
            _ => indexes.iter().for_each(|path| flip(path, 60)),
        }
        let run = lab.lrl("check").expect(4);
        assert!(run.stdout.contains("index"), "{damage}: {}", run.stdout);
        assert!(!run.stdout.contains("files that are lost"), "{damage}: {}", run.stdout);
        assert_eq!(lab.lrl("dump latest lrl.db").expect(0).stdout_bytes, before, "{damage}");
        assert_eq!(lab.lrl("dump latest assets/later/v1.bin").expect(0).stdout_bytes, noise(200_000, 7));
        lab.lrl("export --out restored").expect(0);
        lab.lrl("backup --snapshot-only").expect(0);
    }
}

#[test]
fn a_damaged_config_or_snapshot_is_named() {
    let lab = lab();
    let snapshot = objects(&lab, "snapshots").remove(0);
    flip(&snapshot, 50);
    let run = lab.lrl("check").expect(4);
    assert!(run.stdout.contains(&name(&snapshot)), "{}", run.stdout);
    flip(&snapshot, 50);
    lab.lrl("check").expect(0);
    flip(&lab.path("backups/store/config"), 20);
    let run = lab.lrl("check --json").expect(4);
    assert!(run.json()["errors"][0]["object"].as_str().unwrap().ends_with("store/config"), "{}", run.stdout);
    assert_eq!(run.json()["checked"]["snapshots"], 2, "the rest is checked all the same");
    fs::remove_file(lab.path("backups/store/config")).unwrap();
    lab.lrl("check").expect(4);
}

#[test]
fn snapshots_that_lost_the_same_are_one_line() {
    let lab = Lab::small();
    lab.lrl("backup --snapshot-only").expect(0);
    let packs = objects(&lab, "packs");
    for n in 0..5 {
        lab.database().execute_batch(&format!("CREATE TABLE later{n}(x)")).unwrap();
        lab.lrl("backup --snapshot-only").expect(0);
    }
    packs.iter().for_each(|pack| fs::remove_file(pack).unwrap());
    let run = lab.lrl("check").expect(4);
    let lost: Vec<&str> =
        run.stdout.lines().filter(|line| line.contains("lost ") && line.starts_with(|c: char| c != ' ')).collect();
    assert!(lost.len() < 6 && lost.iter().any(|line| line.contains("have each lost")), "{}", run.stdout);
    assert_eq!(lab.lrl("check --json").expect(4).json()["lost"].as_array().unwrap().len(), 6);
}
