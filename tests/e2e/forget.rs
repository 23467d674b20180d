//! `lrl forget`: which snapshots are removed, which never are, and when it refuses.

use std::fs;

use serde_json::Value;

use crate::common::Lab;
use crate::python_sets::write_with_python;

/// Returns what `lrl snapshots` lists, oldest first: the timestamps.
fn listed(lab: &Lab) -> Vec<String> {
    let document = lab.lrl("snapshots --json").expect(0).json();
    let stamps = document["snapshots"].as_array().unwrap().iter().map(|s| s["timestamp"].as_str().unwrap().to_string());
    stamps.collect()
}

fn actions(document: &Value) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().unwrap().to_string();
    let all = document["snapshots"].as_array().unwrap().iter();
    all.map(|s| (text(&s["timestamp"]), text(&s["action"]))).collect()
}

/// A lab with snapshots of several days and months.
fn lab_with_days() -> Lab {
    let lab = Lab::small();
    for (n, stamp) in [
        "20251120_020000",
        "20251231_020000",
        "20260110_020000",
        "20260110_140000",
        "20260111_020000",
        "20260112_020000",
    ]
    .iter()
    .enumerate()
    {
        lab.write("data/assets/changes", format!("{n}"));
        write_with_python(&lab, "old", stamp);
    }
    lab.lrl("import old --backup backups --store backups/store").expect(0);
    lab
}

#[test]
fn a_policy_says_what_it_would_do_and_then_does_just_that() {
    let lab = lab_with_days();
    let line = "forget --store backups/store --keep-daily 3 --keep-monthly 2";
    let before = listed(&lab);
    assert_eq!(before.len(), 6);
    let plan = lab.lrl(&format!("{line} --dry-run --json")).expect(0).json();
    assert_eq!(listed(&lab), before, "a dry run changes nothing");
    let kept = ["20251231_020000", "20260110_140000", "20260111_020000", "20260112_020000"];
    let expected: Vec<_> = before
        .iter()
        .map(|s| (s.clone(), if kept.contains(&s.as_str()) { "keep" } else { "remove" }.to_string()))
        .collect();
    assert_eq!(actions(&plan), expected);
    assert_eq!((&plan["kept"], &plan["removed"], &plan["dry_run"]), (&4.into(), &2.into(), &true.into()));
    assert_eq!(plan["snapshots"][1]["reasons"], serde_json::json!(["monthly"]));
    let text = lab.lrl(&format!("{line} --dry-run")).expect(0).stdout;
    assert!(
        text.contains("Dry run: 2 snapshots would be removed, 4 kept.") && text.contains("daily, monthly"),
        "{text}"
    );
    let done = lab.lrl(&format!("{line} --json")).expect(0).json();
    assert_eq!(actions(&done), expected);
    assert_eq!(listed(&lab), kept);
    lab.lrl(line).expect(0);
    assert_eq!(listed(&lab), kept, "a second time removes nothing");
    assert!(fs::read_dir(lab.path("old")).unwrap().count() == 18, "sets stay");
}

#[test]
fn a_policy_that_would_leave_nothing_is_refused() {
    let lab = Lab::small();
    lab.lrl("backup --snapshot-only --tag weekly").expect(0);
    lab.lrl("backup --snapshot-only").expect(0);
    lab.lrl("backup --snapshot-only --source other").expect(0);
    let before = listed(&lab);
    for no_rule in ["forget", "forget --keep-bad-within 1d"] {
        assert!(lab.lrl(no_rule).expect(2).stderr.contains("needs a policy that keeps something"), "{no_rule}");
    }
    let run = lab.lrl("forget --keep-tag wekly --source lab").expect(1);
    assert!(run.stderr.contains("keeps none of the 2 snapshots of source `lab`"), "{}", run.stderr);
    // Both sources, before anything is removed from one.
    let run = lab.lrl("forget --keep-tag weekly").expect(1);
    assert!(run.stderr.contains("`other`"), "{}", run.stderr);
    assert_eq!(listed(&lab), before);
    lab.lrl("forget --keep-tag weekly --source lab").expect(0);
    assert_eq!(listed(&lab), before, "the tagged one, and the newest of each part");
}

