//! Prune of a store in a bucket: dead packs are scheduled for deletion, wait, and are deleted; two prunes do not run at once; writers and a pruner that
//! are killed at random lose nothing. `LRL_TEST_ROUNDS=all` plays 300 rounds of those, a number that many.

// A log says how many rounds and kills there were.
#![allow(clippy::print_stdout)]

use std::process::{Child, Output, Stdio};
use std::time::Duration;

use lrl_testing::rng::Rng;
use serde_json::Value;

use crate::bucket::{Bucket, KEY};
use crate::common::{Lab, Run, noise};
use crate::concurrent_writers::change;
use crate::helpers::{assert_same, look, rounds};
use crate::remote::Moto;

fn reach(lab: &mut Lab, url: &str) {
    lab.set("LRL_STORE", url);
    lab.set("AWS_ACCESS_KEY_ID", KEY);
    lab.set("AWS_SECRET_ACCESS_KEY", "secret");
}

/// A lab whose history is mostly forgotten.
fn worn(bucket: &Bucket) -> Lab {
    let mut lab = Lab::small();
    reach(&mut lab, &bucket.url("history/one"));
    lab.lrl("init --no-encryption").expect(0);
    for n in 0..4 {
        lab.upload("changing.bin", &noise(200_000, n));
        lab.upload(&format!("new-{n}.bin"), &noise(50_000, 100 + n));
        lab.lrl("backup --snapshot-only").expect(0);
    }
    lab.lrl("forget --keep-last 1").expect(0);
    lab
}

fn names(bucket: &Bucket, word: &str) -> Vec<String> {
    bucket.names().into_iter().filter(|name| name.contains(word)).collect()
}

fn count(run: &Value, what: &str) -> u64 {
    run[what]["count"].as_u64().unwrap()
}

#[test]
fn what_is_dead_is_written_down_waits_and_goes() {
    let bucket = Bucket::start();
    let lab = worn(&bucket);
    let before = bucket.names();
    let plan = lab.lrl("prune --dry-run --json").expect(0).json();
    assert!(count(&plan, "candidates") > 0 && plan["written_down"].is_null(), "{plan:#}");
    assert_eq!(bucket.names(), before, "a dry run changes nothing");

    let first = lab.lrl("prune").expect(0);
    assert!(first.stdout.contains("to be deleted later"), "{}", first.stdout);
    assert_eq!(names(&bucket, "/pending/").len(), 1);
    assert!(names(&bucket, "/claims/").is_empty());
    let packs = names(&bucket, "/packs/");
    assert!(names(&bucket, "/packs/").len() >= before.iter().filter(|name| name.contains("/packs/")).count());
    let stats = lab.lrl("stats --json").expect(0).json();
    assert!(count(&stats, "candidates") > 0, "{stats:#}");
    lab.lrl("check --read-data").expect(0);

    // The server's clock alone makes nothing older, nor does time alone, nor does a backup alone.
    bucket.pass(8 * 86_400);
    let second = lab.lrl("prune --json").expect(0).json();
    assert!(second["waiting"][0]["grace_left_seconds"].as_u64().unwrap() > 6 * 86_400, "{second:#}");
    let second = lab.lrl("prune --grace 0 --json").expect(0).json();
    assert_eq!(second["waiting"][0]["sources"]["lab"], 4, "{second:#}");
    let said = lab.lrl("prune --grace 0").expect(0);
    assert!(said.stdout.contains("a backup of lab (after its number 4)"), "{}", said.stdout);
    assert_eq!(names(&bucket, "/packs/"), packs);

    std::thread::sleep(Duration::from_millis(1100));
    bucket.take_log();
    lab.lrl("backup --snapshot-only").expect(0);
    std::thread::sleep(Duration::from_millis(1100));
    bucket.take_log();
    lab.lrl("backup --snapshot-only").expect(0);
    let log = bucket.take_log();
    assert_eq!(log.len(), 7, "unchanged, with candidates: {log:#?}");
    let plan = lab.lrl("prune --grace 0 --dry-run --json").expect(0).json();
    assert!(count(&plan, "deleted") > 0, "{plan:#}");
    let third = lab.lrl("prune --grace 0 --json").expect(0).json();
    assert_eq!(third["deleted"], plan["deleted"]);
    assert!(names(&bucket, "/packs/").len() < packs.len());
    lab.lrl("check --read-data").expect(0);

    // Packs that no snapshot names may be those of a run that has not ended, unless they are old.
    let dead = "history/one/packs/ab/".to_string() + &"ab".repeat(32);
    bucket.change(|objects| _ = objects.insert(dead.clone(), noise(1000, 9)));
    let run = lab.lrl("prune --json").expect(0).json();
    assert!(count(&run, "young") == 1 && run["written_down"].is_null(), "{run:#}");
    let run = lab.lrl("prune --grace 0 --json").expect(0).json();
    assert!(count(&run, "candidates") == 1 && run["written_down"].is_string(), "{run:#}");

    // What is left is the record of what is gone, until nobody can bring it back into the index.
    assert!(!names(&bucket, "/pending/").is_empty());
    for _ in 0..3 {
        lab.lrl("backup --snapshot-only").expect(0);
        lab.lrl("prune --grace 0").expect(0);
    }
    assert!(names(&bucket, "/pending/").is_empty(), "{:?}", names(&bucket, "/pending/"));
    assert!(!bucket.names().contains(&dead));
    lab.lrl("check --read-data").expect(0);
    lab.lrl("restore --data-dir back").expect(0);
    assert_same(&look(&lab.path("back/assets")), &look(&lab.path("data/assets")), "the newest");
}

