//! The judgement of snapshots: what each command does with snapshots that are empty, shrunk, failed or damaged.

use std::fs;

use serde_json::Value;

use crate::common::{Lab, noise};

/// The states of all snapshots, oldest first.
fn states(lab: &Lab) -> Vec<String> {
    let listed = lab.lrl("snapshots --json").expect(0).json();
    let state = |snapshot: &Value| snapshot["state"].as_str().unwrap().to_string();
    listed["snapshots"].as_array().unwrap().iter().map(state).collect()
}

fn users(lab: &Lab) -> i64 {
    lab.database().query_row("SELECT count(*) FROM users", [], |row| row.get(0)).unwrap()
}

#[test]
fn an_emptied_database_pushes_no_good_one_out_and_is_not_restored() {
    let lab = Lab::small();
    lab.lrl("backup --snapshot-only").expect(0);
    let before = users(&lab);
    fs::write(lab.path("data/lrl.db"), b"").unwrap();
    for _ in 0..3 {
        lab.lrl("backup -q --snapshot-only").expect(3);
    }
    assert_eq!(states(&lab), ["good", "unreadable", "unreadable", "unreadable"]);
    let red = lab.lrl("status -q").expect(4);
    assert!(red.stdout.is_empty() && red.stderr.contains("unreadable"), "{}{}", red.stdout, red.stderr);
    let plan = lab.lrl("forget --keep-daily 7 --json --dry-run").expect(0).json();
    assert_eq!(plan["removed"], 0, "nothing newer is good: {plan:#}");
    lab.lrl("forget --keep-daily 7 --prune").expect(0);
    lab.lrl("backup --if-older-than 20h --snapshot-only").expect(3);
    let bad = lab.lrl("restore latest").expect(4);
    assert!(bad.stderr.contains("unreadable") && bad.stderr.contains("--force"), "{}", bad.stderr);
    let restored = lab.lrl("restore -q").expect(0);
    assert!(
        restored.stderr.contains("passed over snapshot") && restored.stderr.contains("unreadable"),
        "{}",
        restored.stderr
    );
    assert_eq!(users(&lab), before);
    lab.lrl("backup --snapshot-only").expect(0);
    lab.lrl("status -q").expect(0);
    // Now something newer is good: the bad ones go as soon as they are old enough.
    let plan = lab.lrl("forget --keep-last 9 --json --dry-run").expect(0).json();
    assert_eq!(plan["removed"], 0, "bad ones stay for a week: {plan:#}");
    let plan = lab.lrl("forget --keep-last 9 --keep-bad-within 0d --json --dry-run").expect(0).json();
    assert_eq!((&plan["removed"], &plan["kept"]), (&4.into(), &2.into()), "{plan:#}");
}

#[test]
fn uploads_that_vanish_make_a_suspect_backup_until_that_is_accepted() {
    let lab = Lab::small();
    lab.lrl("backup").expect(0);
    fs::rename(lab.path("data/assets"), lab.path("unmounted")).unwrap();
    fs::create_dir(lab.path("data/assets")).unwrap();
    for _ in 0..2 {
        let run = lab.lrl("backup -q").expect(3);
        assert!(
            run.stderr.contains("0 files, where there were") && run.stderr.contains("--accept-shrink"),
            "{}",
            run.stderr
        );
    }
    assert_eq!(states(&lab), ["good", "suspect", "suspect"]);
    assert!(lab.lrl("status -q").expect(4).stderr.contains("suspect"));
    let found = lab.lrl("backup --json").expect(3).json();
    assert_eq!((&found["state"], &found["shrunk"][0]["measure"]), (&"suspect".into(), &"files".into()), "{found:#}");
    // The database by itself is good, and newer.
    let restored = lab.lrl("restore --db-only --dry-run").expect(0);
    assert!(restored.stdout.contains(found["timestamp"].as_str().unwrap()), "{}", restored.stdout);
    lab.lrl("restore").expect(0);
    assert!(lab.path("data/assets").read_dir().unwrap().next().is_some());
    fs::remove_dir_all(lab.path("data/assets")).unwrap();
    fs::create_dir(lab.path("data/assets")).unwrap();
    lab.lrl("backup --max-shrink 0").expect(0);
    lab.lrl("backup --accept-shrink").expect(0);
    lab.lrl("backup").expect(0);
    lab.lrl("status -q").expect(0);
}

