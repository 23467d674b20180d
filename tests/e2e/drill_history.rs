//! Drills of a whole history: their order, their records, and assertions about the database.

use std::fs;
use std::process::Stdio;
use std::time::Duration;

use serde_json::{Value, json};

use crate::common::{Lab, noise};
use crate::helpers::{files_with, names};

/// A lab with this many snapshots, each with one more user and upload.
fn history(snapshots: u64) -> Lab {
    let lab = Lab::small();
    for n in 1..=snapshots {
        lab.upload(&format!("n/{n}"), &noise(200_000, n));
        lab.database()
            .execute("INSERT INTO users VALUES (?1, 'x', 'x', 'x', 'active')", [format!("more-{n}")])
            .unwrap();
        lab.lrl("backup --snapshot-only").expect(0);
    }
    lab
}

/// Damages the last pack that holds data: what stands in it alone is lost.
fn damage(lab: &Lab, sequence: u64) {
    let ids = ids(lab);
    let document = files_with(&lab.path("backups/store/snapshots"), &ids[sequence as usize - 1]).remove(0);
    let document: Value = serde_json::from_slice(&fs::read(document).unwrap()).unwrap();
    let pack = files_with(&lab.path("backups/store/packs"), document["packs"][0].as_str().unwrap()).remove(0);
    let mut bytes = fs::read(&pack).unwrap();
    let len = bytes.len();
    bytes[len / 4..len / 2].iter_mut().for_each(|byte| *byte ^= 0x55);
    fs::write(pack, bytes).unwrap();
}

fn ids(lab: &Lab) -> Vec<String> {
    let listed = lab.lrl("snapshots --json").expect(0).json();
    listed["snapshots"].as_array().unwrap().iter().map(|snapshot| snapshot["id"].as_str().unwrap().into()).collect()
}

/// Reads the records, oldest first.
fn records(lab: &Lab) -> Vec<Value> {
    let dir = lab.path("backups/store/drills/lab");
    let names = if dir.exists() { names(&dir) } else { Vec::new() };
    let mut records: Vec<Value> =
        names.iter().map(|name| serde_json::from_slice(&fs::read(dir.join(name)).unwrap()).unwrap()).collect();
    records.sort_by_key(|record| ["secs", "nanos"].map(|part| record["finished"][part].as_i64()));
    records
}

fn drilled(document: &Value) -> Vec<&str> {
    document["sets"].as_array().unwrap().iter().map(|set| set["snapshot"].as_str().unwrap()).collect()
}

#[test]
fn the_whole_history_is_drilled_and_one_that_fails_stops_no_other() {
    let lab = history(4);
    let ids = ids(&lab);
    damage(&lab, 3);
    let run = lab.lrl("drill --all").expect(4);
    assert_eq!(run.stdout.matches("Using snapshot: ").count(), 4);
    assert_eq!(run.stdout.matches("RESTORE DRILL").count(), 1);
    let good = records(&lab).iter().filter(|record| record["passed"] == true).count();
    assert!((1..4).contains(&good), "{}", run.stdout);
    assert!(records(&lab).iter().all(|record| record["passed"] == true || record["damaged"] == true), "{}", run.stdout);
    assert!(records(&lab).iter().all(|record| record["passed"] == false || record.get("damaged").is_none()));
    assert!(run.stdout.ends_with(&format!("Drilled 4 of 4 snapshots: {good} passed, {} failed\n", 4 - good)));
    let document = lab.lrl("drill --all --json").expect(4).json();
    assert_eq!(drilled(&document), ids);
    assert_eq!(document["sets"][2]["success"], false);
    assert_eq!(document["history"]["failed"], 4 - good as u64);
    assert!(document["verifications"].as_array().unwrap().iter().all(|found| found["snapshot"].is_string()));
    let listed = lab.lrl("snapshots --json").expect(0).json();
    assert_eq!(listed["snapshots"][0]["proven"], true);
    assert_eq!(listed["snapshots"][2]["proven"], false);
    assert_eq!(listed["snapshots"][2]["last_drill"]["passed"], false);
    assert!(lab.lrl("snapshots").expect(0).stdout.contains("FAILED "));
    let status = lab.lrl("status --json").expect(4).json();
    assert_eq!(status["proven"], good as u64);
    assert!(status["oldest_unproven"].is_string());
    // A document that cannot be read is a failure like any other.
    let document = files_with(&lab.path("backups/store/snapshots"), &ids[1]).remove(0);
    fs::write(document, b"{}").unwrap();
    let run = lab.lrl("drill --all").expect(4);
    assert!(run.stdout.contains("Drilled 4 of 4") && run.stdout.contains("\nErrors:\n"), "{}", run.stdout);
}

