//! `lrl check --repair`: what it moves, saves and reports, its exit codes, and how the next backup heals.

// A log says what could not be tried here, and how many states were.
#![allow(clippy::print_stdout)]

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use crate::common::{Lab, Run, noise};
use crate::faults::each_kill_point;
use crate::helpers::{Disk, assert_same, assert_whole, files_with, flip, look, names, objects, there_is};

/// A lab with two snapshots that a cache proves unchanged.
fn lab() -> Lab {
    let lab = Lab::small();
    lab.upload("first/v1.bin", &noise(90_000, 3));
    std::thread::sleep(Duration::from_millis(3100));
    lab.lrl("backup --snapshot-only").expect(0);
    lab.upload("later/v1.bin", &noise(200_000, 7));
    std::thread::sleep(Duration::from_millis(3100));
    lab.lrl("backup --snapshot-only").expect(0);
    lab
}

fn assert_restores(lab: &Lab) {
    let _ = fs::remove_dir_all(lab.path("new"));
    lab.lrl("restore --data-dir new").expect(0);
    assert_same(&look(&lab.path("new/assets")), &look(&lab.path("data/assets")), "restored");
    assert!(fs::read(lab.path("new/lrl.db")).unwrap() == fs::read(lab.path("data/lrl.db")).unwrap());
}

fn short(path: &Path) -> String {
    path.file_name().unwrap().to_str().unwrap().split('-').next_back().unwrap()[..8].to_string()
}

#[test]
fn a_damaged_pack_goes_into_quarantine_and_the_next_backup_heals_what_it_held() {
    let lab = lab();
    let pack = objects(&lab, "packs").pop().unwrap();
    let name = pack.strip_prefix(lab.path("backups/store")).unwrap().to_str().unwrap().to_string();
    flip(&pack, 100_000);
    let damaged = fs::read(&pack).unwrap();
    // The structure shows nothing of it, so there is nothing to repair.
    lab.lrl("check --repair").expect(0);
    assert!(!lab.path("backups/store/quarantine").exists());
    let run = lab.lrl("check --read-data").expect(4);
    assert!(run.stderr.contains("`lrl check --read-data --repair` repairs") && pack.exists(), "{}", run.stderr);
    let run = lab.lrl("check --read-data --repair").expect(4);
    assert!(run.stdout.contains(&format!("{name} -> quarantine/{name}")), "{}", run.stdout);
    assert!(run.stdout.contains("Saved out of damaged packs:"), "{}", run.stdout);
    let newest = objects(&lab, "snapshots").into_iter().find(|path| path.to_string_lossy().contains("02-")).unwrap();
    let lost = format!("Snapshot lab 2 ({}) has lost assets/later/v1.bin\n", short(&newest));
    assert!(run.stdout.contains(&lost), "{}", run.stdout);
    assert!(run.stderr.contains("`lrl backup`") && run.stderr.contains("`lrl forget"), "{}", run.stderr);
    assert!(!pack.exists() && fs::read(lab.path("backups/store/quarantine").join(&name)).unwrap() == damaged);
    // It stays listed, its other files restore, and check goes on saying so. A second time there is nothing to do.
    let before = names(lab.path("backups/store/index"));
    let document = lab.lrl("check --repair --json").expect(4).json();
    assert_eq!(document["lost"][0]["files"], serde_json::json!(["assets/later/v1.bin"]), "{document:#}");
    assert_eq!((&document["repair"]["moved"], &document["quarantine"]["count"]), (&serde_json::json!([]), &3.into()));
    assert_eq!(names(lab.path("backups/store/index")), before);
    lab.lrl("dump latest assets/first/v1.bin").expect(0);
    lab.lrl("dump latest lrl.db").expect(0);
    lab.lrl("dump latest assets/later/v1.bin").expect(1);
    lab.lrl("prune").expect(0);
    // Nothing but the record tells the backup: without it everything would be proved unchanged.
    let run = lab.lrl("backup --snapshot-only --json").expect(0);
    assert!(run.stderr.contains("what a repair found lost"), "{}", run.stderr);
    assert!(run.json()["uploads_read"]["files_read"].as_u64().unwrap() > 0);
    let run = lab.lrl("check --read-data").expect(0);
    assert!(run.stdout.contains("quarantine holds 3 files") && run.stdout.contains("rm -r"), "{}", run.stdout);
    assert_restores(&lab);
    let run = lab.lrl("backup --snapshot-only --json").expect(0);
    assert!(!run.stderr.contains("repair"), "once is enough: {}", run.stderr);
    assert_eq!(run.json()["uploads_read"]["files_read"], 0);
    lab.lrl("prune").expect(0);
    assert!(lab.path("backups/store/quarantine").join(&name).exists(), "a prune leaves it");
    let stats = lab.lrl("stats --json").expect(0).json();
    assert!(stats["quarantine"]["bytes"].as_u64().unwrap() > damaged.len() as u64);
    assert!(lab.lrl("stats").expect(0).stdout.contains("in quarantine"));
    lab.lrl("check --repair").expect(0);
    assert!(names(lab.path("backups/store/repairs")).is_empty(), "the record has served");
    fs::remove_dir_all(lab.path("backups/store/quarantine")).unwrap();
    assert_whole(&lab, "backups");
}

