//! Commands that read a store: snapshots, ls, diff, find, dump, stats; and init.

use std::ffi::OsStr;
use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::Stdio;

use serde_json::Value;

use crate::common::{Lab, Run, noise, sha256};

/// A lab with three snapshots: one file changed, one came, one went, and a table was added.
fn lab_with_history() -> Lab {
    let lab = Lab::small();
    let odd = Path::new("data/assets").join(OsStr::from_bytes(b"bad\xff\xfe.txt"));
    lab.write(&odd, b"odd name\n");
    lab.lrl("backup --snapshot-only --tag first").expect(0);
    lab.upload("ab12/v1.txt", b"other words\n");
    lab.upload("new/v1.txt", b"new\n");
    lab.lrl("backup --snapshot-only").expect(0);
    fs::remove_dir_all(lab.path("data/assets/ab12")).unwrap();
    lab.database().execute_batch("CREATE TABLE later(x)").unwrap();
    lab.lrl("backup --snapshot-only").expect(0);
    lab
}

fn paths(run: &Run, list: &str) -> Vec<String> {
    let document = run.json();
    let items = document[list].as_array().unwrap();
    items.iter().map(|item| item["path"].as_str().unwrap().to_string()).collect()
}

#[test]
fn snapshots_are_listed_for_people_and_for_programs() {
    let lab = lab_with_history();
    let run = lab.lrl("snapshots").expect(0);
    let lines: Vec<&str> = run.stdout.lines().collect();
    assert_eq!(lines.len(), 6, "{}", run.stdout);
    assert!(lines[0].contains("proven") && lines[2] == "          tags: first", "{}", run.stdout);
    lab.lrl("backup --snapshot-only --source other").expect(0);
    let run = lab.lrl("snapshots").expect(0);
    let headings: Vec<&str> = run.stdout.lines().filter(|line| line.ends_with(':')).collect();
    assert_eq!(headings, ["lab:", "other:"], "{}", run.stdout);
    let document = lab.lrl("snapshots --json --source lab").expect(0).json();
    let listed = document["snapshots"].as_array().unwrap();
    assert_eq!(document["success"], true);
    assert_eq!(listed.iter().map(|s| s["sequence"].as_u64().unwrap()).collect::<Vec<_>>(), [1, 2, 3]);
    assert_eq!(listed[0]["tags"][0], "first");
    assert_eq!(listed[0]["files"]["files"], 4);
    assert_eq!(listed[0]["id"].as_str().unwrap().len(), 64);
    assert!(listed[0]["databases"][0]["size_bytes"].as_u64().unwrap() > 4096);
}

#[test]
fn a_damaged_snapshot_is_named_and_hides_no_other() {
    let lab = lab_with_history();
    let snapshot = fs::read_dir(lab.path("backups/store/snapshots/lab")).unwrap().map(|e| e.unwrap().path());
    let newest = snapshot.max().unwrap();
    fs::write(&newest, b"{}").unwrap();
    let run = lab.lrl("snapshots").expect(3);
    assert_eq!(run.stdout.lines().count(), 5, "{}", run.stdout);
    assert!(run.stderr.contains(newest.file_name().unwrap().to_str().unwrap()), "{}", run.stderr);
    let run = lab.lrl("snapshots --json").expect(3);
    let document = run.json();
    assert_eq!((&document["success"], &document["damaged"]), (&Value::Bool(false), &Value::from(1)));
    assert!(document["snapshots"][2]["error"].as_str().unwrap().contains("damaged"));
    assert!(lab.lrl("stats --json").expect(3).json()["damaged_snapshots"] == 1);
    lab.lrl("find v1.txt").expect(3);
}

