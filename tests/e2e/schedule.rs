//! `lrl schedule`: units that systemd accepts, a line that a shell runs, and files of others that stay as they are.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::process::Command;

use crate::common::Lab;
use crate::helpers::{is_root, there_is};

fn site() -> Lab {
    let lab = Lab::small();
    lab.write("lrl.toml", "[policy]\nkeep-daily = 7\n");
    lab
}

fn read(lab: &Lab, path: &str) -> String {
    fs::read_to_string(lab.path(path)).unwrap()
}

fn line<'a>(unit: &'a str, start: &str) -> &'a str {
    unit.lines().find(|line| line.starts_with(start)).unwrap_or_else(|| panic!("no {start} in\n{unit}"))
}

/// Returns whether systemd-analyze succeeds, and its output; `None` where it is not installed.
fn analyze(arguments: &[&str]) -> Option<(bool, String)> {
    if !there_is("systemd-analyze") {
        return None;
    }
    let output = Command::new("systemd-analyze").args(arguments).env("SYSTEMD_LOG_LEVEL", "warning").output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    Some((output.status.success(), text.into_owned()))
}

#[track_caller]
fn verify(lab: &Lab) {
    let paths = ["units/lrl-run.service", "units/lrl-run.timer"].map(|path| lab.path(path).display().to_string());
    let mut arguments = vec!["verify", "--man=no"];
    arguments.extend(paths.iter().map(String::as_str));
    if let Some((success, text)) = analyze(&arguments) {
        assert!(success && !text.contains("lrl-run"), "{text}\n{}", read(lab, "units/lrl-run.service"));
    }
}

#[test]
fn units_are_written_and_systemd_accepts_them() {
    let lab = site();
    let run = lab.lrl("schedule systemd --out units --at 02:30 --at hourly").expect(0);
    assert!(run.stdout.contains("systemctl enable --now lrl-run.timer"), "{}", run.stdout);
    let (service, timer) = (read(&lab, "units/lrl-run.service"), read(&lab, "units/lrl-run.timer"));
    assert!(timer.contains("OnCalendar=*-*-* 02:30:00\nOnCalendar=hourly\n") && timer.contains("Persistent=true"));
    let root = fs::canonicalize(lab.path("")).unwrap();
    assert_eq!(line(&service, "WorkingDirectory="), format!("WorkingDirectory={}", root.display()));
    for path in ["backups", "data", "state"] {
        assert!(service.contains(&format!("ReadWritePaths=\"-{}\"", root.join(path).display())), "{service}");
    }
    assert!(!service.contains("OnFailure=") && !service.contains("backups/store"), "{service}");
    let start = line(&service, "ExecStart=");
    assert!(start.contains(&format!("\"--config={}/lrl.toml\" run", root.display())), "{service}");
    verify(&lab);
    let path = lab.path("units/lrl-run.service").display().to_string();
    if let Some((success, text)) = analyze(&["security", "--offline=true", "--threshold=35", &path]) {
        assert!(success, "{text}");
    }
}

#[test]
fn a_watch_is_a_service_that_tells_how_it_goes() {
    let lab = site();
    let run = lab.lrl("schedule systemd --out units --watch").expect(0);
    assert!(run.stdout.contains("systemctl enable --now lrl-watch.service"), "{}", run.stdout);
    let service = read(&lab, "units/lrl-watch.service");
    for part in ["Type=notify\n", "WatchdogSec=10min\n", "WantedBy=multi-user.target\n", "Restart=on-failure\n"] {
        assert!(service.contains(part), "no {part} in\n{service}");
    }
    assert!(line(&service, "ExecStart=").contains("lrl.toml\" watch"), "{service}");
    let path = lab.path("units/lrl-watch.service").display().to_string();
    if let Some((success, text)) = analyze(&["verify", "--man=no", &path]) {
        assert!(success && !text.contains("lrl-watch"), "{text}\n{service}");
    }
    verify(&lab);
    lab.lrl("schedule cron --watch --out cron").expect(2);
    lab.lrl("schedule systemd --out units --watch --name b").expect(0);
    assert!(lab.path("units/b-watch.service").exists());
    let removed = lab.lrl("schedule systemd --out units --remove").expect(0);
    assert!(removed.stdout.contains("systemctl stop lrl-watch.service"), "{}", removed.stdout);
    assert!(!lab.path("units/lrl-watch.service").exists() && lab.path("units/b-watch.service").exists());
}

