//! Tests of the whole road: trees on disk become snapshots by a few lines here, then are restored and compared in every respect.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use sha2::{Digest, Sha256};

use super::links::Links;
use super::{Options, Part, Report, What, restore};
use crate::error::{Error, Result};
use crate::format::entry::{Content, Entry, Kind, Piece, compare_paths};
use crate::format::snapshot::{Database, Files, Snapshot};
use crate::fs::lock::LockMode;
use crate::id::SnapshotId;
use crate::ops::tests::sample;
use crate::progress::{Observer, Problem, Silent};
use crate::store::tree::TreeBuilder;
use crate::store::write::WriteSession;
use crate::store::{SnapshotName, Store, create};
use crate::testing::memory_backend::memory;
use crate::time::Time;
use crate::units::hex;

mod faults;
mod random;
mod sets;
mod site;
mod site_sets;
mod trees;
mod undo;

/// A lab, the store that its snapshots are in, and a directory to restore to.
struct Lab {
    dir: tempfile::TempDir,
    store: Store,
}

impl Lab {
    fn new() -> Self {
        let storage = memory();
        create(&storage, [7; 32]).unwrap();
        let store = Store::open(Arc::new(storage), LockMode::Shared, Duration::ZERO, &Silent).unwrap();
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("source")).unwrap();
        Self { dir, store }
    }

    /// What is backed up.
    fn source(&self) -> PathBuf {
        self.dir.path().join("source")
    }

    /// Where it is restored to.
    fn data(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    fn write(&self, path: &str, bytes: &[u8]) -> PathBuf {
        let path = self.source().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, bytes).unwrap();
        path
    }

    fn options(&self, what: What) -> Options {
        let (data_dir, storage_dir) = (self.data(), self.dir.path().join("kept/storage"));
        let (skip_damaged, no_keep) = (false, false);
        Options {
            data_dir,
            storage_dir,
            only_below: false,
            own: Vec::new(),
            what,
            owner: None,
            dry_run: false,
            force: false,
            skip_damaged,
            no_keep,
            locks: None,
        }
    }

    fn restore(&self, snapshot: &Snapshot, what: What) -> Result<Report> {
        self.restore_with(snapshot, &self.options(what))
    }

    fn restore_with(&self, snapshot: &Snapshot, options: &Options) -> Result<Report> {
        restore(&self.store, &name(), snapshot, options, &Silent)
    }

    /// Makes a snapshot of `source/lrl.db`, `source/assets` and `source/storage`, of those that are there.
    fn snapshot(&self) -> Snapshot {
        let entries = ["assets", "storage"].into_iter().filter(|root| self.source().join(root).is_dir());
        let roots: Vec<&str> = entries.collect();
        let session = WriteSession::new(&self.store);
        let mut list = Vec::new();
        roots.iter().for_each(|root| scan(&session, &self.source(), &self.source().join(root), &mut list));
        let database = self.source().join("lrl.db");
        let database = database.exists().then(|| {
            let bytes = fs::read(&database).unwrap();
            let meta = fs::metadata(&database).unwrap();
            let mut builder = TreeBuilder::new(&session, None);
            bytes.chunks(64 << 10).for_each(|extent| {
                let id = session.put(extent, &[]).unwrap();
                builder.push(Piece::Data { id, len: extent.len() as u64 }).unwrap();
            });
            Database {
                path: b"lrl.db".to_vec(),
                source_path: "./data/lrl.db".into(),
                size_bytes: bytes.len() as u64,
                sha256: Some(hex(&Sha256::digest(&bytes))),
                root: builder.finish().unwrap(),
                page_size: 4096,
                change_counter: 1,
                used_pages: None,
                tables: None,
                mode: meta.mode() & 0o7777,
                uid: meta.uid(),
                gid: meta.gid(),
                mtime: mtime(&meta),
                xattrs: Vec::new(),
            }
        });
        let roots = roots.iter().map(|root| (root.to_string(), format!("./data/{root}"))).collect();
        let uploads = (!list.is_empty()).then(|| self.uploads(&session, roots, list));
        session.seal().unwrap();
        document(database, uploads)
    }

    fn uploads(&self, session: &WriteSession<'_>, roots: BTreeMap<String, String>, mut list: Vec<Entry>) -> Files {
        list.sort_by(|a, b| compare_paths(&a.path, &b.path));
        let mut first = BTreeMap::new();
        for entry in &mut list {
            // Entries come with the inode as the target of a hard link.
            if let Kind::Hardlink { target } = &entry.kind {
                if let Some(path) = first.get(target) {
                    entry.kind = Kind::Hardlink { target: Vec::clone(path) };
                } else {
                    first.insert(target.clone(), entry.path.clone());
                    let file = self.source().join(OsStr::from_bytes(&entry.path));
                    entry.kind = contents(session, &file);
                }
            }
        }
        self.uploads_as_is(session, roots, list)
    }

    fn uploads_as_is(&self, session: &WriteSession<'_>, roots: BTreeMap<String, String>, list: Vec<Entry>) -> Files {
        let mut builder = TreeBuilder::new(session, None);
        let (entries, bytes) = (list.len() as u64, list.iter().map(Entry::size).sum());
        let files = list.iter().filter(|e| matches!(e.kind, Kind::File { .. } | Kind::Hardlink { .. })).count() as u64;
        list.into_iter().for_each(|entry| builder.push(entry).unwrap());
        Files { roots, list: builder.finish().unwrap(), entries, files, bytes, archive: None }
    }

    /// Makes a snapshot of a list as it is given.
    fn snapshot_of(&self, list: Vec<Entry>) -> Snapshot {
        let session = WriteSession::new(&self.store);
        let roots = [("assets".to_string(), "./data/assets".to_string())].into();
        let uploads = self.uploads_as_is(&session, roots, list);
        session.seal().unwrap();
        document(None, Some(uploads))
    }
}

