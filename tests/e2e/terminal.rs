//! What fits a terminal and what an operator reads there: the list of snapshots with its filters and its last line, and sets that outgrow
//! their store.

use std::fs;
use std::time::SystemTime;

use lrl_store::time::{Time, time_of};

use crate::common::{Lab, Run};
use crate::helpers::Disk;

/// Three snapshots: tagged, tagged twice, incomplete.
fn lab() -> Lab {
    let lab = Lab::small();
    lab.lrl("backup --snapshot-only --tag nightly").expect(0);
    lab.lrl("backup --snapshot-only --tag nightly --tag before-upgrade").expect(0);
    fs::remove_dir_all(lab.path("data/assets")).unwrap();
    lab.lrl("backup --snapshot-only").expect(3);
    lab
}

/// The last line.
fn footer(run: &Run) -> &str {
    run.stdout.lines().last().unwrap()
}

#[test]
fn the_list_fits_80_columns_and_ends_with_a_count() {
    let lab = lab();
    let long: Vec<String> = (0..12).flat_map(|n| ["--tag".to_string(), format!("a-rather-long-tag-{n}")]).collect();
    lab.run(["backup", "--snapshot-only", "--db-only"].map(String::from).into_iter().chain(long)).expect(0);
    lab.lrl("drill --snapshot good").expect(0);
    let run = lab.lrl("snapshots").expect(0);
    assert!(run.stdout.lines().all(|line| line.chars().count() <= 80), "{}", run.stdout);
    assert!(run.stdout.contains("\n          tags: nightly, before-upgrade\n"), "{}", run.stdout);
    assert_eq!(run.stdout.matches("a-rather-long-tag-").count(), 12, "{}", run.stdout);
    assert!(footer(&run).starts_with("4 snapshots: 3 good, 1 proven, the newest "), "{}", run.stdout);
    let quiet = lab.lrl("snapshots -q").expect(0);
    assert!(!quiet.stdout.contains("snapshots:"), "{}", quiet.stdout);
    let document = lab.lrl("snapshots --json --last 1").expect(0).json();
    assert_eq!((&document["total"], &document["good"], &document["proven"]), (&4.into(), &1.into(), &1.into()));
}

#[test]
fn the_last_ones_are_counted_after_the_other_filters() {
    let lab = lab();
    let listed = |flags: &str| {
        let document = lab.lrl(&format!("snapshots --json {flags}")).expect(0).json();
        let numbers = document["snapshots"].as_array().unwrap().iter().map(|one| one["sequence"].as_u64().unwrap());
        numbers.collect::<Vec<u64>>()
    };
    assert_eq!(listed("--last 1"), [3]);
    assert_eq!(listed("--last 1 --tag nightly"), [2]);
    assert_eq!(listed("--last 5 --tag before-upgrade"), [2]);
    assert_eq!(listed("--last 1 --state good"), [2]);
    assert_eq!(listed("--state incomplete"), [3]);
    for all in ["--since 1h", "--since yesterday", "--since 2020-01-01", "--since 2020-01-01T10:00 --last 3"] {
        assert_eq!(listed(all), [1, 2, 3], "{all}");
    }
    assert_eq!(listed("--since 2999-01-01"), [0; 0]);
    let run = lab.lrl("snapshots --tag nightly").expect(0);
    assert!(footer(&run).starts_with("2 of 3 snapshots shown: 2 good, 0 proven"), "{}", run.stdout);
    let run = lab.lrl("snapshots --tag no-such").expect(0);
    assert!(run.stdout.is_empty() && run.stderr.contains("none of 3 snapshots matches"), "{}", run.stderr);
    assert!(lab.lrl("snapshots --since soon").expect(2).stderr.contains("expected 36h"));
}

#[test]
fn sets_that_outgrow_the_store_are_said_with_the_day_on_which_the_disk_is_full() {
    let lab = Lab::small();
    let Some(_disk) = Disk::mount(lab.path("backups"), "400m") else { return };
    let now = time_of(SystemTime::now());
    for day in 1..=9 {
        let stamp = Time { secs: now.secs - day * 86_400, ..now }.stamp().unwrap();
        lab.write(format!("backups/lrl_db_{stamp}.sqlite"), vec![1; 4 << 20]);
        lab.write(format!("backups/backup_manifest_{stamp}.json"), "{}");
    }
    lab.lrl("init").expect(0);
    let quiet = lab.lrl("backup --keep-sets 300").expect(0);
    assert!(!quiet.stderr.contains("their disk is full on"), "{}", quiet.stderr);
    let run = lab.lrl("backup").expect(0);
    let said = |text: &str| {
        for part in
            ["11 sets take 36 MiB, the store ", "at this rate their disk is full on 20", "--keep-sets 3 ", "lrl export"]
        {
            assert!(text.contains(part), "{part}: {text}");
        }
    };
    said(&run.stderr);
    let status = lab.lrl("status").expect(0);
    said(&status.stderr);
    assert!(status.stdout.contains("Sets: 11, 36 MiB on disk"), "{}", status.stdout);
    assert!(lab.lrl("status -q").expect(0).stderr.is_empty());
    let document = lab.lrl("status --json").expect(0).json();
    assert_eq!(document["sets"]["outgrown"], true, "{document:#}");
    assert_eq!(document["sets"]["keep_sets_that_helps"], 3);
    lab.write("lrl.toml", "keep-sets = 5\n");
    let kept = lab.lrl("status").expect(0);
    assert!(!kept.stderr.contains("their disk is full"), "{}", kept.stderr);
}
