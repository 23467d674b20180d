//! A long history, as a watch writes it: every verb that looks at all of it, within the memory that a process may take, and few objects after a
//! prune. `LRL_TEST_SNAPSHOTS` is the number of snapshots.

use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use lrl_testing::long_history::{self, Shape};

use crate::bucket::{Bucket, KEY};
use crate::common::Lab;

/// Seconds from one snapshot to the next.
const EVERY: i64 = 60;
const MOST_MIB: f64 = 64.0;

fn snapshots() -> u64 {
    std::env::var("LRL_TEST_SNAPSHOTS").ok().and_then(|number| number.parse().ok()).unwrap_or(300)
}

fn lab_with_history(snapshots: u64) -> Lab {
    let lab = Lab::empty();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs() as i64;
    let shape = Shape { snapshots, every: EVERY, newest: now - EVERY };
    long_history::write(&lab.path("data"), &lab.path("backups/store"), shape);
    lab
}

/// Runs lrl; fails if it fails, or takes more memory than it may.
#[track_caller]
#[allow(clippy::print_stdout)] // The measurement is what a long run is for.
fn run(lab: &Lab, line: &str) -> String {
    let began = Instant::now();
    let out = lab.path("out");
    let mut command = lab.command(line.split(' '));
    command.stdout(std::fs::File::create(&out).unwrap()).stderr(Stdio::inherit());
    let mut child = command.spawn().unwrap();
    // Not what the system tells of a child that has ended: that begins with what this process held.
    let mut peak: f64 = 0.0;
    let ended = loop {
        if let Some(ended) = child.try_wait().unwrap() {
            break ended;
        }
        peak = peak.max(most_memory(child.id()));
        std::thread::sleep(Duration::from_millis(2));
    };
    println!("{line:<60} {:>8.2} s {peak:>8.1} MiB", began.elapsed().as_secs_f64());
    assert!(ended.success(), "{line}: {ended}");
    assert!(peak < MOST_MIB, "{line} took {peak} MiB");
    std::fs::read_to_string(out).unwrap()
}

/// Returns the most resident memory that a process has had so far, in MiB.
fn most_memory(id: u32) -> f64 {
    let status = std::fs::read_to_string(format!("/proc/{id}/status")).unwrap_or_default();
    let is_lrl = status.lines().next().is_some_and(|line| line.ends_with("\tlrl"));
    let most = status.lines().filter(|_| is_lrl).find_map(|line| line.strip_prefix("VmHWM:"));
    most.and_then(|text| text.split_whitespace().next()?.parse::<f64>().ok()).map_or(0.0, |kib| kib / 1024.0)
}

fn change_a_row(lab: &Lab, n: u32) {
    let title = format!("title {n:>012}");
    lab.database().execute("UPDATE content_items SET title = ?1 WHERE id = 7", [title]).unwrap();
}

fn count(lab: &Lab, kind: &str) -> usize {
    let of = lab.path(Path::new("backups/store").join(kind));
    walkdir::WalkDir::new(of).into_iter().filter(|found| found.as_ref().unwrap().file_type().is_file()).count()
}

/// What a policy for a watch keeps of a history, and of the objects below it.
fn thin(lab: &Lab) {
    change_a_row(lab, 1);
    run(lab, "backup --snapshot-only");
    run(lab, "forget --keep all:1h,hourly:7d,daily:30d");
    run(lab, "prune");
}

#[test]
fn every_verb_reads_a_long_history_in_bounded_memory() {
    let many = snapshots();
    let lab = lab_with_history(many);
    assert_eq!(run(&lab, "snapshots").lines().count() as u64, many + 2);
    run(&lab, "snapshots --last 5");
    run(&lab, "snapshots --json");
    run(&lab, "status --max-age 1d");
    let half = many as i64 * EVERY / 2;
    run(&lab, &format!("ls {half}s"));
    run(&lab, &format!("restore {half}s --data-dir restored --db-only"));
    change_a_row(&lab, 0);
    run(&lab, "backup --snapshot-only");
    run(&lab, "check");
    run(&lab, "prune --dry-run");

    // All of it is needed, and in a few objects it takes less.
    run(&lab, "prune");
    assert!(count(&lab, "packs") <= 8 && count(&lab, "index") <= 2, "{} packs", count(&lab, "packs"));
    run(&lab, "check");
    thin(&lab);
    let left = count(&lab, "snapshots") as i64;
    assert!(left <= 61 + many as i64 / 60 + 3, "{left} snapshots");
    assert!(count(&lab, "packs") <= 8 && count(&lab, "index") <= 2, "{} packs", count(&lab, "packs"));
    run(&lab, "check --read-data");
}

#[test]
fn a_long_history_in_a_bucket_is_read_by_a_new_machine() {
    let many = snapshots();
    let made = lab_with_history(many);
    let bucket = Bucket::start();
    bucket.change(|objects| {
        let root = made.path("backups/store");
        for found in walkdir::WalkDir::new(&root).into_iter().map(Result::unwrap) {
            let name = found.path().strip_prefix(&root).unwrap().to_str().unwrap().to_string();
            if found.file_type().is_file() && !name.starts_with("lock") && !name.starts_with("cache") {
                objects.insert(format!("history/one/{name}"), std::fs::read(found.path()).unwrap());
            }
        }
    });
    let mut lab = made;
    std::fs::remove_dir_all(lab.path("backups")).unwrap();
    lab.set("LRL_STORE", &bucket.url("history/one"));
    lab.set("AWS_ACCESS_KEY_ID", KEY);
    lab.set("AWS_SECRET_ACCESS_KEY", "secret");
    assert_eq!(run(&lab, "snapshots").lines().count() as u64, many + 2);
    bucket.take_log();
    run(&lab, "snapshots");
    let documents = bucket.take_log().iter().filter(|line| line.starts_with("GET") && line.contains("-")).count();
    assert!(documents < 20, "what was read once is no request again: {documents}");
    run(&lab, "status --max-age 1d");
    run(&lab, "restore 1h --data-dir restored --db-only");
    change_a_row(&lab, 0);
    run(&lab, "backup --snapshot-only");
    run(&lab, "forget --keep all:1h,hourly:7d,daily:30d");
    run(&lab, "prune");
    run(&lab, "check");
}
