//! Four writers and a pruner on one store, in processes that are killed at random: listed snapshots stay whole, and no lock has to
//! be removed by hand. `LRL_TEST_ROUNDS=all` plays 1,000 rounds, a number that many.

// A log says how many rounds and kills there were.
#![allow(clippy::print_stdout)]

use std::path::Path;
use std::process::{Child, Output, Stdio};
use std::time::Duration;

use lrl_testing::rng::Rng;
use serde_json::Value;

use crate::common::{Lab, Run, noise};
use crate::helpers::{assert_same, look, rounds};

const SOURCES: [&str; 4] = ["a", "b", "c", "d"];

fn start(lab: &Lab, store: &Path, line: &str) -> Child {
    let mut command = lab.command(line.split(' '));
    command.arg("--store").arg(store).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap()
}

fn run(lab: &Lab, store: &Path, line: &str) -> Run {
    lab.command(line.split(' ')).arg("--store").arg(store).output().unwrap().into()
}

/// Changes an upload, adds one, takes one away, and changes a row.
pub fn change(lab: &Lab, random: &mut Rng, round: u64) {
    let name = |n: usize| format!("data/assets/changing/{n}");
    lab.write(name(random.below(6)), noise(20_000, random.below(1 << 40) as u64));
    // The same bytes in several labs, and again later.
    lab.write(name(6 + random.below(3)), noise(40_000, random.below(5) as u64));
    let _ = std::fs::remove_file(lab.path(name(random.below(9))));
    let sql = "UPDATE content_items SET body = ?1 WHERE id = ?2";
    lab.database().execute(sql, (format!("round {round}"), random.below(20) as i64)).unwrap();
}

#[test]
fn four_writers_and_a_pruner_that_are_killed_at_random_lose_nothing() {
    let labs = SOURCES.map(|_| Lab::small());
    let store = labs[0].path("shared");
    let store = store.as_path();
    let mut random = Rng::new(1);
    let (mut kills, mut pruned) = (0, 0);
    for round in 0..rounds(8, 1000) {
        labs.iter().for_each(|lab| change(lab, &mut random, round));
        let mut running: Vec<(String, Child, u64)> = Vec::new();
        let pruner =
            ["forget --keep-last 2", "forget --keep-last 2 --prune --max-unused 0", "prune", "prune --max-unused 0"];
        let pruner = pruner[random.below(4)];
        let lines = SOURCES.map(|source| format!("backup --snapshot-only --source {source}"));
        for (line, lab) in lines.into_iter().zip(&labs).chain([(pruner.to_string(), &labs[0])]) {
            // About half of them live to their end.
            let lifetime = random.below(400) as u64;
            let child = start(lab, store, &line);
            running.push((line, child, lifetime));
        }
        let mut by_lifetime: Vec<usize> = (0..running.len()).collect();
        by_lifetime.sort_by_key(|n| running[*n].2);
        let mut now = 0;
        for n in by_lifetime {
            let (_, child, lifetime) = &mut running[n];
            if *lifetime < 200 {
                std::thread::sleep(Duration::from_millis(*lifetime - now));
                now = *lifetime;
                let _ = child.kill();
            }
        }
        let mut whole = Vec::new();
        for (n, (line, child, _)) in running.into_iter().enumerate() {
            let output: Output = child.wait_with_output().unwrap();
            // Before the first backup has made the store there is nothing to forget.
            let is_early = n == SOURCES.len() && output.status.code() == Some(10) && pruned == 0;
            let text = String::from_utf8_lossy(&output.stderr);
            match output.status.code() {
                None => kills += 1,
                code => assert!(code == Some(0) || is_early, "round {round}, {line}: {code:?} {text}"),
            }
            if output.status.success() && n < SOURCES.len() {
                whole.push(n);
            } else if output.status.success() {
                pruned += 1;
            }
        }
        let check = run(&labs[0], store, "check --read-data");
        assert!(
            check.code == 0 || check.code == 10 && whole.is_empty(),
            "round {round}: {}{}",
            check.stdout,
            check.stderr
        );
        // What was acknowledged is there.
        if let Some(n) = whole.first().map(|_| whole[random.below(whole.len())]) {
            let line = format!("restore latest --source {} --data-dir back", SOURCES[n]);
            run(&labs[n], store, &line).expect(0);
            assert_same(
                &look(&labs[n].path("back/assets")),
                &look(&labs[n].path("data/assets")),
                &format!("round {round}"),
            );
            std::fs::remove_dir_all(labs[n].path("back")).unwrap();
        }
    }
    // Nothing holds a lock after the kills, or each of these would wait in vain.
    for (source, lab) in SOURCES.iter().zip(&labs) {
        run(lab, store, &format!("backup --snapshot-only --source {source} --lock-wait 1s")).expect(0);
    }
    let prune =
        run(&labs[0], store, "forget --keep-last 2 --prune --max-unused 0 --lock-wait 1s --json").expect(0).json();
    assert_eq!(prune["prune"]["missing"], 0, "{prune:#}");
    run(&labs[0], store, "check --read-data").expect(0);
    let listed = run(&labs[0], store, "snapshots --json").expect(0).json();
    let ids: Vec<&str> =
        listed["snapshots"].as_array().unwrap().iter().map(|one: &Value| one["id"].as_str().unwrap()).collect();
    assert!(ids.len() >= SOURCES.len());
    for id in &ids {
        run(&labs[0], store, &format!("restore {id} --data-dir each")).expect(0);
        std::fs::remove_dir_all(labs[0].path("each")).unwrap();
    }
    println!(
        "{} rounds, {kills} kills, {pruned} forgets and prunes that ended, {} snapshots left",
        rounds(8, 1000),
        ids.len()
    );
}