#[test]
fn each_source_and_each_half_is_healed_once() {
    let lab = lab();
    lab.lrl("backup --snapshot-only --source other").expect(0);
    lab.lrl("forget --source lab --keep-last 1").expect(0);
    for pack in objects(&lab, "packs") {
        fs::remove_file(pack).unwrap();
    }
    lab.lrl("check --repair").expect(4);
    let newest_is_whole = |source: &str, flags: &str| {
        lab.lrl(&format!("backup --snapshot-only --source {source} {flags}")).expect(0);
        lab.lrl(&format!("drill --snapshot latest --source {source}")).expect(0);
    };
    lab.lrl("backup --snapshot-only --db-only").expect(0);
    newest_is_whole("lab", "");
    newest_is_whole("other", "");
}

#[test]
fn a_damaged_index_no_longer_holds_up_a_prune() {
    let lab = lab();
    objects(&lab, "index").iter().for_each(|path| flip(path, 60));
    let run = lab.lrl("prune").expect(1);
    assert!(run.stderr.contains("lrl check --repair"), "{}", run.stderr);
    let run = lab.lrl("check --repair").expect(0);
    assert!(run.stdout.contains("Listed in the index again: 2 packs."), "{}", run.stdout);
    assert_eq!(names(lab.path("backups/store/quarantine/index")).len(), 2);
    lab.lrl("prune").expect(0);
    assert_restores(&lab);
    assert_whole(&lab, "backups");
}

#[test]
fn a_damaged_newest_snapshot_is_refused_with_the_name_of_the_next_and_its_number_is_not_used_again() {
    let lab = lab();
    let documents = names(lab.path("backups/store/snapshots/lab"));
    let (older, newest) = (documents[0].clone(), lab.path("backups/store/snapshots/lab").join(&documents[1]));
    flip(&newest, 50);
    let next = &older.split('-').next_back().unwrap()[..8];
    for line in ["restore --dry-run", "restore --db-only --dry-run", "export --out copy"] {
        let run = lab.lrl(line).expect(0);
        assert!(run.stdout.contains(next) && run.stderr.contains("passed over snapshot"), "{line}: {}", run.stderr);
    }
    for line in ["restore latest", "export latest --out copy", "ls latest", "dump latest~1 lrl.db"] {
        let run = lab.lrl(line).expect(1);
        assert!(run.stderr.contains(next) && run.stderr.contains("lrl check --repair"), "{line}: {}", run.stderr);
    }
    lab.lrl("check").expect(4);
    let run = lab.lrl("check --repair").expect(0);
    assert!(run.stdout.contains(&format!("documents of the snapshots lab 2 ({})", short(&newest))), "{}", run.stdout);
    assert!(lab.path("backups/store/quarantine/snapshots/lab").join(&documents[1]).exists());
    lab.lrl("ls latest").expect(0);
    assert_eq!(lab.lrl("backup --snapshot-only --json").expect(0).json()["sequence"], 3);
    assert_restores(&lab);
    assert_whole(&lab, "backups");
}

