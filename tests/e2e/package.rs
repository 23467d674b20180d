//! The package: built, installed below a directory, used, upgraded, removed and purged by dpkg itself. Needs root and dpkg.

// A log says what could not be tried here.
#![allow(clippy::print_stdout)]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::common::{Lab, Run, repository};
use crate::helpers::{names, there_is};

/// Builds the package with this version; `None`, with a note, where there is no dpkg.
fn build(lab: &Lab, version: &str) -> Option<PathBuf> {
    let is_root = rustix::process::geteuid().is_root();
    if !is_root || Command::new("dpkg-deb").arg("--version").output().is_err() {
        println!("skipped: a package is made and installed by root, with dpkg");
        return None;
    }
    let out = lab.path(format!("dist-{version}"));
    let run: Run = Command::new(repository().join("contrib/dist/package"))
        .args([Path::new(env!("CARGO_BIN_EXE_lrl")), &out])
        .env("VERSION", version)
        .env("SOURCE_DATE_EPOCH", "1700000000")
        // Nobody waits for a small one in a test.
        .env("QUICK", "1")
        .output()
        .unwrap()
        .into();
    run.expect(0);
    Some(out)
}

fn deb(dist: &Path) -> PathBuf {
    let name = names(dist).into_iter().find(|name| name.ends_with(".deb")).unwrap();
    dist.join(name)
}

/// A machine of its own, as far as dpkg is concerned.
struct Machine(PathBuf);

impl Machine {
    fn new(lab: &Lab) -> Self {
        let root = lab.path("machine");
        for dir in ["var/lib/dpkg/info", "var/lib/dpkg/updates", "var/log", "tmp"] {
            fs::create_dir_all(root.join(dir)).unwrap();
        }
        fs::write(root.join("var/lib/dpkg/status"), "").unwrap();
        Self(root)
    }

