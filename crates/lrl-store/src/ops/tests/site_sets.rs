//! Sets of a site through all verbs: several databases, one archive below the root, read by GNU tar, Python and a shell.

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
use crate::error::Error;
use crate::format::entry::compare_paths;
use crate::fs::lock::LockMode;
use crate::fs::space::Reserve;
use crate::ops::backup::{Options, Report, backup};
use crate::ops::tests::cases::noise;
use crate::ops::verify_snapshot::contradiction;
use crate::ops::{export, import, restore};
use crate::progress::Silent;
use crate::set::directory;
use crate::set::manifest::{Layout, Manifest};
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

#[test]
fn other_programs_read_the_set_of_a_site_and_segments_are_reused() {
    let site = Site::new();
    let first = site.back_up(0, None);
    let set = first.set.as_ref().unwrap();
    let listed: Vec<&[u8]> = first.snapshot.databases.iter().map(|part| part.path.as_slice()).collect();
    assert!(DATABASES.is_sorted_by(|a, b| compare_paths(a, b).is_lt()) && listed == DATABASES, "{listed:?}");
    let stamp = &first.snapshot.timestamp;
    let file_names: Vec<String> =
        set.databases.iter().map(|one| one.path.file_name().unwrap().to_str().unwrap().to_string()).collect();
    let expected = [
        "lrl_db_TS.sqlite",
        "lrl_db-data--it-s--a----HOME---db.sqlite_TS.sqlite",
        "lrl_db-data-app.db_TS.sqlite",
        "lrl_db-data-caf-.sqlite_TS.sqlite",
        "lrl_db-data-users-A.sqlite_TS.sqlite",
        "lrl_db-data-users-a.sqlite-2_TS.sqlite",
        "lrl_db-data-users-a.sqlite-3_TS.sqlite",
        "lrl_db-x-20260101-000000.sqlite_TS.sqlite",
    ];
    assert_eq!(file_names, expected.map(|name| name.replace("TS", stamp)));
    let found = directory::look(&site.at("out")).unwrap();
    assert_eq!((found.sets(), found.by_timestamp.len()), (1, 1));
    assert!(found.by_timestamp[stamp].beside.is_empty(), "{found:?}");

    let archive = &set.assets.as_ref().unwrap().path;
    for (name, command) in [("by-tar", "tar -xpzf \"$1\" -C \"$2\""), ("by-python", PYTHON)] {
        let dir = site.at(name);
        fs::create_dir(&dir).unwrap();
        run(Command::new("sh").args(["-euc", command, "sh"]).arg(archive).arg(&dir));
        assert_eq!(look(&dir), without_databases(look(&site.root())), "{name}");
    }
    for (one, path) in set.databases.iter().zip(DATABASES) {
        assert_eq!(rows(&one.path), rows(&site.root().join(OsStr::from_bytes(path))));
    }
    // What did not change is copied from the archive before, compressed as it is.
    let second = site.back_up(1, None);
    let assets = second.set.as_ref().unwrap().assets.as_ref().unwrap();
    assert_eq!(assets.reused_bytes, assets.archive_size_bytes);
    site.write("uploads/zz.txt", b"new");
    let third = site.back_up(2, None);
    let assets = third.set.as_ref().unwrap().assets.as_ref().unwrap();
    assert!(assets.reused_bytes > 650_000 && assets.reused_bytes < assets.archive_size_bytes, "{assets:?}");
    let manifest = Manifest::read(&set.manifest).unwrap();
    assert_eq!(manifest.assets().unwrap().layout, Layout::Root);
    assert_eq!(contradiction(&site.store("store"), &set.manifest).unwrap(), None);
    let text = fs::read_to_string(&set.manifest).unwrap();
    fs::write(&set.manifest, text.replace("      \"layout\": \"root\",\n", "")).unwrap();
    assert!(contradiction(&site.store("store"), &set.manifest).unwrap().unwrap().contains("paths below a root"));
    fs::write(&set.manifest, text.replace("\"layout\": \"root\"", "\"layout\": \"other\"")).unwrap();
    assert!(matches!(Manifest::read(&set.manifest), Err(Error::Corrupt { .. })));
}

const PYTHON: &str = "python3 -c \"import sys, tarfile\n\
                      t = tarfile.open(sys.argv[1])\n\
                      t.extractall(sys.argv[2], **({'filter': 'tar'} if hasattr(tarfile, 'tar_filter') else {}))\" \"$1\" \"$2\"";

