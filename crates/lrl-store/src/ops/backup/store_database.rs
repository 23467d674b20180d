//! Stores one database: nothing where it is provably the same; otherwise one consistent image, cut into extents, each changed extent as a
//! delta against the one in its place. It is stored while it is read; what of it is read, and under which lock, is decided here.

use std::fs::File;
use std::io::{Read, Seek};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use super::context::Context;
use super::database_xattrs::xattrs_of;
use super::history::History;
use super::image_buffer::{ImageBuffer, store_changed};
use super::options::Options;
use super::report::DatabaseRead;
use super::set_image::SetImage;
use super::store_image::{Expected, Plan, StoredImage, build_tree, store_image};
use super::{changed_extents, full_scan};
use crate::error::{Error, Result};
use crate::format::entry::Piece;
use crate::format::snapshot;
use crate::format::snapshot::DATABASE_NOT_FOUND;
use crate::format::xattr::Xattrs;
use crate::fs::space::{GuardedDir, require};
use crate::id::ChunkId;
use crate::ops::report_problem::report;
use crate::progress::{Observer, Problem};
use crate::source::database;
use crate::source::database::source::DatabaseSource;
use crate::source::database::{ExtentSet, Image, ImageSink, Method, State, Unlocked, Version, WalMark};
use crate::store::Store;
use crate::store::local_bases::LocalBases;
use crate::store::run_cache::RunCache;
use crate::store::tree::TreeItems;
use crate::store::write::WriteSession;
use crate::time::Time;

/// The SHA-256 of a longer image is left to sets and full scans: it takes a seventh of the time of a first snapshot, and the digest of the list of
/// extents proves as much.
const DIGESTED_UP_TO: u64 = 32 << 20;

pub(super) struct DatabasePart {
    pub record: snapshot::Database,
    /// The image as a file, if all of it was written for the set.
    pub staged: Option<tempfile::NamedTempFile>,
    pub read: Option<DatabaseRead>,
}

/// What is to be done with one database.
pub(super) enum Prepared<'a> {
    /// It is not there.
    Absent,
    /// It is proved to be the parent's.
    Unchanged(DatabasePart),
    /// It must be read.
    Changed(Changed<'a>),
}

/// A database that must be read.
pub(super) struct Changed<'a> {
    pub source: &'a DatabaseSource,
    /// Its version at the first look.
    before: Option<State>,
    /// What it is compared with.
    parent: Option<&'a snapshot::Database>,
    /// It should be the parent's: its state says so.
    proved: Option<&'a snapshot::Database>,
    /// The mark of the parent's image in the WAL.
    pub mark: Option<WalMark>,
    /// Extended attributes at the first look.
    xattrs: Xattrs,
}

/// A database that was read without a lasting lock.
pub(super) struct Draft {
    image: StoredImage,
    /// What it is, if nobody committed meanwhile.
    version: Option<Version>,
}

/// Looks at one database, and reuses the parent's where it is proved to be the same.
pub(super) fn prepare<'a>(
    context: Context<'_>,
    history: &'a History,
    source: &'a DatabaseSource,
    problems: &mut Vec<Problem>,
) -> Result<Prepared<'a>> {
    let Context { session, cache, options, observer } = context;
    let path = source.file.as_path();
    if !path.try_exists().map_err(Error::io("look at", path))? {
        report(problems, observer, path, DATABASE_NOT_FOUND, true);
        return Ok(Prepared::Absent);
    }
    let parent = history.database(&source.path);
    let before = database::observe(path)?;
    let known = cache.and_then(|cache| cache.database(&options.source, &source.path));
    let proved = parent.filter(|parent| {
        // A copy whose schema could not be read is tried, and complained about, each time.
        let state = before.as_ref().filter(|_| parent.tables.is_some());
        state.is_some_and(|state| known == Some((state.clone(), parent.root)))
    });
    // A write-only key reads no old extents: without a local copy the set needs the whole image.
    let can_read = session.store().can_read();
    let local_bases = if can_read { None } else { local_copy(session.store(), cache, parent, options) };
    let has_bases = can_read || local_bases.is_some() || options.out.is_none();
    if let Some(parent) = proved.filter(|_| has_bases && session.trust().reuses_parent()) {
        let record = snapshot::Database { source_path: path.display().to_string(), ..parent.clone() };
        return Ok(Prepared::Unchanged(DatabasePart { record, staged: None, read: None }));
    }
    if let Some(bases) = local_bases {
        session.store().set_local_bases(bases);
    }
    let [parent, proved] = [parent, proved].map(|part| part.filter(|_| has_bases));
    let mark = cache.and_then(|cache| cache.wal_mark(&options.source, &source.path));
    let mark = mark.filter(|(_, root)| parent.is_some_and(|parent| parent.root == *root)).map(|(mark, _)| mark);
    let xattrs = xattrs_of(path, problems, observer);
    Ok(Prepared::Changed(Changed { source, before, parent, proved, mark, xattrs }))
}

