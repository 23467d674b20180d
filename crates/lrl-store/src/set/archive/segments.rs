//! Where an archive is cut into segments, and the key of each. A cut depends only on entries next to it, so that a change far away moves no
//! other cut; a key identifies a segment's bytes without reading any content.

use std::sync::Arc;

use super::deflate::CODER;
use super::tar;
use crate::error::{Error, Result};
use crate::format::bytes::put_varint;
use crate::format::entry::{Content, Entry, Kind, Piece};
use crate::format::xattr::bytes_of;
use crate::id::{Hasher, digest};
use crate::progress::Problem;
use crate::set::archive::model::Contents;

/// A file from this size on has segments of its own; smaller ones share a bundle.
const LARGE: u64 = 512 << 10;
/// No segment holds more plain bytes, but for a header longer than usual.
pub(crate) const SEGMENT_MAX: u64 = 2 << 20;
/// No cut by content comes earlier than this after the one before.
const SEGMENT_MIN: u64 = 256 << 10;
/// Mean distance from there to the next cut by content.
const SEGMENT_SPREAD: u64 = 768 << 10;
/// What a member's headers add to a bundle: ustar header, PAX header and its records.
const HEADER_WEIGHT: u64 = 3 * tar::BLOCK as u64;

/// One member of a bundle.
#[derive(Debug)]
pub(crate) struct Item {
    pub entry: Entry,
    /// False for a large file: its contents are the segments that follow.
    pub with_contents: bool,
}

/// What a segment is made from.
#[derive(Debug)]
pub(crate) enum Plan {
    /// Whole members, the last perhaps only its headers.
    Bundle(Vec<Item>),
    /// A run of a large file's bytes, then padding.
    Part { entry: Arc<Entry>, offset: u64, len: u64, hole: bool, padding: usize },
    /// The blocks that end the archive.
    End,
}

/// A segment to be made or reused.
#[derive(Debug)]
pub(crate) struct Segment {
    pub key: [u8; 32],
    pub plan: Plan,
    /// The approximate number of its plain bytes.
    pub weight: u64,
    /// Regular files that begin in it.
    pub files: u64,
    /// Bytes of regular files in it.
    pub bytes: u64,
}

/// Cuts a list of entries into segments and hands each to `emit`.
pub(crate) struct Planner<'a> {
    contents: &'a dyn Contents,
    items: Vec<Item>,
    weight: u64,
    scratch: Vec<u8>,
}

/// Receives segments in order.
pub(crate) type Emit<'e> = dyn FnMut(Segment) -> Result<()> + 'e;

impl<'a> Planner<'a> {
    pub(crate) fn new(contents: &'a dyn Contents) -> Self {
        Self { contents, items: Vec::new(), weight: 0, scratch: Vec::new() }
    }

    /// Takes the next entry; returns a note if it does not belong into an archive.
    pub(crate) fn add(&mut self, mut entry: Entry, emit: &mut Emit<'_>) -> Result<Option<Problem>> {
        match &entry.kind {
            Kind::Symlink { target } if leads_outside(&entry.path, target, self.contents)? => {
                return Ok(Some(Problem {
                    path: String::from_utf8_lossy(&entry.path).into_owned(),
                    reason: "is a link that leads outside the uploads: the archive leaves it out".into(),
                    lost: false,
                }));
            }
            Kind::Hardlink { target } => {
                let first = self.contents.find(target)?.map(|entry| (entry.kind, entry.xattrs));
                let Some((kind @ Kind::File { .. }, xattrs)) = first else {
                    let name = String::from_utf8_lossy(&entry.path);
                    return Err(Error::corrupt(name, "is a hard link to a file that is not in the list"));
                };
                entry.kind = kind;
                entry.xattrs = xattrs;
            }
            _ => {}
        }
        let large = entry.size() >= LARGE;
        let links = if let Kind::Symlink { target } = &entry.kind { target.len() } else { 0 };
        let contents = if large { 0 } else { entry.size() + tar::padding(entry.size()) as u64 };
        let names = entry.path.len() + links + bytes_of(&entry.xattrs);
        let weight = HEADER_WEIGHT + names as u64 + contents;
        let full = self.weight + weight > SEGMENT_MAX;
        if full || self.weight >= SEGMENT_MIN && is_cut(&entry.path, weight) {
            self.end_bundle(emit)?;
        }
        self.weight += weight;
        if !large {
            self.items.push(Item { entry, with_contents: true });
            return Ok(None);
        }
        self.items.push(Item { entry: entry.clone(), with_contents: false });
        self.end_bundle(emit)?;
        self.parts(entry, emit)?;
        Ok(None)
    }

    /// Emits what is left and the archive's end.
    pub(crate) fn finish(mut self, emit: &mut Emit<'_>) -> Result<()> {
        self.end_bundle(emit)?;
        let key = key_of("end").finish();
        emit(Segment { key, plan: Plan::End, weight: tar::END.len() as u64, files: 0, bytes: 0 })
    }