#[test]
fn ls_shows_everything_or_what_is_below_a_path() {
    let lab = lab_with_history();
    let all = paths(&lab.lrl("ls latest~2 --json").expect(0), "entries");
    let expected = [
        "lrl.db",
        "assets",
        "assets/ab12",
        "assets/ab12/v1.txt",
        "assets/ab12/v2.txt",
        "assets/bad\u{fffd}\u{fffd}.txt",
    ];
    assert_eq!(&all[..6], expected);
    for path in ["assets/ab12", "./assets/ab12/"] {
        let some = paths(&lab.lrl(&format!("ls latest~2 {path} --json")).expect(0), "entries");
        assert_eq!(some, ["assets/ab12", "assets/ab12/v1.txt", "assets/ab12/v2.txt"]);
    }
    assert_eq!(paths(&lab.lrl("ls latest lrl.db --json").expect(0), "entries"), ["lrl.db"]);
    let run = lab.lrl("ls latest assets/ab1").expect(1);
    assert!(run.stdout.is_empty() && run.stderr.contains("assets/ab1"), "{}", run.stderr);
    assert_eq!(lab.lrl("ls latest assets/ab1 --json").expect(1).json()["error"]["kind"], "not_found");
}

#[test]
fn names_that_are_not_utf8_are_shown_safely_and_found_again() {
    let lab = lab_with_history();
    let run = lab.lrl("ls latest").expect(0);
    assert!(run.stdout.contains("assets/bad\\xff\\xfe.txt"), "{}", run.stdout);
    let document = lab.lrl("ls latest --json").expect(0).json();
    let hex: Vec<&str> =
        document["entries"].as_array().unwrap().iter().filter_map(|e| e["path_hex"].as_str()).collect();
    assert_eq!(hex, ["6173736574732f626164fffe2e747874"]);
    let odd = OsStr::from_bytes(b"assets/bad\xff\xfe.txt");
    let run = lab.run([OsStr::new("dump"), OsStr::new("latest"), odd]).expect(0);
    assert_eq!(run.stdout_bytes, b"odd name\n");
}

#[test]
fn diff_tells_what_came_what_went_and_what_changed() {
    let lab = lab_with_history();
    let document = lab.lrl("diff latest~2 latest --json").expect(0).json();
    let changes: Vec<(String, String)> = document["changes"]
        .as_array()
        .unwrap()
        .iter()
        .map(|c| (c["change"].as_str().unwrap().into(), c["path"].as_str().unwrap().into()))
        .collect();
    let has = |change: &str, path: &str| changes.contains(&(change.into(), path.into()));
    assert!(has("removed", "assets/ab12") && has("removed", "assets/ab12/v1.txt") && has("added", "assets/new/v1.txt"));
    assert!(!changes.iter().any(|(_, path)| path.starts_with("assets/cd34")), "{changes:?}");
    assert_eq!(document["databases"][0]["change"], "changed");
    assert_eq!(document["databases"][0]["tables_added"], serde_json::json!(["later"]));
    let step = lab.lrl("diff latest~2 latest~1").expect(0);
    assert!(step.stdout.contains("M  assets/ab12/v1.txt (12 B -> 12 B)"), "{}", step.stdout);
    let same = lab.lrl("diff latest latest --json").expect(0).json();
    assert_eq!((same["changes"].as_array().unwrap().len(), &same["databases"][0]["change"]), (0, &"same".into()));
}

#[test]
fn find_groups_versions_over_the_history() {
    let lab = lab_with_history();
    let document = lab.lrl("find v1.txt --json").expect(0).json();
    let versions = document["versions"].as_array().unwrap();
    let found: Vec<(&str, u64)> =
        versions.iter().map(|v| (v["path"].as_str().unwrap(), v["snapshots"].as_u64().unwrap())).collect();
    assert_eq!(found, [("assets/ab12/v1.txt", 1), ("assets/ab12/v1.txt", 1), ("assets/new/v1.txt", 2)]);
    let text = lab.lrl("find assets/cd34/*.bin").expect(0).stdout;
    assert!(text.starts_with("assets/cd34/v1.bin\n") && text.contains("in 3 snapshots"), "{text}");
    let databases = lab.lrl("find lrl.db --json").expect(0).json();
    assert_eq!(databases["versions"].as_array().unwrap().len(), 3);
    assert!(lab.lrl("find no-such-name").expect(0).stderr.contains("nothing matches in 3 snapshots"));
    lab.lrl("find [a-").expect(1);
}

