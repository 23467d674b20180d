//! Writes the stores in `tests/testdata/`, by hand: see docs/TESTING.md. Times, names and contents are fixed; what remains different from run to run
//! is how long a run took, and the keys of the encrypted store.

use std::ffi::OsString;
use std::fs;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{FileExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use lrl_store::backend::local::LocalBackend;
use lrl_store::backend::location::Location;
use lrl_store::crypt::Class;
use lrl_store::format::key::Credential;
use lrl_store::fs::lock::LockMode;
use lrl_store::fs::space::Reserve;
use lrl_store::ops::backup::{self, Options};
use lrl_store::progress::Silent;
use lrl_store::store::open::{self, OpenOptions};
use lrl_store::store::{Store, create, key_slots};
use lrl_store::time::Time;
use rusqlite::Connection;
use rustix::fs::{AtFlags, CWD, Timespec, Timestamps, XattrFlags, setxattr, utimensat};

use crate::bucket::{Bucket, KEY};
use crate::common::{Lab, noise, repository};
use crate::golden::{KEY_FILE, PASSWORD, STORES, copy_tree, facts};
use crate::helpers::look;

/// 2026-01-14 12:00 UTC.
const BEGIN: i64 = 1_768_392_000;

/// A store that is being written, and what its snapshots hold.
struct Golden {
    name: &'static str,
    credential: Option<Credential>,
    record: String,
    runs: u64,
}

impl Golden {
    /// Makes an empty store in the working directory.
    fn new(name: &'static str) -> Self {
        fs::create_dir(name).unwrap();
        let backend = LocalBackend::new(name);
        let id = [name.len() as u8; 32];
        let time = Time { secs: BEGIN, nanos: 0 };
        let passphrase = Credential::Passphrase(PASSWORD.as_bytes().to_vec().into());
        let credential = (name == "encrypted").then(|| passphrase.clone());
        match &credential {
            None => create(&backend, id).unwrap(),
            Some(credential) => {
                key_slots::create(&backend, id, credential, "password", time).unwrap();
                let opened = key_slots::open(&backend, Some(credential)).unwrap();
                let file = Credential::from_key_file(KEY_FILE).unwrap();
                key_slots::add(&backend, &opened, Class::Full, &file, "key file", time).unwrap();
            }
        }
        Self { name, credential, record: String::new(), runs: 0 }
    }

    fn store(&self) -> Store {
        let mut options = OpenOptions::default();
        options.credential = self.credential.clone();
        options.mode = LockMode::Exclusive;
        open::open(&Location::Directory(self.name.into()), &options, &Silent).unwrap()
    }

    /// Backs up a directory of the manual's layout.
    fn lab(&mut self, data: &str) {
        self.backup(data, Options::new(Path::new(data), "scratch", SystemTime::UNIX_EPOCH));
    }

    fn backup(&mut self, top: &str, mut options: Options) {
        fs::create_dir_all("scratch").unwrap();
        settle(Path::new(top));
        self.runs += 1;
        options.now = SystemTime::UNIX_EPOCH + Duration::from_secs(BEGIN as u64 + self.runs * 86_400);
        options.source = self.name.into();
        options.host = "golden.example.org".into();
        options.program = concat!("lrl ", env!("CARGO_PKG_VERSION")).into();
        options.rescan_every = None;
        options.reserve = Reserve::NONE;
        let report = backup::backup(&self.store(), &options, &Silent).unwrap();
        assert!(report.problems.is_empty(), "{:?}", report.problems);
        self.note(&report.name.id.to_string(), top);
    }

    fn note(&mut self, id: &str, top: &str) {
        self.record += &format!("snapshot {id}\n{}\n", facts(Path::new(top)).join("\n"));
    }

    /// Replaces the store in the repository by this one.
    fn finish(self) {
        for name in ["cache", "lock"].map(String::from).into_iter().chain([format!("lock-{}", self.name)]) {
            let path = Path::new(self.name).join(name);
            let _ = fs::remove_file(&path).or_else(|_| fs::remove_dir_all(&path));
        }
        let data = repository().join("tests/testdata");
        let _ = fs::remove_dir_all(data.join(self.name));
        copy_tree(Path::new(self.name), &data.join(self.name));
        fs::write(data.join(format!("{}.txt", self.name)), self.record).unwrap();
    }
}

/// Gives everything in a tree a time that depends on nothing but its path and length.
fn settle(top: &Path) {
    for (path, seen) in look(top).into_iter().rev() {
        let path = top.join(std::ffi::OsStr::from_bytes(&path));
        let len = if path.is_file() { path.metadata().unwrap().len() } else { 0 };
        let secs = BEGIN - 1_000_000 + 1000 * path.as_os_str().len() as i64 + len as i64;
        let time = Timespec { tv_sec: secs, tv_nsec: i64::from(seen.mode & 0o777) * 1_000_001 };
        utimensat(CWD, &path, &Timestamps { last_access: time, last_modification: time }, AtFlags::SYMLINK_NOFOLLOW)
            .unwrap();
    }
}

fn write(path: &str, bytes: &[u8]) {
    fs::create_dir_all(Path::new(path).parent().unwrap()).unwrap();
    fs::write(path, bytes).unwrap();
}

fn mode(path: &str, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

fn sql(path: impl AsRef<Path>, batch: &str) {
    Connection::open(path).unwrap().execute_batch(batch).unwrap();
}

/// Makes a lab of the manual's layout.
fn lab(data: &str) {
    write(&format!("{data}/assets/ab12/v1.txt"), b"a few words\n");
    write(&format!("{data}/assets/cd34/v1.bin"), &noise(5000, 1));
    write(&format!("{data}/assets/none"), b"");
    fs::create_dir(format!("{data}/assets/empty")).unwrap();
    symlink("ab12/v1.txt", format!("{data}/assets/newest")).unwrap();
    mode(&format!("{data}/assets/cd34/v1.bin"), 0o640);
    mode(&format!("{data}/assets/empty"), 0o2750);
    sql(
        format!("{data}/lrl.db"),
        "PRAGMA page_size = 1024;
         CREATE TABLE users (id TEXT PRIMARY KEY, email TEXT);
         CREATE TABLE content_items (id INTEGER PRIMARY KEY, title TEXT, body TEXT);
         CREATE TABLE assets (id TEXT PRIMARY KEY, size_bytes INTEGER, storage_path TEXT);
         INSERT INTO users VALUES ('u1', 'ada@example.org');
         WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 40)
         INSERT INTO content_items SELECT i, 'Title ' || i, printf('%.*c', 100 + i, 'x') || i * i * i FROM n;",
    );
    mode(&format!("{data}/lrl.db"), 0o640);
}

/// Changes a lab a little.
fn change(data: &str, step: u32) {
    sql(format!("{data}/lrl.db"), &format!("UPDATE content_items SET title = 'step {step}' WHERE id = {step}"));
    write(&format!("{data}/assets/step/{step}.txt"), format!("what step {step} has added\n").as_bytes());
}

fn plain() {
    let mut golden = Golden::new("plain");
    lab("plain-data");
    golden.lab("plain-data");
    // With a set, whose archive the snapshot describes.
    change("plain-data", 7);
    fs::write(Path::new("plain-data/assets").join(OsString::from_vec(b"caf\xe9.txt".to_vec())), b"not UTF-8\n")
        .unwrap();
    let mut options = Options::new(Path::new("plain-data"), "scratch", SystemTime::UNIX_EPOCH);
    fs::create_dir("sets").unwrap();
    options.out = Some("sets".into());
    golden.backup("plain-data", options);
    fs::remove_file("plain-data/assets/ab12/v1.txt").unwrap();
    golden.lab("plain-data");
    golden.finish();
}

fn encrypted() {
    let mut golden = Golden::new("encrypted");
    lab("encrypted-data");
    golden.lab("encrypted-data");
    change("encrypted-data", 7);
    golden.lab("encrypted-data");
    golden.finish();
}

fn deltas() {
    let mut golden = Golden::new("deltas");
    lab("deltas-data");
    let large = |seed| {
        let mut bytes = noise(4_000, 5);
        bytes[1_000 + seed..1_040 + seed].copy_from_slice(&noise(40, seed as u64));
        bytes
    };
    // More pieces than an entry holds.
    let sparse = fs::File::create("deltas-data/assets/sparse").unwrap();
    sparse.set_len(40 << 17).unwrap();
    (0..40).for_each(|n| sparse.write_all_at(format!("piece {n}").as_bytes(), n << 17).unwrap());
    drop(sparse);
    write("deltas-data/assets/large.bin", &large(0));
    fs::hard_link("deltas-data/assets/large.bin", "deltas-data/assets/again.bin").unwrap();
    golden.lab("deltas-data");
    for step in 1..4 {
        change("deltas-data", step);
        write("deltas-data/assets/large.bin", &large(step as usize * 100));
        golden.lab("deltas-data");
    }
    golden.finish();
}

fn attributes() {
    let mut golden = Golden::new("attributes");
    lab("attributes-data");
    let set = |path: &str, name: &str, value: &[u8]| {
        setxattr(format!("attributes-data/assets/{path}"), name, value, XattrFlags::empty()).unwrap();
    };
    set("ab12", "user.one", b"of a directory");
    set("cd34/v1.bin", "user.mime_type", b"application/octet-stream");
    set("cd34/v1.bin", "user.\u{e9}", b"\xff\0");
    golden.lab("attributes-data");
    set("ab12", "user.one", b"another value");
    set("cd34/v1.bin", "system.posix_acl_access", &acl(&[(1, 6), (2, 4), (4, 4), (0x10, 4), (0x20, 0)]));
    set("empty", "system.posix_acl_default", &acl(&[(1, 7), (2, 5), (4, 5), (0x10, 5), (0x20, 0)]));
    golden.lab("attributes-data");
    golden.finish();
}

/// Returns an ACL as Linux shows it; what is for one user is for the one with the number 1000.
fn acl(entries: &[(u16, u16)]) -> Vec<u8> {
    let mut value = 2u32.to_le_bytes().to_vec();
    for (tag, permissions) in entries {
        value.extend(tag.to_le_bytes());
        value.extend(permissions.to_le_bytes());
        value.extend(if *tag == 2 { 1000 } else { u32::MAX }.to_le_bytes());
    }
    value
}

fn site() {
    let mut golden = Golden::new("site");
    let database = |name: &[u8], rows: u32| {
        let path = PathBuf::from("site-data").join(OsString::from_vec(name.to_vec()));
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        sql(
            path,
            &format!(
                "PRAGMA page_size = 1024; CREATE TABLE IF NOT EXISTS notes (id INTEGER PRIMARY KEY, text TEXT);
                 WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {rows})
                 INSERT INTO notes (text) SELECT 'note ' || i * i FROM n;"
            ),
        );
    };
    database(b"app.db", 30);
    database(b"users/a\\b.sqlite", 3);
    database(b"users/caf\xe9.sqlite", 4);
    write("site-data/rsa_key.pem", b"not a key\n");
    mode("site-data/rsa_key.pem", 0o600);
    write("site-data/storage/ab/cd", &noise(3000, 9));
    mode("site-data", 0o2750);
    let options = || Options::site(Path::new("site-data"), "scratch", SystemTime::UNIX_EPOCH);
    golden.backup("site-data", options());
    database(b"app.db", 5);
    write("site-data/storage/ab/ef", b"another upload\n");
    golden.backup("site-data", options());
    // The same again, by a writer that does not know the images' SHA-256.
    let store = golden.store();
    let newest = store.snapshot_names(None).unwrap().into_iter().max_by_key(|name| name.sequence).unwrap();
    let mut snapshot = store.snapshot(&newest).unwrap();
    snapshot.sequence += 1;
    snapshot.timestamp = "20260117_120000".into();
    snapshot.databases.iter_mut().for_each(|database| database.sha256 = None);
    let (name, _) = store.publish(&snapshot).unwrap();
    drop(store);
    golden.note(&name.id.to_string(), "site-data");
    golden.finish();
}

