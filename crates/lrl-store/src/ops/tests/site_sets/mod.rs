//! Sets of a site through all verbs: several databases, one archive below the root, read by GNU tar, Python and a shell.

mod other_programs;
mod retention;
mod round_trip;

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::num::NonZeroUsize;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rusqlite::Connection;

use crate::backend::Backend;
use crate::backend::local::LocalBackend;
use crate::fs::lock::LockMode;
use crate::fs::space::Reserve;
use crate::ops::backup::{Options, Report, backup};
use crate::ops::export;
use crate::ops::tests::cases::noise;
use crate::progress::Silent;
use crate::store::{Store, create};

/// Paths of databases, in their order; the fourth is no text.
const DATABASES: [&[u8]; 8] = [
    b"app.db",
    b"data/-it's `a` \"$HOME\"\n\\db.sqlite",
    b"data/app.db",
    b"data/caf\xe9.sqlite",
    b"data/users/A.sqlite",
    b"data/users/a.sqlite",
    b"data/users_a.sqlite",
    b"x_20260101_000000.sqlite",
];

struct Site(tempfile::TempDir);

impl Site {
    fn new() -> Self {
        let site = Self(tempfile::tempdir().unwrap());
        for (at, path) in DATABASES.iter().enumerate() {
            site.rows(path, 100 * (at + 1));
        }
        site.write("uploads/ab/photo.bin", &noise(1, 700_000));
        site.write("uploads/ab/note.txt", b"a few words");
        site.write("secret.pem", b"key");
        fs::set_permissions(site.root().join("secret.pem"), fs::Permissions::from_mode(0o600)).unwrap();
        fs::hard_link(site.root().join("secret.pem"), site.root().join("uploads/same.pem")).unwrap();
        fs::create_dir(site.root().join("empty")).unwrap();
        symlink("uploads/ab", site.root().join("current")).unwrap();
        symlink("../current/note.txt", site.root().join("uploads/note")).unwrap();
        fs::create_dir(site.at("out")).unwrap();
        for store in ["store", "other"] {
            let storage = <LocalBackend>::new(site.at(store));
            storage.create().unwrap();
            create(&storage, [1; 32]).unwrap();
        }
        site
    }

    fn at(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn root(&self) -> PathBuf {
        self.at("site")
    }

    fn write(&self, path: &str, bytes: &[u8]) {
        let path = self.root().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }

    /// Adds rows to a database.
    fn rows(&self, path: &[u8], count: usize) {
        let path = self.root().join(OsStr::from_bytes(path));
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        let mut database = Connection::open(path).unwrap();
        database.execute("create table if not exists t(n, text)", []).unwrap();
        let transaction = database.transaction().unwrap();
        for n in 0..count {
            transaction.execute("insert into t values(?1, ?2)", (n as i64, format!("row {n} of {count}"))).unwrap();
        }
        transaction.commit().unwrap();
    }

    fn store(&self, name: &str) -> Store {
        let storage: Arc<dyn Backend> = Arc::new(<LocalBackend>::new(self.at(name)));
        Store::open(storage, LockMode::Shared, Duration::ZERO, &Silent).unwrap()
    }

    fn back_up(&self, second: u64, keep_sets: Option<usize>) -> Report {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(2_000_000_000 + second);
        let keep_sets = keep_sets.and_then(NonZeroUsize::new);
        let out = Some(self.at("out"));
        let settle = Duration::ZERO;
        let options = Options::site(&self.root(), self.0.path(), now);
        let options = Options { out, keep_sets, settle, reserve: Reserve::NONE, ..options };
        let report = backup(&self.store("store"), &options, &Silent).unwrap();
        assert!(
            report.set_error.is_none() && report.problems.is_empty(),
            "{:?} {:?}",
            report.set_error,
            report.problems
        );
        report
    }

    fn export(&self, report: &Report) -> PathBuf {
        let out = self.at("exported");
        let snapshot = report.snapshot.clone();
        let options = export::Options { out: &out, reserve: Reserve::NONE, program: "test", skip_damaged: false };
        let _ = export::export(&self.store("store"), &report.name, snapshot, &options, &Silent).unwrap();
        out
    }
}

/// What lies below a directory: contents, targets of links, modes of files; databases by their rows.
fn look(dir: &Path) -> BTreeMap<Vec<u8>, String> {
    let mut found = BTreeMap::new();
    let mut waiting = vec![dir.to_path_buf()];
    while let Some(next) = waiting.pop() {
        for entry in fs::read_dir(&next).unwrap() {
            let path = entry.unwrap().path();
            let name = path.strip_prefix(dir).unwrap().as_os_str().as_bytes().to_vec();
            let meta = path.symlink_metadata().unwrap();
            let shown = if meta.is_dir() {
                waiting.push(path);
                format!("directory {:o} {}", meta.mode(), meta.mtime())
            } else if meta.is_symlink() {
                format!("link {:?}", fs::read_link(&path).unwrap())
            } else if DATABASES.contains(&name.as_slice()) {
                rows(&path)
            } else {
                format!("file {:o} {} {:?}", meta.mode(), meta.mtime(), blake3::hash(&fs::read(&path).unwrap()))
            };
            found.insert(name, shown);
        }
    }
    found
}

fn rows(path: &Path) -> String {
    let database = Connection::open_with_flags(path, rusqlite::OpenFlags::SQLITE_OPEN_READ_ONLY).unwrap();
    let check: String = database.query_row("pragma integrity_check", [], |row| row.get(0)).unwrap();
    let sum: (i64, String) =
        database.query_row("select count(*), max(text) from t", [], |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
    format!("database {check} {sum:?}")
}

fn names(dir: &Path) -> Vec<String> {
    let mut names: Vec<_> =
        fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort_unstable();
    names
}

fn run(command: &mut Command) -> String {
    let output = command.output().unwrap();
    assert!(
        output.status.success(),
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap()
}

fn without_databases(mut tree: BTreeMap<Vec<u8>, String>) -> BTreeMap<Vec<u8>, String> {
    tree.retain(|path, _| !DATABASES.contains(&path.as_slice()));
    tree
}