#[test]
fn the_newest_that_passed_a_drill_stays_unless_forced() {
    let lab = Lab::small();
    (0..2).for_each(|_| drop(lab.lrl("backup --snapshot-only").expect(0)));
    lab.lrl("drill --snapshot latest").expect(0);
    (0..2).for_each(|_| drop(lab.lrl("backup --snapshot-only").expect(0)));
    let before = listed(&lab);
    let run = lab.lrl("forget --keep-last 1").expect(0);
    assert!(run.stdout.contains("newest that passed a drill"), "{}", run.stdout);
    assert_eq!(listed(&lab), [before[1].clone(), before[3].clone()]);
    let run = lab.lrl(&format!("forget {}", before[1])).expect(1);
    assert!(run.stderr.contains("--force"), "{}", run.stderr);
    // A record that cannot be read may name another.
    let records = lab.path("backups/store/drills/lab");
    let record = fs::read_dir(&records).unwrap().next().unwrap().unwrap().path();
    let good = fs::read(&record).unwrap();
    fs::write(&record, b"{}").unwrap();
    let run = lab.lrl("forget --keep-last 1").expect(1);
    assert!(run.stderr.contains("drills/lab/"), "{}", run.stderr);
    fs::write(&record, good).unwrap();
    lab.lrl("forget --keep-last 1 --force").expect(0);
    assert_eq!(listed(&lab), before[3..]);
    assert!(record.exists(), "records of drills stay");
}

#[test]
fn named_snapshots_go_but_not_the_last_of_a_half() {
    let lab = Lab::small();
    lab.lrl("backup --snapshot-only").expect(0);
    lab.lrl("backup --snapshot-only --assets-only").expect(0);
    lab.lrl("backup --snapshot-only --db-only").expect(0);
    lab.lrl("backup --snapshot-only --db-only").expect(0);
    let before = listed(&lab);
    for (name, why) in [("latest", "newest database"), (&before[1], "newest uploads")] {
        let run = lab.lrl(&format!("forget {name}")).expect(1);
        assert!(run.stderr.contains(why) && run.stderr.contains("--force"), "{}", run.stderr);
    }
    lab.lrl("forget no-such").expect(1);
    assert_eq!(listed(&lab), before);
    lab.lrl(&format!("forget latest~1 {}", before[0])).expect(0);
    assert_eq!(listed(&lab), [before[1].clone(), before[3].clone()]);
    lab.lrl("forget latest --force").expect(0);
    assert_eq!(listed(&lab), before[1..2]);
    lab.lrl("forget latest --force --prune").expect(0);
    assert!(listed(&lab).is_empty());
    lab.lrl("backup").expect(0);
    lab.lrl("drill --snapshot latest").expect(0);
    lab.lrl("check --read-data").expect(0);
}

#[test]
fn one_that_cannot_be_read_stops_policies_and_can_be_given_up() {
    let lab = Lab::small();
    (0..3).for_each(|_| drop(lab.lrl("backup --snapshot-only").expect(0)));
    let document = lab.lrl("snapshots --json").expect(0).json();
    let id = document["snapshots"][0]["id"].as_str().unwrap().to_string();
    fs::write(lab.path(format!("backups/store/snapshots/lab/{:016x}-{id}", 1)), b"{}").unwrap();
    let left = || fs::read_dir(lab.path("backups/store/snapshots/lab")).unwrap().count();
    for line in ["forget --keep-last 1", "forget --keep-last 1 --force", "prune", "prune --dry-run"] {
        let run = lab.lrl(line).expect(1);
        assert!(run.stderr.contains(&id) && run.stderr.contains("--force"), "{line}: {}", run.stderr);
    }
    lab.lrl(&format!("forget {id}")).expect(1);
    assert_eq!(left(), 3);
    lab.lrl("forget latest~1").expect(0);
    lab.lrl(&format!("forget {id} --force")).expect(0);
    assert_eq!(left(), 1);
    lab.lrl("prune").expect(0);
}

#[test]
fn a_source_that_was_mistyped_is_told_and_an_empty_store_has_nothing_to_forget() {
    let lab = Lab::small();
    lab.lrl("init").expect(0);
    lab.lrl("forget --keep-last 1 --source other").expect(0);
    lab.lrl("backup --snapshot-only").expect(0);
    let run = lab.lrl("forget --keep-last 1 --source labb").expect(1);
    assert!(run.stderr.contains("`labb`") && run.stderr.contains("some of lab"), "{}", run.stderr);
}
