//! `lrl run`: what is due, over simulated days; a step that fails stops those that need it, and no other; `[policy]` in lrl.toml.

use std::fs::{self, File};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::bucket::{Bucket, KEY};
use crate::common::{Lab, Run};

const DAY: i64 = 86_400;
const STEPS: &str = "backups/store/cache/steps-lab.json";

/// Makes a lab with a policy, and settings above it.
fn lab(settings: &str, policy: &str) -> Lab {
    let lab = Lab::small();
    configure(&lab, settings, policy);
    lab
}

fn configure(lab: &Lab, settings: &str, policy: &str) {
    lab.write("lrl.toml", format!("{settings}\n[policy]\n{policy}\n"));
}

/// Lets days pass: what earlier runs noted is older by them.
fn pass(lab: &Lab, days: i64) {
    let mut steps: Value = serde_json::from_slice(&fs::read(lab.path(STEPS)).unwrap()).unwrap();
    for step in steps["steps"].as_object_mut().unwrap().values_mut() {
        for key in ["last_success", "last_try"] {
            if let Some(time) = step[key].as_i64() {
                step[key] = (time - days * DAY).into();
            }
        }
    }
    fs::write(lab.path(STEPS), steps.to_string()).unwrap();
}

/// Returns the state of each step of a run with `--json`, in order.
fn states(run: &Run) -> Vec<(String, String)> {
    let document = run.json();
    assert_eq!(document["exit_code"], run.code, "{document:#}");
    let steps = document["steps"].as_array().unwrap();
    steps.iter().map(|step| (text(&step["step"]), text(&step["state"]))).collect()
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or("null").into()
}

#[track_caller]
fn expect(run: &Run, expected: [&str; 6]) {
    let names = ["backup", "copy", "drill", "forget", "prune", "check"];
    // Nothing here writes a page: `report.rs` has that step.
    let all = names.into_iter().zip(expected).chain([("report", "off")]);
    let expected: Vec<_> = all.map(|(name, state)| (name.into(), state.into())).collect();
    assert_eq!(states(run), expected, "{}\n{}", run.stdout, run.stderr);
}

fn step<'a>(document: &'a Value, name: &str) -> &'a Value {
    document["steps"].as_array().unwrap().iter().find(|step| step["step"] == name).unwrap()
}

fn snapshots(lab: &Lab) -> usize {
    lab.lrl("snapshots --json").expect(0).json()["snapshots"].as_array().unwrap().len()
}

#[test]
fn each_step_is_done_when_it_is_due() {
    let lab = lab("", "keep-last = 3\nbackup = \"daily\"");
    expect(&lab.lrl("run --json").expect(0), ["done", "off", "done", "done", "done", "done"]);
    expect(&lab.lrl("run --json").expect(0), ["not_due", "off", "not_due", "done", "not_due", "not_due"]);
    pass(&lab, 1);
    expect(&lab.lrl("run --json").expect(0), ["done", "off", "not_due", "done", "not_due", "not_due"]);
    pass(&lab, 6);
    expect(&lab.lrl("run --json").expect(0), ["done", "off", "done", "done", "done", "not_due"]);
    // The machine was off for half a year.
    pass(&lab, 180);
    expect(&lab.lrl("run --json").expect(0), ["done", "off", "done", "done", "done", "done"]);
    assert_eq!(snapshots(&lab), 3, "keep-last");
}

#[test]
fn a_list_says_what_is_due_when_and_does_nothing() {
    let lab = lab("", "drill = \"never\"");
    let before = lab.lrl("run --list").expect(0).stdout;
    assert!(before.lines().any(|line| line.starts_with("backup") && line.ends_with("now")), "{before}");
    assert!(!lab.path("backups").exists());
    lab.lrl("run --quiet").expect(0);
    let after = lab.lrl("run --list").expect(0).stdout;
    let line = |name: &str| after.lines().find(|line| line.starts_with(name)).unwrap().to_string();
    assert!(line("check").contains("monthly") && line("check").ends_with("UTC"), "{after}");
    assert!(line("drill").ends_with("never") && line("forget").contains("[policy] has no keep- rule"), "{after}");
    let json = lab.lrl("run --list --json").expect(0).json();
    assert_eq!((&step(&json, "check")["is_due"], &step(&json, "backup")["is_due"]), (&false.into(), &true.into()));
    assert_eq!(snapshots(&lab), 1);
}