fn name() -> SnapshotName {
    SnapshotName { source: "lab".into(), sequence: 1, id: SnapshotId::of(b"test") }
}

fn document(database: Option<Database>, uploads: Option<Files>) -> Snapshot {
    sample::snapshot(database, uploads)
}

fn mtime(meta: &fs::Metadata) -> Time {
    Time { secs: meta.mtime(), nanos: meta.mtime_nsec() as u32 }
}

fn contents(session: &WriteSession<'_>, path: &Path) -> Kind {
    let bytes = fs::read(path).unwrap();
    let mut pieces = Vec::new();
    for part in bytes.chunks(256 << 10) {
        let len = part.len() as u64;
        pieces.push(match part.iter().all(|b| *b == 0) && part.len() == 256 << 10 {
            true => Piece::Hole { len },
            false => Piece::Data { id: session.put(part, &[]).unwrap(), len },
        });
    }
    let size = bytes.len() as u64;
    if pieces.len() <= 32 {
        return Kind::File { size, content: Content::Inline(pieces) };
    }
    let mut builder = TreeBuilder::new(session, None);
    pieces.into_iter().for_each(|piece| builder.push(piece).unwrap());
    Kind::File { size, content: Content::Tree(builder.finish().unwrap()) }
}

fn scan(session: &WriteSession<'_>, top: &Path, path: &Path, list: &mut Vec<Entry>) {
    let meta = fs::symlink_metadata(path).unwrap();
    let kind = if meta.is_dir() {
        Kind::Dir
    } else if meta.is_symlink() {
        Kind::Symlink { target: fs::read_link(path).unwrap().into_os_string().into_vec() }
    } else if meta.nlink() > 1 {
        Kind::Hardlink { target: meta.ino().to_le_bytes().to_vec() }
    } else {
        contents(session, path)
    };
    let relative = path.strip_prefix(top).unwrap().as_os_str().as_bytes().to_vec();
    let (mode, uid, gid) = (meta.mode() & 0o7777, meta.uid(), meta.gid());
    list.push(Entry { path: relative, kind, mode, uid, gid, mtime: mtime(&meta), xattrs: Vec::new() });
    if meta.is_dir() {
        fs::read_dir(path).unwrap().for_each(|child| scan(session, top, &child.unwrap().path(), list));
    }
}

