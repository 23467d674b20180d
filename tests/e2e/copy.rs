//! `lrl copy` and `lrl backup --copy-to`: between directories and buckets, killed and resumed, and without a network.

use std::fs;
use std::process::Stdio;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::bucket::{Bucket, Fault, KEY};
use crate::common::{Lab, noise, sha256};

/// A lab that reaches the bucket, its own store being the usual one.
fn lab_beside(bucket: &Bucket) -> Lab {
    let mut lab = Lab::small();
    lab.set("AWS_ACCESS_KEY_ID", KEY);
    lab.set("AWS_SECRET_ACCESS_KEY", "secret");
    lab.lrl(&format!("init --no-encryption --store {}", bucket.url("copy"))).expect(0);
    bucket.take_log();
    lab
}

/// Changes a few rows and an upload, and backs up; returns what the lab holds.
fn step(lab: &Lab, n: u64, flags: &str) -> (String, Vec<u8>) {
    let change = "UPDATE content_items SET body = ?1 WHERE id = ?2";
    let body = format!("{{\"text\":\"step {n}\"}}").repeat(30);
    lab.database().execute(change, (body, (n % 20) as i64)).unwrap();
    let upload = noise(900, n + 100);
    lab.upload(&format!("new/{n}.bin"), &upload);
    lab.lrl(&format!("backup --snapshot-only {flags}")).expect(0);
    (format!("new/{n}.bin"), upload)
}

fn snapshots(lab: &Lab, store: &str) -> Vec<Value> {
    let found = lab.lrl(&format!("snapshots --json --store {store}")).expect(0).json();
    found["snapshots"].as_array().unwrap().clone()
}

/// Restores a snapshot of a store and returns a digest of the database and of all uploads.
fn restored(lab: &Lab, store: &str, snapshot: &str, to: &str) -> Vec<(String, String)> {
    let _ = fs::remove_dir_all(lab.path(to));
    lab.lrl(&format!("restore {snapshot} --force --data-dir {to} --store {store}")).expect(0);
    let mut found = Vec::new();
    let mut waiting = vec![lab.path(to)];
    while let Some(dir) = waiting.pop() {
        for entry in fs::read_dir(dir).unwrap().map(Result::unwrap) {
            let path = entry.path();
            let name = path.strip_prefix(lab.path(to)).unwrap().display().to_string();
            match path.is_dir() {
                true => waiting.push(path),
                false if name.starts_with(".lrl") || name.contains(".lock") => {}
                false => found.push((name, sha256(&fs::read(&path).unwrap()))),
            }
        }
    }
    found.sort();
    assert!(found.iter().any(|(name, _)| name == "lrl.db") && found.len() > 3, "{found:?}");
    found
}

fn size_of(lab: &Lab, dir: &str) -> u64 {
    let mut waiting = vec![lab.path(dir)];
    let mut bytes = 0;
    while let Some(dir) = waiting.pop() {
        for entry in fs::read_dir(dir).unwrap().map(Result::unwrap) {
            match entry.path().is_dir() {
                true => waiting.push(entry.path()),
                false => bytes += entry.metadata().unwrap().len(),
            }
        }
    }
    bytes
}