#[test]
fn what_is_needed_again_is_stored_again_and_what_others_hold_stays() {
    let bucket = Bucket::start();
    let lab = worn(&bucket);
    lab.lrl("prune --grace 0").expect(0);
    let stored = names(&bucket, "/packs/");
    // These very bytes stand in a candidate.
    lab.upload("changing.bin", &noise(200_000, 1));
    lab.lrl("backup --snapshot-only").expect(0);
    assert!(names(&bucket, "/packs/").len() > stored.len(), "a backup depends on a candidate");
    let run = lab.lrl("prune --grace 0 --json").expect(0).json();
    assert!(count(&run, "deleted") > 0 && count(&run, "needed_again") == 0, "{run:#}");
    lab.lrl("check --read-data").expect(0);
    let mut fresh = Lab::empty();
    reach(&mut fresh, &bucket.url("history/one"));
    fresh.lrl("restore --data-dir back --backup b").expect(0);
    assert_same(&look(&fresh.path("back/assets")), &look(&lab.path("data/assets")), "the newest");
}

#[test]
fn a_source_that_is_gone_is_waited_for_until_it_is_called_retired() {
    let bucket = Bucket::start();
    let lab = worn(&bucket);
    lab.lrl("backup --snapshot-only --source other").expect(0);
    lab.lrl("prune --grace 0").expect(0);
    lab.lrl("backup --snapshot-only").expect(0);
    let run = lab.lrl("prune --grace 0 --json").expect(0).json();
    assert_eq!(run["waiting"][0]["sources"].as_object().unwrap().keys().collect::<Vec<_>>(), ["other"], "{run:#}");
    lab.write("lrl.toml", "retired = [\"other\"]\ngrace = \"0\"\n");
    let run = lab.lrl("forget --keep-last 1 --prune --json").expect(0).json();
    assert!(count(&run["prune"], "deleted") > 0, "{run:#}");
    lab.lrl("check --read-data").expect(0);
}

#[test]
fn where_the_server_cannot_keep_two_prunes_apart_one_is_declared() {
    let bucket = Bucket::start();
    bucket.ignore_conditions();
    let mut lab = Lab::small();
    reach(&mut lab, &bucket.url("history/one"));
    let run = lab.lrl("init --no-encryption").expect(0);
    assert!(run.stderr.contains("--only-pruner"), "{}", run.stderr);
    lab.lrl("backup --snapshot-only").expect(0);
    let before = bucket.names();
    let run = lab.lrl("prune").expect(1);
    assert!(run.stderr.contains("--only-pruner") && run.stderr.contains("nothing was removed"), "{}", run.stderr);
    assert_eq!(bucket.names(), before);
    assert_eq!(lab.lrl("prune --only-pruner --json").expect(0).json()["conditional_writes"], false);
}

#[test]
fn two_prunes_do_not_run_at_once_and_a_dead_one_is_in_nobodys_way() {
    let bucket = Bucket::start();
    let lab = worn(&bucket);
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    let claim = |hours: u64| {
        let written = now - hours * 3600;
        format!(
            "{{\"format\":1,\"owner\":\"elsewhere\",\"token\":\"x\",\"written\":{{\"secs\":{written},\"nanos\":0}}}}"
        )
    };
    let name = "history/one/claims/prune-0000000000000007";
    bucket.change(|objects| _ = objects.insert(name.into(), claim(1).into_bytes()));
    let run = lab.lrl("prune").expect(11);
    assert!(run.stderr.contains("elsewhere"), "{}", run.stderr);
    // Another's clock that is wrong does not make its claim old.
    bucket.change(|objects| _ = objects.insert(name.into(), claim(30).into_bytes()));
    lab.lrl("prune").expect(11);
    lab.lrl("prune --dry-run").expect(0);
    assert!(names(&bucket, "/claims/") == [name]);
    // What this machine's own run left that was killed is known to be dead.
    bucket.change(|objects| _ = objects.remove(name));
    let mut child = lab.command(["prune"]).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    while !bucket.log_has("PUT /lab-bucket/history/one/claims/prune-") {
        std::thread::yield_now();
        if child.try_wait().unwrap().is_some() {
            break;
        }
    }
    let _ = child.kill();
    child.wait().unwrap();
    lab.lrl("prune").expect(0);
    assert!(names(&bucket, "/claims/").is_empty());
    lab.lrl("check").expect(0);
}