/// All that can be seen of a tree: kind, mode, owner, time, contents or target, and which names are one file.
type Seen = BTreeMap<Vec<u8>, (u32, u32, u32, Option<Time>, Vec<u8>, Vec<u8>)>;

fn look(top: &Path) -> Seen {
    fn walk(top: &Path, path: &Path, seen: &mut Seen, first: &mut BTreeMap<(u64, bool), Vec<u8>>) {
        let Ok(meta) = fs::symlink_metadata(path) else { return };
        let relative = path.strip_prefix(top).unwrap().as_os_str().as_bytes().to_vec();
        let (mut bytes, mut same) = (Vec::new(), Vec::new());
        if meta.is_symlink() {
            bytes = fs::read_link(path).unwrap().into_os_string().into_vec();
        } else if meta.is_file() {
            bytes = fs::read(path).unwrap();
            // What is kept inside uploads whose contents were exchanged is another tree, though files may be shared with it.
            let is_kept = relative.split(|b| *b == b'/').any(|part| part.starts_with(b".lrl."));
            same.clone_from(first.entry((meta.ino(), is_kept)).or_insert_with(|| relative.clone()));
        }
        seen.insert(relative, (meta.mode(), meta.uid(), meta.gid(), Some(mtime(&meta)), bytes, same));
        if meta.is_dir() {
            let mut children: Vec<_> = fs::read_dir(path).unwrap().map(|child| child.unwrap().path()).collect();
            children.sort();
            children.iter().for_each(|child| walk(top, child, seen, first));
        }
    }
    let mut seen = Seen::new();
    walk(top, top, &mut seen, &mut BTreeMap::new());
    seen
}

/// Sees everything below a directory, but not the directory's own times.
fn look_inside(top: &Path) -> Seen {
    let mut seen = look(top);
    seen.entry(Vec::new()).and_modify(|own| own.3 = None);
    seen
}

