//! One file read, cut and stored.

use std::cell::Cell;

use rayon::prelude::*;

use crate::budget::SHARED_BYTES;
use crate::error::Result;
use crate::format::entry::{Content, INLINE_PIECES, Piece};
use crate::format::xattr::bytes_of;
use crate::fs::xattrs::FoundXattrs;
use crate::progress::{Observer, checkpoint};
use crate::source::files::read::{Part, ReadOutcome, is_database, read_file};
use crate::source::files::walk::Found;
use crate::store::tree::TreeBuilder;
use crate::store::write::WriteSession;

/// The chunks of longer files are stored by several threads, this many bytes at a time. Few files of a batch are that long, so what waits is little.
const SHARED_FROM: u64 = 16 << 20;

/// Bytes of extended attributes that a file keeps until its batch is done; longer ones are read once more then.
const KEPT_XATTRS: usize = 4 << 10;

/// A file as it was stored.
pub(super) struct StoredFile {
    pub outcome: ReadOutcome,
    pub content: Content,
    pub has_holes: bool,
    /// It is a SQLite database: nothing of it was stored.
    pub is_database: bool,
    /// `None` if they are too long to be kept for all files of a batch.
    pub xattrs: Option<FoundXattrs>,
}

thread_local! {
    /// Memory for the bytes of a file, reused from file to file.
    static SCRATCH: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// Reads a file and stores its chunks; a long list of pieces becomes a tree of its own. With `discover` a SQLite database is not stored.
pub(super) fn store_file(
    session: &WriteSession<'_>,
    found: &Found,
    discover: bool,
    observer: &dyn Observer,
) -> Result<StoredFile> {
    if discover && is_database(found) {
        let content = Content::Inline(Vec::new());
        return Ok(StoredFile {
            outcome: ReadOutcome::Whole(found.stat),
            content,
            has_holes: false,
            is_database: true,
            xattrs: Some(FoundXattrs::default()),
        });
    }
    let mut pieces = Pieces::new(session, observer);
    let mut xattrs = Some(FoundXattrs::default());
    let ahead = if found.stat.size >= SHARED_FROM { SHARED_BYTES } else { 0 };
    let mut scratch = SCRATCH.take();
    let outcome = read_file(found, session.store().gear(), &mut scratch, &mut |part| {
        checkpoint(observer)?;
        match part {
            Part::Again => {
                pieces = Pieces::new(session, observer);
                xattrs = Some(FoundXattrs::default());
            }
            Part::Xattrs(found) => xattrs = Some(found).filter(|found| bytes_of(&found.xattrs) <= KEPT_XATTRS),
            Part::Hole(len) => {
                pieces.has_holes = true;
                pieces.store_waiting()?;
                pieces.push(Piece::Hole { len })?;
            }
            Part::Data(bytes) if ahead == 0 => pieces.push(pieces.store(bytes)?)?,
            Part::Data(bytes) => {
                pieces.bytes += bytes.len();
                pieces.waiting.push(bytes.to_vec());
                if pieces.bytes >= ahead {
                    pieces.store_waiting()?;
                }
            }
        }
        Ok(())
    });
    SCRATCH.set(scratch);
    let outcome = outcome?;
    if !matches!(outcome, ReadOutcome::Unreadable(_)) {
        pieces.store_waiting()?;
        observer.advance(0, 1);
    }
    let content = match pieces.tree {
        Some(tree) => Content::Tree(tree.finish()?),
        None => Content::Inline(pieces.list),
    };
    Ok(StoredFile { outcome, content, has_holes: pieces.has_holes, is_database: false, xattrs })
}

/// The pieces of one file so far.
struct Pieces<'a> {
    session: &'a WriteSession<'a>,
    observer: &'a dyn Observer,
    list: Vec<Piece>,
    tree: Option<TreeBuilder<'a, Piece>>,
    has_holes: bool,
    /// Chunks of a long file that several threads will store at once.
    waiting: Vec<Vec<u8>>,
    bytes: usize,
}

impl<'a> Pieces<'a> {
    fn new(session: &'a WriteSession<'a>, observer: &'a dyn Observer) -> Self {
        Self { session, observer, list: Vec::new(), tree: None, has_holes: false, waiting: Vec::new(), bytes: 0 }
    }

    fn store(&self, bytes: &[u8]) -> Result<Piece> {
        self.observer.advance(bytes.len() as u64, 0);
        Ok(Piece::Data { id: self.session.put(bytes, &[])?, len: bytes.len() as u64 })
    }

    fn store_waiting(&mut self) -> Result<()> {
        self.bytes = 0;
        let waiting = std::mem::take(&mut self.waiting);
        let stored: Vec<Piece> = waiting.par_iter().map(|bytes| self.store(bytes)).collect::<Result<_>>()?;
        stored.into_iter().try_for_each(|piece| self.push(piece))
    }

    fn push(&mut self, piece: Piece) -> Result<()> {
        match &mut self.tree {
            Some(tree) => tree.push(piece),
            None if self.list.len() < INLINE_PIECES => {
                self.list.push(piece);
                Ok(())
            }
            None => {
                let tree = self.tree.insert(TreeBuilder::new(self.session, None));
                self.list.drain(..).chain([piece]).try_for_each(|piece| tree.push(piece))
            }
        }
    }
}
