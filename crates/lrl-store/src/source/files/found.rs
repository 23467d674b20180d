//! One thing that the walk found: what it is, its metadata, where it lies; and the look at it, which never follows a link.

use std::ffi::CStr;
use std::path::PathBuf;

use rustix::fd::{BorrowedFd, OwnedFd};
use rustix::fs::{AtFlags, FileType, OFlags, fstat, readlinkat, statat};
use rustix::io::Errno;

use super::open::open_quietly;
use crate::format::xattr::{self, Xattrs};
use crate::time::Time;

/// A directory of uploads and the first component of its paths in the list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Root {
    /// `assets` or `storage`; empty for the root of a site, whose paths begin below it.
    pub name: String,
    /// The directory, or a link to it.
    pub path: PathBuf,
}

/// Metadata of one upload when it was looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stat {
    /// Length in bytes.
    pub size: u64,
    /// Permission bits (0o7777).
    pub mode: u32,
    /// Numeric owner.
    pub uid: u32,
    /// Numeric group.
    pub gid: u32,
    /// Last change of contents.
    pub mtime: Time,
    /// Last change of contents or metadata.
    pub ctime: Time,
    /// Inode number.
    pub ino: u64,
    /// File system.
    pub dev: u64,
    /// Number of names.
    pub nlink: u64,
    /// Room taken on disk, in units of 512 bytes.
    pub blocks: u64,
}

impl Stat {
    pub(crate) fn of(raw: &rustix::fs::Stat) -> Self {
        let time = |secs, nanos: u64| Time { secs, nanos: nanos as u32 };
        Self {
            size: raw.st_size as u64,
            mode: raw.st_mode & 0o7777,
            uid: raw.st_uid,
            gid: raw.st_gid,
            mtime: time(raw.st_mtime, raw.st_mtime_nsec),
            ctime: time(raw.st_ctime, raw.st_ctime_nsec),
            ino: raw.st_ino,
            dev: raw.st_dev,
            nlink: raw.st_nlink,
            blocks: raw.st_blocks as u64,
        }
    }

    /// Returns what tells this file from every other one: file system and inode.
    pub(crate) fn id(&self) -> (u64, u64) {
        (self.dev, self.ino)
    }
}

/// What the walk found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FoundKind {
    /// A directory; its contents follow.
    Dir,
    /// A regular file.
    File,
    /// A symbolic link, not followed.
    Symlink {
        /// Raw bytes.
        target: Vec<u8>,
    },
}

/// One upload that is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// Its path in the list: raw bytes that begin with the root's name.
    pub path: Vec<u8>,
    /// Where it lies on disk; may be longer than the system takes at once.
    pub source: PathBuf,
    /// What it is.
    pub kind: FoundKind,
    /// Its metadata.
    pub stat: Stat,
    /// Extended attributes of a directory; those of a file come with its contents.
    pub xattrs: Xattrs,
}

impl Found {
    /// Returns how many bytes of names and attributes it holds.
    pub(crate) fn held_bytes(&self) -> usize {
        self.path.len() + self.source.as_os_str().len() + xattr::bytes_of(&self.xattrs)
    }
}

/// What is at a name.
pub(crate) struct Looked {
    pub(crate) stat: Stat,
    pub(crate) what: What,
}

/// What kind of thing it is, with what the walk needs of it.
pub(crate) enum What {
    File,
    /// Its target, and the directory behind it if it is to be followed.
    Symlink(Vec<u8>, Option<Result<OwnedFd, Errno>>),
    /// "a socket" …
    Special(&'static str),
    Dir(Result<OwnedFd, Errno>),
}

/// Looks at `name` in `dir` without following it; `hint` is the type that the directory listing gave.
pub(crate) fn look(dir: BorrowedFd<'_>, hint: FileType, name: &CStr) -> Result<Looked, Errno> {
    const FLAGS: OFlags = OFlags::DIRECTORY.union(OFlags::NOFOLLOW);
    let mut opened = Err(Errno::NOENT);
    if hint.is_dir() {
        // One call less for each of many directories: the open one tells its metadata itself.
        opened = open_quietly(dir, name, FLAGS);
        if let Ok(fd) = opened {
            return Ok(Looked { stat: Stat::of(&fstat(&fd)?), what: What::Dir(Ok(fd)) });
        }
    }
    let raw = statat(dir, name, AtFlags::SYMLINK_NOFOLLOW)?;
    let mut stat = Stat::of(&raw);
    let what = match FileType::from_raw_mode(raw.st_mode) {
        FileType::RegularFile => What::File,
        FileType::Symlink => What::Symlink(readlinkat(dir, name, Vec::new())?.into_bytes(), None),
        FileType::Fifo => What::Special("a named pipe"),
        FileType::Socket => What::Special("a socket"),
        FileType::CharacterDevice | FileType::BlockDevice => What::Special("a device"),
        FileType::Directory => {
            if !hint.is_dir() {
                opened = open_quietly(dir, name, FLAGS);
            }
            if let Ok(fd) = &opened {
                stat = Stat::of(&fstat(fd)?);
            }
            What::Dir(opened)
        }
        _ => What::Special("of an unknown kind"),
    };
    Ok(Looked { stat, what })
}
