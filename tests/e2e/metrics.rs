//! Metrics for Prometheus: `--metrics-file` after every run, `lrl status --metrics`, and what is made of them in contrib/prometheus.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use crate::bucket::{BUCKET, Bucket, KEY};
use crate::common::{Lab, repository};

/// Series by name and labels, as they are written.
type Series = BTreeMap<String, f64>;

/// Reads the exposition format as strictly as Prometheus does: HELP and TYPE before the samples of a metric, these together, no series twice.
#[track_caller]
fn parse(text: &str) -> Series {
    let mut series = Series::new();
    let (mut families, mut current) = (BTreeSet::new(), String::new());
    let is_name = |name: &str| {
        !name.is_empty()
            && name
                .bytes()
                .enumerate()
                .all(|(n, b)| b.is_ascii_alphabetic() || b == b'_' || n > 0 && b.is_ascii_digit())
    };
    assert!(text.ends_with('\n') && !text.contains('\r'), "{text}");
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        if let Some(help) = line.strip_prefix("# HELP ") {
            let (name, words) = help.split_once(' ').unwrap();
            assert!(is_name(name) && !words.is_empty() && families.insert(name.to_string()), "{line}");
            assert_eq!(lines.next().unwrap(), format!("# TYPE {name} gauge"));
            current = name.into();
            continue;
        }
        let (name, rest) = line.split_once('{').unwrap_or_else(|| panic!("no labels: {line}"));
        assert_eq!(name, current, "{line}");
        let (labels, value) = rest.rsplit_once("} ").unwrap();
        let mut rest = labels;
        let mut names = BTreeSet::new();
        while !rest.is_empty() {
            let (label, quoted) = rest.split_once("=\"").unwrap();
            assert!(is_name(label) && names.insert(label), "{line}");
            let (mut escaped, mut end) = (false, None);
            for (at, c) in quoted.char_indices() {
                match c {
                    _ if escaped => {
                        assert!(matches!(c, '\\' | '"' | 'n'), "{line}");
                        escaped = false;
                    }
                    '\\' => escaped = true,
                    '"' => {
                        end = Some(at);
                        break;
                    }
                    _ => {}
                }
            }
            rest = &quoted[end.unwrap() + 1..];
            rest = rest.strip_prefix(',').unwrap_or(rest);
        }
        let value: f64 = value.parse().unwrap_or_else(|e| panic!("{e}: {line}"));
        assert!(series.insert(format!("{name}{{{labels}}}"), value).is_none(), "twice: {line}");
    }
    check_with_promtool(text);
    series
}

/// Lets Prometheus's own tool read it, where it is installed.
fn check_with_promtool(text: &str) {
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), text).unwrap();
    let input = fs::File::open(file.path()).unwrap();
    // That it is skipped, `promtool.rs` says.
    if let Ok(output) = Command::new("promtool").args(["check", "metrics"]).stdin(input).output() {
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
}

fn lab() -> Lab {
    let lab = Lab::small();
    fs::create_dir(lab.path("textfile")).unwrap();
    lab.write("lrl.toml", "metrics-file = \"textfile/lrl.prom\"\n");
    lab
}

#[track_caller]
fn read(lab: &Lab) -> Series {
    parse(&fs::read_to_string(lab.path("textfile/lrl.prom")).unwrap())
}

/// Returns the value of the one series that begins so and has this label.
#[track_caller]
fn value(series: &Series, name: &str, label: &str) -> f64 {
    let found: Vec<f64> = series
        .iter()
        .filter(|(key, _)| key.starts_with(&format!("{name}{{")) && key.contains(label))
        .map(|(_, v)| *v)
        .collect();
    let [value] = found[..] else { panic!("{name} {label}: {found:?} in {series:#?}") };
    value
}

fn has(series: &Series, name: &str) -> bool {
    series.keys().any(|key| key.starts_with(&format!("{name}{{")))
}

