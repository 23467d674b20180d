//! Files that decide what lrl runs and opens: used only if nobody else could have written or can read them.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use crate::common::{Lab, Run};
use crate::helpers::as_nobody;

/// Settings whose use can be seen.
const MEANT: &str = "source = 'meant'\n";

fn mode(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

fn is_used(run: &Run) -> bool {
    run.stdout.contains("meant")
}

#[track_caller]
fn refused(lab: &Lab, why: &str) {
    for line in ["config", "snapshots", "status", "check", "drill", "backup --dry-run", "restore --dry-run"] {
        let run = lab.lrl(line).expect(2);
        assert!(run.stderr.contains(why) && run.stderr.contains("--config ./lrl.toml"), "{line}: {}", run.stderr);
        assert!(run.stdout.is_empty(), "{line}: {}", run.stdout);
    }
    // What was found is refused; what is named is meant.
    assert!(is_used(&lab.lrl("config --config ./lrl.toml").expect(0)));
}

#[test]
fn settings_that_others_can_write_are_refused() {
    let lab = Lab::small();
    lab.write("lrl.toml", MEANT);
    assert!(is_used(&lab.lrl("config").expect(0)));
    for bits in [0o620, 0o602, 0o666] {
        mode(&lab.path("lrl.toml"), bits);
        refused(&lab, "lrl.toml (mode 0");
    }
    mode(&lab.path("lrl.toml"), 0o644);
    for bits in [0o770, 0o707, 0o2775] {
        mode(&lab.path(""), bits);
        refused(&lab, "can write /");
    }
    // In a directory like /tmp others cannot replace a file of ours, but can give one of our files a second name.
    mode(&lab.path(""), 0o1777);
    assert!(is_used(&lab.lrl("config").expect(0)));
    fs::hard_link(lab.path("lrl.toml"), lab.path("again")).unwrap();
    refused(&lab, "several names");
}

#[test]
fn a_link_to_settings_is_judged_by_where_it_lies_and_where_it_leads() {
    let lab = Lab::small();
    lab.write("safe/lrl.toml", MEANT);
    lab.write("open/lrl.toml", MEANT);
    mode(&lab.path("open"), 0o777);
    symlink("safe/lrl.toml", lab.path("lrl.toml")).unwrap();
    assert!(is_used(&lab.lrl("config").expect(0)));
    fs::remove_file(lab.path("lrl.toml")).unwrap();
    symlink(lab.path("open/lrl.toml"), lab.path("lrl.toml")).unwrap();
    refused(&lab, "open (mode 0777)");
    // The directory above counts as well.
    fs::remove_file(lab.path("lrl.toml")).unwrap();
    lab.write("open/below/lrl.toml", MEANT);
    symlink("open/below/../below/lrl.toml", lab.path("lrl.toml")).unwrap();
    refused(&lab, "open (mode 0777)");
    fs::remove_file(lab.path("lrl.toml")).unwrap();
    for target in ["lrl.toml", "nowhere"] {
        symlink(target, lab.path("lrl.toml")).unwrap();
        assert!(lab.lrl("config").expect(2).stderr.contains("cannot read ./lrl.toml"));
        fs::remove_file(lab.path("lrl.toml")).unwrap();
    }
    assert!(Command::new("mkfifo").arg(lab.path("lrl.toml")).status().unwrap().success());
    assert!(lab.lrl("config").expect(2).stderr.contains("not a regular file"));
}

#[test]
fn settings_of_another_user_run_nothing() {
    let lab = Lab::small();
    lab.write("evil.sh", "#!/bin/sh\ntouch ran\necho x\n");
    mode(&lab.path("evil.sh"), 0o755);
    lab.lrl("backup -q").expect(0);
    let Some(_) = as_nobody(&lab) else { return };
    // Nothing is wrong with the directory of the application's user while it holds no settings.
    lab.lrl("status").expect(0);
    let settings = format!("password-command = '{}'\nsource = 'meant'\n", lab.path("evil.sh").display());
    lab.write("lrl.toml", settings);
    refused(&lab, "belongs to user 65534");
    fs::create_dir_all(lab.path("home/.config/lrl")).unwrap();
    fs::rename(lab.path("lrl.toml"), lab.path("home/.config/lrl/lrl.toml")).unwrap();
    assert!(lab.lrl("status").expect(2).stderr.contains("belongs to user 65534"));
    assert!(!lab.path("ran").exists());
}

#[test]
fn the_owners_own_settings_are_used_without_root() {
    let lab = Lab::small();
    lab.write("lrl.toml", MEANT);
    let Some(lrl) = as_nobody(&lab) else { return };
    assert!(is_used(&lrl("config").expect(0)));
}

#[test]
fn a_secret_that_others_can_read_or_write_is_refused() {
    let mut lab = Lab::small();
    lab.lrl("key make-file key").expect(0);
    lab.secret("pass", "correct horse\n");
    lab.set("LRL_KEY_FILE", "key");
    lab.lrl("init --encrypt").expect(0);
    lab.lrl("key add --new-password-file pass").expect(0);
    for (file, flag) in [("key", "--key-file"), ("pass", "--password-file")] {
        lab.set("LRL_KEY_FILE", "");
        for bits in [0o640, 0o604, 0o620, 0o602, 0o644] {
            mode(&lab.path(file), bits);
            let run = lab.run(["snapshots", flag, file]).expect(1);
            assert!(run.stderr.contains(&format!("`chmod 600 {file}`")), "{}", run.stderr);
        }
        for bits in [0o600, 0o400] {
            mode(&lab.path(file), bits);
            lab.run(["snapshots", flag, file]).expect(0);
        }
    }
    mode(&lab.path("pass"), 0o644);
    lab.set("LRL_KEY_FILE", "key");
    assert!(lab.lrl("key add --new-password-file pass").expect(1).stderr.contains("chmod 600"));
    lab.set("LRL_KEY_FILE", "");
    lab.lrl("init --store second").expect(0);
    lab.set("LRL_KEY_FILE", "key");
    let run = lab.lrl("backup --copy-to ./second --copy-to-password-file pass").expect(5);
    assert!(run.stderr.contains("chmod 600"), "{}", run.stderr);
    assert!(lab.run(["snapshots", "--key-file", "/dev/null"]).expect(1).stderr.contains("neither a file nor a pipe"));
    let Some(_) = as_nobody(&lab) else { return };
    assert!(lab.lrl("snapshots").expect(1).stderr.contains("key belongs to user 65534"));
}

#[test]
fn a_secret_comes_through_a_pipe() {
    let mut lab = Lab::small();
    lab.secret("pass", "correct horse\n");
    lab.set("LRL_PASSWORD_FILE", "pass");
    lab.lrl("init --encrypt").expect(0);
    lab.set("LRL_PASSWORD_FILE", "");
    let script = format!("{} snapshots --password-file <(sleep 0.3; cat pass)", env!("CARGO_BIN_EXE_lrl"));
    let run = Command::new("bash").args(["-c", &script]).current_dir(lab.path("")).output().unwrap();
    assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
    let script = format!("cat pass | {} snapshots --password-file /dev/stdin", env!("CARGO_BIN_EXE_lrl"));
    let run = Command::new("bash").args(["-c", &script]).current_dir(lab.path("")).output().unwrap();
    assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
}

#[test]
fn a_pipe_that_nobody_writes_to_can_be_interrupted() {
    let lab = Lab::small();
    lab.lrl("init").expect(0);
    let fifo = lab.path("fifo");
    assert!(Command::new("mkfifo").args(["-m", "600"]).arg(&fifo).status().unwrap().success());
    let mut waiting = lab
        .command(["snapshots", "--password-file", "fifo"])
        .stderr(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    thread::sleep(Duration::from_millis(500));
    assert!(Command::new("kill").args(["-INT", &waiting.id().to_string()]).status().unwrap().success());
    assert_eq!(waiting.wait().unwrap().code(), Some(130));
    mode(&fifo, 0o644);
    assert!(lab.lrl("snapshots --password-file fifo").expect(1).stderr.contains("chmod 600"));
}

#[test]
fn what_looks_like_a_bucket_makes_no_directory() {
    let mut lab = Lab::small();
    let refused = |run: Run, hint: &str| {
        let run = run.expect(2);
        assert!(run.stderr.contains(hint), "{}", run.stderr);
    };
    let hint = "s3://lab for the bucket, ./s3:lab for a directory";
    for line in [
        "backup --store s3:lab",
        "backup --copy-to s3:lab",
        "copy --from s3:lab",
        "copy --from x --to s3:lab",
        "init --store s3:lab",
    ] {
        refused(lab.lrl(line), hint);
    }
    refused(lab.lrl("snapshots --store s3:/lab"), "write s3://lab for the bucket");
    for line in ["backup --backup s3:lab", "backup --out s3://lab", "export --out s3:lab", "snapshots --backup b2:lab"]
    {
        refused(lab.lrl(line), "--store names a store in a bucket");
    }
    for place in ["ftp://lab/x", "b2:lab", "S3://lab", "user@host:/srv"] {
        refused(lab.run(["backup", "--store", place]), "lrl knows no `");
    }
    lab.write("lrl.toml", "store = 's3:lab'");
    refused(lab.lrl("backup"), hint);
    fs::remove_file(lab.path("lrl.toml")).unwrap();
    lab.set("LRL_STORE", "s3:lab");
    refused(lab.lrl("backup"), hint);
    lab.set("LRL_STORE", "");
    let strange = fs::read_dir(lab.path("")).unwrap().filter(|e| e.as_ref().unwrap().file_name() != "data").count();
    assert_eq!(strange, 0);
    lab.lrl("backup -q --store ./s3:lab").expect(0);
    assert!(lab.path("s3:lab/config").exists());
}