#[test]
fn dump_writes_the_bytes_and_nothing_else() {
    let lab = lab_with_history();
    let run = lab.lrl("dump latest~2 assets/ab12/v1.txt").expect(0);
    assert_eq!((run.stdout.as_str(), run.stderr.as_str()), ("a few words\n", ""));
    assert_eq!(lab.lrl("dump latest assets/cd34/v1.bin").expect(0).stdout_bytes, noise(70_000, 1));
    let database = lab.lrl("dump latest lrl.db").expect(0).stdout_bytes;
    let stated = lab.lrl("ls latest lrl.db --json").json()["entries"][0]["sha256"].clone();
    assert_eq!(stated, sha256(&database));
    let run = lab.lrl("dump latest assets/cd34").expect(1);
    assert!(run.stderr.contains("restore") && run.stderr.contains("--path assets/cd34"), "{}", run.stderr);
    lab.lrl("dump latest lrl.db --json").expect(2);
}

#[test]
fn who_reads_only_the_first_lines_sees_no_complaint() {
    let lab = Lab::small();
    for n in 0..3000 {
        lab.write(format!("data/assets/many/{n:05}-{}.txt", "x".repeat(100)), b"");
    }
    lab.lrl("backup --snapshot-only").expect(0);
    for arguments in [vec!["ls", "latest"], vec!["ls", "latest", "--json"], vec!["dump", "latest", "lrl.db"]] {
        let mut child = lab.command(&arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut out = BufReader::new(child.stdout.take().unwrap());
        let mut first = Vec::new();
        out.read_until(b'\n', &mut first).unwrap();
        drop(out);
        let output = child.wait_with_output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!((output.status.code(), said.as_str()), (Some(0), ""), "{arguments:?}");
    }
}

#[test]
fn stats_add_up() {
    let lab = lab_with_history();
    let stats = lab.lrl("stats --json").expect(0).json();
    let mut bytes = 0;
    let mut visit = vec![lab.path("backups/store/packs")];
    while let Some(dir) = visit.pop() {
        for entry in fs::read_dir(dir).unwrap() {
            let entry = entry.unwrap();
            match entry.file_type().unwrap().is_dir() {
                true => visit.push(entry.path()),
                false => bytes += entry.metadata().unwrap().len(),
            }
        }
    }
    assert_eq!(stats["packs"]["bytes"], bytes);
    assert_eq!(stats["snapshot_documents"]["count"], 3);
    let full: u64 = stats["snapshots"].as_array().unwrap().iter().map(|s| s["full_bytes"].as_u64().unwrap()).sum();
    assert_eq!(stats["full_copies"]["bytes"], full);
    let added: u64 = stats["snapshots"].as_array().unwrap().iter().map(|s| s["added_bytes"].as_u64().unwrap()).sum();
    let beside = ["index", "snapshot_documents"].map(|kind| stats[kind]["bytes"].as_u64().unwrap());
    assert_eq!(added, bytes + beside.iter().sum::<u64>());
    assert!(stats["plain_bytes"].as_u64().unwrap() > stats["chunks"]["bytes"].as_u64().unwrap());
    assert!(lab.lrl("stats").expect(0).stdout.contains("times smaller"));
}

#[test]
fn init_makes_a_store_once() {
    let lab = Lab::small();
    let run = lab.lrl("init --store deep/down/store").expect(0);
    assert!(run.stdout.contains("deep/down/store"));
    assert!(lab.lrl("snapshots --store deep/down/store").expect(0).stderr.contains("no snapshot yet"));
    let run = lab.lrl("init --store deep/down/store").expect(1);
    assert!(run.stderr.contains("already"), "{}", run.stderr);
    lab.lrl("backup --store deep/down/store --snapshot-only").expect(0);
    assert_eq!(
        lab.lrl("snapshots --store deep/down/store --json").expect(0).json()["snapshots"].as_array().unwrap().len(),
        1
    );
}

#[test]
fn no_store_is_exit_10_for_every_verb_that_looks_into_one() {
    let lab = Lab::small();
    for verb in ["snapshots", "ls latest", "diff latest latest", "find x", "dump latest lrl.db", "stats"] {
        lab.lrl(verb).expect(10);
    }
}

#[test]
fn a_prune_does_not_change_what_a_snapshot_added() {
    let lab = Lab::small();
    let mut added = Vec::new();
    for n in 0..4 {
        lab.upload("large.bin", &noise(300_000, n));
        added.push(lab.lrl("backup --json --snapshot-only").expect(0).json()["added_bytes"].as_u64().unwrap());
    }
    let told = |lab: &Lab| -> Vec<u64> {
        let document = lab.lrl("stats --json").expect(0).json();
        document["snapshots"].as_array().unwrap().iter().map(|s| s["added_bytes"].as_u64().unwrap()).collect()
    };
    assert_eq!(told(&lab), added);
    lab.lrl("forget --keep-last 2 --prune").expect(0);
    lab.lrl("prune --max-unused 0").expect(0);
    assert_eq!(told(&lab), added[2..]);
    assert!(lab.lrl("stats").expect(0).stdout.contains("added 29"));
}

/// Fails the test where a time is not RFC 3339 in UTC, or a mode not four octal digits.
fn assert_forms(line: &str, value: &serde_json::Value) {
    match value {
        serde_json::Value::Array(items) => items.iter().for_each(|item| assert_forms(line, item)),
        serde_json::Value::Object(members) => {
            assert!(!members.contains_key("secs"), "{line}: {value}");
            for (key, value) in members {
                let text = value.as_str().unwrap_or_default();
                match key.as_str() {
                    "mode" => assert!(text.len() == 4 && text.bytes().all(|b| b.is_ascii_digit()), "{line}: {value}"),
                    "created" | "finished" | "time" | "mtime" if !value.is_null() => {
                        assert!(
                            text.ends_with('Z') && text.parse::<jiff::Timestamp>().is_ok(),
                            "{line}: {key}: {value}"
                        );
                    }
                    _ => assert_forms(line, value),
                }
            }
        }
        _ => {}
    }
}

#[test]
fn times_and_modes_have_one_form_in_json() {
    let mut lab = lab_with_history();
    lab.lrl("backup").expect(0);
    for line in [
        "snapshots",
        "ls latest",
        "find *.txt",
        "stats",
        "drill",
        "drill --snapshot latest",
        "check",
        "diff latest~2 latest",
        "prune --dry-run",
        "restore --dry-run",
        "backup --dry-run",
        "backup",
        "forget --keep-last 9 --dry-run",
        "status",
        "export --out exported",
        "copy --from backups/store --to second",
        "import exported --store third",
    ] {
        if line.starts_with("copy") {
            lab.lrl("init --store second").expect(0);
        }
        let run = lab.run(line.split(' ').chain(["--json"]));
        // Rows lost their files in this history, so drills fail; records of them are listed all the same.
        assert!([0, 3, 4].contains(&run.code), "{line}: {}", run.stderr);
        assert_forms(line, &run.json());
    }
    lab.lrl("key make-file key").expect(0);
    lab.set("LRL_KEY_FILE", "key");
    lab.lrl("init --encrypt --store sealed").expect(0);
    assert_forms("key list", &lab.lrl("key list --json --store sealed").expect(0).json());
}

#[test]
fn messages_of_one_kind_are_a_few_and_a_count() {
    let lab = Lab::small();
    for n in 0..30 {
        std::os::unix::fs::symlink("/etc", lab.path(format!("data/assets/link{n}"))).unwrap();
    }
    let run = lab.lrl("backup --snapshot-only").expect(0);
    assert_eq!(run.stderr.lines().count(), 11, "{}", run.stderr);
    assert!(run.stderr.contains("20 more like these, the last one: ") && run.stderr.contains("-v writes them all"));
    assert_eq!(run.stderr.matches("NOT backed up").count(), 11);
    let run = lab.lrl("backup --snapshot-only -v").expect(0);
    assert_eq!(run.stderr.matches("NOT backed up").count(), 30);
    assert!(!run.stderr.contains("more like these"));
    assert!(lab.lrl("backup --snapshot-only -q").expect(0).stderr.is_empty());
    let problems = lab.lrl("backup --snapshot-only --json").expect(0).json()["problems"].as_array().unwrap().len();
    assert_eq!(problems, 30);
}

#[test]
fn a_lock_names_who_holds_it() {
    let lab = Lab::small();
    lab.lrl("backup -q --snapshot-only").expect(0);
    let lock = std::fs::File::open(lab.path("backups/store/lock")).unwrap();
    lock.lock().unwrap();
    let run = lab.lrl("snapshots --lock-wait 0").expect(11);
    // Some file systems have other device numbers in /proc/locks: then nobody is named.
    let pid = std::process::id();
    let meta = lock.metadata().unwrap();
    let place = format!("{:02x}:{:02x}:{} ", major(meta.dev()), minor(meta.dev()), meta.ino());
    if std::fs::read_to_string("/proc/locks").is_ok_and(|locks| locks.contains(&format!("{pid} {place}"))) {
        assert!(run.stderr.contains(&format!("by process {pid} (e2e-")), "{}", run.stderr);
    }
    assert!(run.stderr.contains("backups/store/lock"));
}

fn major(dev: u64) -> u64 {
    ((dev >> 8) & 0xfff) | ((dev >> 32) & !0xfff)
}

fn minor(dev: u64) -> u64 {
    (dev & 0xff) | ((dev >> 12) & !0xff)
}

#[test]
fn a_time_names_the_newest_snapshot_at_or_before_it() {
    let lab = Lab::small();
    lab.lrl("backup --snapshot-only").expect(0);
    // A snapshot's time is a part of a second, and a second that is named means all of it.
    std::thread::sleep(std::time::Duration::from_millis(2100));
    lab.upload("later/v1.txt", b"later");
    lab.lrl("backup --snapshot-only").expect(0);
    let document = lab.lrl("snapshots --json").expect(0).json();
    let time = |at: usize| {
        let stamp = document["snapshots"][at]["timestamp"].as_str().unwrap();
        let t = |range: std::ops::Range<usize>| &stamp[range];
        format!("{}-{}-{}T{}:{}:{}", t(0..4), t(4..6), t(6..8), t(9..11), t(11..13), t(13..15))
    };
    let (first, second) = (time(0), time(1));
    let has_later = |name: &str| lab.run(["ls", "--utc", name]).expect(0).stdout.contains("later/v1.txt");
    for newest in ["now", "today", "0s", "2100-01-01", "2100-01-01T00:00", &second] {
        assert!(has_later(newest), "{newest}");
    }
    assert!(!has_later(&first) && !has_later(&format!("{first}Z")));
    let run = lab.run(["ls", "1y"]).expect(1);
    assert!(run.stderr.contains("no snapshot") && run.stderr.contains("at or before `1y`"), "{}", run.stderr);
    // In another zone the same hour is another moment.
    let mut abroad = lab.command(["restore", &first, "--data-dir", "then"]);
    abroad.env("TZ", "UTC0");
    assert!(abroad.output().unwrap().status.success());
    assert!(!lab.path("then/assets/later").exists() && lab.path("then/lrl.db").exists());
    let mut west = lab.command(["ls", &first]);
    let west = west.env("TZ", "XXX-5").output().unwrap();
    assert!(!west.status.success(), "five hours before there was no snapshot");
}