#[test]
fn a_history_is_copied_between_directories_and_restored_byte_for_byte() {
    let lab = Lab::small();
    (0..30).for_each(|n| _ = step(&lab, n, ""));
    let dry = lab.lrl("copy --from backups/store --to there --dry-run").expect(10);
    assert!(dry.stderr.contains("there"), "{}", dry.stderr);
    let run = lab.lrl("copy --from backups/store --to there --json").expect(0).json();
    assert_eq!((run["success"].as_bool(), run["copied"].as_array().unwrap().len()), (Some(true), 30), "{run:#}");
    assert_eq!(run["copied"][29]["copy"]["sequence"], 30);
    let (before, after) = (size_of(&lab, "backups/store/packs"), size_of(&lab, "there/packs"));
    assert!(after < before + before / 20, "{before} became {after}");
    lab.lrl("check --read-data --store there").expect(0);
    for snapshot in ["latest", "latest~13", "latest~29"] {
        assert_eq!(restored(&lab, "backups/store", snapshot, "one"), restored(&lab, "there", snapshot, "two"));
    }
    let stamps = |store| snapshots(&lab, store).iter().map(|s| s["timestamp"].to_string()).collect::<Vec<_>>();
    assert_eq!(stamps("backups/store"), stamps("there"));
    // The set of a copied snapshot is the one that the first store would make.
    lab.lrl("export latest --out set-one").expect(0);
    lab.lrl("export latest --out set-two --store there").expect(0);
    let archive = |set: &str| {
        let found = fs::read_dir(lab.path(set)).unwrap().map(|entry| entry.unwrap().path());
        fs::read(found.into_iter().find(|path| path.to_string_lossy().ends_with(".tar.gz")).unwrap()).unwrap()
    };
    assert!(archive("set-one") == archive("set-two"));

    let again = lab.lrl("copy --from backups/store --to there --json").expect(0).json();
    assert_eq!((again["copied"].as_array().unwrap().len(), again["already_there"].as_u64()), (0, Some(30)));
    assert_eq!(again["added_bytes"], 0);
    // The copy is a store like any other: a backup into it goes on where it is.
    lab.lrl("backup --snapshot-only --store there").expect(0);
    assert_eq!(snapshots(&lab, "there").len(), 31);
    let back = lab.lrl("copy --from there --json").expect(0).json();
    assert_eq!((back["copied"].as_array().unwrap().len(), back["already_there"].as_u64()), (1, Some(30)), "{back:#}");
}

#[test]
fn named_snapshots_and_sources_are_copied_and_others_are_not() {
    let lab = Lab::small();
    (0..3).for_each(|n| _ = step(&lab, n, ""));
    lab.lrl("backup --snapshot-only --source other").expect(0);
    let dry = lab.lrl("copy --from backups/store --store there --dry-run").expect(10);
    assert!(!lab.path("there").exists(), "{}", dry.stderr);
    lab.lrl("copy --from backups/store --store there latest~1").expect(0);
    assert_eq!(snapshots(&lab, "there").len(), 1);
    let dry = lab.lrl("copy --from backups/store --store there --dry-run").expect(0);
    assert!(dry.stdout.contains("3 snapshots would be copied, 1 already there"), "{}", dry.stdout);
    lab.lrl("copy --from backups/store --store there --source other").expect(0);
    assert_eq!(snapshots(&lab, "there").len(), 2);
    let run = lab.lrl("copy --from backups/store --store there").expect(0);
    assert!(run.stdout.contains("2 snapshots copied to there, 2 already there"), "{}", run.stdout);
    // Whichever came first, the history is in order.
    let lab_only: Vec<Value> = snapshots(&lab, "there").into_iter().filter(|s| s["source"] == "lab").collect();
    assert_eq!(lab_only.iter().map(|s| s["sequence"].as_u64().unwrap()).collect::<Vec<_>>(), [1, 2, 3]);
    assert!(lab.lrl("copy --from backups/store nonsense --store there").expect(1).stderr.contains("nonsense"));
    assert!(lab.lrl("copy --from backups/store --to backups/../backups/store").expect(1).stderr.contains("another"));
    lab.lrl("copy --from nowhere --store there").expect(10);
    lab.lrl("copy --to there").expect(2);
    lab.lrl("copy --from backups/store --to there --limit-upload 0").expect(2);
}

#[test]
fn a_bucket_gets_what_is_missing_in_few_requests_and_gives_it_back() {
    let bucket = Bucket::start();
    let lab = lab_beside(&bucket);
    lab.upload("large.bin", &noise(7 << 20, 3));
    (0..3).for_each(|n| _ = step(&lab, n, ""));
    let to = bucket.url("copy");
    lab.lrl(&format!("copy --from backups/store --to {to} --limit-upload 200M")).expect(0);
    let log = bucket.take_log();
    let written = log.iter().filter(|line| line.starts_with("PUT") || line.starts_with("POST")).count();
    // Three snapshots, three indexes, three packs, the first of them in parts.
    assert!(written <= 12, "{log:#?}");
    assert!(!log.iter().any(|line| line.starts_with("GET") && line.contains("/packs/")), "{log:#?}");
    lab.lrl(&format!("check --read-data --store {to}")).expect(0);
    assert_eq!(restored(&lab, "backups/store", "latest", "one"), restored(&lab, &to, "latest", "two"));

    bucket.take_log();
    lab.lrl(&format!("copy --from backups/store --to {to}")).expect(0);
    let log = bucket.take_log();
    assert!(log.len() <= 6 && !log.iter().any(|line| !line.starts_with("GET")), "{log:#?}");
    // And back, on a machine that has nothing.
    let mut fresh = Lab::empty();
    fresh.set("AWS_ACCESS_KEY_ID", KEY);
    fresh.set("AWS_SECRET_ACCESS_KEY", "secret");
    fresh.lrl(&format!("copy --from {to}")).expect(0);
    fresh.lrl("check --read-data").expect(0);
    assert_eq!(restored(&lab, &to, "latest~2", "two"), restored(&fresh, "backups/store", "latest~2", "three"));
}

