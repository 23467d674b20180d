//! The set: staged beside its place before the snapshot is written, made visible after it, the manifest last.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tempfile::NamedTempFile;

use super::History;
use crate::error::{Error, Result};
use crate::format::snapshot::{self, Snapshot};
use crate::progress::{Observer, Phase, Problem};
use crate::set::archive::{self, Record, Segments};
use crate::set::behind::WriteBehind;
use crate::set::deflate::CODER;
use crate::set::files::{self, Names};
use crate::set::stored;
use crate::storage::local::{Synced, temporary_file};
use crate::storage::room::{Room, Target};
use crate::store::cache::{Cache, SegmentState};
use crate::store::{SnapshotName, Store};

/// A set that was written.
#[derive(Debug, Clone)]
pub struct SetOutput {
    /// The manifest's path.
    pub manifest: PathBuf,
    /// The database's copy.
    pub database: Option<DatabaseOutput>,
    /// The uploads' archive.
    pub assets: Option<AssetsOutput>,
}

/// The `.sqlite` of a set.
#[derive(Debug, Clone)]
pub struct DatabaseOutput {
    /// Its path.
    pub path: PathBuf,
    /// Its length in bytes.
    pub size_bytes: u64,
}

/// The `.tar.gz` of a set.
#[derive(Debug, Clone)]
pub struct AssetsOutput {
    /// Its path.
    pub path: PathBuf,
    /// Regular members.
    pub file_count: u64,
    /// Its length in bytes.
    pub archive_size_bytes: u64,
    /// How many of those were taken from the archive before.
    pub reused_bytes: u64,
}

/// A file that has its bytes, but not yet its name.
enum Ready {
    New(Synced),
    /// The same bytes stand under another name; nobody edits an archive in place.
    LinkTo(PathBuf),
}

/// A set that lacks only its names.
pub(super) struct StagedSet {
    names: Names,
    database: Option<Ready>,
    archive: Option<(Ready, u64)>,
    room: Arc<Room>,
    /// What is not in the archive, and why.
    pub notes: Vec<Problem>,
}

/// Writes the set's files under temporary names, the archive from the store; notes the archive's digest in `snapshot`.
pub(super) fn stage(
    store: &Store,
    cache: Option<&Cache>,
    history: &History,
    snapshot: &mut Snapshot,
    image: Option<NamedTempFile>,
    out: &Target<'_>,
    observer: &dyn Observer,
) -> Result<StagedSet> {
    let names = Names::new(out.dir, &snapshot.timestamp);
    let database = snapshot.database.clone().map(|half| Image::find(half, image, cache, out.dir));
    // Both files are made at once and synced as soon as each is written: neither waits for the other's disk.
    let (database, archive) = std::thread::scope(|scope| {
        let database = database.map(|image| scope.spawn(move || image.stage(store, out, observer)));
        let archive = snapshot
            .uploads
            .as_mut()
            .map(|uploads| stage_archive(store, cache, history, uploads, &names, &out.room, observer))
            .transpose();
        let database = database.map(|thread| {
            thread.join().unwrap_or_else(|_| Err(Error::Refused("the thread that copies the database died".into())))
        });
        (database.transpose(), archive)
    });
    let (database, (archive, notes)) = (database?, archive?.unzip());
    Ok(StagedSet { names, database, archive, room: Arc::clone(&out.room), notes: notes.unwrap_or_default() })
}

/// What the set's database can be made of.
struct Image {
    half: snapshot::Database,
    /// All of it, just taken in.
    taken: Option<NamedTempFile>,
    /// The same bytes in a set before.
    same: Option<PathBuf>,
    /// Any other image, most of whose extents are likely the same.
    earlier: Option<PathBuf>,
}

impl Image {
    fn find(half: snapshot::Database, taken: Option<NamedTempFile>, cache: Option<&Cache>, out: &Path) -> Self {
        let same = cache.and_then(|cache| cache.find_output(&half.sha256, out));
        let earlier = cache.and_then(|cache| cache.newest_output(out, "sqlite"));
        Self { half, taken, same, earlier }
    }

