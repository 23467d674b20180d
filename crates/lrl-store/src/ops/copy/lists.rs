//! Copying lists: each is walked beside an older one that both stores have, so that what did not change is not even looked up, and built anew
//! with the names that its chunks have in the destination. Errors in the older one cost time and space, never data.

use rayon::prelude::*;

use super::chunks::{ChunkCopier, Copying, Stop, reading};
use crate::budget::{BATCH_ENTRIES, BATCH_NAMES_BYTES, COPY_BYTES, COPY_PIECES};
use crate::error::Error;
use crate::format::entry::{Content, Entry, Kind, Piece, compare_paths};
use crate::format::node::Item;
use crate::id::ChunkId;
use crate::store::tree::{TreeBuilder, TreeItems};
use crate::store::write::Trust;

/// A list of the same contents, as the source and as the destination name it.
#[derive(Clone, Copy)]
pub(super) struct Pair {
    pub from: ChunkId,
    pub to: ChunkId,
}

/// The items of such lists, step by step; nothing more once they differ or cannot be read.
struct CommonItems<'s, T>(Option<(TreeItems<'s, T>, TreeItems<'s, T>)>);

impl<'s, T: Item> CommonItems<'s, T> {
    fn new(mover: &ChunkCopier<'s>, pair: Option<Pair>) -> Self {
        // In doubt nothing that the destination has is trusted unread.
        let pair = pair.filter(|_| mover.session.trust() < Trust::ReadEverything);
        let open = |pair: Pair| {
            let there = TreeItems::new(mover.session.store(), &pair.to).ok()?;
            Some((TreeItems::new(mover.from, &pair.from).ok()?, there))
        };
        Self(pair.and_then(open))
    }

    fn next(&mut self) -> Option<(T, T)> {
        let (from, to) = self.0.as_mut()?;
        match (from.next(), to.next()) {
            (Some(Ok(from)), Some(Ok(to))) if from.key() == to.key() && from.weight() == to.weight() => {
                Some((from, to))
            }
            _ => {
                self.0 = None;
                None
            }
        }
    }
}

/// Copies a list of pieces; returns its root in the destination and the bytes of its file.
pub(super) fn pieces(mover: &ChunkCopier<'_>, root: &ChunkId, pair: Option<Pair>) -> Copying<(ChunkId, u64)> {
    let mut beside = CommonItems::<Piece>::new(mover, pair);
    let mut builder = TreeBuilder::new(mover.session, pair.map(|pair| pair.to));
    let mut list = TreeItems::<Piece>::new(mover.from, root).map_err(reading)?;
    let mut total = 0u64;
    loop {
        let (mut batch, mut bytes) = (Vec::with_capacity(COPY_PIECES), 0u64);
        while batch.len() < COPY_PIECES
            && bytes < COPY_BYTES
            && let Some(piece) = list.next()
        {
            let piece = piece.map_err(reading)?;
            bytes = bytes.saturating_add(piece.len());
            batch.push((piece, beside.next()));
        }
        if batch.is_empty() {
            return Ok((builder.finish()?, total));
        }
        let copied: Vec<Piece> =
            batch.into_par_iter().map(|(new, old)| piece(mover, new, old)).collect::<Copying<_>>()?;
        for piece in copied {
            total = total.saturating_add(piece.len());
            builder.push(piece)?;
        }
        mover.seal_often()?;
    }
}

fn piece(mover: &ChunkCopier<'_>, new: Piece, old: Option<(Piece, Piece)>) -> Copying<Piece> {
    match (new, old) {
        (new, Some((before, there))) if new == before => Ok(there),
        (Piece::Data { id, len }, old) => {
            let beside = match old {
                Some((_, Piece::Data { id, .. })) => Some(id),
                _ => None,
            };
            Ok(Piece::Data { id: mover.chunk(&id, len, beside)?, len })
        }
        (hole, _) => Ok(hole),
    }
}

/// What a list of uploads came to.
#[derive(Default)]
pub(super) struct Uploads {
    /// Entries of every kind.
    pub entries: u64,
    /// Files, hard links included.
    pub files: u64,
}

