//! Extended attributes and POSIX ACLs of files and directories: stored, restored, in archives, compared; and what is not restored is said.

// A log says what could not be tried here.
#![allow(clippy::print_stdout)]

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use lrl_store::format::acl::Acl;
use rustix::fs::{XattrFlags, getxattr, setxattr};

use crate::common::{Lab, noise};
use crate::helpers::{
    Disk, Seen, as_nobody, assert_same, is_root, look, names, outputs, python, strace, there_is, xattrs,
};

const ACCESS: &str = "system.posix_acl_access";
const DEFAULT: &str = "system.posix_acl_default";
/// A mask that lets a named user have more than the group.
const ACL: &str = "user::rw-,user:1234:rw-,group::r--,group:7:---,mask::rw-,other::---";

fn set(path: &Path, name: &str, value: &[u8]) -> bool {
    setxattr(path, name, value, XattrFlags::empty()).is_ok()
}

fn acl() -> Vec<u8> {
    Acl::from_text(ACL.as_bytes()).unwrap().to_binary()
}

/// Returns whether the directory's file system has attributes and ACLs, and prints a note if not.
fn can_have_xattrs(dir: &Path) -> bool {
    let probe = dir.join("probe");
    fs::write(&probe, b"").unwrap();
    let can = set(&probe, "user.probe", b"x") && set(&probe, ACCESS, &acl());
    fs::remove_file(probe).unwrap();
    if !can {
        println!("skipped: the file system of {} has no extended attributes or no ACLs", dir.display());
    }
    can
}

/// A lab whose uploads have attributes of every kind that a restore sets; `None` where they cannot have them.
fn lab() -> Option<Lab> {
    let lab = Lab::small();
    if !can_have_xattrs(&lab.path("")) {
        return None;
    }
    let assets = lab.path("data/assets");
    fs::hard_link(assets.join("ab12/v1.txt"), assets.join("ab12/z-again.txt")).unwrap();
    std::os::unix::fs::symlink("v1.txt", assets.join("ab12/link")).unwrap();
    for (path, name, value) in [
        ("ab12/v1.txt", "user.mime_type", &b"text/plain"[..]),
        ("ab12/v1.txt", "user.bytes", &[0xff, 0, b'\n', b'=']),
        ("ab12/v1.txt", "user.none", b""),
        ("ab12/v1.txt", "user.a=b%3D%25", b"a name that ends no key"),
        ("ab12/v2.txt", ACCESS, &acl()),
        ("cd34/v1.bin", "user.large", &noise(3000, 1)),
        ("empty", ACCESS, &acl()),
        ("empty", DEFAULT, &acl()),
        ("", "user.root", b"of a root"),
    ] {
        assert!(set(&assets.join(path), name, value), "{path} {name}");
    }
    Some(lab)
}

fn json_of(lab: &Lab, path: &str) -> serde_json::Value {
    let listed = lab.lrl(&format!("ls latest {path} --json")).expect(0).json();
    let entries = listed["entries"].as_array().unwrap().iter();
    entries.clone().find(|entry| entry["path"] == path).unwrap_or_else(|| panic!("{listed:#}")).clone()
}

/// In an archive, hard links are files of their own.
fn apart(mut tree: BTreeMap<Vec<u8>, Seen>) -> BTreeMap<Vec<u8>, Seen> {
    tree.values_mut().for_each(|seen| seen.first = None);
    tree
}

