//! What the writing of an archive works on: where contents come from, and the record of each segment by which a later
//! archive reuses it.

use std::fs::File;
use std::sync::Arc;

use crate::error::Result;
use crate::format::entry::{Entry, Piece};

/// Where the bytes of entries come from; called from several threads.
pub(crate) trait Contents: Sync {
    /// Passes `len` bytes from `offset` of a regular file to `sink`, verified, in runs of any length; holes are zeros.
    /// What to read is in `entry.kind`: its path may be that of a hard link.
    fn read(&self, entry: &Entry, offset: u64, len: u64, sink: &mut dyn FnMut(&[u8]) -> Result<()>) -> Result<()>;
    /// Passes the pieces of a file whose content is a tree to `sink`, in order.
    fn pieces(&self, entry: &Entry, sink: &mut dyn FnMut(Piece) -> Result<()>) -> Result<()>;
    /// Looks up an entry of the same list by its path.
    fn find(&self, path: &[u8]) -> Result<Option<Entry>>;
    /// Returns whether the list's paths begin below one root that has no name in them.
    fn is_site(&self) -> bool {
        false
    }
}

/// Where a segment is in an archive, and what proves it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Record {
    /// Names coder, headers and contents of the segment.
    pub key: [u8; 32],
    /// Where its compressed bytes start in the archive file.
    pub offset: u64,
    /// The number of its compressed bytes.
    pub len: u64,
    /// BLAKE3 over the compressed bytes and the other fields but `offset`.
    pub digest: [u8; 32],
    /// CRC-32 of its plain bytes.
    pub crc32: u32,
    /// The number of its plain bytes.
    pub plain_len: u64,
}

/// What is known of segments in earlier archives. A wrong or stale answer costs time only.
pub(crate) trait Segments {
    /// Returns an earlier archive that has this segment, and where.
    fn find(&mut self, key: &[u8; 32]) -> Option<(Arc<File>, Record)>;
    /// Records a segment of the archive that is being written, in order.
    fn record(&mut self, record: &Record) -> Result<()>;
    /// Returns whether all contents will be read because there is no earlier archive.
    fn is_none(&self) -> bool {
        false
    }
}

/// Knows no earlier archive and keeps nothing.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct NoSegments;

impl Segments for NoSegments {
    fn find(&mut self, _: &[u8; 32]) -> Option<(Arc<File>, Record)> {
        None
    }
    fn record(&mut self, _: &Record) -> Result<()> {
        Ok(())
    }
    fn is_none(&self) -> bool {
        true
    }
}
