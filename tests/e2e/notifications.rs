//! Who is told of a run: services by requests, programs of the user's. Nothing that fails there changes how the run ends.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::common::Lab;
use crate::receiver::{Answer, Receiver};

/// A token as it is part of such URLs.
const TOKEN: &str = "0f8fad5b-d9cb-469f-a165-70867728950e";

fn lab(settings: &str) -> Lab {
    let lab = Lab::small();
    lab.write("lrl.toml", settings);
    lab
}

fn pinging(receiver: &Receiver, kind: &str) -> Lab {
    lab(&format!("ping-url = \"{}\"\nping-kind = \"{kind}\"\n", receiver.url(&format!("/{TOKEN}"))))
}

/// Writes a program and returns its path.
fn program(lab: &Lab, name: &str, script: &str) -> String {
    lab.write(name, format!("#!/bin/sh\n{script}\n"));
    fs::set_permissions(lab.path(name), fs::Permissions::from_mode(0o755)).unwrap();
    lab.path(name).display().to_string()
}

#[test]
fn healthchecks_is_told_of_start_and_end_with_one_id_and_the_log() {
    let receiver = Receiver::start();
    let lab = pinging(&receiver, "healthchecks");
    let run = lab.lrl("backup -v").expect(0);
    assert!(!format!("{}{}", run.stdout, run.stderr).contains(TOKEN), "{}", run.stderr);
    let told = receiver.take();
    let [start, end] = told.as_slice() else { panic!("{told:?}") };
    let rid = start.line.strip_prefix(&format!("POST /{TOKEN}/start?rid=")).unwrap();
    assert!(rid.len() == 36 && rid.as_bytes()[14] == b'4', "{rid}");
    assert_eq!(end.line, format!("POST /{TOKEN}/0?rid={rid}"));
    assert!(end.body.starts_with("lrl backup of lab: done in "), "{}", end.body);
    assert!(end.body.contains("\nBackup completed successfully!\n") && !end.body.contains(TOKEN), "{}", end.body);
    assert!(start.header("user-agent").starts_with("lrl/"));
    // Every command that a timer starts tells; -q prints nothing, and the log is there all the same.
    for (line, code) in [("drill -q", 0), ("check -q", 0), ("prune -q", 0), ("forget --keep-last 9 -q", 0)] {
        let run = lab.lrl(line).expect(code);
        assert_eq!(format!("{}{}", run.stdout, run.stderr), "", "{line}");
        let told = receiver.take();
        assert!(told.len() == 2 && told[1].line.contains(&format!("/{code}?rid=")), "{line}: {told:?}");
        assert!(told[1].body.lines().count() >= 3, "{line}: {}", told[1].body);
    }
    // What only plans, reads or is done by a person tells nobody.
    for line in ["backup --dry-run", "snapshots", "status", "restore", "prune --dry-run", "config"] {
        lab.lrl(line).expect(0);
    }
    assert!(receiver.take().is_empty());
    lab.lrl("backup --ping-url=").expect(0);
    assert!(receiver.take().is_empty(), "an empty one is none");
}

#[test]
fn each_failure_is_told_with_its_code_and_its_error() {
    let receiver = Receiver::start();
    let lab = pinging(&receiver, "healthchecks");
    let end = |line: &str, code: i32| {
        lab.lrl(line).expect(code);
        let told = receiver.take();
        assert_eq!(told.len(), 2, "{told:?}");
        assert!(told[1].line.contains(&format!("/{code}?rid=")), "{}", told[1].line);
        told[1].body.clone()
    };
    assert!(end("drill", 10).contains("lrl: error: "));
    assert!(end("backup --data-dir nowhere", 10).contains("exit code 10: "));
    end("backup", 0);
    fs::remove_dir_all(lab.path("data/assets/ab12")).unwrap();
    end("drill", 0);
    fs::remove_dir_all(lab.path("data/assets")).unwrap();
    assert!(end("backup", 3).contains("warning"));
    fs::write(lab.path("data/lrl.db"), vec![7; 8192]).unwrap();
    let code = lab.lrl("backup --db-only").code;
    assert!(code == 3 || code == 1, "{code}");
    receiver.take();
    fs::remove_file(lab.path("backups/store/config")).unwrap();
    end("check", 4);
}

