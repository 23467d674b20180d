//! `lrl prune`: live data reads as before and space is freed, whatever happens on the way.

// A log says what could not be tried here, and how many states were.
#![allow(clippy::print_stdout)]

use std::collections::BTreeMap;
use std::fs;
use std::process::{Command, Stdio};

use crate::common::{Lab, noise, sha256};
use crate::faults::{each_kill_point, killed};
use crate::helpers::{Disk, Seen, assert_same, files_with, look, there_is};

type Contents = BTreeMap<String, (String, BTreeMap<Vec<u8>, Seen>)>;

/// Changes rows, replaces an upload, adds one and removes one, and backs up.
fn step(lab: &Lab, n: u64) {
    lab.database()
        .execute("UPDATE content_items SET body = hex(randomblob(400)) WHERE id = ?1", [(n % 20) as i64])
        .unwrap();
    lab.write("data/assets/changes", noise(50_000, n));
    lab.write(format!("data/assets/new/{n}"), noise(3000, n + 500));
    let _ = fs::remove_file(lab.path(format!("data/assets/new/{}", n.wrapping_sub(3))));
    lab.lrl("backup --snapshot-only").expect(0);
}

/// Restores every snapshot elsewhere, and returns what is there then.
fn contents(lab: &Lab) -> Contents {
    let document = lab.lrl("snapshots --json").expect(0).json();
    let mut all = BTreeMap::new();
    for snapshot in document["snapshots"].as_array().unwrap() {
        let id = snapshot["id"].as_str().unwrap();
        lab.lrl(&format!("restore {id} --data-dir each")).expect(0);
        let database = sha256(&fs::read(lab.path("each/lrl.db")).unwrap());
        all.insert(id.to_string(), (database, look(&lab.path("each/assets"))));
        fs::remove_dir_all(lab.path("each")).unwrap();
    }
    all
}

#[track_caller]
fn assert_kept(now: &Contents, before: &Contents) {
    for (id, (database, uploads)) in now {
        let (right, right_uploads) = &before[id];
        assert_eq!(database, right, "{id}");
        assert_same(uploads, right_uploads, id);
    }
}

fn pack_bytes(lab: &Lab) -> u64 {
    let packs = files_with(&lab.path("backups/store"), "packs/");
    packs.iter().map(|pack| fs::metadata(pack).unwrap().len()).sum()
}

#[test]
fn what_is_kept_restores_exactly_and_the_rest_becomes_free() {
    let lab = Lab::small();
    (0..14).for_each(|n| step(&lab, n));
    let (right, before) = (contents(&lab), pack_bytes(&lab));
    let plan = lab.lrl("forget --keep-last 3 --prune --max-unused 0 --dry-run --json").expect(0).json();
    assert_eq!((contents(&lab).len(), pack_bytes(&lab)), (14, before), "a dry run changes nothing");
    assert_eq!(plan["removed"], 11);
    let done = lab.lrl("forget --keep-last 3 --prune --max-unused 0 --json").expect(0).json();
    assert_eq!(done["prune"]["snapshots"], plan["prune"]["snapshots"]);
    let freed = done["prune"]["freed_bytes"].as_u64().unwrap();
    // What storing deltas in full comes to is known only then.
    let planned = plan["prune"]["freed_bytes"].as_u64().unwrap();
    assert!(planned.abs_diff(freed) < freed / 10, "{planned} planned, {freed} given back");
    assert!(done["prune"]["full"]["chunks"].as_u64().unwrap() > 0);
    assert_eq!(before - pack_bytes(&lab), freed);
    assert!(freed > 11 * 50_000, "{freed} of {before}");
    let now = contents(&lab);
    assert_eq!(now.len(), 3);
    assert_kept(&now, &right);
    let run = lab.lrl("check --read-data").expect(0);
    assert!(!run.stdout.contains("note"), "{}", run.stdout);
    // What the cache knows still holds, and only the index says what there is.
    std::thread::sleep(std::time::Duration::from_millis(3100));
    lab.lrl("backup --snapshot-only").expect(0);
    let run = lab.lrl("backup --snapshot-only --json").expect(0);
    assert!(run.stderr.is_empty(), "{}", run.stderr);
    assert_eq!(run.json()["uploads_read"]["files_read"], 0);
    assert!(run.json()["added_bytes"].as_u64().unwrap() < 2048, "{}", run.stdout);
    let again = lab.lrl("prune --json").expect(0).json();
    assert_eq!((&again["success"], &again["dead"]["count"], &again["missing"]), (&true.into(), &0.into(), &0.into()));
}

#[test]
fn contents_that_were_pruned_are_stored_again_whatever_the_cache_knows() {
    let lab = Lab::small();
    step(&lab, 1);
    lab.write("data/assets/late", noise(90_000, 77));
    lab.database().execute("DELETE FROM users", []).unwrap();
    std::thread::sleep(std::time::Duration::from_millis(3100));
    lab.lrl("backup --snapshot-only").expect(0);
    lab.lrl("backup --snapshot-only").expect(0);
    lab.lrl("forget latest latest~1 --force --prune --max-unused 0").expect(0);
    lab.lrl("check --read-data").expect(0);
    lab.lrl("backup").expect(0);
    lab.lrl("check --read-data").expect(0);
    lab.lrl("drill").expect(0);
    lab.lrl("restore --data-dir new").expect(0);
    assert_same(&look(&lab.path("new/assets")), &look(&lab.path("data/assets")), "restored");
}