    fn end_bundle(&mut self, emit: &mut Emit<'_>) -> Result<()> {
        if self.items.is_empty() {
            return Ok(());
        }
        let items = std::mem::take(&mut self.items);
        let mut hasher = key_of("bundle");
        let (mut files, mut bytes) = (0, 0);
        for item in &items {
            self.scratch.clear();
            item.entry.encode(&mut self.scratch);
            self.scratch.push(item.with_contents.into());
            hasher.update(&(self.scratch.len() as u64).to_le_bytes()).update(&self.scratch);
            files += u64::from(matches!(item.entry.kind, Kind::File { .. }));
            bytes += if item.with_contents { item.entry.size() } else { 0 };
        }
        let weight = std::mem::take(&mut self.weight);
        emit(Segment { key: hasher.finish(), plan: Plan::Bundle(items), weight, files, bytes })
    }

    /// Cuts a large file where its pieces end, so that parts stay the same when bytes are put in before them.
    fn parts(&mut self, entry: Entry, emit: &mut Emit<'_>) -> Result<()> {
        let entry = Arc::new(entry);
        let mut parts = Parts::new(entry.clone());
        match &entry.kind {
            Kind::File { content: Content::Inline(pieces), .. } => {
                pieces.iter().try_for_each(|piece| parts.add(*piece, emit))?;
            }
            _ => self.contents.pieces(&entry, &mut |piece| parts.add(piece, emit))?,
        }
        parts.finish(emit)
    }
}

/// Groups the pieces of one large file.
struct Parts {
    entry: Arc<Entry>,
    offset: u64,
    len: u64,
    hole: bool,
    pieces: Vec<u8>,
}

impl Parts {
    fn new(entry: Arc<Entry>) -> Self {
        Self { entry, offset: 0, len: 0, hole: true, pieces: Vec::new() }
    }

    fn add(&mut self, piece: Piece, emit: &mut Emit<'_>) -> Result<()> {
        if self.len > 0 && (self.len >= SEGMENT_MIN || self.len + piece.len() > SEGMENT_MAX) {
            self.emit(0, emit)?;
        }
        // Equal parts of a long chunk rather than a full part and a crumb; a hole has parts of full length.
        let count = piece.len().div_ceil(SEGMENT_MAX).max(1);
        let step = if matches!(piece, Piece::Hole { .. }) { SEGMENT_MAX } else { piece.len().div_ceil(count) };
        let mut at = 0;
        while at < piece.len() {
            let len = step.min(piece.len() - at);
            if at > 0 {
                self.emit(0, emit)?;
            }
            match piece {
                Piece::Data { id, .. } => {
                    self.pieces.push(1);
                    self.pieces.extend_from_slice(id.as_bytes());
                    put_varint(&mut self.pieces, at);
                    self.hole = false;
                }
                Piece::Hole { .. } => self.pieces.push(0),
            }
            put_varint(&mut self.pieces, len);
            self.len += len;
            at += len;
        }
        Ok(())
    }

    fn emit(&mut self, padding: usize, emit: &mut Emit<'_>) -> Result<()> {
        let mut hasher = key_of("part");
        hasher.update(&(padding as u64).to_le_bytes()).update(&self.pieces);
        let (offset, len, hole) = (self.offset, self.len, self.hole);
        self.pieces.clear();
        (self.offset, self.len, self.hole) = (offset + len, 0, true);
        let plan = Plan::Part { entry: self.entry.clone(), offset, len, hole, padding };
        emit(Segment { key: hasher.finish(), plan, weight: len + padding as u64, files: 0, bytes: len })
    }

    fn finish(mut self, emit: &mut Emit<'_>) -> Result<()> {
        let size = self.entry.size();
        if self.offset + self.len != size {
            let name = String::from_utf8_lossy(&self.entry.path);
            return Err(Error::corrupt(name, format!("its pieces do not add up to its size of {size} bytes")));
        }
        self.emit(tar::padding(size), emit)
    }
}

fn key_of(kind: &str) -> Hasher {
    let mut hasher = Hasher::new();
    hasher.update(CODER.as_bytes()).update(b"\0").update(kind.as_bytes()).update(b"\0");
    hasher
}

/// Returns whether a bundle ends before this entry: the heavier the entry, the likelier, so that cuts are even in bytes.
fn is_cut(path: &[u8], weight: u64) -> bool {
    let [a, b, c, d, ..] = digest(path);
    u64::from(u32::from_le_bytes([a, b, c, d])) * SEGMENT_SPREAD < weight << 32
}

/// Returns whether a link's target is absolute or climbs out of the root (`assets`, `storage`, or that of a site) that the link is in.
fn leads_outside(path: &[u8], target: &[u8], contents: &dyn Contents) -> Result<bool> {
    if target.first().is_none_or(|b| *b == b'/') {
        return Ok(true);
    }
    let mut place: Vec<&[u8]> = path.split(|b| *b == b'/').collect();
    place.pop();
    // Of a site the root has no name: a link may lie in it, and lead to it.
    let least = if contents.is_site() { 0 } else { 1 };
    if place.len() < least {
        return Ok(true);
    }
    let mut climbed_down = false;
    for part in target.split(|b| *b == b'/') {
        match part {
            b"" | b"." => {}
            b".." => {
                // Up from what may itself be a link leads to where only the file system knows.
                if climbed_down {
                    let here = contents.find(&place.join(&b'/'))?;
                    if !here.is_some_and(|entry| entry.kind == Kind::Dir) {
                        return Ok(true);
                    }
                }
                if place.len() <= least {
                    return Ok(true);
                }
                place.pop();
            }
            _ => {
                climbed_down = true;
                place.push(part);
            }
        }
    }
    Ok(false)
}