#[test]
fn the_summary_has_a_line_for_each_step_and_quiet_runs_are_silent() {
    let lab = lab("", "keep-daily = 7");
    let run = lab.lrl("run").expect(0);
    let lines: Vec<&str> = run.stdout.lines().collect();
    assert_eq!(lines.len(), 8, "{}", run.stdout);
    assert!(lines[0].starts_with("backup  done in ") && lines[0].contains("snapshot "), "{}", run.stdout);
    assert!(lines[2].contains("2 of 2 passed"), "the set and the snapshot: {}", run.stdout);
    assert!(lines[7].starts_with("Run of lab: 5 steps done in "), "{}", run.stdout);
    let quiet = lab.lrl("run --quiet").expect(0);
    assert_eq!((quiet.stdout.as_str(), quiet.stderr.as_str()), ("", ""));
}

#[test]
fn after_a_failed_backup_nothing_is_copied_or_forgotten() {
    let lab = lab("copy-to = \"./second\"", "keep-last = 1\nbackup = \"weekly\"\ndrill = \"always\"");
    lab.lrl("init --store ./second").expect(0);
    lab.lrl("run --quiet").expect(0);
    lab.lrl("backup --quiet").expect(0);
    pass(&lab, 8);
    fs::rename(lab.path("data"), lab.path("elsewhere")).unwrap();
    let failed = lab.lrl("run --json").expect(10);
    expect(&failed, ["failed", "not_run", "done", "not_run", "done", "not_due"]);
    let document = failed.json();
    assert_eq!((text(&step(&document, "copy")["because_of"]), snapshots(&lab)), ("backup".into(), 2));
    assert!(failed.stderr.contains("error: backup: ") && failed.stderr.contains("data"), "{}", failed.stderr);
    let told = lab.lrl("run").expect(10).stdout;
    assert!(
        told.contains("backup  failed (exit 10): ") && told.contains("copy    not run because backup failed"),
        "{told}"
    );
    // It is due again at once, and its last success is still the one before.
    let list = lab.lrl("run --list --json").expect(0).json();
    let backup = step(&list, "backup");
    assert_eq!((backup["is_due"].clone(), backup["last_exit_code"].clone()), (true.into(), 10.into()));
    assert!(text(&backup["last_success"]) < text(&backup["last_try"]), "{backup:#}");
    fs::rename(lab.path("elsewhere"), lab.path("data")).unwrap();
    expect(&lab.lrl("run --json").expect(0), ["done", "done", "done", "done", "not_due", "not_due"]);
    assert_eq!(snapshots(&lab), 1);
}

#[test]
fn after_a_failed_drill_nothing_is_forgotten_or_pruned() {
    let lab = lab("", "keep-last = 1\nprune = \"always\"");
    lab.lrl("backup --quiet").expect(0);
    let many = "assert = [[\"SELECT count(*) FROM users\", \">= 99\"]]";
    configure(&lab, many, "keep-last = 1\nprune = \"always\"");
    let failed = lab.lrl("run --json").expect(4);
    expect(&failed, ["done", "off", "failed", "not_run", "not_run", "done"]);
    assert_eq!(snapshots(&lab), 2);
    assert!(failed.stderr.contains("error: drill: ") && failed.stderr.contains("99"), "{}", failed.stderr);
    assert!(text(&step(&failed.json(), "drill")["error"]).contains("99"));
    configure(&lab, "", "keep-last = 1\nprune = \"always\"");
    expect(&lab.lrl("run --json").expect(0), ["done", "off", "done", "done", "done", "not_due"]);
    assert!(snapshots(&lab) < 3);
}

#[test]
fn a_snapshot_that_is_known_to_fail_its_drill_is_no_alarm_in_later_runs() {
    let lab = lab("", "drill = \"always\"\ncheck = \"never\"");
    (0..3).for_each(|_| drop(lab.lrl("backup --quiet").expect(0)));
    fs::rename(lab.path("data/assets"), lab.path("unmounted")).unwrap();
    fs::create_dir(lab.path("data/assets")).unwrap();
    let failed = lab.lrl("run --json").expect(4);
    expect(&failed, ["incomplete", "off", "failed", "off", "off", "off"]);
    fs::remove_dir(lab.path("data/assets")).unwrap();
    fs::rename(lab.path("unmounted"), lab.path("data/assets")).unwrap();
    for _ in 0..3 {
        expect(&lab.lrl("run --json").expect(0), ["done", "off", "done", "off", "off", "off"]);
        lab.lrl("status").expect(0);
    }
    // Asked for by name, or with all, it still fails.
    lab.lrl("drill --all").expect(4);
}