#[test]
fn what_has_waited_longest_comes_first() {
    let lab = history(4);
    let ids = ids(&lab);
    let next = |line: &str| -> Vec<String> {
        let document = lab.lrl(&format!("drill --oldest-first --json {line}")).expect(0).json();
        drilled(&document).into_iter().map(String::from).collect()
    };
    assert_eq!(next("--limit 1"), ids[3..]);
    assert_eq!(next("--limit 1"), ids[2..3]);
    // A set's drill is no proof of what the store can give back.
    lab.lrl("backup").expect(0);
    let ids = self::ids(&lab);
    lab.lrl("drill").expect(0);
    assert!(lab.lrl("snapshots").expect(0).stdout.contains(", set"));
    assert_eq!(next("--limit 3"), [&ids[4], &ids[1], &ids[0]].map(String::clone));
    assert_eq!(next("--limit 2"), [&ids[3], &ids[2]].map(String::clone));
    assert_eq!(next("--max-time 0").len(), 1);
    assert_eq!(next("").len(), 5);
    for bad in [
        "--limit 1",
        "--oldest-first --all",
        "--all --snapshot latest",
        "--oldest-first --limit 0",
        "--all --max-time 1m",
    ] {
        lab.lrl(&format!("drill {bad}")).expect(2);
    }
    lab.lrl("init --store empty").expect(0);
    lab.lrl("drill --all --store empty").expect(1);
}

#[test]
fn a_run_that_is_stopped_keeps_its_records() {
    let lab = history(6);
    let all = ["drill", "--all"];
    let mut child = lab.command(all).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    while records(&lab).is_empty() && child.try_wait().unwrap().is_none() {
        std::thread::sleep(Duration::from_millis(1));
    }
    let _ = std::process::Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    let code = child.wait().unwrap().code();
    assert!(matches!(code, Some(130 | 0)), "{code:?}");
    assert!(!records(&lab).is_empty());
    lab.lrl("drill --all").expect(0);
}

#[test]
fn a_record_says_what_was_proved_and_stands_beside_the_one_before() {
    let lab = history(2);
    lab.lrl("drill --all").expect(0);
    let [first, second] = <[Value; 2]>::try_from(records(&lab)).unwrap_or_else(|r| panic!("{r:#?}"));
    let (first, second) = if first["sequence"] == 1 { (first, second) } else { (second, first) };
    assert_eq!((&first["drilled"], &first["sequence"]), (&json!("snapshot"), &json!(1)));
    let passed = |name: &str| {
        let checks = second["checks"].as_array().unwrap().iter();
        checks.filter(|check| check["check"] == name).map(|check| check["passed"].clone()).collect::<Vec<_>>()
    };
    assert_eq!(passed("hash_verification"), [true, true]);
    assert_eq!(passed("integrity_check"), [true]);
    assert!(second["restore_seconds"].as_f64() > Some(0.0) && second["age_seconds"].is_u64(), "{second:#}");
    assert_eq!(first["before"], Value::Null);
    let rows = |databases: &Value| databases[0]["rows"].clone();
    assert!(rows(&first["databases"]).is_object(), "{first:#}");
    assert_eq!(rows(&second["before"]["databases"]), rows(&first["databases"]));
    assert_eq!(second["before"]["snapshot"], first["snapshot"]);
    assert_eq!(rows(&second["databases"])["users"], 3);
    // What lost its rows is told, and is no failure.
    lab.database()
        .execute_batch("DELETE FROM content_items WHERE id >= 4; DROP TABLE assets; CREATE TABLE assets (id TEXT)")
        .unwrap();
    lab.lrl("backup").expect(0);
    let run = lab.lrl("drill -q").expect(0);
    assert!(run.stderr.contains("the table content_items has 4 rows, it had 20 in "), "{}", run.stderr);
    assert!(run.stderr.contains("the table assets has 0 rows, it had 5 in "), "{}", run.stderr);
    let document = lab.lrl("drill --json").expect(0).json();
    assert_eq!(document["sets"][0]["shrunk"][1], json!({"table": "content_items", "rows": 4, "rows_before": 20}));
    assert_eq!(records(&lab).iter().filter(|record| record["drilled"] == "set").count(), 2);
    let listed = lab.lrl("drill").expect(0);
    assert!(listed.stdout.contains(": passed; the data came back in "), "{}", listed.stdout);
}