    fn stage(self, store: &Store, out: &Target<'_>, observer: &dyn Observer) -> Result<Ready> {
        let Target { dir: out, room } = out;
        if let Some(path) = &self.same
            && let Some(copy) = reflink(path, out)?
        {
            return Synced::new(copy).map(Ready::New);
        }
        if let Some(image) = self.taken {
            return Synced::new(image).map(Ready::New);
        }
        room.expect(self.half.size_bytes)?;
        let mut file = WriteBehind::create(out)?;
        let earlier = self.same.or(self.earlier).and_then(|path| File::open(path).ok());
        crate::set::image::write(store, &self.half, earlier.as_ref(), &mut file, out, room, observer)?;
        file.finish().map(Ready::New)
    }
}

/// Writes the archive, or finds the same one in a set before; notes its digest in `uploads`. Returns how many bytes it did not make, and what is not in it.
fn stage_archive(
    store: &Store,
    cache: Option<&Cache>,
    history: &History,
    uploads: &mut snapshot::Uploads,
    names: &Names,
    room: &Room,
    observer: &dyn Observer,
) -> Result<((Ready, u64), Vec<Problem>)> {
    let out = names.assets.parent().unwrap_or(Path::new("."));
    observer.phase(Phase::Archive, Some(uploads.bytes));
    let before = history.uploads.as_ref().map(|(_, half)| half).filter(|half| half.list == uploads.list);
    let same = before.and_then(|half| half.archive.clone()).filter(|archive| archive.coder == CODER);
    if let Some(archive) = same
        && let Some(path) = cache.and_then(|cache| cache.find_output(&archive.sha256, out))
    {
        let ready = match reflink(&path, out)? {
            Some(copy) => Ready::New(Synced::new(copy)?),
            None => Ready::LinkTo(path),
        };
        let size = archive.size_bytes;
        uploads.archive = Some(archive);
        return Ok(((ready, size), Vec::new()));
    }
    room.expect(history.uploads.as_ref().map_or(0, |(_, before)| likely_bytes(before, uploads)))?;
    let (file, written) = write_archive(store, cache, uploads, &names.assets, room, observer)?;
    uploads.archive =
        Some(snapshot::Archive { coder: CODER.into(), size_bytes: written.size_bytes, sha256: written.sha256 });
    Ok(((Ready::New(file), written.reused_bytes), written.notes))
}

/// Guesses the archive's length by the one before: much the same files compress much as they did. No more than that, so that a wrong
/// guess ends no run that would have had room, unless most files were replaced; then there is no archive to guess by the next time.
fn likely_bytes(before: &snapshot::Uploads, now: &snapshot::Uploads) -> u64 {
    let archive = before.archive.as_ref().map_or(0, |archive| archive.size_bytes);
    let scaled = u128::from(archive) * u128::from(now.bytes) / u128::from(before.bytes.max(1));
    archive.min(u64::try_from(scaled).unwrap_or(u64::MAX))
}

fn reflink(path: &Path, out: &Path) -> Result<Option<NamedTempFile>> {
    let copy = temporary_file(out)?;
    let source = File::open(path).map_err(Error::io("open", path))?;
    Ok(rustix::fs::ioctl_ficlone(copy.as_file(), &source).is_ok().then_some(copy))
}

fn write_archive(
    store: &Store,
    cache: Option<&Cache>,
    uploads: &snapshot::Uploads,
    name: &Path,
    room: &Room,
    observer: &dyn Observer,
) -> Result<(Synced, archive::Written)> {
    let earlier =
        cache.and_then(Cache::archive).filter(|(_, coder)| coder == CODER).and_then(|(path, _)| File::open(path).ok());
    let notes = cache.filter(|cache| cache.start_archive().is_ok());
    let mut segments = CachedSegments { cache, earlier: earlier.map(Arc::new), notes };
    let made = stored::write_archive(store, uploads, &mut segments, name, room, observer)?;
    if let Some(cache) = segments.notes {
        let _ = cache.finish_archive(name, CODER);
    }
    Ok(made)
}