#[test]
fn other_services_are_told_in_their_own_way() {
    let receiver = Receiver::start();
    let lab = pinging(&receiver, "kuma");
    lab.lrl("backup").expect(0);
    lab.lrl("drill --snapshot nothing").expect(1);
    let told = receiver.take();
    assert_eq!(told.len(), 2, "{told:?}");
    assert!(told[0].line.starts_with(&format!("GET /{TOKEN}?status=up&msg=lrl%20backup%20of%20lab")), "{told:?}");
    assert!(told[1].line.starts_with(&format!("GET /{TOKEN}?status=down&msg=lrl%20drill")), "{told:?}");
    lab.lrl("backup --ping-kind ntfy").expect(0);
    lab.lrl("drill --snapshot nothing --ping-kind ntfy").expect(1);
    let told = receiver.take();
    assert_eq!([told[0].header("priority"), told[1].header("priority")], ["2", "4"]);
    assert!(told[1].header("title").ends_with(": exit code 1") && told[1].body.contains("nothing"), "{told:?}");
    lab.lrl("backup --ping-kind get").expect(0);
    lab.lrl("drill --snapshot nothing --ping-kind get").expect(1);
    let told = receiver.take();
    assert_eq!(told.iter().map(|request| &*request.line).collect::<Vec<_>>(), [format!("GET /{TOKEN}")]);
    lab.lrl("backup --source b --new-source --ping-kind json").expect(0);
    let told: Vec<Value> = receiver.take().iter().map(|told| serde_json::from_str(&told.body).unwrap()).collect();
    assert_eq!((&told[0]["event"], &told[1]["event"]), (&"start".into(), &"end".into()));
    assert_eq!((&told[0]["run"], &told[1]["source"]), (&told[1]["run"], &"b".into()));
    assert_eq!((&told[1]["exit_code"], &told[1]["command"]), (&0.into(), &"backup".into()));
    assert!(lab.lrl("backup --ping-kind pigeon").expect(2).stderr.contains("healthchecks, kuma, ntfy, get, json"));
}

#[test]
fn a_service_that_fails_is_asked_twice_and_changes_nothing() {
    let receiver = Receiver::start();
    let lab = pinging(&receiver, "healthchecks");
    receiver.answer(Answer::Status(500));
    let run = lab.lrl("backup").expect(0);
    assert!(run.stderr.contains("about the start: not told: the server answered 500"), "{}", run.stderr);
    assert!(run.stderr.contains("about the end: not told: the server answered 500"), "{}", run.stderr);
    assert_eq!(receiver.take().len(), 4);
    // One that refuses is not asked again.
    receiver.answer(Answer::Status(404));
    assert!(lab.lrl("drill --snapshot nothing --json").expect(1).json()["error"]["exit_code"] == 1);
    assert_eq!(receiver.take().len(), 2);
    receiver.answer(Answer::Hang);
    let begun = Instant::now();
    let run = lab.lrl("backup --tell-limit 1s -q").expect(0);
    assert!(run.stderr.contains("there was no answer in time, twice"), "{}", run.stderr);
    assert!(begun.elapsed() < Duration::from_secs(30), "the limit holds");
    assert_eq!(receiver.take().len(), 4);
    // Nobody listens there, and this is no URL at all: neither is printed.
    for url in [format!("http://127.0.0.1:1/{TOKEN}"), format!("no url {TOKEN}")] {
        let run = lab.run(["backup", "--ping-url", &url]).expect(0);
        assert!(run.stderr.contains("not told") && !run.stderr.contains(TOKEN), "{}", run.stderr);
    }
}

#[test]
fn no_secret_is_printed_or_leaves_the_machine() {
    let receiver = Receiver::start();
    let mut lab = lab("ping-kind = \"json\"\n");
    lab.set("LRL_PING_URL", &receiver.url(&format!("/{TOKEN}")));
    lab.set("AWS_SECRET_ACCESS_KEY", "wJalrXUtnFEMI/K7MDENG");
    let names = ["wJalrXUtnFEMI-K7MDENG", "AKIAIOSFODNN7EXAMPLE", "password=hunter2hunter2", TOKEN];
    for name in names {
        std::os::unix::fs::symlink("/nowhere", lab.path(format!("data/assets/{name}"))).unwrap();
    }
    // A name that the run prints, in which each secret stands.
    let tag = format!("wJalrXUtnFEMI/K7MDENG AKIAIOSFODNN7EXAMPLE token=abcdefgh https://u:pa55word@h/ {TOKEN}");
    let run = lab.run(["drill", "--snapshot", &tag]).expect(10);
    assert!(run.stderr.contains("lrl: "));
    lab.lrl("backup -v").expect(0);
    let run = lab.run(["drill", "--snapshot", &tag]).expect(1);
    assert!(run.stderr.contains("AKIAIOSFODNN7EXAMPLE"), "on the machine itself it is shown: {}", run.stderr);
    let told = receiver.take();
    assert!(told.len() == 6 && told[5].body.contains("***"), "{told:?}");
    for request in &told {
        for secret in ["wJalrXUtnFEMI/", "AKIAIOSF", "hunter2", "abcdefgh", "pa55word", TOKEN] {
            assert!(!request.body.contains(secret), "{secret}: {}", request.body);
        }
    }
    for line in ["config", "config --json", "help settings", "backup --help"] {
        let run = lab.lrl(line).expect(0);
        assert!(!run.stdout.contains(TOKEN), "{line}: {}", run.stdout);
    }
    assert!(lab.lrl("config").stdout.contains("(hidden)"));
}