#[test]
fn a_copy_that_is_killed_goes_on_where_it_was() {
    let bucket = Bucket::start();
    let lab = lab_beside(&bucket);
    (0..6).for_each(|n| _ = step(&lab, n, ""));
    let to = bucket.url("copy");
    let mut last = 0;
    for round in 0..40 {
        // Another request each time is the one that never ends.
        let mut left = 2 + round;
        bucket.fault(move |method, target| {
            let counts = method == "PUT" && !target.contains("config");
            left -= i32::from(counts);
            (counts && left < 0).then_some(Fault::Hangs)
        });
        let mut run = lab.command(["copy", "--from", "backups/store", "--to", &to]);
        let mut child = run.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let since = Instant::now();
        let ended = loop {
            if let Some(status) = child.try_wait().unwrap() {
                break status.success();
            }
            // Long enough for what does not hang, on any machine: what hangs is seen in the log.
            if bucket.hanging() > 0 || since.elapsed() > Duration::from_secs(60) {
                child.kill().unwrap();
                child.wait().unwrap();
                break false;
            }
            std::thread::sleep(Duration::from_millis(5));
        };
        bucket.no_fault();
        let there = snapshots(&lab, &to).len();
        assert!(there >= last, "{there} of {last}");
        last = there;
        lab.lrl(&format!("check --read-data --store {to}")).expect(0);
        if ended {
            break;
        }
        bucket.change(|objects| {
            // What is listed is not sent a second time: a new pack would have another name, or none.
            assert!(objects.keys().filter(|name| name.contains("/packs/")).count() <= 12);
        });
    }
    assert_eq!(last, 6);
    assert_eq!(restored(&lab, "backups/store", "latest", "one"), restored(&lab, &to, "latest", "two"));
}

#[test]
fn a_damaged_snapshot_is_named_and_the_others_are_copied() {
    let lab = Lab::small();
    step(&lab, 0, "");
    // The second snapshot alone has this upload.
    lab.upload("alone.bin", &noise(40_000, 9));
    step(&lab, 1, "");
    fs::remove_file(lab.path("data/assets/alone.bin")).unwrap();
    step(&lab, 2, "");
    let before = snapshots(&lab, "backups/store");
    let id = before.iter().find(|s| s["sequence"] == 2).unwrap()["id"].as_str().unwrap().to_string();
    let needle = &noise(40_000, 9)[1000..1100];
    let packs = walk(&lab, "backups/store/packs");
    let pack = packs.iter().find(|path| find(&fs::read(path).unwrap(), needle).is_some()).unwrap();
    let mut bytes = fs::read(pack).unwrap();
    let at = find(&bytes, needle).unwrap();
    bytes[at] ^= 1;
    fs::write(pack, bytes).unwrap();
    let run = lab.lrl("copy --from backups/store --to there --json").expect(3);
    let found = run.json();
    assert_eq!((found["success"].as_bool(), found["copied"].as_array().unwrap().len()), (Some(false), 2), "{found:#}");
    assert_eq!(found["failed"][0]["snapshot"], id.as_str());
    assert!(run.stderr.contains("was not copied"), "{}", run.stderr);
    lab.lrl("check --read-data --store there").expect(0);
    lab.lrl(&format!("copy --from backups/store --to elsewhere {id}")).expect(1);
}

fn walk(lab: &Lab, dir: &str) -> Vec<std::path::PathBuf> {
    let below = |dir: std::path::PathBuf| fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    below(lab.path(dir)).flat_map(below).collect()
}

fn find(bytes: &[u8], needle: &[u8]) -> Option<usize> {
    bytes.windows(needle.len()).position(|window| window == needle)
}

