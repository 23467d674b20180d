//! `lrl import`: sets of the old scripts become snapshots; each is verified, none is changed.

use std::fs;

use serde_json::json;

use crate::common::Lab;
use crate::python_sets::{change, drill_with_python, manifests, state, write_with_python};

/// A lab with three sets in `old/`; the second has one row and one upload more than the first, the third another.
fn history() -> Lab {
    let lab = Lab::small();
    write_with_python(&lab, "./old", "20260114_120000");
    lab.upload("ef56/late.txt", b"late");
    write_with_python(&lab, "./old", "20260115_120000");
    lab.upload("ef56/later.txt", b"later");
    write_with_python(&lab, "./old", "20260116_120000");
    lab
}

#[test]
fn nothing_to_import_makes_no_store() {
    let lab = Lab::empty();
    lab.write("old/notes.txt", "no set");
    let run = lab.lrl("import old").expect(1);
    assert!(run.stderr.contains("No manifest found in old"), "{}", run.stderr);
    assert!(lab.lrl("import nowhere").expect(10).stderr.contains("no directory of sets at nowhere"));
    assert!(!lab.path("backups").exists());
}

#[test]
fn sets_become_snapshots_with_their_own_times_and_little_more() {
    let lab = history();
    let before = state(&lab.path("old"));
    let document = lab.lrl("import old --json").expect(0).json();
    let imported = document["imported"].as_array().unwrap();
    assert_eq!(imported.len(), 3, "{document:#}");
    assert_eq!(imported[0]["timestamp"], "20260114_120000");
    assert_eq!(imported[2]["created"], "2026-01-16T12:00:00.25Z");
    assert_eq!(imported[2]["sequence"], 3);
    // The second holds 75 KB of uploads and a database of 40 KB, nearly all of it known.
    assert!(imported[1]["added_bytes"].as_u64().unwrap() < 8_000, "{document:#}");
    assert_eq!(state(&lab.path("old")), before);
    let names: Vec<_> = fs::read_dir(lab.path("backups")).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(names, ["store"], "nothing but the store is left");
    for snapshot in ["20260114_120000", "20260115_120000", "latest"] {
        let drill = lab.lrl(&format!("drill --snapshot {snapshot} --json")).expect(0).json();
        assert_eq!(drill["success"], true, "{drill:#}");
    }
    let again = lab.lrl("import old --json").expect(0).json();
    assert_eq!((again["imported"].as_array().unwrap().len(), again["already_there"].as_array().unwrap().len()), (0, 3));
}

#[test]
fn a_later_backup_finds_everything_known() {
    let lab = history();
    lab.lrl("import old").expect(0);
    let document = lab.lrl("backup --json").expect(0).json();
    assert_eq!(document["sequence"], 4);
    let manifest = manifests(&lab, "backups").remove(0);
    assert_eq!(drill_with_python(&lab, &manifest), Ok(()));
    assert!(document["added_bytes"].as_u64().unwrap() < 8_000, "{document:#}");
}

#[test]
fn a_damaged_set_is_named_and_the_others_are_kept() {
    let lab = history();
    change(&lab, "old/lrl_assets_20260115_120000.tar.gz", |bytes| bytes[60] ^= 4);
    fs::remove_file(lab.path("old/lrl_db_20260116_120000.sqlite")).unwrap();
    lab.write("old/backup_manifest_20260117_120000.json", "[".repeat(1 << 20));
    lab.write("old/backup_manifest_20269917_120000.json", json!({"timestamp_utc": "x", "backups": []}).to_string());
    let run = lab.lrl("import old --json").expect(3);
    let document = run.json();
    assert_eq!(document["imported"].as_array().unwrap().len(), 1, "{document:#}");
    assert_eq!(document["failed"].as_array().unwrap().len(), 4, "{document:#}");
    assert!(run.stderr.contains("20260115_120000.tar.gz"), "{}", run.stderr);
    assert!(run.stderr.contains("File not found: lrl_db_20260116_120000.sqlite"), "{}", run.stderr);
}

#[test]
fn a_set_without_its_digest_is_held_to_sqlite_and_gzip() {
    let lab = history();
    for stamp in ["20260114_120000", "20260115_120000", "20260116_120000"] {
        change(&lab, format!("old/backup_manifest_{stamp}.json"), |bytes| {
            let mut value: serde_json::Value = serde_json::from_slice(bytes).unwrap();
            for entry in value["backups"].as_array_mut().unwrap() {
                entry.as_object_mut().unwrap().remove("sha256");
            }
            *bytes = value.to_string().into_bytes();
        });
    }
    change(&lab, "old/lrl_db_20260115_120000.sqlite", |bytes| bytes[..16].fill(0));
    change(&lab, "old/lrl_assets_20260116_120000.tar.gz", |bytes| {
        let end = bytes.len() - 6;
        bytes[end] ^= 1;
    });
    let document = lab.lrl("import old --json").expect(3).json();
    assert_eq!(document["imported"].as_array().unwrap().len(), 1, "{document:#}");
}

#[test]
fn an_older_set_never_becomes_the_latest_snapshot() {
    let lab = history();
    lab.lrl("backup").expect(0);
    let run = lab.lrl("import old").expect(1);
    assert!(run.stderr.contains("--source NAME"), "{}", run.stderr);
    lab.lrl("import old --source before").expect(0);
    let document = lab.lrl("drill --snapshot latest --source before --json").expect(0).json();
    assert_eq!(document["sets"][0]["timestamp"], "20260116_120000");
}

#[test]
fn there_must_be_something_to_import() {
    let lab = Lab::small();
    lab.lrl("import nowhere").expect(10);
    fs::create_dir(lab.path("empty")).unwrap();
    let run = lab.lrl("import empty").expect(1);
    assert!(run.stderr.contains("No manifest found in empty"), "{}", run.stderr);
}