/// Copies a list of entries; returns its root in the destination.
pub(super) fn entries(mover: &ChunkCopier<'_>, root: &ChunkId, pair: Option<Pair>) -> Copying<(ChunkId, Uploads)> {
    let mut beside = CommonItems::<Entry>::new(mover, pair);
    let mut old = beside.next();
    let mut builder = TreeBuilder::new(mover.session, pair.map(|pair| pair.to));
    let mut list = TreeItems::<Entry>::new(mover.from, root).map_err(reading)?;
    let mut found = Uploads::default();
    loop {
        let mut batch: Vec<(Entry, Option<(Kind, Kind)>)> = Vec::new();
        let mut names = 0;
        while batch.len() < BATCH_ENTRIES
            && names < BATCH_NAMES_BYTES
            && let Some(entry) = list.next()
        {
            let entry = entry.map_err(reading)?;
            while old.as_ref().is_some_and(|(before, _)| compare_paths(&before.path, &entry.path).is_lt()) {
                old = beside.next();
            }
            let same = old.take_if(|(before, _)| before.path == entry.path);
            if same.is_some() {
                old = beside.next();
            }
            names += entry.path.len();
            batch.push((entry, same.map(|(before, there)| (before.kind, there.kind))));
        }
        if batch.is_empty() {
            return Ok((builder.finish()?, found));
        }
        for entry in contents(mover, batch)? {
            found.entries += 1;
            found.files += u64::from(matches!(entry.kind, Kind::File { .. } | Kind::Hardlink { .. }));
            builder.push(entry)?;
        }
        mover.seal_often()?;
    }
}

/// Copies the contents of entries; returns the entries as the destination has them.
fn contents(mover: &ChunkCopier<'_>, batch: Vec<(Entry, Option<(Kind, Kind)>)>) -> Copying<Vec<Entry>> {
    let mut done = Vec::with_capacity(batch.len());
    // The pieces of short files, by the places of their entry and of themselves.
    let mut waiting = Vec::new();
    for (mut entry, old) in batch {
        match (&mut entry.kind, old) {
            (kind, Some((before, there))) if *kind == before => *kind = there,
            (Kind::File { content: Content::Inline(pieces), .. }, _) => {
                let at = done.len();
                waiting.extend(pieces.iter().enumerate().map(|(n, piece)| (at, n, *piece)));
            }
            (Kind::File { size, content: Content::Tree(root) }, old) => {
                let (new, total) = pieces(mover, root, tree_pair(old))?;
                if total != *size {
                    let detail = "holds a file whose pieces do not add up to its size";
                    return Err(Stop::Damaged(Error::corrupt(format!("the list of pieces {root}"), detail)));
                }
                *root = new;
            }
            (Kind::Dir | Kind::Symlink { .. } | Kind::Hardlink { .. }, _) => {}
        }
        done.push(entry);
    }
    let mut waiting = waiting.as_slice();
    while !waiting.is_empty() {
        let mut bytes = 0u64;
        let fits = |(_, _, piece): &&(usize, usize, Piece)| {
            let fits = bytes < COPY_BYTES;
            bytes = bytes.saturating_add(piece.len());
            fits
        };
        let count = waiting.iter().take(COPY_PIECES).take_while(fits).count();
        let (part, later) = waiting.split_at(count);
        waiting = later;
        let copied: Vec<Piece> = part.par_iter().map(|(_, _, new)| piece(mover, *new, None)).collect::<Copying<_>>()?;
        for ((at, n, _), piece) in part.iter().zip(copied) {
            if let Kind::File { content: Content::Inline(pieces), .. } = &mut done[*at].kind {
                pieces[*n] = piece;
            }
        }
        mover.seal_often()?;
    }
    Ok(done)
}

fn tree_pair(old: Option<(Kind, Kind)>) -> Option<Pair> {
    match old {
        Some((Kind::File { content: Content::Tree(from), .. }, Kind::File { content: Content::Tree(to), .. })) => {
            Some(Pair { from, to })
        }
        _ => None,
    }
}
