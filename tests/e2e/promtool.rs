//! Prometheus's own tool reads what lrl writes, and tests the alert rules of contrib/prometheus, where it is installed.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::common::{Lab, repository};
use crate::helpers::there_is;

fn rules() -> PathBuf {
    repository().join("contrib/prometheus")
}

#[track_caller]
fn promtool(arguments: &[&str], input: Option<&Path>) {
    let mut command = Command::new("promtool");
    command.args(arguments).current_dir(rules());
    command.stdin(input.map_or_else(Stdio::null, |path| File::open(path).unwrap().into()));
    let run = command.output().unwrap();
    let said = format!("{}{}", String::from_utf8_lossy(&run.stdout), String::from_utf8_lossy(&run.stderr));
    // A lint is printed, and is no failure.
    assert!(run.status.success(), "{arguments:?}: {said}");
    assert!(arguments != ["check", "metrics"] || said.is_empty(), "{said}");
}

#[test]
fn promtool_accepts_what_is_written_and_printed() {
    if !there_is("promtool") {
        return;
    }
    let lab = Lab::small();
    lab.write("lrl.toml", "metrics-file = \"lrl.prom\"\ncopy-to = \"second\"\n");
    // Of a run that failed, with a store and without one.
    lab.lrl("drill").expect(10);
    promtool(&["check", "metrics"], Some(&lab.path("lrl.prom")));
    lab.lrl("init --store second").expect(0);
    lab.lrl("run").expect(0);
    lab.lrl("backup --source other --new-source").expect(0);
    lab.lrl("watch --snapshot-only --exit-when-idle 100ms").expect(0);
    promtool(&["check", "metrics"], Some(&lab.path("lrl.prom")));
    lab.write("printed", lab.lrl("status --metrics").expect(0).stdout);
    promtool(&["check", "metrics"], Some(&lab.path("printed")));
}

#[test]
fn promtool_accepts_the_alert_rules_and_their_tests_pass() {
    if there_is("promtool") {
        promtool(&["check", "rules", "lrl.rules.yml"], None);
        promtool(&["test", "rules", "lrl.rules.test.yml"], None);
    }
}

#[test]
fn each_alert_rule_fires_in_a_test() {
    let read = |name: &str| fs::read_to_string(rules().join(name)).unwrap();
    let (rules, tests) = (read("lrl.rules.yml"), read("lrl.rules.test.yml"));
    let fires = |alert: &str| {
        let mut cases = tests.split("alertname: ").skip(1).filter_map(|case| case.split_once('\n'));
        cases.any(|(name, rest)| name == alert && rest.trim_start().starts_with("exp_alerts:\n"))
    };
    let alerts: Vec<&str> = rules.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")).collect();
    assert!(alerts.len() > 10, "{alerts:?}");
    for alert in alerts {
        assert!(fires(alert), "{alert} is in no test, or only where it must not fire");
    }
}
