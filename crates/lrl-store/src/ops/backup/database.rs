//! Stores the database: nothing where it is provably the same; otherwise one consistent image, cut into extents, each changed extent as a
//! delta against the one in its place.

use std::fs::File;
use std::io::{Read, Seek};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use rayon::prelude::*;

use super::context::Context;
use super::extents::ParentExtents;
use super::full_scan;
use super::history::History;
use super::image_buffer::{ChangedExtents, IN_MEMORY, ImageBuffer};
use super::options::Options;
use super::page_moves::PageMoves;
use super::report::DatabaseRead;
use crate::compression::MAX_BASES;
use crate::error::{Error, Result};
use crate::format::entry::Piece;
use crate::format::snapshot;
use crate::format::snapshot::DATABASE_NOT_FOUND;
use crate::fs::space::{GuardedDir, SpaceGuard, require};
use crate::id::ChunkId;
use crate::ops::report_problem::report;
use crate::progress::{Observer, Problem, checkpoint};
use crate::source::database;
use crate::source::database::source::DatabaseSource;
use crate::source::database::{Image, ImageSink, State};
use crate::store::Store;
use crate::store::local_bases::LocalBases;
use crate::store::run_cache::RunCache;
use crate::store::tree::{TreeBuilder, TreeItems};
use crate::store::write::WriteSession;
use crate::time::Time;

/// Extents that are encoded at once.
const BATCH_EXTENTS: usize = 64;

pub(super) struct DatabasePart {
    pub record: snapshot::Database,
    /// The image as a file, if all of it had to be copied.
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
    local_bases: Option<LocalBases>,
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
    let [parent, proved] = [parent, proved].map(|part| part.filter(|_| has_bases));
    Ok(Prepared::Changed(Changed { source, before, parent, proved, local_bases }))
}

