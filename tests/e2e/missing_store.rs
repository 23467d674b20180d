//! A known store that is missing: a disk that is not mounted, or another store in its place, begins no new history.

use std::fs;
use std::path::Path;

use crate::common::{Lab, Run};
use crate::helpers::look;

#[track_caller]
fn is_gone(run: Run) -> Run {
    let run = run.expect(10);
    assert!(run.stderr.contains("is the disk mounted?"), "{}", run.stderr);
    run
}

fn id(lab: &Lab, flags: &str) -> String {
    lab.lrl(&format!("stats --json {flags}")).expect(0).json()["store_id"].as_str().unwrap().to_string()
}

#[test]
fn a_store_whose_disk_is_not_mounted_is_missed_and_nothing_is_made_in_its_place() {
    let lab = Lab::small();
    fs::create_dir(lab.path("mnt")).unwrap();
    lab.lrl("backup --out mnt/lrl").expect(0);
    let known = id(&lab, "--backup mnt/lrl");
    fs::rename(lab.path("mnt"), lab.path("disk")).unwrap();
    fs::create_dir(lab.path("mnt")).unwrap();
    for line in [
        "backup --out mnt/lrl",
        "backup --out mnt/lrl --snapshot-only --dry-run",
        "backup --out mnt/lrl --if-older-than 1h",
        "snapshots --backup mnt/lrl",
        "status --backup mnt/lrl",
        "check --backup mnt/lrl",
        "drill --snapshot latest --backup mnt/lrl",
        "restore --backup mnt/lrl",
        "prune --backup mnt/lrl",
        "key list --backup mnt/lrl",
        "backup --store mnt/lrl/store --backup other",
    ] {
        let run = is_gone(lab.lrl(line));
        assert!(run.stderr.contains(&known[..8]), "{line}: {}", run.stderr);
        assert_eq!(fs::read_dir(lab.path("mnt")).unwrap().count(), 0, "{line}");
        assert!(!lab.path("other").exists(), "{line}");
    }
    // From another directory, by a link, and where the backup directory itself is the mount point.
    std::os::unix::fs::symlink(lab.path("mnt/lrl"), lab.path("link")).unwrap();
    is_gone(lab.lrl("backup --out link"));
    is_gone(lab.lrl(&format!("backup --out {}", lab.path("mnt/../mnt/lrl").display())));
    fs::create_dir_all(lab.path("mnt/lrl/lost+found")).unwrap();
    is_gone(lab.lrl("backup --out mnt/lrl"));
    // It comes back; elsewhere it is used for the first time.
    fs::remove_dir_all(lab.path("mnt")).unwrap();
    fs::rename(lab.path("disk"), lab.path("mnt")).unwrap();
    let run = lab.lrl("backup --out mnt/lrl --json").expect(0).json();
    assert_eq!(run["sequence"], 2);
    fs::rename(lab.path("mnt/lrl"), lab.path("moved")).unwrap();
    assert_eq!(lab.lrl("backup --out moved --json").expect(0).json()["sequence"], 3);
    // Given up for good: begun anew.
    let error = is_gone(lab.lrl("backup --json --out mnt/lrl")).json();
    assert_eq!((&error["error"]["kind"], &error["error"]["exit_code"]), (&"store_gone".into(), &10.into()));
    let made = lab.lrl("init --backup mnt/lrl --json").expect(0).json();
    assert_ne!(made["store_id"], known.as_str());
    assert_eq!(lab.lrl("backup --out mnt/lrl --json").expect(0).json()["sequence"], 1);
}