#[test]
fn a_second_store_that_is_missing_stops_nothing_else() {
    let lab = lab("copy-to = \"./second\"", "keep-last = 1");
    let failed = lab.lrl("run --json").expect(5);
    expect(&failed, ["done", "incomplete", "done", "done", "done", "done"]);
    assert!(text(&step(&failed.json(), "copy")["error"]).contains("./second"), "{}", failed.stdout);
    lab.lrl("init --store ./second").expect(0);
    let copied = lab.lrl("run --json").expect(0);
    expect(&copied, ["done", "done", "not_due", "done", "not_due", "not_due"]);
    let copied = copied.json();
    let copy = &step(&copied, "copy")["results"][0];
    assert!(!copy["copied"].as_array().unwrap().is_empty(), "{copy:#}");
    assert_eq!(lab.lrl("status --json").expect(0).json()["wrong"], serde_json::json!([]));
}

#[test]
fn a_check_that_finds_damage_ends_the_run_with_4() {
    let lab = lab("", "drill = \"never\"\ncheck = \"always\"\nbackup = \"weekly\"");
    lab.lrl("run --quiet").expect(0);
    let packs = lab.path("backups/store/packs");
    let dir = fs::read_dir(packs).unwrap().next().unwrap().unwrap().path();
    fs::remove_file(fs::read_dir(dir).unwrap().next().unwrap().unwrap().path()).unwrap();
    let failed = lab.lrl("run --json").expect(4);
    expect(&failed, ["not_due", "off", "off", "off", "off", "failed"]);
    assert!(failed.stderr.contains("error: check: ./backups/store/packs/"), "{}", failed.stderr);
    let quiet = lab.lrl("run --quiet").expect(4);
    assert!(
        quiet.stdout.is_empty() && quiet.stderr.contains("error: check: ./backups/store/packs/"),
        "{}",
        quiet.stderr
    );
}

#[test]
fn a_store_that_is_held_by_a_reader_ends_the_run_with_11() {
    let lab = lab("lock-wait = \"0\"", "keep-last = 1\nprune = \"always\"");
    lab.lrl("backup --quiet").expect(0);
    let reader = File::open(lab.path("backups/store/lock")).unwrap();
    reader.lock_shared().unwrap();
    let locked = lab.lrl("run --json").expect(11);
    expect(&locked, ["done", "off", "done", "failed", "not_run", "done"]);
    drop(reader);
    expect(&lab.lrl("run --json").expect(0), ["done", "off", "not_due", "done", "done", "not_due"]);
}

#[test]
fn two_runs_of_one_source_are_kept_apart() {
    let lab = lab("lock-wait = \"0\"", "");
    lab.lrl("backup --quiet").expect(0);
    lab.lrl("run --quiet").expect(0);
    let other = File::options().write(true).open(lab.path("backups/store/cache/steps-lab.lock")).unwrap();
    other.lock().unwrap();
    lab.lrl("run").expect(11);
    assert_eq!(snapshots(&lab), 2);
    lab.lrl("run --list").expect(0);
    // Closing it is not enough: a child that another test is starting has a copy of the descriptor until its exec.
    other.unlock().unwrap();
    lab.lrl("run").expect(0);
}

#[test]
fn an_interrupted_run_ends_with_130_and_starts_no_further_step() {
    let lab = lab("lock-wait = \"5m\"", "keep-last = 1");
    lab.lrl("backup --quiet").expect(0);
    let holder = File::open(lab.path("backups/store/lock")).unwrap();
    holder.lock().unwrap();
    let mut command = lab.command(["run", "--json"]);
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    // The handler is there before any file of the store is opened.
    let started = Instant::now();
    let opened = || {
        let fds = fs::read_dir(format!("/proc/{}/fd", child.id())).unwrap();
        fds.flatten().filter_map(|fd| fs::read_link(fd.path()).ok()).any(|path| path.ends_with("store/lock"))
    };
    while !opened() && started.elapsed() < Duration::from_secs(60) {
        std::thread::sleep(Duration::from_millis(10));
    }
    assert!(Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap().success());
    let run = Run::from(child.wait_with_output().unwrap()).expect(130);
    expect(&run, ["interrupted", "off", "not_run", "not_run", "not_run", "not_run"]);
    drop(holder);
    expect(&lab.lrl("run --json").expect(0), ["done", "off", "done", "done", "done", "done"]);
}

