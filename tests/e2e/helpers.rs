//! Helpers beside the harness: trees compared with all their metadata, objects to damage, a lab of the user nobody, small disks,
//! strace, and a store that must be whole.

// A log says what could not be tried here, and how many states were.
#![allow(clippy::print_stdout)]

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use crate::common::{Lab, Run, sha256};

/// A name in a tree: kind and mode, owner, time, contents, whether it has holes, and the first other name of the same file in the tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    pub mode: u32,
    pub owner: (u32, u32),
    pub time: (i64, i64),
    pub xattrs: BTreeMap<String, Vec<u8>>,
    pub contents: Vec<u8>,
    pub has_holes: bool,
    pub first: Option<Vec<u8>>,
}

/// Reads everything below a directory, and the directory itself.
pub fn look(top: &Path) -> BTreeMap<Vec<u8>, Seen> {
    fn walk(top: &Path, path: &Path, seen: &mut BTreeMap<Vec<u8>, Seen>, firsts: &mut BTreeMap<(u64, bool), Vec<u8>>) {
        let meta = fs::symlink_metadata(path).unwrap();
        let name = path.strip_prefix(top).unwrap().as_os_str().as_bytes().to_vec();
        let mut names: Vec<PathBuf> = Vec::new();
        let mut contents = Vec::new();
        if meta.is_dir() {
            names.extend(fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path()));
            names.sort();
        } else if meta.is_symlink() {
            contents = fs::read_link(path).unwrap().as_os_str().as_bytes().to_vec();
        } else if meta.len() < 1 << 30 {
            contents = sha256(&fs::read(path).unwrap()).into_bytes();
        } else {
            contents = meta.len().to_string().into_bytes();
        }
        // The file's first name has none: what is shared with another tree, or with what a restore keeps, is the same as what is not.
        let is_kept = name.split(|b| *b == b'/').any(|part| part.starts_with(b".lrl."));
        let first = (meta.is_file() && meta.nlink() > 1)
            .then(|| firsts.entry((meta.ino(), is_kept)).or_insert(name.clone()).clone())
            .filter(|first| *first != name);
        let seen_here = Seen {
            mode: meta.mode(),
            owner: (meta.uid(), meta.gid()),
            time: (meta.mtime(), meta.mtime_nsec()),
            xattrs: xattrs(path),
            contents,
            has_holes: meta.is_file() && meta.blocks() * 512 < meta.len() / 2,
            first,
        };
        seen.insert(name, seen_here);
        names.iter().for_each(|below| walk(top, below, seen, firsts));
    }
    let mut seen = BTreeMap::new();
    walk(top, top, &mut seen, &mut BTreeMap::new());
    seen
}

/// Reads the extended attributes that a restore sets: `user.*` and POSIX ACLs. A link has none.
pub fn xattrs(path: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut list = vec![0; 64 << 10];
    let len = rustix::fs::llistxattr(path, &mut list[..]).unwrap_or(0);
    let names = list[..len].split(|byte| *byte == 0).map(|name| String::from_utf8_lossy(name).into_owned());
    let restored = names.filter(|name| name.starts_with("user.") || name.starts_with("system.posix_acl_"));
    let value = |name: String| {
        let mut value = vec![0; 64 << 10];
        let len = rustix::fs::lgetxattr(path, name.as_str(), &mut value[..]).unwrap();
        value.truncate(len);
        (name, value)
    };
    restored.map(value).collect()
}

/// Fails the test, naming what differs, unless two trees are the same.
#[track_caller]
pub fn assert_same(left: &BTreeMap<Vec<u8>, Seen>, right: &BTreeMap<Vec<u8>, Seen>, what: &str) {
    let names: std::collections::BTreeSet<_> = left.keys().chain(right.keys()).collect();
    for name in names {
        let (left, right) = (left.get(name), right.get(name));
        assert_eq!(left, right, "{what}: {}", String::from_utf8_lossy(name));
    }
}

