//! How a new chunk is encoded: as a delta, compressed or as it is, whichever is smallest.

use std::sync::Arc;

use crate::compression::{self, Encoding};
use crate::error::{Error, Result};
use crate::format::pack::Record;
use crate::id::ChunkId;

/// What a delta is taken against.
pub(super) struct Bases {
    /// What they hold; at least one.
    pub contents: Vec<Arc<Vec<u8>>>,
    /// Their ids.
    pub ids: Vec<ChunkId>,
    /// Of the delta.
    pub depth: u8,
    /// They are the root of a chain that is too long: a delta must be worth more.
    pub rerooted: bool,
}

impl Bases {
    /// Encodes a chunk against them, if that is smaller than the chunk.
    pub(crate) fn delta(self, plain: &[u8]) -> Option<Delta> {
        let contents: Vec<&[u8]> = self.contents.iter().map(|content| content.as_slice()).collect();
        let encoded = compression::compress_delta(plain, &contents)?;
        Some(Delta { encoded, bases: self })
    }
}

/// A chunk that is encoded as a delta.
pub(super) struct Delta {
    encoded: Vec<u8>,
    bases: Bases,
}

impl Delta {
    fn is_worth(&self, full_len: usize) -> bool {
        let cost = self.encoded.len() + 64 * self.bases.ids.len();
        if self.bases.rerooted { cost <= full_len / 2 } else { cost < full_len }
    }
}

/// Takes the delta or the chunk in full, whichever is smaller. Without bytes it is stored as it is.
pub(super) fn encode(id: ChunkId, plain: &[u8], delta: Option<Delta>) -> Result<(Option<Vec<u8>>, Record)> {
    let plain_len = u32::try_from(plain.len()).ok().filter(|len| *len as usize <= compression::MAX_CHUNK);
    let plain_len = plain_len.ok_or_else(|| Error::refused(format!("a chunk of {} bytes is too long", plain.len())))?;
    // A delta this good needs no comparison with the full encoding, which would cost as much again.
    let full = match &delta {
        Some(delta) if !delta.bases.rerooted && delta.encoded.len() < plain.len() / 8 => None,
        _ => Some(compression::compress(plain)),
    };
    let full_len = full.as_ref().map(|full| full.as_ref().map_or(plain.len(), Vec::len));
    Ok(match (delta, full) {
        (Some(delta), _) if full_len.is_none_or(|full| delta.is_worth(full)) => {
            let record = whole(id, plain_len, delta.encoded.len(), Encoding::Delta);
            (Some(delta.encoded), Record { depth: delta.bases.depth, bases: delta.bases.ids, ..record })
        }
        (_, Some(Some(full))) => {
            let record = whole(id, plain_len, full.len(), Encoding::Zstd);
            (Some(full), record)
        }
        _ => (None, whole(id, plain_len, plain.len(), Encoding::Stored)),
    })
}

/// Describes a chunk without bases.
pub(super) fn whole(id: ChunkId, plain_len: u32, encoded_len: usize, encoding: Encoding) -> Record {
    Record { id, encoded_len: encoded_len as u32, plain_len, encoding, depth: 0, bases: Vec::new() }
}