#[test]
fn every_run_writes_the_file_and_a_failure_keeps_the_last_success() {
    let lab = lab();
    // Nothing is known of a store that is not there, but that the run failed.
    lab.lrl("drill").expect(10);
    let first = read(&lab);
    assert_eq!(value(&first, "lrl_last_run_exit_code", "verb=\"drill\""), 10.0);
    assert_eq!(value(&first, "lrl_last_success_timestamp_seconds", "verb=\"drill\""), 0.0);
    assert!(!has(&first, "lrl_snapshots"));
    lab.lrl("backup").expect(0);
    let good = read(&lab);
    assert_eq!(value(&good, "lrl_last_run_exit_code", "verb=\"backup\""), 0.0);
    assert_eq!(value(&good, "lrl_last_run_exit_code", "verb=\"drill\""), 10.0, "of another command: kept");
    let success = value(&good, "lrl_last_success_timestamp_seconds", "verb=\"backup\"");
    assert!(success > 1.7e9 && success == value(&good, "lrl_last_run_timestamp_seconds", "verb=\"backup\""));
    assert!((success - value(&good, "lrl_last_good_snapshot_timestamp_seconds", "source=\"lab\"")).abs() < 60.0);
    assert_eq!(value(&good, "lrl_last_drill_success_timestamp_seconds", ""), 0.0);
    assert_eq!(value(&good, "lrl_snapshots", "state=\"good\""), 1.0);
    assert_eq!(value(&good, "lrl_snapshots", "state=\"failed\""), 0.0);
    for name in ["lrl_store_size_bytes", "lrl_sets_size_bytes", "lrl_added_bytes", "lrl_free_bytes"] {
        assert!(value(&good, name, "store=\"./backups/store\"") > 0.0, "{name}");
    }
    assert!(value(&good, "lrl_read_lock_seconds", "") < 60.0);
    assert_eq!(value(&good, "lrl_build_info", "version=\""), 1.0);
    let file = fs::metadata(lab.path("textfile/lrl.prom")).unwrap();
    assert_eq!(file.permissions().mode() & 0o777, 0o644);

    lab.lrl("drill").expect(0);
    let drilled = read(&lab);
    assert!(value(&drilled, "lrl_last_drill_success_timestamp_seconds", "") > 1.7e9);
    assert_eq!(value(&drilled, "lrl_snapshots_proven", ""), 1.0);
    assert_eq!(value(&drilled, "lrl_drill_missing_files", ""), 0.0);
    assert!(has(&drilled, "lrl_drill_restore_seconds"));

    // The data is gone, then the disk with the store.
    std::thread::sleep(std::time::Duration::from_millis(1100));
    fs::rename(lab.path("data"), lab.path("away")).unwrap();
    lab.lrl("backup").expect(10);
    fs::rename(lab.path("backups"), lab.path("unmounted")).unwrap();
    lab.lrl("backup").expect(10);
    let failed = read(&lab);
    assert_eq!(value(&failed, "lrl_last_run_exit_code", "verb=\"backup\""), 10.0);
    assert!(value(&failed, "lrl_last_run_timestamp_seconds", "verb=\"backup\"") > success);
    assert_eq!(value(&failed, "lrl_last_success_timestamp_seconds", "verb=\"backup\""), success);
    for name in ["lrl_last_good_snapshot_timestamp_seconds", "lrl_store_size_bytes", "lrl_snapshots_proven"] {
        assert_eq!(value(&failed, name, ""), value(&drilled, name, ""), "{name}");
    }
    assert_eq!(fs::read_dir(lab.path("textfile")).unwrap().count(), 1, "nothing else is left there");
}

#[test]
fn a_run_writes_what_each_of_its_steps_would() {
    let lab = lab();
    lab.write("lrl.toml", "metrics-file = \"textfile/lrl.prom\"\n[policy]\nkeep-daily = 7\n");
    lab.lrl("run").expect(0);
    let series = read(&lab);
    for verb in ["run", "backup", "drill", "forget", "prune", "check"] {
        assert_eq!(value(&series, "lrl_last_run_exit_code", &format!("verb=\"{verb}\"")), 0.0);
        assert!(value(&series, "lrl_last_success_timestamp_seconds", &format!("verb=\"{verb}\"")) > 1.7e9);
    }
    assert!(value(&series, "lrl_last_good_snapshot_timestamp_seconds", "") > 1.7e9);
    assert!(value(&series, "lrl_last_drill_success_timestamp_seconds", "") > 1.7e9);
    assert_eq!(value(&series, "lrl_snapshots", "state=\"good\""), 1.0);
    let printed = parse(&lab.lrl("status --metrics").expect(0).stdout);
    assert_eq!(printed.keys().collect::<Vec<_>>(), series.keys().collect::<Vec<_>>());

    // A step that fails is one of them, and what it found is measured; a check alone measures as well.
    fs::remove_file(lab.path("data/assets/ab12/v1.txt")).unwrap();
    lab.lrl("run --only backup").expect(0);
    lab.lrl("run --only drill").expect(4);
    let series = read(&lab);
    assert_eq!(value(&series, "lrl_last_run_exit_code", "verb=\"drill\""), 4.0);
    assert_eq!(value(&series, "lrl_last_run_exit_code", "verb=\"backup\""), 0.0);
    assert!(value(&series, "lrl_snapshots", "state=\"failed\"") > 0.0);
    fs::remove_file(lab.path("textfile/lrl.prom")).unwrap();
    lab.lrl("run --only check").expect(0);
    assert!(value(&read(&lab), "lrl_snapshots", "state=\"failed\"") > 0.0);
}