fn pending() {
    let mut golden = Golden::new("pending");
    lab("pending-data");
    golden.lab("pending-data");
    let forgotten = std::mem::take(&mut golden.record);
    let forgotten = forgotten.lines().next().unwrap().strip_prefix("snapshot ").unwrap();
    write("pending-data/assets/cd34/v1.bin", &noise(4000, 2));
    for step in 1..3 {
        change("pending-data", step);
        golden.lab("pending-data");
    }
    let store = golden.store();
    let names = store.snapshot_names(None).unwrap();
    store.forget(names.iter().find(|name| name.id.to_string() == forgotten).unwrap()).unwrap();
    drop(store);
    // Only in a bucket is anything scheduled for deletion.
    let bucket = Bucket::start();
    let prefix = "golden/";
    let objects: Vec<(String, Vec<u8>)> = objects(Path::new(golden.name));
    bucket.change(|all| all.extend(objects.into_iter().map(|(name, bytes)| (format!("{prefix}{name}"), bytes))));
    let mut program = Lab::empty();
    program.set("LRL_STORE", &bucket.url("golden"));
    program.set("AWS_ACCESS_KEY_ID", KEY);
    program.set("AWS_SECRET_ACCESS_KEY", "secret");
    program.lrl("prune --max-unused 0").expect(0);
    fs::remove_dir_all(golden.name).unwrap();
    let mut is_scheduled = false;
    bucket.change(|all| {
        for (name, bytes) in all {
            let name = name.strip_prefix(prefix).unwrap();
            is_scheduled |= name.starts_with("pending/");
            write(&format!("{}/{name}", golden.name), bytes);
        }
    });
    assert!(is_scheduled);
    // A run that has read what is scheduled.
    change("pending-data", 3);
    golden.lab("pending-data");
    golden.finish();
}

/// Reads the objects of a store in a directory.
fn objects(store: &Path) -> Vec<(String, Vec<u8>)> {
    let names = look(store).into_keys().map(|name| String::from_utf8(name).unwrap());
    let is_object =
        |name: &String| store.join(name).is_file() && !name.starts_with("cache/") && !name.starts_with("lock");
    names.filter(is_object).map(|name| (name.clone(), fs::read(store.join(&name)).unwrap())).collect()
}

#[test]
#[ignore = "replaces the stores in tests/testdata; run it alone"]
fn write_the_golden_stores() {
    // Paths in the documents are relative, so that they name nothing of this machine.
    let place = tempfile::tempdir().unwrap();
    std::env::set_current_dir(place.path()).unwrap();
    plain();
    encrypted();
    deltas();
    attributes();
    site();
    pending();
    assert_eq!(STORES.len(), 6);
}