#[test]
fn what_lrl_itself_writes_is_there_before_the_unit_makes_all_else_read_only() {
    let mut lab = site();
    lab.secret("pass", "four words of it\n");
    lab.set("LRL_PASSWORD_FILE", &lab.path("pass").display().to_string());
    lab.lrl("init --encrypt").expect(0);
    let mode = |path: &str| fs::metadata(lab.path(path)).map(|dir| dir.permissions().mode() & 0o777).ok();
    lab.lrl("schedule print").expect(0);
    assert_eq!(mode("home/.cache/lrl"), None, "nothing is made for what is only shown");
    let run = lab.lrl("schedule systemd --out units").expect(0);
    assert_eq!((mode("home/.cache/lrl"), mode("state")), (Some(0o700), Some(0o700)));
    assert!(!run.stderr.contains("not there yet"), "{}", run.stderr);
}

#[test]
fn paths_with_blanks_quotes_and_specifiers_stay_what_they_are() {
    let lab = Lab::empty();
    let name = "a site's 100% \"$HOME\" %n\\x";
    let root = lab.path(name);
    fs::create_dir_all(root.join("data/assets")).unwrap();
    fs::write(root.join("lrl.toml"), "").unwrap();
    let units = lab.path("units").display().to_string();
    let run = lab.command(["schedule", "systemd", "--out", &units]).current_dir(&root).output().unwrap();
    assert_eq!(run.status.code(), Some(0), "{}", String::from_utf8_lossy(&run.stderr));
    let service = read(&lab, "units/lrl-run.service");
    let top = root.parent().unwrap().display().to_string();
    assert_eq!(line(&service, "WorkingDirectory="), format!("WorkingDirectory={top}/a site's 100%% \"$HOME\" %%n\\x"));
    let escaped = format!("{top}/a site's 100%% \\\"$HOME\\\" %%n\\\\x/data");
    assert!(service.contains(&format!("ReadWritePaths=\"-{escaped}\"")), "{service}");
    assert!(line(&service, "ExecStart=").contains("100%% \\\"$$HOME\\\" %%n\\\\x/lrl.toml\" run"), "{service}");
    verify(&lab);
    // What no unit and no crontab can hold is refused before anything is written.
    for (name, form) in [("line\nbreak", "systemd"), ("back\\slash", "cron")] {
        let root = lab.path(name);
        fs::create_dir_all(&root).unwrap();
        fs::write(root.join("lrl.toml"), "").unwrap();
        let none = lab.path("none").display().to_string();
        let run = lab.command(["schedule", form, "--out", &none]).current_dir(&root).output().unwrap();
        assert_eq!(run.status.code(), Some(2), "{}", String::from_utf8_lossy(&run.stderr));
    }
    assert!(!lab.path("none").exists());
}

#[test]
fn paths_above_the_directory_are_written_without_dots() {
    let lab = Lab::empty();
    fs::create_dir_all(lab.path("site/data")).unwrap();
    fs::create_dir_all(lab.path("disk/deep")).unwrap();
    std::os::unix::fs::symlink(lab.path("disk/deep"), lab.path("site/link")).unwrap();
    lab.secret("key", "");
    lab.write("site/lrl.toml", "backup = \"../out\"\ncopy-to = \"link/../second\"\nkey-file = \"../key\"\n");
    let command = ["schedule", "systemd", "--out", "../units"];
    let run = lab.command(command).current_dir(lab.path("site")).output().unwrap();
    assert_eq!(run.status.code(), Some(0), "{}", String::from_utf8_lossy(&run.stderr));
    let service = read(&lab, "units/lrl-run.service");
    let root = fs::canonicalize(lab.path("")).unwrap();
    for path in ["out", "disk/second", "site/data"] {
        assert!(service.contains(&format!("ReadWritePaths=\"-{}\"\n", root.join(path).display())), "{service}");
    }
    assert!(service.contains(&format!("LoadCredential=lrl.key-file:{}\n", root.join("key").display())), "{service}");
    verify(&lab);
}

