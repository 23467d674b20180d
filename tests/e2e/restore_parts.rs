//! Restores to other places, of several paths, from a damaged store, without kept copies; and the commands that lrl suggests.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::common::{Lab, noise};
use crate::helpers::{assert_same, files_with, look, names};

fn backed_up() -> Lab {
    let lab = Lab::small();
    lab.upload("ef56/v1.bin", &noise(90_000, 3));
    lab.upload("ef56/v2.bin", &noise(90_000, 4));
    lab.lrl("backup").expect(0);
    lab
}

/// Damages the stored bytes of a content that does not compress.
fn damage(lab: &Lab, content: &[u8]) -> PathBuf {
    let has = |path: &PathBuf| find(&fs::read(path).unwrap(), &content[..64]).is_some();
    let pack = files_with(&lab.path("backups/store/packs"), "").into_iter().find(has).unwrap();
    let mut bytes = fs::read(&pack).unwrap();
    let at = find(&bytes, &content[..64]).unwrap();
    bytes[at + 1000] ^= 0x40;
    fs::write(&pack, bytes).unwrap();
    pack
}

fn find(bytes: &[u8], part: &[u8]) -> Option<usize> {
    bytes.windows(part.len()).position(|window| window == part)
}

/// Runs the command that a text suggests in backquotes.
fn run_suggested(lab: &Lab, text: &str, verb: &str) {
    let start = text.find(&format!("`lrl {verb}")).unwrap_or_else(|| panic!("no {verb} in {text}"));
    let line = text[start + 1..].split('`').next().unwrap();
    let words = shlex::split(line).unwrap();
    lab.run(&words[1..]).expect(0);
}

#[test]
fn what_is_restored_elsewhere_lies_below_that_place_and_the_undo_that_is_suggested_works() {
    let lab = Lab::small();
    lab.write("storage/key.bin", b"old key");
    lab.lrl("backup").expect(0);
    lab.write("storage/key.bin", b"live key");
    let live = (look(&lab.path("data")), look(&lab.path("storage")));
    for (flag, to) in [("--data-dir", "./restored"), ("--target", "to look at"), ("--data-dir", "./it's here")] {
        fs::create_dir(lab.path(to)).unwrap();
        lab.write(Path::new(to).join("lrl.db"), b"other");
        let run = lab.run(["restore", flag, to]).expect(0);
        assert!(!run.stdout.contains("Start the application"), "{}", run.stdout);
        assert_eq!(fs::read(lab.path(to).join("storage/key.bin")).unwrap(), b"old key");
        assert_same(&look(&lab.path("storage")), &live.1, "the live second root");
        run_suggested(&lab, &run.stdout, "restore --undo");
        assert_eq!(fs::read(lab.path(to).join("lrl.db")).unwrap(), b"other");
        assert!(!lab.path(to).join("storage").exists());
        assert_same(&look(&lab.path("data")), &live.0, "the live data");
    }
    lab.lrl("restore --target a --data-dir b").expect(2);
    // In place, storage/ goes where the application reads it.
    let run = lab.lrl("restore").expect(0);
    assert!(run.stdout.contains("Start the application"), "{}", run.stdout);
    assert_eq!(fs::read(lab.path("storage/key.bin")).unwrap(), b"old key");
}

#[test]
fn a_target_holds_everything_whatever_the_environment_says() {
    let mut lab = Lab::small();
    lab.set("STORAGE_PATH", "keys");
    lab.set("LAB_DATA_DIR", "data");
    lab.write("keys/key.bin", b"old key");
    lab.lrl("backup").expect(0);
    lab.write("keys/key.bin", b"live key");
    lab.lrl("restore --target new").expect(0);
    assert_eq!(fs::read(lab.path("keys/key.bin")).unwrap(), b"live key");
    assert_eq!(names(lab.path("new")), [".lrl-undo.json", "assets", "lrl.db", "storage"]);
}