/// Lists the names in a directory, sorted.
pub fn names(directory: impl AsRef<Path>) -> Vec<String> {
    let entries = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().file_name());
    let mut names: Vec<String> = entries.map(|name| name.to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

/// Finds the files of one kind in the backup directory, oldest first.
pub fn outputs(lab: &Lab, directory: &str, ending: &str) -> Vec<PathBuf> {
    let found = names(lab.path(directory)).into_iter().filter(|name| name.ends_with(ending));
    found.map(|name| lab.path(directory).join(name)).collect()
}

/// Finds every file below a directory whose path inside it holds a word.
pub fn files_with(directory: &Path, word: &str) -> Vec<PathBuf> {
    let below = look(directory).into_keys().map(|name| PathBuf::from(std::ffi::OsStr::from_bytes(&name)));
    let found = below.filter(|path| path.to_string_lossy().contains(word)).map(|path| directory.join(path));
    found.filter(|path| path.is_file()).collect()
}

/// Finds the store's objects of one kind (packs, index, snapshots, …), the smallest first.
pub fn objects(lab: &Lab, kind: &str) -> Vec<PathBuf> {
    let place = lab.path("backups/store").join(kind);
    let mut found = if place.is_file() { vec![place] } else { files_with(&place, "") };
    found.sort_by_key(|path| fs::metadata(path).unwrap().len());
    found
}

/// Flips one bit of a file.
pub fn flip(path: &Path, at: usize) {
    let mut bytes = fs::read(path).unwrap();
    bytes[at] ^= 0x40;
    fs::write(path, bytes).unwrap();
}

/// Returns how many rounds of a random test to run: `usual`, unless `LRL_TEST_ROUNDS` is a number, or `all`.
pub fn rounds(usual: u64, all: u64) -> u64 {
    match std::env::var("LRL_TEST_ROUNDS").as_deref() {
        Ok("all") => all,
        Ok(number) => number.parse().unwrap_or(usual),
        Err(_) => usual,
    }
}

/// Fails the test unless every snapshot of the store is whole, and no partial set is left.
#[track_caller]
pub fn assert_whole(lab: &Lab, backups: &str) {
    let run = lab.run(["check", "--read-data", "--backup", backups]);
    assert_eq!(run.code, 0, "{}\n{}", run.stdout, run.stderr);
    for manifest in outputs(lab, backups, ".json") {
        let run = lab.run([
            "drill".as_ref(),
            "--backup".as_ref(),
            backups.as_ref(),
            "--manifest".as_ref(),
            manifest.as_os_str(),
        ]);
        assert_eq!(run.code, 0, "{}\n{}", run.stdout, run.stderr);
    }
}

/// Runs Python; returns what it printed.
#[track_caller]
pub fn python(lab: &Lab, script: &str, arguments: &[&Path]) -> String {
    let output =
        Command::new("python3").arg("-c").arg(script).args(arguments).current_dir(lab.path("")).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// Returns whether a program can be run, and prints a note if it cannot.
pub fn there_is(program: &str) -> bool {
    let found = Command::new(program).arg("--version").output().is_ok_and(|output| output.status.success());
    if !found {
        println!("skipped: {program} cannot be run here");
    }
    found
}

/// Gives the lab and a copy of the binary to the user nobody; `None` where this user may not.
pub fn as_nobody(lab: &Lab) -> Option<impl Fn(&str) -> Run + '_> {
    if !is_root() || !there_is("setpriv") {
        println!("skipped: needs root and setpriv");
        return None;
    }
    fs::copy(env!("CARGO_BIN_EXE_lrl"), lab.path("lrl")).unwrap();
    assert!(Command::new("chown").args(["-R", "65534:65534"]).arg(lab.path("")).status().unwrap().success());
    Some(move |line: &str| {
        let mut command = Command::new("setpriv");
        command.args(["--reuid=65534", "--regid=65534", "--clear-groups"]).arg(lab.path("lrl"));
        command.args(line.split_whitespace()).current_dir(lab.path("")).env_clear();
        command.env("PATH", std::env::var_os("PATH").unwrap()).env("HOME", lab.path("home"));
        command.env("LRL_SETTLE_TIME", "2s").env("LRL_STATE_DIR", lab.path("state"));
        command.output().unwrap().into()
    })
}

/// Runs lrl in a lab under strace.
pub fn strace(lab: &Lab, options: &[&str], line: &str) -> Output {
    let mut command = Command::new("strace");
    command.args(options).arg(env!("CARGO_BIN_EXE_lrl")).args(line.split_whitespace()).current_dir(lab.path(""));
    command.env("LRL_SETTLE_TIME", "2s").env("LRL_STATE_DIR", lab.path("state"));
    command.envs(lab.environment());
    command.env("HOME", lab.path("home")).env_remove("STORAGE_PATH").output().unwrap()
}

/// Returns whether the tests run as root.
pub fn is_root() -> bool {
    fs::metadata("/proc/self").is_ok_and(|meta| meta.uid() == 0)
}

/// A small disk, until it is dropped.
pub struct Disk(PathBuf);

impl Disk {
    /// Mounts one; `None`, with a note, where that is not permitted.
    pub fn mount(at: PathBuf, size: &str) -> Option<Self> {
        fs::create_dir_all(&at).unwrap();
        let mut command = Command::new("mount");
        let run = command.args(["-t", "tmpfs", "-o", &format!("mode=755,size={size}"), "lrl-test"]).arg(&at).output();
        if run.is_ok_and(|run| run.status.success()) {
            return Some(Self(at));
        }
        println!("skipped: mounting is not permitted here");
        None
    }

    /// Makes it larger or smaller, or read-only.
    pub fn remount(&self, options: &str) {
        let run = Command::new("mount").args(["-o", &format!("remount,{options}")]).arg(&self.0).status().unwrap();
        assert!(run.success());
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(&self.0).status();
    }
}