#[test]
fn named_steps_are_done_now_and_no_others() {
    let lab = lab("", "check = \"never\"");
    lab.lrl("run --quiet").expect(0);
    let run = lab.lrl("run --only check --only drill --json").expect(0);
    let expected = [("drill", "done"), ("check", "done")].map(|(name, state)| (name.to_string(), state.to_string()));
    assert_eq!(states(&run), expected);
    assert_eq!(snapshots(&lab), 1);
    for (line, why) in
        [("run --only copy", "copy-to"), ("run --only forget", "keep-"), ("run --only nothing", "nothing")]
    {
        let refused = lab.lrl(line).expect(2);
        assert!(refused.stderr.contains(why), "{line}: {}", refused.stderr);
    }
}

#[test]
fn a_mistyped_policy_names_the_line_and_the_nearest_key() {
    for (text, expected) in [
        (
            "[policy]\nkeep-dayly = 7",
            "lrl.toml:2: unknown key \"keep-dayly\" in [policy]; the nearest known key is \"keep-daily\"",
        ),
        ("[policy]\n\ndrill = \"sometimes\"", "lrl.toml:3: drill expects always, hourly"),
        ("keep-daily = 7", "lrl.toml:1: \"keep-daily\" belongs into the table [policy]"),
        ("policy = 3", "lrl.toml:1: policy is a table"),
    ] {
        let lab = Lab::small();
        lab.write("lrl.toml", text);
        let refused = lab.lrl("run").expect(2);
        assert!(refused.stderr.contains(expected), "{text}: {}", refused.stderr);
        assert!(!lab.path("backups").exists());
    }
}

#[test]
fn forget_takes_its_rules_from_the_policy_unless_flags_say_otherwise() {
    let lab = lab("", "keep-last = 2");
    (0..4).for_each(|_| drop(lab.lrl("backup --quiet --snapshot-only").expect(0)));
    let removed = |line: &str| lab.lrl(line).expect(0).json()["removed"].as_u64();
    assert_eq!(removed("forget --dry-run --json"), Some(2));
    assert_eq!(removed("forget --keep-last 3 --dry-run --json"), Some(1), "the flag wins");
    assert_eq!(removed("forget --keep-tag none --dry-run --json"), Some(2), "the other keys stand");
    assert_eq!(removed("forget latest~3 --json"), Some(1), "who names one means that one");
    assert_eq!(snapshots(&lab), 3);
    let config = lab.lrl("config --json").expect(0).json();
    let keep = config["settings"].as_array().unwrap().iter().find(|one| one["key"] == "policy.keep-last").unwrap();
    assert_eq!((keep["values"][0].as_str(), keep["origin"].as_str()), (Some("2"), Some("file")));
}

#[test]
fn a_run_keeps_the_sets_of_its_policy_and_leaves_other_sources_alone() {
    let lab = lab("", "keep-last = 1\nkeep-sets = 1");
    (0..2).for_each(|_| drop(lab.lrl("backup --quiet --source other --snapshot-only").expect(0)));
    (0..3).for_each(|_| drop(lab.lrl("run --quiet").expect(0)));
    let sets = fs::read_dir(lab.path("backups")).unwrap().flatten();
    let sets = sets.filter(|entry| entry.file_name().to_string_lossy().starts_with("backup_manifest_")).count();
    assert_eq!(sets, 1);
    let count = |source: &str| {
        let listed = lab.lrl(&format!("snapshots --json --source {source}")).expect(0).json();
        listed["snapshots"].as_array().unwrap().len()
    };
    // The newest that passed a drill stays as well.
    assert_eq!((count("other"), count("lab")), (2, 2));
}

#[test]
fn flags_of_a_run_hold_for_its_steps() {
    let lab = lab("", "");
    fs::rename(lab.path("data"), lab.path("there")).unwrap();
    lab.lrl("run --quiet --data-dir there --backup out --source one").expect(0);
    assert!(lab.path("out/store/cache/steps-one.json").is_file() && !lab.path("backups").exists());
    let steps = lab.lrl("run --backup out --source one --list --json").expect(0).json();
    assert_eq!(step(&steps, "check")["is_due"], false);
}