#[test]
fn a_config_that_is_damaged_or_gone_is_made_again() {
    let lab = lab();
    let config = lab.path("backups/store/config");
    let sound = fs::read(&config).unwrap();
    for at in [0, 2, 15, sound.len() - 70, sound.len() - 1] {
        flip(&config, at);
        lab.lrl("backup").expect(1);
        lab.lrl("check").expect(4);
        let run = lab.lrl("check --repair").expect(0);
        assert!(run.stdout.contains("The config is made again."), "{at}: {}", run.stdout);
        lab.lrl("backup --snapshot-only").expect(0);
        assert!(at == 15 || fs::read(&config).unwrap() == sound, "{at}: its id is what it was");
        fs::write(&config, &sound).unwrap();
    }
    fs::remove_file(&config).unwrap();
    lab.lrl("backup").expect(1);
    for line in ["snapshots", "status", "ls latest", "restore --dry-run", "stats", "drill --snapshot latest"] {
        let run = lab.lrl(line).expect(10);
        let says = ["there is no config in the store at", "`lrl check --repair` makes the config again"];
        assert!(says.iter().all(|text| run.stderr.contains(text)), "{line}: {}", run.stderr);
    }
    lab.lrl("check --repair").expect(0);
    let first = fs::read(&config).unwrap();
    fs::remove_file(&config).unwrap();
    lab.lrl("check --repair").expect(0);
    assert!(fs::read(&config).unwrap() == first, "the same store is given the same id");
    lab.lrl("backup").expect(0);
    assert_whole(&lab, "backups");
    // With features, or without any proof, it is not guessed.
    let text = String::from_utf8(sound.clone()).unwrap();
    fs::write(&config, text.replace("write\":[]", "write\":[\"later\"]")).unwrap();
    let run = lab.lrl("check --repair").expect(1);
    assert!(run.stderr.contains("feature"), "{}", run.stderr);
    objects(&lab, "snapshots").iter().for_each(|path| flip(path, 50));
    fs::write(&config, b"").unwrap();
    let run = lab.lrl("check --repair").expect(1);
    assert!(
        run.stderr.contains("no snapshot can be read") && run.stderr.contains("nothing was changed"),
        "{}",
        run.stderr
    );
    assert_eq!(fs::read(&config).unwrap().len(), 0);
}

#[test]
fn foreign_and_misnamed_files_are_moved_or_get_their_names_back() {
    let lab = lab();
    let store = lab.path("backups/store");
    let pack = objects(&lab, "packs").pop().unwrap();
    fs::rename(&pack, pack.with_extension("bak")).unwrap();
    let document = objects(&lab, "snapshots").pop().unwrap();
    fs::rename(&document, document.with_extension("old")).unwrap();
    for name in ["packs/notes.txt", "index/backup", "snapshots/lab/x", "drills/y"] {
        lab.write(Path::new("backups/store").join(name), b"somebody's");
    }
    lab.lrl("prune").expect(1);
    let run = lab.lrl("check --repair").expect(0);
    assert!(run.stdout.contains("Have their own names again:"), "{}", run.stdout);
    assert!(pack.exists() && document.exists());
    for name in ["packs/notes.txt", "index/backup", "snapshots/lab/x", "drills/y"] {
        assert!(fs::read(store.join("quarantine").join(name)).unwrap() == b"somebody's", "{name}");
    }
    lab.lrl("prune").expect(0);
    assert_restores(&lab);
    assert_whole(&lab, "backups");
}