#[test]
fn another_store_in_a_known_place_is_refused_with_both_ids() {
    let lab = Lab::small();
    lab.lrl("backup").expect(0);
    lab.lrl("backup --out other").expect(0);
    let (known, found) = (id(&lab, ""), id(&lab, "--backup other"));
    fs::rename(lab.path("backups"), lab.path("kept")).unwrap();
    fs::rename(lab.path("other"), lab.path("backups")).unwrap();
    let before = look(&lab.path("backups"));
    for line in
        ["backup", "snapshots", "check", "forget --keep-last 1", "export --out out", "restore", "backup --dry-run"]
    {
        let run = is_gone(lab.lrl(line));
        assert!(run.stderr.contains(&known) && run.stderr.contains(&found), "{line}: {}", run.stderr);
    }
    crate::helpers::assert_same(&before, &look(&lab.path("backups")), "the other store");
    // Meant: either is said once.
    lab.lrl(&format!("snapshots --store-id {found}")).expect(0);
    let run = lab.lrl("init").expect(1);
    assert!(run.stderr.contains("there is a store at ./backups/store already"), "{}", run.stderr);
    lab.lrl("backup").expect(0);
}

#[test]
fn a_named_id_holds_without_a_memory() {
    let lab = Lab::small();
    lab.lrl("backup").expect(0);
    let known = id(&lab, "");
    lab.write("lrl.toml", format!("store-id = \"{known}\"\nstate-dir = \"empty\"\n"));
    lab.lrl("backup --state-dir empty").expect(0);
    is_gone(lab.lrl("backup --state-dir empty --store-id 0123456789abcdef"));
    fs::rename(lab.path("backups"), lab.path("away")).unwrap();
    is_gone(lab.lrl("backup --state-dir fresh"));
    assert!(!lab.path("backups").exists());
    for wrong in ["1234567", "xyzxyzxyz", "0123456789ABCDEF"] {
        lab.lrl(&format!("snapshots --store-id {wrong}")).expect(2);
    }
}

#[test]
fn copies_are_missed_as_well() {
    let lab = Lab::small();
    lab.lrl("init --store far/store").expect(0);
    lab.lrl("backup --copy-to far/store").expect(0);
    lab.lrl("copy --from backups/store --to near/store").expect(0);
    for name in ["far", "near"] {
        fs::rename(lab.path(name), lab.path(format!("{name}-away"))).unwrap();
    }
    let run = lab.lrl("backup --copy-to far/store").expect(5);
    assert!(run.stderr.contains("is not there") && run.stderr.contains("is the disk mounted?"), "{}", run.stderr);
    is_gone(lab.lrl("copy --from backups/store --to near/store"));
    is_gone(lab.lrl("copy --from near/store --to far-away/store"));
    assert!(!lab.path("far").exists() && !lab.path("near").exists());
}

#[test]
fn what_is_known_stands_in_private_files_that_an_unchanged_backup_leaves_alone() {
    use std::os::unix::fs::MetadataExt;
    let mut lab = Lab::small();
    lab.lrl("backup").expect(0);
    let seen = |at: &Path| look(at);
    let before = seen(&lab.path("state"));
    let files: Vec<_> = before.values().filter(|seen| seen.mode & 0o170_000 == 0o100_000).collect();
    assert_eq!(files.len(), 1);
    assert_eq!(files[0].mode & 0o7777, 0o600);
    assert_eq!(fs::metadata(lab.path("state/stores")).unwrap().mode() & 0o7777, 0o700);
    lab.lrl("backup").expect(0);
    lab.lrl("snapshots").expect(0);
    crate::helpers::assert_same(&before, &seen(&lab.path("state")), "the state directory");
    // Where nothing can be remembered, a backup is as good as ever.
    lab.set("LRL_STATE_DIR", "/dev/null/state");
    let run = lab.lrl("backup").expect(0);
    assert!(!run.stderr.contains("not remembered"), "{}", run.stderr);
    assert!(lab.lrl("backup -v").expect(0).stderr.contains("the store's id is not remembered"));
    // Without the flag: the user's own state directory.
    lab.set("LRL_STATE_DIR", "");
    lab.lrl("backup").expect(0);
    assert!(lab.path("home/.local/state/lrl/stores").is_dir());
    lab.set("XDG_STATE_HOME", lab.path("xdg").to_str().unwrap());
    lab.lrl("backup").expect(0);
    assert!(lab.path("xdg/lrl/stores").is_dir());
}