#[test]
fn attributes_and_acls_come_back_from_snapshots_and_sets() {
    let Some(lab) = lab() else { return };
    let live = look(&lab.path("data/assets"));
    assert_eq!(live[&b"ab12/v1.txt"[..]].xattrs.len(), 4);
    assert_eq!(live[&b"ab12/v2.txt"[..]].mode & 0o777, 0o660, "the mask shows as the group's bits");
    lab.lrl("backup").expect(0);
    let manifest = outputs(&lab, "backups", ".json").remove(0);
    let back = |to: &str| assert_same(&look(&lab.path(to).join("assets")), &live, to);
    let back_apart = |to: &str| assert_same(&apart(look(&lab.path(to).join("assets"))), &apart(live.clone()), to);
    let run = lab.lrl("restore --data-dir new").expect(0);
    assert!(!run.stderr.contains("attribute") && !run.stderr.contains("ACL"), "{}", run.stderr);
    back("new");
    lab.lrl(&format!("restore --manifest {} --data-dir from-set", manifest.display())).expect(0);
    back_apart("from-set");
    // In place: what is right already is shared or cloned, what lost its attributes is written anew.
    assert!(set(&lab.path("data/assets/ab12/v2.txt"), "user.new", b"1"));
    assert!(set(&lab.path("data/assets/cd34/v1.bin"), "user.large", b"2"));
    lab.lrl("restore").expect(0);
    back("data");
    lab.lrl("restore --path assets/ab12/z-again.txt --data-dir one").expect(0);
    assert_eq!(xattrs(&lab.path("one/assets/ab12/z-again.txt")), live[&b"ab12/v1.txt"[..]].xattrs);
    // A set that becomes a snapshot again has them all.
    lab.lrl("import backups --store second --source second").expect(0);
    lab.lrl("restore --store second --source second --data-dir imported").expect(0);
    back_apart("imported");
    assert!(lab.lrl("drill --json").expect(0).json()["success"].as_bool().unwrap());
    assert!(lab.lrl("drill --snapshot latest --json").expect(0).json()["success"].as_bool().unwrap());
    lab.lrl("check --read-data").expect(0);
}

#[test]
fn what_inherits_no_acl_gets_none_from_the_directory_that_it_is_restored_to() {
    let Some(lab) = lab() else { return };
    let live = look(&lab.path("data/assets"));
    lab.lrl("backup --snapshot-only").expect(0);
    fs::create_dir(lab.path("new")).unwrap();
    assert!(set(&lab.path("new"), DEFAULT, &acl()));
    lab.lrl("restore --data-dir new").expect(0);
    assert_same(&look(&lab.path("new/assets")), &live, "restored below a default ACL");
}

#[test]
fn a_mount_point_whose_contents_are_exchanged_gets_its_own_attributes() {
    let lab = Lab::small();
    fs::rename(lab.path("data/assets"), lab.path("files")).unwrap();
    let assets = lab.path("data/assets");
    let Some(disk) = Disk::mount(assets.clone(), "20m") else { return };
    lab.upload("a", b"x");
    if !set(&assets, "user.a", b"1") || !set(&assets, DEFAULT, &acl()) {
        println!("skipped: a small disk has no attributes or no ACLs here");
        return;
    }
    let before = look(&assets);
    lab.lrl("backup --snapshot-only").expect(0);
    assert!(set(&assets, "user.a", b"2") && set(&assets, "user.b", b"3") && set(&assets, ACCESS, &acl()));
    rustix::fs::removexattr(&assets, DEFAULT).unwrap();
    let changed = look(&assets);
    let facts = |tree: &BTreeMap<Vec<u8>, Seen>| (tree[&b""[..]].xattrs.clone(), tree[&b""[..]].mode);
    lab.lrl("restore").expect(0);
    assert_eq!(facts(&look(&assets)), facts(&before));
    assert_eq!(xattrs(&assets.join("a")).len(), before[&b"a"[..]].xattrs.len());
    lab.lrl("restore --undo").expect(0);
    assert_eq!(facts(&look(&assets)), facts(&changed));
    drop(disk);
}

#[test]
fn a_changed_attribute_is_a_change_of_metadata_and_an_unchanged_file_is_not_asked() {
    let Some(lab) = lab() else { return };
    std::thread::sleep(Duration::from_millis(3100));
    lab.lrl("backup --snapshot-only").expect(0);
    let run = lab.lrl("backup --snapshot-only --json").expect(0).json();
    assert_eq!(run["uploads_read"]["files_read"], 0, "{run}");
    let entry = json_of(&lab, "assets/ab12/v2.txt");
    assert_eq!(entry["xattrs"][0]["acl"], ACL, "{entry:#}");
    assert_eq!(json_of(&lab, "assets/ab12/z-again.txt")["xattrs"], serde_json::Value::Null);
    if there_is("strace") {
        let log = lab.path("log");
        let trace = "trace=flistxattr,fgetxattr";
        strace(&lab, &["-f", "-qq", "-y", "-o", log.to_str().unwrap(), "-e", trace], "backup --snapshot-only");
        let log = fs::read_to_string(log).unwrap();
        let of_files: Vec<_> = log.lines().filter(|line| line.contains("/v1.") || line.contains("/v2.")).collect();
        assert!(of_files.is_empty(), "{of_files:?}");
        // Directories are open anyway: assets, ab12, cd34, empty.
        assert_eq!(log.lines().filter(|line| line.contains("flistxattr(")).count(), 4, "{log}");
    }
    // Neither size nor time of a file change with an attribute.
    assert!(set(&lab.path("data/assets/ab12/v1.txt"), "user.mime_type", b"text/html"));
    assert!(set(&lab.path("data/assets/cd34"), "user.new", b"of a directory"));
    lab.lrl("backup --snapshot-only").expect(0);
    let diff = lab.lrl("diff latest~1 latest").expect(0);
    for path in ["m  assets/ab12/v1.txt", "m  assets/cd34"] {
        assert!(diff.stdout.contains(path), "{}", diff.stdout);
    }
    let diff = lab.lrl("diff latest~1 latest --json").expect(0).json();
    assert_eq!(
        (diff["counts"]["metadata"].as_u64(), diff["counts"]["changed"].as_u64()),
        (Some(2), Some(0)),
        "{diff:#}"
    );
    let entry = json_of(&lab, "assets/ab12/v1.txt");
    let mime = entry["xattrs"].as_array().unwrap().iter().find(|one| one["name"] == "user.mime_type").unwrap();
    assert_eq!(mime["value"], "text/html");
}

