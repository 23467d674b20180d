//! Reading contents: the pieces of a file or an image, in order, and their bytes.

use std::ops::Range;

use super::handle::Store;
use super::prefetch::Prefetched;
use super::tree;
use crate::compression;
use crate::error::{Error, Result};
use crate::format::entry::{Content, Piece};
use crate::id::ChunkId;

/// Finds a piece by its offset in the content, its chunk and length.
type ReadPiece<'r> = dyn FnMut(u64, &ChunkId, usize) -> Result<Vec<u8>> + 'r;

impl Store {
    /// Feeds `len` bytes of a content from `offset` on to `sink`, verified, in order; holes as zeros.
    #[doc(hidden)]
    pub fn read_content(
        &self,
        content: &Content,
        offset: u64,
        len: u64,
        sink: &mut dyn FnMut(&[u8]) -> Result<()>,
    ) -> Result<()> {
        self.read_content_with(content, offset, len, sink, &mut |_, id, _| self.read(id))
    }

    /// As [`Store::read_content`], the chunks from wherever `read` finds them by offset, id and length; it has verified them.
    pub(crate) fn read_content_with(
        &self,
        content: &Content,
        mut offset: u64,
        mut len: u64,
        sink: &mut dyn FnMut(&[u8]) -> Result<()>,
        read: &mut ReadPiece<'_>,
    ) -> Result<()> {
        static ZEROS: [u8; 64 << 10] = [0; 64 << 10];
        let until = offset.saturating_add(len);
        self.walk_pieces(content, offset..until, true, &mut |at, piece| {
            if len == 0 {
                return Ok(false);
            }
            let skip = offset - at;
            let take = (piece.len() - skip).min(len);
            match piece {
                Piece::Data { id, len: stated } => {
                    let bounded = usize::try_from(stated).ok().filter(|len| *len <= compression::MAX_CHUNK);
                    let too_long = || Error::corrupt(format!("chunk {id}"), "is impossibly long");
                    let plain = read(at, &id, bounded.ok_or_else(too_long)?)?;
                    if plain.len() as u64 != stated {
                        return Err(Error::corrupt(format!("chunk {id}"), "has another length than its list says"));
                    }
                    sink(&plain[skip as usize..(skip + take) as usize])?;
                }
                Piece::Hole { .. } => {
                    let mut left = take;
                    while left > 0 {
                        let now = left.min(ZEROS.len() as u64);
                        sink(&ZEROS[..now as usize])?;
                        left -= now;
                    }
                }
            }
            offset += take;
            len -= take;
            Ok(len > 0)
        })?;
        if len == 0 { Ok(()) } else { Err(Error::corrupt("a list of pieces", "ends before its file does")) }
    }

    /// Calls `visit` with each piece that ends after `from`, and its offset, until it returns false.
    pub(crate) fn each_piece(
        &self,
        content: &Content,
        from: u64,
        visit: &mut dyn FnMut(u64, Piece) -> Result<bool>,
    ) -> Result<()> {
        self.walk_pieces(content, from..u64::MAX, false, visit)
    }

    /// As [`Store::each_piece`], for whoever reads each of the pieces: those that come next are on their way meanwhile.
    pub(crate) fn each_piece_read(
        &self,
        content: &Content,
        visit: &mut dyn FnMut(u64, Piece) -> Result<bool>,
    ) -> Result<()> {
        self.walk_pieces(content, 0..u64::MAX, true, visit)
    }

    fn walk_pieces(
        &self,
        content: &Content,
        range: Range<u64>,
        ahead: bool,
        visit: &mut dyn FnMut(u64, Piece) -> Result<bool>,
    ) -> Result<()> {
        let (pieces, mut next): (Box<dyn Iterator<Item = Result<Piece>>>, u64) = match content {
            Content::Inline(pieces) => (Box::new(pieces.iter().copied().map(Ok)), 0),
            Content::Tree(root) => {
                let (pieces, start) = tree::TreeItems::from_weight(self, root, range.start)?;
                (Box::new(pieces), start)
            }
        };
        let placed = pieces.map(|piece| {
            let (at, piece) = (next, piece?);
            let end = at.checked_add(piece.len());
            next = end.ok_or_else(|| Error::corrupt("a list of pieces", "is impossibly long"))?;
            Ok((at, piece))
        });
        let (from, until) = (range.start, range.end);
        let wanted = placed
            .take_while(|placed| placed.as_ref().map_or(true, |(at, _)| *at < until))
            .filter(|placed| placed.as_ref().map_or(true, |(at, piece)| at + piece.len() > from));
        for placed in Prefetched::new(self, ahead, wanted) {
            let (at, piece) = placed?;
            if !visit(at, piece)? {
                break;
            }
        }
        Ok(())
    }
}
