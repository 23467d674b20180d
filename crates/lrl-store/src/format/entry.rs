//! One upload: its name, its metadata and where its bytes are. Defines the order of paths.

use std::cmp::Ordering;

use super::bytes::{Reader, put_blob, put_varint};
use super::xattr::{self, Xattrs};
use crate::error::{Error, Result};
use crate::id::ChunkId;
use crate::time::Time;

/// A run of a file's bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Piece {
    /// `len` bytes kept as one chunk.
    Data {
        /// The chunk.
        id: ChunkId,
        /// Its plain length in bytes.
        len: u64,
    },
    /// `len` zero bytes that take no space on disk.
    Hole {
        /// Length in bytes.
        len: u64,
    },
}

impl Piece {
    /// Returns the piece's length in the file, in bytes.
    pub(crate) fn len(&self) -> u64 {
        match self {
            Self::Data { len, .. } | Self::Hole { len } => *len,
        }
    }

    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::Data { id, len } => {
                put_varint(out, len << 1);
                out.extend_from_slice(id.as_bytes());
            }
            Self::Hole { len } => put_varint(out, len << 1 | 1),
        }
    }

    pub(crate) fn decode(reader: &mut Reader<'_>) -> Result<Self> {
        let head = reader.varint()?;
        let len = head >> 1;
        Ok(match head & 1 {
            0 => Self::Data { id: ChunkId::from_bytes(reader.array()?), len },
            _ => Self::Hole { len },
        })
    }
}

/// Where the bytes of a file or database image are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    /// Few pieces, in order.
    Inline(Vec<Piece>),
    /// The root node of a tree of pieces.
    Tree(ChunkId),
}

/// How many pieces a [`Content::Inline`] holds at most.
pub(crate) const INLINE_PIECES: usize = 32;

/// What an upload is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// A directory.
    Dir,
    /// A regular file.
    File {
        /// Length in bytes.
        size: u64,
        /// Its bytes.
        #[doc(hidden)]
        content: Content,
    },
    /// A symbolic link with its target's raw bytes.
    Symlink {
        /// Not followed, not checked.
        target: Vec<u8>,
    },
    /// A hard link to the file at `target`, earlier in the list.
    Hardlink {
        /// A path of the same list.
        target: Vec<u8>,
    },
}

/// One upload in a snapshot's list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Raw bytes, components joined by `/`, the first being the root (`assets` or `storage`). Never empty, no `.` or `..`.
    pub path: Vec<u8>,
    /// What it is.
    pub kind: Kind,
    /// Permission bits (0o7777).
    pub mode: u32,
    /// Numeric owner.
    pub uid: u32,
    /// Numeric group.
    pub gid: u32,
    /// Time of the last change of contents.
    pub mtime: Time,
    /// Extended attributes of a directory or file, POSIX ACLs among them; a link has none.
    #[doc(hidden)]
    pub xattrs: Xattrs,
}

/// Bit of the kind's byte: extras follow the entry.
const HAS_EXTRAS: u8 = 0x80;
/// The extra with extended attributes.
const XATTRS: u8 = 1;

/// Compares two paths component by component: a directory comes directly before what it contains.
pub fn compare_paths(a: &[u8], b: &[u8]) -> Ordering {
    // '/' sorts below every other byte that a name can hold (names hold no NUL).
    let key = |c: &u8| if *c == b'/' { 0 } else { *c };
    a.iter().map(key).cmp(b.iter().map(key))
}

/// Returns whether a stored path is safe to join to a directory: relative, no empty, `.` or `..` component, no NUL.
pub fn is_clean_path(path: &[u8]) -> bool {
    !path.contains(&0) && path.split(|b| *b == b'/').all(|c| !c.is_empty() && c != b"." && c != b"..")
}

