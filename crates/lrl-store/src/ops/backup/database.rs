//! The database half of a backup: nothing where it is provably the same; else one consistent image, staged, cut into extents, and each
//! changed extent kept as a delta against the one that stood there.

use std::fs::File;
use std::io::{Read, Seek, Write};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use rayon::prelude::*;
use sha2::{Digest, Sha256};

use super::moved::PageMap;
use super::{DatabaseRead, History, Options};
use crate::codec::MAX_BASES;
use crate::error::{Error, Result};
use crate::format::entry::{Piece, Time};
use crate::format::snapshot;
use crate::id::ChunkId;
use crate::progress::{Observer, Problem, checkpoint};
use crate::sqlite::{self, Image, ImageSink, ReadOptions};
use crate::storage::local::temporary_file;
use crate::store::cache::Cache;
use crate::store::session::Session;
use crate::store::tree::{Builder, Items};

/// Bytes of extents that are hashed and encoded at once.
const BATCH_BYTES: usize = 4 << 20;

pub(super) struct Half {
    pub record: snapshot::Database,
    /// The image as a file, if it had to be copied.
    pub staged: Option<tempfile::NamedTempFile>,
    pub read: Option<DatabaseRead>,
}

pub(super) fn keep(
    session: &Session<'_>,
    cache: Option<&Cache>,
    history: &History,
    options: &Options,
    problems: &mut Vec<Problem>,
    observer: &dyn Observer,
) -> Result<Option<Half>> {
    let Some(path) = options.database.as_deref() else { return Ok(None) };
    if !path.try_exists().map_err(Error::io("look at", path))? {
        super::report(problems, observer, path, "Database not found", true);
        return Ok(None);
    }
    let shown = path.display().to_string();
    let parent = history.database.as_ref().map(|(_, half)| half);
    let before = sqlite::observe(path)?;
    let settled = before.as_ref().is_some_and(|state| state.is_settled(options.now));
    let distrust = options.rescan || session.doubts();
    let known = cache.filter(|_| !distrust).and_then(|cache| cache.database(&options.source));
    if let (Some(state), Some(parent), Some(known)) = (&before, parent, known)
        && known == (state.clone(), parent.root)
        // A copy whose schema could not be read is tried, and complained about, each time.
        && parent.tables.is_some()
    {
        let record = snapshot::Database { path: shown, ..parent.clone() };
        return Ok(Some(Half { record, staged: None, read: None }));
    }
    let mut staged = Staged { file: temporary_file(&options.scratch)?, observer };
    let image = sqlite::read_image(
        path,
        &ReadOptions { busy: options.busy, scratch: &options.scratch },
        &mut staged,
        observer,
    )?;
    let (root, sha256) = store_image(session, staged.file.as_file_mut(), &image, parent, distrust, observer)?;
    // Only if nothing was committed since the first look does that look describe this image.
    let same = settled && before.is_some() && sqlite::observe(path)? == before;
    if let Some(cache) = cache {
        let _ = cache.put_database(&options.source, before.as_ref().filter(|_| same).map(|state| (state, &root)));
    }
    if let Some(error) = &image.schema_error {
        super::report(
            problems,
            observer,
            path,
            &format!("its schema cannot be read ({error}); the copy is kept, unverified"),
            true,
        );
    }
    let meta = path.metadata().map_err(Error::io("look at", path))?;
    let record = snapshot::Database {
        path: shown,
        size_bytes: image.size_bytes,
        sha256,
        root,
        page_size: image.page_size,
        change_counter: image.change_counter,
        tables: image.tables,
        mode: meta.mode() & 0o777,
        uid: meta.uid(),
        gid: meta.gid(),
        mtime: Time { secs: meta.mtime(), nanos: meta.mtime_nsec() as u32 },
    };
    let read = DatabaseRead { locked: image.locked, method: image.method, schema_error: image.schema_error };
    Ok(Some(Half { record, staged: Some(staged.file), read: Some(read) }))
}

struct Staged<'a> {
    file: tempfile::NamedTempFile,
    observer: &'a dyn Observer,
}

impl Staged<'_> {
    fn path(&self) -> &Path {
        self.file.path()
    }
}

impl ImageSink for Staged<'_> {
    fn bytes(&mut self, piece: &[u8]) -> Result<()> {
        self.file.write_all(piece).map_err(Error::io("write", self.path()))?;
        self.observer.advance(piece.len() as u64, 0);
        Ok(())
    }

    fn restart(&mut self) -> Result<()> {
        let file = self.file.as_file_mut();
        file.set_len(0).and_then(|()| file.rewind()).map_err(Error::io("write", self.file.path()))
    }
}

/// Cuts the staged image into extents and keeps the new ones; returns the root of their tree and the image's SHA-256. With `distrust`
/// the parent's own extents are looked up as well.
pub(in crate::ops) fn store_image(
    session: &Session<'_>,
    image: &mut File,
    shape: &Image,
    parent: Option<&snapshot::Database>,
    distrust: bool,
    observer: &dyn Observer,
) -> Result<(ChunkId, String)> {
    let fail = |e| Error::Io { op: "read back", path: "the staged copy of the database".into(), source: e };
    image.rewind().map_err(fail)?;
    let store = session.store();
    let extent_bytes = store.config().chunking.extent_bytes as usize;
    // Trouble with the parent only costs space: its extents are bases, never contents.
    let mut old = parent.and_then(|parent| Items::<Piece>::new(store, &parent.root).ok());
    let moved = match parent {
        Some(parent) => PageMap::if_moved(store, parent, image, shape.size_bytes, observer).unwrap_or_default(),
        None => None,
    };
    checkpoint(observer)?;
    let bases = |extent: &[u8], old: Option<ChunkId>| {
        let found = moved.as_ref().map(|map| map.bases(extent, MAX_BASES)).unwrap_or_default();
        if found.is_empty() { old.into_iter().collect() } else { found }
    };
    let mut builder = Builder::new(session, parent.map(|parent| parent.root));
    let mut sha = Sha256::new();
    let mut batch = vec![0; BATCH_BYTES];
    let mut left = shape.size_bytes;
    while left > 0 {
        checkpoint(observer)?;
        batch.truncate(left.min(BATCH_BYTES as u64) as usize);
        image.read_exact(&mut batch).map_err(fail)?;
        left -= batch.len() as u64;
        let extents: Vec<(&[u8], Option<ChunkId>)> = batch
            .chunks(extent_bytes)
            .map(|extent| match old.as_mut().and_then(Iterator::next) {
                Some(Ok(Piece::Data { id, .. })) => (extent, Some(id)),
                _ => (extent, None),
            })
            .collect();
        let keep = || {
            extents
                .par_iter()
                .map(|(extent, old)| {
                    // The parent is complete: what it holds need not be looked up.
                    let id = ChunkId::of(extent);
                    if *old == Some(id) && !distrust { Ok(id) } else { session.put(extent, &bases(extent, *old)) }
                })
                .collect::<Result<Vec<ChunkId>>>()
        };
        let (ids, ()) = rayon::join(keep, || sha.update(&batch));
        for (id, (extent, _)) in ids?.into_iter().zip(&extents) {
            builder.push(Piece::Data { id, len: extent.len() as u64 })?;
        }
    }
    Ok((builder.finish()?, crate::set::hex(&sha.finalize())))
}