#[test]
fn a_failed_drill_is_red_everywhere_until_a_backup_heals() {
    let lab = Lab::small();
    lab.upload("big", &noise(300_000, 7));
    lab.lrl("backup --snapshot-only").expect(0);
    lab.lrl("drill --snapshot latest").expect(0);
    lab.database().execute_batch("CREATE TABLE more(x); INSERT INTO more VALUES (zeroblob(200000))").unwrap();
    lab.lrl("backup --snapshot-only").expect(0);
    lab.lrl("drill --snapshot latest --assert").expect(2);
    let args = ["drill", "--snapshot", "latest", "--assert", "SELECT count(*) FROM more", "= 7"];
    lab.run(args).expect(4);
    assert_eq!(states(&lab), ["good", "failed"]);
    assert!(lab.lrl("status -q --max-age 1d").expect(4).stderr.contains("failed"));
    assert!(lab.lrl("restore --dry-run").expect(0).stderr.contains("failed"));
    lab.lrl("restore latest --dry-run").expect(4);
    lab.lrl("restore latest --dry-run --force").expect(0);
    lab.lrl("export latest --out out").expect(4);
    lab.lrl("export latest --out out --force").expect(0);
    let healing = lab.lrl("backup --snapshot-only --if-older-than 20h").expect(0);
    assert!(healing.stdout.contains("The last drill failed"), "{}", healing.stdout);
    let again = lab.lrl("backup --snapshot-only").expect(0);
    assert!(!again.stdout.contains("The last drill failed"), "one answer is enough: {}", again.stdout);
    assert_eq!(states(&lab), ["good", "failed", "good", "good"]);
    lab.lrl("status -q").expect(4);
    lab.lrl("drill --snapshot latest").expect(0);
    lab.lrl("status -q").expect(0);
}

#[test]
fn a_check_that_finds_damage_is_on_record_and_the_next_backup_heals() {
    let lab = Lab::small();
    lab.upload("big", &noise(300_000, 7));
    lab.lrl("backup --snapshot-only").expect(0);
    lab.lrl("check --read-data").expect(0);
    lab.lrl("status -q --max-check-age 1h").expect(0);
    let packs: Vec<_> = crate::helpers::names(lab.path("backups/store/packs"))
        .into_iter()
        .flat_map(|dir| {
            let dir = lab.path("backups/store/packs").join(dir);
            crate::helpers::names(&dir).into_iter().map(move |name| dir.join(name)).collect::<Vec<_>>()
        })
        .collect();
    let pack = packs.iter().max_by_key(|pack| pack.metadata().unwrap().len()).unwrap();
    let mut bytes = fs::read(pack).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(pack, &bytes).unwrap();
    lab.lrl("check --read-data").expect(4);
    assert_eq!(states(&lab), ["damaged"]);
    let red = lab.lrl("status -q --max-check-age 1h").expect(4).stderr;
    assert!(red.contains("damaged") && red.contains("check"), "{red}");
    let healing = lab.lrl("backup --snapshot-only").expect(0);
    assert!(healing.stdout.contains("The last check found damage"), "{}", healing.stdout);
    lab.lrl("drill --snapshot latest").expect(0);
    lab.lrl("check --read-data --repair").expect(0);
    lab.lrl("check --read-data").expect(0);
    assert_eq!(states(&lab), ["good", "good"], "the chunks are stored again");
    lab.lrl("status -q").expect(0);
}

#[test]
fn a_check_that_finds_a_rotten_set_is_on_record_as_failed() {
    let lab = Lab::small();
    lab.lrl("backup").expect(0);
    lab.lrl("check --read-data").expect(0);
    lab.lrl("status -q").expect(0);
    let copy = crate::helpers::outputs(&lab, "backups", ".sqlite").remove(0);
    let mut bytes = fs::read(&copy).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&copy, &bytes).unwrap();
    let found = lab.lrl("check --read-data").expect(4);
    assert!(!found.stdout.contains("--repair"), "the store has nothing to repair: {}", found.stdout);
    assert!(lab.lrl("status -q").expect(4).stderr.contains("the last check found damage"));
    assert_eq!(states(&lab), ["good"], "the snapshot is whole");
    bytes[middle] ^= 1;
    fs::write(&copy, &bytes).unwrap();
    lab.lrl("check --read-data").expect(0);
    lab.lrl("status -q").expect(0);
}

