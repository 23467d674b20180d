//! What a run may reuse without reading it.

/// What may be reused without reading it, from the most to the least.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub(crate) enum Trust {
    /// What is proved to be unchanged is reused with all that the parent snapshot says of it; a chunk that the index lists is known.
    Proved,
    /// Nothing is reused from a parent: the whole source is read, and each chunk looked up. A chunk that the index lists is known.
    CheckEachChunk,
    /// The whole source is read, and a chunk is known only once it has been read back: what the store has lost is stored again.
    ReadEverything,
}

impl Trust {
    /// Returns whether what a parent holds may be reused without looking at each chunk.
    #[must_use]
    pub(crate) fn reuses_parent(self) -> bool {
        self == Self::Proved
    }

    pub(super) fn from_u8(value: u8) -> Self {
        match value {
            0 => Self::Proved,
            1 => Self::CheckEachChunk,
            _ => Self::ReadEverything,
        }
    }
}