#[test]
fn the_url_is_read_from_a_file_that_others_cannot_read() {
    let receiver = Receiver::start();
    let lab = lab("ping-url-file = \"url\"\n");
    lab.secret("url", format!("{}\n", receiver.url(&format!("/{TOKEN}"))));
    lab.lrl("backup").expect(0);
    assert_eq!(receiver.take().len(), 2);
    fs::set_permissions(lab.path("url"), fs::Permissions::from_mode(0o644)).unwrap();
    let run = lab.lrl("backup").expect(0);
    assert!(run.stderr.contains("ping-url-file: not told: ") && run.stderr.contains("chmod 600"), "{}", run.stderr);
    fs::remove_file(lab.path("url")).unwrap();
    assert!(lab.lrl("backup -q").expect(0).stderr.contains("url: No such file"));
    assert!(receiver.take().is_empty());
    // In the settings themselves it is a note.
    lab.write("lrl.toml", format!("ping-url = \"{}\"\n", receiver.url("/x")));
    assert!(lab.lrl("backup").expect(0).stderr.contains("others can read it"));
    fs::set_permissions(lab.path("lrl.toml"), fs::Permissions::from_mode(0o600)).unwrap();
    assert!(!lab.lrl("backup").expect(0).stderr.contains("others can read it"));
}

#[test]
fn programs_are_run_without_a_shell_and_get_the_run_as_json() {
    let mut lab = Lab::small();
    lab.set("AWS_SECRET_ACCESS_KEY", "wJalrXUtnFEMI/K7MDENG");
    let hook = program(&lab, "a hook", "{ echo \"$#|$1|$2\"; env; cat; } > \"$1\"; echo told");
    let word =
        |name: &str| format!("on-{name} = [{hook:?}, \"{}\", \"two  words; $HOME\"]\n", lab.path(name).display());
    lab.write("lrl.toml", [word("start"), word("success"), word("failure")].concat());
    let run = lab.lrl("backup --json").expect(0);
    assert!(run.json()["success"] == true && run.stderr.contains("told\n"), "{}", run.stderr);
    let read = |name: &str| fs::read_to_string(lab.path(name)).unwrap();
    let json = |text: &str| serde_json::from_str::<Value>(&text[text.find("\n{").unwrap()..]).unwrap();
    assert!(read("success").starts_with(&format!("2|{}|two  words; $HOME\n", lab.path("success").display())));
    assert!(!read("success").contains("AWS_SECRET") && read("success").contains("\nHOME="));
    let (start, end) = (json(&read("start")), json(&read("success")));
    assert_eq!((&start["event"], &start["run"]), (&"start".into(), &end["run"]));
    assert_eq!((&end["exit_code"], &end["success"]), (&0.into(), &true.into()));
    assert!(end["log"].as_str().unwrap().contains("Backup completed successfully!"), "{end:#}");
    assert!(!lab.path("failure").exists());
    lab.lrl("drill --snapshot nothing").expect(1);
    let end = json(&read("failure"));
    assert_eq!((&end["exit_code"], &end["command"]), (&1.into(), &"drill".into()));
    assert!(end["error"].as_str().unwrap().contains("nothing"), "{end:#}");
}

#[test]
fn a_program_that_hangs_or_fails_is_ended_with_all_that_it_started() {
    let lab = Lab::small();
    let hang = program(&lab, "hang", "sleep 1000 & echo $! > child; wait");
    let run = lab.run(["backup", "--tell-limit", "1s", "--on-success", &hang]).expect(0);
    assert!(run.stderr.contains("on-success: not told: ") && run.stderr.contains("longer than 1 s"), "{}", run.stderr);
    let child = fs::read_to_string(lab.path("child")).unwrap();
    let ended = || {
        let stat = fs::read_to_string(format!("/proc/{}/stat", child.trim()));
        stat.is_err() || stat.is_ok_and(|stat| stat.contains(") Z "))
    };
    assert!((0..500).any(|_| ended() || {
        std::thread::sleep(Duration::from_millis(10));
        false
    }));
    let run = lab.run(["backup", "--on-success", "false", "--on-start", "/no/such/program"]).expect(0);
    assert!(run.stderr.contains("on-success: not told: false ended with"), "{}", run.stderr);
    assert!(run.stderr.contains("on-start: not told: /no/such/program: "), "{}", run.stderr);
    // One that reads nothing of a long input holds up nobody.
    lab.run(["backup", "-v", "--on-success", "true", "--on-start", "true"]).expect(0);
}