#[test]
fn several_paths_are_one_restore_with_one_undo() {
    let lab = backed_up();
    lab.write("data/assets/ab12/v1.txt", b"changed");
    lab.write("data/assets/cd34/v1.bin", b"changed too");
    fs::remove_dir_all(lab.path("data/assets/ef56")).unwrap();
    let before = look(&lab.path("data/assets"));
    let run = lab.run([
        "restore",
        "--path",
        "assets/ef56/v2.bin",
        "--path",
        "assets/cd34/v1.bin",
        "--path",
        "assets/ab12/v1.txt",
        "--path",
        "assets/ef56/v1.bin",
        "--path",
        "assets/ab12/v1.txt",
        "--path",
        "lrl.db",
    ]);
    let run = run.expect(0);
    assert!(!run.stdout.contains("Start the application"), "{}", run.stdout);
    assert_eq!(fs::read(lab.path("data/assets/ab12/v1.txt")).unwrap(), b"a few words\n");
    assert_eq!(fs::read(lab.path("data/assets/cd34/v1.bin")).unwrap(), noise(70_000, 1));
    assert_eq!(names(lab.path("data/assets/ef56")), ["v1.bin", "v2.bin"]);
    lab.lrl("restore --undo").expect(0);
    assert!(!lab.path("data/assets/ef56").exists());
    for (path, seen) in &before {
        if seen.mode & 0o170_000 == 0o100_000 {
            assert_eq!(look(&lab.path("data/assets"))[path].mode, seen.mode);
        }
    }
    assert_eq!(fs::read(lab.path("data/assets/ab12/v1.txt")).unwrap(), b"changed");
}

#[test]
fn everything_but_what_is_damaged_is_restored_and_the_rest_is_listed() {
    let lab = backed_up();
    damage(&lab, &noise(90_000, 3));
    let run = lab.lrl("restore --data-dir new").expect(1);
    assert!(run.stderr.contains("assets/ef56/v1.bin") && run.stderr.contains("--skip-damaged"), "{}", run.stderr);
    assert!(!lab.path("new").exists());
    let run = lab.lrl("restore -q --data-dir new --skip-damaged").expect(3);
    assert!(run.stderr.contains("not restored: assets/ef56/v1.bin"), "{}", run.stderr);
    let mut live = look(&lab.path("data/assets"));
    live.retain(|path, _| path != b"ef56/v1.bin");
    assert_same(&look(&lab.path("new/assets")), &live, "all but the damaged one");
    assert!(fs::read(lab.path("new/lrl.db")).unwrap() == fs::read(lab.path("data/lrl.db")).unwrap());
    let document = lab.lrl("restore --data-dir again --skip-damaged --assets-only --json").expect(3).json();
    assert_eq!(document["skipped"][0]["path"], "assets/ef56/v1.bin", "{document:#}");
    // What is right in place is not read from the store at all.
    lab.lrl("restore --skip-damaged").expect(0);
    lab.lrl("restore --path assets/ef56/v1.bin --target one --skip-damaged").expect(1);
    assert!(!lab.path("one/assets").exists());
}

#[test]
fn a_damaged_database_is_left_out_and_the_uploads_are_restored() {
    let lab = backed_up();
    lab.database().execute_batch("CREATE TABLE big(x)").unwrap();
    let body = noise(600_000, 9);
    lab.database().execute("INSERT INTO big VALUES (?1)", [&body]).unwrap();
    lab.lrl("backup --snapshot-only").expect(0);
    damage(&lab, &body[200_000..]);
    lab.lrl("restore --data-dir new").expect(1);
    lab.write("new/lrl.db", b"kept as it is");
    let run = lab.lrl("restore --data-dir new --skip-damaged").expect(3);
    assert!(run.stderr.contains("not restored: lrl.db") && run.stderr.contains("was left alone"), "{}", run.stderr);
    assert_eq!(fs::read(lab.path("new/lrl.db")).unwrap(), b"kept as it is");
    assert_same(&look(&lab.path("new/assets")), &look(&lab.path("data/assets")), "the uploads");
    lab.lrl("restore --data-dir new --skip-damaged --db-only").expect(1);
}

#[test]
fn what_is_right_already_is_not_written_again() {
    let lab = backed_up();
    lab.write("data/assets/ab12/v1.txt", b"A few words\n");
    let inode = |path: &str| fs::metadata(lab.path(path)).unwrap().ino();
    let before = inode("data/assets/ef56/v1.bin");
    let document = lab.lrl("restore --json").expect(0).json();
    assert_eq!(fs::read(lab.path("data/assets/ab12/v1.txt")).unwrap(), b"a few words\n");
    // Where the disk can clone, a clone shares the blocks instead.
    let shared = inode("data/assets/ef56/v1.bin") == before && inode("data/assets.pre-restore/ef56/v1.bin") == before;
    assert!(shared || document["notes"].to_string().find("hard links").is_none(), "{document:#}");
}