#[test]
fn users_assert_what_the_database_must_answer() {
    let lab = Lab::small();
    lab.lrl("backup").expect(0);
    let drill = |arguments: &[&str], code| lab.run(["drill"].iter().chain(arguments)).expect(code);
    let users = ["--assert", "SELECT count(*) FROM users", ">= 1"];
    let run = drill(&users, 0);
    assert!(run.stdout.contains("  [PASS] assertion (SELECT count(*) FROM users >= 1)\n"), "{}", run.stdout);
    let name = ["--assert", "SELECT display_name FROM users", "= 'Ada'"];
    drill(&[users, name].concat(), 0);
    let run = drill(&["--assert", "SELECT count(*) FROM users", "> 1"], 4);
    let expected = "  [FAIL] assertion (SELECT count(*) FROM users > 1)\n         it gives 1, not > 1\n";
    assert!(run.stdout.contains(expected), "{}", run.stdout);
    let record = records(&lab).pop().unwrap();
    assert!(record["checks"].to_string().contains("SELECT count(*) FROM users"), "{record:#}");
    for (query, comparison, said) in [
        ("SELECT x FROM users", "= 1", "no such column: x"),
        ("SELECT display_name FROM users", "= 1", "the text \"Ada\" cannot be compared"),
        ("SELECT id FROM users WHERE 0", "= 1", "no value"),
        ("SELECT id FROM content_items", "= 1", "more than one row"),
        ("SELECT * FROM users", "= 1", "one column"),
        ("WITH a AS (SELECT 1) DELETE FROM users", "= 1", "must read"),
    ] {
        let run = drill(&["--assert", query, comparison, "--snapshot", "latest"], 4);
        assert!(run.stdout.contains(said), "{query}: {}", run.stdout);
    }
    for (query, comparison) in
        [("SELECT 1", "is 1"), ("DELETE FROM users", "= 1"), ("SELECT (", "= 1"), ("SELECT 1", "=")]
    {
        let run = drill(&["--assert", query, comparison], 2);
        assert!(run.stdout.is_empty() && run.stderr.contains("--assert: "), "{}", run.stderr);
    }
    drill(&["--assert", "SELECT 1"], 2);
    // In the file; a flag takes its place.
    lab.write("lrl.toml", "assert = [[\"SELECT count(*) FROM users\", \"> 1\"], [\"SELECT 1\", \"= 1\"]]\n");
    let document = drill(&["--json", "--all"], 4).json();
    let found: Vec<_> = document["verifications"][0]["checks"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|c| c["name"] == "assertion")
        .collect();
    assert_eq!((found.len(), &found[0]["value"], &found[0]["passed"]), (2, &json!(1), &json!(false)), "{document:#}");
    drill(&users, 0);
    assert!(lab.lrl("config").expect(0).stdout.contains("SELECT count(*) FROM users > 1, SELECT 1 = 1"));
    for bad in [
        "[\"SELECT 1\", \"= 1\"]",
        "\"SELECT 1 = 1\"",
        "[[\"SELECT 1\"]]",
        "[[\"SELECT 1\", \"1\"]]",
        "[[\"x\", \"= 1\"]]",
    ] {
        lab.write("lrl.toml", format!("assert = {bad}\n"));
        let run = lab.lrl("drill").expect(2);
        assert!(run.stderr.contains("lrl.toml:1"), "{}", run.stderr);
    }
    fs::remove_file(lab.path("lrl.toml")).unwrap();
    // Without a database there is nothing to ask, which is said.
    lab.lrl("backup --assets-only --snapshot-only").expect(0);
    let run = drill(&[users.as_slice(), &["--snapshot", "latest~0"]].concat(), 0);
    assert!(run.stderr.contains("nothing was asserted"), "{}", run.stderr);
}