impl Changed<'_> {
    /// Reads one consistent image and stores it, each changed extent as a delta against the one in its place.
    pub fn store(
        self,
        context: Context<'_>,
        reading: database::Reading<'_>,
        problems: &mut Vec<Problem>,
    ) -> Result<DatabasePart> {
        let Self { source, before, parent, proved, local_bases } = self;
        let Context { session, cache, options, observer } = context;
        let path = source.file.as_path();
        if let Some(bases) = local_bases {
            session.store().set_local_bases(bases);
        }
        // Where nothing is reused every extent is looked up; the parent's are still bases.
        let known = parent.filter(|_| session.trust().reuses_parent());
        let GuardedDir { dir: scratch, room: space } = session.store().target(&options.scratch, options.reserve)?;
        if known.is_none() {
            expect_copy(path, &space)?;
        }
        let mut image_buffer = ImageBuffer::new(session.store(), known, scratch, &space, observer);
        let image = reading.read(&mut image_buffer)?;
        let kept = image_buffer.finish()?;
        let root = store_image(session, &kept, image.page_size, parent, observer)?;
        // Only if nothing was committed since the first look does that look describe this image.
        let is_settled = before.as_ref().is_some_and(|state| state.is_settled(options.now));
        let same = is_settled && database::observe(path)? == before;
        if let Some(cache) = cache {
            let state = before.as_ref().filter(|_| same).map(|state| (state, &root));
            let _ = cache.put_database(&options.source, &source.path, state);
        }
        let changed_unseen =
            same && proved.is_some_and(|parent| full_scan::image_differs(session.store(), parent, &kept));
        if changed_unseen {
            report(problems, observer, path, full_scan::UNSEEN, false);
        }
        if let Some(error) = &image.schema_error {
            let reason = format!("its schema cannot be read ({error}); the copy is kept, unverified");
            report(problems, observer, path, &reason, true);
        }
        let meta = path.metadata().map_err(Error::io("look at", path))?;
        let record = snapshot::Database {
            path: source.path.clone(),
            source_path: path.display().to_string(),
            size_bytes: image.size_bytes,
            sha256: Some(kept.sha256.clone()),
            root,
            page_size: image.page_size,
            change_counter: image.change_counter,
            used_pages: image.used_pages,
            tables: image.tables,
            mode: meta.mode() & 0o777,
            uid: meta.uid(),
            gid: meta.gid(),
            mtime: Time { secs: meta.mtime(), nanos: meta.mtime_nsec() as u32 },
        };
        let Image { locked, method, schema_error, .. } = image;
        let staged = match session.store().can_read() || options.out.is_none() {
            true => kept.into_image(),
            false => kept.into_file(scratch, &space)?,
        };
        let read = Some(DatabaseRead { locked, method, schema_error, changed_unseen });
        Ok(DatabasePart { record, staged, read })
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

/// All of the image is new, so it is copied to disk as soon as it does not fit into memory. With a WAL beside it the file's length is
/// not the image's: then only the guard notices.
fn expect_copy(path: &Path, space: &SpaceGuard) -> Result<()> {
    let mut wal = path.as_os_str().to_os_string();
    wal.push("-wal");
    let has_wal = Path::new(&wal).metadata().is_ok_and(|meta| meta.len() > 0);
    let len = path.metadata().map_err(Error::io("look at", path))?.len();
    if has_wal || len <= IN_MEMORY as u64 { Ok(()) } else { space.require(len) }
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
    page_size: u32,
    parent: Option<&snapshot::Database>,
    scratch: &Path,
    space: &SpaceGuard,
    observer: &dyn Observer,
) -> Result<(ChunkId, String)> {
    let mut image_buffer =
        ImageBuffer::new(session.store(), parent.filter(|_| session.trust().reuses_parent()), scratch, space, observer);
    let mut piece = vec![0; 256 << 10];
    file.rewind().map_err(Error::io("read an image below", scratch))?;
    loop {
        match file.read(&mut piece).map_err(Error::io("read an image below", scratch))? {
            0 => break,
            len => image_buffer.bytes(&piece[..len])?,
        }
    }
    let kept = image_buffer.finish()?;
    Ok((store_image(session, &kept, page_size, parent, observer)?, kept.sha256))
}

/// Stores the extents that were kept; returns the root of the tree of all extents.
fn store_image(
    session: &WriteSession<'_>,
    kept: &ChangedExtents,
    page_size: u32,
    parent: Option<&snapshot::Database>,
    observer: &dyn Observer,
) -> Result<ChunkId> {
    let store = session.store();
    let extent_bytes = u64::from(store.config().chunking.extent_bytes);
    let extents = kept.len.div_ceil(extent_bytes);
    let moved = match parent {
        Some(parent) if parent.page_size == page_size => {
            PageMoves::if_moved(store, parent, kept, extent_bytes, observer).unwrap_or_default()
        }
        _ => None,
    };
    let bases = |extent: &[u8], old: Option<ChunkId>| {
        let found = moved.as_ref().map(|map| map.bases(extent, MAX_BASES)).unwrap_or_default();
        if found.is_empty() { old.into_iter().collect() } else { found }
    };
    let mut builder = TreeBuilder::new(session, parent.map(|parent| parent.root));
    let mut old = ParentExtents::new(parent.map(|parent| (store, parent.root)));
    let mut offset = 0;
    let mut next = 0;
    while next < extents {
        checkpoint(observer)?;
        let mut batch = Vec::new();
        while next < extents && batch.len() < BATCH_EXTENTS {
            let len = extent_bytes.min(kept.len - next * extent_bytes);
            let kept_at = kept.is_kept(next).then_some(offset);
            offset += if kept_at.is_some() { len } else { 0 };
            batch.push((old.next(), len, kept_at));
            next += 1;
        }
        // An extent that was not kept is the parent's, and the parent is complete.
        let ids: Vec<ChunkId> = batch
            .par_iter()
            .map_init(Vec::new, |extent, (old, len, kept_at)| match (kept_at, old) {
                (Some(at), old) => {
                    extent.resize(*len as usize, 0);
                    kept.read_at(*at, extent)?;
                    session.put(extent, &bases(extent, *old))
                }
                (None, Some(id)) => Ok(*id),
                (None, None) => {
                    Err(Error::corrupt("the list of the parent's extents", "reads differently a second time"))
                }
            })
            .collect::<Result<_>>()?;
        for (id, (_, len, _)) in ids.into_iter().zip(batch) {
            builder.push(Piece::Data { id, len })?;
        }
    }
    builder.finish()
}
