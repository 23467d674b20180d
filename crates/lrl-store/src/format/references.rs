//! What snapshots and the items of their lists refer to: the one place that says so. Prune deletes what nothing here names, so every match
//! names every variant and every field: a new one does not compile until it is decided here.

use super::entry::{Content, Entry, Kind, Piece};
use super::snapshot::{Database, Files, Snapshot};
use super::xattr::bytes_of;
use crate::id::ChunkId;

/// A reference from an item of a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reference<'a> {
    /// To a chunk of contents.
    Chunk {
        /// The chunk.
        id: &'a ChunkId,
        /// Its plain length in bytes, as the item says.
        len: u64,
    },
    /// To a list of pieces.
    Pieces {
        /// The list's root node.
        root: &'a ChunkId,
        /// The length of the file in bytes, as the item says.
        size: u64,
    },
}

impl<'a> Reference<'a> {
    /// Returns the chunk that it names: one of contents, or a root node.
    pub(crate) fn id(&self) -> &'a ChunkId {
        match self {
            Self::Chunk { id, .. } => id,
            Self::Pieces { root, .. } => root,
        }
    }
}

/// What refers to chunks.
pub(crate) trait References {
    /// Calls `visit` with each reference, in order, until one fails.
    fn each_reference<E>(&self, visit: &mut dyn FnMut(Reference<'_>) -> Result<(), E>) -> Result<(), E>;
    /// Returns how many bytes it holds beside references and names, for queues that are bounded in bytes.
    fn attached_bytes(&self) -> u64 {
        0
    }
}

impl References for Piece {
    fn each_reference<E>(&self, visit: &mut dyn FnMut(Reference<'_>) -> Result<(), E>) -> Result<(), E> {
        match self {
            Self::Data { id, len } => visit(Reference::Chunk { id, len: *len }),
            Self::Hole { len: _ } => Ok(()),
        }
    }
}

impl References for Entry {
    fn each_reference<E>(&self, visit: &mut dyn FnMut(Reference<'_>) -> Result<(), E>) -> Result<(), E> {
        let Self { path: _, kind, mode: _, uid: _, gid: _, mtime: _, xattrs: _ } = self;
        match kind {
            Kind::File { size: _, content: Content::Inline(pieces) } => {
                pieces.iter().try_for_each(|piece| piece.each_reference(visit))
            }
            Kind::File { size, content: Content::Tree(root) } => visit(Reference::Pieces { root, size: *size }),
            Kind::Dir | Kind::Symlink { target: _ } | Kind::Hardlink { target: _ } => Ok(()),
        }
    }
    fn attached_bytes(&self) -> u64 {
        bytes_of(&self.xattrs) as u64
    }
}

/// The roots of a snapshot's lists.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Roots<'a> {
    /// The list of each database's pieces.
    pub databases: Vec<&'a ChunkId>,
    /// The list of the files' entries.
    pub files: Option<&'a ChunkId>,
}

impl Snapshot {
    /// Returns the roots of its lists: all that it needs to be read.
    pub(crate) fn roots(&self) -> Roots<'_> {
        let Self {
            databases,
            files,
            root: _,
            window_us: _,
            duration_ms: _,
            format: _,
            source: _,
            sequence: _,
            parents: _,
            timestamp: _,
            created: _,
            host: _,
            tags: _,
            program: _,
            packs: _,
            added_bytes: _,
            original: _,
            avoids: _,
            problems: _,
            shrunk: _,
        } = self;
        Roots { databases: databases.iter().map(Database::list).collect(), files: files.as_ref().map(Files::list) }
    }
}

impl Database {
    fn list(&self) -> &ChunkId {
        let Self {
            root,
            path: _,
            source_path: _,
            size_bytes: _,
            sha256: _,
            page_size: _,
            change_counter: _,
            used_pages: _,
            tables: _,
            mode: _,
            uid: _,
            gid: _,
            mtime: _,
            xattrs: _,
        } = self;
        root
    }
}

impl Files {
    fn list(&self) -> &ChunkId {
        let Self { list, roots: _, entries: _, files: _, bytes: _, archive: _ } = self;
        list
    }
}

#[cfg(test)]
mod tests {
    use super::{Reference, References};
    use crate::format::entry::{Content, Entry, INLINE_PIECES, Kind, Piece};
    use crate::id::ChunkId;
    use crate::time::Time;

    fn entry(kind: Kind) -> Entry {
        Entry {
            path: b"assets/a".to_vec(),
            kind,
            mode: 0o644,
            uid: 0,
            gid: 0,
            mtime: Time { secs: 1, nanos: 0 },
            xattrs: Vec::new(),
        }
    }

    /// One of each kind; a new one does not compile until it is here.
    fn every_kind(ids: &[ChunkId]) -> Vec<Kind> {
        let one_more = |kind: Option<&Kind>| match kind {
            None => Some(Kind::Dir),
            Some(Kind::Dir) => Some(Kind::Symlink { target: b"b".to_vec() }),
            Some(Kind::Symlink { .. }) => Some(Kind::Hardlink { target: b"assets/b".to_vec() }),
            Some(Kind::Hardlink { .. }) => {
                let pieces = ids.iter().take(INLINE_PIECES - 1).map(|id| Piece::Data { id: *id, len: 3 });
                let content = Content::Inline(pieces.chain([Piece::Hole { len: 7 }]).collect());
                Some(Kind::File { size: 100, content })
            }
            Some(Kind::File { content: Content::Inline(_), .. }) => {
                Some(Kind::File { size: 5, content: Content::Tree(ids[0]) })
            }
            Some(Kind::File { content: Content::Tree(_), .. }) => None,
        };
        let mut kinds: Vec<Kind> = Vec::new();
        while let Some(kind) = one_more(kinds.last()) {
            kinds.push(kind);
        }
        kinds
    }

    fn visited(item: &impl References) -> Vec<ChunkId> {
        let mut found = Vec::new();
        let done: Result<(), ()> = item.each_reference(&mut |reference: Reference<'_>| {
            found.push(*reference.id());
            Ok(())
        });
        assert_eq!(done, Ok(()));
        found
    }

    #[test]
    fn every_id_in_an_items_encoding_is_visited() {
        let ids: Vec<ChunkId> = (0..20u8).map(|n| ChunkId::of(&[n])).collect();
        let in_bytes = |bytes: &[u8]| -> Vec<ChunkId> {
            bytes.windows(32).filter_map(|w| ids.iter().find(|id| id.as_bytes() == w)).copied().collect()
        };
        let kinds = every_kind(&ids);
        assert_eq!(kinds.len(), 5);
        for kind in kinds {
            let entry = entry(kind);
            let mut bytes = Vec::new();
            entry.encode(&mut bytes);
            assert_eq!(visited(&entry), in_bytes(&bytes), "{:?}", entry.kind);
        }
        for piece in [Piece::Data { id: ids[3], len: 9 }, Piece::Hole { len: 9 }] {
            let mut bytes = Vec::new();
            piece.encode(&mut bytes);
            assert_eq!(visited(&piece), in_bytes(&bytes));
        }
    }

    #[test]
    fn a_visit_ends_at_the_first_failure() {
        let ids: Vec<ChunkId> = (0..3u8).map(|n| ChunkId::of(&[n])).collect();
        let pieces = ids.iter().map(|id| Piece::Data { id: *id, len: 1 }).collect();
        let mut count = 0;
        let done = entry(Kind::File { size: 3, content: Content::Inline(pieces) }).each_reference(&mut |_| {
            count += 1;
            if count == 2 { Err("stop") } else { Ok(()) }
        });
        assert_eq!((done, count), (Err("stop"), 2));
    }
}
