//! Stores the few extents of a database that may have changed since the parent. Neither the others nor the list's nodes of them are read, so
//! that it takes as long whatever the size of the database.

use std::ops::Range;

use rayon::prelude::*;

use super::context::Context;
use crate::budget::FEW_EXTENTS;
use crate::error::{Error, Result};
use crate::format::entry::Piece;
use crate::format::snapshot;
use crate::id::ChunkId;
use crate::progress::checkpoint;
use crate::source::database::{ExtentSet, Image, Method, Reading};
use crate::store::tree::edit::{replace_pieces, visit_pieces};

/// More extents than this are stored while they are read, as a whole image is.
const MOST: u64 = 4096;

/// Stores the extents, and returns the image with the root of its list; `None` where the image is not as long as the parent's, or the parent's
/// list or one of the extents cannot be read so.
pub(super) fn store(
    context: Context<'_>,
    reading: &mut Reading<'_>,
    parent: &snapshot::Database,
    changed: &ExtentSet,
) -> Result<Option<(Image, ChunkId)>> {
    let Context { session, observer, .. } = context;
    let store = session.store();
    let extent_bytes = u64::from(store.config().chunking.extent_bytes);
    let len = parent.size_bytes;
    let has_length = reading.held_size().is_some_and(|(held, _)| held == len);
    if !has_length || !store.can_read() || changed.len() > MOST {
        return Ok(None);
    }
    let wanted = |bytes: Range<u64>| changed.has_any(bytes.start / extent_bytes..bytes.end.div_ceil(extent_bytes));
    let mut old: Vec<(u64, u64, ChunkId)> = Vec::new();
    let mut is_cut_so = true;
    let looked = visit_pieces(store, &parent.root, &wanted, &mut |at, piece| match piece {
        Piece::Data { id, len: of_piece }
            if at % extent_bytes == 0 && of_piece == extent_bytes.min(len - at.min(len)) =>
        {
            old.push((at, of_piece, id));
        }
        _ => is_cut_so = false,
    });
    match looked {
        Err(error) if error.is_damage() => return Ok(None),
        looked => looked?,
    }
    if !is_cut_so || old.len() as u64 != changed.len() {
        return Ok(None);
    }
    let mut ids = Vec::with_capacity(old.len());
    for batch in old.chunks(FEW_EXTENTS) {
        checkpoint(observer)?;
        let mut extents = Vec::with_capacity(batch.len());
        for &(at, of_piece, id) in batch {
            let mut bytes = Vec::with_capacity(extent_bytes as usize);
            if !reading.read_held(at, at + of_piece, &mut bytes) {
                return Ok(None);
            }
            observer.advance(of_piece, 0);
            extents.push((id, bytes));
        }
        let put = |(old, plain): &(ChunkId, Vec<u8>)| session.put(plain, &[*old]);
        ids.extend(extents.par_iter().map(put).collect::<Result<Vec<_>>>()?);
    }
    let Some(image) = reading.release(Method::ChangedPages) else { return Ok(None) };
    observer.advance(len.saturating_sub(old.iter().map(|(_, of_piece, _)| of_piece).sum()), 0);
    let mut ids = ids.into_iter();
    let root = replace_pieces(session, &parent.root, &wanted, &mut |_, piece| {
        let again = || Error::corrupt("the list of the parent's extents", "reads differently a second time");
        Ok(Piece::Data { id: ids.next().ok_or_else(again)?, len: piece.len() })
    })?;
    Ok(Some((image, root)))
}
