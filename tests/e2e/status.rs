//! `lrl status` and `lrl backup --if-older-than`: how old the last good backup is.

use std::fs;

use serde_json::Value;

use crate::common::Lab;
use crate::python_sets::write_with_python;

fn status(lab: &Lab, flags: &str, code: i32) -> Value {
    lab.lrl(&format!("status --json {flags}")).expect(code).json()
}

#[test]
fn the_age_of_backup_and_drill_is_told() {
    let lab = Lab::small();
    lab.lrl("status").expect(10);
    lab.lrl("backup").expect(0);
    let found = status(&lab, "--max-age 1h", 0);
    assert_eq!(found["snapshots"], 1);
    assert!(found["age_seconds"].as_u64().unwrap() < 60, "{found:#}");
    assert!(found["last_passed_drill"].is_null());
    lab.lrl("drill").expect(0);
    let found = status(&lab, "", 0);
    assert_eq!(found["last_passed_drill"]["passed"], true, "{found:#}");
    let run = lab.lrl("status").expect(0);
    assert!(run.stdout.contains("\nLast good backup: ") && run.stdout.contains(", snapshot "), "{}", run.stdout);
    assert!(run.stdout.contains("\nLast passed drill: ") && run.stdout.contains(", of 2"), "{}", run.stdout);
    std::thread::sleep(std::time::Duration::from_millis(2100));
    let late = lab.lrl("status --max-age 1s").expect(4);
    assert!(late.stderr.contains("more than 1 s"), "{}", late.stderr);
    status(&lab, "--source other", 4);
}

#[test]
fn each_half_must_be_young() {
    let lab = Lab::small();
    write_with_python(&lab, "./old", "20200101_000000");
    lab.lrl("import old").expect(0);
    status(&lab, "", 0);
    status(&lab, "--max-age 26h", 4);
    lab.lrl("backup --db-only").expect(0);
    let found = status(&lab, "--max-age 26h", 4);
    assert!(found["database"]["age_seconds"].as_u64().unwrap() < 60, "{found:#}");
    lab.lrl("backup --assets-only").expect(0);
    status(&lab, "--max-age 26h", 0);
}

#[test]
fn a_snapshot_that_lacks_something_is_not_good() {
    let lab = Lab::small();
    fs::remove_dir_all(lab.path("data/assets")).unwrap();
    lab.lrl("backup").expect(3);
    let found = status(&lab, "", 4);
    assert!(found["last_good_backup"].is_null(), "{found:#}");
    lab.lrl("backup --if-older-than 20h").expect(3);
    assert_eq!(status(&lab, "", 4)["snapshots"], 2);
}

#[test]
fn the_half_that_no_good_backup_holds_is_named() {
    let lab = Lab::small();
    fs::rename(lab.path("data/lrl.db"), lab.path("away")).unwrap();
    lab.lrl("backup").expect(3);
    assert_eq!(status(&lab, "", 4)["error"], "there is no good backup");
    fs::rename(lab.path("away"), lab.path("data/lrl.db")).unwrap();
    lab.lrl("backup --db-only").expect(0);
    // The uploads of the first are good by themselves.
    assert!(status(&lab, "", 0)["error"].is_null());
    lab.lrl("backup --assets-only").expect(0);
    assert!(status(&lab, "", 0)["error"].is_null());
}

#[test]
fn a_failed_drill_is_told_and_does_not_count() {
    let lab = Lab::small();
    lab.lrl("backup").expect(0);
    lab.lrl("drill --require-table nothing").expect(4);
    let found = status(&lab, "", 4);
    assert!(found["last_passed_drill"].is_null(), "{found:#}");
    assert_eq!(found["last_drill"]["failed_checks"][0], "database: schema_valid");
    assert!(lab.lrl("status").expect(4).stdout.contains("Last drill FAILED"));
}

#[test]
fn a_young_snapshot_makes_the_backup_a_no_op() {
    let lab = Lab::small();
    lab.lrl("backup --if-older-than 20h").expect(0);
    let before = fs::read_dir(lab.path("backups")).unwrap().count();
    let run = lab.lrl("backup --if-older-than 20h").expect(0);
    assert!(run.stdout.starts_with("Nothing to do: snapshot ") && run.stdout.ends_with(" old\n"), "{}", run.stdout);
    let document = lab.lrl("backup --if-older-than 20h --json").expect(0).json();
    assert_eq!((&document["success"], &document["skipped"]), (&true.into(), &true.into()));
    assert_eq!(fs::read_dir(lab.path("backups")).unwrap().count(), before);
    // Neither an old one nor the other part counts.
    lab.lrl("backup --if-older-than 0").expect(0);
    assert_eq!(status(&lab, "", 0)["snapshots"], 2);
    let lab = Lab::small();
    lab.lrl("backup --db-only").expect(0);
    assert!(lab.lrl("backup --if-older-than 20h --db-only").expect(0).stdout.contains("Nothing to do"));
    assert!(!lab.lrl("backup --if-older-than 20h").expect(0).stdout.contains("Nothing to do"));
    lab.lrl("backup --if-older-than 20h --data-dir nowhere").expect(10);
}