fn set_mtime(path: &Path, secs: i64, nanos: u32) {
    let time = rustix::fs::Timespec { tv_sec: secs, tv_nsec: nanos.into() };
    let times = rustix::fs::Timestamps { last_access: time, last_modification: time };
    let flags = rustix::fs::AtFlags::SYMLINK_NOFOLLOW;
    rustix::fs::utimensat(rustix::fs::CWD, path, &times, flags).unwrap();
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

/// Lists a directory, without the record that every restore leaves.
fn names_in(dir: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        fs::read_dir(dir).unwrap().map(|e| e.unwrap().file_name().to_string_lossy().into_owned()).collect();
    names.retain(|name| name != ".lrl-undo.json");
    names.sort();
    names
}

#[test]
fn both_halves_come_back_and_what_was_there_is_kept() {
    let lab = Lab::new();
    lab.write("lrl.db", &b"new database".repeat(20_000));
    lab.write("assets/a/one.txt", b"one");
    lab.write("storage/key.bin", b"two");
    let snapshot = lab.snapshot();
    fs::create_dir_all(lab.data().join("assets/old")).unwrap();
    fs::create_dir_all(lab.dir.path().join("kept/storage")).unwrap();
    fs::write(lab.data().join("assets/old/later.txt"), b"later").unwrap();
    fs::write(lab.data().join("lrl.db"), b"old database").unwrap();
    fs::write(lab.data().join("lrl.db-wal"), b"old wal").unwrap();
    fs::write(lab.data().join("lrl.db-shm"), b"old shm").unwrap();
    fs::write(lab.data().join("other"), b"untouched").unwrap();

    let report = lab.restore(&snapshot, What::Whole).unwrap();

    assert_eq!(
        names_in(&lab.data()),
        [
            "assets",
            "assets.pre-restore",
            "lrl.db",
            "lrl.db.pre-restore",
            "lrl.db.pre-restore-shm",
            "lrl.db.pre-restore-wal",
            "other"
        ]
    );
    assert_eq!(look(&lab.data().join("assets")), look(&lab.source().join("assets")));
    assert_eq!(look(&lab.dir.path().join("kept/storage")), look(&lab.source().join("storage")));
    assert_eq!(fs::read(lab.data().join("lrl.db")).unwrap(), b"new database".repeat(20_000));
    assert_eq!(fs::read(lab.data().join("lrl.db.pre-restore")).unwrap(), b"old database");
    assert_eq!(fs::read(lab.data().join("lrl.db.pre-restore-wal")).unwrap(), b"old wal");
    assert_eq!(fs::read(lab.data().join("assets.pre-restore/old/later.txt")).unwrap(), b"later");
    assert_eq!((report.files, report.bytes), (3, 240_006));
    assert_eq!(report.restored[0].kept[0], (lab.data().join("lrl.db"), lab.data().join("lrl.db.pre-restore")));
    assert_eq!(report.restored[0].kept.len(), 3);
    assert_eq!(report.restored[1].kept.len(), 1);
    assert_eq!(names_in(&lab.dir.path().join("kept")), ["storage", "storage.pre-restore"]);

    // A second time: nothing that was kept is overwritten.
    let _ = lab.restore(&snapshot, What::Whole).unwrap();
    assert_eq!(fs::read(lab.data().join("lrl.db.pre-restore")).unwrap(), b"old database");
    assert_eq!(fs::read(lab.data().join("lrl.db.pre-restore.1")).unwrap(), b"new database".repeat(20_000));
    assert!(lab.data().join("assets.pre-restore.1/a/one.txt").exists());
}

#[test]
fn a_fresh_directory_is_made_for_us_alone() {
    let lab = Lab::new();
    lab.write("lrl.db", b"database");
    set_mode(&lab.write("assets/x", b"x"), 0o6755);
    set_mode(&lab.source().join("lrl.db"), 0o640);
    let snapshot = lab.snapshot();
    let report = lab.restore(&snapshot, What::Whole).unwrap();
    assert_eq!(fs::metadata(lab.data()).unwrap().mode() & 0o7777, 0o700);
    assert_eq!(fs::metadata(lab.data().join("lrl.db")).unwrap().mode() & 0o7777, 0o640);
    assert_eq!(fs::metadata(lab.data().join("assets/x")).unwrap().mode() & 0o7777, 0o755, "setuid must go");
    assert!(report.restored.iter().all(|restored| restored.kept.is_empty()));
}

#[test]
fn a_leftover_wal_without_its_database_is_moved_away_too() {
    let lab = Lab::new();
    lab.write("lrl.db", b"database");
    fs::create_dir(lab.data()).unwrap();
    fs::write(lab.data().join("lrl.db-journal"), b"hot").unwrap();
    let report = lab.restore(&lab.snapshot(), What::DbOnly).unwrap();
    assert_eq!(names_in(&lab.data()), ["lrl.db", "lrl.db.pre-restore-journal"]);
    assert_eq!(report.restored[0].kept.len(), 1);
}

#[test]
fn a_missing_part_is_said_and_left_alone() {
    let lab = Lab::new();
    lab.write("lrl.db", b"database");
    let snapshot = lab.snapshot();
    fs::create_dir_all(lab.data().join("assets")).unwrap();
    let report = lab.restore(&snapshot, What::Whole).unwrap();
    assert!(report.notes.iter().any(|note| note.text().contains("no uploads")), "{:?}", report.notes);
    assert_eq!(names_in(&lab.data()), ["assets", "lrl.db"]);
    assert!(matches!(lab.restore(&snapshot, What::AssetsOnly), Err(Error::NotFound(_))));
    assert!(matches!(lab.restore(&snapshot, What::Paths(vec![b"assets/x".to_vec()])), Err(Error::NotFound(_))));
    let mut neither = snapshot.clone();
    neither.databases.clear();
    assert!(matches!(lab.restore(&neither, What::DbOnly), Err(Error::NotFound(_))));
    assert!(matches!(lab.restore(&neither, What::Whole), Err(Error::NotFound(_))));
}

#[test]
fn uploads_that_were_unreadable_are_named() {
    let lab = Lab::new();
    lab.write("assets/x", b"x");
    let mut snapshot = lab.snapshot();
    snapshot.problems.push(Problem { path: "assets/secret".into(), reason: "denied".into(), lost: true });
    let report = lab.restore(&snapshot, What::Whole).unwrap();
    assert!(report.notes.iter().any(|note| note.text().contains("assets/secret")), "{:?}", report.notes);
}

#[test]
fn a_dry_run_writes_nothing_and_says_all() {
    let lab = Lab::new();
    lab.write("lrl.db", b"database");
    lab.write("assets/a/b", b"bytes");
    let snapshot = lab.snapshot();
    let dry = Options { dry_run: true, ..lab.options(What::Whole) };
    let report = lab.restore_with(&snapshot, &dry).unwrap();
    assert!(report.dry_run && !lab.data().exists());
    assert_eq!((report.files, report.dirs, report.bytes), (2, 2, 13));
    let _ = lab.restore(&snapshot, What::Whole).unwrap();
    let before = look(lab.dir.path());
    let report = lab.restore_with(&snapshot, &dry).unwrap();
    assert_eq!(look(lab.dir.path()), before);
    assert_eq!(report.restored[0].kept, [(lab.data().join("lrl.db"), lab.data().join("lrl.db.pre-restore"))]);
}

#[test]
fn the_replaced_database_gives_owner_and_mode() {
    let lab = Lab::new();
    let source = lab.write("lrl.db", b"database");
    set_mode(&source, 0o644);
    set_mtime(&source, 1_700_000_000, 5);
    let snapshot = lab.snapshot();
    fs::create_dir(lab.data()).unwrap();
    let target = lab.data().join("lrl.db");
    fs::write(&target, b"old").unwrap();
    set_mode(&target, 0o660);
    let is_root = rustix::process::geteuid().is_root();
    if is_root {
        std::os::unix::fs::chown(&target, Some(1234), Some(2345)).unwrap();
    }
    let _ = lab.restore(&snapshot, What::Whole).unwrap();
    let meta = fs::metadata(&target).unwrap();
    assert_eq!((meta.mode() & 0o7777, mtime(&meta)), (0o660, Time { secs: 1_700_000_000, nanos: 5 }));
    if is_root {
        assert_eq!((meta.uid(), meta.gid()), (1234, 2345));
        let all = Options { owner: Some((77, 88)), ..lab.options(What::Whole) };
        lab.write("assets/x", b"x");
        let _ = lab.restore_with(&lab.snapshot(), &all).unwrap();
        for path in ["lrl.db", "assets", "assets/x"] {
            let meta = fs::metadata(lab.data().join(path)).unwrap();
            assert_eq!((meta.uid(), meta.gid()), (77, 88), "{path}");
        }
    }
}

#[test]
fn a_database_without_a_recorded_mode_is_ours_alone() {
    let lab = Lab::new();
    lab.write("lrl.db", b"database");
    let mut snapshot = lab.snapshot();
    snapshot.databases[0].mode = 0;
    let _ = lab.restore(&snapshot, What::Whole).unwrap();
    assert_eq!(fs::metadata(lab.data().join("lrl.db")).unwrap().mode() & 0o7777, 0o600);
}

#[test]
fn an_image_that_is_not_the_one_promised_is_refused() {
    let lab = Lab::new();
    lab.write("lrl.db", b"database");
    fs::create_dir(lab.data()).unwrap();
    fs::write(lab.data().join("lrl.db"), b"old").unwrap();
    let before = look_inside(&lab.data());
    let mut snapshot = lab.snapshot();
    snapshot.databases[0].sha256 = Some(hex(&[0; 32]));
    assert!(matches!(lab.restore(&snapshot, What::Whole), Err(Error::Corrupt { .. })));
    let mut snapshot = lab.snapshot();
    snapshot.databases[0].size_bytes += 1;
    assert!(matches!(lab.restore(&snapshot, What::Whole), Err(Error::Corrupt { .. })));
    assert_eq!(look_inside(&lab.data()), before);
}

#[test]
fn who_has_it_open_is_named_and_force_goes_on() {
    let lab = Lab::new();
    lab.write("lrl.db", b"database");
    lab.write("assets/x", b"new");
    let snapshot = lab.snapshot();
    fs::create_dir_all(lab.data().join("assets")).unwrap();
    for (path, what) in [
        ("lrl.db", What::DbOnly),
        ("assets/x", What::AssetsOnly),
        ("assets/x", What::Paths(vec![b"assets/x".to_vec()])),
    ] {
        let file = lab.data().join(path);
        fs::write(&file, b"old").unwrap();
        let mut holder =
            std::process::Command::new("sleep").arg("60").stdin(File::open(&file).unwrap()).spawn().unwrap();
        let refused = lab.restore(&snapshot, what.clone());
        let dry = lab.restore_with(&snapshot, &Options { dry_run: true, ..lab.options(what.clone()) }).unwrap();
        let forced = lab.restore_with(&snapshot, &Options { force: true, ..lab.options(what) });
        let pid = holder.id();
        holder.kill().unwrap();
        holder.wait().unwrap();
        let Err(Error::Refused(text)) = refused else { panic!("{refused:?}") };
        assert!(
            text.text().contains("sleep") && text.text().contains(&pid.to_string()) && text.text().contains(path),
            "{text}"
        );
        assert_eq!(dry.holders[0].pid, Some(pid));
        assert_eq!(forced.unwrap().holders.len(), 1);
        assert_ne!(fs::read(&file).unwrap(), b"old");
    }
}

#[test]
fn a_store_inside_the_target_is_not_carried_away() {
    let lab = Lab::new();
    let inside = lab.data().join("assets/backups");
    fs::create_dir_all(&inside).unwrap();
    let dirs = crate::fs::resolve::OpenDirs::default();
    let finder = super::find_target::Finder::new(&dirs);
    let place = finder.find(&lab.data(), &[b"assets"], Links::First).unwrap();
    assert!(matches!(super::safety::refuse_overlap(&[&place], &[inside]), Err(Error::Refused(_))));
    let nested = finder.find(&lab.data().join("assets"), &[b"storage"], Links::First).unwrap();
    assert!(matches!(super::safety::refuse_overlap(&[&place, &nested], &[]), Err(Error::Refused(_))));
    assert!(super::safety::refuse_overlap(&[&place], &[lab.source()]).is_ok());
}

/// Interrupts after a number of questions.
struct Impatient(std::sync::atomic::AtomicI32);

impl Observer for Impatient {
    fn interrupted(&self) -> bool {
        self.0.fetch_sub(1, std::sync::atomic::Ordering::Relaxed) <= 0
    }
}

#[test]
fn an_interrupted_restore_changes_nothing() {
    let lab = Lab::new();
    lab.write("lrl.db", &[3; 300_000]);
    (0..20).for_each(|n| _ = lab.write(&format!("assets/{n}/file"), &[n; 1000]));
    fs::hard_link(lab.source().join("assets/3/file"), lab.source().join("assets/4/again")).unwrap();
    let snapshot = lab.snapshot();
    fs::create_dir_all(lab.data().join("assets")).unwrap();
    fs::write(lab.data().join("lrl.db"), b"old").unwrap();
    let before = look_inside(&lab.data());
    let mut after = 0;
    loop {
        let observer = Impatient(after.into());
        match restore(&lab.store, &name(), &snapshot, &lab.options(What::Whole), &observer) {
            Err(Error::Interrupted) => assert_eq!(look_inside(&lab.data()), before, "after {after}"),
            other => break other.map(drop).unwrap(),
        }
        after += 1;
    }
    assert!(after > 60, "was only asked {after} times");
}

#[test]
fn an_interruption_is_no_damage_to_be_skipped() {
    /// Interrupts once, and later questions as if nothing had been.
    struct Once(std::sync::atomic::AtomicI32);
    impl Observer for Once {
        fn interrupted(&self) -> bool {
            self.0.fetch_sub(1, std::sync::atomic::Ordering::Relaxed) == 0
        }
    }
    let lab = Lab::new();
    lab.write("lrl.db", &[3; 300_000]);
    lab.write("assets/ab/file", b"x");
    let snapshot = lab.snapshot();
    let options = Options { skip_damaged: true, ..lab.options(What::Whole) };
    for after in 0.. {
        match restore(&lab.store, &name(), &snapshot, &options, &Once(after.into())) {
            Err(Error::Interrupted) => assert!(!lab.data().join("lrl.db").exists(), "after {after}"),
            other => {
                assert!(after > 10 && other.unwrap().skipped.is_empty(), "after {after}");
                break;
            }
        }
    }
}

#[test]
fn what_is_lost_as_a_whole_is_skipped_and_replaces_nothing() {
    let lab = Lab::new();
    lab.write("storage/key", b"key");
    let session = WriteSession::new(&lab.store);
    let mut list = Vec::new();
    scan(&session, &lab.source(), &lab.source().join("storage"), &mut list);
    // Of the other root nothing is listed.
    let roots = ["assets", "storage"].map(|root| (root.to_string(), format!("./data/{root}")));
    let uploads = lab.uploads(&session, roots.into(), list);
    session.seal().unwrap();
    let snapshot = document(None, Some(uploads));
    fs::create_dir_all(lab.data().join("assets")).unwrap();
    fs::write(lab.data().join("assets/mine"), b"mine").unwrap();
    let options = Options { skip_damaged: true, ..lab.options(What::AssetsOnly) };
    let _ = lab.restore_with(&snapshot, &options).unwrap();
    assert_eq!(names_in(&lab.data()), ["assets"]);
    assert_eq!(fs::read(lab.data().join("assets/mine")).unwrap(), b"mine");
    assert_eq!(fs::read(lab.dir.path().join("kept/storage/key")).unwrap(), b"key");
}

#[test]
fn a_program_that_is_just_being_started_holds_nothing() {
    // Until it runs, a child shares what any thread of its parent has open.
    let lab = Lab::new();
    lab.write("lrl.db", &[3; 3000]);
    let snapshot = lab.snapshot();
    fs::create_dir_all(lab.data()).unwrap();
    fs::write(lab.data().join("lrl.db"), b"old").unwrap();
    let done = AtomicBool::new(false);
    // It looks for its program in many places first.
    let path = "/nowhere:".repeat(20_000);
    std::thread::scope(|threads| {
        for _ in 0..3 {
            threads.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    let _ = Command::new("no-such-program").env("PATH", &path).status();
                }
            });
        }
        let options = Options { dry_run: true, ..lab.options(What::Whole) };
        let found: usize = (0..30)
            .map(|_| {
                let open = File::open(lab.data().join("lrl.db")).unwrap();
                std::thread::sleep(Duration::from_millis(5));
                drop(open);
                lab.restore_with(&snapshot, &options).unwrap().holders.len()
            })
            .sum();
        done.store(true, Ordering::Relaxed);
        assert_eq!(found, 0);
    });
}
