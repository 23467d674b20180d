//! `lrl backup --keep-sets`: only sets that can be reproduced byte for byte are removed, and a killed run leaves nothing behind.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::PathBuf;
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::common::{Lab, noise, sha256};
use crate::helpers::{as_nobody, assert_whole, names, outputs, there_is};
use crate::python_sets::{change, manifests, state, write_with_python};

/// A set as it was written: its snapshot, and its files' digests.
struct Written {
    stamp: String,
    snapshot: String,
    files: BTreeMap<String, String>,
}

fn back_up(lab: &Lab, flags: &str) -> Written {
    let document = lab.lrl(&format!("backup --json {flags}")).expect(0).json();
    let text = |key: &str| document[key].as_str().unwrap().to_string();
    let stamp = text("timestamp");
    let of_it = names(lab.path("backups")).into_iter().filter(|name| name.contains(&stamp) && !name.ends_with(".json"));
    let digest = |name: String| (name.clone(), sha256(&fs::read(lab.path("backups").join(name)).unwrap()));
    Written { snapshot: text("snapshot"), files: of_it.map(digest).collect(), stamp }
}

fn stamps(lab: &Lab) -> Vec<String> {
    let stamp = |path: PathBuf| path.file_stem().unwrap().to_str().unwrap().replace("backup_manifest_", "");
    manifests(lab, "backups").into_iter().map(stamp).collect()
}

/// Says why something stayed.
fn reason(document: &Value, name: &str) -> String {
    let kept = document["sets"]["kept"].as_array().unwrap();
    let found = kept.iter().find(|kept| kept["name"].as_str().unwrap().contains(name));
    found.unwrap_or_else(|| panic!("{name} in {document:#}"))["reason"].as_str().unwrap().to_string()
}

fn part(lab: &Lab, set: &Written, ending: &str) -> PathBuf {
    outputs(lab, "backups", ending).into_iter().find(|path| path.to_str().unwrap().contains(&set.stamp)).unwrap()
}

#[test]
fn what_is_removed_is_exported_again_byte_for_byte() {
    let lab = Lab::small();
    lab.upload("big/v1.bin", &noise(400_000, 3));
    lab.write("data/assets/gone/v1.txt", b"no row knows it");
    let mut all = vec![back_up(&lab, "")];
    lab.upload("ef56/v1.txt", b"one more\n");
    all.push(back_up(&lab, ""));
    all.push(back_up(&lab, ""));
    fs::remove_dir_all(lab.path("data/assets/gone")).unwrap();
    all.push(back_up(&lab, ""));
    all.push(back_up(&lab, "--db-only"));
    all.push(back_up(&lab, "--assets-only"));
    let document = lab.lrl("backup --json --keep-sets 2").expect(0).json();
    let sets = &document["sets"];
    let gone: Vec<&str> =
        sets["removed"].as_array().unwrap().iter().map(|set| set["timestamp"].as_str().unwrap()).collect();
    // Two of each part stay: the newest complete set, and the two single parts before it.
    assert_eq!(gone, [&all[3].stamp, &all[2].stamp, &all[1].stamp, &all[0].stamp]);
    assert_eq!(stamps(&lab), [&all[4].stamp, &all[5].stamp, document["timestamp"].as_str().unwrap()]);
    assert_eq!((&sets["count"], &sets["kept"]), (&Value::from(3), &Value::from(Vec::<Value>::new())));
    let left = names(lab.path("backups")).len();
    assert_eq!(left, 3 + 4 + 1, "{:?}", names(lab.path("backups")));
    for set in &all[..4] {
        let out = format!("again-{}", set.stamp);
        lab.run(["export", &set.snapshot, "--out", &out]).expect(0);
        assert_eq!(set.files.len(), 2);
        for (name, digest) in &set.files {
            assert_eq!(*digest, sha256(&fs::read(lab.path(&out).join(name)).unwrap()), "{name}");
        }
    }
    assert_whole(&lab, "backups");
}