#[test]
fn limits_make_status_red() {
    let lab = Lab::small();
    lab.lrl("backup").expect(0);
    assert!(lab.lrl("status -q --max-drill-age 8d").expect(4).stderr.contains("no drill has passed"));
    assert!(lab.lrl("status -q --max-check-age 8d").expect(4).stderr.contains("no check has passed"));
    assert!(lab.lrl("status -q --min-free 100%").expect(4).stderr.contains("free"));
    lab.lrl("status -q --min-free 1K").expect(0);
    lab.lrl("init --store second").expect(0);
    lab.lrl("backup --copy-to second").expect(0);
    lab.lrl("status -q --max-copy-age 1s").expect(0);
    fs::rename(lab.path("second"), lab.path("gone")).unwrap();
    lab.lrl("backup --copy-to second").expect(5);
    std::thread::sleep(std::time::Duration::from_millis(2100));
    assert!(lab.lrl("status -q --max-copy-age 1s").expect(4).stderr.contains("second store"));
    let last = lab.lrl("status --json").expect(0).json();
    assert_eq!(last["last_run"]["exit_code"], 5, "{last:#}");
    // What is missing from the backup is worse than what is missing beside it.
    fs::remove_dir_all(lab.path("data/assets")).unwrap();
    lab.lrl("backup --copy-to second").expect(3);
}

#[test]
fn every_source_is_shown_and_one_that_is_bad_is_enough() {
    let lab = Lab::small();
    lab.lrl("backup --source one --snapshot-only").expect(0);
    lab.lrl("backup --source two --snapshot-only").expect(0);
    assert_eq!(lab.lrl("status --json").expect(0).json()["sources"].as_array().unwrap().len(), 2);
    fs::remove_dir_all(lab.path("data/assets")).unwrap();
    lab.lrl("backup --source two --snapshot-only").expect(3);
    let red = lab.lrl("status -q").expect(4).stderr;
    assert!(red.contains("two: ") && !red.contains("one: "), "{red}");
    lab.lrl("status -q --source one").expect(0);
    assert_eq!(lab.lrl("snapshots --json --last 1").expect(0).json()["snapshots"].as_array().unwrap().len(), 2);
    assert_eq!(
        lab.lrl("snapshots --json --state incomplete").expect(0).json()["snapshots"].as_array().unwrap().len(),
        1
    );
}

/// Cuts off the second half of the newest archive, as a disk that fails does: no other set shares it.
fn cut_off_archive(lab: &Lab) {
    let names = fs::read_dir(lab.path("backups")).unwrap().map(|entry| entry.unwrap().path());
    let archive = names.filter(|path| path.to_str().unwrap().ends_with(".tar.gz")).max().unwrap();
    let bytes = fs::read(&archive).unwrap();
    fs::remove_file(&archive).unwrap();
    fs::write(&archive, &bytes[..bytes.len() / 2]).unwrap();
}

#[test]
fn an_archive_that_cannot_be_read_says_nothing_against_the_database() {
    let lab = Lab::small();
    lab.lrl("backup").expect(0);
    lab.upload("zz99/new.txt", b"new");
    lab.lrl("backup").expect(0);
    cut_off_archive(&lab);
    let drill = lab.lrl("drill").expect(4).stdout;
    assert!(drill.contains("  [FAIL] asset_rows") && drill.contains("  [FAIL] extract_archive"), "{drill}");
    // The database is the newest, the uploads are those before.
    lab.lrl("restore --db-only --target new").expect(0);
    assert_eq!(fs::read(lab.path("new/lrl.db")).unwrap(), fs::read(lab.path("data/lrl.db")).unwrap());
    lab.lrl("restore --target old").expect(0);
    assert!(!lab.path("old/assets/zz99/new.txt").exists());
}

#[test]
fn what_a_drill_of_a_rotten_set_suggests_ends_with_a_restore() {
    let lab = Lab::small();
    lab.lrl("backup").expect(0);
    let before = users(&lab);
    cut_off_archive(&lab);
    lab.database().execute_batch("DELETE FROM users").unwrap();
    let suggested = |run: &crate::common::Run, verb: &str| -> String {
        let commands: Vec<&str> = run.stderr.split('`').skip(1).step_by(2).collect();
        let found = commands.iter().find(|command| command.starts_with(verb));
        found.unwrap_or_else(|| panic!("{verb}: {}", run.stderr)).trim_start_matches("lrl ").replace("DIR", "again")
    };
    let drill = lab.lrl("drill").expect(4);
    for run in [
        &drill,
        &lab.lrl("restore").expect(1),
        &lab.lrl("restore latest").expect(4),
        &lab.lrl("export --out x").expect(1),
    ] {
        assert!(suggested(run, "lrl drill --snapshot").contains("drill --snapshot "), "{}", run.stderr);
    }
    lab.lrl(&suggested(&drill, "lrl drill --snapshot")).expect(0);
    assert_eq!(states(&lab), ["good"]);
    lab.lrl(&suggested(&drill, "lrl export")).expect(0);
    lab.lrl(&suggested(&drill, "lrl restore")).expect(0);
    assert_eq!(users(&lab), before);
    lab.lrl(&suggested(&drill, "lrl backup")).expect(0);
    lab.lrl("drill").expect(0);
    lab.lrl("status -q").expect(0);
}
