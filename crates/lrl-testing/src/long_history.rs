//! A store with a long history, as `lrl watch` writes it: each snapshot changes one row, and adds a tiny pack and a tiny index. Written by the
//! engine's own writer, but not synced, and without looking through the history before each snapshot: so a hundred thousand take minutes.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use lrl_store::backend::local::LocalBackend;
use lrl_store::backup;
use lrl_store::error::Result;
use lrl_store::format::entry::Piece;
use lrl_store::format::snapshot::Snapshot;
use lrl_store::fs::lock::{Guard, LockMode};
use lrl_store::fs::vfs::{OsFs, TempFile, Vfs};
use lrl_store::id::ChunkId;
use lrl_store::progress::Silent;
use lrl_store::store::tree::TreeBuilder;
use lrl_store::store::write::WriteSession;
use lrl_store::store::{Store, create};
use lrl_store::time::Time;
use rusqlite::Connection;

/// Bytes of the database that become one chunk.
const EXTENT: usize = 64 << 10;
/// Rows that change in turn.
const ROWS: u64 = 1500;

/// How long a history is written.
#[derive(Debug, Clone, Copy)]
pub struct Shape {
    /// Snapshots.
    pub snapshots: u64,
    /// Seconds from one to the next.
    pub every: i64,
    /// When the last one is made, in seconds since 1970.
    pub newest: i64,
}

/// Writes a directory with data in the manual's layout, and a store with its history. What is in the directory then is the newest snapshot.
pub fn write(data: &Path, store: &Path, shape: Shape) {
    fs::create_dir_all(data.join("assets")).unwrap();
    fs::create_dir_all(store).unwrap();
    let database = data.join("lrl.db");
    let connection = Connection::open(&database).unwrap();
    connection.execute_batch("PRAGMA synchronous=OFF; PRAGMA journal_mode=TRUNCATE;").unwrap();
    fill(&connection);
    for n in 0..3 {
        fs::write(data.join(format!("assets/{n}.txt")), format!("upload {n}\n").repeat(100)).unwrap();
    }

    create(&LocalBackend::on(Unsynced, store), [7; 32]).unwrap();
    let backend = Arc::new(LocalBackend::on(Unsynced, store));
    let store = Store::open(backend, LockMode::Shared, Duration::ZERO, &Silent).unwrap();
    let scratch = tempfile::tempdir().unwrap();
    let at = |number: u64| shape.newest - (shape.snapshots - number) as i64 * shape.every;
    let first = UNIX_EPOCH + Duration::from_secs(at(1).unsigned_abs());
    let report = backup::backup(&store, &options(data, scratch.path(), first), &Silent).unwrap();

    let mut image = fs::read(&database).unwrap();
    let mut extents: Vec<ChunkId> = image.chunks(EXTENT).map(|extent| store.ids().chunk(extent)).collect();
    let (mut parent, mut last) = (report.name.id, report.snapshot);
    for sequence in 2..=shape.snapshots {
        let change = "UPDATE content_items SET title = ?1 WHERE id = ?2";
        connection.execute(change, (format!("title {sequence:012}"), (sequence % ROWS) as i64)).unwrap();
        let now = fs::read(&database).unwrap();
        assert_eq!(now.len(), image.len());
        let session = WriteSession::new(&store);
        for (at, (new, old)) in now.chunks(EXTENT).zip(image.chunks(EXTENT)).enumerate() {
            if new != old {
                extents[at] = session.put(new, &[extents[at]]).unwrap();
            }
        }
        let mut list = TreeBuilder::new(&session, Some(last.databases[0].root));
        for (id, bytes) in extents.iter().zip(now.chunks(EXTENT)) {
            list.push(Piece::Data { id: *id, len: bytes.len() as u64 }).unwrap();
        }
        let root = list.finish().unwrap();
        session.seal().unwrap();
        let created = Time { secs: at(sequence), nanos: 0 };
        last = next(last, sequence, created);
        last.parents = vec![parent];
        last.packs = session.packs();
        last.added_bytes = Some(session.added_bytes());
        last.databases[0].root = root;
        last.databases[0].change_counter += 1;
        parent = store.publish(&last).unwrap().0.id;
        image = now;
    }
    drop(connection);
    drop(store);
}