/// Segments of the archive before, as the cache knows them. The new archive's are noted once it is whole.
struct CachedSegments<'a> {
    cache: Option<&'a Cache>,
    earlier: Option<Arc<File>>,
    notes: Option<&'a Cache>,
}

impl Segments for CachedSegments<'_> {
    fn find(&mut self, key: &[u8; 32]) -> Option<(Arc<File>, Record)> {
        let s = self.cache?.segment(key)?;
        let record = Record {
            key: *key,
            offset: s.offset,
            len: s.len,
            digest: s.digest,
            crc32: s.crc32,
            plain_len: s.plain_len,
        };
        Some((Arc::clone(self.earlier.as_ref()?), record))
    }

    fn record(&mut self, r: &Record) -> Result<()> {
        let state =
            SegmentState { offset: r.offset, len: r.len, digest: r.digest, crc32: r.crc32, plain_len: r.plain_len };
        self.notes = self.notes.filter(|cache| cache.put_segment(&r.key, &state).is_ok());
        Ok(())
    }
}

/// Gives the staged files their names, then writes the manifest; a set that cannot be finished is taken away again.
pub(super) fn publish(
    staged: StagedSet,
    name: &SnapshotName,
    snapshot: &Snapshot,
    cache: Option<&Cache>,
) -> Result<SetOutput> {
    let mut placed = Vec::new();
    let done = place_all(staged, name, snapshot, cache, &mut placed);
    if done.is_err() {
        for path in placed {
            let _ = fs::remove_file(path);
        }
    }
    done
}

fn place_all(
    staged: StagedSet,
    name: &SnapshotName,
    snapshot: &Snapshot,
    cache: Option<&Cache>,
    placed: &mut Vec<PathBuf>,
) -> Result<SetOutput> {
    let StagedSet { names, database, archive, room, notes: _ } = staged;
    let mut output = SetOutput { manifest: names.manifest.clone(), database: None, assets: None };
    let manifest = files::manifest(&names, name, snapshot, &snapshot.program)?;
    if let (Some(ready), Some(half)) = (database, &snapshot.database) {
        place(ready, &names.database, &room)?;
        placed.push(names.database.clone());
        note(cache, &names.database, &half.sha256);
        output.database = Some(DatabaseOutput { path: names.database.clone(), size_bytes: half.size_bytes });
    }
    if let (Some((ready, reused_bytes)), Some(half), Some(made)) =
        (archive, &snapshot.uploads, snapshot.uploads.as_ref().and_then(|half| half.archive.as_ref()))
    {
        place(ready, &names.assets, &room)?;
        placed.push(names.assets.clone());
        note(cache, &names.assets, &made.sha256);
        let (path, archive_size_bytes) = (names.assets.clone(), made.size_bytes);
        output.assets = Some(AssetsOutput { path, file_count: half.files, archive_size_bytes, reused_bytes });
    }
    files::write_manifest(&names, &manifest)?;
    Ok(output)
}

fn place(ready: Ready, path: &Path, room: &Room) -> Result<()> {
    match ready {
        Ready::New(file) => file.persist_new(path),
        Ready::LinkTo(old) => match fs::hard_link(&old, path) {
            Ok(()) => Ok(()),
            Err(_) => {
                let mut copy = temporary_file(path.parent().unwrap_or(Path::new(".")))?;
                let mut source = File::open(&old).map_err(Error::io("open", &old))?;
                room.spend(source.metadata().map_err(Error::io("look at", &old))?.len())?;
                std::io::copy(&mut source, copy.as_file_mut()).map_err(Error::io("copy", &old))?;
                Synced::new(copy)?.persist_new(path)
            }
        },
    }
}

fn note(cache: Option<&Cache>, path: &Path, sha256: &str) {
    if let Some(cache) = cache {
        let _ = cache.put_output(path, sha256);
    }
}