#[test]
fn a_second_store_has_every_backup_and_a_dead_line_costs_none() {
    let bucket = Bucket::start();
    let lab = lab_beside(&bucket);
    let to = bucket.url("copy").replace("retries=2", "retries=0");
    lab.write("lrl.toml", format!("copy-to = '{to}'\nlimit-upload = '100M'\nsnapshot-only = true\n"));
    lab.lrl("init").expect(0);
    let told = lab.lrl("status").expect(4);
    assert!(told.stdout.contains("nothing has come there yet"), "{}", told.stdout);
    let run = lab.lrl("backup").expect(0);
    assert!(run.stdout.contains("Second store: 1 snapshot copied to s3://lab-bucket/copy"), "{}", run.stdout);
    assert_eq!(snapshots(&lab, &to).len(), 1);
    let told = lab.lrl("status").expect(0);
    assert!(told.stdout.contains("Second store: s3://lab-bucket/copy has all up to number 1"), "{}", told.stdout);

    // A copy of what did not change costs what a backup of it costs.
    bucket.take_log();
    let found = lab.lrl("backup --json").expect(0).json();
    assert_eq!(found["second_store"]["copied"].as_array().unwrap().len(), 1, "{found:#}");
    let log = bucket.take_log();
    assert_eq!(log.len(), 5, "{log:#?}");

    // The line is dead; the backup is not.
    bucket.fault(|_, _| Some(Fault::Gone));
    for n in 0..2 {
        let run = {
            lab.upload(&format!("dead/{n}.bin"), &noise(500, n));
            lab.lrl("backup")
        }
        .expect(5);
        assert!(run.stderr.contains("the backup itself is good"), "{}", run.stderr);
        assert!(run.stdout.contains("Backup completed successfully!"), "{}", run.stdout);
    }
    let found = lab.lrl("backup --json").expect(5).json();
    assert_eq!(
        (found["success"].as_bool(), found["second_store"]["error"]["kind"].as_str()),
        (Some(false), Some("remote"))
    );
    assert_eq!(snapshots(&lab, "backups/store").len(), 5);
    let told = lab.lrl("status --json").expect(0).json();
    assert_eq!(
        (told["copies"][0]["sequence"].as_u64(), told["copies"][0]["behind"].as_u64()),
        (Some(2), Some(3)),
        "{told:#}"
    );
    lab.lrl("backup --if-older-than 20h").expect(5);
    bucket.no_fault();
    // Also a run that has nothing to back up catches up.
    let found = lab.lrl("backup --if-older-than 20h --json").expect(0).json();
    assert_eq!(found["second_store"]["copied"].as_array().unwrap().len(), 3, "{found:#}");
    assert_eq!(snapshots(&lab, &to).len(), 5);
    lab.lrl(&format!("check --read-data --store {to}")).expect(0);
    assert_eq!(restored(&lab, "backups/store", "latest", "one"), restored(&lab, &to, "latest", "two"));
    assert_eq!(lab.lrl("status --json").expect(0).json()["copies"][0]["behind"], 0);
}

#[test]
fn what_the_other_store_has_lost_is_sent_again() {
    let bucket = Bucket::start();
    let lab = lab_beside(&bucket);
    let to = bucket.url("copy");
    lab.lrl("init --store disk").expect(0);
    (0..3).for_each(|n| _ = step(&lab, n, ""));
    for place in [to.as_str(), "disk"] {
        lab.lrl(&format!("copy --from backups/store --to {place}")).expect(0);
    }
    bucket.change(|objects| {
        let packs = objects.iter().filter(|(name, _)| name.contains("/packs/"));
        let largest = packs.max_by_key(|(_, bytes)| bytes.len()).unwrap().0.clone();
        objects.remove(&largest);
    });
    let largest = walk(&lab, "disk/packs").into_iter().max_by_key(|path| path.metadata().unwrap().len()).unwrap();
    fs::remove_file(largest).unwrap();
    step(&lab, 3, "--copy-to disk");
    for place in [to.as_str(), "disk"] {
        lab.lrl(&format!("check --store {place}")).expect(4);
        let run = lab.lrl(&format!("copy --from backups/store --to {place}")).expect(0);
        assert!(run.stdout.contains("had lost it"), "{}", run.stdout);
        for snapshot in ["latest", "latest~3"] {
            assert_eq!(restored(&lab, "backups/store", snapshot, "one"), restored(&lab, place, snapshot, "two"));
        }
        let again = lab.lrl(&format!("copy --from backups/store --to {place} --json")).expect(0).json();
        assert_eq!(again["added_bytes"], 0);
    }
    // What an index lists in vain goes with the next prune.
    lab.lrl("prune --store disk").expect(0);
    lab.lrl("check --read-data --store disk").expect(0);
}

