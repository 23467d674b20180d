//! What a backup and a watch cost in a bucket: their requests, counted. docs/OPERATIONS.md makes days of them.

use std::collections::BTreeMap;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::bucket::{Bucket, KEY};
use crate::common::Lab;

fn lab_in(bucket: &Bucket) -> Lab {
    let mut lab = Lab::small();
    lab.set("LRL_STORE", &bucket.url("cost"));
    lab.set("AWS_ACCESS_KEY_ID", KEY);
    lab.set("AWS_SECRET_ACCESS_KEY", "secret");
    lab.lrl("init --no-encryption").expect(0);
    lab
}

/// Counts requests by kind.
fn by_kind(log: &[String]) -> BTreeMap<&'static str, usize> {
    let mut counts = BTreeMap::new();
    for line in log {
        let kind = match line.split(' ').next() {
            Some("PUT") => "PUT",
            Some("GET") if line.contains("list-type") => "LIST",
            Some("GET") => "GET",
            Some("DELETE") => "DELETE",
            _ => "other",
        };
        *counts.entry(kind).or_default() += 1;
    }
    counts
}

fn change_a_row(lab: &Lab, n: usize) {
    lab.database().execute("UPDATE users SET display_name = ?1", [format!("name {n}")]).unwrap();
}

#[test]
fn a_small_backup_writes_three_objects_also_where_it_merges_indexes() {
    let bucket = Bucket::start();
    let lab = lab_in(&bucket);
    lab.lrl("backup --snapshot-only").expect(0);
    let mut merged = 0;
    for n in 0..20 {
        change_a_row(&lab, n);
        bucket.take_log();
        lab.lrl("backup --snapshot-only").expect(0);
        let log = bucket.take_log();
        let mut counts = by_kind(&log);
        merged += counts.remove("DELETE").unwrap_or_default();
        // Many runs in a few seconds are ahead of the clock, and then all snapshots are listed for a second that is free.
        let lists = counts.remove("LIST").unwrap_or_default();
        assert!((5..=6).contains(&lists), "{n}: {log:#?}");
        assert_eq!(counts, BTreeMap::from([("PUT", 3), ("GET", 1)]), "{n}: {log:#?}");
    }
    assert!(merged > 0, "twenty index files were never merged");
    let indexes = bucket.names().iter().filter(|name| name.contains("/index/")).count();
    assert!(indexes <= 16, "{indexes} index files");
    lab.lrl("check --read-data").expect(0);
}

struct Watch(Child);

impl Watch {
    fn stop(mut self) {
        kill_process(Pid::from_child(&self.0), Signal::TERM).unwrap();
        assert!(self.0.wait().unwrap().success());
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn an_idle_watch_asks_the_bucket_for_nothing() {
    let bucket = Bucket::start();
    let lab = lab_in(&bucket);
    let words = "watch --snapshot-only --quiet-for 200ms --at-most-every 200ms --at-least-every 1s";
    let mut command = lab.command(words.split(' '));
    let watch = Watch(command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap());
    let until = Instant::now() + Duration::from_secs(60);
    while !bucket.names().iter().any(|name| name.contains("/snapshots/")) {
        assert!(Instant::now() < until, "there is no snapshot");
        std::thread::sleep(Duration::from_millis(100));
    }
    std::thread::sleep(Duration::from_secs(1));
    bucket.take_log();
    // What has just changed is looked for in the source; from then on the data alone proves that nothing has.
    let mut seen = Vec::new();
    loop {
        std::thread::sleep(Duration::from_millis(3500));
        let log = bucket.take_log();
        if log.is_empty() {
            break;
        }
        seen.extend(log);
        assert!(Instant::now() < until, "the watch goes on asking: {seen:#?}");
    }
    assert_eq!(by_kind(&seen).get("PUT"), None, "{seen:#?}");
    watch.stop();
}
