//! A reader written in Python from docs/FORMAT.md alone reads lrl's stores.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use lrl_store::backend::local::LocalBackend;
use lrl_store::fs::lock::LockMode;
use lrl_store::id::ChunkId;
use lrl_store::ops::backup::{self, Options};
use lrl_store::progress::Silent;
use lrl_store::store::{Store, create};
use rusqlite::Connection;

use crate::common::{Lab, noise, repository};
use crate::helpers::{flip, objects, xattrs};

/// Mode, modification time, extended attributes, contents or target.
type Facts = (u32, i64, i64, BTreeMap<String, Vec<u8>>, Vec<u8>);

/// What is there, by path.
fn facts(root: &Path) -> BTreeMap<PathBuf, Facts> {
    let mut found = BTreeMap::new();
    let mut todo = vec![root.to_path_buf()];
    while let Some(path) = todo.pop() {
        let meta = fs::symlink_metadata(&path).unwrap();
        let bytes = if meta.is_dir() {
            todo.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
            Vec::new()
        } else if meta.is_symlink() {
            fs::read_link(&path).unwrap().into_os_string().into_vec()
        } else {
            fs::read(&path).unwrap()
        };
        let name = path.strip_prefix(root).unwrap().to_path_buf();
        found.insert(name, (meta.mode(), meta.mtime(), meta.mtime_nsec(), xattrs(&path), bytes));
    }
    found
}

/// An odd lab: many directories, a link of each kind, a hole, names and modes that are unusual.
fn odd_lab() -> Lab {
    let lab = Lab::small();
    let assets = lab.path("data/assets");
    for n in 0..1_500 {
        fs::create_dir(assets.join(format!("many-{n}"))).unwrap();
    }
    fs::hard_link(assets.join("ab12/v1.txt"), assets.join("ab12/v1-again.txt")).unwrap();
    std::os::unix::fs::symlink("ab12/v1.txt", assets.join("newest")).unwrap();
    let sparse = fs::File::create(assets.join("sparse")).unwrap();
    sparse.set_len(3 << 20).unwrap();
    sparse.write_all_at(b"in the middle", 1 << 20).unwrap();
    fs::write(assets.join(OsString::from_vec(b"caf\xe9.txt".to_vec())), b"").unwrap();
    fs::set_permissions(assets.join("cd34/v1.bin"), fs::Permissions::from_mode(0o640)).unwrap();
    // Where the file system has attributes.
    for name in ["cd34/v1.bin", "cd34"] {
        let _ = rustix::fs::setxattr(assets.join(name), "user.a", b"\xff\0", rustix::fs::XattrFlags::empty());
    }
    lab
}

/// Runs the reader on the lab's store; none if it cannot run here.
// A test that is left out says so.
#[allow(clippy::print_stderr)]
pub fn read(lab: &Lab, out: &str, options: &[&str]) -> Option<Output> {
    let read = Command::new("python3")
        .arg(repository().join("tests/reader/read_store.py"))
        .args([lab.path("backups/store"), lab.path(out)])
        .args(options)
        .current_dir(lab.path("."))
        .output();
    let why = match read {
        Err(_) => "there is no python3 here",
        Ok(read) if read.status.code() == Some(77) => "nothing here unpacks zstd for Python",
        Ok(read) => return Some(read),
    };
    eprintln!("not run: {why}");
    None
}

/// Fails unless the reader came through and wrote the uploads and the newest set's database.
#[track_caller]
fn came_back(lab: &Lab, read: &Output, snapshots: u32) {
    let (stdout, stderr) = (String::from_utf8_lossy(&read.stdout), String::from_utf8_lossy(&read.stderr));
    assert!(read.status.success(), "{stdout}{stderr}");
    assert!(stdout.starts_with(&format!("{snapshots} snapshots, ")), "{stdout}");
    assert!(!stdout.contains(", 0 of them deltas"), "{stdout}");
    assert_eq!(facts(&lab.path("out/assets")), facts(&lab.path("data/assets")));
    let set = fs::read_dir(lab.path("backups")).unwrap().map(|entry| entry.unwrap().path());
    let copy = set.filter(|path| path.extension().is_some_and(|e| e == "sqlite")).max().unwrap();
    assert!(fs::read(copy).unwrap() == fs::read(lab.path("out/lrl.db")).unwrap());
}