impl<'a> Changed<'a> {
    /// Reads the database without keeping its writers waiting, where they would wait long for an image that is read under the lock.
    pub(crate) fn draft(&self, context: Context<'_>, reading: &mut database::Reading<'_>) -> Result<Option<Draft>> {
        if !reading.would_block_writers()? {
            return Ok(None);
        }
        let Context { session, options, .. } = context;
        let GuardedDir { dir: scratch, .. } = session.store().target(&options.scratch, options.reserve)?;
        let plan = self.plan(context, scratch, Expected::Nothing);
        let (unlocked, image) = store_image(plan, self.set_image(context)?, |feed| reading.read_unlocked(feed))?;
        Ok(match unlocked {
            Unlocked::One(version) => Some(Draft { image, version: Some(version) }),
            Unlocked::Mixed => Some(Draft { image, version: None }),
            Unlocked::Refused => None,
        })
    }

    /// Stores one consistent image, each changed extent as a delta against the one in its place.
    pub(crate) fn store(
        self,
        context: Context<'_>,
        mut reading: database::Reading<'_>,
        draft: Option<Draft>,
        problems: &mut Vec<Problem>,
    ) -> Result<DatabasePart> {
        let Context { session, cache, options, observer } = context;
        let path = self.source.file.as_path();
        let mark = reading.mark().cloned();
        let (image, stored) = self.read(context, &mut reading, draft)?;
        // No connection may be open when the file is looked at.
        drop(reading);
        let root = match stored.root {
            Some(root) => root,
            None => build_tree(session, &stored.ids, stored.len, self.parent)?,
        };
        // Only if nothing was committed since the first look does that look describe this image.
        let is_settled = self.before.as_ref().is_some_and(|state| state.is_settled(options.now));
        let same = is_settled && database::observe(path)? == self.before;
        if let Some(cache) = cache {
            let state = self.before.as_ref().filter(|_| same).map(|state| (state, &root));
            let _ = cache.put_database(&options.source, &self.source.path, state);
            let mark = mark.as_ref().map(|mark| (mark, &root));
            let _ = cache.put_wal_mark(&options.source, &self.source.path, mark);
        }
        let other_len = same && self.proved.is_some_and(|parent| parent.size_bytes != stored.len);
        let changed_unseen = stored.changed_unseen && (same || self.proved.is_none()) || other_len;
        if changed_unseen {
            report(problems, observer, path, full_scan::UNSEEN, false);
        }
        if let Some(error) = &image.schema_error {
            let reason = format!("its schema cannot be read ({error}); the copy is kept, unverified");
            report(problems, observer, path, reason, true);
        }
        let staged = stored.set_image.map(SetImage::into_file);
        // Where it was not computed, the parent's if it is the parent's image; else the set's file gives it, if one is written.
        let same = self.parent.filter(|parent| parent.root == root);
        let sha256 = stored.sha256.or_else(|| same.and_then(|parent| parent.sha256.clone()));
        let meta = path.metadata().map_err(Error::io("look at", path))?;
        let record = snapshot::Database {
            path: self.source.path.clone(),
            source_path: path.display().to_string(),
            size_bytes: image.size_bytes,
            sha256,
            root,
            page_size: image.page_size,
            change_counter: image.change_counter,
            used_pages: image.used_pages,
            tables: image.tables,
            mode: meta.mode() & 0o777,
            uid: meta.uid(),
            gid: meta.gid(),
            mtime: Time { secs: meta.mtime(), nanos: meta.mtime_nsec() as u32 },
            xattrs: self.xattrs,
        };
        let Image { held, method, schema_error, .. } = image;
        let read = Some(DatabaseRead { held, method, schema_error, changed_unseen });
        Ok(DatabasePart { record, staged, read })
    }

