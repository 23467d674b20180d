//! Tests of the whole road: trees on disk become snapshots by a few lines here, then are restored and compared in every respect.

mod clean;
mod database;
mod disk_space;
mod faults;
mod hostile_lists;
mod in_place;
mod interrupt;
mod lost_leaves;
mod missing_parts;
mod mounts;
mod move_contents;
mod open_files;
mod random;
mod sets;
mod site;
mod site_sets;
mod symlinks;
mod trees;
mod undo;

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
        Options { storage_dir: self.dir.path().join("kept/storage"), what, ..Options::new(self.data()) }
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

/// Interrupts after a number of questions.
struct Impatient(std::sync::atomic::AtomicI32);

impl Observer for Impatient {
    fn interrupted(&self) -> bool {
        self.0.fetch_sub(1, std::sync::atomic::Ordering::Relaxed) <= 0
    }
}

fn entry(path: &str, kind: Kind) -> Entry {
    Entry {
        path: path.as_bytes().to_vec(),
        kind,
        mode: 0o755,
        uid: 0,
        gid: 0,
        mtime: Time::default(),
        xattrs: Vec::new(),
    }
}

fn file() -> Kind {
    Kind::File { size: 0, content: Content::Inline(Vec::new()) }
}

/// A small disk of its own; only root can have one.
struct Disk(tempfile::TempDir);

impl Disk {
    /// One that can share blocks between files.
    fn cloning() -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        let image = dir.path().with_extension("image");
        File::create(&image).unwrap().set_len(256 << 20).unwrap();
        let run = |command: &str, args: &[&Path]| {
            std::process::Command::new(command).args(args).output().is_ok_and(|output| output.status.success())
        };
        let mounted = run("mkfs.btrfs", &[Path::new("-q"), &image])
            && run("mount", &[Path::new("-o"), Path::new("loop"), &image, dir.path()]);
        fs::remove_file(&image).unwrap();
        mounted.then(|| Self(dir))
    }

    fn new(size: &str) -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        mount(&format!("size={size}"), dir.path()).then(|| Self(dir))
    }
}

/// Mounts an empty file system in memory; returns whether that is permitted here.
pub(super) fn mount(options: &str, at: &Path) -> bool {
    let run = std::process::Command::new("mount").args(["-t", "tmpfs", "-o", options, "tmpfs"]).arg(at).output();
    run.is_ok_and(|run| run.status.success())
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = std::process::Command::new("umount").arg("-l").arg(self.0.path()).output();
    }
}
