//! `lrl.toml`, the environment and `lrl config`, with the binary.

use serde_json::{Value, json};

use crate::common::{Lab, Run};

fn setting(run: &Run, key: &str) -> Value {
    let document = run.json();
    let mut settings = document["settings"].as_array().unwrap().iter().filter(|s| s["key"] == key);
    let found = settings.next().unwrap_or_else(|| panic!("no {key} in {document}")).clone();
    assert!(settings.next().is_none(), "{key} twice");
    found
}

#[test]
fn flag_over_environment_over_file_over_default() {
    let mut lab = Lab::empty();
    let data_dir = |lab: &Lab, line: &str| setting(&lab.lrl(line).expect(0), "data-dir");
    assert_eq!(data_dir(&lab, "config --json"), json!({"key": "data-dir", "values": ["./data"], "origin": "default"}));
    lab.write("lrl.toml", "data-dir = '/file'\nstore = '/file/store'\n");
    let from_file = json!({"key": "data-dir", "values": ["/file"], "origin": "file", "from": "./lrl.toml"});
    assert_eq!(data_dir(&lab, "config --json"), from_file);
    lab.set("LAB_DATA_DIR", "");
    assert_eq!(data_dir(&lab, "config --json"), from_file);
    lab.set("LAB_DATA_DIR", "/env");
    let from_environment =
        json!({"key": "data-dir", "values": ["/env"], "origin": "environment", "from": "LAB_DATA_DIR"});
    assert_eq!(data_dir(&lab, "config --json"), from_environment);
    let from_flag = json!({"key": "data-dir", "values": ["/flag"], "origin": "flag"});
    assert_eq!(data_dir(&lab, "config --json --data-dir /flag"), from_flag);
    lab.set("LRL_STORE", "/env/store");
    assert_eq!(setting(&lab.lrl("config --json"), "store")["from"], "LRL_STORE");
}

#[test]
fn the_named_file_comes_before_the_local_one_and_that_before_the_users() {
    let lab = Lab::empty();
    let source = |line: &str| setting(&lab.lrl(line).expect(0), "source")["values"][0].clone();
    lab.write("home/.config/lrl/lrl.toml", "source = 'user'");
    assert_eq!(source("config --json"), "user");
    lab.write("lrl.toml", "source = 'local'");
    assert_eq!(source("config --json"), "local");
    lab.write("other.toml", "source = 'named'");
    assert_eq!(source("config --json --config other.toml"), "named");
    assert_eq!(source("--config other.toml config --json"), "named");
    lab.lrl("config --config missing.toml").expect(2);
}

#[test]
fn xdg_config_home_is_followed() {
    let mut lab = Lab::empty();
    lab.write("xdg/lrl/lrl.toml", "source = 'xdg'");
    lab.set("XDG_CONFIG_HOME", lab.path("xdg").to_str().unwrap());
    assert_eq!(setting(&lab.lrl("config --json"), "source")["values"][0], "xdg");
}

#[test]
fn a_wrong_file_stops_every_command_with_exit_2_and_its_place() {
    let lab = Lab::empty();
    for (text, expected) in [
        ("sorce = 'x'", "./lrl.toml:1: unknown key \"sorce\"; the nearest known key is \"source\""),
        ("source = 1", "source expects one string"),
        ("lock-wait = 'soon'", "lock-wait cannot be \"soon\""),
        ("source = 'x", "./lrl.toml:1: "),
    ] {
        lab.write("lrl.toml", text);
        for line in ["config", "backup", "restore", "drill", "snapshots", "check"] {
            let run = lab.lrl(line).expect(2);
            assert!(run.stderr.starts_with("lrl: error: ") && run.stderr.contains(expected), "{line}: {}", run.stderr);
            assert!(run.stdout.is_empty());
        }
    }
    assert_eq!(lab.lrl("config --json").expect(2).json()["error"]["kind"], "usage");
}

#[test]
fn people_get_a_table_with_every_setting() {
    let mut lab = Lab::empty();
    lab.set("STORAGE_PATH", "/srv/keys");
    lab.write("lrl.toml", "exclude = ['*.tmp', '*.bak']\nrequire-table = ['users']");
    let run = lab.lrl("config").expect(0);
    let line = |start: &str| {
        let line = run.stdout.lines().find(|line| line.starts_with(start)).unwrap_or_else(|| panic!("{}", run.stdout));
        line.split_whitespace().collect::<Vec<_>>().join(" ")
    };
    assert_eq!(line("setting"), "setting value from");
    assert_eq!(line("exclude "), "exclude *.tmp, *.bak file ./lrl.toml");
    assert_eq!(line("store "), "store ./backups/store default");
    assert_eq!(line("lock-wait"), "lock-wait 60s default");
    assert_eq!(line("STORAGE_PATH"), "STORAGE_PATH /srv/keys environment STORAGE_PATH");
    assert!(!run.stdout.contains('\x1b') && run.stderr.is_empty());
}

#[test]
fn quiet_keeps_the_result() {
    assert!(Lab::empty().lrl("config -q").expect(0).stdout.contains("data-dir"));
}