#[test]
fn two_runs_do_not_send_the_same_twice() {
    let bucket = Bucket::start();
    let lab = lab_beside(&bucket);
    let to = bucket.url("copy");
    lab.lrl("backup --snapshot-only").expect(0);
    bucket.fault(|method, target| (method == "PUT" && target.contains("/packs/")).then_some(Fault::Hangs));
    let mut run = lab.command(["copy", "--from", "backups/store", "--to", &to]);
    let mut child = run.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    while bucket.hanging() == 0 {
        assert!(child.try_wait().unwrap().is_none());
        std::thread::sleep(Duration::from_millis(5));
    }
    let run = lab.lrl(&format!("backup --snapshot-only --copy-to {to} --lock-wait 0"));
    assert!(run.expect(5).stderr.contains("locked by another process"));
    let run = lab.lrl(&format!("copy --from backups/store --to {to} --lock-wait 0"));
    run.expect(11);
    child.kill().unwrap();
    child.wait().unwrap();
    bucket.no_fault();
    // No lock outlives its process.
    let found = lab.lrl(&format!("backup --snapshot-only --copy-to {to} --lock-wait 0 --json")).expect(0).json();
    assert_eq!(found["second_store"]["copied"].as_array().unwrap().len(), 3);

    lab.lrl("init --store disk").expect(0);
    let held = fs::File::create(lab.path("disk/lock-lab")).unwrap();
    held.lock().unwrap();
    lab.lrl("copy --from backups/store --to disk --lock-wait 0").expect(11);
    lab.lrl("copy --from backups/store --to disk --lock-wait 0 --dry-run").expect(0);
}

#[test]
fn a_second_store_that_is_not_there_is_not_made() {
    let lab = Lab::small();
    let run = lab.lrl("backup --copy-to usb/store").expect(5);
    assert!(run.stderr.contains("there is no store at usb/store") && run.stderr.contains("init"), "{}", run.stderr);
    assert!(run.stdout.contains("Manifest: "), "{}", run.stdout);
    assert!(!lab.path("usb").exists());
    lab.lrl("init --store usb/store").expect(0);
    lab.lrl("backup --copy-to usb/store").expect(0);
    assert_eq!(snapshots(&lab, "usb/store").len(), 2);
    lab.lrl("drill --snapshot latest --store usb/store").expect(0);
    lab.lrl("backup --copy-to gopher://there").expect(2);
    // Machines that are lost begin anew: their newest is the newest in the copy as well.
    ["backups", "state"].iter().for_each(|name| fs::remove_dir_all(lab.path(name)).unwrap());
    std::thread::sleep(Duration::from_millis(1100));
    lab.upload("after.bin", b"after");
    lab.lrl("backup --copy-to usb/store").expect(0);
    let newest = lab.lrl("ls latest --store usb/store").expect(0);
    assert!(newest.stdout.contains("after.bin"), "{}", newest.stdout);
    assert_eq!(snapshots(&lab, "usb/store").len(), 3);
}

#[test]
fn a_limit_holds_for_objects_and_parts() {
    let bucket = Bucket::start();
    let lab = lab_beside(&bucket);
    lab.upload("large.bin", &noise(12 << 20, 3));
    lab.lrl("backup --snapshot-only").expect(0);
    let since = Instant::now();
    lab.lrl(&format!("copy --from backups/store --to {} --limit-upload 8M", bucket.url("copy"))).expect(0);
    // The first two parts, ten mebibytes, and what follows waits for them.
    assert!(since.elapsed() > Duration::from_millis(1000), "{:?}", since.elapsed());
    lab.lrl(&format!("check --read-data --store {}", bucket.url("copy"))).expect(0);
}

#[test]
fn a_bad_snapshot_is_copied_and_named() {
    let lab = Lab::small();
    lab.lrl("backup --snapshot-only").expect(0);
    fs::write(lab.path("data/lrl.db"), b"").unwrap();
    lab.lrl("backup --snapshot-only").expect(3);
    let run = lab.lrl("copy --from backups/store --to second").expect(0);
    assert!(run.stderr.contains("is unreadable, also as a copy"), "{}", run.stderr);
    assert_eq!(run.stderr.matches("also as a copy").count(), 1, "{}", run.stderr);
}
