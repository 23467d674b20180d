//! Unusual uploads: every kind of file, files that are unreadable or change during the backup, unusual roots.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::common::{Lab, Run, noise};
use crate::helpers::{as_nobody, assert_same, assert_whole, look, names, outputs, python};

/// A lab with one of everything.
fn zoo() -> Lab {
    let lab = Lab::small();
    let at = |name: &str| lab.path("data/assets").join(name);
    lab.write(Path::new("data/assets").join(OsStr::from_bytes(b"bad\xff\xfe/na\x80me.txt")), b"odd name\n");
    lab.write("data/assets/new\nline and blank ", b"control\n");
    lab.write("data/assets/zero", b"");
    symlink("ab12/v1.txt", at("inside")).unwrap();
    symlink("ab12", at("inside-dir")).unwrap();
    symlink("/etc/hostname", at("outside")).unwrap();
    symlink("../../data/lrl.db", at("ab12/climbs")).unwrap();
    symlink("nowhere", at("dangling")).unwrap();
    fs::hard_link(at("ab12/v1.txt"), at("cd34/again.txt")).unwrap();
    fs::create_dir(at("locked")).unwrap();
    fs::set_permissions(at("locked"), fs::Permissions::from_mode(0o1711)).unwrap();
    fs::set_permissions(at("ab12/v2.txt"), fs::Permissions::from_mode(0o4751)).unwrap();
    let sparse = fs::File::create(at("sparse")).unwrap();
    sparse.set_len(8 << 20).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&sparse, b"island", 5 << 20).unwrap();
    assert!(Command::new("mkfifo").arg(at("fifo")).status().unwrap().success());
    lab
}

fn problems(run: &Run) -> Vec<(String, bool)> {
    let document = run.json();
    let list = document["problems"].as_array().unwrap().clone();
    list.iter().map(|p| (p["path"].as_str().unwrap().to_string(), p["lost"] == Value::Bool(true))).collect()
}

#[test]
fn every_kind_of_upload_is_stored_named_and_restored_exactly() {
    let lab = zoo();
    let socket = std::os::unix::net::UnixListener::bind(lab.path("data/assets/socket")).unwrap();
    let run = lab.lrl("backup --json").expect(0);
    let named = problems(&run);
    for name in ["./data/assets/fifo", "./data/assets/socket"] {
        assert!(named.contains(&(name.to_string(), false)), "{name} is not named: {named:?}");
    }
    assert!(named.iter().any(|(path, _)| path.ends_with("outside")), "{named:?}");
    drop(socket);
    fs::remove_file(lab.path("data/assets/socket")).unwrap();
    fs::remove_file(lab.path("data/assets/fifo")).unwrap();
    // Taking the two away moved the directory's own time.
    let mut before = look(&lab.path("data/assets"));
    lab.lrl("restore --data-dir new").expect(0);
    let mut after = look(&lab.path("new/assets"));
    // A file comes back without the right to run as its owner: a user who can write an upload must not gain it by a restore.
    before.get_mut(b"ab12/v2.txt".as_slice()).unwrap().mode &= !0o6000;
    before.remove(b"".as_slice());
    after.remove(b"".as_slice());
    assert_same(&before, &after, "the snapshot");
    assert!(after[b"sparse".as_slice()].has_holes);
    // The same from the set alone: the links that lead outside are not in it.
    let manifest = outputs(&lab, "backups", ".json").remove(0);
    lab.run(["restore".as_ref(), "--manifest".as_ref(), manifest.as_os_str(), "--data-dir".as_ref(), "set".as_ref()])
        .expect(0);
    let mut from_set = look(&lab.path("set/assets"));
    before.retain(|name, _| from_set.contains_key(name) || !before_only(name));
    from_set.remove(b"".as_slice());
    for (name, seen) in &before {
        let other = from_set.get(name).unwrap_or_else(|| panic!("{} is not in the set", String::from_utf8_lossy(name)));
        assert_eq!((other.mode, &other.contents, other.time), (seen.mode, &seen.contents, seen.time), "{name:?}");
    }
    assert_whole(&lab, "backups");
}

/// What an archive leaves out because Python's extraction filter would refuse all of it.
fn before_only(name: &[u8]) -> bool {
    [b"outside".as_slice(), b"ab12/climbs"].contains(&name)
}