#[test]
fn a_full_disk_is_pruned() {
    let lab = Lab::small();
    let Some(_disk) = Disk::mount(lab.path("backups"), "24m") else { return };
    for n in 0..6 {
        lab.write("data/assets/large", noise(1_500_000, n));
        step(&lab, n);
    }
    let right = contents(&lab);
    let fill = lab.path("backups/fill");
    let _ = Command::new("dd").args(["if=/dev/zero", "bs=4k"]).arg(format!("of={}", fill.display())).output();
    lab.write("data/assets/large", noise(1_500_000, 99));
    assert_ne!(lab.lrl("backup --snapshot-only").code, 0, "there is no room");
    let before = pack_bytes(&lab);
    lab.lrl("forget --keep-last 1").expect(0);
    lab.lrl("prune").expect(0);
    assert!(pack_bytes(&lab) + 5_000_000 < before, "{before} {}", pack_bytes(&lab));
    lab.lrl("check --read-data").expect(0);
    assert_kept(&contents(&lab), &right);
    lab.lrl("prune --max-unused 0").expect(0);
    lab.lrl("backup --snapshot-only").expect(0);
    lab.lrl("check --read-data").expect(0);
}

#[test]
fn a_kill_at_any_change_of_the_disk_leaves_every_snapshot_whole() {
    if !there_is("strace") {
        return;
    }
    let lab = Lab::small();
    (0..7).for_each(|n| step(&lab, n));
    lab.lrl("forget --keep-last 2").expect(0);
    let right = contents(&lab);
    fs::rename(lab.path("backups"), lab.path("worn")).unwrap();
    let points = each_kill_point(|call, n| {
        let _ = fs::remove_dir_all(lab.path("backups"));
        assert!(
            Command::new("cp").args(["-a", "worn", "backups"]).current_dir(lab.path("")).status().unwrap().success()
        );
        let was_killed = killed(&lab, "prune --max-unused 0", call, n);
        lab.lrl("check --read-data").expect(0);
        assert_kept(&contents(&lab), &right);
        if was_killed {
            lab.lrl("backup --snapshot-only").expect(0);
            lab.lrl("prune --max-unused 0").expect(0);
            lab.lrl("check --read-data").expect(0);
        }
        was_killed
    });
    assert!(points > 5, "{points} kill points");
    println!("{points} kill points of prune");
}

#[test]
fn backups_and_prunes_at_once_wait_for_each_other() {
    let lab = Lab::small();
    (0..3).for_each(|n| step(&lab, n));
    for round in 0..4u64 {
        lab.write(format!("data/assets/round/{round}"), noise(200_000, round));
        let lines = [
            "backup --snapshot-only",
            "forget --keep-last 2 --prune",
            "backup --snapshot-only --source two",
            "prune --max-unused 0",
        ];
        let start =
            |line: &&str| lab.command(line.split(' ')).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let running: Vec<_> = lines.iter().map(start).collect();
        for (child, line) in running.into_iter().zip(lines) {
            let output = child.wait_with_output().unwrap();
            assert_eq!(output.status.code(), Some(0), "{line}: {}", String::from_utf8_lossy(&output.stderr));
        }
    }
    lab.lrl("check --read-data").expect(0);
    lab.lrl("backup --snapshot-only").expect(0);
    lab.lrl("drill --snapshot latest").expect(0);
}

#[test]
fn random_kills_of_prunes_and_backups_lose_nothing() {
    let lab = Lab::small();
    (0..3).for_each(|n| step(&lab, n));
    let mut kills = 0;
    for round in 0..10u64 {
        lab.write(format!("data/assets/round/{round}"), noise(150_000, round));
        for line in ["backup --snapshot-only", "forget --keep-last 3 --prune --max-unused 0"] {
            let mut child = lab.command(line.split(' ')).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
            std::thread::sleep(std::time::Duration::from_millis(4 + round * 7 % 45));
            let _ = child.kill();
            kills += u32::from(child.wait().unwrap().code().is_none());
        }
        lab.lrl("check --read-data").expect(0);
    }
    lab.lrl("backup --snapshot-only").expect(0);
    lab.lrl("prune").expect(0);
    lab.lrl("restore --data-dir new").expect(0);
    assert_same(&look(&lab.path("new/assets")), &look(&lab.path("data/assets")), "restored");
    println!("{kills} of 20 runs were killed");
}

#[test]
fn in_doubt_nothing_is_deleted_and_the_exit_code_says_so() {
    let lab = Lab::small();
    (0..3).for_each(|n| step(&lab, n));
    lab.lrl("forget --keep-last 1").expect(0);
    let store = lab.path("backups/store");
    let count = || files_with(&store, "packs/").len();
    let (before, index) = (count(), files_with(&store, "index/").remove(0));
    lab.write("backups/store/packs/readme.txt", b"who put this here?");
    let run = lab.lrl("prune").expect(1);
    assert!(run.stderr.contains("packs/readme.txt") && run.stderr.contains("nothing was pruned"), "{}", run.stderr);
    fs::remove_file(store.join("packs/readme.txt")).unwrap();
    let mut bytes = fs::read(&index).unwrap();
    bytes[100] ^= 1;
    fs::write(&index, &bytes).unwrap();
    let document = lab.lrl("prune --json").expect(1).json();
    assert_eq!((&document["success"], &document["error"]["kind"]), (&false.into(), &"refused".into()));
    assert_eq!(count(), before);
    // What the message says helps.
    fs::remove_file(&index).unwrap();
    lab.lrl("prune").expect(0);
    lab.lrl("check --read-data").expect(0);
    lab.lrl("drill --snapshot latest").expect(0);
}