#[test]
fn the_root_of_a_site_can_be_written_for_the_shm_of_its_databases() {
    let lab = Lab::empty();
    fs::create_dir_all(lab.path("site/data")).unwrap();
    lab.write("site/lrl.toml", "root = \"data\"\napp = \"vaultwarden\"\n");
    let run = lab.lrl("--config site/lrl.toml schedule systemd --out units").expect(0);
    let service = read(&lab, "units/lrl-run.service");
    let root = fs::canonicalize(lab.path("site/data")).unwrap();
    assert!(service.contains(&format!("ReadWritePaths=\"-{}\"\n", root.display())), "{service}\n{}", run.stderr);
}

#[test]
fn who_is_told_can_be_reached_from_the_unit() {
    let mut lab = Lab::small();
    lab.write("lrl.toml", "");
    lab.lrl("schedule systemd --out units").expect(0);
    assert!(!read(&lab, "units/lrl-run.service").contains("AF_INET"));
    lab.write("lrl.toml", "ping-url-file = \"ping\"\nmetrics-file = \"/var/lib/node/lrl.prom\"\n");
    lab.lrl("schedule systemd --out told").expect(0);
    let service = read(&lab, "told/lrl-run.service");
    assert!(service.contains("AF_INET") && service.contains("ReadWritePaths=\"-/var/lib/node\""), "{service}");
    lab.set("LRL_PING_URL", "https://hc.example.org/very-secret-token");
    let run = lab.lrl("schedule systemd --out never").expect(2);
    assert!(run.stderr.contains("ping-url-file") && !run.stderr.contains("very-secret"), "{}", run.stderr);
}

#[test]
fn secrets_buckets_and_alarms_are_in_the_unit() {
    let mut lab = Lab::small();
    lab.write(
        "lrl.toml",
        "store = \"s3://bucket/lab?endpoint=http://localhost:1\"\nkey-file = \"/etc/lrl/key\"\nstate-dir = \"/var/lib/lrl\"\ncache-dir = \"/var/cache/lrl\"\n\
         copy-to = \"/mnt/usb/store\"\ncopy-to-password-file = \"pass word\"\n",
    );
    lab.set("AWS_ACCESS_KEY_ID", "very-secret");
    lab.set("LRL_STATE_DIR", "");
    lab.set("STORAGE_PATH", "/srv/more files");
    let run = lab.lrl("schedule systemd --out units --on-failure-unit alarm@%n.service").expect(0);
    assert!(
        run.stderr.contains("AWS_ACCESS_KEY_ID is set here") && run.stderr.contains("/etc/lrl/key"),
        "{}",
        run.stderr
    );
    let service = read(&lab, "units/lrl-run.service");
    assert!(service.contains("LoadCredential=lrl.key-file:/etc/lrl/key\n"), "{service}");
    assert!(line(&service, "LoadCredential=lrl.copy-to-password-file:").ends_with("/pass word"), "{service}");
    assert!(
        service.contains("EnvironmentFile=-/etc/lrl/environment\n") && !service.contains("very-secret"),
        "{service}"
    );
    assert!(service.contains("Environment=\"STORAGE_PATH=/srv/more files\"\n"), "{service}");
    assert!(service.contains("OnFailure=alarm@%n.service\n") && service.contains("AF_INET"), "{service}");
    for path in ["/mnt/usb/store", "/var/lib/lrl", "/var/cache/lrl"] {
        assert!(service.contains(&format!("ReadWritePaths=\"-{path}\"")), "{service}");
    }
    assert!(line(&service, "ExecStart=").ends_with(" run"), "the file sets both: {service}");
    verify(&lab);
}