/// Returns the files below a directory of the store, largest first.
#[test]
fn a_second_reader_restores_what_was_backed_up() {
    let lab = odd_lab();
    lab.lrl("backup --snapshot-only").expect(0);
    // Steps, so that there are deltas, of lists too.
    for n in 0..3u32 {
        lab.database().execute("UPDATE content_items SET title = ?1 WHERE id = ?1", [n]).unwrap();
        lab.upload(&format!("step-{n}"), &noise(300, n.into()));
        lab.lrl("backup --snapshot-only").expect(0);
    }
    lab.lrl("backup").expect(0);
    let Some(read) = read(&lab, "out", &[]) else { return };
    came_back(&lab, &read, 5);
}

/// A site: databases in several directories, one with a path that is not UTF-8, and files beside them.
fn site() -> Lab {
    let lab = Lab::empty();
    lab.write("site/rsa_key.pem", b"a key\n");
    lab.write("site/storage/ab/cd", noise(70_000, 3));
    lab.write("site/users/notes.txt", b"beside a database\n");
    fs::set_permissions(lab.path("site/rsa_key.pem"), fs::Permissions::from_mode(0o600)).unwrap();
    fs::set_permissions(lab.path("site"), fs::Permissions::from_mode(0o2751)).unwrap();
    for name in [b"app.db".as_slice(), b"users/a\\b.sqlite", b"users/caf\xe9.sqlite"] {
        let database = Connection::open(lab.path("site").join(OsString::from_vec(name.to_vec()))).unwrap();
        database
            .execute_batch("CREATE TABLE notes (text TEXT); INSERT INTO notes VALUES ('x'), (hex(randomblob(20000)))")
            .unwrap();
    }
    lab
}

#[test]
fn a_second_reader_restores_a_site_with_several_databases() {
    let lab = site();
    let place = lab.path("backups/store");
    fs::create_dir_all(&place).unwrap();
    create(&LocalBackend::new(&place), [7; 32]).unwrap();
    let store = Store::open(Arc::new(LocalBackend::new(&place)), LockMode::Shared, Duration::ZERO, &Silent).unwrap();
    let back_up = || {
        let options = Options::site(&lab.path("site"), lab.path("."), SystemTime::now());
        backup::backup(&store, &options, &Silent).unwrap()
    };
    let first = back_up();
    assert!(first.problems.is_empty() && first.snapshot.root.is_some(), "{first:?}");
    Connection::open(lab.path("site/app.db"))
        .unwrap()
        .execute("UPDATE notes SET text = 'y' WHERE text = 'x'", [])
        .unwrap();
    fs::remove_file(lab.path("site/storage/ab/cd")).unwrap();
    lab.write("site/storage/ab/ef", b"another upload\n");
    let second = back_up().snapshot;
    let paths: Vec<&[u8]> = second.databases.iter().map(|database| database.path.as_slice()).collect();
    assert_eq!(paths, [b"app.db".as_slice(), b"users/a\\b.sqlite", b"users/caf\xe9.sqlite"]);
    let (root, meta) = (second.root.unwrap(), fs::metadata(lab.path("site")).unwrap());
    assert_eq!(root.path, lab.path("site").display().to_string());
    assert_eq!((root.mode, root.uid, root.gid), (0o2751, meta.uid(), meta.gid()));
    assert_eq!((root.mtime.secs, i64::from(root.mtime.nanos)), (meta.mtime(), meta.mtime_nsec()));
    // Less than a day, and not the time since 1970.
    assert!(second.duration_ms.is_some_and(|taken| taken < 86_400_000), "{:?}", second.duration_ms);
    drop(store);
    let Some(read) = read(&lab, "out", &[]) else { return };
    assert!(read.status.success(), "{read:?}");
    assert_eq!(facts(&lab.path("out")), facts(&lab.path("site")));
}

/// Replaces a text in the newest snapshot's document, whose name fits again.
fn forge(lab: &Lab, from: &str, to: &str) {
    let path = objects(lab, "snapshots").pop().unwrap();
    let text = fs::read_to_string(&path).unwrap();
    assert!(text.contains(from), "{from} is not in {text}");
    let text = text.replacen(from, to, 1);
    fs::remove_file(&path).unwrap();
    let name = path.file_name().unwrap().to_str().unwrap().split_once('-').unwrap().0.to_string();
    fs::write(path.with_file_name(format!("{name}-{}", ChunkId::of(text.as_bytes()))), text).unwrap();
}