/// Returns the only archive of the lab.
fn archive(lab: &Lab) -> PathBuf {
    outputs(lab, "backups", ".tar.gz").remove(0)
}

#[test]
fn other_programs_read_the_attributes_and_acls_of_an_archive() {
    let Some(lab) = lab() else { return };
    lab.lrl("backup").expect(0);
    let live = look(&lab.path("data/assets"));
    // A hard link is a member with contents, with the attributes of its file.
    let keys =
        ["user.mime_type", "user.bytes", "user.none", "user.a=b%3D%25"].map(|name| format!("SCHILY.xattr.{name}"));
    let script = "
import sys, tarfile
for member in tarfile.open(sys.argv[1]):
    print(member.name, '%o' % member.mode, *sorted(key for key in member.pax_headers if key.startswith('SCHILY')))";
    let listed = python(&lab, script, &[&archive(&lab)]);
    let line =
        |name: &str| listed.lines().find(|line| line.starts_with(&format!("assets/{name} "))).unwrap().to_string();
    for name in ["ab12/v1.txt", "ab12/z-again.txt"] {
        assert!(
            line(name).contains(keys[0].as_str()) && line(name).contains("SCHILY.xattr.user.a%3Db%253D%2525"),
            "{listed}"
        );
    }
    // Who sets no ACLs does not give the group what the mask lets others have.
    assert_eq!(line("ab12/v2.txt"), "assets/ab12/v2.txt 640 SCHILY.acl.access");
    assert_eq!(line("empty"), "assets/empty 640 SCHILY.acl.access SCHILY.acl.default");
    let bsd = ["bsdtar", "-xpf"];
    let gnu = ["tar", "--xattrs", "--acls", "-xpzf"];
    for (program, command) in [("tar", &gnu[..]), ("bsdtar", &bsd[..])] {
        if !there_is(program) {
            continue;
        }
        let to = lab.path(program);
        fs::create_dir(&to).unwrap();
        let mut run = Command::new(command[0]);
        let output = run.args(&command[1..]).arg(archive(&lab)).current_dir(&to).output().unwrap();
        let errors = String::from_utf8_lossy(&output.stderr).into_owned();
        if program == "tar" && errors.contains("support is not available") {
            println!("skipped: this tar has no attributes or no ACLs: {errors}");
            continue;
        }
        assert!(output.status.success(), "{program}: {errors}");
        let found = look(&to.join("assets"));
        for (name, seen) in &live {
            let mut expected = seen.xattrs.clone();
            let mut there = found[name].xattrs.clone();
            if program == "bsdtar" {
                // libarchive takes the key as it is.
                expected.retain(|name, _| !name.contains('%'));
                there.retain(|name, _| !name.contains('%'));
            }
            assert_eq!(there, expected, "{program}: {}", String::from_utf8_lossy(name));
            if seen.mode & 0o170_000 != 0o120_000 {
                assert_eq!(found[name].mode, seen.mode, "{program}: {}", String::from_utf8_lossy(name));
            }
        }
    }
}