    /// Reads what of the version that is held has to be read, and stores it.
    fn read(
        &self,
        context: Context<'_>,
        reading: &mut database::Reading<'_>,
        draft: Option<Draft>,
    ) -> Result<(Image, StoredImage)> {
        let Context { session, options, observer, .. } = context;
        let GuardedDir { dir: scratch, room: space } = session.store().target(&options.scratch, options.reserve)?;
        if let Some(Draft { image: drafted, version }) = draft {
            if let Some(version) = &version
                && reading.holds(version)?
                && let Some(image) = reading.release(Method::Pages)
            {
                return Ok((image, drafted));
            }
            // Somebody wrote meanwhile: under the lock it is only read and compared; what differs is stored when the lock is gone.
            let mut buffer = ImageBuffer::new(session.store(), &drafted.ids, scratch, &space, observer);
            let image = reading.read(&mut buffer)?;
            let changed = buffer.finish()?;
            let stored = store_changed(self.plan(context, scratch, Expected::Nothing), &changed, &drafted.ids)?;
            return Ok((image, stored));
        }
        let extent_bytes = session.store().config().chunking.extent_bytes;
        let changed = self.mark.as_ref().and_then(|mark| reading.changed_since(mark, extent_bytes));
        let has_held_pages = |parent: &&snapshot::Database| {
            reading.held_size().is_some_and(|(_, page_size)| page_size == parent.page_size)
        };
        let (parent, changed) = self.parent.filter(has_held_pages).zip(changed).unzip();
        let reuses = session.trust().reuses_parent() && self.proved.is_none();
        if let (Some(parent), Some(changed), true) = (parent, &changed, reuses) {
            if let Some((image, root)) = changed_extents::store(context, reading, parent, changed)? {
                let stored = StoredImage::with_root(root, image.size_bytes, scratch);
                return Ok((image, stored));
            }
            if let Some(done) = self.read_changed(context, reading, parent, changed, scratch)? {
                return Ok(done);
            }
        }
        let expected = match (&changed, self.proved) {
            (_, Some(_)) => Expected::All,
            // All is read, so the hint can be shown to be right.
            (Some(changed), None) => Expected::Others(changed),
            _ => Expected::Nothing,
        };
        store_image(self.plan(context, scratch, expected), self.set_image(context)?, |feed| reading.read(feed))
    }

    /// Reads only the extents that may have changed since the parent; `None` if one of them cannot be read so.
    fn read_changed(
        &self,
        context: Context<'_>,
        reading: &mut database::Reading<'_>,
        parent: &snapshot::Database,
        changed: &ExtentSet,
        scratch: &Path,
    ) -> Result<Option<(Image, StoredImage)>> {
        let extent_bytes = u64::from(context.store().config().chunking.extent_bytes);
        let Some((len, _)) = reading.held_size() else { return Ok(None) };
        let mut bytes = Vec::new();
        let (is_read, stored) = store_image(self.plan(context, scratch, Expected::Nothing), None, |feed| {
            for ordinal in 0..len.div_ceil(extent_bytes) {
                let from = ordinal * extent_bytes;
                let to = len.min(from + extent_bytes);
                let is_parents = to == parent.size_bytes.min(from + extent_bytes) && !changed.has(ordinal);
                if is_parents {
                    // A parent's list that cannot be read ends too early.
                    if !feed.parents_extent(to - from)? {
                        return Ok(false);
                    }
                    continue;
                }
                if !reading.read_held(from, to, &mut bytes) {
                    return Ok(false);
                }
                feed.extent(&bytes)?;
            }
            Ok(true)
        })?;
        let image = if is_read { reading.release(Method::ChangedPages) } else { None };
        Ok(image.map(|image| (image, stored)))
    }