#[test]
fn kept_copies_are_removed_when_asked_to() {
    let lab = backed_up();
    let right = look(&lab.path("data/assets"));
    lab.write("data/assets/later", b"later");
    lab.write("data/assets/mine.pre-restore", b"an upload");
    lab.write("data/lrl.db.pre-restore.old", b"not lrl's");
    let run = lab.lrl("restore --no-keep").expect(0);
    assert!(run.stdout.contains("cannot be undone") && !run.stdout.contains("--undo"), "{}", run.stdout);
    assert_eq!(names(lab.path("data")), ["assets", "lrl.db", "lrl.db.pre-restore.old"]);
    assert_same(&look(&lab.path("data/assets")), &right, "restored");
    lab.lrl("restore --undo").expect(1);
    lab.write("data/assets/cd34/v1.bin", b"changed");
    lab.lrl("restore").expect(0);
    lab.write("data/assets/cd34/v1.bin", b"changed");
    let run = lab.lrl("restore --path assets/cd34/v1.bin").expect(0);
    assert!(lab.path("data/assets/cd34/v1.bin.pre-restore").exists());
    let before = names(lab.path("data"));
    let cleaned = lab.lrl("restore --clean --dry-run").expect(0);
    assert!(cleaned.stdout.contains("Would remove ./data/assets.pre-restore"), "{}", cleaned.stdout);
    let cleaned = lab.lrl("restore --clean --older-than 7d").expect(0);
    assert!(cleaned.stdout.contains("No kept copies") && cleaned.stderr.contains("younger"), "{}", cleaned.stderr);
    assert_eq!(names(lab.path("data")), before);
    // A link among them is removed as a link.
    fs::create_dir(lab.path("elsewhere")).unwrap();
    lab.write("elsewhere/file", b"stays");
    std::os::unix::fs::symlink(lab.path("elsewhere"), lab.path("data/assets.pre-restore/link")).unwrap();
    run_suggested(&lab, &run.stdout, "restore --clean");
    assert_eq!(names(lab.path("data")), ["assets", "lrl.db", "lrl.db.pre-restore.old"]);
    let without_time = |mut tree: std::collections::BTreeMap<Vec<u8>, crate::helpers::Seen>| {
        tree.values_mut().for_each(|seen| seen.time = (0, 0));
        tree
    };
    assert_same(&without_time(look(&lab.path("data/assets"))), &without_time(right), "what is in place");
    assert_eq!(names(lab.path("elsewhere")), ["file"]);
    assert_eq!(lab.lrl("restore --clean --json").expect(0).json()["removed_bytes"], 0);
    lab.lrl("restore --older-than 7d").expect(2);
}

#[test]
fn commands_that_destroy_are_never_suggested() {
    let lab = Lab::empty();
    for word in ["history", "serve", "restor", "forge", "prun"] {
        let run = lab.run([word]).expect(2);
        for verb in ["restore", "forget", "prune"] {
            assert!(!run.stderr.contains(&format!("'{verb}'")), "{word}: {}", run.stderr);
        }
    }
    assert!(lab.run(["snapshot"]).expect(2).stderr.contains("'snapshots'"));
}

/// Damages a whole pack: its directory and every chunk.
fn ruin(lab: &Lab) {
    for pack in files_with(&lab.path("backups/store/packs"), "") {
        fs::write(&pack, noise(50_000, 77)).unwrap();
    }
}

fn assert_heals(lab: &Lab, repair: &str) {
    let right = (look(&lab.path("data/assets")), fs::read(lab.path("data/lrl.db")).unwrap());
    lab.lrl("check --read-data").expect(4);
    let run = lab.lrl(repair).expect(0);
    assert!(run.stdout.contains("Found again: "), "{}", run.stdout);
    lab.lrl("check --read-data").expect(0);
    lab.lrl("restore --target healed").expect(0);
    assert_same(&look(&lab.path("healed/assets")), &right.0, "the uploads");
    assert!(fs::read(lab.path("healed/lrl.db")).unwrap() == right.1);
    fs::remove_dir_all(lab.path("healed")).unwrap();
}

#[test]
fn a_repair_finds_what_is_lost_in_the_sets_beside_the_store() {
    let lab = backed_up();
    damage(&lab, &noise(90_000, 3));
    assert_heals(&lab, "check --read-data --repair");
    ruin(&lab);
    assert_heals(&lab, "check --read-data --repair");
}

