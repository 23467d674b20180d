//! Stores that earlier versions have written, in `tests/testdata/`: each stays readable for ever. `golden_stores.rs` writes them.

// A log says what could not be tried here.
#![allow(clippy::print_stdout)]

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use lrl_store::format::path_text;
use rustix::fs::{XattrFlags, setxattr};

use crate::common::{Lab, repository, sha256};
use crate::helpers::look;
use crate::second_reader;

/// What opens the encrypted store. `tests/testdata/README.md` names both.
pub const PASSWORD: &str = "golden";
pub const KEY_FILE: &str = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";

/// The stores, each in a directory of its own, with what its snapshots hold in a file beside it.
pub const STORES: [&str; 6] = ["plain", "encrypted", "deltas", "attributes", "site", "pending"];

/// What a snapshot holds: a line for each path.
type Facts = Vec<String>;

/// Returns the lines for everything below a directory. Owners are left out: they depend on who reads a store.
pub fn facts(top: &Path) -> Facts {
    let line = |(path, seen): (Vec<u8>, crate::helpers::Seen)| {
        let (secs, nanos) = seen.time;
        let is_link = seen.mode & 0o170_000 == 0o120_000;
        let contents = String::from_utf8(seen.contents).unwrap();
        let contents = if is_link { format!("-> {contents}") } else { contents };
        let attribute = |(name, value): (&String, &Vec<u8>)| format!(" {name}:{}", hex(value));
        let attributes: String = seen.xattrs.iter().map(attribute).collect();
        let first = seen.first.map(|first| format!(" = {}", path_text::encode(&first))).unwrap_or_default();
        let facts = format!("{:o} {secs}.{nanos:09} {} {contents}", seen.mode, path_text::encode(&path));
        format!("{}{attributes}{first}", facts.trim_end())
    };
    // What contains the paths is the test's own directory, and a restore leaves its record for an undo there.
    let is_part = |path: &[u8]| !path.is_empty() && path != b".lrl-undo.json";
    look(top).into_iter().filter(|(path, _)| is_part(path)).map(line).collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Reads what a store's snapshots hold, by their ids.
fn recorded(store: &str) -> BTreeMap<String, Facts> {
    let mut snapshots: Vec<(String, Facts)> = Vec::new();
    let text = fs::read_to_string(repository().join(format!("tests/testdata/{store}.txt"))).unwrap();
    for line in text.lines() {
        match line.strip_prefix("snapshot ") {
            Some(id) => snapshots.push((id.into(), Vec::new())),
            None => snapshots.last_mut().unwrap().1.push(line.into()),
        }
    }
    snapshots.into_iter().collect()
}

/// Copies a tree of directories and files.
pub fn copy_tree(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_tree(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), &target).unwrap();
        }
    }
}

/// Reads a copy of a store with the program and with the second reader: every snapshot is whole, and holds what it held.
fn read(store: &str) {
    let mut lab = Lab::empty();
    copy_tree(&repository().join("tests/testdata").join(store), &lab.path("backups/store"));
    let mut options = vec!["--all"];
    if store == "encrypted" {
        lab.secret("pass", PASSWORD);
        lab.secret("key", KEY_FILE);
        lab.set("LRL_PASSWORD_FILE", "pass");
        // A passphrase alone takes the reader a minute.
        options.extend(["--key-file", "key"]);
    }
    let expected = recorded(store);
    assert!(expected.len() > 1, "{store}");

    lab.lrl("check --read-data").expect(0);
    let listed = lab.lrl("snapshots --json").expect(0).json();
    let ids: Vec<&str> =
        listed["snapshots"].as_array().unwrap().iter().map(|one| one["id"].as_str().unwrap()).collect();
    let mut sorted = ids.clone();
    sorted.sort_unstable();
    assert_eq!(sorted, expected.keys().collect::<Vec<_>>(), "{store}");
    for id in ids {
        dump(&lab, id, &expected[id]);
        // A site is only read file by file: `lrl restore` knows the manual's layout.
        if store != "site" {
            let run = lab.lrl(&format!("restore {id} --target restored/{id}"));
            assert_eq!(run.code, 0, "{store} {id}: {}{}", run.stdout, run.stderr);
            assert_eq!(facts(&lab.path(format!("restored/{id}"))), expected[id], "{store}, snapshot {id}");
        }
    }

    let Some(read) = second_reader::read(&lab, "read", &options) else { return };
    assert!(read.status.success(), "{store}: {}", String::from_utf8_lossy(&read.stderr));
    let has_deltas = !String::from_utf8_lossy(&read.stdout).contains(", 0 of them deltas");
    assert!(has_deltas || store != "deltas", "{read:?}");
    for (id, expected) in expected {
        assert_eq!(facts(&lab.path(format!("read/{id}"))), expected, "{store}, snapshot {id}, the second reader");
    }
}

/// Reads every file of a snapshot by itself.
fn dump(lab: &Lab, id: &str, expected: &Facts) {
    for line in expected.iter().filter(|line| line.starts_with("100")) {
        let [_, _, path, digest] = line.splitn(4, ' ').collect::<Vec<_>>().try_into().unwrap();
        let read = lab.run(["dump", id, path]).expect(0);
        assert!(digest.starts_with(&sha256(&read.stdout_bytes)), "snapshot {id}, {path}");
    }
}

#[test]
fn the_golden_store_of_the_manuals_layout_is_read() {
    read("plain");
}

#[test]
fn the_golden_encrypted_store_is_read() {
    read("encrypted");
}

#[test]
fn the_golden_store_with_deltas_links_and_holes_is_read() {
    read("deltas");
}

#[test]
fn the_golden_store_with_extended_attributes_and_acls_is_read() {
    let probe = tempfile::NamedTempFile::new().unwrap();
    if setxattr(probe.path(), "user.a", b"1", XattrFlags::empty()).is_err() {
        println!("skipped: the file system has no extended attributes");
        return;
    }
    read("attributes");
}

#[test]
fn the_golden_store_of_a_site_with_several_databases_is_read() {
    read("site");
}

#[test]
fn the_golden_store_with_a_pending_deletion_is_read() {
    read("pending");
}

#[test]
fn golden_stores_are_small_and_listed() {
    let data = repository().join("tests/testdata");
    let mut found: Vec<String> = fs::read_dir(&data)
        .unwrap()
        .map(Result::unwrap)
        .filter(|entry| entry.path().is_dir())
        .map(|entry| entry.file_name().into_string().unwrap())
        .collect();
    found.sort();
    let mut known = STORES.map(String::from);
    known.sort();
    assert_eq!(found, known);
    let page = fs::read_to_string(data.join("README.md")).unwrap();
    assert!(page.contains(&format!("`{PASSWORD}`")) && page.contains(KEY_FILE));
    for store in STORES {
        assert!(page.contains(&format!("`{store}`")), "{store} is not in tests/testdata/README.md");
        let files = look(&data.join(store)).into_keys().map(|path| data.join(store).join(lrl_path(&path)));
        let bytes: u64 = files.filter(|path| path.is_file()).map(|path| path.metadata().unwrap().len()).sum();
        assert!((1_000..100_000).contains(&bytes), "{store} has {bytes} bytes");
    }
}

fn lrl_path(path: &[u8]) -> std::path::PathBuf {
    use std::os::unix::ffi::OsStrExt;
    std::ffi::OsStr::from_bytes(path).into()
}
