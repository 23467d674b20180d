//! An image cut into extents, and the parent's extents to compare them with: the same cut for a backup and for its dry run.

use std::collections::VecDeque;

use crate::error::Result;
use crate::format::entry::Piece;
use crate::id::ChunkId;
use crate::store::Store;
use crate::store::tree::TreeItems;

/// Up to this many of the parent's extents are looked up before the database is locked (4 GiB of database).
const AHEAD: usize = 64 << 10;

/// Cuts an image into extents of equal length; the last one may be shorter.
pub(super) struct ExtentCutter {
    extent_bytes: usize,
    extent: Vec<u8>,
}

impl ExtentCutter {
    pub(crate) fn new(extent_bytes: u32) -> Self {
        let extent_bytes = extent_bytes as usize;
        Self { extent_bytes, extent: Vec::with_capacity(extent_bytes) }
    }

    /// Takes the next bytes in; `each` gets every extent that is full.
    pub(crate) fn add(&mut self, mut bytes: &[u8], each: &mut dyn FnMut(&[u8]) -> Result<()>) -> Result<()> {
        while !bytes.is_empty() {
            let missing = self.extent_bytes - self.extent.len();
            let (head, rest) = bytes.split_at(missing.min(bytes.len()));
            bytes = rest;
            if head.len() == self.extent_bytes {
                each(head)?;
                continue;
            }
            self.extent.extend_from_slice(head);
            if self.extent.len() == self.extent_bytes {
                each(&self.extent)?;
                self.extent.clear();
            }
        }
        Ok(())
    }

    /// Ends the image.
    pub(crate) fn finish(&mut self, each: &mut dyn FnMut(&[u8]) -> Result<()>) -> Result<()> {
        let last = std::mem::take(&mut self.extent);
        if last.is_empty() { Ok(()) } else { each(&last) }
    }
}

/// The parent's extents in order. An error only costs space: what cannot be compared is stored.
pub(super) struct ParentExtents<'a> {
    store: Option<&'a Store>,
    ahead: VecDeque<ChunkId>,
    rest: Option<TreeItems<'a, Piece>>,
}

impl<'a> ParentExtents<'a> {
    pub(crate) fn new(parent: Option<(&'a Store, ChunkId)>) -> Self {
        let mut old = Self {
            store: parent.map(|(store, _)| store),
            ahead: VecDeque::new(),
            rest: parent.and_then(|(store, root)| TreeItems::new(store, &root).ok()),
        };
        while old.ahead.len() < AHEAD
            && let Some(id) = old.read()
        {
            old.ahead.push_back(id);
        }
        old
    }

    fn read(&mut self) -> Option<ChunkId> {
        match self.rest.as_mut()?.next() {
            Some(Ok(Piece::Data { id, .. })) => Some(id),
            _ => {
                self.rest = None;
                None
            }
        }
    }

    /// Returns whether the next one has these bytes.
    pub(crate) fn has_next(&mut self, extent: &[u8]) -> bool {
        let old = self.next();
        old.is_some_and(|old| self.store.is_some_and(|store| store.ids().chunk(extent) == old))
    }

    /// Returns the next one; `None` after the last, or where the list cannot be read.
    pub(crate) fn next(&mut self) -> Option<ChunkId> {
        self.ahead.pop_front().or_else(|| self.read())
    }
}