    fn dpkg(&self, arguments: &[&str]) -> Run {
        let root = format!("--root={}", self.0.display());
        let mut command = Command::new("dpkg");
        command.args([&root, "--force-script-chrootless", "--force-depends", "--log=/dev/null"]);
        // A file that somebody edited stays as it is.
        command.args(["--force-confold"]).args(arguments).env("DEBIAN_FRONTEND", "noninteractive");
        Run::from(command.output().unwrap()).expect(0)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

#[test]
fn the_package_is_installed_used_upgraded_and_removed() {
    let lab = Lab::small();
    let Some(first) = build(&lab, "0.1.0") else { return };
    let machine = Machine::new(&lab);
    machine.dpkg(&["--install", deb(&first).to_str().unwrap()]);
    for file in [
        "usr/share/man/man1/lrl.1.gz",
        "usr/share/man/man1/lrl-restore.1.gz",
        "usr/share/bash-completion/completions/lrl",
        "usr/share/zsh/vendor-completions/_lrl",
        "usr/share/fish/vendor_completions.d/lrl.fish",
        "usr/share/doc/lrl/copyright",
        "usr/share/doc/lrl/changelog.gz",
        "usr/share/doc/lrl/OPERATIONS.md",
        "usr/lib/systemd/system/lrl-run.service",
        "usr/lib/systemd/system/lrl-run.timer",
        "etc/lrl/lrl.toml",
    ] {
        assert!(machine.path(file).metadata().is_ok_and(|meta| meta.len() > 0), "{file}");
    }
    // Used: what was installed, on the lab.
    let lrl = |line: &str| -> Run {
        let mut command = Command::new(machine.path("usr/bin/lrl"));
        command.args(line.split_whitespace()).current_dir(lab.path("")).env_clear().env("HOME", lab.path("home"));
        command.output().unwrap().into()
    };
    assert!(lrl("--version").expect(0).stdout.starts_with("lrl "));
    lrl("backup").expect(0);
    lrl("drill").expect(0);
    // As it comes, the file sets nothing.
    let config = machine.path("etc/lrl/lrl.toml");
    let shown = lrl(&format!("--config {} config --json", config.display())).expect(0).json();
    assert!(!shown.to_string().contains("/var/lib/lrl"), "{shown:#}");

    // Upgraded: the program is the new one, and what was edited stays.
    let edited = "backup = \"/backups\"\n";
    fs::write(&config, edited).unwrap();
    let second = build(&lab, "0.1.1").unwrap();
    machine.dpkg(&["--install", deb(&second).to_str().unwrap()]);
    let status = fs::read_to_string(machine.path("var/lib/dpkg/status")).unwrap();
    assert!(status.contains("Version: 0.1.1") && status.contains("Status: install ok installed"), "{status}");
    assert_eq!(status.contains("Depends: libc6 (>= 2."), cfg!(target_env = "gnu"), "{status}");
    assert_eq!(fs::read_to_string(&config).unwrap(), edited);
    lrl("status").expect(0);

    // Removed: the settings stay, also a key beside them; purged: the key still stays.
    fs::write(machine.path("etc/lrl/key"), "secret").unwrap();
    fs::create_dir_all(machine.path("var/cache/lrl/store")).unwrap();
    machine.dpkg(&["--remove", "lrl"]);
    assert!(!machine.path("usr/bin/lrl").exists() && config.exists() && machine.path("var/cache/lrl").exists());
    machine.dpkg(&["--purge", "lrl"]);
    assert!(!config.exists() && !machine.path("var/cache/lrl").exists());
    assert_eq!(fs::read_to_string(machine.path("etc/lrl/key")).unwrap(), "secret");
    assert!(!machine.path("usr").exists(), "nothing is left");
    // The backups are where they were.
    assert!(lab.path("backups/store/config").exists());
}

#[test]
fn what_is_made_has_checksums_and_the_same_bytes_each_time() {
    let lab = Lab::empty();
    let Some(dist) = build(&lab, "0.1.0") else { return };
    let sums = fs::read_to_string(dist.join("SHA256SUMS")).unwrap();
    assert_eq!(sums.lines().count(), 2, "{sums}");
    let check = Command::new("sha256sum").args(["--check", "SHA256SUMS"]).current_dir(&dist).output().unwrap();
    assert!(check.status.success());
    fs::rename(&dist, lab.path("before")).unwrap();
    build(&lab, "0.1.0").unwrap();
    assert_eq!(fs::read_to_string(dist.join("SHA256SUMS")).unwrap(), sums);
    let archive = names(&dist).into_iter().find(|name| name.ends_with(".tar.gz")).unwrap();
    let unpack = Command::new("tar").arg("-xzf").arg(&archive).current_dir(&dist).status();
    assert!(unpack.unwrap().success());
    let tree = dist.join(archive.strip_suffix(".tar.gz").unwrap());
    for file in ["lrl", "lrl.toml", "LICENSE-MIT", "LICENSE-APACHE", "man/lrl.1", "completions/bash", "README.md"] {
        assert!(tree.join(file).is_file(), "{file}");
    }
    assert_eq!(tree.join("lrl").metadata().unwrap().permissions().mode() & 0o777, 0o755);
}

#[test]
fn every_setting_of_the_packages_file_is_one() {
    let lab = Lab::empty();
    let text = fs::read_to_string(repository().join("contrib/dist/lrl.toml")).unwrap();
    assert!(text.lines().all(|line| line.is_empty() || line.starts_with('#')), "every line is commented out");
    // Prose begins with a blank after the `#`; `root` is in place of `data-dir`.
    let set = |without: &str| -> String {
        let lines = text.lines().filter_map(|line| line.strip_prefix('#'));
        let lines = lines.filter(|line| !line.is_empty() && !line.starts_with(' ') && !line.starts_with(without));
        lines.map(|line| format!("{line}\n")).collect()
    };
    for without in ["data-dir", "root"] {
        let text = set(without);
        assert!(text.lines().count() > 20, "{text}");
        lab.write("lrl.toml", if without == "root" { text.replace("app = ", "#") } else { text });
        lab.lrl("config").expect(0);
    }
}

#[test]
fn the_packages_unit_is_locked_down_as_a_written_one_is() {
    let lab = Lab::small();
    lab.write("lrl.toml", "data-dir = \"data\"\n");
    let written = lab.lrl("schedule print").expect(0).stdout;
    let ours = fs::read_to_string(repository().join("contrib/systemd/lrl-run.service")).unwrap();
    // A package does not know which directories are written to, nor whether a bucket is.
    let differs = ["ProtectSystem", "ProtectHome", "PrivateTmp", "ReadWritePaths", "RestrictAddressFamilies"];
    let hardening: Vec<&str> = written
        .lines()
        .skip_while(|line| !line.starts_with("NoNewPrivileges"))
        .take_while(|line| !line.starts_with("==>"))
        .filter(|line| line.contains('=') && !line.starts_with('#'))
        .filter(|line| !differs.iter().any(|key| line.starts_with(key)))
        .collect();
    assert!(hardening.len() > 12, "{written}");
    for line in hardening {
        assert!(ours.lines().any(|our| our == line), "{line}");
    }
    if !there_is("systemd-analyze") {
        println!("skipped: no systemd-analyze");
        return;
    }
    // What systemd reads is what was meant; the program is elsewhere here.
    lab.write("units/lrl-run.service", ours.replace("/usr/bin/lrl", env!("CARGO_BIN_EXE_lrl")));
    fs::copy(repository().join("contrib/systemd/lrl-run.timer"), lab.path("units/lrl-run.timer")).unwrap();
    let mut verify = Command::new("systemd-analyze");
    verify.args(["verify", "--man=no"]).arg(lab.path("units/lrl-run.service")).arg(lab.path("units/lrl-run.timer"));
    let verified = verify.env("SYSTEMD_LOG_LEVEL", "warning").output().unwrap();
    let said = String::from_utf8_lossy(&verified.stderr).into_owned();
    assert!(verified.status.success() && !said.contains("lrl-run"), "{said}");
}
