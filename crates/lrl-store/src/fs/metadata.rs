//! Owner, mode and times of files and directories, set through handles. Has the one mode mask of everything that is restored or
//! unpacked.

use std::os::fd::AsFd;
use std::path::Path;

use rustix::fs::{
    AtFlags, Gid, Mode, Stat, Timespec, Timestamps, UTIME_OMIT, Uid, chownat, fchmod, fchown, fstat, futimens, statat,
    utimensat,
};
use rustix::io::Errno;

use super::xattrs::SetXattrs;
use crate::error::{Error, Result};
use crate::format::xattr::Xattr;
use crate::time::Time;

/// Bits that a file may get: neither setuid nor setgid, which would give rights to whoever runs it.
const FILE_MODE: u32 = 0o777;
/// Bits that a directory may get: setgid and sticky give nobody more rights.
const DIR_MODE: u32 = 0o3777;

/// Owners that written files get.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Owners {
    /// Owner and group of everything.
    pub all: Option<(u32, u32)>,
    /// Everything gets its recorded owner; only root can do that.
    pub recorded: bool,
}

impl Owners {
    /// Returns who gets a file whose recorded owner is `recorded`.
    pub(crate) fn of(&self, recorded: (u32, u32)) -> Option<(u32, u32)> {
        self.all.or(self.recorded.then_some(recorded))
    }
}

/// Metadata of one file, directory or symbolic link.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Metadata {
    /// Permission bits, not yet masked.
    pub mode: u32,
    /// Owner and group, where known.
    pub owner: Option<(u32, u32)>,
    /// The owner was asked for: failing to set it is an error.
    pub owner_is_required: bool,
    /// Time of the last change, where known.
    pub mtime: Option<Time>,
}

/// Returns the bits of a recorded mode that a file or directory gets.
pub(crate) fn masked_mode(mode: u32, is_dir: bool) -> u32 {
    mode & if is_dir { DIR_MODE } else { FILE_MODE }
}

/// Sets owner, mode and time of an open file or directory; returns whether it has its owner.
pub(crate) fn set_metadata(fd: impl AsFd, metadata: &Metadata, is_dir: bool, path: &Path) -> Result<bool> {
    set_all(fd, metadata, None, is_dir, path)
}

/// Sets owner, extended attributes, mode and time of an open file or directory; returns whether it has its owner. In this order none undoes
/// another: a new owner clears setgid, a mode may take the right to set attributes and is what an ACL makes of it, and all change the time.
pub(crate) fn set_all(
    fd: impl AsFd,
    metadata: &Metadata,
    xattrs: Option<(&[Xattr], SetXattrs<'_>)>,
    is_dir: bool,
    path: &Path,
) -> Result<bool> {
    let io = |op| move |e: Errno| Error::io(op, path)(e.into());
    let has_owner = match metadata.owner {
        Some(owner) => set_owner(&fd, owner, metadata.owner_is_required).map_err(io("give away"))?,
        None => true,
    };
    let mode = xattrs.map_or(metadata.mode, |(xattrs, how)| how.set(&fd, xattrs, metadata.mode, path));
    let mode = Mode::from_raw_mode(masked_mode(mode, is_dir));
    fchmod(&fd, mode).map_err(io("set the mode of"))?;
    metadata.mtime.map_or(Ok(()), |mtime| set_mtime(&fd, mtime)).map_err(io("set the time of"))?;
    Ok(has_owner)
}

/// Sets owner and time of a symbolic link itself; returns whether it has its owner.
pub(crate) fn set_link_metadata(dir: impl AsFd, name: &[u8], metadata: &Metadata, path: &Path) -> Result<bool> {
    let io = |op| move |e: Errno| Error::io(op, path)(e.into());
    let has_owner = match metadata.owner {
        Some(owner) => set_owner_at(&dir, name, owner, metadata.owner_is_required).map_err(io("give away"))?,
        None => true,
    };
    let mtime = metadata.mtime.unwrap_or_default();
    utimensat(&dir, name, &timestamps(mtime), AtFlags::SYMLINK_NOFOLLOW).map_err(io("set the time of"))?;
    Ok(has_owner)
}

/// Sets the owner of an open file or directory; returns whether it has that owner now. In a user namespace most ids are unmapped
/// (EINVAL), and a network file system may not trust root (EPERM): unless the owner is required, that is no error.
pub(crate) fn set_owner(fd: impl AsFd, owner: (u32, u32), is_required: bool) -> Result<bool, Errno> {
    let done = fchown(&fd, Some(Uid::from_raw(owner.0)), Some(Gid::from_raw(owner.1)));
    checked(done, is_required, || fstat(&fd).is_ok_and(|stat| (stat.st_uid, stat.st_gid) == owner))
}

/// Does the same for a name in an open directory; of a symbolic link, the link itself.
pub(crate) fn set_owner_at(dir: impl AsFd, name: &[u8], owner: (u32, u32), is_required: bool) -> Result<bool, Errno> {
    let itself = AtFlags::SYMLINK_NOFOLLOW;
    let done = chownat(&dir, name, Some(Uid::from_raw(owner.0)), Some(Gid::from_raw(owner.1)), itself);
    checked(done, is_required, || statat(&dir, name, itself).is_ok_and(|stat| (stat.st_uid, stat.st_gid) == owner))
}

fn checked(done: Result<(), Errno>, is_required: bool, has_owner: impl Fn() -> bool) -> Result<bool, Errno> {
    match done {
        Err(Errno::INVAL | Errno::PERM) if has_owner() => Ok(true),
        Err(Errno::INVAL | Errno::PERM) if !is_required => Ok(false),
        done => done.map(|()| true),
    }
}

/// Sets the time of the last change of an open file or directory, and leaves that of the last access.
pub(crate) fn set_mtime(fd: impl AsFd, mtime: Time) -> Result<(), Errno> {
    futimens(fd, &timestamps(mtime))
}

/// Returns the time of the last change.
pub(crate) fn mtime_of(stat: &Stat) -> Time {
    Time { secs: stat.st_mtime, nanos: stat.st_mtime_nsec as u32 }
}

fn timestamps(mtime: Time) -> Timestamps {
    let omit = Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT };
    let time = Timespec { tv_sec: mtime.secs, tv_nsec: mtime.nanos.into() };
    Timestamps { last_access: omit, last_modification: time }
}

#[cfg(test)]
mod tests {
    use super::masked_mode;

    #[test]
    fn files_lose_setuid_setgid_and_sticky_and_directories_setuid() {
        assert_eq!(masked_mode(0o107755, false), 0o755);
        assert_eq!(masked_mode(0o047750, true), 0o3750);
    }
}