#[test]
fn an_unchanged_archive_stays_known_when_its_older_names_go() {
    let lab = Lab::small();
    lab.upload("big/v1.bin", &noise(400_000, 3));
    let inode = |set: &Written| fs::metadata(part(&lab, set, ".tar.gz")).unwrap().ino();
    let (first, second) = (back_up(&lab, ""), back_up(&lab, ""));
    let links = inode(&first) == inode(&second);
    let third = back_up(&lab, "--keep-sets 1");
    assert_eq!(stamps(&lab), [third.stamp.as_str()]);
    let before = inode(&third);
    let fourth = back_up(&lab, "--keep-sets 1");
    assert!(!links || inode(&fourth) == before, "the archive was written anew");
    assert_eq!(fs::metadata(part(&lab, &fourth, ".tar.gz")).unwrap().nlink(), 1);
    // The space is that of one archive, however many names it had.
    let run = lab.lrl("backup --json").expect(0).json();
    let blocks = |path: &PathBuf| fs::metadata(path).unwrap().blocks() * 512;
    let archives = outputs(&lab, "backups", ".tar.gz");
    let others: u64 =
        [".sqlite", ".json"].iter().flat_map(|ending| outputs(&lab, "backups", ending)).map(|p| blocks(&p)).sum();
    assert!(!links || run["sets"]["disk_bytes"].as_u64().unwrap() == others + blocks(&archives[0]), "{run:#}");
    // What the segments are taken from is a set that is still there.
    lab.upload("small/v1.txt", b"x");
    back_up(&lab, "--keep-sets 1");
    assert_whole(&lab, "backups");
}

#[test]
fn what_cannot_be_made_again_stays_and_is_named() {
    let lab = Lab::small();
    write_with_python(&lab, "./backups", "20200101_000000");
    let edited = back_up(&lab, "");
    let [annotated, torn, beside, cut, orphan, forgotten]: [Written; 6] = std::array::from_fn(|_| back_up(&lab, ""));
    let other = lab.lrl("backup --json --source other").expect(0).json();
    let file = |set: &Written, ending: &str| part(&lab, set, ending);
    let patch = |path: PathBuf, edit: &dyn Fn(&mut Vec<u8>)| {
        // A name of its own: archives share theirs.
        let mut bytes = fs::read(&path).unwrap();
        edit(&mut bytes);
        fs::remove_file(&path).unwrap();
        fs::write(&path, bytes).unwrap();
    };
    patch(file(&edited, ".sqlite"), &|bytes| bytes[5000] ^= 1);
    patch(file(&annotated, ".json"), &|bytes| bytes.push(b'\n'));
    fs::remove_file(file(&torn, ".tar.gz")).unwrap();
    lab.write(format!("backups/lrl_db_{}.sqlite-wal", beside.stamp), b"somebody works in it");
    patch(file(&cut, ".tar.gz"), &|bytes| bytes.truncate(bytes.len() - 1));
    fs::remove_file(file(&orphan, ".json")).unwrap();
    let objects = lab.path("backups/store/snapshots/lab");
    let object = names(&objects).into_iter().find(|name| name.ends_with(&forgotten.snapshot)).unwrap();
    fs::remove_file(objects.join(object)).unwrap();
    lab.write("backups/notes.txt", b"mine");
    let mut before = state(&lab.path("backups"));
    let rebuildable = back_up(&lab, "");
    for _ in 0..2 {
        let document = lab.lrl("backup --json --keep-sets 1").expect(0).json();
        for (stamp, why) in [
            ("20200101_000000", "lrl did not write it"),
            (&edited.stamp, "was changed"),
            (&annotated.stamp, "its manifest is not what its snapshot says"),
            (&torn.stamp, "is not there"),
            (&beside.stamp, "sqlite-wal stands beside it"),
            (&cut.stamp, "has another length"),
            (&orphan.stamp, "it has no manifest"),
            (&forgotten.stamp, "its snapshot is not in the store"),
            (other["timestamp"].as_str().unwrap(), "it is of the source other"),
        ] {
            let reason = reason(&document, stamp);
            assert!(reason.contains(why), "{stamp}: {reason}");
        }
        assert_eq!(document["sets"]["kept"].as_array().unwrap().len(), 9, "{document:#}");
    }
    assert!(!stamps(&lab).contains(&rebuildable.stamp));
    let after = state(&lab.path("backups"));
    before.retain(|path, _| !path.contains("/store/"));
    for (path, seen) in before {
        assert!(after.get(&path) == Some(&seen), "{path} was touched");
    }
    let run = lab.lrl("backup --keep-sets 1").expect(0);
    assert!(run.stdout.contains("  kept 4 more, which --json names"), "{}", run.stdout);
    assert!(run.stdout.contains("  removed 20"), "{}", run.stdout);
}