const SOURCES: [&str; 4] = ["a", "b", "c", "d"];

/// Plays writers and a pruner, killed at random, at this store; returns what a log should say.
fn play(url: &str, rounds: u64, millis: u64, seed: u64) -> String {
    let mut labs = SOURCES.map(|_| Lab::small());
    labs.iter_mut().for_each(|lab| reach(lab, url));
    let mut random = Rng::new(seed);
    labs[0].lrl("init --no-encryption").expect(0);
    // Without a grace period only sources that are known are safe from a prune.
    for (source, lab) in SOURCES.iter().zip(&labs) {
        lab.lrl(&format!("backup --snapshot-only --source {source}")).expect(0);
    }
    let (mut kills, mut pruned, mut deleted, mut backups) = (0, 0, 0, 0);
    for round in 0..rounds {
        labs.iter().for_each(|lab| change(lab, &mut random, round));
        let pruner = [
            "forget --keep-last 2 --grace 0 --prune --max-unused 0 --json",
            "prune --grace 0 --json",
            "prune --grace 0 --max-unused 0 --json",
        ];
        let pruner = pruner[random.below(3)].to_string();
        let lines = SOURCES.map(|source| format!("backup --snapshot-only --source {source}"));
        let mut running: Vec<(String, Child, u64)> = Vec::new();
        for (line, lab) in lines.into_iter().zip(&labs).chain([(pruner, &labs[0])]) {
            // About half of them live to their end.
            let lifetime = random.below(2 * millis as usize) as u64;
            let mut command = lab.command(line.split(' '));
            let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
            running.push((line, child, lifetime));
        }
        let mut by_lifetime: Vec<usize> = (0..running.len()).collect();
        by_lifetime.sort_by_key(|n| running[*n].2);
        let mut now = 0;
        for n in by_lifetime {
            let (_, child, lifetime) = &mut running[n];
            if *lifetime < millis {
                std::thread::sleep(Duration::from_millis(*lifetime - now));
                now = *lifetime;
                let _ = child.kill();
            }
        }
        let mut whole = Vec::new();
        for (n, (line, child, _)) in running.into_iter().enumerate() {
            let output: Output = child.wait_with_output().unwrap();
            let text = String::from_utf8_lossy(&output.stderr).into_owned();
            match output.status.code() {
                None => kills += 1,
                code => assert!(code == Some(0), "round {round} of seed {seed}, {line}: {code:?} {text}"),
            }
            if output.status.success() && n < SOURCES.len() {
                whole.push(n);
                backups += 1;
            } else if output.status.success() {
                pruned += 1;
                let run = Run::from(output).json();
                let run = if run["prune"].is_object() { &run["prune"] } else { &run };
                deleted += count(run, "deleted");
                assert_eq!(run["missing"], 0, "round {round} of seed {seed}: {run:#}");
            }
        }
        let check = labs[0].lrl("check --read-data");
        assert_eq!(check.code, 0, "round {round} of seed {seed}: {}{}", check.stdout, check.stderr);
        // What was acknowledged is there.
        if let Some(n) = whole.first().map(|_| whole[random.below(whole.len())]) {
            labs[n].lrl(&format!("restore latest --source {} --data-dir back", SOURCES[n])).expect(0);
            let what = format!("round {round} of seed {seed}");
            assert_same(&look(&labs[n].path("back/assets")), &look(&labs[n].path("data/assets")), &what);
            std::fs::remove_dir_all(labs[n].path("back")).unwrap();
        }
    }
    let listed = labs[0].lrl("snapshots --json").expect(0).json();
    let ids: Vec<&str> =
        listed["snapshots"].as_array().unwrap().iter().map(|one| one["id"].as_str().unwrap()).collect();
    for id in &ids {
        labs[0].lrl(&format!("restore {id} --data-dir each")).expect(0);
        std::fs::remove_dir_all(labs[0].path("each")).unwrap();
    }
    format!(
        "{rounds} rounds, {kills} kills, {backups} backups and {pruned} prunes that ended, {deleted} packs deleted, \
         {} snapshots left, 0 dangling",
        ids.len()
    )
}

#[test]
fn writers_and_a_pruner_of_a_bucket_that_are_killed_at_random_lose_nothing() {
    let bucket = Bucket::start();
    println!("{}", play(&bucket.url("shared"), rounds(5, 300), 400, 1));
}

#[test]
fn writers_and_a_pruner_that_are_killed_at_random_lose_nothing_on_a_server_that_is_not_ours() {
    let Some(moto) = Moto::start() else {
        println!("skipped: there is no moto_server (pip install 'moto[server]')");
        return;
    };
    println!("{}", play(&moto.url("shared"), rounds(5, 300).min(40), 1500, 2));
}