fn options(data: &Path, scratch: &Path, now: SystemTime) -> backup::Options {
    let mut options = backup::Options::new(data, scratch, now);
    options.host = "host".into();
    options
}

fn next(mut snapshot: Snapshot, sequence: u64, created: Time) -> Snapshot {
    snapshot.sequence = sequence;
    snapshot.created = created;
    snapshot.timestamp = created.stamp().unwrap();
    // Where the WAL names the pages that have changed, nothing else is read.
    snapshot.databases[0].sha256 = None;
    snapshot.duration_ms = Some(20);
    snapshot
}

fn fill(connection: &Connection) {
    connection.execute_batch(SCHEMA).unwrap();
    connection.execute_batch("BEGIN").unwrap();
    for n in 0..ROWS {
        let body = format!("{{\"text\":\"block {n} {}\"}}", ChunkId::of(&n.to_le_bytes())).repeat(5);
        let row = (n as i64, format!("slug-{n}"), format!("title {:012}", 1), body);
        connection.execute("INSERT INTO content_items VALUES (?1, ?2, ?3, ?4)", row).unwrap();
    }
    connection.execute_batch("COMMIT").unwrap();
}

const SCHEMA: &str = "
CREATE TABLE users (id TEXT PRIMARY KEY, email TEXT, display_name TEXT, password_hash TEXT, status TEXT);
CREATE TABLE content_items (id INTEGER PRIMARY KEY, slug TEXT UNIQUE, title TEXT, body TEXT);
CREATE TABLE assets (id TEXT PRIMARY KEY, filename_original TEXT, mime_type TEXT, size_bytes INTEGER, sha256 TEXT,
                     storage_path TEXT, visibility TEXT);
";

/// The machine's file system, on which nothing is synced.
struct Unsynced;

impl Vfs for Unsynced {
    type File = File;

    fn open(&self, path: &Path) -> io::Result<File> {
        OsFs.open(path)
    }

    fn read_exact_at(&self, file: &File, bytes: &mut [u8], offset: u64) -> io::Result<()> {
        OsFs.read_exact_at(file, bytes, offset)
    }

    fn read(&self, path: &Path, most: u64) -> io::Result<Vec<u8>> {
        OsFs.read(path, most)
    }

    fn len(&self, path: &Path) -> io::Result<u64> {
        OsFs.len(path)
    }

    fn is_dir(&self, path: &Path) -> bool {
        OsFs.is_dir(path)
    }

    fn read_dir(&self, path: &Path) -> io::Result<impl Iterator<Item = io::Result<(OsString, bool)>>> {
        OsFs.read_dir(path)
    }

    fn temporary(&self, dir: &Path) -> Result<Box<dyn TempFile>> {
        Ok(Box::new(UnsyncedFile(OsFs.temporary(dir)?)))
    }

    fn create_dir(&self, path: &Path) -> io::Result<()> {
        OsFs.create_dir(path)
    }

    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        OsFs.remove_dir(path)
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        OsFs.remove_file(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        OsFs.rename(from, to)
    }

    fn sync_dir(&self, _: &Path) -> io::Result<()> {
        Ok(())
    }

    fn lock(
        &self,
        path: &Path,
        mode: LockMode,
        wait: Duration,
        interrupted: &dyn Fn() -> bool,
    ) -> Result<Option<Box<dyn Guard>>> {
        OsFs.lock(path, mode, wait, interrupted)
    }

    fn has_dead(&self, dir: &Path) -> Result<bool> {
        OsFs.has_dead(dir)
    }

    fn reclaim(&self, dir: &Path) -> Result<u64> {
        OsFs.reclaim(dir)
    }
}

struct UnsyncedFile(Box<dyn TempFile>);

impl Write for UnsyncedFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

impl TempFile for UnsyncedFile {
    fn sync(&mut self) -> io::Result<()> {
        Ok(())
    }

    fn rename(self: Box<Self>, path: &Path) -> io::Result<()> {
        self.0.rename(path)
    }

    fn finish(self: Box<Self>) -> Result<Box<dyn TempFile>> {
        Ok(Box::new(Self(self.0.finish()?)))
    }

    fn on_disk(&self) -> Option<&tempfile::NamedTempFile> {
        self.0.on_disk()
    }
}
