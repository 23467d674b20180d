//! Where the copies of a chunk are.

use crate::format::pack::Record;
use crate::id::PackId;

/// Where one copy of a chunk is.
#[derive(Debug, Clone)]
pub struct Location {
    /// The pack.
    pub pack: PackId,
    /// Byte offset in it.
    pub offset: u64,
    /// How it is encoded.
    pub record: Record,
}

/// The place of a record in the index: tells one copy of a chunk from every other without its id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct IndexSlot {
    /// The first bytes of the index's id; 0 for what was read from the packs themselves.
    pub file: u64,
    /// The record's number there; numbers have gaps, but are at most 128 times the index's blocks.
    pub at: u64,
}

impl IndexSlot {
    /// Returns whether no index lists it: it was read from the packs themselves.
    pub(crate) fn is_pack_scan(self) -> bool {
        self.file == 0
    }
}

/// One copy of a chunk.
#[derive(Debug, Clone)]
pub struct ChunkCopy {
    /// Its record.
    pub slot: IndexSlot,
    /// Where its bytes are.
    pub place: Location,
}
