//! Writes the set's database: its image from the store, verified, or from an earlier image where that has the same bytes.

use std::collections::VecDeque;
use std::fs::File;
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

use rayon::prelude::*;

use super::flush::replaced;
use super::sha256::Sha256Thread;
use crate::compression::MAX_CHUNK;
use crate::error::{Error, Result};
use crate::format::entry::{Content, Piece};
use crate::format::snapshot::Database;
use crate::fs::space::SpaceGuard;
use crate::id::ChunkId;
use crate::progress::{Observer, checkpoint};
use crate::store::Store;

/// Bytes of the extents that are read at once; only a single extent may be longer.
const BATCH_BYTES: usize = 1 << 20;
/// Batches in memory: one is filled and written while the digest of those before is computed.
const BATCHES: usize = 3;

/// Writes the image of `database` to `out`, called `path` in messages, checks it against its SHA-256, and returns that. `earlier` is any earlier image: an
/// extent that has the same bytes at the same offset there is copied, after a comparison of its hash; decoding it is several times slower.
///
/// # Errors
/// [`Error::Corrupt`] or [`Error::Missing`] if the store is damaged, [`Error::NoRoom`] if the disk is full.
pub fn write(
    store: &Store,
    database: &Database,
    earlier: Option<&File>,
    out: &mut dyn Write,
    path: &Path,
    space: &SpaceGuard,
    observer: &dyn Observer,
) -> Result<String> {
    let sha = Sha256Thread::start();
    let mut len = 0;
    // The same memory for all batches: fresh pages from the system for each would cost more than reading does.
    let mut buffers: VecDeque<Arc<Vec<u8>>> = vec![Arc::default(); BATCHES].into();
    let mut flush = |batch: &mut Vec<(u64, ChunkId, usize)>, need: usize| -> Result<()> {
        checkpoint(observer)?;
        let mut buffer = buffers.pop_front().and_then(Arc::into_inner).unwrap_or_default();
        buffer.resize(need, 0);
        let mut rest = buffer.as_mut_slice();
        let mut extents = Vec::with_capacity(batch.len());
        for (at, id, len) in batch.drain(..) {
            let (extent, after) = rest.split_at_mut(len);
            extents.push((at, id, extent));
            rest = after;
        }
        extents.into_par_iter().try_for_each(|(at, id, extent)| fill(store, earlier, at, &id, extent))?;
        if let Some(earlier) = earlier {
            replaced(earlier, len, need as u64);
        }
        let buffer = Arc::new(buffer);
        sha.add(Arc::clone(&buffer))?;
        space.charge(need as u64)?;
        out.write_all(&buffer).map_err(Error::io("write", path))?;
        buffers.push_back(buffer);
        len += need as u64;
        Ok(())
    };
    let (mut batch, mut queued) = (Vec::new(), 0);
    let mut take = |at: u64, piece: Piece| {
        if at.saturating_add(piece.len()) > database.size_bytes {
            return Err(Error::corrupt("the database in the snapshot", "is longer than the snapshot says"));
        }
        let (id, len) = match piece {
            Piece::Data { id, len } if len <= MAX_CHUNK as u64 => (id, len as usize),
            _ => return Err(Error::corrupt("the database in the snapshot", "has no extent at one place")),
        };
        batch.push((at, id, len));
        queued += len;
        if queued >= BATCH_BYTES {
            flush(&mut batch, std::mem::take(&mut queued))?;
        }
        Ok(true)
    };
    let content = Content::Tree(database.root);
    match earlier {
        None => store.each_piece_read(&content, &mut take)?,
        Some(_) => store.each_piece(&content, 0, &mut take)?,
    }
    flush(&mut batch, queued)?;
    let sha256 = sha.finish()?;
    if len == database.size_bytes && database.has_sha256(&sha256) {
        Ok(sha256)
    } else {
        Err(Error::corrupt("the database in the snapshot", "does not match its SHA-256"))
    }
}

fn fill(store: &Store, earlier: Option<&File>, at: u64, id: &ChunkId, extent: &mut [u8]) -> Result<()> {
    if earlier.is_some_and(|file| file.read_exact_at(extent, at).is_ok()) && store.ids().chunk(extent) == *id {
        return Ok(());
    }
    let bytes = store.read(id)?;
    if bytes.len() != extent.len() {
        return Err(Error::corrupt(format!("chunk {id}"), "has another length than its list says"));
    }
    extent.copy_from_slice(&bytes);
    Ok(())
}
