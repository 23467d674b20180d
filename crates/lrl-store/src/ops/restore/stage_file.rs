//! Owns the bytes and the metadata of one restored file: writing it from the store, proving one that is there already,
//! owner, mode and time in the order in which none undoes another. Never overwrites a file.

use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::path::Path;

use rustix::fs::{
    AtFlags, Gid, Mode, OFlags, SeekFrom, Timespec, Timestamps, UTIME_OMIT, Uid, chownat, fchmod, fchown, fstat,
    futimens, openat, seek, statat, utimensat,
};
use rustix::io::Errno;

use crate::error::{Error, Result};
use crate::format::entry::{Content, Piece};
use crate::fs::space::SpaceGuard;
use crate::progress::{Observer, checkpoint};
use crate::store::Store;
use crate::time::Time;

/// Bits that give rights to whoever runs a file.
const SETID: u32 = 0o6000;

/// What is needed to write a file's bytes.
pub(super) struct Writer<'a> {
    /// Where the chunks are.
    pub store: &'a Store,
    /// Asked whether to stop, told what is done.
    pub observer: &'a dyn Observer,
    /// Keeps the disk from filling up.
    pub room: &'a SpaceGuard,
}

/// Whose the restored files become.
#[derive(Debug, Clone, Copy)]
pub(super) struct Owners {
    /// Everything goes to this owner and group.
    pub all: Option<(u32, u32)>,
    /// Everything goes to the owner that the snapshot names; only root can.
    pub recorded: bool,
}

/// Metadata of one file or directory.
#[derive(Debug, Clone, Copy)]
pub(super) struct Meta {
    /// Permission bits.
    pub mode: u32,
    /// Owner and group, where they are known.
    pub owner: Option<(u32, u32)>,
    /// The owner was asked for: it is an error if it cannot be set.
    pub is_asked: bool,
    /// Time of the last change, where it is known.
    pub mtime: Option<Time>,
}

impl Owners {
    /// Returns who gets a file whose recorded owner is `recorded`.
    pub fn of(&self, recorded: (u32, u32)) -> Option<(u32, u32)> {
        self.all.or(self.recorded.then_some(recorded))
    }
}

/// Creates a file that only we can read, where there is none. `EXCL` follows no link.
pub(super) fn create(dir: impl AsFd, name: &[u8]) -> Result<File, Errno> {
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
    openat(dir, name, flags, Mode::from_raw_mode(0o600)).map(File::from)
}

fn times(mtime: Time) -> Timestamps {
    let omit = Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT };
    let time = Timespec { tv_sec: mtime.secs, tv_nsec: mtime.nanos.into() };
    Timestamps { last_access: omit, last_modification: time }
}

/// Gives an open file or directory away; returns whether it has that owner now. In a user namespace most numbers stand for nobody
/// (EINVAL), and on a network file system root may be anybody (EPERM): unless this owner was asked for, that is no error.
pub(super) fn give(fd: impl AsFd, owner: (u32, u32), is_asked: bool) -> Result<bool, Errno> {
    given(fchown(&fd, Some(Uid::from_raw(owner.0)), Some(Gid::from_raw(owner.1))), is_asked, || {
        fstat(&fd).is_ok_and(|stat| (stat.st_uid, stat.st_gid) == owner)
    })
}

/// Does the same for a name in an open directory, which may be a link: that itself is given away.
pub(super) fn give_at(dir: impl AsFd, name: &[u8], owner: (u32, u32), is_asked: bool) -> Result<bool, Errno> {
    let itself = AtFlags::SYMLINK_NOFOLLOW;
    given(chownat(&dir, name, Some(Uid::from_raw(owner.0)), Some(Gid::from_raw(owner.1)), itself), is_asked, || {
        statat(&dir, name, itself).is_ok_and(|stat| (stat.st_uid, stat.st_gid) == owner)
    })
}

fn given(done: Result<(), Errno>, is_asked: bool, has_it: impl Fn() -> bool) -> Result<bool, Errno> {
    match done {
        Err(Errno::INVAL | Errno::PERM) if has_it() => Ok(true),
        Err(Errno::INVAL | Errno::PERM) if !is_asked => Ok(false),
        done => done.map(|()| true),
    }
}