#[test]
fn secrets_that_the_service_manager_hands_over_count_before_the_settings() {
    let mut lab =
        lab("password-file = \"/nowhere/pass\"\ncopy-to = \"./second\"\ncopy-to-key-file = \"/nowhere/key\"", "");
    lab.secret("given/lrl.password-file", "four words of it\n");
    lab.write("given/lrl.copy-to-key-file", "17".repeat(32));
    // systemd's own access list looks like a group that can read.
    fs::set_permissions(lab.path("given/lrl.copy-to-key-file"), std::os::unix::fs::PermissionsExt::from_mode(0o440))
        .unwrap();
    lab.lrl("init --encrypt").expect(1);
    let given = lab.path("given").display().to_string();
    lab.secret("key", "17".repeat(32));
    lab.set("CREDENTIALS_DIRECTORY", &given);
    lab.lrl("init --encrypt").expect(0);
    let key = lab.path("key").display().to_string();
    lab.set("CREDENTIALS_DIRECTORY", "");
    lab.write("plain.toml", "");
    lab.run(["--config", "plain.toml", "init", "--encrypt", "--store", "./second", "--key-file", &key]).expect(0);
    lab.set("CREDENTIALS_DIRECTORY", &given);
    expect(&lab.lrl("run --json").expect(0), ["done", "done", "done", "off", "off", "done"]);
}

#[test]
fn runs_of_a_store_in_a_bucket_remember_their_steps_on_this_machine() {
    let bucket = Bucket::start();
    let mut lab = lab(&format!("store = \"{}\"", bucket.url("runs")), "keep-last = 1");
    lab.set("AWS_ACCESS_KEY_ID", KEY);
    lab.set("AWS_SECRET_ACCESS_KEY", "secret");
    lab.lrl("init --no-encryption").expect(0);
    expect(&lab.lrl("run --json").expect(0), ["done", "off", "done", "done", "done", "done"]);
    expect(&lab.lrl("run --json").expect(0), ["done", "off", "not_due", "done", "not_due", "not_due"]);
    let known = fs::read_dir(lab.path("home/.cache/lrl")).unwrap().flatten();
    assert!(known.into_iter().any(|file| file.file_name().to_string_lossy().ends_with("-steps-lab.json")));
}

#[test]
fn stores_whose_places_end_alike_do_not_share_what_is_known_of_runs() {
    let mut lab = lab("password-file = \"./pass\"", "drill = \"weekly\"");
    lab.secret("pass", "four words of it\n");
    lab.set("LRL_PASSWORD_FILE", &lab.path("pass").display().to_string());
    let end = "a-directory-with-a-very-long-name-as-those-of-some-providers-and-of-object-stores";
    for name in ["one", "two"] {
        fs::create_dir_all(lab.path(name)).unwrap();
        let store = format!("{name}/{end}");
        lab.run(["init", "--encrypt", "--store", &store]).expect(0);
        let run = lab.run(["run", "--json", "--store", &store]).expect(0);
        expect(&run, ["done", "off", "done", "off", "off", "done"]);
    }
}

#[test]
fn a_policy_may_say_when_each_step_is_due() {
    let lab = lab("", "backup = \"36h\"\ncheck = \"never\"\ndrill = \"always\"\ndrill-oldest = 0\ncheck-data = true");
    let first = lab.lrl("run --json").expect(0);
    expect(&first, ["done", "off", "done", "off", "off", "off"]);
    assert_eq!(step(&first.json(), "drill")["results"].as_array().unwrap().len(), 1, "the set only");
    pass(&lab, 1);
    expect(&lab.lrl("run --json").expect(0), ["not_due", "off", "done", "off", "off", "off"]);
    pass(&lab, 1);
    expect(&lab.lrl("run --json").expect(0), ["done", "off", "done", "off", "off", "off"]);
    let checked = lab.lrl("run --only check --json").expect(0).json();
    assert!(step(&checked, "check")["results"][0]["checked"]["packs_read"].as_u64() > Some(0), "{checked:#}");
    configure(&lab, "snapshot-only = true", "drill-oldest = 2");
    let drilled = lab.lrl("run --only drill --json").expect(0).json();
    let results = step(&drilled, "drill")["results"].as_array().unwrap();
    assert_eq!((results.len(), results[0]["history"]["drilled"].as_u64()), (1, Some(2)), "{drilled:#}");
}