impl Entry {
    /// Returns the length of a regular file in bytes, 0 for everything else.
    pub fn size(&self) -> u64 {
        match &self.kind {
            Kind::File { size, .. } => *size,
            _ => 0,
        }
    }

    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        put_blob(out, &self.path);
        let kind = match &self.kind {
            Kind::Dir => 0,
            Kind::File { content: Content::Inline(_), .. } => 1,
            Kind::File { content: Content::Tree(_), .. } => 2,
            Kind::Symlink { .. } => 3,
            Kind::Hardlink { .. } => 4,
        };
        out.push(if self.xattrs.is_empty() { kind } else { kind | HAS_EXTRAS });
        out.extend_from_slice(&(self.mode as u16).to_le_bytes());
        put_varint(out, u64::from(self.uid));
        put_varint(out, u64::from(self.gid));
        out.extend_from_slice(&self.mtime.secs.to_le_bytes());
        out.extend_from_slice(&self.mtime.nanos.to_le_bytes());
        match &self.kind {
            Kind::Dir => {}
            Kind::File { size, content } => {
                put_varint(out, *size);
                match content {
                    Content::Inline(pieces) => {
                        put_varint(out, pieces.len() as u64);
                        pieces.iter().for_each(|piece| piece.encode(out));
                    }
                    Content::Tree(root) => out.extend_from_slice(root.as_bytes()),
                }
            }
            Kind::Symlink { target } | Kind::Hardlink { target } => put_blob(out, target),
        }
        if !self.xattrs.is_empty() {
            put_varint(out, 1);
            out.push(XATTRS);
            put_blob(out, &xattr::encode(&self.xattrs));
        }
    }

    pub(crate) fn decode(reader: &mut Reader<'_>) -> Result<Self> {
        let path = reader.blob()?.to_vec();
        if !is_clean_path(&path) {
            return Err(reader.malformed("holds a path that leads elsewhere"));
        }
        let flags = reader.u8()?;
        let mode = u32::from(reader.u16()?);
        let (uid, gid) = (owner(reader)?, owner(reader)?);
        let mtime = Time { secs: reader.u64()? as i64, nanos: reader.u32()? };
        if mode > 0o7777 || mtime.nanos >= 1_000_000_000 {
            return Err(reader.malformed("holds an impossible mode or time"));
        }
        let kind = match flags & !HAS_EXTRAS {
            0 => Kind::Dir,
            1 => {
                let size = reader.varint()?;
                let count = reader.varint()?;
                if count > INLINE_PIECES as u64 {
                    return Err(reader.malformed("holds too many pieces in one entry"));
                }
                let pieces = (0..count).map(|_| Piece::decode(reader)).collect::<Result<Vec<_>>>()?;
                if pieces.iter().try_fold(0u64, |sum, p| sum.checked_add(p.len())) != Some(size) {
                    return Err(reader.malformed("holds a file whose pieces do not add up to its size"));
                }
                Kind::File { size, content: Content::Inline(pieces) }
            }
            2 => Kind::File { size: reader.varint()?, content: Content::Tree(ChunkId::from_bytes(reader.array()?)) },
            3 => Kind::Symlink { target: reader.blob()?.to_vec() },
            4 => Kind::Hardlink { target: reader.blob()?.to_vec() },
            _ => return Err(reader.malformed("holds an entry of an unknown kind")),
        };
        let xattrs = if flags & HAS_EXTRAS == 0 { Xattrs::new() } else { extras(reader)? };
        if !xattrs.is_empty() && matches!(kind, Kind::Symlink { .. } | Kind::Hardlink { .. }) {
            return Err(reader.malformed("holds a link with extended attributes"));
        }
        Ok(Self { path, kind, mode, uid, gid, mtime, xattrs })
    }
}

/// Reads what follows an entry with extras: tags ascend, each once. One that may be added later must not be passed over.
fn extras(reader: &mut Reader<'_>) -> Result<Xattrs> {
    let count = reader.varint()?;
    if count == 0 {
        return Err(reader.malformed("holds an entry that has no extras and says so"));
    }
    let tag = reader.u8()?;
    if count > 1 || tag != XATTRS {
        return Err(Error::Unsupported {
            what: format!("extra {tag} of {count} of an entry in {}", reader.object()).into(),
        });
    }
    xattr::decode(reader.blob()?, reader.object())
}

fn owner(reader: &mut Reader<'_>) -> Result<u32> {
    u32::try_from(reader.varint()?).map_err(|_| reader.malformed("holds an owner of more than 32 bits"))
}

#[cfg(test)]
mod tests {
    use super::{compare_paths, is_clean_path};
    use std::cmp::Ordering;

    #[test]
    fn a_directory_stands_directly_before_its_contents() {
        assert_eq!(compare_paths(b"a", b"a/b"), Ordering::Less);
        assert_eq!(compare_paths(b"a/b", b"a-b"), Ordering::Less);
        assert_eq!(compare_paths(b"a/z", b"a!"), Ordering::Less);
        assert_eq!(compare_paths(b"a", b"a"), Ordering::Equal);
    }

    #[test]
    fn paths_that_lead_elsewhere_are_not_clean() {
        for bad in [&b""[..], b"/a", b"a/", b"a//b", b"../a", b"a/..", b"./a", b"a/./b", b"a\0b"] {
            assert!(!is_clean_path(bad), "{bad:?}");
        }
        for good in [&b"a"[..], b"a/b", b"a/...", b"a/\xff"] {
            assert!(is_clean_path(good), "{good:?}");
        }
    }
}