#[test]
fn a_set_that_the_store_has_lost_a_part_of_stays() {
    let lab = Lab::small();
    let packs = |lab: &Lab| crate::helpers::files_with(&lab.path("backups/store/packs"), "");
    back_up(&lab, "");
    let before = packs(&lab);
    lab.upload("only/v1.bin", &noise(90_000, 9));
    let second = back_up(&lab, "");
    let lost: Vec<PathBuf> = packs(&lab).into_iter().filter(|pack| !before.contains(pack)).collect();
    fs::remove_dir_all(lab.path("data/assets/only")).unwrap();
    back_up(&lab, "");
    lost.iter().for_each(|pack| fs::remove_file(pack).unwrap());
    for _ in 0..2 {
        let document = lab.lrl("backup --json --keep-sets 1").expect(0).json();
        let reason = reason(&document, &second.stamp);
        assert!(reason.contains("the store cannot give all of it back") && reason.contains("missing"), "{reason}");
        assert_eq!(stamps(&lab), [&second.stamp, document["timestamp"].as_str().unwrap()]);
    }
}

#[test]
fn what_a_killed_removal_left_is_removed_by_the_next() {
    for step in 0..4 {
        let lab = Lab::small();
        let old = back_up(&lab, "");
        lab.upload("new/v1.txt", b"x");
        back_up(&lab, "");
        let manifest = part(&lab, &old, ".json");
        let hidden = manifest.with_file_name(format!(".retired-{}", manifest.file_name().unwrap().to_str().unwrap()));
        fs::rename(&manifest, &hidden).unwrap();
        for ending in [".sqlite", ".tar.gz"].iter().take(step) {
            fs::remove_file(part(&lab, &old, ending)).unwrap();
        }
        if step == 3 {
            // Not what it was when its removal began: left alone.
            lab.write(format!("backups/lrl_db_{}.sqlite", old.stamp), b"another one");
        }
        lab.lrl("drill").expect(0);
        let document = lab.lrl("backup --json --keep-sets 9").expect(0).json();
        let left: Vec<String> =
            names(lab.path("backups")).into_iter().filter(|name| name.contains(&old.stamp)).collect();
        if step == 3 {
            assert_eq!(left.len(), 2, "{left:?}");
            assert!(reason(&document, &old.stamp).contains("another length"));
            fs::remove_file(&hidden).unwrap();
        } else {
            assert_eq!(left, Vec::<String>::new(), "step {step}");
            assert_eq!(document["sets"]["removed"][0]["timestamp"], old.stamp.as_str());
        }
        assert_eq!(document["sets"]["count"], 2);
        assert_whole(&lab, "backups");
    }
}