#[test]
fn files_of_others_and_of_other_sites_are_left_alone() {
    let lab = site();
    lab.write("units/lrl-run.timer", "[Timer]\nOnCalendar=daily\n");
    let refused = lab.lrl("schedule systemd --out units").expect(2);
    assert!(refused.stderr.contains("lrl-run.timer is there"), "{}", refused.stderr);
    assert!(!lab.path("units/lrl-run.service").exists(), "nothing is half written");
    lab.lrl("schedule systemd --out units --remove").expect(2);
    assert_eq!(read(&lab, "units/lrl-run.timer"), "[Timer]\nOnCalendar=daily\n");
    fs::remove_file(lab.path("units/lrl-run.timer")).unwrap();
    lab.lrl("schedule systemd --out units").expect(0);
    lab.lrl("schedule systemd --out units --at 04:00").expect(0);
    assert!(read(&lab, "units/lrl-run.timer").contains("04:00"));
    lab.write("b.toml", "");
    let other = lab.lrl("--config b.toml schedule systemd --out units").expect(2);
    assert!(other.stderr.contains("another site") && other.stderr.contains("--name"), "{}", other.stderr);
    lab.lrl("--config b.toml schedule systemd --out units --name lrl-b").expect(0);
    // The link that `systemctl enable` made goes with its timer.
    fs::create_dir(lab.path("units/timers.target.wants")).unwrap();
    for name in ["lrl-run.timer", "lrl-b.timer"] {
        let link = lab.path(format!("units/timers.target.wants/{name}"));
        std::os::unix::fs::symlink(lab.path(format!("units/{name}")), link).unwrap();
    }
    let removed = lab.lrl("schedule systemd --out units --remove --json").expect(0).json();
    assert_eq!(removed["removed"].as_array().unwrap().len(), 3, "{removed:#}");
    assert!(lab.path("units/lrl-b.timer").is_file() && lab.path("units/timers.target.wants/lrl-b.timer").exists());
    assert!(lab.lrl("schedule systemd --out units --remove").expect(0).stdout.contains("nothing to remove"));
}

#[test]
fn a_line_for_cron_runs_in_a_shell_and_is_silent() {
    let lab = Lab::small();
    let root = lab.path("it's 100%");
    fs::create_dir(&root).unwrap();
    fs::rename(lab.path("data"), root.join("data")).unwrap();
    fs::write(root.join("lrl.toml"), "").unwrap();
    let cron = lab.path("cron.d").display().to_string();
    let run = lab.command(["schedule", "cron", "--out", &cron, "--at", "4:05"]).current_dir(&root).output().unwrap();
    assert_eq!(run.status.code(), Some(0), "{}", String::from_utf8_lossy(&run.stderr));
    let text = read(&lab, "cron.d/lrl");
    let command = line(&text, "5 4 * * * root cd ").strip_prefix("5 4 * * * root ").unwrap();
    let command = command.replace("\\%", "%");
    let run = Command::new("sh").args(["-c", &command]).env_clear().env("PATH", "/usr/bin:/bin").output().unwrap();
    assert_eq!(
        (run.status.code(), run.stdout, String::from_utf8(run.stderr).unwrap()),
        (Some(0), vec![], String::new())
    );
    assert!(root.join("backups/store/cache/steps-lab.json").is_file());
    lab.lrl(&format!("schedule cron --out {cron} --remove")).expect(0);
    assert!(!lab.path("cron.d/lrl").exists());
}

#[test]
fn a_user_has_units_and_a_crontab_of_their_own() {
    let lab = site();
    lab.lrl("schedule systemd --user").expect(0);
    let service = read(&lab, "home/.config/systemd/user/lrl-run.service");
    assert!(service.contains("NoNewPrivileges=yes") && !service.contains("CapabilityBoundingSet="), "{service}");
    let shown = lab.lrl("schedule cron --user").expect(0);
    assert!(shown.stdout.starts_with("0 3 * * * cd ") && shown.stderr.contains("crontab -e"), "{}", shown.stdout);
    lab.lrl("schedule systemd --user --remove").expect(0);
    assert!(!lab.path("home/.config/systemd/user/lrl-run.service").exists());
}

#[test]
fn print_writes_nothing_and_bad_words_are_refused() {
    let lab = site();
    let shown = lab.lrl("schedule print --out units").expect(0).stdout;
    for part in ["==> units/lrl-run.service <==", "==> units/lrl-run.timer <==", "==> units/lrl <=="] {
        assert!(shown.contains(part), "{shown}");
    }
    assert!(!lab.path("units").exists());
    let json = lab.lrl("schedule print --out units --json").expect(0).json();
    assert_eq!((json["files"].as_array().unwrap().len(), &json["written"]), (3, &false.into()));
    for line in [
        "schedule systemd --at 25:00",
        "schedule systemd --at noon",
        "schedule systemd --name a.b",
        "schedule systemd --on-failure-unit alarm",
        "schedule cron --out x --on-failure-unit a.service",
        "schedule print --remove",
        "schedule",
    ] {
        lab.lrl(line).expect(2);
    }
    fs::remove_file(lab.path("lrl.toml")).unwrap();
    let refused = lab.lrl("schedule systemd --out units").expect(2);
    assert!(refused.stderr.contains("lrl.toml"), "{}", refused.stderr);
}