#[test]
fn the_text_beside_an_exported_site_restores_it() {
    let site = Site::new();
    let report = site.back_up(0, None);
    let exported = site.export(&report);
    let text = fs::read_to_string(exported.join("RESTORE.md")).unwrap();
    let fence = text.lines().find(|line| line.ends_with("sh") && line.starts_with('`')).unwrap();
    let commands =
        text.split_once(&format!("{fence}\n")).unwrap().1.split_once(fence.trim_end_matches("sh")).unwrap().0;
    let restore = |root: &Path| {
        let mut shell = Command::new("sh");
        shell.args(["-c", commands]).env("SET", &exported).env("ROOT", root).current_dir(site.0.path());
        shell
    };
    let fresh = site.at("a 'new' place");
    run(&mut restore(&fresh));
    let (mut expected, mut found) = (look(&site.root()), look(&fresh));
    // That one has no name in a shell: the text says so.
    assert!(expected.remove(DATABASES[3]).is_some() && text.contains("data/caf"), "{text}");
    // A database that is copied into a directory changes its time.
    for tree in [&mut expected, &mut found] {
        for dir in [&b"data"[..], b"data/users"] {
            tree.get_mut(dir).unwrap().clear();
        }
    }
    assert_eq!(found, expected);
    let mode = |root: &Path| root.join("data/app.db").metadata().unwrap().mode();
    assert_eq!(mode(&fresh), mode(&site.root()));
    // In place: an old database moves away with what is beside it.
    fs::write(site.root().join("app.db-wal"), b"old").unwrap();
    fs::write(site.root().join("later"), b"later").unwrap();
    run(&mut restore(&site.root()));
    let here = names(&site.root());
    for name in ["app.db", "app.db.pre-restore", "app.db.pre-restore-wal", "later"] {
        assert!(here.contains(&name.to_string()), "{here:?}");
    }
    assert!(!here.contains(&"app.db-wal".to_string()));
    // A damaged file ends it before anything is changed.
    let archive = names(&exported).into_iter().find(|name| name.starts_with("lrl_assets_")).unwrap();
    fs::write(exported.join(archive), b"damaged").unwrap();
    let untouched = site.at("untouched");
    assert!(!restore(&untouched).output().unwrap().status.success() && !untouched.exists());
}

#[test]
fn an_imported_site_is_the_snapshot_that_was_exported() {
    let site = Site::new();
    // Archives hold the contents of hard links, not the links.
    fs::remove_file(site.root().join("uploads/same.pem")).unwrap();
    let report = site.back_up(0, None);
    let dir = site.export(&report);
    let store = site.store("other");
    let options = import::Options {
        dir,
        scratch: site.0.path().to_path_buf(),
        source: "lab".into(),
        program: "test".into(),
        lock_wait: Duration::ZERO,
        now: SystemTime::UNIX_EPOCH + Duration::from_secs(2_000_000_100),
    };
    let done = import::import(&store, &options, &Silent).unwrap();
    assert!(done.failed.is_empty() && done.imported.len() == 1, "{:?}", done.failed);
    let (made, was) = (&done.imported[0].snapshot, &report.snapshot);
    assert_eq!((&made.timestamp, made.databases.len()), (&was.timestamp, DATABASES.len()));
    for (made, was) in made.databases.iter().zip(&was.databases) {
        assert_eq!((&made.path, &made.sha256, made.root), (&was.path, &was.sha256, was.root));
        assert_eq!(made.source_path, was.source_path);
    }
    let (made, was) = (made.files.as_ref().unwrap(), was.files.as_ref().unwrap());
    assert_eq!((&made.roots, made.list, made.entries), (&was.roots, was.list, was.entries));
    let again = import::import(&store, &options, &Silent).unwrap();
    assert!(again.imported.is_empty() && again.known.len() == 1, "{again:?}");
}