#[test]
fn every_reader_opens_the_set_of_odd_uploads() {
    let lab = zoo();
    lab.lrl("backup").expect(0);
    let archive = outputs(&lab, "backups", ".tar.gz").remove(0);
    let copy = outputs(&lab, "backups", ".sqlite").remove(0);
    let script = "
import sys, tarfile, tempfile, pathlib, sqlite3
with tarfile.open(sys.argv[1], 'r:gz') as tar:
    names = tar.getnames()
    with tempfile.TemporaryDirectory() as place: tar.extractall(place, filter='data') if hasattr(tarfile, 'data_filter') else tar.extractall(place)
with tarfile.open(sys.argv[1], 'r|gz') as tar: assert [member.name for member in tar] == names
assert len(names) == len(set(names)), names
print(len(names), sqlite3.connect(sys.argv[2]).execute('pragma integrity_check').fetchone()[0])";
    let said = python(&lab, script, &[&archive, &copy]);
    assert!(said.trim().ends_with("ok"), "{said}");
    fs::create_dir(lab.path("gnu")).unwrap();
    let tar = Command::new("tar").arg("-xzf").arg(&archive).arg("-C").arg(lab.path("gnu")).output().unwrap();
    assert!(tar.status.success() && tar.stderr.is_empty(), "{}", String::from_utf8_lossy(&tar.stderr));
    assert!(lab.path("gnu/assets").join(OsStr::from_bytes(b"bad\xff\xfe/na\x80me.txt")).exists());
    assert!(Command::new("gzip").arg("-t").arg(&archive).status().unwrap().success());
}

#[test]
fn a_tebibyte_of_hole_costs_nothing_in_the_store() {
    let lab = Lab::small();
    fs::File::create(lab.path("data/assets/huge")).unwrap().set_len(1 << 40).unwrap();
    lab.lrl("backup --snapshot-only").expect(0);
    let run = lab.lrl("restore --data-dir new").expect(0);
    assert!(!run.stderr.contains("no room"), "{}", run.stderr);
    let back = &look(&lab.path("new/assets"))[b"huge".as_slice()];
    assert!(back.has_holes);
    assert_eq!(back.contents, b"1099511627776");
}

#[test]
fn who_may_not_read_an_upload_keeps_the_rest_and_exits_3() {
    let lab = Lab::small();
    for (name, mode) in [("data/assets/ab12/v1.txt", 0o000), ("data/assets/empty", 0o000)] {
        fs::set_permissions(lab.path(name), fs::Permissions::from_mode(mode)).unwrap();
    }
    let Some(lrl) = as_nobody(&lab) else { return };
    let run = lrl("backup --json").expect(3);
    let named = problems(&run);
    assert_eq!(named.iter().filter(|(_, lost)| *lost).count(), 2, "{named:?}");
    assert!(named.iter().any(|(path, _)| path.ends_with("ab12/v1.txt")));
    let listed = lrl("ls latest").expect(0).stdout;
    assert!(listed.contains("ab12/v2.txt") && !listed.contains("ab12/v1.txt"), "{listed}");
    lrl("drill").expect(4);
    lrl("check --read-data").expect(0);
    // Readable again: nothing has to be forgotten first.
    fs::set_permissions(lab.path("data/assets/ab12/v1.txt"), fs::Permissions::from_mode(0o600)).unwrap();
    fs::set_permissions(lab.path("data/assets/empty"), fs::Permissions::from_mode(0o700)).unwrap();
    lrl("backup").expect(0);
    lrl("drill").expect(0);
    // The database of another owner is not opened, and says why.
    assert!(Command::new("chown").arg("0:0").arg(lab.path("data/lrl.db")).status().unwrap().success());
    let snapshots = names(lab.path("backups/store/snapshots/lab"));
    let run = lrl("backup --rescan");
    assert!(run.code == 1 && run.stderr.contains("lrl.db"), "{} {}", run.code, run.stderr);
    assert_eq!(names(lab.path("backups/store/snapshots/lab")), snapshots);
}