#[test]
fn a_file_that_others_can_write_is_not_scheduled() {
    let lab = site();
    fs::set_permissions(lab.path("lrl.toml"), PermissionsExt::from_mode(0o666)).unwrap();
    let refused = lab.lrl("--config lrl.toml schedule systemd --out units").expect(1);
    assert!(refused.stderr.contains("is not trusted"), "{}", refused.stderr);
    assert!(!lab.path("units").exists());
}

#[test]
fn a_run_makes_no_system_call_that_its_unit_forbids() {
    if !there_is("systemd-analyze") || !there_is("strace") {
        return;
    }
    let lab = site();
    lab.lrl("schedule systemd --out units").expect(0);
    let filter = line(&read(&lab, "units/lrl-run.service"), "SystemCallFilter=").replace("SystemCallFilter=", "");
    let mut allowed = BTreeSet::new();
    let mut sets = vec![filter];
    while let Some(set) = sets.pop() {
        let (_, text) = analyze(&["syscall-filter", "--no-pager", &set]).unwrap();
        for name in text.lines().skip(1).map(str::trim).filter(|name| !name.is_empty() && !name.starts_with('#')) {
            match name.starts_with('@') {
                true => sets.push(name.into()),
                false => _ = allowed.insert(name.to_string()),
            }
        }
    }
    assert!(allowed.contains("openat"), "{allowed:?}");
    let mut traced = Command::new("strace");
    traced.args(["-f", "-qq", "-o", "calls", "-e", "signal=none"]).arg(env!("CARGO_BIN_EXE_lrl")).arg("run");
    let output = traced.current_dir(lab.path("")).env("HOME", lab.path("home")).output().unwrap();
    let calls = fs::read_to_string(lab.path("calls")).unwrap_or_default();
    if calls.is_empty() {
        println!("skipped: no process can be traced here");
        return;
    }
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    let name = |line: &str| Some(line.split_whitespace().nth(1)?.split_once('(')?.0.to_string());
    let used: BTreeSet<String> = calls.lines().filter_map(name).filter(|name| !name.starts_with('<')).collect();
    let forbidden: Vec<_> = used.difference(&allowed).collect();
    assert!(used.contains("openat") && forbidden.is_empty(), "{forbidden:?}");
}

#[test]
fn the_rights_of_the_unit_suffice_for_what_others_own() {
    if !is_root() || !there_is("setpriv") {
        return;
    }
    let lab = site();
    lab.lrl("schedule systemd --out units").expect(0);
    let unit = read(&lab, "units/lrl-run.service");
    let rights = line(&unit, "CapabilityBoundingSet=").replace("CapabilityBoundingSet=", "").to_lowercase();
    let rights: String = rights.split(' ').map(|right| format!(",+{}", right.trim_start_matches("cap_"))).collect();
    let connection = lab.database();
    connection.execute_batch("PRAGMA journal_mode = WAL; INSERT INTO users (id) VALUES ('late')").unwrap();
    let own = Command::new("chown").args(["-R", "12345:12345"]).arg(lab.path("data")).status().unwrap();
    let closed = Command::new("chmod").args(["-R", "go=,u-x+X"]).arg(lab.path("data")).status().unwrap();
    assert!(own.success() && closed.success());
    let mut command = Command::new("setpriv");
    command.args(["--no-new-privs", &format!("--bounding-set=-all{rights}"), "--inh-caps=-all", "--"]);
    command.arg(env!("CARGO_BIN_EXE_lrl")).arg("run").current_dir(lab.path("")).env("HOME", lab.path("home"));
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    let shm = fs::metadata(lab.path("data/lrl.db-shm")).unwrap();
    assert_eq!((shm.uid(), shm.gid()), (12345, 12345), "the application can still write it");
    drop(connection);
}