#[test]
fn the_set_of_a_site_is_restored_into_a_new_directory_and_in_place() {
    let site = Site::new();
    let report = site.back_up(0, None);
    let manifest = &report.set.as_ref().unwrap().manifest;
    let options = |name: &str, what| restore::Options { what, ..restore::Options::new(site.at(name)) };
    let whole = restore::What::Whole;
    let dry = restore::Options { dry_run: true, ..options("new", whole.clone()) };
    let dry = restore::restore_set(manifest, &dry, &Silent).unwrap();
    assert!(!site.at("new").exists());
    let done = restore::restore_set(manifest, &options("new", whole.clone()), &Silent).unwrap();
    assert_eq!((dry.files, dry.bytes, dry.restored.len()), (done.files, done.bytes, done.restored.len()));
    let mut found = look(&site.at("new"));
    found.retain(|path, _| !path.starts_with(b".lrl"));
    assert_eq!(found, look(&site.root()));
    // In place as well, and an undo takes that back.
    let before = look(&site.root());
    site.write("uploads/ab/note.txt", b"changed");
    site.rows(b"data/users/A.sqlite", 3);
    let changed = look(&site.root());
    let done = restore::restore_set(manifest, &options("site", whole.clone()), &Silent).unwrap();
    assert!(done.restored.iter().any(|one| one.databases.len() > 2), "{:?}", done.restored);
    let live = |dir: &Path| {
        let mut found = look(dir);
        found.retain(|path, _| {
            !path.starts_with(b".lrl")
                && !path.windows(12).any(|part| part == b".pre-restore")
                && !path.windows(7).any(|part| part == b".undone")
        });
        found
    };
    assert_eq!(live(&site.root()), before);
    restore::undo(&restore::UndoOptions {
        data_dir: site.root(),
        storage_dir: site.root().join("storage"),
        dry_run: false,
        force: false,
        locks: None,
    })
    .unwrap();
    assert_eq!(live(&site.root()), changed);
    let _ = restore::restore_set(manifest, &options("site", whole.clone()), &Silent).unwrap();
    // Databases alone: in place, and where their directories are missing.
    for name in ["site", "databases"] {
        let _ = restore::restore_set(manifest, &options(name, restore::What::DbOnly), &Silent).unwrap();
        let found = look(&site.at(name));
        DATABASES.iter().for_each(|path| assert_eq!(found[*path], before[*path]));
    }
    assert!(site.at("site/app.db.pre-restore").exists());
    // A member of another name than the manifest promises is no way out of the directory.
    let copy = site.at("copy");
    fs::create_dir(&copy).unwrap();
    names(&site.at("out")).iter().for_each(|name| {
        fs::copy(site.at("out").join(name), copy.join(name)).unwrap();
    });
    let manifest = copy.join(manifest.file_name().unwrap());
    let text = fs::read_to_string(&manifest).unwrap();
    fs::write(&manifest, text.replace("\"data/app.db\"", "\"secret.pem/app.db\"")).unwrap();
    let refused = restore::restore_set(&manifest, &options("bad", whole), &Silent);
    assert!(matches!(&refused, Err(Error::Corrupt { .. })) && !site.at("bad").exists(), "{refused:?}");
}

#[test]
fn all_files_of_a_sites_set_are_removed_together() {
    let site = Site::new();
    let first = site.back_up(0, Some(2));
    site.rows(b"data/users/a.sqlite", 3);
    let leftover = site.at("out/lrl_db-x_20200101_000000.sqlite");
    fs::write(&leftover, b"left").unwrap();
    let _ = site.back_up(1, Some(2));
    let third = site.back_up(2, Some(2));
    let sets = third.sets.unwrap();
    assert_eq!(sets.removed.iter().map(|set| &set.timestamp).collect::<Vec<_>>(), [&first.snapshot.timestamp]);
    assert_eq!(sets.count, 2);
    assert!(sets.kept.iter().any(|kept| kept.name == "20200101_000000" && kept.reason.contains("no manifest")));
    let here = names(&site.at("out"));
    assert!(here.iter().all(|name| !name.contains(&first.snapshot.timestamp)), "{here:?}");
    assert_eq!(here.len(), 2 * (DATABASES.len() + 2) + 1, "{here:?}");
    assert!(leftover.exists());
    // One that was edited stays whole.
    let edited = &third.set.unwrap().databases[5].path;
    let mut bytes = fs::read(edited).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    fs::write(edited, bytes).unwrap();
    let _ = site.back_up(3, Some(1));
    let last = site.back_up(4, Some(1)).sets.unwrap();
    let kept = last.kept.iter().find(|kept| kept.name.contains(&third.snapshot.timestamp)).unwrap();
    assert!(kept.reason.contains("was changed"), "{kept:?}");
    assert_eq!(last.count, 2);
}
