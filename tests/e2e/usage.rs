//! The command line: help, usage errors, exit codes, pipes.

use std::fs;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::common::Lab;

#[test]
fn help_and_version_end_well_and_show_examples() {
    let lab = Lab::empty();
    let help = lab.lrl("--help").expect(0);
    assert!(help.stdout.contains("EXAMPLES") && help.stderr.is_empty());
    for verb in
        "backup restore drill export import snapshots ls diff find dump sql rows check forget prune stats status init setup config completions man report ui watch"
            .split(' ')
    {
        let help = lab.lrl(&format!("{verb} --help")).expect(0);
        assert!(help.stdout.contains(&format!("\n  lrl {verb}")), "no example in lrl {verb} --help:\n{}", help.stdout);
    }
    assert!(lab.lrl("--version").expect(0).stdout.starts_with("lrl "));
}

#[test]
fn usage_errors_exit_2_and_leave_standard_output_alone() {
    let lab = Lab::empty();
    for line in [
        "",
        "frobnicate",
        "backup --no-such-flag",
        "backup --db-only --assets-only",
        "backup --if-older-than soon",
        "check --read-data-subset 9/7",
        "forget",
        "forget --prune",
        "forget --keep-last 0",
        "forget --keep-last",
        "forget --keep-last -1",
        "forget --keep-within 6m",
        "forget --keep-within 0d",
        "forget --keep-tag=",
        "forget latest --keep-last 3",
        "prune --max-unused 200%",
        "ls",
        "export",
        "completions tcsh",
        "config --source ../x",
    ] {
        let run = lab.lrl(line).expect(2);
        assert!(run.stdout.is_empty(), "{line}: {}", run.stdout);
        assert!(!run.stderr.is_empty(), "{line}");
    }
}

#[test]
fn a_mistyped_word_is_met_with_the_nearest_one() {
    let run = Lab::empty().lrl("bakcup").expect(2);
    assert!(run.stderr.contains("backup"), "{}", run.stderr);
}

#[test]
fn completion_scripts_and_manual_pages_need_no_configuration() {
    let lab = Lab::empty();
    lab.write("lrl.toml", "no such key = 1");
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = lab.lrl(&format!("completions {shell}")).expect(0).stdout;
        assert!(script.contains("COMPLETE") && script.contains("lrl"), "{shell}: {script}");
    }
    lab.lrl("man pages").expect(0);
    let names = crate::helpers::names(lab.path("pages"));
    for name in ["lrl.1", "lrl-backup.1", "lrl-key-make-file.1", "lrl-man.1"] {
        assert!(names.iter().any(|known| known == name), "{name}: {names:?}");
    }
    let page = fs::read_to_string(lab.path("pages/lrl-restore.1")).unwrap();
    assert!(page.contains(".TH LRL-RESTORE 1") && page.contains("EXIT STATUS") && page.contains("EXAMPLES"), "{page}");
    assert!(lab.lrl("man lrl.toml").expect(1).stderr.contains("lrl.toml"));
}

/// Asks what fits the last word, as a shell does.
fn completed(lab: &Lab, line: &[&str]) -> Vec<String> {
    let mut command = lab.command(["--", "lrl"]);
    let index = line.len().to_string();
    command.args(line).env("COMPLETE", "bash").env("_CLAP_COMPLETE_INDEX", index).env("_CLAP_IFS", "\n");
    let run: crate::common::Run = command.output().unwrap().into();
    run.expect(0).stdout.lines().map(|line| line.trim().to_string()).collect()
}

#[test]
fn a_shell_completes_snapshots_sources_and_paths_from_the_store() {
    let lab = Lab::small();
    lab.lrl("backup --snapshot-only").expect(0);
    lab.lrl("backup --snapshot-only --db-only --source other").expect(0);
    let listed = lab.lrl("snapshots --json").expect(0).json();
    let id = listed["snapshots"][0]["short_id"].as_str().unwrap();
    assert_eq!(completed(&lab, &["snap"]), ["snapshots"]);
    assert!(completed(&lab, &["restore", "--skip"]).contains(&"--skip-damaged".to_string()));
    assert_eq!(completed(&lab, &["restore", &id[..5]]), [id]);
    let all = completed(&lab, &["ls", ""]);
    assert!(all.iter().any(|one| one == "good") && all.iter().any(|one| one == id), "{all:?}");
    assert_eq!(completed(&lab, &["drill", "--snapshot", "la"]), ["latest"]);
    assert_eq!(completed(&lab, &["status", "--source", "o"]), ["other"]);
    assert_eq!(completed(&lab, &["dump", id, "assets/a"]), ["assets/ab12/"]);
    assert_eq!(completed(&lab, &["ls", id, "assets/ab12/"]), ["assets/ab12/v1.txt", "assets/ab12/v2.txt"]);
    assert_eq!(completed(&lab, &["restore", "--only", "lrl"]), ["lrl.db"]);
    // The store of the line, not that of this directory; and nothing where there is none.
    let elsewhere = Lab::empty();
    let store = format!("--store={}", lab.path("backups/store").display());
    assert_eq!(completed(&elsewhere, &["restore", &store, &id[..6]]), [id]);
    assert_eq!(completed(&elsewhere, &["restore", &id[..6]]), Vec::<String>::new());
}

