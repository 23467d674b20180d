//! The set: staged beside its place before the snapshot is written, made visible after it, the manifest last.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tempfile::NamedTempFile;

use super::{History, Options};
use crate::error::{Error, Result};
use crate::format::snapshot::{self, Snapshot};
use crate::fs::durable::SyncedFile;
use crate::fs::space::{GuardedDir, SpaceGuard};
use crate::fs::temp_file::temporary_file;
use crate::progress::{Observer, Phase, Problem};
use crate::set::archive::content;
use crate::set::archive::deflate::CODER;
use crate::set::archive::model::{Record, Segments};
use crate::set::archive::write;
use crate::set::flush::BackgroundSync;
use crate::set::layout;
use crate::set::layout::Names;
use crate::set::sha256::sha256_of;
use crate::store::run_cache::{RunCache, SegmentState};
use crate::store::{SnapshotName, Store};
use crate::time::time_of;

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
    New(SyncedFile),
    /// A clone of an older file, of whose blocks it is known when they were compared with their digest.
    Clone(SyncedFile, PathBuf),
    /// The same bytes stand under another name; nobody edits an archive in place.
    LinkTo(PathBuf),
}

/// A set that lacks only its names.
pub(super) struct StagedSet {
    names: Names,
    database: Option<Ready>,
    archive: Option<(Ready, u64)>,
    room: Arc<SpaceGuard>,
    /// What is not in the archive, and why.
    pub notes: Vec<Problem>,
}

/// Older outputs, and how they are believed when they are shared with a new set.
#[derive(Clone, Copy)]
pub(super) struct Earlier<'a> {
    /// Knows them.
    pub cache: Option<&'a RunCache>,
    /// One that was compared with its digest since then, in seconds since 1970, is not read again; `None` reads all.
    pub since: Option<i64>,
    /// The moment of the run.
    pub now: i64,
}

impl<'a> Earlier<'a> {
    /// Where nothing has changed, what a full scan reads is read as often; else an older file is no evidence, whatever its times say.
    pub fn new(cache: Option<&'a RunCache>, options: &Options, distrust: bool, is_unchanged: bool) -> Self {
        let now = time_of(options.now).secs;
        let every = options.rescan_every.map_or(i64::MAX, |every| i64::try_from(every.as_secs()).unwrap_or(i64::MAX));
        Self { cache, since: (is_unchanged && !distrust).then(|| now.saturating_sub(every)), now }
    }

    /// A time that is ahead of the clock proves nothing.
    fn trusts(self, verified_at: Option<i64>) -> bool {
        self.since.zip(verified_at).is_some_and(|(since, at)| (since..=self.now).contains(&at))
    }
}