/// Sets owner, mode and time of an open file or directory; returns whether it got its owner. Files lose setuid and setgid.
pub(super) fn set_metadata(fd: impl AsFd, meta: &Meta, is_dir: bool, path: &Path) -> Result<bool> {
    let io = |op| move |e: Errno| Error::io(op, path)(e.into());
    let has_owner = match meta.owner {
        Some(owner) => give(&fd, owner, meta.is_asked).map_err(io("give away"))?,
        None => true,
    };
    let mode = if is_dir { meta.mode } else { meta.mode & !SETID };
    fchmod(&fd, Mode::from_raw_mode(mode & 0o7777)).map_err(io("set the mode of"))?;
    meta.mtime.map_or(Ok(()), |mtime| futimens(&fd, &times(mtime))).map_err(io("set the time of"))?;
    Ok(has_owner)
}

/// Sets owner and time of a symbolic link itself; returns whether it got its owner.
pub(super) fn dress_link(dir: &OwnedFd, name: &[u8], meta: &Meta, path: &Path) -> Result<bool> {
    let io = |op| move |e: Errno| Error::io(op, path)(e.into());
    let has_owner = match meta.owner {
        Some(owner) => give_at(dir, name, owner, meta.is_asked).map_err(io("give away"))?,
        None => true,
    };
    let mtime = meta.mtime.unwrap_or_default();
    utimensat(dir, name, &times(mtime), AtFlags::SYMLINK_NOFOLLOW).map_err(io("set the time of"))?;
    Ok(has_owner)
}

impl Writer<'_> {
    /// Writes a content into an empty file, verified chunk by chunk; holes stay holes. `also` sees every byte in order.
    pub fn write(
        &self,
        file: &File,
        content: &Content,
        size: u64,
        path: &Path,
        also: &mut dyn FnMut(&[u8]),
    ) -> Result<()> {
        let (mut end, mut hole_at_end) = (0, false);
        self.store.each_piece_read(content, &mut |at, piece| {
            checkpoint(self.observer)?;
            end = at.checked_add(piece.len()).filter(|end| *end <= size).ok_or_else(|| wrong_size(path))?;
            hole_at_end = matches!(piece, Piece::Hole { .. });
            match piece {
                Piece::Data { id, len } => {
                    let plain = self.store.read(&id)?;
                    if plain.len() as u64 != len {
                        return Err(Error::corrupt(format!("chunk {id}"), "has another length than its list says"));
                    }
                    self.room.charge(len)?;
                    also(&plain);
                    file.write_all_at(&plain, at).map_err(Error::io("write", path))?;
                }
                Piece::Hole { len } => zeros(len, also),
            }
            self.observer.advance(piece.len(), 0);
            Ok(true)
        })?;
        if end != size {
            return Err(wrong_size(path));
        }
        if hole_at_end { file.set_len(size).map_err(Error::io("write", path)) } else { Ok(()) }
    }

    /// Says whether a file holds exactly this content, by reading all of it.
    pub fn is_right(&self, file: &File, content: &Content, size: u64, path: &Path) -> Result<bool> {
        if file.metadata().map_err(Error::io("look at", path))?.len() != size {
            return Ok(false);
        }
        let (mut right, mut end, mut buffer) = (true, 0, Vec::new());
        self.store.each_piece(content, 0, &mut |at, piece| {
            checkpoint(self.observer)?;
            end = at.saturating_add(piece.len());
            right = end <= size
                && match piece {
                    Piece::Data { id, len } => {
                        buffer.resize(usize::try_from(len).map_err(|_| wrong_size(path))?, 0);
                        file.read_exact_at(&mut buffer, at).map_err(Error::io("read", path))?;
                        self.store.ids().chunk(&buffer) == id
                    }
                    Piece::Hole { .. } => match seek(file, SeekFrom::Data(at)) {
                        Ok(data) => data >= end,
                        Err(Errno::NXIO) => true,
                        Err(_) => false,
                    },
                };
            Ok(right)
        })?;
        if right && end == size {
            self.observer.advance(size, 0);
        }
        Ok(right && end == size)
    }
}

fn wrong_size(path: &Path) -> Error {
    Error::corrupt(format!("the list of pieces of {}", path.display()), "does not add up to the file's size")
}

fn zeros(mut len: u64, also: &mut dyn FnMut(&[u8])) {
    static ZEROS: [u8; 64 << 10] = [0; 64 << 10];
    while len > 0 {
        let now = len.min(ZEROS.len() as u64);
        also(&ZEROS[..now as usize]);
        len -= now;
    }
}
