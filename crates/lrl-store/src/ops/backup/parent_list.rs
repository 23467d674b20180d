//! The parent's list of uploads beside the walk, and what it proves: the same decision for a backup and for its dry run.

use std::iter::Peekable;

use crate::error::Result;
use crate::format::entry::{Entry, Kind, compare_paths};
use crate::id::ChunkId;
use crate::source::files::walk::Found;
use crate::store::Store;
use crate::store::run_cache::{FileState, tag};
use crate::store::tree::TreeItems;

/// The entries of the parent's list in order. Its first error ends it.
pub(super) struct ParentList<'a> {
    entries: Option<Peekable<TreeItems<'a, Entry>>>,
}

impl<'a> ParentList<'a> {
    /// That of a source without a parent.
    pub(crate) fn none() -> Self {
        Self { entries: None }
    }

    /// Opens the list at a root, of a store.
    pub(crate) fn open(list: Option<(&'a Store, ChunkId)>) -> Result<Self> {
        let entries = list.map(|(store, root)| TreeItems::new(store, &root)).transpose()?;
        Ok(Self { entries: entries.map(Iterator::peekable) })
    }

    /// Returns the entry of a path; `passed` gets those before it. Paths come in the list's order.
    pub(crate) fn find(&mut self, path: &[u8], passed: &mut dyn FnMut(Entry)) -> Result<Option<Entry>> {
        while let Some(entry) = self.next_if(&|entry| compare_paths(&entry.path, path).is_lt())? {
            passed(entry);
        }
        self.next_if(&|entry| entry.path == path)
    }

    /// Gives `passed` all that is left.
    pub(crate) fn finish(mut self, passed: &mut dyn FnMut(Entry)) -> Result<()> {
        while let Some(entry) = self.next_if(&|_| true)? {
            passed(entry);
        }
        Ok(())
    }

    fn next_if(&mut self, wanted: &dyn Fn(&Entry) -> bool) -> Result<Option<Entry>> {
        let Some(entries) = &mut self.entries else { return Ok(None) };
        let next = entries.next_if(|next| next.as_ref().map_or(true, wanted)).transpose();
        if next.is_err() {
            self.entries = None;
        }
        next
    }
}

/// Returns whether size and mtime are those of an entry: an estimate, no proof.
pub(super) fn looks_unchanged(found: &Found, old: &Entry) -> bool {
    matches!(old.kind, Kind::File { size, .. } if size == found.stat.size) && old.mtime == found.stat.mtime
}

/// Returns whether size, inode, mtime and ctime are what they were when this very entry was made, and were settled then: the bytes are the
/// same.
pub(super) fn is_unchanged(found: &Found, old: &Entry, state: &FileState) -> bool {
    looks_unchanged(found, old)
        && state.ino == found.stat.ino
        && state.ctime == found.stat.ctime
        && state.tag == tag(old)
}