#[test]
fn status_prints_the_same_series_and_leaves_no_trace() {
    let lab = lab();
    lab.write("second/.keep", "");
    lab.lrl("init --store second/store").expect(0);
    lab.lrl("backup --copy-to second/store").expect(0);
    lab.lrl("drill").expect(0);
    let printed = parse(&lab.lrl("status --metrics").expect(0).stdout);
    let written = read(&lab);
    assert_eq!(printed.keys().collect::<Vec<_>>(), written.keys().collect::<Vec<_>>());
    for (key, value) in &written {
        assert!(printed[key] == *value || key.contains("_bytes"), "{key}: {value} and {}", printed[key]);
    }
    assert_eq!(value(&printed, "lrl_copy_lag_seconds", "to=\"second/store\""), 0.0);
    lab.lrl("status --metrics --json").expect(2);
    lab.lrl("status --metrics --store ./*").expect(2);
}

#[test]
fn sources_share_a_file_and_labels_are_escaped() {
    let lab = lab();
    lab.lrl("backup --store a\"b\\c/store").expect(0);
    lab.lrl("backup --source other --new-source --store a\"b\\c/store").expect(0);
    let series = read(&lab);
    let runs: Vec<&String> = series.keys().filter(|key| key.starts_with("lrl_last_run_exit_code")).collect();
    assert_eq!(runs.len(), 2, "{runs:?}");
    assert!(runs.iter().all(|key| key.contains(r#"store="a\"b\\c/store""#)), "{runs:?}");
    // A check is about the whole store.
    lab.lrl("check --store a\"b\\c/store").expect(0);
    assert_eq!(value(&read(&lab), "lrl_snapshots", "source=\"other\",state=\"good\""), 1.0);
}

#[test]
fn metrics_that_cannot_be_written_are_a_warning() {
    let lab = Lab::small();
    let run = lab.lrl("backup --metrics-file nowhere/lrl.prom").expect(0);
    assert!(run.stderr.contains("metrics-file nowhere/lrl.prom: not written: "), "{}", run.stderr);
    lab.lrl("backup --metrics-file lrl.prom --dry-run").expect(0);
    assert!(!lab.path("lrl.prom").exists(), "what only plans writes nothing");
}

#[test]
fn an_interrupted_run_is_written_and_told() {
    let lab = lab();
    lab.lrl("backup").expect(0);
    let success = value(&read(&lab), "lrl_last_success_timestamp_seconds", "verb=\"backup\"");
    // A program that the run waits for gives the signal time to come first.
    lab.write("hook", "#!/bin/sh\ntouch begun\nexec sleep 1\n");
    fs::set_permissions(lab.path("hook"), fs::Permissions::from_mode(0o755)).unwrap();
    lab.write("failed", "#!/bin/sh\nexec cat > told\n");
    fs::set_permissions(lab.path("failed"), fs::Permissions::from_mode(0o755)).unwrap();
    lab.upload("new.bin", b"new");
    let mut child = lab.command(["backup", "--on-start", "./hook", "--on-failure", "./failed"]).spawn().unwrap();
    while !lab.path("begun").exists() {
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    let killed = Command::new("kill").args(["-TERM", &child.id().to_string()]).status().unwrap();
    assert!(killed.success());
    assert_eq!(child.wait().unwrap().code(), Some(130));
    let series = read(&lab);
    assert_eq!(value(&series, "lrl_last_run_exit_code", "verb=\"backup\""), 130.0);
    assert_eq!(value(&series, "lrl_last_success_timestamp_seconds", "verb=\"backup\""), success);
    assert_eq!(value(&series, "lrl_snapshots", "state=\"good\""), 1.0);
    assert!(fs::read_to_string(lab.path("told")).unwrap().contains("\"exit_code\":130"));
}

#[test]
fn a_bucket_is_measured_with_few_requests_and_a_write_only_key_tells_of_its_runs() {
    let bucket = Bucket::start();
    let mut lab = lab();
    lab.set("LRL_STORE", &bucket.url("history/one"));
    lab.set("AWS_ACCESS_KEY_ID", KEY);
    lab.set("AWS_SECRET_ACCESS_KEY", "secret");
    lab.secret("pass", "the store's own\n");
    lab.set("LRL_PASSWORD_FILE", "pass");
    lab.lrl("init --encrypt").expect(0);
    let requests = |line: &str| {
        bucket.take_log();
        lab.lrl(line).expect(0);
        bucket.take_log()
    };
    requests("backup");
    let series = read(&lab);
    let store = format!("store=\"s3://{BUCKET}/history/one\"");
    assert_eq!(value(&series, "lrl_snapshots", &format!("state=\"good\",{store}")), 1.0);
    assert!(value(&series, "lrl_store_size_bytes", &store) > 1000.0);
    std::thread::sleep(std::time::Duration::from_millis(2500));
    requests("backup");
    lab.write("without.toml", "");
    let plain = requests("backup --config without.toml").len();
    let measured = requests("backup");
    let packs = measured.iter().filter(|line| line.contains("list-type") && line.contains("packs"));
    assert_eq!(packs.count(), 0, "once a day: {measured:#?}");
    assert!(measured.len() <= plain + 8, "{plain}, and {measured:#?}");
    assert_eq!(value(&read(&lab), "lrl_snapshots", "state=\"good\""), 4.0);

    lab.lrl("key make-file wk").expect(0);
    lab.run(["key", "add", "--writer", "--new-key-file", "wk"]).expect(0);
    fs::remove_file(lab.path("textfile/lrl.prom")).unwrap();
    lab.set("LRL_PASSWORD_FILE", "");
    lab.set("LRL_KEY_FILE", "wk");
    lab.lrl("backup").expect(0);
    let series = read(&lab);
    assert_eq!(value(&series, "lrl_last_run_exit_code", "verb=\"backup\""), 0.0);
    // It knows the snapshot that it has just made, and nothing of others and of drills.
    assert!(value(&series, "lrl_last_good_snapshot_timestamp_seconds", "") > 1.7e9);
    assert!(!has(&series, "lrl_last_drill_success_timestamp_seconds"), "{series:#?}");
    assert!(value(&series, "lrl_snapshots", "state=\"unjudged\"") > 0.0);
}

/// Returns the words in a text that look like metrics.
fn named(text: &str) -> BTreeSet<String> {
    let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    words.filter(|word| word.starts_with("lrl_")).map(str::to_string).collect()
}

#[test]
fn rules_and_dashboard_name_metrics_that_there_are() {
    let lab = lab();
    lab.lrl("init --store second/store").expect(0);
    lab.lrl("backup --copy-to second/store").expect(0);
    lab.lrl("drill").expect(0);
    lab.lrl("watch --snapshot-only --exit-when-idle 100ms").expect(0);
    let printed = lab.lrl("status --metrics").expect(0).stdout;
    let there: BTreeSet<String> = printed
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next())
        .map(str::to_string)
        .collect();
    let dir = repository().join("contrib/prometheus");
    let read = |name: &str| fs::read_to_string(dir.join(name)).unwrap();
    let mut used = BTreeSet::new();
    for name in ["lrl.rules.yml", "lrl.rules.test.yml", "grafana.json"] {
        let named = named(&read(name));
        assert!(!named.is_empty(), "{name}");
        for metric in &named {
            assert!(there.contains(metric), "{name} uses {metric}, which lrl does not print");
        }
        used.extend(named);
    }
    assert_eq!(there.difference(&used).collect::<Vec<_>>(), Vec::<&String>::new(), "metrics that nothing shows");
    let dashboard: serde_json::Value = serde_json::from_str(&read("grafana.json")).unwrap();
    assert!(dashboard["panels"].as_array().unwrap().len() >= 8);
}

#[test]
fn a_metrics_file_that_is_no_file_is_left_alone() {
    use std::os::unix::fs::FileTypeExt;
    let lab = Lab::small();
    assert!(std::process::Command::new("mkfifo").arg(lab.path("pipe")).status().unwrap().success());
    let run = lab.lrl("backup --metrics-file pipe").expect(0);
    assert!(run.stderr.contains("no regular file"), "{}", run.stderr);
    assert!(fs::symlink_metadata(lab.path("pipe")).unwrap().file_type().is_fifo());
}