#[test]
fn who_closes_the_pipe_early_sees_no_complaint() {
    let lab = Lab::empty();
    let mut child = lab.command(["completions", "bash"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!((output.status.code(), String::from_utf8_lossy(&output.stderr).as_ref()), (Some(0), ""));
}

#[test]
fn a_full_device_behind_standard_output_is_a_failure() {
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let output = Lab::empty().command(["config"]).stdout(full).stderr(Stdio::piped()).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("standard output"));
}

#[test]
fn a_store_that_this_build_cannot_reach_is_named_not_made_as_a_directory() {
    let lab = Lab::empty();
    for (scheme, is_there, hint) in
        [("gs", cfg!(feature = "gcs"), "--features gcs"), ("az", cfg!(feature = "azure"), "--features azure")]
    {
        let run = lab.lrl(&format!("snapshots --store {scheme}://bucket/lab")).expect(1);
        assert!(run.stderr.contains(&format!("{scheme}://bucket/lab")), "{}", run.stderr);
        assert!(is_there || run.stderr.contains("hint:") && run.stderr.contains(hint), "{}", run.stderr);
    }
    assert_eq!(std::fs::read_dir(lab.path("")).unwrap().count(), 0);
}

#[test]
fn a_failure_with_json_is_one_document_too() {
    let run = Lab::empty().lrl("snapshots --json --store nowhere").expect(10);
    let document = run.json();
    assert_eq!(document["success"], false);
    assert_eq!(document["error"]["kind"], "no_store");
    assert_eq!(document["error"]["exit_code"], 10);
}

#[test]
fn with_json_a_usage_error_and_a_script_are_documents_too() {
    let lab = Lab::empty();
    for line in ["--json", "frobnicate --json", "backup --json --no-such-flag", "export --json"] {
        let run = lab.lrl(line).expect(2);
        let document = run.json();
        assert_eq!((&document["success"], &document["error"]["kind"]), (&false.into(), &"usage".into()), "{line}");
        assert!(!document["error"]["message"].as_str().unwrap().is_empty() && !run.stderr.is_empty(), "{line}");
    }
    assert!(lab.lrl("ls -- --json").expect(10).stdout.is_empty());
    let script = lab.lrl("completions bash --json").expect(0).json();
    assert_eq!(script["script"], lab.lrl("completions bash").expect(0).stdout);
    assert_eq!(lab.lrl("config --json").expect(0).json()["success"], true);
}

#[test]
fn verbose_says_which_settings_store_and_snapshot_are_used() {
    let lab = Lab::small();
    lab.write("lrl.toml", "source = 'this'");
    let run = lab.lrl("backup -v").expect(0);
    assert!(
        run.stderr.contains("settings from ./lrl.toml") && run.stderr.contains("store ./backups/store"),
        "{}",
        run.stderr
    );
    let run = lab.lrl("ls latest -v").expect(0);
    assert!(run.stderr.contains("`latest` is snapshot ") && run.stderr.contains("number 1 of this"), "{}", run.stderr);
    assert!(lab.lrl("ls latest").expect(0).stderr.is_empty());
}

#[test]
fn a_restore_says_how_to_go_back_only_where_something_is_kept() {
    let lab = Lab::small();
    lab.lrl("backup").expect(0);
    assert!(lab.lrl("restore").expect(0).stdout.contains("To go back"));
    assert!(!lab.lrl("restore --data-dir fresh").expect(0).stdout.contains("To go back"));
}

/// Ends the process `child` by its number, so that a failed test leaves nothing behind.
fn signal(child: &Child, name: &str) {
    let status = Command::new("kill").args([format!("-{name}"), child.id().to_string()]).status().unwrap();
    assert!(status.success());
}

#[test]
fn a_second_signal_ends_at_once_with_130() {
    let lab = Lab::empty();
    assert!(Command::new("mkfifo").arg(lab.path("fifo")).status().unwrap().success());
    let mut child = lab.command(["config", "--config", "fifo"]).spawn().unwrap();
    // Opening returns when lrl has opened the other end, which is after it began to listen; then it waits for text.
    let fifo = std::fs::OpenOptions::new().write(true).open(lab.path("fifo")).unwrap();
    signal(&child, "INT");
    std::thread::sleep(Duration::from_millis(200));
    assert!(child.try_wait().unwrap().is_none(), "the first signal asks, it does not kill");
    signal(&child, "TERM");
    assert_eq!(child.wait().unwrap().code(), Some(130));
    drop(fifo);
}