    fn plan<'p>(&self, context: Context<'p>, scratch: &'p Path, expected: Expected<'p>) -> Plan<'p>
    where
        'a: 'p,
    {
        let Context { session, observer, .. } = context;
        // Where nothing is reused every extent is looked up; the parent's are still bases.
        let reuses_parent = session.trust().reuses_parent();
        let is_full_scan = self.parent.is_some() && !reuses_parent;
        let is_small = self.source.file.metadata().is_ok_and(|meta| meta.len() <= DIGESTED_UP_TO);
        let wants_sha256 = is_full_scan || is_small;
        Plan { session, parent: self.parent, reuses_parent, expected, wants_sha256, scratch, observer }
    }

    /// Returns where the whole image goes at once for a set, if none of it can be had from an earlier one.
    fn set_image(&self, context: Context<'_>) -> Result<Option<SetImage>> {
        let Context { session, options, .. } = context;
        let is_new = self.parent.is_none() || !session.trust().reuses_parent();
        let Some(out) = options.out.as_deref().filter(|_| is_new) else { return Ok(None) };
        let GuardedDir { dir, room } = session.store().target(out, options.reserve)?;
        // With a WAL beside it the file's length is not the image's: then only the guard notices.
        let path = self.source.file.as_path();
        let len = path.metadata().map_err(Error::io("look at", path))?.len();
        if !database::has_wal(path) && room.require(len).is_err() {
            return Ok(None);
        }
        Ok(SetImage::create(dir, room).ok())
    }
}

/// Finds the parent's image in the last set: local delta bases for a write-only key.
fn local_copy(
    store: &Store,
    cache: Option<&RunCache>,
    parent: Option<&snapshot::Database>,
    options: &Options,
) -> Option<LocalBases> {
    let parent = parent?;
    let file = File::open(cache?.newest_output(options.out.as_deref()?, "sqlite")?).ok()?;
    let extents = TreeItems::<Piece>::new(store, &parent.root).ok()?;
    let extents = extents.map_while(|piece| match piece {
        Ok(Piece::Data { id, len }) => Some((id, len)),
        _ => None,
    });
    Some(LocalBases::new(file, extents))
}

/// Fails where the disk has no space for the WAL index that SQLite must map: writing to the mapping would raise SIGBUS.
pub(super) fn expect_index(path: &Path) -> Result<()> {
    match database::index_growth(path)? {
        0 => Ok(()),
        bytes => {
            let real = std::fs::canonicalize(path).map_err(Error::io("find", path))?;
            require(real.parent().unwrap_or(&real), bytes)
        }
    }
}

/// Stores the image in `file`; returns the root of its tree and its SHA-256.
pub(in crate::ops) fn store_file(
    session: &WriteSession<'_>,
    file: &mut File,
    parent: Option<&snapshot::Database>,
    scratch: &Path,
    observer: &dyn Observer,
) -> Result<(ChunkId, String)> {
    let failed = |error| Error::io("read an image below", scratch)(error);
    file.rewind().map_err(failed)?;
    let reuses_parent = session.trust().reuses_parent();
    let plan =
        Plan { session, parent, reuses_parent, expected: Expected::Nothing, wants_sha256: true, scratch, observer };
    let ((), stored) = store_image(plan, None, |feed| {
        let mut piece = vec![0; 256 << 10];
        loop {
            match file.read(&mut piece).map_err(failed)? {
                0 => return Ok(()),
                len => feed.bytes(&piece[..len])?,
            }
        }
    })?;
    let root = build_tree(session, &stored.ids, stored.len, parent)?;
    Ok((root, stored.sha256.unwrap_or_default()))
}