#[test]
fn attributes_that_give_rights_are_stored_and_not_restored() {
    let Some(lab) = lab().filter(|_| is_root()) else { return };
    let file = lab.path("data/assets/ab12/v1.txt");
    // Version 2, permitted: cap_net_bind_service.
    let capability = [1, 0, 0, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    if !set(&file, "security.capability", &capability) || !set(&file, "trusted.x", b"1") {
        println!("skipped: privileged attributes cannot be set here");
        return;
    }
    assert!(set(&lab.path("data/assets/cd34"), "trusted.y", b"1"));
    lab.lrl("backup").expect(0);
    let listed = json_of(&lab, "assets/ab12/v1.txt").to_string();
    assert!(listed.contains("security.capability") && listed.contains("trusted.x"), "{listed}");
    let manifest = outputs(&lab, "backups", ".json").remove(0);
    for (line, to) in [("restore".to_string(), "a"), (format!("restore --manifest {}", manifest.display()), "b")] {
        let run = lab.lrl(&format!("{line} --data-dir {to}")).expect(0);
        let said = "security.capability of";
        assert!(run.stderr.contains(said) && run.stderr.contains("setcap"), "{}", run.stderr);
        assert_eq!(run.stderr.matches("was not restored").count(), 1, "{}", run.stderr);
        let restored = lab.path(to).join("assets/ab12/v1.txt");
        let mut value = [0; 64];
        for name in ["security.capability", "trusted.x"] {
            assert!(getxattr(&restored, name, &mut value[..]).is_err(), "{to} {name}");
        }
        assert_eq!(xattrs(&restored).len(), 4);
    }
    // Nor is the live file shared that has them.
    lab.lrl("restore").expect(0);
    assert!(getxattr(&file, "security.capability", &mut [0; 64][..]).is_err());
    // A set keeps them on its way into another store.
    lab.lrl("import backups --store second --source second").expect(0);
    let listed = lab.lrl("ls latest assets/ab12/v1.txt --store second --source second --json").expect(0).stdout;
    assert!(listed.contains("security.capability") && listed.contains("trusted.x"), "{listed}");
}

#[test]
fn another_owner_gets_no_acl_and_the_group_no_more_than_it_had() {
    let Some(lab) = lab().filter(|_| is_root()) else { return };
    lab.lrl("backup").expect(0);
    let manifest = outputs(&lab, "backups", ".json").remove(0);
    for (line, to) in [("restore".to_string(), "a"), (format!("restore --manifest {}", manifest.display()), "b")] {
        let run = lab.lrl(&format!("{line} --data-dir {to} --owner 65534:65534")).expect(0);
        assert!(run.stderr.contains("the POSIX ACL") && run.stderr.contains("--owner"), "{}", run.stderr);
        let restored = lab.path(to).join("assets/ab12/v2.txt");
        assert_eq!(fs::metadata(&restored).unwrap().permissions().mode() & 0o777, 0o640);
        assert!(xattrs(&restored).is_empty());
        assert_eq!(xattrs(&lab.path(to).join("assets/ab12/v1.txt")).len(), 4);
    }
}

#[test]
fn others_than_root_store_and_restore_their_own() {
    let Some(lab) = lab() else { return };
    if is_root() {
        set(&lab.path("data/assets/ab12/v1.txt"), "trusted.x", b"1");
    }
    let Some(lrl) = as_nobody(&lab) else { return };
    let live = look(&lab.path("data/assets"));
    lrl("backup").expect(0);
    assert!(!lrl("ls latest assets/ab12/v1.txt --json").expect(0).stdout.contains("trusted"));
    lrl("restore --data-dir new").expect(0);
    assert_same(&look(&lab.path("new/assets")), &live, "as nobody");
    let manifest = outputs(&lab, "backups", ".json").remove(0);
    lrl(&format!("restore --manifest {} --data-dir from-set", manifest.display())).expect(0);
    assert_same(&apart(look(&lab.path("from-set/assets"))), &apart(live), "from a set, as nobody");
}

#[test]
fn attributes_without_room_are_named_once() {
    let lab = Lab::small();
    let Some(disk) = Disk::mount(lab.path("disk"), "60m") else { return };
    if !can_have_xattrs(&lab.path("")) {
        return;
    }
    fs::create_dir(lab.path("disk/data")).unwrap();
    fs::rename(lab.path("data/lrl.db"), lab.path("db")).unwrap();
    fs::copy(lab.path("db"), lab.path("disk/data/lrl.db")).unwrap();
    for n in 0..3 {
        lab.write(format!("disk/data/assets/{n}"), b"x");
        // More than a block of ext4 takes, and more than one file keeps in memory.
        if !set(&lab.path(format!("disk/data/assets/{n}")), "user.large", &noise(50_000, n)) {
            println!("skipped: the small disk has no large attributes");
            return;
        }
    }
    lab.lrl("backup --data-dir disk/data").expect(0);
    let run = lab.lrl("restore --data-dir new").expect(0);
    let restored = (0..3).all(|n| xattrs(&lab.path(format!("new/assets/{n}"))).len() == 1);
    let said = run.stderr.matches("user.large of").count();
    assert_eq!(said, usize::from(!restored), "{}", run.stderr);
    assert!(restored || run.stderr.contains("(and 2 more) was not restored"), "{}", run.stderr);
    assert_eq!(names(lab.path("new/assets")).len(), 3);
    // What cannot be stored is lost, and said in each run.
    for n in 0..70 {
        assert!(set(&lab.path("disk/data/assets/0"), &format!("user.{n:02}"), b"x"));
    }
    std::thread::sleep(Duration::from_millis(3100));
    for _ in 0..2 {
        let run = lab.lrl("backup --data-dir disk/data").expect(3);
        assert!(run.stderr.contains("user.64") && run.stderr.contains("not stored"), "{}", run.stderr);
    }
    drop(disk);
}

#[test]
fn attributes_of_databases_and_of_the_root_come_back() {
    let lab = Lab::empty();
    if !can_have_xattrs(&lab.path("")) {
        return;
    }
    for path in ["site/a.db", "site/d/b.db"] {
        fs::create_dir_all(lab.path(path).parent().unwrap()).unwrap();
        rusqlite::Connection::open(lab.path(path)).unwrap().execute_batch("CREATE TABLE t(x)").unwrap();
        assert!(set(&lab.path(path), "user.note", b"\xff\0one=\\") && set(&lab.path(path), ACCESS, &acl()));
    }
    lab.write("site/d/file", b"file");
    assert!(set(&lab.path("site"), "user.root", b"of the root") && set(&lab.path("site"), DEFAULT, &acl()));
    // Databases in directories with a default ACL of ours inherit it: what was there before does not.
    let mode = |path: &str| fs::metadata(lab.path(path)).unwrap().permissions().mode() & 0o777;
    let wanted = ["site", "site/a.db", "site/d/b.db"].map(|path| xattrs(&lab.path(path)));
    lab.lrl("backup --root site").expect(0);
    lab.lrl("restore --source site --target new").expect(0);
    assert_eq!(["new", "new/a.db", "new/d/b.db"].map(|path| xattrs(&lab.path(path))), wanted);
    assert_eq!((mode("new/a.db"), mode("new/d/b.db")), (0o660, 0o660), "the mask shows as the group's bits");
    // A second snapshot that does not read the databases has them, too.
    lab.lrl("backup --root site --source site --snapshot-only").expect(0);
    lab.lrl("restore latest --source site --target again").expect(0);
    assert_eq!(["again", "again/a.db", "again/d/b.db"].map(|path| xattrs(&lab.path(path))), wanted);
    // In place the new one has the ACL of the one that it replaces, as it has its owner and mode: without it the mask would be the group's.
    let other = Acl::from_text(b"user::rw-,user:77:rw-,group::---,mask::rw-,other::---").unwrap().to_binary();
    for path in ["site/a.db", "site/d/b.db"] {
        assert!(set(&lab.path(path), ACCESS, &other));
    }
    let manifest = outputs(&lab, "backups", ".json").remove(0);
    for line in [
        "restore --source site --root site".to_string(),
        format!("restore --manifest {} --root site", manifest.display()),
    ] {
        lab.lrl(&line).expect(0);
        for path in ["site/a.db", "site/d/b.db"] {
            let found = xattrs(&lab.path(path));
            assert_eq!(found.get(ACCESS), Some(&other), "{line}: {path}");
            assert_eq!(mode(path), 0o660);
        }
    }
    // Who owns it is another one: an ACL would name the wrong users, and the group must not get what only the mask had.
    if is_root() {
        let run = lab.lrl("restore --source site --target given --owner 1234:1234").expect(0);
        assert!(run.stderr.contains("ACL"), "{}", run.stderr);
        assert_eq!(mode("given/a.db"), 0o640);
    }
}
