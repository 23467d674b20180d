//! Stages the set under temporary names before the snapshot is written; the archive is written from the store.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tempfile::NamedTempFile;

use super::earlier::{Earlier, reflink, sound_output};
use super::history::History;
use super::publish_set::{Ready, StagedSet};
use crate::error::{Error, Result};
use crate::format::snapshot::{self, Snapshot};
use crate::fs::durable::SyncedFile;
use crate::fs::space::{GuardedDir, SpaceGuard};
use crate::progress::{Observer, Phase, Problem};
use crate::set::archive::deflate::CODER;
use crate::set::archive::model::{Record, Segments};
use crate::set::archive::{content, write};
use crate::set::flush::BackgroundSync;
use crate::set::layout::Names;
use crate::set::sha256::sha256_of;
use crate::store::Store;
use crate::store::run_cache::{RunCache, SegmentState};

/// Writes the set's files under temporary names, the archive from the store; notes the archive's digest in `snapshot`.
pub(super) fn stage(
    store: &Store,
    earlier: Earlier<'_>,
    history: &History,
    snapshot: &mut Snapshot,
    images: Vec<Option<NamedTempFile>>,
    out: &GuardedDir<'_>,
    observer: &dyn Observer,
) -> Result<StagedSet> {
    let names = Names::new(out.dir, &snapshot.timestamp);
    let mut images = images.into_iter();
    let find = |part: &snapshot::Database| {
        Image::find(part.clone(), images.next().flatten(), earlier, history.database(&part.path), out.dir)
    };
    let databases: Vec<Image> = snapshot.databases.iter().map(find).collect();
    // Both files are made at once and synced as soon as each is written: neither waits for the other's disk.
    let (databases, archive) = std::thread::scope(|scope| {
        let stage = move || databases.into_iter().map(|image| image.stage(store, out, observer)).collect();
        let databases = scope.spawn(stage);
        let archive = snapshot
            .files
            .as_mut()
            .map(|uploads| stage_archive(store, earlier, history, uploads, &names, &out.room, observer))
            .transpose();
        let died = || Err(Error::Refused("the thread that copies the databases died".into()));
        let databases: Result<Vec<(Ready, String)>> = databases.join().unwrap_or_else(|_| died());
        (databases, archive)
    });
    let (databases, (archive, notes)) = (databases?, archive?.unzip());
    let (databases, digests): (Vec<Ready>, Vec<String>) = databases.into_iter().unzip();
    for (part, sha256) in snapshot.databases.iter_mut().zip(digests) {
        part.sha256 = Some(sha256);
    }
    Ok(StagedSet { names, databases, archive, space: Arc::clone(&out.room), notes: notes.unwrap_or_default() })
}

/// What the set's database can be made of.
struct Image {
    part: snapshot::Database,
    /// All of it, as it was just read.
    taken: Option<NamedTempFile>,
    /// The same bytes in a set before, and whether they were compared with their digest lately.
    same: Option<(PathBuf, bool)>,
    /// Any other image, most of whose extents are likely the same.
    earlier: Option<PathBuf>,
}

impl Image {
    fn find(
        part: snapshot::Database,
        taken: Option<NamedTempFile>,
        outputs: Earlier<'_>,
        before: Option<&snapshot::Database>,
        out: &Path,
    ) -> Self {
        let cache = outputs.cache;
        let same = cache.and_then(|cache| {
            let path = cache.find_output(part.sha256.as_ref()?, out)?;
            let is_verified = outputs.trusts(cache.verified_at(&path));
            Some((path, is_verified))
        });
        let earlier = cache.and_then(|cache| {
            let of_before = before.and_then(|before| cache.find_output(before.sha256.as_ref()?, out));
            of_before.or_else(|| cache.newest_output(out, "sqlite"))
        });
        Self { part, taken, same, earlier }
    }

    /// Returns the file, and the SHA-256 of the image.
    fn stage(self, store: &Store, out: &GuardedDir<'_>, observer: &dyn Observer) -> Result<(Ready, String)> {
        let GuardedDir { dir: out, room: space } = out;
        // The copy has the same blocks: what is read of it is what the older file has.
        if let (Some((path, is_verified)), Some(sha256)) = (&self.same, &self.part.sha256)
            && let Some(copy) = reflink(path, out)?
            && (*is_verified || sha256_of(copy.path(), observer)?.0 == *sha256)
        {
            let copy = SyncedFile::new(copy)?;
            let ready = if *is_verified { Ready::Clone(copy, path.clone()) } else { Ready::New(copy) };
            return Ok((ready, sha256.clone()));
        }
        if let (Some(image), Some(sha256)) = (self.taken, &self.part.sha256) {
            return Ok((Ready::New(SyncedFile::new(image)?), sha256.clone()));
        }
        space.require(self.part.size_bytes)?;
        let mut file = BackgroundSync::create(out)?;
        let earlier = self.same.map(|(path, _)| path).or(self.earlier).and_then(|path| File::open(path).ok());
        let sha256 =
            crate::set::sqlite_file::write(store, &self.part, earlier.as_ref(), &mut file, out, space, observer)?;
        Ok((Ready::New(file.finish()?), sha256))
    }
}

/// Writes the archive, or finds the same one in an earlier set; records its digest in `uploads`. Returns how many bytes were reused, and what
/// is not in it.
fn stage_archive(
    store: &Store,
    earlier: Earlier<'_>,
    history: &History,
    uploads: &mut snapshot::Files,
    names: &Names,
    space: &SpaceGuard,
    observer: &dyn Observer,
) -> Result<((Ready, u64), Vec<Problem>)> {
    let out = names.assets.parent().unwrap_or(Path::new("."));
    observer.phase(Phase::Archive, Some(uploads.bytes));
    let before = history.uploads.as_ref().map(|(_, part)| part).filter(|part| part.list == uploads.list);
    let same = before.and_then(|part| part.archive.clone()).filter(|archive| archive.coder == CODER);
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
    space.require(history.uploads.as_ref().map_or(0, |(_, before)| likely_bytes(before, uploads)))?;
    let (file, written) = write_archive(store, earlier.cache, uploads, &names.assets, space, observer)?;
    uploads.archive =
        Some(snapshot::Archive { coder: CODER.into(), size_bytes: written.size_bytes, sha256: written.sha256 });
    rotten.extend(written.notes);
    Ok(((Ready::New(file), written.reused_bytes), rotten))
}

/// Guesses the archive's length by the one before: much the same files compress much as they did. No more than that, so that a wrong
/// guess ends no run that would have fitted, unless most files were replaced; then there is no archive to guess by the next time.
fn likely_bytes(before: &snapshot::Files, now: &snapshot::Files) -> u64 {
    let archive = before.archive.as_ref().map_or(0, |archive| archive.size_bytes);
    let scaled = u128::from(archive) * u128::from(now.bytes) / u128::from(before.bytes.max(1));
    archive.min(u64::try_from(scaled).unwrap_or(u64::MAX))
}

fn write_archive(
    store: &Store,
    cache: Option<&RunCache>,
    uploads: &snapshot::Files,
    name: &Path,
    space: &SpaceGuard,
    observer: &dyn Observer,
) -> Result<(SyncedFile, write::Written)> {
    let earlier = cache
        .and_then(RunCache::archive)
        .filter(|(_, coder)| coder == CODER)
        .and_then(|(path, _)| File::open(path).ok());
    let notes = cache.filter(|cache| cache.start_archive().is_ok());
    let mut segments = CachedSegments { cache, earlier: earlier.map(Arc::new), notes };
    let made = content::write_archive(store, uploads, &mut segments, name, space, observer)?;
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