/// Writes the set's files under temporary names, the archive from the store; notes the archive's digest in `snapshot`.
pub(super) fn stage(
    store: &Store,
    earlier: Earlier<'_>,
    history: &History,
    snapshot: &mut Snapshot,
    image: Option<NamedTempFile>,
    out: &GuardedDir<'_>,
    observer: &dyn Observer,
) -> Result<StagedSet> {
    let names = Names::new(out.dir, &snapshot.timestamp);
    let database = snapshot.database.clone().map(|half| Image::find(half, image, earlier, out.dir));
    // Both files are made at once and synced as soon as each is written: neither waits for the other's disk.
    let (database, archive) = std::thread::scope(|scope| {
        let database = database.map(|image| scope.spawn(move || image.stage(store, out, observer)));
        let archive = snapshot
            .uploads
            .as_mut()
            .map(|uploads| stage_archive(store, earlier, history, uploads, &names, &out.room, observer))
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
    /// The same bytes in a set before, and whether they were compared with their digest lately.
    same: Option<(PathBuf, bool)>,
    /// Any other image, most of whose extents are likely the same.
    earlier: Option<PathBuf>,
}

impl Image {
    fn find(half: snapshot::Database, taken: Option<NamedTempFile>, outputs: Earlier<'_>, out: &Path) -> Self {
        let cache = outputs.cache;
        let same = cache.and_then(|cache| {
            let path = cache.find_output(&half.sha256, out)?;
            let is_verified = outputs.trusts(cache.verified_at(&path));
            Some((path, is_verified))
        });
        let earlier = cache.and_then(|cache| cache.newest_output(out, "sqlite"));
        Self { half, taken, same, earlier }
    }

    fn stage(self, store: &Store, out: &GuardedDir<'_>, observer: &dyn Observer) -> Result<Ready> {
        let GuardedDir { dir: out, room } = out;
        // The copy has the same blocks: what is read of it is what the older file has.
        if let Some((path, is_verified)) = &self.same
            && let Some(copy) = reflink(path, out)?
            && (*is_verified || sha256_of(copy.path(), observer)?.0 == self.half.sha256)
        {
            let copy = SyncedFile::new(copy)?;
            return Ok(if *is_verified { Ready::Clone(copy, path.clone()) } else { Ready::New(copy) });
        }
        if let Some(image) = self.taken {
            return SyncedFile::new(image).map(Ready::New);
        }
        room.require(self.half.size_bytes)?;
        let mut file = BackgroundSync::create(out)?;
        let earlier = self.same.map(|(path, _)| path).or(self.earlier).and_then(|path| File::open(path).ok());
        crate::set::sqlite_file::write(store, &self.half, earlier.as_ref(), &mut file, out, room, observer)?;
        file.finish().map(Ready::New)
    }
}

/// Writes the archive, or finds the same one in a set before; notes its digest in `uploads`. Returns how many bytes it did not make, and what is not in it.
fn stage_archive(
    store: &Store,
    earlier: Earlier<'_>,
    history: &History,
    uploads: &mut snapshot::Uploads,
    names: &Names,
    room: &SpaceGuard,
    observer: &dyn Observer,
) -> Result<((Ready, u64), Vec<Problem>)> {
    let out = names.assets.parent().unwrap_or(Path::new("."));
    observer.phase(Phase::Archive, Some(uploads.bytes));
    let before = history.uploads.as_ref().map(|(_, half)| half).filter(|half| half.list == uploads.list);
    let same = before.and_then(|half| half.archive.clone()).filter(|archive| archive.coder == CODER);
    let mut rotten = Vec::new();
    if let Some(archive) = same
        && let Some(path) = sound_output(earlier, &archive.sha256, out, &mut rotten, observer)?
    {
        let ready = match reflink(&path, out)? {
            Some(copy) => Ready::Clone(SyncedFile::new(copy)?, path),
            None => Ready::LinkTo(path),
        };
        let size = archive.size_bytes;
        uploads.archive = Some(archive);
        return Ok(((ready, size), rotten));
    }
    room.require(history.uploads.as_ref().map_or(0, |(_, before)| likely_bytes(before, uploads)))?;
    let (file, written) = write_archive(store, earlier.cache, uploads, &names.assets, room, observer)?;
    uploads.archive =
        Some(snapshot::Archive { coder: CODER.into(), size_bytes: written.size_bytes, sha256: written.sha256 });
    rotten.extend(written.notes);
    Ok(((Ready::New(file), written.reused_bytes), rotten))
}

/// Finds an older output whose bytes have this digest. One whose bytes were changed though its times were not is a problem, and is never
/// taken again.
fn sound_output(
    earlier: Earlier<'_>,
    sha256: &str,
    out: &Path,
    rotten: &mut Vec<Problem>,
    observer: &dyn Observer,
) -> Result<Option<PathBuf>> {
    let Some(cache) = earlier.cache else { return Ok(None) };
    while let Some(path) = cache.find_output(sha256, out) {
        if earlier.trusts(cache.verified_at(&path)) {
            return Ok(Some(path));
        }
        let found = match sha256_of(&path, observer) {
            Err(error) if error.is_final() => return Err(error),
            Err(error) => Err(error.to_string()),
            Ok((found, _)) if found == sha256 => {
                let _ = cache.put_verified(&path, earlier.now);
                return Ok(Some(path));
            }
            Ok((found, _)) => Ok(found),
        };
        let what = found
            .as_ref()
            .map_or_else(String::as_str, |_| "its bytes have changed, though its size and times have not");
        let reason = format!(
            "is damaged: {what}. The new set gets a fresh archive; `lrl check --read-data` names all sets that share the damage"
        );
        super::report(rotten, observer, &path, &reason, true);
        // Without this note it would be found again.
        if cache.put_output(&path, found.as_deref().unwrap_or_default()).is_err() {
            return Ok(None);
        }
    }
    Ok(None)
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
    cache: Option<&RunCache>,
    uploads: &snapshot::Uploads,
    name: &Path,
    room: &SpaceGuard,
    observer: &dyn Observer,
) -> Result<(SyncedFile, write::Written)> {
    let earlier = cache
        .and_then(RunCache::archive)
        .filter(|(_, coder)| coder == CODER)
        .and_then(|(path, _)| File::open(path).ok());
    let notes = cache.filter(|cache| cache.start_archive().is_ok());
    let mut segments = CachedSegments { cache, earlier: earlier.map(Arc::new), notes };
    let made = content::write_archive(store, uploads, &mut segments, name, room, observer)?;
    if let Some(cache) = segments.notes {
        let _ = cache.finish_archive(name, CODER);
    }
    Ok(made)
}

/// Segments of the archive before, as the cache knows them. The new archive's are noted once it is whole.
struct CachedSegments<'a> {
    cache: Option<&'a RunCache>,
    earlier: Option<Arc<File>>,
    notes: Option<&'a RunCache>,
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
    cache: Option<&RunCache>,
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
    cache: Option<&RunCache>,
    placed: &mut Vec<PathBuf>,
) -> Result<SetOutput> {
    let StagedSet { names, database, archive, room, notes: _ } = staged;
    let mut output = SetOutput { manifest: names.manifest.clone(), database: None, assets: None };
    let manifest = layout::manifest(&names, name, snapshot, &snapshot.program)?;
    if let (Some(ready), Some(half)) = (database, &snapshot.database) {
        let origin = Origin::of(&ready, snapshot);
        place(ready, &names.database, &room)?;
        placed.push(names.database.clone());
        note(cache, &names.database, &half.sha256, &origin);
        output.database = Some(DatabaseOutput { path: names.database.clone(), size_bytes: half.size_bytes });
    }
    if let (Some((ready, reused_bytes)), Some(half), Some(made)) =
        (archive, &snapshot.uploads, snapshot.uploads.as_ref().and_then(|half| half.archive.as_ref()))
    {
        let origin = Origin::of(&ready, snapshot);
        place(ready, &names.assets, &room)?;
        placed.push(names.assets.clone());
        note(cache, &names.assets, &made.sha256, &origin);
        let (path, archive_size_bytes) = (names.assets.clone(), made.size_bytes);
        output.assets = Some(AssetsOutput { path, file_count: half.files, archive_size_bytes, reused_bytes });
    }
    layout::write_manifest(&names, &manifest)?;
    Ok(output)
}

fn place(ready: Ready, path: &Path, room: &SpaceGuard) -> Result<()> {
    match ready {
        Ready::New(file) | Ready::Clone(file, _) => file.persist_new(path),
        Ready::LinkTo(old) => match fs::hard_link(&old, path) {
            Ok(()) => Ok(()),
            Err(_) => {
                let mut copy = temporary_file(path.parent().unwrap_or(Path::new(".")))?;
                let mut source = File::open(&old).map_err(Error::io("open", &old))?;
                room.charge(source.metadata().map_err(Error::io("look at", &old))?.len())?;
                std::io::copy(&mut source, copy.as_file_mut()).map_err(Error::io("copy", &old))?;
                SyncedFile::new(copy)?.persist_new(path)
            }
        },
    }
}

/// When a file of a set was last compared with its digest.
enum Origin {
    /// As it was written.
    Written(i64),
    /// As an older one was, whose blocks it has.
    Shared(PathBuf),
}

impl Origin {
    fn of(ready: &Ready, snapshot: &Snapshot) -> Self {
        match ready {
            Ready::New(_) => Self::Written(snapshot.created.secs),
            Ready::Clone(_, from) | Ready::LinkTo(from) => Self::Shared(from.clone()),
        }
    }
}

fn note(cache: Option<&RunCache>, path: &Path, sha256: &str, origin: &Origin) {
    let Some(cache) = cache else { return };
    let _ = cache.put_output(path, sha256);
    let _ = match origin {
        Origin::Written(at) => cache.put_verified(path, *at),
        Origin::Shared(from) => cache.verified_at(from).map_or(Ok(()), |at| cache.put_verified(path, at)),
    };
}