#[test]
fn uploads_that_change_and_vanish_meanwhile_never_fail_the_run() {
    let lab = Lab::small();
    for n in 0..200 {
        lab.write(format!("data/assets/churn/{n}"), noise(30_000, n));
    }
    let stop = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for round in 0u64.. {
                if stop.load(std::sync::atomic::Ordering::Relaxed) {
                    return;
                }
                // One file is gone at a time: with many gone the backup would be suspect, and rightly.
                let path = lab.path(format!("data/assets/churn/{}", round / 3 % 200));
                match round % 3 {
                    0 => drop(fs::remove_file(path)),
                    1 => drop(fs::write(path, noise(40_000, round))),
                    _ => drop(
                        fs::File::options()
                            .append(true)
                            .open(path)
                            .map(|mut f| std::io::Write::write_all(&mut f, b"more")),
                    ),
                }
            }
        });
        for _ in 0..4 {
            let run = lab.lrl("backup --json");
            assert!([0, 3].contains(&run.code), "{} {}", run.code, run.stderr);
            let lost = problems(&run).iter().any(|(_, lost)| *lost);
            assert_eq!(lost, run.code == 3, "{}", run.stderr);
        }
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
    });
    assert_whole(&lab, "backups");
    lab.lrl("backup").expect(0);
    lab.lrl("restore --data-dir new").expect(0);
    assert_same(&look(&lab.path("data/assets")), &look(&lab.path("new/assets")), "restored");
}

#[test]
fn the_live_database_is_never_an_upload() {
    let mut lab = Lab::small();
    lab.set("STORAGE_PATH", "./data");
    for line in ["backup --out a", "backup --out b --assets-only"] {
        lab.lrl(line).expect(0);
    }
    for out in ["a", "b"] {
        let listed = lab.lrl(&format!("ls latest --backup {out}")).expect(0).stdout;
        assert!(!listed.contains("storage/lrl.db"), "{listed}");
        assert!(listed.contains("assets/ab12/v1.txt") && !listed.contains("storage/assets"), "{listed}");
    }
}

#[test]
fn roots_in_odd_places_are_stored_once() {
    let mut lab = Lab::small();
    lab.write("storage/key.bin", b"key");
    lab.write("data/keys/key.bin", b"key");
    let list = |lab: &Lab, out: &str| lab.lrl(&format!("ls latest --backup {out}")).expect(0).stdout;
    let run = lab.lrl("backup --out found").expect(0);
    assert!(run.stderr.contains("./storage is there"), "{}", run.stderr);
    assert!(list(&lab, "found").contains("storage/key.bin"));
    lab.set("STORAGE_PATH", "data/keys");
    lab.lrl("backup --out inside").expect(0);
    assert_eq!(list(&lab, "inside").matches("key.bin").count(), 1);
    lab.set("STORAGE_PATH", "data/assets");
    lab.lrl("backup --out same").expect(0);
    assert_eq!(list(&lab, "same").matches("v1.txt").count(), 1);
    lab.set("STORAGE_PATH", "data/assets/ab12");
    lab.lrl("backup --out below").expect(0);
    assert_eq!(list(&lab, "below").matches("v1.txt").count(), 1);
    lab.set("STORAGE_PATH", "nowhere");
    let run = lab.lrl("backup --out missing").expect(3);
    assert!(run.stderr.contains("nowhere"), "{}", run.stderr);
}

#[test]
fn the_backup_directory_is_never_walked_nor_made_of_the_uploads() {
    let lab = Lab::small();
    lab.lrl("backup --out data/assets/backups").expect(0);
    lab.lrl("backup --out data/assets/backups").expect(0);
    assert!(!lab.lrl("ls latest --backup data/assets/backups").expect(0).stdout.contains("backups"));
    fs::remove_dir_all(lab.path("data/assets/backups")).unwrap();
    let before = names(lab.path("data/assets"));
    for line in ["backup --out data/assets", "backup --out ./data/../data/assets/"] {
        let run = lab.lrl(line).expect(1);
        assert!(run.stderr.contains("uploads directory itself"), "{}", run.stderr);
    }
    assert_eq!(names(lab.path("data/assets")), before);
    lab.lrl("backup --out out --store data/assets/store").expect(0);
    assert!(!lab.lrl("ls latest --store data/assets/store").expect(0).stdout.contains("packs"));
}