#[test]
fn a_repair_finds_what_is_lost_in_live_data_sets_elsewhere_and_other_stores() {
    let lab = Lab::small();
    lab.upload("ef56/v1.bin", &noise(3_000_000, 3));
    lab.lrl("backup").expect(0);
    let into = |from: &str, to: &str| {
        let done = std::process::Command::new("cp").args(["-a", from, to]).current_dir(lab.path("")).status().unwrap();
        assert!(done.success());
    };
    into("backups", "elsewhere");
    into("backups/store", "copy");
    for manifest in names(lab.path("backups")).iter().filter(|name| *name != "store") {
        fs::remove_file(lab.path("backups").join(manifest)).unwrap();
    }
    for from in ["data", "copy", "elsewhere"] {
        ruin(&lab);
        lab.lrl("check --read-data --repair").expect(4);
        assert_heals(&lab, &format!("check --read-data --repair --from {from}"));
    }
    lab.lrl("check --repair --from data/assets").expect(1);
    lab.lrl("check --from data").expect(2);
}

#[test]
fn an_import_of_a_set_that_is_there_already_heals_its_snapshot() {
    let lab = backed_up();
    damage(&lab, &noise(90_000, 3));
    lab.lrl("restore --target new").expect(1);
    let run = lab.lrl("import backups").expect(0);
    assert!(run.stdout.contains("Already there") && run.stdout.contains("Healed: "), "{}", run.stdout);
    lab.lrl("restore --target new").expect(0);
    assert_same(&look(&lab.path("new/assets")), &look(&lab.path("data/assets")), "the uploads");
    let run = lab.lrl("import backups").expect(0);
    assert!(!run.stdout.contains("Healed: "), "{}", run.stdout);
}

#[test]
fn paths_of_a_set_of_the_manuals_layout_are_restored_with_one_undo() {
    let lab = Lab::small();
    lab.lrl("backup").expect(0);
    let manifest = names(lab.path("backups")).into_iter().find(|name| name.ends_with(".json")).unwrap();
    let set = format!("restore --manifest backups/{manifest}");
    let whole = look(&lab.path("data/assets/ab12"));
    let users = || lab.database().query_row("SELECT count(*) FROM users", [], |row| row.get::<_, i64>(0)).unwrap();
    fs::remove_dir_all(lab.path("data/assets/ab12")).unwrap();
    lab.write("data/assets/cd34/v1.bin", b"changed");
    lab.write("data/assets/new.txt", b"stays");
    // One file, then a directory and the database together.
    lab.lrl(&format!("{set} --only assets/cd34/v1.bin")).expect(0);
    assert_eq!(fs::read(lab.path("data/assets/cd34/v1.bin")).unwrap(), noise(70_000, 1));
    assert!(!lab.path("data/assets/ab12").exists());
    lab.database().execute("DELETE FROM users", []).unwrap();
    let run = lab.lrl(&format!("{set} --only assets/ab12 --only lrl.db --dry-run")).expect(0);
    assert!(run.stdout.contains("lrl.db") && users() == 0, "{}", run.stdout);
    lab.lrl(&format!("{set} --only assets/ab12 --only lrl.db")).expect(0);
    assert_eq!(users(), 1);
    assert_same(&look(&lab.path("data/assets/ab12")), &whole, "the directory");
    assert_eq!(fs::read(lab.path("data/assets/new.txt")).unwrap(), b"stays");
    lab.lrl("restore --undo").expect(0);
    assert!(users() == 0 && !lab.path("data/assets/ab12").exists());
    // Elsewhere, and what is not there.
    lab.lrl(&format!("{set} --only assets/ab12 --target elsewhere")).expect(0);
    assert_eq!(names(lab.path("elsewhere/assets")), ["ab12"]);
    for (path, why) in [
        ("assets/nothing", "holds no `assets/nothing`"),
        ("storage/x", "--only takes lrl.db"),
        ("../x", "--only takes lrl.db"),
    ] {
        let run = lab.lrl(&format!("{set} --only {path}")).expect(1);
        assert!(run.stderr.contains(why), "{}", run.stderr);
    }
    // The same out of a set that the old scripts wrote: its manifest tells less.
    let text = fs::read_to_string(lab.path(format!("backups/{manifest}"))).unwrap();
    let mut old: serde_json::Value = serde_json::from_str(&text).unwrap();
    old.as_object_mut().unwrap().remove("lrl");
    lab.write(format!("backups/{manifest}"), old.to_string());
    lab.write("data/assets/cd34/v1.bin", b"changed");
    lab.lrl(&format!("{set} --only assets/cd34/v1.bin")).expect(0);
    assert_eq!(fs::read(lab.path("data/assets/cd34/v1.bin")).unwrap(), noise(70_000, 1));
}
