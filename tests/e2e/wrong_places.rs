//! Restores and exports that are given the wrong path: each says what to name instead, and changes nothing.

use std::process::Command;

use crate::common::Lab;

#[test]
fn a_file_that_is_no_manifest_and_a_target_that_is_a_file_are_named() {
    let lab = Lab::small();
    lab.lrl("backup").expect(0);
    for wrong in ["data/lrl.db", "backups"] {
        let run = lab.lrl(&format!("restore --manifest {wrong} --target new")).expect(1);
        assert!(run.stderr.contains("takes a backup_manifest_") && !run.stderr.contains("lrl check"), "{}", run.stderr);
    }
    lab.write("file", b"mine");
    for line in ["restore --target file", "export --out file"] {
        let run = lab.lrl(line).expect(1);
        assert!(run.stderr.contains("name a directory"), "{line}: {}", run.stderr);
    }
    assert!(!lab.path("new").exists() && std::fs::read(lab.path("file")).unwrap() == b"mine");
}

#[test]
fn on_a_disk_that_is_read_only_the_flag_for_another_place_is_named() {
    let lab = Lab::small();
    lab.lrl("backup --snapshot-only").expect(0);
    std::fs::create_dir(lab.path("ro")).unwrap();
    let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", "ro", "tmpfs"]).arg(lab.path("ro")).output();
    if !mounted.is_ok_and(|run| run.status.success()) {
        return;
    }
    let runs = ["restore --target ro/new", "export --out ro/new"].map(|line| lab.lrl(line));
    assert!(Command::new("umount").arg(lab.path("ro")).status().unwrap().success());
    for (run, flag) in runs.into_iter().zip(["--target", "--out"]) {
        let run = run.expect(1);
        assert!(run.stderr.contains("can be written") && run.stderr.contains(flag), "{}", run.stderr);
    }
}

#[test]
fn nothing_is_restored_exported_or_made_in_a_store() {
    let lab = Lab::empty();
    // A site with the names of a store.
    lab.write("site/config", "of the application");
    lab.write("site/packs/a", "of the application");
    lab.lrl("backup --root site --snapshot-only").expect(0);
    let config = std::fs::read(lab.path("backups/store/config")).unwrap();
    for line in [
        "restore --target backups/store",
        "restore --target backups/store/packs",
        "restore --target backups/store/new/deep --dry-run",
        "restore --root backups/store",
        "export --out backups/store/set",
        "copy --from backups/store --to backups/store/second",
        "init --store backups/store/second --no-encryption",
    ] {
        let run = lab.lrl(&format!("{line} --source site")).expect(1);
        assert!(run.stderr.contains("is in the store"), "{line}: {}", run.stderr);
    }
    assert_eq!(std::fs::read(lab.path("backups/store/config")).unwrap(), config);
    lab.lrl("check --read-data").expect(0);
    // The directory of the application is none, whatever its names.
    lab.lrl("restore --root site --source site").expect(0);
    lab.lrl("restore --target backups/looked-at --source site").expect(0);
}