#[test]
fn a_second_reader_and_lrl_refuse_databases_whose_paths_lead_elsewhere() {
    for path in ["../lrl.db", "/lrl.db", "a//lrl.db", r"\\x2e./lrl.db", r"lrl\\x2.db", "assets/../lrl.db", ""] {
        let lab = Lab::small();
        lab.lrl("backup --snapshot-only").expect(0);
        forge(&lab, r#""path":"lrl.db""#, &format!(r#""path":"{path}""#));
        lab.lrl("restore --force latest --target restored").expect(1);
        assert!(!lab.path("restored/lrl.db").exists());
        let Some(read) = read(&lab, "out", &[]) else { return };
        let stderr = String::from_utf8_lossy(&read.stderr);
        assert!(read.status.code() == Some(1) && stderr.starts_with("damaged: "), "{path}: {read:?}");
        assert!(!lab.path("out/lrl.db").exists() && !lab.path("lrl.db").exists());
    }
}

#[test]
fn a_second_reader_sees_damage() {
    let lab = Lab::small();
    lab.lrl("backup --snapshot-only").expect(0);
    for path in objects(&lab, "packs") {
        flip(&path, 20);
    }
    let Some(read) = read(&lab, "out", &[]) else { return };
    assert_eq!(read.status.code(), Some(1), "{read:?}");
}

/// A lab with an encrypted store that a key file opens, a source with a long name, a delta, and an upload of two chunks.
fn encrypted_lab() -> Lab {
    let mut lab = Lab::small();
    lab.set("LRL_KEY_FILE", "key");
    lab.lrl("key make-file key").expect(0);
    lab.lrl("key make-file other").expect(0);
    lab.lrl("init --encrypt").expect(0);
    lab.upload("large.bin", &noise(5 << 18, 3));
    lab.lrl(&format!("backup --source {}", "z".repeat(33))).expect(0);
    lab.database().execute("UPDATE content_items SET title = 'x' WHERE id = 7", []).unwrap();
    lab.lrl(&format!("backup --source {}", "z".repeat(33))).expect(0);
    lab.lrl(&format!("drill --snapshot latest --source {}", "z".repeat(33))).expect(0);
    lab
}

#[test]
fn a_second_reader_opens_an_encrypted_store_with_its_key() {
    let lab = encrypted_lab();
    let Some(good) = read(&lab, "out", &["--key-file", "key"]) else { return };
    came_back(&lab, &good, 2);
    // A write-only key is a wrong one as well.
    lab.run(["key", "add", "--writer", "--new-key-file", "other"]).expect(0);
    lab.secret("pass", "a passphrase that no slot has\n");
    for options in [&["--key-file", "other"][..], &["--password-file", "pass"], &[]] {
        let read = read(&lab, "wrong", options).unwrap();
        assert_eq!(read.status.code(), Some(12), "{options:?}: {read:?}");
        assert!(!lab.path("wrong").exists());
    }
}

#[test]
fn a_second_reader_sees_damage_in_an_encrypted_store() {
    let lab = encrypted_lab();
    let refused = |what: &str| {
        let Some(read) = read(&lab, "out", &["--key-file", "key"]) else { return };
        let stderr = String::from_utf8_lossy(&read.stderr);
        assert!(read.status.code() == Some(1) && stderr.starts_with("damaged: "), "{what}: {read:?}");
        _ = fs::remove_dir_all(lab.path("out"));
    };
    let mut places: Vec<_> = ["packs", "keys", "config"].map(|kind| (kind, 20)).into();
    // In the head, in the key, in a block, in the last tag.
    places.extend(["index", "snapshots"].iter().flat_map(|kind| [5, 20, 150, usize::MAX].map(|at| (*kind, at))));
    for (kind, at) in places {
        let path = &objects(&lab, kind).pop().unwrap();
        let at = at.min(fs::metadata(path).unwrap().len() as usize - 1);
        flip(path, at);
        refused(&format!("{kind} at {at}"));
        flip(path, at);
    }
    // Who changes a pack can also give it the name that fits then, and remove the indexes: only the seal tells.
    let indexes: Vec<_> = objects(&lab, "index").into_iter().map(|path| (fs::read(&path).unwrap(), path)).collect();
    indexes.iter().for_each(|(_, path)| fs::remove_file(path).unwrap());
    let Some(good) = read(&lab, "out", &["--key-file", "key"]) else { return };
    came_back(&lab, &good, 2);
    fs::remove_dir_all(lab.path("out")).unwrap();
    let pack = &objects(&lab, "packs").pop().unwrap();
    let whole = fs::read(pack).unwrap();
    fs::remove_file(pack).unwrap();
    // In the sealed key, in chunks, in the directory, in its place, and in its tag.
    for at in [8, 87, 88, 200_000, whole.len() - 41, whole.len() - 40, whole.len() - 20, whole.len() - 1] {
        let mut bytes = whole.clone();
        bytes[at] ^= 1;
        let name = ChunkId::of(&bytes).to_string();
        let path = lab.path("backups/store/packs").join(&name[..2]).join(&name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, &bytes).unwrap();
        refused(&format!("a pack at {at}"));
        fs::remove_file(&path).unwrap();
    }
}