#[test]
fn damaged_records_of_drills_no_longer_hold_up_a_forget() {
    let lab = lab();
    lab.lrl("drill --snapshot latest").expect(0);
    flip(&objects(&lab, "drills").pop().unwrap(), 30);
    lab.lrl("forget --keep-last 1").expect(1);
    let run = lab.lrl("check").expect(4);
    assert!(run.stdout.contains("drills/lab/"), "{}", run.stdout);
    lab.lrl("check --repair").expect(0);
    lab.lrl("forget --keep-last 1").expect(0);
}

#[test]
fn a_full_disk_says_that_there_is_no_room_and_loses_nothing() {
    let lab = Lab::small();
    let Some(disk) = Disk::mount(lab.path("backups"), "8m") else { return };
    lab.upload("large/v1.bin", &noise(1_500_000, 5));
    lab.upload("more/v1.bin", &noise(1_100_000, 6));
    lab.lrl("backup --snapshot-only").expect(0);
    let pack = objects(&lab, "packs").pop().unwrap();
    flip(&pack, 100_000);
    let damaged = fs::read(&pack).unwrap();
    let fill = || {
        let fill = format!("of={}", lab.path("backups/fill").display());
        Command::new("dd").args(["if=/dev/zero", "bs=4k", &fill]).output().unwrap()
    };
    fill();
    let run = lab.lrl("check --read-data --repair").expect(1);
    assert!(run.stderr.contains("there is no room") && run.stderr.contains("No space left"), "{}", run.stderr);
    assert!(fs::read(&pack).unwrap() == damaged, "what could not be saved stays");
    lab.lrl("dump latest lrl.db").expect(0);
    assert!(files_with(&lab.path("backups"), ".tmp").is_empty());
    disk.remount("size=40m");
    lab.lrl("check --read-data --repair").expect(4);
    assert!(!pack.exists());
    lab.lrl("backup --snapshot-only").expect(0);
    assert_restores(&lab);
    assert_whole(&lab, "backups");
}

#[test]
fn a_repair_that_is_killed_at_any_change_of_the_disk_loses_nothing() {
    if !there_is("strace") {
        return;
    }
    let lab = lab();
    lab.lrl("drill --snapshot latest").expect(0);
    // All of it can be saved, so that a repair that is not killed ends well.
    objects(&lab, "packs").iter().for_each(|pack| flip(pack, 1));
    flip(&objects(&lab, "index")[0], 60);
    flip(&objects(&lab, "drills")[0], 30);
    lab.write("backups/store/packs/notes.txt", b"somebody's");
    flip(&lab.path("backups/store/config"), 3);
    fs::rename(lab.path("backups/store"), lab.path("damaged")).unwrap();
    let again = || {
        let _ = fs::remove_dir_all(lab.path("backups/store"));
        let done = Command::new("cp").args(["-a", "damaged", "backups/store"]).current_dir(lab.path("")).status();
        assert!(done.unwrap().success());
    };
    let points = each_kill_point(|call, n| {
        again();
        if !crate::faults::killed(&lab, "check --repair", call, n) {
            return false;
        }
        lab.lrl("check --repair").expect(0);
        lab.lrl("check --read-data").expect(0);
        assert_restores(&lab);
        true
    });
    assert!(points > 5, "{points} kill points");
    lab.lrl("check --read-data").expect(0);
    println!("{points} kill points of a repair");
}

#[test]
fn an_import_lists_a_lost_index_again() {
    let lab = Lab::small();
    lab.lrl("backup").expect(0);
    objects(&lab, "index").iter().for_each(|path| fs::remove_file(path).unwrap());
    let run: Run = lab.lrl("import ./backups --source other").expect(0);
    assert!(run.stderr.contains("an index was lost, and is written again"), "{}", run.stderr);
    lab.lrl("check --read-data").expect(0);
    // A store that has lost something is not relied on.
    objects(&lab, "packs").iter().for_each(|path| fs::remove_file(path).unwrap());
    lab.lrl("import ./backups --source third").expect(0);
    lab.lrl("drill --snapshot latest --source third").expect(0);
}