#[test]
fn a_set_that_is_being_read_stays() {
    let lab = Lab::small();
    if !there_is("flock") {
        return;
    }
    let old = back_up(&lab, "");
    let mut reader = Command::new("flock")
        .args(["--shared", part(&lab, &old, ".json").to_str().unwrap(), "sh", "-c", "echo held; cat"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut held = [0; 5];
    std::io::Read::read_exact(reader.stdout.as_mut().unwrap(), &mut held).unwrap();
    let document = lab.lrl("backup --json --keep-sets 1").expect(0).json();
    assert!(reason(&document, &old.stamp).contains("is reading it"));
    drop(reader.stdin.take());
    reader.wait().unwrap();
    lab.lrl("backup --keep-sets 1").expect(0);
    assert_eq!(stamps(&lab).len(), 1);
}

#[test]
fn what_may_not_be_removed_makes_exit_3_and_the_set_is_there() {
    let lab = Lab::small();
    let Some(nobody) = as_nobody(&lab) else { return };
    let old = nobody("backup --json").expect(0).json()["timestamp"].as_str().unwrap().to_string();
    // In a directory with the sticky bit only its owner removes a file.
    let backups = lab.path("backups");
    assert!(Command::new("chown").args(["root"]).arg(&backups).status().unwrap().success());
    fs::set_permissions(&backups, fs::Permissions::from_mode(0o1777)).unwrap();
    for name in names(&backups).iter().filter(|name| name.contains(&old)) {
        assert!(Command::new("chown").args(["root"]).arg(backups.join(name)).status().unwrap().success());
        fs::set_permissions(backups.join(name), fs::Permissions::from_mode(0o644)).unwrap();
    }
    let run = nobody("backup --keep-sets 1").expect(3);
    assert!(
        run.stderr.contains(&format!("backup_manifest_{old}.json: is an old set that could not be removed")),
        "{}",
        run.stderr
    );
    assert_eq!(stamps(&lab).len(), 2);
    assert_whole(&lab, "backups");
}

#[test]
fn a_dry_run_tells_and_touches_nothing() {
    let lab = Lab::small();
    let old = back_up(&lab, "");
    back_up(&lab, "--db-only");
    let before = state(&lab.path("backups"));
    let document = lab.lrl("backup --dry-run --json --keep-sets 1 --db-only").expect(0).json();
    assert_eq!(document["sets"]["removed"].as_array().unwrap().len(), 1, "{document:#}");
    let run = lab.lrl("backup --dry-run --keep-sets 1").expect(0);
    assert!(
        run.stdout.contains("Sets: 2, ") && run.stdout.contains(&format!("{} would be removed", old.stamp)),
        "{}",
        run.stdout
    );
    assert!(state(&lab.path("backups")) == before);
}

#[test]
fn the_number_comes_from_the_file_too_and_is_never_none() {
    let lab = Lab::small();
    let run = lab.lrl("backup --keep-sets 0").expect(2);
    assert!(run.stderr.contains("the set that was just written always stays"), "{}", run.stderr);
    lab.write("lrl.toml", "keep-sets = 2");
    (0..4).for_each(|_| drop(back_up(&lab, "")));
    assert_eq!(stamps(&lab).len(), 2);
    back_up(&lab, "--keep-sets all");
    assert_eq!(stamps(&lab).len(), 3);
    // Without a new set nothing goes.
    lab.lrl("backup --snapshot-only").expect(0);
    assert_eq!(stamps(&lab).len(), 3);
    change(&lab, "lrl.toml", |bytes| bytes.clear());
    let run = lab.lrl("backup").expect(0);
    assert!(run.stdout.contains("\nSets: 4, "), "{}", run.stdout);
}

/// Flips a byte of an archive below the file system, as it were: the file keeps its names, and what is known of it its times.
fn rot(lab: &Lab, path: &PathBuf) {
    let mut bytes = fs::read(path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    let file = fs::File::options().write(true).open(path).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&file, &bytes, 0).unwrap();
    let meta = fs::metadata(path).unwrap();
    let stamp = format!(
        "{} {} {} {}.{} {}.{}",
        meta.len(),
        meta.dev(),
        meta.ino(),
        meta.mtime(),
        meta.mtime_nsec(),
        meta.ctime(),
        meta.ctime_nsec()
    );
    let cache = rusqlite::Connection::open(lab.path("backups/store/cache/cache.db")).unwrap();
    let name = path.file_name().unwrap().to_str().unwrap();
    let changed =
        cache.execute("UPDATE outputs SET stamp = ?1 WHERE CAST(path AS TEXT) LIKE '%' || ?2", (stamp, name)).unwrap();
    assert_eq!(changed, 1);
}

#[test]
fn an_archive_that_rots_is_not_linked_into_the_next_set() {
    for (flags, changes_database) in [("", true), ("--rescan", false), ("--rescan-every 0", false)] {
        let lab = Lab::small();
        lab.upload("big/v1.bin", &noise(400_000, 3));
        let first = back_up(&lab, "");
        let second = back_up(&lab, "");
        let (archive, same) = (part(&lab, &first, ".tar.gz"), part(&lab, &second, ".tar.gz"));
        let links = fs::metadata(&archive).unwrap().nlink() == 2;
        lab.lrl("check --read-data").expect(0);
        rot(&lab, &same);
        // Nothing but reading it shows that.
        let run = lab.lrl("check --json").expect(0).json();
        assert_eq!((&run["checked"]["sets"], &run["checked"]["set_bytes_read"]), (&2.into(), &0.into()));
        let run = lab.lrl("check --read-data").expect(4);
        for path in [&archive, &same].into_iter().filter(|path| links || *path == &same) {
            assert!(run.stdout.contains(path.file_name().unwrap().to_str().unwrap()), "{}", run.stdout);
        }
        assert!(!run.stderr.contains("--repair"), "the store is whole: {}", run.stderr);
        if changes_database {
            lab.database().execute("UPDATE users SET display_name = 'Eve'", []).unwrap();
        }
        let line = format!("backup --json {flags}");
        let run = lab.lrl(&line).expect(3);
        assert!(run.stderr.contains("is damaged: its bytes have changed"), "{}", run.stderr);
        let stamp = run.json()["timestamp"].as_str().unwrap().to_string();
        let fresh = lab.path(format!("backups/lrl_assets_{stamp}.tar.gz"));
        assert_ne!(fs::metadata(&fresh).unwrap().ino(), fs::metadata(&same).unwrap().ino());
        assert_eq!(
            first.files.iter().find(|(name, _)| name.ends_with(".tar.gz")).unwrap().1,
            &sha256(&fs::read(&fresh).unwrap())
        );
        // From then on the fresh one is shared, and nothing more is said.
        let last = lab.lrl(&line).expect(0).json()["timestamp"].as_str().unwrap().to_string();
        let shared = fs::metadata(lab.path(format!("backups/lrl_assets_{last}.tar.gz"))).unwrap();
        assert!(!links || shared.ino() == fs::metadata(&fresh).unwrap().ino());
        lab.run(["drill", "--manifest", &format!("backups/backup_manifest_{last}.json")]).expect(0);
    }
}

#[test]
fn a_check_names_sets_whose_files_are_gone_or_cut_short() {
    let lab = Lab::small();
    let [cut, torn, good]: [Written; 3] = std::array::from_fn(|n| {
        lab.upload(&format!("n{n}/v1.txt"), b"x");
        back_up(&lab, "")
    });
    let file = fs::File::options().write(true).open(part(&lab, &cut, ".sqlite")).unwrap();
    file.set_len(4096).unwrap();
    fs::remove_file(part(&lab, &torn, ".tar.gz")).unwrap();
    let run = lab.lrl("check").expect(4);
    assert!(run.stdout.contains(&cut.stamp) && run.stdout.contains(&torn.stamp), "{}", run.stdout);
    assert!(!run.stdout.contains(&good.stamp), "{}", run.stdout);
}
